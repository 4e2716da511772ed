//go:build rootful

package netw

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	"github.com/davit-containers/davit/commands/harness"
	"github.com/davit-containers/davit/netw/netns"
)

// fakes is a folder of plugins that comes before the real ones. Each script
// appends its name and command to the file calls; "exec real" goes on to the
// plugin of that name.
type fakes struct {
	t   testing.TB
	dir string
}

func newFakes(t testing.TB, scripts map[string]string) *fakes {
	t.Helper()
	f := &fakes{t: t, dir: t.TempDir()}
	for name, text := range scripts {
		f.set(name, text)
	}
	return f
}

func (f *fakes) set(name, text string) {
	f.t.Helper()
	script := fmt.Sprintf("#!/bin/sh\necho %s $CNI_COMMAND $CNI_IFNAME ${CNI_NETNS:+ns} >> %s\nreal() { exec %s/%s; }\n%s\n",
		name, filepath.Join(f.dir, "calls"), pluginDir, name, text)
	tmp := filepath.Join(f.dir, ".new")
	if err := harness.WriteExecutable(tmp, script); err != nil {
		f.t.Fatal(err)
	}
	if err := os.Rename(tmp, filepath.Join(f.dir, name)); err != nil {
		f.t.Fatal(err)
	}
}

// calls returns the calls since the last time.
func (f *fakes) calls() []string {
	f.t.Helper()
	path := filepath.Join(f.dir, "calls")
	b, err := os.ReadFile(path)
	if err != nil && !os.IsNotExist(err) {
		f.t.Fatal(err)
	}
	_ = os.Remove(path)
	return strings.FieldsFunc(string(b), func(r rune) bool { return r == '\n' })
}

// first puts the fakes before the real plugins.
func (f *fakes) first(c *Config) { c.PluginDirs = []string{f.dir, pluginDir} }

// fakeBridge is the bridge of the network that fakes are tried on.
const fakeBridge = "dvfake0"

// network makes a network of the host, of the plugins bridge and host-local, the
// default one, and puts the fakes before the real plugins.
func (f *fakes) network(c *Config) {
	f.first(c)
	c.ConfDir, c.Default = filepath.Join(f.dir, "net.d"), "faked"
	list := fmt.Sprintf(`{"cniVersion":"1.0.0","name":"faked","plugins":[{"type":"bridge","bridge":%q,"isGateway":true,
		"ipam":{"type":"host-local","dataDir":%q,"subnet":"10.99.1.0/30"}}]}`, fakeBridge, f.dir)
	err := os.MkdirAll(c.ConfDir, 0o755)
	if err == nil {
		err = os.WriteFile(filepath.Join(c.ConfDir, "10-faked.conflist"), []byte(list), 0o644)
	}
	if err != nil {
		f.t.Fatal(err)
	}
	f.t.Cleanup(func() { _ = exec.Command("ip", "link", "del", fakeBridge).Run() })
}

// addresses are those that the network of the host has given out.
func (f *fakes) addresses() []string {
	files, _ := filepath.Glob(filepath.Join(f.dir, "faked", "10.*"))
	return files
}

// Davit's own networks run no plugin, and need none.
func TestOwnNetworksRunNoPlugin(t *testing.T) {
	f := newFakes(t, map[string]string{"bridge": "real", "host-local": "real"})
	w := newWorld(t, f.first)
	w.create(Network{Name: "back", IPv6: true})
	one, two := w.sandbox("one"), w.sandbox("two")
	one.attach(one.on(Ref{Name: Builtin}, Ref{Name: "back"}))
	one.detach()
	for _, n := range []string{Builtin, "back"} {
		if err := w.Status(t.Context(), n); err != nil {
			t.Error(err)
		}
	}
	if got := f.calls(); len(got) != 0 {
		t.Errorf("ran: %s", got)
	}
	w.Attacher = must(New(with(w.config, func(c *Config) { c.PluginDirs = []string{"/nonexistent"} })))
	two.attach(two.request("8080:80"))
	if p := Probe(t.Context(), w.Attacher); len(p.Plugins) != 0 {
		t.Errorf("they are said to need %+v", p.Plugins)
	}
}

// A network of a bridge costs one run of bridge and one of host-local, no VERSION.
func TestPluginRuns(t *testing.T) {
	f := newFakes(t, map[string]string{"bridge": "real", "host-local": "real"})
	w := newWorld(t, f.network)
	s := w.sandbox("one")
	if _, err := w.Attach(t.Context(), s.request("8080:80")); err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(f.calls(), ", "); got != "bridge ADD eth0 ns, host-local ADD eth0 ns" {
		t.Errorf("ADD ran: %s", got)
	}
	s.detach()
	if got := strings.Join(f.calls(), ", "); got != "bridge DEL eth0 ns, host-local DEL eth0 ns" {
		t.Errorf("DEL ran: %s", got)
	}
	s.detach()
	if got := f.calls(); len(got) != 0 {
		t.Errorf("the second DEL ran: %s", got)
	}
}

func TestDetach(t *testing.T) {
	tests := []struct {
		name   string
		before func(*testing.T, *sandbox)
		change func(*Request)
	}{
		{name: "pins on the way", change: func(r *Request) { r.PinDir = filepath.Join(r.Dir, "ns") }},
		{name: "namespace kept", change: func(*Request) {}},
		{name: "namespace named", change: func(r *Request) { r.Netns = filepath.Join(r.Dir, "ns", "net") }},
		{name: "namespace gone", change: func(r *Request) { r.NetnsGone = true },
			before: func(t *testing.T, s *sandbox) {
				if err := netns.Remove(s.pinDir()); err != nil {
					t.Fatal(err)
				}
			}},
		{name: "unpinned behind our back", change: func(r *Request) { r.PinDir = filepath.Join(r.Dir, "ns") },
			before: func(t *testing.T, s *sandbox) { run(t, "umount", "-l", s.pins.Net) }},
		{name: "bridge deleted behind our back", change: func(*Request) {},
			before: func(t *testing.T, s *sandbox) { run(t, "ip", "link", "del", s.w.config.bridgeName()) }},
		{name: "firewall flushed behind our back", change: func(*Request) {},
			before: func(t *testing.T, s *sandbox) { run(t, "nft", "flush", "ruleset") }},
		{name: "cache lost", change: func(*Request) {},
			before: func(t *testing.T, s *sandbox) { _ = os.RemoveAll(s.w.dir("cache")) }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t)
			s := w.sandbox("one")
			if _, err := w.Attach(t.Context(), s.request("8080:80", "8080:80/udp")); err != nil {
				t.Fatal(err)
			}
			if tt.before != nil {
				tt.before(t, s)
			}
			r := Request{ID: s.id, Dir: s.dir}
			tt.change(&r)
			for range 2 {
				if err := w.Detach(t.Context(), r); err != nil {
					t.Fatal(err)
				}
			}
			if elements, err := w.table.Elements(); err != nil || len(elements) != 0 {
				t.Errorf("elements left: %v, %v", elements, err)
			}
			if _, err := Attached(s.dir); !errors.Is(err, errdefs.ErrNotFound) {
				t.Errorf("record left: %v", err)
			}
		})
	}
}

// A plugin whose DEL trips over what an ADD has left half done is called again; after
// a whole ADD its failure is for the caller.
func TestDelAfterHalfAnAdd(t *testing.T) {
	f := newFakes(t, nil)
	tripped := filepath.Join(f.dir, "tripped")
	del := fmt.Sprintf("[ $CNI_COMMAND = DEL ] && [ ! -e %s ] && touch %s && exit 2\n", tripped, tripped)
	w := newWorld(t, f.network)
	s := w.sandbox("one")
	f.set("bridge", del+"[ $CNI_COMMAND = ADD ] && kill -9 $$\nreal")
	if _, err := w.Attach(t.Context(), s.request()); err == nil {
		t.Fatal("the plugin was killed, and ADD has succeeded")
	}
	if got := strings.Join(f.calls(), ", "); got != "bridge ADD eth0 ns, bridge DEL eth0 ns, bridge DEL eth0 ns" {
		t.Errorf("the plugin ran: %s", got)
	}
	if _, err := Attached(s.dir); !errors.Is(err, errdefs.ErrNotFound) {
		t.Errorf("record left: %v", err)
	}
	if err := os.Remove(tripped); err != nil {
		t.Fatal(err)
	}
	f.set("bridge", del+"real")
	if _, err := w.Attach(t.Context(), s.request()); err != nil {
		t.Fatal(err)
	}
	if err := w.Detach(t.Context(), Request{ID: s.id, Dir: s.dir}); err == nil {
		t.Error("a DEL that failed after a whole ADD is not told")
	}
	s.detach()
}

// A table that is made anew while a network cannot be left does not publish again what
// was withdrawn.
func TestWithdrawnPortsStayWithdrawn(t *testing.T) {
	f := newFakes(t, nil)
	w := newWorld(t, f.network)
	other := w.sandbox("other")
	r := other.request("8081:81")
	r.Networks = []Ref{{Name: Builtin}}
	other.attach(r)
	s := w.sandbox("one")
	if _, err := w.Attach(t.Context(), s.request("8080:80")); err != nil {
		t.Fatal(err)
	}
	f.set("bridge", "[ $CNI_COMMAND = DEL ] && exit 2\nreal")
	if err := w.Detach(t.Context(), Request{ID: s.id, Dir: s.dir}); err == nil {
		t.Fatal("a DEL that failed is not told")
	}
	published := func(when string) {
		t.Helper()
		elements, err := w.table.Elements()
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range elements {
			if e.Owner == s.id {
				t.Errorf("%s there is %v", when, e)
			}
		}
		if len(elements) == 0 {
			t.Errorf("%s the other one's port is not published", when)
		}
	}
	published("withdrawn,")
	if err := w.Reload(t.Context()); err != nil {
		t.Fatal(err)
	}
	published("reloaded,")
	run(t, "nft", "flush", "ruleset")
	third := w.sandbox("third")
	r = third.request("8080:80") // it is free again
	r.Networks = []Ref{{Name: Builtin}}
	third.attach(r)
	published("flushed and made anew,")
	f.set("bridge", "real")
	s.detach()
	published("left,")
}

// What masquerades a sandbox is gone after a DEL that was killed once it had taken the
// interface away, by which the plugin would find it.
func TestMasqueradeAfterHalfADel(t *testing.T) {
	conf := t.TempDir()
	list := fmt.Sprintf(`{"cniVersion": "1.0.0", "name": "masked", "plugins": [{"type": "bridge", "bridge": "dvmasq0", "isGateway": true,
		"ipMasq": true, "ipam": {"type": "host-local", "dataDir": %q, "subnet": "10.77.0.0/16"}}]}`, filepath.Join(conf, "leases"))
	if err := os.WriteFile(filepath.Join(conf, "10-masked.conflist"), []byte(list), 0o600); err != nil {
		t.Fatal(err)
	}
	w := newWorld(t, func(c *Config) { c.ConfDir = conf })
	t.Cleanup(func() {
		run(t, "ip", "link", "del", "dvmasq0")
		run(t, "nft", "delete", "table", "ip", "nat") // iptables leaves it, empty
	})
	s := w.sandbox("one")
	r := s.request()
	r.Networks = []Ref{{Name: "masked", Host: true}}
	if _, err := w.Attach(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	chains := func() int {
		return strings.Count(run(t, "iptables-save", "-t", "nat"), `id: "`+s.id) + strings.Count(run(t, "iptables-save", "-t", "nat"), ":CNI-")
	}
	if chains() == 0 {
		t.Fatal("nothing masquerades the sandbox")
	}
	in, err := readIntent(s.dir)
	if err != nil {
		t.Fatal(err)
	}
	markLeaving(in) // and a DEL that is killed half way
	run(t, "nsenter", "--net="+s.pins.Net, "ip", "link", "del", "eth0")
	if err := w.Detach(t.Context(), Request{ID: s.id, Dir: s.dir}); err != nil {
		t.Fatal(err)
	}
	if n := chains(); n != 0 {
		t.Errorf("%d chains and rules are left:\n%s", n, run(t, "iptables-save", "-t", "nat"))
	}
}

func TestMissingPlugin(t *testing.T) {
	f := newFakes(t, nil)
	w := newWorld(t, f.network, func(c *Config) { c.PluginDirs = []string{"/nonexistent"} })
	s := w.sandbox("one")
	_, err := w.Attach(t.Context(), s.request())
	if !errors.Is(err, errdefs.ErrNotFound) || !strings.Contains(err.Error(), `CNI plugin "bridge" is not in /nonexistent`) {
		t.Errorf("got %v", err)
	}
	if err := w.Status(t.Context(), "faked"); !errors.Is(err, errdefs.ErrNotFound) {
		t.Errorf("status: %v", err)
	}
	w.Attacher = must(New(with(w.config, func(c *Config) { c.PluginDirs = []string{pluginDir} })))
	if err := w.Status(t.Context(), "faked"); err != nil {
		t.Errorf("status: %v", err)
	}
	s.detach()
}

func TestCancelled(t *testing.T) {
	f := newFakes(t, map[string]string{"bridge": "[ $CNI_COMMAND = ADD ] || real; sleep 100"})
	w := newWorld(t, f.network)
	s := w.sandbox("one")
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	begin := time.Now()
	_, err := w.Attach(ctx, s.request())
	if !errors.Is(err, context.DeadlineExceeded) || time.Since(begin) > 5*time.Second {
		t.Errorf("got %v after %s", err, time.Since(begin))
	}
	if _, err := readIntent(s.dir); !errors.Is(err, errdefs.ErrNotFound) {
		t.Errorf("record left: %v", err)
	}
}

// A network of davit's own is joined when the host is idle, and nothing is done before,
// on record neither; one of plugins, which take long, is joined at once.
func TestAttachWhenIdle(t *testing.T) {
	f := newFakes(t, map[string]string{"bridge": "real", "host-local": "real"})
	w := newWorld(t, f.network)
	idle, done := make(chan struct{}), make(chan error, 1)
	one, two := w.sandbox("one"), w.sandbox("two")
	r := one.on(Ref{Name: Builtin})
	r.Idle = idle
	go func() {
		_, err := w.Attach(t.Context(), r)
		done <- err
	}()
	select {
	case err := <-done:
		t.Fatalf("attached while the host was busy: %v", err)
	case <-time.After(100 * time.Millisecond):
	}
	if _, err := readIntent(one.dir); !errors.Is(err, errdefs.ErrNotFound) {
		t.Errorf("on record while the host was busy: %v", err)
	}
	close(idle)
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	one.detach()

	never := make(chan struct{})
	r = two.on(Ref{Name: "faked", Host: true})
	r.Idle = never
	if _, err := w.Attach(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	two.detach()

	r = two.on(Ref{Name: Builtin})
	r.Idle = never
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := w.Attach(ctx, r); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("waiting past its deadline gives %v", err)
	}
}

// TestAttachAndHang is what TestKilled kills.
func TestAttachAndHang(t *testing.T) {
	dir := os.Getenv("NETW_TEST_KILLED")
	if dir == "" {
		t.Skip("run by TestKilled")
	}
	f := &fakes{t: t, dir: os.Getenv("NETW_TEST_FAKES")}
	c := Config{Root: dir + "/root", RunRoot: dir + "/run"}
	f.network(&c)
	a := must(New(c))
	pod := filepath.Join(dir, "pods", "one")
	_, err := a.Attach(t.Context(), Request{ID: "one", Dir: pod, Netns: pod + "/ns/net", Ports: []Port{{HostPort: 8080, ContainerPort: 80, Protocol: "tcp"}}})
	t.Error("attached", err)
}

func TestKilled(t *testing.T) {
	for name, script := range map[string]string{
		"before ADD": `[ $CNI_COMMAND = ADD ] || real; touch "$0.there"; sleep 100; real`,
		"after ADD":  `[ $CNI_COMMAND = ADD ] || real; ` + pluginDir + `/bridge; touch "$0.there"; sleep 100`,
	} {
		for _, collect := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, collect=%t", name, collect), func(t *testing.T) {
				f := newFakes(t, map[string]string{"bridge": script})
				w := newWorld(t, f.network)
				s := w.sandbox("one")
				cmd := exec.Command("/proc/self/exe", "-test.run=^TestAttachAndHang$")
				cmd.Env = append(os.Environ(), "NETW_TEST_KILLED="+filepath.Dir(w.runs), "NETW_TEST_FAKES="+f.dir)
				if err := cmd.Start(); err != nil {
					t.Fatal(err)
				}
				waitFor(t, filepath.Join(f.dir, "bridge.there"))
				_ = cmd.Process.Kill()
				_ = cmd.Wait()
				if in, err := readIntent(s.dir); err != nil || in.Result != nil {
					t.Fatalf("record %+v, %v", in, err)
				}
				if collect {
					if err := w.Collect(t.Context(), func(string) bool { return false }); err != nil {
						t.Error(err)
					}
				} else {
					s.detach()
				}
				if _, err := readIntent(s.dir); !errors.Is(err, errdefs.ErrNotFound) {
					t.Errorf("record left: %v", err)
				}
				if left := f.addresses(); len(left) != 0 {
					t.Errorf("addresses left: %q", left)
				}
			})
		}
	}
}

// TestAttachOrDetach is what TestKilledAnywhere kills.
func TestAttachOrDetach(t *testing.T) {
	dir := os.Getenv("NETW_TEST_ANYWHERE")
	if dir == "" {
		t.Skip("run by TestKilledAnywhere")
	}
	c := Config{Root: dir + "/root", RunRoot: dir + "/run"}
	if fake := os.Getenv("NETW_TEST_FAKES"); fake != "" {
		(&fakes{t: t, dir: fake}).network(&c)
	}
	a := must(New(c))
	pod := filepath.Join(dir, "pods", "one")
	r := Request{ID: "one", Dir: pod, Netns: pod + "/ns/net", Ports: []Port{{HostPort: 8080, ContainerPort: 80, Protocol: "tcp"}}}
	if _, err := a.Attach(t.Context(), r); err != nil {
		t.Error(err)
	}
	fmt.Println("attached")
	if err := a.Detach(t.Context(), Request{ID: "one", Dir: pod, PinDir: pod + "/ns"}); err != nil {
		t.Error(err)
	}
}

// Killed at any moment of an attachment's life, by SIGKILL, what is left is
// undone by Detach, or by Collect, and the next attachment works.
func TestKilledAnywhere(t *testing.T) {
	t.Run("own network", func(t *testing.T) { killedAnywhere(t, newWorld(t), "") })
	t.Run("host's network", func(t *testing.T) {
		f := newFakes(t, nil)
		killedAnywhere(t, newWorld(t, f.network), f.dir)
		if left := f.addresses(); len(left) != 0 {
			t.Errorf("addresses left: %q", left)
		}
	})
}

func killedAnywhere(t *testing.T, w *world, fakes string) {
	first := w.sandbox("first")
	r := first.request()
	r.Networks = []Ref{{Name: Builtin}}
	first.attach(r)
	for i := range 24 {
		s := w.sandbox("one")
		cmd := exec.Command("/proc/self/exe", "-test.run=^TestAttachOrDetach$")
		cmd.Env = append(os.Environ(), "NETW_TEST_ANYWHERE="+filepath.Dir(w.runs), "NETW_TEST_FAKES="+fakes)
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		if i%2 == 0 { // while it detaches
			_, _ = out.Read(make([]byte, 1))
			time.Sleep(time.Duration(i) * time.Millisecond / 2)
		} else {
			time.Sleep(time.Duration(i) * 2 * time.Millisecond)
		}
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if i%4 < 2 {
			s.detach()
		} else if err := w.Collect(t.Context(), func(id string) bool { return id == "first" }); err != nil {
			t.Fatal(err)
		}
		if err := netns.Remove(s.pinDir()); err != nil {
			t.Fatal(err)
		}
		if ids, err := w.attachedIDs(); err != nil || len(ids) != 1 {
			t.Fatalf("round %d: attachments %v, %v", i, ids, err)
		}
		if files, _ := filepath.Glob(w.dir("ipam", Builtin, "[0-9]*")); len(files) != 1 {
			t.Fatalf("round %d: reservations %v", i, files)
		}
		if elements, err := w.table.Elements(); err != nil || len(elements) != 0 {
			t.Fatalf("round %d: elements %v, %v", i, elements, err)
		}
	}
}

func TestCollect(t *testing.T) {
	w := newWorld(t)
	keep, gone, lost := w.sandbox("keep"), w.sandbox("gone"), w.sandbox("lost")
	keep.attach(keep.request("8080:80"))
	for _, s := range []*sandbox{gone, lost} {
		if _, err := w.Attach(t.Context(), s.request("80")); err != nil {
			t.Fatal(err)
		}
	}
	// its run folder is lost with the record
	if err := netns.Remove(lost.pinDir()); err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(lost.dir); err != nil {
		t.Fatal(err)
	}
	// a reservation that nothing knows of
	stray := filepath.Join(w.dir("ipam"), Builtin, "10.1.2.3")
	if err := os.WriteFile(stray, []byte("stray\r\neth0"), 0o600); err != nil {
		t.Fatal(err)
	}
	valid := func(id string) bool { return id == "keep" }
	for range 2 {
		if err := w.Collect(t.Context(), valid); err != nil {
			t.Fatal(err)
		}
	}
	elements, err := w.table.Elements()
	if err != nil || len(elements) != 1 || elements[0].Owner != "keep" {
		t.Errorf("elements: %v, %v", elements, err)
	}
	if ids, err := w.attachedIDs(); err != nil || len(ids) != 1 {
		t.Errorf("attachments: %v, %v", ids, err)
	}
	files, _ := filepath.Glob(w.dir("ipam", Builtin, "[0-9]*"))
	if len(files) != 1 {
		t.Errorf("reservations: %v", files)
	}
	keep.serve(":80")
	expect(t, "keep", "the one that stays", func() (string, error) { return ask("tcp", "127.0.0.1:8080") })
}

func TestConcurrent(t *testing.T) {
	w := newWorld(t)
	const n = 12
	var boxes []*sandbox
	for i := range n {
		boxes = append(boxes, w.sandbox(fmt.Sprint("s", i)))
	}
	for round := range 2 {
		var wg sync.WaitGroup
		got := make([]Attachment, n)
		for i, s := range boxes {
			wg.Go(func() {
				var err error
				if got[i], err = w.Attach(t.Context(), s.request("80", "53/udp")); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		ports := make(map[uint16]bool)
		ips := make(map[string]bool)
		for _, a := range got {
			for _, p := range a.Ports {
				if p.Protocol == "tcp" {
					ports[p.HostPort] = true
				}
			}
			for _, ip := range a.IPs() {
				ips[ip.String()] = true
			}
		}
		if len(ports) != n || len(ips) != n {
			t.Errorf("round %d: %d ports, %d addresses", round, len(ports), len(ips))
		}
		for _, s := range boxes {
			wg.Go(func() {
				if err := w.Detach(t.Context(), Request{ID: s.id, Dir: s.dir}); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
	}
}

// Two want the same port at the same time: one gets it.
func TestRaceForAPort(t *testing.T) {
	w := newWorld(t)
	boxes := []*sandbox{w.sandbox("a"), w.sandbox("b"), w.sandbox("c")}
	for range 3 {
		var wg sync.WaitGroup
		errs := make([]error, len(boxes))
		for i, s := range boxes {
			wg.Go(func() { _, errs[i] = w.Attach(t.Context(), s.request("8080:80")) })
		}
		wg.Wait()
		won := 0
		for _, err := range errs {
			var inUse *PortInUseError
			switch {
			case err == nil:
				won++
			case !errors.As(err, &inUse):
				t.Error(err)
			}
		}
		if won != 1 {
			t.Errorf("%d got the port", won)
		}
		for _, s := range boxes {
			if err := w.Detach(t.Context(), Request{ID: s.id, Dir: s.dir}); err != nil {
				t.Error(err)
			}
		}
	}
}

func waitFor(t *testing.T, path string) {
	t.Helper()
	for range 500 {
		if _, err := os.Stat(path); err == nil {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatalf("%s does not come", path)
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func with(c Config, change func(*Config)) Config {
	change(&c)
	return c
}
