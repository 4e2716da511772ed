//go:build rootful

package record

import (
	"errors"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"
)

// bind mounts a folder with a file in it on dir, and returns the file.
func bind(t *testing.T, dir string) (canary string) {
	t.Helper()
	source := t.TempDir()
	must(t, os.WriteFile(source+"/canary", nil, 0o600))
	must(t, os.MkdirAll(dir, 0o700))
	must(t, unix.Mount(source, dir, "", unix.MS_BIND, ""))
	t.Cleanup(func() { _ = unix.Unmount(dir, unix.MNT_DETACH) })
	return source + "/canary"
}

// TestRemoveStopsAtMounts: the bind mount is of the same file system.
func TestRemoveStopsAtMounts(t *testing.T) {
	p := testPaths(t)
	d := testDir(t, p)
	create(t, d, "a", "web")
	canary := bind(t, d.RunDir("a")+"/bundle/rootfs")
	file := d.RunDir("a") + "/net"
	must(t, os.WriteFile(file, nil, 0o600))
	must(t, unix.Mount("/proc/self/ns/net", file, "", unix.MS_BIND, ""))
	defer func() { _ = unix.Unmount(file, unix.MNT_DETACH) }()

	op, err := d.TryBegin("a", "rm")
	must(t, err)
	err = op.Remove(t.Context())
	wantErr(t, err, errdefs.ErrFailedPrecondition)
	if !strings.Contains(err.Error(), "bundle/rootfs") || !strings.Contains(err.Error(), "a/net") {
		t.Error(err)
	}
	if !exists(canary) {
		t.Fatal("a mount was entered")
	}
	if _, err := d.Get("a"); err != nil {
		t.Errorf("the record is not whole any more: %v", err)
	}
	must(t, unix.Unmount(d.RunDir("a")+"/bundle/rootfs", 0))
	must(t, unix.Unmount(file, unix.MNT_DETACH))
	again, err := d.TryBegin("a", "rm")
	must(t, err)
	must(t, again.Remove(t.Context()))
	checkClean(t, p)
}

func TestEnsureBootDetachesMounts(t *testing.T) {
	p := testPaths(t)
	d := testDir(t, p)
	create(t, d, "a", "")
	canary := bind(t, d.RunDir("a")+"/rootfs")
	inner := bind(t, d.RunDir("a")+"/rootfs/inner")
	busy, err := os.Open(d.RunDir("a") + "/rootfs/inner/canary")
	must(t, err)
	defer busy.Close()
	// Also when the run root is reached by a symlink.
	link := t.TempDir() + "/link"
	must(t, os.Symlink(p.RunRoot, link))
	reboot(t, Paths{Root: p.Root, RunRoot: link})
	if !exists(canary) || !exists(inner) {
		t.Error("what was mounted has been removed")
	}
	if exists(d.RunDir("a")) {
		t.Error("the run root was not emptied")
	}
}

// full makes the roots' run root a tmpfs with hardly a page to spare.
func full(t *testing.T, p Paths) {
	t.Helper()
	must(t, unix.Mount("tmpfs", p.RunRoot, "tmpfs", 0, "size=128k"))
	t.Cleanup(func() { _ = unix.Unmount(p.RunRoot, unix.MNT_DETACH) })
	_, err := EnsureBoot(p)
	must(t, err)
}

func fill(t *testing.T, dir string) {
	t.Helper()
	f, err := os.Create(dir + "/filler")
	must(t, err)
	defer f.Close()
	for {
		if _, err := f.Write(make([]byte, 4096)); errors.Is(err, unix.ENOSPC) {
			return
		}
	}
}

func TestFullRunRoot(t *testing.T) {
	p := testPaths(t)
	full(t, p)
	d := testDir(t, p)
	create(t, d, "a", "web")
	_, err := d.Update(t.Context(), "a", func(s state) (state, error) { s.Text = strings.Repeat("x", 100); return s, nil })
	must(t, err)
	events, err := d.Watch(t.Context())
	must(t, err)
	fill(t, p.RunRoot)

	_, err = d.Create(t.Context(), Meta{ID: "b", Key: "db"}, conf{}, state{}, CreateOptions{})
	wantErr(t, err, unix.ENOSPC)
	if left := leftovers(t, Paths{Root: p.Root, RunRoot: p.Root}); exists(d.RunDir("b")) || exists(d.RootDir("b")) {
		t.Errorf("the create left %q", left)
	}
	op, err := d.TryBegin("a", "stop")
	must(t, err)
	must(t, op.Advance(t.Context(), "killing"))
	_, err = d.Update(t.Context(), "a", func(s state) (state, error) { return state{N: 9}, nil })
	must(t, err)
	next(t, events, Event{ID: "a"})
	if e, err := d.Get("a"); err != nil || e.Status != (state{N: 9}) || e.Damaged != nil || e.Number != 3 {
		t.Errorf("%+v, %v", e, err)
	}
	_, err = d.Update(t.Context(), "a", func(s state) (state, error) { s.Text = strings.Repeat("x", 5000); return s, nil })
	wantErr(t, err, unix.ENOSPC)
	if e, err := d.Get("a"); err != nil || e.Status != (state{N: 9}) || e.Damaged != nil {
		t.Errorf("%+v, %v", e, err)
	}
	must(t, op.End())
	op, err = d.TryBegin("a", "rm")
	must(t, err)
	must(t, op.Remove(t.Context()))
	_, err = d.Get("a")
	wantErr(t, err, errdefs.ErrNotFound)
}

// TestFullRoot is a create on a full durable root.
func TestFullRoot(t *testing.T) {
	p := testPaths(t)
	must(t, unix.Mount("tmpfs", p.Root, "tmpfs", 0, "size=128k"))
	t.Cleanup(func() { _ = unix.Unmount(p.Root, unix.MNT_DETACH) })
	d := testDir(t, p)
	create(t, d, "a", "web")
	must(t, d.PutFile("a", "settings.json", 1, false))
	fill(t, p.Root)
	_, err := d.Create(t.Context(), Meta{ID: "b", Owner: OwnerCLI, Key: "db"}, conf{}, state{}, CreateOptions{})
	wantErr(t, err, unix.ENOSPC)
	wantErr(t, d.PutFile("a", "settings.json", 2, true), unix.ENOSPC)
	holds := func(want int) {
		t.Helper()
		var n int
		if err := d.GetFile("a", "settings.json", &n); err != nil || n != want {
			t.Errorf("the file holds %d, %v; want %d", n, err, want)
		}
	}
	holds(1)
	must(t, d.PutFile("a", "settings.json", 2, false)) // written over what is there
	holds(2)
	op, err := d.TryBegin("a", "rm")
	must(t, err)
	must(t, op.Remove(t.Context()))
	must(t, os.Remove(p.Root+"/filler"))
	checkClean(t, p)
}

// TestF28ReadOnlyRoot: reading works, changing says why it does not.
func TestF28ReadOnlyRoot(t *testing.T) {
	p := testPaths(t)
	must(t, unix.Mount(p.Root, p.Root, "", unix.MS_BIND, ""))
	t.Cleanup(func() { _ = unix.Unmount(p.Root, unix.MNT_DETACH) })
	d := testDir(t, p)
	create(t, d, "a", "web")
	must(t, unix.Mount("", p.Root, "", unix.MS_BIND|unix.MS_REMOUNT|unix.MS_RDONLY, ""))
	_, err := EnsureBoot(p)
	must(t, err)
	d = testDir(t, p)
	if list, err := d.List(); err != nil || len(list) != 1 {
		t.Error(list, err)
	}
	_, err = d.Create(t.Context(), Meta{ID: "b", Key: "db"}, conf{}, state{}, CreateOptions{})
	wantErr(t, err, unix.EROFS)
	if exists(d.RunDir("b")) {
		t.Error("the create left its run folder")
	}
	op, err := d.TryBegin("a", "rm")
	must(t, err)
	wantErr(t, op.Remove(t.Context()), unix.EROFS)
	op.Abandon()
	if dead, err := d.Dead(); err != nil || len(dead) != 1 {
		t.Error(dead, err)
	}
	must(t, unix.Mount("", p.Root, "", unix.MS_BIND|unix.MS_REMOUNT, ""))
	sweep(t, d)
	checkClean(t, p)
}

func TestMountNamespace(t *testing.T) {
	p := testPaths(t)
	d := testDir(t, p)
	create(t, d, "a", "")
	cmd := exec.Command("/proc/self/exe", p.Root, p.RunRoot, "a")
	cmd.Env = append(os.Environ(), roleEnv+"=ns")
	for flags, want := range map[uintptr]string{0: "here", unix.CLONE_NEWNS: "belongs to mount namespace"} {
		cmd := *cmd
		cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: flags}
		out, err := cmd.CombinedOutput()
		if err != nil || !strings.Contains(string(out), want) {
			t.Errorf("%q, %v, want %q", out, err, want)
		}
	}
}

// Outside of the first PID namespace the kernel does not tell of the locks of the dead.
func TestForkKeepsLockInNamespace(t *testing.T) {
	out, err := exec.Command("unshare", "--pid", "--fork", "--kill-child", "--mount-proc", os.Args[0], "-test.run", "^TestForkKeepsLock$", "-test.v").CombinedOutput()
	if err != nil || !strings.Contains(string(out), "PASS: TestForkKeepsLock") {
		t.Errorf("error %v:\n%s", err, out)
	}
}
