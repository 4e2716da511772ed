package spec

import (
	"path"
	"slices"
	"strings"
)

// String prints d as [ParseDevice] reads it.
func (d Device) String() string {
	s := d.HostPath
	if d.Path != "" && d.Path != d.HostPath || d.Access != "" {
		s += ":" + d.Path
	}
	if d.Access != "" {
		s += ":" + d.Access
	}
	return s
}

// ParseDevice parses "host[:container][:permissions]". What the node is, is
// left to the caller. A name of a CDI device is refused as no path.
func ParseDevice(s string) (Device, error) {
	parts := strings.Split(s, ":")
	d := Device{HostPath: parts[0]}
	switch {
	case len(parts) == 2 && checkAccess(parts[1]) == nil && parts[1] != "":
		d.Access = parts[1]
	case len(parts) == 2:
		d.Path = parts[1]
	case len(parts) == 3:
		d.Path, d.Access = parts[1], parts[2]
	case len(parts) > 3:
		return Device{}, invalidf("device %q has too many parts: give host[:container][:permissions], such as /dev/fuse:/dev/fuse:rw", s)
	}
	if !path.IsAbs(d.HostPath) || hasControl(s) {
		return Device{}, invalidf("device %q is not an absolute path: give host[:container][:permissions], such as /dev/fuse", s)
	}
	d.HostPath = path.Clean(d.HostPath)
	if d.Path == "" {
		d.Path = d.HostPath
	}
	if !path.IsAbs(d.Path) || path.Clean(d.Path) == "/" {
		return Device{}, invalidf("device %q: %q is neither an absolute path in the container nor permissions of rwm", s, d.Path)
	}
	d.Path = path.Clean(d.Path)
	return d, checkAccess(d.Access)
}

func checkAccess(access string) error {
	for i := range len(access) {
		if !slices.Contains([]byte("rwm"), access[i]) || strings.Count(access, access[i:i+1]) > 1 {
			return invalidf("device permissions %q are not of r, w and m, each at most once", access)
		}
	}
	return nil
}
