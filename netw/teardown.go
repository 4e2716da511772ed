package netw

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

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
		if err := a.unused(Builtin, func(join) bool { return true }); err != nil {
			return err
		}
		errs := []error{a.finishRemovals()}
		path := a.dir(builtinFile)
		if _, err := os.Stat(path); err == nil {
			err := a.retire(path, func() error { return a.unused(Builtin, func(join) bool { return true }) })
			if err != nil {
				return err
			}
		}
		nets, err := a.ownNetworks()
		errs = append(errs, err)
		for _, n := range nets {
			if n.managed() {
				errs = append(errs, bridge.Remove(n.Interface))
			}
		}
		errs = append(errs, a.closeForwarding(ctx), a.table.Delete())
		if err := errors.Join(errs...); err != nil {
			return fmt.Errorf("tearing networks down: %w", err)
		}
		return nil
	})
}

// finishRemovals ends the removal of networks that a crash has interrupted. The
// caller holds the lock.
func (f *firewall) finishRemovals() error {
	var errs []error
	for _, dir := range []string{f.dir(), filepath.Join(f.root, "networks")} {
		entries, err := os.ReadDir(dir)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
		}
		for _, e := range entries {
			if strings.HasSuffix(e.Name(), retiredSuffix) {
				errs = append(errs, f.clearRetired(filepath.Join(dir, e.Name())))
			}
		}
	}
	return errors.Join(errs...)
}

// clearRetired removes what the host has of a retired network, then its file.
// The caller holds the lock.
func (f *firewall) clearRetired(path string) error {
	b, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	n, err := parseRetired(b)
	if err != nil {
		return fmt.Errorf("reading %s: %w", path, err)
	}
	var errs []error
	if n.managed() {
		up, err := bridge.Exists(n.Interface)
		errs = append(errs, err, bridge.Remove(n.Interface))
		if up {
			errs = append(errs, f.replaceTable())
		}
	}
	if n.Name != "" {
		errs = append(errs, os.RemoveAll(f.dir("ipam", n.Name)))
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	return os.Remove(path)
}

// parseRetired reads either form of a network's file: the built-in network's
// own, or a configuration list.
func parseRetired(b []byte) (Network, error) {
	var doc struct {
		Network
		Davit *Network `json:"davit"`
	}
	if err := json.Unmarshal(b, &doc); err != nil {
		return Network{}, err
	}
	n := doc.Network
	if doc.Davit != nil {
		n = *doc.Davit
	}
	return n, CheckName(n.Name)
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
