package netns

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"

	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"
)

// Names of the pins in a sandbox's folder.
const (
	netName  = "net"
	ipcName  = "ipc"
	utsName  = "uts"
	userName = "user"
)

// Config says which namespaces to make and what they start with.
type Config struct {
	// Dir is the folder of the pins. It is made (0711) if it is absent, its
	// parent must exist.
	Dir string
	// Net, IPC and UTS ask for a namespace of that kind.
	Net, IPC, UTS bool
	// UIDs and GIDs ask for a user namespace with these mappings, which owns the
	// other namespaces. Both or none.
	UIDs, GIDs []IDMapping
	// Hostname is set in the new UTS namespace; empty leaves the host's.
	// Without UTS it must be empty.
	Hostname string
	// Sysctls are checked by CheckSysctls and written from inside the
	// namespaces.
	Sysctls map[string]string
}

// Pinned holds the paths of pinned namespaces; an empty path means that the
// kind was not asked for.
type Pinned struct {
	Net, IPC, UTS, User string
}

// IDMapping maps Size IDs from ContainerID on, inside, to those from HostID on.
type IDMapping struct {
	ContainerID, HostID, Size uint32
}

// kind ties a namespace's pin to its clone flag.
type kind struct {
	name string
	flag int
}

// kinds are the namespaces that c asks for.
func (c Config) kinds() []kind {
	var ks []kind
	if c.ownUser() {
		ks = append(ks, kind{userName, unix.CLONE_NEWUSER})
	}
	if c.Net {
		ks = append(ks, kind{netName, unix.CLONE_NEWNET})
	}
	if c.IPC {
		ks = append(ks, kind{ipcName, unix.CLONE_NEWIPC})
	}
	if c.UTS {
		ks = append(ks, kind{utsName, unix.CLONE_NEWUTS})
	}
	return ks
}

// Create makes the namespaces that c asks for, brings lo up, sets the hostname,
// writes the sysctls from inside, and pins them in c.Dir. On failure nothing
// stays pinned. A pin that is there already is ErrAlreadyExists: Remove the
// folder first. The caller keeps c.Dir on record before the call, so that a
// crash in it leaves nothing unknown.
func Create(ctx context.Context, c Config) (Pinned, error) {
	if err := c.check(); err != nil {
		return Pinned{}, err
	}
	ks := c.kinds()
	if len(ks) == 0 {
		return Pinned{}, nil
	}
	if err := ctx.Err(); err != nil {
		return Pinned{}, err
	}
	if err := makeTargets(c.Dir, ks); err != nil {
		return Pinned{}, fmt.Errorf("preparing pins in %s: %w", c.Dir, err)
	}
	create := c.createHere
	if c.ownUser() {
		create = c.createOwned
	}
	if err := onThread(func() error { return create(ks) }); err != nil {
		return Pinned{}, errors.Join(fmt.Errorf("creating namespaces in %s: %w", c.Dir, err), Remove(c.Dir))
	}
	return c.pinned(), nil
}

// check refuses a config that cannot be carried out, before any side effect.
func (c Config) check() error {
	if c.Hostname != "" && !c.UTS {
		return fmt.Errorf("hostname %q without a UTS namespace of its own: %w", c.Hostname, errdefs.ErrInvalidArgument)
	}
	if len(c.Hostname) > 64 {
		return fmt.Errorf("hostname %q is longer than 64 bytes: %w", c.Hostname, errdefs.ErrInvalidArgument)
	}
	if hasControl(c.Hostname) {
		return fmt.Errorf("hostname %q has control characters: %w", c.Hostname, errdefs.ErrInvalidArgument)
	}
	if (len(c.UIDs) == 0) != (len(c.GIDs) == 0) {
		return fmt.Errorf("a user namespace needs mappings of users and of groups: %w", errdefs.ErrInvalidArgument)
	}
	if !filepath.IsAbs(c.Dir) {
		return fmt.Errorf("folder of pins %q is not absolute: %w", c.Dir, errdefs.ErrInvalidArgument)
	}
	return CheckSysctls(c.Sysctls, Scope{Net: c.Net, IPC: c.IPC, UTS: c.UTS})
}

// pinned is the result of a successful Create of c.
func (c Config) pinned() Pinned {
	var p Pinned
	if c.Net {
		p.Net = filepath.Join(c.Dir, netName)
	}
	if c.IPC {
		p.IPC = filepath.Join(c.Dir, ipcName)
	}
	if c.UTS {
		p.UTS = filepath.Join(c.Dir, utsName)
	}
	if c.ownUser() {
		p.User = filepath.Join(c.Dir, userName)
	}
	return p
}

// createHere does the work of Create on the calling thread, which is thrown
// away afterwards.
func (c Config) createHere(ks []kind) error {
	flags := 0
	for _, k := range ks {
		flags |= k.flag
	}
	if err := unix.Unshare(flags); err != nil {
		return os.NewSyscallError("unshare", err)
	}
	if err := c.furnish(); err != nil {
		return err
	}
	return c.pin(ks, "/proc/thread-self/ns")
}

// furnish sets the calling thread's new namespaces up.
func (c Config) furnish() error {
	if c.Net {
		if err := loopbackUp(); err != nil {
			return fmt.Errorf("bringing lo up: %w", err)
		}
		if err := ignoreAdvertisements(); err != nil {
			return err
		}
	}
	if c.Hostname != "" {
		if err := unix.Sethostname([]byte(c.Hostname)); err != nil {
			return os.NewSyscallError("sethostname", err)
		}
	}
	return c.writeSysctls()
}

// pin bind mounts the namespaces found in from.
func (c Config) pin(ks []kind, from string) error {
	for _, k := range ks {
		target := filepath.Join(c.Dir, k.name)
		if err := unix.Mount(filepath.Join(from, k.name), target, "", unix.MS_BIND, ""); err != nil {
			return &os.PathError{Op: "bind mounting namespace on", Path: target, Err: err}
		}
	}
	return nil
}

// makeTargets makes the empty files that the namespaces are mounted on.
func makeTargets(dir string, ks []kind) error {
	if err := os.Mkdir(dir, 0o711); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	for _, k := range ks {
		path := filepath.Join(dir, k.name)
		pinned, err := Pin(path)
		if err != nil {
			return err
		}
		if pinned {
			return fmt.Errorf("namespace %s is pinned already: %w", path, errdefs.ErrAlreadyExists)
		}
		f, err := os.OpenFile(path, os.O_CREATE|os.O_RDONLY|unix.O_NOFOLLOW, 0o600)
		if err != nil {
			return err
		}
		if err := f.Close(); err != nil {
			return err
		}
	}
	return nil
}

// Pin reports whether path is a pinned namespace. An absent path is not one.
func Pin(path string) (bool, error) {
	var st unix.Statfs_t
	err := unix.Statfs(path, &st)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, &os.PathError{Op: "statfs", Path: path, Err: err}
	}
	return st.Type == unix.NSFS_MAGIC, nil
}

// Remove unpins all namespaces in dir and removes it. It is idempotent: absent
// pins, an absent folder and pins unmounted behind our back are success. A
// folder that holds other files keeps them. The namespaces themselves live on
// while a process is in them.
func Remove(dir string) error {
	var errs []error
	for _, name := range []string{netName, ipcName, utsName, userName} {
		if err := unpin(filepath.Join(dir, name)); err != nil {
			errs = append(errs, err)
		}
	}
	err := os.Remove(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, unix.ENOTEMPTY) {
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// unpin unmounts whatever is mounted on path, also several times, and removes it.
func unpin(path string) error {
	for {
		err := unix.Unmount(path, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW)
		if err == nil {
			continue
		}
		if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOENT) {
			break // not a mount point (any more)
		}
		return &os.PathError{Op: "unmount", Path: path, Err: err}
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// Do runs f in the network namespace pinned at path, on a thread of its own.
// An absent namespace is ErrNotFound. Sockets that f opens stay in that
// namespace for their life, so f may hand them out. f must not start
// goroutines that rely on the namespace.
func Do(path string, f func() error) error {
	file, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("network namespace %s: %w", path, errdefs.ErrNotFound)
	}
	if err != nil {
		return fmt.Errorf("opening network namespace: %w", err)
	}
	defer file.Close()
	return onThread(func() error {
		if err := unix.Setns(int(file.Fd()), unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("entering network namespace %s: %w", path, err)
		}
		return f()
	})
}

// onThread runs f on a thread that dies with it: the goroutine locks its thread
// and ends without unlocking, so the runtime destroys the thread (see
// runtime.LockOSThread) instead of giving it to another goroutine.
//
// The process's main thread is the exception: the runtime cannot destroy it and
// parks it for ever, which would keep the namespace alive and make it the
// process's own in /proc. A goroutine that finds itself there hands f on to
// another one, and keeps the main thread busy until that is done.
func onThread(f func() error) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		if unix.Gettid() == unix.Getpid() {
			defer runtime.UnlockOSThread()
			done <- onThread(f)
			return
		}
		done <- f()
	}()
	return <-done
}

// ignoreAdvertisements keeps interfaces that will come into the thread's network
// namespace from taking routes of whoever advertises them: a neighbour could make
// itself the router of all (CVE-2020-10749). A sysctl of the sandbox can allow it
// again. Without IPv6 there is nothing to do.
func ignoreAdvertisements() error {
	err := os.WriteFile("/proc/sys/net/ipv6/conf/default/accept_ra", []byte("0"), 0)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("ignoring router advertisements: %w", err)
	}
	return nil
}

// loopbackUp sets IFF_UP on lo in the thread's network namespace.
func loopbackUp() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return os.NewSyscallError("socket", err)
	}
	defer unix.Close(fd)
	ifr, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	if err := unix.IoctlIfreq(fd, unix.SIOCGIFFLAGS, ifr); err != nil {
		return os.NewSyscallError("SIOCGIFFLAGS", err)
	}
	ifr.SetUint16(ifr.Uint16() | unix.IFF_UP)
	return os.NewSyscallError("SIOCSIFFLAGS", unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, ifr))
}
