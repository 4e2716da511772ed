package leftover

import (
	"bufio"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/davit-containers/davit/commands/harness"
	"github.com/davit-containers/davit/ctr/record"
)

// A monitor may be on its way out when it has no child but the exit command, or the
// fork of itself that becomes it.
func TestEnding(t *testing.T) {
	sleep, err := exec.LookPath("sleep")
	if err == nil {
		sleep, err = filepath.EvalSymlinks(sleep)
	}
	if err != nil {
		t.Fatal(err)
	}
	const child = "sleep 60 & until [ $(readlink /proc/$!/exe) != $(readlink /proc/$$/exe) ]; do :; done; echo up; read x"
	for _, tt := range []struct {
		name, script, self string
		want               bool
	}{
		{"no child", "echo up; read x", "/davit", true},
		{"its fork", "(echo up; read x) <&3", "/davit", true},
		{"the exit command", child, sleep, true},
		{"something else", child, "/davit", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			cmd := exec.Command("/bin/sh", "-c", "exec 3<&0; "+tt.script+"; kill %1 2>/dev/null; :")
			in, err := cmd.StdinPipe()
			if err != nil {
				t.Fatal(err)
			}
			out, err := cmd.StdoutPipe()
			if err == nil {
				err = cmd.Start()
			}
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _, _ = in.Close(), cmd.Wait() }()
			if _, err := bufio.NewReader(out).ReadString('\n'); err != nil {
				t.Fatal(err)
			}
			if got := (Process{Process: record.Process{Pid: cmd.Process.Pid}}).Ending(tt.self); got != tt.want {
				t.Errorf("got %v", got)
			}
		})
	}
}

// A runtime is found at any moment, also while it is about to begin.
func TestProcessesInExec(t *testing.T) {
	dir := t.TempDir()
	path, states := filepath.Join(dir, "runtime"), filepath.Join(dir, "states")
	if err := harness.WriteExecutable(path, "#!/bin/sh\nexec \"$0\" \"$@\"\n"); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(path, "--root", states+"/x", "create", "c1")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _, _ = cmd.Process.Kill(), cmd.Wait() }()
	for n := range 120 {
		all, err := Processes(filepath.Join(dir, "run"), states)
		if err != nil {
			t.Fatal(err)
		}
		if len(all) != 1 || all[0].Pid != cmd.Process.Pid || all[0].ID != "c1" {
			t.Fatalf("the %d. time: %+v", n+1, all)
		}
	}
}
