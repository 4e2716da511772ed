package img

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// A layer whose note of its link is empty is removed by the library with all links.
func TestMendLinks(t *testing.T) {
	home := t.TempDir()
	put := func(id, link, note string) {
		t.Helper()
		if err := os.MkdirAll(filepath.Join(home, id, "diff"), 0o700); err != nil {
			t.Fatal(err)
		}
		if link != "" {
			if err := os.Symlink("../"+id+"/diff", filepath.Join(home, "l", link)); err != nil {
				t.Fatal(err)
			}
		}
		writeFile(t, filepath.Join(home, id), "link", note)
	}
	if err := os.Mkdir(filepath.Join(home, "l"), 0o700); err != nil {
		t.Fatal(err)
	}
	put("whole", "AAA", "AAA")
	put("emptied", "BBB", "")
	put("unlinked", "", "")
	put("lost", "", "DDD")
	zeros := strings.Repeat("\x00", 26) // as a file system gives what never reached the disk
	put("zeroed", "FFF", zeros)
	put("zeroed, unlinked", "", zeros)
	if err := os.Symlink("../gone/diff", filepath.Join(home, "l", "EEE")); err != nil {
		t.Fatal(err)
	}
	if err := mendLinks(home); err != nil {
		t.Fatal(err)
	}
	for id, want := range map[string]string{"whole": "AAA", "emptied": "BBB", "zeroed": "FFF"} {
		if got, err := os.ReadFile(filepath.Join(home, id, "link")); err != nil || string(got) != want {
			t.Errorf("link of %s = %q, %v; want %q", id, got, err, want)
		}
	}
	if got, err := os.Readlink(filepath.Join(home, "l", "DDD")); err != nil || got != "../lost/diff" {
		t.Errorf("the link that was lost = %q, %v", got, err)
	}
	if _, err := os.Lstat(filepath.Join(home, "l", "EEE")); !os.IsNotExist(err) {
		t.Errorf("a link of no layer is left: %v", err)
	}
	for _, id := range []string{"unlinked", "zeroed, unlinked"} {
		if _, err := os.Lstat(filepath.Join(home, id, "link")); !os.IsNotExist(err) {
			t.Errorf("%s: a layer without a link keeps an empty note: %v", id, err)
		}
	}
}

// The library opens no store with a record that it cannot read, and does not sync the
// volatile ones: a file system may give zeros for what never reached the disk.
func TestTornVolatileRecords(t *testing.T) {
	cfg := Config{StorageRoot: filepath.Join(t.TempDir(), "[a"), StorageRunRoot: t.TempDir(), Driver: "vfs"}
	open := func() error {
		s, err := Open(t.Context(), cfg)
		if err == nil {
			err = s.Close()
		}
		return err
	}
	containers, layers := filepath.Join(cfg.StorageRoot, "vfs-containers"), filepath.Join(cfg.StorageRoot, "vfs-layers")
	sound := filepath.Join(layers, "volatile-layers.json")
	for _, dir := range []string{containers, layers} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	if err := open(); err != nil {
		t.Fatal(err)
	}
	writeFile(t, layers, "volatile-layers.json", "[]")
	for name, torn := range map[string]string{"zeros": "\x00\x00\x00\x00", "half": `[{"id":"x`} {
		writeFile(t, containers, "volatile-containers.json", torn)
		if err := os.Remove(filepath.Join(cfg.StorageRunRoot, bootMark)); err != nil {
			t.Fatal(err)
		}
		if err := open(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := os.Stat(sound); err != nil {
			t.Errorf("%s: a record that is sound is gone: %v", name, err)
		}
	}
}
