package footprint

import (
	"debug/elf"
	"os"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"unsafe"

	"github.com/google/go-cmp/cmp"
)

// The program is mapped in small pages, what is written to is left alone, and the
// process goes on with fewer pages of its program, and without what its heap has free.
func TestRelease(t *testing.T) {
	path, err := os.Readlink(self)
	if err != nil {
		t.Fatal(err)
	}
	f, err := New()
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range f.program { // all of it is in use
		for _, flags := range mappings(t, path) {
			if flags.begin == s.begin && !flags.small {
				t.Errorf("the segment at %x may have huge pages", s.begin)
			}
		}
	}
	for _, s := range f.program { // so that it is all there, whatever was used so far
		touched += touch(s)
	}
	before := mappings(t, path)
	held = make([]byte, 64<<20)
	held = nil
	if err := f.Release(); err != nil {
		t.Fatal(err)
	}
	was, is := 0, 0
	for i, m := range mappings(t, path) {
		if m.writable && m.small {
			t.Errorf("the data at %x were touched", m.begin)
		}
		if !m.writable {
			was, is = was+before[i].rss, is+m.rss
		}
	}
	if is > was*3/4 { // a page that is needed brings many with it
		t.Errorf("the program has %d KiB, and had %d", is, was)
	}
	var heap runtime.MemStats
	runtime.ReadMemStats(&heap)
	if here := heap.HeapSys - heap.HeapReleased; here > 32<<20 {
		t.Errorf("the heap takes %d bytes, 64 MiB of which were free", here)
	}
	if cmp.Diff("a", "b") == "" { // code that was not used yet
		t.Error("the program is not what it was")
	}
}

// held is on the heap, and touched is needed, whatever the compiler sees.
var (
	held    []byte
	touched int
)

// touch reads a byte of every page of a part of the program.
func touch(s segment) (sum int) {
	all := unsafe.Slice((*byte)(unsafe.Add(unsafe.Pointer(nil), s.begin)), s.end-s.begin)
	for i := 0; i < len(all); i += os.Getpagesize() {
		sum += int(all[i])
	}
	return sum
}

// mapping is one of /proc/self/smaps.
type mapping struct {
	begin           uint64
	writable, small bool
	rss             int
}

func mappings(t *testing.T, path string) (out []mapping) {
	t.Helper()
	data, err := os.ReadFile("/proc/self/smaps")
	if err != nil {
		t.Fatal(err)
	}
	ours := false
	for line := range strings.Lines(string(data)) {
		words := strings.Fields(line)
		switch {
		case !strings.HasSuffix(words[0], ":"):
			var m mapping
			if ours = strings.HasSuffix(line, " "+path+"\n"); !ours {
				continue
			}
			m.begin = number(t, "0x"+strings.Split(words[0], "-")[0])
			m.writable = strings.Contains(words[1], "w")
			out = append(out, m)
		case ours && words[0] == "Rss:":
			out[len(out)-1].rss = int(number(t, words[1]))
		case ours && words[0] == "VmFlags:":
			out[len(out)-1].small = strings.Contains(line, " nh")
		}
	}
	return out
}

func number(t *testing.T, text string) uint64 {
	t.Helper()
	n, err := strconv.ParseUint(text, 0, 64)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func TestUnwritten(t *testing.T) {
	progs := []*elf.Prog{
		{ProgHeader: elf.ProgHeader{Type: elf.PT_INTERP, Off: 0x350, Vaddr: 0x350, Memsz: 0x1c, Flags: elf.PF_R}},
		{ProgHeader: elf.ProgHeader{Type: elf.PT_LOAD, Off: 0, Vaddr: 0x1000, Memsz: 0x2830, Flags: elf.PF_R}},
		{ProgHeader: elf.ProgHeader{Type: elf.PT_LOAD, Off: 0x3000, Vaddr: 0x4000, Memsz: 0x5000, Flags: elf.PF_R | elf.PF_X}},
		{ProgHeader: elf.ProgHeader{Type: elf.PT_LOAD, Off: 0x8448, Vaddr: 0xa448, Memsz: 0x9000, Flags: elf.PF_R | elf.PF_W}},
		{ProgHeader: elf.ProgHeader{Type: elf.PT_GNU_RELRO, Off: 0x8448, Vaddr: 0xa448, Memsz: 0x900, Flags: elf.PF_R}},
	}
	want := []segment{{0x70000, 0x73000}, {0x73000, 0x78000}}
	if got := unwritten(progs, 0x70000, 0x1000); !cmp.Equal(want, got, cmp.AllowUnexported(segment{})) {
		t.Errorf("got %x, want %x", got, want)
	}
}

func TestLoadedAt(t *testing.T) {
	maps := "00400000-00403000 r--p 00000000 fe:00 11 /usr/bin/other davit\n" +
		"00403000-014c9000 r-xp 00003000 fe:00 12 /usr/bin/davit\n" +
		"7f0000000000-7f0000003000 r--p 00000000 fe:00 12     /usr/bin/davit\n" +
		"7ffc00000000-7ffc00003000 rw-p 00000000 00:00 0     [stack]\n"
	if got, err := loadedAt(maps, "/usr/bin/davit"); err != nil || got != 0x7f0000000000 {
		t.Errorf("it is at %x: %v", got, err)
	}
	if _, err := loadedAt(maps, "/usr/bin/podman"); err == nil {
		t.Error("what is not mapped was found")
	}
}

// Allocations of a process that stays leave nothing behind in the runtime's profile.
func TestNoSampling(t *testing.T) {
	if _, err := New(); err != nil {
		t.Fatal(err)
	}
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	held = make([]byte, 64<<20) // each processor takes the sample that was due before
	allocateMuch()
	for range 3 { // the profile is some collections behind
		runtime.GC()
	}
	known := make([]runtime.MemProfileRecord, 10_000)
	n, ok := runtime.MemProfile(known, true)
	if !ok {
		t.Fatalf("the profile has %d chains of calls", n)
	}
	for _, r := range known[:n] {
		frames := runtime.CallersFrames(r.Stack())
		for f, more := frames.Next(); more; f, more = frames.Next() {
			if strings.HasSuffix(f.Function, ".allocateMuch") {
				t.Fatal("this chain of calls is remembered")
			}
		}
	}
}

//go:noinline
func allocateMuch() {
	for range 64 {
		held = make([]byte, 1<<20)
	}
}
