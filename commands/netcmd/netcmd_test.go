package netcmd

import (
	"bytes"
	"errors"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/davit-containers/davit/commands/cli"
	"github.com/davit-containers/davit/netw"
)

func TestParseCreate(t *testing.T) {
	prefix, addr := netip.MustParsePrefix, netip.MustParseAddr
	for _, tt := range []struct {
		name    string
		o       createOptions
		args    []string
		want    netw.Network
		wantErr string
	}{
		{name: "plain", o: createOptions{Driver: "bridge"}, args: []string{"backend"}, want: netw.Network{Name: "backend", Driver: "bridge"}},
		{name: "no name", o: createOptions{Driver: "bridge"}, want: netw.Network{Driver: "bridge"}},
		{
			name: "everything",
			o: createOptions{
				Driver: "macvlan", Interface: "eth0", Labels: []string{"a=b", "c"}, Options: []string{"mtu=1400"}, Internal: true, DisableDNS: true,
				Addresses: addressOptions{
					Subnets: []string{"fd00:1::/64", "10.9.0.7/24"}, Gateways: []string{"10.9.0.1", "fd00:1::1"},
					Ranges: []string{"10.9.0.128/25", "fd00:1::10-fd00:1::20"}, IPv6: true,
				},
			},
			args: []string{"n"},
			want: netw.Network{
				Name: "n", Driver: "macvlan", Interface: "eth0", Internal: true, DNSDisabled: true, IPv6: true,
				Labels: map[string]string{"a": "b", "c": ""}, Options: map[string]string{"mtu": "1400"},
				Subnets: []netw.Subnet{
					{Subnet: prefix("fd00:1::/64"), Gateway: addr("fd00:1::1"), First: addr("fd00:1::10"), Last: addr("fd00:1::20")},
					{Subnet: prefix("10.9.0.0/24"), Gateway: addr("10.9.0.1"), First: addr("10.9.0.128"), Last: addr("10.9.0.255")},
				},
			},
		},
		{name: "bad name", args: []string{"a/b"}, wantErr: "a/b"},
		{name: "bad label", o: createOptions{Labels: []string{"=x"}}, wantErr: `--label "=x" is not KEY=VALUE`},
		{name: "bad option", o: createOptions{Options: []string{"mtu"}}, wantErr: `--opt "mtu" is not KEY=VALUE`},
		{name: "bad subnet", o: createOptions{Addresses: addressOptions{Subnets: []string{"10.0.0.0"}}}, wantErr: `--subnet "10.0.0.0" is not a subnet`},
		{name: "bad gateway", o: createOptions{Addresses: addressOptions{Subnets: []string{"10.0.0.0/24"}, Gateways: []string{"x"}}}, wantErr: "is not an address"},
		{name: "gateway elsewhere", o: createOptions{Addresses: addressOptions{Subnets: []string{"10.0.0.0/24"}, Gateways: []string{"10.0.1.1"}}}, wantErr: "--gateway 10.0.1.1 is in no --subnet"},
		{name: "gateway without a subnet", o: createOptions{Addresses: addressOptions{Gateways: []string{"10.0.1.1"}}}, wantErr: "is in no --subnet"},
		{name: "bad range", o: createOptions{Addresses: addressOptions{Subnets: []string{"10.0.0.0/24"}, Ranges: []string{"10.0.0.9-10.0.0.1"}}}, wantErr: "neither a subnet nor FIRST-LAST"},
		{name: "range beyond", o: createOptions{Addresses: addressOptions{Subnets: []string{"10.0.0.0/24"}, Ranges: []string{"10.0.0.9-10.0.1.1"}}}, wantErr: "does not end in"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := tt.o.parse(tt.args)
			if tt.wantErr != "" {
				if err == nil || !strings.Contains(err.Error(), tt.wantErr) {
					t.Errorf("got %v, want %q", err, tt.wantErr)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, got, cmpopts.EquateComparable(netip.Prefix{}, netip.Addr{})); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func someNetworks() []netw.Network {
	return []netw.Network{
		{Name: "davit", Driver: "bridge", Origin: netw.OriginBuiltin, Interface: "davit0"},
		{
			Name: "backend", Driver: "bridge", Origin: netw.OriginUser, Labels: map[string]string{"b": "2", "a": "1"},
			Created: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC),
			Subnets: []netw.Subnet{{Subnet: netip.MustParsePrefix("10.9.0.0/24")}, {Subnet: netip.MustParsePrefix("fd00::/64")}},
		},
		{Name: "lan", Driver: "macvlan", Origin: netw.OriginHost, File: "/etc/cni/net.d/10-lan.conflist"},
	}
}

func TestRows(t *testing.T) {
	o := listOptions{Format: "{{.ID}} {{.Name}} {{.Subnets}} {{.Labels}}"}
	var out bytes.Buffer
	if err := o.output().Print(&out, o.rows(someNetworks()[1:2])); err != nil {
		t.Fatal(err)
	}
	if want := networkID("backend")[:12] + " backend 10.9.0.0/24,fd00::/64 a=1,b=2\n"; out.String() != want {
		t.Errorf("got %q, want %q", out.String(), want)
	}
	out.Reset()
	if err := (listOptions{}).output().Print(&out, nil); err != nil || out.String() != "NETWORK ID  NAME  DRIVER\n" {
		t.Errorf("headings: %q, %v", out.String(), err)
	}
	if i := inspection(someNetworks()[1]); !i.IPv6 || len(i.Subnets) != 2 || !i.DNS || i.Options == nil {
		t.Errorf("inspection %+v", i)
	}
}

func TestFilters(t *testing.T) {
	for _, tt := range []struct {
		filter []string
		want   string
	}{
		{nil, "davit backend lan"},
		{[]string{"name=a"}, "davit backend lan"},
		{[]string{"name=^back"}, "backend"},
		{[]string{"driver=macvlan", "driver=bridge", "name=lan"}, "lan"},
		{[]string{"origin=user"}, "backend"},
		{[]string{"label=a", "label=b=2"}, "backend"},
		{[]string{"label!=a"}, "davit lan"},
		{[]string{"id=" + networkID("lan")[:6]}, "lan"},
	} {
		f, err := listOptions{Filter: tt.filter}.parse()
		if err != nil {
			t.Fatal(err)
		}
		var names []string
		for _, n := range someNetworks() {
			if match(f, n) {
				names = append(names, n.Name)
			}
		}
		if got := strings.Join(names, " "); got != tt.want {
			t.Errorf("%v: %q, want %q", tt.filter, got, tt.want)
		}
	}
	if _, err := (listOptions{Filter: []string{"nope=1"}}).parse(); err == nil {
		t.Error("an unknown filter was taken")
	}
	if _, err := (listOptions{Quiet: true, Format: "json"}).parse(); err == nil {
		t.Error("--quiet and --format were taken together")
	}
}

func TestPruneKeep(t *testing.T) {
	now := time.Date(2026, 1, 3, 0, 0, 0, 0, time.UTC)
	for _, tt := range []struct {
		filter []string
		want   string
	}{
		{nil, "backend"},
		{[]string{"until=24h"}, "backend"},
		{[]string{"until=72h"}, ""},
		{[]string{"label=nope"}, ""},
	} {
		keep, err := pruneOptions{Filter: tt.filter}.parse(now)
		if err != nil {
			t.Fatal(err)
		}
		var gone []string
		for _, n := range someNetworks() {
			if !keep(n) {
				gone = append(gone, n.Name)
			}
		}
		if got := strings.Join(gone, " "); got != tt.want {
			t.Errorf("%v removes %q, want %q", tt.filter, got, tt.want)
		}
	}
	if _, err := (pruneOptions{Filter: []string{"until=soon"}}).parse(now); err == nil {
		t.Error("a bad time was taken")
	}
}

func TestRemoveHint(t *testing.T) {
	err := removeHint(&netw.InUseError{Network: "backend", Sandboxes: []string{"web"}})
	if _, hint := cli.Message(err); !strings.Contains(hint, "network=backend") || cli.RemoveCode(err) != cli.CodeInUse {
		t.Errorf("%v, hint %q, code %d", err, hint, cli.RemoveCode(err))
	}
	var usage *cli.UsageError
	if err := removeHint(errors.New("x")); errors.As(err, &usage) {
		t.Error("a hint for nothing")
	}
}
