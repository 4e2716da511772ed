package record

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// conf and stat are what the tests keep.
type conf struct {
	Text string `json:"text"`
}

type state struct {
	N    int    `json:"n"`
	Text string `json:"text,omitempty"`
}

type dir = Dir[conf, state]

// roleEnv makes the test binary another process of a test; the rest of the
// command line is the role's.
const roleEnv = "RECORD_TEST_ROLE"

func TestMain(m *testing.M) {
	role := os.Getenv(roleEnv)
	roles := map[string]func(args []string) error{
		"step":   stepRole,
		"worker": workerRole,
		"hold":   holdRole,
		"lock":   lockRole,
		"fork":   forkRole,
		"ns":     nsRole,
	}
	if role == "" {
		os.Exit(m.Run())
	}
	if err := roles[role](os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// nsRole says whether an object is of this process's mount namespace.
func nsRole(args []string) error {
	d, err := Open[conf, state](Options{Paths: Paths{Root: args[0], RunRoot: args[1]}, Kind: "pods"})
	if err != nil {
		return err
	}
	e, err := d.Get(args[2])
	if err != nil {
		return err
	}
	if err := CheckMountNS(e.Meta); err != nil {
		fmt.Println(err)
		return nil
	}
	fmt.Println("here")
	return nil
}

func testPaths(t *testing.T) Paths {
	t.Helper()
	return pathsIn(t, t.TempDir())
}

// memoryPaths are roots in memory where that can be had: making folders is
// slow on a disk.
func memoryPaths(t *testing.T) Paths {
	t.Helper()
	base, err := os.MkdirTemp("/dev/shm", "record-test-")
	if err != nil {
		return testPaths(t)
	}
	t.Cleanup(func() { _ = os.RemoveAll(base) })
	return pathsIn(t, base)
}

func pathsIn(t *testing.T, base string) Paths {
	t.Helper()
	p := Paths{Root: base + "/root", RunRoot: base + "/run"}
	if _, err := EnsureBoot(p); err != nil {
		t.Fatal(err)
	}
	return p
}

func testDir(t *testing.T, p Paths) *dir {
	t.Helper()
	d, err := Open[conf, state](Options{Paths: p, Kind: "pods"})
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func newDir(t *testing.T) *dir {
	t.Helper()
	return testDir(t, testPaths(t))
}

// create makes a record and ends its operation.
func create(t *testing.T, d *dir, id, key string) {
	t.Helper()
	op, err := d.Create(t.Context(), Meta{ID: id, Owner: OwnerCLI, Key: key}, conf{Text: id}, state{N: 1}, CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	must(t, op.End())
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func wantErr(t *testing.T, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Fatalf("got error %v, want %v", err, want)
	}
}

func soon(t *testing.T, d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}

// reboot does what a reboot does to the run root.
func reboot(t *testing.T, p Paths) {
	t.Helper()
	must(t, os.WriteFile(p.RunRoot+"/boot-id", []byte("another boot\n"), 0o600))
	if did, err := EnsureBoot(p); err != nil || !did {
		t.Fatalf("EnsureBoot after a reboot: %v, %v", did, err)
	}
}

// leftovers lists what is in the roots beyond the folders that Open makes.
func leftovers(t *testing.T, p Paths) []string {
	t.Helper()
	var left []string
	skeleton := " /root/names /root/names/pods /root/pods /run/boot-id /run/pods /run/status /run/status/pods /run/unsettled "
	for _, root := range []string{p.Root, p.RunRoot} {
		must(t, filepath.WalkDir(root, func(path string, _ fs.DirEntry, err error) error {
			rel := "/" + filepath.Base(root) + strings.TrimPrefix(path, root)
			if path != root && !strings.Contains(skeleton, " "+rel+" ") {
				left = append(left, rel)
			}
			return err
		}))
	}
	return left
}

func checkClean(t *testing.T, p Paths) {
	t.Helper()
	if left := leftovers(t, p); len(left) > 0 {
		t.Fatalf("left behind: %q", left)
	}
}

// copyTree copies folders, files and symlinks.
func copyTree(t *testing.T, from, to string) {
	t.Helper()
	must(t, filepath.WalkDir(from, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		dst := to + strings.TrimPrefix(path, from)
		switch {
		case e.IsDir():
			return os.MkdirAll(dst, 0o700)
		case e.Type() == fs.ModeSymlink:
			target, err := os.Readlink(path)
			if err != nil {
				return err
			}
			return os.Symlink(target, dst)
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		return os.WriteFile(dst, data, 0o600)
	}))
}

// sweep does to dead operations what an engine does: it undoes them all.
func sweep(t *testing.T, d *dir) {
	t.Helper()
	dead, err := d.Dead()
	must(t, err)
	for _, id := range dead {
		op, err := d.Begin(soon(t, 5*time.Second), id, "sweep")
		must(t, err)
		if _, ok := op.Prior(); !ok {
			t.Fatalf("%s is dead and has no prior operation", id)
		}
		must(t, op.Remove(t.Context()))
	}
	if dead, err = d.Dead(); err != nil || len(dead) > 0 {
		t.Fatalf("dead after a sweep: %q, %v", dead, err)
	}
}
