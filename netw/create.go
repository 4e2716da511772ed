package netw

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/containerd/errdefs"
	"github.com/davit-containers/davit/ctr/record"
	"github.com/davit-containers/davit/netw/bridge"
)

// Create makes a network of the user's and returns it with everything that was
// chosen for it: driver (bridge), interface, subnets, gateways. Nothing is set up
// on the host before its first use.
//
// ErrAlreadyExists: the name, the bridge or a subnet is taken. ErrInvalidArgument:
// a value that cannot be. ErrNotFound: no such parent interface.
func (a *Attacher) Create(ctx context.Context, n Network) (Network, error) {
	if err := ctx.Err(); err != nil {
		return Network{}, err
	}
	n.Origin, n.Created = OriginUser, time.Now().UTC()
	if n.Driver == "" {
		n.Driver = DriverBridge
	}
	n.Subnets = slices.Clone(n.Subnets)
	if err := n.check(); err != nil {
		return Network{}, fmt.Errorf("creating network %q: %w", n.Name, err)
	}
	dir := filepath.Join(a.config.Root, "networks")
	if err := os.MkdirAll(dir, 0o711); err != nil {
		return Network{}, fmt.Errorf("creating network %q: %w", n.Name, err)
	}
	err := a.locked(func() error {
		if err := a.finishRemovals(); err != nil {
			return err
		}
		if err := a.nameFree(n.Name); err != nil {
			return err
		}
		if err := a.complete(&n); err != nil {
			return err
		}
		b, err := conflist(n, a.dir("ipam"))
		if err != nil {
			return err
		}
		n.File = a.userFile(n.Name)
		return record.WriteAtomic(n.File, append(b, '\n'), record.WriteOptions{Mode: 0o644, Sync: true})
	})
	if err != nil {
		return Network{}, fmt.Errorf("creating network %q: %w", n.Name, err)
	}
	return n, nil
}

// isReserved reports whether --network gives a name a meaning of its own.
func isReserved(name string) bool {
	switch name {
	case Builtin, "host", "none", "private", "bridge", "default", "container", "ns", "pod", "slirp4netns", "pasta":
		return true
	}
	return false
}

// check refuses what cannot be, without looking at the host.
func (n Network) check() error {
	if err := CheckName(n.Name); err != nil {
		return err
	}
	if isReserved(n.Name) {
		return fmt.Errorf("the name has a meaning of its own: %w", errdefs.ErrInvalidArgument)
	}
	if n.Interface != "" {
		if err := CheckIfName(n.Interface); err != nil {
			return err
		}
	}
	if err := n.checkOptions(); err != nil {
		return err
	}
	for k, v := range n.Labels {
		if k == "" || hasControl(k) || hasControl(v) {
			return fmt.Errorf("label %q=%q: %w", k, v, errdefs.ErrInvalidArgument)
		}
	}
	for i, s := range n.Subnets {
		if err := s.check(); err != nil {
			return err
		}
		for _, o := range n.Subnets[:i] {
			if s.Subnet.Overlaps(o.Subnet) {
				return fmt.Errorf("subnets %s and %s overlap: %w", o.Subnet, s.Subnet, errdefs.ErrInvalidArgument)
			}
		}
	}
	return nil
}

// checkOptions knows the drivers and their options.
func (n Network) checkOptions() error {
	var known []string
	switch n.Driver {
	case DriverBridge:
		known = []string{"mtu", "vlan"}
	case DriverMacvlan:
		known = []string{"mtu", "mode", "parent"}
	default:
		return fmt.Errorf("driver %q is none of bridge, macvlan: %w", n.Driver, errdefs.ErrInvalidArgument)
	}
	for k := range n.Options {
		if !slices.Contains(known, k) {
			return fmt.Errorf("driver %s has no option %q, it has %s: %w", n.Driver, k, strings.Join(known, ", "), errdefs.ErrInvalidArgument)
		}
	}
	if mode := n.Options["mode"]; mode != "" && !slices.Contains([]string{"bridge", "private", "vepa", "passthru"}, mode) {
		return fmt.Errorf("macvlan mode %q is none of bridge, private, vepa, passthru: %w", mode, errdefs.ErrInvalidArgument)
	}
	_, err := n.option("mtu", 0xffff)
	_, err2 := n.option("vlan", 4094)
	return errors.Join(err, err2)
}

// check refuses a subnet whose parts do not fit together.
func (s Subnet) check() error {
	if !s.Subnet.IsValid() || s.Subnet.Addr().Is4In6() || s.Subnet.Bits() < 8 || s.Subnet.Bits() > s.Subnet.Addr().BitLen()-2 {
		return fmt.Errorf("subnet %s cannot hold a network: %w", s.Subnet, errdefs.ErrInvalidArgument)
	}
	for _, part := range []struct {
		what string
		addr netip.Addr
	}{{"gateway", s.Gateway}, {"start of range", s.First}, {"end of range", s.Last}} {
		if part.addr.IsValid() && (!s.Subnet.Contains(part.addr) || part.addr == s.Subnet.Masked().Addr()) {
			return fmt.Errorf("%s %s is not in subnet %s: %w", part.what, part.addr, s.Subnet, errdefs.ErrInvalidArgument)
		}
	}
	if s.First.IsValid() && s.Last.IsValid() && s.Last.Less(s.First) {
		return fmt.Errorf("range %s-%s ends before it starts: %w", s.First, s.Last, errdefs.ErrInvalidArgument)
	}
	return nil
}

// nameFree refuses a name that another network has.
func (c *catalog) nameFree(name string) error {
	_, err := c.find(name)
	switch {
	case err == nil:
		return fmt.Errorf("there is a network of that name: %w", errdefs.ErrAlreadyExists)
	case errors.Is(err, errdefs.ErrNotFound):
		return nil
	default:
		return err
	}
}

// complete chooses what n leaves open, and refuses what is taken.
func (c *catalog) complete(n *Network) error {
	own, err := c.ownNetworks()
	if err != nil {
		return err
	}
	if n.Driver == DriverMacvlan {
		err = n.completeParent()
	} else {
		err = c.completeBridge(n, own)
	}
	if err != nil {
		return err
	}
	used, err := c.usedSubnets()
	if err != nil {
		return err
	}
	if n.Driver == DriverMacvlan {
		// its subnet is its parent's, so the host's own ranges say nothing
		used = nil
		for _, o := range own {
			used = append(used, o.prefixes()...)
		}
	}
	return c.completeSubnets(n, used)
}

// completeParent finds the parent of a macvlan network.
func (n *Network) completeParent() error {
	if p := n.Options["parent"]; p != "" {
		n.Interface = p
	}
	if n.Interface == "" {
		return fmt.Errorf("a macvlan network needs a parent interface: %w", errdefs.ErrInvalidArgument)
	}
	if err := CheckIfName(n.Interface); err != nil {
		return err
	}
	ok, err := bridge.Exists(n.Interface)
	if err == nil && !ok {
		err = fmt.Errorf("parent interface %q: %w", n.Interface, errdefs.ErrNotFound)
	}
	return err
}

// completeBridge names the bridge, or makes sure that the name is free.
func (c *catalog) completeBridge(n *Network, own []Network) error {
	taken := func(name string) (bool, error) {
		if name == c.config.bridgeName() || slices.ContainsFunc(own, func(o Network) bool { return o.Interface == name }) {
			return true, nil
		}
		return bridge.Exists(name)
	}
	if n.Interface != "" {
		if is, err := taken(n.Interface); err != nil || !is {
			return err
		}
		return fmt.Errorf("interface %q: %w", n.Interface, errdefs.ErrAlreadyExists)
	}
	for i := 1; i < 10000; i++ {
		name := fmt.Sprintf("davit%d", i)
		if !c.config.DefaultRoots {
			sum := sha256.Sum256(fmt.Appendf(nil, "%s %s %d", c.config.RunRoot, n.Name, i))
			name = "davit-" + hex.EncodeToString(sum[:3])
		}
		is, err := taken(name)
		if err != nil {
			return err
		}
		if !is {
			n.Interface = name
			return nil
		}
	}
	return fmt.Errorf("no free name for a bridge: %w", errdefs.ErrResourceExhausted)
}

// completeSubnets fills in subnets and gateways.
func (c *catalog) completeSubnets(n *Network, used []netip.Prefix) error {
	for i := range n.Subnets {
		s := &n.Subnets[i]
		for _, u := range used {
			if s.Subnet.Overlaps(u) {
				return fmt.Errorf("subnet %s overlaps %s, which is in use: %w", s.Subnet, u, errdefs.ErrAlreadyExists)
			}
		}
		s.Subnet = s.Subnet.Masked()
	}
	if len(n.Subnets) == 0 && n.Driver == DriverBridge {
		p, err := bridge.Free(c.candidates4(24), used)
		if err != nil {
			return err
		}
		n.Subnets = append(n.Subnets, Subnet{Subnet: p})
	}
	if n.IPv6 && !n.has6() && n.Driver == DriverBridge {
		p, err := bridge.Free(c.candidates6(n.Name), used)
		if err != nil {
			return err
		}
		n.Subnets = append(n.Subnets, Subnet{Subnet: p})
	}
	n.IPv6 = n.has6()
	for i := range n.Subnets {
		if s := &n.Subnets[i]; !s.Gateway.IsValid() {
			s.Gateway = bridge.Gateway(s.Subnet)
		}
	}
	return nil
}

// Remove deletes a network of the user's and what the host has of it.
// ErrNotFound if there is none, *InUseError while sandboxes are attached,
// ErrFailedPrecondition for the built-in network and the host's.
func (a *Attacher) Remove(ctx context.Context, name string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if name == Builtin {
		return fmt.Errorf("removing network %q: it is built in: %w", name, errdefs.ErrFailedPrecondition)
	}
	if err := CheckName(name); err != nil {
		return err
	}
	_, err := a.readUser(name)
	if errors.Is(err, errdefs.ErrNotFound) {
		if h, herr := a.find(name); herr == nil {
			return fmt.Errorf("removing network %q: it is the host's, in %s: %w", name, h.File, errdefs.ErrFailedPrecondition)
		}
	}
	if err != nil {
		return fmt.Errorf("removing network: %w", err)
	}
	err = a.locked(func() error {
		path := a.userFile(name)
		return a.retire(path, func() error { return a.Unused(name) })
	})
	if err != nil {
		return fmt.Errorf("removing network %q: %w", name, err)
	}
	return nil
}

// Unused is nil if no sandbox is attached to a network, and *InUseError if one is.
func (l *ledger) Unused(name string) error {
	return l.unused(name, func(j join) bool { return j.Network == name })
}

// unused is *InUseError if an attachment has a join that matches.
func (l *ledger) unused(name string, match func(join) bool) error {
	all, err := l.intents()
	if err != nil {
		return err
	}
	var users []*intent
	for _, in := range all {
		if slices.ContainsFunc(in.Joins, match) {
			users = append(users, in)
		}
	}
	if len(users) > 0 {
		return inUse(name, users)
	}
	return nil
}

// retiredSuffix marks the file of a network that is being removed.
const retiredSuffix = ".removing"

// retire takes a network out of use and removes it, unless check objects.
//
// An Attach looks for the network's file again after its intent is on record
// (see stillThere). So once the file is renamed, every attachment that could
// use the network is on record and check sees it. A crash leaves the renamed
// file, for finishRemovals. The caller holds the lock.
func (f *firewall) retire(path string, check func() error) error {
	retired := filepath.Join(filepath.Dir(path), "."+filepath.Base(path)+retiredSuffix)
	if err := os.Rename(path, retired); err != nil {
		return err
	}
	if err := check(); err != nil {
		return errors.Join(err, os.Rename(retired, path))
	}
	return f.clearRetired(retired)
}

// stillThere is ErrUnavailable if the network was removed, or chosen anew, since
// it was looked up.
func (c *catalog) stillThere(n Network) error {
	var err error
	switch n.Origin {
	case OriginBuiltin:
		var now Network
		now, err = c.builtin()
		if err == nil && (now.Interface != n.Interface || !slices.Equal(now.prefixes(), n.prefixes())) {
			err = errdefs.ErrAborted
		}
	case OriginUser:
		_, err = os.Stat(c.userFile(n.Name))
	}
	if err != nil {
		return fmt.Errorf("network %q was removed or changed meanwhile: %w", n.Name, errdefs.ErrUnavailable)
	}
	return nil
}
