//go:build rootful

package netw

import (
	"cmp"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/containerd/errdefs"
	"github.com/davit-containers/davit/netw/netns"
)

// run runs a program or fails the test.
func run(t testing.TB, args ...string) string {
	t.Helper()
	out, err := exec.Command(args[0], args[1:]...).CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %v: %s", args, err, out)
	}
	return string(out)
}

// outside is another machine on a link of the host: 10.255.0.1 and fd00:255::1
// are the host's, .2 and ::2 the other machine's.
func (w *world) outside() *sandbox {
	w.t.Helper()
	s := w.sandbox("outside")
	// a path that ip(8) can name
	if err := os.MkdirAll("/run/netns", 0o755); err != nil {
		w.t.Fatal(err)
	}
	run(w.t, "ip", "link", "add", "up0", "type", "veth", "peer", "name", "out0")
	w.t.Cleanup(func() { _ = exec.Command("ip", "link", "del", "up0").Run() })
	run(w.t, "nsenter", "--net=/proc/self/ns/net", "ip", "addr", "add", "10.255.0.1/24", "dev", "up0")
	run(w.t, "ip", "addr", "add", "fd00:255::1/64", "dev", "up0", "nodad")
	run(w.t, "ip", "link", "set", "up0", "up")
	run(w.t, "ip", "link", "set", "out0", "netns", s.pid())
	s.run("ip", "addr", "add", "10.255.0.2/24", "dev", "out0")
	s.run("ip", "addr", "add", "fd00:255::2/64", "dev", "out0", "nodad")
	s.run("ip", "link", "set", "out0", "up")
	return s
}

// pid starts a process in the sandbox that lives as long as the test.
func (s *sandbox) pid() string {
	s.w.t.Helper()
	cmd := exec.Command("nsenter", "--net="+s.pins.Net, "sleep", "1000")
	if err := cmd.Start(); err != nil {
		s.w.t.Fatal(err)
	}
	s.w.t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	want, err := os.Stat(s.pins.Net)
	if err != nil {
		s.w.t.Fatal(err)
	}
	for {
		got, err := os.Stat(fmt.Sprintf("/proc/%d/ns/net", cmd.Process.Pid))
		if err != nil {
			s.w.t.Fatal(err)
		}
		if os.SameFile(want, got) {
			return fmt.Sprint(cmd.Process.Pid)
		}
	}
}

// run runs a program in the sandbox's network namespace.
func (s *sandbox) run(args ...string) string {
	s.w.t.Helper()
	return run(s.w.t, append([]string{"nsenter", "--net=" + s.pins.Net}, args...)...)
}

// expect fails the test unless the answer comes from a sandbox of that ID.
func expect(t *testing.T, id, what string, ask func() (string, error)) string {
	t.Helper()
	got, err := ask()
	if err != nil || !strings.HasPrefix(got, id+" ") {
		t.Errorf("%s: got %q, %v", what, got, err)
	}
	return got
}

// refuse fails the test if there is an answer.
func refuse(t *testing.T, what string, ask func() (string, error)) {
	t.Helper()
	if got, err := ask(); err == nil {
		t.Errorf("%s: got %q", what, got)
	}
}

func TestOutside(t *testing.T) {
	for _, variant := range []string{"", "nft", "legacy"} {
		drop := variant != ""
		t.Run("dropped by "+variant, func(t *testing.T) {
			if drop {
				for _, program := range []string{"iptables-" + variant, "ip6tables-" + variant} {
					run(t, program, "-P", "FORWARD", "DROP")
					t.Cleanup(func() {
						if left := run(t, program, "-S", "FORWARD"); strings.Contains(left, "davit") {
							t.Errorf("rules left:\n%s", left)
						}
						run(t, program, "-P", "FORWARD", "ACCEPT")
					})
				}
			}
			w := newWorld(t)
			out := w.outside()
			one := w.sandbox("one")
			got := one.attach(one.request("8080:80", "127.0.0.1:8081:80"))
			one.serve(":80")
			out.serve(":90")

			answer := expect(t, "outside", "the way out", func() (string, error) { return one.ask("tcp", "10.255.0.2:90") })
			if !strings.Contains(answer, " 10.255.0.1:") {
				t.Errorf("not masqueraded: %q", answer)
			}
			answer = expect(t, "outside", "the way out, IPv6", func() (string, error) { return one.ask("tcp", "[fd00:255::2]:90") })
			if !strings.Contains(answer, " [fd00:255::1]:") {
				t.Errorf("not masqueraded: %q", answer)
			}
			answer = expect(t, "one", "published", func() (string, error) { return out.ask("tcp", "10.255.0.1:8080") })
			if !strings.Contains(answer, " 10.255.0.2:") {
				t.Errorf("the client's address is lost: %q", answer)
			}
			expect(t, "one", "published, IPv6", func() (string, error) { return out.ask("tcp", "[fd00:255::1]:8080") })
			expect(t, "one", "from the host, IPv6", func() (string, error) { return ask("tcp", "[fd00:255::1]:8080") })
			expect(t, "one", "direct, IPv6", func() (string, error) {
				return ask("tcp", netip.AddrPortFrom(ip(t, got, true), 80).String())
			})
			expect(t, "one", "localhost only", func() (string, error) { return ask("tcp", "127.0.0.1:8081") })
			refuse(t, "published on localhost, from outside", func() (string, error) { return out.ask("tcp", "10.255.0.1:8081") })
			refuse(t, "::1", func() (string, error) { return ask("tcp", "[::1]:8080") })
			refuse(t, "not published", func() (string, error) { return out.ask("tcp", "10.255.0.1:80") })
			if drop {
				table := run(t, "iptables-"+variant, "-S", "FORWARD")
				if strings.Count(table, w.config.bridgeName()) != 2 {
					t.Errorf("rules in FORWARD:\n%s", table)
				}
			}
			save := "iptables-" + cmp.Or(variant, "nft") + "-save"
			forwarded := run(t, save)
			two := w.sandbox("two")
			two.attach(two.request())
			if again := run(t, save); strings.Count(again, "davit") != strings.Count(forwarded, "davit") {
				t.Errorf("rules added again:\n%s", again)
			}
		})
	}
	run(t, "nft", "flush", "ruleset") // what the iptables programs left
}

// A neighbour on the host's link, and a container, must not reach what listens,
// or is published, on 127.0.0.1 (CVE-2020-8558 and its kind).
func TestLoopbackIsGuarded(t *testing.T) {
	w := newWorld(t)
	out := w.outside()
	one, two := w.sandbox("one"), w.sandbox("two")
	a := one.attach(one.request("127.0.0.1:8081:80"))
	two.attach(two.request())
	one.serve(":80")
	l, err := net.Listen("tcp", "127.0.0.1:9000")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			fmt.Fprint(c, "host ")
			c.Close()
		}
	}()
	// make both believe that 127.0.0.1 is behind the host
	for s, via := range map[*sandbox][2]string{out: {"10.255.0.1", "out0"}, two: {a.Interfaces[0].Gateways[0].String(), "eth0"}} {
		s.run("ip", "addr", "del", "127.0.0.1/8", "dev", "lo")
		s.run("sh", "-c", "echo 1 > /proc/sys/net/ipv4/conf/all/route_localnet; echo 0 > /proc/sys/net/ipv4/conf/all/rp_filter")
		s.run("ip", "route", "add", "127.0.0.1/32", "via", via[0], "dev", via[1])
	}
	refuse(t, "neighbour to a port published on localhost", func() (string, error) { return out.ask("tcp", "127.0.0.1:8081") })
	refuse(t, "container to a port published on localhost", func() (string, error) { return two.ask("tcp", "127.0.0.1:8081") })
	refuse(t, "container to a listener on localhost", func() (string, error) { return two.ask("tcp", "127.0.0.1:9000") })
	expect(t, "one", "the host itself", func() (string, error) { return ask("tcp", "127.0.0.1:8081") })

	// without the guard the attacks work: the test can fail
	run(t, "nft", "flush", "chain", "inet", w.table.Name(), "guard")
	expect(t, "one", "unguarded: neighbour", func() (string, error) { return out.ask("tcp", "127.0.0.1:8081") })
	expect(t, "host", "unguarded: container", func() (string, error) { return two.ask("tcp", "127.0.0.1:9000") })
}

func TestFlushIsMended(t *testing.T) {
	w := newWorld(t)
	one, two, three := w.sandbox("one"), w.sandbox("two"), w.sandbox("three")
	one.attach(one.request("8080:80", "8080:80/udp"))
	one.serve(":80")
	for i, how := range [][]string{
		{"flush", "ruleset"},
		{"flush", "table", "inet", w.table.Name()},
		{"flush", "chain", "inet", w.table.Name(), "postrouting"},
		{"flush", "set", "inet", w.table.Name(), "bridges"},
	} {
		run(t, append([]string{"nft"}, how...)...)
		if i == 0 {
			refuse(t, "flushed", func() (string, error) { return ask("tcp", "127.0.0.1:8080") })
		}
		s := []*sandbox{two, three}[i%2]
		if _, err := w.Attach(t.Context(), s.request()); err != nil {
			t.Fatal(err)
		}
		expect(t, "one", strings.Join(how, " "), func() (string, error) { return ask("tcp", "127.0.0.1:8080") })
		if n, err := w.builtin(); err != nil {
			t.Error(err)
		} else if err := w.ensureTable([]Network{n}); err != nil {
			t.Error(err)
		}
		if err := w.Detach(t.Context(), Request{ID: s.id, Dir: s.dir}); err != nil {
			t.Error(err)
		}
	}
	run(t, "nft", "flush", "ruleset")
	if err := w.Reload(t.Context()); err != nil {
		t.Error(err)
	}
	expect(t, "one", "reloaded", func() (string, error) { return ask("tcp", "127.0.0.1:8080") })
	run(t, "ip", "link", "del", w.config.bridgeName())
	if err := w.Reload(t.Context()); err != nil {
		t.Error(err)
	}
	expect(t, "one", "bridge made again", func() (string, error) { return ask("tcp", "127.0.0.1:8080") })
}

func TestPortInUse(t *testing.T) {
	w := newWorld(t)
	one, two := w.sandbox("one"), w.sandbox("two")
	one.attach(one.request("8080:80"))
	l, err := net.Listen("tcp4", "127.0.0.1:9090")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	u, err := net.ListenPacket("udp6", "[::1]:9091")
	if err != nil {
		t.Fatal(err)
	}
	defer u.Close()
	tests := []struct {
		name, port, holder string
	}{
		{"ours", "8080:80", "pod-one"},
		{"ours, one address", "127.0.0.1:8080:80", "pod-one"},
		{"a listener", "9090:80", ""},
		{"a listener, its address", "127.0.0.1:9090:80", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := w.Attach(t.Context(), two.request("7070:70", tt.port))
			var inUse *PortInUseError
			if !errors.As(err, &inUse) || !errors.Is(err, errdefs.ErrUnavailable) {
				t.Fatalf("got %v", err)
			}
			if inUse.Holder != tt.holder {
				t.Errorf("holder %q, want %q", inUse.Holder, tt.holder)
			}
			if _, err := os.Stat(filepath.Join(two.dir, recordName)); !os.IsNotExist(err) {
				t.Errorf("a record is left: %v", err)
			}
		})
	}
	t.Run("free ones beside", func(t *testing.T) {
		got := two.attach(two.request("8080:80/udp", "127.0.0.2:9090:80", "81", "82"))
		if got.Ports[2].HostPort == 0 || got.Ports[3].HostPort == 0 || got.Ports[2].HostPort == got.Ports[3].HostPort {
			t.Errorf("chosen ports: %v", got.Ports)
		}
		two.serve(":81")
		expect(t, "two", "chosen port", func() (string, error) { return ask("tcp", fmt.Sprintf("127.0.0.1:%d", got.Ports[2].HostPort)) })
	})
	t.Run("no address of the host", func(t *testing.T) {
		three := w.sandbox("three")
		if _, err := w.Attach(t.Context(), three.request("192.0.2.77:80:80")); !errors.Is(err, errdefs.ErrInvalidArgument) {
			t.Errorf("got %v", err)
		}
	})
	t.Run("::1", func(t *testing.T) {
		three := w.sandbox("five")
		if _, err := w.Attach(t.Context(), three.request("[::1]:80:80")); !errors.Is(err, errdefs.ErrInvalidArgument) {
			t.Errorf("got %v", err)
		}
	})
	t.Run("IPv6 without", func(t *testing.T) {
		three := w.sandbox("four")
		if _, err := w.Attach(t.Context(), three.request("[::]:80:80")); !errors.Is(err, errdefs.ErrInvalidArgument) {
			t.Errorf("got %v", err)
		}
	})
}

// A client that goes on sending from the same port must reach the sandbox that
// has the port now.
func TestUDPFlowsAreForgotten(t *testing.T) {
	w := newWorld(t)
	c, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	question := func() (string, error) {
		to := &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 5353}
		if _, err := c.WriteToUDP([]byte("?"), to); err != nil {
			return "", err
		}
		_ = c.SetReadDeadline(deadline())
		buf := make([]byte, 100)
		n, _, err := c.ReadFromUDP(buf)
		return string(buf[:n]), err
	}
	refuse(t, "before", question)
	for _, id := range []string{"one", "two", "three"} {
		s := w.sandbox(id)
		got, err := w.Attach(t.Context(), s.request("5353:53/udp"))
		if err != nil {
			t.Fatal(err)
		}
		s.serveUDP(got.IPs()[0].String() + ":53")
		expect(t, id, "published", question)
		s.detach()
		refuse(t, "after "+id, question)
	}
}

func TestManyPorts(t *testing.T) {
	w := newWorld(t)
	one := w.sandbox("one")
	got := one.attach(one.request("20000-49999:20000-49999"))
	if len(got.Ports) != 30000 {
		t.Fatalf("%d ports", len(got.Ports))
	}
	one.serve(":49999")
	expect(t, "one", "the last one", func() (string, error) { return ask("tcp", "127.0.0.1:49999") })
	one.detach()
	elements, err := w.table.Elements()
	if err != nil || len(elements) != 0 {
		t.Errorf("%d elements left, %v", len(elements), err)
	}
}

func TestMainThread(t *testing.T) {
	before, err := os.Readlink("/proc/self/ns/net")
	if err != nil {
		t.Fatal(err)
	}
	w := newWorld(t)
	s := w.sandbox("one")
	for range 50 {
		if err := netns.Do(s.pins.Net, func() error { return nil }); err != nil {
			t.Fatal(err)
		}
	}
	if after, err := os.Readlink("/proc/self/ns/net"); err != nil || after != before {
		t.Errorf("the main thread moved from %s to %s, %v", before, after, err)
	}
}
