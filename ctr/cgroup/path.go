package cgroup

import (
	"fmt"
	"strings"

	"github.com/containerd/errdefs"
)

// Scope is the cgroupsPath of the runtime spec that makes a runtime with
// --systemd-cgroup put a container into the scope "prefix-name.scope" of a
// slice.
func Scope(slice, prefix, name string) string { return slice + ":" + prefix + ":" + name }

// SlicePath is the cgroup of a systemd slice: "a-b.slice" is
// "/a.slice/a-b.slice" (systemd.slice(5)). "-.slice" is the root, "".
func SlicePath(slice string) (string, error) {
	const suffix = ".slice"
	name, ok := strings.CutSuffix(slice, suffix)
	if !ok || name == "" || strings.ContainsAny(slice, "/:") {
		return "", fmt.Errorf("%q is no slice: %w", slice, errdefs.ErrInvalidArgument)
	}
	if name == "-" {
		return "", nil
	}
	var path, prefix string
	for _, part := range strings.Split(name, "-") {
		if part == "" {
			return "", fmt.Errorf("%q is no slice: %w", slice, errdefs.ErrInvalidArgument)
		}
		prefix += part
		path += "/" + prefix + suffix
		prefix += "-"
	}
	return path, nil
}

// ScopePath is the cgroup that a runtime makes of a [Scope].
func ScopePath(scope string) (string, error) {
	f := strings.Split(scope, ":")
	if len(f) != 3 || f[2] == "" || strings.Contains(scope, "/") {
		return "", fmt.Errorf("%q is not slice:prefix:name: %w", scope, errdefs.ErrInvalidArgument)
	}
	slice := f[0]
	if slice == "" {
		slice = "system.slice"
	}
	path, err := SlicePath(slice)
	if err != nil {
		return "", err
	}
	unit := f[2]
	if !strings.HasSuffix(unit, ".slice") {
		if f[1] != "" {
			unit = f[1] + "-" + unit
		}
		unit += ".scope"
	}
	return path + "/" + unit, nil
}
