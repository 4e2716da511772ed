package bridge

import (
	"errors"

	"github.com/vishvananda/netlink"
)

// dumpTries is how often a listing is begun anew that changed under it.
const dumpTries = 100

// whole is what a listing of the kernel's says. It is begun anew when, while it was
// made, what it lists has changed: it may then lack what was there all the time
// (NLM_F_DUMP_INTR, netlink(7)).
func whole[T any](list func() ([]T, error)) (all []T, err error) {
	for range dumpTries {
		if all, err = list(); !errors.Is(err, netlink.ErrDumpInterrupted) {
			break
		}
	}
	return all, err
}
