package live

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/davit-containers/davit/commands/cli"
	"github.com/davit-containers/davit/ctr"
)

// Row is the counters of one container, for people; JSON has numbers.
type Row struct {
	ID       string  `json:"id"`
	Name     string  `json:"name"`
	Pod      string  `json:"pod,omitempty"`
	CPUPerc  string  `json:"-"`
	MemUsage string  `json:"-"`
	MemPerc  string  `json:"-"`
	NetIO    string  `json:"-"`
	BlockIO  string  `json:"-"`
	PIDS     string  `json:"-"`
	CPUTime  string  `json:"-"`
	AvgCPU   string  `json:"-"`
	Counters         // for programs
	CPU      float64 `json:"cpu_percent"`
	Mem      float64 `json:"mem_percent"`
}

// Counters are bytes, nanoseconds and counts since the container was started.
type Counters struct {
	CPUNanos    uint64 `json:"cpu_time"`
	MemBytes    uint64 `json:"mem_usage"`
	MemLimit    uint64 `json:"mem_limit"`
	NetInput    uint64 `json:"net_input"`
	NetOutput   uint64 `json:"net_output"`
	BlockInput  uint64 `json:"block_input"`
	BlockOutput uint64 `json:"block_output"`
	Pids        uint64 `json:"pids"`
}

// Table is the template of stats.
const Table = "{{.ID}}\t{{.Name}}\t{{.CPUPerc}}\t{{.MemUsage}}\t{{.MemPerc}}\t{{.NetIO}}\t{{.BlockIO}}\t{{.PIDS}}"

// Headings are the headings of Row's fields.
func Headings() map[string]string {
	return map[string]string{
		"CPUPerc": "CPU %", "MemUsage": "MEM USAGE / LIMIT", "MemPerc": "MEM %", "NetIO": "NET IO",
		"BlockIO": "BLOCK IO", "PIDS": "PIDS", "CPUTime": "CPU TIME", "AvgCPU": "AVG CPU %", "Pod": "POD",
	}
}

// sample is one reading of a container's counters.
type sample struct {
	at       time.Time
	counters Counters
}

// meter reads counters and knows what it read before.
type meter struct {
	engine *cli.Engine
	// network counts a process's network; nil is by /proc.
	network func(pid int) (in, out uint64)
	memory  uint64
	last    map[string]sample
}

func newMeter(e *cli.Engine) *meter {
	return &meter{engine: e, network: netDev, memory: totalMemory(), last: map[string]sample{}}
}

// read reads the counters of a running container.
func (m *meter) read(ctx context.Context, c ctr.Container) (Row, error) {
	s, err := m.engine.Containers.Stats(ctx, c.ID)
	if err != nil {
		return Row{}, err
	}
	now := sample{at: s.At, counters: Counters{
		CPUNanos: s.CPU.Usage, MemBytes: s.Memory.WorkingSet, MemLimit: s.Memory.Limit,
		BlockInput: s.IO.ReadBytes, BlockOutput: s.IO.WriteBytes, Pids: s.Pids.Current,
	}}
	now.counters.NetInput, now.counters.NetOutput = m.network(c.Status.Pid)
	return m.row(c, now), nil
}

// row makes a row of a sample and the one before; the first one's CPU use is the
// mean since the start.
func (m *meter) row(c ctr.Container, now sample) Row {
	n := now.counters
	if n.MemLimit == 0 || m.memory > 0 && n.MemLimit > m.memory {
		n.MemLimit = m.memory
	}
	mean := percent(n.CPUNanos, now.at.Sub(c.Status.StartedAt))
	cpu := mean
	if last, ok := m.last[c.ID]; ok && n.CPUNanos >= last.counters.CPUNanos {
		cpu = percent(n.CPUNanos-last.counters.CPUNanos, now.at.Sub(last.at))
	}
	m.last[c.ID] = now
	r := Row{ID: cli.ShortID(c.ID, false), Name: c.Config.Name, Counters: n, CPU: cpu}
	if n.MemLimit > 0 {
		r.Mem = 100 * float64(n.MemBytes) / float64(n.MemLimit)
	}
	r.CPUPerc, r.AvgCPU, r.MemPerc = perc(cpu), perc(mean), perc(r.Mem)
	r.MemUsage = pair(n.MemBytes, n.MemLimit)
	r.NetIO, r.BlockIO = pair(n.NetInput, n.NetOutput), pair(n.BlockInput, n.BlockOutput)
	r.PIDS = strconv.FormatUint(n.Pids, 10)
	r.CPUTime = time.Duration(n.CPUNanos).Round(time.Millisecond).String()
	return r
}

// idle is the row of a container that does not run.
func idle(c ctr.Container) Row {
	return Row{
		ID: cli.ShortID(c.ID, false), Name: c.Config.Name,
		CPUPerc: "--", MemUsage: "-- / --", MemPerc: "--", NetIO: "-- / --", BlockIO: "-- / --", PIDS: "--", CPUTime: "--", AvgCPU: "--",
	}
}

// percent is the share of one CPU that was used, 100 for all of it.
func percent(nanos uint64, over time.Duration) float64 {
	if over <= 0 {
		return 0
	}
	return 100 * float64(nanos) / float64(over.Nanoseconds())
}

func perc(p float64) string { return fmt.Sprintf("%.2f%%", p) }

func pair(a, b uint64) string { return cli.Size(int64(a)) + " / " + cli.Size(int64(b)) }

// netDev sums what the network interfaces of a process's namespace have carried,
// without lo (proc_pid_net(5), file dev).
func netDev(pid int) (in, out uint64) {
	if pid == 0 {
		return 0, 0
	}
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/net/dev", pid))
	if err != nil {
		return 0, 0 // it has just ended
	}
	return parseNetDev(data)
}

func parseNetDev(data []byte) (in, out uint64) {
	for line := range bytes.Lines(data) {
		name, rest, ok := strings.Cut(string(line), ":")
		f := strings.Fields(rest)
		if !ok || len(f) < 9 || strings.TrimSpace(name) == "lo" {
			continue
		}
		rx, err := strconv.ParseUint(f[0], 10, 64)
		if err != nil {
			continue
		}
		tx, err := strconv.ParseUint(f[8], 10, 64)
		if err != nil {
			continue
		}
		in, out = in+rx, out+tx
	}
	return in, out
}

// totalMemory is the memory of the host in bytes; 0 if it cannot be told.
func totalMemory() uint64 {
	data, err := os.ReadFile("/proc/meminfo")
	if err != nil {
		return 0
	}
	for line := range bytes.Lines(data) {
		if rest, ok := bytes.CutPrefix(line, []byte("MemTotal:")); ok {
			f := strings.Fields(string(rest))
			if len(f) == 0 {
				return 0
			}
			kib, err := strconv.ParseUint(f[0], 10, 64)
			if err != nil {
				return 0
			}
			return kib * 1024
		}
	}
	return 0
}
