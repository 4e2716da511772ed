package netw

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/containernetworking/cni/libcni"
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
	s := &sweep{Attacher: a, valid: valid}
	var errs []error
	ids, err := a.attachedIDs()
	errs = append(errs, err)
	for _, id := range ids {
		if !valid(id) {
			errs = append(errs, s.recorded(ctx, id))
		}
	}
	errs = append(errs, s.cached(ctx), s.reservations(), s.ports())
	errs = append(errs, a.locked(a.finishRemovals))
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("collecting leftover attachments: %w", err)
	}
	return nil
}

// sweep is one run of Collect.
type sweep struct {
	*Attacher
	valid func(id string) bool
}

// recorded detaches by the record; one that is lost or unreadable leaves
// its traces to the other collectors.
func (s *sweep) recorded(ctx context.Context, id string) error {
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

// cached calls DEL for what libcni has in its cache without a record.
func (s *sweep) cached(ctx context.Context) error {
	cached, err := s.cni.GetCachedAttachments("")
	if err != nil {
		return fmt.Errorf("reading the cache of attachments: %w", err)
	}
	var errs []error
	for _, c := range cached {
		if s.onRecord(c.ContainerID) || s.valid(c.ContainerID) {
			continue
		}
		s.log.Info("collecting leftover attachment", "sandbox", c.ContainerID, "network", c.Network)
		errs = append(errs, s.leaveCached(ctx, c))
	}
	return errors.Join(errs...)
}

// reservations frees addresses that sandboxes have which are gone.
func (s *sweep) reservations() error {
	all, err := s.reserved()
	errs := []error{err}
	for _, r := range all {
		if s.onRecord(r.id) || s.valid(r.id) {
			continue
		}
		s.log.Info("freeing leftover address", "sandbox", r.id, "address", filepath.Base(r.file))
		errs = append(errs, absent(os.Remove(r.file)))
	}
	return errors.Join(errs...)
}

// ports withdraws published ports of sandboxes that are gone.
func (s *sweep) ports() error {
	elements, err := s.table.Elements()
	if err != nil {
		return err
	}
	gone := make(map[string]bool)
	for _, e := range elements {
		if e.Owner != "" && !s.onRecord(e.Owner) && !s.valid(e.Owner) {
			gone[e.Owner] = true
		}
	}
	if len(gone) == 0 {
		return nil
	}
	return s.locked(func() error {
		settled, err := s.table.Remove(func(e nft.Element) bool { return gone[e.Owner] })
		<-settled
		return err
	})
}

// GC asks the plugins of a host network to drop what they hold for sandboxes
// that are gone (CNI 1.1's GC; plugins of older configurations have none). It
// must be called only where no other runtime uses the network: a plugin cannot
// tell whose attachments it holds.
func (a *Attacher) GC(ctx context.Context, name string) error {
	n, err := a.find(name)
	if err != nil || n.managed() {
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
				errs = append(errs, bridge.Plug(n.bridgeConfig(), in.Result.Interfaces[i].HostName))
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
