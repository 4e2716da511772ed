package ctrcmd

import (
	"github.com/spf13/cobra"

	"github.com/davit-containers/davit/commands/cli"
)

// Commands are the verbs about containers, at the top and below container.
func Commands(env *cli.Env) []*cobra.Command {
	container := cli.Parent(&cobra.Command{
		Use:     "container",
		Short:   "Work with containers",
		Long:    "Work with containers. Its commands are those of the top level, and a few more.",
		Example: "  davit container ls --all\n  davit container prune",
	}, append(verbs(env),
		newList(env, "ls", "list", "ps"),
		newRemove(env, "rm CONTAINER...", "remove"),
		newExists(env),
		newPrune(env),
		newExited(env),
	)...)
	top := append(verbs(env), newList(env, "ps"), newRemove(env, "rm CONTAINER..."), container, newHealthcheck(env))
	return cli.InGroup(cli.GroupRun, top...)
}

// verbs are those that both places have under the same name.
func verbs(env *cli.Env) []*cobra.Command {
	return []*cobra.Command{
		newRun(env),
		newCreate(env),
		newStart(env),
		newStop(env),
		newRename(env),
		newRestart(env),
		newKill(env),
		newLogs(env),
		newAttach(env),
		newExec(env),
		newInspect(env),
		newWait(env),
		newPause(env),
		newUnpause(env),
		newCopy(env),
		newTop(env),
		newStats(env),
		newPort(env),
	}
}
