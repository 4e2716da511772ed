package top

import (
	"net"
	"os"
	"testing"
)

func TestFiles(t *testing.T) {
	me := []int{os.Getpid(), 1 << 30}
	fds, sockets := Files(me)
	if fds == 0 {
		t.Fatal("this process has nothing open")
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	if _, now := Files(me); now != sockets+1 {
		t.Errorf("%d sockets, then %d", sockets, now)
	}
	if n, ok := OpenFiles(os.Getpid()); !ok || n == 0 {
		t.Errorf("OpenFiles: %d, %v", n, ok)
	}
	for _, text := range []string{"", "Max open files", "Max open files            unlimited            unlimited            files\n"} {
		if n, ok := parseOpenFiles(text); ok {
			t.Errorf("%q: %d", text, n)
		}
	}
}
