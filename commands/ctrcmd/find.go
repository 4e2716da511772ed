package ctrcmd

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/containerd/errdefs"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/davit-containers/davit/commands/cli"
	"github.com/davit-containers/davit/commands/ctrcmd/show"
	"github.com/davit-containers/davit/ctr"
	"github.com/davit-containers/davit/ctr/record"
)

// engine opens what changing verbs need, and settles what dead processes left.
func engine(ctx context.Context, env *cli.Env, parts ...cli.Part) (*cli.Engine, error) {
	return env.Change(ctx, append(parts, cli.Containers, cli.Pods)...)
}

// find is the container that the user means.
func find(ctx context.Context, e *cli.Engine, ref string) (ctr.Container, error) {
	id, err := e.Containers.Resolve(ref)
	if err != nil {
		return ctr.Container{}, findHint(ctx, e, ref, err)
	}
	c, err := e.Containers.Get(ctx, id)
	if errdefs.IsNotFound(err) {
		return c, absent(ref)
	}
	return c, err
}

// absent says that there is no such container.
func absent(ref string) error {
	return say(errdefs.ErrNotFound, "no container %q", ref)
}

// findHint says which container may have been meant.
func findHint(ctx context.Context, e *cli.Engine, ref string, err error) error {
	var several *record.AmbiguousError
	switch {
	case errors.As(err, &several):
		return cli.WithHint(several, "give more letters of the ID, or a name")
	case !errdefs.IsNotFound(err):
		return err
	}
	err = absent(ref)
	all, lerr := e.Containers.List(ctx)
	if lerr != nil && len(all) == 0 {
		return err
	}
	var names []string
	for _, c := range all {
		names = append(names, c.Config.Name)
	}
	if near := cli.Nearest(ref, names); near != "" {
		return cli.WithHint(err, "did you mean %q?", near)
	}
	return cli.WithHint(err, "davit ps -a lists all containers")
}

// guard is [cli.Guard] for a container.
func guard(c ctr.Container, force *bool) error {
	of := c.Config.Name
	if p := cli.KubePod(c.Config.Labels); p != "" {
		of = "pod " + p
	}
	return cli.Guard(c.Config.Owner, force, fmt.Sprintf("container %q is owned by the kubelet (%s)", c.Config.Name, of))
}

// said is an error in words for people, which wraps its class or its cause
// without saying so.
type said struct {
	cause error
	text  string
}

// say makes an error of a class or a cause, in other words.
func say(cause error, format string, args ...any) error {
	return &said{cause, fmt.Sprintf(format, args...)}
}

func (s *said) Error() string { return s.text }
func (s *said) Unwrap() error { return s.cause }

// which is the choice of containers that several verbs offer.
type which struct {
	All    bool
	Latest bool
	Ignore bool
	Filter []string
	Refs   []string

	flags *pflag.FlagSet // the verb's
}

// check refuses choices that contradict each other.
func (w which) check() error {
	var given []string
	for _, f := range []struct {
		name string
		on   bool
	}{{"--latest", w.Latest}, {"--all", w.All}, {"--filter", len(w.Filter) > 0}} {
		if f.on {
			given = append(given, f.name)
		}
	}
	switch {
	case len(given) > 0 && len(w.Refs) > 0:
		return cli.Usagef("%s takes no names", given[0])
	case w.Latest && len(given) > 1:
		return cli.Usagef("--latest does not go with %s", given[1])
	case len(given) == 0 && len(w.Refs) == 0:
		return cli.Usagef("a container is missing").Hintf("%s", cli.NameOne(w.flags))
	}
	return nil
}

// refs are the names and IDs of the containers chosen; among restricts all of
// them to those that a verb can work on.
func (w which) refs(ctx context.Context, env *cli.Env, among func(ctr.Container) bool) ([]string, error) {
	if !w.All && !w.Latest && len(w.Filter) == 0 {
		return w.Refs, nil
	}
	world, err := show.Read(ctx, env)
	if err != nil {
		return nil, err
	}
	filters, err := cli.ParseFilters(w.Filter, show.FilterKeys()...)
	if err != nil {
		return nil, err
	}
	filter, err := show.NewFilter(filters, world)
	if err != nil {
		return nil, err
	}
	var out []string
	for _, c := range world.Containers {
		if !c.Config.Infra && c.Config.Owner == record.OwnerCLI && filter.Match(c) && (w.Latest || among(c)) {
			out = append(out, c.ID)
		}
	}
	if w.Latest {
		if len(out) == 0 {
			return nil, cli.WithHint(say(errdefs.ErrNotFound, "no container has been made yet"), "davit run IMAGE")
		}
		out = out[len(out)-1:]
	}
	return out, nil
}

func anyState(ctr.Container) bool { return true }

func alive(c ctr.Container) bool { return c.Status.Alive() }

// names completes the names of containers in some states; none is any.
func names(env *cli.Env, states ...ctr.State) cobra.CompletionFunc {
	return cli.Names(func(ctx context.Context) ([]string, error) {
		e, err := env.Engine(ctx, cli.Containers)
		if err != nil {
			return nil, err
		}
		all, err := e.Containers.List(ctx)
		var out []string
		for _, c := range all {
			if len(states) == 0 || slices.Contains(states, c.Status.State) {
				out = append(out, c.Config.Name)
			}
		}
		if len(out) > 0 {
			return out, nil
		}
		return nil, err
	})
}

// latest adds --latest.
func latest(w *which, cmd *cobra.Command) {
	w.flags = cmd.Flags()
	w.flags.BoolVarP(&w.Latest, "latest", "l", false, "the container that was made last")
}
