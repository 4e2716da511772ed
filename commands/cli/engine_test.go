package cli

import (
	"slices"
	"testing"
)

// TestExitCommandFlags: a monitor's exit command gets the flags that say where
// the state is, and none that are the server's alone, which it does not know.
func TestExitCommandFlags(t *testing.T) {
	var flags Settings
	flags.File = "/etc/x.toml"
	flags.Set("root", "root", "/r")
	flags.Append("storage.options", "storage-opt", "a=b")
	flags.Append("storage.options", "storage-opt", "c=d")
	flags.Set("cri.listen", "listen", "unix:///s")
	got, err := Settled{Flags: flags}.self("container", "exited")
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"--config", "/etc/x.toml", "--root", "/r", "--storage-opt", "a=b", "--storage-opt", "c=d", "container", "exited"}
	if !slices.Equal(got[1:], want) {
		t.Errorf("got %q, want %q", got[1:], want)
	}
}
