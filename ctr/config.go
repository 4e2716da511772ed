package ctr

import (
	"fmt"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/containerd/errdefs"

	"github.com/davit-containers/davit/ctr/record"
	"github.com/davit-containers/davit/ctr/rootfs"
	"github.com/davit-containers/davit/ctr/spec"
)

// Config is what a container was asked to be. It is written once, when the
// container is created, and never changes.
type Config struct {
	// ID is chosen by Create when it is empty; the record has it elsewhere.
	ID string `json:"-"`
	// Name is the human name, unique among the containers of one owner. Empty
	// lets Create make one up.
	Name  string       `json:"name"`
	Owner record.Owner `json:"owner"`
	// Sandbox is the full ID of the pod that the container lives in.
	Sandbox string `json:"sandbox"`
	// Implicit says that the sandbox was made for this container alone and goes
	// with it.
	Implicit bool `json:"implicit,omitempty"`

	Image   Image         `json:"image"`
	Process Process       `json:"process"`
	Mounts  []spec.Mount  `json:"mounts,omitempty"`
	Devices []spec.Device `json:"devices,omitempty"`
	// CDIDevices are qualified names of devices that the host's CDI descriptions
	// have, "vendor.com/class=name"; they are looked up when the container is
	// prepared.
	CDIDevices []string       `json:"cdiDevices,omitempty"`
	Resources  spec.Resources `json:"resources"`
	Security   spec.Security  `json:"security"`
	// SeccompFile is a file of the host whose content Create makes
	// Security.Seccomp, so that a restart has the same filter whatever becomes of
	// the file. It is empty in a record.
	SeccompFile string `json:"seccompFile,omitempty"`
	// Namespaces overrides what the sandbox gives, by kind: the empty mode takes
	// the sandbox's.
	Namespaces spec.Namespaces `json:"namespaces"`
	// PIDTarget is the ID of a running container of the same sandbox whose PID
	// namespace this one is started in.
	PIDTarget  string            `json:"pidTarget,omitempty"`
	Sysctls    map[string]string `json:"sysctls,omitempty"`
	CgroupsOff bool              `json:"cgroupsOff,omitempty"`

	Labels      map[string]string `json:"labels,omitempty"`
	Annotations map[string]string `json:"annotations,omitempty"`
	// Runtime names the OCI runtime: a configured name or an absolute path.
	// Empty is the default one.
	Runtime string `json:"runtime,omitempty"`
	Log     Log    `json:"log"`
	Stop    Stop   `json:"stop"`
	// Init runs a small init process as PID 1, which reaps and forwards signals.
	Init bool `json:"init,omitempty"`
	// Remove deletes the container as soon as it has exited for good.
	Remove bool `json:"remove,omitempty"`
	// Restart says when it is started again after it has exited.
	Restart Restart `json:"restart,omitzero"`
	// Health says how it is seen to be well; nil is the image's check, where
	// Create makes it, and none in a record.
	Health *Health `json:"health,omitempty"`
	// ConsoleSize is the size that a terminal has when the process starts.
	ConsoleSize Size `json:"consoleSize"`
	// Anonymous names the volumes that go with the container; filled by Create.
	Anonymous []string `json:"anonymous,omitempty"`
	// Infra marks the container that holds a pod's PID namespace open.
	Infra bool `json:"infra,omitempty"`
	// Rootfs is a folder of the host to use in place of an image's file system
	// (infra containers).
	Rootfs string `json:"rootfs,omitempty"`
	// Restore says that the first start restores processes: see CreateRestored.
	Restore bool `json:"restore,omitempty"`
	// Kube is what the kubelet calls the container; zero for one that was made
	// on the command line.
	Kube Kube `json:"kube,omitzero"`
}

// Kube names a container as the kubelet does: unique within its sandbox.
type Kube struct {
	Name    string `json:"name"`
	Attempt uint32 `json:"attempt,omitempty"`
}

// Image is the image that a container was made from.
type Image struct {
	// Ref is what the user typed.
	Ref string `json:"ref"`
	// ID and Name are filled in by Create: the image ID (64 hex digits) and the
	// full name, which is empty for an image without one.
	ID   string `json:"id,omitempty"`
	Name string `json:"name,omitempty"`
	// Digested is the image by the digest of its manifest, name@digest; filled in
	// by Create for an image that has a name.
	Digested string `json:"digested,omitempty"`
	// Asked is what a pod's author wrote, where Ref is what the kubelet made of
	// it.
	Asked string `json:"asked,omitempty"`
}

// Process is the process to run. In a Config that is given to Create, zero
// values take the image's; in a record they are what really runs.
type Process struct {
	// Entrypoint replaces the image's when it is not nil; an entrypoint that is
	// given drops the image's command.
	Entrypoint []string `json:"entrypoint"`
	// Command replaces the image's command when it is not empty.
	Command []string `json:"command,omitempty"`
	// Args is Entrypoint and Command as they are executed; filled by Create.
	Args []string `json:"args,omitempty"`
	// Env are KEY=value pairs, later ones win over the image's.
	Env []string `json:"env,omitempty"`
	// WorkingDir is absolute, inside the container.
	WorkingDir string `json:"workingDir,omitempty"`
	// User is user[:group], names or numbers, resolved inside the image.
	User string `json:"user,omitempty"`
	// Groups are supplementary groups, names or numbers.
	Groups []string `json:"groups,omitempty"`
	// GroupPolicy says which of the image's groups the user has beside Groups.
	GroupPolicy rootfs.GroupPolicy `json:"groupPolicy,omitempty"`
	// Umask is octal; empty is 0022.
	Umask    string `json:"umask,omitempty"`
	Terminal bool   `json:"terminal,omitempty"`
	// Stdin keeps standard input open; StdinOnce closes it when the first
	// attached client closes its side.
	Stdin     bool `json:"stdin,omitempty"`
	StdinOnce bool `json:"stdinOnce,omitempty"`

	Rlimits     []spec.Rlimit `json:"rlimits,omitempty"`
	OOMScoreAdj *int          `json:"oomScoreAdj,omitempty"`
}

// The policies on an image's groups that a container may have, see [Process].
const (
	GroupsMerge  = rootfs.GroupsMerge
	GroupsStrict = rootfs.GroupsStrict
)

// Log says where the container's output is written.
type Log struct {
	// Driver is "k8s-file" (the default) or "none".
	Driver string `json:"driver,omitempty"`
	// Path is absolute; empty is a file in the container's record folder.
	Path string `json:"path,omitempty"`
	// Dir is a folder above Path, of somebody whose logs these are: what is
	// missing from it on to Path is made, and none of it may be a symbolic link.
	Dir string `json:"dir,omitempty"`
	// MaxSize is in bytes; 0 is unlimited.
	MaxSize int64 `json:"maxSize,omitempty"`
}

// Stop says how the container is stopped.
type Stop struct {
	// Signal is a name or a number; empty is the image's, else SIGTERM.
	Signal string `json:"signal,omitempty"`
	// Timeout is the time between Signal and SIGKILL; nil is ten seconds, a
	// negative one is for ever.
	Timeout *time.Duration `json:"timeout,omitempty"`
}

// Ends is the signal that Signal stands for, SIGTERM where it is empty. A record may
// have what is none, from an image: that is SIGTERM, and ErrInvalidArgument says why.
func (s Stop) Ends() (syscall.Signal, error) {
	if s.Signal == "" {
		return syscall.SIGTERM, nil
	}
	sig, err := spec.ParseSignal(s.Signal)
	if err != nil {
		return syscall.SIGTERM, err
	}
	return sig, nil
}

// Restart says when a container that has exited is started again. A stop or a kill
// that a user asked for ends it, a start renews it.
type Restart struct {
	// Policy is one of those below; empty is RestartNo.
	Policy string `json:"policy,omitempty"`
	// Retries is how often on-failure starts it again at most; 0 is without end.
	Retries int `json:"retries,omitempty"`
}

// The policies on starting containers again.
const (
	RestartNo = "no"
	// RestartOnFailure starts again what did not exit with code 0.
	RestartOnFailure = "on-failure"
	// RestartAlways and RestartUnlessStopped start it again however it ended. They
	// differ after a restart of the machine: unless-stopped then leaves alone what a
	// user had stopped.
	RestartAlways        = "always"
	RestartUnlessStopped = "unless-stopped"
)

// ParseRestart reads a policy as it is typed: no, never, always, unless-stopped,
// on-failure or on-failure:N. Others are ErrInvalidArgument.
func ParseRestart(s string) (Restart, error) {
	name, times, counted := strings.Cut(s, ":")
	r := Restart{Policy: strings.ToLower(name)}
	switch r.Policy {
	case "never":
		r.Policy = RestartNo
	case RestartNo, RestartOnFailure, RestartAlways, RestartUnlessStopped:
	default:
		return r, fmt.Errorf("%q is none of no, on-failure[:N], always and unless-stopped: %w", s, errdefs.ErrInvalidArgument)
	}
	if !counted {
		return r, nil
	}
	if r.Policy != RestartOnFailure {
		return r, fmt.Errorf("%q: a number of tries is for on-failure alone: %w", s, errdefs.ErrInvalidArgument)
	}
	n, err := strconv.ParseUint(times, 10, 31)
	if err != nil {
		return r, fmt.Errorf("%q: %q is not a number of tries: %w", s, times, errdefs.ErrInvalidArgument)
	}
	r.Retries = int(n)
	return r, nil
}

// Health says how a container is seen to be well: by a command that is run in it.
type Health struct {
	// Test is the command as images have it: CMD and words, CMD-SHELL and a line
	// for /bin/sh, or NONE.
	Test []string `json:"test,omitempty"`
	// Interval is the time between two checks, the first one apart, which comes
	// with the start; 0 is the image's, a second at least, else 30 seconds; a negative
	// one is for ever.
	Interval time.Duration `json:"interval,omitempty"`
	// Timeout ends a check, which has failed then; 0 is the image's, else 30 seconds.
	Timeout time.Duration `json:"timeout,omitempty"`
	// StartPeriod is how long after the start a failure does not count, unless a
	// check has passed.
	StartPeriod time.Duration `json:"startPeriod,omitempty"`
	// Retries is how many failures in a row make it unhealthy; 0 is 3.
	Retries int `json:"retries,omitempty"`
	// OnFailure is done to one that is unhealthy; empty is HealthNone.
	OnFailure string `json:"onFailure,omitempty"`
}

// What is done to a container that is unhealthy.
const (
	HealthNone    = "none"
	HealthKill    = "kill" // what its restart policy says follows
	HealthRestart = "restart"
	HealthStop    = "stop"
)

// Size is the size of a terminal in characters.
type Size struct {
	Width  uint16 `json:"width,omitempty"`
	Height uint16 `json:"height,omitempty"`
}

// Sandbox is what a container is told of the pod that it lives in. Package pod
// makes it; paths are absolute on the host.
type Sandbox struct {
	ID       string
	Hostname string
	// CgroupParent is what the container's cgroup is made below: see
	// [cgroup.Place].
	CgroupParent string
	// Namespaces are what the pod gives; Config.Namespaces overrides by kind.
	Namespaces spec.Namespaces
	// Hosts, ResolvConf and HostnameFile are bind-mounted into the container
	// where they are not empty; Shm likewise at /dev/shm.
	Hosts, ResolvConf, HostnameFile, Shm string
}
