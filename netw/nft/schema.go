package nft

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"github.com/google/nftables/userdata"
	"golang.org/x/sys/unix"
)

// generation is part of every rule's comment; raise it when the rules of an
// older davit must not be taken for this one's.
const generation = "davit 1"

// schema is the table's whole definition, as values of the library.
type schema struct {
	table    *nftables.Table
	bridges  *nftables.Set
	internal *nftables.Set
	inside   *nftables.Set
	subnets4 *nftables.Set
	subnets6 *nftables.Set
	maps     []portMap
	chains   []chain
}

// chain is a base chain with its rules.
type chain struct {
	chain *nftables.Chain
	rules []rule
}

// rule is a rule with the comment it is known by.
type rule struct {
	comment string
	exprs   []expr.Any
}

// ruleTag is a rule's user data, as nft writes comments.
func ruleTag(r rule) []byte {
	return userdata.AppendString(nil, userdata.TypeComment, generation+": "+r.comment)
}

// newSchema builds the definition. Set IDs are given here because the library's
// own counter is not safe for concurrent use.
func newSchema(name string) *schema {
	t := &nftables.Table{Name: name, Family: nftables.TableFamilyINet}
	set := func(id uint32, name string, key nftables.SetDatatype) *nftables.Set {
		return &nftables.Set{Table: t, ID: id, Name: name, KeyType: key, KeyByteOrder: binaryutil.BigEndian}
	}
	s := &schema{
		table:    t,
		bridges:  set(1, "bridges", nftables.TypeIFName),
		internal: set(2, "internal", nftables.TypeIFName),
		inside:   set(3, "inside", nftables.MustConcatSetType(nftables.TypeIFName, nftables.TypeIFName)),
		subnets4: set(4, "subnets4", nftables.TypeIPAddr),
		subnets6: set(5, "subnets6", nftables.TypeIP6Addr),
	}
	s.bridges.KeyByteOrder = binaryutil.NativeEndian
	s.internal.KeyByteOrder = binaryutil.NativeEndian
	s.inside.Concatenation = true
	s.subnets4.Interval = true
	s.subnets6.Interval = true
	for i, m := range []portMap{{name: "ports4", ip: true}, {name: "any4"}, {name: "ports6", six: true, ip: true}, {name: "any6", six: true}} {
		m.set = m.define(t, uint32(10+i))
		s.maps = append(s.maps, m)
	}
	s.chains = s.defineChains()
	return s
}

// sets lists all sets and maps.
func (s *schema) sets() []*nftables.Set {
	all := []*nftables.Set{s.bridges, s.internal, s.inside, s.subnets4, s.subnets6}
	for _, m := range s.maps {
		all = append(all, m.set)
	}
	return all
}

// filled is a set with elements for it.
type filled struct {
	set      *nftables.Set
	elements []nftables.SetElement
}

// networkElements are the elements that n puts into the sets; none for one
// without a bridge.
func (s *schema) networkElements(n Network) []filled {
	if n.Bridge == "" {
		return nil
	}
	name := ifname(n.Bridge)
	out := []filled{{s.bridges, []nftables.SetElement{{Key: name}}}}
	if n.Internal {
		return append(out,
			filled{s.internal, []nftables.SetElement{{Key: name}}},
			filled{s.inside, []nftables.SetElement{{Key: append(append([]byte(nil), name...), name...)}}})
	}
	for _, p := range n.Subnets {
		set := s.subnets6
		if p.Addr().Is4() {
			set = s.subnets4
		}
		out = append(out, filled{set, interval(p)})
	}
	return out
}

// allElements merges the elements of all networks, by set name.
func (s *schema) allElements(networks []Network) map[string][]nftables.SetElement {
	all := make(map[string][]nftables.SetElement)
	for _, n := range networks {
		for _, f := range s.networkElements(n) {
			all[f.set.Name] = append(all[f.set.Name], f.elements...)
		}
	}
	return all
}

// interval is the half-open range of p as two set elements. A subnet that ends
// with the family's last address has no end element, as nft itself does it.
func interval(p netip.Prefix) []nftables.SetElement {
	p = p.Masked()
	els := []nftables.SetElement{{Key: p.Addr().AsSlice()}}
	last := p.Addr().AsSlice()
	for i := p.Bits(); i < len(last)*8; i++ {
		last[i/8] |= 1 << (7 - i%8)
	}
	end, _ := netip.AddrFromSlice(last)
	if end = end.Next(); end.IsValid() {
		els = append(els, nftables.SetElement{Key: end.AsSlice(), IntervalEnd: true})
	}
	return els
}

// ifname pads an interface name to the kernel's IFNAMSIZ.
func ifname(name string) []byte {
	b := make([]byte, unix.IFNAMSIZ)
	copy(b, name)
	return b
}

// portMap is one of the four maps of published ports.
type portMap struct {
	name string
	six  bool // IPv6
	ip   bool // keyed by host address too
	set  *nftables.Set
}

func (m portMap) define(t *nftables.Table, id uint32) *nftables.Set {
	addr := nftables.TypeIPAddr
	if m.six {
		addr = nftables.TypeIP6Addr
	}
	key := []nftables.SetDatatype{nftables.TypeInetProto, nftables.TypeInetService}
	if m.ip {
		key = append([]nftables.SetDatatype{addr}, key...)
	}
	return &nftables.Set{
		Table: t, ID: id, Name: m.name, IsMap: true, Concatenation: true, KeyByteOrder: binaryutil.BigEndian,
		KeyType:  nftables.MustConcatSetType(key...),
		DataType: nftables.MustConcatSetType(addr, nftables.TypeInetService),
	}
}

// encode makes e a map element. Each part of a concatenation is padded to four
// bytes (NFT_REG32_SIZE).
func (m portMap) encode(e Element) (nftables.SetElement, error) {
	proto, err := protocolNumber(e.Protocol)
	if err != nil {
		return nftables.SetElement{}, err
	}
	var key []byte
	if m.ip {
		key = e.HostIP.AsSlice()
	}
	key = append(key, proto, 0, 0, 0)
	key = append(key, port(e.HostPort)...)
	val := append(e.To.Addr().AsSlice(), port(e.To.Port())...)
	return nftables.SetElement{Key: key, Val: val, Comment: e.Owner}, nil
}

// decode reads an element of the map; ok is false for one that is none of ours.
func (m portMap) decode(r nftables.SetElement) (e Element, ok bool) {
	size := 4
	if m.six {
		size = 16
	}
	keyLen := 8
	if m.ip {
		keyLen += size
	}
	if len(r.Key) != keyLen || len(r.Val) != size+4 {
		return Element{}, false
	}
	key := r.Key
	if m.ip {
		e.HostIP, _ = netip.AddrFromSlice(key[:size])
		key = key[size:]
	}
	if e.Protocol, ok = protocolName(key[0]); !ok {
		return Element{}, false
	}
	e.HostPort = binaryutil.BigEndian.Uint16(key[4:6])
	to, _ := netip.AddrFromSlice(r.Val[:size])
	e.To = netip.AddrPortFrom(to, binaryutil.BigEndian.Uint16(r.Val[size:size+2]))
	e.Owner = r.Comment
	return e, true
}

// mapFor finds the map that e belongs into.
func (s *schema) mapFor(e Element) portMap {
	for _, m := range s.maps {
		if m.six != e.To.Addr().Is4() && m.ip == e.HostIP.IsValid() {
			return m
		}
	}
	return s.maps[0]
}

// maxElements bounds the elements of one message: their list is one netlink
// attribute, whose length is 16 bits.
const maxElements = 256

// addPorts queues the elements of ports.
func (s *schema) addPorts(c *socket, ports []Element) error {
	byMap := make(map[string][]nftables.SetElement)
	for _, p := range ports {
		if p.HostIP.IsValid() && p.HostIP.Is4() != p.To.Addr().Is4() {
			return fmt.Errorf("publishing on %s: the container's %s is of the other family", p.HostIP, p.To)
		}
		m := s.mapFor(p)
		e, err := m.encode(p)
		if err != nil {
			return err
		}
		byMap[m.name] = append(byMap[m.name], e)
	}
	for _, m := range s.maps {
		for part := range slices.Chunk(byMap[m.name], maxElements) {
			if err := c.SetAddElements(m.set, part); err != nil {
				return fmt.Errorf("filling map %s: %w", m.name, err)
			}
		}
	}
	return nil
}

// port is a port in network order, padded to a register.
func port(p uint16) []byte { return []byte{byte(p >> 8), byte(p), 0, 0} }

func protocolNumber(name string) (byte, error) {
	switch name {
	case "tcp":
		return unix.IPPROTO_TCP, nil
	case "udp":
		return unix.IPPROTO_UDP, nil
	case "sctp":
		return unix.IPPROTO_SCTP, nil
	default:
		return 0, fmt.Errorf("protocol %q has no ports", name)
	}
}

func protocolName(number byte) (string, bool) {
	switch number {
	case unix.IPPROTO_TCP:
		return "tcp", true
	case unix.IPPROTO_UDP:
		return "udp", true
	case unix.IPPROTO_SCTP:
		return "sctp", true
	default:
		return "", false
	}
}
