package spec

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// reprint fuzzes a parser with the invariant: what is accepted is printed in a
// form that is accepted as the same value; what is refused is refused in one
// line.
func reprint[T any](f *testing.F, parse func(string) (T, error), show func(T) string, again func(string) (T, error), seeds ...string) {
	for _, s := range seeds {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		v, err := parse(s)
		if err != nil {
			if strings.ContainsAny(err.Error(), "\n\x00") {
				t.Errorf("%q: the error is more than a line: %q", s, err)
			}
			return
		}
		printed := show(v)
		w, err := again(printed)
		if err != nil {
			t.Fatalf("%q is accepted, but not as it is printed, %q: %v", s, printed, err)
		}
		if diff := cmp.Diff(v, w); diff != "" {
			t.Errorf("%q is printed as %q, which is something else:\n%s", s, printed, diff)
		}
	})
}

func FuzzVolume(f *testing.F) {
	reprint(f, ParseVolume, Mount.String, ParseMount, "/a:/b", "v:/b:ro,Z", "/b", "./a:/b:rshared,bind", "/a,b:/c\"d:noexec", " :/x", "/a:/b:nocopy", "/a:/proc/meminfo")
}

func FuzzMount(f *testing.F) {
	reprint(f, ParseMount, Mount.String, ParseMount, "type=bind,src=/a,dst=/b,ro", `type=bind,"source=/a,b",destination=/b`, "type=tmpfs,dst=/t,tmpfs-size=1m", "type=image,src=a,dst=/b,subpath=x", "dst=/v,volume-nocopy", "type=bind,src= a,dst=/b,relabel=shared")
}

func FuzzTmpfs(f *testing.F) {
	reprint(f, ParseTmpfs, Mount.String, ParseMount, "/t", "/t:size=1m,mode=700", "/t:notmpcopyup,exec,nr_inodes=1k", "/t\":ro")
}

func FuzzDevice(f *testing.F) {
	reprint(f, ParseDevice, Device.String, ParseDevice, "/dev/fuse", "/dev/a:/dev/b:rw", "/dev/a:m", "/a::r", "/a:", "/r:/rw")
}

func FuzzUlimit(f *testing.F) {
	reprint(f, ParseUlimit, Rlimit.String, ParseUlimit, "nofile=1:2", "core=-1", "rlimit_nproc=unlimited")
}

func FuzzSize(f *testing.F) {
	reprint(f, ParseSize, FormatSize, ParseSize, "1", "1.5g", "512m", "0", "1KiB", "9223372036854775807", "8191.99p", "1 k")
}

func FuzzCPUs(f *testing.F) {
	reprint(f, ParseCPUs, FormatCPUs, ParseCPUs, "1.5", "0.01", "0", "1048576", "0.123456789123")
}

func FuzzSysctl(f *testing.F) {
	reprint(f, ParseSysctl, Sysctl.String, ParseSysctl, "net.core.somaxconn=1024", "net/ipv4/ip_forward=1", "kernel.sem = 1 2 3", "fs.mqueue.msg_max=1", "net.ipv4.conf.eth0/1.x=1")
}

func FuzzEnv(f *testing.F) {
	reprint(f, ParseEnv, EnvVar.String, ParseEnv, "A=b", "A", "A=", "a=b=c\n")
}

func FuzzSecurityOpt(f *testing.F) {
	reprint(f, ParseSecurityOpt, SecurityOpt.String, ParseSecurityOpt, "no-new-privileges", "seccomp=unconfined", "label:type:x", "mask=/a:/b", "unmask=ALL")
}

func FuzzSignal(f *testing.F) {
	reprint(f, ParseSignal, SignalName, ParseSignal, "TERM", "9", "RTMIN+3", "sigrtmax-2", "IOT")
}

func FuzzCapability(f *testing.F) {
	reprint(f, ParseCapability, func(s string) string { return s }, ParseCapability, "chown", "CAP_SYS_ADMIN", "all")
}

func FuzzUser(f *testing.F) {
	reprint(f, ParseUser, func(s string) string { return s }, ParseUser, "root", "1000:1000", "a:b")
}

func FuzzEnvFile(f *testing.F) {
	f.Add([]byte("A=1\n# x\nB\n"))
	f.Fuzz(func(t *testing.T, content []byte) {
		vars, err := ParseEnvFile("f", content)
		if err != nil {
			return
		}
		var again strings.Builder
		for _, v := range vars {
			again.WriteString(v.String() + "\n")
		}
		got, err := ParseEnvFile("f", []byte(again.String()))
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(vars, got); diff != "" {
			t.Error(diff)
		}
	})
}

// FuzzImage: an image's configuration never panics, never leaves an absolute
// directory, and never takes anything but its own variables.
func FuzzImage(f *testing.F) {
	f.Add("A=1", "sh", "/x", "u")
	f.Fuzz(func(t *testing.T, env, arg, dir, user string) {
		p, err := MergeProcess(ImageProcess{Env: []string{env}, Cmd: []string{arg}, WorkingDir: dir, User: user}, Overrides{Container: "davit"})
		if err != nil {
			return
		}
		if !strings.HasPrefix(p.Cwd, "/") || strings.Contains(p.Cwd, "/../") {
			t.Errorf("directory %q", p.Cwd)
		}
		for _, kv := range p.Env {
			if kv != env && kv != "PATH="+defaultPath && kv != "container=davit" {
				t.Errorf("variable %q out of %q", kv, env)
			}
		}
		if _, err := Build(Config{Rootfs: "/r", Process: p, Security: Security{Seccomp: SeccompUnconfined}}); err != nil {
			t.Errorf("accepted, but not built: %v", err)
		}
	})
}
