package podcmd

import (
	"github.com/spf13/cobra"

	"github.com/davit-containers/davit/commands/cli"
)

// Commands are the verbs about pods, and pods, which is pod ps.
func Commands(env *cli.Env) []*cobra.Command {
	return cli.InGroup(cli.GroupPods, cli.Make(env,
		cli.Verb{Name: "pod", New: newPod},
		cli.Verb{Name: "pods", New: func(env *cli.Env) *cobra.Command { return newList(env, "pods") }},
	)...)
}

func newPod(env *cli.Env) *cobra.Command {
	return cli.Parent(&cobra.Command{
		Use:   "pod",
		Short: "Work with pods",
		Long: "Work with pods: groups of containers that share a network, an IPC and a UTS namespace, and a\n" +
			"cgroup above theirs.",
		Example: "  davit pod create --name shop -p 8080:80\n  davit run -d --pod shop docker.io/library/nginx",
	},
		newCreate(env),
		newExists(env),
		newInspect(env),
		newKill(env),
		newLogs(env),
		newPause(env),
		newPrune(env),
		newList(env, "ps", "ls", "list"),
		newRestart(env),
		newRemove(env),
		newStart(env),
		newStats(env),
		newStop(env),
		newTend(env),
		newTop(env),
		newUnpause(env),
	)
}
