package ctr

import (
	"bytes"
	"context"
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

	"github.com/davit-containers/davit/ctr/confine"
	"github.com/davit-containers/davit/ctr/nspin"
	"github.com/davit-containers/davit/ctr/record"
	"github.com/davit-containers/davit/ctr/rootfs"
	"github.com/davit-containers/davit/ctr/selinux"
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

// confinement fills in what confines a container on this host, and refuses a
// profile or a label that the host cannot enforce.
func (c *bundler) confinement(s spec.Security) (spec.Security, error) {
	var err error
	if s.AppArmor, err = c.o.Host.AppArmor.Profile(s.AppArmor, s.Privileged); err != nil {
		return s, err
	}
	made, err := c.o.Host.SELinux.Check(s.SELinux.Options, selinux.Labels{Process: s.SELinux.ProcessLabel, Mount: s.SELinux.MountLabel})
	s.SELinux.ProcessLabel, s.SELinux.MountLabel = made.Process, made.Mount
	return s, err
}

// relabelling is the label that a container's mounts are given where that is asked
// for; empty for one that is not confined, which needs none and whose own label
// would keep others out.
func relabelling(cfg Config) string {
	if cfg.Security.SELinux.ProcessLabel == "" {
		return ""
	}
	return cfg.Security.SELinux.MountLabel
}

// readSeccomp replaces the file of a seccomp profile by its content.
func readSeccomp(cfg *Config) error {
	if cfg.SeccompFile == "" {
		return nil
	}
	profile, err := confine.SeccompFile(cfg.SeccompFile)
	if err != nil {
		return err
	}
	if _, err := spec.Filter(profile, nil); err != nil {
		return fmt.Errorf("%s: %w", cfg.SeccompFile, err)
	}
	cfg.Security.Seccomp, cfg.SeccompFile = profile, ""
	return nil
}

// targetPin is where the PID namespace of another container is pinned, below the
// container's run folder.
const targetPin = "pidns"

// joinTarget pins the PID namespace of the container that a configuration names,
// and makes it the container's own.
func (c *bundler) joinTarget(ctx context.Context, ctr Container, n *spec.Namespaces) error {
	id := ctr.Config.PIDTarget
	if id == "" {
		return nil
	}
	target, err := c.Get(ctx, id)
	if errdefs.IsInvalidArgument(err) { // what cannot be an ID is none's
		err = errdefs.ErrNotFound
	}
	switch {
	case err != nil:
		return fmt.Errorf("container %q, whose PID namespace is asked for: %w", id, err)
	case target.Config.Sandbox != ctr.Config.Sandbox || target.Config.Infra:
		return fmt.Errorf("container %q, whose PID namespace is asked for, is not in the same pod: %w", id, errdefs.ErrNotFound)
	case !target.Status.Alive():
		return fmt.Errorf("container %q, whose PID namespace is asked for, is %s: %w", id, target.Status.State, errdefs.ErrFailedPrecondition)
	}
	path := filepath.Join(c.dir.RunDir(ctr.ID), targetPin)
	if err := nspin.Unpin(path); err != nil {
		return err
	}
	if err := nspin.Pin(path, "pid", target.Status.Process()); err != nil {
		if errdefs.IsNotFound(err) { // it has just ended
			err = errdefs.ErrFailedPrecondition
		}
		return fmt.Errorf("joining the PID namespace of container %q: %w", id, err)
	}
	n.PID = spec.Namespace{Mode: spec.ModePath, Path: path}
	return nil
}

// leaveTarget undoes joinTarget for a container with that run folder.
func leaveTarget(cfg Config, runDir string) error {
	if cfg.PIDTarget == "" {
		return nil
	}
	return nspin.Unpin(filepath.Join(runDir, targetPin))
}

// exposed is where the root filesystem of a container in a user namespace is
// mounted for it.
func exposed(p record.Paths, id string) string { return filepath.Join(p.RunRoot, "roots", id) }

// hide undoes that.
func hide(ctr Container, p record.Paths) error {
	if len(ctr.Config.Namespaces.UIDMappings) == 0 {
		return nil
	}
	return rootfs.Hide(exposed(p, ctr.ID))
}

// checkMounts refuses mounts that the runtime would make without what they ask
// for: one that does not know idmapped or recursively read-only mounts passes
// over that in silence. It refuses a kubelet's user namespace with such a runtime
// too, as the kubelet's volumes need both.
func (c *bundler) checkMounts(ctx context.Context, cfg Config) error {
	idmap := slices.IndexFunc(cfg.Mounts, func(m spec.Mount) bool { return len(m.UIDMappings)+len(m.GIDMappings) > 0 })
	readonly := slices.IndexFunc(cfg.Mounts, func(m spec.Mount) bool { return slices.Contains(m.Options, "rro") })
	userns := cfg.Owner == record.OwnerCRI && len(cfg.Namespaces.UIDMappings) > 0
	if idmap < 0 && readonly < 0 && !userns {
		return nil
	}
	rt, err := c.runtime(cfg)
	if err != nil {
		return err
	}
	can := c.answers.features(ctx, rt)
	if err := ctx.Err(); err != nil {
		return err
	}
	switch {
	case userns && !can.IDMappedMounts():
		return fmt.Errorf("runtime %q has no user namespaces with idmapped mounts: %w", rt.Name, errdefs.ErrFailedPrecondition)
	case idmap >= 0 && !can.IDMappedMounts():
		return fmt.Errorf("runtime %q has no idmapped mounts, as the one at %q is to be: %w", rt.Name, cfg.Mounts[idmap].Destination, errdefs.ErrFailedPrecondition)
	case readonly >= 0 && !can.RecursiveReadOnly():
		return fmt.Errorf("runtime %q has no recursively read-only mounts, as the one at %q is to be: %w", rt.Name, cfg.Mounts[readonly].Destination, errdefs.ErrFailedPrecondition)
	}
	return nil
}
