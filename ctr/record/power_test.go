//go:build rootful

package record

import (
	"os"
	"os/exec"
	"strconv"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// fsShutdown is FS_IOC_SHUTDOWN; 2 is without flushing the journal, which is
// what a power loss does.
const fsShutdown = 0x8004587d

func cutPower(t *testing.T, dir string) {
	t.Helper()
	f, err := os.Open(dir)
	must(t, err)
	defer f.Close()
	how := uint32(2)
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, f.Fd(), fsShutdown, uintptr(unsafe.Pointer(&how))); errno != 0 {
		t.Skipf("the file system cannot be shut down: %v", errno)
	}
}

// TestPowerLoss: what Create acknowledged is there after a power loss; what it
// did not, is whole, or is swept.
func TestPowerLoss(t *testing.T) {
	for _, key := range []string{"web", ""} {
		t.Run("key "+key, func(t *testing.T) {
			base := t.TempDir()
			p := Paths{Root: base + "/root", RunRoot: base + "/run"}
			must(t, os.Mkdir(p.Root, 0o700))
			image := base + "/image"
			must(t, os.WriteFile(image, nil, 0o600))
			must(t, os.Truncate(image, 16<<20))
			if out, err := exec.Command("mkfs.ext4", "-q", image).CombinedOutput(); err != nil {
				t.Skipf("mkfs.ext4: %v\n%s", err, out)
			}
			mount := func() {
				if out, err := exec.Command("mount", "-o", "loop,commit=300", image, p.Root).CombinedOutput(); err != nil {
					t.Skipf("mounting a loop device: %v\n%s", err, out)
				}
			}
			mount()
			t.Cleanup(func() { _ = unix.Unmount(p.Root, unix.MNT_DETACH) })
			for round := range 5 {
				_, err := EnsureBoot(p)
				must(t, err)
				d := testDir(t, p)
				id := "a" + strconv.Itoa(round)
				m := Meta{ID: id, Owner: OwnerCLI}
				if key != "" {
					m.Key = key + id
				}
				op, err := d.Create(t.Context(), m, conf{Text: id}, state{}, CreateOptions{Durable: true})
				must(t, err)
				must(t, op.End())
				create(t, d, "b"+strconv.Itoa(round), "volatile"+strconv.Itoa(round))
				cutPower(t, p.Root)
				must(t, unix.Unmount(p.Root, 0))
				mount()
				reboot(t, p)
				for i := range round + 1 {
					id := "a" + strconv.Itoa(i)
					e, err := d.Get(id)
					if err != nil || e.Config.Text != id || !e.Lost {
						t.Fatalf("round %d: %+v, %v", round, e, err)
					}
					if got, err := d.Resolve(nil, id); err != nil || got != id {
						t.Errorf("%q, %v", got, err)
					}
					if key == "" {
						continue
					}
					if got, err := d.Resolve(nil, key+id); err != nil || got != id {
						t.Errorf("%q, %v", got, err)
					}
				}
				sweep(t, d)
			}
		})
	}
}
