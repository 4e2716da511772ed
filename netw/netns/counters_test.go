package netns

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestParseDev(t *testing.T) {
	text := `Inter-|   Receive                                                |  Transmit
 face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed
    lo:     100       1    0    0    0     0          0         0      100       1    0    0    0     0       0          0
  eth0:    4242      42    1    2    0     0          0         7     1717      17    3    4    0     0       0          0
net1:5 6 7 8 0 0 0 0 9 10 11 12 0 0 0 0
`
	want := []Interface{
		{Name: "eth0", Rx: Traffic{4242, 42, 1, 2}, Tx: Traffic{1717, 17, 3, 4}},
		{Name: "net1", Rx: Traffic{5, 6, 7, 8}, Tx: Traffic{9, 10, 11, 12}},
	}
	if diff := cmp.Diff(want, parseDev(text)); diff != "" {
		t.Error(diff)
	}
	if got := parseDev("junk\n x: 1 2\n"); len(got) != 0 {
		t.Errorf("got %v", got)
	}
}
