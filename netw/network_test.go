package netw

import (
	"encoding/json"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestConflist(t *testing.T) {
	p, ip := netip.MustParsePrefix, netip.MustParseAddr
	tests := []struct {
		name string
		net  Network
		want string
	}{
		{
			name: "built-in",
			net: Network{Name: "davit", Driver: DriverBridge, Origin: OriginBuiltin, Interface: "davit0", Subnets: []Subnet{
				{Subnet: p("10.87.0.0/16"), Gateway: ip("10.87.0.1")}, {Subnet: p("fd00::/64"), Gateway: ip("fd00::1")}}},
			want: `{"cniVersion":"1.0.0","name":"davit","plugins":[{"type":"bridge","bridge":"davit0","isGateway":false,"ipMasq":false,
				"hairpinMode":true,"capabilities":{"ips":true,"mac":true},"ipam":{"type":"host-local","dataDir":"/ipam","ranges":[
				[{"subnet":"10.87.0.0/16","gateway":"10.87.0.1"}],[{"subnet":"fd00::/64","gateway":"fd00::1"}]],
				"routes":[{"dst":"0.0.0.0/0"},{"dst":"::/0"}]}}]}`,
		},
		{
			name: "internal, with a range",
			net: Network{Name: "n", Driver: DriverBridge, Origin: OriginBuiltin, Interface: "b", Internal: true, Options: map[string]string{"mtu": "1400", "vlan": "7"},
				Subnets: []Subnet{{Subnet: p("10.1.0.0/24"), Gateway: ip("10.1.0.1"), First: ip("10.1.0.10"), Last: ip("10.1.0.20")}}},
			want: `{"cniVersion":"1.0.0","name":"n","plugins":[{"type":"bridge","bridge":"b","isGateway":false,"ipMasq":false,
				"hairpinMode":true,"mtu":1400,"vlan":7,"capabilities":{"ips":true,"mac":true},"ipam":{"type":"host-local","dataDir":"/ipam","ranges":[
				[{"subnet":"10.1.0.0/24","rangeStart":"10.1.0.10","rangeEnd":"10.1.0.20","gateway":"10.1.0.1"}]]}}]}`,
		},
		{
			name: "macvlan with DHCP",
			net:  Network{Name: "lan", Driver: DriverMacvlan, Origin: OriginBuiltin, Interface: "eth0", Options: map[string]string{"mode": "bridge"}},
			want: `{"cniVersion":"1.0.0","name":"lan","plugins":[{"type":"macvlan","master":"eth0","mode":"bridge",
				"capabilities":{"ips":true,"mac":true},"ipam":{"type":"dhcp"}}]}`,
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b, err := conflist(tt.net, "/ipam")
			if err != nil {
				t.Fatal(err)
			}
			var got, want any
			if err := json.Unmarshal(b, &got); err != nil {
				t.Fatal(err)
			}
			if err := json.Unmarshal([]byte(tt.want), &want); err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(want, got); d != "" {
				t.Error(d)
			}
			if _, err := parseConflist(b); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestNetworkCheck(t *testing.T) {
	p, ip := netip.MustParsePrefix, netip.MustParseAddr
	tests := []struct {
		name    string
		net     Network
		wantErr bool
	}{
		{name: "plain", net: Network{Name: "n", Driver: "bridge"}},
		{name: "options", net: Network{Name: "n", Driver: "bridge", Options: map[string]string{"mtu": "9000", "vlan": "4094"}}},
		{name: "macvlan", net: Network{Name: "n", Driver: "macvlan", Interface: "eth0", Options: map[string]string{"mode": "vepa"}}},
		{name: "name", net: Network{Name: "a/b", Driver: "bridge"}, wantErr: true},
		{name: "reserved name", net: Network{Name: "host", Driver: "bridge"}, wantErr: true},
		{name: "driver", net: Network{Name: "n", Driver: "../bin/sh"}, wantErr: true},
		{name: "unknown option", net: Network{Name: "n", Driver: "bridge", Options: map[string]string{"mode": "x"}}, wantErr: true},
		{name: "mtu", net: Network{Name: "n", Driver: "bridge", Options: map[string]string{"mtu": "x"}}, wantErr: true},
		{name: "vlan", net: Network{Name: "n", Driver: "bridge", Options: map[string]string{"vlan": "4095"}}, wantErr: true},
		{name: "mode", net: Network{Name: "n", Driver: "macvlan", Options: map[string]string{"mode": "x"}}, wantErr: true},
		{name: "bridge name", net: Network{Name: "n", Driver: "bridge", Interface: "a b"}, wantErr: true},
		{name: "subnet too small", net: Network{Name: "n", Driver: "bridge", Subnets: []Subnet{{Subnet: p("10.0.0.0/31")}}}, wantErr: true},
		{name: "gateway outside", net: Network{Name: "n", Driver: "bridge", Subnets: []Subnet{{Subnet: p("10.0.0.0/24"), Gateway: ip("10.0.1.1")}}}, wantErr: true},
		{name: "gateway is the network", net: Network{Name: "n", Driver: "bridge", Subnets: []Subnet{{Subnet: p("10.0.0.0/24"), Gateway: ip("10.0.0.0")}}}, wantErr: true},
		{name: "range backwards", net: Network{Name: "n", Driver: "bridge", Subnets: []Subnet{{Subnet: p("10.0.0.0/24"), First: ip("10.0.0.9"), Last: ip("10.0.0.5")}}}, wantErr: true},
		{name: "overlap", net: Network{Name: "n", Driver: "bridge", Subnets: []Subnet{{Subnet: p("10.0.0.0/24")}, {Subnet: p("10.0.0.128/25")}}}, wantErr: true},
		{name: "label", net: Network{Name: "n", Driver: "bridge", Labels: map[string]string{"a": "b\nc"}}, wantErr: true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if err := tt.net.check(); (err != nil) != tt.wantErr {
				t.Errorf("error %v, want one: %t", err, tt.wantErr)
			}
		})
	}
}

func TestHostNetworks(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{
		"20-good.conflist":  `{"cniVersion":"1.0.0","name":"good","plugins":[{"type":"ptp","ipam":{"type":"host-local","subnet":"10.3.0.0/24"}},{"type":"portmap","capabilities":{"portMappings":true}}]}`,
		"10-single.conf":    `{"cniVersion":"0.4.0","name":"single","type":"bridge","bridge":"cni9","ipam":{"type":"host-local","ranges":[[{"subnet":"10.4.0.0/24","gateway":"10.4.0.1"}]]}}`,
		"00-type.conflist":  `{"cniVersion":"1.0.0","name":"evil","plugins":[{"type":"../../bin/sh"}]}`,
		"01-ipam.conflist":  `{"cniVersion":"1.0.0","name":"evil2","plugins":[{"type":"bridge","ipam":{"type":"a/b"}}]}`,
		"02-name.conflist":  `{"cniVersion":"1.0.0","name":"a/b","plugins":[{"type":"bridge"}]}`,
		"03-bad.conflist":   `{"cniVersion":`,
		"04-empty.conflist": `{"cniVersion":"1.0.0","name":"empty"}`,
		"notes.txt":         `nothing`,
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	a, err := New(Config{Root: "/nowhere/r", RunRoot: "/nowhere/rr", ConfDir: dir})
	if err != nil {
		t.Fatal(err)
	}
	nets, err := a.Networks(t.Context())
	for _, file := range []string{"00-type", "01-ipam", "02-name", "03-bad", "04-empty"} {
		if err == nil || !strings.Contains(err.Error(), file) {
			t.Errorf("the error does not name %s: %v", file, err)
		}
	}
	var got []string
	for _, n := range nets {
		got = append(got, n.Name+" "+n.Driver+" "+string(n.Origin)+" "+joinStrings(n.prefixes()))
	}
	want := []string{"davit bridge builtin ", "single bridge host 10.4.0.0/24", "good ptp host 10.3.0.0/24"}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	def, err := a.HostDefault(t.Context())
	if err != nil || def.Name != "single" {
		t.Errorf("default %q, %v", def.Name, err)
	}
	n, err := a.find("good")
	if err != nil || !n.capable("portMappings") {
		t.Errorf("%+v, %v", n, err)
	}
}

func TestCandidates(t *testing.T) {
	host := &catalog{config: Config{RunRoot: "/run/davit", DefaultRoots: true}}
	for p := range host.candidates4(16) {
		if p.String() != "10.87.0.0/16" {
			t.Errorf("first candidate %s", p)
		}
		break
	}
	for p := range host.candidates4(24) {
		if p.String() != "10.87.0.0/24" {
			t.Errorf("first candidate %s", p)
		}
		break
	}
	own := &catalog{config: Config{RunRoot: "/tmp/x"}}
	seen := make(map[netip.Prefix]bool)
	for p := range own.candidates4(16) {
		if p.Bits() != 24 || !p.Addr().IsPrivate() || p.Masked() != p || seen[p] {
			t.Fatalf("candidate %s", p)
		}
		seen[p] = true
	}
	for p := range own.candidates6("a") {
		if !p.Addr().IsPrivate() || p.Masked() != p {
			t.Fatalf("candidate %s", p)
		}
	}
}

func FuzzParseConflist(f *testing.F) {
	f.Add([]byte(`{"cniVersion":"1.0.0","name":"good","plugins":[{"type":"ptp","ipam":{"type":"host-local","subnet":"10.3.0.0/24"}}]}`))
	f.Add([]byte(`{"cniVersion":"1.0.0","name":"a/b","plugins":[{"type":"../x","bridge":7}]}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		n, err := parseConflist(b)
		if err != nil {
			return
		}
		if CheckName(n.Name) != nil || strings.ContainsAny(n.Driver, "/\n") || n.Driver == "" {
			t.Errorf("name %q, driver %q", n.Name, n.Driver)
		}
	})
}
