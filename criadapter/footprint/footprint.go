package footprint

import (
	"debug/elf"
	"errors"
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"strings"

	"golang.org/x/sys/unix"
)

// Footprint is the memory of this process.
type Footprint struct{ program []segment }

// segment is a part of the program that nobody writes to, in memory.
type segment struct{ begin, end uint64 }

// New finds out where the program is in memory, and has the kernel map it in small
// pages: the page cache may hold it in huge ones, which count whole however little
// of them is used. After an error Release does without the program's pages.
//
// It ends the sampling of allocations, unless GODEBUG asks for it: Go remembers each
// chain of calls that a sample has come from, for ever, and of a heap as small as this
// one so few samples say nothing.
func New() (*Footprint, error) {
	if !strings.Contains(os.Getenv("GODEBUG"), "memprofilerate=") {
		runtime.MemProfileRate = 0
	}
	f := &Footprint{}
	program, err := segments()
	if err != nil {
		return f, fmt.Errorf("finding this program in memory: %w", err)
	}
	for _, s := range program {
		// EINVAL is that of a kernel without huge pages.
		if err := s.advise(unix.MADV_NOHUGEPAGE); err != nil && !errors.Is(err, unix.EINVAL) {
			return f, fmt.Errorf("mapping this program in small pages: %w", err)
		}
	}
	f.program = program
	return f, nil
}

// Release gives back what the process does not need now: of the heap what is free,
// as Go by itself keeps what the busiest moment needed, and the pages of the program,
// which stay in the page cache and come back as they are used.
func (f *Footprint) Release() error {
	debug.FreeOSMemory()
	for _, s := range f.program {
		if err := s.advise(unix.MADV_DONTNEED); err != nil {
			return fmt.Errorf("releasing this program's pages: %w", err)
		}
	}
	return nil
}

// advise is madvise(2).
func (s segment) advise(how int) error {
	if _, _, errno := unix.Syscall(unix.SYS_MADVISE, uintptr(s.begin), uintptr(s.end-s.begin), uintptr(how)); errno != 0 {
		return errno
	}
	return nil
}

// self is the program that runs, also when its file is gone.
const self = "/proc/self/exe"

// segments are those of the program that the linker says nobody writes to. A mapping
// that is read-only now is not enough: relocations have been written to some before
// (PT_GNU_RELRO), and would be lost.
func segments() ([]segment, error) {
	file, err := elf.Open(self)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	path, err := os.Readlink(self)
	if err != nil {
		return nil, err
	}
	maps, err := os.ReadFile("/proc/self/maps")
	if err != nil {
		return nil, err
	}
	base, err := loadedAt(string(maps), path)
	if err != nil {
		return nil, err
	}
	return unwritten(file.Progs, base, uint64(os.Getpagesize())), nil
}

// loadedAt is where the beginning of a program's file is mapped, by /proc/PID/maps.
func loadedAt(maps, path string) (uint64, error) {
	for line := range strings.Lines(maps) {
		var begin, end, offset uint64
		var mode string
		if _, err := fmt.Sscanf(line, "%x-%x %s %x", &begin, &end, &mode, &offset); err != nil {
			return 0, fmt.Errorf("reading %q: %w", strings.TrimSpace(line), err)
		}
		if offset == 0 && strings.HasSuffix(strings.TrimSuffix(line, "\n"), " "+path) {
			return begin, nil
		}
	}
	return 0, fmt.Errorf("%s is not mapped", path)
}

// unwritten are the loaded segments without PF_W of a program whose file begins at
// base in memory, in whole pages.
func unwritten(progs []*elf.Prog, base, page uint64) []segment {
	var out []segment
	first := uint64(0) // the address that the linker gave to the file's beginning
	for _, p := range progs {
		if p.Type == elf.PT_LOAD && p.Off == 0 {
			first = p.Vaddr
		}
	}
	for _, p := range progs {
		if p.Type == elf.PT_LOAD && p.Flags&elf.PF_W == 0 {
			begin := base + p.Vaddr - first
			out = append(out, segment{begin &^ (page - 1), (begin + p.Memsz + page - 1) &^ (page - 1)})
		}
	}
	return out
}
