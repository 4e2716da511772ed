package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/davit-containers/davit/cmd/davit-bench/cri"
	"github.com/davit-containers/davit/commands/harness"
)

// criReport is what is written of a run of CRI servers.
type criReport struct {
	When    time.Time    `json:"when"`
	Machine string       `json:"machine"`
	Load    string       `json:"load_before"`
	Rounds  int          `json:"rounds"`
	Absent  []string     `json:"left_out"`
	Results []cri.Result `json:"results"`
}

// podsInMemory is how many pods run when a server's memory is read.
const podsInMemory = 10

func runCRI(ctx context.Context, s settings) (err error) {
	dir, err := os.MkdirTemp("", "davit-bench-")
	if err != nil {
		return fmt.Errorf("making a folder: %w", err)
	}
	defer func() { err = errors.Join(err, harness.RemoveTree(dir)) }()
	bin, err := filepath.Abs(s.davit)
	if err != nil {
		return fmt.Errorf("finding davit: %w", err)
	}
	r := criReport{When: time.Now().UTC(), Machine: machine(), Load: load(), Rounds: s.rounds}
	r.Results, r.Absent, err = cri.Measure(ctx, cri.Config{
		Davit: bin, Dir: dir, Rounds: s.rounds, Runtimes: s.runtimes, Pods: podsInMemory, Idle: 30 * time.Second,
	})
	if err != nil {
		return err
	}
	r.print(os.Stdout)
	data, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return fmt.Errorf("writing the report: %w", err)
	}
	return os.WriteFile(strings.TrimSuffix(s.json, ".json")+"-cri.json", append(data, '\n'), 0o644)
}

// print shows the medians of each stage, and what the servers cost.
func (r criReport) print(out io.Writer) {
	fmt.Fprintf(out, "CRI servers, %d interleaved rounds, bridge networking; load %s before, %s after\n%s\n", r.Rounds, r.Load, load(), r.Machine)
	for _, a := range r.Absent {
		fmt.Fprintf(out, "left out: %s\n", a)
	}
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprint(w, "\nSERVER\t")
	for _, stage := range cri.Stages() {
		fmt.Fprintf(w, "%s MS\t", stage)
	}
	fmt.Fprintf(w, "RSS MIB\tWITH %d PODS\tIDLE CPU %%\t\n", podsInMemory)
	for _, res := range r.Results {
		fmt.Fprintf(w, "%s\t", res.Server)
		for _, stage := range cri.Stages() {
			fmt.Fprintf(w, "%.1f\t", quantile(res.Milliseconds[stage], 0.5))
		}
		fmt.Fprintf(w, "%.1f\t%.1f\t%.2f\t\n", float64(res.RSS)/(1<<20), float64(res.RSSWithPods)/(1<<20), 100*res.IdleCPU)
	}
	_ = w.Flush()
}
