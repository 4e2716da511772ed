package commands

import (
	"slices"

	"github.com/spf13/cobra"

	"github.com/davit-containers/davit/commands/cli"
	"github.com/davit-containers/davit/commands/ctrcmd"
	"github.com/davit-containers/davit/commands/imgcmd"
	"github.com/davit-containers/davit/commands/netcmd"
	"github.com/davit-containers/davit/commands/podcmd"
	"github.com/davit-containers/davit/commands/syscmd"
	"github.com/davit-containers/davit/commands/volcmd"
)

// verbs are the top-level commands of all packages, in the order of the help.
func verbs(env *cli.Env) []*cobra.Command {
	return slices.Concat(
		ctrcmd.Commands(env),
		podcmd.Commands(env),
		imgcmd.Commands(env),
		netcmd.Commands(env),
		volcmd.Commands(env),
		syscmd.Commands(env),
	)
}
