package podcmd

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/containerd/errdefs"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/davit-containers/davit/commands/cli"
	"github.com/davit-containers/davit/commands/ctrcmd/options"
	"github.com/davit-containers/davit/ctr/record"
	"github.com/davit-containers/davit/ctr/spec"
	"github.com/davit-containers/davit/pod"
)

// createOptions are the flags of pod create.
type createOptions struct {
	options.Network
	options.Names
	options.Resources
	Identity identity
	Shared   shared
}

// identity is what a pod is called.
type identity struct {
	Name        string
	Labels      []string
	LabelFiles  []string
	Annotations []string
	IDFile      string
	Replace     bool
	Restart     string
}

// shared is what the containers of a pod have in common.
type shared struct {
	Share        string
	Infra        bool
	InfraCommand string
	ShmSize      string
	Sysctls      []string
	CgroupParent string
}

func newCreate(env *cli.Env) *cobra.Command {
	o := &createOptions{}
	cmd := &cobra.Command{
		Use:   "create [flags] [NAME]",
		Short: "Make a pod",
		Long: "Make a pod and print its ID. Its containers share the network, and what --share says else; its\n" +
			"ports are published here. davit run --pod puts a container into it.",
		Example: "  davit pod create --name shop -p 8080:80\n" +
			"  davit pod create --share net,ipc,uts,pid --network backend db",
		Args: cli.Args(0, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			host, err := options.NewHost(env)
			if err != nil {
				return err
			}
			c, err := o.parse(host, args)
			if err != nil {
				return err
			}
			return o.run(cmd.Context(), env, c)
		},
	}
	o.flags(cmd.Flags())
	_ = cmd.RegisterFlagCompletionFunc("share", cli.Words("net", "ipc", "uts", "pid", "none"))
	return cmd
}

func (o *createOptions) flags(fs *pflag.FlagSet) {
	cli.FlagGroup(fs, "Pod", func(fs *pflag.FlagSet) {
		fs.StringVarP(&o.Identity.Name, "name", "n", "", "`NAME` of the pod")
		fs.BoolVar(&o.Identity.Replace, "replace", false, "remove a pod of the same name first")
		fs.StringArrayVarP(&o.Identity.Labels, "label", "l", nil, "label, as `KEY=VALUE` (may be repeated)")
		fs.StringArrayVar(&o.Identity.LabelFiles, "label-file", nil, "read labels from a `FILE`, one a line (may be repeated)")
		fs.StringArrayVar(&o.Identity.Annotations, "annotation", nil, "annotation, as `KEY=VALUE` (may be repeated)")
		fs.StringVar(&o.Identity.IDFile, "pod-id-file", "", "write the pod's ID to a `FILE`")
		fs.StringVar(&o.Identity.Restart, "restart", "", "`POLICY` of its containers that are given none: no, on-failure[:N], always or unless-stopped")
	})
	cli.FlagGroup(fs, "Shared by its containers", func(fs *pflag.FlagSet) {
		fs.StringVar(&o.Shared.Share, "share", "net,ipc,uts", "`NAMESPACES` that they share: net, ipc, uts, pid, or none; +pid adds to the default")
		fs.BoolVar(&o.Shared.Infra, "infra", true, "allow an infra container, which a shared PID namespace needs")
		fs.StringVar(&o.Shared.InfraCommand, "infra-command", "", "`COMMAND` of the infra container")
		fs.StringVar(&o.Shared.ShmSize, "shm-size", "", "`SIZE` of /dev/shm (default 64m)")
		fs.StringArrayVar(&o.Shared.Sysctls, "sysctl", nil, "kernel parameter of their namespaces, as `KEY=VALUE` (may be repeated)")
		fs.StringVar(&o.Shared.CgroupParent, "cgroup-parent", "", "`PATH` of the cgroup above the pod's")
	})
	cli.FlagGroup(fs, "Network", func(fs *pflag.FlagSet) {
		o.Network.Flags(fs)
		o.Names.Flags(fs, "")
	})
	cli.FlagGroup(fs, "Resources of all its containers together", o.Resources.Flags)
}

// parse reads the flags.
func (o *createOptions) parse(h options.Host, args []string) (pod.Config, error) {
	c := pod.Config{Name: o.Identity.Name, Owner: record.OwnerCLI, CgroupParent: o.Shared.CgroupParent, Runtime: h.Config.Engine.Runtime}
	if len(args) > 0 {
		if c.Name != "" {
			return c, cli.Usagef("the pod has two names: %q and %q", c.Name, args[0])
		}
		c.Name = args[0]
	}
	if o.Identity.Replace && c.Name == "" {
		return c, cli.Usagef("--replace needs a name: that of the pod to replace")
	}
	var err error
	for _, fill := range []func() error{
		func() error { return options.CheckName("name", c.Name) },
		func() error {
			c.Labels, err = h.Labels("label", o.Identity.Labels, o.Identity.LabelFiles)
			return err
		},
		func() error { c.Annotations, err = h.Labels("annotation", o.Identity.Annotations, nil); return err },
		func() error { c.Restart, err = options.Restart(o.Identity.Restart); return err },
		func() error { return o.Network.Fill(h, &c) },
		func() error { return o.Names.Fill(&c) },
		func() error { c.Resources, err = o.Resources.Parse(0); return err },
		func() error { c.Sysctls, err = options.Sysctls(o.Shared.Sysctls); return err },
		func() error { return o.share(h, &c) },
		func() error { return options.CheckSysctls(c) },
	} {
		if err := fill(); err != nil {
			return c, err
		}
	}
	return c, nil
}

// share reads which namespaces the containers share, and what comes with that.
func (o *createOptions) share(h options.Host, c *pod.Config) error {
	list := o.Shared.Share
	if rest, more := strings.CutPrefix(list, "+"); more {
		list = "net,ipc,uts," + rest
	}
	share := map[string]bool{}
	for name := range strings.SplitSeq(list, ",") {
		switch name = strings.TrimPrefix(strings.TrimSpace(name), "+"); name {
		case "net", "ipc", "uts", "pid":
			share[name] = true
		case "", "none":
		default:
			return cli.Usagef("--share: %q is not net, ipc, uts, pid or none", name)
		}
	}
	mode := func(name string) spec.Mode {
		if share[name] {
			return spec.ModePod
		}
		return spec.ModePrivate
	}
	c.Namespaces = pod.Namespaces{IPC: mode("ipc"), UTS: mode("uts"), PID: mode("pid")}
	if !share["net"] {
		if len(c.Network.Networks) > 0 || c.Network.Mode != pod.NetworkCNI || len(c.Network.Ports) > 0 {
			return cli.Usagef("--network and --publish need a shared network: --share without net has none")
		}
		c.Network.Mode = pod.NetworkPrivate
	}
	if o.Shared.InfraCommand != "" {
		words, err := spec.ParseEntrypoint(o.Shared.InfraCommand)
		if err != nil {
			return cli.Usagef("--infra-command: %s", err)
		}
		c.InfraCommand = words
	}
	if share["pid"] && !o.Shared.Infra {
		return cli.Usagef("--share pid needs an infra container, which --infra=false forbids")
	}
	if !share["pid"] && c.InfraCommand != nil {
		return cli.Usagef("--infra-command has no meaning without --share pid: only that needs an infra container")
	}
	size, err := options.ParseShmSize(o.Shared.ShmSize)
	switch {
	case err != nil:
		return err
	case !share["ipc"] && size != 0:
		return cli.Usagef("--shm-size needs a shared IPC namespace: --share ipc")
	case share["ipc"] && size == 0:
		size = int64(h.Config.Containers.ShmSize)
	}
	c.ShmSize = size
	return nil
}

func (o *createOptions) run(ctx context.Context, env *cli.Env, c pod.Config) error {
	e, err := engine(ctx, env)
	if err != nil {
		return err
	}
	file := options.IDFile{Flag: "pod-id-file", Path: o.Identity.IDFile}
	if err := file.Claim(); err != nil {
		return err
	}
	if o.Identity.Replace {
		if err := replace(ctx, e, c.Name); err != nil {
			return errors.Join(err, file.Undo())
		}
	}
	s, err := e.Pods.Create(ctx, c)
	if err != nil {
		return errors.Join(createHint(ctx, e, cli.Cause(ctx, err)), file.Undo())
	}
	if err := file.Write(s.ID); err != nil {
		return err
	}
	_, err = fmt.Fprintln(env.Out, s.ID)
	return err
}

// replace removes the pod that has a name.
func replace(ctx context.Context, e *cli.Engine, name string) error {
	id, err := e.Pods.Resolve(name)
	if errdefs.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return err
	}
	s, err := e.Pods.Get(ctx, id)
	if errdefs.IsNotFound(err) || err == nil && s.Config.Name != name {
		return nil
	}
	if err != nil {
		return err
	}
	if err := guard(s, nil); err != nil {
		return err
	}
	err = e.Pods.Remove(ctx, id, pod.RemoveOptions{Force: true})
	if errdefs.IsNotFound(err) {
		return nil
	}
	return err
}

// createHint says what is in the way of a new pod.
func createHint(ctx context.Context, e *cli.Engine, err error) error {
	var taken *record.NameTakenError
	if !errors.As(err, &taken) {
		return err
	}
	what := "pod " + cli.ShortID(taken.ID, false)
	if list, lerr := e.Pods.ContainersOf(ctx, taken.ID); lerr == nil {
		what += fmt.Sprintf(" (%d containers)", len(list))
	}
	return cli.WithHint(say(errdefs.ErrAlreadyExists, "the name %q is in use by %s", taken.Key, what),
		"choose another name, or --replace removes that one first")
}
