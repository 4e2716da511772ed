package show

import (
	"fmt"
	"slices"
	"time"

	"github.com/davit-containers/davit/commands/cli"
	"github.com/davit-containers/davit/ctr"
	"github.com/davit-containers/davit/pod"
)

// Exited is what the command line calls a container that the engine calls
// stopped.
const Exited = "exited"

// States are the states of containers as the command line has them.
func States() []string {
	return []string{"creating", "created", "running", "paused", Exited, "removing"}
}

// State is a container's state in one word.
func State(s ctr.Status) string {
	if s.State == ctr.Stopped {
		return Exited
	}
	return string(s.State)
}

// Status is a container's state in words.
func Status(s ctr.Status, now time.Time) string {
	switch s.State {
	case ctr.Running:
		text := "Up " + cli.Lasting(now.Sub(s.StartedAt))
		if s.Health != nil {
			text += " (" + s.Health.Status + ")"
		}
		if s.Reason == ctr.ReasonMonitorLost {
			text += " (monitor lost)"
		}
		return text
	case ctr.Paused:
		return "Paused"
	case ctr.Stopped:
		code := "unknown"
		if s.CodeKnown {
			code = fmt.Sprint(s.ExitCode)
		}
		text := "Exited (" + code + ")"
		if ago := cli.Ago(s.FinishedAt, now); ago != "" {
			text += " " + ago
		}
		return text
	case ctr.Created:
		return "Created"
	case ctr.Creating:
		return "Creating"
	case ctr.Removing:
		return "Removing"
	}
	return string(s.State)
}

// PodStates are the states of pods as the command line has them.
func PodStates() []string {
	return []string{"created", "running", "degraded", "paused", Exited, "stopped", "removing"}
}

// PodStatus is the state of a pod, from its own and its containers': Running if
// all of them run, Degraded if only some do or the pod has lost its resources
// while some run, Exited if none does any more.
func PodStatus(s pod.Sandbox, members []ctr.Container) string {
	members = slices.DeleteFunc(slices.Clone(members), func(c ctr.Container) bool { return c.Config.Infra })
	running, paused, created := 0, 0, 0
	for _, c := range members {
		switch c.Status.State {
		case ctr.Running:
			running++
		case ctr.Paused:
			paused++
		case ctr.Creating, ctr.Created:
			created++
		}
	}
	alive := running + paused
	switch {
	case s.Status.State == pod.Removing:
		return "Removing"
	case s.Status.State == pod.Creating:
		return "Creating"
	case alive > 0 && s.Status.State == pod.NotReady:
		return "Degraded"
	case paused > 0 && paused == len(members):
		return "Paused"
	case alive > 0 && alive == len(members):
		return "Running"
	case alive > 0:
		return "Degraded"
	case s.Status.State == pod.Ready && len(members) == 0:
		return "Running"
	case s.Status.State == pod.Ready && created < len(members):
		return "Exited"
	case s.Status.State == pod.NotReady && created < len(members):
		return "Exited"
	case s.Status.State == pod.NotReady:
		return "Stopped"
	}
	return "Created"
}
