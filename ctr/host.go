package ctr

import (
	"bytes"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/containerd/errdefs"
	"github.com/moby/sys/capability"
	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"

	"github.com/davit-containers/davit/ctr/spec"
)

// rlimitNumbers are the resources of setrlimit(2) by their names in the spec.
func rlimitNumbers() map[string]int {
	return map[string]int{
		"RLIMIT_AS": unix.RLIMIT_AS, "RLIMIT_CORE": unix.RLIMIT_CORE, "RLIMIT_CPU": unix.RLIMIT_CPU,
		"RLIMIT_DATA": unix.RLIMIT_DATA, "RLIMIT_FSIZE": unix.RLIMIT_FSIZE, "RLIMIT_LOCKS": unix.RLIMIT_LOCKS,
		"RLIMIT_MEMLOCK": unix.RLIMIT_MEMLOCK, "RLIMIT_MSGQUEUE": unix.RLIMIT_MSGQUEUE, "RLIMIT_NICE": unix.RLIMIT_NICE,
		"RLIMIT_NOFILE": unix.RLIMIT_NOFILE, "RLIMIT_NPROC": unix.RLIMIT_NPROC, "RLIMIT_RSS": unix.RLIMIT_RSS,
		"RLIMIT_RTPRIO": unix.RLIMIT_RTPRIO, "RLIMIT_RTTIME": unix.RLIMIT_RTTIME,
		"RLIMIT_SIGPENDING": unix.RLIMIT_SIGPENDING, "RLIMIT_STACK": unix.RLIMIT_STACK,
	}
}

// clamp lowers the limits that this process may not raise (CAP_SYS_RESOURCE)
// to what it may set, and says so in the log.
func (c *bundler) clamp(p spec.Process, want Process) (spec.Process, error) {
	capable := hasCapability("CAP_SYS_RESOURCE")
	p.Rlimits = want.Rlimits
	if !capable && len(want.Rlimits) > 0 {
		hard := make(map[string]uint64)
		numbers := rlimitNumbers()
		for _, l := range want.Rlimits {
			var own unix.Rlimit
			if n, ok := numbers[l.Type]; !ok {
				return p, fmt.Errorf("unknown limit %q: %w", l.Type, errdefs.ErrInvalidArgument)
			} else if err := unix.Getrlimit(n, &own); err != nil {
				return p, fmt.Errorf("reading limit %s: %w", l.Type, err)
			}
			hard[l.Type] = own.Max
		}
		var lowered []string
		p.Rlimits, lowered = spec.ClampRlimits(want.Rlimits, hard)
		if len(lowered) > 0 {
			c.o.Log.Warn("limits lowered to what this process may set", "limits", strings.Join(lowered, ", "))
		}
	}
	if want.OOMScoreAdj != nil {
		adj, raised := spec.ClampOOMScoreAdj(*want.OOMScoreAdj, ownOOMScoreAdj(), capable)
		if raised {
			c.o.Log.Warn("oom_score_adj raised to what this process may set", "wanted", *want.OOMScoreAdj, "set", adj)
		}
		p.OOMScoreAdj = &adj
	}
	return p, nil
}

func ownOOMScoreAdj() int {
	data, err := os.ReadFile("/proc/self/oom_score_adj")
	if err != nil {
		return 0
	}
	n, _ := strconv.Atoi(string(bytes.TrimSpace(data))) // the kernel writes a number
	return n
}

// boundingSet names the capabilities that this process could pass on.
func boundingSet() []string { return capabilities("CapBnd:") }

func hasCapability(name string) bool {
	for _, c := range capabilities("CapEff:") {
		if c == name {
			return true
		}
	}
	return false
}

// capabilities reads a set of capabilities(7) from /proc/self/status.
func capabilities(field string) []string {
	data, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return nil
	}
	var set uint64
	for line := range strings.Lines(string(data)) {
		if v, ok := strings.CutPrefix(line, field); ok {
			if set, err = strconv.ParseUint(strings.TrimSpace(v), 16, 64); err != nil {
				return nil
			}
		}
	}
	var out []string
	for _, known := range capability.ListKnown() {
		if set&(1<<uint(known)) != 0 {
			out = append(out, "CAP_"+strings.ToUpper(known.String()))
		}
	}
	return out
}

// hostDevices fills in the nodes that were asked for from the host; a
// privileged container gets all of /dev.
func hostDevices(cfg Config) ([]spec.Device, error) {
	wanted := cfg.Devices
	if cfg.Security.Privileged {
		all, err := allDevices()
		if err != nil {
			return nil, err
		}
		wanted = append(all, wanted...)
	}
	var out []spec.Device
	for _, d := range wanted {
		nodes, err := deviceNodes(d)
		if err != nil {
			return nil, err
		}
		out = append(out, nodes...)
	}
	return out, nil
}

// deviceNodes is the node of a device, or those below a folder.
func deviceNodes(d spec.Device) ([]spec.Device, error) {
	fi, err := os.Stat(d.HostPath)
	if err != nil {
		return nil, fmt.Errorf("device %q: %w: %w", d.HostPath, err, errdefs.ErrInvalidArgument)
	}
	if !fi.IsDir() {
		filled, ok := fillDevice(d)
		if !ok {
			return nil, fmt.Errorf("%q is not a device: %w", d.HostPath, errdefs.ErrInvalidArgument)
		}
		return []spec.Device{filled}, nil
	}
	var out []spec.Device
	err = filepath.WalkDir(d.HostPath, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.Type()&fs.ModeDevice == 0 {
			return err
		}
		node := d
		node.HostPath = path
		node.Path = filepath.Join(d.Path, path[len(d.HostPath):])
		if filled, ok := fillDevice(node); ok {
			out = append(out, filled)
		}
		return nil
	})
	return out, err
}

// propagates refuses a mount that is to tell of mounts, or be told, when its
// source lies on one that the host shares with nobody: what is asked for would be
// left out silently.
func propagates(m spec.Mount) error {
	shared, slave := slices.Contains(m.Options, "rshared"), slices.Contains(m.Options, "rslave")
	if !shared && !slave {
		return nil
	}
	path, err := filepath.EvalSymlinks(m.Source)
	if err != nil {
		return fmt.Errorf("source of the mount at %q: %w", m.Destination, err)
	}
	mounts, err := mountinfo.GetMounts(mountinfo.ParentsFilter(path))
	if err != nil {
		return fmt.Errorf("reading the mount table: %w", err)
	}
	var at mountinfo.Info
	for _, one := range mounts { // the last one at a place is on top
		if len(one.Mountpoint) >= len(at.Mountpoint) {
			at = *one
		}
	}
	if strings.Contains(at.Optional, "shared:") || slave && strings.Contains(at.Optional, "master:") {
		return nil
	}
	return fmt.Errorf("%q, for the mount at %q, is on a mount that is not shared, so that nothing can propagate (%s): %w",
		m.Source, m.Destination, at.Mountpoint, errdefs.ErrFailedPrecondition)
}

func allDevices() ([]spec.Device, error) {
	var out []spec.Device
	err := filepath.WalkDir("/dev", func(path string, e fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case e.IsDir() && (path == "/dev/pts" || path == "/dev/shm" || path == "/dev/mqueue" || path == "/dev/fd"):
			return fs.SkipDir
		case e.Type()&fs.ModeDevice != 0 && path != "/dev/console" && path != "/dev/tty":
			out = append(out, spec.Device{HostPath: path, Path: path})
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("listing the host's devices: %w", err)
	}
	return out, nil
}

// fillDevice reads type and numbers of a node; false if it is no device or gone.
func fillDevice(d spec.Device) (spec.Device, bool) {
	var st unix.Stat_t
	if err := unix.Stat(d.HostPath, &st); err != nil {
		return d, false
	}
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFCHR:
		d.Type = "c"
	case unix.S_IFBLK:
		d.Type = "b"
	default:
		return d, false
	}
	d.Major, d.Minor = int64(unix.Major(st.Rdev)), int64(unix.Minor(st.Rdev))
	mode := st.Mode & math.MaxUint32 & 0o7777
	d.FileMode, d.UID, d.GID = &mode, &st.Uid, &st.Gid
	return d, true
}

// Where the kernel shows its security modules.
const (
	apparmorEnabled = "/sys/module/apparmor/parameters/enabled"
	selinuxMount    = "/sys/fs/selinux/enforce"
)

// confinement refuses a profile or a label that this host cannot enforce: one
// that was asked for is never left out silently.
func confinement(s spec.Security) (spec.Security, error) {
	if s.AppArmor == "unconfined" {
		s.AppArmor = ""
	}
	if s.AppArmor != "" {
		if on, err := os.ReadFile(apparmorEnabled); err != nil || !bytes.HasPrefix(on, []byte("Y")) {
			return s, fmt.Errorf("AppArmor profile %q cannot be used: this host has no AppArmor: %w", s.AppArmor, errdefs.ErrFailedPrecondition)
		}
	}
	for _, o := range s.SELinux.Options {
		if o == "disable" {
			continue
		}
		if _, err := os.Stat(selinuxMount); err != nil {
			return s, fmt.Errorf("SELinux label %q cannot be used: this host has no SELinux: %w", o, errdefs.ErrFailedPrecondition)
		}
		return s, fmt.Errorf("SELinux label %q: labels are not supported: %w", o, errdefs.ErrNotImplemented)
	}
	return s, nil
}
