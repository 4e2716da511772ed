package netw

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/containerd/errdefs"
	"github.com/davit-containers/davit/netw/bridge"
)

// Teardown removes what this davit's networks have on the host: bridges and the
// nft table. The next attachment sets them up again; user-made networks keep
// their configuration. While there are attachments it is *InUseError and
// nothing is removed.
func (a *Attacher) Teardown(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if _, err := os.Stat(a.dir()); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return a.locked(func() error {
		all, err := a.intents()
		if err != nil {
			return err
		}
		if len(all) > 0 {
			return inUse(Builtin, all)
		}
		nets, err := a.ownNetworks()
		if err != nil {
			return err
		}
		errs := []error{a.table.Delete()}
		for _, n := range nets {
			if n.managed() {
				errs = append(errs, bridge.Remove(n.Interface))
			}
		}
		if err := errors.Join(errs...); err != nil {
			return fmt.Errorf("tearing networks down: %w", err)
		}
		if err := os.Remove(a.dir(builtinFile)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("tearing networks down: %w", err)
		}
		return nil
	})
}

// InUseError says that a network has attachments. It wraps
// errdefs.ErrFailedPrecondition.
type InUseError struct {
	// Network is the network's name.
	Network string
	// Sandboxes are the names, or IDs, of those that are attached.
	Sandboxes []string
}

// Error implements error.
func (e *InUseError) Error() string {
	return fmt.Sprintf("network %q is in use by %q", e.Network, e.Sandboxes)
}

// Unwrap gives the error's class.
func (e *InUseError) Unwrap() error { return errdefs.ErrFailedPrecondition }

func inUse(network string, users []*intent) error {
	e := &InUseError{Network: network}
	for _, in := range users {
		e.Sandboxes = append(e.Sandboxes, in.display())
	}
	return e
}
