package oci

import (
	"os"
	"slices"
	"strings"
	"testing"
)

// Whatever this process was run with, one thing is said of where runtimes mount
// themselves, or nothing.
func TestEnviron(t *testing.T) {
	t.Setenv("_LIBCONTAINER_STATEDIR", "/elsewhere")
	t.Setenv("KEPT", "1")
	want := []string{"_LIBCONTAINER_STATEDIR=/nonexistent"}
	if forbids, err := os.ReadFile("/proc/sys/vm/memfd_noexec"); err == nil && strings.TrimSpace(string(forbids)) != "0" {
		want = nil
	}
	env := Environ()
	got := slices.DeleteFunc(slices.Clone(env), func(kv string) bool { return !strings.HasPrefix(kv, "_LIBCONTAINER") })
	if !slices.Equal(got, want) || !slices.Contains(env, "KEPT=1") {
		t.Errorf("got %q, want %q", got, want)
	}
}
