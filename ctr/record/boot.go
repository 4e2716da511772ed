package record

import (
	"bytes"
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
)

const (
	bootIDName   = "boot-id"
	unsettled    = "unsettled"      // there while what an earlier boot left is not settled
	bootPatience = 30 * time.Second // for another process that empties the run root
)

// EnsureBoot makes the two roots, mode 0711, and empties the run root when it
// is of an earlier boot: its file boot-id then is not this boot's. Any number of
// processes may call it at once; when there is nothing to do it costs two reads.
//
// It reports whether this call was the first of a boot with records of an earlier
// one: what that boot has ended is then to be settled, by [Settle].
//
// What is still mounted below a run root that is to be emptied is detached
// first; if that cannot be done, nothing is removed and EnsureBoot returns
// ErrFailedPrecondition. A folder that has neither a boot-id nor records was
// never a run root: it becomes one and keeps what it has.
func EnsureBoot(p Paths) (rebooted bool, err error) {
	return ensureBoot(p, "/proc/sys/kernel/random/boot_id")
}

func ensureBoot(p Paths, bootFile string) (bool, error) {
	for _, dir := range []string{p.Root, p.RunRoot} {
		if !filepath.IsAbs(dir) {
			return false, invalidf("root %q is to be an absolute path", dir)
		}
		if err := makeRoot(dir); err != nil {
			return false, err
		}
	}
	boot, err := readFile(bootFile)
	if err != nil {
		return false, err
	}
	path := p.RunRoot + "/" + bootIDName
	if have, err := readFile(path); err == nil && bytes.Equal(bytes.TrimSpace(have), bytes.TrimSpace(boot)) {
		return false, nil
	}
	lock, err := lockRunRoot(p.RunRoot)
	if err != nil {
		return false, fmt.Errorf("locking %s: %w", p.RunRoot, err)
	}
	defer unlock(lock)
	have, err := readFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return false, err
	}
	if err == nil && bytes.Equal(bytes.TrimSpace(have), bytes.TrimSpace(boot)) {
		return false, nil
	}
	stale := err == nil || exists(p.RunRoot+"/status")
	if stale {
		if err := emptyRunRoot(p.RunRoot); err != nil {
			return false, fmt.Errorf("emptying %s after a reboot: %w", p.RunRoot, err)
		}
	}
	rebooted := stale || hasRecords(p.Root)
	if rebooted {
		// First: once the boot-id is this boot's, only this says that it is new.
		if err := WriteAtomic(p.RunRoot+"/"+unsettled, nil, WriteOptions{}); err != nil {
			return false, err
		}
	}
	return rebooted, WriteAtomic(path, boot, WriteOptions{})
}

// hasRecords says whether there are objects at all. Most run roots do not outlive
// a reboot, so that this alone tells the first boot of a davit from the next.
func hasRecords(root string) bool {
	kinds, err := os.ReadDir(root + "/names")
	if err != nil {
		return false
	}
	for _, k := range kinds {
		if ids, err := listIDs(root + "/" + k.Name()); err == nil && len(ids) > 0 {
			return true
		}
	}
	return false
}

// Settle calls f where what an earlier boot left has not been settled in this one.
// It is settled once f has succeeded; until then, also when the process dies in f,
// the next Settle calls its f. While another process is at it, Settle does nothing:
// what that boot left is then settled soon, not yet when it returns. In a boot
// where there is nothing to settle it costs one look.
func Settle(p Paths, f func() error) error {
	path := p.RunRoot + "/" + unsettled
	fd, err := open(path, unix.O_RDONLY|unix.O_NOFOLLOW)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if err := tryLock(fd, unix.LOCK_EX); err != nil {
		unix.Close(fd)
		if errors.Is(err, errLocked) {
			return nil
		}
		return fmt.Errorf("locking %s: %w", path, err)
	}
	defer unlock(fd)
	if !linked(fd) {
		return nil // another process was faster
	}
	if err := f(); err != nil {
		return err
	}
	return removeFile(path)
}

func makeRoot(dir string) error {
	if exists(dir) {
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		return err
	}
	err := os.Mkdir(dir, 0o711)
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	if err != nil {
		return err
	}
	return os.Chmod(dir, 0o711) // whatever the umask
}

// lockRunRoot lets one process at a time empty the run root.
func lockRunRoot(dir string) (int, error) {
	fd, err := open(dir, unix.O_RDONLY|unix.O_DIRECTORY)
	if err != nil {
		return -1, err
	}
	for start := time.Now(); ; time.Sleep(pauseMax) {
		err := tryLock(fd, unix.LOCK_EX)
		if err == nil {
			return fd, nil
		}
		if !errors.Is(err, errLocked) || time.Since(start) > bootPatience {
			unix.Close(fd)
			return -1, fmt.Errorf("%w: %w", err, errdefs.ErrUnavailable)
		}
	}
}

// emptyRunRoot removes everything but the boot-id, which goes last.
func emptyRunRoot(dir string) error {
	real, err := filepath.EvalSymlinks(dir)
	if err != nil {
		return err
	}
	mounts, err := mountsBelow(real)
	if err != nil {
		return err
	}
	for _, m := range slices.Backward(mounts) {
		if err := unix.Unmount(m, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW); err != nil && !errors.Is(err, unix.EINVAL) {
			return fmt.Errorf("unmounting %s: %w", m, err)
		}
	}
	if mounts, err = mountsBelow(real); err != nil {
		return err
	}
	if len(mounts) > 0 {
		return fmt.Errorf("%s is still mounted: %w", strings.Join(mounts, ", "), errdefs.ErrFailedPrecondition)
	}
	for try := 0; ; try++ {
		err := removeContents(real, bootIDName)
		if !errors.Is(err, unix.ENOTEMPTY) || try == 10 {
			return err // not empty: a process of this boot makes folders already
		}
	}
}

// mountsBelow lists the mount points below dir in the order they were made.
func mountsBelow(dir string) ([]string, error) {
	data, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return nil, err
	}
	return parseMounts(string(data), dir), nil
}

// parseMounts reads mountinfo, see proc(5): the fifth field is the mount
// point, with space, tab, newline and backslash in octal.
func parseMounts(info, dir string) []string {
	unescape := strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`)
	var points []string
	for line := range strings.Lines(info) {
		fields := strings.Fields(line)
		if len(fields) < 5 {
			continue
		}
		if point := unescape.Replace(fields[4]); strings.HasPrefix(point, dir+"/") {
			points = append(points, point)
		}
	}
	return points
}
