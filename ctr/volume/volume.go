package volume

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"

	"github.com/davit-containers/davit/ctr/record"
	"github.com/davit-containers/davit/ctr/record/failpoint"
)

// Driver is the one driver there is: a folder of the local file system.
const Driver = "local"

const (
	version  = 1
	dataName = "_data"
	fileName = "volume.json"
	newMark  = ".new-"
	oldMark  = ".old-"
)

// Volume is one volume.
type Volume struct {
	Name    string            `json:"name"`
	Created time.Time         `json:"created"`
	Labels  map[string]string `json:"labels,omitempty"`
	// Anonymous says that the volume was made for one container.
	Anonymous bool `json:"anonymous,omitempty"`
	// Populated says that no image's content may be copied into it any more.
	Populated bool `json:"populated,omitempty"`
	// Path is the absolute path of the data on the host.
	Path string `json:"-"`
}

// file is a Volume as it is written.
type file struct {
	Version int `json:"version"`
	Volume
}

// Options say where a Store keeps its volumes.
type Options struct {
	// Root is davit's durable root; the volumes are in its folder "volumes".
	Root string
	// Now is the clock; nil is time.Now.
	Now func() time.Time
}

// Store keeps volumes. It holds nothing in memory and is safe for concurrent
// use by any number of processes.
type Store struct {
	dir string
	now func() time.Time
}

// New returns a Store. It does no input or output: the folder is made with the
// first volume.
func New(o Options) *Store {
	if o.Now == nil {
		o.Now = time.Now
	}
	return &Store{dir: filepath.Join(o.Root, "volumes"), now: o.Now}
}

// Config is what a new volume is given.
type Config struct {
	// Name is empty for an anonymous volume, which gets a name of 64 hex digits.
	Name   string
	Labels map[string]string
	// Anonymous marks the volume as one container's own.
	Anonymous bool
}

// Create makes a volume. It returns ErrAlreadyExists for a name that is taken
// and ErrInvalidArgument for one that is not letters, digits, '_', '.' and '-'
// after a letter or digit.
func (s *Store) Create(ctx context.Context, c Config) (Volume, error) {
	if c.Name == "" {
		c.Name, c.Anonymous = randomName(), true
	}
	if err := CheckName(c.Name); err != nil {
		return Volume{}, err
	}
	err := os.MkdirAll(s.dir, 0o700)
	if err == nil {
		err = s.enclose()
	}
	if err != nil {
		return Volume{}, fmt.Errorf("creating volume %q: %w", c.Name, err)
	}
	v := Volume{Name: c.Name, Created: s.now().UTC(), Labels: c.Labels, Anonymous: c.Anonymous}
	if err := s.place(ctx, v); err != nil {
		return Volume{}, fmt.Errorf("creating volume %q: %w", c.Name, err)
	}
	v.Path = s.data(c.Name)
	s.Sweep()
	return v, nil
}

// enclose shuts others out of all volumes, as a folder that an older davit has made does
// not: what is in one may be set-user-ID, and a container's root its owner. Containers
// have it mounted, in user namespaces too: runtimes open what they bind as root. A
// folder that is not there, or cannot be written, stays as it is.
func (s *Store) enclose() error {
	st, err := os.Stat(s.dir)
	if err == nil && st.Mode().Perm() != 0o700 {
		err = os.Chmod(s.dir, 0o700)
	}
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.EROFS) {
		return nil
	}
	return err
}

// place writes a volume beside its place and renames it there.
func (s *Store) place(ctx context.Context, v Volume) error {
	for {
		tmp, err := os.MkdirTemp(s.dir, newMark)
		if err != nil {
			return err
		}
		lock, err := lockDir(tmp)
		if errors.Is(err, fs.ErrNotExist) {
			continue // swept away before it was locked
		}
		if err != nil {
			return err
		}
		err = s.build(ctx, tmp, v)
		lock.Close()
		switch {
		case err == nil:
			return nil
		case errors.Is(err, fs.ErrNotExist) && !exists(tmp):
			continue // locked when it was gone already
		}
		return errors.Join(err, os.RemoveAll(tmp))
	}
}

func (s *Store) build(ctx context.Context, tmp string, v Volume) error {
	if err := os.Mkdir(filepath.Join(tmp, dataName), 0o755); err != nil {
		return err
	}
	// The umask must not decide who can read a volume.
	if err := os.Chmod(filepath.Join(tmp, dataName), 0o755); err != nil {
		return err
	}
	if err := write(tmp, v); err != nil {
		return err
	}
	if err := failpoint.Reach(ctx, failpoint.VolumeBuilt); err != nil {
		return err
	}
	err := unix.Renameat2(unix.AT_FDCWD, tmp, unix.AT_FDCWD, filepath.Join(s.dir, v.Name), unix.RENAME_NOREPLACE)
	if errors.Is(err, unix.EEXIST) {
		return fmt.Errorf("the name is taken: %w", errdefs.ErrAlreadyExists)
	}
	if err != nil || v.Anonymous {
		return err
	}
	return record.SyncDir(s.dir)
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

// Ensure returns the named volume as it is, and makes it as c says when there is
// none. ErrInvalidArgument for a name that no volume may have.
func (s *Store) Ensure(ctx context.Context, c Config) (Volume, error) {
	if err := CheckName(c.Name); err != nil {
		return Volume{}, err
	}
	if err := s.enclose(); err != nil {
		return Volume{}, fmt.Errorf("volume %q: %w", c.Name, err)
	}
	for {
		v, err := s.Get(c.Name)
		if !errdefs.IsNotFound(err) {
			return v, err
		}
		v, err = s.Create(ctx, c)
		if !errdefs.IsAlreadyExists(err) {
			return v, err
		}
		if ctx.Err() != nil {
			return Volume{}, ctx.Err()
		}
	}
}

// Get returns a volume by its full name; ErrNotFound if there is none.
func (s *Store) Get(name string) (Volume, error) {
	if CheckName(name) != nil {
		return Volume{}, fmt.Errorf("volume %q: %w", name, errdefs.ErrNotFound)
	}
	v, err := s.read(name)
	if err != nil {
		return Volume{}, fmt.Errorf("volume %q: %w", name, err)
	}
	return v, nil
}

func (s *Store) read(name string) (Volume, error) {
	data, err := os.ReadFile(filepath.Join(s.dir, name, fileName))
	if errors.Is(err, fs.ErrNotExist) {
		return Volume{}, fmt.Errorf("no such volume: %w", errdefs.ErrNotFound)
	}
	if err != nil {
		return Volume{}, err
	}
	if len(data) == 0 {
		// An anonymous volume's file is not synced: the machine lost power.
		return Volume{Name: name, Path: s.data(name), Anonymous: true, Populated: true}, nil
	}
	var f file
	if err := json.Unmarshal(data, &f); err != nil {
		return Volume{}, fmt.Errorf("reading %s: %w", fileName, err)
	}
	if f.Version > version {
		return Volume{}, fmt.Errorf("%s has version %d, this davit reads up to %d: %w", fileName, f.Version, version, errdefs.ErrFailedPrecondition)
	}
	f.Name, f.Path = name, s.data(name)
	return f.Volume, nil
}

// List returns all volumes, by name. Those that cannot be read are left out and
// named in the error, which comes beside the others.
func (s *Store) List() ([]Volume, error) {
	entries, err := os.ReadDir(s.dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("listing volumes: %w", err)
	}
	var out []Volume
	errs := []error{s.enclose()}
	for _, e := range entries {
		if CheckName(e.Name()) != nil {
			continue
		}
		v, err := s.Get(e.Name())
		switch {
		case errdefs.IsNotFound(err): // removed meanwhile
		case err != nil:
			errs = append(errs, err)
		default:
			out = append(out, v)
		}
	}
	slices.SortFunc(out, func(a, b Volume) int { return strings.Compare(a.Name, b.Name) })
	return out, errors.Join(errs...)
}

// Resolve finds a volume by name or by a unique prefix of an anonymous one's.
// It returns ErrNotFound if there is none and ErrInvalidArgument if the prefix
// fits several, which the message lists.
func (s *Store) Resolve(ref string) (Volume, error) {
	v, err := s.Get(ref)
	if !errdefs.IsNotFound(err) {
		return v, err
	}
	notFound := err
	all, err := s.List()
	var hits []Volume
	for _, v := range all {
		if ref != "" && v.Anonymous && strings.HasPrefix(v.Name, ref) {
			hits = append(hits, v)
		}
	}
	switch {
	case len(hits) == 1:
		return hits[0], nil
	case len(hits) > 1:
		names := make([]string, len(hits))
		for i, h := range hits {
			names[i] = h.Name
		}
		return Volume{}, fmt.Errorf("volume %q is ambiguous: %s: %w", ref, strings.Join(names, ", "), errdefs.ErrInvalidArgument)
	case err != nil:
		return Volume{}, err
	}
	return Volume{}, notFound
}

// CheckName tells whether a name may be a volume's: ErrInvalidArgument if not.
func CheckName(name string) error {
	ok := name != "" && len(name) <= 255
	for i := 0; ok && i < len(name); i++ {
		c := name[i]
		alnum := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
		ok = alnum || i > 0 && (c == '_' || c == '.' || c == '-')
	}
	if !ok {
		return fmt.Errorf("volume name %q: it must be letters, digits, '_', '.' and '-', and start with a letter or digit: %w", name, errdefs.ErrInvalidArgument)
	}
	return nil
}

func (s *Store) data(name string) string { return filepath.Join(s.dir, name, dataName) }

func write(dir string, v Volume) error {
	data, err := json.MarshalIndent(file{Version: version, Volume: v}, "", "  ")
	if err != nil {
		return err
	}
	return record.WriteAtomic(filepath.Join(dir, fileName), append(data, '\n'), record.WriteOptions{Mode: 0o600, Sync: !v.Anonymous})
}

func randomName() string {
	var b [32]byte
	_, _ = rand.Read(b[:]) // never fails: crypto/rand ends the process instead
	return hex.EncodeToString(b[:])
}
