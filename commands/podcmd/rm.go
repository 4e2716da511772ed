package podcmd

import (
	"context"
	"fmt"
	"os"
	"strings"

	"github.com/containerd/errdefs"
	"github.com/spf13/cobra"

	"github.com/davit-containers/davit/commands/cli"
	"github.com/davit-containers/davit/pod"
)

// removeOptions are the flags of pod rm.
type removeOptions struct {
	which
	grace
	IDFiles []string
}

func newRemove(env *cli.Env) *cobra.Command {
	o := &removeOptions{}
	cmd := &cobra.Command{
		Use:     "rm [flags] POD...",
		Aliases: []string{"remove"},
		Short:   "Remove pods",
		Long: "Remove pods with all their containers. One with a container that runs is not removed, unless --force\n" +
			"stops it first. The exit code is 1 if a pod is absent, 2 if one runs.",
		Example: "  davit pod rm shop\n" +
			"  davit pod rm --force --time 0 --all",
		ValidArgsFunction: names(env),
		RunE: func(cmd *cobra.Command, args []string) error {
			o.Refs = args
			if err := o.parse(); err != nil {
				return err
			}
			return o.run(cmd.Context(), env)
		},
	}
	fs := cmd.Flags()
	o.which.flags(fs, "remove all pods")
	o.grace.flag(cmd)
	fs.BoolVarP(&o.Force, "force", "f", false, "stop its containers first; an absent pod is no error; also one that the kubelet owns")
	fs.BoolVarP(&o.Ignore, "ignore", "i", false, "an absent pod is no error")
	fs.StringArrayVar(&o.IDFiles, "pod-id-file", nil, "remove the pod whose ID a `FILE` holds (may be repeated)")
	return cmd
}

func (o *removeOptions) parse() error {
	for _, file := range o.IDFiles {
		data, err := os.ReadFile(file)
		switch {
		case err != nil && os.IsNotExist(err) && (o.Ignore || o.Force):
		case err != nil:
			return cli.Usagef("--pod-id-file: %s", err)
		default:
			o.Refs = append(o.Refs, strings.TrimSpace(string(data)))
		}
	}
	if len(o.IDFiles) == 0 || len(o.Refs) > 0 {
		if err := o.which.check(); err != nil {
			return err
		}
	}
	return o.grace.check()
}

func (o *removeOptions) run(ctx context.Context, env *cli.Env) error {
	e, err := engine(ctx, env)
	if err != nil {
		return err
	}
	refs, err := o.refs(ctx, e, anyPod)
	if err != nil {
		return err
	}
	ro := pod.RemoveOptions{Force: o.Force, Timeout: o.timeout}
	return env.Each(refs, cli.RemoveCode, func(ref string) error {
		s, err := find(ctx, e, ref)
		if errdefs.IsNotFound(err) && (o.Force || o.Ignore || o.All) {
			return nil
		}
		if err != nil {
			return err
		}
		if err := guard(s, &o.Force); err != nil {
			return err
		}
		err = e.Pods.Remove(ctx, s.ID, ro)
		if err != nil && !errdefs.IsNotFound(err) {
			return removeHint(ctx, e, s, cli.Cause(ctx, err))
		}
		_, err = fmt.Fprintln(env.Out, s.ID)
		return err
	})
}

// removeHint says which containers keep a pod from being removed.
func removeHint(ctx context.Context, e *cli.Engine, s pod.Sandbox, err error) error {
	if !errdefs.IsFailedPrecondition(err) {
		return err
	}
	list, lerr := members(ctx, e, s)
	who := running(list)
	if lerr != nil || who == "" {
		return err
	}
	return cli.WithHint(say(errdefs.ErrFailedPrecondition, "pod %q has containers that run: %s", s.Config.Name, who),
		"davit pod stop %s, or davit pod rm --force %s", s.Config.Name, s.Config.Name)
}
