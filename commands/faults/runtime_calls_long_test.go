//go:build faultslong && amd64

package faults

import (
	"errors"
	"slices"
	"testing"

	"github.com/davit-containers/davit/commands/harness"
)

// A runtime, or a process that it makes a container by, may be killed at any system call
// that is a side effect.
func TestF14RuntimeKilledAtEachCall(t *testing.T) {
	for _, program := range []string{"runc", "crun"} {
		t.Run(program, func(t *testing.T) {
			r, w := runtimeRig(t, program)
			r.act = fail // no davit is killed
			for _, o := range slices.Concat(ofRuntime(), moreOfRuntime(), undoing(w)) {
				r.killedAt(w, o, 1, 1)
			}
			r.empty()
		})
	}
}

// moreOfRuntime are what else a runtime is asked for, on the command line and by a
// kubelet.
func moreOfRuntime() []runtimeOperation {
	verbs := map[string]string{
		"pod start": "create", "run": "create", "rm": "delete", "exec": "exec", "pause": "pause", "unpause": "resume",
		"RunPodSandbox": "create", "CreateContainer": "create", "StartContainer": "start", "StopContainer": "delete",
		"ExecSync": "exec", "UpdateContainerResources": "update",
	}
	var out []runtimeOperation
	for _, o := range append(operations(), kubelets()...) {
		if verb := verbs[o.name]; verb != "" {
			out = append(out, runtimeOperation{verb, o})
		}
	}
	return out
}

// undoing is an operation in which the runtime makes a container and then fails: what it
// has made is deleted.
func undoing(w *wrapper) []runtimeOperation {
	fails := func(r *rig, d harness.Davit) error {
		w.tell("create", `rm "$0.create"; `+unlucky)
		if cli("start", "c")(r, d) == nil {
			return errors.New("a runtime that fails makes a container")
		}
		return nil
	}
	o := operation{name: "undo", ready: sound(makeBeside), do: fails, again: sound("start c"), clear: sound(clearOwn)}
	return []runtimeOperation{{"delete", o}}
}
