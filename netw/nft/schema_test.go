package nft

import (
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

func TestElementRoundTrip(t *testing.T) {
	ap, ip := netip.MustParseAddrPort, netip.MustParseAddr
	tests := []struct {
		name, wantMap string
		element       Element
	}{
		{"all of IPv4", "any4", Element{Owner: "a", Protocol: "tcp", HostPort: 8080, To: ap("10.0.0.2:80")}},
		{"one of IPv4", "ports4", Element{Owner: "a", Protocol: "udp", HostPort: 53, HostIP: ip("127.0.0.1"), To: ap("10.0.0.2:5353")}},
		{"all of IPv6", "any6", Element{Owner: "b", Protocol: "sctp", HostPort: 1, To: ap("[fd00::2]:65535")}},
		{"one of IPv6", "ports6", Element{Owner: "b", Protocol: "tcp", HostPort: 443, HostIP: ip("fd00::1"), To: ap("[fd00::2]:443")}},
	}
	s := newSchema("t")
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			m := s.mapFor(tt.element)
			if m.name != tt.wantMap {
				t.Errorf("map %s, want %s", m.name, tt.wantMap)
			}
			raw, err := m.encode(tt.element)
			if err != nil {
				t.Fatal(err)
			}
			if uint32(len(raw.Key)) != m.set.KeyType.Bytes || uint32(len(raw.Val)) != m.set.DataType.Bytes {
				t.Errorf("%d and %d bytes, the map has %d and %d", len(raw.Key), len(raw.Val), m.set.KeyType.Bytes, m.set.DataType.Bytes)
			}
			got, ok := m.decode(raw)
			if !ok {
				t.Fatal("not understood")
			}
			if d := cmp.Diff(tt.element, got, cmpopts.EquateComparable(netip.Addr{}, netip.AddrPort{})); d != "" {
				t.Error(d)
			}
		})
	}
	if _, err := s.maps[0].encode(Element{Protocol: "icmp", HostIP: ip("1.1.1.1"), To: ap("10.0.0.2:1")}); err == nil {
		t.Error("icmp was taken")
	}
}

func TestInterval(t *testing.T) {
	tests := []struct {
		prefix, first, end string
	}{
		{"10.87.3.0/24", "10.87.3.0", "10.87.4.0"},
		{"10.87.0.0/16", "10.87.0.0", "10.88.0.0"},
		{"10.1.2.3/8", "10.0.0.0", "11.0.0.0"},
		{"fd00:0:0:1::/64", "fd00:0:0:1::", "fd00:0:0:2::"},
		{"255.255.255.0/24", "255.255.255.0", ""},
	}
	for _, tt := range tests {
		els := interval(netip.MustParsePrefix(tt.prefix))
		first, _ := netip.AddrFromSlice(els[0].Key)
		if first.String() != netip.MustParseAddr(tt.first).String() {
			t.Errorf("%s begins at %s", tt.prefix, first)
		}
		switch {
		case tt.end == "" && len(els) == 1:
		case tt.end == "" || len(els) != 2 || !els[1].IntervalEnd:
			t.Errorf("%s has %d elements", tt.prefix, len(els))
		default:
			if end, _ := netip.AddrFromSlice(els[1].Key); end != netip.MustParseAddr(tt.end) {
				t.Errorf("%s ends at %s", tt.prefix, end)
			}
		}
	}
}

func TestClashes(t *testing.T) {
	ap, ip := netip.MustParseAddrPort, netip.MustParseAddr
	base := Element{Owner: "a", Protocol: "tcp", HostPort: 80, To: ap("10.0.0.2:80")}
	with := func(f func(*Element)) Element { e := base; f(&e); return e }
	tests := []struct {
		name string
		a, b Element
		want bool
	}{
		{"same", base, base, true},
		{"another target", base, with(func(e *Element) { e.To = ap("10.0.0.3:80") }), true},
		{"one address and all", base, with(func(e *Element) { e.HostIP = ip("127.0.0.1") }), true},
		{"two addresses", with(func(e *Element) { e.HostIP = ip("127.0.0.1") }), with(func(e *Element) { e.HostIP = ip("127.0.0.2") }), false},
		{"another port", base, with(func(e *Element) { e.HostPort = 81 }), false},
		{"another protocol", base, with(func(e *Element) { e.Protocol = "udp" }), false},
		{"another family", base, with(func(e *Element) { e.To = ap("[fd00::2]:80") }), false},
	}
	for _, tt := range tests {
		if tt.a.Clashes(tt.b) != tt.want || tt.b.Clashes(tt.a) != tt.want {
			t.Errorf("%s: want %t", tt.name, tt.want)
		}
	}
}
