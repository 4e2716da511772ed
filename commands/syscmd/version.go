package syscmd

import (
	"fmt"
	"io"
	"runtime"

	"github.com/spf13/cobra"

	"github.com/davit-containers/davit/commands/cli"
)

// versionRow is what version prints.
type versionRow struct {
	Version   string
	GoVersion string
	OSArch    string
}

func newVersion(env *cli.Env) *cobra.Command {
	var format string
	cmd := &cobra.Command{
		Use:     "version",
		Short:   "Print davit's version",
		Long:    "Print the version of davit, of the Go compiler that built it, and its platform.",
		Example: "  davit version\n  davit version --format '{{.Version}}'",
		Args:    cli.Args(0, 0),
		RunE: func(*cobra.Command, []string) error {
			row := versionRow{Version: env.Version, GoVersion: runtime.Version(), OSArch: runtime.GOOS + "/" + runtime.GOARCH}
			return printVersion(env.Out, format, row)
		},
		ValidArgsFunction: cobra.NoFileCompletions,
	}
	cmd.Flags().StringVarP(&format, "format", "f", "", "`FORMAT`: json, or a Go template")
	return cmd
}

func printVersion(w io.Writer, format string, row versionRow) error {
	switch format {
	case "":
		_, err := fmt.Fprintf(w, "Version:     %s\nGo Version:  %s\nOS/Arch:     %s\n", row.Version, row.GoVersion, row.OSArch)
		return err
	case "json":
		return cli.WriteJSON(w, row)
	}
	return cli.PrintObjects(w, format, []versionRow{row})
}
