package rounds

import (
	"context"
	"fmt"
	"io"
	"slices"
	"time"
)

// Unit is what a case's figures are in.
type Unit string

// The units.
const (
	Milliseconds Unit = "ms"
	Mebibytes    Unit = "MiB"
	PerSecond    Unit = "/s"
	MBPerSecond  Unit = "MB/s"
	Percent      Unit = "%"
)

// More says whether more of it is better.
func (u Unit) More() bool { return u == PerSecond || u == MBPerSecond }

// Case is one thing that subjects are measured at.
type Case struct {
	Group string // what the report puts together
	Name  string
	Unit  Unit
	// Stages name the figures that one sample gives; none is one without a name.
	Stages []string
	// Rounds are measured; Warm more come before, and do not count.
	Rounds, Warm int
	Subjects     []Subject
}

// Subject is somebody who can do what a case asks.
type Subject struct {
	Name string
	// Runtime is the OCI runtime, where there is one: subjects with the same one
	// are compared.
	Runtime string
	// Sample does it once, and returns a figure for each of the case's stages.
	Sample func(context.Context) ([]float64, error)
}

// Result is all samples of one subject at one stage of a case.
type Result struct {
	Group   string    `json:"group"`
	Case    string    `json:"case"`
	Unit    Unit      `json:"unit"`
	Subject string    `json:"subject"`
	Runtime string    `json:"runtime,omitempty"`
	Samples []float64 `json:"samples"`
}

// Dropped is a subject that failed at a case and was left out of its rest.
type Dropped struct {
	Group   string `json:"group"`
	Case    string `json:"case"`
	Subject string `json:"subject"`
	Why     string `json:"why"`
}

// Run measures a case. What each round is at is told to progress. A subject
// that fails is dropped, with its samples; the error is ctx's.
func Run(ctx context.Context, c Case, progress io.Writer) (results []Result, dropped []Dropped, err error) {
	stages := c.Stages
	if len(stages) == 0 {
		stages = []string{""}
	}
	subjects := slices.Clone(c.Subjects)
	samples := map[string][][]float64{} // by subject and stage
	for round := range c.Rounds + c.Warm {
		fmt.Fprintf(progress, "\r\033[K%s, %s: round %d of %d", c.Group, c.Name, round+1, c.Rounds+c.Warm)
		for i := range len(subjects) {
			s := subjects[(i+round)%len(subjects)]
			if s.Sample == nil {
				continue // dropped in this round
			}
			figures, err := s.Sample(ctx)
			if ctx.Err() != nil {
				return nil, nil, ctx.Err()
			}
			if err == nil && len(figures) != len(stages) {
				err = fmt.Errorf("%d figures for %d stages", len(figures), len(stages))
			}
			if err != nil {
				dropped = append(dropped, Dropped{c.Group, c.Name, s.Name, err.Error()})
				subjects[(i+round)%len(subjects)].Sample = nil
				delete(samples, s.Name)
				continue
			}
			if round >= c.Warm {
				samples[s.Name] = append(samples[s.Name], figures)
			}
		}
		subjects = slices.DeleteFunc(subjects, func(s Subject) bool { return s.Sample == nil })
	}
	fmt.Fprint(progress, "\r\033[K")
	for i, stage := range stages {
		for _, s := range subjects {
			r := Result{Group: c.Group, Case: c.Name, Unit: c.Unit, Subject: s.Name, Runtime: s.Runtime}
			if stage != "" {
				r.Case = stage
				if c.Name != "" {
					r.Case = c.Name + ", " + stage
				}
			}
			for _, figures := range samples[s.Name] {
				r.Samples = append(r.Samples, figures[i])
			}
			results = append(results, r)
		}
	}
	return results, dropped, nil
}

// Quantile returns the value that the given share of the samples does not
// exceed; with few samples the 99th percentile is the greatest.
func (r Result) Quantile(q float64) float64 {
	if len(r.Samples) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(r.Samples))
	if q == 0.5 && len(sorted)%2 == 0 {
		return (sorted[len(sorted)/2-1] + sorted[len(sorted)/2]) / 2
	}
	return sorted[min(len(sorted)-1, int(q*float64(len(sorted))))]
}

// Ahead says how many times better davit's median is than r's: over 1 davit is
// ahead.
func (r Result) Ahead(davit Result) float64 {
	theirs, ours := r.Quantile(0.5), davit.Quantile(0.5)
	if r.Unit.More() {
		return ours / theirs
	}
	return theirs / ours
}

// Timed is a sample of how long f takes.
func Timed(f func(context.Context) error) func(context.Context) ([]float64, error) {
	return func(ctx context.Context) ([]float64, error) {
		began := time.Now()
		err := f(ctx)
		return []float64{MS(time.Since(began))}, err
	}
}

// MS is a duration in milliseconds.
func MS(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
