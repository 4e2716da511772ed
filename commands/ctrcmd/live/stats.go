package live

import (
	"bytes"
	"context"
	"time"

	"github.com/containerd/errdefs"
	"github.com/spf13/pflag"

	"github.com/davit-containers/davit/commands/cli"
	"github.com/davit-containers/davit/ctr"
)

// StatsOptions are the flags that stats and pod stats share.
type StatsOptions struct {
	NoStream bool
	NoReset  bool
	NoTrunc  bool
	Interval time.Duration
	Format   string
	// Pods adds a column with the pods' names.
	Pods bool
}

// Flags adds the flags.
func (o *StatsOptions) Flags(fs *pflag.FlagSet) {
	fs.BoolVar(&o.NoStream, "no-stream", false, "print the counters once")
	fs.BoolVar(&o.NoReset, "no-reset", false, "do not clear the screen between rounds")
	fs.BoolVar(&o.NoTrunc, "no-trunc", false, "show whole IDs")
	o.Interval = time.Second
	fs.VarP((*seconds)(&o.Interval), "interval", "i", "`TIME` between rounds, in seconds, or as 500ms")
	fs.StringVar(&o.Format, "format", "", "`FORMAT`: json, table …, or a Go template")
}

// seconds is a flag's duration that may be a bare number of seconds.
type seconds time.Duration

var _ pflag.Value = (*seconds)(nil)

// Set implements pflag.Value.
func (s *seconds) Set(text string) error {
	d, err := cli.ParseSeconds(text)
	*s = seconds(d)
	return err
}

// String implements pflag.Value.
func (s *seconds) String() string { return time.Duration(*s).String() }

// Type implements pflag.Value.
func (s *seconds) Type() string { return "duration" }

// Check refuses what cannot be printed.
func (o *StatsOptions) Check() error {
	if o.Interval < 100*time.Millisecond {
		return cli.Usagef("--interval: %s is below 100ms", o.Interval)
	}
	return o.output().Check()
}

func (o *StatsOptions) output() cli.Output[Row] {
	table := Table
	if o.Pods {
		table = "{{.Pod}}\t" + table
	}
	return cli.Output[Row]{Table: table, Headings: Headings(), Format: o.Format}
}

// Chosen are the containers of one round, and what they are shown as.
type Chosen struct {
	Containers []ctr.Container
	// PodNames are the names of their pods, by the pod's ID.
	PodNames map[string]string
}

// Stats prints the counters of containers, round by round until ctx ends or none
// is left. choose is called for each round.
func (o *StatsOptions) Stats(ctx context.Context, env *cli.Env, e *cli.Engine, choose func(context.Context) (Chosen, error)) error {
	m := newMeter(e)
	clear := !o.NoStream && !o.NoReset && o.Format != "json" && env.OutIsTerminal()
	ticks := time.NewTicker(o.Interval)
	defer ticks.Stop()
	for {
		chosen, err := choose(ctx)
		if err != nil {
			return cli.Cause(ctx, err)
		}
		rows, err := o.round(ctx, m, chosen)
		if err != nil {
			return cli.Cause(ctx, err)
		}
		var buf bytes.Buffer
		if clear {
			buf.WriteString("\x1b[H\x1b[2J")
		}
		if err := o.output().Print(&buf, rows); err != nil {
			return err
		}
		if _, err := env.Out.Write(buf.Bytes()); err != nil {
			return err
		}
		if o.NoStream {
			return nil
		}
		select {
		case <-ctx.Done():
			return cli.Cause(ctx, ctx.Err())
		case <-ticks.C:
		}
	}
}

// round reads all counters once. A container that has ended meanwhile has none.
func (o *StatsOptions) round(ctx context.Context, m *meter, chosen Chosen) ([]Row, error) {
	var rows []Row
	for _, c := range chosen.Containers {
		row := idle(c)
		if c.Status.Alive() {
			r, err := m.read(ctx, c)
			switch {
			case err == nil:
				row = r
			case errdefs.IsNotFound(err):
				continue
			case !errdefs.IsFailedPrecondition(err):
				return nil, err
			}
		}
		row.ID = cli.ShortID(c.ID, o.NoTrunc || o.Format == "json")
		row.Pod = chosen.PodNames[c.Config.Sandbox]
		rows = append(rows, row)
	}
	return rows, nil
}
