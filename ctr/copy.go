package ctr

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/containerd/errdefs"

	"github.com/davit-containers/davit/ctr/archive"
	"github.com/davit-containers/davit/ctr/record"
	"github.com/davit-containers/davit/ctr/rootfs"
)

// StatPath tells what a path inside a container is; links are followed inside
// it. ErrNotFound if there is nothing.
func (c *sessions) StatPath(ctx context.Context, id, path string) (info archive.Info, err error) {
	err = c.withRoot(ctx, id, func(r *archive.Root, _ Container) error {
		info, err = r.Stat(path)
		return err
	})
	return info, err
}

// CopyFrom writes a file or a folder of a container as a tar stream.
func (c *sessions) CopyFrom(ctx context.Context, id, path string, w io.Writer, o archive.PackOptions) error {
	return c.withRoot(ctx, id, func(r *archive.Root, _ Container) error { return r.Pack(ctx, path, w, o) })
}

// CopyTo unpacks a tar stream below a folder of a container. Unless the options keep
// the stream's owners, all belongs to the user that the container runs as.
func (c *sessions) CopyTo(ctx context.Context, id, folder string, in io.Reader, o archive.UnpackOptions) error {
	return c.withRoot(ctx, id, func(r *archive.Root, ctr Container) error {
		if !o.KeepOwner {
			u, err := rootfs.ResolveUser(ctr.Status.Mounted, ctr.Config.Process.User, nil, "")
			if err != nil {
				return fmt.Errorf("user of container %q: %w", ctr.Config.Name, err)
			}
			o.UID, o.GID = int(u.UID), int(u.GID)
		}
		return r.Unpack(ctx, folder, in, o)
	})
}

// withRoot calls f with the root of a container: with its mounts as it sees
// them while it runs, and its root file system alone otherwise.
func (c *sessions) withRoot(ctx context.Context, id string, f func(*archive.Root, Container) error) error {
	ctr, err := c.Get(ctx, id)
	if err != nil {
		return err
	}
	if ctr.Status.Alive() {
		return c.inRoot(ctr, f)
	}
	// Mount it for the while; the operation keeps others from starting it, and
	// what its status says of a mount is true once dead owners are settled.
	return c.change(ctx, id, opMount, func(op *record.Op, ctr Container) (err error) {
		if ctr.Status.Alive() || ctr.Status.Mounted != "" {
			return c.inRoot(ctr, f)
		}
		if err := op.Advance(ctx, stageMount); err != nil {
			return err
		}
		path, err := c.mount(ctx, ctr)
		if err != nil {
			return err
		}
		ctr.Status.Mounted = path
		defer func() { err = errors.Join(err, c.unmount(context.WithoutCancel(ctx), ctr)) }()
		return c.inRoot(ctr, f)
	})
}

// inRoot opens the root of a running container through its first process.
func (c *sessions) inRoot(ctr Container, f func(*archive.Root, Container) error) error {
	path := ctr.Status.Mounted
	if ctr.Status.Alive() {
		root, err := archive.OpenRoot(fmt.Sprintf("/proc/%d/root", ctr.Status.Pid))
		if err == nil && ctr.Status.Process().Alive() {
			defer func() { _ = root.Close() }()
			return f(root, ctr)
		}
		if err == nil {
			err = root.Close() // it has ended meanwhile, and this may be another's
		}
		if err != nil && !errdefs.IsNotFound(err) {
			return fmt.Errorf("opening files of container %q: %w", ctr.Config.Name, err)
		}
	}
	root, err := archive.OpenRoot(path)
	if err != nil {
		return fmt.Errorf("opening files of container %q: %w", ctr.Config.Name, err)
	}
	defer func() { _ = root.Close() }()
	return f(root, ctr)
}
