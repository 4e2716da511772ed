package syscmd

import (
	"github.com/spf13/cobra"

	"github.com/davit-containers/davit/commands/cli"
)

// Commands are the verbs about davit itself.
func Commands(env *cli.Env) []*cobra.Command {
	return cli.InGroup(cli.GroupSystem, cli.Make(env,
		cli.Verb{Name: "info", New: newInfo},
		cli.Verb{Name: "version", New: newVersion},
		cli.Verb{Name: "config", New: newConfig},
		cli.Verb{Name: "serve-cri", New: newServeCRI},
		cli.Verb{Name: "completion", New: newCompletion},
		cli.Verb{Name: "system", New: newSystem},
	)...)
}

func newSystem(env *cli.Env) *cobra.Command {
	return cli.Parent(&cobra.Command{
		Use:     "system",
		Short:   "Look at davit and its host",
		Example: "  davit system info\n  davit system version --format json",
	}, newInfo(env), newVersion(env), newCheck(env), newDoctor(env))
}
