package podcmd

import (
	"net/netip"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/spf13/pflag"

	"github.com/davit-containers/davit/commands/cli"
	"github.com/davit-containers/davit/commands/ctrcmd/options"
	"github.com/davit-containers/davit/ctr/spec"
	"github.com/davit-containers/davit/netw"
	"github.com/davit-containers/davit/pod"
)

func TestCreateFlags(t *testing.T) {
	host := options.Host{
		ReadFile: func(string) ([]byte, error) { return nil, os.ErrNotExist },
		Stat:     os.Stat,
		Config:   cli.DefaultConfig(),
	}
	base := func() pod.Config {
		return pod.Config{
			Owner: "cli", Runtime: "runc", ShmSize: 64 << 20,
			Namespaces: pod.Namespaces{IPC: spec.ModePod, UTS: spec.ModePod, PID: spec.ModePrivate},
		}
	}
	tests := []struct {
		name string
		args []string
		want func(c *pod.Config)
		err  string
	}{
		{name: "nothing", want: func(*pod.Config) {}},
		{name: "name as a flag", args: []string{"--name", "shop"}, want: func(c *pod.Config) { c.Name = "shop" }},
		{name: "name as an argument", args: []string{"shop"}, want: func(c *pod.Config) { c.Name = "shop" }},
		{name: "two names", args: []string{"--name", "a", "b"}, err: "two names"},
		{name: "bad name", args: []string{"a b"}, err: "is not a name"},
		{name: "replace without a name", args: []string{"--replace"}, err: "--replace needs a name"},
		{name: "labels", args: []string{"-l", "a=b", "--annotation", "c=d"}, want: func(c *pod.Config) {
			c.Labels, c.Annotations = map[string]string{"a": "b"}, map[string]string{"c": "d"}
		}},
		{name: "label file absent", args: []string{"--label-file", "x"}, err: "--label-file: "},
		{name: "network", args: []string{"-p", "8080:80", "--network", "a", "--ip", "10.0.0.2", "--hostname", "h", "--dns", "1.1.1.1", "--add-host", "x:1.2.3.4"}, want: func(c *pod.Config) {
			c.Network.Ports = []netw.Port{{HostPort: 8080, ContainerPort: 80, Protocol: "tcp"}}
			c.Network.Networks = []netw.Ref{{Name: "a", IPs: []netip.Addr{netip.MustParseAddr("10.0.0.2")}}}
			c.Hostname = "h"
			c.DNS = pod.DNS{Servers: []string{"1.1.1.1"}, Hosts: []pod.Host{{Name: "x", Addr: netip.MustParseAddr("1.2.3.4")}}}
		}},
		{name: "share pid", args: []string{"--share", "net,ipc,uts,pid", "--infra-command", `["/pause","-x"]`}, want: func(c *pod.Config) {
			c.Namespaces.PID, c.InfraCommand = spec.ModePod, []string{"/pause", "-x"}
		}},
		{name: "share more", args: []string{"--share", "+pid"}, want: func(c *pod.Config) { c.Namespaces.PID = spec.ModePod }},
		{name: "share nothing", args: []string{"--share", "none"}, want: func(c *pod.Config) {
			c.Namespaces = pod.Namespaces{IPC: spec.ModePrivate, UTS: spec.ModePrivate, PID: spec.ModePrivate}
			c.Network.Mode, c.ShmSize = pod.NetworkPrivate, 0
		}},
		{name: "share what is none", args: []string{"--share", "mnt"}, err: "--share: "},
		{name: "port of nothing", args: []string{"--share", "ipc", "-p", "80"}, err: "need a shared network"},
		{name: "shm of nothing", args: []string{"--share", "net", "--shm-size", "1m"}, err: "--shm-size needs"},
		{name: "pid without infra", args: []string{"--share", "pid", "--infra=false"}, err: "needs an infra container"},
		{name: "infra command of nothing", args: []string{"--infra-command", "/x"}, err: "--infra-command has no meaning"},
		{name: "resources", args: []string{"-m", "1g", "--cpus", "2", "--cgroup-parent", "/x", "--shm-size", "1m", "--sysctl", "net.core.somaxconn=9"}, want: func(c *pod.Config) {
			c.Resources = spec.Resources{Memory: spec.Memory{Limit: 1 << 30}, CPU: spec.CPU{NanoCPUs: 2e9}}
			c.CgroupParent, c.ShmSize, c.Sysctls = "/x", 1<<20, map[string]string{"net.core.somaxconn": "9"}
		}},
		{name: "sysctl of the host", args: []string{"--network", "host", "--sysctl", "net.core.somaxconn=9"}, err: "--sysctl: "},
		{name: "port of the host", args: []string{"--network", "host", "-p", "80"}, err: "--publish cannot"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			o := &createOptions{}
			set := pflag.NewFlagSet("create", pflag.ContinueOnError)
			o.flags(set)
			if err := set.Parse(tt.args); err != nil {
				t.Fatal(err)
			}
			got, err := o.parse(host, set.Args())
			if tt.err != "" {
				if err == nil || !strings.Contains(err.Error(), tt.err) {
					t.Fatalf("error = %v, want one with %q", err, tt.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			want := base()
			tt.want(&want)
			if diff := cmp.Diff(want, got, cmpopts.EquateEmpty(), cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); diff != "" {
				t.Error(diff)
			}
		})
	}
}
