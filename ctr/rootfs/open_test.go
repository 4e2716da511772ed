package rootfs

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/containerd/errdefs"
)

func class(err error) string {
	switch {
	case err == nil:
		return ""
	case errdefs.IsNotFound(err):
		return "not found"
	case errdefs.IsInvalidArgument(err):
		return "invalid"
	}
	return err.Error()
}

func TestReadRegular(t *testing.T) {
	c := newCanary(t)
	c.write("plain", "hello")
	c.write("real/dir/file", "inside")
	c.link("real/dir", "relative")
	c.link("/real/dir", "absolute")
	c.link("../../../../secret", "up")
	c.link(filepath.Join(c.host, "secret"), "out")
	c.link("../..", "real/climb")
	c.link("loop", "loop")
	c.link("/nowhere", "dangling")
	c.dir("folder")
	c.fifo("fifo")
	c.write("large", strings.Repeat("x", 101))
	c.write("exact", strings.Repeat("x", 100))
	tests := []struct{ name, want, class string }{
		{"plain", "hello", ""},
		{"/plain", "hello", ""},
		{"relative/file", "inside", ""},
		{"absolute/file", "inside", ""},
		{"/../../real/dir/file", "inside", ""},
		{"real/climb/plain", "hello", ""},
		{"exact", strings.Repeat("x", 100), ""},
		{"up", "", "not found"},
		{"out", "", "not found"},
		{"../secret", "", "not found"},
		{"absent", "", "not found"},
		{"plain/below", "", "not found"},
		{"loop", "", "not found"},
		{"dangling", "", "not found"},
		{"folder", "", "invalid"},
		{"fifo", "", "invalid"},
		{"large", "", "invalid"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			done := make(chan struct{})
			go func() {
				defer close(done)
				got, err := ReadRegular(c.root, test.name, 100)
				if string(got) != test.want || class(err) != test.class {
					t.Errorf("got %q, %v; want %q, %q", got, err, test.want, test.class)
				}
				if err != nil && strings.ContainsAny(err.Error(), "\n") || err != nil && strings.Contains(err.Error(), c.host) {
					t.Errorf("more than a line, or the host's path: %v", err)
				}
			}()
			select {
			case <-done:
			case <-time.After(10 * time.Second):
				t.Fatal("blocked")
			}
		})
	}
}

func TestReadRegularGrows(t *testing.T) {
	c := newCanary(t)
	c.write("f", "12345")
	file, err := OpenRegular(c.root, "f", 5)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil || info.Size() != 5 {
		t.Errorf("%v, %v", info, err)
	}
	if _, err := OpenRegular(c.root, "f", 4); class(err) != "invalid" {
		t.Errorf("a file over the limit was opened: %v", err)
	}
	// /proc files have no size, but content.
	if _, err := ReadRegular("/proc", "/self/status", 10); class(err) != "invalid" {
		t.Errorf("a file that is longer than it says: %v", err)
	}
}

func TestOpenRegularOfNoRoot(t *testing.T) {
	if _, err := OpenRegular(filepath.Join(t.TempDir(), "absent"), "x", 1); !errdefs.IsNotFound(err) {
		t.Error(err)
	}
	if _, err := os.Stat("x"); err == nil {
		t.Error("x was made")
	}
}
