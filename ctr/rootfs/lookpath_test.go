package rootfs

import (
	"os"
	"path/filepath"
	"testing"
)

func TestLookPath(t *testing.T) {
	c := newCanary(t)
	c.exec("usr/bin/tool")
	c.exec("bin2/tool")
	c.exec("srv/run.sh")
	c.write("usr/bin/data", "x")
	c.dir("usr/bin/folder")
	c.link("usr/bin", "bin")
	c.link("/usr/bin/tool", "bin2/alias")
	c.link("/mnt/volume/tool", "bin2/dangling")
	c.link("/proc/self/exe", "bin2/magic")
	c.link(filepath.Join(c.host, "hosttool"), "bin2/out")
	c.link("loop", "bin2/loop")
	c.dir("mnt/volume")
	c.link("/mnt/volume", "vol")
	tests := []struct {
		name    string
		c       Command
		want    Lookup
		wantDir string
	}{
		{"absolute", Command{Name: "/usr/bin/tool"}, Found, "/usr/bin/tool"},
		{"through a link", Command{Name: "/bin/tool"}, Found, "/bin/tool"},
		{"is a link", Command{Name: "/bin2/alias"}, Found, "/bin2/alias"},
		{"relative", Command{Name: "./run.sh", Cwd: "/srv"}, Found, "/srv/run.sh"},
		{"relative upwards", Command{Name: "../usr/bin/tool", Cwd: "/srv"}, Found, "/usr/bin/tool"},
		{"in PATH", Command{Name: "tool", Path: "/nowhere:/bin:/bin2"}, Found, "/bin/tool"},
		{"in a relative PATH", Command{Name: "run.sh", Path: "/bin::x", Cwd: "/srv"}, Found, "/srv/run.sh"},
		{"absent", Command{Name: "/bin/absent"}, NotFound, ""},
		{"absent directory", Command{Name: "/a/b/c"}, NotFound, ""},
		{"below a file", Command{Name: "/usr/bin/data/x"}, NotFound, ""},
		{"absent in PATH", Command{Name: "absent", Path: "/bin:/bin2:/nowhere"}, NotFound, ""},
		{"outside", Command{Name: "/../../hosttool"}, NotFound, ""},
		{"not executable", Command{Name: "/bin/data"}, NotExecutable, "/bin/data"},
		{"directory", Command{Name: "/bin/folder"}, NotExecutable, "/bin/folder"},
		{"not executable in PATH", Command{Name: "data", Path: "/nowhere:/bin"}, NotExecutable, "/bin/data"},
		{"directory in PATH", Command{Name: "folder", Path: "/bin"}, NotFound, ""},
		{"link to nowhere", Command{Name: "/bin2/dangling"}, Unknown, ""},
		{"link into proc", Command{Name: "/bin2/magic"}, Unknown, ""},
		{"link out of the root", Command{Name: "/bin2/out"}, Unknown, ""},
		{"loop", Command{Name: "/bin2/loop"}, Unknown, ""},
		{"in proc", Command{Name: "/proc/self/exe"}, Unknown, ""},
		{"no name", Command{Path: "/bin"}, Unknown, ""},
		{"no PATH", Command{Name: "tool"}, Unknown, ""},
		{"in a mount", Command{Name: "/mnt/volume/tool", Mounts: []string{"/mnt/volume"}}, Unknown, ""},
		{"in a mount through a link", Command{Name: "/vol/tool", Mounts: []string{"/mnt/volume"}}, Unknown, ""},
		{"in a mount named by a link", Command{Name: "/mnt/volume/tool", Mounts: []string{"/vol"}}, Unknown, ""},
		{"in a mount that is to be made", Command{Name: "/new/tool", Mounts: []string{"/new/"}}, Unknown, ""},
		{"hidden by a mount", Command{Name: "/bin/data", Mounts: []string{"/usr"}}, Unknown, ""},
		{"maybe earlier in PATH", Command{Name: "absent", Path: "/mnt/volume:/bin", Mounts: []string{"/mnt/volume"}}, Unknown, ""},
		{"a mount elsewhere", Command{Name: "/bin/absent", Mounts: []string{"/mnt/volume", "/usr/bi"}}, NotFound, ""},
		{"is itself mounted", Command{Name: "/entry.sh", Mounts: []string{"/entry.sh"}}, Unknown, ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			where, got := LookPath(c.root, test.c)
			if got != test.want || where != test.wantDir {
				t.Errorf("got %d at %q, want %d at %q", got, where, test.want, test.wantDir)
			}
		})
	}
}

func BenchmarkLookPath(b *testing.B) {
	root := b.TempDir()
	for _, dir := range []string{"usr/local/sbin", "usr/local/bin", "usr/sbin", "usr/bin"} {
		if err := os.MkdirAll(filepath.Join(root, dir), 0o755); err != nil {
			b.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(root, "usr/bin/sh"), nil, 0o755); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if _, got := LookPath(root, Command{Name: "sh", Path: "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", Mounts: []string{"/etc/hosts", "/etc/resolv.conf"}}); got != Found {
			b.Fatal(got)
		}
	}
}
