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
