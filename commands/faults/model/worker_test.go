//go:build faults || faultslong

package model

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/containerd/errdefs"

	"github.com/davit-containers/davit/commands"
	"github.com/davit-containers/davit/commands/cli"
	"github.com/davit-containers/davit/ctr"
	"github.com/davit-containers/davit/ctr/oci"
	"github.com/davit-containers/davit/ctr/record"
	"github.com/davit-containers/davit/ctr/spec"
	"github.com/davit-containers/davit/img"
	"github.com/davit-containers/davit/netw"
	"github.com/davit-containers/davit/pod"
)

// roleEnv makes a test binary a worker: "line" or "server". registryEnv is what
// names of images begin with.
const (
	roleEnv     = "DAVIT_MODEL_ROLE"
	registryEnv = "DAVIT_MODEL_REGISTRY"
)

// latePause is how much later something is that is late: longer than what is beside it
// takes for a step.
const latePause = 40 * time.Millisecond

// opTimeout is when an operation has hung.
const opTimeout = 60 * time.Second

// TestMain is also the workers, the exit command that monitors run, and the timer
// process of a pod.
func TestMain(m *testing.M) {
	switch {
	case cli.Reexec():
	case len(os.Args) > 2 && slices.Contains([]string{"container exited", "pod tend"}, os.Args[1]+" "+os.Args[2]):
		os.Exit(commands.Main(context.Background(), os.Args[1:], cli.OSStreams(), os.Environ()))
	case os.Getenv(roleEnv) != "":
		if err := work(context.Background(), os.Getenv(roleEnv) == "server"); err != nil {
			fmt.Fprintln(os.Stderr, "worker:", err)
			os.Exit(1)
		}
	default:
		os.Exit(m.Run())
	}
}

// request is what a worker is asked, an operation or one of "dump", "drain".
type request struct{ op }

// answer is what it says.
type answer struct {
	Class string `json:"class"`
	Says  string `json:"says,omitempty"`
	Dump  *dump  `json:"dump,omitempty"`
}

// worker is a process with the engine in it.
type worker struct {
	env    *cli.Env
	server bool
	stop   context.CancelFunc
}

// work answers requests, a line each, until its standard input ends.
func work(ctx context.Context, server bool) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	w := &worker{env: cli.NewEnv(cli.OSStreams(), os.Environ()), server: server, stop: stop}
	defer func() { _ = w.env.Close() }()
	if server {
		if err := w.serve(ctx); err != nil {
			return err
		}
	}
	out := json.NewEncoder(os.Stdout)
	if err := out.Encode(answer{}); err != nil { // it is up
		return err
	}
	in := bufio.NewScanner(os.Stdin)
	in.Buffer(nil, 1<<20)
	for in.Scan() {
		var r request
		if err := json.Unmarshal(in.Bytes(), &r); err != nil {
			return err
		}
		if err := out.Encode(w.answer(ctx, r.op)); err != nil {
			return err
		}
	}
	return in.Err()
}

// serve does what the server's start does.
func (w *worker) serve(ctx context.Context) error {
	e, err := w.env.Engine(ctx, cli.Images, cli.Networks, cli.Containers, cli.Pods)
	if err != nil {
		return err
	}
	if err := e.Pods.Keep(ctx); err != nil {
		return err
	}
	err = errors.Join(e.Pods.Sweep(ctx), e.Images.Sweep(ctx), e.Networks.Collect(ctx, func(id string) bool {
		_, err := e.Pods.Get(ctx, id)
		return !errdefs.IsNotFound(err)
	}))
	if err != nil {
		fmt.Fprintln(os.Stderr, "not all that was left is cleared up:", err)
	}
	return nil
}

func (w *worker) answer(ctx context.Context, o op) answer {
	ctx, cancel := context.WithTimeoutCause(ctx, opTimeout, errors.New("the operation has hung"))
	defer cancel()
	if o.Kill > 0 || o.Late != "" {
		var n atomic.Int64
		ctx = record.WithTrace(ctx, func(s record.Step) {
			if s.Noun == o.Late {
				time.Sleep(latePause)
			}
			if n.Add(1) == int64(o.Kill) {
				_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
				select {}
			}
		})
	}
	if o.Do == "dump" {
		d, err := w.dump(ctx)
		if err != nil {
			return answer{Class: anyFailure, Says: err.Error()}
		}
		return answer{Dump: d}
	}
	open := w.env.Change
	if w.server {
		open = w.env.Engine
	}
	e, err := open(ctx, cli.Images, cli.Networks, cli.Containers, cli.Pods)
	if err == nil {
		err = w.do(ctx, e, o)
	}
	return answer{Class: classOf(err), Says: fmt.Sprint(err)}
}

// classOf is the class of an error.
func classOf(err error) string {
	var ran *oci.ExecutableError
	switch {
	case err == nil:
		return ok
	case errors.Is(err, context.DeadlineExceeded):
		return "timeout"
	case errors.As(err, &ran):
		return program
	}
	for _, c := range []struct {
		is   func(error) bool
		name string
	}{
		{errdefs.IsNotFound, notFound}, {errdefs.IsAlreadyExists, taken}, {errdefs.IsFailedPrecondition, precondition},
		{errdefs.IsInvalidArgument, "invalid argument"}, {errdefs.IsUnavailable, "unavailable"},
	} {
		if c.is(err) {
			return c.name
		}
	}
	return "other"
}

// ref is the full name of an image that sequences call one, two or x.
func ref(short string) string { return os.Getenv(registryEnv) + "/" + short + ":latest" }

func (w *worker) do(ctx context.Context, e *cli.Engine, o op) error {
	switch o.Do {
	case "sweep":
		return nil // which is what opening the engine did
	case "pull":
		_, err := e.Images.Pull(ctx, ref(o.Image), img.PullOptions{Retries: -1})
		return err
	case "tag":
		return e.Images.Tag(ctx, ref(o.Image), ref(o.To))
	case "rmi":
		_, err := e.Images.Remove(ctx, ref(o.Image), img.RemoveOptions{})
		return err
	case "image prune":
		_, err := e.Images.Prune(ctx, img.PruneOptions{})
		return err
	case "pod create":
		_, err := e.Pods.Create(ctx, w.podConfig(o))
		return err
	case "runp":
		c := w.podConfig(o)
		s := strings.Split(o.Name, "_")[1]
		c.Kube = pod.Kube{Name: s, Namespace: "default", UID: "uid"}
		_, err := e.Pods.Run(ctx, c)
		return err
	case "pod start", "pod stop", "pod rm", "stopp", "rmp":
		id, err := e.Pods.Resolve(o.Name)
		if err != nil {
			return err
		}
		return w.doPod(ctx, e.Pods, id, o)
	case "create", "run", "cri create":
		return w.doCreate(ctx, e, o)
	}
	id, err := e.Containers.Resolve(o.Name)
	if err != nil {
		return err
	}
	return w.doContainer(ctx, e, id, o)
}

func (w *worker) doPod(ctx context.Context, pods *pod.Controller, id string, o op) error {
	var now time.Duration
	switch o.Do {
	case "pod start":
		return pods.Start(ctx, id)
	case "pod stop":
		return pods.Stop(ctx, id, &now)
	case "pod rm":
		return pods.Remove(ctx, id, pod.RemoveOptions{Force: o.Force, Timeout: ctr.AtOnce()})
	case "stopp":
		return pods.StopSandbox(ctx, id)
	}
	return pods.RemoveSandbox(ctx, id)
}

// podConfig is a pod as the command line and the CRI make it.
func (w *worker) podConfig(o op) pod.Config {
	c := pod.Config{Name: o.Name, CgroupsOff: true, Namespaces: pod.Namespaces{IPC: spec.ModePod, UTS: spec.ModePod}}
	c.Network.Mode = pod.NetworkNone
	if o.Net != "" {
		c.Network = pod.Network{Networks: []netw.Ref{{Name: o.Net}}}
	}
	return c
}

func (w *worker) doCreate(ctx context.Context, e *cli.Engine, o op) error {
	c := ctr.Config{
		Name: o.Name, Image: ctr.Image{Ref: ref(o.Image)}, Remove: o.Remove, CgroupsOff: true,
		Process: ctr.Process{Entrypoint: []string{"/model"}, Command: []string{o.What}},
	}
	if o.What == "broken" {
		c.Process.Entrypoint, c.Process.Command = []string{"/nosuch"}, []string{"trap"}
	}
	if o.Pod != "" {
		id, err := e.Pods.Resolve(o.Pod)
		if err != nil {
			return err
		}
		c.Sandbox = id
	}
	if o.Do == "cri create" {
		c.Kube.Name = strings.Split(o.Name, "_")[1]
		_, err := e.Pods.MakeContainer(ctx, c, false)
		return err
	}
	l := pod.Launch{Container: c}
	if o.Pod == "" {
		p := w.podConfig(o)
		l.Pod = &p
	}
	if o.Do == "create" {
		_, err := e.Pods.CreateContainer(ctx, l)
		return err
	}
	_, err := e.Pods.RunContainer(ctx, l)
	return err
}

func (w *worker) doContainer(ctx context.Context, e *cli.Engine, id string, o op) error {
	timeout := 10 * time.Second
	if o.Force {
		timeout = 0
	}
	switch o.Do {
	case "start":
		_, err := e.Pods.StartContainer(ctx, id, nil)
		return err
	case "stop":
		return e.Pods.StopContainer(ctx, id, ctr.StopOptions{Timeout: &timeout})
	case "restart":
		return e.Pods.RestartContainer(ctx, id, ctr.StopOptions{Timeout: &timeout})
	case "rm":
		return e.Pods.RemoveContainer(ctx, id, ctr.RemoveOptions{Force: o.Force, Timeout: ctr.AtOnce()})
	case "rename":
		return e.Containers.Rename(ctx, id, o.To)
	case "pause":
		return e.Containers.Pause(ctx, id)
	case "unpause":
		return e.Containers.Unpause(ctx, id)
	case "kill":
		return e.Containers.Kill(ctx, id, o.To)
	case "cri start":
		return e.Pods.StartMade(ctx, id)
	case "cri stop":
		return e.Pods.StopMade(ctx, id, timeout)
	case "cri rm":
		return e.Pods.RemoveMade(ctx, id)
	}
	return fmt.Errorf("no operation %q", o.Do)
}
