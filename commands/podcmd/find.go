package podcmd

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/containerd/errdefs"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/davit-containers/davit/commands/cli"
	"github.com/davit-containers/davit/commands/ctrcmd/show"
	"github.com/davit-containers/davit/ctr"
	"github.com/davit-containers/davit/ctr/record"
	"github.com/davit-containers/davit/pod"
)

// engine opens what changing verbs need, and settles what dead processes left.
func engine(ctx context.Context, env *cli.Env) (*cli.Engine, error) {
	return env.Change(ctx, cli.Containers, cli.Pods)
}

// find is the pod that the user means.
func find(ctx context.Context, e *cli.Engine, ref string) (pod.Sandbox, error) {
	id, err := e.Pods.Resolve(ref)
	var several *record.AmbiguousError
	switch {
	case errors.As(err, &several):
		return pod.Sandbox{}, cli.WithHint(several, "give more letters of the ID, or a name")
	case errdefs.IsNotFound(err):
		return pod.Sandbox{}, absent(ctx, e, ref)
	case err != nil:
		return pod.Sandbox{}, err
	}
	s, err := e.Pods.Get(ctx, id)
	if errdefs.IsNotFound(err) {
		return s, absent(ctx, e, ref)
	}
	return s, err
}

// absent says that there is no such pod, and which may have been meant.
func absent(ctx context.Context, e *cli.Engine, ref string) error {
	err := say(errdefs.ErrNotFound, "no pod %q", ref)
	all, lerr := e.Pods.List(ctx)
	if lerr != nil && len(all) == 0 {
		return err
	}
	var names []string
	for _, s := range all {
		names = append(names, s.Config.Name)
	}
	if near := cli.Nearest(ref, names); near != "" {
		return cli.WithHint(err, "did you mean %q?", near)
	}
	return cli.WithHint(err, "davit pod ps lists the pods")
}

// guard is [cli.Guard] for a pod.
func guard(s pod.Sandbox, force *bool) error {
	name := cmp.Or(cli.KubePod(s.Config.Labels), s.Config.Name)
	return cli.Guard(s.Config.Owner, force, fmt.Sprintf("pod %q is owned by the kubelet", name))
}

// said is an error in words for people, which wraps its class without saying so.
type said struct {
	class error
	text  string
}

// say makes an error of a class.
func say(class error, format string, args ...any) error {
	return &said{class, fmt.Sprintf(format, args...)}
}

func (s *said) Error() string { return s.text }
func (s *said) Unwrap() error { return s.class }

// which is the choice of pods that several verbs offer.
type which struct {
	All    bool
	Latest bool
	Ignore bool
	Force  bool
	Refs   []string

	set *pflag.FlagSet // the verb's flags
}

// flags adds --all and --latest; what says what the verb does with all of them.
func (w *which) flags(fs *pflag.FlagSet, all string) {
	fs.BoolVarP(&w.All, "all", "a", false, all)
	w.latest(fs)
}

// latest adds --latest.
func (w *which) latest(fs *pflag.FlagSet) {
	w.set = fs
	fs.BoolVarP(&w.Latest, "latest", "l", false, "the pod that was made last")
}

// forceFlag adds --force for pods of the kubelet.
func (w *which) forceFlag(fs *pflag.FlagSet) {
	fs.BoolVar(&w.Force, "force", false, "also one that the kubelet owns")
}

func (w which) check() error {
	switch {
	case w.All && w.Latest:
		return cli.Usagef("--all and --latest exclude each other")
	case w.All && len(w.Refs) > 0:
		return cli.Usagef("--all takes no names")
	case w.Latest && len(w.Refs) > 0:
		return cli.Usagef("--latest takes no names")
	case !w.All && !w.Latest && len(w.Refs) == 0:
		return cli.Usagef("a pod is missing").Hintf("%s", cli.NameOne(w.set))
	}
	return nil
}

// refs are the names and IDs of the pods chosen.
func (w which) refs(ctx context.Context, e *cli.Engine, among func(pod.Sandbox) bool) ([]string, error) {
	if !w.All && !w.Latest {
		return w.Refs, nil
	}
	all, err := e.Pods.List(ctx)
	if err != nil && len(all) == 0 {
		return nil, err
	}
	var out []string
	for _, s := range all {
		if !s.Config.Implicit && s.Config.Owner == record.OwnerCLI && (w.Latest || among(s)) {
			out = append(out, s.ID)
		}
	}
	if w.Latest {
		if len(out) == 0 {
			return nil, cli.WithHint(say(errdefs.ErrNotFound, "no pod has been made yet"), "davit pod create")
		}
		out = out[len(out)-1:]
	}
	return out, nil
}

func anyPod(pod.Sandbox) bool { return true }

// each does something with every pod chosen, goes on after errors, and prints
// the IDs of those that it was done with.
func (w which) each(ctx context.Context, env *cli.Env, e *cli.Engine, do func(pod.Sandbox) error) error {
	refs, err := w.refs(ctx, e, anyPod)
	if err != nil {
		return err
	}
	return env.Each(refs, cli.Code, func(ref string) error {
		s, err := find(ctx, e, ref)
		if errdefs.IsNotFound(err) && w.Ignore {
			return nil
		}
		if err != nil {
			return err
		}
		if err := guard(s, &w.Force); err != nil {
			return err
		}
		if err := do(s); err != nil {
			return cli.Cause(ctx, err)
		}
		_, err = fmt.Fprintln(env.Out, s.ID)
		return err
	})
}

// members are the containers of a pod, without the infra container.
func members(ctx context.Context, e *cli.Engine, s pod.Sandbox) ([]ctr.Container, error) {
	all, err := e.Pods.ContainersOf(ctx, s.ID)
	return slices.DeleteFunc(all, func(c ctr.Container) bool { return c.Config.Infra }), err
}

// names completes the names of pods, but for those of single containers.
func names(env *cli.Env) cobra.CompletionFunc {
	return cli.Names(func(ctx context.Context) ([]string, error) {
		e, err := env.Engine(ctx, cli.Pods)
		if err != nil {
			return nil, err
		}
		all, err := e.Pods.List(ctx)
		var out []string
		for _, s := range all {
			if !s.Config.Implicit {
				out = append(out, s.Config.Name)
			}
		}
		return out, err
	})
}

// running names the containers of a pod that run.
func running(list []ctr.Container) string {
	var out []string
	for _, c := range list {
		if c.Status.Alive() {
			out = append(out, c.Config.Name+" ("+show.State(c.Status)+")")
		}
	}
	return strings.Join(out, ", ")
}
