package leftover

import (
	"bufio"
	"os/exec"
	"path/filepath"
	"testing"

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
