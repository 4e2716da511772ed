package ctrcmd

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/davit-containers/davit/commands/ctrcmd/options"
)

// A file for the ID that is there is found before anything is replaced: there is
// no engine here to replace with.
func TestPlaceClaimsTheFileFirst(t *testing.T) {
	path := filepath.Join(t.TempDir(), "web.cid")
	if err := os.WriteFile(path, []byte("old"), 0o600); err != nil {
		t.Fatal(err)
	}
	p := prepared{idFile: options.IDFile{Flag: "cidfile", Path: path, Fresh: true}}
	err := p.place(t.Context(), nil, options.Plan{Replace: true})
	if err == nil || !strings.Contains(err.Error(), "there already") {
		t.Errorf("error %v", err)
	}
	if err := p.undo(t.Context()); err != nil {
		t.Error(err)
	}
	if data, err := os.ReadFile(path); err != nil || string(data) != "old" {
		t.Errorf("%q is left, %v", data, err)
	}
}
