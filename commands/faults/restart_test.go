//go:build faults

package faults

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// ask prints a field of a container's.
func (n *node) ask(format, name string) string {
	n.t.Helper()
	return n.must("inspect", "--format", format, name).Line()
}

// timers are the timer processes of a container's own pod.
func (n *node) timers(id string) []int { return processes("pod tend --locked " + id) }

// there tells whether a process, dead or alive, has not been reaped: its threads may
// hold its files until then.
func there(pid int) bool {
	_, err := os.Stat(fmt.Sprintf("/proc/%d", pid))
	return err == nil
}

// noTimer waits until a pod has no timer process.
func (n *node) noTimer(id string) {
	n.t.Helper()
	n.noProcess("pod tend --locked " + id)
}

// ward is a folder that a container has as /d: it writes down its starts there, and
// ends as it is told.
type ward struct {
	n   *node
	dir string
}

// lives is what such a container runs.
const lives = "cat /proc/uptime >>/d/starts; read code </d/go; exit $code"

func (n *node) ward(name string) *ward {
	n.t.Helper()
	w := &ward{n: n, dir: filepath.Join(n.Roots.Dir, "ward-"+name)}
	err := os.Mkdir(w.dir, 0o755)
	if err == nil {
		err = syscall.Mkfifo(filepath.Join(w.dir, "go"), 0o600)
	}
	if err != nil {
		n.t.Fatal(err)
	}
	return w
}

// args are those of a run of a container that lives with the ward.
func (w *ward) args(more ...string) []string {
	args := append([]string{"run", "--stop-signal", "KILL", "-v", w.dir + ":/d"}, more...)
	return append(args, w.n.image, "sh", "-c", lives)
}

// end has it exit. Its next start has begun when this returns for the next time.
func (w *ward) end(code int) {
	w.n.t.Helper()
	done := make(chan error, 1)
	go func() { done <- os.WriteFile(filepath.Join(w.dir, "go"), fmt.Appendln(nil, code), 0) }()
	select {
	case err := <-done:
		if err != nil {
			w.n.t.Fatal(err)
		}
	case <-time.After(20 * time.Second):
		w.n.t.Fatal("nobody reads for 20 s")
	}
}

// starts are the times of its starts, in seconds of the boot.
func (w *ward) starts() []float64 {
	data, _ := os.ReadFile(filepath.Join(w.dir, "starts"))
	var out []float64
	for line := range strings.Lines(string(data)) {
		s, err := strconv.ParseFloat(strings.Fields(line)[0], 64)
		if err != nil {
			w.n.t.Fatal(err)
		}
		out = append(out, s)
	}
	return out
}

// started waits for so many starts.
func (w *ward) started(many int) {
	w.n.t.Helper()
	w.n.eventually(fmt.Sprintf("start %d", many), func() bool { return len(w.starts()) >= many })
	if got := len(w.starts()); got != many {
		w.n.t.Errorf("%d starts, want %d", got, many)
	}
}

// A foreground run is killed: its container is started again as often as its policy
// says, by the same rules, and removed after its last end.
func TestF8RestartedWhenRunKilled(t *testing.T) {
	n := newNode(t, "")
	w := n.ward("rm")
	cmd := n.Command(t.Context(), w.args("--rm", "--name", "brief", "--restart", "on-failure:2")...)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	w.started(1)
	n.eventually("it runs", func() bool { return n.must("ps", "-q").Line() != "" })
	id := n.ask("{{.ID}}", "brief")
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	for i := range 3 {
		w.started(i + 1)
		if got := n.ask("{{.State.Status}}", "brief"); got != "running" {
			t.Errorf("after start %d it is %s", i+1, got)
		}
		n.check()
		w.end(3)
	}
	n.eventually("it is removed", func() bool { return n.must("ps", "-aq").Line() == "" })
	w.started(3)
	n.noTimer(id)
	n.empty()
}

// Nothing of davit's can run while a container ends, neither its exit command nor a
// timer process: the next davit that changes something has it started again.
func TestRestartUnseen(t *testing.T) {
	n := newNode(t, "")
	real, own := n.Bin, filepath.Join(n.Roots.Dir, "davit-own")
	if err := exec.Command("cp", real, own).Run(); err != nil { // the exit command's path is this one's
		t.Fatal(err)
	}
	n.Bin = own
	w := n.ward("unseen")
	n.must(w.args("-d", "--name", "web", "--restart", "always")...)
	w.started(1)
	monitor := n.ask("{{.State.ConmonPid}}", "web")
	if err := os.Rename(own, own+".away"); err != nil {
		t.Fatal(err)
	}
	w.end(5)
	n.eventually("its monitor is gone", func() bool { return !alive(monitor) })
	if err := os.Rename(own+".away", own); err != nil {
		t.Fatal(err)
	}
	if got := n.ask("{{.State.Status}} {{.State.ExitCode}} {{.RestartCount}}", "web"); got != "exited 5 0" {
		t.Errorf("before anybody has changed anything it is %q", got)
	}
	n.must("create", "--name", "other", n.image, "true")
	w.started(2)
	n.eventually("it runs", func() bool { return n.ask("{{.State.Status}} {{.RestartCount}}", "web") == "running 1" })
	n.empty()
	n.Bin = real
}

// The monitor is killed, and then the container ends: no exit command comes, nobody
// knows when it was. It is started again once davit changes something, and by its
// timer process where it has one.
func TestRestartWithoutAMonitor(t *testing.T) {
	n := newNode(t, "")
	w := n.ward("lost")
	n.must(w.args("-d", "--name", "web", "--restart", "always")...)
	checked := n.ward("checked")
	n.must(checked.args("-d", "--name", "checked", "--restart", "always", "--health-cmd", "true", "--health-interval", "1s")...)
	for i, ward := range []*ward{w, checked} {
		ward.started(1)
		name := []string{"web", "checked"}[i]
		_, monitor := n.pids(name)
		n.kill(strconv.Itoa(monitor))
		ward.end(5)
	}
	checked.started(2)
	n.eventually("it runs", func() bool { return n.ask("{{.State.Status}} {{.RestartCount}}", "checked") == "running 1" })
	n.must("rm", "--force", "--ignore", "nobody")
	w.started(2)
	n.eventually("it runs", func() bool { return n.ask("{{.State.Status}} {{.RestartCount}}", "web") == "running 1" })
	n.must("rm", "-f", "-t", "0", "web", "checked")
	n.empty()
}

// The timer process is killed at any moment: whoever comes next begins another, and
// no restart is lost.
func TestTimerKilled(t *testing.T) {
	n := newNode(t, "")
	w := n.ward("loop")
	n.must(w.args("-d", "--name", "loop", "--restart", "always")...)
	id := n.ask("{{.ID}}", "loop")
	for i := range 5 {
		w.started(i + 1)
		w.end(1)
		n.eventually("a timer process begins", func() bool { return len(n.timers(id)) > 0 || len(w.starts()) > i+1 })
		time.Sleep(time.Duration(i*25) * time.Millisecond) // ever later in its work
		for _, pid := range n.timers(id) {
			_ = syscall.Kill(pid, syscall.SIGKILL)
			n.eventually("it is gone", func() bool { return !there(pid) })
		}
		if len(w.starts()) == i+1 && i%2 == 1 { // an exit of another container's does as well
			n.must("run", "--rm", n.image, "true")
		} else {
			n.must("rm", "--force", "--ignore", "nobody")
		}
		// The wait grows with each restart that comes at once.
		n.eventually("it is started again", func() bool { return len(w.starts()) > i+1 })
	}
	n.check()
	n.must("rm", "-f", "-t", "0", "loop")
	n.noTimer(id)
	n.empty()
}

// The timer process is killed while it restarts what is unhealthy, which takes its
// time to stop: it is stopped and started by the next one.
func TestTimerKilledInARestart(t *testing.T) {
	n := newNode(t, "")
	n.must("run", "-d", "--name", "slow", "--stop-timeout", "2", "--health-cmd", "test ! -e /bad", "--health-interval", "200ms",
		"--health-retries", "1", "--health-on-failure", "restart", n.image,
		"sh", "-c", "rm -f /bad; trap '' TERM; while :; do sleep 0.1; done")
	id := n.ask("{{.ID}}", "slow")
	n.must("wait", "--condition", "healthy", "slow")
	n.must("exec", "slow", "touch", "/bad")
	n.must("wait", "--condition", "unhealthy", "slow")
	n.eventually("it is being stopped", func() bool {
		data, _ := os.ReadFile(filepath.Join(n.Roots.RunRoot, "containers", id, "op"))
		return strings.Contains(string(data), "stop")
	})
	timers := n.timers(id)
	if len(timers) != 1 {
		t.Fatalf("timer processes: %v", timers)
	}
	n.kill(strconv.Itoa(timers[0]))
	n.eventually("it is gone", func() bool { return !there(timers[0]) })
	n.must("rm", "--force", "--ignore", "nobody")
	n.eventually("it is started again", func() bool {
		return n.ask("{{.State.Status}} {{.RestartCount}} {{.State.Health.Status}}", "slow") == "running 1 healthy"
	})
	n.empty()
	n.noTimer(id)
}

// One process looks after a pod, however many are begun.
func TestOneTimer(t *testing.T) {
	n := newNode(t, "")
	n.must("pod", "create", "--name", "crew")
	for _, name := range []string{"a", "b"} {
		n.must("run", "-d", "--stop-signal", "KILL", "--pod", "crew", "--name", name, "--health-cmd", "true", "--health-interval", "100ms", n.image, "sleep", "1000")
	}
	pod := n.must("pod", "inspect", "--format", "{{.ID}}", "crew").Line()
	n.must("wait", "--condition", "healthy", "a", "b")
	before := n.timers(pod)
	if len(before) != 1 {
		t.Fatalf("timer processes: %v", before)
	}
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			if r, err := n.Run(t.Context(), "pod", "tend", pod); err != nil || r.Code != 0 {
				t.Errorf("%d, %v\n%s", r.Code, err, r.Stderr)
			}
		})
		all.Go(func() {
			if r, err := n.Run(t.Context(), "rm", "-f", "--ignore", "nobody"); err != nil || r.Code != 0 {
				t.Errorf("%d, %v\n%s", r.Code, err, r.Stderr)
			}
		})
	}
	all.Wait()
	if after := n.timers(pod); len(after) != 1 || after[0] != before[0] {
		t.Errorf("timer processes: %v, before: %v", after, before)
	}
	// Killed, there is one again, for both.
	n.kill(strconv.Itoa(before[0]))
	n.eventually("it is gone", func() bool { return !there(before[0]) })
	for range 4 {
		all.Go(func() {
			if r, err := n.Run(t.Context(), "rm", "-f", "--ignore", "nobody"); err != nil || r.Code != 0 {
				t.Errorf("%d, %v\n%s", r.Code, err, r.Stderr)
			}
		})
	}
	all.Wait()
	if after := n.timers(pod); len(after) != 1 {
		t.Errorf("timer processes: %v", after)
	}
	for _, name := range []string{"a", "b"} {
		last := "{{json .State.Health.Log}}"
		was := n.ask(last, name)
		n.eventually(name+" is checked", func() bool { return n.ask(last, name) != was })
	}
	n.check()
	n.must("pod", "stop", "-t", "0", "crew")
	n.noTimer(pod)
	n.empty()
}

// A container that ends at once is started again ever more slowly; a stop during
// the wait ends that, and a removal leaves nothing.
func TestCrashLoop(t *testing.T) {
	n := newNode(t, "")
	w := n.ward("crash")
	run := func(name string, w *ward) string {
		n.must("run", "-d", "--name", name, "-v", w.dir+":/d", "--restart", "always", n.image, "sh", "-c", "cat /proc/uptime >>/d/starts; exit 9")
		return n.ask("{{.ID}}", name)
	}
	id := run("crash", w)
	n.eventually("six starts", func() bool { return len(w.starts()) >= 6 })
	for i, at := range w.starts()[1:] {
		if gap, want := at-w.starts()[i], 0.1*float64(int(1)<<i); gap < want-0.02 {
			t.Errorf("start %d came after %.2f s, want %.2f s at least", i+2, gap, want)
		}
	}
	n.eventually("it waits", func() bool {
		return regexp.MustCompile(`^exited true [56]$`).MatchString(n.ask("{{.State.Status}} {{.State.Restarting}} {{.RestartCount}}", "crash"))
	})
	n.check() // that it waits is no finding
	n.within(5*time.Second, func() { n.must("stop", "crash") })
	if got := n.ask("{{.State.Status}} {{.State.Restarting}} {{.State.ExitCode}}", "crash"); got != "exited false 9" {
		t.Errorf("it is %q after its stop", got)
	}
	n.within(3*time.Second, func() { n.noTimer(id) })
	n.check()

	w = n.ward("removed")
	id = run("removed", w)
	n.eventually("six starts", func() bool { return len(w.starts()) >= 6 })
	n.eventually("it waits", func() bool { return n.ask("{{.State.Restarting}}", "removed") == "true" })
	n.must("rm", "-f", "removed")
	n.within(2*time.Second, func() { n.noTimer(id) })
	n.empty()
}

// After a reboot restarts and checks go on for what the boot starts; what waited to
// be started again, and is promised no start, has stopped.
func TestF33RestartsAndChecks(t *testing.T) {
	n := newNode(t, "")
	n.must("run", "-d", "--stop-signal", "KILL", "--name", "web", "--restart", "always", "--health-cmd", "true", "--health-interval", "100ms", n.image, "sleep", "1000")
	w := n.ward("job")
	n.must(w.args("-d", "--name", "job", "--restart", "unless-stopped")...)
	loop := n.ward("loop")
	id := n.must("run", "-d", "--name", "loop", "-v", loop.dir+":/d", "--restart", "on-failure", n.image, "sh", "-c", "cat /proc/uptime >>/d/starts; exit 9").Line()
	settled := func() bool { // what became of it is on record for after the reboot
		data, err := os.ReadFile(filepath.Join(n.Roots.Root, "containers", id, "exit.json"))
		return err == nil && strings.Contains(string(data), `"finishedAt"`)
	}
	n.must("wait", "--condition", "healthy", "web")
	n.eventually("it waits", func() bool {
		return len(loop.starts()) >= 5 && n.ask("{{.State.Restarting}}", "loop") == "true" && settled()
	})
	w.started(1)
	n.reboot(false)
	had := len(loop.starts())
	n.must(bootCommand(t)...)
	n.must("wait", "--condition", "healthy", "web")
	w.started(2)
	w.end(1)
	w.started(3)
	if got := n.ask("{{.State.Status}} {{.State.Restarting}} {{.State.ExitCode}}", "loop"); got != "exited false 9" || len(loop.starts()) != had {
		t.Errorf("loop is %q, with %d starts and %d before", got, len(loop.starts()), had)
	}
	n.empty()
}

// What is started again is what was started first: nothing of the monitor's or the
// timer process's comes through.
func TestRestartedAsFirst(t *testing.T) {
	n := newNode(t, "")
	w := n.ward("same")
	const look = "grep ^SigBlk /proc/self/status >>/d/blocked; { grep -E '^(SigIgn|Cap|Seccomp|NoNewPrivs|Cpus_allowed_list|Uid|Gid|Groups)' /proc/self/status; cat /proc/self/limits /proc/self/oom_score_adj; " +
		"umask; pwd; env; ls /proc/self/fd; } >/d/look.$(ls /d | wc -l); exit 1"
	n.must("run", "-d", "--name", "same", "-v", w.dir+":/d", "--restart", "on-failure:2", n.image, "sh", "-c", look)
	n.eventually("three starts", func() bool { return n.ask("{{.RestartCount}} {{.State.Status}}", "same") == "2 exited" })
	files, _ := filepath.Glob(filepath.Join(w.dir, "look.*"))
	if len(files) != 3 {
		t.Fatalf("%d starts", len(files))
	}
	blocked, _ := os.ReadFile(filepath.Join(w.dir, "blocked"))
	if got := strings.Fields(string(blocked)); len(got) != 6 || strings.Trim(got[3]+got[5], "0") != "" {
		t.Errorf("signals are blocked when it is started again: %q", got)
	}
	first, err := os.ReadFile(files[0])
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files[1:] {
		again, err := os.ReadFile(f)
		if err != nil || string(again) != string(first) {
			t.Errorf("%v; again:\n%s\nfirst:\n%s", err, again, first)
		}
	}
	n.empty()
}

// A check that prints without end costs no memory, and one that does not end ends
// with its time; a timer process that only checks is small.
func TestHealthCommandWithoutEnd(t *testing.T) {
	n := newNode(t, "")
	n.must("run", "-d", "--stop-signal", "KILL", "--name", "loud", "--health-cmd", "yes", "--health-timeout", "500ms", "--health-interval", "50ms", "--health-retries", "1", n.image, "sleep", "1000")
	id := n.ask("{{.ID}}", "loud")
	n.must("wait", "--condition", "unhealthy", "loud")
	if got := len(n.ask("{{(index .State.Health.Log 0).Output}}", "loud")); got < 20 || got > 600 {
		t.Errorf("%d bytes of output are on record", got)
	}
	timers := n.timers(id)
	if len(timers) != 1 {
		t.Fatalf("timer processes: %v", timers)
	}
	own, fds := memory(t, timers[0]), descriptors(t, timers[0])
	t.Logf("a timer process: %d KiB of its own, %d descriptors", own, fds)
	if own > 20<<10 || fds > 24 {
		t.Errorf("a timer process has %d KiB of its own and %d descriptors", own, fds)
	}
	n.within(5*time.Second, func() { n.must("stop", "loud") }) // a check is under way
	n.noTimer(id)
	n.noProcess("yes")
	n.empty()
}

// memory is what a process has for itself, beside the pages of its program.
func memory(t *testing.T, pid int) int {
	t.Helper()
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	m := regexp.MustCompile(`RssAnon:\s*(\d+) kB`).FindSubmatch(data)
	if err != nil || m == nil {
		t.Fatal(err, string(data))
	}
	kib, _ := strconv.Atoi(string(m[1]))
	return kib
}

func descriptors(t *testing.T, pid int) int {
	t.Helper()
	entries, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
	if err != nil {
		t.Fatal(err)
	}
	return len(entries)
}

// Restarts, stops and removals by many at a time: the last one to remove it finds
// nothing left.
func TestRestartsAtOnce(t *testing.T) {
	n := newNode(t, "")
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	for i := range 3 {
		name := fmt.Sprintf("busy%d", i)
		n.must("run", "-d", "--name", name, "--restart", "always", "--health-cmd", "false", "--health-interval", "50ms", "--health-retries", "1",
			"--health-on-failure", "restart", "--stop-signal", "KILL", n.image, "sh", "-c", "sleep 0.2")
		id := n.ask("{{.ID}}", name)
		var all sync.WaitGroup
		for _, args := range [][]string{{"restart", "-t", "0", name}, {"stop", "-t", "0", name}, {"start", name}, {"kill", name}, {"restart", "-t", "0", name}} {
			all.Go(func() {
				if _, err := n.Run(ctx, args...); err != nil {
					t.Error(err)
				}
			})
		}
		all.Wait()
		n.must("rm", "-f", "-t", "0", name)
		n.noTimer(id)
	}
	n.empty()
}
