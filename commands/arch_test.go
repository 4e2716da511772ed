package commands_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// module is what imports of our own packages begin with.
const module = "github.com/davit-containers/davit/"

// exceptions are the breaches that stand, each with its reason. The key is
// "rule: where", as a violation prints it. One that no longer occurs fails the
// test too.
func exceptions() map[string]string {
	return map[string]string{
		"name: commands/cli logHandler":                "it is a slog.Handler; the word is that package's",
		"parameters: img/frozen Store.CreateContainer": "it implements storage.Store",
		"parameters: img/spare Store.CreateContainer":  "it implements storage.Store",
		"parameters: img/whole Store.CreateImage":      "it implements storage.Store",
		"package variable: commands version":           "the linker sets it: -X …/commands.version",
	}
}

// arrows says which packages of ours a package may import. A trailing /* stands
// for every folder below; anyone may import ctr/record, name the steps that a
// fault may be injected at (ctr/record/failpoint) and read what a program prints
// (ctr/record/words); what is below a command package is held to its arrows.
// Beyond the design: main names the streams that
// it hands to commands.Main (commands/cli); a pod makes its own cgroup and pins
// its own namespaces, and chooses the level of its containers' labels,
// by the leaves that know how (ctr/cgroup, netw/netns, ctr/nspin, ctr/selinux), and
// looks for what is left of it (ctr/leftover); who starts a process that outlives
// davit is told its cgroup (ctr/cgroup's Placement); pod/check joins what all parts
// find; the engine is wired out of its leaves in commands/cli/engine.go alone; logs and cp
// read what a container left (ctr/logs, ctr/archive); pods share the flags, rows
// and live views of containers (commands/ctrcmd/*).
func arrows() map[string][]string {
	domain := []string{"commands/cli", "pod", "pod/*", "ctr", "ctr/spec", "ctr/events", "ctr/volume", "ctr/logs", "ctr/archive", "img", "netw"}
	m := map[string][]string{
		"cmd/davit":            {"commands", "commands/cli"},
		"cmd/davit-demo":       {"commands/harness"},
		"cmd/davit-bench":      {"commands/harness", "cmd/davit-bench/cri", "cmd/davit-bench/process", "cmd/davit-bench/rounds"},
		"cmd/davit-bench/cri":  {"commands/harness", "cmd/davit-bench/process", "cmd/davit-bench/rounds"},
		"cmd/davit-critest":    {"commands/harness"},
		"commands":             {"commands/*"},
		"commands/cli":         {"pod", "ctr", "ctr/cgroup", "ctr/oci", "ctr/volume", "img", "netw"},
		"criadapter":           {"criadapter/*", "pod", "ctr", "ctr/spec", "img", "netw"},
		"criadapter/streaming": {"ctr"},
		"pod":                  {"pod/*", "ctr", "ctr/spec", "ctr/cgroup", "ctr/leftover", "ctr/nspin", "ctr/selinux", "netw", "netw/netns"},
		"pod/kube":             {"pod", "ctr", "img", "ctr/volume"},
		"pod/health":           {"ctr", "ctr/cgroup"},
		"pod/check":            {"pod", "ctr", "img", "netw"},
		"ctr":                  {"ctr/*", "img"},
		"ctr/monitor":          {"ctr/cgroup"},
		"img":                  {"img/*"},
		"netw":                 {"netw/*"},
		"netw/bridge":          {"netw/netns"},
	}
	for _, group := range []string{"pod", "ctr", "img", "net", "vol", "kube", "sys"} {
		dir := "commands/" + group + "cmd"
		m[dir] = append(slices.Clone(domain), dir+"/*")
	}
	m["commands/podcmd"] = append(m["commands/podcmd"], "commands/ctrcmd/*")
	m["commands/syscmd"] = append(m["commands/syscmd"], "criadapter")
	return m
}

// fences says where alone a library may be imported. Tests are held to it too,
// unless the place is "tests".
func fences() map[string][]string {
	return map[string][]string{
		"go.podman.io/":                            {"img", "img/*"},
		"github.com/containers/image/":             nil,
		"github.com/containers/storage":            nil,
		"github.com/opencontainers/runtime-tools/": {"ctr/spec"},
		"github.com/containernetworking/":          {"netw", "netw/*"},
		"github.com/google/nftables":               {"netw", "netw/*"},
		"github.com/vishvananda/":                  {"netw", "netw/*"},
		"github.com/opencontainers/cgroups":        {"ctr/cgroup"},
		"github.com/opencontainers/selinux":        {"ctr/selinux"},
		"github.com/moby/profiles/apparmor":        {"ctr/confine"},
		"k8s.io/":                                  {"criadapter", "criadapter/*", "cmd/davit-bench/cri", "commands/faults", "commands/faults/model"},
		"google.golang.org/grpc":                   {"criadapter", "criadapter/*", "cmd/davit-bench/cri", "commands/faults", "commands/faults/model"},
		"google.golang.org/protobuf":               {"criadapter", "criadapter/*", "cmd/davit-bench/cri", "commands/faults", "commands/faults/model"},
		"github.com/spf13/":                        {"commands", "commands/*"},
		"go.opentelemetry.io/":                     {"criadapter/telemetry"},
		"github.com/mdlayher/":                     {"netw", "netw/*"},
		"github.com/mattn/go-runewidth":            {"commands", "commands/*"},
		"github.com/sirupsen/logrus":               {"img", "img/*"},
		"github.com/google/go-cmp/":                {"tests"},
		"github.com/rogpeppe/go-internal/":         {"tests"},
		"github.com/google/go-containerregistry/":  {"tests", "commands/harness", "cmd/davit-critest"},
		"golang.org/x/crypto/":                     {"commands/harness"},
		"log":                                      nil,
	}
}

// topLevel is all that may stand in the repository's root.
func topLevel() []string {
	return []string{
		"cmd", "commands", "pod", "ctr", "img", "netw", "criadapter", "completions", "man",
		"go.mod", "go.sum", "Makefile", "README.md", "LICENSE", ".ci", ".gitignore", ".git", "staticcheck.conf",
		"bin", // built, ignored by git
	}
}

func TestArchitecture(t *testing.T) {
	tree, err := readTree(os.DirFS(".."))
	if err != nil {
		t.Fatal(err)
	}
	if len(tree.files) < 20 {
		t.Fatalf("only %d Go files found: the test looks in the wrong place", len(tree.files))
	}
	known := exceptions()
	met := map[string]bool{}
	for _, r := range rules() {
		for _, v := range r.check(tree) {
			key := r.name + ": " + v.where
			if known[key] == "" && !met[key] {
				t.Errorf("%s: %s", key, v.what)
			}
			met[key] = true
		}
	}
	for key := range known {
		if !met[key] {
			t.Errorf("the exception %q is not needed any more", key)
		}
	}
}

// TestReadmeNamesDependencies compares README's table with what go.mod requires
// directly.
func TestReadmeNamesDependencies(t *testing.T) {
	mod, err := os.ReadFile("../go.mod")
	if err != nil {
		t.Fatal(err)
	}
	readme, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	direct := 0
	for line := range strings.Lines(string(mod)) {
		f := strings.Fields(line)
		if len(f) != 2 || !strings.Contains(f[0], ".") || !strings.HasPrefix(line, "\t") {
			continue
		}
		direct++
		if row := "| " + f[0] + " | " + f[1] + " |"; !strings.Contains(string(readme), row) {
			t.Errorf("README has no row %q with a reason and a licence", row)
		}
	}
	if direct < 10 {
		t.Errorf("only %d direct dependencies found", direct)
	}
}

// readTree parses every Go file below root, folders of tests' data apart.
func readTree(root fs.FS) (*sources, error) {
	s := newSources()
	top, err := fs.ReadDir(root, ".")
	if err != nil {
		return nil, err
	}
	for _, e := range top {
		s.top = append(s.top, e.Name())
	}
	err = fs.WalkDir(root, ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			if slices.Contains([]string{".git", "testdata", "bin", ".ci"}, d.Name()) {
				return fs.SkipDir
			}
			s.folders = append(s.folders, path)
			return nil
		}
		if filepath.Ext(path) != ".go" || strings.HasPrefix(d.Name(), ".") {
			return nil
		}
		text, err := fs.ReadFile(root, path)
		if err != nil {
			return err
		}
		return s.add(path, string(text))
	})
	return s, err
}
