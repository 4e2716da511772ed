//go:build faults || faultslong

package model

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/davit-containers/davit/commands/harness"
)

// rig is a machine for sequences to run on: roots of its own, programs, a network,
// and the two faces.
type rig struct {
	roots  harness.Roots
	leases string // where the host's network has the addresses that are out
	marks  string // where the network plugin looks for what it is to refuse
	env    []string
	images images
	line   face
	server face
	typed  *typed         // of a machine with the real programs
	count  map[string]int // what has happened, for the log
	// killed says that a process of davit's was killed, torn that it was one that
	// brings or removes an image.
	killed, torn bool
	// lastOnly compares after the last operation of a sequence alone; blind says
	// that nothing is compared now.
	lastOnly, blind bool
}

// face is one of the two that davit shows: the command line's, or the server's.
type face interface {
	// ask has it do something. The error is errDied when its process was killed
	// over it.
	ask(o op) (answer, error)
	// end ends its process, by SIGKILL or in its own time.
	end(kill bool) error
	// pid is the process that stays, whatever is done.
	pid() int
}

// images are what the registry has.
type images struct {
	registry *harness.Registry
	ids      map[string]string // short names by ID
}

// newRig makes a machine in a folder. bin is the folder of its programs.
func newRig(dir, bin string, from images) (*rig, error) {
	roots, err := harness.NewRoots(dir)
	if err != nil {
		return nil, err
	}
	r := &rig{roots: roots, leases: filepath.Join(dir, "leases"), images: from, count: map[string]int{}}
	r.marks = r.leases
	nets := filepath.Join(dir, "cni")
	conflist := fmt.Sprintf(`{"cniVersion":"1.0.0","name":"modelnet","plugins":[{"type":"modelnet","dataDir":%q}]}`, r.leases)
	err = errors.Join(os.Mkdir(nets, 0o755), os.Mkdir(r.leases, 0o755),
		os.WriteFile(filepath.Join(nets, "10-model.conflist"), []byte(conflist), 0o644),
		roots.TrustRegistry(from.registry.Addr),
		roots.Configure(fmt.Sprintf("[engine]\nruntime = %q\nconmon = %q\n[network]\ncni_dir = %q\nplugin_dirs = [%q]\n",
			filepath.Join(bin, "crun"), filepath.Join(bin, "conmon"), nets, bin)))
	if err != nil {
		return nil, err
	}
	r.env = environ(roots, from)
	return r, r.startWorkers()
}

// environ is the environment of a worker.
func environ(roots harness.Roots, from images) []string {
	d := harness.Davit{Roots: roots, Env: []string{registryEnv + "=" + from.registry.Addr}}
	for id, short := range from.ids {
		d.Env = append(d.Env, "DAVIT_MODEL_"+id[:12]+"="+short)
	}
	return d.Environ()
}

func (r *rig) startWorkers() error {
	var err error
	if r.server == nil {
		if r.server, err = r.start("server"); err != nil {
			r.server = nil
			return err
		}
	}
	if r.line == nil {
		if r.line, err = r.start("line"); err != nil {
			r.line = nil
		}
	}
	return err
}

// start begins a face.
func (r *rig) start(role string) (face, error) {
	switch {
	case r.typed == nil:
		return r.worker(role)
	case role == "server":
		return r.typed.serve()
	}
	eye, err := r.worker(role)
	return &shell{typed: r.typed, eye: eye}, err
}

// process is a worker as its driver sees it.
type process struct {
	cmd   *exec.Cmd
	in    *json.Encoder
	close func() error
	out   *bufio.Scanner
	words *os.File
}

var _ face = (*process)(nil)

func (r *rig) worker(role string) (*process, error) {
	cmd := exec.Command("/proc/self/exe")
	cmd.Args[0] = "davit-model-" + role
	cmd.Env = append(slices.Clone(r.env), roleEnv+"="+role)
	words, err := os.OpenFile(filepath.Join(r.roots.Dir, role+".log"), os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	cmd.Stderr = words
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	p := &process{cmd: cmd, in: json.NewEncoder(in), close: in.Close, out: bufio.NewScanner(out), words: words}
	p.out.Buffer(nil, 1<<22)
	if !p.out.Scan() {
		_ = p.end(true)
		return nil, fmt.Errorf("the %s worker does not start: %s", role, r.words(role))
	}
	return p, nil
}

func (p *process) pid() int { return p.cmd.Process.Pid }

// words are the last that a worker said.
func (r *rig) words(role string) string {
	data, _ := os.ReadFile(filepath.Join(r.roots.Dir, role+".log"))
	return string(data[max(0, len(data)-3000):])
}

// errDied says that a worker has died.
var errDied = errors.New("the worker has died")

// ask has a worker do something.
func (p *process) ask(o op) (answer, error) {
	var a answer
	if err := p.in.Encode(request{o}); err != nil {
		return a, fmt.Errorf("%w: %w", errDied, err)
	}
	if !p.out.Scan() {
		return a, errDied
	}
	return a, json.Unmarshal(p.out.Bytes(), &a)
}

// end ends a worker, by SIGKILL or in its own time.
func (p *process) end(kill bool) error {
	if kill {
		_ = p.cmd.Process.Kill()
	}
	_ = p.close()
	err := p.cmd.Wait()
	_ = p.words.Close()
	var exit *exec.ExitError
	if kill && errors.As(err, &exit) {
		return nil
	}
	return err
}

// fault makes or removes a mark for the network plugin.
func (r *rig) fault(name string, on bool) error {
	path := filepath.Join(r.marks, name)
	if on {
		return os.WriteFile(path, nil, 0o600)
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// reboot ends everything as a restart of the machine does; keep leaves the run root
// of the last boot.
func (r *rig) reboot(keep bool) error {
	errs := []error{r.line.end(true), r.server.end(true)}
	r.line, r.server = nil, nil
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := errors.Join(append(errs, r.roots.Reboot(ctx, keep))...); err != nil {
		return err
	}
	return r.startWorkers()
}

// processes are those of this machine, but for the faces' own.
func (r *rig) processes() []harness.Process {
	return slices.DeleteFunc(r.roots.Processes(), func(p harness.Process) bool {
		return r.line != nil && p.PID == r.line.pid() || r.server != nil && p.PID == r.server.pid()
	})
}

// quiet waits until no process is on its way: each monitor has a container, whose
// process has come to what it stays at, and there are no others.
func (r *rig) quiet() error {
	var why string
	err := r.eventually("nothing is under way", func() (bool, error) {
		why = r.busy()
		return why == "", nil
	})
	if err != nil {
		return fmt.Errorf("%w: %s", err, why)
	}
	return nil
}

// busy names a process that is on its way.
func (r *rig) busy() string {
	all := r.processes()
	children := map[int]int{}
	for _, p := range all {
		children[p.Parent]++
	}
	for _, p := range all {
		rests := p.Name() == "modelctr"
		switch {
		case p.Monitor():
			rests = children[p.PID] > 0
		case r.typed != nil && !p.Davit:
			rests = r.typed.rests(p)
		}
		if !rests {
			return strings.Join(p.Args, " ")
		}
	}
	return ""
}

// eventually waits for what other processes do.
func (r *rig) eventually(what string, ok func() (bool, error)) error {
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(time.Millisecond) {
		done, err := ok()
		if done || err != nil {
			return err
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("not in 20 s: %s", what)
		}
	}
}

// left lists what is on this machine that should not be there once all containers
// and pods are removed.
func (r *rig) left() []string {
	var out []string
	mounts, _ := os.ReadFile("/proc/self/mounts")
	for line := range strings.Lines(string(mounts)) {
		if f := strings.Fields(line); strings.HasPrefix(f[1], r.roots.Dir+"/") && f[1] != filepath.Join(r.roots.Root, "storage", "overlay") {
			out = append(out, "mount "+f[1])
		}
	}
	for _, dir := range []string{"pods", "containers", "status/pods", "status/containers", "exits", "runtimes/crun"} {
		for _, root := range []string{r.roots.RunRoot, r.roots.Root} {
			entries, _ := os.ReadDir(filepath.Join(root, dir))
			for _, e := range entries {
				out = append(out, "file "+filepath.Join(root, dir, e.Name()))
			}
		}
	}
	for _, p := range r.processes() {
		out = append(out, fmt.Sprintf("process %d: %s", p.PID, strings.Join(p.Args, " ")))
	}
	if n := r.addresses(); n > 0 {
		out = append(out, leaseLine(n))
	}
	return out
}

// remove takes the machine away, whatever state it is in.
func (r *rig) remove() error {
	var errs []error
	for _, f := range []face{r.line, r.server} {
		if f != nil {
			errs = append(errs, f.end(true))
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	return errors.Join(append(errs, r.roots.Reboot(ctx, false), r.roots.Remove())...)
}

// murder kills a monitor and waits for its death.
func murder(pid int) error {
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return fmt.Errorf("opening monitor %d: %w", pid, err)
	}
	defer unix.Close(fd)
	if err := unix.PidfdSendSignal(fd, syscall.SIGKILL, nil, 0); err != nil {
		return err
	}
	_, err = unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 10_000)
	return err
}
