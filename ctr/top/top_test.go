package top

import (
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	"github.com/google/go-cmp/cmp"
)

func TestReadSelf(t *testing.T) {
	procs, err := Read([]int{os.Getpid(), 1 << 30})
	if err != nil {
		t.Fatal(err)
	}
	if len(procs) != 1 {
		t.Fatalf("%d processes, want this one alone", len(procs))
	}
	p := procs[0]
	if p.HostPid != os.Getpid() || p.UID != uint32(os.Getuid()) || p.Threads < 1 || len(p.Args) != len(os.Args) {
		t.Errorf("read %+v", p)
	}
	if p.Elapsed < 0 || p.Elapsed > time.Hour {
		t.Errorf("elapsed %s", p.Elapsed)
	}
}

func TestTable(t *testing.T) {
	p := Process{
		HostPid: 4711, Pid: 1, UID: 7, TTY: "pts/0", Comm: "sh", Args: []string{"sh", "-c", "a\nb \"c\""},
		CPU: time.Second, Elapsed: 10 * time.Second,
	}
	names := Names{User: func(id uint32) string {
		if id == 7 {
			return "web"
		}
		return ""
	}}
	got, err := Table([]Process{p}, nil, names)
	if err != nil {
		t.Fatal(err)
	}
	want := [][]string{
		{"USER", "PID", "PPID", "%CPU", "ELAPSED", "TTY", "TIME", "COMMAND"},
		{"web", "1", "0", "10.000", "10s", "pts/0", "1s", `sh -c a\nb "c"`},
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	_, err = Table(nil, []string{"nosuch"}, names)
	if !errors.Is(err, errdefs.ErrInvalidArgument) || !strings.Contains(err.Error(), "pcpu") {
		t.Errorf("unknown column: %v", err)
	}
}
