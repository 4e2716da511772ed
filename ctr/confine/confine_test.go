package confine

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"
)

func TestSeccompFile(t *testing.T) {
	dir := t.TempDir()
	put := func(name, content string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	if got, err := SeccompFile(put("small", "{}")); got != "{}" || err != nil {
		t.Errorf("%q, error %v", got, err)
	}
	fifo := filepath.Join(dir, "fifo")
	if err := unix.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{dir, fifo, filepath.Join(dir, "absent"), put("large", strings.Repeat("x", profileLimit+1)), "/dev/zero"} {
		if _, err := SeccompFile(path); !errdefs.IsInvalidArgument(err) {
			t.Errorf("%s: error %v", path, err)
		}
	}
}
