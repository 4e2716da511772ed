package harness

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestParseTrace(t *testing.T) {
	text := `100 execve("/bin/davit", ["davit", "run"], 0x7ffd /* 20 vars */) = 0
101 execve("/usr/bin/conmon", ["conmon"], 0xc000 /* 3 vars */ <unfinished ...>
100 fsync(7</roots/root/containers/x/config.json>) = 0
101 <... execve resumed>) = 0
102 execve("/sbin/runc", ["runc"], 0xc000 /* 3 vars */) = -1 ENOENT (No such file or directory)
100 fdatasync(8</roots/root/storage/overlay-layers/layers.json> <unfinished ...>
102 execve("/usr/bin/runc", ["runc"], 0xc000 /* 3 vars */) = 0
100 <... fdatasync resumed>) = 0
100 fsync(9</elsewhere/root/x>) = -1 EINVAL (Invalid argument)
100 sync() = 0
102 execveat(5</memfd:runc_cloned:/proc/self/exe (deleted)>, "", ["runc"], 0xc000 /* 3 vars */, AT_EMPTY_PATH) = 0
102 openat(AT_FDCWD</roots>, "/etc/ld.so.cache", O_RDONLY|O_CLOEXEC) = 3</etc/ld.so.cache>
100 openat(AT_FDCWD</roots>, "/etc/localtime", O_RDONLY) = -1 ENOENT (No such file or directory)
100 openat2(4</roots/root>, "x", {flags=O_RDONLY} <unfinished ...>
102 openat(4</roots/root>, "y", O_RDONLY|O_CLOEXEC) = 5</roots/root/y>
100 <... openat2 resumed>, 24) = 6</roots/root/x>
102 +++ exited with 0 +++
`
	want := Calls{
		Programs: []string{"davit", "conmon", "runc", Copy},
		Syncs:    []string{"/roots/root/containers/x/config.json", "/roots/root/storage/overlay-layers/layers.json", "sync"},
		Opens:    []string{"/etc/ld.so.cache", "/roots/root/y", "/roots/root/x"},
	}
	got := parseTrace(text)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if n := got.Below("/roots/root", "storage"); n != 1 {
		t.Errorf("%d syncs on the records, want 1", n)
	}
}
