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

// Collect ends the attachments of sandboxes that are gone: those on record, and
// what is left in libcni's cache, the address reservations and the nft table
// without a record. valid says whether a sandbox of that ID still exists; it is
// asked after the leftovers were listed, so a sandbox that is put on record
// before it is attached is never taken for gone. Everything is tried, the
// errors are joined.
func (a *Attacher) Collect(ctx context.Context, valid func(id string) bool) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if _, err := os.Stat(a.dir()); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	found, err := Leftovers(a, valid)
	errs := []error{err}
	for _, f := range found {
		errs = append(errs, f.Mend(ctx))
	}
	errs = append(errs, a.locked(a.finishRemovals))
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("collecting leftover attachments: %w", err)
	}
	return nil
}

// Leftovers finds what Collect ends, and the ports of davit's bridges that are no
// sandbox's.
func Leftovers(a *Attacher, valid func(id string) bool) ([]record.Finding, error) {
	if _, err := os.Stat(a.dir()); errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	s := &sweep{Attacher: a, valid: valid}
	var (
		found []record.Finding
		errs  []error
	)
	for _, look := range []func() ([]record.Finding, error){s.recorded, s.cached, s.reservations, s.ports, s.links} {
		more, err := look()
		found, errs = append(found, more...), append(errs, err)
	}
	return found, errors.Join(errs...)
}

// sweep is one look for what sandboxes that are gone have left.
type sweep struct {
	*Attacher
	valid func(id string) bool
}

// gone is the problem of what a sandbox has left.
func gone(id string) string { return fmt.Sprintf("there is no pod %q", id) }

// recorded finds attachments on record.
func (s *sweep) recorded() ([]record.Finding, error) {
	ids, err := s.attachedIDs()
	var found []record.Finding
	for _, id := range ids {
		if s.valid(id) {
			continue
		}
		found = append(found, record.Finding{
			Kind: "network attachment", Object: id, Problem: gone(id), Repair: "leave its networks",
			Mend: func(ctx context.Context) error { return s.leave(ctx, id) },
		})
	}
	return found, err
}

// leave detaches by the record; one that is lost or unreadable leaves its traces
// to the other collectors.
func (s *sweep) leave(ctx context.Context, id string) error {
	target, err := os.Readlink(s.dir("attached", id))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	in, err := readIntent(filepath.Dir(target))
	if err != nil || in.ID != id {
		s.log.Warn("attachment has no readable record, cleaning up by its traces", "sandbox", id, "error", err)
		if err := os.Remove(s.dir("attached", id)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		return nil
	}
	s.log.Info("collecting leftover attachment", "sandbox", id)
	r := Request{ID: id, Dir: in.dir}
	// pins are removed only where they can be nobody else's
	if strings.HasPrefix(filepath.Clean(in.Netns), filepath.Clean(s.config.RunRoot)+"/") {
		r.PinDir = filepath.Dir(in.Netns)
	}
	return s.Detach(ctx, r)
}

// onRecord reports whether an attachment is known by that ID.
func (l *ledger) onRecord(id string) bool {
	_, err := os.Lstat(l.dir("attached", id))
	return err == nil
}

// cached finds what libcni has in its cache without a record.
func (s *sweep) cached() ([]record.Finding, error) {
	cached, err := s.cni.GetCachedAttachments("")
	if err != nil {
		return nil, fmt.Errorf("reading the cache of attachments: %w", err)
	}
	var found []record.Finding
	for _, c := range cached {
		if s.onRecord(c.ContainerID) || s.valid(c.ContainerID) {
			continue
		}
		found = append(found, record.Finding{
			Kind: "cached attachment", Object: c.ContainerID + " to " + c.Network, Problem: gone(c.ContainerID), Repair: "call DEL of its plugins",
			Mend: func(ctx context.Context) error { return s.leaveCached(ctx, c) },
		})
	}
	return found, nil
}

// leaveCached calls DEL for an attachment in libcni's cache.
func (s *sweep) leaveCached(ctx context.Context, c *libcni.NetworkAttachment) error {
	s.log.Info("collecting leftover attachment", "sandbox", c.ContainerID, "network", c.Network)
	list, err := libcni.NetworkConfFromBytes(c.Config)
	if err == nil {
		rt := &libcni.RuntimeConf{ContainerID: c.ContainerID, IfName: c.IfName, Args: c.CniArgs, CapabilityArgs: c.CapabilityArgs}
		if isNetns(c.NetNS) {
			rt.NetNS = c.NetNS
		}
		err = s.cni.DelNetworkList(ctx, list, rt)
	}
	if err != nil {
		return fmt.Errorf("leaving network %q for %q: %w", c.Network, c.ContainerID, err)
	}
	return nil
}

// reservations finds addresses that host-local holds: its files are named after
// the address and begin with the ID.
func (s *sweep) reservations() ([]record.Finding, error) {
	files, err := filepath.Glob(filepath.Join(s.dir("ipam"), "*", "*"))
	if err != nil {
		return nil, err
	}
	var (
		found []record.Finding
		errs  []error
	)
	for _, file := range files {
		// host-local writes IPv6 addresses with dashes for colons on some systems
		if _, err := netip.ParseAddr(strings.ReplaceAll(filepath.Base(file), "-", ":")); err != nil {
			continue
		}
		b, err := os.ReadFile(file)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			errs = append(errs, err)
			continue
		}
		id, _, _ := strings.Cut(strings.TrimSpace(string(b)), "\n")
		id = strings.TrimSpace(id)
		if id == "" || s.onRecord(id) || s.valid(id) {
			continue
		}
		found = append(found, record.Finding{
			Kind: "address", Object: filepath.Base(file), Problem: gone(id), Repair: "free it",
			Mend: func(context.Context) error {
				s.log.Info("freeing leftover address", "sandbox", id, "address", filepath.Base(file))
				if err := os.Remove(file); err != nil && !errors.Is(err, fs.ErrNotExist) {
					return err
				}
				return nil
			},
		})
	}
	return found, errors.Join(errs...)
}

// ports finds published ports in davit's table.
func (s *sweep) ports() ([]record.Finding, error) {
	elements, err := s.table.Elements()
	if err != nil {
		return nil, err
	}
	var found []record.Finding
	seen := map[string]bool{}
	for _, e := range elements {
		if e.Owner == "" || seen[e.Owner] || s.onRecord(e.Owner) || s.valid(e.Owner) {
			continue
		}
		seen[e.Owner] = true
		found = append(found, record.Finding{
			Kind: "published ports", Object: e.Owner, Problem: gone(e.Owner), Repair: "withdraw them",
			Mend: func(context.Context) error {
				return s.locked(func() error {
					settled, err := s.table.Remove(func(o nft.Element) bool { return o.Owner == e.Owner })
					<-settled
					return err
				})
			},
		})
	}
	return found, nil
}

// links finds ports of davit's bridges that belong to no attachment. While one is
// on its way, whose links are not on record yet, it finds none.
func (s *sweep) links() ([]record.Finding, error) {
	all, err := s.intents()
	if err != nil {
		return nil, err
	}
	known := map[string]bool{}
	for _, in := range all {
		if in.Result == nil {
			return nil, nil
		}
		for _, i := range in.Result.Interfaces {
			known[i.HostName] = true
		}
	}
	nets, err := s.ownNetworks()
	if err != nil {
		return nil, err
	}
	var found []record.Finding
	for _, n := range nets {
		if !n.managed() {
			continue
		}
		ports, err := bridge.Ports(n.Interface)
		if err != nil {
			return found, err
		}
		for _, port := range ports {
			if !known[port] && !s.joining() && stays(n.Interface, port) {
				found = append(found, record.Finding{
					Kind: "link", Object: port, Problem: fmt.Sprintf("it is a port of bridge %q and of no pod", n.Interface), Repair: "delete it",
					Mend: func(context.Context) error { return bridge.RemovePort(n.Interface, port) },
				})
			}
		}
	}
	return found, nil
}

// stays says whether an interface is still there after the time in which the
// kernel takes away those of a namespace that is gone.
func stays(name, port string) bool {
	for range 20 {
		ports, err := bridge.Ports(name)
		if err != nil || !slices.Contains(ports, port) {
			return false
		}
		time.Sleep(50 * time.Millisecond)
	}
	return true
}

// joining says whether an attachment is on its way.
func (s *sweep) joining() bool {
	all, err := s.intents()
	return err != nil || slices.ContainsFunc(all, func(in *intent) bool { return in.Result == nil })
}

// GC asks the plugins of a host network to drop what they hold for sandboxes
// that are gone (CNI 1.1's GC; plugins of older configurations have none). It
// must be called only where no other runtime uses the network: a plugin cannot
// tell whose attachments it holds.
func (a *Attacher) GC(ctx context.Context, name string) error {
	n, err := a.find(name)
	if err != nil {
		return err
	}
	list, err := libcni.NetworkConfFromBytes(n.conflist)
	if err != nil {
		return fmt.Errorf("network %q: %w", name, err)
	}
	all, err := a.intents()
	if err != nil {
		return err
	}
	args := &libcni.GCArgs{}
	for _, in := range all {
		for _, j := range in.Joins {
			if j.Network == name {
				args.ValidAttachments = append(args.ValidAttachments, gcAttachment(in, j))
			}
		}
	}
	if err := a.cni.GCNetworkList(ctx, list, args); err != nil {
		return fmt.Errorf("collecting attachments of network %q: %w", name, err)
	}
	return nil
}

// Reload mends what the host has of all networks in use: bridges, interfaces
// that fell off them, the nft table with all published ports. It is for use
// after something else changed the host's network, as a firewall's restart does;
// new attachments mend the table by themselves.
func (a *Attacher) Reload(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	all, err := a.intents()
	errs := []error{err}
	nets, err := a.ownNetworks()
	errs = append(errs, err)
	var used []Network
	for _, n := range nets {
		if !n.managed() || !slices.ContainsFunc(all, func(in *intent) bool { return in.joins(n.Name) >= 0 }) {
			continue
		}
		used = append(used, n)
		errs = append(errs, ensureBridge(n))
		for _, in := range all {
			if i := in.joins(n.Name); i >= 0 && in.Result != nil && i < len(in.Result.Interfaces) {
				errs = append(errs, bridge.Plug(n.Interface, in.Result.Interfaces[i].HostName))
			}
		}
	}
	if len(used) > 0 || slices.ContainsFunc(all, func(in *intent) bool { return in.TablePorts }) {
		errs = append(errs, a.locked(a.replaceTable), a.openForwarding(ctx, used))
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("reloading networks: %w", err)
	}
	return nil
}

// joins is the index of the network in the attachment, or -1.
func (in *intent) joins(network string) int {
	return slices.IndexFunc(in.Joins, func(j join) bool { return j.Network == network })
}
