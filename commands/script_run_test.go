//go:build rootful

package commands_test

import (
	"context"
	"io"
	"os/exec"
	"time"

	"github.com/davit-containers/davit/commands/harness"
	"github.com/rogpeppe/go-internal/testscript"
)

// runStory runs a program in a story's environment and folder.
func runStory(ts *testscript.TestScript, args []string) harness.Result {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	if args[0] == "davit" {
		cmd.Path = ts.MkAbs(ts.Getenv("DAVIT"))
		cmd.Err = nil
	}
	cmd.Dir = ts.MkAbs(".")
	for _, name := range []string{"PATH", "HOME", "TMPDIR", "DAVIT_CONFIG", "REGISTRY_AUTH_FILE", "TERM"} {
		cmd.Env = append(cmd.Env, name+"="+ts.Getenv(name))
	}
	r, err := harness.Capture(cmd)
	if ctx.Err() != nil {
		ts.Fatalf("%v did not end in a minute\n%s%s", args, r.Stdout, r.Stderr)
	}
	ts.Check(err)
	return r
}

func print(ts *testscript.TestScript, r harness.Result) {
	_, _ = io.WriteString(ts.Stdout(), r.Stdout)
	_, _ = io.WriteString(ts.Stderr(), r.Stderr)
}
