package oci

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/containerd/errdefs"
	"github.com/opencontainers/runtime-spec/specs-go"
)

// DefaultTimeout is the deadline of a run of a runtime that names none.
const DefaultTimeout = 2 * time.Minute

// Runtime is an OCI runtime binary and where it keeps its state. It is a
// plain value: methods may be called concurrently, each one is a process.
type Runtime struct {
	// Name is what people call it, e.g. "runc". Empty means Path.
	Name string
	// Path is the binary: absolute, or looked up in PATH.
	Path string
	// Root is the runtime's state folder (--root); empty leaves it to the
	// runtime.
	Root string
	// SystemdCgroup adds --systemd-cgroup; cgroup paths are then written
	// slice:prefix:name.
	SystemdCgroup bool
	// ExtraArgs are put after the other global arguments, before the verb.
	ExtraArgs []string
	// Timeout is the deadline of each run; 0 is DefaultTimeout. An earlier one of
	// the context holds, too.
	Timeout time.Duration
	// Log receives the raw output of failed runs at debug level; nil is
	// silent.
	Log *slog.Logger
}

// State is what "runtime state" answers.
type State struct {
	ID     string `json:"id"`
	Pid    int    `json:"pid"`
	Status string `json:"status"`
	Bundle string `json:"bundle"`
}

// GlobalArgs returns the arguments that come before the verb, for those who
// run the binary themselves, as a monitor does.
func (r Runtime) GlobalArgs() []string {
	var args []string
	if r.Root != "" {
		args = append(args, "--root", r.Root)
	}
	if r.SystemdCgroup {
		args = append(args, "--systemd-cgroup")
	}
	return append(args, r.ExtraArgs...)
}

// stateDir is the variable that names a folder in which crun, before anything else,
// mounts itself for a moment: it leaves that to nobody when it is killed. Without the
// variable it is /tmp. Where there is no such folder it copies itself into memory, which
// is quicker.
const stateDir = "_LIBCONTAINER_STATEDIR="

// Environ is the environment that runtimes are run with, for those who run one themselves,
// too. It has them make no mount of themselves, unless programs must not be run from memory
// (vm.memfd_noexec, sysctl/vm.rst).
func Environ() []string {
	env := slices.DeleteFunc(os.Environ(), func(kv string) bool { return strings.HasPrefix(kv, stateDir) })
	if forbids, err := os.ReadFile("/proc/sys/vm/memfd_noexec"); err == nil && strings.TrimSpace(string(forbids)) != "0" {
		return env
	}
	return append(env, stateDir+"/nonexistent")
}

// Binary returns the absolute path of the runtime. The error names the binary;
// it is ErrNotFound when there is none and ErrPermissionDenied when it cannot
// be executed.
func (r Runtime) Binary() (string, error) {
	path, err := exec.LookPath(r.Path)
	switch {
	case err == nil:
		return path, nil
	case errors.Is(err, exec.ErrNotFound), errors.Is(err, fs.ErrNotExist):
		return "", fmt.Errorf("runtime %q: no executable %q: %w", r.name(), r.Path, errdefs.ErrNotFound)
	case errors.Is(err, fs.ErrPermission), errors.Is(err, syscall.EISDIR):
		return "", fmt.Errorf("runtime %q: %q is not executable: %w", r.name(), r.Path, errdefs.ErrPermissionDenied)
	default:
		return "", fmt.Errorf("runtime %q: %w", r.name(), err)
	}
}

// Check reports whether the binary is there and executable, without running
// it. See [Runtime.Binary] for the errors.
func (r Runtime) Check() error {
	_, err := r.Binary()
	return err
}

// Start runs the process of a created container. A container that is not in
// that state is ErrFailedPrecondition, an unknown one ErrNotFound.
func (r Runtime) Start(ctx context.Context, id string) error {
	return r.run(ctx, invocation{action: "start", args: []string{"start", id}})
}

// Delete removes what the runtime keeps of a stopped or created container,
// its cgroup included; with force, of a running one too, which is killed.
// An absent container is ErrNotFound, or nil with force.
func (r Runtime) Delete(ctx context.Context, id string, force bool) error {
	args := []string{"delete"}
	if force {
		args = append(args, "--force")
	}
	return r.run(ctx, invocation{action: "delete", args: append(args, id)})
}

// Kill signals the container's first process, or every process of it with
// all. A container that has no process is ErrFailedPrecondition where the
// runtime says so; some answer success.
func (r Runtime) Kill(ctx context.Context, id string, sig syscall.Signal, all bool) error {
	args := []string{"kill"}
	if all {
		args = append(args, "--all")
	}
	return r.run(ctx, invocation{action: "kill", args: append(args, id, strconv.Itoa(int(sig)))})
}

// Pause freezes every process of a running container. Do not call it for a
// stopped one: runtimes then freeze the empty cgroup and hang in the next
// create on the same path.
func (r Runtime) Pause(ctx context.Context, id string) error {
	return r.run(ctx, invocation{action: "pause", args: []string{"pause", id}})
}

// Resume thaws what Pause froze.
func (r Runtime) Resume(ctx context.Context, id string) error {
	return r.run(ctx, invocation{action: "resume", args: []string{"resume", id}})
}

// Update changes the limits of a created or running container. Only the
// fields that are set in res change.
func (r Runtime) Update(ctx context.Context, id string, res *specs.LinuxResources) error {
	data, err := json.Marshal(res)
	if err != nil {
		return fmt.Errorf("encoding resources of %q: %w", id, err)
	}
	return r.run(ctx, invocation{action: "update", args: []string{"update", "--resources", "-", id}, stdin: data})
}

// State asks the runtime about a container. The engine itself derives states
// from its own evidence and never calls it on a hot path.
func (r Runtime) State(ctx context.Context, id string) (State, error) {
	var out bytes.Buffer
	var st State
	if err := r.run(ctx, invocation{action: "state", args: []string{"state", id}, stdout: &out}); err != nil {
		return st, err
	}
	if err := json.Unmarshal(out.Bytes(), &st); err != nil {
		return st, &Error{Runtime: r.name(), Action: "state", Message: "answered something that is no state",
			Raw: out.String(), class: err}
	}
	return st, nil
}

// Version returns the first line that the runtime prints about itself.
func (r Runtime) Version(ctx context.Context) (string, error) {
	var out bytes.Buffer
	if err := r.run(ctx, invocation{action: "version", args: []string{"--version"}, stdout: &out}); err != nil {
		return "", err
	}
	line, _, _ := strings.Cut(out.String(), "\n")
	return strings.TrimSpace(line), nil
}

// DeadlineOf is how long each run of a runtime may take.
func DeadlineOf(r Runtime) time.Duration { return cmp.Or(r.Timeout, DefaultTimeout) }

func (r Runtime) name() string {
	if r.Name != "" {
		return r.Name
	}
	return r.Path
}

func (r Runtime) debug(ctx context.Context, action, raw string) {
	if r.Log != nil {
		r.Log.DebugContext(ctx, "runtime output", "runtime", r.name(), "action", action, "raw", raw)
	}
}

// devNull is opened per run: it costs less than keeping a descriptor that a
// child could inherit.
func devNull() (*os.File, error) { return os.OpenFile(os.DevNull, os.O_RDWR, 0) }

// WithoutCgroups returns the runtime told to make no cgroups. Only crun can do
// that: ErrFailedPrecondition for others.
func (r Runtime) WithoutCgroups() (Runtime, error) {
	if !isCrun(r) {
		return r, fmt.Errorf("runtime %q always makes cgroups; crun can do without (--runtime crun): %w", r.name(), errdefs.ErrFailedPrecondition)
	}
	r.ExtraArgs = append(slices.Clone(r.ExtraArgs), "--cgroup-manager=disabled")
	return r, nil
}

// FilterAnnotation is the annotation of a spec that gives crun the seccomp filter as
// it makes it itself of the spec's own, a program of BPF in base64, so that it need
// not (crun(1), run.oci.seccomp_bpf_data). Versions of crun before 0.17 compile the
// spec's all the same.
const FilterAnnotation = "run.oci.seccomp_bpf_data"

// FilterOf is the file that crun leaves the program in that it has made of a
// container's seccomp filter, once the container is created; empty for other runtimes,
// and where this one's root is not known.
func FilterOf(r Runtime, id string) string {
	if r.Root == "" || !isCrun(r) {
		return ""
	}
	return filepath.Join(r.Root, id, "seccomp.bpf")
}

func isCrun(r Runtime) bool { return strings.HasPrefix(filepath.Base(r.Path), "crun") }
