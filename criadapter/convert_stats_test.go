package criadapter

import (
	"encoding/json"
	"errors"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/davit-containers/davit/ctr"
	"github.com/davit-containers/davit/ctr/cgroup"
	"github.com/davit-containers/davit/ctr/record"
	"github.com/davit-containers/davit/img"
	"github.com/davit-containers/davit/netw"
	"github.com/davit-containers/davit/pod"
)

// text is a message for comparing.
func text(t *testing.T, message any) string {
	t.Helper()
	data, err := json.MarshalIndent(message, "", " ")
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func busyContainer() ctr.Usage {
	at, rate := time.Unix(100, 5), uint64(500)
	k := ctr.Container{ID: "c1", Config: ctr.Config{
		Kube: ctr.Kube{Name: "web", Attempt: 2}, Labels: map[string]string{"app": "x"}, Annotations: map[string]string{"a": "b"},
		Image: ctr.Image{Ref: "web:1", ID: "abc", Name: "example.org/web:1"},
	}, Status: ctr.Status{State: ctr.Running, Cgroup: "/p/c1", StartedAt: time.Unix(90, 0)}}
	limit := uint64(1024)
	return ctr.Usage{
		Container: k, Rate: &rate,
		Stats: ctr.Stats{At: at, Stats: cgroup.Stats{
			CPU: cgroup.CPUStats{Usage: 3_900_000_000, User: 2e9, System: 1e9, Throttled: 4e9, Periods: 5, ThrottledPeriods: 6},
			Memory: cgroup.MemoryStats{
				Usage: 1000, Limit: 4096, WorkingSet: 800, RSS: 300, Cache: 200, Swap: 10, SwapLimit: 15, MaxUsage: 2000,
				PageFaults: 7, MajorPageFaults: 8, OwnPageFaults: 5, OwnMajorFaults: 6, OOMKills: 1, Failures: 2,
			},
			Pids:     cgroup.PidStats{Current: 4, Limit: 10},
			IO:       cgroup.IOStats{Devices: []cgroup.DeviceStats{{Device: "8:0", Name: "/dev/sda", ReadBytes: 1, WriteBytes: 2, ReadOps: 3, WriteOps: 4}}},
			Huge:     []cgroup.HugeStats{{Size: "2MB", Usage: 1, Max: 2}},
			Pressure: &cgroup.PressureStats{CPU: cgroup.Pressure{Some: cgroup.Stall{Total: 2e9, Avg10: 1.5}, Full: cgroup.Stall{Total: 1e9}}},
		}},
		Layer:   &img.LayerUsage{At: at, Root: "/var/lib/x", Bytes: 11, Inodes: 12, Capacity: 13, InodesTotal: 14, InodesFree: 15},
		Details: &ctr.Details{Processes: 3, OpenFiles: 20, Sockets: 2, OpenFilesLimit: &limit, Limits: cgroup.Current{CPUShares: 2, Memory: 4096}},
	}
}

func busyPod() pod.Usage {
	rate := uint64(700)
	return pod.Usage{
		Sandbox: pod.Sandbox{ID: "p1", Config: pod.Config{
			Kube: pod.Kube{Name: "shop", Namespace: "prod", UID: "u", Attempt: 1}, Labels: map[string]string{"app": "x"},
		}, Status: pod.Status{State: pod.Ready, Cgroup: "/p", Attachment: netw.Attachment{Interfaces: []netw.Interface{{Name: "eth0"}, {Name: "net1"}}}}},
		Stats: ctr.Stats{At: time.Unix(100, 0), Stats: cgroup.Stats{CPU: cgroup.CPUStats{Usage: 42}}}, Rate: &rate, Processes: 5,
		Interfaces: []pod.Interface{{Name: "net1"}, {Name: "eth0", Rx: traffic(1), Tx: traffic(11)}},
		Containers: []ctr.Usage{busyContainer()},
	}
}

func TestContainerStats(t *testing.T) {
	psi := &runtimeapi.PsiStats{Some: &runtimeapi.PsiData{Total: 2e9, Avg10: 1.5}, Full: &runtimeapi.PsiData{Total: 1e9}}
	none := &runtimeapi.PsiStats{Some: &runtimeapi.PsiData{}, Full: &runtimeapi.PsiData{}}
	const at = 100_000_000_005
	want := &runtimeapi.ContainerStats{
		Attributes: &runtimeapi.ContainerAttributes{Id: "c1", Metadata: &runtimeapi.ContainerMetadata{Name: "web", Attempt: 2},
			Labels: map[string]string{"app": "x"}, Annotations: map[string]string{"a": "b"}},
		Cpu: &runtimeapi.CpuUsage{Timestamp: at, UsageCoreNanoSeconds: number(3_900_000_000), UsageNanoCores: number(500), Psi: psi},
		Memory: &runtimeapi.MemoryUsage{Timestamp: at, WorkingSetBytes: number(800), AvailableBytes: number(3296), UsageBytes: number(1000),
			RssBytes: number(300), PageFaults: number(7), MajorPageFaults: number(8), Psi: none},
		WritableLayer: &runtimeapi.FilesystemUsage{Timestamp: at, FsId: &runtimeapi.FilesystemIdentifier{Mountpoint: "/var/lib/x"},
			UsedBytes: number(11), InodesUsed: number(12)},
		Swap: &runtimeapi.SwapUsage{Timestamp: at, SwapAvailableBytes: number(5), SwapUsageBytes: number(10)},
		Io:   &runtimeapi.IoUsage{Timestamp: at, Psi: none},
	}
	if diff := cmp.Diff(text(t, want), text(t, containerStats(busyContainer()))); diff != "" {
		t.Error(diff)
	}
	// Version 1 tells no pressure, a first reading no rate, no limit nothing that is available.
	u := busyContainer()
	u.Rate, u.Layer, u.Stats.Pressure, u.Stats.Memory.Limit, u.Stats.Memory.SwapLimit = nil, nil, nil, 0, 0
	got := containerStats(u)
	if got.Cpu.UsageNanoCores != nil || got.Cpu.Psi != nil || got.Memory.Psi != nil || got.Io != nil || got.WritableLayer != nil ||
		got.Memory.AvailableBytes != nil || got.Swap.SwapAvailableBytes != nil {
		t.Errorf("got %s", text(t, got))
	}
	if got := containerStats(ctr.Usage{}); got.Cpu != nil || got.Memory != nil || got.Swap != nil {
		t.Errorf("one that does not run: %s", text(t, got))
	}
}

func TestPodStats(t *testing.T) {
	got := podStats(busyPod())
	n := got.Linux.Network
	if n.DefaultInterface.GetName() != "eth0" || n.DefaultInterface.RxBytes.Value != 1 || n.DefaultInterface.TxErrors.Value != 13 ||
		len(n.Interfaces) != 1 || n.Interfaces[0].Name != "net1" || n.Timestamp == 0 {
		t.Errorf("network: %s", text(t, n))
	}
	if got.Attributes.Metadata.Namespace != "prod" || got.Linux.Process.ProcessCount.Value != 5 || len(got.Linux.Containers) != 1 ||
		got.Linux.Cpu.UsageNanoCores.Value != 700 {
		t.Errorf("got %s", text(t, got))
	}
	// The default interface is the first that was attached, whatever its name; kubelets
	// cannot do without it.
	for _, tt := range []struct {
		name               string
		attached, counters []string
		want               string
	}{
		{name: "no interfaces"},
		{name: "none attached", counters: []string{"dummy0"}},
		{name: "none counted", attached: []string{"eth0"}},
		{name: "the first is gone", attached: []string{"eth0", "net1"}, counters: []string{"net1"}},
		{name: "another name", attached: []string{"ens0", "eth0"}, counters: []string{"eth0", "ens0"}, want: "ens0"},
	} {
		u := pod.Usage{}
		for _, name := range tt.attached {
			u.Sandbox.Status.Attachment.Interfaces = append(u.Sandbox.Status.Attachment.Interfaces, netw.Interface{Name: name})
		}
		for _, name := range tt.counters {
			u.Interfaces = append(u.Interfaces, pod.Interface{Name: name})
		}
		n := podStats(u).Linux.Network
		if n.GetDefaultInterface().GetName() != tt.want || tt.want == "" && n != nil {
			t.Errorf("%s: %s", tt.name, text(t, n))
		}
	}
}

func TestStatsFilters(t *testing.T) {
	k := func(id, sandbox string, owner record.Owner, infra bool) ctr.Container {
		return ctr.Container{ID: id, Config: ctr.Config{Sandbox: sandbox, Owner: owner, Infra: infra, Labels: map[string]string{"of": id}}}
	}
	all := []ctr.Container{
		k("aa1", "p1", record.OwnerCRI, false), k("ab2", "p2", record.OwnerCRI, false), k("ac3", "p1", record.OwnerCRI, true), k("ad4", "p1", record.OwnerCLI, false),
	}
	tests := []struct {
		name   string
		filter *runtimeapi.ContainerStatsFilter
		want   []string
	}{
		{"none", nil, []string{"aa1", "ab2"}},
		{"empty", &runtimeapi.ContainerStatsFilter{}, []string{"aa1", "ab2"}},
		{"by ID", &runtimeapi.ContainerStatsFilter{Id: "ab2"}, []string{"ab2"}},
		{"by the beginning of an ID", &runtimeapi.ContainerStatsFilter{Id: "aa"}, []string{"aa1"}},
		{"by pod", &runtimeapi.ContainerStatsFilter{PodSandboxId: "p2"}, []string{"ab2"}},
		{"by label", &runtimeapi.ContainerStatsFilter{LabelSelector: map[string]string{"of": "aa1"}}, []string{"aa1"}},
		{"by all of them", &runtimeapi.ContainerStatsFilter{Id: "aa1", PodSandboxId: "p2"}, nil},
		{"an absent ID", &runtimeapi.ContainerStatsFilter{Id: "zz"}, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var got []string
			for _, k := range statsContainers(all, tt.filter) {
				got = append(got, k.ID)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
	pods := []pod.Sandbox{
		{ID: "p1", Config: pod.Config{Owner: record.OwnerCRI}, Status: pod.Status{State: pod.Ready}},
		{ID: "p2", Config: pod.Config{Owner: record.OwnerCRI}, Status: pod.Status{State: pod.NotReady}},
		{ID: "p3", Config: pod.Config{Owner: record.OwnerCLI}, Status: pod.Status{State: pod.Ready}},
	}
	if got := statsPods(pods, nil); len(got) != 1 || got[0].ID != "p1" {
		t.Errorf("pods: %+v", got)
	}
}

// Each item once, in messages that a client takes.
func TestSendChunks(t *testing.T) {
	var items []*runtimeapi.Image
	for i := range 50 {
		items = append(items, &runtimeapi.Image{Id: strconv.Itoa(i), Username: strings.Repeat("x", chunkBytes/10)})
	}
	items = append(items, &runtimeapi.Image{Id: "50", Username: strings.Repeat("x", 2*chunkBytes)})
	next, messages := 0, 0
	err := sendChunks(items, func(part []*runtimeapi.Image) error {
		if messages++; len(part) == 0 || len(part) > 10 {
			t.Errorf("a message of %d", len(part))
		}
		for _, i := range part {
			if i.Id != strconv.Itoa(next) {
				t.Errorf("item %s, want %d", i.Id, next)
			}
			next++
		}
		return nil
	})
	if err != nil || next != len(items) || messages < 6 {
		t.Errorf("%d items in %d messages, %v", next, messages, err)
	}
	if err := sendChunks([]*runtimeapi.Image(nil), func([]*runtimeapi.Image) error { t.Error("a message with nothing in it"); return nil }); err != nil {
		t.Error(err)
	}
	gone := errors.New("gone")
	if err := sendChunks(items, func([]*runtimeapi.Image) error { return gone }); !errors.Is(err, gone) {
		t.Errorf("got %v", err)
	}
}
