package oci

import (
	"errors"
	"strings"
	"testing"

	"github.com/containerd/errdefs"
)

// What runc 1.1.5 and crun 1.8.1 print, byte for byte.
func TestParseError(t *testing.T) {
	const runc = `time="2026-11-23T11:28:09Z" level=error msg="`
	tests := []struct {
		name, action, raw, message string
		class                      error
		code                       int
	}{
		{"runc not in PATH", "create", runc + `runc create failed: unable to start container process: exec: \"nonexist\": executable file not found in $PATH"`,
			`command "nonexist" not found in the container`, nil, 127},
		{"runc absent", "create", runc + `runc create failed: unable to start container process: exec: \"/no/such\": stat /no/such: no such file or directory"`,
			`command "/no/such" not found in the container`, nil, 127},
		{"runc folder", "create", runc + `runc create failed: unable to start container process: exec: \"/etc\": permission denied"`,
			`command "/etc" cannot be executed in the container`, nil, 126},
		{"runc exec", "exec", runc + `exec failed: unable to start container process: exec: \"nonexist\": executable file not found in $PATH"`,
			`command "nonexist" not found in the container`, nil, 127},
		{"runc json", "exec", `{"level":"error","msg":"exec failed: unable to start container process: exec: \"x y\": permission denied","time":"2026-11-23T11:28:10Z"}` + "\n",
			`command "x y" cannot be executed in the container`, nil, 126},
		{"runc absent container", "start", runc + `container does not exist"`, "container does not exist", errdefs.ErrNotFound, 0},
		{"runc started twice", "start", runc + `cannot start an already running container"`, "cannot start an already running container", errdefs.ErrFailedPrecondition, 0},
		{"runc created twice", "create", runc + `runc create failed: container with given ID already exists"`, "container with given ID already exists", errdefs.ErrAlreadyExists, 0},
		{"runc delete running", "delete", runc + `cannot delete container t-ok that is not stopped: running"`, "cannot delete container t-ok that is not stopped: running", errdefs.ErrFailedPrecondition, 0},
		{"runc pause stopped", "pause", runc + `container not running"`, "container not running", errdefs.ErrFailedPrecondition, 0},
		{"runc warns before", "update", `time="2026-11-23T11:38:39Z" level=warning msg="Setting back cgroup configs failed due to error: unable to set memory limit to 1000 (current usage: 229376, peak usage: 3543040), your state.json and actual configs might be inconsistent."` + "\n" +
			runc + `unable to set memory limit to 1000 (current usage: 229376, peak usage: 3543040)"`, "unable to set memory limit to 1000 (current usage: 229376, peak usage: 3543040)", nil, 0},
		{"runc warns after", "create", runc + `runc create failed: chdir /b: no such file or directory"` + "\n" + `time="2026-11-23T11:40:34Z" level=warning msg="Failed to remove cgroup (will retry)" error="rmdir /c: device or resource busy"`,
			"chdir /b: no such file or directory", nil, 0},
		{"runc fatal first", "exec", `time="2026-11-23T11:38:40Z" level=fatal msg="nsexec-1[23056]: failed to open /proc/22776/ns/ipc: No such file or directory"` + "\n" +
			runc + `exec failed: unable to start container process: error executing setns process: exit status 1"`, "error executing setns process: exit status 1", nil, 0},
		{"crun not in PATH", "create", "executable file `nonexist` not found in $PATH: No such file or directory", `command "nonexist" not found in the container`, nil, 127},
		{"crun absent", "create", "executable file `/no/such` not found in $PATH: No such file or directory\n", `command "/no/such" not found in the container`, nil, 127},
		{"crun folder", "exec", "open executable: Operation not permitted", "command cannot be executed in the container", nil, 126},
		{"crun no x", "exec", "open executable: Permission denied", "command cannot be executed in the container", nil, 126},
		{"crun loader", "start", "exec container process (missing dynamic library?) `/tmp/badint`: No such file or directory", `command "/tmp/badint" not found in the container`, nil, 127},
		{"crun format", "start", "exec container process `/tmp/badelf`: Exec format error", `command "/tmp/badelf" cannot be executed in the container`, nil, 126},
		{"crun json", "exec", `{"msg":"executable file ` + "`nope`" + ` not found in $PATH: No such file or directory","level":"error","time":"2026-11-23T11:38:40Z"}`, `command "nope" not found in the container`, nil, 127},
		{"crun absent container", "start", "error opening file `/run/crun/zzz/status`: No such file or directory", "error opening file `/run/crun/zzz/status`: No such file or directory", errdefs.ErrNotFound, 0},
		{"crun delete absent", "delete", "cannot open directory '/run/crun/zzz': No such file or directory", "cannot open directory '/run/crun/zzz': No such file or directory", errdefs.ErrNotFound, 0},
		{"crun started twice", "start", "cannot open `/run/crun/t-ok/exec.fifo`: No such file or directory", "cannot open `/run/crun/t-ok/exec.fifo`: No such file or directory", errdefs.ErrFailedPrecondition, 0},
		{"crun created twice", "create", "container `t-ok` already exists", "container `t-ok` already exists", errdefs.ErrAlreadyExists, 0},
		{"crun delete running", "delete", "the container `t-ok` is not in `created` or `stopped` state", "the container `t-ok` is not in `created` or `stopped` state", errdefs.ErrFailedPrecondition, 0},
		{"silent", "create", " \n", `"/opt/rt" gave no reason`, nil, 0},
		{"anything", "create", "first\nsecond: it broke\n\n", "second: it broke", nil, 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var err error = Runtime{Name: "rt", Path: "/opt/rt"}.ParseError(tt.action, tt.raw)
			var e *Error
			if !errors.As(err, &e) || e.Message != tt.message || e.Raw != tt.raw || e.Runtime != "rt" {
				t.Errorf("message %q, want %q", e.Message, tt.message)
			}
			if strings.Contains(err.Error(), "\n") {
				t.Errorf("more than a line: %q", err)
			}
			if tt.class != nil && !errors.Is(err, tt.class) {
				t.Errorf("class of %v is not %v", err, tt.class)
			}
			var ee *ExecutableError
			if errors.As(err, &ee) != (tt.code != 0) || (ee != nil && ee.Code != tt.code) {
				t.Errorf("executable error %+v, want code %d", ee, tt.code)
			}
		})
	}
}

func TestTailKeepsTheEnd(t *testing.T) {
	var w tail
	for range 3 * maxOutput / 1000 {
		_, _ = w.Write([]byte(strings.Repeat("x", 999) + "\n"))
	}
	_, _ = w.Write([]byte("the end"))
	if got := string(w.bytes()); len(got) != maxOutput || !strings.HasSuffix(got, "x\nthe end") {
		t.Errorf("%d bytes", len(got))
	}
	_, _ = w.Write([]byte(strings.Repeat("y", 2*maxOutput)))
	if got := w.bytes(); len(got) != maxOutput || got[0] != 'y' {
		t.Errorf("%d bytes", len(got))
	}
}

func TestTreeOf(t *testing.T) {
	procs := []process{
		{pid: 1, session: 1, group: 1},
		{pid: 10, parent: 1, session: 10, group: 10},
		{pid: 11, parent: 10, session: 10, group: 10},
		{pid: 12, parent: 11, session: 12, group: 12}, // a daemon of a living parent
		{pid: 13, parent: 1, session: 10, group: 13},  // orphaned, same session
		{pid: 14, parent: 13, session: 14, group: 14}, // its child
		{pid: 20, parent: 1, session: 20, group: 20},
	}
	got := map[int]bool{}
	for _, p := range treeOf(procs, 10) {
		got[p.pid] = true
	}
	for pid, want := range map[int]bool{1: false, 10: true, 11: true, 12: true, 13: true, 14: true, 20: false} {
		if got[pid] != want {
			t.Errorf("%d: %v", pid, got[pid])
		}
	}
	if err := killTree(1); err == nil {
		t.Error("pid 1 was not refused")
	}
}
