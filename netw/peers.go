package netw

import (
	"context"
	"errors"
	"fmt"
	"net/netip"

	"github.com/containerd/errdefs"
)

// HostEntry is a sandbox's line in the hosts files of its neighbours.
type HostEntry struct {
	// ID is the sandbox's ID.
	ID string
	// IPs are its addresses on the network.
	IPs []netip.Addr
	// Names are its name and its aliases on the network, without duplicates;
	// never empty.
	Names []string
}

// Peers lists the sandboxes attached to a user-made network, by which its
// containers find each other: whoever attaches or detaches a sandbox writes
// these entries into the hosts files of all of them. The built-in network and
// the host's have no names, and neither have networks with DNSDisabled: the
// list is empty. ErrNotFound if there is no such network.
func (a *Attacher) Peers(ctx context.Context, network string) ([]HostEntry, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if network == Builtin {
		return nil, nil
	}
	all, err := a.intents()
	var entries []HostEntry
	for _, in := range all {
		for i, j := range in.Joins {
			if j.Network == network && j.Names && in.Result != nil && i < len(in.Result.Interfaces) {
				if e := in.hostEntry(i); len(e.Names) > 0 {
					entries = append(entries, e)
				}
			}
		}
	}
	if len(entries) == 0 && err == nil {
		_, err = a.find(network)
	}
	if err != nil && !errors.Is(err, errdefs.ErrNotFound) {
		err = fmt.Errorf("listing sandboxes of network %q: %w", network, err)
	}
	return entries, err
}

// hostEntry is the sandbox's entry for its i-th network.
func (in *intent) hostEntry(i int) HostEntry {
	e := HostEntry{ID: in.ID}
	for _, p := range in.Result.Interfaces[i].IPs {
		e.IPs = append(e.IPs, p.Addr())
	}
	seen := map[string]bool{"": true}
	for _, name := range append([]string{in.Name}, in.Joins[i].Aliases...) {
		if !seen[name] {
			seen[name] = true
			e.Names = append(e.Names, name)
		}
	}
	return e
}

// PeerNetworks lists the networks of an attachment whose containers know each
// other by name: those for which Peers is worth asking.
func PeerNetworks(dir string) ([]string, error) {
	in, err := readIntent(dir)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, j := range in.Joins {
		if j.Names {
			names = append(names, j.Network)
		}
	}
	return names, nil
}
