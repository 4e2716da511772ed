//go:build faults || faultslong

package model

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"syscall"
	"time"
)

// shell types the command line's commands. eye is a process with the engine in it,
// which reads what is on the disk and changes nothing.
type shell struct {
	*typed
	eye *process
}

var _ face = (*shell)(nil)

func (s *shell) end(kill bool) error { return s.eye.end(kill) }

func (s *shell) pid() int { return s.eye.pid() }

// ask implements face.
func (s *shell) ask(o op) (answer, error) {
	if o.Do == "dump" {
		a, err := s.eye.ask(o)
		if err == nil && a.Dump != nil {
			a.Dump.Listed, err = s.lists()
		}
		return a, err
	}
	patience := opTimeout
	if o.Kill < 0 && !o.Exit {
		patience = time.Duration(-o.Kill) * time.Microsecond
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	got, err := s.davit.Run(ctx, s.args(o)...)
	switch {
	case err == nil && got.Code == 128+int(syscall.SIGKILL) && o.Kill < 0:
		return answer{}, errDied
	case err == nil && got.Code == 128+int(syscall.SIGKILL):
		return answer{Class: "timeout", Says: "the command has hung"}, nil
	case err != nil && ctx.Err() == nil:
		return answer{}, err
	case err != nil: // what it had started has its streams
		return answer{}, errDied
	}
	return answer{Class: classOfText(got.Code, got.Stderr), Says: fmt.Sprintf("exit code %d: %s", got.Code, got.Stderr)}, nil
}

// args are an operation's as they are typed.
func (s *shell) args(o op) []string {
	if o.Do == "sweep" {
		return []string{"rm", "--ignore", "nosuch"}
	}
	words := strings.Fields(o.command())[1:]
	for i, w := range words {
		if slices.Contains([]string{"one", "two", "x"}, w) {
			words[i] = s.images.registry.Ref(w + ":latest")
		}
	}
	return words
}

// classOfText is the class of what a command has said.
func classOfText(code int, says string) string {
	switch code {
	case 0:
		return ok
	case 126, 127:
		return program
	}
	for _, c := range []struct{ text, class string }{
		{"context deadline exceeded", "timeout"},
		{"no container \"", notFound}, {"no pod \"", notFound}, {": not found", notFound}, {"the name \"", taken},
		{"owned by the kubelet", denied},
		{"in use by", precondition}, {" not running", precondition}, {" is running", precondition}, {" is paused", precondition},
		{" not paused", precondition}, {" has ended", precondition}, {"still runs", precondition}, {"that run: ", precondition},
	} {
		if strings.Contains(says, c.text) {
			return c.class
		}
	}
	return "other"
}

// lists are what ps, pod ps and images print, a line for each thing.
func (s *shell) lists() ([]string, error) {
	var ctrs []struct {
		Names                   []string
		ImageID, State, PodName string
		ExitCode                int
	}
	var pods []struct {
		Name               string
		NumberOfContainers int
		Implicit           bool
	}
	var images []struct {
		ID    string `json:"Id"`
		Names []string
	}
	err := errors.Join(s.list(&ctrs, "ps", "-a"), s.list(&pods, "pod", "ps"), s.list(&images, "images"))
	var out []string
	for _, c := range ctrs {
		out = append(out, psLine(strings.Join(c.Names, " "), c.PodName, s.short[c.ImageID], c.State, c.ExitCode))
	}
	for _, p := range pods {
		out = append(out, podPsLine(p.Name, p.NumberOfContainers))
	}
	for _, i := range images {
		out = append(out, imageLine(s.short[i.ID], s.images.shortened(i.Names)))
	}
	slices.Sort(out)
	return out, err
}

func (s *shell) list(into any, args ...string) error {
	got, err := s.davit.Run(context.Background(), append(args, "--format", "json")...)
	if err == nil && got.Code != 0 {
		err = failed("davit %s: exit code %d: %s", strings.Join(args, " "), got.Code, got.Stderr)
	}
	if err != nil {
		return err
	}
	return json.Unmarshal([]byte(got.Stdout), into)
}

// shortened are names of images as sequences have them.
func (i images) shortened(names []string) []string {
	var out []string
	for _, n := range names {
		out = append(out, strings.TrimSuffix(strings.TrimPrefix(n, i.registry.Addr+"/"), ":latest"))
	}
	slices.Sort(out)
	return out
}

func psLine(name, pod, image, state string, code int) string {
	if state == exited {
		state += fmt.Sprint(" ", code)
	}
	return fmt.Sprintf("ps: %s in pod %q, image %s, %s", name, pod, image, state)
}

func podPsLine(name string, containers int) string {
	return fmt.Sprintf("pod ps: %s has %d containers", name, containers)
}

// exited is what the command line calls stopped.
const exited = "exited"

// listed is the world as the command line lists it.
func (w *world) listed() []string {
	var out []string
	for name, k := range w.ctrs {
		state := k.state
		if state == stopped {
			state = exited
		}
		out = append(out, psLine(name, k.pod, k.image, state, k.code))
	}
	for name := range w.pods {
		out = append(out, podPsLine(name, len(w.in(name))))
	}
	for image := range w.images {
		out = append(out, imageLine(image, w.namesOf(image)))
	}
	slices.Sort(out)
	return out
}
