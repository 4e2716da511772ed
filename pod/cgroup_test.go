package pod

import (
	"errors"
	"testing"

	"github.com/containerd/errdefs"

	"github.com/davit-containers/davit/ctr"
	"github.com/davit-containers/davit/ctr/cgroup"
	"github.com/davit-containers/davit/ctr/record"
	"github.com/davit-containers/davit/ctr/spec"
)

// TestSlices: with systemd a pod's cgroup is nothing that davit makes, limits or
// removes; the test's host has none at all.
func TestSlices(t *testing.T) {
	c := testController(t, noNetworks{})
	kube := Kube{Name: "p", Namespace: "n", UID: "u"}
	limits := spec.Resources{Memory: spec.Memory{Limit: 1 << 26}}
	const slice = "kubepods-pod1.slice"
	for _, tt := range []struct {
		name     string
		cgroupfs bool
		config   Config
		want     Status
		parent   string
		err      error
	}{
		{name: "a kubelet's", config: Config{Kube: kube, CgroupParent: "/kubepods.slice/" + slice, Resources: limits},
			want: Status{Cgroup: "/kubepods.slice/" + slice, Slice: slice}, parent: slice},
		{name: "a person's", want: Status{Slice: "davit.slice"}, parent: "davit.slice"},
		{name: "a person's, with limits", config: Config{Resources: limits}, err: errdefs.ErrFailedPrecondition},
		{name: "a path", config: Config{Kube: kube, CgroupParent: "/kubepods/pod1"}, err: errdefs.ErrInvalidArgument},
		{name: "a slice for cgroupfs", cgroupfs: true, config: Config{Kube: kube, CgroupParent: slice}, err: errdefs.ErrInvalidArgument},
		{name: "none", config: Config{CgroupsOff: true}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c.o.CgroupDriver = cgroup.Driver{Systemd: !tt.cgroupfs, Parent: "/davit"}
			id := ctr.NewID()
			tt.config.Name = id
			tt.config.Owner = record.OwnerCLI
			if tt.config.Kube != (Kube{}) {
				tt.config.Owner = record.OwnerCRI
			}
			op, err := c.dir.Create(t.Context(), record.Meta{ID: id, Owner: tt.config.Owner, Key: id}, tt.config, Status{State: Created}, record.CreateOptions{})
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = op.End() }()
			s, err := c.makeCgroup(t.Context(), Sandbox{ID: id, Config: tt.config})
			if !errors.Is(err, tt.err) {
				t.Fatalf("error %v, want %v", err, tt.err)
			}
			if err != nil {
				return
			}
			if s.Status.Cgroup != tt.want.Cgroup || s.Status.Slice != tt.want.Slice || c.give(s).CgroupParent != tt.parent {
				t.Errorf("recorded %q and %q, the containers are given %q", s.Status.Cgroup, s.Status.Slice, c.give(s).CgroupParent)
			}
			if err := c.SetLimits(t.Context(), id, Limits{Resources: limits}); err != nil && tt.config.Owner == record.OwnerCRI {
				t.Error(err)
			}
			if err := c.makeRoom(s, ctr.Config{}); err != nil {
				t.Error(err)
			}
		})
	}
}
