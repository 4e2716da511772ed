//go:build faults || faultslong

package faults

import (
	"errors"
	"strings"

	"github.com/davit-containers/davit/commands/harness"
)

// none makes nothing ready.
func none(*rig) {}

// orThere repeats a command that makes a container, c, unless it is there, whole:
// then it can be started, if it does not run.
func orThere(args ...string) func(*rig) {
	return func(r *rig) {
		r.t.Helper()
		err := cli(args...)(r, r.Davit)
		if err != nil && strings.Contains(err.Error(), "in use") {
			state := r.try("container", "inspect", "--format", "{{.State.Status}}", "c")
			switch {
			case state.Code != 0:
				err = errors.Join(err, errors.New(state.Stderr))
			case state.Line() == "running":
				err = nil
			default:
				err = cli("start", "c")(r, r.Davit)
			}
		}
		if err != nil {
			r.wrong("repeated: %v", err)
		}
	}
}

// unless repeats an operation, which may say that it is done already.
func unless(says string, do func(*rig, harness.Davit) error) func(*rig) {
	return func(r *rig) {
		r.t.Helper()
		if err := do(r, r.Davit); err != nil && !strings.Contains(err.Error(), says) {
			r.wrong("repeated: %v", err)
		}
	}
}

const (
	makePod   = "pod create --name p --share net,ipc,uts,pid -p 127.0.0.1::80"
	makeInPod = "create --name c --pod p -v /data IMAGE sleep inf"
	clearPod  = "pod rm --force --time 0 --ignore p"
	runOwn    = "run -d --name c -p 127.0.0.1::80 -v /data IMAGE sleep inf"
	clearOwn  = "rm --force --time 0 --volumes --ignore c"
)

// failing are operations that fail late, and are undone by the davit that began
// them: it is cut short on the way back.
func failing() []operation {
	words := strings.Fields
	return []operation{
		{name: "pod start fails", with: "pod.ready=error", ready: sound(makePod), do: cli("pod", "start", "p"), clear: sound(clearPod)},
		{name: "create fails", with: "container.record.update=error", ready: sound(makePod), do: cli(words(makeInPod)...),
			clear: sound(clearOwn, clearPod), again: orThere(words(makeInPod)...)},
		{name: "start fails", with: "runtime.started#2=error", ready: sound(makePod, makeInPod), do: cli("start", "c"),
			clear: sound(clearOwn, clearPod), again: unless("running already", cli("start", "c"))},
		{name: "run fails", with: "runtime.started=error", ready: none, do: cli(words(runOwn)...), clear: sound(clearOwn), again: orThere(words(runOwn)...)},
		{name: "run --rm fails", with: "runtime.started=error", ready: none, do: cli("run", "--rm", "--name", "c", "-v", "/data", "IMAGE", "true"),
			clear: sound(clearOwn), again: orThere("run", "--rm", "--name", "c", "IMAGE", "true")},
	}
}

// operations are all of the command line's.
func operations() []operation {
	words := strings.Fields
	return []operation{
		{name: "pod create", ready: none, do: cli(words(makePod)...), clear: sound(clearPod),
			again: unless("in use", cli(words(makePod)...))},
		{name: "pod start", ready: sound(makePod), do: cli("pod", "start", "p"), clear: sound(clearPod)},
		{name: "pod stop", ready: sound(makePod, "pod start p"), do: cli("pod", "stop", "p"), clear: sound(clearPod)},
		{name: "pod rm", ready: sound(makePod, "pod start p"), do: cli(words(clearPod)...), clear: none, removes: true},
		{name: "create", ready: sound(makePod), do: cli(words(makeInPod)...), clear: sound(clearOwn, clearPod),
			again: orThere(words(makeInPod)...)},
		{name: "start", ready: sound(makePod, makeInPod), do: cli("start", "c"), clear: sound(clearOwn, clearPod),
			again: unless("running already", cli("start", "c"))},
		{name: "stop", ready: sound(runOwn), do: cli("stop", "--time", "1", "c"), clear: sound(clearOwn)},
		{name: "rm", ready: sound(runOwn), do: cli(words(clearOwn)...), clear: none, removes: true},
		{name: "run", ready: none, do: cli(words(runOwn)...), clear: sound(clearOwn), again: orThere(words(runOwn)...)},
		{name: "run --rm", ready: none, do: cli("run", "--rm", "--name", "c", "IMAGE", "true"), clear: sound(clearOwn), again: orThere("run", "--rm", "--name", "c", "IMAGE", "true")},
		{name: "exec", ready: sound(runOwn), do: cli("exec", "c", "true"), clear: sound(clearOwn)},
		{name: "pause", ready: sound(runOwn), do: cli("pause", "c"), clear: sound(clearOwn), again: unless("not running", cli("pause", "c"))},
		{name: "unpause", ready: sound(runOwn, "pause c"), do: cli("unpause", "c"), clear: sound(clearOwn), again: unless("not paused", cli("unpause", "c"))},
		{name: "cp", ready: sound(makePod, makeInPod), do: cli("cp", "/etc/hostname", "c:/copied"), clear: sound(clearOwn, clearPod)},
		{name: "rename", ready: sound(runOwn), do: cli("rename", "c", "d"), clear: sound(clearOwn, "rm --force --time 0 --volumes --ignore d"),
			again: unless("no container", cli("rename", "c", "d"))},
		{name: "pull", ready: sound("rmi --ignore IMAGE"), do: cli("pull", "-q", "IMAGE"), clear: none},
		{name: "rmi", ready: none, do: cli("rmi", "--ignore", "IMAGE"), clear: sound("pull -q IMAGE")},
	}
}
