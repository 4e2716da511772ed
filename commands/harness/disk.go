package harness

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Disk is an ext4 of its own on a loop device, for what must not be done to the
// machine's: it can be full, read-only, or lose power. It writes nothing by itself
// for five minutes, so that a loss of power takes all that was not synced.
type Disk struct {
	At    string // where it is mounted
	image string // the file that it is in
}

// NewDisk makes a disk of so many MiB in the new file image and mounts it at a
// folder. mkfs are further arguments of mkfs.ext4, such as -N and a number of
// inodes. Close takes it away, but for the file.
func NewDisk(ctx context.Context, image, at string, megabytes int, mkfs ...string) (*Disk, error) {
	f, err := os.OpenFile(image, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err == nil {
		err = errors.Join(f.Truncate(int64(megabytes)<<20), f.Close())
	}
	if err != nil {
		return nil, fmt.Errorf("making a disk: %w", err)
	}
	// Without reserved blocks it is as full for root as for anybody.
	if err := runQuietly(ctx, "mkfs.ext4", append(append([]string{"-q", "-m", "0"}, mkfs...), image)...); err != nil {
		return nil, err
	}
	d := &Disk{At: at, image: image}
	return d, d.Mount(ctx)
}

// Mount mounts the disk, on whichever loop device is free; what was begun before
// a loss of power is then finished or undone by its journal.
func (d *Disk) Mount(ctx context.Context) error {
	return runQuietly(ctx, "mount", "-t", "ext4", "-o", "loop,commit=300,noauto_da_alloc", d.image, d.At)
}

// Unmount unmounts the disk and frees the loop device. It waits ten seconds for
// processes that were killed to let go of it.
func (d *Disk) Unmount() error {
	var err error
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		if err = unix.Unmount(d.At, 0); !errors.Is(err, unix.EBUSY) {
			break
		}
	}
	if err != nil {
		return fmt.Errorf("unmounting the disk at %s: %w", d.At, err)
	}
	return nil
}

// Close unmounts the disk, whoever still uses it. It may be repeated.
func (d *Disk) Close() error {
	err := unix.Unmount(d.At, unix.MNT_DETACH)
	if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOENT) {
		return nil
	}
	return err
}

// CutPower is what a loss of power is to the disk: nothing reaches it any more, its
// journal least of all. Processes see errors until it is unmounted.
func (d *Disk) CutPower() error {
	f, err := os.Open(d.At)
	if err != nil {
		return fmt.Errorf("cutting the power of a disk: %w", err)
	}
	defer f.Close()
	const shutdown, withoutJournal = 0x8004587d, 2 // FS_IOC_SHUTDOWN, EXT4_GOING_FLAGS_NOLOGFLUSH
	how := uint32(withoutJournal)
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, f.Fd(), shutdown, uintptr(unsafe.Pointer(&how))); errno != 0 {
		return fmt.Errorf("cutting the power of a disk: %w", errno)
	}
	return nil
}

// PowerOn mounts the disk after a loss of power, on what its users had to end.
func (d *Disk) PowerOn(ctx context.Context) error {
	if err := d.Unmount(); err != nil {
		return err
	}
	return d.Mount(ctx)
}

// ReadOnly makes the disk read-only, or writable again.
func (d *Disk) ReadOnly(ctx context.Context, ro bool) error {
	how := "remount,rw"
	if ro {
		how = "remount,ro"
	}
	return runQuietly(ctx, "mount", "-o", how, d.At)
}

// Fill writes a file into dir until no byte of its file system is left, but for
// spare ones, and returns what takes the file away.
func Fill(dir string, spare int64) (undo func() error, err error) {
	path := dir + "/filler"
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, fmt.Errorf("filling a disk: %w", err)
	}
	defer f.Close()
	undo = func() error { return os.Remove(path) }
	for size := int64(0); ; {
		var st unix.Statfs_t
		if err := unix.Fstatfs(int(f.Fd()), &st); err != nil {
			return undo, fmt.Errorf("filling a disk: %w", err)
		}
		more := min(int64(st.Bavail)*st.Bsize-spare, 64<<20)
		if more <= 0 {
			return undo, nil
		}
		err := unix.Fallocate(int(f.Fd()), 0, size, more)
		for errors.Is(err, unix.ENOSPC) && more > 4096 {
			more /= 2
			err = unix.Fallocate(int(f.Fd()), 0, size, more)
		}
		if errors.Is(err, unix.ENOSPC) {
			return undo, nil
		}
		if err != nil {
			return undo, fmt.Errorf("filling a disk: %w", err)
		}
		size += more
	}
}

// FillInodes makes empty files in a folder of dir until no inode of its file
// system is left, but for spare ones, and returns what takes them away.
func FillInodes(dir string, spare int) (undo func() error, err error) {
	folder := dir + "/filler"
	if err := os.Mkdir(folder, 0o700); err != nil {
		return nil, fmt.Errorf("using up inodes: %w", err)
	}
	undo = func() error { return os.RemoveAll(folder) }
	var made []string
	for i := 0; ; i++ {
		name := folder + "/" + strconv.Itoa(i)
		f, err := os.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
		if errors.Is(err, unix.ENOSPC) {
			break
		}
		if err != nil {
			return undo, fmt.Errorf("using up inodes: %w", err)
		}
		_ = f.Close()
		made = append(made, name)
	}
	for _, name := range made[max(0, len(made)-spare):] {
		if err := os.Remove(name); err != nil {
			return undo, fmt.Errorf("using up inodes: %w", err)
		}
	}
	return undo, nil
}

// NewBoot has the davit of these roots think that the machine was booted since:
// the boot id in its run root is another one's, and the cgroups of its containers,
// which must have ended, are gone.
func (r Roots) NewBoot() error {
	for _, top := range cgroupMounts() {
		var dirs []string
		_ = filepath.WalkDir(filepath.Join(top, "davit-"+r.NetworkTag()), func(path string, d fs.DirEntry, err error) error {
			if err == nil && d.IsDir() {
				dirs = append(dirs, path)
			}
			return nil
		})
		for _, dir := range slices.Backward(dirs) {
			if err := unix.Rmdir(dir); err != nil {
				return fmt.Errorf("removing cgroup %s: %w", dir, err)
			}
		}
	}
	// The layer store has a boot id of its own there, which its run root loses.
	if err := os.RemoveAll(filepath.Join(r.RunRoot, "storage", "davit-boot")); err != nil {
		return err
	}
	id := strings.Repeat("0", 8) + "-dead-4000-8000-" + strings.Repeat("0", 12)
	return os.WriteFile(filepath.Join(r.RunRoot, "boot-id"), []byte(id+"\n"), 0o600)
}
