package pod

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"sync"
	"time"

	"github.com/containerd/errdefs"

	"github.com/davit-containers/davit/ctr"
	"github.com/davit-containers/davit/ctr/record"
	"github.com/davit-containers/davit/ctr/record/failpoint"
	"github.com/davit-containers/davit/ctr/spec"
	"github.com/davit-containers/davit/netw"
	"github.com/davit-containers/davit/netw/netns"
)

// undoTimeout bounds each undoing, which goes on when its caller has given up.
const undoTimeout = 2 * time.Minute

// Start gives a pod its resources and starts those of its containers that are
// not running. One that is ready only gets the latter.
func (c *Controller) Start(ctx context.Context, id string) error {
	if err := c.ready(ctx, id); err != nil {
		return err
	}
	ctrs, err := c.ContainersOf(ctx, id)
	if err != nil {
		return err
	}
	var errs []error
	for _, k := range ctrs {
		if k.Status.Alive() || k.Config.Infra { // that one is the sandbox's own
			continue
		}
		if _, err := c.StartContainer(ctx, k.ID, nil); err != nil {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// ready makes a sandbox ready if it is not, and returns when its network is
// attached.
func (c *riser) ready(ctx context.Context, id string) error {
	up, err := c.bringUp(ctx, id)
	if err != nil {
		return err
	}
	return errors.Join(up.wait(ctx), up.close(ctx))
}

// rising is a sandbox that is being made ready: its namespaces exist, its
// network may still be on the way, or wait for attach: wait calls it, too.
type rising struct {
	give    ctr.Sandbox
	network chan error // nil when there is nothing to wait for
	idle    func()     // tells the network that its turn has come; nil as well
	arrived func(context.Context) error
	keep    bool // the operation is the caller's to end
	undo    func(context.Context) error

	once sync.Once
	err  error
}

// attach has the network attached that has waited for it: one that is quickly joined
// does not take from what is urgent.
func (r *rising) attach() {
	if r.idle != nil {
		r.idle()
	}
}

// wait returns when the sandbox is ready, or could not be made so. It may be
// called more than once.
func (r *rising) wait(ctx context.Context) error {
	if r.network == nil {
		return nil
	}
	r.attach()
	r.once.Do(func() {
		if r.err = <-r.network; r.err == nil {
			r.err = r.arrived(ctx)
		}
	})
	return r.err
}

// close takes back a sandbox that could not be made ready. It must be called,
// after nothing lives in the sandbox any more in that case.
func (r *rising) close(ctx context.Context) error {
	if r.wait(ctx) == nil {
		return nil
	}
	return r.undo(ctx)
}

// bringUp makes the cgroup, the namespaces and the files of a sandbox, and has
// its network attached meanwhile. It ends the sandbox's operation in wait.
func (c *riser) bringUp(ctx context.Context, id string) (*rising, error) {
	op, err := c.beginStart(ctx, id)
	if err != nil {
		return nil, err
	}
	s, err := c.Get(ctx, id)
	if err != nil {
		return nil, errors.Join(err, op.End())
	}
	if s.Status.State == Ready {
		if pinAgain(c.records, s) == "" && !infraGone(ctx, c.records, s) {
			return &rising{give: c.give(s)}, op.End()
		}
		if err := c.down(ctx, op); err != nil { // nothing runs in it any more
			return nil, err
		}
		return c.bringUp(ctx, id)
	}
	if s.Status.State == Removing {
		return nil, errors.Join(fmt.Errorf("pod %q: %w", s.Config.Name, errGoing), op.End())
	}
	r, err := c.rise(ctx, op, s)
	if err != nil {
		return nil, errors.Join(err, c.undo(ctx, op, opStart))
	}
	return r, nil
}

// beginStart takes a pod's operation lock for a start, whose caller may hold its
// container's. It does not wait for a removal, which waits for that container.
func (c *riser) beginStart(ctx context.Context, id string) (*record.Op, error) {
	var vain error
	op, err := c.beginBy(ctx, id, func() (*record.Op, error) {
		return c.dir.BeginInTurns(ctx, id, opStart, func(holder record.Holder) error {
			var s Sandbox
			if s, vain = c.Get(ctx, id); vain == nil && (s.Status.State == Removing || holder.Kind == opRemove) {
				vain = fmt.Errorf("pod %q: %w", s.Config.Name, errGoing)
			}
			return vain
		})
	})
	if vain != nil {
		return nil, vain
	}
	return op, err
}

// rise makes what a sandbox consists of.
func (c *riser) rise(ctx context.Context, op *record.Op, s Sandbox) (*rising, error) {
	if s.Status.Restarted { // its old addresses would be in the way of new ones
		if err := c.detach(ctx, s); err != nil {
			return nil, err
		}
	}
	if err := op.Advance(ctx, stageCgroup); err != nil {
		return nil, err
	}
	s, err := c.makeCgroup(ctx, s)
	if err != nil {
		return nil, err
	}
	if err := op.Advance(ctx, stageNamespaces); err != nil {
		return nil, err
	}
	if s, err = c.pin(ctx, s); err != nil {
		return nil, err
	}
	if err := c.writeFiles(ctx, s); err != nil {
		return nil, err
	}
	if err := op.Advance(ctx, stageNetwork); err != nil {
		return nil, err
	}
	if s, err = c.update(ctx, s, func(n *Status) { n.Attached = attaches(s.Config) }); err != nil {
		return nil, err
	}
	network := make(chan error, 1)
	var attachment netw.Attachment
	turn := make(chan struct{})
	idle := sync.OnceFunc(func() { close(turn) })
	joining, cancel := context.WithCancel(ctx)
	go func(s Sandbox) {
		defer cancel()
		var err error
		if attaches(s.Config) {
			r := c.request(s)
			r.Idle = turn
			attachment, err = c.o.Networks.Attach(joining, r)
		}
		network <- err
	}(s)
	if s.Config.Namespaces.PID == spec.ModePod { // beside the network
		idle()
		err := op.Advance(ctx, stageInfra)
		if err == nil {
			s, err = c.startInfra(ctx, s)
		}
		if err != nil {
			cancel()
			<-network
			return nil, err
		}
	}
	r := &rising{give: c.give(s), network: network, idle: idle}
	r.arrived = func(ctx context.Context) error {
		if err := c.arrived(ctx, s, attachment); err != nil {
			return err
		}
		if r.keep {
			return nil
		}
		return op.End()
	}
	r.undo = func(ctx context.Context) error { return c.undo(ctx, op, opStart) }
	return r, nil
}

// arrived records the network and writes what it decides into the files that
// the containers have mounted, in place.
func (c *riser) arrived(ctx context.Context, s Sandbox, a netw.Attachment) error {
	s, err := c.update(ctx, s, func(n *Status) {
		n.State, n.Attachment, n.StartedAt, n.Message = Ready, a, c.o.Now(), ""
	})
	if err != nil {
		return err
	}
	if err := failpoint.Reach(ctx, failpoint.PodReady); err != nil {
		return err
	}
	// Its exit command marks a pod that is ready, and this one was not until now.
	if infraGone(ctx, c.records, s) {
		return fmt.Errorf("the infra container of pod %q has ended: %w", s.Config.Name, errdefs.ErrUnavailable)
	}
	return errors.Join(c.writeFiles(ctx, s), c.refreshPeers(ctx, s))
}

// attaches tells whether a sandbox has a network of its own to attach.
func attaches(cfg Config) bool { return cfg.Network.Mode == NetworkCNI }

// ownNet tells whether a sandbox has a network namespace of its own.
func ownNet(cfg Config) bool {
	return cfg.Network.Mode == NetworkCNI || cfg.Network.Mode == NetworkNone
}

func (c *files) request(s Sandbox) netw.Request {
	r := netw.Request{
		ID: s.ID, Name: s.Config.Name, Netns: s.Status.Namespaces.Net, Dir: c.runDir(s.ID), PinDir: c.nsDir(s.ID),
		Networks: s.Config.Network.Networks, Ports: s.Config.Network.Ports, Unrecorded: s.Status.Restarted,
	}
	if k := s.Config.Kube; k != (Kube{}) {
		r.Name, r.Namespace, r.UID = k.Name, k.Namespace, k.UID
		r.Capabilities = capabilities(s)
	}
	return r
}

// capabilities are what the plugins of the kubelet's networks may ask for: the
// conventions of CNI, and what CRI's runtimes agreed on beside them.
func capabilities(s Sandbox) map[string]any {
	caps := map[string]any{"io.kubernetes.cri.pod-annotations": s.Config.Annotations}
	if s.Status.Cgroup != "" {
		caps["cgroupPath"] = s.Status.Cgroup
	}
	if d := s.Config.DNS; len(d.Servers)+len(d.Searches)+len(d.Options) > 0 {
		caps["dns"] = map[string][]string{"servers": d.Servers, "searches": d.Searches, "options": d.Options}
	}
	if b := s.Config.Network.Bandwidth; b != (Bandwidth{}) {
		rates := map[string]uint64{}
		if b.Ingress > 0 {
			rates["ingressRate"], rates["ingressBurst"] = b.Ingress, bandwidthBurst
		}
		if b.Egress > 0 {
			rates["egressRate"], rates["egressBurst"] = b.Egress, bandwidthBurst
		}
		caps["bandwidth"] = rates
	}
	return caps
}

// bandwidthBurst is the greatest burst that the bandwidth plugin takes, in bits.
const bandwidthBurst = math.MaxInt32

// pin makes the namespaces that the containers share.
func (c *riser) pin(ctx context.Context, s Sandbox) (Sandbox, error) {
	cfg := netns.Config{
		Dir: c.nsDir(s.ID), Net: ownNet(s.Config),
		IPC: s.Config.Namespaces.IPC == spec.ModePod, UTS: s.Config.Namespaces.UTS == spec.ModePod,
		UIDs: pinnedMappings(s.Config.Namespaces.UIDMappings), GIDs: pinnedMappings(s.Config.Namespaces.GIDMappings),
		Sysctls: s.Config.Sysctls,
	}
	if cfg.UTS { // else each container has it in its own
		cfg.Hostname = s.Config.Hostname
	}
	if !cfg.Net && !cfg.IPC && !cfg.UTS && len(cfg.UIDs) == 0 {
		return s, nil
	}
	if err := netns.Remove(cfg.Dir); err != nil {
		return s, fmt.Errorf("clearing namespaces of pod %q: %w", s.Config.Name, err)
	}
	pinned, err := netns.Create(ctx, cfg)
	if err != nil {
		return s, fmt.Errorf("making namespaces of pod %q: %w", s.Config.Name, err)
	}
	if err := failpoint.Reach(ctx, failpoint.PodPinned); err != nil {
		return s, err
	}
	return c.update(ctx, s, func(n *Status) {
		n.Namespaces = Pinned{Net: pinned.Net, IPC: pinned.IPC, UTS: pinned.UTS, User: pinned.User}
	})
}

func pinnedMappings(list []spec.IDMapping) []netns.IDMapping {
	var out []netns.IDMapping
	for _, m := range list {
		out = append(out, netns.IDMapping(m))
	}
	return out
}

// makeCgroup makes the parent of the containers' cgroups, where it is davit's to
// make. Its path is recorded first.
func (c *riser) makeCgroup(ctx context.Context, s Sandbox) (Sandbox, error) {
	if s.Config.CgroupsOff {
		return s, nil
	}
	place, err := c.o.CgroupDriver.Pod(s.Config.CgroupParent, s.ID)
	if err != nil {
		return s, fmt.Errorf("making cgroup of pod %q: %w", s.Config.Name, err)
	}
	if !place.Own {
		if s.Config.Kube == (Kube{}) && !reflect.ValueOf(s.Config.Resources).IsZero() {
			return s, fmt.Errorf("pod %q: limits of a pod are set on its slice by who makes it; with cgroup_manager systemd give its containers limits: %w",
				s.Config.Name, errdefs.ErrFailedPrecondition)
		}
		return c.update(ctx, s, func(n *Status) { n.Cgroup, n.Slice = place.Path, place.Parent })
	}
	host, err := c.o.Cgroups()
	if err != nil {
		return s, err
	}
	if s, err = c.update(ctx, s, func(n *Status) { n.Cgroup = place.Path }); err != nil {
		return s, err
	}
	if err := host.Create(ctx, place.Path, c.limits(s).Linux()); err != nil {
		return s, fmt.Errorf("making cgroup of pod %q: %w", s.Config.Name, err)
	}
	return s, failpoint.Reach(ctx, failpoint.PodCgroup)
}

// give is what a container is told of its pod.
func (c *riser) give(s Sandbox) ctr.Sandbox {
	out := ctr.Sandbox{ID: s.ID, Hostname: toldHostname(s.Config), CgroupParent: cmp.Or(s.Status.Slice, s.Status.Cgroup)}
	file := func(name string) string {
		path := filepath.Join(c.runDir(s.ID), name)
		if _, err := os.Lstat(path); err != nil {
			return ""
		}
		return path
	}
	out.Hosts, out.ResolvConf, out.HostnameFile, out.Shm = file(hostsFile), file(resolvFile), file(hostnameFile), file(shmDir)
	pick := func(mode spec.Mode, path string) spec.Namespace {
		if mode == spec.ModePod {
			return spec.Namespace{Mode: spec.ModePod, Path: path}
		}
		return spec.Namespace{Mode: mode}
	}
	n := s.Status.Namespaces
	out.Namespaces.IPC = pick(s.Config.Namespaces.IPC, n.IPC)
	out.Namespaces.UTS = pick(s.Config.Namespaces.UTS, n.UTS)
	out.Namespaces.PID = pick(s.Config.Namespaces.PID, n.PID)
	if n.User != "" {
		out.Namespaces.User = spec.Namespace{Mode: spec.ModePod, Path: n.User}
		out.Namespaces.UIDMappings, out.Namespaces.GIDMappings = s.Config.Namespaces.UIDMappings, s.Config.Namespaces.GIDMappings
	}
	switch s.Config.Network.Mode {
	case NetworkHost:
		out.Namespaces.Network.Mode = spec.ModeHost
	case NetworkPrivate:
		out.Namespaces.Network.Mode = spec.ModePrivate
	default:
		out.Namespaces.Network = spec.Namespace{Mode: spec.ModePod, Path: n.Net}
	}
	return out
}
