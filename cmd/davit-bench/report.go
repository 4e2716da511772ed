package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"golang.org/x/sys/unix"
)

// report is everything that was measured and on what; it is written as JSON.
type report struct {
	When       time.Time `json:"when"`
	Machine    string    `json:"machine"`
	Versions   []string  `json:"versions"`
	Rounds     int       `json:"rounds"`
	LoadBefore string    `json:"load_before"`
	LoadAfter  string    `json:"load_after"`
	Absent     []string  `json:"left_out"`
	Results    []result  `json:"results"`
	Counts     []counted `json:"counts"`

	lab *lab
}

func newReport(ctx context.Context, s settings, l *lab) *report {
	r := &report{When: time.Now().UTC(), Machine: machine(), Rounds: s.rounds, LoadBefore: load(), lab: l}
	for _, program := range []string{s.davit, "runc", "crun", "conmon", "podman"} {
		out, err := exec.CommandContext(ctx, program, "--version").Output()
		if first, _, _ := strings.Cut(string(out), "\n"); err == nil {
			r.Versions = append(r.Versions, strings.TrimSpace(first))
		}
	}
	return r
}

// machine describes the hardware and the kernel in one line.
func machine() string {
	model := "unknown processor"
	data, _ := os.ReadFile("/proc/cpuinfo")
	for line := range strings.Lines(string(data)) {
		if k, v, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(k) == "model name" {
			model = strings.TrimSpace(v)
			break
		}
	}
	var info unix.Sysinfo_t
	_ = unix.Sysinfo(&info)
	var name unix.Utsname
	_ = unix.Uname(&name)
	cgroups := "v1"
	if _, err := os.Stat("/sys/fs/cgroup/cgroup.controllers"); err == nil {
		cgroups = "v2"
	}
	return fmt.Sprintf("%s, %d cores, %d GiB, Linux %s, cgroup %s", model, runtime.NumCPU(),
		(info.Totalram*uint64(info.Unit)+1<<29)>>30, unix.ByteSliceToString(name.Release[:]), cgroups)
}

// load returns the load averages of 1, 5 and 15 minutes.
func load() string {
	data, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return "unknown"
	}
	return strings.Join(strings.Fields(string(data))[:3], " ")
}

func (r *report) write(path string) error {
	r.Absent = r.lab.absent
	data, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return fmt.Errorf("writing the report: %w", err)
	}
	return os.WriteFile(path, append(data, '\n'), 0o644)
}

// print shows medians and 99th percentiles, davit's as a multiple of the
// others', and the counts.
func (r *report) print(out io.Writer) {
	fmt.Fprintf(out, "run --rm busybox true, %d interleaved rounds; load %s before, %s after\n%s\n%s\n",
		r.Rounds, r.LoadBefore, r.LoadAfter, r.Machine, strings.Join(r.Versions, "; "))
	for _, a := range r.lab.absent {
		fmt.Fprintf(out, "left out: %s\n", a)
	}
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "\nRUNTIME\tNETWORK\tENGINE\tMEDIAN MS\tP99 MS\tDAVIT IS\tEXECS\tSYNCS\tON RECORDS\t")
	for _, res := range r.Results {
		median := quantile(res.Milliseconds, 0.5)
		ratio := ""
		if res.Engine != "davit" {
			ratio = comparison(median / quantile(r.samples("davit", res.trial), 0.5))
		}
		execs, syncs, durable := "", "", ""
		if c, ok := r.counts(res.Engine, res.trial); ok {
			execs, syncs, durable = fmt.Sprint(c.Execs), fmt.Sprint(c.Syncs), fmt.Sprint(c.Durable)
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%.1f\t%.1f\t%s\t%s\t%s\t%s\t\n", res.Runtime, res.Network, res.Engine,
			median, quantile(res.Milliseconds, 0.99), ratio, execs, syncs, durable)
	}
	_ = w.Flush()
}

// comparison says how davit stands to an engine that takes x times as long.
func comparison(x float64) string {
	if x >= 1 {
		return fmt.Sprintf("%.1f× faster", x)
	}
	return fmt.Sprintf("%.1f× its time", 1/x)
}

func (r *report) samples(engine string, t trial) []float64 {
	for _, res := range r.Results {
		if res.Engine == engine && res.trial == t {
			return res.Milliseconds
		}
	}
	return nil
}

func (r *report) counts(engine string, t trial) (counted, bool) {
	i := slices.IndexFunc(r.Counts, func(c counted) bool { return c.Engine == engine && c.trial == t })
	if i < 0 {
		return counted{}, false
	}
	return r.Counts[i], true
}
