package spec

import "testing"

func TestBuildNeedsArgs(t *testing.T) {
	if _, err := Build(Config{Rootfs: "/r", Process: Process{Cwd: "/"}}); err == nil {
		t.Error("no command was accepted")
	}
}
