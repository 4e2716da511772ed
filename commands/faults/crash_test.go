//go:build faults || faultslong

package faults

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/davit-containers/davit/commands/harness"
	"github.com/davit-containers/davit/ctr/record/failpoint"
)

// operation is something that a user or a kubelet asks for, and that is cut short
// at each of its points. All of them work on objects with fixed names, which are
// gone when clear has run.
type operation struct {
	name string // as package failpoint lists it
	// with are faults that the operation meets besides, so that it fails and is
	// undone; "" is none.
	with  string
	ready func(*rig) // makes what the operation works on
	do    func(*rig, harness.Davit) error
	// again does it anew when it was cut short, and makes sure that it is done;
	// nil is do, which succeeds.
	again func(*rig)
	clear func(*rig)
	// removes says that it takes containers or pods away.
	removes bool
}

// repeat does an operation anew that was cut short.
func (o operation) repeat(r *rig) {
	r.t.Helper()
	if o.again != nil {
		o.again(r)
	} else if err := o.do(r, r.Davit); err != nil {
		r.wrong("repeated: %v", err)
	}
}

// rig is a node on which operations are cut short, one after the other.
type rig struct {
	*node
	faulty  harness.Davit // the davit with failpoints
	scope   harness.Scope
	base    harness.Snapshot
	logs    int
	kubelet *node // whose test is the whole one
	// server is the last one that was started; nil before the first.
	server  *server
	serving bool
	pod     string // the kubelet's sandbox, and its container
	ctr     string
	// patience is how long a kubelet waits.
	patience time.Duration
	act      string // what has cut the operation short that is repeated
	done     string // what is listed when the operation has not been cut short
	wrongs   []string
	blamed   map[string]bool
}

func newRig(t *testing.T) *rig {
	t.Helper()
	return newRigWith(t, "")
}

// newRigWith is newRig where extra is appended to davit's configuration.
func newRigWith(t *testing.T, extra string) *rig {
	t.Helper()
	empty, err := harness.Take(t.Context(), harness.Scope{})
	if err != nil {
		t.Fatal(err)
	}
	r := &rig{node: newNode(t, extra), blamed: map[string]bool{}, patience: patience}
	if err := r.Roots.AddPodNetwork(77); err != nil {
		t.Fatal(err)
	}
	bin, err := harness.FaultsBinary(t.Context(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	r.faulty = r.Davit
	r.faulty.Bin = bin
	r.scope = harness.Scope{Roots: []harness.Roots{r.Roots}}
	of := *r.node
	r.kubelet = &of
	t.Cleanup(func() { _ = os.Remove(filepath.Join(r.Roots.RunRoot, "davit.sock")) }) // a killed server's
	// The first sandbox makes the bridge of pods, which stays.
	rpcs(runPodSandbox, clearKube)(r)
	r.unserve()
	if r.blame("the first sandbox") {
		t.FailNow()
	}
	r.eventually("nothing of the first container lives", func() bool {
		r.take()
		return r.base.Count(harness.Processes) <= empty.Count(harness.Processes)
	})
	return r
}

func (r *rig) take() {
	r.t.Helper()
	var err error
	if r.base, err = harness.Take(r.t.Context(), r.scope); err != nil {
		r.t.Fatal(err)
	}
}

// armed is the davit with failpoints, which meets the faults, and the file that
// its points are written to.
func (r *rig) armed(faults ...string) (d harness.Davit, log string) {
	r.logs++
	log = filepath.Join(r.Roots.Dir, fmt.Sprintf("points-%d", r.logs))
	d = r.faulty
	d.Env = append(slices.Clone(d.Env), "DAVIT_FAILPOINT_LOG="+log,
		"DAVIT_FAILPOINT="+strings.Join(slices.DeleteFunc(faults, func(s string) bool { return s == "" }), ","))
	return d, log
}

// reached reads the points of a log, each with its number: name#n.
func (r *rig) reached(log string) []string {
	r.t.Helper()
	data, err := os.ReadFile(log)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		r.t.Fatal(err)
	}
	times := map[string]int{}
	var out []string
	for line := range strings.Lines(string(data)) {
		name, _, _ := strings.Cut(line, " ")
		times[name]++
		out = append(out, fmt.Sprintf("%s#%d", name, times[name]))
	}
	return out
}

// names are the points without their numbers, each once, sorted.
func names(points []string) []string {
	var out []string
	for _, p := range points {
		name, _, _ := strings.Cut(p, "#")
		out = append(out, name)
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// listed are the points that the list has for an operation, sorted.
func listed(operation string) []string {
	var out []string
	for _, p := range failpoint.All() {
		if slices.Contains(p.Operations, operation) {
			out = append(out, p.Name)
		}
	}
	slices.Sort(out)
	return out
}

// undisturbed runs an operation to its end and returns its points.
func (r *rig) undisturbed(o operation) []string {
	r.t.Helper()
	o.ready(r)
	r.unserve()
	d, log := r.armed(o.with)
	if err := o.do(r, d); (err != nil) != (o.with != "") {
		r.t.Fatalf("undisturbed: %v", err)
	}
	r.unserve()
	r.done = r.listed(o)
	r.agrees()
	r.quiet(o)
	r.blame("undisturbed")
	points := r.reached(log)
	if at, _, ok := strings.Cut(o.with, "="); ok { // what comes before is another operation's
		if !strings.Contains(at, "#") {
			at += "#1"
		}
		points = points[slices.Index(points, at)+1:]
	}
	return points
}

// points are an operation's, which are those of the list, no more and no fewer.
// Which of two processes does something, the operation or what follows the end of
// a container, may differ from one time to the next: the list is wrong when it
// has what is never passed, or lacks what is passed each time.
func (r *rig) points(o operation) []string {
	r.t.Helper()
	points := r.undisturbed(o)
	missing, fresh := compared(names(points), listed(o.name))
	for range 3 {
		if len(missing)+len(fresh) == 0 {
			break
		}
		m, f := compared(names(r.undisturbed(o)), listed(o.name))
		missing = slices.DeleteFunc(missing, func(s string) bool { return !slices.Contains(m, s) })
		fresh = slices.DeleteFunc(fresh, func(s string) bool { return !slices.Contains(f, s) })
	}
	if len(missing)+len(fresh) > 0 {
		r.t.Errorf("the list of package failpoint has for %q, and it does not pass: %q\nit passes, and the list does not have for it: %q", o.name, missing, fresh)
	}
	return points
}

// compared are what is wanted and not there, and what is there and not wanted.
func compared(got, want []string) (missing, fresh []string) {
	missing = slices.DeleteFunc(slices.Clone(want), func(s string) bool { return slices.Contains(got, s) })
	fresh = slices.DeleteFunc(slices.Clone(got), func(s string) bool { return slices.Contains(want, s) })
	return missing, fresh
}

// cut cuts an operation short at a point, and repeats it. It says whether the
// point was reached.
func (r *rig) cut(o operation, point, act string) bool {
	r.t.Helper()
	o.ready(r)
	r.unserve()
	before := r.listed(o)
	d, log := r.armed(o.with, point+"="+act)
	r.act = act
	if act == hang {
		d.Env = append(d.Env, "DAVIT_FAILPOINT_DEADLINE=1s")
		r.patience = hangPatience
	}
	began := time.Now()
	err := o.do(r, d)
	if took := time.Since(began); took > r.patience && act != hang {
		r.wrong("it waits for itself: given up after %s", took)
	}
	r.patience = patience
	r.unserve()
	if act == kill && (o.removes || r.logs%2 == 0) {
		r.half(o, before)
	}
	o.repeat(r)
	r.agrees()
	r.quiet(o)
	if r.blame(act + " at " + point) {
		r.t.Logf("it said: %v", err)
	}
	return slices.Contains(r.reached(log), point)
}

// half notes what is neither there nor gone once another davit has settled what the
// one that was killed left, before anybody repeats that. An exit command may be at work
// for a moment longer. Of what a removal takes, all is there or nothing.
func (r *rig) half(o operation, before string) {
	r.t.Helper()
	sound(sweep)(r)
	for _, list := range []string{"ps", "pod ps"} {
		states := ""
		for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(50 * time.Millisecond) {
			states = r.try(append(strings.Fields(list), "-a", "--format", "{{.Status}}")...).Stdout
			if !containsAny(states, "Creating|Removing") {
				break
			}
			if time.Now().After(deadline) {
				r.wrong("nobody repeats it, and %s says %q", list, states)
				break
			}
		}
	}
	if now := r.listed(o); now != before && now != r.done {
		r.wrong("nobody repeats it, and of the %s containers and pods there are %s, not %s", before, now, r.done)
	}
}

// listed is how many containers and pods there are, where an operation removes some.
func (r *rig) listed(o operation) string {
	r.t.Helper()
	if !o.removes {
		return ""
	}
	return fmt.Sprintf("%d and %d", strings.Count(r.must("ps", "-aq").Stdout, "\n"), strings.Count(r.must("pod", "ps", "-aq").Stdout, "\n"))
}

// agrees notes what davit itself finds wrong, once it has swept what the dead
// have left.
func (r *rig) agrees() {
	r.t.Helper()
	before := len(r.wrongs)
	if sound(sweep, "system check")(r); len(r.wrongs) > before {
		sound("system check --repair")(r) // the next one is not to blame
	}
}

// quiet clears up and looks for what is left.
func (r *rig) quiet(o operation) {
	r.t.Helper()
	o.clear(r)
	r.unserve()
	sound("system check")(r)
	diff, err := harness.Settle(r.t.Context(), r.base, r.scope, 10*time.Second)
	if err != nil {
		r.t.Fatal(err)
	}
	if left := r.left(); !diff.Empty() || left != "" {
		r.wrong("left behind:\n%s%s", diff, left)
		r.take() // the next one is not to blame
	}
}

// wrong notes what is not as it should be.
func (r *rig) wrong(format string, args ...any) {
	r.wrongs = append(r.wrongs, fmt.Sprintf(format, args...))
}

// blame fails the test with what was noted, if anything was.
func (r *rig) blame(what string) bool {
	r.t.Helper()
	bad := len(r.wrongs) > 0
	if bad {
		r.t.Errorf("%s: %s", what, strings.Join(r.wrongs, "\n"))
	}
	r.wrongs = nil
	return bad
}

// left lists what snapshots do not show: folders of objects, and volumes.
func (r *rig) left() string {
	var b strings.Builder
	for _, pattern := range []string{
		filepath.Join(r.Roots.Root, "pods", "*"), filepath.Join(r.Roots.Root, "containers", "*"), filepath.Join(r.Roots.Root, "volumes", "*"),
		filepath.Join(r.Roots.RunRoot, "pods", "*"), filepath.Join(r.Roots.RunRoot, "containers", "*"),
		filepath.Join(r.Roots.RunRoot, "networks", "attached", "*"),
		filepath.Join(r.Roots.Root, "storage", "overlay", "compat*"), filepath.Join(r.Roots.Root, "storage", "overlay", "*-check*"),
	} {
		found, _ := filepath.Glob(pattern)
		for _, f := range found {
			if !r.blamed[f] {
				fmt.Fprintf(&b, "left: %s\n", f)
				r.blamed[f] = true // once
			}
		}
	}
	return b.String()
}

// cli is an operation of the command line. One that takes too long is asked to
// end.
func cli(args ...string) func(*rig, harness.Davit) error {
	return func(r *rig, d harness.Davit) error {
		ctx, cancel := context.WithTimeout(r.t.Context(), r.patience)
		defer cancel()
		run := make([]string, len(args))
		for i, a := range args {
			run[i] = strings.ReplaceAll(a, "IMAGE", r.image)
		}
		cmd := d.Command(ctx, run...)
		cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
		cmd.WaitDelay = 20 * time.Second
		res, err := harness.Capture(cmd)
		if errors.Is(err, exec.ErrWaitDelay) {
			r.wrong("davit %s does not end when it is asked to", strings.Join(run, " "))
		}
		if err == nil && res.Code != 0 {
			err = fmt.Errorf("davit %s: exit code %d: %s%s", strings.Join(run, " "), res.Code, res.Stdout, res.Stderr)
		}
		return err
	}
}

// sound runs commands of the command line, all of which succeed.
func sound(commands ...string) func(*rig) {
	return func(r *rig) {
		r.t.Helper()
		for _, c := range commands {
			if err := cli(strings.Fields(c)...)(r, r.Davit); err != nil {
				r.wrong("%v", err)
			}
		}
	}
}

// What happens at a point.
const (
	kill = "kill"
	fail = "error"
	hang = "hang"
)

// How long an operation may take until it is given up: as a rule, and where it
// hangs at a point.
const (
	patience     = time.Minute
	hangPatience = 3 * time.Second
)

// cutAt is the test of one operation: it is cut short at each of these points.
func (r *rig) cutAt(t *testing.T, o operation, act string, points []string) {
	t.Helper()
	missed := 0
	for _, p := range points {
		if !r.cut(o, p, act) {
			missed++
		}
	}
	t.Logf("%s: %d points, %d of them not reached the second time", act, len(points), missed)
}

// on runs the test of an operation as a test of its own.
func (r *rig) on(o operation, test func(*testing.T)) {
	whole := r.t
	whole.Run(o.name, func(t *testing.T) {
		r.t = t
		r.node.t = t
		defer func() { r.t, r.node.t = whole, whole }()
		test(t)
	})
}

// once are the points of a list, each name the first time only.
func once(points []string) []string {
	return slices.DeleteFunc(slices.Clone(points), func(p string) bool { return !strings.HasSuffix(p, "#1") })
}

// everyNth are every nth of the points.
func everyNth(points []string, n, from int) []string {
	var out []string
	for i := from; i < len(points); i += n {
		out = append(out, points[i])
	}
	return out
}
