package confine

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"

	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"
)

// profileLimit is the size up to which a seccomp profile is read.
const profileLimit = 1 << 20

// SeccompFile returns the content of a seccomp profile of the host, a regular
// file of at most 1 MiB. Whatever is wrong with it is ErrInvalidArgument.
func SeccompFile(path string) (string, error) {
	data, err := readProfile(path)
	if err != nil {
		return "", fmt.Errorf("reading seccomp profile: %w: %w", err, errdefs.ErrInvalidArgument)
	}
	return string(data), nil
}

func readProfile(path string) ([]byte, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0) // a FIFO would wait for a writer
	if err != nil {
		return nil, err
	}
	defer f.Close()
	fi, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !fi.Mode().IsRegular() || fi.Size() > profileLimit {
		return nil, &fs.PathError{Op: "read", Path: path, Err: errors.New("not a regular file of at most 1 MiB")}
	}
	return io.ReadAll(io.LimitReader(f, profileLimit))
}

// Where the kernel shows its security modules.
const (
	apparmorEnabled = "/sys/module/apparmor/parameters/enabled"
	selinuxMount    = "/sys/fs/selinux/enforce"
)

// AppArmor returns the profile to give to the runtime: empty for none.
// ErrFailedPrecondition for a profile on a host without AppArmor.
func AppArmor(profile string) (string, error) {
	if profile == "" || profile == "unconfined" {
		return "", nil
	}
	if on, err := os.ReadFile(apparmorEnabled); err != nil || !bytes.HasPrefix(on, []byte("Y")) {
		return "", fmt.Errorf("AppArmor profile %q cannot be used: this host has no AppArmor: %w", profile, errdefs.ErrFailedPrecondition)
	}
	return profile, nil
}

// SELinux refuses the options of a label ("type:spc_t") that this host cannot
// enforce. Those that ask for no confinement are met by a host without SELinux.
func SELinux(options []string) error {
	_, err := os.Stat(selinuxMount)
	return selinux(options, err == nil)
}

func selinux(options []string, enabled bool) error {
	switch {
	case len(options) == 0, slices.Contains(options, "disable"), slices.Contains(options, "type:spc_t") && !enabled:
		return nil
	case !enabled:
		return fmt.Errorf("SELinux label %q cannot be used: this host has no SELinux: %w", strings.Join(options, ","), errdefs.ErrFailedPrecondition)
	}
	return fmt.Errorf("SELinux label %q: labels are not supported: %w", strings.Join(options, ","), errdefs.ErrNotImplemented)
}
