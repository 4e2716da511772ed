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
	"time"

	"github.com/containerd/errdefs"
	"github.com/davit-containers/davit/ctr/record"
	"github.com/davit-containers/davit/ctr/record/failpoint"
)

// recordName is the attachment's file in the sandbox's run folder.
const recordName = "network.json"

// recordVersion is the newest version of the file that this davit writes.
const recordVersion = 1

// intent is the content of network.json: all that is needed to undo an
// attachment, written before its first side effect, and what came of it.
type intent struct {
	Version   int       `json:"version"`
	ID        string    `json:"id"`
	Name      string    `json:"name,omitempty"`
	Namespace string    `json:"namespace,omitempty"`
	UID       string    `json:"uid,omitempty"`
	Netns     string    `json:"netns"`
	Created   time.Time `json:"created"`
	// Joins are the networks, in order; undone in reverse.
	Joins []join `json:"networks"`
	// Ports are the published ports; TablePorts says that they are elements of
	// davit's own nft table.
	Ports      []Port `json:"ports,omitempty"`
	TablePorts bool   `json:"tablePorts,omitempty"`
	// Result is set once all networks are joined.
	Result *Attachment `json:"result,omitempty"`
	// Leaving is set once DEL has been called.
	Leaving bool `json:"leaving,omitempty"`
	// Withdrawn is set before the ports are taken out of the table for good: a table
	// that is made anew while the networks are left has them no more.
	Withdrawn bool `json:"withdrawn,omitempty"`

	dir string
}

// join is one network of an attachment; of one that is not Managed, not a bridge of
// davit's own, with what ADD was given: DEL gets the same, whatever became of the
// network since.
type join struct {
	Network      string          `json:"network"`
	IfName       string          `json:"ifName"`
	Managed      bool            `json:"managed,omitempty"`
	Names        bool            `json:"names,omitempty"` // takes part in Peers
	Aliases      []string        `json:"aliases,omitempty"`
	Conflist     json.RawMessage `json:"conflist,omitempty"`
	Args         [][2]string     `json:"args,omitempty"`
	Capabilities map[string]any  `json:"capabilities,omitempty"`
}

// write puts the intent on record: the file, then the pointer to it.
func (l *ledger) write(ctx context.Context, in *intent) error {
	b, err := json.Marshal(in)
	if err != nil {
		return fmt.Errorf("encoding attachment of %q: %w", in.ID, err)
	}
	if err := failpoint.Reach(ctx, failpoint.NetworkRecord); err != nil {
		return err
	}
	path := filepath.Join(in.dir, recordName)
	if err := record.WriteAtomic(path, b, record.WriteOptions{}); err != nil {
		return fmt.Errorf("recording attachment of %q: %w", in.ID, err)
	}
	if err := failpoint.Reach(ctx, failpoint.NetworkPoint); err != nil {
		return err
	}
	return l.point(in.ID, path)
}

// note puts on record how far an undo has come. It is for what makes the undo better
// and is not needed for it, which must work on a full disk: a note that cannot be made
// is no error.
func (in *intent) note() {
	if b, err := json.Marshal(in); err == nil {
		_ = record.WriteAtomic(filepath.Join(in.dir, recordName), b, record.WriteOptions{})
	}
}

// point makes attached/<id> point to path.
func (l *ledger) point(id, path string) error {
	link := l.dir("attached", id)
	if target, err := os.Readlink(link); err == nil && target == path {
		return nil
	}
	if err := os.MkdirAll(l.dir("attached"), 0o700); err != nil {
		return fmt.Errorf("recording attachment of %q: %w", id, err)
	}
	_ = os.Remove(link)
	if err := os.Symlink(path, link); err != nil {
		return fmt.Errorf("recording attachment of %q: %w", id, err)
	}
	return nil
}

// forget removes the record, the pointer last: while it is there, the
// attachment is known.
func (l *ledger) forget(ctx context.Context, in *intent) error {
	if err := failpoint.Reach(ctx, failpoint.NetworkForget); err != nil {
		return err
	}
	err := os.Remove(filepath.Join(in.dir, recordName))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("removing attachment record of %q: %w", in.ID, err)
	}
	if err := failpoint.Reach(ctx, failpoint.NetworkUnpoint); err != nil {
		return err
	}
	err = os.Remove(l.dir("attached", in.ID))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("removing attachment record of %q: %w", in.ID, err)
	}
	return nil
}

// readIntent reads the attachment recorded in dir; ErrNotFound if there is none.
func readIntent(dir string) (*intent, error) {
	path := filepath.Join(dir, recordName)
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("attachment in %s: %w", dir, errdefs.ErrNotFound)
	}
	if err != nil {
		return nil, fmt.Errorf("reading attachment: %w", err)
	}
	in := &intent{dir: dir}
	if err := json.Unmarshal(b, in); err != nil {
		return nil, fmt.Errorf("reading attachment %s: %w", path, err)
	}
	if in.Version > recordVersion {
		return nil, fmt.Errorf("attachment %s has version %d, this davit knows up to %d: %w", path, in.Version, recordVersion, errdefs.ErrFailedPrecondition)
	}
	return in, nil
}

// Attached returns the attachment recorded in a sandbox's run folder.
// ErrNotFound if there is none, or if Attach did not finish.
func Attached(dir string) (Attachment, error) {
	in, err := readIntent(dir)
	if err != nil {
		return Attachment{}, err
	}
	if in.Result == nil {
		return Attachment{}, fmt.Errorf("attachment in %s is not complete: %w", dir, errdefs.ErrNotFound)
	}
	return *in.Result, nil
}

// intents reads all attachments of these roots. Pointers to nothing are passed
// over; unreadable records are reported and do not hide the others.
func (l *ledger) intents() ([]*intent, error) {
	ids, err := l.attachedIDs()
	errs := []error{err}
	var all []*intent
	for _, id := range ids {
		target, err := os.Readlink(l.dir("attached", id))
		if err != nil {
			continue // detached meanwhile
		}
		in, err := readIntent(filepath.Dir(target))
		switch {
		case errors.Is(err, errdefs.ErrNotFound):
		case err != nil:
			errs = append(errs, err)
		case in.ID == id:
			all = append(all, in)
		}
	}
	return all, errors.Join(errs...)
}

// attachedIDs lists the IDs that have a pointer.
func (l *ledger) attachedIDs() ([]string, error) {
	entries, err := os.ReadDir(l.dir("attached"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("listing attachments: %w", err)
	}
	var ids []string
	for _, e := range entries {
		if !strings.HasPrefix(e.Name(), ".") {
			ids = append(ids, e.Name())
		}
	}
	return ids, nil
}
