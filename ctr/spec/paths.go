package spec

import (
	"path"
	"slices"
	"strings"
)

// MaskedPaths returns the paths that a container cannot read by default: the
// union of podman's and containerd's. A path that a kernel does not have is
// passed over by the runtime.
func MaskedPaths() []string {
	return []string{
		"/proc/acpi",
		"/proc/asound",
		"/proc/interrupts",
		"/proc/kcore",
		"/proc/keys",
		"/proc/latency_stats",
		"/proc/sched_debug",
		"/proc/scsi",
		"/proc/timer_list",
		"/proc/timer_stats",
		"/sys/dev/block",
		"/sys/devices/virtual/powercap",
		"/sys/firmware",
		"/sys/fs/selinux",
	}
}

// ReadonlyPaths returns the paths that a container cannot write by default.
func ReadonlyPaths() []string {
	return []string{
		"/proc/asound",
		"/proc/bus",
		"/proc/fs",
		"/proc/irq",
		"/proc/sys",
		"/proc/sysrq-trigger",
	}
}

// resolve returns the sorted lists of masked and read-only paths.
func (m PathMasks) resolve(host []string) (masked, readonly []string, err error) {
	if masked, err = m.list(m.Masked, append(MaskedPaths(), host...)); err != nil {
		return nil, nil, err
	}
	if readonly, err = m.list(m.Readonly, ReadonlyPaths()); err != nil {
		return nil, nil, err
	}
	for _, p := range m.Mask {
		if !path.IsAbs(p) || hasControl(p) {
			return nil, nil, invalidf("path to mask %q is not an absolute path", p)
		}
		masked = append(masked, path.Clean(p))
	}
	slices.Sort(masked)
	return slices.Compact(masked), readonly, nil
}

func (m PathMasks) list(asked, defaults []string) ([]string, error) {
	if asked != nil && len(asked) == 0 {
		return nil, nil
	}
	var out []string
	for _, p := range append(defaults, asked...) {
		if !path.IsAbs(p) || hasControl(p) {
			return nil, invalidf("path to mask %q is not an absolute path", p)
		}
		unmasked, err := m.unmasks(path.Clean(p))
		if err != nil {
			return nil, err
		}
		if !unmasked {
			out = append(out, path.Clean(p))
		}
	}
	slices.Sort(out)
	return slices.Compact(out), nil
}

func (m PathMasks) unmasks(p string) (bool, error) {
	for _, pattern := range m.Unmask {
		if strings.EqualFold(pattern, allCaps) {
			return true, nil
		}
		match, err := path.Match(pattern, p)
		if err != nil || !path.IsAbs(pattern) {
			return false, invalidf("path to unmask %q is not an absolute path or pattern, nor ALL", pattern)
		}
		if match || pattern == p {
			return true, nil
		}
	}
	return false, nil
}
