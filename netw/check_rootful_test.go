//go:build rootful

package netw

import (
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/davit-containers/davit/ctr/record"
	"github.com/davit-containers/davit/netw/netns"
)

// An interface on a bridge that no attachment has is found, unless it is about to
// go: its namespace has gone, and the kernel is not done with that.
func TestCheckStrayInterface(t *testing.T) {
	w := newWorld(t)
	s := w.sandbox("a")
	at := s.attach(s.request())
	host := at.Interfaces[0].HostName
	pin, err := os.Open(s.pins.Net)
	if err != nil {
		t.Fatal(err)
	}
	defer pin.Close()
	s.detach()
	links := func() int {
		t.Helper()
		found, err := Check(t.Context(), w.Attacher, record.Owners{
			Use: func(string) record.Use { return record.Gone }, Busy: func(string) bool { return false },
			Locked: func(_ string, f func() error) error { return f() },
		})
		if err != nil {
			t.Fatal(err)
		}
		n := 0
		for _, f := range found {
			if f.Kind == "link" {
				n++
			}
		}
		return n
	}
	if _, err := exec.Command("ip", "link", "show", host).Output(); err != nil {
		t.Fatalf("interface %s of a namespace that is open has gone", host)
	}
	if n := links(); n != 1 {
		t.Errorf("%d interfaces are found that stay, want 1", n)
	}
	closed := make(chan error)
	go func() {
		time.Sleep(300 * time.Millisecond)
		closed <- pin.Close()
	}()
	if n := links(); n != 0 {
		t.Errorf("%d interfaces are found that are about to go", n)
	}
	if err := <-closed; err != nil {
		t.Error(err)
	}
	if ok, _ := netns.Pin(s.pins.Net); ok {
		t.Error("the namespace is pinned")
	}
}
