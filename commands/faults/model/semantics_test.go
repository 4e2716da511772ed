//go:build faults || faultslong

package model

// This file says what operations do: all that the model knows.

// down gives back what a sandbox holds, and says whether that worked.
func (w *world) down(p *sandbox) bool {
	if p.state == ready {
		p.state = notReady
	}
	return p.back(w)
}

// bringUp makes a sandbox ready.
func (w *world) bringUp(p *sandbox) string {
	switch {
	case p.state == ready:
		return ok
	case p.state == removing, p.holds != nothing && p.refuses(w): // an earlier stop is to be finished first
		return anyFailure
	case p.net == modelnet && w.noAdd:
		if w.noDel {
			p.holds = owes
		}
		return anyFailure
	case p.net != "":
		p.holds = lease
	}
	p.state = ready
	return ok
}

// lower is down for a container's own sandbox.
func (w *world) lower(k *container) bool {
	if k.pod != "" {
		return true
	}
	k.up = false
	return k.back(w)
}

// drop removes a container with its own sandbox, whose lease stays if it must.
func (w *world) drop(name string) bool {
	k := w.ctrs[name]
	delete(w.ctrs, name)
	if !w.lower(k) {
		w.stuck += k.holds.leases()
		return false
	}
	return true
}

// end is the end of a container's process; it says whether all is given back.
func (w *world) end(name string, code int) bool {
	k := w.ctrs[name]
	k.state, k.code, k.pending = stopped, code, unknown
	if k.orphan {
		k.code = unknown
	}
	if k.remove {
		return w.drop(name)
	}
	return w.lower(k)
}

// start starts a container that is not alive.
func (w *world) start(name string) string {
	k := w.ctrs[name]
	if k.alive() {
		return precondition
	}
	p := w.pods[k.pod]
	own := p == nil
	if own {
		p = &sandbox{state: created, attached: k.attached}
		if k.up { // it is being restarted
			p.state = ready
		}
	}
	class := w.bringUp(p)
	if own {
		k.up, k.attached = p.state == ready, p.attached
	}
	switch {
	case k.what == "broken" && class == ok:
		class = program
	case k.what == "broken":
		class = anyFailure
	}
	if class != ok {
		if k.remove {
			w.drop(name)
		} else {
			w.lower(k)
		}
		return class
	}
	k.state, k.code, k.pending, k.orphan = running, 0, unknown, false
	if k.what == "quick" {
		w.end(name, 3)
	}
	return ok
}

// stopCode is the exit code of what is stopped, in time or at once.
func (k *container) stopCode(now bool) int {
	if now || k.what == "deaf" {
		return 137
	}
	return 5
}

// halt is stop without what becomes of the sandbox and of the container.
func (k *container) halt(now bool) {
	if !k.alive() {
		return
	}
	code := k.stopCode(now)
	if k.orphan {
		code = unknown
	}
	k.state, k.code, k.pending = stopped, code, unknown
}

// stop stops a container, and says whether all is given back.
func (w *world) stop(name string, now bool) string {
	k := w.ctrs[name]
	k.halt(now)
	given := true
	if k.remove {
		given = w.drop(name)
	} else {
		given = w.lower(k)
	}
	if !given {
		return anyFailure
	}
	return ok
}

// signal is what a signal does to a container that is alive.
func (w *world) signal(name, sig string) {
	k := w.ctrs[name]
	code := map[string]int{"KILL": 137, "TERM": 5, "USR1": 7, "USR2": 0}[sig]
	switch {
	case sig == "TERM" && k.what == "deaf":
	case k.state == paused && sig != "KILL":
		k.pending = code
	default:
		w.end(name, code)
	}
}

// stopPod stops a pod's containers at once, and gives back what it holds.
func (w *world) stopPod(name string) string {
	for _, n := range w.in(name) {
		w.stop(n, true)
	}
	if !w.down(w.pods[name]) {
		return anyFailure
	}
	return ok
}

// removePod removes a pod with its containers.
func (w *world) removePod(name string) string {
	p := w.pods[name]
	for _, n := range w.in(name) {
		delete(w.ctrs, n)
	}
	if !p.back(w) {
		p.state = removing
		return anyFailure
	}
	delete(w.pods, name)
	return ok
}

// startPod makes a pod ready and starts its containers.
func (w *world) startPod(name string) string {
	if class := w.bringUp(w.pods[name]); class != ok {
		return class
	}
	class := ok
	for _, n := range w.in(name) {
		if w.ctrs[n].alive() {
			continue
		}
		if w.start(n) != ok {
			class = anyFailure
		}
	}
	return class
}

// mend lets the network plugin work again, and what waited for that is done.
func (w *world) mend() {
	w.noAdd, w.noDel, w.stuck = false, false, 0
	for name, p := range w.pods {
		if p.state == removing {
			delete(w.pods, name)
		} else if p.holds.due() {
			p.holds = nothing
		}
	}
	for _, k := range w.ctrs {
		if k.holds.due() {
			k.holds = nothing
		}
	}
}

// reboot ends all processes, and what the run root held.
func (w *world) reboot() {
	for name, k := range w.ctrs {
		if k.remove {
			w.drop(name)
			continue
		}
		if k.alive() {
			k.state, k.code = stopped, unknown
		}
		k.up, k.holds, k.pending, k.orphan = false, nothing, unknown, false
	}
	for _, p := range w.pods {
		p.state, p.holds = notReady, nothing
	}
}
