package record

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/containerd/errdefs"
)

// ErrCorrupt is wrapped by the error about a file that is there and is not
// what this package wrote.
var ErrCorrupt = fmt.Errorf("corrupt record: %w", errdefs.ErrDataLoss)

// NameTakenError says that another live object has the key. It wraps
// ErrAlreadyExists.
type NameTakenError struct {
	Key string
	ID  string // the object that has it
}

// Error implements error.
func (e *NameTakenError) Error() string {
	return fmt.Sprintf("the name %q is in use by %s", e.Key, e.ID)
}

// Unwrap makes it an ErrAlreadyExists.
func (e *NameTakenError) Unwrap() error { return errdefs.ErrAlreadyExists }

// AmbiguousError says that a reference fits several objects. It wraps
// ErrInvalidArgument.
type AmbiguousError struct {
	Ref string
	IDs []string // sorted
}

// Error implements error.
func (e *AmbiguousError) Error() string {
	return fmt.Sprintf("%q is ambiguous: it fits %s", e.Ref, strings.Join(e.IDs, ", "))
}

// Unwrap makes it an ErrInvalidArgument.
func (e *AmbiguousError) Unwrap() error { return errdefs.ErrInvalidArgument }

// BusyError says that a lock could not be had in time, and who holds it. It
// wraps ErrUnavailable, and the context's error if that ended the waiting.
type BusyError struct {
	ID     string
	Holder Holder // zero when it has not been written yet
	// Stopped is the process that has the lock where it is stopped, or frozen, and
	// was waited for long enough; else 0.
	Stopped int
	cause   error
}

// because adds why the waiting has ended: ctx, or err.
func (e *BusyError) because(ctx context.Context, err error) *BusyError {
	var stopped *stoppedError
	if errors.As(err, &stopped) {
		e.Stopped = stopped.pid
	} else {
		e.cause = context.Cause(ctx)
	}
	return e
}

// Error implements error.
func (e *BusyError) Error() string {
	h := e.Holder
	var b strings.Builder
	fmt.Fprintf(&b, "%q is busy", e.ID)
	if h.Kind != "" {
		fmt.Fprintf(&b, ": %s", h.Kind)
	}
	if h.Stage != "" {
		fmt.Fprintf(&b, " (%s)", h.Stage)
	}
	if h.Pid != 0 {
		fmt.Fprintf(&b, " by process %d", h.Pid)
	}
	if !h.Since.IsZero() {
		fmt.Fprintf(&b, " since %s", h.Since.Format(time.RFC3339))
	}
	switch {
	case e.Stopped != 0 && e.Stopped == h.Pid:
		b.WriteString(", which is stopped")
	case e.Stopped != 0:
		fmt.Fprintf(&b, ": process %d has its lock and is stopped", e.Stopped)
	}
	return b.String()
}

// Unwrap makes it an ErrUnavailable.
func (e *BusyError) Unwrap() []error {
	if e.cause == nil {
		return []error{errdefs.ErrUnavailable}
	}
	return []error{errdefs.ErrUnavailable, e.cause}
}

// VersionError says that a file was written by a newer davit. It wraps
// ErrFailedPrecondition.
type VersionError struct {
	Path string
	Have int // the file's version
	Max  int // the newest that is understood
}

// Error implements error.
func (e *VersionError) Error() string {
	return fmt.Sprintf("%s was written by a newer davit: it has version %d, this davit understands versions up to %d",
		e.Path, e.Have, e.Max)
}

// Unwrap makes it an ErrFailedPrecondition.
func (e *VersionError) Unwrap() error { return errdefs.ErrFailedPrecondition }

// DiskFault says which file system made an error, and why: it is full, out of
// inodes, read-only, or broken.
type DiskFault struct {
	Path  string // in that file system; empty when the error does not say
	Errno syscall.Errno
}

// String names the file system, by where it is mounted, and what is wrong with it.
func (f DiskFault) String() string {
	at, st := f.mount()
	switch {
	case f.Errno == syscall.EROFS:
		return fmt.Sprintf("the file system at %s is read-only", at)
	case f.Errno == syscall.EIO:
		return fmt.Sprintf("the file system at %s fails", at)
	case f.Errno == syscall.EDQUOT:
		return fmt.Sprintf("the quota on the file system at %s is used up", at)
	case st.Files > 0 && float64(st.Ffree)/float64(st.Files) < float64(st.Bavail)/float64(max(1, st.Blocks)):
		// Who found it so may have cleared up since: the scarcer of the two it was.
		return fmt.Sprintf("the file system at %s has no inode left", at)
	}
	return fmt.Sprintf("the file system at %s is full", at)
}

// Mount is where the file system is mounted.
func (f DiskFault) Mount() string {
	at, _ := f.mount()
	return at
}

func (f DiskFault) mount() (at string, st syscall.Statfs_t) {
	at = filepath.Clean(f.Path)
	for syscall.Statfs(at, &st) != nil && at != "/" && at != "." {
		at = filepath.Dir(at)
	}
	device := func(path string) uint64 {
		var info syscall.Stat_t
		_ = syscall.Stat(path, &info) // 0 for what is not there
		return uint64(info.Dev)
	}
	for at != "/" && at != "." && device(at) == device(filepath.Dir(at)) {
		at = filepath.Dir(at)
	}
	return at, st
}

// DiskFaultOf finds a DiskFault in an error.
func DiskFaultOf(err error) (f DiskFault, ok bool) {
	if !errors.As(err, &f.Errno) {
		return f, false
	}
	switch f.Errno {
	case syscall.ENOSPC, syscall.EDQUOT, syscall.EROFS, syscall.EIO:
	default:
		return f, false
	}
	var path *fs.PathError
	var link *os.LinkError
	switch {
	case errors.As(err, &path):
		f.Path = path.Path
	case errors.As(err, &link):
		f.Path = link.New
	}
	return f, true
}

func notFoundf(format string, args ...any) error {
	return fmt.Errorf(format+": %w", append(args, errdefs.ErrNotFound)...)
}

func invalidf(format string, args ...any) error {
	return fmt.Errorf(format+": %w", append(args, errdefs.ErrInvalidArgument)...)
}

// underlying is the errno of an error, so that a path is not said twice.
func underlying(err error) error {
	var errno syscall.Errno
	if errors.As(err, &errno) {
		return errno
	}
	return err
}

func isNotFound(err error) bool { return errors.Is(err, errdefs.ErrNotFound) }
