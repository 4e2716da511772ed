package netw

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"path/filepath"
	"slices"
	"time"

	"github.com/containerd/errdefs"
	"github.com/containernetworking/cni/libcni"
	"github.com/davit-containers/davit/ctr/record"
	"github.com/davit-containers/davit/ctr/record/failpoint"
	"github.com/davit-containers/davit/netw/bridge"
	"github.com/davit-containers/davit/netw/nft"
	"golang.org/x/sys/unix"
)

// undoTimeout bounds the undoing of a failed attachment, besides the deadline
// of each plugin run.
const undoTimeout = 2 * time.Minute

// plan is what an attachment will be made of.
type plan struct {
	intent *intent
	nets   []network
	refs   []Ref // what is asked of each of them
}

// Attach joins a sandbox to networks and publishes its ports.
//
// The intent is on record in r.Dir before the first side effect. On failure, or
// when ctx ends, everything is undone again; what cannot be undone stays on
// record for Detach. An attachment that is on record already, from a crash or
// an earlier life of the sandbox, is undone first.
//
// Errors: ErrInvalidArgument for a request that cannot be, ErrNotFound for an
// unknown network or plugin, *PortInUseError for a busy port,
// ErrResourceExhausted for a full address range, *plugin.Error in the chain for
// whatever a plugin said.
func (a *Attacher) Attach(ctx context.Context, r Request) (Attachment, error) {
	if len(r.Networks) == 0 {
		r.Networks = []Ref{{Name: a.config.Default}}
	}
	if err := r.check(); err != nil {
		return Attachment{}, err
	}
	p, err := a.plan(r)
	if err != nil {
		return Attachment{}, fmt.Errorf("attaching %q: %w", r.ID, err)
	}
	if err := p.await(ctx, r.Idle); err != nil {
		return Attachment{}, fmt.Errorf("attaching %q: %w", r.ID, err)
	}
	if err := a.Detach(ctx, Request{ID: r.ID, Dir: r.Dir, Netns: r.Netns}); err != nil {
		return Attachment{}, fmt.Errorf("undoing an earlier attachment: %w", err)
	}
	res, err := a.reserve(r.Ports, p.six())
	if err != nil {
		return Attachment{}, err
	}
	defer res.release()
	p.intent.Ports = res.ports
	if err := a.carryOut(ctx, p); err != nil {
		undo, cancel := context.WithTimeout(context.WithoutCancel(ctx), failpoint.Deadline(undoTimeout))
		defer cancel()
		return Attachment{}, errors.Join(fmt.Errorf("attaching %q: %w", r.ID, err), a.undo(undo, p.intent, undoing{netns: r.Netns}))
	}
	return *p.intent.Result, nil
}

// plan finds the networks and fixes what will be on record.
func (c *catalog) plan(r Request) (*plan, error) {
	p := &plan{refs: r.Networks, intent: &intent{
		Version: recordVersion, ID: r.ID, Name: r.Name, Namespace: r.Namespace, UID: r.UID,
		Netns: r.Netns, Created: time.Now().UTC(), dir: filepath.Clean(r.Dir),
	}}
	for i, ref := range r.Networks {
		find := c.find
		if ref.Host {
			find = c.findHost
		}
		n, err := find(ref.Name)
		if err != nil {
			return nil, err
		}
		if err := n.accepts(ref); err != nil {
			return nil, err
		}
		j := n.join(r, i)
		if i == 0 && len(r.Ports) > 0 {
			if n.capable("portMappings") {
				// host ports are known later, see carryOut
				j.Capabilities["portMappings"] = []portMapping{}
			} else {
				p.intent.TablePorts = true
			}
		}
		p.intent.Joins = append(p.intent.Joins, j)
		p.nets = append(p.nets, n)
	}
	return p, p.checkPorts(r.Ports)
}

// await waits until the host is idle, if all networks are quick to join.
func (p *plan) await(ctx context.Context, idle <-chan struct{}) error {
	if idle == nil || slices.ContainsFunc(p.nets, func(n network) bool { return !n.managed() }) {
		return nil
	}
	select {
	case <-idle:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// join is what goes on record of the i-th network of a request: for plugins, what
// ADD and DEL are given.
func (n network) join(r Request, i int) join {
	ref := r.Networks[i]
	j := join{
		Network: n.Name, IfName: ref.ifName(i), Managed: n.managed(), Aliases: ref.Aliases,
		Names: n.Origin == OriginUser && !n.DNSDisabled,
	}
	if !j.Managed {
		j.Conflist, j.Args, j.Capabilities = n.conflist, cniArgs(r, ref), n.capabilityArgs(r, ref)
	}
	return j
}

// checkPorts refuses ports on ::1, and on a family that the first network lacks.
func (p *plan) checkPorts(ports []Port) error {
	n := p.nets[0]
	for _, port := range ports {
		if p.intent.TablePorts && port.HostIP == netip.IPv6Loopback() {
			return fmt.Errorf("publishing on ::1 is not possible, use 127.0.0.1: %w", errdefs.ErrInvalidArgument)
		}
		if !n.managed() {
			continue
		}
		if port.HostIP.Is6() && !n.has6() {
			return fmt.Errorf("publishing on %s: network %q has no IPv6: %w", port.HostIP, n.Name, errdefs.ErrInvalidArgument)
		}
	}
	return nil
}

// six reports whether ports for all addresses are published on IPv6 too.
func (p *plan) six() bool { return p.nets[0].has6() || !p.nets[0].managed() }

// carryOut does what the plan says; its record and its effects stay where they
// are when it fails.
func (a *Attacher) carryOut(ctx context.Context, p *plan) error {
	in := p.intent
	if first := &in.Joins[0]; first.Capabilities["portMappings"] != nil {
		first.Capabilities["portMappings"] = portMappings(in.Ports)
	}
	if err := a.write(ctx, in); err != nil {
		return err
	}
	result, err := a.joinAll(ctx, p, in.TablePorts)
	if err != nil {
		return err
	}
	result.Ports = in.Ports
	in.Result = &result
	return a.publish(ctx, in)
}

// joinAll sets the networks of the plan up, or mends them, and joins them.
// table says that the firewall table is needed whatever the networks are.
func (a *Attacher) joinAll(ctx context.Context, p *plan, table bool) (Attachment, error) {
	var tabled []Network
	for i, n := range p.nets {
		if err := a.stillThere(n.Network); err != nil {
			return Attachment{}, err
		}
		if err := ensureBridge(n.Network); err != nil {
			return Attachment{}, err
		}
		if n.managed() || i == 0 && table {
			tabled = append(tabled, n.Network)
		}
	}
	if err := failpoint.Reach(ctx, failpoint.NetworkBridge); err != nil {
		return Attachment{}, err
	}
	// joining needs the bridge, but not the table
	mended := make(chan error, 1)
	go func() {
		if len(tabled) == 0 {
			mended <- nil
			return
		}
		mended <- errors.Join(a.ensureTable(tabled), a.openForwarding(ctx, tabled))
	}()
	result, err := a.join(ctx, p)
	return result, errors.Join(err, <-mended)
}

// join joins every network.
func (x *joiner) join(ctx context.Context, p *plan) (Attachment, error) {
	var result Attachment
	for i, j := range p.intent.Joins {
		if err := x.joinOne(ctx, p, i, &result); err != nil {
			return result, fmt.Errorf("joining network %q: %w", j.Network, err)
		}
		if err := failpoint.Reach(ctx, failpoint.NetworkAdded); err != nil {
			return result, err
		}
	}
	return result, nil
}

// joinOne joins the i-th network of the plan: by davit itself where it set the bridge
// up, else by ADD.
func (x *joiner) joinOne(ctx context.Context, p *plan, i int, result *Attachment) error {
	in, j, n := p.intent, p.intent.Joins[i], p.nets[i]
	defer record.Span(ctx, "network add "+j.Network, in.ID)()
	if j.Managed {
		got, err := x.plug(ctx, in, n.Network, p.refs[i], j.IfName)
		if err == nil {
			result.Interfaces = append(result.Interfaces, got)
		}
		return err
	}
	list, err := libcni.NetworkConfFromBytes(j.Conflist)
	if err != nil {
		return err
	}
	got, err := x.cni.AddNetworkList(ctx, list, in.runtimeConf(j, in.Netns))
	if err != nil {
		return n.explain(err)
	}
	if err := result.add(j.Network, j.IfName, got); err != nil {
		return fmt.Errorf("reading the result: %w", err)
	}
	return nil
}

// plug joins one of davit's own bridges.
func (x *joiner) plug(ctx context.Context, in *intent, n Network, ref Ref, ifName string) (Interface, error) {
	got := Interface{Network: n.Name, Name: ifName}
	var err error
	if got.IPs, err = x.known.pool(n.Name, n.Subnets).take(holder{in.ID, ifName}, ref.IPs); err != nil {
		return got, err
	}
	if err := failpoint.Reach(ctx, failpoint.NetworkReserved); err != nil {
		return got, err
	}
	end := bridge.End{Netns: in.Netns, Name: ifName, MAC: ref.MAC, Addresses: got.IPs}
	for _, s := range n.Subnets {
		if s.Gateway.IsValid() {
			got.Gateways = append(got.Gateways, s.Gateway)
		}
	}
	if !n.Internal {
		end.Routers = firstOfFamily(got.Gateways)
	}
	got.MAC, got.HostName, err = bridge.Join(ctx, n.bridgeConfig(), end)
	return got, err
}

// firstOfFamily are the first address of each family.
func firstOfFamily(ips []netip.Addr) []netip.Addr {
	var out []netip.Addr
	for _, ip := range ips {
		if !slices.ContainsFunc(out, func(o netip.Addr) bool { return o.Is6() == ip.Is6() }) {
			out = append(out, ip)
		}
	}
	return out
}

// publish records the result and puts the ports into the table, in one critical
// section: a repair of the table sees both or neither.
func (f *firewall) publish(ctx context.Context, in *intent) error {
	if !in.TablePorts {
		return f.known.write(ctx, in)
	}
	for _, p := range in.Ports {
		if p.HostIP.IsValid() && !slices.ContainsFunc(in.Result.IPs(), func(ip netip.Addr) bool { return p.wants(ip) }) {
			return fmt.Errorf("publishing %s: the sandbox has no address of that family: %w", p, errdefs.ErrInvalidArgument)
		}
	}
	elements := in.elements()
	if !in.Joins[0].Managed {
		for _, e := range elements {
			if err := bridge.RouteLocalhost(e.To.Addr()); err != nil {
				return fmt.Errorf("publishing on localhost: %w", err)
			}
		}
	}
	err := f.locked(func() error {
		if err := f.known.write(ctx, in); err != nil {
			return err
		}
		if err := failpoint.Reach(ctx, failpoint.NetworkPublish); err != nil {
			return err
		}
		err := f.table.Add(elements)
		if errors.Is(err, unix.ENOENT) {
			// the firewall was flushed since it was looked at
			return f.replaceTable()
		}
		return err
	})
	if err != nil {
		return err
	}
	if err := failpoint.Reach(ctx, failpoint.NetworkPublished); err != nil {
		return err
	}
	return forgetFlows(elements)
}

// forgetFlows ends what the kernel remembers of UDP traffic to ports that have
// just been published or withdrawn.
func forgetFlows(elements []nft.Element) error {
	var four, six []uint16
	for _, e := range elements {
		switch {
		case e.Protocol != "udp":
		case e.To.Addr().Is6():
			six = append(six, e.HostPort)
		default:
			four = append(four, e.HostPort)
		}
	}
	return errors.Join(bridge.ForgetUDP(false, four), bridge.ForgetUDP(true, six))
}

// runtimeConf is what libcni needs to run j's plugins.
func (in *intent) runtimeConf(j join, netns string) *libcni.RuntimeConf {
	return &libcni.RuntimeConf{ContainerID: in.ID, NetNS: netns, IfName: j.IfName, Args: j.Args, CapabilityArgs: j.Capabilities}
}

// cniArgs are the CNI_ARGS of kubelets; IgnoreUnknown comes first because some
// plugins refuse what they do not know.
func cniArgs(r Request, ref Ref) [][2]string {
	args := [][2]string{{"IgnoreUnknown", "1"}}
	for _, kv := range [][2]string{
		{"K8S_POD_NAMESPACE", r.Namespace}, {"K8S_POD_NAME", r.Name}, {"K8S_POD_INFRA_CONTAINER_ID", r.ID}, {"K8S_POD_UID", r.UID},
	} {
		if kv[1] != "" {
			args = append(args, kv)
		}
	}
	if ref.MAC != "" {
		args = append(args, [2]string{"MAC", ref.MAC})
	}
	if len(ref.IPs) == 1 {
		args = append(args, [2]string{"IP", ref.IPs[0].String()})
	}
	return args
}

// portMapping is the value of CNI's portMappings capability.
type portMapping struct {
	HostPort      int    `json:"hostPort"`
	ContainerPort int    `json:"containerPort"`
	Protocol      string `json:"protocol"`
	HostIP        string `json:"hostIP,omitempty"`
}

func portMappings(ports []Port) []portMapping {
	var out []portMapping
	for _, p := range ports {
		m := portMapping{HostPort: int(p.HostPort), ContainerPort: int(p.ContainerPort), Protocol: p.Protocol}
		if p.HostIP.IsValid() {
			m.HostIP = p.HostIP.String()
		}
		out = append(out, m)
	}
	return out
}
