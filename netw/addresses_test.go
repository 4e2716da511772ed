package netw

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"testing"

	"github.com/containerd/errdefs"
	"github.com/google/go-cmp/cmp"
)

func testPool(t *testing.T, subnets ...Subnet) pool {
	t.Helper()
	return place{run: t.TempDir()}.pool("n", subnets)
}

func subnet(prefix, gateway string) Subnet {
	s := Subnet{Subnet: netip.MustParsePrefix(prefix)}
	if gateway != "" {
		s.Gateway = netip.MustParseAddr(gateway)
	}
	return s
}

func TestPoolBounds(t *testing.T) {
	ip := netip.MustParseAddr
	bounded := subnet("10.1.0.0/24", "10.1.0.1")
	bounded.First, bounded.Last = ip("10.1.0.10"), ip("10.1.0.12")
	for _, tt := range []struct {
		name        string
		s           Subnet
		first, last string
	}{
		{"IPv4", subnet("10.1.0.7/24", ""), "10.1.0.1", "10.1.0.254"},
		{"across octets", subnet("10.1.0.0/22", ""), "10.1.0.1", "10.1.3.254"},
		{"smallest", subnet("10.1.0.4/30", ""), "10.1.0.5", "10.1.0.6"},
		{"IPv6", subnet("fd00::/120", ""), "fd00::1", "fd00::ff"},
		{"as configured", bounded, "10.1.0.10", "10.1.0.12"},
	} {
		first, last := tt.s.bounds()
		if first.String() != tt.first || last.String() != tt.last {
			t.Errorf("%s: %s to %s", tt.name, first, last)
		}
	}
}

// Every address but the gateway is given out once, the one that was freed last comes
// last, and a full subnet says so.
func TestPoolTakesAll(t *testing.T) {
	p := testPool(t, subnet("10.1.0.0/29", "10.1.0.1"))
	var order []string
	for i := range 5 {
		got, err := p.take(holder{fmt.Sprint("s", i), "eth0"}, nil)
		if err != nil {
			t.Fatal(err)
		}
		order = append(order, got[0].String())
	}
	if d := cmp.Diff([]string{"10.1.0.2/29", "10.1.0.3/29", "10.1.0.4/29", "10.1.0.5/29", "10.1.0.6/29"}, order); d != "" {
		t.Error(d)
	}
	if _, err := p.take(holder{"s6", "eth0"}, nil); !errors.Is(err, errdefs.ErrResourceExhausted) || err.Error() != "no free address in 10.1.0.0/29: resource exhausted" {
		t.Errorf("full: %v", err)
	}
	for _, i := range []int{3, 1} {
		if err := p.free(holder{fmt.Sprint("s", i), "eth0"}, nil); err != nil {
			t.Fatal(err)
		}
	}
	for _, want := range []string{"10.1.0.3/29", "10.1.0.5/29"} {
		if got, err := p.take(holder{"new", "eth0"}, nil); err != nil || got[0].String() != want {
			t.Errorf("got %v, %v, want %s", got, err, want)
		}
	}
}

func TestPoolAsked(t *testing.T) {
	ip := netip.MustParseAddr
	p := testPool(t, subnet("10.1.0.0/24", "10.1.0.1"), subnet("fd00::/64", "fd00::1"))
	one, two := holder{"one", "eth0"}, holder{"two", "eth0"}
	got, err := p.take(one, []netip.Addr{ip("fd00::77")})
	if err != nil || fmt.Sprint(got) != "[10.1.0.2/24 fd00::77/64]" {
		t.Fatalf("%v, %v", got, err)
	}
	for _, tt := range []struct {
		name string
		ips  []netip.Addr
		want error
	}{
		{"taken", []netip.Addr{ip("fd00::77")}, errdefs.ErrAlreadyExists},
		{"the gateway", []netip.Addr{ip("10.1.0.1")}, errdefs.ErrInvalidArgument},
		{"the network", []netip.Addr{ip("10.1.0.0")}, errdefs.ErrInvalidArgument},
		{"for all", []netip.Addr{ip("10.1.0.255")}, errdefs.ErrInvalidArgument},
		{"two of a subnet", []netip.Addr{ip("10.1.0.50"), ip("10.1.0.51")}, errdefs.ErrInvalidArgument},
	} {
		if got, err := p.take(two, tt.ips); !errors.Is(err, tt.want) {
			t.Errorf("%s: %v, %v", tt.name, got, err)
		}
		if left, _ := filepath.Glob(filepath.Join(p.dir, "[0-9f]*")); len(left) != 2 {
			t.Fatalf("%s: reserved are %q", tt.name, left)
		}
	}
}

// What host-local has reserved is taken, and freed as what davit has; other holders'
// are not.
func TestPoolWithHostLocal(t *testing.T) {
	p := testPool(t, subnet("10.1.0.0/24", "10.1.0.1"), subnet("fd00::/64", ""))
	if err := os.MkdirAll(p.dir, 0o755); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		"10.1.0.2": "old\r\neth0", "10.1.0.3": "old\r\neth1", "10.1.0.4": "older", "fd00--1": "old\r\neth0", "lock": "", "last_reserved_ip.1": "fd00::9",
	} {
		if err := os.WriteFile(filepath.Join(p.dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	got, err := p.take(holder{"new", "eth0"}, nil)
	if err != nil || fmt.Sprint(got) != "[10.1.0.5/24 fd00::a/64]" {
		t.Errorf("%v, %v", got, err)
	}
	if err := p.free(holder{"old", "eth0"}, nil); err != nil {
		t.Fatal(err)
	}
	left, _ := filepath.Glob(filepath.Join(p.dir, "*[0-9a]"))
	var names []string
	for _, l := range left {
		names = append(names, filepath.Base(l))
	}
	if d := cmp.Diff([]string{"10.1.0.3", "10.1.0.4", "10.1.0.5", "fd00::a", "last_reserved_ip.0", "last_reserved_ip.1"}, names); d != "" {
		t.Error(d)
	}
	// known addresses that somebody else has by now stay
	if err := p.free(holder{"other", "eth0"}, addresses(got)); err != nil {
		t.Fatal(err)
	}
	if who := reservedBy(filepath.Join(p.dir, "10.1.0.5")); who != (holder{"new", "eth0"}) {
		t.Errorf("it is %v's", who)
	}
}

// Nobody is given what somebody else has, however many ask at once.
func TestPoolConcurrent(t *testing.T) {
	p := testPool(t, subnet("10.1.0.0/26", "10.1.0.1"))
	const n = 30 // of 61: who looks while all move may find none of a few
	var wg sync.WaitGroup
	var mu sync.Mutex
	held := map[netip.Prefix]bool{}
	for i := range n {
		wg.Go(func() {
			for range 20 {
				who := holder{fmt.Sprint("s", i), "eth0"}
				got, err := p.take(who, nil)
				if err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				if held[got[0]] {
					t.Errorf("%s was given out twice", got[0])
				}
				held[got[0]] = true
				mu.Unlock()
				runtime.Gosched()
				mu.Lock()
				held[got[0]] = false
				mu.Unlock()
				if err := p.free(who, addresses(got)); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
}
