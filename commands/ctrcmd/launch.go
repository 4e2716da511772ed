package ctrcmd

import (
	"cmp"
	"context"
	"errors"
	"fmt"

	"github.com/containerd/errdefs"

	"github.com/davit-containers/davit/commands/cli"
	"github.com/davit-containers/davit/commands/ctrcmd/options"
	"github.com/davit-containers/davit/commands/ctrcmd/show"
	"github.com/davit-containers/davit/ctr"
	"github.com/davit-containers/davit/ctr/record"
	"github.com/davit-containers/davit/img"
	"github.com/davit-containers/davit/netw"
	"github.com/davit-containers/davit/pod"
)

// prepared is a container that is about to be made.
type prepared struct {
	engine *cli.Engine
	launch pod.Launch
	// pod is the ID of the pod that was made for it; empty if none was.
	pod    string
	idFile options.IDFile
}

// undo takes back what was made beforehand.
func (p *prepared) undo(ctx context.Context) error {
	err := p.idFile.Undo()
	if p.pod != "" {
		err = errors.Join(err, ignoreAbsent(p.engine.Pods.Remove(ctx, p.pod, pod.RemoveOptions{})))
	}
	return err
}

// prepare does what comes before a container is made: the pod that it goes into,
// the image, the file for its ID, and at last, when nothing else is known to be in
// its way, the end of the container that it replaces.
func prepare(ctx context.Context, env *cli.Env, o *options.Create, plan options.Plan) (prepared, error) {
	e, err := engine(ctx, env, cli.Networks)
	if err != nil {
		return prepared{}, err
	}
	if err := checkNetworks(ctx, e, plan.Pod); err != nil {
		return prepared{}, err
	}
	if err := join(ctx, e, &plan); err != nil {
		return prepared{}, err
	}
	if e, err = env.Engine(ctx, cli.Images); err != nil {
		return prepared{}, err
	}
	image, err := ensureImage(ctx, env, e, o.Source, plan.Container.Image.Ref)
	if err != nil {
		return prepared{}, err
	}
	c := &plan.Container
	c.ID, c.Image.ID = ctr.NewID(), image.ID
	for _, from := range plan.VolumesFrom {
		other, err := find(ctx, e, from.Container)
		if err != nil {
			return prepared{}, err
		}
		from.Inherit(c, other.Config)
	}
	if plan.PublishAll {
		n := &plan.Pod.Network
		if n.Ports, err = options.PublishExposed(n.Ports, image.Config.ExposedPorts, plan.Exposed); err != nil {
			return prepared{}, err
		}
	}
	p := prepared{engine: e, launch: pod.Launch{Container: *c}, idFile: options.IDFile{Flag: "cidfile", Path: o.CIDFile, Fresh: true}}
	if err := p.place(ctx, env, plan); err != nil {
		return prepared{}, errors.Join(err, p.undo(context.WithoutCancel(ctx)))
	}
	return p, nil
}

// ensureImage finds an image, and pulls it where the policy says so.
func ensureImage(ctx context.Context, env *cli.Env, e *cli.Engine, o options.Source, ref string) (img.Image, error) {
	config, err := env.Config()
	if err != nil {
		return img.Image{}, err
	}
	policy, err := img.ParsePullPolicy(cmp.Or(o.Pull, config.Images.Pull))
	if err != nil {
		return img.Image{}, cli.Usagef("--pull: %q is none of always, missing, newer, never", o.Pull)
	}
	platform, err := img.ParsePlatform(o.Platform)
	if err != nil {
		return img.Image{}, cli.Usagef("--platform: %q is not OS/ARCH[/VARIANT]", o.Platform).Hintf("for example --platform linux/arm64")
	}
	if o.Platform == "" && (policy == img.PullMissing || policy == img.PullNever) {
		image, err := e.Images.Resolve(ctx, ref)
		switch {
		case errdefs.IsNotFound(err) && policy == img.PullNever:
			return image, cli.WithHint(err, "davit pull %s", ref)
		case !errdefs.IsNotFound(err):
			return image, err
		}
	}
	progress := env.Progress("Pulling", o.Quiet)
	defer progress.Close()
	image, err := e.Images.Pull(ctx, ref, img.PullOptions{Policy: policy, Platform: platform, Owner: "cli", Progress: progress.Event})
	return image, cli.Cause(ctx, err)
}

// replace removes the container that has a name.
func replace(ctx context.Context, env *cli.Env, e *cli.Engine, name string) error {
	id, err := e.Containers.Resolve(name)
	if errdefs.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return err
	}
	c, err := e.Containers.Get(ctx, id)
	if err != nil || c.Config.Name != name {
		return ignoreAbsent(err) // it is the ID of another one that begins so
	}
	if err := guard(c, nil); err != nil {
		return err
	}
	return ignoreAbsent(removeContainer(ctx, env, e, c, ctr.RemoveOptions{Force: true, Timeout: new(stopTimeout(c.Config))}))
}

func ignoreAbsent(err error) error {
	if errdefs.IsNotFound(err) {
		return nil
	}
	return err
}

// join puts a container into the pod that is to be there already, if one is.
func join(ctx context.Context, e *cli.Engine, plan *options.Plan) error {
	if plan.PodRef == "" {
		return nil
	}
	s, err := findPod(ctx, e, plan.PodRef)
	if err != nil {
		return err
	}
	c := &plan.Container
	c.Sandbox = s.ID
	if c.Restart.Policy == "" {
		c.Restart = s.Config.Restart
	}
	return checkShared(*c, s)
}

// place makes what the container needs beforehand: the file for its ID, and its
// pod, if that is to be a new one. The container that has its name goes when
// nothing else is in the way any more.
func (p *prepared) place(ctx context.Context, env *cli.Env, plan options.Plan) error {
	if err := p.idFile.Claim(); err != nil {
		return err
	}
	c := &p.launch.Container
	switch {
	case plan.Pod == nil:
	case plan.Pod.Implicit:
		p.launch.Pod = plan.Pod
	default:
		s, err := p.engine.Pods.Create(ctx, *plan.Pod)
		if err != nil {
			return podNameHint(err, plan.Pod.Name)
		}
		c.Sandbox, p.pod = s.ID, s.ID
	}
	if plan.Replace {
		if err := replace(ctx, env, p.engine, c.Name); err != nil {
			return err
		}
	}
	return p.idFile.Write(c.ID)
}

// checkShared refuses what a container cannot have in a pod that is there.
func checkShared(c ctr.Config, s pod.Sandbox) error {
	if s.Config.Owner == record.OwnerCRI {
		return cli.WithHint(say(errdefs.ErrInvalidArgument, "pod %q is owned by the kubelet, which removes containers that it does not know",
			s.Config.Name), "davit pod create --name NAME makes one of your own")
	}
	if s.Config.Implicit {
		return cli.WithHint(say(errdefs.ErrInvalidArgument, "pod %q was made for one container alone", s.Config.Name), "davit pod create --name NAME, then --pod NAME for both")
	}
	if p := c.Restart.Policy; c.Remove && (p == ctr.RestartAlways || p == ctr.RestartUnlessStopped) {
		return cli.Usagef("--rm cannot be used in pod %q, whose containers have --restart %s", s.Config.Name, p).
			Hintf("add --restart no, or --restart on-failure")
	}
	return nil
}

func podNameHint(err error, name string) error {
	var taken *record.NameTakenError
	if errors.As(err, &taken) {
		return cli.WithHint(say(errdefs.ErrAlreadyExists, "there is a pod %q already", name), "--pod %s runs in it", name)
	}
	return err
}

// findPod is the pod that the user means.
func findPod(ctx context.Context, e *cli.Engine, ref string) (pod.Sandbox, error) {
	id, err := e.Pods.Resolve(ref)
	if errdefs.IsNotFound(err) {
		err = say(errdefs.ErrNotFound, "no pod %q", ref)
		return pod.Sandbox{}, cli.WithHint(err, "davit pod create --name %s makes it, as does --pod new:%s", ref, ref)
	}
	if err != nil {
		return pod.Sandbox{}, err
	}
	return e.Pods.Get(ctx, id)
}

// writePIDFile writes the process ID of a container that was started.
func writePIDFile(ctx context.Context, e *cli.Engine, path, id string) error {
	if path == "" {
		return nil
	}
	c, err := e.Containers.Get(ctx, id)
	if err != nil {
		return err
	}
	data := fmt.Appendf(nil, "%d", c.Status.Pid)
	if err := record.WriteAtomic(path, data, record.WriteOptions{Mode: 0o644}); err != nil {
		return fmt.Errorf("--pidfile: %w", err)
	}
	return nil
}

// launchHint puts the words and the hint on an error that making or starting a
// container gave.
func launchHint(ctx context.Context, env *cli.Env, e *cli.Engine, l pod.Launch, err error) error {
	var taken *record.NameTakenError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &taken) && taken.Key == l.Container.Name:
		return nameTaken(ctx, e, taken)
	}
	return portHint(ctx, env, executableWords(err))
}

// executableWords leaves of an error about the container's command what it says
// of the command.
func executableWords(err error) error {
	var coded interface {
		error
		ExitCode() int
	}
	if errors.As(err, &coded) {
		return &said{err, coded.Error()}
	}
	return err
}

// checkNetworks refuses networks that are not there, before anything is made.
func checkNetworks(ctx context.Context, e *cli.Engine, p *pod.Config) error {
	if p == nil {
		return nil
	}
	for _, ref := range p.Network.Networks {
		if ref.Name == netw.Builtin {
			continue // made with its first attachment
		}
		_, err := e.Networks.Network(ctx, ref.Name)
		if !errdefs.IsNotFound(err) {
			if err != nil {
				return err
			}
			continue
		}
		err = say(errdefs.ErrNotFound, "no network %q", ref.Name)
		all, lerr := e.Networks.Networks(ctx)
		if lerr != nil {
			return err
		}
		var names []string
		for _, n := range all {
			names = append(names, n.Name)
		}
		if near := cli.Nearest(ref.Name, names); near != "" {
			return cli.WithHint(err, "did you mean %q?", near)
		}
		return cli.WithHint(err, "davit network create %s makes it, davit network ls lists those that are there", ref.Name)
	}
	return nil
}

// nameTaken says by what a name is in use.
func nameTaken(ctx context.Context, e *cli.Engine, taken *record.NameTakenError) error {
	what := "container " + cli.ShortID(taken.ID, false)
	if c, err := e.Containers.Get(ctx, taken.ID); err == nil {
		what += fmt.Sprintf(" (%s, %s)", show.ImageName(c.Config.Image), show.State(c.Status))
	}
	err := say(errdefs.ErrAlreadyExists, "the name %q is in use by %s", taken.Key, what)
	return cli.WithHint(err, "choose another name, or --replace removes that one first")
}
