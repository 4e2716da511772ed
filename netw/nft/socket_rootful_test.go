//go:build rootful

package nft

import (
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestWithdrawingWaitsForNoGracePeriod: who withdraws ports does not wait for the
// kernel's destruction of what was deleted, as closing the socket would, and
// the socket goes all the same.
func TestWithdrawingWaitsForNoGracePeriod(t *testing.T) {
	if !collectsInBackground(t) {
		t.Skip("this kernel collects in whoever closes")
	}
	table := New(fmt.Sprintf("davit-socket%d", os.Getpid()))
	if err := table.Replace(nil, nil); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := table.Delete(); err != nil {
			t.Error(err)
		}
	}()
	all := func(Element) bool { return true }
	before := openSockets(t)
	var closing, leaving []time.Duration
	for range 20 {
		publish(t, table)
		c, err := table.dial()
		if err != nil {
			t.Fatal(err)
		}
		if err := table.remove(c, all); err != nil {
			t.Fatal(err)
		}
		closing = append(closing, took(func() { _ = c.CloseLasting() }))

		publish(t, table)
		settled, err := table.Remove(all)
		if err != nil {
			t.Fatal(err)
		}
		leaving = append(leaving, took(func() { <-settled }))
		awaitSockets(t, before)
	}
	if most, least := median(leaving), median(closing); most > least/2 {
		t.Errorf("leaving a socket takes %v, closing it %v", most, least)
	}
}

// TestCopyForNobody: the copy of a descriptor is the last one as soon as the
// own one is closed, and goes once it is dropped.
func TestCopyForNobody(t *testing.T) {
	if !collectsInBackground(t) {
		t.Skip("this kernel collects in whoever closes")
	}
	var pipe [2]int
	if err := unix.Pipe2(pipe[:], unix.O_CLOEXEC|unix.O_NONBLOCK); err != nil {
		t.Fatal(err)
	}
	defer unix.Close(pipe[0])
	drop := sendToNobody(pipe[1])
	if err := unix.Close(pipe[1]); err != nil {
		t.Fatal(err)
	}
	var b [1]byte
	if n, err := unix.Read(pipe[0], b[:]); err != unix.EAGAIN {
		t.Fatalf("reading gives %d, %v while there is a copy of the writing end", n, err)
	}
	drop()
	poll := []unix.PollFd{{Fd: int32(pipe[0])}}
	if n, err := unix.Poll(poll, 10_000); n != 1 || poll[0].Revents&unix.POLLHUP == 0 {
		t.Errorf("the copy is there 10 s after it was dropped: %d, %v, events %x", n, err, poll[0].Revents)
	}
}

// collectsInBackground tells whether closing a socket does not collect garbage itself.
func collectsInBackground(t *testing.T) bool {
	t.Helper()
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		t.Fatal(err)
	}
	var major, minor int
	if _, err := fmt.Sscanf(unix.ByteSliceToString(u.Release[:]), "%d.%d", &major, &minor); err != nil {
		t.Fatal(err)
	}
	return major > 6 || major == 6 && minor >= 9
}

func publish(t *testing.T, table Table) {
	t.Helper()
	e := Element{Owner: "a", Protocol: "tcp", HostPort: 8080, To: netip.MustParseAddrPort("10.0.0.2:80")}
	if err := table.Add([]Element{e}); err != nil {
		t.Fatal(err)
	}
}

func took(f func()) time.Duration {
	begin := time.Now()
	f()
	return time.Since(begin)
}

func median(d []time.Duration) time.Duration {
	slices.Sort(d)
	return d[len(d)/2]
}

// openSockets are the netfilter sockets of the network namespace (netlink(7), "Eth"
// is the family).
func openSockets(t *testing.T) int {
	t.Helper()
	b, err := os.ReadFile("/proc/thread-self/net/netlink")
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for line := range strings.Lines(string(b)) {
		if f := strings.Fields(line); len(f) > 2 && f[1] == fmt.Sprint(unix.NETLINK_NETFILTER) && f[2] != "0" {
			n++
		}
	}
	return n
}

// awaitSockets waits until there are no more netfilter sockets than some.
func awaitSockets(t *testing.T, most int) {
	t.Helper()
	for began := time.Now(); openSockets(t) > most; time.Sleep(time.Millisecond) {
		if time.Since(began) > 10*time.Second {
			t.Fatalf("%d netfilter sockets after 10 s, %d before", openSockets(t), most)
		}
	}
}
