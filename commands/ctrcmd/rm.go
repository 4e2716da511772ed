package ctrcmd

import (
	"context"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/containerd/errdefs"
	"github.com/spf13/cobra"

	"github.com/davit-containers/davit/commands/cli"
	"github.com/davit-containers/davit/commands/ctrcmd/show"
	"github.com/davit-containers/davit/ctr"
)

// removeOptions are the flags of rm.
type removeOptions struct {
	which
	Force    bool
	Volumes  bool
	Time     string
	CIDFiles []string
}

func newRemove(env *cli.Env, use string, aliases ...string) *cobra.Command {
	o := &removeOptions{}
	cmd := &cobra.Command{
		Use:     use,
		Aliases: aliases,
		Short:   "Remove containers",
		Long: "Remove containers with their root filesystem and their log; --volumes removes their anonymous\n" +
			"volumes, too. One that runs is not removed, unless --force stops it first. The exit code is 1\n" +
			"if a container is absent, 2 if one runs.",
		Example: "  davit rm job\n" +
			"  davit rm --force --time 0 web db\n" +
			"  davit rm --filter status=exited",
		ValidArgsFunction: names(env),
		RunE: func(cmd *cobra.Command, args []string) error {
			o.Refs = args
			timeout, err := o.parse()
			if err != nil {
				return err
			}
			return o.run(cmd.Context(), env, timeout)
		},
	}
	fs := cmd.Flags()
	fs.BoolVarP(&o.All, "all", "a", false, "remove all containers that do not run; with --force all")
	fs.BoolVarP(&o.Force, "force", "f", false, "stop a running container first; an absent one is no error; also one that the kubelet owns")
	fs.BoolVarP(&o.Volumes, "volumes", "v", false, "remove the anonymous volumes of the containers, too")
	fs.BoolVarP(&o.Ignore, "ignore", "i", false, "an absent container is no error")
	fs.StringVarP(&o.Time, "time", "t", "", "with --force: `SECONDS` until KILL (default: the container's, 10)")
	fs.StringArrayVar(&o.CIDFiles, "cidfile", nil, "remove the container whose ID a `FILE` holds (may be repeated)")
	fs.StringArrayVar(&o.Filter, "filter", nil, "remove those with `KEY=VALUE` (may be repeated)")
	latest(&o.which, cmd)
	return cmd
}

// parse reads the flags.
func (o *removeOptions) parse() (*time.Duration, error) {
	for _, file := range o.CIDFiles {
		data, err := os.ReadFile(file)
		switch {
		case err != nil && os.IsNotExist(err) && (o.Ignore || o.Force):
		case err != nil:
			return nil, cli.Usagef("--cidfile: %s", err)
		default:
			o.Refs = append(o.Refs, strings.TrimSpace(string(data)))
		}
	}
	if len(o.CIDFiles) == 0 || len(o.Refs) > 0 {
		if err := o.which.check(); err != nil {
			return nil, err
		}
	}
	if o.Time != "" && !o.Force {
		return nil, cli.Usagef("--time needs --force")
	}
	return parseTime(o.Time)
}

func (o *removeOptions) run(ctx context.Context, env *cli.Env, timeout *time.Duration) error {
	e, err := engine(ctx, env)
	if err != nil {
		return err
	}
	refs, err := o.refs(ctx, env, anyState)
	if err != nil {
		return err
	}
	return env.Each(refs, cli.RemoveCode, func(ref string) error {
		c, err := find(ctx, e, ref)
		if errdefs.IsNotFound(err) && (o.Force || o.Ignore || o.All) {
			return nil
		}
		if err != nil {
			return err
		}
		if err := guard(c, &o.Force); err != nil {
			return err
		}
		ro := ctr.RemoveOptions{Force: o.Force, Volumes: o.Volumes, Timeout: timeout}
		if timeout == nil {
			ro.Timeout = new(stopTimeout(c.Config))
		}
		if err := ignoreAbsent(removeContainer(ctx, env, e, c, ro)); err != nil {
			return err
		}
		_, err = fmt.Fprintln(env.Out, ref)
		return err
	})
}

// removeContainer removes a container, and says what to do about one that runs.
func removeContainer(ctx context.Context, _ *cli.Env, e *cli.Engine, c ctr.Container, o ctr.RemoveOptions) error {
	err := e.Pods.RemoveContainer(ctx, c.ID, o)
	if errdefs.IsFailedPrecondition(err) && !o.Force && !c.Config.Infra {
		now, gerr := e.Containers.Get(ctx, c.ID)
		if gerr == nil && now.Status.Alive() {
			err = say(errdefs.ErrFailedPrecondition, "container %q is %s", c.Config.Name, show.State(now.Status))
			return cli.WithHint(err, "davit stop %s, or davit rm --force %s", c.Config.Name, c.Config.Name)
		}
	}
	return cli.Cause(ctx, err)
}

// stopTimeout is how long a container is given to stop before it is removed: its
// own time, but not for ever.
func stopTimeout(c ctr.Config) time.Duration {
	if c.Stop.Timeout != nil && *c.Stop.Timeout >= 0 {
		return *c.Stop.Timeout
	}
	return 10 * time.Second
}
