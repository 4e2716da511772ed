package live

import (
	"bytes"
	"context"
	"io"
	"strconv"
	"sync"

	"github.com/spf13/pflag"
	"golang.org/x/sync/errgroup"

	"github.com/davit-containers/davit/commands/cli"
	"github.com/davit-containers/davit/ctr"
	"github.com/davit-containers/davit/ctr/logs"
)

// LogOptions are the flags that logs and pod logs share.
type LogOptions struct {
	Follow     bool
	Timestamps bool
	Names      bool
	Tail       string
	Since      string
	Until      string
}

// Flags adds the flags.
func (o *LogOptions) Flags(fs *pflag.FlagSet) {
	fs.BoolVarP(&o.Follow, "follow", "f", false, "go on with what is written, until the container ends")
	fs.BoolVarP(&o.Timestamps, "timestamps", "t", false, "put the time before each line")
	fs.BoolVarP(&o.Names, "names", "n", false, "put the container's name before each line")
	fs.StringVar(&o.Tail, "tail", "all", "only the last `N` lines")
	fs.StringVar(&o.Since, "since", "", "only lines after a `TIME`: 10m, 2026-01-31T15:04:05Z, or seconds since 1970")
	fs.StringVar(&o.Until, "until", "", "only lines before a `TIME`")
}

// Parse reads the flags.
func (o *LogOptions) Parse(env *cli.Env) (ctr.LogOptions, error) {
	out := ctr.LogOptions{Timestamps: o.Timestamps, Follow: o.Follow}
	if o.Tail != "all" && o.Tail != "-1" {
		n, err := strconv.Atoi(o.Tail)
		if err != nil || n < 0 {
			return out, cli.Usagef("--tail: %q is not a number of lines, or all", o.Tail)
		}
		out.Tail = &n
	}
	var err error
	if o.Since != "" {
		if out.Since, err = cli.ParseTime(o.Since, env.Now()); err != nil {
			return out, err
		}
	}
	if o.Until != "" {
		out.Until, err = cli.ParseTime(o.Until, env.Now())
	}
	return out, err
}

// Sources are the containers whose logs are read.
type Sources struct {
	Containers []ctr.Container
	// Names puts their names before each line.
	Names bool
}

// Logs prints the logs of containers: one after the other, or, when they are
// followed, all at once.
func Logs(ctx context.Context, env *cli.Env, e *cli.Engine, s Sources, o ctr.LogOptions) error {
	var mu sync.Mutex
	read := func(ctx context.Context, c ctr.Container) error {
		sinks := logs.Sinks{Stdout: env.Out, Stderr: env.Err}
		if !s.Names && len(s.Containers) == 1 {
			return e.Containers.Logs(ctx, c.ID, o, sinks)
		}
		prefix := ""
		if s.Names {
			prefix = c.Config.Name + " "
		}
		out := &lineWriter{w: env.Out, mu: &mu, prefix: prefix}
		errOut := &lineWriter{w: env.Err, mu: &mu, prefix: prefix}
		err := e.Containers.Logs(ctx, c.ID, o, logs.Sinks{Stdout: out, Stderr: errOut})
		for _, w := range []*lineWriter{out, errOut} {
			if ferr := w.flush(); err == nil {
				err = ferr
			}
		}
		return err
	}
	if !o.Follow {
		for _, c := range s.Containers {
			if err := read(ctx, c); err != nil {
				return cli.Cause(ctx, err)
			}
		}
		return nil
	}
	g, inner := errgroup.WithContext(ctx)
	for _, c := range s.Containers {
		g.Go(func() error { return read(inner, c) })
	}
	return cli.Cause(ctx, g.Wait())
}

// lineWriter writes whole lines, each with a prefix, beside others that write to
// the same place.
type lineWriter struct {
	w      io.Writer
	mu     *sync.Mutex
	prefix string
	rest   []byte
}

// maxLine bounds what is kept of a line without an end.
const maxLine = 1 << 20

// Write implements io.Writer.
func (l *lineWriter) Write(p []byte) (int, error) {
	n := len(p)
	end := bytes.LastIndexByte(p, '\n') + 1
	var out []byte
	for line := range bytes.Lines(p[:end]) {
		out = append(append(append(out, l.prefix...), l.rest...), line...)
		l.rest = l.rest[:0]
	}
	if l.rest = append(l.rest, p[end:]...); len(l.rest) >= maxLine {
		out = append(append(append(out, l.prefix...), l.rest...), '\n')
		l.rest = l.rest[:0]
	}
	if len(out) == 0 {
		return n, nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if _, err := l.w.Write(out); err != nil {
		return 0, err
	}
	return n, nil
}

// flush writes a last line without an end.
func (l *lineWriter) flush() error {
	if len(l.rest) == 0 {
		return nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	_, err := l.w.Write(append(append([]byte(l.prefix), l.rest...), '\n'))
	l.rest = nil
	return err
}
