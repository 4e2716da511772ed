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
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/davit-containers/davit/commands/harness"
)

// rig is a machine for sequences to run on: roots of its own, programs, a network,
// and the two workers.
type rig struct {
	roots  harness.Roots
	leases string // the network plugin's folder
	env    []string
	real   bool
	line   *process
	server *process
	count  map[string]int // what has happened, for the log
	// lastOnly compares after the last operation of a sequence alone; blind says
	// that nothing is compared now.
	lastOnly, blind bool
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
	r := &rig{roots: roots, leases: filepath.Join(dir, "leases"), count: map[string]int{}}
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
	d := harness.Davit{Roots: roots, Env: []string{registryEnv + "=" + from.registry.Addr}}
	for id, short := range from.ids {
		d.Env = append(d.Env, "DAVIT_MODEL_"+id[:12]+"="+short)
	}
	r.env = d.Environ()
	return r, r.startWorkers()
}

func (r *rig) startWorkers() error {
	var err error
	if r.server == nil {
		if r.server, err = r.start("server"); err != nil {
			return err
		}
	}
	if r.line == nil {
		r.line, err = r.start("line")
	}
	return err
}

// process is a worker as its driver sees it.
type process struct {
	cmd   *exec.Cmd
	in    *json.Encoder
	close func() error
	out   *bufio.Scanner
	words *os.File
}

func (r *rig) start(role string) (*process, error) {
	cmd := exec.Command("/proc/self/exe")
	cmd.Args[0] = "davit-model-" + role
	cmd.Env = append(slices.Clone(r.env), roleEnv+"="+role)
	if r.real {
		cmd.Env = append(cmd.Env, realEnv+"=1")
	}
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
	if o.Kill < 0 {
		timer := time.AfterFunc(time.Duration(-o.Kill)*time.Microsecond, func() { _ = p.cmd.Process.Kill() })
		defer timer.Stop()
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
	path := filepath.Join(r.leases, name)
	if on {
		return os.WriteFile(path, nil, 0o600)
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// reboot ends everything, takes the mounts, and leaves a run root of another boot.
func (r *rig) reboot() error {
	errs := []error{r.line.end(true), r.server.end(true)}
	r.line, r.server = nil, nil
	errs = append(errs, r.killAll(), unmountBelow(r.roots.RunRoot), unmountBelow(r.roots.Root),
		os.WriteFile(filepath.Join(r.roots.RunRoot, "boot-id"), []byte("another one\n"), 0o600))
	if err := errors.Join(errs...); err != nil {
		return err
	}
	return r.startWorkers()
}

// killAll kills what belongs to this machine, but for the workers.
func (r *rig) killAll() error {
	return r.eventually("all processes are dead", func() (bool, error) {
		left := 0
		for _, p := range r.processes() {
			left++
			_ = unix.Kill(p.pid, unix.SIGKILL)
		}
		return left == 0, nil
	})
}

// proc is a process of this machine: a monitor, or what it runs.
type proc struct {
	pid, parent int
	name        string
}

// processes are the monitors of this machine and what descends from them, the
// containers and what has lost its monitor among it.
func (r *rig) processes() []proc {
	stats, _ := filepath.Glob("/proc/[0-9]*/stat")
	parents, names := map[int]int{}, map[int]string{}
	found := map[int]proc{}
	for _, path := range stats {
		data, err := os.ReadFile(path)
		text := string(data)
		f := strings.Fields(text[strings.LastIndexByte(text, ')')+1:])
		if err != nil || len(f) < 2 || f[0] == "Z" {
			continue
		}
		pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(path)))
		parents[pid], _ = strconv.Atoi(f[1])
		args, _ := os.ReadFile(filepath.Join(filepath.Dir(path), "cmdline"))
		name, rest, _ := strings.Cut(string(args), "\x00")
		names[pid] = filepath.Base(name)
		if !strings.Contains(rest, r.roots.RunRoot+"/") {
			continue
		}
		found[pid] = proc{pid: pid, parent: parents[pid], name: names[pid]}
	}
	for more := true; more; {
		more = false
		for pid, parent := range parents {
			if _, ok := found[pid]; !ok && found[parent].pid != 0 {
				found[pid] = proc{pid: pid, parent: parent, name: names[pid]}
				more = true
			}
		}
	}
	out := make([]proc, 0, len(found))
	for _, p := range found {
		out = append(out, p)
	}
	return out
}

// quiet waits until no monitor is on its way: each of them has a container, and
// none runs its exit command.
func (r *rig) quiet() error {
	return r.eventually("the exit commands have ended", func() (bool, error) {
		all := r.processes()
		children := map[int]int{}
		for _, p := range all {
			children[p.parent]++
			if !slices.Contains([]string{"conmon", "modelctr", "sh", "sleep"}, p.name) {
				return false, nil
			}
		}
		for _, p := range all {
			if p.name == "conmon" && children[p.pid] == 0 {
				return false, nil
			}
		}
		return true, nil
	})
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
	for _, dir := range []string{"pods", "containers", "status/pods", "status/containers", "exits", "runtimes/crun", "runtimes/runc"} {
		for _, root := range []string{r.roots.RunRoot, r.roots.Root} {
			entries, _ := os.ReadDir(filepath.Join(root, dir))
			for _, e := range entries {
				out = append(out, "file "+filepath.Join(root, dir, e.Name()))
			}
		}
	}
	for _, p := range r.processes() {
		out = append(out, fmt.Sprint("process ", p.pid))
	}
	if n := leases(r.leases); n > 0 {
		out = append(out, leaseLine(n))
	}
	return out
}

// remove takes the machine away.
func (r *rig) remove() error {
	var errs []error
	for _, p := range []*process{r.line, r.server} {
		if p != nil {
			errs = append(errs, p.end(true))
		}
	}
	errs = append(errs, r.killAll(), r.roots.RemoveNetwork(context.Background()), r.roots.Remove())
	return errors.Join(errs...)
}

// unmountBelow detaches all that is mounted below a folder.
func unmountBelow(dir string) error {
	mounts, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		return err
	}
	var errs []error
	for _, line := range slices.Backward(strings.Split(string(mounts), "\n")) {
		if f := strings.Fields(line); len(f) > 1 && strings.HasPrefix(f[1], dir+"/") {
			if err := unix.Unmount(f[1], unix.MNT_DETACH); err != nil && !errors.Is(err, unix.EINVAL) {
				errs = append(errs, fmt.Errorf("unmounting %s: %w", f[1], err))
			}
		}
	}
	return errors.Join(errs...)
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
