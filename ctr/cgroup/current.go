package cgroup

import (
	"fmt"
	"strconv"
	"strings"
)

// Current are the limits that a cgroup has now, whoever set them; 0 is none.
type Current struct {
	// CPUShares are version 1's; a weight of version 2 is converted.
	CPUShares, CPUQuota, CPUPeriod uint64
	Memory, Reservation            uint64
	// Swap is the limit of swap alone.
	Swap uint64
}

// ReadCurrent reads the limits of a cgroup; all are 0 of one that is not there.
func ReadCurrent(h *Host, path string) (Current, error) {
	if err := checkPath(path); err != nil {
		return Current{}, err
	}
	r := reader{h: h, path: path, buf: make([]byte, firstRead)}
	var c Current
	if h.Version == 2 {
		c = r.current2()
	} else {
		c = r.current1()
	}
	if r.err != nil {
		return c, fmt.Errorf("reading limits of cgroup %q: %w", path, r.err)
	}
	return c, nil
}

func (r *reader) current1() Current {
	c := Current{
		CPUShares: r.number("cpu", "cpu.shares"), CPUPeriod: r.number("cpu", "cpu.cfs_period_us"),
		CPUQuota: r.number("cpu", "cpu.cfs_quota_us"), // -1 reads as 0
		Memory:   r.number("memory", "memory.limit_in_bytes"), Reservation: r.number("memory", "memory.soft_limit_in_bytes"),
	}
	memsw := r.number("memory", "memory.memsw.limit_in_bytes")
	for _, n := range []*uint64{&c.Memory, &c.Reservation, &memsw} {
		if *n >= unlimited {
			*n = 0
		}
	}
	c.Swap = less(memsw, c.Memory)
	return c
}

func (r *reader) current2() Current {
	c := Current{
		CPUShares: sharesOf(r.number("", "cpu.weight")),
		Memory:    r.number("", "memory.max"), Reservation: r.number("", "memory.low"), Swap: r.number("", "memory.swap.max"),
	}
	quota, period, _ := strings.Cut(strings.TrimSpace(string(r.text("", "cpu.max"))), " ")
	c.CPUQuota, _ = strconv.ParseUint(quota, 10, 64) // "max" is 0
	c.CPUPeriod, _ = strconv.ParseUint(period, 10, 64)
	return c
}

// sharesOf undoes the runtimes' conversion of shares, 2 to 262144, to a weight,
// 1 to 10000.
func sharesOf(weight uint64) uint64 {
	if weight == 0 {
		return 0
	}
	return 2 + (weight-1)*262142/9999
}
