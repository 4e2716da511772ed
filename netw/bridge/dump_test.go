package bridge

import (
	"errors"
	"testing"

	"github.com/vishvananda/netlink"
)

func TestWhole(t *testing.T) {
	failed := errors.New("failed")
	for name, tt := range map[string]struct {
		answers []error // and the last one from then on
		tries   int
		want    error
	}{
		"at once":    {[]error{nil}, 1, nil},
		"changes":    {[]error{netlink.ErrDumpInterrupted, netlink.ErrDumpInterrupted, nil}, 3, nil},
		"fails":      {[]error{failed}, 1, failed},
		"no rest":    {[]error{netlink.ErrDumpInterrupted}, dumpTries, netlink.ErrDumpInterrupted},
		"then fails": {[]error{netlink.ErrDumpInterrupted, failed}, 2, failed},
	} {
		tries := 0
		got, err := whole(func() ([]int, error) {
			answer := tt.answers[min(tries, len(tt.answers)-1)]
			tries++
			return []int{tries}, answer
		})
		if !errors.Is(err, tt.want) || tries != tt.tries || len(got) != 1 || got[0] != tries {
			t.Errorf("%s: %v, %v after %d tries, want %v after %d", name, got, err, tries, tt.want, tt.tries)
		}
	}
}
