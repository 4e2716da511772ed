package commands_test

import (
	"fmt"
	"go/ast"
	"go/build/constraint"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// faultRow is a row of the fault matrix.
type faultRow struct {
	fault string
	needs string // beyond root: how it is injected
}

// faultRows is the matrix. A row F17 is kept true by the tests named TestF17….
func faultRows() []faultRow {
	return []faultRow{
		{"SIGKILL at each step of a sandbox's run", "failpoints, strace"},
		{"SIGKILL at each step of a container's create and start", "failpoints, strace"},
		{"SIGKILL at each step of stop and remove", "failpoints, strace"},
		{"SIGKILL during a pull and an image's removal", "failpoints, strace"},
		{"server killed and started with live pods", ""},
		{"container exits while nothing of davit runs", ""},
		{"command line, command line and server on one container", ""},
		{"foreground `run` killed", ""},
		{"monitor killed", ""},
		{"monitor stopped", ""},
		{"monitor and server killed, then the container dies", ""},
		{"runtime missing, not executable, garbage", "wrapper script"},
		{"runtime's create, start, kill, delete hangs", "wrapper script"},
		{"runtime works, then exits 1; killed at any system call", "wrapper script, ptrace"},
		{"runtime's answers are garbage, pid 0, a pid used again", "wrapper script"},
		{"stop of a frozen container", "freezer"},
		{"CNI ADD fails at plugin k of n", "wrapper plugin"},
		{"CNI ADD, DEL hangs", "wrapper plugin"},
		{"CNI plugin prints nothing, garbage, 100 MB", "wrapper plugin"},
		{"CNI DEL fails n times", "wrapper plugin"},
		{"pinned namespace unmounted or deleted behind davit's back", ""},
		{"CNI configuration changed between ADD and DEL", "wrapper plugin"},
		{"address range full", ""},
		{"layer store full during a pull", "tmpfs"},
		{"inodes out", "tmpfs"},
		{"state folder, run root full", "tmpfs"},
		{"log folder full", "tmpfs"},
		{"state or layer store read-only", "loop device"},
		{"fsync fails", "strace"},
		{"power loss in a pull", "loop device"},
		{"power loss in a record's write", "loop device"},
		{"layer removed, bit flipped, link dangling", ""},
		{"reboot", ""},
		{"state of an older release, of a newer one", "fixtures"},
		{"clock set by an hour, to 1970", "a clock of the test's"},
		{"inotify exhausted", ""},
		{"file descriptors out", "prlimit"},
		{"PIDs out", "pids cgroup"},
		{"container or pod out of memory", "memory cgroup"},
		{"server out of memory", "memory cgroup"},
		{"memory limit below what the runtime needs", ""},
		{"200 MB line, NULs, bad UTF-8, rotation under load", ""},
		{"200 parallel execs, exec at a container's death, ExecSync timeout", ""},
		{"attach client that never reads, that half-closes", ""},
		{"registry slow, stalled", "proxy"},
		{"blob truncated, flipped; 401 403 429 500; redirect loop", "proxy"},
		{"image removed while pulled, while used", ""},
		{"lock holder killed, stopped", ""},
		{"busy unmount", ""},
		{"TERM ignored, children in a shared PID namespace", ""},
	}
}

// targetsOf are the make targets that run the tests of a file, told by its build
// tags.
func targetsOf(f *ast.File) ([]string, error) {
	for _, group := range f.Comments {
		if group.Pos() > f.Package {
			break
		}
		for _, c := range group.List {
			if !constraint.IsGoBuild(c.Text) {
				continue
			}
			x, err := constraint.Parse(c.Text)
			if err != nil {
				return nil, err
			}
			var out []string
			for _, target := range [][2]string{{"rootful", "test-root"}, {"faults", "test-faults"}, {"faultslong", "test-faults-long"}} {
				if x.Eval(func(t string) bool { return t == target[0] || t == "linux" || t == "amd64" }) {
					out = append(out, target[1])
				}
			}
			return out, nil
		}
	}
	return []string{"test-unit"}, nil
}

// rowTargets are the make targets that test each row: for 17, those of TestF17….
func rowTargets(t *testing.T) map[string][]string {
	t.Helper()
	tree, err := readTree(os.DirFS(".."))
	if err != nil {
		t.Fatal(err)
	}
	named := regexp.MustCompile(`^Test(F\d+)(\D|$)`)
	found := map[string]map[string]bool{}
	for _, f := range tree.files {
		run, err := targetsOf(f.ast)
		if err != nil {
			t.Fatalf("%s: %v", f.path, err)
		}
		for _, fn := range f.functions() {
			if m := named.FindStringSubmatch(fn.Name.Name); f.test && m != nil {
				if found[m[1]] == nil {
					found[m[1]] = map[string]bool{}
				}
				for _, target := range run {
					found[m[1]][target] = true
				}
			}
		}
	}
	out := map[string][]string{}
	for row, targets := range found {
		out[row] = slices.Sorted(maps.Keys(targets))
	}
	return out
}

// TestReadmeNamesFaults holds README's table of the fault matrix to the tests
// that there are: every row has one, and the table says what runs it.
func TestReadmeNamesFaults(t *testing.T) {
	targets := rowTargets(t)
	var want strings.Builder
	fmt.Fprint(&want, "| row | fault | injected by | tested by |\n|---|---|---|---|\n")
	rows := faultRows()
	for i, r := range rows {
		name := fmt.Sprintf("F%d", i+1)
		if len(targets[name]) == 0 {
			t.Errorf("no test of row %s, %s", name, r.fault)
		}
		fmt.Fprintf(&want, "| %s | %s | %s | %s |\n", name, r.fault, r.needs, strings.Join(targets[name], ", "))
		delete(targets, name)
	}
	for name := range targets {
		t.Errorf("tests of a row %s that the matrix has not", name)
	}
	readme, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(readme), want.String()) {
		t.Errorf("README's table of faults is not what the tests are; it should be:\n%s", want.String())
	}
}
