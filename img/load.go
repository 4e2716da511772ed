package img

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/containerd/errdefs"
)

// LoadOptions say what to load.
type LoadOptions struct {
	// Path is an archive or a folder that Save, docker save, podman save or
	// skopeo wrote, compressed or not; Reader, an archive, is read instead if it
	// is set.
	Path   string
	Reader io.Reader
	// Owner is as in PullOptions.
	Owner    string
	Progress func(ProgressEvent)
}

// Load brings all images of an archive or folder into the store, with the names
// that they have there, and returns them. The signature policy applies. After
// an error the images before it are there, and returned as well.
func (s *Store) Load(ctx context.Context, o LoadOptions) ([]Image, error) {
	label := cmp.Or(o.Path, "standard input")
	temp, done, err := s.tempDir()
	if err != nil {
		return nil, err
	}
	defer done()
	path, err := spool(ctx, temp, o.Path, o.Reader)
	if err != nil {
		return nil, err
	}
	a := access{temp: temp}
	sys := s.systemContext(a)
	transport, err := sniff(path)
	if err != nil {
		return nil, fmt.Errorf("loading %s: %w", label, err)
	}
	sources, err := localSources(sys, location{transport, path})
	if err != nil {
		return nil, localError("loading", label, err)
	}
	defer closeAll(sources)
	var out []Image
	for _, src := range sources {
		p := &progress{ref: label, to: o.Progress}
		if len(src.names) > 0 {
			p.ref = src.names[0].String()
		}
		p.tell(ProgressEvent{Kind: PullStarted})
		id, err := s.copyIn(ctx, src, a, p)
		if err != nil {
			return out, localError("loading", label, err)
		}
		im, err := s.pulled(id, o.Owner, p, PullDone)
		if err != nil {
			return out, err
		}
		out = append(out, im)
	}
	return out, nil
}

// sniff says which transport reads what is at path. Docker's archives of today
// are OCI layouts as well, and have all names in the part that is Docker's.
func sniff(path string) (string, error) {
	st, err := os.Stat(path)
	if err != nil {
		return "", classOf(err)
	}
	has := func(name string) bool {
		_, err := os.Stat(filepath.Join(path, name))
		return err == nil
	}
	switch {
	case st.IsDir() && has("oci-layout"):
		return "oci", nil
	case st.IsDir() && has("manifest.json"):
		return "dir", nil
	case st.IsDir():
		return "", fmt.Errorf("neither an OCI layout nor a dir: image: %w", errdefs.ErrInvalidArgument)
	}
	found, err := archiveHas(path, "manifest.json", "oci-layout")
	switch {
	case found["manifest.json"]:
		return "docker-archive", nil
	case found["oci-layout"]:
		return "oci-archive", nil
	case err != nil:
		return "", &classified{msg: "not an archive of images: " + lastCause(err), class: []error{errdefs.ErrInvalidArgument}, cause: err}
	}
	return "", fmt.Errorf("an archive, but not of images: %w", errdefs.ErrInvalidArgument)
}

// localError puts in one line why something local could not be done.
func localError(act, label string, err error) error {
	var already *classified
	if errors.As(err, &already) && already == err {
		return err
	}
	one := transferError(label, "", err)
	var c *classified
	if errors.As(one, &c) {
		c.msg = act + " " + label + c.msg[len(fmt.Sprintf("pulling %q", label)):]
	}
	return one
}
