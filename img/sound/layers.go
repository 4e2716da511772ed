package sound

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"

	"go.podman.io/storage"
	"go.podman.io/storage/pkg/archive"
)

// Link is one that leads nowhere.
type Link struct {
	// Layer is the layer's ID, Path the link's, Target where it is to lead.
	Layer, Path, Target string
}

// LinkName is the name of a layer's link by the driver's note of it; empty if the note
// is none, as one that a loss of power has filled with zeros.
func LinkName(note []byte) string {
	for _, c := range note {
		if (c < 'A' || c > 'Z') && (c < '0' || c > '9') {
			return ""
		}
	}
	return string(note)
}

// LinkOf is the link of a layer of that name in a driver's folder.
func LinkOf(home, layer, name string) Link {
	return Link{Layer: layer, Path: filepath.Join(home, "l", name), Target: path.Join("..", layer, "diff")}
}

// Mend makes the link anew.
func (l Link) Mend() error {
	if target, err := os.Readlink(l.Path); err == nil && target == l.Target {
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(l.Path), 0o755); err != nil {
		return fmt.Errorf("linking layer %s: %w", l.Layer, err)
	}
	draft := l.Path + ".new"
	_ = os.Remove(draft)
	err := os.Symlink(l.Target, draft)
	if err == nil {
		err = os.Rename(draft, l.Path)
	}
	if err != nil {
		return fmt.Errorf("linking layer %s: %w", l.Layer, err)
	}
	return nil
}

// homes are the folders of a driver's layers.
func homes(store storage.Store) []string {
	driver := store.GraphDriverName()
	out := []string{filepath.Join(store.GraphRoot(), driver)}
	if own := store.ImageStore(); own != "" {
		out = append(out, filepath.Join(own, driver))
	}
	return out
}

// files looks at the folders and links of the overlay driver; those of others are
// subvolumes or plain copies, which are there or not.
func (r *Report) files(store storage.Store, layers []storage.Layer) error {
	driver, err := store.GraphDriver()
	if err != nil {
		return fmt.Errorf("checking the image store: %w", err)
	}
	for i := range layers {
		l := &layers[i]
		if l.ReadOnly {
			continue
		}
		home := ""
		for _, h := range homes(store) {
			if exists(filepath.Join(h, l.ID)) {
				home = h
			}
		}
		switch {
		case store.GraphDriverName() != "overlay":
			if !driver.Exists(l.ID) {
				r.damaged(store, l.ID, "its files are gone")
			}
		case home == "", !exists(filepath.Join(home, l.ID, "diff")):
			r.damaged(store, l.ID, "its files are gone")
		default:
			r.overlay(store, home, l)
		}
		if l.UncompressedDigest != "" && !tarSplit(store, l.ID) {
			r.damaged(store, l.ID, "the description of its archive is gone")
		}
	}
	return nil
}

// damaged notes what is wrong with a layer, unless it was removed meanwhile.
func (r *Report) damaged(store storage.Store, id, what string) {
	if store.Exists(id) {
		r.Layers[id] = append(r.Layers[id], what)
	}
}

// tarSplit tells whether there is the file from which a layer's archive is put
// together again. Layers that came in chunks have it among their records.
func tarSplit(store storage.Store, id string) bool {
	for _, root := range []string{store.GraphRoot(), store.ImageStore(), store.RunRoot()} {
		if root != "" && exists(filepath.Join(root, store.GraphDriverName()+"-layers", id+".tar-split.gz")) {
			return true
		}
	}
	return false
}

// overlay looks at one layer's files of the overlay driver: link holds the short
// name of the layer, which is a link to its diff; lower lists those of the layers
// below.
func (r *Report) overlay(store storage.Store, home string, l *storage.Layer) {
	dir := filepath.Join(home, l.ID)
	note, err := os.ReadFile(filepath.Join(dir, "link"))
	name := LinkName(note)
	if err != nil || name == "" {
		r.damaged(store, l.ID, "the name of its link is gone")
		return
	}
	link := LinkOf(home, l.ID, name)
	if target, err := os.Readlink(link.Path); (err != nil || target != link.Target) && store.Exists(l.ID) {
		r.Links = append(r.Links, link)
	}
	if _, err := os.Lstat(filepath.Join(dir, "lower")); l.Parent != "" && errors.Is(err, fs.ErrNotExist) {
		r.damaged(store, l.ID, "the list of the layers below it is gone")
	}
}

// contents reads a layer, puts its archive together and compares it with its
// digest, and what the archive says of files with what they are.
func (r *Report) contents(ctx context.Context, store storage.Store, l *storage.Layer) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	form := archive.Uncompressed
	stream, err := store.Diff("", l.ID, &storage.DiffOptions{Compression: &form})
	if err != nil {
		r.damaged(store, l.ID, "it cannot be read: "+plain(err))
		return nil
	}
	digester := l.UncompressedDigest.Algorithm().Digester()
	reader := tar.NewReader(io.TeeReader(stopping{stream, ctx.Err}, digester.Hash()))
	differs := ""
	var h *tar.Header
	for h, err = reader.Next(); err == nil; h, err = reader.Next() {
		if differs == "" && len(l.UIDMap) == 0 {
			differs = compare(store, l.ID, h)
		}
	}
	if errors.Is(err, io.EOF) { // and what follows the archive's end
		_, err = io.Copy(digester.Hash(), stopping{stream, ctx.Err})
	}
	if cerr := stream.Close(); err == nil {
		err = cerr
	}
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case err != nil:
		r.damaged(store, l.ID, "it cannot be read: "+plain(err))
	case digester.Digest() != l.UncompressedDigest:
		r.damaged(store, l.ID, "its content is not what its digest says")
	case differs != "":
		r.damaged(store, l.ID, differs)
	}
	return nil
}

// compare says in what a file of the overlay driver is not what the archive says:
// the library reads the contents of regular files alone.
func compare(store storage.Store, id string, h *tar.Header) string {
	name := path.Clean("/" + h.Name)
	if store.GraphDriverName() != "overlay" || strings.HasPrefix(path.Base(name), archive.WhiteoutPrefix) || name == "/" {
		return ""
	}
	for _, home := range homes(store) {
		dir := filepath.Join(home, id, "diff")
		if !exists(dir) {
			continue
		}
		at := filepath.Join(dir, name)
		fi, err := os.Lstat(at)
		if err != nil {
			return name + " is gone"
		}
		kind := fi.Mode().Type()
		switch h.Typeflag {
		case tar.TypeSymlink:
			if target, err := os.Readlink(at); err != nil || target != h.Linkname {
				return name + " does not link to " + h.Linkname
			}
		case tar.TypeDir:
			if kind != fs.ModeDir {
				return name + " is no folder"
			}
		case tar.TypeReg:
			if kind != 0 || fi.Size() != h.Size {
				return name + " is not the file that it was"
			}
		}
		return ""
	}
	return ""
}

// stopping is a reader that ends with something else.
type stopping struct {
	r     io.Reader
	ended func() error
}

// Read implements io.Reader.
func (s stopping) Read(p []byte) (int, error) {
	if err := s.ended(); err != nil {
		return 0, err
	}
	return s.r.Read(p)
}
