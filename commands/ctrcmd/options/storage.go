package options

import (
	"slices"
	"strings"

	"github.com/spf13/pflag"

	"github.com/davit-containers/davit/commands/cli"
	"github.com/davit-containers/davit/ctr"
	"github.com/davit-containers/davit/ctr/spec"
)

// Storage is what is mounted into a container.
type Storage struct {
	Volumes     []string
	Mounts      []string
	Tmpfs       []string
	VolumesFrom []string
	ShmSize     string
}

// Flags adds the flags of the group.
func (o *Storage) Flags(fs *pflag.FlagSet) {
	fs.StringArrayVarP(&o.Volumes, "volume", "v", nil, "mount a folder of the host or a volume, as `[SOURCE:]PATH[:OPTIONS]` (may be repeated)")
	fs.StringArrayVar(&o.Mounts, "mount", nil, "`MOUNT` something: type=bind|volume|tmpfs|image,source=…,destination=…[,option] (may be repeated)")
	fs.StringArrayVar(&o.Tmpfs, "tmpfs", nil, "mount a tmpfs at a `PATH[:OPTIONS]` (may be repeated)")
	fs.StringArrayVar(&o.VolumesFrom, "volumes-from", nil, "mount what a `CONTAINER[:ro]` has mounted (may be repeated)")
	fs.StringVar(&o.ShmSize, "shm-size", "", "`SIZE` of /dev/shm (default 64m)")
}

// Fill fills in the mounts of a container.
func (o *Storage) Fill(h Host, c *ctr.Config) error {
	groups := []struct {
		flag  string
		args  []string
		parse func(string) (spec.Mount, error)
	}{
		{"volume", o.Volumes, spec.ParseVolume}, {"mount", o.Mounts, spec.ParseMount}, {"tmpfs", o.Tmpfs, spec.ParseTmpfs},
	}
	for _, g := range groups {
		for _, text := range g.args {
			m, err := g.parse(text)
			if err != nil {
				return flagError(g.flag, err)
			}
			if m.Type == spec.MountBind {
				typed := m.Source
				m.Source = h.abs(typed)
				if _, err := h.Stat(m.Source); err != nil {
					return bindError(g.flag, reason(err, typed), typed)
				}
			}
			if slices.ContainsFunc(c.Mounts, func(o spec.Mount) bool { return o.Destination == m.Destination }) {
				return cli.Usagef("--%s: something else is mounted at %s already", g.flag, m.Destination)
			}
			c.Mounts = append(c.Mounts, m)
		}
	}
	return nil
}

func bindError(flag, why, source string) error {
	err := cli.Usagef("--%s: %s on the host", flag, why)
	if strings.HasSuffix(why, "does not exist") {
		err.Hint = "mkdir -p " + source
	}
	return err
}

// shmSize reads --shm-size; 0 if it was not given.
func (o *Storage) shmSize() (int64, error) { return ParseShmSize(o.ShmSize) }

// ParseShmSize reads the value of --shm-size; 0 if it is empty.
func ParseShmSize(s string) (int64, error) {
	if s == "" {
		return 0, nil
	}
	n, err := spec.ParseSize(s)
	if err != nil {
		return 0, flagError("shm-size", err)
	}
	if n <= 0 {
		return 0, cli.Usagef("--shm-size: %q is no size for a file system", s)
	}
	return n, nil
}

// From is one --volumes-from.
type From struct {
	// Container is what the user typed.
	Container string
	ReadOnly  bool
}

// from reads --volumes-from.
func (o *Storage) from() ([]From, error) {
	var out []From
	for _, text := range o.VolumesFrom {
		f := From{}
		var opts string
		f.Container, opts, _ = strings.Cut(text, ":")
		for opt := range strings.SplitSeq(opts, ",") {
			switch opt {
			case "ro":
				f.ReadOnly = true
			case "", "rw", "z":
			default:
				return nil, cli.Usagef("--volumes-from: unknown option %q: give ro or rw", opt)
			}
		}
		if f.Container == "" {
			return nil, cli.Usagef("--volumes-from: %q names no container", text)
		}
		out = append(out, f)
	}
	return out, nil
}

// Inherit adds another container's volumes and binds, where nothing of c's own
// is mounted at the same place.
func (f From) Inherit(c *ctr.Config, other ctr.Config) {
	for _, m := range other.Mounts {
		if m.Type != spec.MountVolume && m.Type != spec.MountBind {
			continue
		}
		if slices.ContainsFunc(c.Mounts, func(o spec.Mount) bool { return o.Destination == m.Destination }) {
			continue
		}
		if f.ReadOnly {
			m.Options = append(slices.DeleteFunc(slices.Clone(m.Options), func(s string) bool { return s == "rw" }), "ro")
		}
		m.NoCopy = true
		c.Mounts = append(c.Mounts, m)
	}
}
