package criadapter

import (
	"strings"

	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/davit-containers/davit/ctr"
	"github.com/davit-containers/davit/pod"
)

// begins tells whether an ID is meant by what a filter has, which may be the
// beginning of it; an empty one means all.
func begins(id, filter string) bool { return strings.HasPrefix(id, filter) }

func containerStats(u ctr.Usage) *runtimeapi.ContainerStats {
	k := u.Container
	out := &runtimeapi.ContainerStats{
		Attributes: &runtimeapi.ContainerAttributes{
			Id: k.ID, Metadata: containerMetadata(&k), Labels: k.Config.Labels, Annotations: k.Config.Annotations,
		},
		WritableLayer: writableLayer(u),
	}
	if u.Stats.At.IsZero() {
		return out // it does not run
	}
	out.Cpu, out.Memory, out.Io = cpuUsage(u.Stats, u.Rate), memoryUsage(u.Stats), ioUsage(u.Stats)
	out.Swap = swapUsage(u.Stats)
	return out
}

func podStats(u pod.Usage) *runtimeapi.PodSandboxStats {
	s := u.Sandbox
	linux := &runtimeapi.LinuxPodSandboxStats{
		Cpu: cpuUsage(u.Stats, u.Rate), Memory: memoryUsage(u.Stats), Io: ioUsage(u.Stats), Network: networkUsage(u),
		Process: &runtimeapi.ProcessUsage{Timestamp: u.Stats.At.UnixNano(), ProcessCount: number(u.Processes)},
	}
	for _, k := range u.Containers {
		linux.Containers = append(linux.Containers, containerStats(k))
	}
	return &runtimeapi.PodSandboxStats{
		Attributes: &runtimeapi.PodSandboxAttributes{
			Id: s.ID, Metadata: podMetadata(&s), Labels: s.Config.Labels, Annotations: s.Config.Annotations,
		},
		Linux: linux,
	}
}

func number(n uint64) *runtimeapi.UInt64Value { return &runtimeapi.UInt64Value{Value: n} }

func cpuUsage(s ctr.Stats, rate *uint64) *runtimeapi.CpuUsage {
	out := &runtimeapi.CpuUsage{Timestamp: s.At.UnixNano(), UsageCoreNanoSeconds: number(s.CPU.Usage)}
	if rate != nil {
		out.UsageNanoCores = number(*rate)
	}
	if s.Pressure != nil {
		out.Psi = psi(s.Pressure.CPU)
	}
	return out
}

func memoryUsage(s ctr.Stats) *runtimeapi.MemoryUsage {
	m := s.Memory
	out := &runtimeapi.MemoryUsage{
		Timestamp: s.At.UnixNano(), WorkingSetBytes: number(m.WorkingSet), UsageBytes: number(m.Usage), RssBytes: number(m.RSS),
		PageFaults: number(m.PageFaults), MajorPageFaults: number(m.MajorPageFaults),
	}
	if m.Limit > 0 {
		out.AvailableBytes = number(above(m.Limit, m.WorkingSet))
	}
	if s.Pressure != nil {
		out.Psi = psi(s.Pressure.Memory)
	}
	return out
}

func swapUsage(s ctr.Stats) *runtimeapi.SwapUsage {
	out := &runtimeapi.SwapUsage{Timestamp: s.At.UnixNano(), SwapUsageBytes: number(s.Memory.Swap)}
	if s.Memory.SwapLimit > 0 {
		out.SwapAvailableBytes = number(above(s.Memory.SwapLimit, s.Memory.Swap))
	}
	return out
}

// ioUsage is nil where the kernel does not tell how long one waits.
func ioUsage(s ctr.Stats) *runtimeapi.IoUsage {
	if s.Pressure == nil {
		return nil
	}
	return &runtimeapi.IoUsage{Timestamp: s.At.UnixNano(), Psi: psi(s.Pressure.IO)}
}

func psi(p ctr.Pressure) *runtimeapi.PsiStats {
	return &runtimeapi.PsiStats{
		Full: &runtimeapi.PsiData{Total: p.Full.Total, Avg10: p.Full.Avg10, Avg60: p.Full.Avg60, Avg300: p.Full.Avg300},
		Some: &runtimeapi.PsiData{Total: p.Some.Total, Avg10: p.Some.Avg10, Avg60: p.Some.Avg60, Avg300: p.Some.Avg300},
	}
}

func writableLayer(u ctr.Usage) *runtimeapi.FilesystemUsage {
	if u.Layer == nil {
		return nil
	}
	return &runtimeapi.FilesystemUsage{
		Timestamp: u.Layer.At.UnixNano(), FsId: &runtimeapi.FilesystemIdentifier{Mountpoint: u.Layer.Root},
		UsedBytes: number(u.Layer.Bytes), InodesUsed: number(u.Layer.Inodes),
	}
}

// networkUsage has the first interface that was attached as the default one. It is
// nil without the counters of that: kubelets read them unseen.
func networkUsage(u pod.Usage) *runtimeapi.NetworkUsage {
	attached := u.Sandbox.Status.Attachment.Interfaces
	if len(attached) == 0 {
		return nil
	}
	out := &runtimeapi.NetworkUsage{Timestamp: u.Stats.At.UnixNano()}
	for _, i := range u.Interfaces {
		one := &runtimeapi.NetworkInterfaceUsage{
			Name: i.Name, RxBytes: number(i.Rx.Bytes), RxErrors: number(i.Rx.Errors),
			TxBytes: number(i.Tx.Bytes), TxErrors: number(i.Tx.Errors),
		}
		if i.Name == attached[0].Name {
			out.DefaultInterface = one
		} else {
			out.Interfaces = append(out.Interfaces, one)
		}
	}
	if out.DefaultInterface == nil {
		return nil
	}
	return out
}

// above is how much of a limit is left.
func above(limit, used uint64) uint64 {
	if used > limit {
		return 0
	}
	return limit - used
}
