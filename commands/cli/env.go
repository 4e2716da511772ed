package cli

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/containerd/errdefs"

	"github.com/davit-containers/davit/ctr/record"
)

// Env is one invocation of davit: what every command is given. Its methods may
// be used by one goroutine at a time, but for Log.
type Env struct {
	Streams
	// Environ are the environment's KEY=value pairs.
	Environ []string
	// Args is the command line, nil where there is none to run: see Wants.
	Args []string
	// Sparse leaves out top-level commands that are not wanted, see Wants: making
	// all of them takes as long as a quick one runs.
	Sparse bool
	// Version is davit's own.
	Version string
	// Flags are the configuration keys that global flags set, in their order.
	Flags Settings
	// Euid is the effective user; 0 is root.
	Euid int
	Now  func() time.Time

	// signals, when set, stops the cancelling of the command by signals.
	signals func()
	config  *Config
	log     *slog.Logger
	level   slog.LevelVar
	engine  Engine
	once    sync.Once
	closers []func() error
	// collecting is done when the garbage collector's percentage is no brief
	// process's any more.
	collecting sync.Once
}

// NewEnv returns the Env of an invocation with these streams and environment.
func NewEnv(s Streams, environ []string) *Env {
	return &Env{Streams: s, Environ: environ, Euid: os.Geteuid(), Now: time.Now}
}

// Getenv is the value of an environment variable, the last one if there are
// several; empty if unset.
func (e *Env) Getenv(key string) string {
	for i := len(e.Environ) - 1; i >= 0; i-- {
		if k, v, ok := strings.Cut(e.Environ[i], "="); ok && k == key {
			return v
		}
	}
	return ""
}

// Config is the configuration, read when it is first asked for.
func (e *Env) Config() (*Config, error) {
	if e.config != nil {
		return e.config, nil
	}
	c, err := LoadConfig(Sources{File: DefaultConfigFile, Environ: e.Environ, Flags: e.Flags})
	if err != nil {
		return nil, err
	}
	e.config = c
	return c, nil
}

// Log is where warnings go: standard error, at the level that is configured.
func (e *Env) Log() *slog.Logger {
	e.once.Do(func() {
		e.level.Set(slog.LevelWarn)
		if c, err := e.Config(); err == nil {
			e.level.Set(c.slogLevel())
		}
		e.log = slog.New(newLogHandler(e.Err, &e.level))
	})
	return e.log
}

// Verbose says whether --log-level debug was asked for.
func (e *Env) Verbose() bool {
	c, err := e.Config()
	return err == nil && c.slogLevel() <= slog.LevelDebug
}

// NeedRoot is an error for users who are not root. Engine asks it by itself.
func (e *Env) NeedRoot() error {
	if e.Euid == 0 {
		return nil
	}
	return &UsageError{
		Err:  &worded{class: errdefs.ErrPermissionDenied, text: "davit needs to be run as root for this"},
		Hint: "sudo davit …; --version, help, completion and config work without",
	}
}

// Engine returns the engine with the given parts open; parts that are open
// already stay as they are. Close closes them all.
func (e *Env) Engine(ctx context.Context, parts ...Part) (*Engine, error) {
	if err := e.NeedRoot(); err != nil {
		return nil, err
	}
	c, err := e.Config()
	if err != nil {
		return nil, err
	}
	if err := e.engine.Open(ctx, Settled{Config: c, Flags: e.Flags, Log: e.Log()}, parts...); err != nil {
		return nil, err
	}
	return &e.engine, nil
}

// Wants says whether the command line may be about the command with one of these
// names, so that its flags, or its subcommands, have to be there. A command that
// it is not about is only listed, which takes its Use and Short alone. It lets
// the constructors of large commands stop early: building all of run's flags four
// times costs more than all that ps does.
func (e *Env) Wants(names ...string) bool {
	return e.Args == nil || slices.ContainsFunc(names, func(n string) bool { return slices.Contains(e.Args, n) })
}

// The garbage collector's percentages.
const (
	briefGC = 400
	usualGC = 100
	stayGC  = 50
)

// Brief says that this process is to end soon: one collection costs a quick command
// a tenth of its time. One that collects all the same was not that quick, as a pull
// is not: from then on it takes no more memory than any program.
func Brief(e *Env) {
	debug.SetGCPercent(briefGC)
	collected := new(*Env) // a pointer: an object of its own, which the first collection takes
	runtime.AddCleanup(collected, func(e *Env) {
		e.collecting.Do(func() { debug.SetGCPercent(usualGC) })
	}, e)
}

// Stay says that this process is there to stay: from now on memory counts more
// than the speed of its start.
func (e *Env) Stay() {
	e.collecting.Do(func() {})
	debug.SetGCPercent(stayGC)
	e.engine.stays = true
}

// Change is Engine for commands that change something: what processes that died
// have left is settled first. What cannot be settled yet is a warning.
func (e *Env) Change(ctx context.Context, parts ...Part) (*Engine, error) {
	engine, err := e.Engine(ctx, append(parts, Pods)...)
	if err != nil {
		return nil, err
	}
	defer record.Span(ctx, "engine sweep", "")()
	if err := engine.Pods.Sweep(ctx); err != nil {
		e.Log().Warn("what an interrupted command left cannot be cleared yet", "error", err)
	}
	return engine, nil
}

// TakeSignals leaves SIGINT and SIGTERM to the command: they no longer cancel
// its context. For those that pass signals on to a container.
func (e *Env) TakeSignals() {
	if e.signals != nil {
		e.signals()
		e.signals = nil
	}
}

// OnTakeSignals sets what TakeSignals calls, once. Main does.
func (e *Env) OnTakeSignals(f func()) { e.signals = f }

// OnClose adds what Close calls, after what was opened before is closed.
func (e *Env) OnClose(f func() error) { e.closers = append(e.closers, f) }

// Close closes what the invocation opened.
func (e *Env) Close() error {
	err := e.engine.Close()
	for _, f := range e.closers {
		err = errors.Join(err, f())
	}
	e.closers = nil
	return err
}

// ConfigFiles are the files that the configuration was read from.
func (e *Env) ConfigFiles() []string {
	return Files(Sources{File: DefaultConfigFile, Environ: e.Environ, Flags: e.Flags})
}
