package spec

import (
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"github.com/opencontainers/runtime-tools/generate"
)

const (
	// specVersion is the oldest that has all that is written: crun before 1.9
	// refuses any but 1.0.
	specVersion = "1.0.2"
	// initPath is where the init binary is mounted in the container.
	initPath = "/run/davit-init"
	// defaultUmask is a container's umask when nothing else is asked for.
	defaultUmask = 0o022
)

// Build returns the runtime spec of a container. It changes nothing in c, and
// the spec shares no memory with it. What cannot be is an ErrInvalidArgument.
func Build(c Config) (*specs.Spec, error) {
	if err := c.check(); err != nil {
		return nil, err
	}
	g := generate.NewFromSpec(&specs.Spec{Version: specVersion, Linux: &specs.Linux{}, Process: &specs.Process{}})
	g.SetRootPath(c.Rootfs)
	g.SetRootReadonly(c.Security.ReadOnlyRootfs)
	if len(c.Annotations) > 0 {
		g.Config.Annotations = maps.Clone(c.Annotations)
	}
	if c.CgroupsPath != "" {
		g.SetLinuxCgroupsPath(c.CgroupsPath)
	}
	c.buildProcess(&g)
	for _, step := range []func(*generate.Generator) error{
		c.buildCapabilities, c.buildNamespaces, c.buildMounts, c.buildDevices, c.buildConfinement,
	} {
		if err := step(&g); err != nil {
			return nil, err
		}
	}
	return g.Config, nil
}

func (c Config) check() error {
	switch {
	case !path.IsAbs(c.Rootfs):
		return invalidf("root filesystem %q is not an absolute path", c.Rootfs)
	case len(c.Process.Args) == 0 || c.Process.Args[0] == "":
		return invalidf("the command to run is empty")
	case !path.IsAbs(c.Process.Cwd):
		return invalidf("working directory %q is not an absolute path", c.Process.Cwd)
	case c.Process.Init && c.Host.Init == "":
		return invalidf("an init process is asked for, but there is no init binary")
	case c.Process.Init && c.Namespaces.PID.mode() != ModePrivate:
		return invalidf("an init process needs a PID namespace of the container's own")
	case hasControl(c.Hostname):
		return invalidf("hostname %q has control characters", c.Hostname)
	}
	if err := c.Resources.Check(); err != nil {
		return err
	}
	return CheckSysctls(c.Sysctls, c.Namespaces)
}

func (c Config) buildProcess(g *generate.Generator) {
	p := c.Process
	args := slices.Clone(p.Args)
	if p.Init {
		args = append([]string{initPath, "--"}, args...)
	}
	g.SetProcessArgs(args)
	g.AddMultipleProcessEnv(p.Env)
	g.SetProcessCwd(path.Clean(p.Cwd))
	g.SetProcessTerminal(p.Terminal)
	if p.ConsoleSize != (Size{}) {
		g.SetProcessConsoleSize(p.ConsoleSize.Width, p.ConsoleSize.Height)
	}
	umask := uint32(defaultUmask)
	if p.User.Umask != nil {
		umask = *p.User.Umask
	}
	g.Config.Process.User = specs.User{UID: p.User.UID, GID: p.User.GID, Umask: &umask, AdditionalGids: p.User.Groups()}
	for _, l := range p.Rlimits {
		g.AddProcessRlimits(l.Type, l.Hard, l.Soft)
	}
	if p.OOMScoreAdj != nil {
		g.SetProcessOOMScoreAdj(*p.OOMScoreAdj)
	}
	g.SetProcessNoNewPrivileges(c.Security.NoNewPrivileges)
}

// Groups returns the supplementary groups of a process, in order, with the primary one
// among them: one without it could pass by a file's group denial (CVE-2022-2995).
func (u User) Groups() []uint32 {
	groups := append([]uint32{u.GID}, u.AdditionalGIDs...)
	slices.Sort(groups)
	return slices.Compact(groups)
}

// buildCapabilities leaves inheritable and ambient empty, unless ambient ones are
// asked for (CVE-2022-29162). A user other than root starts without any but those;
// the bounding set is what its setuid programs can gain.
func (c Config) buildCapabilities(g *generate.Generator) error {
	caps := c.Security.Caps
	if c.Security.Privileged {
		caps = Capabilities{Add: []string{allCaps}, Drop: caps.Drop, Ambient: caps.Ambient}
	}
	bounding, err := caps.bounding(c.Host.Capabilities)
	if err != nil {
		return err
	}
	set := &specs.LinuxCapabilities{Bounding: bounding}
	if c.Process.User.UID == 0 {
		set.Effective, set.Permitted = slices.Clone(bounding), slices.Clone(bounding)
	}
	if set.Ambient, err = caps.ambient(bounding); err != nil {
		return err
	}
	// The kernel lets no capability be ambient that is not permitted and
	// inheritable too.
	set.Inheritable = slices.Clone(set.Ambient)
	if c.Process.User.UID != 0 && len(set.Ambient) > 0 {
		set.Effective, set.Permitted = slices.Clone(set.Ambient), slices.Clone(set.Ambient)
	}
	g.Config.Process.Capabilities = set
	return nil
}

func (c Config) buildNamespaces(g *generate.Generator) error {
	n := c.Namespaces
	user, cgroup := n.User, n.Cgroup
	if user.Mode == "" {
		user.Mode = ModeHost
	}
	if cgroup.Mode == "" && c.Host.CgroupVersion == 1 {
		cgroup.Mode = ModeHost
	}
	if err := g.AddOrReplaceLinuxNamespace("mount", ""); err != nil {
		return err
	}
	for _, ns := range []struct {
		kind string
		Namespace
	}{{"pid", n.PID}, {"network", n.Network}, {"ipc", n.IPC}, {"uts", n.UTS}, {"user", user}, {"cgroup", cgroup}} {
		switch ns.mode() {
		case ModePrivate:
			if err := g.AddOrReplaceLinuxNamespace(ns.kind, ""); err != nil {
				return err
			}
		case ModePod, ModePath:
			if !path.IsAbs(ns.Path) {
				return invalidf("path %q of the %s namespace is not an absolute path", ns.Path, ns.kind)
			}
			if err := g.AddOrReplaceLinuxNamespace(ns.kind, ns.Path); err != nil {
				return err
			}
		case ModeHost:
		default:
			return invalidf("mode %q of the %s namespace is unknown: give private, host, pod or path", ns.Mode, ns.kind)
		}
	}
	if user.mode() == ModePrivate { // one that is joined has its own: runtimes take one of both
		g.Config.Linux.UIDMappings, g.Config.Linux.GIDMappings = linuxMappings(n.UIDMappings), linuxMappings(n.GIDMappings)
		if len(n.UIDMappings) == 0 || len(n.GIDMappings) == 0 {
			return invalidf("a user namespace needs mappings of users and groups")
		}
	}
	if n.UTS.mode() == ModePrivate && c.Hostname != "" {
		g.SetHostname(c.Hostname)
	}
	for key, value := range c.Sysctls {
		g.AddLinuxSysctl(key, value)
	}
	return nil
}

func (n Namespace) mode() Mode {
	if n.Mode == "" {
		return ModePrivate
	}
	return n.Mode
}

func linuxMappings(list []IDMapping) []specs.LinuxIDMapping {
	var out []specs.LinuxIDMapping
	for _, m := range list {
		out = append(out, specs.LinuxIDMapping{ContainerID: m.ContainerID, HostID: m.HostID, Size: m.Size})
	}
	return out
}

// buildDevices denies every device; the standard nodes and their rules are
// added by the runtime (runtime-spec, "Default Devices").
func (c Config) buildDevices(g *generate.Generator) error {
	g.Config.Linux.Resources = c.Resources.Linux()
	g.AddLinuxResourcesDevice(c.Security.Privileged, "", nil, nil, "rwm")
	for _, d := range c.Devices {
		if d.Path == "" {
			d.Path = d.HostPath
		}
		if d.Access == "" {
			d.Access = "rwm"
		}
		if err := d.check(); err != nil {
			return err
		}
		node := specs.LinuxDevice{Path: path.Clean(d.Path), Type: d.Type, Major: d.Major, Minor: d.Minor, UID: clonePtr(d.UID), GID: clonePtr(d.GID)}
		if d.FileMode != nil {
			node.FileMode = new(fs.FileMode(*d.FileMode & 0o777))
		}
		g.AddDevice(node)
		if !c.Security.Privileged && d.Type != "p" {
			g.AddLinuxResourcesDevice(true, d.Type, new(d.Major), new(d.Minor), d.Access)
		}
	}
	return nil
}

func (d Device) check() error {
	if err := checkAccess(d.Access); err != nil {
		return err
	}
	switch {
	case !path.IsAbs(d.Path) || hasControl(d.Path) || path.Clean(d.Path) == "/":
		return invalidf("path %q of a device in the container is not an absolute path", d.Path)
	case d.Type != "c" && d.Type != "b" && d.Type != "p":
		return invalidf("device %q is neither a character nor a block device", d.HostPath)
	}
	return nil
}

// buildConfinement: seccomp, LSM labels, masks.
func (c Config) buildConfinement(g *generate.Generator) error {
	s := c.Security
	profile := s.Seccomp
	if s.Privileged {
		if profile == "" || profile == SeccompDefault {
			profile = SeccompUnconfined
		}
	} else {
		masked, readonly, err := s.Paths.resolve(c.Host.MaskedPaths)
		if err != nil {
			return err
		}
		g.Config.Linux.MaskedPaths, g.Config.Linux.ReadonlyPaths = masked, readonly
	}
	filter, err := Filter(profile, g.Config.Process.Capabilities.Bounding)
	if err != nil {
		return err
	}
	if filter != nil && c.Host.NoX32 && (profile == "" || profile == SeccompDefault) {
		filter.Architectures = slices.DeleteFunc(filter.Architectures, func(a specs.Arch) bool { return a == specs.ArchX32 })
	}
	g.Config.Linux.Seccomp = filter
	if s.AppArmor != "" {
		g.SetProcessApparmorProfile(s.AppArmor)
	}
	if s.SELinux.ProcessLabel != "" {
		g.SetProcessSelinuxLabel(s.SELinux.ProcessLabel)
	}
	if s.SELinux.MountLabel != "" {
		g.SetLinuxMountLabel(s.SELinux.MountLabel)
	}
	return nil
}

func clonePtr[T any](p *T) *T {
	if p == nil {
		return nil
	}
	return new(*p)
}

// under reports whether p, clean, lies below dir.
func under(p, dir string) bool { return dir == "/" || strings.HasPrefix(p, dir+"/") }
