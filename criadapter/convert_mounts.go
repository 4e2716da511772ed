package criadapter

import (
	"path"
	"slices"
	"strings"

	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/davit-containers/davit/ctr/spec"
)

// Options that a mount has for what the API has fields for.
const (
	optReadOnly          = "ro"
	optRecursiveReadOnly = "rro"
	optReadWrite         = "rw"
)

// mountOptions are those that a request may name; each word of a row excludes the
// others.
func mountOptions() [][]string {
	return [][]string{
		{"exec", "noexec"}, {"dev", "nodev"}, {"suid", "nosuid"}, {"atime", "noatime"},
		{"diratime", "nodiratime"}, {"relatime", "norelatime"}, {"strictatime", "nostrictatime"}, {"symfollow", "nosymfollow"},
	}
}

func propagationOption(p runtimeapi.MountPropagation) (string, bool) {
	switch p {
	case runtimeapi.MountPropagation_PROPAGATION_PRIVATE:
		return "rprivate", true
	case runtimeapi.MountPropagation_PROPAGATION_HOST_TO_CONTAINER:
		return "rslave", true
	case runtimeapi.MountPropagation_PROPAGATION_BIDIRECTIONAL:
		return "rshared", true
	}
	return "", false
}

// containerMounts are a container's mounts of host paths and of images.
func containerMounts(mounts []*runtimeapi.Mount) ([]spec.Mount, error) {
	var out []spec.Mount
	for _, m := range mounts {
		one, err := containerMount(m)
		if err != nil {
			return nil, err
		}
		out = append(out, one)
	}
	return out, nil
}

func containerMount(m *runtimeapi.Mount) (spec.Mount, error) {
	out := spec.Mount{
		Type: spec.MountBind, Source: m.GetHostPath(), Destination: m.GetContainerPath(),
		UIDMappings: idMappings(m.GetUidMappings()), GIDMappings: idMappings(m.GetGidMappings()),
	}
	if m.GetSelinuxRelabel() {
		out.Relabel = "Z"
	}
	switch {
	case out.Destination == "":
		return out, invalid("a mount has no path in the container")
	case m.GetImage().GetImage() != "" && out.Source != "":
		return out, invalid("the mount at %q has both an image and a host path", out.Destination)
	case m.GetImage().GetImage() != "":
		return imageMount(m, out)
	case out.Source == "":
		return out, invalid("the mount at %q has neither a host path nor an image", out.Destination)
	case !path.IsAbs(out.Source) || strings.ContainsRune(out.Source, 0):
		return out, invalid("host path %q of the mount at %q is not an absolute path", out.Source, out.Destination)
	case m.GetImageSubPath() != "":
		return out, invalid("the mount at %q has a path inside an image, and no image", out.Destination)
	}
	if !path.IsAbs(out.Destination) {
		out.Destination = "/" + out.Destination
	}
	propagation, ok := propagationOption(m.GetPropagation())
	if !ok {
		return out, invalid("propagation %d of the mount at %q is unknown", m.GetPropagation(), out.Destination)
	}
	out.Options = []string{"rbind", propagation}
	switch {
	case m.GetRecursiveReadOnly() && !m.GetReadonly():
		return out, invalid("the mount at %q is to be recursively read-only, but not read-only", out.Destination)
	case m.GetRecursiveReadOnly() && m.GetPropagation() != runtimeapi.MountPropagation_PROPAGATION_PRIVATE:
		return out, invalid("the mount at %q is to be recursively read-only: its propagation must be private", out.Destination)
	case m.GetRecursiveReadOnly():
		out.Options = append(out.Options, optRecursiveReadOnly)
	case m.GetReadonly():
		out.Options = append(out.Options, optReadOnly)
	default:
		out.Options = append(out.Options, optReadWrite)
	}
	return out, addOptions(&out, m.GetMountOptions())
}

// imageMount is a mount of a local image's files, always read-only.
func imageMount(m *runtimeapi.Mount, out spec.Mount) (spec.Mount, error) {
	out.Type, out.Source, out.Subpath = spec.MountImage, m.GetImage().GetImage(), m.GetImageSubPath()
	out.Options = []string{optReadOnly}
	return out, addOptions(&out, m.GetMountOptions())
}

// addOptions adds the options that a request names, each one once.
func addOptions(out *spec.Mount, options []string) error {
	for _, word := range options {
		row := slices.IndexFunc(mountOptions(), func(words []string) bool { return slices.Contains(words, word) })
		if row < 0 {
			return invalid("option %.64q of the mount at %q is not allowed", word, out.Destination)
		}
		for _, other := range mountOptions()[row] {
			if other != word && slices.Contains(options, other) {
				return invalid("options %q and %q of the mount at %q exclude each other", word, other, out.Destination)
			}
		}
		if !slices.Contains(out.Options, word) {
			out.Options = append(out.Options, word)
		}
	}
	return nil
}

func idMappings(list []*runtimeapi.IDMapping) []spec.IDMapping {
	var out []spec.IDMapping
	for _, m := range list {
		out = append(out, spec.IDMapping{ContainerID: m.GetContainerId(), HostID: m.GetHostId(), Size: m.GetLength()})
	}
	return out
}

// statusMounts are the mounts that were asked for; volumes are the runtime's own.
func statusMounts(mounts []spec.Mount) []*runtimeapi.Mount {
	var out []*runtimeapi.Mount
	for _, m := range mounts {
		one := &runtimeapi.Mount{
			ContainerPath: m.Destination, SelinuxRelabel: m.Relabel != "",
			UidMappings: statusMappings(m.UIDMappings), GidMappings: statusMappings(m.GIDMappings),
		}
		switch m.Type {
		case spec.MountBind:
			one.HostPath = m.Source
		case spec.MountImage:
			one.Image, one.ImageSubPath = &runtimeapi.ImageSpec{Image: m.Source, ImageRef: imageID(m.ImageID)}, m.Subpath
		default:
			continue
		}
		for _, o := range m.Options {
			switch o {
			case optReadOnly:
				one.Readonly = true
			case optRecursiveReadOnly:
				one.Readonly, one.RecursiveReadOnly = true, true
			case "rslave":
				one.Propagation = runtimeapi.MountPropagation_PROPAGATION_HOST_TO_CONTAINER
			case "rshared":
				one.Propagation = runtimeapi.MountPropagation_PROPAGATION_BIDIRECTIONAL
			case "rbind", "rprivate", optReadWrite:
			default:
				one.MountOptions = append(one.MountOptions, o)
			}
		}
		out = append(out, one)
	}
	return out
}

func statusMappings(list []spec.IDMapping) []*runtimeapi.IDMapping {
	var out []*runtimeapi.IDMapping
	for _, m := range list {
		out = append(out, &runtimeapi.IDMapping{ContainerId: m.ContainerID, HostId: m.HostID, Length: m.Size})
	}
	return out
}

// containerDevices are the host's devices that a container gets.
func containerDevices(devices []*runtimeapi.Device) ([]spec.Device, error) {
	var out []spec.Device
	for _, d := range devices {
		if !path.IsAbs(d.GetHostPath()) || strings.ContainsRune(d.GetHostPath(), 0) {
			return nil, invalid("device %q is not an absolute path", d.GetHostPath())
		}
		out = append(out, spec.Device{HostPath: d.GetHostPath(), Path: d.GetContainerPath(), Access: d.GetPermissions()})
	}
	return out, nil
}
