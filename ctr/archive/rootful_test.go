//go:build rootful

package archive

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"
)

// fixture is a folder for a Root, and another that nothing may reach.
type fixture struct {
	*testing.T
	root    *Root
	dir     string
	outside string
}

func newFixture(t *testing.T) fixture {
	t.Helper()
	f := fixture{T: t, dir: t.TempDir(), outside: t.TempDir()}
	root, err := OpenRoot(f.dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = root.Close() })
	f.root = root
	return f
}

func (f fixture) must(err error) {
	f.Helper()
	if err != nil {
		f.Fatal(err)
	}
}

// write writes files below the root; a name that ends in / is a folder.
func (f fixture) write(names ...string) {
	f.Helper()
	for _, name := range names {
		path := filepath.Join(f.dir, name)
		f.must(os.MkdirAll(filepath.Dir(path), 0o755))
		if strings.HasSuffix(name, "/") {
			f.must(os.MkdirAll(path, 0o755))
			continue
		}
		f.must(os.WriteFile(path, []byte(name), 0o644))
	}
}

// entries are the headers of a tar stream, as name, or name → link.
func (f fixture) entries(stream []byte) []string {
	f.Helper()
	var out []string
	for r := tar.NewReader(bytes.NewReader(stream)); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return out
		}
		f.must(err)
		if h.Linkname != "" {
			h.Name += " → " + h.Linkname
		}
		out = append(out, h.Name)
	}
}

// stream makes a tar stream.
func (f fixture) stream(headers ...tar.Header) io.Reader {
	f.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, h := range headers {
		if h.Typeflag == tar.TypeReg {
			h.Size = int64(len(h.Name))
		}
		f.must(w.WriteHeader(&h))
		if h.Typeflag == tar.TypeReg {
			_, err := io.WriteString(w, h.Name)
			f.must(err)
		}
	}
	f.must(w.Close())
	return &b
}

func file(name string, mode int64) tar.Header {
	return tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: mode}
}

func folder(name string) tar.Header {
	return tar.Header{Typeflag: tar.TypeDir, Name: name + "/", Mode: 0o750}
}

func symlink(name, target string) tar.Header {
	return tar.Header{Typeflag: tar.TypeSymlink, Name: name, Linkname: target}
}

func hardlink(name, target string) tar.Header {
	return tar.Header{Typeflag: tar.TypeLink, Name: name, Linkname: target}
}

// A folder whose owner exchanges it for a link while it is packed is not looked into
// through the link: neither comes what the link leads to, nor is there an entry below
// what the stream calls a link.
func TestPackExchanged(t *testing.T) {
	f := newFixture(t)
	f.write("top/0/", "top/a/honest", "elsewhere/evil")
	big := filepath.Join(f.dir, "top/0/big")
	f.must(os.WriteFile(big, make([]byte, 1<<20), 0o644))
	r, w := io.Pipe()
	packed := make(chan error, 1)
	go func() {
		err := f.root.Pack(t.Context(), "/top", w, PackOptions{})
		packed <- errors.Join(err, w.Close())
	}()
	var got bytes.Buffer
	_, err := io.CopyN(&got, r, 64<<10) // the big file is under way, and top has been read
	f.must(err)
	f.must(os.Symlink("../elsewhere", filepath.Join(f.dir, "top/link")))
	f.must(unix.Renameat2(unix.AT_FDCWD, filepath.Join(f.dir, "top/link"), unix.AT_FDCWD, filepath.Join(f.dir, "top/a"), unix.RENAME_EXCHANGE))
	_, err = io.Copy(&got, r)
	f.must(err)
	f.must(<-packed)
	want := []string{"top/", "top/0/", "top/0/big", "top/a → ../elsewhere"}
	if names := f.entries(got.Bytes()); !slices.Equal(names, want) {
		t.Errorf("packed %q", names)
	}
}

// Nobody is asked for the names of owners: inside a root the C library would go by
// what that root has.
func TestPackAsksForNoNames(t *testing.T) {
	f := newFixture(t)
	f.write("etc/", "a")
	f.must(unix.Mkfifo(filepath.Join(f.dir, "etc/passwd"), 0o644)) // who opens it waits for ever
	f.must(unix.Mkfifo(filepath.Join(f.dir, "etc/group"), 0o644))
	done := make(chan error, 1)
	go func() { done <- f.root.Pack(t.Context(), "/a", io.Discard, PackOptions{}) }()
	select {
	case err := <-done:
		f.must(err)
	case <-time.After(5 * time.Second):
		t.Fatal("it reads the root's /etc/passwd")
	}
}

// What is packed and unpacked is what was there.
func TestRoundTrip(t *testing.T) {
	f := newFixture(t)
	f.write("from/deep/er/file", "from/first", "to/")
	at := time.Unix(1_000_000_000, 0)
	from := func(name string) string { return filepath.Join(f.dir, "from", name) }
	f.must(errors.Join(
		os.Chmod(from("first"), 0o640|fs.ModeSetuid), os.Chown(from("first"), 12, 34), os.Chmod(from("first"), 0o640|fs.ModeSetuid),
		os.Link(from("first"), from("second")),
		os.Symlink("deep/none", from("link")), unix.Mkfifo(from("pipe"), 0o620), os.Chmod(from("pipe"), 0o622),
		os.Chmod(from("deep"), 0o777|fs.ModeSticky), os.Chtimes(from("deep"), at, at),
	))
	var b bytes.Buffer
	f.must(f.root.Pack(t.Context(), "/from", &b, PackOptions{As: "."}))
	want := []string{"deep/", "deep/er/", "deep/er/file", "first", "link → deep/none", "pipe", "second → first"}
	if got := f.entries(b.Bytes()); !slices.Equal(got, want) {
		t.Errorf("packed %q", got)
	}
	f.must(f.root.Unpack(t.Context(), "/to", &b, UnpackOptions{KeepOwner: true}))
	for _, name := range []string{"deep", "deep/er/file", "first", "link", "pipe", "second"} {
		old, err := os.Lstat(from(name))
		f.must(err)
		got, err := os.Lstat(filepath.Join(f.dir, "to", name))
		f.must(err)
		if got.Mode() != old.Mode() || got.Size() != old.Size() && !old.IsDir() {
			t.Errorf("%s: %s, %d; was %s, %d", name, got.Mode(), got.Size(), old.Mode(), old.Size())
		}
	}
	var st, other unix.Stat_t
	f.must(unix.Stat(filepath.Join(f.dir, "to/first"), &st))
	f.must(unix.Stat(filepath.Join(f.dir, "to/second"), &other))
	if st.Uid != 12 || st.Gid != 34 || st.Ino != other.Ino {
		t.Errorf("it belongs to %d:%d, and its second name is inode %d of %d", st.Uid, st.Gid, other.Ino, st.Ino)
	}
	f.must(unix.Stat(filepath.Join(f.dir, "to/deep"), &st))
	if st.Mtim.Sec != at.Unix() {
		t.Errorf("a folder's time is %d", st.Mtim.Sec)
	}
}

// Nothing is put through a link that the stream itself has made.
func TestUnpackThroughOwnLink(t *testing.T) {
	for name, headers := range map[string][]tar.Header{
		"a link":                 {symlink("a", "elsewhere"), file("a/evil", 0o644)},
		"below it":               {symlink("a", "elsewhere"), file("a/b/evil", 0o644)},
		"a hard link to one":     {symlink("a", "elsewhere"), hardlink("b", "a"), file("b/evil", 0o644)},
		"a hard link through it": {symlink("a", "elsewhere"), hardlink("evil", "a/there")},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t)
			f.write("elsewhere/there")
			if err := f.root.Unpack(t.Context(), "/", f.stream(headers...), UnpackOptions{}); !errdefs.IsInvalidArgument(err) {
				t.Errorf("Unpack: %v", err)
			}
			left, err := os.ReadDir(filepath.Join(f.dir, "elsewhere"))
			if f.must(err); len(left) != 1 {
				t.Errorf("left %v", left)
			}
		})
	}
	f := newFixture(t)
	f.write("elsewhere/")
	f.must(f.root.Unpack(t.Context(), "/", f.stream(symlink("a", "elsewhere"), folder("a"), file("a/good", 0o644)), UnpackOptions{Overwrite: true}))
	if fi, err := os.Lstat(filepath.Join(f.dir, "a/good")); err != nil || !fi.Mode().IsRegular() {
		t.Errorf("a folder in the place of the link: %v", err)
	}
}

// A link that was there before is the root's own: it is followed, and not out of the
// root.
func TestUnpackThroughOldLink(t *testing.T) {
	f := newFixture(t)
	f.write("usr/bin/")
	f.must(errors.Join(os.Symlink("usr/bin", filepath.Join(f.dir, "bin")), os.Symlink(f.outside, filepath.Join(f.dir, "out"))))
	f.must(f.root.Unpack(t.Context(), "/", f.stream(file("bin/sh", 0o755)), UnpackOptions{}))
	if _, err := os.Lstat(filepath.Join(f.dir, "usr/bin/sh")); err != nil {
		t.Error(err)
	}
	err := f.root.Unpack(t.Context(), "/", f.stream(file("out/evil", 0o755)), UnpackOptions{})
	if left, rerr := os.ReadDir(f.outside); rerr != nil || len(left) > 0 {
		t.Errorf("%v: left %v outside, %v", err, left, rerr)
	}
}

func TestUnpackOptions(t *testing.T) {
	for _, tt := range []struct {
		o    UnpackOptions
		mode fs.FileMode
		uid  uint32
	}{
		{UnpackOptions{KeepOwner: true}, 0o755 | fs.ModeSetuid | fs.ModeSetgid, 7},
		{UnpackOptions{UID: 5, GID: 5}, 0o755 | fs.ModeSetuid | fs.ModeSetgid, 5},
		{UnpackOptions{UID: 5, GID: 5, NoSetID: true}, 0o755, 5},
	} {
		f := newFixture(t)
		h := file("tool", 0o6755)
		h.Uid, h.Gid = 7, 7
		f.must(f.root.Unpack(t.Context(), "/", f.stream(h), tt.o))
		fi, err := os.Lstat(filepath.Join(f.dir, "tool"))
		f.must(err)
		var st unix.Stat_t
		f.must(unix.Lstat(filepath.Join(f.dir, "tool"), &st))
		if fi.Mode() != tt.mode || st.Uid != tt.uid || st.Gid != tt.uid {
			t.Errorf("%+v: %s of %d:%d", tt.o, fi.Mode(), st.Uid, st.Gid)
		}
	}
}

func TestOverwrite(t *testing.T) {
	for name, h := range map[string]tar.Header{"file for a folder": file("folder", 0o644), "folder for a file": folder("file")} {
		for _, overwrite := range []bool{false, true} {
			f := newFixture(t)
			f.write("folder/with/something", "file")
			err := f.root.Unpack(t.Context(), "/", f.stream(h), UnpackOptions{Overwrite: overwrite})
			if overwrite && err != nil || !overwrite && !errdefs.IsFailedPrecondition(err) {
				t.Errorf("%s, %v: %v", name, overwrite, err)
			}
		}
	}
}

// The magic links of a /proc inside the root lead out of it: no way goes through
// them.
func TestNoMagicLinks(t *testing.T) {
	f := newFixture(t)
	f.write("proc/")
	f.must(unix.Mount("/proc", filepath.Join(f.dir, "proc"), "", unix.MS_BIND, ""))
	t.Cleanup(func() { _ = unix.Unmount(filepath.Join(f.dir, "proc"), unix.MNT_DETACH) })
	f.must(f.root.do(func() error {
		for _, path := range []string{"/proc/self/root", "/proc/self/root/etc", "/proc/thread-self/cwd"} {
			if folder, err := openFolder(path); !errors.Is(err, unix.ELOOP) {
				t.Errorf("%s: %v", path, errors.Join(err, folder.Close()))
			}
		}
		return nil
	}))
}

func TestUnpackNowhere(t *testing.T) {
	f := newFixture(t)
	f.write("file")
	for folder, is := range map[string]func(error) bool{"/none": errdefs.IsNotFound, "/file": errdefs.IsInvalidArgument} {
		if err := f.root.Unpack(t.Context(), folder, f.stream(), UnpackOptions{}); !is(err) {
			t.Errorf("%s: %v", folder, err)
		}
	}
	if _, err := OpenRoot(filepath.Join(f.dir, "none")); !errdefs.IsNotFound(err) {
		t.Errorf("OpenRoot: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := f.root.Unpack(ctx, "/", f.stream(file("late", 0o644)), UnpackOptions{}); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}
