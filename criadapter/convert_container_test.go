package criadapter

import (
	"testing"
	"time"

	"github.com/containerd/errdefs"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/testing/protocmp"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/davit-containers/davit/ctr"
	"github.com/davit-containers/davit/ctr/spec"
)

// Every signal of the API becomes one that the domain knows, and comes back as
// itself or as its commoner name.
func TestSignals(t *testing.T) {
	for n := range runtimeapi.Signal_name {
		want := runtimeapi.Signal(n)
		name, err := signalName(want)
		if err != nil {
			t.Errorf("%s: %v", want, err)
			continue
		}
		if common, ok := synonyms()[want]; ok {
			want = common
		}
		if want == runtimeapi.Signal_SIGNAL_RUNTIME_DEFAULT {
			want = runtimeapi.Signal_SIGNAL_SIGTERM
		} else if _, err := spec.ParseSignal(name); err != nil {
			t.Errorf("%s: %v", want, err)
		}
		if got := stopSignal(ctr.Container{Config: ctr.Config{Stop: ctr.Stop{Signal: name}}}); got != want {
			t.Errorf("%s came back as %s, by %q", want, got, name)
		}
	}
	if _, err := signalName(500); !errdefs.IsInvalidArgument(err) {
		t.Errorf("signal 500: %v", err)
	}
}

func TestContainerState(t *testing.T) {
	for state, want := range map[ctr.State]runtimeapi.ContainerState{
		ctr.Creating: runtimeapi.ContainerState_CONTAINER_CREATED,
		ctr.Created:  runtimeapi.ContainerState_CONTAINER_CREATED,
		ctr.Running:  runtimeapi.ContainerState_CONTAINER_RUNNING,
		ctr.Paused:   runtimeapi.ContainerState_CONTAINER_RUNNING,
		ctr.Stopped:  runtimeapi.ContainerState_CONTAINER_EXITED,
		ctr.Removing: runtimeapi.ContainerState_CONTAINER_EXITED,
		"":           runtimeapi.ContainerState_CONTAINER_UNKNOWN,
	} {
		if got := containerState(&ctr.Container{Status: ctr.Status{State: state}}); got != want {
			t.Errorf("%q is %s, want %s", state, got, want)
		}
	}
}

// What nobody saw end has ended: with a time, and no code that says success.
func TestStatusOfWhatNobodySaw(t *testing.T) {
	created := time.Unix(100, 0)
	s := containerStatus(ctr.Container{Created: created, Status: ctr.Status{State: ctr.Stopped, Reason: ctr.ReasonReboot}})
	if s.ExitCode != unknownCode || s.FinishedAt != created.UnixNano() || s.StartedAt != 0 || s.Reason != ctr.ReasonReboot {
		t.Errorf("status %v", s)
	}
}

// Mounts come back as they were asked for; volumes are the runtime's own.
func TestMountsComeBack(t *testing.T) {
	asked := []*runtimeapi.Mount{
		{HostPath: "/a", ContainerPath: "/a"},
		{HostPath: "/b", ContainerPath: "/b", Readonly: true, SelinuxRelabel: true, MountOptions: []string{"noexec", "nosuid"}},
		{HostPath: "/c", ContainerPath: "/c", Readonly: true, RecursiveReadOnly: true},
		{HostPath: "/d", ContainerPath: "/d", Propagation: runtimeapi.MountPropagation_PROPAGATION_HOST_TO_CONTAINER},
		{HostPath: "/e", ContainerPath: "/e", Propagation: runtimeapi.MountPropagation_PROPAGATION_BIDIRECTIONAL},
		{HostPath: "/f", ContainerPath: "/f", UidMappings: []*runtimeapi.IDMapping{{HostId: 7, ContainerId: 0, Length: 9}}},
	}
	mounts, err := containerMounts(asked)
	if err != nil {
		t.Fatal(err)
	}
	mounts = append(mounts, spec.Mount{Type: spec.MountVolume, Source: "anonymous", Destination: "/v"})
	if d := cmp.Diff(asked, statusMounts(mounts), protocmp.Transform()); d != "" {
		t.Error(d)
	}
}

func TestMountsRefused(t *testing.T) {
	image := &runtimeapi.ImageSpec{Image: "x"}
	for name, m := range map[string]*runtimeapi.Mount{
		"nothing":                {},
		"no source":              {ContainerPath: "/a"},
		"no destination":         {HostPath: "/a"},
		"relative source":        {HostPath: "a", ContainerPath: "/a"},
		"NUL":                    {HostPath: "/a\x00b", ContainerPath: "/a"},
		"image and path":         {HostPath: "/a", ContainerPath: "/a", Image: image},
		"path in no image":       {HostPath: "/a", ContainerPath: "/a", ImageSubPath: "b"},
		"propagation":            {HostPath: "/a", ContainerPath: "/a", Propagation: 9},
		"recursive, writable":    {HostPath: "/a", ContainerPath: "/a", RecursiveReadOnly: true},
		"recursive, propagating": {HostPath: "/a", ContainerPath: "/a", Readonly: true, RecursiveReadOnly: true, Propagation: 1},
		"option with a value":    {HostPath: "/a", ContainerPath: "/a", MountOptions: []string{"lowerdir=/etc"}},
		"option for a field":     {HostPath: "/a", ContainerPath: "/a", Readonly: true, MountOptions: []string{"rw"}},
		"contradiction":          {HostPath: "/a", ContainerPath: "/a", MountOptions: []string{"exec", "noexec"}},
	} {
		if _, err := containerMounts([]*runtimeapi.Mount{m}); !errdefs.IsInvalidArgument(err) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := containerMounts([]*runtimeapi.Mount{nil}); !errdefs.IsInvalidArgument(err) {
		t.Errorf("nil: %v", err)
	}
}

// Limits come back as they were given, and those that cannot be are refused.
func TestLimits(t *testing.T) {
	asked := &runtimeapi.LinuxContainerResources{
		CpuPeriod: 100000, CpuQuota: -1, CpuShares: 512, MemoryLimitInBytes: 1 << 30, MemorySwapLimitInBytes: 2 << 30,
		OomScoreAdj: -998, CpusetCpus: "0-1", CpusetMems: "0", Unified: map[string]string{"memory.high": "1000"},
		HugepageLimits: []*runtimeapi.HugepageLimit{{PageSize: "2MB", Limit: 4 << 20}},
	}
	limits, err := containerLimits(asked)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(asked, linuxResources(limits), protocmp.Transform()); d != "" {
		t.Error(d)
	}
	if none, err := containerLimits(nil); err != nil || none.OOMScoreAdj != nil {
		t.Errorf("no limits: %v, %v", none, err)
	}
	for name, r := range map[string]*runtimeapi.LinuxContainerResources{
		"period": {CpuPeriod: -1}, "shares": {CpuShares: -1}, "memory": {MemoryLimitInBytes: -1},
		"score": {OomScoreAdj: 1001}, "low score": {OomScoreAdj: -1001},
	} {
		if _, err := containerLimits(r); !errdefs.IsInvalidArgument(err) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// In an update 0 is what is not specified; only a creation may mean it of the score.
func TestLimitsOfAnUpdate(t *testing.T) {
	cpus := &runtimeapi.LinuxContainerResources{CpusetCpus: "1"}
	made, err := containerLimits(cpus)
	if err != nil || made.OOMScoreAdj == nil || *made.OOMScoreAdj != 0 {
		t.Errorf("a creation without a score: %+v, %v", made, err)
	}
	for name, tt := range map[string]struct {
		asked *runtimeapi.LinuxContainerResources
		want  *int
	}{
		"nothing": {nil, nil}, "a cpuset alone": {cpus, nil}, "a score": {&runtimeapi.LinuxContainerResources{OomScoreAdj: -5}, new(-5)},
	} {
		limits, err := changedLimits(tt.asked)
		if d := cmp.Diff(tt.want, limits.OOMScoreAdj); d != "" || err != nil || limits.Resources.CPU.Cpus != tt.asked.GetCpusetCpus() {
			t.Errorf("%s: %+v, %v", name, limits, err)
		}
	}
	if _, err := changedLimits(&runtimeapi.LinuxContainerResources{OomScoreAdj: 1001}); !errdefs.IsInvalidArgument(err) {
		t.Errorf("a score that cannot be: %v", err)
	}
}

func TestContainerMatches(t *testing.T) {
	k := ctr.Container{ID: "abcdef", Config: ctr.Config{Sandbox: "123456", Labels: map[string]string{"a": "1", "b": "2"}}, Status: ctr.Status{State: ctr.Running}}
	running := &runtimeapi.ContainerStateValue{State: runtimeapi.ContainerState_CONTAINER_RUNNING}
	for _, tt := range []struct {
		name   string
		filter *runtimeapi.ContainerFilter
		want   bool
	}{
		{"nil", nil, true},
		{"empty", &runtimeapi.ContainerFilter{}, true},
		{"prefix", &runtimeapi.ContainerFilter{Id: "abc"}, true},
		{"another", &runtimeapi.ContainerFilter{Id: "bcd"}, false},
		{"all", &runtimeapi.ContainerFilter{Id: "abcdef", PodSandboxId: "123456", State: running, LabelSelector: map[string]string{"a": "1"}}, true},
		{"sandbox", &runtimeapi.ContainerFilter{PodSandboxId: "2"}, false},
		{"state", &runtimeapi.ContainerFilter{State: &runtimeapi.ContainerStateValue{}}, false},
		{"one label of two", &runtimeapi.ContainerFilter{LabelSelector: map[string]string{"a": "1", "b": "3"}}, false},
	} {
		if got := containerMatches(&k, tt.filter); got != tt.want {
			t.Errorf("%s: %v", tt.name, got)
		}
	}
}
