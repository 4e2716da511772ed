package nft

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/containerd/errdefs"
	"github.com/google/nftables"
	"golang.org/x/sys/unix"
)

// Table is davit's nftables table in the network namespace of the calling
// process. It holds no state and no socket; its methods are safe for
// concurrent use, but a Replace beside an Add or Remove of another process
// loses one of them: the caller serialises them with a lock across processes.
type Table struct {
	name string
}

// New names a table; it touches nothing.
func New(name string) Table { return Table{name: name} }

// Name is the table's name, in family inet.
func (t Table) Name() string { return t.name }

// Network is what the table knows of one of davit's bridge networks.
type Network struct {
	// Bridge is the name of its interface on the host.
	Bridge string
	// Subnets are the addresses behind the bridge.
	Subnets []netip.Prefix
	// Internal keeps its containers from leaving the bridge; such a network
	// is not masqueraded either.
	Internal bool
}

// Element is one published port.
type Element struct {
	// Owner is the sandbox's ID; it is kept as the element's comment, so that
	// what belongs to whom can be found from the kernel alone.
	Owner string
	// HostIP is the host address the port is published on; the zero value
	// means all addresses of To's family.
	HostIP netip.Addr
	// Protocol is tcp, udp or sctp.
	Protocol string
	// HostPort is the port on the host.
	HostPort uint16
	// To is the container's address and port.
	To netip.AddrPort
}

// compare orders elements, for stable output.
func (e Element) compare(o Element) int {
	return cmp.Or(cmp.Compare(e.Owner, o.Owner), cmp.Compare(e.Protocol, o.Protocol),
		cmp.Compare(e.HostPort, o.HostPort), e.HostIP.Compare(o.HostIP), e.To.Compare(o.To))
}

// Clashes reports whether both want the same traffic: same protocol, port and
// family, and the same host address or one of them all addresses.
func (e Element) Clashes(o Element) bool {
	if e.Protocol != o.Protocol || e.HostPort != o.HostPort || e.To.Addr().Is4() != o.To.Addr().Is4() {
		return false
	}
	return !e.HostIP.IsValid() || !o.HostIP.IsValid() || e.HostIP == o.HostIP
}

// Holds reports whether the table stands as Replace made it and knows all of
// networks (one without a bridge says nothing). It is false after a flush of the
// ruleset, of the table or of a chain, and for a table of another version of
// davit.
func (t Table) Holds(networks []Network) (bool, error) {
	c, err := t.dial()
	if err != nil {
		return false, err
	}
	defer func() { _ = c.CloseLasting() }()
	return t.holds(c, networks)
}

func (t Table) holds(c *socket, networks []Network) (bool, error) {
	s := newSchema(t.name)
	for _, ch := range s.chains {
		rules, err := c.GetRules(s.table, ch.chain)
		if isAbsent(err) {
			return false, nil
		}
		if err != nil {
			return false, fmt.Errorf("reading chain %s of nft table %s: %w", ch.chain.Name, t.name, err)
		}
		if len(rules) != len(ch.rules) {
			return false, nil
		}
		for i, r := range rules {
			if string(r.UserData) != string(ruleTag(ch.rules[i])) {
				return false, nil
			}
		}
	}
	elements := s.allElements(networks)
	for _, set := range s.sets() {
		want := elements[set.Name]
		if len(want) == 0 {
			continue
		}
		have, err := c.GetSetElements(set)
		if isAbsent(err) {
			return false, nil
		}
		if err != nil {
			return false, fmt.Errorf("reading set %s of nft table %s: %w", set.Name, t.name, err)
		}
		if !containsAll(have, want) {
			return false, nil
		}
	}
	return true, nil
}

// containsAll compares by key and interval end.
func containsAll(have, want []nftables.SetElement) bool {
	for _, w := range want {
		if !slices.ContainsFunc(have, func(h nftables.SetElement) bool {
			return h.IntervalEnd == w.IntervalEnd && string(h.Key) == string(w.Key)
		}) {
			return false
		}
	}
	return true
}

// Replace makes the table anew in one transaction: rules, networks and
// published ports. Traffic sees the old or the new table, never none.
func (t Table) Replace(networks []Network, ports []Element) error {
	c, err := t.dial()
	if err != nil {
		return err
	}
	defer func() { _ = c.CloseLasting() }()
	s := newSchema(t.name)
	c.AddTable(s.table) // deleting an absent table fails, so it is added first
	c.DelTable(s.table)
	c.AddTable(s.table)
	elements := s.allElements(networks)
	for _, set := range s.sets() {
		if err := c.AddSet(set, nil); err != nil {
			return fmt.Errorf("defining set %s: %w", set.Name, err)
		}
		if els := elements[set.Name]; len(els) > 0 {
			if err := c.SetAddElements(set, els); err != nil {
				return fmt.Errorf("filling set %s: %w", set.Name, err)
			}
		}
	}
	for _, ch := range s.chains {
		c.AddChain(ch.chain)
		for _, r := range ch.rules {
			c.AddRule(&nftables.Rule{Table: s.table, Chain: ch.chain, Exprs: r.exprs, UserData: ruleTag(r)})
		}
	}
	if err := s.addPorts(c, ports); err != nil {
		return err
	}
	if err := c.Flush(); err != nil {
		err = classify(err)
		if isAbsent(err) {
			err = fmt.Errorf("the kernel lacks a part of nf_tables (nft_fib_inet, nft_nat, nft_masq, nft_ct): %w: %w", err, errdefs.ErrNotImplemented)
		}
		return fmt.Errorf("replacing nft table %s: %w", t.name, err)
	}
	return nil
}

// Add publishes ports, all or none. A port that is published already, to
// another address, is ErrAlreadyExists; publishing the same again is no error.
func (t Table) Add(ports []Element) error {
	if len(ports) == 0 {
		return nil
	}
	c, err := t.dial()
	if err != nil {
		return err
	}
	defer func() { _ = c.CloseLasting() }()
	if err := newSchema(t.name).addPorts(c, ports); err != nil {
		return err
	}
	if err := c.Flush(); err != nil {
		return fmt.Errorf("publishing ports in nft table %s: %w", t.name, classify(err))
	}
	return nil
}

// Remove withdraws all published ports for which drop is true. It is
// idempotent; an absent table is success. The ports are gone when it returns;
// settled is closed when the socket is left, which the caller waits for when it has
// done what else there is to do: see leave.
func (t Table) Remove(drop func(Element) bool) (settled <-chan struct{}, err error) {
	done := make(chan struct{})
	c, err := t.dial()
	if err != nil {
		close(done)
		return done, err
	}
	defer func() {
		go func() {
			c.leave()
			close(done)
		}()
	}()
	return done, t.remove(c, drop)
}

func (t Table) remove(c *socket, drop func(Element) bool) error {
	found := false
	for _, m := range newSchema(t.name).maps {
		raw, err := c.GetSetElements(m.set)
		if isAbsent(err) {
			continue
		}
		if err != nil {
			return fmt.Errorf("reading map %s of nft table %s: %w", m.set.Name, t.name, err)
		}
		var gone []nftables.SetElement
		for _, r := range raw {
			if e, ok := m.decode(r); ok && drop(e) {
				gone = append(gone, nftables.SetElement{Key: r.Key, Val: r.Val})
			}
		}
		for part := range slices.Chunk(gone, maxElements) {
			found = true
			if err := c.SetDeleteElements(m.set, part); err != nil {
				return fmt.Errorf("withdrawing ports: %w", err)
			}
		}
	}
	if !found {
		return nil
	}
	if err := c.Flush(); err != nil {
		return fmt.Errorf("withdrawing ports from nft table %s: %w", t.name, classify(err))
	}
	return nil
}

// Elements lists the published ports, sorted by owner; an absent table has none.
func (t Table) Elements() ([]Element, error) {
	c, err := t.dial()
	if err != nil {
		return nil, err
	}
	defer func() { _ = c.CloseLasting() }()
	return t.elements(c)
}

// AllElements lists the published ports of this table and of every other davit
// on the host, which has a table of its own: those whose name starts with
// "davit".
func (t Table) AllElements() ([]Element, error) {
	c, err := t.dial()
	if err != nil {
		return nil, err
	}
	defer func() { _ = c.CloseLasting() }()
	tables, err := c.ListTablesOfFamily(nftables.TableFamilyINet)
	if err != nil {
		return nil, fmt.Errorf("listing nft tables: %w", err)
	}
	var all []Element
	for _, o := range tables {
		if o.Name != "davit" && !strings.HasPrefix(o.Name, "davit-") && o.Name != t.name {
			continue
		}
		els, err := New(o.Name).elements(c)
		if err != nil {
			return nil, err
		}
		all = append(all, els...)
	}
	return all, nil
}

func (t Table) elements(c *socket) ([]Element, error) {
	var out []Element
	for _, m := range newSchema(t.name).maps {
		raw, err := c.GetSetElements(m.set)
		if isAbsent(err) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("reading map %s of nft table %s: %w", m.set.Name, t.name, err)
		}
		for _, r := range raw {
			if e, ok := m.decode(r); ok {
				out = append(out, e)
			}
		}
	}
	slices.SortFunc(out, Element.compare)
	return out, nil
}

// Delete removes the table with all that is in it; absent is success.
func (t Table) Delete() error {
	c, err := t.dial()
	if err != nil {
		return err
	}
	defer func() { _ = c.CloseLasting() }()
	table := newSchema(t.name).table
	c.AddTable(table)
	c.DelTable(table)
	if err := c.Flush(); err != nil {
		return fmt.Errorf("deleting nft table %s: %w", t.name, classify(err))
	}
	return nil
}

// isAbsent reports whether err says that a table, chain or set is not there.
// The library does not wrap the errno of a dump, so its words are looked at too.
func isAbsent(err error) bool {
	return err != nil && (errors.Is(err, unix.ENOENT) || strings.HasSuffix(err.Error(), unix.ENOENT.Error()))
}

// classify gives netlink's errno a class of ours.
func classify(err error) error {
	switch {
	case errors.Is(err, unix.EBUSY), errors.Is(err, unix.EEXIST):
		return fmt.Errorf("%w: %w", err, errdefs.ErrAlreadyExists)
	case errors.Is(err, unix.EPERM):
		return fmt.Errorf("%w: %w", err, errdefs.ErrPermissionDenied)
	case errors.Is(err, unix.EOPNOTSUPP), errors.Is(err, unix.EPROTONOSUPPORT):
		return fmt.Errorf("%w: the kernel lacks nf_tables: %w", err, errdefs.ErrNotImplemented)
	default:
		return err
	}
}
