package syscmd

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/davit-containers/davit/commands/cli"
)

func newCompletion(env *cli.Env) *cobra.Command {
	var dir string
	shells := []string{"bash", "zsh", "fish"}
	cmd := &cobra.Command{
		Use:   "completion SHELL",
		Short: "Print a shell's completion script",
		Long: "Print the script that makes a shell complete davit's verbs, flags and the names of\n" +
			"containers, pods, images and networks. SHELL is bash, zsh or fish.",
		Example:           "  davit completion bash > /etc/bash_completion.d/davit\n  davit completion fish > ~/.config/fish/completions/davit.fish",
		ValidArgsFunction: cli.First(1, cli.Words(shells...)),
		RunE: func(cmd *cobra.Command, args []string) error {
			if dir != "" {
				for _, shell := range shells {
					var buf bytes.Buffer
					if err := writeCompletion(cmd.Root(), shell, &buf); err != nil {
						return err
					}
					if err := os.WriteFile(filepath.Join(dir, "davit."+shell), buf.Bytes(), 0o644); err != nil {
						return fmt.Errorf("writing completion: %w", err)
					}
				}
				return nil
			}
			if err := cli.Args(1, 1)(cmd, args); err != nil {
				return err
			}
			return writeCompletion(cmd.Root(), args[0], env.Out)
		},
	}
	cmd.Flags().StringVar(&dir, "dir", "", "write the scripts of all shells into `FOLDER`")
	return cmd
}

func writeCompletion(root *cobra.Command, shell string, w io.Writer) error {
	switch shell {
	case "bash":
		return root.GenBashCompletionV2(w, true)
	case "zsh":
		return root.GenZshCompletion(w)
	case "fish":
		return root.GenFishCompletion(w, true)
	}
	return cli.Usagef("no completion for shell %q", shell).Hintf("davit completion bash, zsh or fish")
}
