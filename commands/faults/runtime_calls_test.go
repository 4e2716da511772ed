//go:build (faults || faultslong) && amd64

package faults

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/davit-containers/davit/commands/harness"
)

// makeBeside makes a container, c, in a pod that stays and in which another one runs.
const makeBeside = "create --name c --pod stays -v /data IMAGE sleep inf"

// runtimeRig is a rig whose runtime can be killed, with the pod of makeBeside, which
// shares its PID namespace.
func runtimeRig(t *testing.T, program string) (*rig, *wrapper) {
	t.Helper()
	w := wrap(t, program)
	r := newRigWith(t, fmt.Sprintf("[engine]\nruntime = %q\n", w.path))
	for others := []string{""}; len(others) > 0; { // c is a name, and the beginning of no ID
		sound("pod rm --force --time 0 --ignore stays", "pod create --name stays --share net,ipc,uts,pid -p 127.0.0.1::80",
			"pod start stays", "run -d --pod stays IMAGE sleep inf")(r)
		if r.blame("a pod") {
			t.FailNow()
		}
		others, _ = filepath.Glob(filepath.Join(r.Roots.Root, "containers", "c*"))
	}
	r.take()
	_ = r.left() // what is there now is to stay
	return r, w
}

// traced has the next run of a verb be under a tracer.
func (w *wrapper) traced(r *rig, verb string) func(n int) (harness.Davit, string) {
	return func(n int) (harness.Davit, string) {
		self, env, log := r.tracing(w.program, n)
		w.tell(verb, fmt.Sprintf("rm \"$0.%s\"\nexport %s %s=1\nexec %s \"$@\"\n", verb, strings.Join(env, " "), traceFine, self))
		return r.Davit, log
	}
}

// runtimeOperation is an operation in which the runtime is asked for something by this
// verb: that is cut short.
type runtimeOperation struct {
	verb string
	operation
}

// ofRuntime are those in which a container is made, started and deleted.
func ofRuntime() []runtimeOperation {
	start := operation{ready: sound(makeBeside), do: cli("start", "c"), again: unless("running already", cli("start", "c")), clear: sound(clearOwn)}
	stop := operation{ready: sound(makeBeside, "start c"), do: cli("stop", "--time", "0", "c"), clear: sound(clearOwn)}
	return []runtimeOperation{{"create", start}, {"start", start}, {"delete", stop}}
}

// killedAt is the test of one of them: the runtime, or a process of it, is killed at every
// nth call, and the davit that waits for it undoes what it was about, as the check says
// before anybody repeats it; but for a removal, which whoever comes next takes on.
func (r *rig) killedAt(w *wrapper, o runtimeOperation, nth, from int) {
	r.t.Helper()
	if o.name == "" {
		o.name = o.verb
	}
	cut := o.operation
	o.again = func(r *rig) {
		if o.removes {
			sound(sweep)(r)
		}
		sound("system check")(r)
		if left, _ := filepath.Glob(filepath.Join(r.Roots.RunRoot, "containers", "*", "exec-*")); len(left) > 0 {
			r.wrong("left behind: %q", left)
		}
		cut.repeat(r)
	}
	r.on(o.operation, func(*testing.T) { r.killedAtCalls(o.operation, w.traced(r, o.verb), nth, from) })
}
