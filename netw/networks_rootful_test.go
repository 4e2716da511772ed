//go:build rootful

package netw

import (
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/containerd/errdefs"
	"github.com/google/go-cmp/cmp"
)

// create makes a network, removed at the end.
func (w *world) create(n Network) Network {
	w.t.Helper()
	made, err := w.Create(w.t.Context(), n)
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() {
		if err := w.Remove(cleanupContext(w.t), n.Name); err != nil {
			w.t.Error(err)
		}
	})
	return made
}

// on is a request for networks.
func (s *sandbox) on(refs ...Ref) Request {
	r := s.request()
	r.Networks = refs
	return r
}

func TestUserNetwork(t *testing.T) {
	w := newWorld(t)
	made := w.create(Network{Name: "back", IPv6: true, Labels: map[string]string{"a": "b"}, Options: map[string]string{"mtu": "1400"}})
	if made.Driver != DriverBridge || made.Interface == "" || len(made.Subnets) != 2 || !made.Subnets[0].Gateway.IsValid() {
		t.Fatalf("%+v", made)
	}
	if again, err := w.Network(t.Context(), "back"); err != nil {
		t.Error(err)
	} else if d := cmp.Diff(made, again, addrs); d != "" {
		t.Error(d)
	}
	if _, err := w.Create(t.Context(), Network{Name: "back"}); !errors.Is(err, errdefs.ErrAlreadyExists) {
		t.Errorf("twice: %v", err)
	}
	if _, err := w.Create(t.Context(), Network{Name: "clash", Subnets: []Subnet{{Subnet: made.Subnets[0].Subnet}}}); !errors.Is(err, errdefs.ErrAlreadyExists) {
		t.Errorf("same subnet: %v", err)
	}
	if _, err := w.Create(t.Context(), Network{Name: "clash", Interface: made.Interface}); !errors.Is(err, errdefs.ErrAlreadyExists) {
		t.Errorf("same bridge: %v", err)
	}

	static := made.Subnets[0].Subnet.Addr()
	for range 77 {
		static = static.Next()
	}
	one, two, alone := w.sandbox("one"), w.sandbox("two"), w.sandbox("alone")
	r := one.request("8080:80")
	r.Networks = []Ref{{Name: "back", IPs: []netip.Addr{static}, MAC: "02:00:00:00:00:77", Aliases: []string{"db", "pod-one", "db.local"}}}
	a1 := one.attach(r)
	a2 := two.attach(two.on(Ref{Name: "back"}, Ref{Name: Builtin, IfName: "up7"}))
	alone.attach(alone.request())
	if a1.IPs()[0] != static || a1.Interfaces[0].MAC != "02:00:00:00:00:77" {
		t.Errorf("static values: %+v", a1)
	}
	if got := []string{a2.Interfaces[0].Name, a2.Interfaces[1].Name}; !slices.Equal(got, []string{"eth0", "up7"}) {
		t.Errorf("interfaces %v", got)
	}
	if out := one.run("ip", "link", "show", "eth0"); !strings.Contains(out, "mtu 1400") || !strings.Contains(out, "02:00:00:00:00:77") {
		t.Error(out)
	}
	one.serve(":80")
	expect(t, "one", "neighbour", func() (string, error) { return two.ask("tcp", static.String()+":80") })
	expect(t, "one", "neighbour, IPv6", func() (string, error) {
		return two.ask("tcp", netip.AddrPortFrom(ip(t, a1, true), 80).String())
	})
	expect(t, "one", "published", func() (string, error) { return ask("tcp", "127.0.0.1:8080") })

	peers, err := w.Peers(t.Context(), "back")
	want := []HostEntry{
		{ID: "one", IPs: a1.IPs(), Names: []string{"pod-one", "db", "db.local"}},
		{ID: "two", IPs: a2.IPs()[:2], Names: []string{"pod-two"}},
	}
	if d := cmp.Diff(want, peers, addrs); d != "" || err != nil {
		t.Error(d, err)
	}
	if peers, err := w.Peers(t.Context(), Builtin); err != nil || len(peers) != 0 {
		t.Errorf("the built-in network has names: %v, %v", peers, err)
	}
	if _, err := w.Peers(t.Context(), "absent"); !errors.Is(err, errdefs.ErrNotFound) {
		t.Errorf("names of an absent network: %v", err)
	}
	if names, err := PeerNetworks(two.dir); err != nil || !slices.Equal(names, []string{"back"}) {
		t.Errorf("%v, %v", names, err)
	}

	var inUse *InUseError
	if err := w.Remove(t.Context(), "back"); !errors.As(err, &inUse) || !slices.Equal(inUse.Sandboxes, []string{"pod-one", "pod-two"}) {
		t.Errorf("removal in use: %v", err)
	}
	expect(t, "one", "after a refused removal", func() (string, error) { return ask("tcp", "127.0.0.1:8080") })
}

func TestStaticAddressTaken(t *testing.T) {
	w := newWorld(t)
	one, two := w.sandbox("one"), w.sandbox("two")
	a := one.attach(one.request())
	_, err := w.Attach(t.Context(), two.on(Ref{Name: Builtin, IPs: a.IPs()[:1]}))
	if err == nil || !strings.Contains(err.Error(), "is not available") {
		t.Errorf("got %v", err)
	}
	_, err = w.Attach(t.Context(), two.on(Ref{Name: Builtin, IPs: []netip.Addr{netip.MustParseAddr("192.0.2.1")}}))
	if !errors.Is(err, errdefs.ErrInvalidArgument) {
		t.Errorf("outside: %v", err)
	}
	// the refused attachment must not have freed the other's address
	_, err = w.Attach(t.Context(), two.on(Ref{Name: Builtin, IPs: a.IPs()[:1]}))
	if err == nil {
		t.Error("the address was given out twice")
	}
}

func TestInternalNetwork(t *testing.T) {
	w := newWorld(t)
	out := w.outside()
	out.serve(":90")
	w.create(Network{Name: "inner", Internal: true})
	w.create(Network{Name: "other"})
	one, two, three := w.sandbox("one"), w.sandbox("two"), w.sandbox("three")
	a1 := one.attach(one.on(Ref{Name: "inner"}))
	two.attach(two.on(Ref{Name: "inner"}))
	three.attach(three.on(Ref{Name: "other"}))
	one.serve(":80")
	address := a1.IPs()[0].String() + ":80"
	expect(t, "one", "neighbour", func() (string, error) { return two.ask("tcp", address) })
	expect(t, "outside", "another network's way out", func() (string, error) { return three.ask("tcp", "10.255.0.2:90") })
	refuse(t, "no way out", func() (string, error) { return one.ask("tcp", "10.255.0.2:90") })
	one.run("ip", "route", "add", "default", "via", a1.Interfaces[0].Gateways[0].String())
	refuse(t, "no way out, with a route", func() (string, error) { return one.ask("tcp", "10.255.0.2:90") })
	refuse(t, "no way in from another network", func() (string, error) { return three.ask("tcp", address) })
	run(t, "nft", "flush", "chain", "inet", w.table.Name(), "forward")
	expect(t, "one", "without the rules: from another network", func() (string, error) { return three.ask("tcp", address) })
}

func TestMacvlan(t *testing.T) {
	w := newWorld(t)
	out := w.outside()
	out.serve(":90")
	if _, err := w.Create(t.Context(), Network{Name: "lan", Driver: DriverMacvlan, Options: map[string]string{"parent": "absent0"}}); !errors.Is(err, errdefs.ErrNotFound) {
		t.Errorf("absent parent: %v", err)
	}
	w.create(Network{Name: "lan", Driver: DriverMacvlan, Options: map[string]string{"parent": "up0"}, Subnets: []Subnet{{
		Subnet: netip.MustParsePrefix("10.255.0.0/24"), First: netip.MustParseAddr("10.255.0.100"), Last: netip.MustParseAddr("10.255.0.110")}}})
	one := w.sandbox("one")
	a := one.attach(one.on(Ref{Name: "lan"}))
	if a.IPs()[0].String() != "10.255.0.100" {
		t.Errorf("%+v", a)
	}
	one.serve(":80")
	answer := expect(t, "outside", "the link", func() (string, error) { return one.ask("tcp", "10.255.0.2:90") })
	if !strings.Contains(answer, "10.255.0.100") {
		t.Errorf("masqueraded: %q", answer)
	}
	expect(t, "one", "from the link", func() (string, error) { return out.ask("tcp", "10.255.0.100:80") })
}

// Networks of the host are used by name; ports go through their own plugin, or
// through davit's table where they have none.
func TestHostNetwork(t *testing.T) {
	for name, more := range map[string]string{"portmap": `,{"type":"portmap","capabilities":{"portMappings":true},"snat":true}`, "table": ""} {
		t.Run(name, func(t *testing.T) {
			conf := t.TempDir()
			list := `{"cniVersion":"0.4.0","name":"host1","plugins":[{"type":"ptp","ipam":{"type":"host-local","dataDir":"` + t.TempDir() +
				`","subnet":"10.98.0.0/24","routes":[{"dst":"0.0.0.0/0"}]}}` + more + `]}`
			if err := os.WriteFile(filepath.Join(conf, "10.conflist"), []byte(list), 0o644); err != nil {
				t.Fatal(err)
			}
			w := newWorld(t, func(c *Config) { c.ConfDir = conf })
			if err := w.Status(t.Context(), ""); err != nil {
				t.Error(err)
			}
			out := w.outside()
			one := w.sandbox("one")
			r := one.request("8080:80")
			r.Networks = []Ref{{Name: "host1"}}
			one.attach(r)
			one.serve(":80")
			run(t, "sysctl", "-qw", "net.ipv4.ip_forward=1")
			expect(t, "one", "published", func() (string, error) { return out.ask("tcp", "10.255.0.1:8080") })
			expect(t, "one", "from the host", func() (string, error) { return ask("tcp", "10.255.0.1:8080") })
			elements, err := w.table.Elements()
			if err != nil || (len(elements) > 0) != (more == "") {
				t.Errorf("elements: %v, %v", elements, err)
			}
			if err := w.Remove(t.Context(), "host1"); !errors.Is(err, errdefs.ErrFailedPrecondition) {
				t.Errorf("removal: %v", err)
			}
			one.detach()
			if name == "portmap" {
				run(t, "nft", "flush", "ruleset") // chains that the plugin never removes
			}
		})
	}
}

func TestNetworkErrors(t *testing.T) {
	w := newWorld(t)
	s := w.sandbox("one")
	if _, err := w.Attach(t.Context(), s.on(Ref{Name: "absent"})); !errors.Is(err, errdefs.ErrNotFound) {
		t.Errorf("absent network: %v", err)
	}
	if err := w.Remove(t.Context(), "absent"); !errors.Is(err, errdefs.ErrNotFound) {
		t.Errorf("removal of an absent network: %v", err)
	}
	if err := w.Remove(t.Context(), Builtin); !errors.Is(err, errdefs.ErrFailedPrecondition) {
		t.Errorf("removal of the built-in network: %v", err)
	}
	if err := w.Status(t.Context(), ""); !errors.Is(err, errdefs.ErrUnavailable) {
		t.Errorf("status without networks: %v", err)
	}
	r := s.request()
	r.Netns = filepath.Join(s.dir, "nothing")
	if _, err := w.Attach(t.Context(), r); err == nil {
		t.Error("attached to nothing")
	}
}

// A removal that a crash interrupted is finished by the next change.
func TestInterruptedRemoval(t *testing.T) {
	w := newWorld(t)
	made, err := w.Create(t.Context(), Network{Name: "back"})
	if err != nil {
		t.Fatal(err)
	}
	s := w.sandbox("one")
	if _, err := w.Attach(t.Context(), s.on(Ref{Name: "back"})); err != nil {
		t.Fatal(err)
	}
	s.detach()
	retired := filepath.Join(filepath.Dir(made.File), ".back.conflist"+retiredSuffix)
	if err := os.Rename(made.File, retired); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Network(t.Context(), "back"); !errors.Is(err, errdefs.ErrNotFound) {
		t.Errorf("still there: %v", err)
	}
	if err := w.Collect(t.Context(), func(string) bool { return true }); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(retired); !os.IsNotExist(err) {
		t.Errorf("file left: %v", err)
	}
	if err := w.Teardown(t.Context()); err != nil {
		t.Error(err)
	}
}

// Two davits on roots of their own do not touch each other, and do not publish
// the same port.
func TestTwoDavits(t *testing.T) {
	a := newWorld(t)
	dir := t.TempDir()
	b := &world{Attacher: must(New(with(a.config, func(c *Config) { c.Root, c.RunRoot = dir+"/root", dir+"/run" }))), t: t, runs: dir}
	one, two := a.sandbox("one"), b.sandbox("two")
	got1 := one.attach(one.request("8080:80"))
	got2 := two.attach(two.request("8081:80"))
	if got1.Interfaces[0].IPs[0].Masked() == got2.Interfaces[0].IPs[0].Masked() {
		t.Errorf("same subnet: %v, %v", got1, got2)
	}
	one.serve(":80")
	two.serve(":80")
	expect(t, "two", "the second", func() (string, error) { return ask("tcp", "127.0.0.1:8081") })
	three := b.sandbox("three")
	var inUse *PortInUseError
	if _, err := b.Attach(t.Context(), three.request("8080:80")); !errors.As(err, &inUse) || inUse.Holder != "one" {
		t.Errorf("the other's port: %v", err)
	}
	two.detach()
	if err := b.Teardown(t.Context()); err != nil {
		t.Error(err)
	}
	expect(t, "one", "after the other's end", func() (string, error) { return ask("tcp", "127.0.0.1:8080") })
}

func TestVLAN(t *testing.T) {
	w := newWorld(t)
	out := w.outside()
	out.serve(":90")
	w.create(Network{Name: "tagged", Options: map[string]string{"vlan": "7"}})
	one, two := w.sandbox("one"), w.sandbox("two")
	r := one.request("8080:80")
	r.Networks = []Ref{{Name: "tagged"}}
	_, err := w.Attach(t.Context(), r)
	if errors.Is(err, errdefs.ErrNotImplemented) {
		t.Skip(err)
	}
	a := one.attach(r)
	two.attach(two.on(Ref{Name: "tagged"}))
	one.serve(":80")
	expect(t, "one", "neighbour", func() (string, error) { return two.ask("tcp", a.IPs()[0].String()+":80") })
	expect(t, "one", "published", func() (string, error) { return ask("tcp", "127.0.0.1:8080") })
	expect(t, "outside", "the way out", func() (string, error) { return one.ask("tcp", "10.255.0.2:90") })
}

func TestConnect(t *testing.T) {
	w := newWorld(t)
	w.create(Network{Name: "back"})
	w.create(Network{Name: "more"})
	one, two := w.sandbox("one"), w.sandbox("two")
	r := Request{ID: one.id, Dir: one.dir, Networks: []Ref{{Name: "back", Aliases: []string{"db"}}}}
	if _, err := w.Connect(t.Context(), r); !errors.Is(err, errdefs.ErrNotFound) {
		t.Errorf("not attached: %v", err)
	}
	one.attach(one.request("8080:80"))
	two.attach(two.on(Ref{Name: "back"}))
	one.serve(":80")
	got, err := w.Connect(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	if len(got.Interfaces) != 2 || got.Interfaces[1].Name != "eth1" || len(got.Ports) != 1 {
		t.Errorf("%+v", got)
	}
	expect(t, "one", "on the new network", func() (string, error) { return two.ask("tcp", got.Interfaces[1].IPs[0].Addr().String()+":80") })
	if peers, err := w.Peers(t.Context(), "back"); err != nil || len(peers) != 2 || !slices.Contains(peers[0].Names, "db") {
		t.Errorf("%v, %v", peers, err)
	}
	if _, err := w.Connect(t.Context(), r); !errors.Is(err, errdefs.ErrAlreadyExists) {
		t.Errorf("twice: %v", err)
	}
	// fails half-way: nothing of it stays
	r.Networks = []Ref{{Name: "more"}, {Name: "back2"}}
	if _, err := w.Connect(t.Context(), r); !errors.Is(err, errdefs.ErrNotFound) {
		t.Errorf("unknown: %v", err)
	}
	r.Networks = []Ref{{Name: "more", IPs: []netip.Addr{must(w.Network(t.Context(), "more")).Subnets[0].Gateway}}}
	if _, err := w.Connect(t.Context(), r); err == nil {
		t.Error("the gateway's address was given out")
	}
	if again, err := Attached(one.dir); err != nil {
		t.Error(err)
	} else if d := cmp.Diff(got, again, addrs); d != "" {
		t.Error(d)
	}
	if _, err := w.Disconnect(t.Context(), r, Builtin); !errors.Is(err, errdefs.ErrFailedPrecondition) {
		t.Errorf("the network of the ports: %v", err)
	}
	if _, err := w.Disconnect(t.Context(), r, "more"); !errors.Is(err, errdefs.ErrNotFound) {
		t.Errorf("not on it: %v", err)
	}
	left, err := w.Disconnect(t.Context(), r, "back")
	if err != nil || len(left.Interfaces) != 1 {
		t.Errorf("%+v, %v", left, err)
	}
	if out := one.run("ip", "-o", "link"); strings.Contains(out, "eth1") {
		t.Error(out)
	}
	expect(t, "one", "published all along", func() (string, error) { return ask("tcp", "127.0.0.1:8080") })
	// a connect that was killed before its end
	r.Networks = []Ref{{Name: "back"}}
	if _, err := w.Connect(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	in, err := readIntent(one.dir)
	if err != nil {
		t.Fatal(err)
	}
	in.Result.Interfaces = in.Result.Interfaces[:1]
	if err := w.write(t.Context(), in); err != nil {
		t.Fatal(err)
	}
	r.Networks = []Ref{{Name: "more"}}
	got, err = w.Connect(t.Context(), r)
	if err != nil || len(got.Interfaces) != 2 || got.Interfaces[1].Network != "more" || got.Interfaces[1].Name != "eth1" {
		t.Errorf("%+v, %v", got, err)
	}
}
