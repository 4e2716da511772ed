package pod

import (
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/davit-containers/davit/ctr"
	"github.com/davit-containers/davit/ctr/cgroup"
	"github.com/davit-containers/davit/ctr/record"
	"github.com/davit-containers/davit/ctr/spec"
)

// recorded puts a container of the kubelet's on record, created, which no Controller
// of the test could make.
func recorded(t *testing.T, c *Controller, id string, cfg ctr.Config) string {
	t.Helper()
	dir, err := record.Open[ctr.Config, ctr.Status](record.Options{Paths: c.o.Paths, Kind: "containers"})
	if err != nil {
		t.Fatal(err)
	}
	cfg.Name, cfg.Rootfs = "k8s_"+id, t.TempDir() // of no image
	op, err := dir.Create(t.Context(), record.Meta{ID: id, Owner: cfg.Owner, Key: cfg.Name}, cfg, ctr.Status{State: ctr.Created}, record.CreateOptions{})
	if err == nil {
		err = op.End()
	}
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// A sandbox's limits are its containers' sum as long as each of them has one: now, not
// when it was made.
func TestSumOfLimits(t *testing.T) {
	limited := spec.Resources{Memory: spec.Memory{Limit: 1 << 20}, CPU: spec.CPU{Quota: 5000}}
	kept := Limits{Resources: spec.Resources{Memory: spec.Memory{Limit: 4 << 20}, CPU: spec.CPU{Quota: 20000}}, Overhead: limited}
	made := func(r spec.Resources, now *ctr.Limits) ctr.Container {
		return ctr.Container{Config: ctr.Config{Resources: r}, Status: ctr.Status{Limits: now}}
	}
	for _, tt := range []struct {
		name          string
		k             ctr.Container
		memory, quota int64
	}{
		{"limited", made(limited, nil), 5 << 20, 25000},
		{"not limited", made(spec.Resources{}, nil), -1, -1},
		{"limited since", made(spec.Resources{}, &ctr.Limits{Resources: limited}), 5 << 20, 25000},
		{"let loose since", made(limited, &ctr.Limits{Resources: spec.Resources{Memory: limited.Memory, CPU: spec.CPU{Quota: -1}}}), 5 << 20, -1},
	} {
		got := kept.sum([]ctr.Container{tt.k, made(limited, nil)})
		if got.Memory.Limit != tt.memory || got.CPU.Quota != tt.quota {
			t.Errorf("%s: memory %d, quota %d", tt.name, got.Memory.Limit, got.CPU.Quota)
		}
	}
}

// What could not be set of a sandbox's limits is tried again on both sides of a change
// of its containers', which does not fail for it.
func TestUpdateSetsSandboxLimits(t *testing.T) {
	c := testController(t, noNetworks{})
	s, err := c.Create(t.Context(), Config{Owner: record.OwnerCRI, Kube: Kube{Name: "p", Namespace: "n"}})
	if err == nil {
		_, err = c.update(t.Context(), s, func(n *Status) { n.Cgroup = "/p" })
	}
	if err != nil {
		t.Fatal(err)
	}
	id := recorded(t, c, ctr.NewID(), ctr.Config{Owner: record.OwnerCRI, Sandbox: s.ID})
	var quotas []int64
	c.o.Cgroups = func() (*cgroup.Host, error) {
		k, err := c.Made(t.Context(), id)
		quotas = append(quotas, k.Limits().Resources.CPU.Quota)
		return nil, errors.Join(errors.New("not yet"), err)
	}
	if err := c.SetLimits(t.Context(), s.ID, Limits{Resources: spec.Resources{CPU: spec.CPU{Quota: 9000}}}); err != nil {
		t.Error(err)
	}
	quotas = nil
	if err := c.UpdateMade(t.Context(), id, ctr.Limits{Resources: spec.Resources{CPU: spec.CPU{Quota: 7000}}}); err != nil {
		t.Error(err)
	}
	if d := cmp.Diff([]int64{0, 7000}, quotas); d != "" {
		t.Errorf("the sandbox's limits are set while the container has these quotas: %s", d)
	}
}
