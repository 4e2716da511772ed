//go:build faults || faultslong

package model

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/google/go-cmp/cmp"
)

// failure is a sequence that did not do as the model says.
type failure struct {
	at   int // the operation
	text string
}

// Error implements error.
func (f *failure) Error() string { return fmt.Sprintf("operation %d: %s", f.at+1, f.text) }

// run does a sequence on a machine that is empty, and leaves it so. The error is a
// *failure when the engine and the model do not agree.
func (r *rig) run(ops []op) error {
	w := newWorld()
	w.typed, r.killed, r.torn = r.typed != nil, false, false
	for i, o := range ops {
		r.blind = r.lastOnly && i < len(ops)-1
		next, err := r.step(w, o)
		var f *failure
		if errors.As(err, &f) {
			f.at, f.text = i, o.String()+"\n"+f.text
		}
		if err != nil {
			return err
		}
		w = next
	}
	r.blind = r.lastOnly
	if err := r.empty(w); err != nil {
		var f *failure
		if errors.As(err, &f) {
			f.at = len(ops)
		}
		return err
	}
	return nil
}

func failed(format string, args ...any) error { return &failure{text: fmt.Sprintf(format, args...)} }

// step does one operation, and compares.
func (r *rig) step(w *world, o op) (*world, error) {
	after := w.clone()
	want, possible := after.apply(o)
	if !possible {
		r.count["left out"]++
		return w, nil
	}
	r.count["operations"]++
	if w.noDel { // what is undone then is a matter of its own
		o.Kill = 0
	}
	if o.befalls() {
		if err := r.befall(o, w); err != nil {
			return nil, err
		}
		return after, r.compare(after, r.typed != nil) // a server's start clears up after it is there
	}
	p := &r.line
	if o.server() {
		p = &r.server
	}
	rest := func() error { return nil }
	if o.Exit && o.Kill != 0 {
		rest = r.withoutExit(o)
	}
	got, err := (*p).ask(o)
	err = errors.Join(err, rest())
	if errors.Is(err, errDied) && o.Kill != 0 {
		r.killed, r.torn = true, r.torn || slices.Contains([]string{"pull", "rmi", "image prune"}, o.Do)
		return r.settle(w, after, o, p)
	}
	if err != nil {
		return nil, failed("%v\n%s%s", err, r.words("line"), r.words("server"))
	}
	if o.Kill == 0 {
		r.count["answer: "+got.Class]++
	}
	if got.Class != want && (want != anyFailure || got.Class == ok || got.Class == "timeout") {
		return nil, failed("the answer is %q (%s), want %q", got.Class, got.Says, want)
	}
	return after, r.compare(after, o.ends() || o.Exit)
}

// withoutExit kills the exit commands that follow an operation, and returns what
// waits until they are over, and has the next command see to what is left.
func (r *rig) withoutExit(o op) (rest func() error) {
	stop := r.hunt(time.Duration(-o.Kill) * time.Microsecond)
	return func() error {
		err := r.quiet()
		n := stop()
		r.count["exit commands killed"] += n
		r.killed = r.killed || n > 0
		if err != nil {
			return failed("%v", err)
		}
		_, err = r.line.ask(op{Do: "sweep"})
		return errors.Join(err, r.quiet())
	}
}

// settle goes on after the process that did an operation was killed: what is left
// must be one of the worlds that are allowed.
func (r *rig) settle(before, after *world, o op, p *face) (*world, error) {
	if err := (*p).end(true); err != nil {
		return nil, err
	}
	*p = nil
	// Who reads now waits for nobody, and finds no damage.
	other := r.line
	if other == nil {
		other = r.server
	}
	if a, err := other.ask(op{Do: "dump"}); err != nil || a.Dump == nil {
		return nil, failed("reading what a killed process left: %v, %s", err, a.Says)
	}
	if err := r.quiet(); err != nil {
		return nil, failed("%v", err)
	}
	if err := r.startWorkers(); err != nil {
		return nil, failed("%v", err)
	}
	if a, err := r.line.ask(op{Do: "sweep"}); err != nil || a.Class != ok {
		return nil, failed("sweeping: %v, %s", err, a.Says)
	}
	if err := r.quiet(); err != nil { // what it has begun
		return nil, failed("%v", err)
	}
	// A server that starts clears up after it is there.
	return r.choose(append([]*world{before, after}, before.between(o)...), o.ends() || r.typed != nil)
}

// choose finds the world that the line's worker sees. slow says that it may take a
// moment.
func (r *rig) choose(allowed []*world, slow bool) (*world, error) {
	for deadline := time.Now().Add(5 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		var nearest error
		least := 1 << 30
		for i, w := range allowed {
			err := r.seen(w, r.line, true)
			if err == nil && r.typed != nil { // a container looks the same with a new monitor
				err = r.typed.check(w)
			}
			if err == nil {
				r.count["killed, "+[]string{"nothing done", "all done", "between"}[min(i, 2)]]++
				return w, r.compare(w, slow)
			}
			if n := strings.Count(err.Error(), "\n"); n < least {
				nearest, least = err, n
			}
		}
		if !slow || time.Now().After(deadline) {
			return nil, failed("none of %d worlds is what was left; the nearest:\n%v", len(allowed), nearest)
		}
	}
}

// befall has the machine suffer something.
func (r *rig) befall(o op, w *world) error {
	switch o.Do {
	case "reboot":
		if err := r.mend(); err != nil {
			return err
		}
		return r.reboot(!o.Force)
	case "restart server", "kill server":
		if err := r.server.end(o.Do == "kill server"); err != nil {
			return failed("the server ends by %v", err)
		}
		r.server = nil
		return r.startWorkers()
	case "no add", "no del":
		return r.fault(strings.Replace(o.Do, " ", "-", 1), true)
	case "mend":
		return r.mend()
	case "kill monitor":
		a, err := r.line.ask(op{Do: "dump"})
		if err != nil {
			return err
		}
		pid := a.Dump.Monitors[o.Name]
		if pid == 0 {
			return failed("there is no monitor of %s", o.Name)
		}
		return murder(pid)
	}
	return fmt.Errorf("no operation %q", o.Do)
}

// mend lets the network plugin work again; the next changing command does what
// could not be done.
func (r *rig) mend() error {
	if err := errors.Join(r.fault("no-add", false), r.fault("no-del", false)); err != nil {
		return err
	}
	_, err := r.line.ask(op{Do: "sweep"})
	return err
}

// compare holds what both workers see against the world; slow says that it may
// take a moment to become so.
func (r *rig) compare(w *world, slow bool) error {
	if r.blind {
		return r.quiet()
	}
	if err := r.quiet(); err != nil {
		return failed("%v", err)
	}
	patient := time.Now().Add(5 * time.Second)
	for {
		err := r.seen(w, r.line, true)
		if err == nil || !(slow || w.slow()) || time.Now().After(patient) {
			if err != nil {
				return err
			}
			break
		}
		time.Sleep(5 * time.Millisecond)
	}
	// The server is told by the kernel, when it gets to it.
	for {
		err := r.seen(w, r.server, false)
		if err == nil || time.Now().After(patient) {
			return err
		}
		time.Sleep(2 * time.Millisecond)
	}
}

// slow says whether something is settled only when the server notices: nobody
// runs an exit command for a container whose monitor was killed.
func (w *world) slow() bool {
	for _, k := range w.ctrs {
		if k.orphan {
			return true
		}
	}
	return false
}

// seen compares what one worker sees. Only what the disk says counts for leaks.
func (r *rig) seen(w *world, p face, disk bool) error {
	a, err := p.ask(op{Do: "dump"})
	if err != nil || a.Dump == nil {
		return failed("listing: %v, %s\n%s%s", err, a.Says, r.words("line"), r.words("server"))
	}
	got, want := a.Dump.Lines, w.lines()
	if disk {
		got = append(got, leaseLine(r.addresses()))
		slices.Sort(got)
		if !w.noDel && len(a.Dump.Held) > 0 {
			return failed("held without a reason:\n%s", strings.Join(a.Dump.Held, "\n"))
		}
		if r.typed != nil {
			got, want = append(got, a.Dump.Listed...), append(want, w.listed()...)
		}
	} else if r.typed != nil {
		want = w.kubelet()
	} else {
		want = slices.DeleteFunc(want, func(l string) bool { return strings.HasSuffix(l, " are out") })
	}
	if diff := cmp.Diff(strings.Join(want, "\n"), strings.Join(got, "\n")); diff != "" {
		return failed("what the %s sees (-want +got):\n%s", map[bool]string{true: "command line", false: "server"}[disk], diff)
	}
	return nil
}

// empty removes all there is, and looks for what is left.
func (r *rig) empty(w *world) error {
	steps := []op{{Do: "mend"}}
	for name, p := range w.pods {
		if p.kube {
			steps = append(steps, op{Do: "rmp", Name: name})
		} else {
			steps = append(steps, op{Do: "pod rm", Name: name, Force: true})
		}
	}
	for name, k := range w.ctrs {
		if k.pod == "" {
			steps = append(steps, op{Do: "rm", Name: name, Force: true})
		}
	}
	for _, o := range steps {
		next, err := r.step(w, o)
		if err != nil {
			var f *failure
			if errors.As(err, &f) {
				f.text = "emptying: " + o.String() + "\n" + f.text
			}
			return err
		}
		w = next
	}
	for _, name := range []string{"one", "two", "x"} {
		if _, err := r.line.ask(op{Do: "rmi", Image: name}); err != nil {
			return err
		}
	}
	if _, err := r.line.ask(op{Do: "image prune"}); err != nil {
		return err
	}
	r.blind = false
	if err := r.compare(newWorld(), false); err != nil {
		return err
	}
	var left []string
	if r.typed != nil {
		var err error
		if left, err = r.leftTyped(); err != nil {
			return err
		}
	}
	if left = append(left, r.left()...); len(left) > 0 {
		return failed("left behind:\n%s", strings.Join(left, "\n"))
	}
	return nil
}
