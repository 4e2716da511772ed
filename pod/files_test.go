package pod

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	"github.com/google/go-cmp/cmp"

	"github.com/davit-containers/davit/ctr"
	"github.com/davit-containers/davit/ctr/cgroup"
	"github.com/davit-containers/davit/ctr/record"
	"github.com/davit-containers/davit/ctr/spec"
	"github.com/davit-containers/davit/netw"
)

// noNetworks is a host without any network, where neighbours has who else is
// there.
type noNetworks struct{ neighbours []netw.HostEntry }

func (noNetworks) Attach(context.Context, netw.Request) (netw.Attachment, error) {
	return netw.Attachment{}, errors.New("no networks here")
}
func (noNetworks) Detach(context.Context, netw.Request) error { return nil }
func (n noNetworks) Peers(context.Context, string) ([]netw.HostEntry, error) {
	return n.neighbours, nil
}
func (noNetworks) Collect(context.Context, func(string) bool) error { return nil }

func testController(t *testing.T, n Networks) *Controller {
	t.Helper()
	dir := t.TempDir()
	p := record.Paths{Root: filepath.Join(dir, "root"), RunRoot: filepath.Join(dir, "run")}
	if _, err := record.EnsureBoot(p); err != nil {
		t.Fatal(err)
	}
	log := slog.New(slog.DiscardHandler)
	ctrs, err := ctr.New(ctr.Options{Paths: p, Log: log})
	if err != nil {
		t.Fatal(err)
	}
	c, err := New(Options{
		Paths: p, Containers: ctrs, Networks: n, Log: log,
		Cgroups: func() (*cgroup.Host, error) { return nil, errors.New("no cgroups here") },
		HostDNS: func() (netw.DNS, error) {
			return netw.DNS{Servers: []string{"192.0.2.53"}, Searches: []string{"example.org"}}, nil
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func (n noNetworks) HostDefault(context.Context) (netw.Network, error) { return netw.Network{}, nil }

func attachment(ip, gateway string) netw.Attachment {
	return netw.Attachment{Interfaces: []netw.Interface{{
		Network: "davit", Name: "eth0", IPs: []netip.Prefix{netip.MustParsePrefix(ip)}, Gateways: []netip.Addr{netip.MustParseAddr(gateway)},
	}}}
}

func TestHosts(t *testing.T) {
	const loopback = "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n"
	for _, tt := range []struct {
		name  string
		s     Sandbox
		peers []netw.HostEntry
		want  string
	}{
		{
			name: "before the network is there",
			s:    Sandbox{Config: Config{Name: "web", Hostname: "web"}}, want: loopback,
		},
		{
			name: "attached",
			s: Sandbox{
				Config: Config{Name: "web", Hostname: "front"},
				Status: Status{Attachment: attachment("10.1.0.5/24", "10.1.0.1")},
			},
			want: loopback + "10.1.0.5\tfront web\n",
		},
		{
			name: "the user's lines, and the host's address",
			s: Sandbox{
				Config: Config{Implicit: true, Name: "c", Hostname: "h", DNS: DNS{Hosts: []Host{
					{Name: "db", Addr: netip.MustParseAddr("192.0.2.7")}, {Name: "host.internal", Gateway: true},
				}}},
				Status: Status{Attachment: attachment("10.1.0.5/24", "10.1.0.1")},
			},
			want: loopback + "192.0.2.7\tdb\n10.1.0.1\thost.internal\n10.1.0.5\th\n",
		},
		{
			name: "without a network of its own",
			s:    Sandbox{Config: Config{Implicit: true, Hostname: "h", Network: Network{Mode: NetworkNone}}},
			want: loopback + "127.0.0.1\th\n",
		},
		{
			name: "neighbours",
			s: Sandbox{
				ID:     "self",
				Config: Config{Implicit: true, Hostname: "h", Network: Network{Networks: []netw.Ref{{Name: "app"}}}},
				Status: Status{Attachment: attachment("10.2.0.2/24", "10.2.0.1")},
			},
			peers: []netw.HostEntry{
				{ID: "self", IPs: []netip.Addr{netip.MustParseAddr("10.2.0.2")}, Names: []string{"me"}},
				{ID: "other", IPs: []netip.Addr{netip.MustParseAddr("10.2.0.3")}, Names: []string{"db", "database"}},
			},
			want: loopback + "10.2.0.2\th\n10.2.0.3\tdb database\n",
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := testController(t, noNetworks{tt.peers}).hosts(t.Context(), tt.s)
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(tt.want, got); d != "" {
				t.Error(d)
			}
		})
	}
}

// Names from users and images must not add lines of their own (CVE-2022-4318's
// class).
func TestHostsRefusesControlCharacters(t *testing.T) {
	for _, name := range []string{"a\n192.0.2.66 evil", "a b", "a\tb", "a#b", "a\x00b"} {
		s := Sandbox{Config: Config{DNS: DNS{Hosts: []Host{{Name: name, Addr: netip.MustParseAddr("192.0.2.7")}}}}}
		if _, err := testController(t, noNetworks{}).hosts(t.Context(), s); !errors.Is(err, errdefs.ErrInvalidArgument) {
			t.Errorf("name %q: error %v, want ErrInvalidArgument", name, err)
		}
	}
}

func TestResolvConf(t *testing.T) {
	for _, tt := range []struct {
		name    string
		owner   record.Owner
		dns     DNS
		want    string
		wantErr error
	}{
		{name: "the host's", want: "nameserver 192.0.2.53\nsearch example.org\n"},
		{
			name: "the user's", dns: DNS{Servers: []string{"192.0.2.1", "192.0.2.2"}, Searches: []string{"."}, Options: []string{"ndots:2"}},
			want: "nameserver 192.0.2.1\nnameserver 192.0.2.2\noptions ndots:2\n",
		},
		{
			name: "the root among others", dns: DNS{Searches: []string{".", "example.org"}},
			want: "nameserver 192.0.2.53\nsearch . example.org\n",
		},
		{
			name: "the kubelet's", owner: record.OwnerCRI, dns: DNS{Replace: true, Servers: []string{"192.0.2.1"}, Searches: []string{".", "svc.cluster.local"}},
			want: "nameserver 192.0.2.1\nsearch . svc.cluster.local\n",
		},
		{
			name: "the kubelet's root alone", owner: record.OwnerCRI, dns: DNS{Replace: true, Servers: []string{"192.0.2.1"}, Searches: []string{"."}},
			want: "nameserver 192.0.2.1\nsearch .\n",
		},
		{name: "a line of its own", dns: DNS{Searches: []string{"a\nnameserver 192.0.2.66"}}, wantErr: errdefs.ErrInvalidArgument},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := testController(t, noNetworks{}).resolvConf(Sandbox{Config: Config{Owner: tt.owner, DNS: tt.dns}})
			if !errors.Is(err, tt.wantErr) {
				t.Fatalf("error %v, want %v", err, tt.wantErr)
			}
			if d := cmp.Diff(tt.want, got); d != "" {
				t.Error(d)
			}
		})
	}
}

// A file is mounted into containers: writing it again must keep its inode.
func TestWriteFileKeepsInode(t *testing.T) {
	c := testController(t, noNetworks{})
	s, err := c.Create(t.Context(), Config{Name: "p"})
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(c.runDir(s.ID), hostsFile)
	var infos [2]os.FileInfo
	for i, content := range []string{"a long first content\n", "short\n"} {
		if err := c.writeFile(s, hostsFile, content, os.O_CREATE); err != nil {
			t.Fatal(err)
		}
		if infos[i], err = os.Stat(path); err != nil {
			t.Fatal(err)
		}
	}
	if !os.SameFile(infos[0], infos[1]) {
		t.Error("the file was replaced: containers go on seeing the old one")
	}
	if got, err := os.ReadFile(path); err != nil || string(got) != "short\n" {
		t.Errorf("content %q, %v", got, err)
	}
}

// slowNetworks is a host on whose network somebody comes while the names are read: who
// asks by a context with a slow value knows only who was there before, and goes on when
// that value is closed, or after a while.
type slowNetworks struct {
	noNetworks
	read chan struct{} // closed when the slow one has read
}

type slow struct{}

func (n slowNetworks) Peers(ctx context.Context, network string) ([]netw.HostEntry, error) {
	all, err := n.noNetworks.Peers(ctx, network)
	if done, ok := ctx.Value(slow{}).(chan struct{}); ok {
		close(n.read)
		select {
		case <-done:
		case <-time.After(300 * time.Millisecond):
		}
		return all[:1], err
	}
	return all, err
}

// neighbour is a pod on the network app that is ready.
func neighbour(t *testing.T, c *Controller) Sandbox {
	t.Helper()
	s, err := c.Create(t.Context(), Config{Name: "p", Network: Network{Mode: NetworkCNI, Networks: []netw.Ref{{Name: "app"}}}})
	if err != nil {
		t.Fatal(err)
	}
	s, err = c.update(t.Context(), s, func(n *Status) {
		n.State, n.Attachment = Ready, attachment("10.2.0.2/24", "10.2.0.1")
	})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// Of two that write a pod's hosts file, the one that has read the names later is not
// undone by the one that has read them before and is slow.
func TestHostsAreWrittenInOrder(t *testing.T) {
	n := slowNetworks{read: make(chan struct{}), noNetworks: noNetworks{[]netw.HostEntry{
		{ID: "first", IPs: []netip.Addr{netip.MustParseAddr("10.2.0.3")}, Names: []string{"first"}},
		{ID: "second", IPs: []netip.Addr{netip.MustParseAddr("10.2.0.4")}, Names: []string{"second"}},
	}}}
	c := testController(t, n)
	s := neighbour(t, c)
	if err := c.writeFiles(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	done, slowly := make(chan struct{}), make(chan error)
	go func() { slowly <- c.refresh(context.WithValue(t.Context(), slow{}, done), s.ID) }()
	<-n.read
	if err := c.refresh(t.Context(), s.ID); err != nil {
		t.Error(err)
	}
	close(done)
	if err := <-slowly; err != nil {
		t.Error(err)
	}
	if got, err := os.ReadFile(filepath.Join(c.runDir(s.ID), hostsFile)); err != nil || !strings.HasSuffix(string(got), "10.2.0.3\tfirst\n10.2.0.4\tsecond\n") {
		t.Errorf("hosts file %q, %v", got, err)
	}
}

// A pod whose files are removed, since it is being stopped, gets no new ones from its
// neighbours; one that has a file and no lock gets what it is to have.
func TestRefreshMakesNoFile(t *testing.T) {
	c := testController(t, noNetworks{})
	s := neighbour(t, c)
	path := filepath.Join(c.runDir(s.ID), hostsFile)
	for _, prepare := range []func() error{
		func() error { return nil },
		func() error { return errors.Join(c.writeFiles(t.Context(), s), c.removeFiles(s.ID)) },
	} {
		if err := errors.Join(prepare(), c.refresh(t.Context(), s.ID)); err != nil {
			t.Fatal(err)
		}
		if _, err := os.Lstat(path); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("a hosts file was made: %v", err)
		}
	}
	err := errors.Join(os.Remove(filepath.Join(c.runDir(s.ID), hostsLock)), os.WriteFile(path, nil, 0o644), c.refresh(t.Context(), s.ID))
	if got, rerr := os.ReadFile(path); err != nil || rerr != nil || len(got) == 0 {
		t.Errorf("of a pod that an older davit made ready: %q, %v, %v", got, err, rerr)
	}
}

func TestCreateFillsIn(t *testing.T) {
	c := testController(t, noNetworks{})
	s, err := c.Create(t.Context(), Config{Name: "web"})
	if err != nil {
		t.Fatal(err)
	}
	if s.Config.Hostname != "web" || s.Status.State != Created {
		t.Errorf("pod %+v", s)
	}
	var taken *record.NameTakenError
	if _, err := c.Create(t.Context(), Config{Name: "web"}); !errors.As(err, &taken) || taken.ID != s.ID {
		t.Errorf("a second pod of that name: %v", err)
	}
	if id, err := c.Resolve("web"); err != nil || id != s.ID {
		t.Errorf("resolved to %q, %v", id, err)
	}
	if err := c.Remove(t.Context(), s.ID, RemoveOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Get(t.Context(), s.ID); !errdefs.IsNotFound(err) {
		t.Errorf("removed pod: %v", err)
	}
}

// Containers are told the name of their host, which is the node where they share its
// UTS namespace: no namespace is given a name there.
func TestHostname(t *testing.T) {
	node, err := os.Hostname()
	if err != nil {
		t.Skip(err)
	}
	c := testController(t, noNetworks{})
	host := Namespaces{UTS: spec.ModeHost}
	for i, tt := range []struct {
		name       string
		config     Config
		told, made string
	}{
		{"the kubelet's on the host's network", Config{Owner: record.OwnerCRI, Network: Network{Mode: NetworkHost}, Namespaces: host}, node, ""},
		{"a person's in the host's namespace", Config{Implicit: true, Network: Network{Mode: NetworkNone}, Namespaces: host}, node, ""},
		{"a person's on the host's network", Config{Implicit: true, Network: Network{Mode: NetworkHost}}, node, node},
		{"a pod on the host's network", Config{Network: Network{Mode: NetworkHost}}, "p3", "p3"},
		{"of its own", Config{Hostname: "box", Network: Network{Mode: NetworkHost}}, "box", "box"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tt.config.Name, tt.config.CgroupsOff = "p"+strconv.Itoa(i), true
			s, err := c.Create(t.Context(), tt.config)
			if err != nil {
				t.Fatal(err)
			}
			if err := c.writeFiles(t.Context(), s); err != nil {
				t.Fatal(err)
			}
			got := c.give(s)
			if got.Hostname != tt.told || s.Config.Hostname != tt.made {
				t.Errorf("containers are told %q, the namespace %q", got.Hostname, s.Config.Hostname)
			}
			if text, err := os.ReadFile(got.HostnameFile); err != nil || string(text) != tt.told+"\n" {
				t.Errorf("/etc/hostname is %q: %v", text, err)
			}
		})
	}
}

func TestCreateRefusesForeignSysctl(t *testing.T) {
	c := testController(t, noNetworks{})
	_, err := c.Create(t.Context(), Config{
		Name: "web", Network: Network{Mode: NetworkHost}, Namespaces: Namespaces{IPC: spec.ModePod},
		Sysctls: map[string]string{"net.ipv4.ip_forward": "1"},
	})
	if !errors.Is(err, errdefs.ErrInvalidArgument) {
		t.Errorf("net sysctl on the host's network: %v", err)
	}
	if pods, err := c.List(t.Context()); err != nil || len(pods) != 0 {
		t.Errorf("left %v, %v", pods, err)
	}
}
