//go:build failpoints

package failpoint

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestMain is also the program whose points are reached: its arguments are names.
func TestMain(m *testing.M) {
	if os.Getenv("FAILPOINT_TEST_CHILD") == "" {
		os.Exit(m.Run())
	}
	code := 0
	for _, name := range os.Args[1:] {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Millisecond)
		switch err := Reach(ctx, Point(name)); {
		case errors.Is(err, ErrInjected):
			code = 3
		case errors.Is(err, context.DeadlineExceeded):
			code = 4
		case err != nil:
			code = 5
		}
		cancel()
	}
	if Deadline(time.Hour) == time.Second && Deadline(time.Millisecond) == time.Millisecond {
		code = 6
	}
	os.Exit(code)
}

// child reaches points in a process of its own, and says how it ended: its code,
// or -1 when it was killed.
func child(t *testing.T, env string, names ...string) int {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0], names...)
	cmd.Env = append(os.Environ(), append(strings.Fields(env), "FAILPOINT_TEST_CHILD=1")...)
	var exit *exec.ExitError
	if err := cmd.Run(); err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	if ws := cmd.ProcessState.Sys().(syscall.WaitStatus); ws.Signaled() && ws.Signal() == syscall.SIGKILL {
		return -1
	}
	return cmd.ProcessState.ExitCode()
}

func TestFaults(t *testing.T) {
	for _, tt := range []struct {
		name, env string
		points    string
		want      int
	}{
		{name: "none", points: "a b", want: 0},
		{name: "another point", env: "DAVIT_FAILPOINT=c=kill", points: "a b", want: 0},
		{name: "kill", env: "DAVIT_FAILPOINT=b=kill", points: "a b", want: -1},
		{name: "error", env: "DAVIT_FAILPOINT=b=error", points: "a b c", want: 3},
		{name: "hang", env: "DAVIT_FAILPOINT=b=hang", points: "a b", want: 4},
		{name: "second time", env: "DAVIT_FAILPOINT=a#2=kill", points: "a b a", want: -1},
		{name: "not a second time", env: "DAVIT_FAILPOINT=a#2=kill", points: "a b", want: 0},
		{name: "any point", env: "DAVIT_FAILPOINT=step#3=kill", points: "a b c", want: -1},
		{name: "any point, later", env: "DAVIT_FAILPOINT=step#4=kill", points: "a b c", want: 0},
		{name: "several", env: "DAVIT_FAILPOINT=a=error,c=kill", points: "a b c", want: -1},
		{name: "a name that begins alike", env: "DAVIT_FAILPOINT=a#2=kill", points: "a a.b a.b", want: 0},
		{name: "nonsense", env: "DAVIT_FAILPOINT=a=explode", points: "a", want: 2},
		{name: "deadline", env: "DAVIT_FAILPOINT_DEADLINE=1s", want: 6},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := child(t, tt.env, strings.Fields(tt.points)...); got != tt.want {
				t.Errorf("ended with %d, want %d", got, tt.want)
			}
		})
	}
}

// With a log times are counted over all processes, and a fault comes once.
func TestFaultsOfSeveralProcesses(t *testing.T) {
	log := filepath.Join(t.TempDir(), "log")
	env := "DAVIT_FAILPOINT=a#3=kill DAVIT_FAILPOINT_LOG=" + log
	for i, want := range []int{0, -1, 0} {
		if got := child(t, env, "a", "b", "a"); got != want {
			t.Errorf("process %d ended with %d, want %d", i, got, want)
		}
	}
	data, err := os.ReadFile(log)
	if err != nil {
		t.Fatal(err)
	}
	names := ""
	for line := range strings.Lines(string(data)) {
		name, _, _ := strings.Cut(line, " ")
		names += name
	}
	if want := "abaaaba"; names != want {
		t.Errorf("reached %q, want %q", names, want)
	}
}
