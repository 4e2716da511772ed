package ctr

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/containerd/errdefs"

	"github.com/davit-containers/davit/ctr/cgroup"
	"github.com/davit-containers/davit/ctr/rootfs"
	"github.com/davit-containers/davit/ctr/top"
	"github.com/davit-containers/davit/img"
)

// Stats is what the kernel counts of a container.
type Stats struct {
	// At is when it was read.
	At time.Time
	cgroup.Stats
}

// Stats reads a container's counters. ErrFailedPrecondition if it does not run
// or has no cgroup of its own.
func (c *sessions) Stats(ctx context.Context, id string) (Stats, error) {
	path, err := c.liveCgroup(ctx, id)
	if err != nil {
		return Stats{}, err
	}
	host, err := c.o.Cgroups()
	if err != nil {
		return Stats{}, err
	}
	s, err := host.Stats(path)
	if err != nil {
		return Stats{}, fmt.Errorf("reading counters of container %q: %w", id, err)
	}
	return Stats{At: c.o.Now(), Stats: s}, nil
}

// liveCgroup is the cgroup of a container that runs.
func (c *sessions) liveCgroup(ctx context.Context, id string) (string, error) {
	ctr, err := c.Get(ctx, id)
	switch {
	case err != nil:
		return "", err
	case !ctr.Status.Alive():
		return "", fmt.Errorf("container %q is %s, not running: %w", ctr.Config.Name, ctr.Status.State, errdefs.ErrFailedPrecondition)
	case ctr.Status.Cgroup == "":
		return "", fmt.Errorf("container %q has no cgroup of its own: %w", ctr.Config.Name, errdefs.ErrFailedPrecondition)
	}
	return ctr.Status.Cgroup, nil
}

// TopColumns are the columns that Top has, and those that it shows when none are
// asked for.
func TopColumns() (all, byDefault []string) { return top.Descriptors(), top.Default() }

// Top lists what runs in a container, headings first; see package ctr/top for
// the columns. Names of users are the container's own. ErrFailedPrecondition if
// it does not run.
func (c *sessions) Top(ctx context.Context, id string, columns []string) ([][]string, error) {
	path, err := c.liveCgroup(ctx, id)
	if err != nil {
		return nil, err
	}
	host, err := c.o.Cgroups()
	if err != nil {
		return nil, err
	}
	pids, err := host.Procs(path)
	if err != nil {
		return nil, fmt.Errorf("listing processes of container %q: %w", id, err)
	}
	procs, err := top.Read(pids)
	if err != nil {
		return nil, err
	}
	ctr, err := c.Get(ctx, id)
	if err != nil {
		return nil, err
	}
	return top.Table(procs, columns, top.Names{
		User:  idNames(ctr.Status.Mounted, "/etc/passwd"),
		Group: idNames(ctr.Status.Mounted, "/etc/group"),
	})
}

// maxNames bounds the file that names are read from: an image's.
const maxNames = 1 << 20

// idNames reads the names of IDs from a passwd or group file of a container; the
// first name of an ID wins. A file that cannot be read names nobody.
func idNames(root, file string) func(uint32) string {
	names := map[uint32]string{}
	data, err := rootfs.ReadRegular(root, file, maxNames)
	if err != nil {
		return func(uint32) string { return "" }
	}
	for line := range strings.Lines(string(data)) {
		f := strings.Split(line, ":")
		if len(f) < 3 {
			continue
		}
		id, err := strconv.ParseUint(strings.TrimSpace(f[2]), 10, 32)
		if err != nil {
			continue
		}
		if _, ok := names[uint32(id)]; !ok {
			names[uint32(id)] = f[0]
		}
	}
	return func(id uint32) string { return names[id] }
}

// Layers knows what containers have written to their root filesystems. *img.Store
// is one.
type Layers interface {
	// LayerUsage tells what a container's writable layer takes up, without
	// walking it; the first time it waits for that until ctx ends.
	LayerUsage(ctx context.Context, id string) (img.LayerUsage, error)
	// LayerDiff is that layer as a tar stream, which the caller closes.
	LayerDiff(ctx context.Context, id string) (io.ReadCloser, error)
	// ApplyLayerDiff unpacks such a stream into a layer.
	ApplyLayerDiff(ctx context.Context, id string, diff io.Reader) error
}

// Pressure is how long tasks have waited for one resource.
type Pressure = cgroup.Pressure

// Device is what was read from and written to one block device.
type Device = cgroup.DeviceStats

// Usage is what a container uses, for those who ask every few seconds.
type Usage struct {
	Container Container
	Stats     Stats
	// Rate is the CPU time that it takes, in nanoseconds a second, since the
	// reading before; nil for the first one.
	Rate *uint64
	// Layer is what it has written to its root filesystem; nil while that is not
	// known.
	Layer *img.LayerUsage
	// Details are there when they were asked for.
	Details *Details
}

// Details are what takes longer to find out.
type Details struct {
	Processes, OpenFiles, Sockets uint64
	// OpenFilesLimit is the first process's soft limit; nil if it has none.
	OpenFilesLimit *uint64
	Limits         cgroup.Current
}

// Depth says how much of a usage is wanted.
type Depth int

// Brief is what changes with the load: see cgroup's Usage. Detailed is all.
const (
	Brief Depth = iota
	Detailed
)

// meter reads what containers use.
type meter struct {
	ctrs  *records
	rates cgroup.Rates
}

const (
	// layerPatience is how long one container's layer is waited for when it is
	// measured for the first time, layersPatience those of a list together.
	layerPatience  = 500 * time.Millisecond
	layersPatience = 250 * time.Millisecond
)

// Usage reads what a container uses. Of one that does not run it has the layer
// alone. ErrNotFound if there is none.
func (c *meter) Usage(ctx context.Context, id string) (Usage, error) {
	k, err := c.ctrs.Get(ctx, id)
	if err != nil {
		c.rates.Drop(id)
		return Usage{}, err
	}
	u := Usage{Container: k}
	if k.Status.Alive() {
		u, err = c.read(k, Brief)
		if err != nil && !errdefs.IsNotFound(err) {
			return u, err
		}
	}
	wait, cancel := context.WithTimeout(ctx, layerPatience)
	defer cancel()
	u.Layer = c.layer(wait, k)
	return u, nil
}

// Usages reads what those of the containers use that run. One that ends
// meanwhile is left out; one whose counters cannot be read is in the error, which
// comes beside the others.
func (c *meter) Usages(ctx context.Context, ctrs []Container, depth Depth) ([]Usage, error) {
	wait, cancel := context.WithTimeout(ctx, layersPatience)
	defer cancel()
	out := make([]Usage, 0, len(ctrs))
	var failed error
	for _, k := range ctrs {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		if !k.Status.Alive() {
			continue
		}
		u, err := c.read(k, depth)
		switch {
		case errdefs.IsNotFound(err):
			continue
		case err != nil:
			failed = err
			continue
		}
		u.Layer = c.layer(wait, k)
		out = append(out, u)
	}
	return out, failed
}

// read reads the counters of a container that runs; ErrNotFound when it does so
// no more.
func (c *meter) read(k Container, depth Depth) (Usage, error) {
	u := Usage{Container: k}
	if k.Status.Cgroup == "" {
		u.Stats.At = c.ctrs.o.Now()
		return u, nil
	}
	host, err := c.ctrs.o.Cgroups()
	if err != nil {
		return u, err
	}
	get := host.Usage
	if depth == Detailed {
		get = host.Stats
	}
	s, err := get(k.Status.Cgroup)
	if err != nil {
		c.rates.Drop(k.ID)
		return u, fmt.Errorf("container %q: %w", k.Config.Name, err)
	}
	u.Stats = Stats{At: s.Time, Stats: s}
	if rate, ok := c.rates.Add(k.ID, s.Time, s.CPU.Usage); ok {
		u.Rate = &rate
	}
	if depth == Detailed {
		for i := range s.IO.Devices {
			s.IO.Devices[i].Name = blockDevice(s.IO.Devices[i].Device)
		}
		u.Details, err = details(host, k)
	}
	return u, err
}

// blockDevice is the node of a device; its numbers where there is none.
func blockDevice(numbers string) string {
	target, err := os.Readlink("/sys/dev/block/" + numbers)
	if err != nil {
		return numbers
	}
	return "/dev/" + filepath.Base(target)
}

func details(host *cgroup.Host, k Container) (*Details, error) {
	limits, err := cgroup.ReadCurrent(host, k.Status.Cgroup)
	if err != nil {
		return nil, err
	}
	pids, err := host.Procs(k.Status.Cgroup)
	if err != nil {
		return nil, err
	}
	d := &Details{Processes: uint64(len(pids)), Limits: limits}
	d.OpenFiles, d.Sockets = top.Files(pids)
	if n, ok := top.OpenFiles(k.Status.Pid); ok {
		d.OpenFilesLimit = &n
	}
	return d, nil
}

// layer is what a container has written; nil where nobody knows.
func (c *meter) layer(ctx context.Context, k Container) *img.LayerUsage {
	if c.ctrs.o.Layers == nil || k.Config.Rootfs != "" {
		return nil
	}
	layers, err := c.ctrs.o.Layers(ctx)
	if err != nil {
		return nil
	}
	u, err := layers.LayerUsage(ctx, k.ID)
	if err != nil {
		return nil
	}
	return &u
}
