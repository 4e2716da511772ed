//go:build rootful

package netw

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	"github.com/davit-containers/davit/netw/bridge"
	"github.com/davit-containers/davit/netw/netns"
)

// wire is a bridge and a sandbox's namespace.
type wire struct {
	t    *testing.T
	c    bridge.Config
	pins netns.Pinned
}

func newWire(t *testing.T, change ...func(*bridge.Config)) *wire {
	t.Helper()
	b := &wire{t: t, c: bridge.Config{Name: "brtest0", Addresses: []netip.Prefix{netip.MustParsePrefix("10.93.0.1/24"), netip.MustParsePrefix("fd93::1/64")}}}
	for _, f := range change {
		f(&b.c)
	}
	dir := filepath.Join(t.TempDir(), "ns")
	t.Cleanup(func() {
		if err := errors.Join(netns.Remove(dir), bridge.Remove(b.c.Name)); err != nil {
			t.Error(err)
		}
	})
	var err error
	if b.pins, err = netns.Create(t.Context(), netns.Config{Dir: dir, Net: true}); err != nil {
		t.Fatal(err)
	}
	err = bridge.Ensure(b.c)
	if errors.Is(err, errdefs.ErrNotImplemented) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// inside runs a program in the sandbox.
func (b *wire) inside(args ...string) string {
	b.t.Helper()
	out, err := exec.Command("nsenter", append([]string{"--net=" + b.pins.Net}, args...)...).CombinedOutput()
	if err != nil {
		b.t.Fatalf("%q: %v: %s", args, err, out)
	}
	return string(out)
}

// reach connects to an address of the bridge, in less than it takes to try again.
func (b *wire) reach(ip string) {
	b.t.Helper()
	l, err := net.Listen("tcp", net.JoinHostPort(ip, "0"))
	if err != nil {
		b.t.Fatal(err)
	}
	defer l.Close()
	err = netns.Do(b.pins.Net, func() error {
		c, err := net.DialTimeout("tcp", l.Addr().String(), 900*time.Millisecond)
		if err == nil {
			err = c.Close()
		}
		return err
	})
	if err != nil {
		b.t.Error(err)
	}
}

// ports are the names of what is plugged in.
func (b *wire) ports() (names []string) {
	b.t.Helper()
	ps, err := bridge.Ports(b.c.Name)
	if err != nil {
		b.t.Fatal(err)
	}
	for _, p := range ps {
		names = append(names, p.Name)
	}
	return names
}

func (b *wire) end(name, four, six string) bridge.End {
	return bridge.End{
		Netns: b.pins.Net, Name: name, Addresses: []netip.Prefix{netip.MustParsePrefix(four), netip.MustParsePrefix(six)},
		Routers: []netip.Addr{b.c.Addresses[0].Addr(), b.c.Addresses[1].Addr()},
	}
}

// Traffic flows as soon as Join is back, by IPv4 and IPv6, with the very first packet.
func TestJoin(t *testing.T) {
	for range 5 {
		t.Run("", func(t *testing.T) {
			b := newWire(t, func(c *bridge.Config) { c.MTU = 1400 })
			e := b.end("eth0", "10.93.0.2/24", "fd93::2/64")
			e.MAC = "02:00:00:00:93:02"
			mac, port, err := bridge.Join(t.Context(), b.c, e)
			if err != nil {
				t.Fatal(err)
			}
			b.reach("10.93.0.1")
			b.reach("fd93::1")
			if mac != e.MAC || len(b.ports()) != 1 || b.ports()[0] != port {
				t.Errorf("mac %s, port %s of %q", mac, port, b.ports())
			}
			if out := b.inside("ip", "link", "show", "eth0"); !strings.Contains(out, "mtu 1400") || !strings.Contains(out, e.MAC) || !strings.Contains(out, "UP") {
				t.Error(out)
			}
			if out := b.inside("ip", "-6", "addr", "show", "eth0"); strings.Contains(out, "tentative") {
				t.Error(out)
			}
			if out, err := exec.Command("bridge", "-d", "link", "show", "dev", port).CombinedOutput(); err != nil || !strings.Contains(string(out), "hairpin on") {
				t.Errorf("%v: %s", err, out)
			}
			for _, s := range [][2]string{{"ipv4.conf.eth0.arp_notify", "1"}, {"ipv6.conf.eth0.accept_dad", "0"}, {"ipv6.conf.eth0.accept_ra", "0"}} {
				if got := strings.TrimSpace(b.inside("sysctl", "-n", "net."+s[0])); got != s[1] {
					t.Errorf("%s is %s", s[0], got)
				}
			}
			for range 2 {
				if err := bridge.Leave(b.pins.Net, "eth0"); err != nil {
					t.Error(err)
				}
			}
			if left := b.ports(); len(left) != 0 {
				t.Errorf("left: %q", left)
			}
		})
	}
	if err := bridge.Leave("/nonexistent", "eth0"); err != nil {
		t.Error(err)
	}
}

// The first network of several keeps the default routes.
func TestJoinTwice(t *testing.T) {
	b := newWire(t)
	if _, _, err := bridge.Join(t.Context(), b.c, b.end("eth0", "10.93.0.2/24", "fd93::2/64")); err != nil {
		t.Fatal(err)
	}
	routes := b.inside("ip", "route", "show", "default") + b.inside("ip", "-6", "route", "show", "default")
	second := bridge.End{Netns: b.pins.Net, Name: "eth1", Addresses: []netip.Prefix{netip.MustParsePrefix("10.93.0.3/24"), netip.MustParsePrefix("fd93::3/64")}}
	second.Routers = []netip.Addr{netip.MustParseAddr("10.93.0.9"), netip.MustParseAddr("fd93::9")}
	if _, _, err := bridge.Join(t.Context(), b.c, second); err != nil {
		t.Fatal(err)
	}
	if now := b.inside("ip", "route", "show", "default") + b.inside("ip", "-6", "route", "show", "default"); now != routes || !strings.Contains(routes, "via 10.93.0.1 dev eth0") {
		t.Errorf("default routes %s, before %s", now, routes)
	}
}

// What fails leaves neither end.
func TestJoinFails(t *testing.T) {
	b := newWire(t)
	good := b.end("eth0", "10.93.0.2/24", "fd93::2/64")
	if _, _, err := bridge.Join(t.Context(), b.c, good); err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct {
		change func(*bridge.Config, *bridge.End)
		want   error
	}{
		"a name that is there":     {func(_ *bridge.Config, e *bridge.End) { e.Name = "eth0" }, errdefs.ErrAlreadyExists},
		"a bridge that is not":     {func(c *bridge.Config, _ *bridge.End) { c.Name = "absent0" }, errdefs.ErrNotFound},
		"a namespace that is not":  {func(_ *bridge.Config, e *bridge.End) { e.Netns = "/nonexistent" }, errdefs.ErrNotFound},
		"no hardware address":      {func(_ *bridge.Config, e *bridge.End) { e.MAC = "x" }, errdefs.ErrInvalidArgument},
		"an address twice":         {func(_ *bridge.Config, e *bridge.End) { e.Addresses = append(e.Addresses, e.Addresses[0]) }, os.ErrExist},
		"a router out of the link": {func(_ *bridge.Config, e *bridge.End) { e.Routers = []netip.Addr{netip.MustParseAddr("192.0.2.1")} }, nil},
	} {
		c, e := b.c, b.end("eth1", "10.93.0.3/24", "fd93::3/64")
		tt.change(&c, &e)
		if _, _, err := bridge.Join(t.Context(), c, e); err == nil || tt.want != nil && !errors.Is(err, tt.want) {
			t.Errorf("%s: %v", name, err)
		}
		if ports := b.ports(); len(ports) != 1 {
			t.Errorf("%s: ports %q", name, ports)
		}
		if out := b.inside("ip", "-o", "link"); strings.Count(out, "eth") != 1+strings.Count(out, "link/ether") {
			t.Errorf("%s: %s", name, out)
		}
	}
}

func TestJoinVLAN(t *testing.T) {
	b := newWire(t, func(c *bridge.Config) { c.VLAN = 7 })
	_, port, err := bridge.Join(t.Context(), b.c, b.end("eth0", "10.93.0.2/24", "fd93::2/64"))
	if err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("bridge", "vlan", "show", "dev", port).CombinedOutput(); err != nil || !strings.Contains(string(out), "7 PVID Egress Untagged") {
		t.Errorf("%v: %s", err, out)
	}
	b.reach("10.93.0.1")
}

// An end is not waited for by whoever waits no more.
func TestJoinCancelled(t *testing.T) {
	b := newWire(t)
	run(t, "ip", "link", "set", b.c.Name, "down") // its port never comes up
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	began := time.Now()
	_, _, err := bridge.Join(ctx, b.c, b.end("eth0", "10.93.0.2/24", "fd93::2/64"))
	if took := time.Since(began); !errors.Is(err, context.DeadlineExceeded) || took > 2*time.Second {
		t.Errorf("%v after %s", err, took)
	}
	if left := b.ports(); len(left) != 0 {
		t.Errorf("left: %q", left)
	}
}
