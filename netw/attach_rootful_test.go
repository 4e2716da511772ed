//go:build rootful

package netw

import (
	"context"
	"strings"
	"testing"
)

func cleanupContext(t testing.TB) context.Context { return context.WithoutCancel(t.Context()) }

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
