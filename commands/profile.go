package commands

import (
	"errors"
	"fmt"
	"io"
	"os"
	"runtime/pprof"
	"runtime/trace"

	"github.com/spf13/pflag"

	"github.com/davit-containers/davit/commands/cli"
)

// profileFlags are hidden flags of every command, which have Go's tools take down
// what it does.
func profileFlags(fs *pflag.FlagSet, env *cli.Env) {
	for _, f := range []*profileFlag{
		{env: env, name: "cpu-profile", start: pprof.StartCPUProfile, stop: pprof.StopCPUProfile},
		{env: env, name: "trace", start: trace.Start, stop: trace.Stop},
	} {
		fs.Var(f, f.name, "write it into `FILE`, for go tool pprof or go tool trace")
		_ = fs.MarkHidden(f.name)
	}
}

// profileFlag starts when it is set, and ends with the command.
type profileFlag struct {
	env   *cli.Env
	name  string
	start func(io.Writer) error
	stop  func()
	path  string
}

var _ pflag.Value = (*profileFlag)(nil)

// Set implements pflag.Value.
func (f *profileFlag) Set(path string) error {
	if f.path != "" {
		return errors.New("it was given already")
	}
	out, err := os.Create(path)
	if err != nil {
		return err
	}
	f.path = path
	if err := f.start(out); err != nil {
		return errors.Join(err, out.Close())
	}
	f.env.OnClose(func() error {
		f.stop()
		if err := out.Close(); err != nil {
			return fmt.Errorf("writing --%s: %w", f.name, err)
		}
		return nil
	})
	return nil
}

// String implements pflag.Value.
func (f *profileFlag) String() string { return f.path }

// Type implements pflag.Value.
func (f *profileFlag) Type() string { return "string" }
