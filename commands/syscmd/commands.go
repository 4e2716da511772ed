package syscmd

import (
	"github.com/spf13/cobra"

	"github.com/davit-containers/davit/commands/cli"
)

// Commands are the verbs about davit itself.
func Commands(env *cli.Env) []*cobra.Command {
	system := cli.Parent(&cobra.Command{
		Use:     "system",
		Short:   "Look at davit and its host",
		Example: "  davit system info\n  davit system version --format json",
	}, newInfo(env), newVersion(env), newCheck(env), newDoctor(env))
	return cli.InGroup(cli.GroupSystem, newInfo(env), newVersion(env), newConfig(env), newServeCRI(env), newCompletion(env), system)
}
