package ctrcmd

import (
	"github.com/spf13/cobra"

	"github.com/davit-containers/davit/commands/cli"
)

// Commands are the verbs about containers, at the top and below container.
func Commands(env *cli.Env) []*cobra.Command {
	top := append(verbs(),
		cli.Verb{Name: "ps", New: func(env *cli.Env) *cobra.Command { return newList(env, "ps") }},
		cli.Verb{Name: "rm", New: func(env *cli.Env) *cobra.Command { return newRemove(env, "rm CONTAINER...") }},
		cli.Verb{Name: "container", New: newContainer},
		cli.Verb{Name: "healthcheck", New: newHealthcheck},
	)
	return cli.InGroup(cli.GroupRun, cli.Make(env, top...)...)
}

func newContainer(env *cli.Env) *cobra.Command {
	var subs []*cobra.Command
	for _, v := range verbs() {
		subs = append(subs, v.New(env))
	}
	return cli.Parent(&cobra.Command{
		Use:     "container",
		Short:   "Work with containers",
		Long:    "Work with containers. Its commands are those of the top level, and a few more.",
		Example: "  davit container ls --all\n  davit container prune",
	}, append(subs,
		newList(env, "ls", "list", "ps"),
		newRemove(env, "rm CONTAINER...", "remove"),
		newExists(env),
		newPrune(env),
		newExited(env),
	)...)
}

// verbs are those that both places have under the same name.
func verbs() []cli.Verb {
	return []cli.Verb{
		{Name: "run", New: newRun},
		{Name: "create", New: newCreate},
		{Name: "start", New: newStart},
		{Name: "stop", New: newStop},
		{Name: "rename", New: newRename},
		{Name: "restart", New: newRestart},
		{Name: "kill", New: newKill},
		{Name: "logs", New: newLogs},
		{Name: "attach", New: newAttach},
		{Name: "exec", New: newExec},
		{Name: "inspect", New: newInspect},
		{Name: "wait", New: newWait},
		{Name: "pause", New: newPause},
		{Name: "unpause", New: newUnpause},
		{Name: "cp", New: newCopy},
		{Name: "top", New: newTop},
		{Name: "stats", New: newStats},
		{Name: "port", New: newPort},
	}
}
