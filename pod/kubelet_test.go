package pod

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/containerd/errdefs"

	"github.com/davit-containers/davit/ctr"
	"github.com/davit-containers/davit/ctr/record"
	"github.com/davit-containers/davit/ctr/spec"
)

// The kubelet has full IDs; a person at crictl has what its lists show, which is the
// beginning of one. Neither names nor what is the command line's are meant.
func TestShortIDs(t *testing.T) {
	c := testController(t, noNetworks{})
	sandbox := func(name string, owner record.Owner) string {
		s, err := c.Create(t.Context(), Config{Owner: owner, Name: name, Kube: Kube{Name: name}})
		if err != nil {
			t.Fatal(err)
		}
		return s.ID
	}
	pod, own := sandbox("pod", record.OwnerCRI), sandbox("own", record.OwnerCLI)
	id := func(begin string) string { return begin + strings.Repeat("0", fullID-len(begin)) }
	a := recorded(t, c, id("abc1"), ctr.Config{Owner: record.OwnerCRI, Sandbox: pod})
	b := recorded(t, c, id("abc2"), ctr.Config{Owner: record.OwnerCRI, Sandbox: pod})
	mine := recorded(t, c, id("abc3"), ctr.Config{Owner: record.OwnerCLI, Sandbox: own})
	infra := recorded(t, c, id("abd"), ctr.Config{Owner: record.OwnerCRI, Sandbox: pod, Infra: true})
	for _, tt := range []struct {
		ref, want string
		err       error
	}{
		{a, a, nil}, {a[:13], a, nil}, {"abc2", b, nil}, {"abc", "", errdefs.ErrInvalidArgument},
		{mine, "", errdefs.ErrNotFound}, {"abc3", "", errdefs.ErrNotFound}, {infra, "", errdefs.ErrNotFound}, {"abd", "", errdefs.ErrNotFound},
		{"k8s_" + a, "", errdefs.ErrNotFound}, {"", "", errdefs.ErrNotFound}, {"../" + a, "", errdefs.ErrNotFound}, {strings.Repeat("0", fullID), "", errdefs.ErrNotFound},
	} {
		if k, err := c.Made(t.Context(), tt.ref); k.ID != tt.want && err == nil || !errors.Is(err, tt.err) {
			t.Errorf("container %q is %q, %v", tt.ref, k.ID, err)
		}
	}
	for ref, want := range map[string]error{pod: nil, pod[:12]: nil, own: errdefs.ErrNotFound, own[:12]: errdefs.ErrNotFound, "pod": errdefs.ErrNotFound} {
		if s, err := c.GetSandbox(t.Context(), ref); !errors.Is(err, want) || err == nil && s.ID != pod {
			t.Errorf("sandbox %q is %q, %v", ref, s.ID, err)
		}
	}

	// Whatever is done by a short ID is done to the whole.
	if err := c.SetLimits(t.Context(), pod[:12], Limits{Resources: spec.Resources{Memory: spec.Memory{Limit: 1 << 20}}}); err != nil {
		t.Error(err)
	}
	if err := c.UpdateMade(t.Context(), "abc1", ctr.Limits{Resources: spec.Resources{CPU: spec.CPU{Shares: 77}}}); err != nil {
		t.Error(err)
	}
	if k, err := c.Made(t.Context(), a); err != nil || k.Limits().Resources.CPU.Shares != 77 {
		t.Errorf("updated: %+v, %v", k.Limits(), err)
	}
	if err := c.StopMade(t.Context(), "abc", time.Second); !errdefs.IsInvalidArgument(err) {
		t.Errorf("an ambiguous one is stopped: %v", err)
	}
	if err := c.StopMade(t.Context(), "abc1", time.Second); err != nil {
		t.Error(err)
	}
	if err := c.RemoveMade(t.Context(), "abc1"); err != nil {
		t.Error(err)
	}
	if _, err := c.Made(t.Context(), a); !errdefs.IsNotFound(err) {
		t.Errorf("removed: %v", err)
	}
	if err := c.StopSandbox(t.Context(), pod[:12]); err != nil {
		t.Error(err)
	}
	if err := c.RemoveSandbox(t.Context(), pod[:12]); err != nil {
		t.Error(err)
	}
	if _, err := c.GetSandbox(t.Context(), pod); !errdefs.IsNotFound(err) {
		t.Errorf("removed: %v", err)
	}
}

// A sandbox that was made without privileged containers takes one that the kubelet puts
// there later: kubectl debug's.
func TestPrivilegedLater(t *testing.T) {
	c := testController(t, noNetworks{})
	for _, tt := range []struct{ made, now, refused bool }{{refused: true}, {now: true}, {made: true}, {made: true, now: true}} {
		s, err := c.Create(t.Context(), Config{Owner: record.OwnerCRI, Privileged: tt.made, Network: Network{Mode: NetworkHost}, CgroupsOff: true, LogDir: "/l"})
		if err == nil {
			_, err = c.update(t.Context(), s, func(n *Status) { n.State = Ready })
		}
		if err != nil {
			t.Fatal(err)
		}
		cfg := ctr.Config{Sandbox: s.ID, Kube: ctr.Kube{Name: "debug"}, Security: spec.Security{Privileged: true}}
		cfg.Log.Path = "../out" // what is asked next
		_, err = c.MakeContainer(t.Context(), cfg, tt.now)
		if !errors.Is(err, errdefs.ErrInvalidArgument) || strings.Contains(err.Error(), "privileged") != tt.refused {
			t.Errorf("%+v: %v", tt, err)
		}
	}
}
