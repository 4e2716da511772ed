package podcmd

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/davit-containers/davit/commands/cli"
	"github.com/davit-containers/davit/ctr"
	"github.com/davit-containers/davit/ctr/spec"
	"github.com/davit-containers/davit/pod"
)

// verb is a command that does one thing with each pod chosen.
type verb struct {
	use, short, long, example, all string
	do                             func(ctx context.Context, e *cli.Engine, s pod.Sandbox) error
	// flags adds flags of the verb's own; check reads them.
	flags func(cmd *cobra.Command)
	check func() error
}

// newVerb makes the command of a verb.
func newVerb(env *cli.Env, v verb) *cobra.Command {
	w := &which{}
	cmd := &cobra.Command{
		Use: v.use + " [flags] POD...", Short: v.short, Long: v.long, Example: v.example,
		ValidArgsFunction: names(env),
		RunE: func(cmd *cobra.Command, args []string) error {
			w.Refs = args
			if err := w.check(); err != nil {
				return err
			}
			if v.check != nil {
				if err := v.check(); err != nil {
					return err
				}
			}
			e, err := engine(cmd.Context(), env)
			if err != nil {
				return err
			}
			return w.each(cmd.Context(), env, e, func(s pod.Sandbox) error { return v.do(cmd.Context(), e, s) })
		},
	}
	w.flags(cmd.Flags(), v.all)
	w.forceFlag(cmd.Flags())
	if v.flags != nil {
		v.flags(cmd)
	}
	return cmd
}

func newStart(env *cli.Env) *cobra.Command {
	return newVerb(env, verb{
		use:     "start",
		short:   "Start pods",
		long:    "Give pods their namespaces and their network, and start those of their containers that do not run.",
		example: "  davit pod start shop\n  davit pod start --all",
		all:     "start all pods",
		do:      func(ctx context.Context, e *cli.Engine, s pod.Sandbox) error { return e.Pods.Start(ctx, s.ID) },
	})
}

func newPause(env *cli.Env) *cobra.Command {
	return newVerb(env, verb{
		use:     "pause",
		short:   "Freeze all containers of pods",
		long:    "Freeze the processes of all running containers of pods, until davit pod unpause lets them go on.",
		example: "  davit pod pause shop\n  davit pod pause --all",
		all:     "pause all pods",
		do: func(ctx context.Context, e *cli.Engine, s pod.Sandbox) error {
			return eachIn(ctx, e, s, ctr.Running, e.Containers.Pause)
		},
	})
}

func newUnpause(env *cli.Env) *cobra.Command {
	return newVerb(env, verb{
		use:     "unpause",
		short:   "Let all paused containers of pods go on",
		long:    "Let the processes of all paused containers of pods go on.",
		example: "  davit pod unpause shop\n  davit pod unpause --all",
		all:     "unpause all pods",
		do: func(ctx context.Context, e *cli.Engine, s pod.Sandbox) error {
			return eachIn(ctx, e, s, ctr.Paused, e.Containers.Unpause)
		},
	})
}

func newKill(env *cli.Env) *cobra.Command {
	signal := "KILL"
	return newVerb(env, verb{
		use:     "kill",
		short:   "Send a signal to all containers of pods",
		long:    "Send a signal to the first process of each running container of pods: KILL, unless --signal says\notherwise.",
		example: "  davit pod kill shop\n  davit pod kill --signal HUP shop",
		all:     "all pods",
		flags: func(cmd *cobra.Command) {
			cmd.Flags().StringVarP(&signal, "signal", "s", signal, "`SIGNAL` to send: a name or a number")
		},
		check: func() error {
			if _, err := spec.ParseSignal(signal); err != nil {
				return cli.Usagef("--signal: %s", err)
			}
			return nil
		},
		do: func(ctx context.Context, e *cli.Engine, s pod.Sandbox) error {
			return eachIn(ctx, e, s, ctr.Running, func(ctx context.Context, id string) error {
				return e.Containers.Kill(ctx, id, signal)
			})
		},
	})
}
