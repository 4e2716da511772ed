package img

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/containerd/errdefs"
	"go.podman.io/storage"
	"go.podman.io/storage/pkg/archive"
	"go.podman.io/storage/pkg/idtools"
	"go.podman.io/storage/types"
	"golang.org/x/sys/unix"

	"github.com/davit-containers/davit/ctr/record"
	"github.com/davit-containers/davit/ctr/record/failpoint"
	"github.com/davit-containers/davit/img/layersize"
)

// Roots are the root filesystems of a store: writable layers on top of images,
// one for each container.
type Roots struct{ *core }

// RootfsConfig says what root filesystem to make.
type RootfsConfig struct {
	// ID is the container's, and the storage container's too.
	ID string
	// Image is the ID of the image below; empty for an empty root filesystem.
	Image string
	// Name is the container's name, for whoever looks at the store with other
	// programs. Two may have the same.
	Name string
	// For is the ID of the container that it belongs to, where that has another
	// one: an image that is mounted into it.
	For string
	// Volatile leaves out the syncing of records and files: what is written
	// need not survive a power cut.
	Volatile bool
	// MountLabel is the SELinux label of its files.
	MountLabel string
	// UIDMap and GIDMap are the user namespace's that its files are for; both or
	// neither.
	UIDMap, GIDMap []IDMap
	// StorageOpt are the driver's options for it, such as size.
	StorageOpt map[string]string
}

// IDMap maps Size IDs of a user namespace, from Container on, to those of the
// host from Host on.
type IDMap struct {
	Container int `json:"container"`
	Host      int `json:"host"`
	Size      int `json:"size"`
}

// Rootfs is one root filesystem.
type Rootfs struct {
	ID      string    `json:"id"`
	Image   string    `json:"image,omitempty"` // the image's ID
	Name    string    `json:"name,omitempty"`
	For     string    `json:"for,omitempty"` // the container that it belongs to, if not ID's
	Layer   string    `json:"layer"`         // the writable layer's ID
	Created time.Time `json:"created"`
	// Ours says that davit made it, and not podman or buildah.
	Ours bool `json:"ours"`
}

// rootfsMeta is what davit records with a storage container.
type rootfsMeta struct {
	Name string `json:"name"`
	For  string `json:"for,omitempty"`
}

// CreateRootfs makes a root filesystem. It returns ErrAlreadyExists when the ID
// has one, and ErrNotFound when the image is not there.
func (r *Roots) CreateRootfs(ctx context.Context, cfg RootfsConfig) (Rootfs, error) {
	if err := ctx.Err(); err != nil {
		return Rootfs{}, err
	}
	if cfg.ID == "" {
		return Rootfs{}, fmt.Errorf("making a rootfs: it has no ID: %w", errdefs.ErrInvalidArgument)
	}
	meta := map[string]any{"davit": rootfsMeta{Name: cfg.Name, For: cfg.For}}
	text, err := json.Marshal(meta)
	if err != nil {
		return Rootfs{}, fmt.Errorf("making the rootfs of %q: %w", cfg.ID, err)
	}
	opts := storage.ContainerOptions{Volatile: cfg.Volatile, StorageOpt: maps.Clone(cfg.StorageOpt)}
	if len(cfg.UIDMap) > 0 {
		opts.IDMappingOptions = types.IDMappingOptions{UIDMap: idMaps(cfg.UIDMap), GIDMap: idMaps(cfg.GIDMap)}
	}
	if cfg.MountLabel != "" {
		// The store wants both or neither, and looks at that of the files alone.
		opts.Flags = map[string]any{"MountLabel": cfg.MountLabel, "ProcessLabel": cfg.MountLabel}
	}
	made, err := r.storage().CreateContainer(cfg.ID, nil, cfg.Image, cfg.ID, string(text), &opts)
	if err != nil {
		return Rootfs{}, fmt.Errorf("making the rootfs of %q: %w", cfg.ID, rootfsClass(err))
	}
	if !cfg.Volatile {
		if err := r.intake.persistRootfs(made.LayerID); err != nil {
			return Rootfs{}, err
		}
	}
	return rootfs(made), failpoint.Reach(ctx, failpoint.RootfsMade)
}

// MountRootfs mounts a root filesystem and returns its path. Mounting it again
// gives the same path. It returns ErrNotFound when there is none.
func (r *Roots) MountRootfs(ctx context.Context, id string) (string, error) {
	if err := ctx.Err(); err != nil {
		return "", err
	}
	path, err := r.storage().Mount(id, "")
	if err != nil {
		return "", fmt.Errorf("mounting the rootfs of %q: %w", id, rootfsClass(err))
	}
	r.keepInMind(id)
	return path, failpoint.Reach(ctx, failpoint.RootfsMounted)
}

// keepInMind notes a mount, and has the driver forget those whose layers other
// processes have removed. Where it cannot now, the next mount does.
func (r *Roots) keepInMind(id string) {
	driver, err := r.storage().GraphDriver()
	if err != nil || !r.mounts.Add(id, driver.Exists) {
		return
	}
	if err := r.renew(); err != nil {
		r.log.Debug("the layer store is not opened anew", "error", err)
		return
	}
	r.mounts.Renewed()
}

// UnmountRootfs unmounts a root filesystem, however often it was mounted and by
// whichever process. One that is not mounted is fine; one that does not exist
// is ErrNotFound. What somebody has mounted over it is detached, too.
func (r *Roots) UnmountRootfs(ctx context.Context, id string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	unmount := func() error {
		_, err := r.storage().Unmount(id, true)
		return err
	}
	err := rooms(r.storage()).Use(unmount)
	if errors.Is(err, unix.EBUSY) && uncover(r, id) == nil {
		err = rooms(r.storage()).Use(unmount)
	}
	if err == nil || errors.Is(err, storage.ErrLayerNotMounted) {
		r.mounts.Drop(id)
		return failpoint.Reach(ctx, failpoint.RootfsUnmounted)
	}
	return fmt.Errorf("unmounting the rootfs of %q: %w", id, rootfsClass(err))
}

// uncover detaches all that is mounted where a root filesystem is: the store
// detaches one mount, and fails over a second.
func uncover(r *Roots, id string) error {
	c, err := r.storage().Container(id)
	if err != nil {
		return err
	}
	layer, err := r.storage().Layer(c.LayerID)
	if err != nil || layer.MountPoint == "" {
		return err
	}
	for err == nil {
		err = unix.Unmount(layer.MountPoint, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW)
	}
	if errors.Is(err, unix.EINVAL) { // nothing is mounted there any more
		return nil
	}
	return err
}

// DeleteRootfs removes a root filesystem and all that was written to it. A busy
// mount is detached. It returns ErrNotFound when there is none.
func (r *Roots) DeleteRootfs(ctx context.Context, id string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	c, err := r.storage().Container(id)
	if err != nil {
		return errors.Join(r.deleteHalfMade(id, err), r.intake.relink())
	}
	if err := failpoint.Reach(ctx, failpoint.RootfsDelete); err != nil {
		return err
	}
	r.uncount(id, c.LayerID)
	remove := func() error {
		return deletingWritable(r.storage(), c.LayerID, func() error { return r.storage().DeleteContainer(id) })
	}
	err = remove()
	if errors.Is(err, unix.EBUSY) && uncover(r, id) == nil {
		err = remove()
	}
	if err != nil {
		return fmt.Errorf("removing the rootfs of %q: %w", id, rootfsClass(err))
	}
	r.layers.Drop(id)
	return failpoint.Reach(ctx, failpoint.RootfsDeleted)
}

// uncount has the driver forget a mount of this process that another one has undone:
// it counts it until it is undone here, too. A mount that there still is goes with its
// layer, and so does its count. What is wrong with a layer its removal says.
func (r *Roots) uncount(id, layer string) {
	if !r.mounts.Drop(id) {
		return
	}
	if l, err := r.storage().Layer(layer); err == nil && l.MountCount == 0 {
		_, _ = r.storage().Unmount(id, true)
	}
}

// deleteHalfMade removes the layer that a process left which died while it made a
// root filesystem: it has the container's ID, and there is no container, as err
// says. Whoever came by first may have removed it already.
func (r *Roots) deleteHalfMade(id string, err error) error {
	derr := deletingWritable(r.storage(), id, func() error { return r.storage().DeleteLayer(id) })
	if derr == nil {
		return nil
	}
	if !errors.Is(derr, storage.ErrLayerUnknown) && !errors.Is(derr, storage.ErrNotALayer) {
		err = derr
	}
	return fmt.Errorf("removing the rootfs of %q: %w", id, rootfsClass(err))
}

// RootfsContainers lists the storage containers, by ID: davit's own and those
// of other programs on the same store.
func (r *Roots) RootfsContainers(ctx context.Context) ([]Rootfs, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	all, err := r.storage().Containers()
	if err != nil {
		return nil, fmt.Errorf("reading storage containers: %w", err)
	}
	out := make([]Rootfs, 0, len(all))
	for i := range all {
		out = append(out, rootfs(&all[i]))
	}
	slices.SortFunc(out, func(a, b Rootfs) int { return strings.Compare(a.ID, b.ID) })
	return out, nil
}

// LayerUsage is what the writable layer of a root filesystem takes up.
type LayerUsage = layersize.Usage

// LayerUsage tells what the writable layer of a root filesystem takes up. It
// walks no tree for that: what it tells is some ten seconds old, or more where
// the layers are large. The first time it waits for the walk until ctx ends. It
// returns ErrNotFound when there is no such root filesystem, and
// ErrNotImplemented when the storage driver keeps no layer in a folder of its own.
func (r *Roots) LayerUsage(ctx context.Context, id string) (LayerUsage, error) {
	dir, err := r.upperDir(id)
	if err != nil {
		r.layers.Drop(id)
		return LayerUsage{}, fmt.Errorf("measuring the layer of %q: %w", id, err)
	}
	usage, err := r.layers.Usage(ctx, id, dir)
	if err != nil {
		return LayerUsage{}, fmt.Errorf("measuring the layer of %q: %w", id, err)
	}
	usage.Root = r.storage().GraphRoot()
	return usage, nil
}

// LayerDiff is what was written to a root filesystem, as the tar stream of a
// layer, uncompressed. The caller closes it, and lets nothing write meanwhile. It
// returns ErrNotFound when there is no such root filesystem.
func (r *Roots) LayerDiff(ctx context.Context, id string) (io.ReadCloser, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	plain := archive.Uncompressed
	c, err := r.storage().Container(id)
	if err != nil {
		return nil, fmt.Errorf("reading the layer of %q: %w", id, rootfsClass(err))
	}
	diff, err := r.storage().Diff("", c.LayerID, &storage.DiffOptions{Compression: &plain})
	if err != nil {
		return nil, fmt.Errorf("reading the layer of %q: %w", id, rootfsClass(err))
	}
	return diff, nil
}

// ApplyLayerDiff unpacks the tar stream of a layer, compressed or not, into a root
// filesystem that is not in use. Nothing of it lands outside, whatever its names
// and links are. It returns ErrNotFound when there is no such root filesystem.
func (r *Roots) ApplyLayerDiff(ctx context.Context, id string, diff io.Reader) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	c, err := r.storage().Container(id)
	if err == nil {
		_, err = r.storage().ApplyDiff(c.LayerID, diff)
	}
	if err != nil {
		return fmt.Errorf("writing the layer of %q: %w", id, rootfsClass(err))
	}
	return nil
}

// upperDir is the folder of what was written to a root filesystem.
func (r *Roots) upperDir(id string) (string, error) {
	driver, err := r.storage().GraphDriver()
	if err != nil {
		return "", err
	}
	if !driver.Exists(id) {
		return "", errdefs.ErrNotFound
	}
	meta, err := driver.Metadata(id)
	if err != nil {
		return "", err
	}
	if meta["UpperDir"] == "" {
		return "", fmt.Errorf("storage driver %s: %w", driver.String(), errdefs.ErrNotImplemented)
	}
	return meta["UpperDir"], nil
}

func idMaps(in []IDMap) []idtools.IDMap {
	out := make([]idtools.IDMap, len(in))
	for i, m := range in {
		out[i] = idtools.IDMap{ContainerID: m.Container, HostID: m.Host, Size: m.Size}
	}
	return out
}

// rootfs describes a storage container.
func rootfs(c *storage.Container) Rootfs {
	out := Rootfs{ID: c.ID, Image: c.ImageID, Layer: c.LayerID, Created: c.Created.UTC()}
	var meta struct{ Davit *rootfsMeta }
	if err := json.Unmarshal([]byte(c.Metadata), &meta); err == nil && meta.Davit != nil {
		out.Ours, out.Name, out.For = true, meta.Davit.Name, meta.Davit.For
	}
	return out
}

// rootfsClass gives the store's errors about containers their class.
func rootfsClass(err error) error {
	switch {
	case errors.Is(err, storage.ErrContainerUnknown), errors.Is(err, storage.ErrLayerUnknown), errors.Is(err, storage.ErrNotAContainer):
		return &classified{msg: errdefs.ErrNotFound.Error(), class: []error{errdefs.ErrNotFound}, cause: err}
	case errors.Is(err, storage.ErrImageUnknown):
		return &classified{msg: "its image is not there", class: []error{errdefs.ErrNotFound}, cause: err}
	case errors.Is(err, storage.ErrDuplicateID), errors.Is(err, storage.ErrDuplicateName):
		return &classified{msg: errdefs.ErrAlreadyExists.Error(), class: []error{errdefs.ErrAlreadyExists}, cause: err}
	case errors.Is(err, unix.ENOSPC), errors.Is(err, unix.EDQUOT):
		msg := "no space left in the store"
		if disk, ok := record.DiskFaultOf(err); ok && disk.Path != "" {
			msg = "no space left: " + disk.String()
		}
		return &classified{msg: msg, class: []error{errdefs.ErrResourceExhausted}, cause: err}
	}
	return err
}
