package show

import (
	"bytes"
	"flag"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/davit-containers/davit/commands/cli"
	"github.com/davit-containers/davit/ctr"
	"github.com/davit-containers/davit/ctr/spec"
	"github.com/davit-containers/davit/netw"
	"github.com/davit-containers/davit/pod"
)

// update writes the golden files anew: go test -update.
func update() bool { f := flag.Lookup("update"); return f != nil && f.Value.String() == "true" }

func TestMain(m *testing.M) {
	flag.Bool("update", false, "write golden files")
	time.Local = time.UTC
	os.Exit(m.Run())
}

func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if update() {
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("%s (-want +got):\n%s", name, diff)
	}
}

func id(c byte) string { return string(bytes.Repeat([]byte{c}, 64)) }

// testWorld is a running web server, a job that failed, and a pod with two
// containers, one of which was created only; and what the kubelet owns.
func testWorld() World {
	now := time.Date(2026, 7, 1, 12, 0, 0, 0, time.UTC)
	ago := func(d time.Duration) time.Time { return now.Add(-d) }
	three := 3 * time.Second
	score := 100
	web := ctr.Container{ID: id('a'), Created: ago(2 * time.Hour), Config: ctr.Config{
		Name: "web", Owner: "cli", Sandbox: id('a'), Implicit: true, Runtime: "runc",
		Image: ctr.Image{Ref: "nginx", ID: id('1'), Name: "docker.io/library/nginx:latest"},
		Process: ctr.Process{
			Args: []string{"nginx", "-g", "daemon off;", "--a-long-option"}, Command: []string{"-g", "daemon off;", "--a-long-option"},
			Entrypoint: []string{"nginx"}, Env: []string{"PATH=/bin", "A=1"}, WorkingDir: "/", User: "web", Groups: []string{"adm"},
			Rlimits: []spec.Rlimit{{Type: "RLIMIT_NOFILE", Soft: 10, Hard: 1<<64 - 1}}, OOMScoreAdj: &score,
		},
		Mounts: []spec.Mount{
			{Type: "volume", Source: "data", Destination: "/srv", Options: []string{"ro"}},
			{Type: "bind", Source: "/etc/web", Destination: "/etc/web"},
			{Type: "tmpfs", Destination: "/tmp", Options: []string{"size=1m"}},
		},
		Devices:   []spec.Device{{HostPath: "/dev/fuse", Path: "/dev/fuse", Access: "rw"}},
		Labels:    map[string]string{"app": "shop", "a": "b"},
		Resources: spec.Resources{Memory: spec.Memory{Limit: 64 << 20}, CPU: spec.CPU{NanoCPUs: 5e8}, Pids: 50},
		Security: spec.Security{
			Caps: spec.Capabilities{Add: []string{"CAP_NET_ADMIN"}}, NoNewPrivileges: true, Seccomp: "unconfined",
			Paths: spec.PathMasks{Mask: []string{"/a", "/b"}},
		},
		Stop: ctr.Stop{Signal: "3", Timeout: &three}, Log: ctr.Log{MaxSize: 10 << 20},
	}, Status: ctr.Status{State: ctr.Running, Start: 1, Pid: 42, MonitorPid: 41, StartedAt: ago(90 * time.Minute)}}
	job := ctr.Container{ID: id('b'), Created: ago(3 * time.Hour), Config: ctr.Config{
		Name: "job", Owner: "cli", Sandbox: id('b'), Implicit: true, Image: ctr.Image{Ref: id('2')[:12], ID: id('2')},
		Process: ctr.Process{Args: []string{"false"}}, Security: spec.Security{Privileged: true},
	}, Status: ctr.Status{State: ctr.Stopped, Start: 2, StartedAt: ago(time.Hour), FinishedAt: ago(time.Hour), ExitCode: 7, CodeKnown: true, Reason: "Error"}}
	lost := ctr.Container{ID: id('c'), Created: ago(4 * time.Hour), Config: ctr.Config{Name: "lost", Owner: "cli", Sandbox: id('d'), Process: ctr.Process{Args: []string{"x"}}},
		Status: ctr.Status{State: ctr.Stopped, FinishedAt: ago(time.Minute), ExitCode: -1, Reason: "MonitorLost"}}
	idle := ctr.Container{ID: id('d'), Created: ago(time.Minute), Config: ctr.Config{Name: "idle", Owner: "cli", Sandbox: id('d'), Image: ctr.Image{Ref: "localhost/x:v1"}},
		Status: ctr.Status{State: ctr.Created}}
	etcd := ctr.Container{ID: id('e'), Created: ago(24 * time.Hour), Config: ctr.Config{Name: "etcd", Owner: "cri", Sandbox: id('e'), Image: ctr.Image{Name: "registry.k8s.io/etcd:3"}},
		Status: ctr.Status{State: ctr.Paused, StartedAt: ago(24 * time.Hour)}}
	port := netw.Port{HostIP: netip.MustParseAddr("127.0.0.1"), HostPort: 8080, ContainerPort: 80, Protocol: "tcp"}
	pods := []pod.Sandbox{
		{ID: id('a'), Created: ago(2 * time.Hour), Config: pod.Config{
			Name: "aaa", Implicit: true, Owner: "cli", Hostname: id('a')[:12], ShmSize: 64 << 20,
			Namespaces: pod.Namespaces{IPC: spec.ModePod, UTS: spec.ModePod, PID: spec.ModePrivate},
			Network:    pod.Network{Ports: []netw.Port{port}},
			DNS:        pod.DNS{Hosts: []pod.Host{{Name: "gw", Gateway: true}, {Name: "x", Addr: netip.MustParseAddr("10.0.0.9")}}},
		}, Status: pod.Status{State: pod.Ready, Namespaces: pod.Pinned{Net: "/run/ns/net"}, Attachment: netw.Attachment{
			Ports: []netw.Port{port},
			Interfaces: []netw.Interface{{
				Network: "davit", Name: "eth0", MAC: "02:00:00:00:00:01",
				IPs:      []netip.Prefix{netip.MustParsePrefix("10.88.0.2/16"), netip.MustParsePrefix("fd00::2/64")},
				Gateways: []netip.Addr{netip.MustParseAddr("10.88.0.1"), netip.MustParseAddr("fd00::1")},
			}},
		}}},
		{ID: id('b'), Config: pod.Config{Implicit: true, Network: pod.Network{Mode: pod.NetworkHost}}, Status: pod.Status{State: pod.NotReady}},
		{ID: id('d'), Created: ago(5 * time.Hour), Config: pod.Config{
			Name: "shop", Owner: "cli", Hostname: "shop", Labels: map[string]string{"app": "shop"},
			Namespaces: pod.Namespaces{IPC: spec.ModePod, UTS: spec.ModePrivate, PID: spec.ModePod},
			Resources:  spec.Resources{Memory: spec.Memory{Limit: 1 << 30}}, Sysctls: map[string]string{"net.core.somaxconn": "9"},
		}, Status: pod.Status{State: pod.NotReady, Cgroup: "/davit/shop", Message: "the machine was restarted"}},
		{ID: id('e'), Created: ago(24 * time.Hour), Config: pod.Config{Name: "etcd-0", Owner: "cri"}, Status: pod.Status{State: pod.Ready}},
	}
	return NewWorld([]ctr.Container{etcd, lost, job, web, idle}, pods, now)
}

func TestRowsGolden(t *testing.T) {
	w := testWorld()
	var rows, full []Row
	for _, c := range w.Containers {
		rows, full = append(rows, w.Row(c, false)), append(full, w.Row(c, true))
	}
	for _, tt := range []struct {
		file string
		rows []Row
		out  cli.Output[Row]
	}{
		{"ps.txt", rows, cli.Output[Row]{Table: Table, Headings: Headings()}},
		{"ps-full.txt", full, cli.Output[Row]{Table: Table + "\t{{.Pod}}\t{{.PodName}}", Headings: Headings()}},
		{"ps-format.txt", rows, cli.Output[Row]{Headings: Headings(), Format: `table {{.Names}}\t{{.State}}\t{{.Labels}}\t{{.Mounts}}\t{{.Networks}}`}},
		{"ps.json", full, cli.Output[Row]{Format: "json"}},
		{"ps-empty.txt", nil, cli.Output[Row]{Table: Table, Headings: Headings()}},
	} {
		var buf bytes.Buffer
		if err := tt.out.Print(&buf, tt.rows); err != nil {
			t.Fatal(err)
		}
		golden(t, tt.file, buf.Bytes())
	}
}

func TestPodRowsGolden(t *testing.T) {
	w := testWorld()
	var rows, full []PodRow
	for _, s := range w.Pods {
		rows, full = append(rows, w.PodRow(s, false)), append(full, w.PodRow(s, true))
	}
	for _, tt := range []struct {
		file string
		rows []PodRow
		out  cli.Output[PodRow]
	}{
		{"pods.txt", rows, cli.Output[PodRow]{Table: PodTable(false, false), Headings: PodHeadings()}},
		{"pods-wide.txt", rows, cli.Output[PodRow]{Table: PodTable(true, true), Headings: PodHeadings()}},
		{"pods.json", full, cli.Output[PodRow]{Format: "json"}},
	} {
		var buf bytes.Buffer
		if err := tt.out.Print(&buf, tt.rows); err != nil {
			t.Fatal(err)
		}
		golden(t, tt.file, buf.Bytes())
	}
}

func TestObjectsGolden(t *testing.T) {
	w := testWorld()
	var objects []Object
	for _, c := range w.Containers {
		if c.Config.Name == "web" || c.Config.Name == "job" {
			objects = append(objects, w.Object(c, Paths{Log: "/log/" + c.Config.Name, Volume: func(name string) string { return "/volumes/" + name }}))
		}
	}
	var buf bytes.Buffer
	if err := cli.PrintObjects(&buf, "", objects); err != nil {
		t.Fatal(err)
	}
	golden(t, "inspect.json", buf.Bytes())
	buf.Reset()
	if err := cli.PrintObjects(&buf, "{{.Name}} {{.State.Status}} {{.NetworkSettings.IPAddress}} {{.HostConfig.Memory}} {{.HostConfig.PidsLimit}}", objects); err != nil {
		t.Fatal(err)
	}
	golden(t, "inspect.txt", buf.Bytes())
	var pods []PodObject
	for _, s := range w.Pods {
		pods = append(pods, w.PodObject(s))
	}
	buf.Reset()
	if err := cli.PrintObjects(&buf, "", pods); err != nil {
		t.Fatal(err)
	}
	golden(t, "pod-inspect.json", buf.Bytes())
}

func TestPodStatus(t *testing.T) {
	in := func(states ...ctr.State) []ctr.Container {
		var out []ctr.Container
		for _, s := range states {
			out = append(out, ctr.Container{Status: ctr.Status{State: s}})
		}
		return append(out, ctr.Container{Config: ctr.Config{Infra: true}, Status: ctr.Status{State: ctr.Running}})
	}
	tests := []struct {
		name  string
		state pod.State
		ctrs  []ctr.Container
		want  string
	}{
		{"new", pod.Created, in(), "Created"},
		{"new, with a container", pod.Created, in(ctr.Created), "Created"},
		{"all run", pod.Ready, in(ctr.Running, ctr.Running), "Running"},
		{"started without containers", pod.Ready, in(), "Running"},
		{"some run", pod.Ready, in(ctr.Running, ctr.Stopped), "Degraded"},
		{"one not started yet", pod.Ready, in(ctr.Running, ctr.Created), "Degraded"},
		{"all paused", pod.Ready, in(ctr.Paused, ctr.Paused), "Paused"},
		{"all over", pod.Ready, in(ctr.Stopped), "Exited"},
		{"stopped", pod.NotReady, in(ctr.Stopped, ctr.Stopped), "Exited"},
		{"stopped, never used", pod.NotReady, in(), "Stopped"},
		{"lost its network", pod.NotReady, in(ctr.Running), "Degraded"},
		{"going", pod.Removing, in(ctr.Stopped), "Removing"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := PodStatus(pod.Sandbox{Status: pod.Status{State: tt.state}}, tt.ctrs); got != tt.want {
				t.Errorf("%q, want %q", got, tt.want)
			}
		})
	}
}

func TestFilter(t *testing.T) {
	w := testWorld()
	tests := []struct {
		name string
		args []string
		want []string
		bad  bool
	}{
		{name: "none", want: []string{"etcd", "lost", "job", "web", "idle"}},
		{name: "name", args: []string{"name=e"}, want: []string{"etcd", "web", "idle"}},
		{name: "name as a pattern", args: []string{"name=^(web|job)$"}, want: []string{"job", "web"}},
		{name: "same key", args: []string{"name=web", "name=job"}, want: []string{"job", "web"}},
		{name: "two keys", args: []string{"name=e", "status=created"}, want: []string{"idle"}},
		{name: "id", args: []string{"id=aaaa"}, want: []string{"web"}},
		{name: "status", args: []string{"status=exited"}, want: []string{"lost", "job"}},
		{name: "status as the engine has it", args: []string{"status=stopped"}, want: []string{"lost", "job"}},
		{name: "exit code", args: []string{"exited=7"}, want: []string{"job"}},
		{name: "label", args: []string{"label=app=shop"}, want: []string{"web"}},
		{name: "no label", args: []string{"label!=app"}, want: []string{"etcd", "lost", "job", "idle"}},
		{name: "ancestor by name", args: []string{"ancestor=nginx"}, want: []string{"web"}},
		{name: "ancestor by tag", args: []string{"ancestor=library/nginx:latest"}, want: []string{"web"}},
		{name: "ancestor by ID", args: []string{"ancestor=2222"}, want: []string{"job"}},
		{name: "ancestor's name in part", args: []string{"ancestor=ginx"}},
		{name: "before", args: []string{"before=job"}, want: []string{"etcd", "lost"}},
		{name: "since", args: []string{"since=job"}, want: []string{"web", "idle"}},
		{name: "until", args: []string{"until=5h"}, want: []string{"etcd"}},
		{name: "volume", args: []string{"volume=data"}, want: []string{"web"}},
		{name: "volume's place", args: []string{"volume=/srv"}, want: []string{"web"}},
		{name: "pod", args: []string{"pod=shop"}, want: []string{"lost", "idle"}},
		{name: "network", args: []string{"network=davit"}, want: []string{"web"}},
		{name: "host network", args: []string{"network=host"}, want: []string{"job"}},
		{name: "owner", args: []string{"owner=cri"}, want: []string{"etcd"}},
		{name: "command", args: []string{"command=nginx"}, want: []string{"web"}},
		{name: "bad status", args: []string{"status=x"}, bad: true},
		{name: "bad code", args: []string{"exited=x"}, bad: true},
		{name: "bad time", args: []string{"until=x"}, bad: true},
		{name: "nobody", args: []string{"before=x"}, bad: true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f, err := cli.ParseFilters(tt.args, FilterKeys()...)
			if err != nil {
				t.Fatal(err)
			}
			filter, err := NewFilter(f, w)
			if (err != nil) != tt.bad {
				t.Fatalf("error = %v", err)
			}
			if tt.bad {
				return
			}
			var got []string
			for _, c := range w.Containers {
				if filter.Match(c) {
					got = append(got, c.Config.Name)
				}
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestPodMatcher(t *testing.T) {
	w := testWorld()
	tests := []struct {
		args []string
		want []string
	}{
		{[]string{"name=shop"}, []string{"shop"}},
		{[]string{"status=exited"}, []string{"", "shop"}},
		{[]string{"status=Degraded"}, nil},
		{[]string{"ctr-names=idle"}, []string{"shop"}},
		{[]string{"ctr-status=paused"}, []string{"etcd-0"}},
		{[]string{"ctr-number=2"}, []string{"shop"}},
		{[]string{"label=app"}, []string{"shop"}},
		{[]string{"owner=cri"}, []string{"etcd-0"}},
		{[]string{"network=davit"}, []string{"aaa"}},
		{[]string{"until=10h"}, []string{"", "etcd-0"}},
	}
	for _, tt := range tests {
		f, err := cli.ParseFilters(tt.args, PodFilterKeys()...)
		if err != nil {
			t.Fatal(err)
		}
		match, err := PodMatcher(f, w)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, s := range w.Pods {
			if match(s) {
				got = append(got, s.Config.Name)
			}
		}
		if diff := cmp.Diff(tt.want, got); diff != "" {
			t.Errorf("%v: %s", tt.args, diff)
		}
	}
	if _, err := PodMatcher(cli.Filters{"status": {"x"}}, w); err == nil {
		t.Error("a bad status was taken")
	}
}
