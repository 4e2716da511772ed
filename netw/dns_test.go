package netw

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestHostDNS(t *testing.T) {
	tests := []struct {
		name, conf, upstream string
		want                 DNS
	}{
		{name: "plain", conf: "nameserver 10.0.0.1\nnameserver fd00::1 # second\nsearch a.example b.example\noptions ndots:2 edns0\n",
			want: DNS{Servers: []string{"10.0.0.1", "fd00::1"}, Searches: []string{"a.example", "b.example"}, Options: []string{"ndots:2", "edns0"}}},
		{name: "stub", conf: "nameserver 127.0.0.53\nsearch x\n", upstream: "nameserver 10.0.0.2\nsearch y\n",
			want: DNS{Servers: []string{"10.0.0.2"}, Searches: []string{"x"}}},
		{name: "stub without upstreams", conf: "nameserver 127.0.0.53\n", want: DNS{Servers: []string{}}},
		{name: "loopback", conf: "nameserver 127.0.0.1\nnameserver ::1\nnameserver 10.0.0.3\n", want: DNS{Servers: []string{"10.0.0.3"}}},
		{name: "noise", conf: "; comment\nnameserver\nnameserver bogus\nsortlist 1\ndomain d\nsearch\n", want: DNS{Searches: []string{"d"}}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			conf, upstream := filepath.Join(dir, "a"), filepath.Join(dir, "b")
			if err := os.WriteFile(conf, []byte(tt.conf), 0o600); err != nil {
				t.Fatal(err)
			}
			if tt.upstream != "" {
				if err := os.WriteFile(upstream, []byte(tt.upstream), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			got, err := hostDNS(conf, upstream)
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(tt.want, got); d != "" {
				t.Error(d)
			}
		})
	}
	if got, err := hostDNS("/nonexistent/a", "/nonexistent/b"); err != nil || got.Servers != nil {
		t.Errorf("absent file: %v, %v", got, err)
	}
}
