//go:build rootful

package netw

import (
	"context"
	"os"
	"strings"
	"testing"
)

func cleanupContext(t testing.TB) context.Context { return context.WithoutCancel(t.Context()) }

// Another configuration counts as soon as nobody is attached.
func TestBuiltinChanges(t *testing.T) {
	w := newWorld(t, func(c *Config) { c.Subnet = "10.97.0.0/24" })
	other := must(New(with(w.config, func(c *Config) { c.Subnet = "10.96.0.0/24" })))
	one, two := w.sandbox("one"), w.sandbox("two")
	attach := func(a *Attacher, s *sandbox, want string) {
		t.Helper()
		got, err := a.Attach(t.Context(), s.request())
		if err != nil {
			t.Fatal(err)
		}
		if p := got.Interfaces[0].IPs[0].Masked().String(); p != want {
			t.Errorf("got %s, want %s", p, want)
		}
	}
	attach(w.Attacher, one, "10.97.0.0/24")
	attach(other, two, "10.97.0.0/24")
	one.detach()
	two.detach()
	three := w.sandbox("three")
	attach(other, three, "10.96.0.0/24")
	if out := run(t, "ip", "-o", "-4", "addr", "show", w.config.bridgeName()); !strings.Contains(out, "10.96.0.1/24") || strings.Contains(out, "10.97.") {
		t.Error(out)
	}
	three.detach()
	// the run folder is lost, the bridge is not
	if err := os.RemoveAll(w.dir()); err != nil {
		t.Fatal(err)
	}
	four := w.sandbox("four")
	attach(other, four, "10.96.0.0/24")
	four.detach()
}

func TestBuiltin(t *testing.T) {
	w := newWorld(t)
	one, two := w.sandbox("one"), w.sandbox("two")
	a1 := one.attach(one.request("8080:80", "5353:53/udp"))
	a2 := two.attach(two.request())
	t.Logf("%+v", a1)
	t.Logf("%+v", a2)
	one.serve(":80")
	one.serveUDP(":53")
	ip1 := ip(t, a1, false).String()
	gateway := a1.Interfaces[0].Gateways[0].String()

	for _, tt := range []struct{ name, network, address string }{
		{"direct", "tcp", ip1 + ":80"},
		{"localhost", "tcp", "127.0.0.1:8080"},
		{"bridge address", "tcp", gateway + ":8080"},
		{"udp", "udp", gateway + ":5353"},
		{"udp localhost", "udp", "127.0.0.1:5353"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := ask(tt.network, tt.address)
			if err != nil || !strings.HasPrefix(got, "one ") {
				t.Errorf("got %q, %v", got, err)
			}
			t.Log(got)
		})
	}
	for _, tt := range []struct{ name, network, address string }{
		{"neighbour", "tcp", ip1 + ":80"},
		{"neighbour, published", "tcp", gateway + ":8080"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := two.ask(tt.network, tt.address)
			if err != nil || !strings.HasPrefix(got, "one ") {
				t.Errorf("got %q, %v", got, err)
			}
			t.Log(got)
		})
	}
	t.Run("itself, published", func(t *testing.T) {
		got, err := one.ask("tcp", gateway+":8080")
		if err != nil || !strings.HasPrefix(got, "one ") {
			t.Errorf("got %q, %v", got, err)
		}
	})
}
