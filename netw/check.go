package netw

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/containernetworking/cni/libcni"

	"github.com/davit-containers/davit/ctr/record"
	"github.com/davit-containers/davit/netw/bridge"
	"github.com/davit-containers/davit/netw/nft"
)

// goingTime is how long the interface of a namespace may take to go that has gone.
const goingTime = 3 * time.Second

// Check finds what does not agree with the attachments on record: attachments,
// addresses, published ports and interfaces of sandboxes that hold none, and what
// attached sandboxes lack of their bridge, interface, address and ports. o tells
// what sandboxes may have; it is asked after the leftovers were listed. Of the
// host's networks it finds what libcni's cache tells. Everything is looked at, the
// errors are joined.
func Check(ctx context.Context, a *Attacher, o record.Owners) ([]record.Finding, error) {
	if _, err := os.Stat(a.dir()); errors.Is(err, fs.ErrNotExist) {
		return nil, ctx.Err()
	}
	c := &audit{Attacher: a, owners: o}
	err := errors.Join(c.attachments(), c.cached(), c.addresses(), c.ports(), c.bridges(ctx), c.retired())
	if err != nil {
		err = fmt.Errorf("checking networks: %w", err)
	}
	return c.list, err
}

// audit is one run of Check.
type audit struct {
	*Attacher
	owners record.Owners
	list   []record.Finding
}

// left tells of something that a sandbox has which holds nothing.
func (c *audit) left(id string, f record.Finding, there func() bool, mend func(context.Context) error) {
	if c.owners.Use(id) == record.Held || !there() {
		return
	}
	f.Mend = c.owners.Mend(id, mend)
	c.list = append(c.list, f)
}

// attachments are those on record.
func (c *audit) attachments() error {
	ids, err := c.attachedIDs()
	for _, id := range ids {
		f := record.Finding{
			Kind: "network", Object: c.dir("attached", id), Problem: "no pod holds this attachment", Repair: "leave its networks",
		}
		c.left(id, f, func() bool { return c.onRecord(id) }, func(ctx context.Context) error {
			return (&sweep{Attacher: c.Attacher}).recorded(ctx, id)
		})
	}
	return err
}

// cached are those of libcni's cache without a record.
func (c *audit) cached() error {
	cached, err := c.cni.GetCachedAttachments("")
	for _, at := range cached {
		f := record.Finding{
			Kind: "network", Object: fmt.Sprintf("attachment of %s to network %q", at.ContainerID, at.Network),
			Problem: "no pod holds it, and there is no record of it", Repair: "leave the network",
		}
		there := func() bool {
			now, err := c.cni.GetCachedAttachments(at.ContainerID)
			return err == nil && len(now) > 0 && !c.onRecord(at.ContainerID)
		}
		c.left(at.ContainerID, f, there, func(ctx context.Context) error { return c.leaveCached(ctx, at) })
	}
	return err
}

// leaveCached calls DEL for an attachment of the cache.
func (x *joiner) leaveCached(ctx context.Context, at *libcni.NetworkAttachment) error {
	list, err := libcni.NetworkConfFromBytes(at.Config)
	if err == nil {
		rt := &libcni.RuntimeConf{ContainerID: at.ContainerID, IfName: at.IfName, Args: at.CniArgs, CapabilityArgs: at.CapabilityArgs}
		if isNetns(at.NetNS) {
			rt.NetNS = at.NetNS
		}
		err = x.cni.DelNetworkList(ctx, list, rt)
	}
	if err != nil {
		return fmt.Errorf("leaving network %q for %q: %w", at.Network, at.ContainerID, err)
	}
	return nil
}

// addresses are the reserved ones of davit's own networks.
func (c *audit) addresses() error {
	all, err := c.reserved()
	for _, r := range all {
		if c.onRecord(r.id) {
			continue // a finding of its own, if it is one
		}
		f := record.Finding{Kind: "address", Object: r.file, Problem: fmt.Sprintf("it is reserved for %s, which holds no network", r.id), Repair: "free it"}
		there := func() bool { return r.holder == reservedBy(r.file) }
		c.left(r.id, f, there, func(context.Context) error {
			if !there() {
				return nil
			}
			return absent(os.Remove(r.file))
		})
	}
	return err
}

func absent(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// ports are the elements of the nft table.
func (c *audit) ports() error {
	elements, err := c.table.Elements()
	for _, e := range elements {
		if e.Owner == "" || c.onRecord(e.Owner) {
			continue
		}
		f := record.Finding{
			Kind: "port", Object: fmt.Sprintf("host port %d/%s, to %s", e.HostPort, e.Protocol, e.To),
			Problem: fmt.Sprintf("it is published for %s, which holds no network", e.Owner), Repair: "withdraw it",
		}
		there := func() bool {
			now, err := c.table.Elements()
			return err == nil && slices.Contains(now, e) && !c.onRecord(e.Owner)
		}
		c.left(e.Owner, f, there, func(context.Context) error {
			settled, err := c.withdraw(&intent{ID: e.Owner})
			<-settled
			return err
		})
	}
	return err
}

// bridges looks at davit's own networks: interfaces that no attachment has, and
// what attachments lack.
func (c *audit) bridges(ctx context.Context) error {
	nets, err := c.ownNetworks()
	if err != nil {
		return err
	}
	plugged := map[string][]bridge.Port{}
	for _, n := range nets {
		if !n.managed() {
			continue
		}
		if plugged[n.Name], err = bridge.Ports(n.Interface); err != nil {
			return err
		}
	}
	all, err := c.intents()
	if err != nil {
		return err
	}
	known, joining := map[string]bool{}, false
	for _, in := range all {
		joining = joining || in.Result == nil
		if in.Result != nil {
			for _, i := range in.Result.Interfaces {
				known[i.HostName] = true
			}
		}
	}
	var used []Network
	for _, n := range nets {
		if !n.managed() {
			continue
		}
		strays := slices.DeleteFunc(slices.Clone(plugged[n.Name]), func(p bridge.Port) bool {
			return !p.Veth || known[p.Name] || joining // whose it is that is being joined is not known yet
		})
		if strays, err = bridge.Staying(ctx, strays, goingTime); err != nil {
			return err
		}
		for _, p := range strays {
			c.stray(n, p)
		}
		if slices.ContainsFunc(all, func(in *intent) bool { return in.Result != nil && in.joins(n.Name) >= 0 }) {
			used = append(used, n)
		}
	}
	c.lacks(all, used, plugged)
	return c.tabled(all, used)
}

// stray tells of an interface that no attachment has.
func (c *audit) stray(n Network, p bridge.Port) {
	c.list = append(c.list, record.Finding{
		Kind: "link", Object: fmt.Sprintf("interface %s (%d) on bridge %s", p.Name, p.Index, n.Interface),
		Problem: "no pod is attached by it", Repair: "delete it",
		Mend: func(context.Context) error {
			all, err := c.intents()
			if err != nil {
				return err
			}
			for _, in := range all {
				if in.Result == nil || slices.ContainsFunc(in.Result.Interfaces, func(i Interface) bool { return i.HostName == p.Name }) {
					return nil // it may be this one's
				}
			}
			return bridge.Unplug(p)
		},
	})
}

// settledFor tells whether an attachment is complete, and nobody is at work on it.
func (c *audit) settledFor(in *intent) bool {
	return in.Result != nil && c.owners.Use(in.ID) == record.Held && !c.owners.Busy(in.ID)
}

// lacks tells what attachments have not that they are on record with.
func (c *audit) lacks(all []*intent, used []Network, plugged map[string][]bridge.Port) {
	held, _ := c.reserved()
	for _, in := range all {
		for _, n := range used {
			i := in.joins(n.Name)
			if i < 0 || in.Result == nil || i >= len(in.Result.Interfaces) {
				continue
			}
			have := in.Result.Interfaces[i]
			port := slices.ContainsFunc(plugged[n.Name], func(p bridge.Port) bool { return p.Name == have.HostName })
			free := slices.IndexFunc(have.IPs, func(ip netip.Prefix) bool {
				return !slices.ContainsFunc(held, func(r reserved) bool { return r.id == in.ID && addressOf(r.file) == ip.Addr() })
			})
			if port && free < 0 || !c.still(in) {
				continue
			}
			object := fmt.Sprintf("pod %q (%s) on network %q", in.Name, in.ID, n.Name)
			if up, err := bridge.Exists(have.HostName); !port && err == nil && !up {
				c.list = append(c.list, record.Finding{
					Kind: "link", Object: object, Problem: fmt.Sprintf("its interface %s is gone", have.HostName), Repair: "restart the pod",
				})
			} else if !port && err == nil {
				c.list = append(c.list, record.Finding{
					Kind: "link", Object: object, Problem: fmt.Sprintf("its interface %s is not on bridge %s", have.HostName, n.Interface),
					Repair: "plug it in", Mend: c.Reload,
				})
			}
			if free >= 0 {
				c.list = append(c.list, record.Finding{
					Kind: "address", Object: object, Problem: fmt.Sprintf("its address %s is not reserved for it", have.IPs[free].Addr()),
					Repair: "reserve it", Mend: func(context.Context) error { return c.reserveAgain(in, n, have) },
				})
			}
		}
	}
}

// still tells whether an attachment is on record as it was read, and nobody is at
// work on it.
func (c *audit) still(in *intent) bool {
	if !c.settledFor(in) {
		return false
	}
	now, err := readIntent(in.dir)
	return err == nil && now.ID == in.ID && now.Created.Equal(in.Created)
}

// reserveAgain reserves the addresses of an attachment, unless somebody has them by
// now.
func (c *audit) reserveAgain(in *intent, n Network, have Interface) error {
	p := c.pool(n.Name, n.Subnets)
	for _, ip := range have.IPs {
		if _, err := p.reserve(holder{in.ID, have.Name}, ip.Addr()); err != nil {
			return err
		}
	}
	return nil
}

// tabled looks whether the nft table stands, and has the ports that are on record.
func (c *audit) tabled(all []*intent, used []Network) error {
	var known []nft.Network
	for _, n := range used {
		known = append(known, n.tableEntry())
	}
	stands, err := c.table.Holds(known)
	if err != nil {
		return err
	}
	var settled []*intent
	for _, in := range all {
		if in.Result != nil && (in.TablePorts || slices.ContainsFunc(in.Joins, func(j join) bool { return j.Managed })) {
			settled = append(settled, in)
		}
	}
	if len(settled) == 0 {
		return nil
	}
	if !stands && slices.ContainsFunc(settled, c.still) {
		c.list = append(c.list, record.Finding{
			Kind: "firewall", Object: "nft table " + c.table.Name(), Problem: "it is not as davit made it", Repair: "make it anew", Mend: c.Reload,
		})
		return nil
	}
	have, err := c.table.Elements()
	if err != nil {
		return err
	}
	for _, in := range settled {
		for _, e := range in.published() {
			if slices.Contains(have, e) || !c.still(in) {
				continue
			}
			c.list = append(c.list, record.Finding{
				Kind: "port", Object: fmt.Sprintf("pod %q (%s), host port %d/%s", in.Name, in.ID, e.HostPort, e.Protocol),
				Problem: "it is not published", Repair: "make the firewall table anew", Mend: c.Reload,
			})
		}
	}
	return nil
}

// retired are networks whose removal was cut short.
func (c *audit) retired() error {
	for _, dir := range []string{c.dir(), filepath.Join(c.root, "networks")} {
		entries, err := os.ReadDir(dir)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		for _, e := range entries {
			if !strings.HasSuffix(e.Name(), retiredSuffix) {
				continue
			}
			path := filepath.Join(dir, e.Name())
			// Whoever removes a network holds the lock all the while.
			err := c.locked(func() error { _, err := os.Lstat(path); return err })
			if err != nil {
				continue
			}
			c.list = append(c.list, record.Finding{
				Kind: "network", Object: path, Problem: "its removal was cut short", Repair: "finish it",
				Mend: func(context.Context) error { return c.locked(c.finishRemovals) },
			})
		}
	}
	return nil
}
