//go:build rootful

package commands_test

import (
	"math"
	"os/exec"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/davit-containers/davit/commands/harness"
)

// TestBudgets holds what the time of a run depends on and load does not: how
// many programs it executes, how often it syncs and how often it changes the firewall,
// exit command included, which is none: the run does all that itself. Its own start
// does not count, nor that a runtime executes a copy of itself.
func TestBudgets(t *testing.T) {
	davit, image := pulled(t)
	for _, network := range [][]string{{"--network", "none"}, {"--network", "host"}, nil, {"-p", "127.0.0.1:18961:80"}} {
		commits := 0
		if slices.Contains(network, "-p") {
			commits = 2 // the port comes and goes
		}
		for runtime, execs := range map[string]int{"runc": 5, "crun": 4} {
			t.Run(runtime+" "+strings.Join(network, " "), func(t *testing.T) {
				args := append([]string{"run", "--rm", "--runtime", runtime}, network...)
				// The first of a kind sets up what the network keeps.
				mustRun(t, davit, append(args, image, "true")...)
				calls, err := harness.Trace(t.Context(), davit.Command(t.Context(), append(args, image, "true")...))
				if err != nil {
					t.Fatal(err)
				}
				executed := slices.DeleteFunc(calls.Programs[1:], func(p string) bool { return p == harness.Copy })
				if n := len(executed); n != execs {
					t.Errorf("%d programs executed, want %d: %v", n, execs, executed)
				}
				if n := len(calls.Syncs); n > 6 {
					t.Errorf("%d syncs, 6 at most: %v", n, calls.Syncs)
				}
				if n := calls.Below(davit.Roots.Root, "storage"); n > 2 {
					t.Errorf("%d syncs on davit's records, 2 at most: %v", n, calls.Syncs)
				}
				if calls.Commits != commits {
					t.Errorf("%d transactions of nf_tables, want %d", calls.Commits, commits)
				}
			})
		}
	}
}

// TestTurns: a network of davit's own is joined while the runtime makes the process,
// which leaves processors idle, and not while those are needed for what comes before.
func TestTurns(t *testing.T) {
	davit, image := pulled(t)
	davit.Env = append(davit.Env, "DAVIT_TRACE=1")
	var stages []string
	for line := range strings.Lines(mustRun(t, davit, "run", "--rm", "-p", "127.0.0.1:18961:80", image, "true").Stderr) {
		if f := strings.Fields(line); len(f) > 2 {
			stages = append(stages, strings.Join(f[2:], " ")) // in the order of their beginnings
		}
	}
	order := []string{"spec write", "container start runtime", "network add davit", "container start start"}
	for i, s := range order[1:] {
		before, at := slices.Index(stages, order[i]), slices.Index(stages, s)
		if before < 0 || at < before {
			t.Errorf("%q does not come after %q: %q", s, order[i], stages)
		}
	}
}

// TestExecBudget: an exec runs the runtime, which runs itself, and the program, and
// syncs nothing.
func TestExecBudget(t *testing.T) {
	davit, image := pulled(t)
	for _, runtime := range []string{"runc", "crun"} {
		mustRun(t, davit, "run", "-d", "--runtime", runtime, "--network", "none", "--name", runtime, image, "sleep", "1000")
		calls, err := harness.Trace(t.Context(), davit.Command(t.Context(), "exec", runtime, "true"))
		if err != nil {
			t.Fatal(err)
		}
		executed := slices.DeleteFunc(calls.Programs[1:], func(p string) bool { return p == harness.Copy || p == "exe" })
		if want := []string{runtime, "true"}; !slices.Equal(executed, want) {
			t.Errorf("an exec by %s executes %v, want %v", runtime, executed, want)
		}
		if len(calls.Syncs) > 0 {
			t.Errorf("an exec by %s syncs %v", runtime, calls.Syncs)
		}
	}
	mustRun(t, davit, "rm", "-f", "-a", "-t", "0")
}

// TestInitialization holds what every start of davit pays before its first line:
// no package may take a millisecond to initialize, and all together no more than
// six. The best of several starts counts, since a busy machine only adds; what is
// allocated does not depend on it.
func TestInitialization(t *testing.T) {
	bin, err := harness.Binary(t.Context(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	line := regexp.MustCompile(`(?m)^init (\S+) @\S+ ms, (\S+) ms clock, (\d+) bytes, (\d+) allocs`)
	best := map[string]float64{}
	bytes, allocs := math.MaxInt, math.MaxInt
	for range 10 {
		cmd := exec.CommandContext(t.Context(), bin, "--version")
		cmd.Env = []string{"GODEBUG=inittrace=1"}
		r, err := harness.Capture(cmd)
		if err != nil || r.Code != 0 {
			t.Fatalf("davit --version: exit code %d, %v\n%s", r.Code, err, r.Stderr)
		}
		b, a := 0, 0
		for _, m := range line.FindAllStringSubmatch(r.Stderr, -1) {
			ms := number(t, m[2])
			if old, ok := best[m[1]]; !ok || ms < old {
				best[m[1]] = ms
			}
			b, a = b+int(number(t, m[3])), a+int(number(t, m[4]))
		}
		bytes, allocs = min(bytes, b), min(allocs, a)
	}
	if len(best) < 20 {
		t.Fatalf("only %d packages traced", len(best))
	}
	total := 0.0
	for name, ms := range best {
		total += ms
		if ms > 1 {
			t.Errorf("%s takes %.2f ms to initialize, 1 at most", name, ms)
		}
	}
	if total > 6 {
		t.Errorf("all packages take %.2f ms to initialize, 6 at most", total)
	}
	if bytes > 1900<<10 || allocs > 11500 {
		t.Errorf("all packages allocate %d bytes in %d pieces, %d in 11500 at most", bytes, allocs, 1900<<10)
	}
}

// TestStarts holds what commands that only look open, and what each container adds.
func TestStarts(t *testing.T) {
	davit, image := pulled(t)
	opened := func(args ...string) int {
		calls, err := harness.Trace(t.Context(), davit.Command(t.Context(), args...))
		if err != nil {
			t.Fatal(err)
		}
		for _, path := range calls.Opens {
			if strings.HasPrefix(path, davit.Roots.Dir+"/root/storage/") {
				t.Errorf("davit %s opens the layer store: %s", strings.Join(args, " "), path)
			}
		}
		if len(calls.Opens) == 0 {
			t.Errorf("davit %s opens nothing", strings.Join(args, " "))
		}
		return len(calls.Opens)
	}
	if n := opened("--version"); n > 12 {
		t.Errorf("davit --version opens %d files, 12 at most", n)
	}
	none := opened("ps", "-a")
	if none > 18 {
		t.Errorf("davit ps -a opens %d files where there is nothing, 18 at most", none)
	}
	const made = 10
	for range made {
		mustRun(t, davit, "create", "--network", "none", image, "true")
	}
	if n := opened("ps", "-a") - none; n > 4*made {
		t.Errorf("davit ps -a opens %d files for %d containers, 4 each at most", n, made)
	}
	if n := opened("inspect", mustRun(t, davit, "ps", "-alq").Line()); n > 24 {
		t.Errorf("davit inspect opens %d files, 24 at most, however many containers there are", n)
	}
	mustRun(t, davit, "rm", "-a")
}

func number(t *testing.T, text string) float64 {
	t.Helper()
	n, err := strconv.ParseFloat(text, 64)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// pulled is a davit with a busybox image, and that image's reference.
func pulled(t *testing.T) (harness.Davit, string) {
	t.Helper()
	registry := storyRegistry(t)
	davit := harness.TestDavit(t)
	if err := davit.Roots.TrustRegistry(registry.Addr); err != nil {
		t.Fatal(err)
	}
	image := registry.Ref("busybox:latest")
	mustRun(t, davit, "pull", "-q", image)
	return davit, image
}

func mustRun(t *testing.T, davit harness.Davit, args ...string) harness.Result {
	t.Helper()
	r, err := davit.Run(t.Context(), args...)
	if err != nil || r.Code != 0 {
		t.Fatalf("davit %s: exit code %d, %v\n%s", strings.Join(args, " "), r.Code, err, r.Stderr)
	}
	return r
}
