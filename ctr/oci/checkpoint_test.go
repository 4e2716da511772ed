package oci

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/containerd/errdefs"
	"github.com/google/go-cmp/cmp"

	"github.com/davit-containers/davit/commands/harness"
)

func TestCheckpointArgs(t *testing.T) {
	tests := []struct {
		name string
		in   Checkpoint
		want string
	}{
		{"plain", Checkpoint{Images: "/i", Work: "/w"}, "checkpoint --image-path /i --work-path /w x"},
		{"all", Checkpoint{"/i", "/w", true, true, true}, "checkpoint --image-path /i --work-path /w --leave-running --tcp-established --file-locks x"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if diff := cmp.Diff(tt.want, strings.Join(tt.in.args("x"), " ")); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestCheckpointErrors(t *testing.T) {
	t.Setenv("PATH", "/usr/bin:/bin")
	for words, class := range map[string]func(error) bool{
		"unknown command checkpoint": errdefs.IsNotImplemented,
		`level=error msg="exec: \"criu\": executable file not found in $PATH"`:                 errdefs.IsFailedPrecondition,
		`time="x" level=error msg="exec: \"criu\": executable file not found in $PATH"`:        errdefs.IsFailedPrecondition,
		`time="x" level=error msg="container does not exist"`:                                  errdefs.IsNotFound,
		`time="x" level=error msg="criu failed: type NOTIFY errno 0: No space left on device"`: errdefs.IsResourceExhausted,
	} {
		path := filepath.Join(t.TempDir(), "runtime")
		script := "#!/bin/sh\necho '" + words + "' >&2\nexit 1\n"
		if err := harness.WriteExecutable(path, script); err != nil {
			t.Fatal(err)
		}
		err := Runtime{Path: path}.Checkpoint(t.Context(), "x", Checkpoint{Images: "/i", Work: "/w"})
		if !class(err) {
			t.Errorf("%q: %v", words, err)
		}
	}
}
