package nft

import (
	"net/netip"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// Registers. NFT_REG_1..4 are 16 bytes each and overlay NFT_REG32_00..15, so
// what is loaded at reg1 continues into the following 4-byte registers.
const (
	reg1   = unix.NFT_REG_1
	reg32  = unix.NFT_REG32_00
	regLen = 4
)

// ctStatusDNAT is IPS_DST_NAT of linux/netfilter/nf_conntrack_common.h.
const ctStatusDNAT = 1 << 5

// defineChains builds all chains.
func (s *schema) defineChains() []chain {
	accept := nftables.ChainPolicyAccept
	base := func(name string, typ nftables.ChainType, hook *nftables.ChainHook, prio *nftables.ChainPriority) *nftables.Chain {
		return &nftables.Chain{Table: s.table, Name: name, Type: typ, Hooknum: hook, Priority: prio, Policy: &accept}
	}
	return []chain{
		{base("guard", nftables.ChainTypeFilter, nftables.ChainHookPrerouting, nftables.ChainPriorityRaw), s.guardRules()},
		{base("prerouting", nftables.ChainTypeNAT, nftables.ChainHookPrerouting, nftables.ChainPriorityNATDest), s.publishRules()},
		{base("output", nftables.ChainTypeNAT, nftables.ChainHookOutput, nftables.ChainPriorityNATDest), s.publishRules()},
		{base("postrouting", nftables.ChainTypeNAT, nftables.ChainHookPostrouting, nftables.ChainPriorityNATSource), s.sourceRules()},
		{base("forward", nftables.ChainTypeFilter, nftables.ChainHookForward, nftables.ChainPriorityFilter), s.forwardRules()},
	}
}

// guardRules drop what pretends to come from, or wants to go to, the host's
// loopback, from anything but lo.
func (s *schema) guardRules() []rule {
	notLo := concat(meta(expr.MetaKeyIIFNAME), not(ifname("lo")), family(unix.NFPROTO_IPV4))
	drop := &expr.Verdict{Kind: expr.VerdictDrop}
	return []rule{
		{"nobody else reaches loopback", concat(notLo, loopback(dstOffset4), one(drop))},
		{"nobody else is loopback", concat(notLo, loopback(srcOffset4), one(drop))},
	}
}

// publishRules translate published ports: an exact host address first. ::1 is
// left alone, since answers to it can come from lo only: so a connection to it
// is refused at once, and a client goes on to 127.0.0.1, instead of waiting.
func (s *schema) publishRules() []rule {
	localhost6 := netip.IPv6Loopback().AsSlice()
	rules := []rule{{"::1 cannot be translated", concat(family(unix.NFPROTO_IPV6), load(dstOffset6, 16), []expr.Any{
		&expr.Cmp{Op: expr.CmpOpEq, Register: reg1, Data: localhost6}, &expr.Verdict{Kind: expr.VerdictAccept}})}}
	for _, m := range s.maps {
		rules = append(rules, rule{"published ports " + m.name, m.translate()})
	}
	return rules
}

// translate is the rule for one map: load the key, look it up, DNAT.
func (m portMap) translate() []expr.Any {
	proto, addrLen, dst := byte(unix.NFPROTO_IPV4), uint32(4), uint32(dstOffset4)
	if m.six {
		proto, addrLen, dst = unix.NFPROTO_IPV6, 16, dstOffset6
	}
	exprs := family(proto)
	at := uint32(reg32)
	if m.ip {
		exprs = append(exprs, &expr.Payload{DestRegister: reg1, Base: expr.PayloadBaseNetworkHeader, Offset: dst, Len: addrLen})
		at += addrLen / regLen
	} else {
		exprs = append(exprs,
			&expr.Fib{Register: reg1, ResultADDRTYPE: true, FlagDADDR: true},
			&expr.Cmp{Op: expr.CmpOpEq, Register: reg1, Data: binaryutil.NativeEndian.PutUint32(unix.RTN_LOCAL)})
	}
	return append(exprs,
		&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: at},
		&expr.Payload{DestRegister: at + 1, Base: expr.PayloadBaseTransportHeader, Offset: 2, Len: 2},
		&expr.Lookup{SourceRegister: reg1, DestRegister: reg1, IsDestRegSet: true, SetName: m.set.Name, SetID: m.set.ID},
		&expr.NAT{Type: expr.NATTypeDestNAT, Family: uint32(proto), RegAddrMin: reg1, RegProtoMin: reg32 + addrLen/regLen, Specified: true},
	)
}

// sourceRules masquerade what would not find its way back otherwise.
func (s *schema) sourceRules() []rule {
	masq := one(&expr.Masq{})
	toBridge := concat(meta(expr.MetaKeyOIFNAME), in(s.bridges, false))
	elsewhere := concat(meta(expr.MetaKeyOIFNAME), in(s.bridges, true))
	translated := []expr.Any{
		&expr.Ct{Key: expr.CtKeySTATUS, Register: reg1},
		&expr.Bitwise{SourceRegister: reg1, DestRegister: reg1, Len: 4,
			Mask: binaryutil.NativeEndian.PutUint32(ctStatusDNAT), Xor: make([]byte, 4)},
		&expr.Cmp{Op: expr.CmpOpNeq, Register: reg1, Data: make([]byte, 4)},
	}
	from4 := concat(family(unix.NFPROTO_IPV4), load(srcOffset4, 4), in(s.subnets4, false))
	from6 := concat(family(unix.NFPROTO_IPV6), load(srcOffset6, 16), in(s.subnets6, false))
	return []rule{
		{"published ports from localhost", concat(meta(expr.MetaKeyOIFNAME), not(ifname("lo")), family(unix.NFPROTO_IPV4), loopback(srcOffset4), masq)},
		{"published ports from a neighbour", concat(toBridge, translated, from4, masq)},
		{"published ports from a neighbour, IPv6", concat(toBridge, translated, from6, masq)},
		{"the way out", concat(elsewhere, from4, masq)},
		{"the way out, IPv6", concat(elsewhere, from6, masq)},
	}
}

// forwardRules keep internal networks inside. With br_netfilter loaded, traffic
// inside a bridge passes here too, hence the first rule.
func (s *schema) forwardRules() []rule {
	drop := &expr.Verdict{Kind: expr.VerdictDrop}
	pair := []expr.Any{
		&expr.Meta{Key: expr.MetaKeyIIFNAME, Register: reg1},
		&expr.Meta{Key: expr.MetaKeyOIFNAME, Register: reg32 + unix.IFNAMSIZ/regLen},
		&expr.Lookup{SourceRegister: reg1, SetName: s.inside.Name, SetID: s.inside.ID},
		&expr.Verdict{Kind: expr.VerdictAccept},
	}
	return []rule{
		{"inside an internal network", pair},
		{"out of an internal network", concat(meta(expr.MetaKeyIIFNAME), in(s.internal, false), one(drop))},
		{"into an internal network", concat(meta(expr.MetaKeyOIFNAME), in(s.internal, false), one(drop))},
	}
}

// Offsets of addresses in the IPv4 and IPv6 headers.
const (
	srcOffset4 = 12
	dstOffset4 = 16
	srcOffset6 = 8
	dstOffset6 = 24
)

// meta loads key into reg1.
func meta(key expr.MetaKey) []expr.Any { return one(&expr.Meta{Key: key, Register: reg1}) }

// family matches packets of an address family.
func family(proto byte) []expr.Any {
	return []expr.Any{
		&expr.Meta{Key: expr.MetaKeyNFPROTO, Register: reg1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: reg1, Data: []byte{proto}},
	}
}

// load loads bytes of the network header into reg1.
func load(offset, length uint32) []expr.Any {
	return one(&expr.Payload{DestRegister: reg1, Base: expr.PayloadBaseNetworkHeader, Offset: offset, Len: length})
}

// loopback matches an IPv4 address of 127.0.0.0/8 at offset.
func loopback(offset uint32) []expr.Any {
	return append(load(offset, 1), &expr.Cmp{Op: expr.CmpOpEq, Register: reg1, Data: []byte{127}})
}

// in looks reg1 up in a set; invert matches what is not there.
func in(set *nftables.Set, invert bool) []expr.Any {
	return one(&expr.Lookup{SourceRegister: reg1, SetName: set.Name, SetID: set.ID, Invert: invert})
}

// not matches when reg1 differs from data.
func not(data []byte) []expr.Any {
	return one(&expr.Cmp{Op: expr.CmpOpNeq, Register: reg1, Data: data})
}

func one(e expr.Any) []expr.Any { return []expr.Any{e} }

// concat joins expressions into a new slice, so that parts can be shared.
func concat(parts ...[]expr.Any) []expr.Any {
	var all []expr.Any
	for _, p := range parts {
		all = append(all, p...)
	}
	return all
}
