package syscmd

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/containerd/errdefs"
)

// TestClaim: the claim of a server that lives is respected at once; that of one which
// has died is waited for, as what it was about to execute has it still.
func TestClaim(t *testing.T) {
	dir := t.TempDir()
	held, err := claim(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	if _, err := claim(t.Context(), dir); !errdefs.IsFailedPrecondition(err) || !strings.Contains(err.Error(), fmt.Sprintf("process %d)", os.Getpid())) {
		t.Errorf("claimed beside a server: %v", err)
	}
	if took := time.Since(began); took > bereaved/2 {
		t.Errorf("it is refused after %s", took)
	}

	dead := exec.Command("true")
	if err := dead.Run(); err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(dir, "serve-cri.lock")
	if err := os.WriteFile(name, fmt.Appendf(nil, "%d\n", dead.Process.Pid), 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := claim(ctx, dir); !errdefs.IsFailedPrecondition(err) {
		t.Errorf("claimed what is held: %v", err)
	}
	time.AfterFunc(100*time.Millisecond, func() { _ = held.Close() })
	again, err := claim(t.Context(), dir)
	if err != nil {
		t.Fatalf("what a server that has died had: %v", err)
	}
	defer again.Close()
	if data, err := os.ReadFile(name); err != nil || string(data) != fmt.Sprintf("%d\n", os.Getpid()) {
		t.Errorf("claimed by %q, %v", data, err)
	}
}
