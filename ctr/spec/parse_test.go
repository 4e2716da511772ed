package spec

import (
	"fmt"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestParseVolume(t *testing.T) {
	tests := []struct {
		in      string
		want    Mount
		wantErr string
	}{
		{in: "/a:/b", want: Mount{Type: MountBind, Source: "/a", Destination: "/b"}},
		{in: "./a:/b/:ro,Z", want: Mount{Type: MountBind, Source: "./a", Destination: "/b", Options: []string{"ro"}, Relabel: "Z"}},
		{in: "data:/b:nocopy,noexec,rw", want: Mount{Type: MountVolume, Source: "data", Destination: "/b", Options: []string{"noexec"}, NoCopy: true}},
		{in: "/b", want: Mount{Type: MountVolume, Destination: "/b"}},
		{in: "/a:/b:rshared,bind,cached,z", want: Mount{Type: MountBind, Source: "/a", Destination: "/b", Options: []string{"rshared", "bind"}, Relabel: "z"}},
		{in: "/proc/meminfo:/proc/meminfo", want: Mount{Type: MountBind, Source: "/proc/meminfo", Destination: "/proc/meminfo"}},
		{in: "/a:/b:U", wantErr: `mount "/a:/b:U": option "U" is not known here: give the source its owner beforehand`},
		{in: "data:/b:U", wantErr: `mount "data:/b:U": option "U" is not known here: give the source its owner beforehand`},
		{in: "", wantErr: `mount "" has no destination`},
		{in: ":/b", wantErr: `volume ":/b" has no source: give source:destination[:options]`},
		{in: "/a:", wantErr: `mount "/a:" has no destination`},
		{in: "/a:b", wantErr: `mount "/a:b": mount destination "b" is not an absolute path`},
		{in: "/a:/b:ro:z", wantErr: `volume "/a:/b:ro:z" has too many parts: give source:destination[:options]; --mount takes paths with a colon`},
		{in: "/a:/b:fast", wantErr: `mount "/a:/b:fast": unknown option "fast" for type bind`},
		{in: "/a:/b:ro,rw", wantErr: `mount "/a:/b:ro,rw": options "ro" and "rw" exclude each other`},
		{in: "/a:/b:z,Z", wantErr: `mount "/a:/b:z,Z": options "z" and "Z" exclude each other`},
		{in: "/a:/b:nocopy", wantErr: `mount "/a:/b:nocopy": unknown option "nocopy" for type bind`},
		{in: "a/b:/c", wantErr: `mount "a/b:/c": "a/b" is neither a path (it would start with / or .) nor a volume's name, of letters, digits, _, . and -`},
		{in: "/a:/", wantErr: `mount "/a:/": mount destination is /: the root of a container cannot be mounted over`},
		{in: "/a:/proc/1", wantErr: `mount "/a:/proc/1": nothing can be mounted over /proc/1 of a container`},
		{in: "/a\n:/b", wantErr: `mount "/a\n:/b" has control characters`},
	}
	for _, test := range tests {
		t.Run(test.in, func(t *testing.T) {
			got, err := ParseVolume(test.in)
			checkInvalid(t, err, test.wantErr)
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestParseMount(t *testing.T) {
	tests := []struct {
		in      string
		want    Mount
		wantErr string
	}{
		{in: "type=bind,src=/a,dst=/b", want: Mount{Type: MountBind, Source: "/a", Destination: "/b"}},
		{in: "source=v,target=/b", want: Mount{Type: MountVolume, Source: "v", Destination: "/b"}},
		{in: "type=bind,source=/a,destination=/b,readonly,bind-propagation=rslave,relabel=private,bind-nonrecursive", want: Mount{
			Type: MountBind, Source: "/a", Destination: "/b", Options: []string{"ro", "rslave", "bind"}, Relabel: "Z",
		}},
		{in: "type=bind,source=/a,destination=/b,ro=false,chown=false", want: Mount{Type: MountBind, Source: "/a", Destination: "/b"}},
		{in: `type=bind,"source=/a,b:c",destination=/b`, want: Mount{Type: MountBind, Source: "/a,b:c", Destination: "/b"}},
		{in: "type=tmpfs,destination=/t,tmpfs-size=1m,tmpfs-mode=1777,notmpcopyup", want: Mount{
			Type: MountTmpfs, Destination: "/t", Options: []string{"size=1m", "mode=1777", "notmpcopyup"},
		}},
		{in: "type=image,source=busybox,destination=/i,subpath=bin", want: Mount{Type: MountImage, Source: "busybox", Destination: "/i", Subpath: "bin"}},
		{in: "type=volume,source=v,destination=/v,volume-nocopy=true,volume-subpath=a/b", want: Mount{
			Type: MountVolume, Source: "v", Destination: "/v", NoCopy: true, Subpath: "a/b",
		}},
		{in: "", wantErr: `mount "" is not a list such as type=bind,source=/a,destination=/b`},
		{in: "type=devpts,destination=/p", wantErr: `mount "type=devpts,destination=/p" has the type "devpts": give bind, tmpfs, volume or image`},
		{in: "type=bind,destination=/p", wantErr: `mount "type=bind,destination=/p" has no source: a bind mount needs one`},
		{in: "type=tmpfs,source=/a,destination=/p", wantErr: `mount "type=tmpfs,source=/a,destination=/p" has a source: a tmpfs has none`},
		{in: "type=bind,src=/a,src=/b,dst=/c", wantErr: `mount "type=bind,src=/a,src=/b,dst=/c": src is given twice`},
		{in: "type=bind,src=,dst=/c", wantErr: `mount "type=bind,src=,dst=/c": src= has no value`},
		{in: "type=bind,src=/a,dst=/c,ro=maybe", wantErr: `mount "type=bind,src=/a,dst=/c,ro=maybe": ro=maybe is neither true nor false`},
		{in: "type=bind,src=/a,dst=/c,relabel=all", wantErr: `mount "type=bind,src=/a,dst=/c,relabel=all": relabel=all is neither shared nor private`},
		{in: "type=image,src=a,dst=/c,rw=true", wantErr: `mount "type=image,src=a,dst=/c,rw=true": unknown option "rw" for type image`},
		{in: "type=volume,src=v,dst=/v,chown=true", wantErr: `mount "type=volume,src=v,dst=/v,chown=true": option "U" is not known here: give the source its owner beforehand`},
		{in: "type=volume,dst=/v,subpath=x", wantErr: `mount "type=volume,dst=/v,subpath=x": a volume without a name is new and has nothing at a subpath`},
		{in: "type=volume,src=v,dst=/v,subpath=../x", wantErr: `mount "type=volume,src=v,dst=/v,subpath=../x": subpath "../x" is not a relative path without ..`},
		{in: "type=tmpfs,dst=/t,tmpfs-size=big", wantErr: `mount "type=tmpfs,dst=/t,tmpfs-size=big": unknown option "size=big" for type tmpfs`},
		{in: "type=bind,src=/a,dst=/b,subpath=x", wantErr: `mount "type=bind,src=/a,dst=/b,subpath=x": only a volume or an image has a subpath`},
		{in: `type=bind,"src=/a`, wantErr: `mount "type=bind,\"src=/a" is not a list such as type=bind,source=/a,destination=/b`},
	}
	for _, test := range tests {
		t.Run(test.in, func(t *testing.T) {
			got, err := ParseMount(test.in)
			checkInvalid(t, err, test.wantErr)
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestParseTmpfs(t *testing.T) {
	tests := []struct {
		in      string
		want    Mount
		wantErr string
	}{
		{in: "/t", want: Mount{Type: MountTmpfs, Destination: "/t"}},
		{in: "/t:rw,size=50%,mode=700,uid=5,exec", want: Mount{Type: MountTmpfs, Destination: "/t", Options: []string{"size=50%", "mode=700", "uid=5", "exec"}}},
		{in: "t", wantErr: `mount "t": mount destination "t" is not an absolute path`},
		{in: "/t:z", wantErr: `mount "/t:z": unknown option "z" for type tmpfs`},
		{in: "/t:size=1m,size=2m", wantErr: `mount "/t:size=1m,size=2m": options "size=1m" and "size=2m" exclude each other`},
		{in: "/t:mode=9", wantErr: `mount "/t:mode=9": unknown option "mode=9" for type tmpfs`},
		{in: "/t:size=1x", wantErr: `mount "/t:size=1x": unknown option "size=1x" for type tmpfs`},
	}
	for _, test := range tests {
		t.Run(test.in, func(t *testing.T) {
			got, err := ParseTmpfs(test.in)
			checkInvalid(t, err, test.wantErr)
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestParseDevice(t *testing.T) {
	tests := []struct {
		in      string
		want    Device
		wantErr string
	}{
		{in: "/dev/fuse", want: Device{HostPath: "/dev/fuse", Path: "/dev/fuse"}},
		{in: "/dev/sda:r", want: Device{HostPath: "/dev/sda", Path: "/dev/sda", Access: "r"}},
		{in: "/dev/sda:/dev/xvda", want: Device{HostPath: "/dev/sda", Path: "/dev/xvda"}},
		{in: "/dev/sda:/dev/xvda:rwm", want: Device{HostPath: "/dev/sda", Path: "/dev/xvda", Access: "rwm"}},
		{in: "sda", wantErr: `device "sda" is not an absolute path: give host[:container][:permissions], such as /dev/fuse`},
		{in: "/dev/sda:xvda", wantErr: `device "/dev/sda:xvda": "xvda" is neither an absolute path in the container nor permissions of rwm`},
		{in: "/dev/sda:/x:rr", wantErr: `device permissions "rr" are not of r, w and m, each at most once`},
		{in: "/a:/b:r:w", wantErr: `device "/a:/b:r:w" has too many parts: give host[:container][:permissions], such as /dev/fuse:/dev/fuse:rw`},
		{in: "/a:/", wantErr: `device "/a:/": "/" is neither an absolute path in the container nor permissions of rwm`},
	}
	for _, test := range tests {
		t.Run(test.in, func(t *testing.T) {
			got, err := ParseDevice(test.in)
			checkInvalid(t, err, test.wantErr)
			if test.wantErr == "" {
				if diff := cmp.Diff(test.want, got); diff != "" {
					t.Errorf("(-want +got):\n%s", diff)
				}
			}
		})
	}
}

// valueTest is what a parser takes, and what it refuses with which words.
type valueTest struct {
	name  string
	parse func(string) (any, error)
	good  map[string]any
	bad   map[string]string
}

func numberValues() []valueTest {
	const gi = 1 << 30
	return []valueTest{
		{
			name: "size", parse: func(s string) (any, error) { return ParseSize(s) },
			good: map[string]any{"0": int64(0), "12": int64(12), "12b": int64(12), "1k": int64(1024), "1KiB": int64(1024), "1kb": int64(1024), "1.5g": int64(gi * 3 / 2), "8191p": int64(8191) << 50, "9223372036854775807": int64(9223372036854775807), "1 m": int64(1 << 20)},
			bad: map[string]string{
				"":      `size "" is not a number with a unit of b, k, m or g, such as 512m`,
				"-1":    `size "-1" is not a number with a unit of b, k, m or g, such as 512m`,
				"1x":    `size "1x" is not a number with a unit of b, k, m or g, such as 512m`,
				"1bb":   `size "1bb" is not a number with a unit of b, k, m or g, such as 512m`,
				"m":     `size "m" is not a number with a unit of b, k, m or g, such as 512m`,
				"1e3":   `size "1e3" is not a number with a unit of b, k, m or g, such as 512m`,
				"0x10":  `size "0x10" is not a number with a unit of b, k, m or g, such as 512m`,
				"8192p": `size "8192p" is too large`,
				"1..5":  `size "1..5" is not a number with a unit of b, k, m or g, such as 512m`,
			},
		},
		{
			name: "memory", parse: func(s string) (any, error) { return ParseMemorySwap(s) },
			good: map[string]any{"-1": int64(-1), "0": int64(0), "4k": int64(4096)},
			bad:  map[string]string{"100": `memory limit "100" is below 4k, the least that the kernel counts`},
		},
		{
			name: "cpus", parse: func(s string) (any, error) { return ParseCPUs(s) },
			good: map[string]any{"1.5": int64(1500000000), "0": int64(0), ".01": int64(10000000), "64": int64(64000000000)},
			bad: map[string]string{
				"-1":    `number of cpus "-1" is not a number such as 1.5`,
				"1e1":   `number of cpus "1e1" is not a number such as 1.5`,
				"inf":   `number of cpus "inf" is not a number such as 1.5`,
				"0.001": `number of cpus "0.001" is below 0.01, the least that the kernel's scheduler takes`,
			},
		},
		{
			name: "pids", parse: func(s string) (any, error) { return ParsePids(s) },
			good: map[string]any{"0": int64(-1), "-1": int64(-1), "7": int64(7)},
			bad:  map[string]string{"-2": `pids limit "-2" is not a number, or -1 for unlimited`},
		},
		{
			name: "ulimit", parse: func(s string) (any, error) { return ParseUlimit(s) },
			good: map[string]any{
				"nofile=1:2": Rlimit{"RLIMIT_NOFILE", 1, 2}, "RLIMIT_CORE=-1": Rlimit{"RLIMIT_CORE", Unlimited, Unlimited},
				"NPROC=5:unlimited": Rlimit{"RLIMIT_NPROC", 5, Unlimited},
			},
			bad: map[string]string{
				"nofile":     `ulimit "nofile" has no value: give name=soft[:hard], such as nofile=1024:2048`,
				"nofile=2:1": `ulimit "nofile=2:1": the soft limit is above the hard limit`,
				"nofile=x":   `ulimit "nofile=x" has a value that is no number: give name=soft[:hard], such as nofile=1024:2048`,
				"files=1":    `ulimit "files=1": "files" is no limit: give one of as, core, cpu, data, fsize, locks, memlock, msgqueue, nice, nofile, nproc, rss, rtprio, rttime, sigpending, stack`,
			},
		},
		{
			name: "signal", parse: func(s string) (any, error) { return ParseSignal(s) },
			good: map[string]any{
				"TERM": syscall.SIGTERM, "sigterm": syscall.SIGTERM, "15": syscall.SIGTERM, "RTMIN+3": syscall.Signal(37), "SIGRTMAX-1": syscall.Signal(63), "RTMIN": syscall.Signal(34), "64": syscall.Signal(64),
			},
			bad: map[string]string{
				"0":          `signal "0" is not a number between 1 and 64`,
				"65":         `signal "65" is not a number between 1 and 64`,
				"":           `unknown signal "": give a name or a number, such as TERM or 15`,
				"SIGSIGTERM": `unknown signal "SIGSIGTERM": give a name or a number, such as TERM or 15`,
				"RTMIN3":     `unknown signal "RTMIN3": give a name or a number, such as TERM or 15`,
				"RTMIN-1":    `unknown signal "RTMIN-1": give a name or a number, such as TERM or 15`,
				"RTMAX+1":    `unknown signal "RTMAX+1": give a name or a number, such as TERM or 15`,
			},
		},
	}
}

func namespacedValues() []valueTest {
	return []valueTest{
		{
			name: "timeout", parse: func(s string) (any, error) { return ParseStopTimeout(s) },
			good: map[string]any{"10": 10 * time.Second, "0": time.Duration(0), "-1": -time.Second, "-7": -time.Second, "1m30s": 90 * time.Second, "-2s": -time.Second},
			bad:  map[string]string{"soon": `timeout "soon" is neither a number of seconds nor a duration such as 1m30s`},
		},
		{
			name: "sysctl", parse: func(s string) (any, error) { return ParseSysctl(s) },
			good: map[string]any{
				"net.core.somaxconn=1024":                 Sysctl{"net.core.somaxconn", "1024"},
				"net/ipv4/ip_forward=1":                   Sysctl{"net.ipv4.ip_forward", "1"},
				"net.ipv4.ip_local_port_range=1024 65000": Sysctl{"net.ipv4.ip_local_port_range", "1024 65000"},
				"kernel.shm_rmid_forced = 1":              Sysctl{"kernel.shm_rmid_forced", "1"},
			},
			bad: map[string]string{
				"net.core.somaxconn": `sysctl "net.core.somaxconn" has no value: give key=value, such as net.core.somaxconn=1024`,
				"kernel.shm_rmid_forced=1+kernel.core_pattern=|/x": `sysctl kernel.shm_rmid_forced has the value "1+kernel.core_pattern=|/x": give numbers or words without special characters`,
				"kernel.core_pattern=core":                         `sysctl "kernel.core_pattern" belongs to no namespace of a container: allowed are net.*, fs.mqueue.*, kernel.domainname, kernel.msgmax, kernel.msgmnb, kernel.msgmni, kernel.sem, kernel.shmall, kernel.shmmax, kernel.shmmni, kernel.shm_rmid_forced`,
				"net./../../kernel/core_pattern=x":                 `sysctl "net./../../kernel/core_pattern" is not a parameter's name: give one such as net.core.somaxconn`,
				"net..x=1":                                         `sysctl "net..x" is not a parameter's name: give one such as net.core.somaxconn`,
				"net.a b=1":                                        `sysctl "net.a b" has a character that no parameter's name has`,
				"net.a=1\n2":                                       `sysctl net.a has the value "1\n2": give numbers or words without special characters`,
				"kernel.hostname=x":                                `sysctl kernel.hostname is set by --hostname`,
			},
		},
		{
			name: "environment", parse: func(s string) (any, error) { return ParseEnv(s) },
			good: map[string]any{"A=b=c": EnvVar{"A", "b=c", true}, "A=": EnvVar{"A", "", true}, "A": EnvVar{"A", "", false}, "a.b-c=${HOME}\n": EnvVar{"a.b-c", "${HOME}\n", true}},
			bad: map[string]string{
				"":        `environment variable "" has no name: give KEY=value`,
				"=x":      `environment variable "=x" has no name: give KEY=value`,
				"A B=x":   `environment variable "A B=x" has white space in its name: give KEY=value`,
				"A=x\x00": `environment variable "A" has a NUL byte`,
			},
		},
		{
			name: "security", parse: func(s string) (any, error) { return ParseSecurityOpt(s) },
			good: map[string]any{
				"no-new-privileges": SecurityOpt{"no-new-privileges", "true"}, "no-new-privileges:false": SecurityOpt{"no-new-privileges", "false"},
				"seccomp=unconfined": SecurityOpt{"seccomp", "unconfined"}, "seccomp=/a=b.json": SecurityOpt{"seccomp", "/a=b.json"},
				"label=type:spc_t": SecurityOpt{"label", "type:spc_t"}, "label:disable": SecurityOpt{"label", "disable"},
				"unmask=ALL": SecurityOpt{"unmask", "ALL"}, "mask=/a:/b": SecurityOpt{"mask", "/a:/b"}, "apparmor=unconfined": SecurityOpt{"apparmor", "unconfined"},
			},
			bad: map[string]string{
				"seccomp":             `security option "seccomp" has no value: give seccomp=…`,
				"magic=on":            `unknown security option "magic=on": give apparmor=, label=, mask=, no-new-privileges, seccomp= or unmask=`,
				"label=colour:red":    `label "colour:red" is not disable, nested, or one of user:, role:, type:, level:, filetype: with a value`,
				"mask=etc":            `path "etc" to mask is not absolute: give paths with : between them`,
				"no-new-privileges=2": `security option "no-new-privileges=2": give true or false`,
			},
		},
	}
}

func wordValues() []valueTest {
	return []valueTest{
		{
			name: "user", parse: func(s string) (any, error) { return ParseUser(s) },
			good: map[string]any{"root": "root", "1000:1000": "1000:1000", "app:users": "app:users", "2147483647": "2147483647", "first.last@corp": "first.last@corp"},
			bad: map[string]string{
				"":                       `user "" is not user[:group]`,
				"a:":                     `user "a:" is not user[:group]`,
				":0":                     `user ":0" is not user[:group]`,
				"2147483648":             `user "2147483648" has a number that is not between 0 and 2147483647`,
				"-1":                     `user "-1" is neither a name nor a number: give user[:group], such as 1000:1000`,
				"a\nb":                   `user "a\nb" is neither a name nor a number: give user[:group], such as 1000:1000`,
				"a:b:c":                  `user "a:b:c" is neither a name nor a number: give user[:group], such as 1000:1000`,
				"1:99999999999999999999": `user "1:99999999999999999999" has a number that is not between 0 and 2147483647`,
			},
		},
		{
			name: "capability", parse: func(s string) (any, error) { return ParseCapability(s) },
			good: map[string]any{"net_admin": "CAP_NET_ADMIN", "CAP_CHOWN": "CAP_CHOWN", "all": "ALL"},
			bad:  map[string]string{"": `unknown capability "": give one of capabilities(7), such as NET_ADMIN, or ALL`},
		},
		{
			name: "umask", parse: func(s string) (any, error) { return ParseUmask(s) },
			good: map[string]any{"022": uint32(0o22), "0777": uint32(0o777)},
			bad:  map[string]string{"1000": `umask "1000" is not an octal number of at most 0777`, "8": `umask "8" is not an octal number of at most 0777`},
		},
		{
			name: "oom", parse: func(s string) (any, error) { return ParseOOMScoreAdj(s) },
			good: map[string]any{"-1000": -1000, "5": 5},
			bad:  map[string]string{"1001": `oom score adjustment "1001" is not a number between -1000 and 1000`},
		},
		{
			name: "entrypoint", parse: func(s string) (any, error) { return ParseEntrypoint(s) },
			good: map[string]any{"": []string{""}, "/bin/sh -c": []string{"/bin/sh -c"}, `["sh","-c"]`: []string{"sh", "-c"}, "[": []string{"["}, "[]": []string{}},
			bad:  map[string]string{`["sh"`: `entrypoint "[\"sh\"" is not a JSON list of strings, such as ["sh","-c"]`},
		},
	}
}

func TestParseValues(t *testing.T) {
	for _, test := range slices.Concat(numberValues(), namespacedValues(), wordValues()) {
		t.Run(test.name, func(t *testing.T) {
			for in, want := range test.good {
				got, err := test.parse(in)
				if err != nil {
					t.Errorf("%q: %v", in, err)
				} else if diff := cmp.Diff(want, got); diff != "" {
					t.Errorf("%q (-want +got):\n%s", in, diff)
				}
			}
			for in, want := range test.bad {
				_, err := test.parse(in)
				checkInvalid(t, err, want)
			}
		})
	}
}

func TestParseEnvFile(t *testing.T) {
	got, err := ParseEnvFile("f", []byte("\ufeff# comment\n\nA=1\n  B=two words \r\nC\nD='q'\nE="))
	if err != nil {
		t.Fatal(err)
	}
	want := []EnvVar{{"A", "1", true}, {"B", "two words ", true}, {"C", "", false}, {"D", "'q'", true}, {"E", "", true}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	_, err = ParseEnvFile("f", []byte("A=1\nB C=2\n"))
	checkInvalid(t, err, `f: line 2: environment variable "B C=2" has white space in its name: give KEY=value`)
	long := strings.Repeat("x", 1<<20)
	if got, err := ParseEnvFile("f", []byte("A="+long)); err != nil || got[0].Value != long {
		t.Errorf("a long line: %v", err)
	}
}

func TestApplySecurityOpt(t *testing.T) {
	var s Security
	for _, in := range []string{"no-new-privileges", "seccomp=unconfined", "apparmor=x", "label=disable", "label=level:s0", "mask=/a:/b", "unmask=ALL"} {
		o, err := ParseSecurityOpt(in)
		if err != nil {
			t.Fatal(err)
		}
		if err := o.Apply(&s); err != nil {
			t.Fatal(err)
		}
	}
	want := Security{
		NoNewPrivileges: true, Seccomp: SeccompUnconfined, AppArmor: "x", SELinux: SELinux{Options: []string{"disable", "level:s0"}},
		Paths: PathMasks{Mask: []string{"/a", "/b"}, Unmask: []string{"ALL"}},
	}
	if diff := cmp.Diff(want, s); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	checkInvalid(t, SecurityOpt{Key: "seccomp", Value: "/etc/x"}.Apply(&s), "seccomp profile is not JSON")
	checkInvalid(t, SecurityOpt{Key: "x"}.Apply(&s), `unknown security option "x"`)
}

func TestSignalName(t *testing.T) {
	for sig := syscall.Signal(1); sig <= sigRTMax; sig++ {
		got, err := ParseSignal(SignalName(sig))
		if err != nil || got != sig {
			t.Errorf("signal %d prints as %q, which parses to %d, %v", sig, SignalName(sig), got, err)
		}
	}
}

func ExampleFormatSize() {
	fmt.Println(FormatSize(0), FormatSize(1536), FormatSize(64<<20), FormatCPUs(1_500_000_000), FormatCPUs(2e9))
	// Output: 0b 1536b 64m 1.5 2
}
