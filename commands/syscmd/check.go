package syscmd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/davit-containers/davit/commands/cli"
	"github.com/davit-containers/davit/ctr/record"
	"github.com/davit-containers/davit/pod/check"
)

// checkOptions are the flags of system check.
type checkOptions struct {
	Repair bool
	Force  bool
	Quick  bool
	Deep   bool
	Max    string
	Format string
}

func newCheck(env *cli.Env) *cobra.Command {
	var o checkOptions
	cmd := &cobra.Command{
		Use:   "check",
		Short: "Find what does not agree, and repair it",
		Long: "Compare davit's records with the machine and with each other: pods and containers\n" +
			"with their processes, mounts, namespaces, cgroups, networks, addresses, ports and\n" +
			"layers, names and run files with records, images with their layers. Each thing\n" +
			"that does not agree is a line that says what --repair would do. What is under way\n" +
			"is none, so that it may be run at any time, beside the server and running pods.\n\n" +
			"--repair mends what it can and leaves alone what is sound: of what containers use,\n" +
			"and of data that cannot be had again, nothing goes without --force. What other\n" +
			"programs made in the same image store is theirs.\n\n" +
			"The exit code is 0 where nothing is wrong, or all was repaired, 1 where something\n" +
			"is left.",
		Example: "  davit system check\n  davit system check --deep --repair --format json",
		Args:    cli.Args(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			opts, err := o.parse()
			if err != nil {
				return err
			}
			return o.run(cmd.Context(), env, opts)
		},
		ValidArgsFunction: cobra.NoFileCompletions,
	}
	fs := cmd.Flags()
	fs.BoolVarP(&o.Repair, "repair", "r", false, "mend what was found")
	fs.BoolVarP(&o.Force, "force", "f", false, "with --repair: remove damaged containers, and images with the containers made of them, too")
	fs.BoolVar(&o.Deep, "deep", false, "read the contents of all images and compare them with their digests")
	fs.BoolVarP(&o.Quick, "quick", "q", false, "do not (the default)")
	fs.StringVarP(&o.Max, "max", "m", "24h", "how old a layer may be that nothing uses, as `DURATION`")
	fs.StringVar(&o.Format, "format", "", "`FORMAT`: json, or a Go template for each finding")
	cmd.MarkFlagsMutuallyExclusive("deep", "quick")
	return cmd
}

// parse checks the flags.
func (o checkOptions) parse() (check.Options, error) {
	age, err := time.ParseDuration(o.Max)
	if err != nil || age <= 0 {
		return check.Options{}, cli.Usagef("--max %q is no duration, as 24h is", o.Max)
	}
	if o.Force && !o.Repair {
		return check.Options{}, cli.Usagef("--force goes with --repair")
	}
	return check.Options{Deep: o.Deep, MaxAge: age, Force: o.Force}, nil
}

func (o checkOptions) run(ctx context.Context, env *cli.Env, opts check.Options) error {
	e, err := env.Engine(ctx, cli.Images, cli.Networks, cli.Containers, cli.Pods)
	if err != nil {
		return err
	}
	engine := check.Engine{Containers: e.Containers, Pods: e.Pods, Networks: e.Networks, Images: e.Images}
	var out []check.Outcome
	if o.Repair {
		out, err = engine.Repair(ctx, opts)
	} else {
		var found []record.Finding
		found, err = engine.Find(ctx, opts)
		for _, f := range found {
			out = append(out, check.Outcome{Finding: f})
		}
	}
	if werr := o.write(env.Out, out); werr != nil || err != nil {
		return errors.Join(err, werr)
	}
	for _, one := range out {
		if !one.Repaired {
			return &cli.ExitError{Code: 1}
		}
	}
	return nil
}

func (o checkOptions) write(w io.Writer, out []check.Outcome) error {
	switch o.Format {
	case "json":
		if out == nil {
			out = []check.Outcome{}
		}
		return cli.WriteJSON(w, out)
	case "":
	default:
		return cli.PrintObjects(w, o.Format, out)
	}
	for _, one := range out {
		if _, err := fmt.Fprintln(w, line(one, o.Repair)); err != nil {
			return err
		}
	}
	return nil
}

// line is what a person reads of a finding.
func line(one check.Outcome, repair bool) string {
	text := fmt.Sprintf("%s: %s: %s", one.Kind, one.Object, one.Problem)
	switch {
	case one.Repaired:
		return text + ": repaired"
	case repair:
		return fmt.Sprintf("%s: left: %s (%s)", text, one.Error, one.Repair)
	case one.Mend == nil:
		return fmt.Sprintf("%s: for you to mend: %s", text, one.Repair)
	case one.Loses:
		return fmt.Sprintf("%s: --repair --force would %s", text, one.Repair)
	}
	return fmt.Sprintf("%s: --repair would %s", text, one.Repair)
}
