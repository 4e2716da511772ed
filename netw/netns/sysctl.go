package netns

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/containerd/errdefs"
)

// Scope says which namespaces a sandbox has of its own: sysctls outside them
// would change the host.
type Scope struct {
	Net, IPC, UTS bool
}

// CheckSysctls refuses every sysctl that is not namespaced, whose namespace is
// not in scope, whose name is not plain dotted words, or whose value is not of
// the name's type. All refusals wrap ErrInvalidArgument; all are reported.
//
// A name with a slash is refused: the kernel takes "a/b" and "a.b" for
// different files when a component holds a dot, and that difference has been
// used to reach sysctls outside an allow list.
func CheckSysctls(sysctls map[string]string, scope Scope) error {
	var errs []error
	for _, name := range sortedKeys(sysctls) {
		if err := checkSysctl(name, sysctls[name], scope); err != nil {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// valueType is what a sysctl's value must look like.
type valueType int

const (
	uintValue  valueType = iota // one unsigned integer
	boolValue                   // 0 or 1
	semValue                    // four unsigned integers
	wordsValue                  // integers or words, separated by blanks
	nameValue                   // a domain name
)

// sysctlType finds namespace and type of a sysctl; ok is false for a name that
// is not namespaced.
func sysctlType(name string, scope Scope) (t valueType, inScope, ok bool) {
	switch name {
	case "kernel.shm_rmid_forced":
		return boolValue, scope.IPC, true
	case "kernel.sem":
		return semValue, scope.IPC, true
	case "kernel.msgmax", "kernel.msgmnb", "kernel.msgmni",
		"kernel.shmall", "kernel.shmmax", "kernel.shmmni",
		"kernel.msg_next_id", "kernel.sem_next_id", "kernel.shm_next_id",
		"kernel.auto_msgmni":
		return uintValue, scope.IPC, true
	case "kernel.domainname":
		return nameValue, scope.UTS, true
	}
	switch {
	case strings.HasPrefix(name, "fs.mqueue."):
		return uintValue, scope.IPC, true
	case strings.HasPrefix(name, "net."):
		return wordsValue, scope.Net, true
	}
	return 0, false, false
}

func checkSysctl(name, value string, scope Scope) error {
	if !plainName(name) {
		return fmt.Errorf("sysctl %q: not a plain dotted name: %w", name, errdefs.ErrInvalidArgument)
	}
	t, inScope, ok := sysctlType(name, scope)
	if !ok {
		return fmt.Errorf("sysctl %s: not namespaced, it would change the host: %w", name, errdefs.ErrInvalidArgument)
	}
	if !inScope {
		return fmt.Errorf("sysctl %s: the sandbox has no namespace of its own for it: %w", name, errdefs.ErrInvalidArgument)
	}
	if !t.accepts(value) {
		return fmt.Errorf("sysctl %s: value %q is not of its type: %w", name, value, errdefs.ErrInvalidArgument)
	}
	return nil
}

// accepts reports whether value is of type t.
func (t valueType) accepts(value string) bool {
	if value == "" || len(value) > 256 {
		return false
	}
	fields := strings.FieldsFunc(value, func(r rune) bool { return r == ' ' || r == '\t' })
	switch t {
	case boolValue:
		return value == "0" || value == "1"
	case uintValue:
		return len(fields) == 1 && isUint(fields[0])
	case semValue:
		return len(fields) == 4 && !slices.ContainsFunc(fields, func(f string) bool { return !isUint(f) })
	case nameValue:
		return len(value) <= 64 && isWord(value)
	default:
		return len(fields) > 0 && !slices.ContainsFunc(fields, func(f string) bool { return !isWord(f) })
	}
}

func isUint(s string) bool {
	_, err := strconv.ParseUint(s, 10, 64)
	return err == nil
}

// isWord accepts what values of net.* are made of: numbers, port and address
// ranges, names of algorithms.
func isWord(s string) bool {
	for _, r := range s {
		switch {
		case r >= '0' && r <= '9', r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z':
		case strings.ContainsRune("-_.,:+", r):
		default:
			return false
		}
	}
	return s != ""
}

// plainName accepts dotted words without empty parts.
func plainName(s string) bool {
	for part := range strings.SplitSeq(s, ".") {
		if part == "" {
			return false
		}
		for _, r := range part {
			switch {
			case r >= '0' && r <= '9', r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r == '-', r == '_':
			default:
				return false
			}
		}
	}
	return len(s) <= 256
}

// writeSysctls writes the checked sysctls, seen from the calling thread's
// namespaces, in the order of their names. In a user namespace's IPC namespace
// only its root may write them (ipc_permissions, whatever our capabilities), so
// what is denied is tried again as that user.
func (c Config) writeSysctls() error {
	for _, name := range sortedKeys(c.Sysctls) {
		err := writeSysctl(name, c.Sysctls[name])
		if errors.Is(err, fs.ErrPermission) && c.ownUser() {
			err = asUser(c.UIDs, func() error { return writeSysctl(name, c.Sysctls[name]) })
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func writeSysctl(name, value string) error {
	path := filepath.Join("/proc/sys", strings.ReplaceAll(name, ".", "/"))
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("sysctl %s: the kernel has none: %w", name, errdefs.ErrInvalidArgument)
	}
	if err != nil {
		return fmt.Errorf("opening sysctl %s: %w", name, err)
	}
	_, err = f.WriteString(value)
	if err := errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("writing sysctl %s: %w", name, err)
	}
	return nil
}

// hasControl reports whether s has control characters.
func hasControl(s string) bool {
	return strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r == 0x7f })
}

func sortedKeys(m map[string]string) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
