package spare

import (
	"os"
	"testing"

	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"
)

// TestCheck: too few free descriptors are an error, and none is kept.
func TestCheck(t *testing.T) {
	before := descriptors(t)
	if err := Check(); err != nil {
		t.Errorf("with descriptors to spare: %v", err)
	}
	var was unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &was); err != nil {
		t.Fatal(err)
	}
	low := was
	low.Cur = uint64(before + files - 2)
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &low); err != nil {
		t.Fatal(err)
	}
	err := Check()
	low.Cur = 1 // not even the first
	if limit := unix.Setrlimit(unix.RLIMIT_NOFILE, &low); limit != nil {
		t.Fatal(limit)
	}
	none := Check()
	if limit := unix.Setrlimit(unix.RLIMIT_NOFILE, &was); limit != nil {
		t.Fatal(limit)
	}
	if !errdefs.IsResourceExhausted(err) {
		t.Errorf("with two too few: %v", err)
	}
	if !errdefs.IsResourceExhausted(none) {
		t.Errorf("with none: %v", none)
	}
	if after := descriptors(t); after != before {
		t.Errorf("%d descriptors open, %d before", after, before)
	}
}

func descriptors(t *testing.T) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(entries) - 1 // the folder itself
}
