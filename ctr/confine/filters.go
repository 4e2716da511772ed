package confine

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/davit-containers/davit/ctr/record"
)

const (
	// bpfLimit is the size of the longest program that the kernel takes: BPF_MAXINSNS
	// instructions of instructionSize bytes.
	bpfLimit        = 4096 * instructionSize
	instructionSize = 8
	bpfClass        = 0x07 // BPF_CLASS of linux/bpf_common.h
	// filtersKept is how many filters are kept: a machine has few profiles, each with
	// a few sets of capabilities.
	filtersKept = 64
)

// Filters keeps what a runtime has compiled of seccomp filters, a program of the
// kernel's BPF, for the next container that has the same one. A file is named by all
// that decides what is in it, and begins with the digest of the rest.
type Filters struct {
	Dir string // made when it is needed
}

// Key names a filter as this runtime compiles it on this kernel: the filter, the
// binary, and what libraries there are for it, which the loader's cache changes with.
func (f Filters) Key(filter *specs.LinuxSeccomp, runtime string) (string, error) {
	var host unix.Utsname
	if err := unix.Uname(&host); err != nil {
		return "", fmt.Errorf("reading the kernel's version: %w", err)
	}
	program, err := identity(runtime)
	if err != nil {
		return "", err
	}
	libraries, err := identity("/etc/ld.so.cache")
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", err
	}
	data, err := json.Marshal(struct {
		Kernel             unix.Utsname
		Program, Libraries unix.Stat_t
		Filter             *specs.LinuxSeccomp
	}{host, program, libraries, filter})
	if err != nil {
		return "", fmt.Errorf("encoding a seccomp filter: %w", err)
	}
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:]), nil
}

// identity tells a file from another one, and from what it was before.
func identity(path string) (unix.Stat_t, error) {
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		return st, &fs.PathError{Op: "stat", Path: path, Err: err}
	}
	st.Atim = unix.Timespec{}
	return st, nil
}

// Get returns the program that Keep was given under this key; nil when there is none,
// or none that is whole.
func (f Filters) Get(key string) []byte {
	data, err := os.ReadFile(filepath.Join(f.Dir, key))
	if err != nil || len(data) < sha256.Size {
		return nil
	}
	sum, program := data[:sha256.Size], data[sha256.Size:]
	if got := sha256.Sum256(program); !bytes.Equal(sum, got[:]) || !isProgram(program) {
		return nil
	}
	return program
}

// Keep copies the program that a runtime has left at path.
func (f Filters) Keep(key, path string) error {
	file, err := os.OpenFile(path, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return err
	}
	defer func() { _ = file.Close() }()
	program, err := io.ReadAll(io.LimitReader(file, bpfLimit+1))
	if err != nil {
		return err
	}
	if !isProgram(program) {
		return fmt.Errorf("%q, of %d bytes, is no filter", path, len(program))
	}
	if err := os.MkdirAll(f.Dir, 0o700); err != nil {
		return err
	}
	if err := f.makeRoom(); err != nil {
		return err
	}
	sum := sha256.Sum256(program)
	return record.WriteAtomic(filepath.Join(f.Dir, key), append(sum[:], program...), record.WriteOptions{})
}

// makeRoom begins anew when there are too many filters, which the next containers
// have compiled again.
func (f Filters) makeRoom() error {
	entries, err := os.ReadDir(f.Dir)
	if err != nil || len(entries) < filtersKept {
		return err
	}
	for _, e := range entries {
		if err := os.Remove(filepath.Join(f.Dir, e.Name())); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// isProgram tells whether that can be a filter: whole instructions, of which the last
// one returns (BPF_RET), as the kernel asks for.
func isProgram(p []byte) bool {
	if len(p) == 0 || len(p) > bpfLimit || len(p)%instructionSize != 0 {
		return false
	}
	return binary.NativeEndian.Uint16(p[len(p)-instructionSize:])&bpfClass == unix.BPF_RET
}
