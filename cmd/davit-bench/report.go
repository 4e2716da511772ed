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

	"github.com/davit-containers/davit/cmd/davit-bench/rounds"
)

// report is everything that was measured and on what; it is written as JSON.
type report struct {
	When       time.Time        `json:"when"`
	Machine    string           `json:"machine"`
	Versions   []string         `json:"versions"`
	LoadBefore string           `json:"load_before"`
	LoadAfter  string           `json:"load_after"`
	Absent     []string         `json:"left_out"`
	Dropped    []rounds.Dropped `json:"failed"`
	Results    []rounds.Result  `json:"results"`
	Counts     []counted        `json:"counts"`
}

func newReport(ctx context.Context, s settings) *report {
	r := &report{When: time.Now().UTC(), Machine: machine(), LoadBefore: load()}
	for _, program := range []string{s.davit, "runc", "crun", "conmon", "podman", "containerd", "skopeo"} {
		out, err := exec.CommandContext(ctx, program, "--version").Output()
		if first, _, _ := strings.Cut(string(out), "\n"); err == nil {
			r.Versions = append(r.Versions, strings.TrimSpace(first))
		}
	}
	return r
}

// leaveOut notes who is not measured, once.
func (r *report) leaveOut(name string, why error) {
	if line := name + ": " + why.Error(); !slices.Contains(r.Absent, line) {
		r.Absent = append(r.Absent, line)
	}
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
	data, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return fmt.Errorf("writing the report: %w", err)
	}
	return os.WriteFile(path, append(data, '\n'), 0o644)
}

// readReport reads what write wrote.
func readReport(path string) (*report, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("reading a report: %w", err)
	}
	r := new(report)
	if err := json.Unmarshal(data, r); err != nil {
		return nil, fmt.Errorf("reading report %q: %w", path, err)
	}
	return r, nil
}

// print shows medians and 99th percentiles, davit's as a multiple of the
// others', and the counts; or, as Markdown, the medians alone.
func (r *report) print(out io.Writer, markdown bool) {
	if markdown {
		r.tables(out)
		return
	}
	fmt.Fprintf(out, "load %s before, %s after\n%s\n%s\n", r.LoadBefore, r.LoadAfter, r.Machine, strings.Join(r.Versions, "; "))
	for _, a := range r.Absent {
		fmt.Fprintf(out, "left out: %s\n", a)
	}
	for _, d := range r.Dropped {
		fmt.Fprintf(out, "failed: %s, %s, %s: %s\n", d.Group, d.Case, d.Subject, d.Why)
	}
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "\nGROUP\tCASE\tUNIT\tSUBJECT\tMEDIAN\tP99\tDAVIT IS\tEXECS\tSYNCS\tON RECORDS\t")
	for _, res := range r.Results {
		execs, syncs, durable := "", "", ""
		if c, ok := r.counts(res); ok {
			execs, syncs, durable = fmt.Sprint(c.Execs), fmt.Sprint(c.Syncs), fmt.Sprint(c.Durable)
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%.4g\t%.4g\t%s\t%s\t%s\t%s\t\n", res.Group, res.Case, res.Unit, res.Subject,
			res.Quantile(0.5), res.Quantile(0.99), r.comparison(res), execs, syncs, durable)
	}
	_ = w.Flush()
}

// comparison says how davit stands to the subject of a result.
func (r *report) comparison(res rounds.Result) string {
	if strings.HasPrefix(res.Subject, davitName) {
		return ""
	}
	i := slices.IndexFunc(r.Results, func(o rounds.Result) bool {
		return strings.HasPrefix(o.Subject, davitName) && o.Group == res.Group && o.Case == res.Case && o.Runtime == res.Runtime
	})
	if i < 0 {
		return ""
	}
	return fmt.Sprintf("%.2f×", res.Ahead(r.Results[i]))
}

func (r *report) counts(res rounds.Result) (counted, bool) {
	i := slices.IndexFunc(r.Counts, func(c counted) bool { return c.Subject == res.Subject && c.Case == res.Case })
	if i < 0 {
		return counted{}, false
	}
	return r.Counts[i], true
}
