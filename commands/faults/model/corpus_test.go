//go:build faults || faultslong

package model

// story is a sequence whose last operation is killed at each of its steps in turn.
type story struct {
	name string
	ops  []op
	// often says that it is told in the short tests, too: davit has failed it.
	often bool
}

// corpus holds the stories that are told each time: one for each operation, in the
// states in which it does something else.
func corpus() []story {
	pull := op{Do: "pull", Image: "one"}
	run := op{Do: "run", Name: "web", Image: "one", What: "trap", Net: modelnet}
	removes := run
	removes.Remove = true
	inPod := run
	inPod.Pod, inPod.Net = "shop", ""
	dies := inPod
	dies.Remove = true
	quick := run
	quick.What = "quick"
	broken := run
	broken.What = "broken"
	pod := op{Do: "pod create", Name: "shop", Net: modelnet}
	s, k := podName("s"), kubeName("s", "x")
	runp := op{Do: "runp", Name: s, Net: modelnet}
	made := op{Do: "cri create", Pod: s, Name: k, Image: "one", What: "trap"}
	web := func(do string) op { return op{Do: do, Name: "web"} }
	webNow := func(do string) op { return op{Do: do, Name: "web", Force: true} }
	create := run
	create.Do = "create"
	return []story{
		{"create", []op{pull, create}, false},
		{"run", []op{pull, run}, false},
		{"run, its sandbox late", []op{pull, late(run, "pod")}, true},
		{"run, the container late", []op{pull, late(run, "container")}, false},
		{"run, removed at its end", []op{pull, removes}, false},
		{"run in a pod", []op{pull, pod, inPod}, false},
		{"run what cannot run", []op{pull, broken}, true},
		{"start", []op{pull, create, web("start")}, false},
		{"start again", []op{pull, run, web("stop"), web("start")}, false},
		{"start what runs", []op{pull, run, web("start")}, false},
		{"start in a pod that is ready", []op{pull, pod, {Do: "pod start", Name: "shop"}, inPod}, true},
		{"stop", []op{pull, run, web("stop")}, false},
		{"stop, removed at its end", []op{pull, removes, web("stop")}, true},
		{"stop what is paused", []op{pull, run, web("pause"), webNow("stop")}, true},
		{"restart", []op{pull, run, web("restart")}, false},
		{"restart, removed at its end", []op{pull, removes, webNow("restart")}, true},
		{"restart what ends at once", []op{pull, quick, webNow("restart")}, true},
		{"restart what is stopped", []op{pull, run, web("stop"), web("restart")}, false},
		{"remove", []op{pull, run, web("stop"), web("rm")}, false},
		{"remove what runs", []op{pull, run, webNow("rm")}, false},
		{"remove what runs, refused", []op{pull, run, web("rm")}, true},
		{"remove what runs in a pod, refused", []op{pull, pod, inPod, web("rm")}, false},
		{"pause", []op{pull, run, web("pause")}, false},
		{"pause what is paused", []op{pull, run, web("pause"), web("pause")}, true},
		{"unpause", []op{pull, run, web("pause"), web("unpause")}, false},
		{"unpause what runs", []op{pull, run, web("unpause")}, false},
		{"pod create", []op{pod}, false},
		{"pod start", []op{pull, pod, inPod, {Do: "pod stop", Name: "shop"}, {Do: "pod start", Name: "shop"}}, false},
		{"pod start the first time", []op{pod, {Do: "pod start", Name: "shop"}}, true},
		{"pod start of what is ready", []op{pull, pod, inPod, {Do: "pod start", Name: "shop"}}, false},
		{"pod stop", []op{pull, pod, inPod, {Do: "pod stop", Name: "shop"}}, false},
		{"pod stop, removed at its end", []op{pull, pod, dies, {Do: "pod stop", Name: "shop"}}, true},
		{"pod rm", []op{pull, pod, inPod, {Do: "pod rm", Name: "shop", Force: true}}, false},
		{"pod rm, refused", []op{pull, pod, inPod, {Do: "pod rm", Name: "shop"}}, false},
		{"RunPodSandbox", []op{runp}, false},
		{"RunPodSandbox of what is ready", []op{pull, runp, made, {Do: "cri start", Name: k}, runp}, true},
		{"RunPodSandbox of what is stopped", []op{runp, {Do: "stopp", Name: s}, runp}, false},
		{"StopPodSandbox", []op{pull, runp, made, {Do: "cri start", Name: k}, {Do: "stopp", Name: s}}, false},
		{"RemovePodSandbox", []op{pull, runp, made, {Do: "cri start", Name: k}, {Do: "rmp", Name: s}}, false},
		{"CreateContainer", []op{pull, runp, made}, false},
		{"CreateContainer again", []op{pull, runp, made, made}, false},
		{"StartContainer", []op{pull, runp, made, {Do: "cri start", Name: k}}, false},
		{"StopContainer", []op{pull, runp, made, {Do: "cri start", Name: k}, {Do: "cri stop", Name: k}}, false},
		{"RemoveContainer", []op{pull, runp, made, {Do: "cri start", Name: k}, {Do: "cri rm", Name: k}}, false},
	}
}

func late(o op, what string) op {
	o.Late = what
	return o
}

// told are sequences that davit has failed, which are done once, as they are.
func told() []story {
	pull := op{Do: "pull", Image: "one"}
	pod := op{Do: "pod create", Name: "shop", Net: modelnet}
	quick := op{Do: "run", Name: "web", Pod: "shop", Image: "one", What: "quick"}
	alone := quick
	alone.Pod, alone.Net = "", modelnet
	return []story{
		{name: "what ends at once has been started, though its network cannot be given back", ops: []op{pull, {Do: "no del"}, alone}},
		{name: "a container whose network cannot be had stays", ops: []op{pull, {Do: "no add"}, {Do: "no del"}, late(alone, "container")}},
		{name: "a pod whose network could be neither had nor given back is removed as soon as it can be", ops: []op{
			pull, pod, {Do: "no add"}, {Do: "no del"}, quick, {Do: "pod rm", Name: "shop", Force: true},
		}},
		{name: "a removal goes on where a stop could not, as soon as it can", ops: []op{
			pull, pod, {Do: "no del"}, quick, {Do: "pod stop", Name: "shop"}, {Do: "pod rm", Name: "shop", Force: true},
		}},
	}
}
