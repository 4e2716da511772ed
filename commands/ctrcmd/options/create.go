package options

import (
	"slices"

	"github.com/spf13/pflag"

	"github.com/davit-containers/davit/commands/cli"
	"github.com/davit-containers/davit/ctr"
	"github.com/davit-containers/davit/ctr/record"
	"github.com/davit-containers/davit/ctr/spec"
	"github.com/davit-containers/davit/netw"
	"github.com/davit-containers/davit/pod"
)

// Source is where a container's image comes from.
type Source struct {
	Pull     string
	Platform string
	Quiet    bool
}

// Flags adds the flags of the group.
func (o *Source) Flags(fs *pflag.FlagSet) {
	fs.StringVar(&o.Pull, "pull", "", "`WHEN` to pull the image: always, missing, newer or never (default: the configuration's, missing)")
	fs.StringVar(&o.Platform, "platform", "", "`OS/ARCH[/VARIANT]` of the image")
	fs.BoolVarP(&o.Quiet, "quiet", "q", false, "do not show the progress of a pull")
}

// Create are the flags of run and create.
type Create struct {
	Identity
	Source
	Process
	Storage
	Network
	Names
	Namespaces
	Resources
	Limits
	Security
	Lifecycle
	Health
	Session
}

// Flags adds all flags, in their groups.
func (o *Create) Flags(fs *pflag.FlagSet) {
	cli.FlagGroup(fs, "Container", o.Identity.Flags)
	cli.FlagGroup(fs, "Image", o.Source.Flags)
	cli.FlagGroup(fs, "Process", o.Process.Flags)
	cli.FlagGroup(fs, "Life cycle", o.Lifecycle.Flags)
	cli.FlagGroup(fs, "Health", o.Health.Flags)
	cli.FlagGroup(fs, "Storage", o.Storage.Flags)
	cli.FlagGroup(fs, "Network", func(fs *pflag.FlagSet) {
		o.Network.Flags(fs)
		o.Network.ExposeFlags(fs)
		o.Names.Flags(fs, "h")
	})
	cli.FlagGroup(fs, "Resources", func(fs *pflag.FlagSet) {
		o.Resources.Flags(fs)
		o.Limits.Flags(fs)
	})
	cli.FlagGroup(fs, "Security", func(fs *pflag.FlagSet) {
		o.Security.Flags(fs)
		o.Namespaces.Flags(fs)
	})
}

// Plan is what the flags of run and create ask for.
type Plan struct {
	Container ctr.Config
	// Pod is the sandbox to make: an implicit one, or that of --pod new:NAME. It
	// is nil when PodRef, as typed, names one that is there.
	Pod    *pod.Config
	PodRef string

	Replace     bool
	VolumesFrom []From
	// Exposed are the ports of --expose, and PublishAll asks for them and the
	// image's to be published.
	Exposed    []netw.Port
	PublishAll bool
}

// Plan reads the flags. args are the image and the command's words.
func (o *Create) Plan(h Host, args []string) (Plan, error) {
	p := Plan{Replace: o.Replace, PublishAll: o.Network.ExposeAll}
	c := &p.Container
	c.Owner = record.OwnerCLI
	c.Image.Ref = args[0]
	var err error
	for _, fill := range []func() error{
		func() error { return o.Identity.Fill(h, c) },
		func() error { return o.Process.Fill(h, c, slices.Clone(args[1:])) },
		func() error { return o.Storage.Fill(h, c) },
		func() error { return o.Limits.Fill(h, c) },
		func() error { return o.Security.Fill(h, c) },
		func() error { return o.Lifecycle.Fill(h, c) },
		func() error { return o.Health.Fill(c) },
		func() error { c.Resources, err = o.Resources.Parse(o.pids(h)); return err },
		func() error { p.VolumesFrom, err = o.Storage.from(); return err },
		func() error { p.Exposed, err = o.Network.Exposed(); return err },
		o.Session.Check,
	} {
		if err := fill(); err != nil {
			return Plan{}, err
		}
	}
	if err := o.sandbox(h, &p); err != nil {
		return Plan{}, err
	}
	return p, nil
}

// pids is the default limit of processes: none without cgroups.
func (o *Create) pids(h Host) int64 {
	if o.Cgroups == "disabled" || h.Config.Engine.CgroupManager == "disabled" {
		return 0
	}
	return h.Config.Containers.PidsLimit
}

// sandbox says which sandbox the container lives in.
func (o *Create) sandbox(h Host, p *Plan) error {
	made, ref, err := o.Identity.podTarget()
	if err != nil {
		return err
	}
	if ref != "" {
		p.PodRef = ref
		return o.join(h, &p.Container)
	}
	p.Pod = &pod.Config{
		Name: made, Owner: record.OwnerCLI, Implicit: made == "",
		CgroupParent: o.CgroupParent, CgroupsOff: p.Container.CgroupsOff, Runtime: p.Container.Runtime,
	}
	p.Container.Implicit = made == ""
	for _, fill := range []func() error{
		func() error { return o.Network.Fill(h, p.Pod) },
		func() error { return o.Names.Fill(p.Pod) },
		func() error { return o.Namespaces.fillImplicit(&p.Container, p.Pod) },
		func() error { p.Pod.ShmSize, err = o.shm(h, p.Pod.Namespaces.IPC); return err },
		func() error { p.Pod.Sysctls, err = Sysctls(o.Sysctls); return err },
	} {
		if err := fill(); err != nil {
			return err
		}
	}
	if o.Hostname != "" && p.Pod.Namespaces.UTS == spec.ModeHost {
		return cli.Usagef("--hostname cannot be used with --uts host: it would rename the host")
	}
	return CheckSysctls(*p.Pod)
}

// shm is the size of a sandbox's /dev/shm.
func (o *Create) shm(h Host, ipc spec.Mode) (int64, error) {
	n, err := o.Storage.shmSize()
	switch {
	case err != nil:
		return 0, err
	case ipc == spec.ModeHost && n != 0:
		return 0, cli.Usagef("--shm-size cannot be used with --ipc host: /dev/shm is the host's")
	case n == 0 && ipc != spec.ModeHost:
		return int64(h.Config.Containers.ShmSize), nil
	}
	return n, nil
}

// join fills in a container of a pod that is there: what the pod decides cannot
// be asked for any more.
func (o *Create) join(h Host, c *ctr.Config) error {
	for _, flag := range []string{o.Network.given(), o.Names.given()} {
		if flag != "" {
			return cli.Usagef("--%s cannot be used with --pod %s: the pod's containers share its network", flag, o.Pod).
				Hintf("give --%s to 'davit pod create', or use --pod new:NAME", flag)
		}
	}
	if o.CgroupParent != "" {
		return cli.Usagef("--cgroup-parent cannot be used with --pod %s: the pod has its own", o.Pod).
			Hintf("give --cgroup-parent to 'davit pod create'")
	}
	if err := o.Namespaces.fillPod(c); err != nil {
		return err
	}
	n, err := o.Storage.shmSize()
	if err != nil {
		return err
	}
	switch private := c.Namespaces.IPC.Mode == spec.ModePrivate; {
	case n != 0 && !private:
		return cli.Usagef("--shm-size cannot be used with --pod %s: /dev/shm is the pod's", o.Pod).
			Hintf("give --shm-size to 'davit pod create', or add --ipc private")
	case private && n == 0:
		n = int64(h.Config.Containers.ShmSize)
	}
	c.Resources.ShmSize = n
	if c.Sysctls, err = Sysctls(o.Sysctls); err != nil {
		return err
	}
	return nil
}

// CheckSysctls refuses parameters of a pod that would be the host's.
func CheckSysctls(p pod.Config) error {
	n := spec.Namespaces{IPC: spec.Namespace{Mode: p.Namespaces.IPC}, UTS: spec.Namespace{Mode: p.Namespaces.UTS}}
	if p.Network.Mode == pod.NetworkHost {
		n.Network.Mode = spec.ModeHost
	}
	return flagError("sysctl", spec.CheckSysctls(p.Sysctls, n))
}
