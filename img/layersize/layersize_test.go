package layersize

import (
	"os"
	"path/filepath"
	"testing"
	"time"
)

func TestWalkLayer(t *testing.T) {
	outside, dir := t.TempDir(), t.TempDir()
	for _, f := range []string{filepath.Join(outside, "big"), filepath.Join(dir, "a"), filepath.Join(dir, "sub", "b")} {
		if err := os.MkdirAll(filepath.Dir(f), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(f, make([]byte, 64<<10), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Link(filepath.Join(dir, "a"), filepath.Join(dir, "sub", "again")); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(outside, filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	u, err := walkLayer(dir, make(chan struct{}))
	if err != nil {
		t.Fatal(err)
	}
	// a (with its second link), sub, b and the symbolic link itself.
	if u.Inodes != 4 || u.Bytes < 128<<10 || u.Bytes > 160<<10 {
		t.Errorf("got %+v", u)
	}
	if _, err := walkLayer(filepath.Join(dir, "link"), make(chan struct{})); err == nil {
		t.Error("a symbolic link in place of the layer was followed")
	}
	closed := make(chan struct{})
	close(closed)
	if _, err := walkLayer(dir, closed); err == nil {
		t.Error("a closed store is walked on")
	}
}

// A usage is asked for often and walked for seldom.
func TestUsageIsKept(t *testing.T) {
	u := New()
	walks := make(chan struct{}, 10)
	walk := func() (Usage, error) {
		walks <- struct{}{}
		return Usage{Bytes: 7}, nil
	}
	for range 5 {
		<-u.ask("x", walk).ready
	}
	if len(walks) != 1 {
		t.Errorf("%d walks for 5 questions at once", len(walks))
	}
	k := u.known["x"]
	k.usage.At = time.Now().Add(-layerAge)
	k.took = layerAge // a walk that takes long is done less often
	<-u.ask("x", walk).ready
	u.walks.Wait()
	if len(walks) != 1 {
		t.Error("a slow walk was repeated at once")
	}
	k.took = 0
	<-u.ask("x", walk).ready
	u.walks.Wait()
	if len(walks) != 2 {
		t.Error("an old usage was not refreshed")
	}
	k.asked = time.Now().Add(-2 * layerIdle)
	<-u.ask("y", walk).ready
	u.walks.Wait()
	if len(u.known) != 1 {
		t.Errorf("%d are known of one that is asked for", len(u.known))
	}
	u.Close()
	u.Close()
	u.ask("z", walk)
	if len(walks) != 3 {
		t.Error("a walk began after the end")
	}
}
