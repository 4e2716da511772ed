package rootfs

import (
	"errors"
	"os"
	"path"
	"strings"

	"golang.org/x/sys/unix"
)

// Lookup is what [LookPath] can tell of a command.
type Lookup int

// Answers of [LookPath]. Only the last two are certain enough to refuse a
// command without asking the runtime.
const (
	Unknown       Lookup = iota
	Found                // there is a file that someone may execute
	NotFound             // there is none, nor a symlink that may lead to one
	NotExecutable        // it is a directory, or no one may execute it
)

// Command is a program as a container's process names it.
type Command struct {
	Name string // args[0]
	Path string // PATH of the container, in which a Name without a slash is looked for
	Cwd  string // absolute; what relative paths count from
	// Mounts are the destinations of everything mounted over the root: what
	// lies in them cannot be told from here.
	Mounts []string
}

// LookPath looks for a command within root, which is only read. It returns the
// path in the container of what it tells about, empty when NotFound or
// Unknown. A file that turns out not to be of an executable's format, or whose
// interpreter is missing, counts as found.
func LookPath(root string, c Command) (string, Lookup) {
	r, err := openRoot(root)
	if err != nil {
		return "", Unknown
	}
	defer r.Close()
	seen := search{root: r}
	for _, m := range append([]string{"/dev", "/proc", "/sys"}, c.Mounts...) {
		seen.mounts = append(seen.mounts, inRoot(m), seen.real(m))
	}
	if strings.Contains(c.Name, "/") {
		return seen.look(absolute(c.Cwd, c.Name))
	}
	if c.Name == "" || c.Path == "" {
		return "", Unknown
	}
	verdict, where := NotFound, ""
	for dir := range strings.SplitSeq(c.Path, ":") {
		p, found := seen.look(path.Join(absolute(c.Cwd, dir), c.Name))
		switch {
		case found == Found:
			if verdict == Unknown {
				return "", Unknown
			}
			return p, Found
		case found == Unknown:
			verdict, where = Unknown, ""
		case found == NotExecutable && verdict == NotFound && !seen.directory:
			verdict, where = NotExecutable, p
		}
	}
	return where, verdict
}

// absolute is not clean: symlinks are followed before "..".
func absolute(cwd, name string) string {
	if path.IsAbs(name) {
		return name
	}
	return cwd + "/" + name
}

type search struct {
	root      rootDir
	mounts    []string
	directory bool // the last look found a directory
}

func (s *search) look(name string) (string, Lookup) {
	s.directory = false
	if s.hidden(inRoot(name)) {
		return "", Unknown
	}
	file, err := s.root.find(name)
	switch {
	case err == nil:
		defer file.Close()
	case errors.Is(err, os.ErrNotExist) || errors.Is(err, unix.ENOTDIR):
		return s.absent(name)
	default:
		return "", Unknown
	}
	if s.hidden(s.root.pathOf(file)) {
		return "", Unknown
	}
	info, err := file.Stat()
	switch {
	case err != nil:
		return "", Unknown
	case info.IsDir():
		s.directory = true
		return inRoot(name), NotExecutable
	case info.Mode().Perm()&0o111 == 0:
		return inRoot(name), NotExecutable
	}
	return inRoot(name), Found
}

// absent tells a name that is not there from one that a mount may bring: its
// directory, or the target of a symlink on the way, lies in one.
func (s *search) absent(name string) (string, Lookup) {
	for dir := name; ; dir = path.Dir(dir) {
		handle, err := s.root.find(path.Dir(dir))
		if errors.Is(err, os.ErrNotExist) || errors.Is(err, unix.ENOTDIR) {
			if dir == "/" || dir == "." {
				return "", Unknown
			}
			continue
		}
		if err != nil {
			return "", Unknown
		}
		defer handle.Close()
		// dir is the first that is missing, in a directory that is there.
		if s.hidden(path.Join(s.root.pathOf(handle), path.Base(dir))) {
			return "", Unknown
		}
		var st unix.Stat_t
		err = unix.Fstatat(int(handle.Fd()), path.Base(dir), &st, unix.AT_SYMLINK_NOFOLLOW)
		if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENOTDIR) || err == nil && st.Mode&unix.S_IFMT != unix.S_IFLNK {
			return "", NotFound
		}
		return "", Unknown
	}
}

// hidden reports a path that lies at or below a mount.
func (s *search) hidden(p string) bool {
	for _, m := range s.mounts {
		if p == m || strings.HasPrefix(p, m+"/") {
			return true
		}
	}
	return p == ""
}

// real is the path within the root that a name leads to, as far as it exists.
func (s *search) real(name string) string {
	handle, err := s.root.find(name)
	if err != nil {
		parent, err := s.root.find(path.Dir(inRoot(name)))
		if err != nil {
			return inRoot(name)
		}
		defer parent.Close()
		return path.Join(s.root.pathOf(parent), path.Base(name))
	}
	defer handle.Close()
	return s.root.pathOf(handle)
}
