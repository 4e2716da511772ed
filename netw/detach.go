package netw

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"

	"github.com/containerd/errdefs"
	"github.com/containernetworking/cni/libcni"
	"github.com/davit-containers/davit/ctr/record"
	"github.com/davit-containers/davit/ctr/record/failpoint"
	"github.com/davit-containers/davit/netw/bridge"
	"github.com/davit-containers/davit/netw/netns"
	"github.com/davit-containers/davit/netw/nft"
)

// undoing says what an undo may rely on.
type undoing struct {
	netns  string // path of the namespace; empty if it is gone
	pinDir string // folder of pins to remove on the way
}

// Detach undoes an attachment: withdraws its ports, leaves every network in reverse
// order, which is to call DEL with the configuration that ADD had where the network
// is not davit's own, and removes the record.
// Of r it needs ID and Dir; Netns, PinDir and NetnsGone say what there still is
// of the namespace. It works alike after an Attach that was killed anywhere.
//
// It is idempotent; an attachment that is not on record is success. Every step
// is tried, the errors are joined, and the record stays until all of them
// worked, so that Detach can be repeated. With Unrecorded, DEL is called without
// a record too, for the host's networks as they are configured now, and without a
// namespace. With PinDir the pins are removed
// unless a network that needs the namespace could not be left: many a plugin
// finds in there what it has to take away on the host.
func (a *Attacher) Detach(ctx context.Context, r Request) error {
	if err := r.checkTarget(); err != nil {
		return err
	}
	in, err := readIntent(r.Dir)
	if errors.Is(err, errdefs.ErrNotFound) {
		if r.Unrecorded {
			err = a.leaveUnrecorded(ctx, r)
		} else {
			err = nil
		}
		return errors.Join(err, a.forget(ctx, &intent{ID: r.ID, dir: r.Dir}), unpin(r.PinDir))
	}
	if err != nil {
		return errors.Join(fmt.Errorf("detaching %q: %w", r.ID, err), unpin(r.PinDir))
	}
	if in.ID != r.ID {
		return fmt.Errorf("detaching %q: %s holds the attachment of %q: %w", r.ID, r.Dir, in.ID, errdefs.ErrInvalidArgument)
	}
	u := undoing{netns: r.Netns, pinDir: r.PinDir}
	if u.netns == "" {
		u.netns = in.Netns
	}
	if r.NetnsGone || !isNetns(u.netns) {
		u.netns = ""
	}
	return a.undo(ctx, in, u)
}

// isNetns reports whether path can still be entered.
func isNetns(path string) bool {
	ok, err := netns.Pin(path)
	return ok && err == nil
}

// undo carries out all steps, joins their errors, and removes the record if
// there were none. Networks that need the namespace come first, then the pins
// go, then davit's own bridges: the kernel removes the interfaces with the
// namespace, in the background.
func (a *Attacher) undo(ctx context.Context, in *intent, u undoing) error {
	var errs []error
	blind := in.Result == nil || in.Leaving || u.netns == "" // plugins do not find all that they made
	markLeaving(in)
	if in.TablePorts {
		settled, err := a.withdraw(in)
		defer func() { <-settled }()
		errs = append(errs, err, failpoint.Reach(ctx, failpoint.NetworkWithdrawn), forgetFlows(in.elements()))
	}
	early := func(j join) bool { return u.pinDir == "" || !j.Managed }
	left := a.leave(ctx, in, u.netns, early)
	errs = append(errs, left)
	if u.pinDir != "" {
		if left == nil {
			errs = append(errs, unpin(u.pinDir))
			u.netns = ""
		}
		errs = append(errs, a.leave(ctx, in, u.netns, func(j join) bool { return !early(j) }))
	}
	if blind && errors.Join(errs...) == nil { // bridge fails without the chain
		errs = append(errs, dropMasquerade(ctx, in))
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("detaching %q: %w", in.ID, err)
	}
	return a.forget(ctx, in)
}

// leave leaves, in reverse order, the networks that are selected.
func (x *joiner) leave(ctx context.Context, in *intent, path string, selected func(join) bool) error {
	var errs []error
	for i := len(in.Joins) - 1; i >= 0; i-- {
		j := in.Joins[i]
		if !selected(j) {
			continue
		}
		err := failpoint.Reach(ctx, failpoint.NetworkDel)
		if err == nil {
			err = x.leaveOne(ctx, in, j, path)
		}
		if err == nil {
			err = failpoint.Reach(ctx, failpoint.NetworkLeft)
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("leaving network %q: %w", j.Network, err))
		}
	}
	return errors.Join(errs...)
}

// leaveOne leaves a network: one of davit's own by itself, else by DEL.
func (x *joiner) leaveOne(ctx context.Context, in *intent, j join, path string) error {
	defer record.Span(ctx, "network del "+j.Network, in.ID)()
	if j.Managed {
		return x.unplug(in, j, path)
	}
	list, err := libcni.NetworkConfFromBytes(j.Conflist)
	if err != nil {
		return err
	}
	return x.del(ctx, list, in, in.runtimeConf(j, path))
}

// unplug leaves one of davit's own bridges. The addresses go last: nobody else is
// given one while an interface has it.
func (x *joiner) unplug(in *intent, j join, path string) error {
	if path != "" {
		if err := bridge.Leave(path, j.IfName); err != nil {
			return err
		}
	}
	var known []netip.Addr
	if in.Result != nil {
		for _, i := range in.Result.Interfaces {
			if i.Network == j.Network && i.Name == j.IfName {
				known = addresses(i.IPs)
			}
		}
	}
	return x.known.pool(j.Network, nil).free(holder{in.ID, j.IfName}, known)
}

// del calls DEL, and once more if it fails after an ADD that did not come to its
// end: a plugin that trips over what is only half there (bridge over a masquerading
// chain that was not made yet, where iptables is nft's) has taken it away by then.
func (x *joiner) del(ctx context.Context, list *libcni.NetworkConfigList, in *intent, rc *libcni.RuntimeConf) error {
	err := x.cni.DelNetworkList(ctx, list, rc)
	if err == nil || in.Result != nil || ctx.Err() != nil {
		return err
	}
	return x.cni.DelNetworkList(ctx, list, rc)
}

// leaveUnrecorded calls DEL for an attachment that a restart of the machine took
// the record of, so that the host's networks free what they keep on disk: its
// addresses. What davit's own networks keep went with the record. A network that
// is configured no more cannot be left, and is no reason to keep the sandbox.
func (a *Attacher) leaveUnrecorded(ctx context.Context, r Request) error {
	if len(r.Networks) == 0 {
		r.Networks = []Ref{{Name: a.config.Default}}
	}
	in := &intent{ID: r.ID}
	for i, ref := range r.Networks {
		if ref.Name == Builtin && !ref.Host {
			continue
		}
		find := a.find
		if ref.Host {
			find = a.findHost
		}
		n, err := find(ref.Name)
		if errors.Is(err, errdefs.ErrNotFound) {
			a.log.Warn("a network of before the machine's restart is not there to be left", "sandbox", r.ID, "network", ref.Name)
			continue
		}
		if err != nil {
			return err
		}
		if n.Origin != OriginHost {
			continue
		}
		j := n.join(r, i)
		if i == 0 && len(r.Ports) > 0 && n.capable("portMappings") {
			j.Capabilities["portMappings"] = portMappings(r.Ports)
		}
		in.Joins = append(in.Joins, j)
	}
	return a.leave(ctx, in, "", func(join) bool { return true })
}

// withdraw removes the published ports of a sandbox from the table; settled is
// that of Table.Remove. That they are withdrawn is noted in the same critical section:
// the record stays until all networks are left, and whoever makes the table anew
// meanwhile publishes what is on record.
func (f *firewall) withdraw(in *intent) (settled <-chan struct{}, err error) {
	nothing := make(chan struct{})
	close(nothing)
	settled = nothing
	err = f.locked(func() (err error) {
		markWithdrawn(in)
		settled, err = f.table.Remove(func(e nft.Element) bool { return e.Owner == in.ID })
		return err
	})
	return settled, err
}

// markWithdrawn notes that the ports of a complete attachment are no more to be
// published.
func markWithdrawn(in *intent) {
	if in.Withdrawn || in.Result == nil {
		return
	}
	in.Withdrawn = true
	in.note()
}

func unpin(dir string) error {
	if dir == "" {
		return nil
	}
	if _, err := os.Lstat(dir); err != nil && os.IsNotExist(err) {
		return nil
	}
	return netns.Remove(dir)
}
