package confine

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"
)

// What was asked for and cannot be enforced here is an error, never left out.
func TestAbsentModules(t *testing.T) {
	for _, tt := range []struct {
		options []string
		refused bool
	}{
		{options: nil},
		{options: []string{"disable"}},
		{options: []string{"type:spc_t", "level:s0"}},
		{options: []string{"type:web_t"}, refused: true},
		{options: []string{"level:s0:c1,c2"}, refused: true},
	} {
		if err := selinux(tt.options, false); (err != nil) != tt.refused || (err != nil && !errdefs.IsFailedPrecondition(err)) {
			t.Errorf("label %v: error %v, refused should be %v", tt.options, err, tt.refused)
		}
	}
	if _, err := os.Stat(apparmorEnabled); err == nil {
		t.Skip("this host has AppArmor")
	}
	for profile, refused := range map[string]bool{"": false, "unconfined": false, "web": true} {
		got, err := AppArmor(profile)
		if got != "" || (err != nil) != refused || (err != nil && !errdefs.IsFailedPrecondition(err)) {
			t.Errorf("profile %q: %q, error %v, refused should be %v", profile, got, err, refused)
		}
	}
}

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
