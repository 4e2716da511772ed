// Davit-bench measures davit against what its users would take in its place:
// podman, containerd with ctr and over CRI, skopeo for pulls, and the OCI runtime
// alone as the floor. All are measured in one run, in interleaved rounds, so that
// what the machine does meanwhile falls on all alike. It prints medians, 99th
// percentiles and ratios, and how many programs a run executes and how often it
// syncs, which unlike time do not depend on the machine.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"github.com/davit-containers/davit/cmd/davit-bench/rounds"
	"github.com/davit-containers/davit/commands/harness"
)

// settings are the flags.
type settings struct {
	davit    string
	rounds   int
	groups   []string
	runtimes []string
	networks []string
	json     string
	show     string
	markdown bool
	logMB    int
	pods     []int
	only     *regexp.Regexp // of the groups, the cases to measure; nil is all
}

// group is a part of the benchmark: it sets up what its cases need, and runs
// them.
type group struct {
	name string
	run  func(ctx context.Context, l *lab) error
}

func groups() []group {
	return []group{
		{"cold", cold},
		{"run", runs},
		{"exec", execs},
		{"logs", logs},
		{"cri", servers},
		{"pull", pulls},
		{"memory", memory},
	}
}

func main() {
	var names []string
	for _, g := range groups() {
		names = append(names, g.name)
	}
	var s settings
	var chosen, runtimes, networks, only, pods string
	flag.StringVar(&s.davit, "davit", "bin/davit", "the davit binary to measure")
	flag.IntVar(&s.rounds, "rounds", 20, "measured rounds of a case; what takes long has fewer")
	flag.StringVar(&chosen, "groups", strings.Join(names, ","), "what to measure")
	flag.StringVar(&runtimes, "runtimes", "runc,crun", "OCI runtimes")
	flag.StringVar(&networks, "networks", "none,host,bridge,bridge+port", "networks")
	flag.StringVar(&s.json, "json", "bin/bench.json", "where to write all samples")
	flag.StringVar(&s.show, "show", "", "print what an earlier run wrote to this file, and measure nothing")
	flag.BoolVar(&s.markdown, "markdown", false, "print the medians as tables in Markdown")
	flag.IntVar(&s.logMB, "log-mb", 1024, "size in MB of the log of the group logs")
	flag.StringVar(&pods, "pods", "10,100", "with how many pods the group cri lists them and measures memory; 10,100,500 takes long")
	flag.StringVar(&only, "cases", "", "measure only the cases whose name this regular expression matches")
	flag.Parse()
	s.groups, s.networks = strings.Split(chosen, ","), strings.Split(networks, ",")
	if err := s.parse(only, pods); err != nil {
		fmt.Fprintf(os.Stderr, "bench: %v\n", err)
		os.Exit(2)
	}
	for _, r := range strings.Split(runtimes, ",") {
		if _, err := exec.LookPath(r); err == nil {
			s.runtimes = append(s.runtimes, r)
		}
	}
	if s.show != "" {
		if err := show(s); err != nil {
			fmt.Fprintf(os.Stderr, "bench: %v\n", err)
			os.Exit(1)
		}
		return
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code, err := 0, error(nil)
	if harness.Inside() {
		err = run(ctx, s)
	} else {
		code, err = harness.EnterWithRun(ctx)
	}
	stop()
	if err != nil {
		fmt.Fprintf(os.Stderr, "bench: %v\n", err)
		code = 1
	}
	os.Exit(code)
}

// parse reads the flags that are more than a word or a number.
func (s *settings) parse(only, pods string) (err error) {
	if s.only, err = regexp.Compile(only); err != nil {
		return fmt.Errorf("--cases: %w", err)
	}
	for _, n := range strings.Split(pods, ",") {
		number, err := strconv.Atoi(n)
		if err != nil || number < 1 {
			return fmt.Errorf("--pods %q: not numbers with commas between them", pods)
		}
		s.pods = append(s.pods, number)
	}
	return nil
}

func run(ctx context.Context, s settings) error {
	for _, name := range s.groups {
		if !slices.ContainsFunc(groups(), func(g group) bool { return g.name == name }) {
			return fmt.Errorf("there is no group %q", name)
		}
	}
	var err error
	if s.davit, err = filepath.Abs(s.davit); err != nil {
		return fmt.Errorf("finding davit: %w", err)
	}
	r := newReport(ctx, s)
	for _, g := range groups() {
		if !slices.Contains(s.groups, g.name) {
			continue
		}
		if err := inLab(ctx, s, r, g); err != nil {
			r.print(os.Stdout, s.markdown)
			return fmt.Errorf("measuring %s: %w", g.name, errors.Join(err, r.write(s.json)))
		}
	}
	r.LoadAfter = load()
	r.print(os.Stdout, s.markdown)
	if err := r.write(s.json); err != nil {
		return err
	}
	for _, d := range r.Dropped {
		if strings.HasPrefix(d.Subject, davitName) {
			return errors.New("davit failed at a case")
		}
	}
	return nil
}

// show prints what was measured before.
func show(s settings) error {
	r, err := readReport(s.show)
	if err != nil {
		return err
	}
	r.print(os.Stdout, s.markdown)
	return nil
}

// inLab runs a group with engines of its own.
func inLab(ctx context.Context, s settings, r *report, g group) (err error) {
	l, err := newLab(ctx, s, r, g.name)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, l.close(context.WithoutCancel(ctx))) }()
	return g.run(ctx, l)
}

// measure runs a case and adds it to the report.
func (l *lab) measure(ctx context.Context, c rounds.Case) error {
	if !l.only.MatchString(c.Name) {
		return nil
	}
	c.Group = l.group
	if c.Unit == "" {
		c.Unit = rounds.Milliseconds
	}
	if c.Rounds == 0 {
		c.Rounds, c.Warm = l.rounds, 2
	}
	results, dropped, err := rounds.Run(ctx, c, os.Stderr)
	if err != nil {
		return err
	}
	l.report.Results = append(l.report.Results, results...)
	l.report.Dropped = append(l.report.Dropped, dropped...)
	return nil
}
