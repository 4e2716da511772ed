//go:build faults || faultslong

package faults

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/davit-containers/davit/commands/harness"
)

// wrapper is an OCI runtime that is another but for the faults that it is told.
type wrapper struct {
	t       *testing.T
	path    string
	program string // the other one
}

// newWrapper makes a runtime that has no faults yet, and is runc.
func newWrapper(t *testing.T) *wrapper {
	t.Helper()
	return wrap(t, "runc")
}

// wrap is newWrapper for any runtime.
func wrap(t *testing.T, program string) *wrapper {
	t.Helper()
	program, err := exec.LookPath(program)
	if err != nil {
		t.Fatal(err)
	}
	w := &wrapper{t: t, path: filepath.Join(t.TempDir(), "wrapped"), program: program}
	script := `#!/bin/sh
for a; do case $a in
	create|start|delete|exec|pause|resume|update|state|features) [ -n "$verb" ] || verb=$a;;
	--pid-file) next=pid;;
	*) [ "$next" = pid ] && pidfile=$a; next=;;
esac; done
real() { ` + program + ` "$@"; }
[ ! -e "$0.$verb" ] || . "$0.$verb"
exec ` + program + ` "$@"
`
	if err := harness.WriteExecutable(w.path, script); err != nil {
		t.Fatal(err)
	}
	return w
}

// config makes it the default runtime, with a short deadline.
func (w *wrapper) config() string {
	return fmt.Sprintf("[engine]\nruntime = %q\nruntime_timeout = 1\n", w.path)
}

// tell puts a piece of shell before each run of a verb. The function real is the
// true runtime, which is run in the end where the piece does not exit.
func (w *wrapper) tell(verb, script string) {
	w.t.Helper()
	if err := os.WriteFile(w.path+"."+verb, []byte(script), 0o644); err != nil {
		w.t.Fatal(err)
	}
}

// heal takes all faults away.
func (w *wrapper) heal() {
	w.t.Helper()
	pieces, err := filepath.Glob(w.path + ".*")
	for _, p := range pieces {
		err = errors.Join(err, os.Remove(p))
	}
	if err != nil {
		w.t.Fatal(err)
	}
}

// hangs and the like are what a wrapped runtime may be told.
const (
	hangs     = "sleep 4711 & sleep 4711; exit"
	halfHangs = "real \"$@\"; sleep 4711; exit"
	unlucky   = "real \"$@\"; echo no luck >&2; exit 1"
)
