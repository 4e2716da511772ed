//go:build rootful

package commands_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/davit-containers/davit/commands/harness"
)

// filterOf is what crun loads into a container's processes, and whether it was given
// that instead of compiling it.
func filterOf(t *testing.T, d harness.Davit, id string) (program []byte, given bool) {
	t.Helper()
	program, err := os.ReadFile(filepath.Join(d.Roots.RunRoot, "runtimes", "crun", id, "seccomp.bpf"))
	if err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(filepath.Join(d.Roots.RunRoot, "containers", id, "bundle", "config.json"))
	if err != nil {
		t.Fatal(err)
	}
	var spec struct {
		Annotations map[string]string `json:"annotations"`
	}
	if err := json.Unmarshal(data, &spec); err != nil {
		t.Fatal(err)
	}
	_, given = spec.Annotations["run.oci.seccomp_bpf_data"]
	return program, given
}

// TestFiltersAreCompiledOnce: crun compiles a seccomp filter for the first container
// that has it, and the next ones have the same, byte by byte, whatever its length in
// base64. What a container may differs with its filter.
func TestFiltersAreCompiledOnce(t *testing.T) {
	d, image := pulled(t)
	defer settled(t, d)
	run := func(args ...string) (program []byte, given bool) {
		t.Helper()
		all := append([]string{"run", "-d", "--runtime", "crun", "--network", "none"}, args...)
		return filterOf(t, d, mustRun(t, d, append(all, image, "sleep", "1000")...).Line())
	}
	lengths := map[int]bool{}
	twice := func(args ...string) []byte {
		t.Helper()
		first, given := run(args...)
		if given {
			t.Errorf("%v: given before it was compiled", args)
		}
		second, given := run(args...)
		if !given || !bytes.Equal(first, second) {
			t.Errorf("%v: given: %v; %d bytes, and %d at first", args, given, len(second), len(first))
		}
		lengths[len(first)%3] = true
		return first
	}
	standard := twice()
	wider := twice("--cap-add", "SYS_ADMIN")
	if bytes.Equal(standard, wider) {
		t.Error("a capability more makes no difference")
	}
	calls := []string{"mkdir", "rmdir", "chmod"}
	for i := range calls {
		twice("--security-opt", "seccomp="+denying(t, calls[:i+1]...))
	}
	if len(lengths) != 3 {
		t.Errorf("of the lengths modulo 3 only %v", lengths)
	}

	// One that is damaged is compiled again.
	kept, err := filepath.Glob(filepath.Join(d.Roots.RunRoot, "filters", "*"))
	if err != nil || len(kept) != 2+len(calls) {
		t.Fatalf("filters kept: %v, error %v", kept, err)
	}
	for _, path := range kept {
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		data[len(data)/2] ^= 1
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if again := twice(); !bytes.Equal(again, standard) {
		t.Errorf("compiled again it has %d bytes instead of %d", len(again), len(standard))
	}

	// A given filter denies what its profile denies, to the process and to an exec.
	profile := denying(t, "mkdir", "mkdirat")
	for range 2 {
		id := mustRun(t, d, "run", "-d", "--runtime", "crun", "--network", "none", "--security-opt", "seccomp="+profile,
			image, "sh", "-c", "mkdir /made; touch /made.not; sleep 1000").Line()
		r, err := d.Run(t.Context(), "exec", id, "mkdir", "/exec")
		if err != nil || r.Code != 1 || !strings.Contains(r.Stderr, "not permitted") {
			t.Errorf("an exec's mkdir: exit code %d, %v\n%s", r.Code, err, r.Stderr)
		}
		if r, err := d.Run(t.Context(), "logs", id); err != nil || !strings.Contains(r.Stderr, "not permitted") {
			t.Errorf("the process' mkdir: %v\n%s", err, r.Stderr)
		}
	}

	// Whoever says more of a container's filter, says all of it.
	if _, given := run("--annotation", "run.oci.seccomp_fail_unknown_syscall=1", "--security-opt", "seccomp="+profile); given {
		t.Error("given a filter beside its own annotations")
	}
	mustRun(t, d, "rm", "-f", "-a", "-t", "0")
	mustRun(t, d, "system", "check")
}

// denying writes a profile that refuses these calls alone.
func denying(t *testing.T, calls ...string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "profile.json")
	names, err := json.Marshal(calls)
	if err != nil {
		t.Fatal(err)
	}
	text := fmt.Sprintf(`{"defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_X86_64"],
		"syscalls": [{"names": %s, "action": "SCMP_ACT_ERRNO", "errnoRet": 1}]}`, names)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}
