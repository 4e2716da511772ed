package confine

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"unsafe"

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

// TestNoX32: a process under a filter does not ask, and says that it does not know.
func TestNoX32(t *testing.T) {
	if runtime.GOARCH != "amd64" && NoX32() {
		t.Error("there are x32 calls to leave out")
	}
	if os.Getenv("DAVIT_TEST_FILTERED") == "1" {
		allow := unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ALLOW}
		prog := unix.SockFprog{Len: 1, Filter: &allow}
		runtime.LockOSThread()
		if err := errors.Join(unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0),
			unix.Prctl(unix.PR_SET_SECCOMP, unix.SECCOMP_MODE_FILTER, uintptr(unsafe.Pointer(&prog)), 0, 0)); err != nil {
			t.Fatal(err)
		}
		if NoX32() {
			t.Error("asked although a filter may answer with SIGSYS")
		}
		return
	}
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestNoX32$")
	cmd.Env = append(os.Environ(), "DAVIT_TEST_FILTERED=1")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}
