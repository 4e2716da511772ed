//go:build faults || faultslong

package model

import "slices"

// apply does an operation to the world and says which class of answer it has.
// possible is false for what the model has no answer to, which is left out.
func (w *world) apply(o op) (class string, possible bool) {
	switch o.Do {
	case "pull", "tag", "rmi", "image prune":
		return w.applyImage(o), true
	case "pod create", "pod start", "pod stop", "pod rm", "runp", "stopp", "rmp":
		return w.applyPod(o), true
	case "create", "run", "cri create":
		return w.applyCreate(o)
	case "no add":
		w.noAdd = true
	case "no del":
		w.noDel = true
	case "mend":
		w.mend()
	case "reboot":
		w.mend()
		w.reboot()
	case "restart server", "kill server":
	case "kill monitor":
		k := w.ctrs[o.Name]
		if k == nil || !k.alive() || k.remove {
			return ok, false
		}
		k.orphan = true
	default:
		if w.ctrs[o.Name] == nil {
			if w.typed && (o.Do == "cri stop" || o.Do == "cri rm" || o.Do == "rm" && o.Force) {
				return ok, true
			}
			return notFound, true
		}
		return w.applyContainer(o)
	}
	return ok, true
}

func (w *world) applyImage(o op) string {
	if o.Do == "image prune" {
		for image := range w.images {
			if len(w.namesOf(image)) == 0 && !w.used(image) {
				delete(w.images, image)
			}
		}
		return ok
	}
	if o.Do == "pull" {
		w.images[o.Image], w.names[o.Image] = true, o.Image
		return ok
	}
	image, there := w.names[o.Image]
	switch {
	case !there:
		return notFound
	case o.Do == "tag":
		w.names[o.To] = image
	case len(w.namesOf(image)) > 1:
		delete(w.names, o.Image)
	case w.used(image):
		return precondition
	default:
		delete(w.names, o.Image)
		delete(w.images, image)
	}
	return ok
}

func (w *world) applyPod(o op) string {
	p := w.pods[o.Name]
	switch {
	case o.Do == "pod create" && p != nil:
		return taken
	case o.Do == "pod create":
		w.pods[o.Name] = &sandbox{state: created, attached: attached{net: o.Net}}
		return ok
	case o.Do == "runp" && p == nil:
		p = &sandbox{kube: true, state: created, attached: attached{net: o.Net}}
		class := w.bringUp(p)
		if class == ok {
			w.pods[o.Name] = p
		} else if w.noDel { // it cannot be taken back yet
			w.pods[o.Name] = &sandbox{kube: true, state: removing}
		}
		return class
	case p == nil:
		if w.typed && (o.Do == "stopp" || o.Do == "rmp" || o.Do == "pod rm" && o.Force) {
			return ok
		}
		return notFound
	case p.state == removing:
		return anyFailure
	}
	switch o.Do {
	case "pod start":
		return w.startPod(o.Name)
	case "runp":
		return w.bringUp(p)
	case "pod stop", "stopp":
		return w.stopPod(o.Name)
	}
	if !o.Force && o.Do == "pod rm" {
		for _, n := range w.in(o.Name) {
			if w.ctrs[n].alive() {
				return precondition
			}
		}
	}
	return w.removePod(o.Name)
}

func (w *world) applyCreate(o op) (string, bool) {
	p := w.pods[o.Pod]
	image, there := w.names[o.Image]
	if o.Pod != "" && p == nil {
		return notFound, true
	}
	if p != nil && p.state == removing {
		return ok, false
	}
	k := &container{
		kube: p != nil && p.kube, remove: o.Remove, pod: o.Pod, image: image, what: o.What,
		state: created, pending: unknown, attached: attached{net: o.Net},
	}
	switch {
	case k.kube && p.state != ready:
		return precondition, true
	case k.kube && w.ctrs[o.Name] != nil:
		return ok, true
	case !there:
		if !w.typed { // a command looks for the image before it makes anything
			w.abandon(k, o)
		}
		return notFound, true
	case w.ctrs[o.Name] != nil:
		w.abandon(k, o)
		return taken, true
	case k.kube && o.What == "broken":
		return program, true
	}
	w.ctrs[o.Name] = k
	if o.Do == "run" {
		class := w.start(o.Name)
		if class != ok && w.typed && w.ctrs[o.Name] != nil { // it changes nothing then
			w.drop(o.Name)
		}
		return class, true
	}
	return ok, true
}

// abandon is what becomes of the sandbox that run makes beside a container which
// cannot be made.
func (w *world) abandon(k *container, o op) {
	if o.Do == "run" && k.pod == "" && k.refuses(w) && !w.noAdd {
		w.stuck++
	}
}

func (w *world) applyContainer(o op) (string, bool) {
	k := w.ctrs[o.Name]
	if p := w.pods[k.pod]; p != nil && p.state == removing {
		return ok, false
	}
	if k.what == "deaf" && !o.Force || k.pending != unknown && !o.Force {
		switch o.Do {
		case "stop", "restart", "cri stop":
			return ok, false // it would take its ten seconds, or be a matter of the signals' order
		}
	}
	switch o.Do {
	case "start":
		if w.typed && k.alive() {
			return ok, true
		}
		return w.start(o.Name), true
	case "cri start":
		if p := w.pods[k.pod]; k.state != created || p.state != ready {
			return precondition, true
		}
		return w.start(o.Name), true
	case "stop", "cri stop":
		return w.stop(o.Name, o.Force), true
	case "restart":
		k.halt(o.Force)
		return w.start(o.Name), true
	case "rm", "cri rm":
		return w.applyRemove(o), true
	case "rename":
		if o.To == o.Name {
			return ok, true
		}
		if w.ctrs[o.To] != nil {
			return taken, true
		}
		delete(w.ctrs, o.Name)
		w.ctrs[o.To] = k
		return ok, true
	}
	return w.applySignal(o)
}

func (w *world) applyRemove(o op) string {
	k := w.ctrs[o.Name]
	if w.typed && k.kube && !o.Force && o.Do == "rm" {
		return denied
	}
	if k.alive() && !o.Force && o.Do == "rm" {
		return precondition
	}
	if !w.drop(o.Name) {
		return anyFailure
	}
	return ok
}

func (w *world) applySignal(o op) (string, bool) {
	k := w.ctrs[o.Name]
	switch o.Do {
	case "pause":
		if k.state != running {
			return precondition, true
		}
		k.state = paused
	case "unpause":
		if k.state != paused {
			return precondition, true
		}
		k.state = running
		if code := k.pending; code != unknown {
			w.end(o.Name, code)
		}
	case "kill":
		if !k.alive() {
			return precondition, true
		}
		if k.pending != unknown && o.To != "KILL" {
			return ok, false
		}
		w.signal(o.Name, o.To)
	}
	return ok, true
}

// between lists the worlds that an operation may stop at when its process is
// killed, beside the one before and the one after.
func (w *world) between(o op) []*world {
	var out []*world
	with := func(change func(*world)) {
		c := w.clone()
		change(c)
		out = append(out, c)
	}
	k := w.ctrs[o.Name]
	switch o.Do {
	case "pull": // it is named once it is whole
		with(func(w *world) { w.images[o.Image] = true })
	case "run":
		if o := (op{Do: "create", Name: o.Name, Pod: o.Pod, Image: o.Image, What: o.What, Remove: o.Remove, Net: o.Net}); k == nil {
			with(func(w *world) { w.apply(o) })
			if o.Pod != "" {
				with(func(w *world) {
					w.apply(o)
					if p := w.pods[o.Pod]; p != nil {
						w.bringUp(p)
					}
				})
			}
			with(func(w *world) { w.apply(o); w.failStart(o.Name) })
		}
		if p := w.pods[o.Pod]; p != nil {
			with(func(w *world) { w.bringUp(w.pods[o.Pod]) })
		}
	case "start", "restart", "cri start":
		if k != nil {
			with(func(w *world) { w.ctrs[o.Name].halt(o.Force); w.lower(w.ctrs[o.Name]) })
			with(func(w *world) { w.ctrs[o.Name].halt(o.Force); w.failStart(o.Name) })
			if k.pod != "" {
				with(func(w *world) { w.bringUp(w.pods[k.pod]) })
				with(func(w *world) { w.ctrs[o.Name].halt(o.Force); w.bringUp(w.pods[k.pod]) })
				with(func(w *world) { w.failStart(o.Name); w.bringUp(w.pods[k.pod]) })
			}
		}
	case "rm", "cri rm":
		if k != nil && k.alive() && (o.Force || o.Do == "cri rm") {
			with(func(w *world) { w.stop(o.Name, true) })
		}
	case "pod stop", "stopp", "rmp", "pod start":
		out = append(out, w.betweenPod(o)...)
	}
	if slices.Contains([]string{"run", "start", "restart", "pod start"}, o.Do) {
		out = append(out, w.fallen(append([]*world{w}, out...))...)
	}
	return out
}

// fallen are those of some worlds in which a pod that never was ready before, and in
// which nothing runs, was so for a moment.
func (w *world) fallen(worlds []*world) []*world {
	var out []*world
	for _, v := range worlds {
		for name, p := range v.pods {
			runs := slices.ContainsFunc(v.in(name), func(k string) bool { return v.ctrs[k].alive() })
			if before := w.pods[name]; before == nil || before.state != created || p.state == notReady || runs {
				continue
			}
			c := v.clone()
			c.down(c.pods[name])
			c.pods[name].state = notReady
			out = append(out, c)
		}
	}
	return out
}

// failStart is what becomes of a container whose start was undone.
func (w *world) failStart(name string) {
	k := w.ctrs[name]
	if k == nil {
		return
	}
	if k.remove && !k.alive() {
		w.drop(name)
		return
	}
	if k.pod == "" && !k.alive() {
		w.lower(k)
	}
}

// betweenPod lists a pod with any of its containers done.
func (w *world) betweenPod(o op) []*world {
	if w.pods[o.Name] == nil {
		return nil
	}
	var out []*world
	names := w.in(o.Name)
	for done := range 1 << len(names) {
		for _, state := range []string{created, ready, notReady} {
			c := w.clone()
			p := c.pods[o.Name]
			if state == ready && p.state != ready {
				c.bringUp(p)
			}
			if state == notReady && p.state == ready {
				p.state = notReady
			}
			for i, n := range names {
				switch {
				case done&(1<<i) == 0:
				case o.Do == "pod start" && !c.ctrs[n].alive():
					c.start(n)
				case o.Do != "pod start":
					c.stop(n, true)
				}
			}
			out = append(out, c)
		}
	}
	return out
}
