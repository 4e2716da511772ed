package volume

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/containerd/errdefs"
	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"

	"github.com/davit-containers/davit/ctr/record"
	"github.com/davit-containers/davit/ctr/record/failpoint"
)

// InUseError says which containers keep a volume from being removed. It wraps
// ErrFailedPrecondition.
type InUseError struct {
	Name string
	// Users are the containers' names.
	Users []string
}

// Error names the volume and its users.
func (e *InUseError) Error() string {
	return fmt.Sprintf("volume %q is used by %s", e.Name, strings.Join(e.Users, ", "))
}

// Unwrap makes the error an ErrFailedPrecondition.
func (e *InUseError) Unwrap() error { return errdefs.ErrFailedPrecondition }

// Users tells which containers mount a volume, by name. A container must be on
// record before it calls Ensure or Populate: then either Remove finds it there,
// or the container gets a volume that was made after Remove.
type Users func(volume string) ([]string, error)

// Remove deletes a volume and its data without asking who uses it. ErrNotFound if
// there is no such volume.
func (s *Store) Remove(ctx context.Context, name string) error {
	return s.RemoveUnused(ctx, name, func(string) ([]string, error) { return nil, nil })
}

// RemoveUnused deletes a volume and its data. It returns *InUseError when users
// names any container, and ErrNotFound when there is no such volume.
func (s *Store) RemoveUnused(ctx context.Context, name string, users Users) error {
	if _, err := s.Get(name); errdefs.IsNotFound(err) {
		return err
	}
	lock, err := s.lock(name)
	if err != nil {
		return fmt.Errorf("removing volume %q: %w", name, err)
	}
	defer lock.Close()
	who, err := users(name)
	if err != nil {
		return fmt.Errorf("looking for users of volume %q: %w", name, err)
	}
	if len(who) > 0 {
		return &InUseError{Name: name, Users: who}
	}
	if err := s.discard(ctx, name); err != nil {
		return fmt.Errorf("removing volume %q: %w", name, err)
	}
	s.Sweep()
	return nil
}

// discard takes a locked volume out of its place and deletes it.
func (s *Store) discard(ctx context.Context, name string) error {
	path := filepath.Join(s.dir, name)
	if err := nothingMounted(path); err != nil {
		return err
	}
	old := filepath.Join(s.dir, oldMark+randomName()[:16])
	if err := os.Rename(path, old); err != nil {
		return err
	}
	if err := failpoint.Reach(ctx, failpoint.VolumeDiscarded); err != nil {
		return err
	}
	return os.RemoveAll(old)
}

// nothingMounted refuses a folder with a mount below it, whose content would be
// deleted with the folder.
func nothingMounted(path string) error {
	mounts, err := mountinfo.GetMounts(mountinfo.PrefixFilter(path))
	if err != nil {
		return fmt.Errorf("reading mounts: %w", err)
	}
	if len(mounts) > 0 {
		return fmt.Errorf("%q is a mount point: %w", mounts[0].Mountpoint, errdefs.ErrFailedPrecondition)
	}
	return nil
}

// Populate fills a volume before its first use: it calls fill with the path of
// the data when the volume is empty and was never populated, and marks it as
// populated. Others who populate the same volume wait meanwhile. After an error
// of fill the volume stays unmarked, and it is populated by the next one only if
// it is still empty. fill may work in folders beside the data whose names begin with
// a dot; those of one that was killed are removed before.
func (s *Store) Populate(_ context.Context, name string, fill func(path string) error) error {
	lock, err := s.lock(name)
	if err != nil {
		return fmt.Errorf("populating volume %q: %w", name, err)
	}
	defer lock.Close()
	v, err := s.read(name)
	if err != nil {
		return fmt.Errorf("populating volume %q: %w", name, err)
	}
	if v.Populated {
		return nil
	}
	clearBeside(v.Path)
	empty, err := isEmpty(v.Path)
	if err != nil {
		return fmt.Errorf("populating volume %q: %w", name, err)
	}
	if empty {
		if err := fill(v.Path); err != nil {
			return fmt.Errorf("populating volume %q: %w", name, err)
		}
	}
	v.Populated = true
	if err := write(filepath.Join(s.dir, name), v); err != nil {
		return fmt.Errorf("populating volume %q: %w", name, err)
	}
	return nil
}

// clearBeside removes what a fill that was killed has left beside the data. What it
// cannot remove is in nobody's way, and goes with the volume.
func clearBeside(data string) {
	dir := filepath.Dir(data)
	entries, err := os.ReadDir(dir)
	if err != nil {
		return
	}
	for _, e := range entries {
		if e.IsDir() && strings.HasPrefix(e.Name(), ".") {
			_ = os.RemoveAll(filepath.Join(dir, e.Name()))
		}
	}
}

func isEmpty(path string) (bool, error) {
	d, err := os.Open(path)
	if err != nil {
		return false, err
	}
	defer d.Close()
	_, err = d.Readdirnames(1)
	if errors.Is(err, io.EOF) {
		return true, nil
	}
	return false, err
}

// lock locks a volume's folder, and makes sure that it is still the volume's.
func (s *Store) lock(name string) (*os.File, error) {
	path := filepath.Join(s.dir, name)
	for {
		f, err := lockDir(path)
		if errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("no such volume: %w", errdefs.ErrNotFound)
		}
		if err != nil {
			return nil, err
		}
		here, err := f.Stat()
		if err != nil {
			f.Close()
			return nil, err
		}
		if there, err := os.Stat(path); err == nil && os.SameFile(here, there) {
			return f, nil
		}
		f.Close() // removed, and perhaps made anew, while we waited
	}
}

func lockDir(path string) (*os.File, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	if err := record.Lock(f, path); err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

func flock(f *os.File, how int) error {
	for {
		err := unix.Flock(int(f.Fd()), how)
		if err != unix.EINTR {
			return err
		}
	}
}

// Check finds what dead processes left of making and removing volumes.
func (s *Store) Check() ([]record.Finding, error) {
	entries, err := os.ReadDir(s.dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	var list []record.Finding
	for _, e := range entries {
		path := filepath.Join(s.dir, e.Name())
		if marked(e.Name()) && abandoned(path) {
			list = append(list, record.Finding{
				Kind: "volume", Object: path, Problem: "whoever made or removed it has died", Repair: "remove it",
				Mend: func(context.Context) error {
					sweepOne(path)
					return nil
				},
			})
		}
	}
	if err != nil {
		err = fmt.Errorf("listing volumes: %w", err)
	}
	return list, err
}

// abandoned tells whether nobody has the lock of a folder.
func abandoned(path string) bool {
	f, err := os.Open(path)
	if err != nil {
		return false
	}
	defer f.Close()
	return flock(f, unix.LOCK_SH|unix.LOCK_NB) == nil
}

// marked tells the names of what is no volume yet, or no more.
func marked(name string) bool {
	return strings.HasPrefix(name, newMark) || strings.HasPrefix(name, oldMark)
}

// Sweep deletes what dead processes left of making and removing volumes. What it
// cannot delete now stays for the next one: it is in nobody's way.
func (s *Store) Sweep() {
	entries, err := os.ReadDir(s.dir)
	if err != nil {
		return
	}
	for _, e := range entries {
		if marked(e.Name()) {
			sweepOne(filepath.Join(s.dir, e.Name()))
		}
	}
}

func sweepOne(path string) {
	f, err := os.Open(path)
	if err != nil {
		return
	}
	defer f.Close()
	if flock(f, unix.LOCK_EX|unix.LOCK_NB) != nil {
		return // its maker or remover is alive
	}
	if nothingMounted(path) == nil {
		_ = os.RemoveAll(path)
	}
}
