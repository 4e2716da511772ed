//go:build faults || faultslong

package model

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/davit-containers/davit/commands/harness"
)

// This file is a machine with the real runtime, monitor, CNI plugins and server, on
// which operations are commands that are typed and calls of a kubelet.

// typed is what such a machine has beside its roots.
type typed struct {
	roots  harness.Roots
	davit  harness.Davit
	images images
	short  map[string]string // the short names of images by their IDs
	before harness.Snapshot  // once there has been a container, and is none
}

// containerScript is what containers run; see testdata/fakes/runtime.go. Who has it
// catch USR1 has come to what it stays at.
const containerScript = `#!/bin/sh
trap 'exit 0' USR2
case $1 in
quick) exit 3 ;;
deaf) trap '' TERM ;;
*) trap 'exit 5' TERM ;;
esac
trap 'exit 7' USR1
while :; do sleep 1000 & wait; done
`

// refusing is the bridge plugin, with marks that have it refuse. A bridge at which it
// was killed before it had given it an address for good has none once the last port
// has gone, and then the plugin fails: that is given one here.
const refusing = `#!/bin/sh
refuse() {
	[ -e %[1]q/"$1" ] || return 0
	echo '{"cniVersion": "1.0.0", "code": 100, "msg": "the network is down"}'
	exit 1
}
case $CNI_COMMAND in
ADD)
	refuse no-add
	ip link set %[3]q address 02:00:00:00:00:01 2>/dev/null
	;;
DEL) refuse no-del ;;
esac
exec %[2]q
`

// newRealRig makes a machine with the real programs in a folder.
func newRealRig(dir, bin string, from images) (*rig, error) {
	roots, err := harness.NewRoots(dir)
	if err != nil {
		return nil, err
	}
	r := &rig{
		roots: roots, leases: filepath.Join(dir, "leases", modelnet), marks: filepath.Join(dir, "marks"),
		images: from, count: map[string]int{},
	}
	err = errors.Join(r.realNetwork(), roots.TrustRegistry(from.registry.Addr))
	if err != nil {
		return nil, err
	}
	r.typed = &typed{roots: roots, davit: harness.Davit{Bin: bin, Roots: roots}, images: from, short: from.ids}
	r.env = environ(roots, from)
	if err := r.startWorkers(); err != nil {
		return nil, errors.Join(err, r.remove())
	}
	if err := r.typed.warm(from); err != nil {
		return nil, errors.Join(err, r.remove())
	}
	return r, nil
}

// realNetwork writes the network that the kubelet's pods are on, and some of the command
// line's: a bridge of its own.
func (r *rig) realNetwork() error {
	plugins, nets := filepath.Join(r.roots.Dir, "plugins"), filepath.Join(r.roots.Dir, "cni")
	where, err := pluginFolder()
	if err != nil {
		return err
	}
	bridge := "cri-" + r.roots.NetworkTag()
	conflist := fmt.Sprintf(`{"cniVersion": "1.0.0", "name": %q, "plugins": [
  {"type": "modelnet", "bridge": %q, "isGateway": true,
   "ipam": {"type": "host-local", "dataDir": %q, "ranges": [[{"subnet": "10.96.0.0/16"}]]}}]}`,
		modelnet, bridge, filepath.Dir(r.leases))
	return errors.Join(os.Mkdir(plugins, 0o755), os.Mkdir(nets, 0o755), os.Mkdir(r.marks, 0o755),
		os.WriteFile(filepath.Join(nets, "10-model.conflist"), []byte(conflist), 0o644),
		harness.WriteExecutable(filepath.Join(plugins, "modelnet"), fmt.Sprintf(refusing, r.marks, filepath.Join(where, "bridge"), bridge)),
		r.roots.Configure(fmt.Sprintf("[network]\ncni_dir = %q\nplugin_dirs = [%q, %q]\n", nets, plugins, where)))
}

// pluginFolder is where the host has its CNI plugins.
func pluginFolder() (string, error) {
	for _, dir := range []string{"/opt/cni/bin", "/usr/lib/cni", "/usr/libexec/cni"} {
		if _, err := os.Stat(filepath.Join(dir, "bridge")); err == nil {
			return dir, nil
		}
	}
	return "", errors.New("the host has no CNI plugin bridge")
}

// scope is what is looked at for leaks. What stays for the next container is no leak.
func (t *typed) scope() harness.Scope {
	return harness.Scope{Roots: []harness.Roots{t.roots}, IgnoreNetwork: true}
}

// warm runs a container once on each network, and notes what the machine holds after it.
func (t *typed) warm(from images) error {
	image := from.registry.Ref("one:latest")
	for _, args := range [][]string{
		{"pull", "-q", image}, {"run", "--rm", "--network", modelnet, image, "/model", "quick"},
		{"run", "--rm", "--network", builtin, "-p", "80", image, "/model", "quick"}, {"rmi", image},
	} {
		got, err := t.davit.Run(context.Background(), args...)
		if err == nil && got.Code != 0 && got.Code != 3 {
			err = fmt.Errorf("davit %s: exit code %d: %s", strings.Join(args, " "), got.Code, got.Stderr)
		}
		if err != nil {
			return err
		}
	}
	var err error
	t.before, err = harness.Take(context.Background(), t.scope())
	return err
}

// leftTyped lists what is left on an empty machine with the real programs, once davit
// has had the time to clear up after processes that were killed: of the layer store, a
// server does that as it starts.
func (r *rig) leftTyped() ([]string, error) {
	if r.killed {
		if err := r.befall(op{Do: "restart server"}, newWorld()); err != nil {
			return nil, err
		}
	}
	if r.torn {
		if err := r.typed.clear(); err != nil {
			return nil, err
		}
	}
	left, err := r.typed.left(r.line, r.server)
	return left, errors.Join(err, r.typed.check(newWorld()))
}

// left lists what the machine holds more than at first, but for the processes of its
// faces, as soon as there is nothing, or after a while. Addresses of its networks are
// not where other engines have theirs.
func (t *typed) left(faces ...face) (out []string, err error) {
	for deadline := time.Now().Add(5 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		now, err := harness.Take(context.Background(), t.scope())
		if err != nil {
			return nil, err
		}
		out = slices.DeleteFunc(t.before.Diff(now).Leaked, func(line string) bool {
			return strings.HasPrefix(line, string(harness.Addresses)) || slices.ContainsFunc(faces, func(f face) bool {
				return strings.HasPrefix(line, fmt.Sprintf("%s %d ", harness.Processes, f.pid()))
			})
		})
		if len(out) == 0 || time.Now().After(deadline) {
			return out, nil
		}
	}
}

// check is what davit finds by itself: that monitors were killed, each of a container
// that runs on, and nothing else.
func (t *typed) check(w *world) error {
	got, err := t.davit.Run(context.Background(), "system", "check")
	if err != nil {
		return err
	}
	var wrong []string
	found := map[string]bool{}
	for line := range strings.Lines(got.Stdout) {
		f := strings.SplitN(line, `"`, 3)
		name := f[min(1, len(f)-1)]
		found[name] = true
		if k := w.ctrs[name]; k == nil || !k.orphan || !strings.Contains(line, "its monitor is gone") {
			wrong = append(wrong, line)
		}
	}
	for name, k := range w.ctrs {
		if k.orphan && k.alive() && !found[name] {
			wrong = append(wrong, fmt.Sprintf("nothing is said of %s, whose monitor was killed\n", name))
		}
	}
	if len(wrong) > 0 || got.Stderr != "" {
		return failed("davit system check: exit code %d\n%s%s", got.Code, strings.Join(wrong, ""), got.Stderr)
	}
	return nil
}

// clear removes the layers that no image has, of pulls and removals that were killed:
// davit keeps them for a day, for who tries again.
func (t *typed) clear() error {
	got, err := t.davit.Run(context.Background(), "system", "check", "--repair", "--max", "1ns")
	if err == nil && got.Code != 0 {
		err = failed("davit system check --repair: exit code %d\n%s%s", got.Code, got.Stdout, got.Stderr)
	}
	return err
}

// rests says of a process in a container that it stays as it is until something is
// done to it.
func (t *typed) rests(p harness.Process) bool {
	at := filepath.Join("/proc", strconv.Itoa(p.PID))
	switch {
	case p.Name() == "runc": // it waits for its start as long as the fifo is there
		fds, _ := filepath.Glob(filepath.Join(at, "fd", "*"))
		for _, fd := range fds {
			if to, _ := os.Readlink(fd); strings.HasSuffix(to, "/exec.fifo") {
				return true
			}
		}
		return false
	case len(p.Args) < 3 || p.Args[1] != "/model":
		return p.Name() == "sleep"
	case p.Args[2] == "quick":
		return false
	}
	const usr1 = 1 << (10 - 1)
	return caught(at)&usr1 != 0
}

// caught are the signals that a process catches, proc_pid_status(5).
func caught(at string) uint64 {
	data, _ := os.ReadFile(filepath.Join(at, "status"))
	for line := range bytes.Lines(data) {
		if hex, ok := strings.CutPrefix(string(line), "SigCgt:"); ok {
			mask, _ := strconv.ParseUint(strings.TrimSpace(hex), 16, 64)
			return mask
		}
	}
	return 0
}

// hunt kills exit commands a while after they have begun, until stop is called, which
// says how many.
func (r *rig) hunt(after time.Duration) (stop func() int) {
	ctx, cancel := context.WithCancel(context.Background())
	killed := make(chan int)
	go func() {
		n := 0
		due := map[int]time.Time{}
		for ctx.Err() == nil {
			for _, p := range r.roots.Processes() {
				if len(p.Args) < 3 || p.Args[1] != "container" || p.Args[2] != "exited" {
					continue
				}
				at, seen := due[p.PID]
				if !seen {
					due[p.PID] = time.Now().Add(after)
				} else if !at.IsZero() && time.Now().After(at) {
					due[p.PID] = time.Time{}
					n += kill(p.PID)
				}
			}
			time.Sleep(500 * time.Microsecond)
		}
		killed <- n
	}()
	return func() int { cancel(); return <-killed }
}
