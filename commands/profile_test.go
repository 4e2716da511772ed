package commands

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/davit-containers/davit/commands/cli"
)

// What a command does is taken down by the hidden flags and by DAVIT_TRACE, and
// does not change what it prints.
func TestProfiles(t *testing.T) {
	dir := t.TempDir()
	profile, events := filepath.Join(dir, "cpu"), filepath.Join(dir, "trace")
	var out, errs bytes.Buffer
	env := cli.NewEnv(cli.Streams{Out: &out, Err: &errs}, []string{"DAVIT_TRACE=1"})
	if code := Run(t.Context(), env, []string{"--cpu-profile", profile, "--trace", events, "version"}); code != 0 {
		t.Fatalf("exit code %d: %s", code, errs.String())
	}
	for _, f := range []string{profile, events} {
		if fi, err := os.Stat(f); err != nil || fi.Size() == 0 {
			t.Errorf("%s: %v, %v", f, fi, err)
		}
	}
	if lines := strings.Split(strings.TrimSpace(errs.String()), "\n"); len(lines) != 2 || !strings.HasSuffix(lines[1], "all of it") {
		t.Errorf("the timeline is %q", errs.String())
	}
	if !strings.HasPrefix(out.String(), "Version:") {
		t.Errorf("it printed %q", out.String())
	}
	env = cli.NewEnv(cli.Streams{Out: &out, Err: &errs}, nil)
	if code := Run(t.Context(), env, []string{"--cpu-profile", filepath.Join(dir, "no", "folder"), "version"}); code != 125 {
		t.Errorf("a profile that cannot be written: exit code %d", code)
	}
}
