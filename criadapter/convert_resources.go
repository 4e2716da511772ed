package criadapter

import (
	"math"

	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/davit-containers/davit/ctr"
	"github.com/davit-containers/davit/ctr/spec"
)

// containerLimits are the limits of a container; zero values are not set. Those
// of a request that has none leave all as it is.
func containerLimits(r *runtimeapi.LinuxContainerResources) (ctr.Limits, error) {
	if r == nil {
		return ctr.Limits{}, nil
	}
	for name, n := range map[string]int64{
		"cpu_period": r.GetCpuPeriod(), "cpu_shares": r.GetCpuShares(), "memory_limit_in_bytes": r.GetMemoryLimitInBytes(),
	} {
		if n < 0 {
			return ctr.Limits{}, invalid("%s is %d", name, n)
		}
	}
	if adj := r.GetOomScoreAdj(); adj < -1000 || adj > 1000 {
		return ctr.Limits{}, invalid("oom_score_adj %d is not between -1000 and 1000", adj)
	}
	out := ctr.Limits{OOMScoreAdj: new(int(r.GetOomScoreAdj()))}
	out.Resources = spec.Resources{
		Memory: spec.Memory{Limit: r.GetMemoryLimitInBytes(), Swap: r.GetMemorySwapLimitInBytes()},
		CPU: spec.CPU{
			Shares: uint64(r.GetCpuShares()), Quota: r.GetCpuQuota(), Period: uint64(r.GetCpuPeriod()),
			Cpus: r.GetCpusetCpus(), Mems: r.GetCpusetMems(),
		},
		Unified: r.GetUnified(),
	}
	for _, h := range r.GetHugepageLimits() {
		out.Resources.Huge = append(out.Resources.Huge, spec.HugepageLimit{PageSize: h.GetPageSize(), Limit: h.GetLimit()})
	}
	return out, nil
}

// linuxResources are the limits that a container has.
func linuxResources(l ctr.Limits) *runtimeapi.LinuxContainerResources {
	r := l.Resources
	out := &runtimeapi.LinuxContainerResources{
		CpuPeriod: signed(r.CPU.Period), CpuQuota: r.CPU.Quota, CpuShares: signed(r.CPU.Shares),
		MemoryLimitInBytes: r.Memory.Limit, MemorySwapLimitInBytes: r.Memory.Swap,
		CpusetCpus: r.CPU.Cpus, CpusetMems: r.CPU.Mems, Unified: r.Unified,
	}
	if l.OOMScoreAdj != nil {
		out.OomScoreAdj = int64(*l.OOMScoreAdj)
	}
	for _, h := range r.Huge {
		out.HugepageLimits = append(out.HugepageLimits, &runtimeapi.HugepageLimit{PageSize: h.PageSize, Limit: h.Limit})
	}
	return out
}

func signed(n uint64) int64 { return int64(min(n, math.MaxInt64)) } //nolint:gosec // bounded
