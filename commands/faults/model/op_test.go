//go:build faults || faultslong

package model

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
)

// op is one operation. It names things by names that may be anything's or
// nothing's, so that a sequence makes sense whatever is left out of it.
type op struct {
	Do string `json:"do"`
	// Name is what it is done to; Pod a pod that it is done in, Image the image
	// that it needs, What a container's behaviour, Net the network that it is to be
	// on, To a new name or a signal.
	Name   string `json:"name,omitempty"`
	Pod    string `json:"pod,omitempty"`
	Image  string `json:"image,omitempty"`
	What   string `json:"what,omitempty"`
	To     string `json:"to,omitempty"`
	Remove bool   `json:"remove,omitempty"`
	Net    string `json:"net,omitempty"`
	// Publish publishes a port.
	Publish bool `json:"publish,omitempty"`
	// Force is --force, and of a stop -t 0.
	Force bool `json:"force,omitempty"`
	// Kill is the step at which its process is killed; 0 lets it live. A
	// negative one is a number of microseconds.
	Kill int `json:"kill,omitempty"`
	// Late is what is slow with each of its steps, "pod" or "container".
	Late string `json:"late,omitempty"`
	// Exit says that it is the exit command that follows which is killed.
	Exit bool `json:"exit,omitempty"`
}

// String is the operation as commands to type.
func (o op) String() string {
	text := o.command()
	if o.Late != "" {
		text += "  # what is done to the " + o.Late + " takes long"
	}
	switch {
	case o.Kill > 0:
		text = fmt.Sprintf("%-60s # killed at step %d", text, o.Kill)
	case o.Kill < 0 && o.Exit:
		text = fmt.Sprintf("%-60s # the exit command killed after %d µs", text, -o.Kill)
	case o.Kill < 0:
		text = fmt.Sprintf("%-60s # killed after %d µs", text, -o.Kill)
	}
	return text
}

func (o op) command() string {
	words := []string{"davit"}
	flag := func(given bool, f ...string) {
		if given {
			words = append(words, f...)
		}
	}
	network := cmp.Or(o.Net, "none")
	switch o.Do {
	case "pod create":
		words = append(words, "pod", "create", "--name", o.Name, "--network", network)
		flag(o.Publish, "-p", "80")
	case "pod start", "pod rm":
		words = append(words, "pod", strings.Fields(o.Do)[1])
		flag(o.Force && o.Do == "pod rm", "--force", "-t", "0")
		words = append(words, o.Name)
	case "pod stop":
		words = append(words, "pod", "stop", "-t", "0", o.Name)
	case "create", "run":
		words = append(words, o.Do)
		flag(o.Do == "run", "-d")
		flag(o.Remove, "--rm")
		flag(o.Pod != "", "--pod", o.Pod)
		flag(o.Pod == "", "--network", network)
		flag(o.Pod == "" && o.Publish, "-p", "80")
		words = append(words, "--pull", "never", "--name", o.Name, o.Image, cmdline(o.What))
	case "stop", "restart":
		words = append(words, o.Do)
		flag(o.Force, "-t", "0")
		words = append(words, o.Name)
	case "rm":
		words = append(words, o.Do)
		flag(o.Force, "--force", "-t", "0")
		words = append(words, o.Name)
	case "rmi":
		words = append(words, o.Do, o.Image)
	case "kill":
		words = append(words, "kill", "-s", o.To)
		flag(kubes(o.Name), "--force")
		words = append(words, o.Name)
	case "rename":
		words = append(words, "rename", o.Name, o.To)
	case "tag":
		words = append(words, "tag", o.Image, o.To)
	case "pull":
		words = append(words, "pull", o.Image)
	case "start", "pause", "unpause":
		words = append(words, o.Do)
		flag(kubes(o.Name), "--force")
		words = append(words, o.Name)
	case "image prune":
		words = append(words, "image", "prune", "--force")
	default:
		return o.other()
	}
	return strings.Join(words, " ")
}

// kubes says whether a name is that of something of a kubelet's.
func kubes(name string) bool { return strings.HasPrefix(name, "k8s_") }

// other is what the command line has no command for.
func (o op) other() string {
	switch o.Do {
	case "runp":
		return "crictl runp " + o.Name + ".json"
	case "stopp", "rmp":
		return "crictl " + o.Do + " " + o.Name
	case "cri create":
		return fmt.Sprintf("crictl create %s %s.json  # %s, %s", o.Pod, o.Name, o.Image, cmdline(o.What))
	case "cri start", "cri rm":
		return "crictl " + strings.Fields(o.Do)[1] + " " + o.Name
	case "cri stop":
		if o.Force {
			return "crictl stop -t 0 " + o.Name
		}
		return "crictl stop " + o.Name
	}
	if o.Do == "reboot" && o.Force {
		return "# reboot, the run root gone"
	}
	return "# " + strings.TrimSpace(o.Do+" "+o.Name)
}

func cmdline(what string) string {
	if what == "broken" {
		return "/nosuch trap"
	}
	return "/model " + what
}

// server says whether the server does it.
func (o op) server() bool {
	return strings.HasPrefix(o.Do, "cri ") || strings.HasSuffix(o.Do, "p") && (o.Do == "runp" || o.Do == "stopp" || o.Do == "rmp")
}

// befalls says whether it is the machine that it befalls: no process does it.
func (o op) befalls() bool {
	return slices.Contains([]string{"reboot", "restart server", "kill server", "no add", "no del", "mend", "kill monitor"}, o.Do)
}

// ends says whether a process may end by itself a moment after the operation.
func (o op) ends() bool {
	return slices.Contains([]string{"kill", "unpause", "run", "start", "restart", "pod start", "cri start"}, o.Do)
}

// chooser makes operations at random. It knows the world that they lead to, so that
// most of them have something to do.
type chooser struct {
	*rand.Rand
	w *world
}

func (c chooser) one(of ...string) string { return of[c.IntN(len(of))] }

// there chooses a name that is there, or is not, most of the time.
func (c chooser) there(want bool, is func(string) bool, of ...string) string {
	some := slices.DeleteFunc(slices.Clone(of), func(name string) bool { return is(name) != want })
	if len(some) > 0 && c.IntN(6) > 0 {
		return c.one(some...)
	}
	return c.one(of...)
}

func (w *world) hasPod(name string) bool       { return w.pods[name] != nil }
func (w *world) hasContainer(name string) bool { return w.ctrs[name] != nil }
func (w *world) hasImage(name string) bool     { return w.names[name] != "" }

// weights say how often each operation is chosen.
func weights() map[string]int {
	return map[string]int{
		"pod create": 4, "pod start": 3, "pod stop": 3, "pod rm": 3,
		"create": 6, "run": 12, "start": 6, "stop": 5, "restart": 4, "rm": 6, "rename": 3, "pause": 3, "unpause": 3, "kill": 8,
		"pull": 5, "tag": 3, "rmi": 3, "image prune": 1,
		"runp": 4, "stopp": 2, "rmp": 2, "cri create": 6, "cri start": 5, "cri stop": 2, "cri rm": 3,
		"reboot": 1, "restart server": 1, "kill server": 1, "no add": 1, "no del": 1, "mend": 2, "kill monitor": 2,
	}
}

// killSteps is the last step at which a process may be killed.
const killSteps = 14

// op makes one operation.
func (c chooser) op() op {
	o := op{Do: c.verb()}
	clis, kubes := []string{"web", "job", "sql"}, []string{kubeName("s", "x"), kubeName("s", "y"), kubeName("t", "x")}
	pods, sandboxes, images := []string{"shop", "lab"}, []string{podName("s"), podName("t")}, []string{"one", "two", "x"}
	switch o.Do {
	case "pod create", "pod start", "pod stop", "pod rm":
		o.Name, o.Force, o.Net = c.there(o.Do != "pod create", c.w.hasPod, pods...), c.IntN(2) == 0, c.one("", modelnet)
	case "create", "run":
		o.Name, o.Image, o.What = c.there(false, c.w.hasContainer, clis...), c.there(true, c.w.hasImage, images...), c.what()
		o.Pod, o.Remove, o.Net = c.one("", c.there(true, c.w.hasPod, pods...)), c.IntN(3) == 0, c.one("", modelnet)
	case "rename":
		o.Name, o.To = c.there(true, c.w.hasContainer, clis...), c.there(false, c.w.hasContainer, clis...)
	case "kill", "pause", "unpause", "rm", "kill monitor":
		o.Name, o.Force = c.there(true, c.w.hasContainer, append(kubes, clis...)...), c.IntN(2) == 0
		o.To = c.one("KILL", "TERM", "USR1", "USR2")
	case "start", "stop", "restart":
		o.Name, o.Force = c.there(true, c.w.hasContainer, clis...), c.IntN(2) == 0
	case "pull":
		o.Image = c.there(false, c.w.hasImage, "one", "two")
	case "tag":
		o.Image, o.To = c.there(true, c.w.hasImage, images...), c.one(images...)
	case "rmi":
		o.Image = c.there(true, c.w.hasImage, images...)
	case "runp", "stopp", "rmp":
		o.Name, o.Net = c.there(o.Do != "runp", c.w.hasPod, sandboxes...), modelnet
	case "cri create":
		o.Pod, o.Image, o.What = c.there(true, c.w.hasPod, sandboxes...), c.there(true, c.w.hasImage, "one", "two"), c.what()
		o.Name = kubeName(strings.Split(o.Pod, "_")[1], c.one("x", "y"))
	case "cri start", "cri stop", "cri rm":
		o.Name, o.Force = c.there(true, c.w.hasContainer, kubes...), c.IntN(2) == 0
	}
	switch {
	case c.w.typed:
		return c.whenTyped(o)
	case !o.befalls() && c.IntN(6) == 0:
		o.Kill = 1 + c.IntN(1+c.IntN(killSteps))
	}
	return o
}

// whenTyped is an operation with what only real programs have, and what befalls them.
func (c chooser) whenTyped(o op) op {
	if o.Net != "" && o.Do != "runp" {
		o.Net, o.Publish = c.one(modelnet, builtin, builtin), c.IntN(3) == 0
	}
	switch {
	case o.Do == "reboot":
		o.Force = c.IntN(2) == 0
	case o.befalls() || c.IntN(3) > 0:
	case (o.Do == "kill" || o.What == "quick") && c.IntN(3) > 0: // something is to end
		o.Kill, o.Exit = -1-c.IntN(30_000), true
	default: // as long as a command takes on a machine that is idle, or that is not
		o.Kill = -1 - c.IntN(1<<(15+c.IntN(4)))
	}
	return o
}

func (c chooser) what() string { return c.one("trap", "trap", "trap", "deaf", "quick", "broken") }

func (c chooser) verb() string {
	all := weights()
	sum := 0
	for _, n := range all {
		sum += n
	}
	names := make([]string, 0, len(all))
	for name := range all {
		names = append(names, name)
	}
	slices.Sort(names)
	at := c.IntN(sum)
	for _, name := range names {
		if at -= all[name]; at < 0 {
			return name
		}
	}
	return ""
}

// podName is the record's name of the kubelet's sandbox s, kubeName that of a
// container in it.
func podName(s string) string { return "k8s_" + s + "_default_uid_0" }

func kubeName(s, k string) string { return "k8s_" + k + "_" + s + "_default_uid_0_0" }

// sequence makes n operations, for the engine or to be typed. The first ones bring
// the images.
func sequence(seed uint64, n int, typed bool) []op {
	c := chooser{rand.New(rand.NewPCG(seed, 0)), newWorld()}
	c.w.typed = typed
	ops := []op{{Do: "pull", Image: "one"}, {Do: "pull", Image: "two"}}
	for _, o := range ops {
		c.w.apply(o)
	}
	for len(ops) < n {
		o := c.op()
		after := c.w.clone()
		class, possible := after.apply(o)
		if class == notFound && c.IntN(8) > 0 {
			continue // there is more to see elsewhere
		}
		if possible {
			ops, c.w = append(ops, o), after
		}
	}
	return ops
}
