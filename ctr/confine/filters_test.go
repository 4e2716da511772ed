package confine

import (
	"bytes"
	"encoding/binary"
	"os"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// program is a filter of n instructions, of which the last one returns k.
func program(n int, k uint32) []byte {
	p := make([]byte, n*instructionSize)
	last := p[len(p)-instructionSize:]
	binary.NativeEndian.PutUint16(last, unix.BPF_RET|unix.BPF_K)
	binary.NativeEndian.PutUint32(last[4:], k)
	return p
}

func write(t *testing.T, path string, data []byte) string {
	t.Helper()
	if err := os.WriteFile(path, data, 0o700); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestFilters(t *testing.T) {
	dir := t.TempDir()
	f := Filters{Dir: filepath.Join(dir, "filters")}
	if f.Get("a") != nil {
		t.Error("a filter that was never kept")
	}
	one := program(3, unix.SECCOMP_RET_ALLOW)
	made := write(t, filepath.Join(dir, "made"), one)
	if err := f.Keep("a", made); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(one, f.Get("a")); diff != "" {
		t.Error(diff)
	}
	kept := filepath.Join(f.Dir, "a")
	data, err := os.ReadFile(kept)
	if err != nil {
		t.Fatal(err)
	}
	for i := range data {
		flipped := bytes.Clone(data)
		flipped[i] ^= 1
		write(t, kept, flipped)
		if got := f.Get("a"); got != nil {
			t.Fatalf("byte %d is another one, and the filter is given all the same: %x", i, got)
		}
	}
	write(t, kept, data[:len(data)-instructionSize])
	if f.Get("a") != nil {
		t.Error("a filter without its end")
	}
	write(t, kept, nil)
	if f.Get("a") != nil {
		t.Error("a filter of nothing")
	}
}

func TestFiltersKeepPrograms(t *testing.T) {
	dir := t.TempDir()
	f := Filters{Dir: filepath.Join(dir, "filters")}
	whole := program(2, unix.SECCOMP_RET_ALLOW)
	tests := []struct {
		name string
		data []byte
		ok   bool
	}{
		{"the shortest", program(1, 0), true},
		{"the longest", program(4096, 0), true},
		{"too long", program(4097, 0), false},
		{"empty", nil, false},
		{"cut", whole[:len(whole)-1], false},
		{"does not return", make([]byte, 2*instructionSize), false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			err := f.Keep("key", write(t, filepath.Join(dir, "made"), tt.data))
			if (err == nil) != tt.ok || (f.Get("key") != nil) != tt.ok {
				t.Errorf("kept: %v, error %v", f.Get("key") != nil, err)
			}
			if err := os.RemoveAll(f.Dir); err != nil {
				t.Fatal(err)
			}
		})
	}
	link := filepath.Join(dir, "link")
	if err := os.Symlink(write(t, filepath.Join(dir, "made"), whole), link); err != nil {
		t.Fatal(err)
	}
	if err := f.Keep("key", link); err == nil {
		t.Error("a link is followed")
	}
}

func TestFiltersAreFew(t *testing.T) {
	dir := t.TempDir()
	f := Filters{Dir: filepath.Join(dir, "filters")}
	made := write(t, filepath.Join(dir, "made"), program(1, 0))
	for i := range 3 * filtersKept {
		if err := f.Keep(strconv.Itoa(i), made); err != nil {
			t.Fatal(err)
		}
		entries, err := os.ReadDir(f.Dir)
		if err != nil || len(entries) > filtersKept || f.Get(strconv.Itoa(i)) == nil {
			t.Fatalf("%d filters after %d, error %v", len(entries), i+1, err)
		}
	}
}

// TestFilterKeys: what a filter is compiled from names it.
func TestFilterKeys(t *testing.T) {
	dir := t.TempDir()
	runtime := write(t, filepath.Join(dir, "crun"), []byte("1"))
	filter := func(calls ...string) *specs.LinuxSeccomp {
		return &specs.LinuxSeccomp{
			DefaultAction: specs.ActErrno, Architectures: []specs.Arch{specs.ArchX86_64},
			Syscalls: []specs.LinuxSyscall{{Names: calls, Action: specs.ActAllow}},
		}
	}
	seen := map[string]string{}
	key := func(what string, s *specs.LinuxSeccomp) string {
		t.Helper()
		k, err := Filters{}.Key(s, runtime)
		if err != nil {
			t.Fatal(err)
		}
		if as, ok := seen[k]; ok {
			t.Errorf("%s has the key of %s", what, as)
		}
		seen[k] = what
		return k
	}
	first := key("one call", filter("read"))
	if k, err := (Filters{}).Key(filter("read"), runtime); k != first || err != nil {
		t.Errorf("the same filter has another key, error %v", err)
	}
	key("two calls", filter("read", "write"))
	key("the other order", filter("write", "read"))
	errno := filter("read")
	errno.DefaultErrnoRet = new(uint(1))
	key("an errno", errno)
	arch := filter("read")
	arch.Architectures = nil
	key("no architecture", arch)
	argument := filter("read")
	argument.Syscalls[0].Args = []specs.LinuxSeccompArg{{Index: 1, Value: 2, Op: specs.OpEqualTo}}
	key("an argument", argument)
	write(t, runtime, []byte("22"))
	key("another size of the runtime", filter("read"))
	if err := os.Rename(write(t, filepath.Join(dir, "new"), []byte("33")), runtime); err != nil {
		t.Fatal(err)
	}
	key("another file in the runtime's place", filter("read"))
	if _, err := (Filters{}).Key(filter("read"), filepath.Join(dir, "absent")); err == nil {
		t.Error("a runtime that is not there has a key")
	}
}
