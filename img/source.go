package img

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/containerd/errdefs"
	"go.podman.io/image/v5/directory"
	"go.podman.io/image/v5/docker"
	dockerarchive "go.podman.io/image/v5/docker/archive"
	"go.podman.io/image/v5/docker/reference"
	ociarchive "go.podman.io/image/v5/oci/archive"
	ocilayout "go.podman.io/image/v5/oci/layout"
	"go.podman.io/image/v5/types"
)

// location is a reference that names its transport: oci:PATH[:NAME] and so on.
// The transport of a plain name is empty.
type location struct{ transport, rest string }

// splitLocation takes the transport off a reference. docker://NAME is a plain
// name. Transports that exist elsewhere and not here are refused by name, or
// they would be taken for a repository called like that.
func splitLocation(ref string) (location, error) {
	name, rest, ok := strings.Cut(ref, ":")
	if !ok {
		return location{rest: ref}, nil
	}
	switch name {
	case "docker":
		if rest, ok = strings.CutPrefix(rest, "//"); !ok {
			// A repository may be called docker, and 24.0 be its tag.
			return location{rest: ref}, nil
		}
		return location{rest: rest}, nil
	case "oci", "oci-archive", "docker-archive", "dir":
		if rest == "" {
			return location{}, fmt.Errorf("image %q: a path is missing: %w", ref, errdefs.ErrInvalidArgument)
		}
		return location{name, rest}, nil
	case "docker-daemon", "containers-storage", "ostree", "sif", "tarball", "atomic":
		return location{}, fmt.Errorf("image %q: transport %s is not one of docker, oci, oci-archive, docker-archive, dir: %w", ref, name, errdefs.ErrInvalidArgument)
	}
	return location{rest: ref}, nil
}

// source is one image to copy into the store.
type source struct {
	ref types.ImageReference
	// names are the names it gets; none leaves it without one.
	names []reference.NamedTagged
	// dest is the name in the store to copy to when it is not one of names: a
	// digest, which cannot be added later. It may be nil.
	dest  reference.Named
	label string // for messages
	host  string // the registry's, empty for a local source
	close func() error
}

// remoteSource is the image of a full name in its registry.
func remoteSource(named reference.Named) (source, error) {
	ref, err := docker.NewReference(named)
	if err != nil {
		return source{}, fmt.Errorf("image %q: %w", named.String(), errdefs.ErrInvalidArgument)
	}
	return source{ref: ref, dest: named, label: named.String(), host: reference.Domain(named), close: func() error { return nil }}, nil
}

// localSources are the images at a location in the file system. Without a name
// in the location they are all that is there; those that pull only one use the
// first. The caller closes each.
func localSources(sys *types.SystemContext, loc location) ([]source, error) {
	label := loc.transport + ":" + loc.rest
	path, _, _ := strings.Cut(loc.rest, ":")
	if _, err := os.Stat(path); err != nil {
		return nil, fmt.Errorf("%s: %w", label, classOf(err))
	}
	var (
		out []source
		err error
	)
	switch loc.transport {
	case "dir":
		out, err = dirSource(loc.rest)
	case "oci":
		out, err = ociSources(loc.rest)
	case "oci-archive":
		out, err = ociArchiveSources(loc.rest)
	case "docker-archive":
		out, err = dockerArchiveSources(sys, loc.rest)
	}
	if err != nil {
		return nil, locationError(loc, err)
	}
	for i := range out {
		out[i].label = label
		if out[i].close == nil {
			out[i].close = func() error { return nil }
		}
	}
	return out, nil
}

// locationError puts in one line why there is no image at a path that exists.
func locationError(loc location, err error) error {
	out := &classified{msg: fmt.Sprintf("%s:%s: %s", loc.transport, loc.rest, lastCause(err)), class: []error{errdefs.ErrInvalidArgument}}
	switch {
	case errors.Is(err, fs.ErrNotExist): // of a file that each image of this kind has
		out.msg = fmt.Sprintf("%s:%s: there is no %s image in it", loc.transport, loc.rest, loc.transport)
		out.class = []error{errdefs.ErrNotFound}
	case errdefs.IsNotFound(err):
		out.class = []error{errdefs.ErrNotFound}
	}
	return out
}

// dirSource reads what skopeo calls dir: a manifest and its blobs in a folder.
// The image is named after the folder, as podman does.
func dirSource(path string) ([]source, error) {
	if _, err := os.Stat(filepath.Join(path, "manifest.json")); err != nil {
		return nil, err
	}
	ref, err := directory.NewReference(path)
	if err != nil {
		return nil, err
	}
	return []source{{ref: ref, names: pathNames(path)}}, nil
}

// ociSources reads an OCI layout. An image is named by its ref.name if that is
// a whole name, else after the folder with the ref.name as its tag.
func ociSources(rest string) ([]source, error) {
	path, name, named := strings.Cut(rest, ":")
	if named {
		ref, err := ocilayout.ParseReference(rest)
		if err != nil {
			return nil, err
		}
		return []source{{ref: ref, names: layoutNames(path, name)}}, nil
	}
	list, err := ocilayout.List(path)
	if err != nil {
		return nil, err
	}
	var out []source
	for _, l := range list {
		out = append(out, source{ref: l.Reference, names: layoutNames(path, layoutName(l.ManifestDescriptor.Annotations))})
	}
	return out, nil
}

// ociArchiveSources reads an OCI layout in a tar file.
func ociArchiveSources(rest string) ([]source, error) {
	path, name, named := strings.Cut(rest, ":")
	if named {
		ref, err := ociarchive.ParseReference(rest)
		if err != nil {
			return nil, err
		}
		return []source{{ref: ref, names: layoutNames(path, name)}}, nil
	}
	entries, err := archiveIndex(path)
	if err != nil {
		return nil, err
	}
	var (
		out  []source
		seen = map[string]bool{}
	)
	for _, e := range entries {
		// The library finds an image in an archive by this annotation alone.
		name := e.Annotations[refName]
		if seen[name] || name == "" && len(entries) > 1 {
			return nil, &classified{msg: "its images cannot be told apart by name; unpack it and load the folder", class: []error{errdefs.ErrInvalidArgument}}
		}
		seen[name] = true
		ref, err := ociarchive.NewReference(path, name)
		if err != nil {
			return nil, err
		}
		out = append(out, source{ref: ref, names: layoutNames(path, layoutName(e.Annotations))})
	}
	return out, nil
}

// dockerArchiveSources reads what docker save writes. An image gets all the
// names that the archive has for it.
func dockerArchiveSources(sys *types.SystemContext, rest string) ([]source, error) {
	path, name, named := strings.Cut(rest, ":")
	reader, err := dockerarchive.NewReader(sys, path)
	if err != nil {
		return nil, err
	}
	list, err := reader.List()
	if err == nil && len(list) == 0 {
		err = &classified{msg: "the archive has no image", class: []error{errdefs.ErrNotFound}}
	}
	var out []source
	for i, refs := range list {
		s := source{ref: refs[0]}
		match := !named || name == fmt.Sprintf("@%d", i)
		for _, r := range refs {
			if tagged, ok := r.DockerReference().(reference.NamedTagged); ok {
				s.names = append(s.names, tagged)
				if want, werr := localNameIn(name); werr == nil && tagged.String() == want {
					s.ref, s.names, match = r, []reference.NamedTagged{tagged}, true
					break
				}
			}
		}
		if match {
			out = append(out, s)
		}
	}
	if err == nil && len(out) == 0 {
		err = &classified{msg: fmt.Sprintf("the archive has no image %q", name), class: []error{errdefs.ErrNotFound}}
	}
	if err != nil {
		return nil, errorsJoinClose(err, reader.Close)
	}
	out[len(out)-1].close = reader.Close
	return out, nil
}

// localNameIn is a name as docker-archive: spells it inside.
func localNameIn(name string) (string, error) {
	named, err := reference.ParseNormalizedNamed(name)
	if err != nil {
		return "", err
	}
	return reference.TagNameOnly(named).String(), nil
}

// refName is the annotation that names an image in an OCI layout.
const refName = "org.opencontainers.image.ref.name"

// layoutName is the name that an OCI index's entry carries, if any. The first
// annotation is containerd's and docker's, which is a whole name.
func layoutName(annotations map[string]string) string {
	if n := annotations["io.containerd.image.name"]; n != "" {
		return n
	}
	return annotations[refName]
}

// layoutNames are the names of an image in an OCI layout at path.
func layoutNames(path, name string) []reference.NamedTagged {
	if name == "" || strings.HasPrefix(name, "@") {
		return nil
	}
	if strings.ContainsAny(name, "/:") {
		if n, err := localName(name); err == nil {
			return []reference.NamedTagged{n}
		}
	}
	base := strings.TrimSuffix(filepath.Base(path), ".tar")
	if n, err := localName("localhost/" + strings.ToLower(base) + ":" + name); err == nil {
		return []reference.NamedTagged{n}
	}
	return nil
}

// pathNames names an image after the folder it is in, if that can be a name.
func pathNames(path string) []reference.NamedTagged {
	n, err := localName("localhost/" + strings.ToLower(strings.Trim(filepath.ToSlash(filepath.Clean(path)), "/.")))
	if err != nil {
		return nil
	}
	return []reference.NamedTagged{n}
}
