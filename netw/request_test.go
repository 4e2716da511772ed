package netw

import (
	"errors"
	"net/netip"
	"strings"
	"testing"

	"github.com/containerd/errdefs"
)

func TestRequestCheck(t *testing.T) {
	ok := func() Request {
		return Request{ID: "abc", Name: "web", Netns: "/run/davit/pods/abc/ns/net", Dir: "/run/davit/pods/abc", Networks: []Ref{{Name: "davit"}}}
	}
	tests := []struct {
		name    string
		change  func(*Request)
		wantErr bool
	}{
		{name: "plain", change: func(*Request) {}},
		{name: "full", change: func(r *Request) {
			r.Networks = append(r.Networks, Ref{Name: "back.net-2", IfName: "back0", MAC: "02:00:00:00:00:01",
				IPs: []netip.Addr{netip.MustParseAddr("10.1.2.3")}, Aliases: []string{"db", "db.local"}})
		}},
		{name: "no ID", change: func(r *Request) { r.ID = "" }, wantErr: true},
		{name: "ID with slash", change: func(r *Request) { r.ID = "../x" }, wantErr: true},
		{name: "ID with newline", change: func(r *Request) { r.ID = "x\ny" }, wantErr: true},
		{name: "relative folder", change: func(r *Request) { r.Dir = "x" }, wantErr: true},
		{name: "relative namespace", change: func(r *Request) { r.Netns = "x" }, wantErr: true},
		{name: "a process's namespace", change: func(r *Request) { r.Netns = "/proc/1/ns/net" }, wantErr: true},
		{name: "no namespace", change: func(r *Request) { r.Netns = "" }, wantErr: true},
		{name: "network with slash", change: func(r *Request) { r.Networks[0].Name = "../davit" }, wantErr: true},
		{name: "network with newline", change: func(r *Request) { r.Networks[0].Name = "a\nb" }, wantErr: true},
		{name: "network without name", change: func(r *Request) { r.Networks[0].Name = "" }, wantErr: true},
		{name: "interface with slash", change: func(r *Request) { r.Networks[0].IfName = "a/b" }, wantErr: true},
		{name: "interface with newline", change: func(r *Request) { r.Networks[0].IfName = "a\nb" }, wantErr: true},
		{name: "interface of 16 bytes", change: func(r *Request) { r.Networks[0].IfName = strings.Repeat("a", 16) }, wantErr: true},
		{name: "interface of 15 bytes", change: func(r *Request) { r.Networks[0].IfName = strings.Repeat("a", 15) }},
		{name: "interface pattern", change: func(r *Request) { r.Networks[0].IfName = "eth%d" }, wantErr: true},
		{name: "interface twice", change: func(r *Request) { r.Networks = append(r.Networks, Ref{Name: "x", IfName: "eth0"}) }, wantErr: true},
		{name: "multicast MAC", change: func(r *Request) { r.Networks[0].MAC = "01:00:00:00:00:01" }, wantErr: true},
		{name: "long MAC", change: func(r *Request) { r.Networks[0].MAC = "02:00:00:00:00:00:00:01" }, wantErr: true},
		{name: "address with zone", change: func(r *Request) { r.Networks[0].IPs = []netip.Addr{netip.MustParseAddr("fe80::1%eth0")} }, wantErr: true},
		{name: "alias with newline", change: func(r *Request) { r.Networks[0].Aliases = []string{"a\n127.0.0.1 bank"} }, wantErr: true},
		{name: "alias with blank", change: func(r *Request) { r.Networks[0].Aliases = []string{"a b"} }, wantErr: true},
		{name: "empty alias", change: func(r *Request) { r.Networks[0].Aliases = []string{""} }, wantErr: true},
		{name: "name with newline", change: func(r *Request) { r.Name = "a\nb" }, wantErr: true},
		{name: "name that adds an argument", change: func(r *Request) { r.Name = "a;IP=1.2.3.4" }, wantErr: true},
		{name: "namespace that adds an argument", change: func(r *Request) { r.Namespace = "a;IP=1.2.3.4" }, wantErr: true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := ok()
			tt.change(&r)
			err := r.check()
			if (err != nil) != tt.wantErr {
				t.Fatalf("error %v, want one: %t", err, tt.wantErr)
			}
			if err != nil && !errors.Is(err, errdefs.ErrInvalidArgument) {
				t.Errorf("%v is not of class ErrInvalidArgument", err)
			}
		})
	}
}

func TestNew(t *testing.T) {
	tests := []struct {
		name    string
		config  Config
		wantErr bool
	}{
		{name: "plain", config: Config{Root: "/r", RunRoot: "/rr"}},
		{name: "relative", config: Config{Root: "r", RunRoot: "/rr"}, wantErr: true},
		{name: "bad default", config: Config{Root: "/r", RunRoot: "/rr", Default: "a/b"}, wantErr: true},
		{name: "bad bridge", config: Config{Root: "/r", RunRoot: "/rr", Bridge: "a/b"}, wantErr: true},
		{name: "bad subnet", config: Config{Root: "/r", RunRoot: "/rr", Subnet: "10.0.0.0/31"}, wantErr: true},
		{name: "subnet of the other family", config: Config{Root: "/r", RunRoot: "/rr", Subnet: "fd00::/64"}, wantErr: true},
		{name: "no IPv6", config: Config{Root: "/r", RunRoot: "/rr", Subnet6: "none"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if _, err := New(tt.config); (err != nil) != tt.wantErr {
				t.Errorf("error %v, want one: %t", err, tt.wantErr)
			}
		})
	}
}

func TestRootsOfTheirOwn(t *testing.T) {
	host := Config{Root: "/r", RunRoot: "/rr", DefaultRoots: true}
	one := Config{Root: "/r", RunRoot: "/rr"}
	two := Config{Root: "/r", RunRoot: "/rr2"}
	if host.bridgeName() != "davit0" || host.tableName() != "davit" {
		t.Errorf("the host's davit has %s and %s", host.bridgeName(), host.tableName())
	}
	if one.bridgeName() == two.bridgeName() || one.tableName() == two.tableName() || one.tableName() == host.tableName() {
		t.Error("two davits share a bridge or a table")
	}
	if err := CheckIfName(one.bridgeName()); err != nil {
		t.Error(err)
	}
}
