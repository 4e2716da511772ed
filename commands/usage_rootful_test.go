//go:build rootful

package commands_test

import (
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/davit-containers/davit/commands/cli"
	"github.com/davit-containers/davit/commands/harness"
	"github.com/davit-containers/davit/ctr"
	"github.com/davit-containers/davit/pod"
)

// engine opens the engine in this process, on the roots of a davit.
func engine(t *testing.T, d harness.Davit, parts ...cli.Part) *cli.Engine {
	t.Helper()
	config := cli.DefaultConfig()
	config.Root, config.RunRoot = d.Roots.Root, d.Roots.RunRoot
	e := &cli.Engine{}
	if err := e.Open(t.Context(), cli.Settled{Config: config, Log: slog.New(slog.DiscardHandler)}, parts...); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = e.Close() })
	return e
}

// cpuTime reads a cgroup's CPU time, as the kernel has it.
func cpuTime(t *testing.T, path string) (nanos float64, at time.Time) {
	t.Helper()
	if data, err := os.ReadFile(filepath.Join("/sys/fs/cgroup/cpuacct", path, "cpuacct.usage")); err == nil {
		n, err := strconv.ParseFloat(strings.TrimSpace(string(data)), 64)
		if err != nil {
			t.Fatal(err)
		}
		return n, time.Now()
	}
	data, err := os.ReadFile(filepath.Join("/sys/fs/cgroup", path, "cpu.stat"))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(data)) {
		if usec, ok := strings.CutPrefix(line, "usage_usec "); ok {
			n, err := strconv.ParseFloat(strings.TrimSpace(usec), 64)
			if err != nil {
				t.Fatal(err)
			}
			return n * 1000, time.Now()
		}
	}
	t.Fatalf("no usage in %q", data)
	return 0, time.Time{}
}

// What a busy container uses is what its cgroup says, its pod's is that and what
// its network has seen, and nothing is walked or waited for to know it.
func TestUsageIsTheCgroups(t *testing.T) {
	d, image := busyboxDavit(t)
	id := must(t, d, "run", "-d", image, "sh", "-c", "dd if=/dev/zero of=/big bs=1M count=8 2>/dev/null; ping -c 1 -W 1 127.0.0.1 >/dev/null; sleep 1000 & while :; do :; done").Line()
	defer settled(t, d)
	e := engine(t, d, cli.Containers, cli.Pods)
	time.Sleep(300 * time.Millisecond)

	first, err := e.Containers.Usage(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	if first.Rate != nil {
		t.Errorf("a rate of %d from one reading", *first.Rate)
	}
	if l := first.Layer; l == nil || l.Bytes < 8<<20 || l.Bytes > 9<<20 || l.Inodes < 2 || l.Root != filepath.Join(d.Roots.Root, "storage") || l.Capacity < l.Bytes {
		t.Errorf("layer: %+v", l)
	}
	cgroup := first.Container.Status.Cgroup
	before, since := cpuTime(t, cgroup)
	time.Sleep(time.Second)
	second, err := e.Containers.Usage(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	after, until := cpuTime(t, cgroup)
	want := (after - before) / until.Sub(since).Seconds()
	if second.Rate == nil {
		t.Fatal("no rate from two readings")
	}
	if got := float64(*second.Rate); got < 0.9*want || got > 1.1*want || got < 1e8 {
		t.Errorf("rate %.3g, the cgroup's own is %.3g", got, want)
	}
	if m := second.Stats.Memory; m.Usage == 0 || m.WorkingSet == 0 || m.WorkingSet > m.Usage || m.RSS == 0 {
		t.Errorf("memory: %+v", m)
	}

	s, err := e.Pods.Get(t.Context(), first.Container.Config.Sandbox)
	if err != nil {
		t.Fatal(err)
	}
	all, err := e.Pods.Usages(t.Context(), []pod.Sandbox{s}, ctr.Detailed)
	if err != nil || len(all) != 1 || len(all[0].Containers) != 1 {
		t.Fatalf("%+v, %v", all, err)
	}
	u := all[0]
	if u.Processes != 2 || u.Stats.CPU.Usage < second.Stats.CPU.Usage {
		t.Errorf("pod: %d processes, %d ns; container %d ns", u.Processes, u.Stats.CPU.Usage, second.Stats.CPU.Usage)
	}
	if len(u.Interfaces) != 1 || u.Interfaces[0].Name != "eth0" {
		t.Errorf("interfaces: %+v", u.Interfaces)
	}
	k := u.Containers[0]
	if k.Stats.Pids.Current != 2 || k.Details.Processes != 2 || k.Details.OpenFiles < 6 || k.Details.OpenFilesLimit == nil {
		t.Errorf("details: %+v, %+v", k.Stats.Pids, k.Details)
	}

	must(t, d, "stop", "-t", "0", id)
	stopped, err := e.Containers.Usage(t.Context(), id)
	if err != nil || !stopped.Stats.At.IsZero() || stopped.Layer == nil {
		t.Errorf("stopped: %+v, %v", stopped, err)
	}
}
