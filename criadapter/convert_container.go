package criadapter

import (
	"encoding/json"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/davit-containers/davit/ctr"
	"github.com/davit-containers/davit/ctr/record"
	"github.com/davit-containers/davit/ctr/spec"
)

// containerConfig is what CreateContainer asks for.
func containerConfig(r *runtimeapi.CreateContainerRequest) (ctr.Config, error) {
	c := r.GetConfig()
	switch {
	case c == nil:
		return ctr.Config{}, invalid("the request has no container configuration")
	case c.GetMetadata() == nil:
		return ctr.Config{}, invalid("the container has no metadata")
	case c.GetImage().GetImage() == "":
		return ctr.Config{}, invalid("the container has no image")
	}
	out := ctr.Config{
		Owner: record.OwnerCRI, Sandbox: r.GetPodSandboxId(),
		Kube:   ctr.Kube{Name: c.GetMetadata().GetName(), Attempt: c.GetMetadata().GetAttempt()},
		Image:  ctr.Image{Ref: c.GetImage().GetImage(), Asked: c.GetImage().GetUserSpecifiedImage()},
		Labels: c.GetLabels(), Annotations: c.GetAnnotations(), Log: ctr.Log{Path: c.GetLogPath()},
	}
	var err error
	if out.Process, err = containerProcess(c); err != nil {
		return out, err
	}
	if out.Stop.Signal, err = signalName(c.GetStopSignal()); err != nil {
		return out, err
	}
	if out.Mounts, err = containerMounts(c.GetMounts()); err != nil {
		return out, err
	}
	if out.Devices, err = containerDevices(c.GetDevices()); err != nil {
		return out, err
	}
	for _, d := range c.GetCDIDevices() {
		out.CDIDevices = append(out.CDIDevices, d.GetName())
	}
	if err := containerSecurity(c.GetLinux().GetSecurityContext(), &out); err != nil {
		return out, err
	}
	limits, err := containerLimits(c.GetLinux().GetResources())
	if err != nil {
		return out, err
	}
	out.Resources, out.Process.OOMScoreAdj = limits.Resources, limits.OOMScoreAdj
	return out, nil
}

// containerProcess: a command takes the place of the image's entrypoint and
// command, arguments alone that of its command.
func containerProcess(c *runtimeapi.ContainerConfig) (ctr.Process, error) {
	p := ctr.Process{
		Command: c.GetArgs(), WorkingDir: c.GetWorkingDir(),
		Terminal: c.GetTty(), Stdin: c.GetStdin(), StdinOnce: c.GetStdinOnce(),
	}
	if len(c.GetCommand()) > 0 {
		p.Entrypoint = c.GetCommand()
	}
	for _, e := range c.GetEnvs() {
		key, value := e.GetKey(), string(e.GetValue())
		if key == "" || strings.ContainsAny(key, "=\x00") || strings.ContainsRune(value, 0) {
			return p, invalid("environment variable %q cannot be", key)
		}
		p.Env = append(p.Env, key+"="+value)
	}
	return p, nil
}

// synonyms are names of signals that have a commoner one.
func synonyms() map[runtimeapi.Signal]runtimeapi.Signal {
	return map[runtimeapi.Signal]runtimeapi.Signal{
		runtimeapi.Signal_SIGNAL_SIGCLD:  runtimeapi.Signal_SIGNAL_SIGCHLD,
		runtimeapi.Signal_SIGNAL_SIGIOT:  runtimeapi.Signal_SIGNAL_SIGABRT,
		runtimeapi.Signal_SIGNAL_SIGPOLL: runtimeapi.Signal_SIGNAL_SIGIO,
	}
}

// signalName is a signal as the domain spells it; empty for the default one.
func signalName(s runtimeapi.Signal) (string, error) {
	if s == runtimeapi.Signal_SIGNAL_RUNTIME_DEFAULT {
		return "", nil
	}
	if common, ok := synonyms()[s]; ok {
		s = common
	}
	name, ok := strings.CutPrefix(s.String(), "SIGNAL_")
	if !ok {
		return "", invalid("stop signal %d is unknown", s)
	}
	return strings.NewReplacer("MINPLUS", "MIN+", "MAXMINUS", "MAX-").Replace(name), nil
}

// stopSignal is the signal that stops a container.
func stopSignal(k ctr.Container) runtimeapi.Signal {
	sig, _ := k.Config.Stop.Ends()
	name := spec.SignalName(sig)
	if n, ok := strings.CutPrefix(name, "SIGRTMIN+"); ok {
		name = "SIGRTMINPLUS" + n
		// The API counts from the nearer end.
		if plus, _ := strconv.Atoi(n); plus == 30 {
			name = "SIGRTMAX"
		} else if plus > 15 {
			name = "SIGRTMAXMINUS" + strconv.Itoa(30-plus)
		}
	}
	return runtimeapi.Signal(runtimeapi.Signal_value["SIGNAL_"+name])
}

// stopTimeout is the time before a container is killed.
func stopTimeout(seconds int64) (time.Duration, error) {
	if seconds < 0 {
		return 0, invalid("a timeout of %d s", seconds)
	}
	return time.Duration(min(seconds, math.MaxInt32)) * time.Second, nil
}

// containerState: what is on its way out has ended.
func containerState(k *ctr.Container) runtimeapi.ContainerState {
	switch k.Status.State {
	case ctr.Creating, ctr.Created:
		return runtimeapi.ContainerState_CONTAINER_CREATED
	case ctr.Running, ctr.Paused:
		return runtimeapi.ContainerState_CONTAINER_RUNNING
	case ctr.Stopped, ctr.Removing:
		return runtimeapi.ContainerState_CONTAINER_EXITED
	}
	return runtimeapi.ContainerState_CONTAINER_UNKNOWN
}

// imageSpec is an image as whoever wrote the pod knows it.
func imageSpec(k *ctr.Container) *runtimeapi.ImageSpec {
	out := &runtimeapi.ImageSpec{Image: k.Config.Image.Ref, UserSpecifiedImage: k.Config.Image.Asked}
	if out.UserSpecifiedImage != "" {
		out.Image = out.UserSpecifiedImage
	}
	return out
}

// imageRef is the digest by which an image is known to its registry, else its ID.
func imageRef(k *ctr.Container) string {
	if d := k.Config.Image.Digested; d != "" {
		return d
	}
	return imageID(k.Config.Image.ID)
}

// containerItem is a container as lists show it.
func containerItem(k *ctr.Container) *runtimeapi.Container {
	return &runtimeapi.Container{
		Id: k.ID, PodSandboxId: k.Config.Sandbox, Metadata: containerMetadata(k), Image: imageSpec(k),
		ImageRef: imageRef(k), ImageId: imageID(k.Config.Image.ID), State: containerState(k),
		CreatedAt: nanoseconds(k.Created), Labels: k.Config.Labels, Annotations: k.Config.Annotations,
	}
}

// containerMatches says whether a list with that filter, which may be nil, shows
// a container.
func containerMatches(k *ctr.Container, f *runtimeapi.ContainerFilter) bool {
	switch {
	case !strings.HasPrefix(k.ID, f.GetId()), !strings.HasPrefix(k.Config.Sandbox, f.GetPodSandboxId()):
		return false
	case f.GetState() != nil && f.GetState().GetState() != containerState(k):
		return false
	}
	return labelsMatch(k.Config.Labels, f.GetLabelSelector())
}

// unknownCode is the exit code of what nobody saw end.
const unknownCode = 255

// containerStatus is a container as ContainerStatus and events show it.
func containerStatus(k ctr.Container) *runtimeapi.ContainerStatus {
	s := k.Status
	out := &runtimeapi.ContainerStatus{
		Id: k.ID, Metadata: containerMetadata(&k), State: containerState(&k),
		CreatedAt: nanoseconds(k.Created), StartedAt: nanoseconds(s.StartedAt),
		Image: imageSpec(&k), ImageRef: imageRef(&k), ImageId: imageID(k.Config.Image.ID),
		Reason: s.Reason, Message: s.Message, Labels: k.Config.Labels, Annotations: k.Config.Annotations,
		Mounts: statusMounts(k.Config.Mounts), LogPath: k.Config.Log.Path,
		Resources:  &runtimeapi.ContainerResources{Linux: linuxResources(k.Limits())},
		StopSignal: stopSignal(k), User: containerUser(s.User),
	}
	if out.State != runtimeapi.ContainerState_CONTAINER_EXITED {
		return out
	}
	if out.FinishedAt = nanoseconds(s.FinishedAt); out.FinishedAt == 0 {
		out.FinishedAt = max(out.StartedAt, out.CreatedAt) // nobody saw it, but it has ended
	}
	out.ExitCode = unknownCode
	if s.CodeKnown {
		out.ExitCode = int32(s.ExitCode) //nolint:gosec // a byte, or 128+n
	}
	return out
}

func containerUser(u *spec.User) *runtimeapi.ContainerUser {
	if u == nil {
		return nil
	}
	out := &runtimeapi.LinuxContainerUser{Uid: int64(u.UID), Gid: int64(u.GID)}
	for _, g := range u.AdditionalGIDs {
		out.SupplementalGroups = append(out.SupplementalGroups, int64(g))
	}
	return &runtimeapi.ContainerUser{Linux: out}
}

func nanoseconds(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixNano()
}

// containerInfo is what a verbose status tells besides, for people and for
// scripts; bundle is the runtime spec, empty for what has none.
func containerInfo(k ctr.Container, bundle []byte) (map[string]string, error) {
	info := struct {
		SandboxID   string          `json:"sandboxID"`
		Pid         int             `json:"pid"`
		MonitorPid  int             `json:"monitorPid,omitempty"`
		Removing    bool            `json:"removing"`
		SnapshotKey string          `json:"snapshotKey"`
		Rootfs      string          `json:"rootfs,omitempty"`
		Cgroup      string          `json:"cgroup,omitempty"`
		Runtime     string          `json:"runtimeType,omitempty"`
		State       ctr.State       `json:"state"`
		Operation   *record.Holder  `json:"operation,omitempty"`
		Config      ctr.Config      `json:"config"`
		RuntimeSpec json.RawMessage `json:"runtimeSpec,omitempty"`
	}{
		SandboxID: k.Config.Sandbox, Pid: k.Status.Pid, MonitorPid: k.Status.MonitorPid,
		Removing: k.Status.State == ctr.Removing, SnapshotKey: k.ID, Rootfs: k.Status.Mounted,
		Cgroup: k.Status.Cgroup, Runtime: k.Config.Runtime, State: k.Status.State,
		Operation: k.Op, Config: k.Config, RuntimeSpec: bundle,
	}
	data, err := json.Marshal(info)
	if err != nil {
		return nil, fmt.Errorf("encoding information on container %q: %w", k.ID, err)
	}
	return map[string]string{"info": string(data)}, nil
}
