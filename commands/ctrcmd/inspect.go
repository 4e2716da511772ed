package ctrcmd

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/containerd/errdefs"
	"github.com/spf13/cobra"

	"github.com/davit-containers/davit/commands/cli"
	"github.com/davit-containers/davit/commands/ctrcmd/show"
	"github.com/davit-containers/davit/ctr"
	"github.com/davit-containers/davit/pod"
)

// Kinds of things that inspect knows.
const (
	kindAll       = "all"
	kindContainer = "container"
	kindPod       = "pod"
	kindImage     = "image"
)

func kinds() []string { return []string{kindAll, kindContainer, kindPod, kindImage} }

// inspectOptions are the flags of inspect.
type inspectOptions struct {
	which
	Format string
	Kind   string
}

func newInspect(env *cli.Env) *cobra.Command {
	o := &inspectOptions{}
	cmd := &cobra.Command{
		Use:   "inspect [flags] NAME...",
		Short: "Show all that is known of containers, pods and images",
		Long: "Show all that is known of containers, else of pods, else of images of these names, as JSON or by\n" +
			"a Go template. One that is absent does not keep the others from being shown.",
		Example: "  davit inspect web\n" +
			"  davit inspect --format '{{.State.Status}} {{.NetworkSettings.IPAddress}}' web\n" +
			"  davit inspect --type pod shop",
		ValidArgsFunction: names(env),
		RunE: func(cmd *cobra.Command, args []string) error {
			o.Refs = args
			if err := o.check(cmd); err != nil {
				return err
			}
			return o.run(cmd, env)
		},
	}
	fs := cmd.Flags()
	fs.StringVarP(&o.Format, "format", "f", "", "`FORMAT`: json, or a Go template")
	fs.StringVar(&o.Kind, "type", kindAll, "`KIND` of the names: "+strings.Join(kinds(), ", "))
	latest(&o.which, cmd)
	_ = cmd.RegisterFlagCompletionFunc("type", cli.Words(kinds()...))
	return cmd
}

func (o *inspectOptions) check(cmd *cobra.Command) error {
	if err := o.which.check(); err != nil {
		return err
	}
	if cmd.HasParent() && cmd.Parent().Name() == "container" && !cmd.Flags().Changed("type") {
		o.Kind = kindContainer
	}
	if !slices.Contains(kinds(), o.Kind) {
		return cli.Usagef("--type %q is none of %s", o.Kind, strings.Join(kinds(), ", "))
	}
	return nil
}

// subject is one thing to show; Image is its reference if it is an image.
type subject struct {
	container *show.Object
	pod       *show.PodObject
	image     string
}

func (o *inspectOptions) run(cmd *cobra.Command, env *cli.Env) error {
	ctx := cmd.Context()
	refs, err := o.refs(ctx, env, anyState)
	if err != nil {
		return err
	}
	var found []subject
	failed := env.Each(refs, cli.Code, func(ref string) error {
		s, err := o.lookUp(ctx, env, ref)
		if err == nil {
			found = append(found, s)
		}
		return err
	})
	if o.Format == "" || o.Format == "json" {
		return errors.Join(printJSON(cmd, env, found), failed)
	}
	for _, s := range found {
		if err := o.print(cmd, env, s); err != nil {
			return err
		}
	}
	return failed
}

// lookUp finds what a name means.
func (o *inspectOptions) lookUp(ctx context.Context, env *cli.Env, ref string) (subject, error) {
	e, err := env.Engine(ctx, cli.Containers, cli.Pods)
	if err != nil {
		return subject{}, err
	}
	if o.Kind == kindAll || o.Kind == kindContainer {
		c, err := find(ctx, e, ref)
		if err == nil {
			object := containerObject(ctx, env, e, c)
			return subject{container: &object}, nil
		}
		if o.Kind == kindContainer || !errdefs.IsNotFound(err) {
			return subject{}, err
		}
	}
	if o.Kind == kindAll || o.Kind == kindPod {
		id, err := e.Pods.Resolve(ref)
		if err == nil {
			world, err := show.Read(ctx, env)
			if err != nil {
				return subject{}, err
			}
			s, err := e.Pods.Get(ctx, id)
			object := world.PodObject(s)
			return subject{pod: &object}, err
		}
		if o.Kind == kindPod || !errdefs.IsNotFound(err) {
			return subject{}, err
		}
	}
	if e, err = env.Engine(ctx, cli.Images); err != nil {
		return subject{}, err
	}
	switch ok, err := e.Images.Exists(ctx, ref); {
	case err != nil:
		return subject{}, err
	case ok:
		return subject{image: ref}, nil
	}
	if o.Kind == kindImage {
		return subject{}, say(errdefs.ErrNotFound, "no image %q", ref)
	}
	return subject{}, say(errdefs.ErrNotFound, "no container, pod or image %q", ref)
}

// containerObject is all that is known of a container, from its record and its
// pod's alone.
func containerObject(ctx context.Context, env *cli.Env, e *cli.Engine, c ctr.Container) show.Object {
	var pods []pod.Sandbox
	switch sandbox, err := e.Pods.Get(ctx, c.Config.Sandbox); {
	case err == nil:
		pods = append(pods, sandbox)
	case !errdefs.IsNotFound(err):
		env.Log().Warn("the record of a container's pod cannot be read", "container", c.ID, "error", err)
	}
	return show.NewWorld([]ctr.Container{c}, pods, env.Now()).Object(c, show.Paths{
		Log: e.Containers.LogPath(c),
		Volume: func(name string) string {
			v, err := e.Volumes.Get(name)
			if err != nil {
				return "" // the container has not been made whole, or lost it
			}
			return v.Path
		},
	})
}

// print shows one thing by a template.
func (o *inspectOptions) print(cmd *cobra.Command, env *cli.Env, s subject) error {
	switch {
	case s.container != nil:
		return cli.PrintObjects(env.Out, o.Format, []show.Object{*s.container})
	case s.pod != nil:
		return cli.PrintObjects(env.Out, o.Format, []show.PodObject{*s.pod})
	}
	return inspectImage(cmd, s.image, o.Format)
}

// printJSON shows all things as one array.
func printJSON(cmd *cobra.Command, env *cli.Env, found []subject) error {
	list := []any{}
	for _, s := range found {
		switch {
		case s.container != nil:
			list = append(list, s.container)
		case s.pod != nil:
			list = append(list, s.pod)
		default:
			image, err := imageJSON(cmd, env, s.image)
			if err != nil {
				return err
			}
			list = append(list, image...)
		}
	}
	return cli.WriteJSON(env.Out, list)
}

// imageJSON is what image inspect prints of an image.
func imageJSON(cmd *cobra.Command, env *cli.Env, ref string) ([]any, error) {
	var buf bytes.Buffer
	out := env.Out
	env.Out = &buf
	err := inspectImage(cmd, ref, "")
	env.Out = out
	if err != nil {
		return nil, err
	}
	var list []json.RawMessage
	if err := json.Unmarshal(buf.Bytes(), &list); err != nil {
		return nil, fmt.Errorf("reading what image inspect says: %w", err)
	}
	objects := make([]any, 0, len(list))
	for _, o := range list {
		objects = append(objects, o)
	}
	return objects, nil
}

// inspectImage has image inspect show an image: images are another package's.
func inspectImage(cmd *cobra.Command, ref, format string) error {
	sub, _, err := cmd.Root().Find([]string{"image", "inspect"})
	if err != nil || sub.RunE == nil || sub.Name() != "inspect" {
		return fmt.Errorf("images cannot be shown here: %w", errdefs.ErrNotImplemented)
	}
	sub.SetContext(cmd.Context())
	if err := sub.Flags().Set("format", format); err != nil {
		return err
	}
	return sub.RunE(sub, []string{ref})
}
