package cgroup

import (
	"errors"
	"testing"

	"github.com/containerd/errdefs"
	"github.com/google/go-cmp/cmp"
)

func TestPodPlace(t *testing.T) {
	cgroupfs, systemd := Driver{}, Driver{Systemd: true}
	const pod, path = "kubepods-burstable-pod12.slice", "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod12.slice"
	for _, tt := range []struct {
		name       string
		driver     Driver
		own, asked string
		want       Place
		err        error
	}{
		{name: "cgroupfs, nobody asks", driver: cgroupfs, own: "/davit", want: Place{Path: "/davit/p", Parent: "/davit/p", Own: true}},
		{name: "cgroupfs, a kubelet", driver: cgroupfs, own: "/davit", asked: "/kubepods/burstable/pod12",
			want: Place{Path: "/kubepods/burstable/pod12/p", Parent: "/kubepods/burstable/pod12/p", Own: true}},
		{name: "cgroupfs, without a slash", driver: cgroupfs, own: "/davit", asked: "x", want: Place{Path: "/x/p", Parent: "/x/p", Own: true}},
		{name: "cgroupfs, a slice", driver: cgroupfs, own: "/davit", asked: pod, err: errdefs.ErrInvalidArgument},
		{name: "systemd, nobody asks", driver: systemd, own: "/davit", want: Place{Parent: "davit.slice"}},
		{name: "systemd, roots of its own", driver: systemd, own: "/davit-ab12cd", want: Place{Parent: "davit-ab12cd.slice"}},
		{name: "systemd, a kubelet", driver: systemd, own: "/davit", asked: path, want: Place{Path: path, Parent: pod}},
		{name: "systemd, a slice's name", driver: systemd, own: "/davit", asked: pod, want: Place{Path: path, Parent: pod}},
		{name: "systemd, the root", driver: systemd, own: "/davit", asked: "-.slice", want: Place{Parent: "-.slice"}},
		{name: "systemd, a path", driver: systemd, own: "/davit", asked: "/kubepods/burstable/pod12", err: errdefs.ErrInvalidArgument},
		{name: "systemd, no slice's name", driver: systemd, own: "/davit", asked: "a--b.slice", err: errdefs.ErrInvalidArgument},
		{name: "systemd, nothing but the suffix", driver: systemd, own: "/davit", asked: "/a.slice/.slice", err: errdefs.ErrInvalidArgument},
		{name: "systemd, a colon", driver: systemd, own: "/davit", asked: "a:b.slice", err: errdefs.ErrInvalidArgument},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tt.driver.Parent = tt.own
			got, err := tt.driver.Pod(tt.asked, "p")
			if !errors.Is(err, tt.err) {
				t.Fatalf("error %v, want %v", err, tt.err)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestContainerCgroup(t *testing.T) {
	cgroupfs, systemd := Driver{}, Driver{Systemd: true}
	for _, tt := range []struct {
		name       string
		driver     Driver
		parent     string
		spec, path string
		err        error
	}{
		{name: "cgroupfs", driver: cgroupfs, parent: "/davit/p", spec: "/davit/p/c", path: "/davit/p/c"},
		{name: "systemd", driver: systemd, parent: "davit.slice", spec: "davit.slice:davit:c", path: "/davit.slice/davit-c.scope"},
		{name: "systemd, a kubelet", driver: systemd, parent: "kubepods-pod12.slice",
			spec: "kubepods-pod12.slice:davit:c", path: "/kubepods.slice/kubepods-pod12.slice/davit-c.scope"},
		{name: "systemd, the root", driver: systemd, parent: "-.slice", spec: "-.slice:davit:c", path: "/davit-c.scope"},
		{name: "a path, now systemd", driver: systemd, parent: "/davit/p", err: errdefs.ErrFailedPrecondition},
		{name: "a slice, now cgroupfs", driver: cgroupfs, parent: "davit.slice", err: errdefs.ErrFailedPrecondition},
	} {
		t.Run(tt.name, func(t *testing.T) {
			spec, path, err := tt.driver.Container(tt.parent, "c")
			if !errors.Is(err, tt.err) {
				t.Fatalf("error %v, want %v", err, tt.err)
			}
			if spec != tt.spec || path != tt.path {
				t.Errorf("got %q and %q, want %q and %q", spec, path, tt.spec, tt.path)
			}
		})
	}
}
