package options

import (
	"github.com/spf13/pflag"

	"github.com/davit-containers/davit/commands/cli"
	"github.com/davit-containers/davit/ctr"
	"github.com/davit-containers/davit/ctr/spec"
)

// Resources are limits of a container's cgroup.
type Resources struct {
	Memory, Reservation, Swap string
	CPUs                      string
	CPUShares                 uint64
	CPUPeriod                 uint64
	CPUQuota                  int64
	CPUSet, MemSet            string
	Pids                      string
	BlkioWeight               uint16
}

// Flags adds the flags of the group.
func (o *Resources) Flags(fs *pflag.FlagSet) {
	fs.StringVarP(&o.Memory, "memory", "m", "", "memory limit, as a `SIZE` such as 512m")
	fs.StringVar(&o.Reservation, "memory-reservation", "", "memory that is kept under pressure, as a `SIZE`")
	fs.StringVar(&o.Swap, "memory-swap", "", "limit of memory and swap together, as a `SIZE`; -1 is unlimited")
	fs.StringVar(&o.CPUs, "cpus", "", "`NUMBER` of CPUs, such as 1.5")
	fs.Uint64Var(&o.CPUShares, "cpu-shares", 0, "`WEIGHT` of CPU time against other containers (default 1024)")
	fs.Uint64Var(&o.CPUPeriod, "cpu-period", 0, "CFS period in `MICROSECONDS`")
	fs.Int64Var(&o.CPUQuota, "cpu-quota", 0, "CFS quota in `MICROSECONDS` a period; -1 is unlimited")
	fs.StringVar(&o.CPUSet, "cpuset-cpus", "", "CPUs to run on, as a `LIST` such as 0-3,7")
	fs.StringVar(&o.MemSet, "cpuset-mems", "", "memory nodes to use, as a `LIST`")
	fs.StringVar(&o.Pids, "pids-limit", "", "limit of processes, as a `NUMBER`; -1 is unlimited (default: the configuration's, 2048)")
	fs.Uint16Var(&o.BlkioWeight, "blkio-weight", 0, "`WEIGHT` of block I/O, 10 to 1000")
}

// Parse returns the limits. A limit of processes that is not given is pids.
func (o *Resources) Parse(pids int64) (spec.Resources, error) {
	r := spec.Resources{
		Pids:  pids,
		Blkio: o.BlkioWeight,
		CPU: spec.CPU{
			Shares: o.CPUShares, Quota: o.CPUQuota, Period: o.CPUPeriod, Cpus: o.CPUSet, Mems: o.MemSet,
		},
	}
	for _, m := range []struct {
		flag, text string
		value      *int64
		parse      func(string) (int64, error)
	}{
		{"memory", o.Memory, &r.Memory.Limit, spec.ParseMemory},
		{"memory-reservation", o.Reservation, &r.Memory.Reservation, spec.ParseMemory},
		{"memory-swap", o.Swap, &r.Memory.Swap, spec.ParseMemorySwap},
		{"cpus", o.CPUs, &r.CPU.NanoCPUs, spec.ParseCPUs},
		{"pids-limit", o.Pids, &r.Pids, spec.ParsePids},
	} {
		if m.text == "" {
			continue
		}
		n, err := m.parse(m.text)
		if err != nil {
			return r, flagError(m.flag, err)
		}
		*m.value = n
	}
	if err := r.Check(); err != nil {
		return r, cli.Usagef("%s", err)
	}
	return r, nil
}

// Limits are limits beside those of the cgroup, and where the cgroup is.
type Limits struct {
	Ulimits      []string
	OOMScoreAdj  string
	CgroupParent string
	Cgroups      string
}

// Flags adds the flags of the group.
func (o *Limits) Flags(fs *pflag.FlagSet) {
	fs.StringSliceVar(&o.Ulimits, "ulimit", nil, "limit of a process, as `NAME=SOFT[:HARD]` (may be repeated)")
	fs.StringVar(&o.OOMScoreAdj, "oom-score-adj", "", "how soon the kernel kills for want of memory, a `NUMBER` of -1000 to 1000")
	fs.StringVar(&o.CgroupParent, "cgroup-parent", "", "`PATH` of the cgroup above")
	fs.StringVar(&o.Cgroups, "cgroups", "enabled", "`HOW` cgroups are used: enabled, or disabled for hosts where cgroups cannot be written")
}

// Fill fills in the limits of a container.
func (o *Limits) Fill(h Host, c *ctr.Config) error {
	limits := append(append([]string{}, h.Config.Containers.DefaultUlimits...), o.Ulimits...)
	at := map[string]int{}
	for _, text := range limits {
		l, err := spec.ParseUlimit(text)
		if err != nil {
			return flagError("ulimit", err)
		}
		if i, again := at[l.Type]; again {
			c.Process.Rlimits[i] = l
			continue
		}
		at[l.Type] = len(c.Process.Rlimits)
		c.Process.Rlimits = append(c.Process.Rlimits, l)
	}
	if o.OOMScoreAdj != "" {
		n, err := spec.ParseOOMScoreAdj(o.OOMScoreAdj)
		if err != nil {
			return flagError("oom-score-adj", err)
		}
		c.Process.OOMScoreAdj = &n
	}
	switch o.Cgroups {
	case "", "enabled":
	case "disabled":
		c.CgroupsOff = true
	default:
		return cli.Usagef("--cgroups: %q is neither enabled nor disabled", o.Cgroups)
	}
	return nil
}
