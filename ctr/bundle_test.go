package ctr

import (
	"errors"
	"testing"

	"github.com/containerd/errdefs"

	"github.com/davit-containers/davit/ctr/cgroup"
	"github.com/davit-containers/davit/ctr/spec"
)

// TestCgroupOfASpec: with systemd the runtime is told of a scope, and davit looks
// where systemd makes it.
func TestCgroupOfASpec(t *testing.T) {
	for _, tt := range []struct {
		name       string
		driver     cgroup.Driver
		parent     string
		off        bool
		spec, path string
		err        error
	}{
		{name: "cgroupfs", parent: "/kubepods/pod1/p", spec: "/kubepods/pod1/p/c", path: "/kubepods/pod1/p/c"},
		{name: "systemd", driver: cgroup.Driver{Systemd: true}, parent: "kubepods-pod1.slice",
			spec: "kubepods-pod1.slice:davit:c", path: "/kubepods.slice/kubepods-pod1.slice/davit-c.scope"},
		{name: "none", driver: cgroup.Driver{Systemd: true}, parent: "davit.slice", off: true},
		{name: "a pod of another driver", driver: cgroup.Driver{Systemd: true}, parent: "/davit/p", err: errdefs.ErrFailedPrecondition},
	} {
		t.Run(tt.name, func(t *testing.T) {
			k := Container{ID: "c", Config: Config{CgroupsOff: tt.off}}
			cgroupsPath, path, err := cgroupOf(tt.driver, k, Sandbox{CgroupParent: tt.parent})
			if !errors.Is(err, tt.err) {
				t.Fatalf("error %v, want %v", err, tt.err)
			}
			if err != nil {
				return
			}
			s, err := spec.Build(spec.Config{Rootfs: "/r", CgroupsPath: cgroupsPath, Process: spec.Process{Args: []string{"sh"}, Cwd: "/"}})
			if err != nil {
				t.Fatal(err)
			}
			if s.Linux.CgroupsPath != tt.spec || path != tt.path {
				t.Errorf("the spec has %q, the record %q; want %q and %q", s.Linux.CgroupsPath, path, tt.spec, tt.path)
			}
		})
	}
}
