package podcmd

import (
	"context"
	"slices"
	"strings"

	"github.com/containerd/errdefs"
	"github.com/spf13/cobra"

	"github.com/davit-containers/davit/commands/cli"
	"github.com/davit-containers/davit/commands/ctrcmd/live"
	"github.com/davit-containers/davit/ctr"
)

func newLogs(env *cli.Env) *cobra.Command {
	var o live.LogOptions
	var containers []string
	w := &which{}
	cmd := &cobra.Command{
		Use:   "logs [flags] POD",
		Short: "Show what the containers of a pod have written",
		Long: "Show what the containers of a pod have written, each line with the name of its container before\n" +
			"it where there are several.",
		Example: "  davit pod logs shop\n" +
			"  davit pod logs --follow --container web shop",
		Args:              cli.Args(0, 1),
		ValidArgsFunction: cli.First(1, names(env)),
		RunE: func(cmd *cobra.Command, args []string) error {
			w.Refs = args
			if err := w.check(); err != nil {
				return err
			}
			read, err := o.Parse(env)
			if err != nil {
				return err
			}
			sources := live.Sources{Names: o.Names}
			return printLogs(cmd.Context(), env, logRequest{w, containers, sources, read})
		},
	}
	o.Flags(cmd.Flags())
	cmd.Flags().StringArrayVarP(&containers, "container", "c", nil, "only of the `CONTAINER` (may be repeated)")
	w.latest(cmd.Flags())
	return cmd
}

// logRequest is what pod logs was asked for.
type logRequest struct {
	which      *which
	containers []string
	sources    live.Sources
	read       ctr.LogOptions
}

func printLogs(ctx context.Context, env *cli.Env, r logRequest) error {
	e, err := env.Engine(ctx, cli.Containers, cli.Pods)
	if err != nil {
		return err
	}
	refs, err := r.which.refs(ctx, e, anyPod)
	if err != nil {
		return err
	}
	s, err := find(ctx, e, refs[0])
	if err != nil {
		return err
	}
	list, err := members(ctx, e, s)
	if err != nil {
		return err
	}
	if r.sources.Containers, err = among(list, r.containers, s.Config.Name); err != nil {
		return err
	}
	r.sources.Names = r.sources.Names || len(r.sources.Containers) > 1
	return live.Logs(ctx, env, e, r.sources, r.read)
}

// among are the containers of a pod that are named; all, where none is.
func among(list []ctr.Container, refs []string, pod string) ([]ctr.Container, error) {
	if len(refs) == 0 {
		return list, nil
	}
	var out []ctr.Container
	for _, ref := range refs {
		i := slices.IndexFunc(list, func(c ctr.Container) bool { return c.Config.Name == ref })
		if i < 0 {
			i = slices.IndexFunc(list, func(c ctr.Container) bool { return ref != "" && strings.HasPrefix(c.ID, ref) })
		}
		if i < 0 {
			return nil, say(errdefs.ErrNotFound, "no container %q in pod %q", ref, pod)
		}
		out = append(out, list[i])
	}
	return out, nil
}
