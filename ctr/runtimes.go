package ctr

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/containerd/errdefs"

	"github.com/davit-containers/davit/ctr/oci"
)

// RuntimeInfo is an OCI runtime that containers can be made with.
type RuntimeInfo struct {
	Name              string `json:"name"`
	Path              string `json:"path"`
	RecursiveReadOnly bool   `json:"recursiveReadOnly"`
	// UserNamespaces, with mounts that are mapped into them.
	UserNamespaces bool `json:"userNamespaces"`
}

// Runtimes finds OCI runtimes. Its functions may be called concurrently, and
// answer anew each time.
type Runtimes struct {
	// Find finds the runtime of a name; the empty name is the default. An
	// error of oci.Runtime's Check comes with all that is known of the runtime.
	Find func(name string) (oci.Runtime, error)
	// Names are those of the runtimes that are there, sorted; nil is none.
	Names func() []string
	// Annotations are the names of those of a kubelet's container that a runtime
	// is given; nil is none.
	Annotations func(name string) []string
}

// runtimes knows the runtimes by name, and what they can do.
type runtimes struct {
	from Runtimes
	mu   sync.Mutex
	// asked are the answers by binary, as long as that is the same file.
	asked map[string]asked
}

type asked struct {
	changed time.Time
	size    int64
	oci.Features
}

// Runtimes lists the runtimes that are there by name, sorted; the default comes
// first, once more, without a name. What each can do is asked of it once, and
// again when its binary changes; one that cannot be asked can do nothing special.
func (c *runtimes) Runtimes(ctx context.Context) []RuntimeInfo {
	var out []RuntimeInfo
	for _, name := range append([]string{""}, c.from.Names()...) {
		rt, err := c.from.Find(name)
		if err != nil {
			continue
		}
		path, err := rt.Binary()
		if err != nil {
			continue
		}
		f := c.features(ctx, rt)
		out = append(out, RuntimeInfo{
			Name: name, Path: path,
			RecursiveReadOnly: f.RecursiveReadOnly(), UserNamespaces: f.IDMappedMounts(),
		})
	}
	return out
}

// features is what a runtime can do. One that cannot be asked can do nothing
// special.
func (c *runtimes) features(ctx context.Context, rt oci.Runtime) oci.Features {
	path, err := rt.Binary()
	if err != nil {
		return oci.Features{}
	}
	st, err := os.Stat(path)
	if err != nil {
		return oci.Features{}
	}
	c.mu.Lock()
	known, ok := c.asked[path]
	c.mu.Unlock()
	if ok && known.changed.Equal(st.ModTime()) && known.size == st.Size() {
		return known.Features
	}
	f, err := oci.FeaturesOf(ctx, rt)
	if ctx.Err() != nil {
		return oci.Features{}
	}
	if err != nil {
		f = oci.Features{}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.asked[path] = asked{changed: st.ModTime(), size: st.Size(), Features: f}
	return f
}

// CheckRuntime says whether there is a runtime of that name; the empty name is the
// default. A path is none: who may name a handler may not name a program.
// ErrInvalidArgument for a name that is not known, ErrNotFound when its binary is
// not there.
func (c *runtimes) CheckRuntime(name string) error {
	if name != "" && !slices.Contains(c.from.Names(), name) {
		return fmt.Errorf("no runtime handler %q, there are %s: %w",
			name, strings.Join(c.from.Names(), ", "), errdefs.ErrInvalidArgument)
	}
	if _, err := c.from.Find(name); err != nil {
		return fmt.Errorf("runtime handler %q: %w", name, err)
	}
	return nil
}
