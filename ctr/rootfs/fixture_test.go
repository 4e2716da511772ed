package rootfs

import (
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// canary is a root filesystem in a directory that stands for the host, whose
// own content must never be read or changed through the root.
type canary struct {
	t          *testing.T
	host, root string
	before     map[string]string
}

const secret = "root:x:0:0:host secret:/host:/bin/sh\n"

func newCanary(t *testing.T) *canary {
	t.Helper()
	host := t.TempDir()
	c := &canary{t: t, host: host, root: filepath.Join(host, "rootfs")}
	c.write("../secret", secret)
	c.write("../etc/passwd", secret)
	c.write("../dir/inner", secret)
	c.dir("etc")
	c.before = c.snapshot()
	t.Cleanup(func() {
		if t.Failed() {
			return
		}
		after := c.snapshot()
		if len(after) != len(c.before) {
			t.Errorf("the host was changed: %v, was %v", after, c.before)
		}
		for name, state := range c.before {
			if after[name] != state {
				t.Errorf("%s of the host was changed: %q, was %q", name, after[name], state)
			}
		}
	})
	return c
}

// snapshot is the host's state without the root.
func (c *canary) snapshot() map[string]string {
	c.t.Helper()
	state := make(map[string]string)
	err := filepath.Walk(c.host, func(path string, info os.FileInfo, err error) error {
		if err != nil {
			return err
		}
		if path == c.root {
			return filepath.SkipDir
		}
		state[path] = info.Mode().String()
		if info.Mode().IsRegular() {
			data, err := os.ReadFile(path)
			state[path] += string(data)
			return err
		}
		return nil
	})
	if err != nil {
		c.t.Fatal(err)
	}
	return state
}

func (c *canary) check(err error) {
	c.t.Helper()
	if err != nil {
		c.t.Fatal(err)
	}
}

func (c *canary) dir(name string) {
	c.t.Helper()
	c.check(os.MkdirAll(filepath.Join(c.root, name), 0o755))
}

func (c *canary) write(name, content string) {
	c.t.Helper()
	path := filepath.Join(c.root, name)
	c.check(os.MkdirAll(filepath.Dir(path), 0o755))
	c.check(os.WriteFile(path, []byte(content), 0o644))
}

func (c *canary) exec(name string) {
	c.t.Helper()
	c.write(name, "#!/bin/sh\n")
	c.check(os.Chmod(filepath.Join(c.root, name), 0o755))
}

func (c *canary) link(target, name string) {
	c.t.Helper()
	path := filepath.Join(c.root, name)
	c.check(os.MkdirAll(filepath.Dir(path), 0o755))
	c.check(os.Symlink(target, path))
}

func (c *canary) fifo(name string) {
	c.t.Helper()
	path := filepath.Join(c.root, name)
	c.check(os.MkdirAll(filepath.Dir(path), 0o755))
	c.check(unix.Mkfifo(path, 0o644))
}

func (c *canary) exists(name string) bool {
	_, err := os.Lstat(filepath.Join(c.root, name))
	return err == nil
}
