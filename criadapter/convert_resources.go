package criadapter

import (
	"math"
	"math/big"
	"strings"

	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/davit-containers/davit/ctr"
	"github.com/davit-containers/davit/ctr/spec"
)

// containerLimits are the limits of a container that is made; zero values are not
// set, but for the OOM score, whose 0 is one. A request that has none sets nothing.
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

// changedLimits are those that an update asks for. In an update 0 leaves everything
// as it is, the OOM score too: the API has no word for setting that back to 0.
func changedLimits(r *runtimeapi.LinuxContainerResources) (ctr.Limits, error) {
	out, err := containerLimits(r)
	if r.GetOomScoreAdj() == 0 {
		out.OOMScoreAdj = nil
	}
	return out, err
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

// quantity reads a whole number in Kubernetes' notation, "10M", "1.5Gi" or "1e6":
// rounded up, as there. The error says only that it is none.
func quantity(text string) (uint64, error) {
	end := strings.LastIndexAny(text, "0123456789.") + 1
	number, suffix := text[:end], text[end:]
	// big.Rat takes other notations too, and exponents that fill the memory.
	_, exponent, _ := strings.Cut(strings.ToLower(number), "e")
	if len(text) > 40 || len(exponent) > 3 || strings.ContainsAny(number, "/xXbBoOpP_") {
		return 0, invalid("quantity %.40q", text)
	}
	value, ok := new(big.Rat).SetString(number)
	if !ok {
		return 0, invalid("quantity %.40q", text)
	}
	factor, ok := map[string]int64{
		"": 1, "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12, "P": 1e15, "E": 1e18,
		"Ki": 1 << 10, "Mi": 1 << 20, "Gi": 1 << 30, "Ti": 1 << 40, "Pi": 1 << 50, "Ei": 1 << 60,
	}[suffix]
	divisor := int64(1)
	if suffix == "m" {
		factor, divisor, ok = 1, 1000, true
	}
	value.Mul(value, big.NewRat(factor, divisor))
	if !ok || value.Sign() < 0 {
		return 0, invalid("quantity %.40q", text)
	}
	whole := new(big.Int).Quo(value.Num(), value.Denom())
	if !value.IsInt() {
		whole.Add(whole, big.NewInt(1))
	}
	if !whole.IsUint64() {
		return 0, invalid("quantity %.40q", text)
	}
	return whole.Uint64(), nil
}
