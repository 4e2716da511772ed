package harness

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sort"
	"strings"

	"golang.org/x/sys/unix"
)

// Roots are the folders of one davit that shares nothing with the host's.
type Roots struct {
	Dir        string // all of it
	Root       string // durable records and layers
	RunRoot    string // what a reboot may take
	Config     string // davit.toml that names both
	Registries string // registries.conf: the test registry may speak HTTP
	Policy     string // policy.json: anything is accepted
}

// NewRoots makes the folders and files of a davit of its own below dir, which
// must exist. Config is not read by anything until DAVIT_CONFIG names it.
func NewRoots(dir string) (Roots, error) { return NewRootsWithRun(dir, filepath.Join(dir, "run")) }

// NewRootsWithRun is NewRoots with the run root elsewhere, made, too.
func NewRootsWithRun(dir, run string) (Roots, error) {
	r := Roots{
		Dir:        dir,
		Root:       filepath.Join(dir, "root"),
		RunRoot:    run,
		Config:     filepath.Join(dir, "davit.toml"),
		Registries: filepath.Join(dir, "registries.conf"),
		Policy:     filepath.Join(dir, "policy.json"),
	}
	aliases := filepath.Join(dir, "registries.conf.d") // empty: the host's would win over ours
	for _, d := range []string{r.Root, r.RunRoot, aliases} {
		if err := os.MkdirAll(d, 0o711); err != nil {
			return Roots{}, fmt.Errorf("making davit roots: %w", err)
		}
	}
	config := fmt.Sprintf("root = %q\nrunroot = %q\n\n[images]\nregistries_conf = %q\nregistries_conf_dir = %q\npolicy = %q\n",
		r.Root, r.RunRoot, r.Registries, aliases, r.Policy)
	files := map[string]string{
		r.Config:     config,
		r.Registries: "unqualified-search-registries = []\n",
		r.Policy:     `{"default":[{"type":"insecureAcceptAnything"}]}`,
	}
	for path, text := range files {
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			return Roots{}, fmt.Errorf("writing davit's configuration: %w", err)
		}
	}
	return r, nil
}

// TrustRegistry rewrites registries.conf so that the registry at addr is
// spoken to in plain HTTP, and that busybox is short for its repository.
func (r Roots) TrustRegistry(addr string) error {
	text := fmt.Sprintf("unqualified-search-registries = [%q]\nshort-name-mode = \"permissive\"\n\n"+
		"[[registry]]\nlocation = %q\ninsecure = true\n\n[aliases]\n\"busybox\" = \"%s/busybox\"\n", addr, addr, addr)
	return os.WriteFile(r.Registries, []byte(text), 0o644)
}

// Env returns the environment by which davit finds these roots and nothing of
// the host's, as NAME=value.
func (r Roots) Env() []string {
	return []string{
		"DAVIT_CONFIG=" + r.Config,
		"REGISTRY_AUTH_FILE=" + filepath.Join(r.Dir, "auth.json"),
		"HOME=" + r.Dir,
		"TMPDIR=" + r.Dir,
	}
}

// NetworkTag is what the names of the built-in network's bridge and firewall
// table of these roots end in: 6 hexadecimal digits of the run root's hash.
func (r Roots) NetworkTag() string {
	sum := sha256.Sum256([]byte(r.RunRoot))
	return hex.EncodeToString(sum[:])[:6]
}

// Remove unmounts what is still mounted below the roots and deletes them. It
// is what a test calls after its leak check; it ends no processes.
func (r Roots) Remove() error { return errors.Join(RemoveTree(r.RunRoot), RemoveTree(r.Dir)) }

// RemoveTree deletes a folder after unmounting all that is mounted on it and in it. What
// cannot be unmounted stays, with the folder.
func RemoveTree(dir string) error {
	data, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		return fmt.Errorf("reading the mount table: %w", err)
	}
	var below []string
	for line := range strings.Lines(string(data)) {
		if f := strings.Fields(line); len(f) > 1 && strings.HasPrefix(f[1]+"/", dir+"/") {
			below = append(below, f[1])
		}
	}
	slices.Reverse(below)
	var errs []error
	for _, m := range below {
		if err := unix.Unmount(m, unix.MNT_DETACH); err != nil && !errors.Is(err, unix.EINVAL) {
			errs = append(errs, fmt.Errorf("unmounting %s: %w", m, err))
		}
	}
	if len(errs) == 0 {
		errs = append(errs, os.RemoveAll(dir))
	}
	return errors.Join(errs...)
}

// RemoveNetwork takes away the bridge and the firewall tables of the built-in
// network of these roots, which stay for the next container otherwise. What is
// absent is no error.
func (r Roots) RemoveNetwork(ctx context.Context) error {
	tag := r.NetworkTag()
	var errs []error
	links, err := net.Interfaces()
	if err != nil {
		return fmt.Errorf("listing network links: %w", err)
	}
	for _, l := range links {
		if strings.HasSuffix(l.Name, tag) {
			errs = append(errs, runQuietly(ctx, "ip", "link", "delete", l.Name))
		}
	}
	for line := range strings.Lines(string(output(ctx, "nft", "list", "tables"))) {
		if f := strings.Fields(line); len(f) == 3 && strings.HasSuffix(f[2], tag) {
			errs = append(errs, runQuietly(ctx, "nft", "delete", "table", f[1], f[2]))
		}
	}
	return errors.Join(errs...)
}

// unmountHome undoes the bind mount that the layer store puts on its own
// folder when it is opened, and keeps.
func (r Roots) unmountHome() error {
	for {
		err := unix.Unmount(filepath.Join(r.Root, "storage", "overlay"), unix.MNT_DETACH)
		if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOENT) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

func runQuietly(ctx context.Context, name string, args ...string) error {
	out, err := exec.CommandContext(ctx, name, args...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("running %s %s: %w: %s", name, strings.Join(args, " "), err, strings.TrimSpace(string(out)))
	}
	return nil
}

// dropNetwork takes out of a snapshot what the built-in network of r keeps
// while it is not in use.
func (s Snapshot) dropNetwork(r Roots) {
	tag := r.NetworkTag()
	s.lines[Links] = slices.DeleteFunc(s.lines[Links], func(l string) bool {
		return strings.HasSuffix(l, tag)
	})
	s.lines[Firewall] = slices.DeleteFunc(s.lines[Firewall], func(l string) bool {
		return strings.Contains(l, tag) && !strings.HasPrefix(l, "nft element of map")
	})
}

// runFileLines lists what is in the run root but for what a davit keeps there
// for as long as the machine is up: its boot id, locks, what the built-in network
// is (not who is on it), seccomp filters, and the layer store's own files.
func runFileLines(r Roots) []string {
	return slices.DeleteFunc(fileLines(r.RunRoot), func(path string) bool {
		rel, _ := filepath.Rel(r.RunRoot, path)
		base := filepath.Base(rel)
		return rel == "boot-id" || rel == "networks/davit.json" || strings.HasSuffix(base, ".lock") || base == "lock" ||
			strings.HasPrefix(rel, "storage/") || strings.HasPrefix(rel, "filters/") || strings.HasPrefix(base, "last_reserved_ip")
	})
}

// stateFileLines lists the records and names in the root. Images, volumes,
// networks and caches are kept on purpose.
func stateFileLines(r Roots) []string {
	out := fileLines(filepath.Join(r.Root, "pods"), filepath.Join(r.Root, "containers"), filepath.Join(r.Root, "names"))
	return slices.DeleteFunc(out, func(path string) bool { return strings.HasSuffix(path, "lock") })
}

type storedImage struct {
	ID     string   `json:"id"`
	Layer  string   `json:"layer"`
	Mapped []string `json:"mapped-layers"`
}

type storedLayer struct {
	ID     string `json:"id"`
	Parent string `json:"parent"`
	Layer  string `json:"layer"`
}

// ownerlessLayers lists the containers of the layer store without a record of
// davit's, its layers without an image or a container, and its folders without
// a layer.
func ownerlessLayers(r Roots) ([]string, error) {
	store := filepath.Join(r.Root, "storage")
	var images []storedImage
	var layers, containers []storedLayer
	run := filepath.Join(r.RunRoot, "storage")
	for path, into := range map[string]any{
		filepath.Join(store, "overlay-images", "images.json"): &images,
	} {
		if err := readJSON(path, into); err != nil {
			return nil, err
		}
	}
	for _, dir := range []string{store, run} {
		for _, name := range []string{"layers.json", "volatile-layers.json"} {
			if err := appendJSON(filepath.Join(dir, "overlay-layers", name), &layers); err != nil {
				return nil, err
			}
		}
		for _, name := range []string{"containers.json", "volatile-containers.json"} {
			if err := appendJSON(filepath.Join(dir, "overlay-containers", name), &containers); err != nil {
				return nil, err
			}
		}
	}
	return r.judgeLayers(images, layers, containers), nil
}

func (r Roots) judgeLayers(images []storedImage, layers, containers []storedLayer) []string {
	var out []string
	owned := map[string]bool{}
	for _, i := range images {
		owned[i.Layer] = true
		for _, m := range i.Mapped {
			owned[m] = true
		}
	}
	for _, c := range containers {
		owned[c.Layer] = true
		if _, err := os.Stat(filepath.Join(r.Root, "containers", c.ID)); errors.Is(err, fs.ErrNotExist) {
			out = append(out, "container "+c.ID+" of the layer store has no record")
		}
	}
	known := map[string]bool{"l": true, "staging": true, "tempdirs": true}
	parent := map[string]string{}
	for _, l := range layers {
		known[l.ID] = true
		parent[l.ID] = l.Parent
	}
	for id := range maps.Clone(owned) {
		for p := parent[id]; p != ""; p = parent[p] {
			owned[p] = true
		}
	}
	for _, l := range layers {
		if !owned[l.ID] {
			out = append(out, "layer "+l.ID+" has neither image nor container")
		}
	}
	folders, _ := os.ReadDir(filepath.Join(r.Root, "storage", "overlay"))
	for _, f := range folders {
		// What is not called as a layer is the driver's, to try out the kernel.
		if id, err := hex.DecodeString(f.Name()); f.IsDir() && err == nil && len(id) == sha256.Size && !known[f.Name()] {
			out = append(out, "folder overlay/"+f.Name()+" has no layer")
		}
	}
	sort.Strings(out)
	return out
}

func appendJSON(path string, to *[]storedLayer) error {
	var more []storedLayer
	if err := readJSON(path, &more); err != nil {
		return err
	}
	*to = append(*to, more...)
	return nil
}

// readJSON reads a file that may be absent.
func readJSON(path string, into any) error {
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) || err == nil && len(data) == 0 {
		return nil
	}
	if err == nil {
		err = json.Unmarshal(data, into)
	}
	if err != nil {
		return fmt.Errorf("reading the layer store's %s: %w", filepath.Base(path), err)
	}
	return nil
}
