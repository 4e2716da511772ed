package ctr

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/containerd/errdefs"

	"github.com/davit-containers/davit/ctr/cgroup"
	"github.com/davit-containers/davit/ctr/rootfs"
	"github.com/davit-containers/davit/ctr/top"
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
