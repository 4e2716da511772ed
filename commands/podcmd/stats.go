package podcmd

import (
	"context"

	"github.com/containerd/errdefs"
	"github.com/spf13/cobra"

	"github.com/davit-containers/davit/commands/cli"
	"github.com/davit-containers/davit/commands/ctrcmd/live"
	"github.com/davit-containers/davit/pod"
)

func newStats(env *cli.Env) *cobra.Command {
	o := live.StatsOptions{Pods: true}
	w := &which{}
	cmd := &cobra.Command{
		Use:   "stats [flags] [POD...]",
		Short: "Show what the containers of pods use",
		Long: "Show what the running containers of pods use of CPU, memory, network and disk: of those that are\n" +
			"named, or of all. The figures are read again and again until Ctrl-C, unless --no-stream is given.",
		Example: "  davit pod stats\n" +
			"  davit pod stats --no-stream shop",
		ValidArgsFunction: names(env),
		RunE: func(cmd *cobra.Command, args []string) error {
			w.Refs = args
			w.All = w.All || !w.Latest && len(args) == 0
			if err := w.check(); err != nil {
				return err
			}
			if err := o.Check(); err != nil {
				return err
			}
			return stats(cmd.Context(), env, &o, w)
		},
	}
	o.Flags(cmd.Flags())
	w.flags(cmd.Flags(), "of all pods")
	return cmd
}

func stats(ctx context.Context, env *cli.Env, o *live.StatsOptions, w *which) error {
	e, err := env.Engine(ctx, cli.Containers, cli.Pods)
	if err != nil {
		return err
	}
	if !w.All {
		refs, err := w.refs(ctx, e, anyPod)
		if err != nil {
			return err
		}
		for i, ref := range refs {
			s, err := find(ctx, e, ref)
			if err != nil {
				return err
			}
			refs[i] = s.ID
		}
		w = &which{Refs: refs}
	}
	return o.Stats(ctx, env, e, func(ctx context.Context) (live.Chosen, error) { return chosen(ctx, e, w) })
}

// chosen are the running containers of the pods chosen.
func chosen(ctx context.Context, e *cli.Engine, w *which) (live.Chosen, error) {
	out := live.Chosen{PodNames: map[string]string{}}
	refs, err := w.refs(ctx, e, anyPod)
	if err != nil {
		return out, err
	}
	for _, id := range refs {
		s, err := e.Pods.Get(ctx, id)
		if errdefs.IsNotFound(err) {
			continue
		}
		if err != nil {
			return out, err
		}
		if err := add(ctx, e, s, &out); err != nil {
			return out, err
		}
	}
	return out, nil
}

func add(ctx context.Context, e *cli.Engine, s pod.Sandbox, out *live.Chosen) error {
	list, err := members(ctx, e, s)
	if err != nil {
		return err
	}
	out.PodNames[s.ID] = s.Config.Name
	for _, c := range list {
		if c.Status.Alive() {
			out.Containers = append(out.Containers, c)
		}
	}
	return nil
}
