package spec

import (
	"fmt"
	"path"
	"slices"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"github.com/opencontainers/runtime-tools/generate"
)

// defaultShmSize is that of /dev/shm where nothing else is asked for.
const defaultShmSize = 64 << 20

// buildMounts writes the default mounts, the engine's and the user's, each
// destination once, parents before what lies in them.
func (c Config) buildMounts(g *generate.Generator) error {
	user, err := c.userMounts()
	if err != nil {
		return err
	}
	engine, err := ociMounts(c.Host.Mounts)
	if err != nil {
		return err
	}
	mounts := slices.Concat(user, withoutOverridden(engine, user))
	defaults := c.defaultMounts()
	if c.Security.ReadOnlyRootfs && c.Security.ReadOnlyTmpfs {
		defaults = append(defaults, readOnlyTmpfs()...)
	}
	if c.Process.Init {
		mounts = append(mounts, specs.Mount{
			Destination: initPath, Type: MountBind, Source: c.Host.Init, Options: []string{"bind", "ro", "nosuid", "nodev"},
		})
	}
	mounts = slices.Concat(withoutOverridden(defaults, mounts), mounts)
	// A shallower destination is mounted first, so that none hides another.
	slices.SortStableFunc(mounts, func(a, b specs.Mount) int { return depth(a.Destination) - depth(b.Destination) })
	for _, m := range mounts {
		g.AddMount(m)
	}
	g.Config.Linux.RootfsPropagation = rootPropagation(mounts)
	return nil
}

func depth(p string) int {
	if p == "/" {
		return 0
	}
	return strings.Count(p, "/")
}

// userMounts are those of Config.Mounts, refused when two have the same place.
func (c Config) userMounts() ([]specs.Mount, error) {
	mounts, err := ociMounts(c.Mounts)
	if err != nil {
		return nil, err
	}
	seen := make(map[string]bool, len(mounts))
	for _, m := range mounts {
		if seen[m.Destination] {
			return nil, invalidf("two mounts have the same destination %q", m.Destination)
		}
		seen[m.Destination] = true
		if c.Process.Init && m.Destination == initPath {
			return nil, invalidf("a mount at %q is in the way of the init binary", m.Destination)
		}
	}
	return mounts, nil
}

// withoutOverridden leaves out what a mount of by takes the place of: at the
// same destination, or anywhere below a /dev or a /sys of its own.
func withoutOverridden(mounts, by []specs.Mount) []specs.Mount {
	var out []specs.Mount
	for _, m := range mounts {
		if !slices.ContainsFunc(by, func(b specs.Mount) bool {
			return b.Destination == m.Destination ||
				(b.Destination == "/dev" || b.Destination == "/sys") && under(m.Destination, b.Destination)
		}) {
			out = append(out, m)
		}
	}
	return out
}

// defaultMounts are the kernel's file systems. In a user namespace of its own
// that shares a host's namespace, the kernel lets none of the matching file
// system be mounted anew: the host's is bound instead.
func (c Config) defaultMounts() []specs.Mount {
	n, access := c.Namespaces, "ro"
	if c.Security.Privileged {
		access = "rw"
	}
	userns := n.User.Mode != "" && n.User.Mode != ModeHost
	mounts := []specs.Mount{
		{Destination: "/proc", Type: "proc", Source: "proc", Options: []string{"nosuid", "noexec", "nodev"}},
		{Destination: "/dev", Type: "tmpfs", Source: "tmpfs", Options: []string{"nosuid", "noexec", "strictatime", "mode=755", "size=65536k"}},
		{Destination: "/sys", Type: "sysfs", Source: "sysfs", Options: []string{"nosuid", "noexec", "nodev", access}},
		{Destination: "/dev/pts", Type: "devpts", Source: "devpts", Options: []string{"nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"}},
		{Destination: "/dev/mqueue", Type: "mqueue", Source: "mqueue", Options: []string{"nosuid", "noexec", "nodev"}},
		{Destination: "/dev/shm", Type: "tmpfs", Source: "shm", Options: shmOptions(c.Resources.ShmSize)},
		{Destination: "/sys/fs/cgroup", Type: "cgroup", Source: "cgroup", Options: []string{"nosuid", "noexec", "nodev", "relatime", access}},
	}
	if !userns || slices.ContainsFunc(n.GIDMappings, func(m IDMapping) bool { return m.ContainerID <= 5 && 5 < m.ContainerID+m.Size }) {
		mounts[3].Options = append(mounts[3].Options, "gid=5") // tty
	}
	bind := func(i int, options ...string) {
		m := &mounts[i]
		m.Type, m.Source = MountBind, m.Destination
		m.Options = append([]string{"rbind", "nosuid", "noexec", "nodev"}, options...)
	}
	if userns && n.PID.Mode == ModeHost {
		bind(0)
	}
	if userns && n.Network.Mode == ModeHost {
		bind(2, access)
	}
	if n.IPC.Mode == ModeHost {
		bind(5)
		if userns { // and a host need not have one to bind
			mounts = slices.Delete(mounts, 4, 5)
		}
	}
	return mounts
}

func shmOptions(size int64) []string {
	if size == 0 {
		size = defaultShmSize
	}
	return []string{"nosuid", "noexec", "nodev", "mode=1777", fmt.Sprintf("size=%d", size)}
}

// readOnlyTmpfs: the places that programs write to, writable under a read-only
// root, with what the image has there.
func readOnlyTmpfs() []specs.Mount {
	var mounts []specs.Mount
	for _, dest := range []string{"/run", "/tmp", "/var/tmp"} {
		mounts = append(mounts, specs.Mount{
			Destination: dest, Type: "tmpfs", Source: "tmpfs", Options: []string{"rw", "nosuid", "nodev", "tmpcopyup"},
		})
	}
	return mounts
}

// ociMounts converts and checks.
func ociMounts(mounts []Mount) ([]specs.Mount, error) {
	var out []specs.Mount
	for _, m := range mounts {
		if err := m.check(); err != nil {
			return nil, err
		}
		o := specs.Mount{
			Destination: path.Clean(m.Destination),
			Type:        MountBind,
			Source:      m.Source,
			Options:     slices.Clone(m.Options),
			UIDMappings: linuxMappings(m.UIDMappings),
			GIDMappings: linuxMappings(m.GIDMappings),
		}
		switch m.Type {
		case MountTmpfs:
			o.Type, o.Source, o.Options = MountTmpfs, MountTmpfs, tmpfsOptions(m.Options)
		default:
			if !path.IsAbs(m.Source) {
				return nil, invalidf("source %q of the mount at %q is not an absolute path", m.Source, m.Destination)
			}
			if !slices.Contains(o.Options, "bind") && !slices.Contains(o.Options, "rbind") {
				o.Options = append([]string{"rbind"}, o.Options...)
			}
			if m.Type == MountImage {
				o.Options = append(slices.DeleteFunc(o.Options, isAccess), "ro")
			}
			if !hasPropagation(o.Options) {
				o.Options = append(o.Options, "rprivate")
			}
		}
		out = append(out, o)
	}
	return out, nil
}

// check refuses what no container may have (S4): mounts over the root, and
// over /proc but for what LXCFS provides, as runc has it.
func (m Mount) check() error {
	if err := checkDestination(m.Destination); err != nil {
		return err
	}
	switch m.Type {
	case MountBind, MountTmpfs, MountVolume, MountImage:
	default:
		return invalidf("mount type %q is unknown: give bind, tmpfs, volume or image", m.Type)
	}
	dest := path.Clean(m.Destination)
	switch {
	case dest == "/proc" && m.Type == MountBind && path.Clean(m.Source) == "/proc":
	case dest == "/proc" || under(dest, "/proc") && !slices.Contains(procMounts(), dest):
		return invalidf("nothing can be mounted over %s of a container", dest)
	}
	return nil
}

func checkDestination(dest string) error {
	switch {
	case !path.IsAbs(dest):
		return invalidf("mount destination %q is not an absolute path", dest)
	case hasControl(dest):
		return invalidf("mount destination %q has control characters", dest)
	case path.Clean(dest) == "/":
		return invalidf("mount destination is /: the root of a container cannot be mounted over")
	}
	return nil
}

// procMounts are the files of /proc that runtimes let be mounted over.
func procMounts() []string {
	return []string{
		"/proc/cpuinfo", "/proc/diskstats", "/proc/loadavg", "/proc/meminfo", "/proc/net/dev",
		"/proc/slabinfo", "/proc/stat", "/proc/swaps", "/proc/sys/kernel/ns_last_pid", "/proc/uptime",
	}
}

func isAccess(option string) bool { return option == "ro" || option == "rw" || option == "rro" }

func propagations() []string {
	return []string{"private", "rprivate", "shared", "rshared", "slave", "rslave", "unbindable", "runbindable"}
}

func hasPropagation(options []string) bool {
	return slices.ContainsFunc(options, func(o string) bool { return slices.Contains(propagations(), o) })
}

// rootPropagation is the least that lets every mount propagate as it asks: no
// mount receives or sends events through a private root. Empty leaves it to
// the runtime.
func rootPropagation(mounts []specs.Mount) string {
	has := func(words ...string) bool {
		return slices.ContainsFunc(mounts, func(m specs.Mount) bool {
			return slices.ContainsFunc(m.Options, func(o string) bool { return slices.Contains(words, o) })
		})
	}
	switch {
	case has("shared", "rshared"):
		return "rshared"
	case has("slave", "rslave"):
		return "rslave"
	}
	return ""
}
