package main

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/davit-containers/davit/cmd/davit-bench/rounds"
)

// tables writes the medians as Markdown: a table for each group, a row for each
// case and runtime, a column for each who was measured. Beside each peer's figure
// stands how many times better davit's is.
func (r *report) tables(out io.Writer) {
	fmt.Fprintf(out, "%s; load %s before, %s after.\n%s.\n", r.Machine, r.LoadBefore, r.LoadAfter, strings.Join(r.Versions, "; "))
	for _, g := range groups() {
		results := slices.DeleteFunc(slices.Clone(r.Results), func(res rounds.Result) bool { return res.Group != g.name })
		if len(results) > 0 {
			r.table(out, results)
		}
	}
}

func (r *report) table(out io.Writer, results []rounds.Result) {
	type row struct {
		name, runtime string
		unit          rounds.Unit
	}
	var rows []row
	var columns []string
	cells := map[row]map[string]string{}
	for _, res := range results {
		at, who := row{res.Case, res.Runtime, res.Unit}, subject(res)
		if cells[at] == nil {
			rows, cells[at] = append(rows, at), map[string]string{}
		}
		if !slices.Contains(columns, who) {
			columns = append(columns, who)
		}
		cells[at][who] = strings.TrimSpace(figure(res.Quantile(0.5)) + " " + r.comparison(res))
	}
	slices.SortStableFunc(columns, func(a, b string) int { return cmp.Compare(rank(a), rank(b)) })
	fmt.Fprintf(out, "\n| %s | runtime | unit | %s |\n|---|---|---|%s\n", results[0].Group, strings.Join(columns, " | "), strings.Repeat("---|", len(columns)))
	for _, at := range rows {
		fmt.Fprintf(out, "| %s | %s | %s |", at.name, at.runtime, at.unit)
		for _, who := range columns {
			fmt.Fprintf(out, " %s |", cells[at][who])
		}
		fmt.Fprintln(out)
	}
}

// subject is who a result is of, without the runtime, which has a column.
func subject(res rounds.Result) string {
	name := strings.TrimSuffix(res.Subject, ", "+res.Runtime)
	if name == res.Runtime+" alone" {
		return "runtime alone"
	}
	return name
}

// rank puts davit first and the floor last.
func rank(who string) int {
	switch {
	case strings.HasPrefix(who, davitName):
		return 0
	case strings.HasSuffix(who, " alone"):
		return 2
	}
	return 1
}

// figure is a number with three digits that count.
func figure(v float64) string {
	switch {
	case v >= 100:
		return fmt.Sprintf("%.0f", v)
	case v >= 10:
		return fmt.Sprintf("%.1f", v)
	}
	return fmt.Sprintf("%.2f", v)
}
