package cgroup

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"sort"
	"strings"

	"github.com/containerd/errdefs"
)

// Host is what a machine has of cgroups. It does not change after Detect and
// may be used concurrently.
type Host struct {
	// Version is 2 where the unified hierarchy holds the controllers, else 1.
	Version int
	// mounts maps a controller to its hierarchy's mount point: for version 1
	// "memory", "name=systemd", …, with "" for the unified one of a hybrid;
	// for version 2 only "".
	mounts map[string]string
	// own maps a controller, as in mounts, to this process's cgroup.
	own map[string]string
	// hugePages are the sizes that the machine has, as "2MB".
	hugePages []string
}

// Detect reads where the hierarchies are from /proc. A host without any is
// ErrNotFound.
func Detect() (*Host, error) {
	f, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return nil, fmt.Errorf("finding cgroups: %w", err)
	}
	defer func() { _ = f.Close() }()
	h, err := parseMounts(f)
	if err != nil {
		return nil, err
	}
	own, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return nil, fmt.Errorf("finding cgroups: %w", err)
	}
	h.own = parseOwn(string(own))
	h.hugePages = hugePageSizes()
	return h, nil
}

// parseMounts reads mountinfo, see proc(5). The first mount of a hierarchy
// counts, and one that shows only a part of it (a container's) is as good as
// the whole: paths are below what is mounted.
func parseMounts(r io.Reader) (*Host, error) {
	h := &Host{Version: 1, mounts: map[string]string{}}
	sc := bufio.NewScanner(r)
	sc.Buffer(nil, 1<<20)
	controllers := false
	for sc.Scan() {
		before, after, ok := strings.Cut(sc.Text(), " - ")
		f, g := strings.Fields(before), strings.Fields(after)
		if !ok || len(f) < 5 || len(g) < 3 {
			continue
		}
		point := unescape(f[4])
		switch g[0] {
		case "cgroup2":
			if _, ok := h.mounts[""]; !ok {
				h.mounts[""] = point
			}
		case "cgroup":
			for _, opt := range strings.Split(g[2], ",") {
				if !isController(opt) {
					continue
				}
				controllers = controllers || !strings.HasPrefix(opt, "name=")
				if _, ok := h.mounts[opt]; !ok {
					h.mounts[opt] = point
				}
			}
		}
	}
	if err := sc.Err(); err != nil {
		return nil, fmt.Errorf("finding cgroups: %w", err)
	}
	if len(h.mounts) == 0 {
		return nil, fmt.Errorf("no cgroup hierarchy is mounted: %w", errdefs.ErrNotFound)
	}
	if _, ok := h.mounts[""]; ok && !controllers {
		h.Version = 2
		h.mounts = map[string]string{"": h.mounts[""]}
	}
	return h, nil
}

// isController tells a version 1 controller among a super block's options.
func isController(opt string) bool {
	if strings.HasPrefix(opt, "name=") {
		return true
	}
	return slices.Contains([]string{"cpu", "cpuacct", "cpuset", "memory", "devices", "freezer", "blkio", "pids",
		"hugetlb", "net_cls", "net_prio", "perf_event", "rdma", "misc"}, opt)
}

// unescape undoes mountinfo's octal escapes.
func unescape(s string) string {
	return strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`).Replace(s)
}

// parseOwn reads /proc/<pid>/cgroup, see cgroups(7).
func parseOwn(s string) map[string]string {
	own := map[string]string{}
	for line := range strings.Lines(s) {
		f := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(f) != 3 {
			continue
		}
		for _, c := range strings.Split(f[1], ",") {
			own[c] = f[2]
		}
	}
	return own
}

// Controllers lists what limits can be set with, sorted.
func (h *Host) Controllers() []string {
	if h.Version == 2 {
		data, err := os.ReadFile(filepath.Join(h.mounts[""], "cgroup.controllers"))
		if err != nil {
			return nil
		}
		out := strings.Fields(string(data))
		sort.Strings(out)
		return out
	}
	var out []string
	for c := range h.mounts {
		if c != "" && !strings.HasPrefix(c, "name=") {
			out = append(out, c)
		}
	}
	sort.Strings(out)
	return out
}

// hierarchy is one mounted tree with a controller's name to speak of it.
type hierarchy struct {
	controller, mount string
}

// hierarchies lists each tree once, sorted.
func (h *Host) hierarchies() []hierarchy {
	byMount := map[string]string{}
	for c, m := range h.mounts {
		if prior, ok := byMount[m]; !ok || c < prior {
			byMount[m] = c
		}
	}
	var out []hierarchy
	for m, c := range byMount {
		out = append(out, hierarchy{c, m})
	}
	slices.SortFunc(out, func(a, b hierarchy) int { return strings.Compare(a.mount, b.mount) })
	return out
}

// dir is the folder of a cgroup in a controller's hierarchy, "" if that is not
// mounted.
func (h *Host) dir(controller, path string) string {
	if h.Version == 2 {
		controller = ""
	}
	m, ok := h.mounts[controller]
	if !ok {
		return ""
	}
	return filepath.Join(m, path)
}

// processDir is the folder of a cgroup in a hierarchy that runtimes always
// join, to list processes from.
func (h *Host) processDir(path string) string {
	for _, c := range []string{"", "freezer", "pids", "memory", "devices", "cpu", "name=systemd"} {
		if h.Version == 1 && c == "" {
			continue
		}
		if dir := h.dir(c, path); dir != "" {
			return dir
		}
	}
	for _, t := range h.hierarchies() {
		return filepath.Join(t.mount, path)
	}
	return ""
}

// checkPath refuses what would name a whole hierarchy or leave it.
func checkPath(path string) error {
	if !filepath.IsAbs(path) || filepath.Clean(path) != path || path == "/" {
		return fmt.Errorf("cgroup path %q is not an absolute, clean path below the root: %w", path, errdefs.ErrInvalidArgument)
	}
	return nil
}

// AccessError says that the host does not let davit use a controller, as inside
// a container whose cgroups are read-only.
type AccessError struct {
	// Controller is the controller, "" the unified hierarchy.
	Controller string
	// Path is the file or folder that could not be changed.
	Path string
	// Err is the cause.
	Err error
}

// Error implements error.
func (e *AccessError) Error() string {
	what := fmt.Sprintf("cgroup controller %q", e.Controller)
	if e.Controller == "" {
		what = "the cgroup hierarchy"
	}
	return fmt.Sprintf("%s cannot be used here: %v", what, e.Err)
}

// Unwrap makes it ErrPermissionDenied as well as its cause.
func (e *AccessError) Unwrap() []error { return []error{errdefs.ErrPermissionDenied, e.Err} }

// Hint is what the command line may tell a person.
func (e *AccessError) Hint() string { return "run without cgroups: --cgroups disabled" }

// access turns a refusal by the file system into an AccessError.
func access(controller, path string, err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, os.ErrPermission), errors.Is(err, erofs):
		return &AccessError{Controller: controller, Path: path, Err: err}
	case errors.Is(err, os.ErrNotExist):
		return fmt.Errorf("cgroup file %q: %w: %w", path, err, errdefs.ErrNotFound)
	}
	return err
}
