package options

import (
	"io/fs"
	"net/netip"
	"os"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/spf13/pflag"

	"github.com/davit-containers/davit/commands/cli"
	"github.com/davit-containers/davit/ctr"
	"github.com/davit-containers/davit/ctr/spec"
	"github.com/davit-containers/davit/netw"
	"github.com/davit-containers/davit/pod"
)

// testHost is a host with a few files, whose user has FROM_HOST and OTHER_HOST set.
func testHost() Host {
	files := fstest.MapFS{
		"data":                                {Mode: fs.ModeDir | 0o755},
		"work/sub":                            {Mode: fs.ModeDir | 0o755},
		"dev/fuse":                            {Mode: fs.ModeDevice},
		"usr/share/zoneinfo/Europe/Berlin":    {},
		"usr/share/zoneinfo/Europe/Nowhere/x": {},
		"work/env":                            {Data: []byte("# comment\n\nA=file\nB=b c\n  FROM_HOST\nABSENT\n")},
		"work/begin":                          {Data: []byte("OTHER_*\nFROM_HOST=file\n")},
		"work/labels":                         {Data: []byte("# comment\nx=file\r\ny\n")},
		"work/profile.json":                   {Data: []byte(`{"defaultAction":"SCMP_ACT_ALLOW"}`)},
		"work/bad.json":                       {Data: []byte(`{`)},
	}
	rel := func(path string) string { return strings.TrimPrefix(path, "/") }
	return Host{
		Environ:  []string{"FROM_HOST=mine", "OTHER_HOST=a=b", "FROM A HOST=no name", "=FROM"},
		ReadFile: func(path string) ([]byte, error) { return fs.ReadFile(files, rel(path)) },
		Stat:     func(path string) (os.FileInfo, error) { return fs.Stat(files, rel(path)) },
		Dir:      "/work",
		Config:   cli.DefaultConfig(),
	}
}

// plan reads a command line as run does.
func plan(t *testing.T, args ...string) (Plan, error) {
	t.Helper()
	o := &Create{}
	set := pflag.NewFlagSet("run", pflag.ContinueOnError)
	set.SetInterspersed(false)
	o.Flags(set)
	o.Session.Flags(set)
	o.Session.AttachFlag(set)
	if err := set.Parse(args); err != nil {
		return Plan{}, err
	}
	return o.Plan(testHost(), set.Args())
}

// basePlan is what `run IMAGE` asks for.
func basePlan() Plan {
	ten := 10 * time.Second
	return Plan{
		Container: ctr.Config{
			Owner: "cli", Implicit: true, Runtime: "runc",
			Image:     ctr.Image{Ref: "img"},
			Resources: spec.Resources{Pids: 2048},
			Stop:      ctr.Stop{Timeout: &ten},
			Log:       ctr.Log{MaxSize: 10 << 20},
		},
		Pod: &pod.Config{
			Owner: "cli", Implicit: true, ShmSize: 64 << 20, Runtime: "runc",
			Namespaces: pod.Namespaces{IPC: spec.ModePod, UTS: spec.ModePod, PID: spec.ModePrivate},
		},
	}
}

type planTest struct {
	name string
	args []string // without the image
	cmd  []string
	want func(p *Plan)
	err  string
}

func runPlanTests(t *testing.T, tests []planTest) {
	t.Helper()
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := plan(t, append(append(append([]string{}, tt.args...), "img"), tt.cmd...)...)
			if tt.err != "" {
				if err == nil || !strings.Contains(err.Error(), tt.err) {
					t.Fatalf("error = %v, want one with %q", err, tt.err)
				}
				if text, _ := cli.Message(err); strings.Contains(text, "\n") || strings.HasSuffix(text, "invalid argument") {
					t.Errorf("message %q", text)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			want := basePlan()
			tt.want(&want)
			diff := cmp.Diff(want, got, cmpopts.EquateEmpty(), cmp.Comparer(func(a, b netip.Addr) bool { return a == b }))
			if diff != "" {
				t.Errorf("plan (-want +got):\n%s", diff)
			}
		})
	}
}

func TestPlanContainer(t *testing.T) {
	runPlanTests(t, []planTest{
		{name: "image alone", want: func(*Plan) {}},
		{name: "command with flags of its own", cmd: []string{"sh", "-c", "x"}, want: func(p *Plan) {
			p.Container.Process.Command = []string{"sh", "-c", "x"}
		}},
		{name: "identity", args: []string{"--name", "web", "--replace", "-l", "a=b", "--label", "c", "--annotation", "k=v=w", "--rm"}, want: func(p *Plan) {
			p.Container.Name, p.Replace, p.Container.Remove = "web", true, true
			p.Container.Labels = map[string]string{"a": "b", "c": ""}
			p.Container.Annotations = map[string]string{"k": "v=w"}
		}},
		{name: "labels of a file", args: []string{"--label-file", "labels", "-l", "x=flag"}, want: func(p *Plan) {
			p.Container.Labels = map[string]string{"x": "flag", "y": ""}
		}},
		{name: "label file absent", args: []string{"--label-file", "nope"}, err: `--label-file: "nope" does not exist`},
		{name: "label without a key", args: []string{"-l", "=x"}, err: "has no key"},
		{name: "bad name", args: []string{"--name", "a/b"}, err: `--name: "a/b" is not a name`},
		{name: "replace without a name", args: []string{"--replace"}, err: "--replace needs --name"},
		{name: "env", args: []string{"-e", "A=1", "-e", "FROM_HOST", "-e", "ABSENT", "--env", "E="}, want: func(p *Plan) {
			p.Container.Process.Env = []string{"A=1", "FROM_HOST=mine", "E="}
		}},
		{name: "env of a file comes first", args: []string{"--env-file", "env", "-e", "A=flag"}, want: func(p *Plan) {
			p.Container.Process.Env = []string{"A=file", "B=b c", "FROM_HOST=mine", "A=flag"}
		}},
		{name: "env that begins so", args: []string{"-e", "FROM*", "-e", "NONE*", "-e", "X*=1"}, want: func(p *Plan) {
			p.Container.Process.Env = []string{"FROM_HOST=mine", "X*=1"}
		}},
		{name: "env that begins so in a file", args: []string{"--env-file", "begin"}, want: func(p *Plan) {
			p.Container.Process.Env = []string{"OTHER_HOST=a=b", "FROM_HOST=file"}
		}},
		{name: "the whole env", args: []string{"-e", "*"}, want: func(p *Plan) {
			p.Container.Process.Env = []string{"FROM_HOST=mine", "OTHER_HOST=a=b"}
		}},
		{name: "env without a name", args: []string{"-e", "=x"}, err: "--env: "},
		{name: "process", args: []string{"-w", "/srv", "-u", "1000:adm", "--group-add", "a,b", "--umask", "027", "--init", "-it"}, want: func(p *Plan) {
			c := &p.Container
			c.Process.WorkingDir, c.Process.User, c.Process.Groups, c.Process.Umask = "/srv", "1000:adm", []string{"a", "b"}, "027"
			c.Process.Terminal, c.Process.Stdin, c.Process.StdinOnce, c.Init = true, true, true, true
		}},
		{name: "relative workdir", args: []string{"-w", "srv"}, err: "--workdir: "},
		{name: "bad user", args: []string{"-u", "a b"}, err: "--user: "},
		{name: "bad umask", args: []string{"--umask", "9"}, err: "--umask: "},
		{name: "entrypoint word", args: []string{"--entrypoint", "sh -c"}, want: func(p *Plan) {
			p.Container.Process.Entrypoint = []string{"sh -c"}
		}},
		{name: "entrypoint list", args: []string{"--entrypoint", `["sh", "-c"]`}, want: func(p *Plan) {
			p.Container.Process.Entrypoint = []string{"sh", "-c"}
		}},
		{name: "entrypoint bad list", args: []string{"--entrypoint", `["sh"`}, err: "--entrypoint: "},
		{name: "no entrypoint", args: []string{"--entrypoint", ""}, want: func(p *Plan) {
			p.Container.Process.Entrypoint = []string{""}
		}},
		{name: "timezone", args: []string{"--timezone", "Europe/Berlin"}, want: func(p *Plan) {
			p.Container.Mounts = []spec.Mount{{Type: "bind", Source: "/usr/share/zoneinfo/Europe/Berlin", Destination: "/etc/localtime", Options: []string{"rbind", "ro"}}}
		}},
		{name: "timezone unknown", args: []string{"--timezone", "Mars/Base"}, err: `no time zone "Mars/Base"`},
		{name: "timezone that is a folder", args: []string{"--timezone", "Europe/Nowhere"}, err: `no time zone`},
		{name: "timezone outside", args: []string{"--timezone", "../../etc/passwd"}, err: `is not a time zone`},
		{name: "stop", args: []string{"--stop-signal", "USR1", "--stop-timeout", "3"}, want: func(p *Plan) {
			three := 3 * time.Second
			p.Container.Stop = ctr.Stop{Signal: "USR1", Timeout: &three}
		}},
		{name: "stop never", args: []string{"--stop-timeout", "-1"}, want: func(p *Plan) {
			never := -time.Second
			p.Container.Stop.Timeout = &never
		}},
		{name: "bad signal", args: []string{"--stop-signal", "NOPE"}, err: "--stop-signal: "},
		{name: "bad timeout", args: []string{"--stop-timeout", "x"}, err: "--stop-timeout: "},
		{name: "log none", args: []string{"--log-driver", "none"}, want: func(p *Plan) { p.Container.Log = ctr.Log{Driver: "none"} }},
		{name: "log file", args: []string{"--log-opt", "path=out.log", "--log-opt", "max-size=1m"}, want: func(p *Plan) {
			p.Container.Log = ctr.Log{Path: "/work/out.log", MaxSize: 1 << 20}
		}},
		{name: "log unlimited", args: []string{"--log-opt", "max-size=-1"}, want: func(p *Plan) { p.Container.Log = ctr.Log{} }},
		{name: "log driver unknown", args: []string{"--log-driver", "journald"}, err: "--log-driver: "},
		{name: "log option unknown", args: []string{"--log-opt", "tag=x"}, err: "--log-opt: "},
		{name: "log option of none", args: []string{"--log-driver", "none", "--log-opt", "path=/x"}, err: "--log-opt has no meaning"},
		{name: "session", args: []string{"--sig-proxy=false", "-a", "stdin", "-a", "STDOUT"}, want: func(*Plan) {}},
		{name: "bad stream", args: []string{"-a", "x"}, err: "--attach: "},
	})
}

func TestPlanStorage(t *testing.T) {
	runPlanTests(t, []planTest{
		{name: "bind", args: []string{"-v", "/data:/x:ro"}, want: func(p *Plan) {
			p.Container.Mounts = []spec.Mount{{Type: "bind", Source: "/data", Destination: "/x", Options: []string{"ro"}}}
		}},
		{name: "relative bind", args: []string{"-v", "./sub:/x"}, want: func(p *Plan) {
			p.Container.Mounts = []spec.Mount{{Type: "bind", Source: "/work/sub", Destination: "/x"}}
		}},
		{name: "bind of nothing", args: []string{"-v", "/nope:/x"}, err: `"/nope" does not exist on the host`},
		{name: "volume and anonymous volume", args: []string{"-v", "vol:/x", "-v", "/y"}, want: func(p *Plan) {
			p.Container.Mounts = []spec.Mount{{Type: "volume", Source: "vol", Destination: "/x"}, {Type: "volume", Destination: "/y"}}
		}},
		{name: "mount and tmpfs", args: []string{"--mount", "type=bind,src=/data,dst=/x", "--tmpfs", "/t:size=1m"}, want: func(p *Plan) {
			p.Container.Mounts = []spec.Mount{
				{Type: "bind", Source: "/data", Destination: "/x"},
				{Type: "tmpfs", Destination: "/t", Options: []string{"size=1m"}},
			}
		}},
		{name: "same place twice", args: []string{"-v", "a:/x", "--tmpfs", "/x/"}, err: "something else is mounted at /x"},
		{name: "bad volume", args: []string{"-v", "a:b:c:d"}, err: "--volume: "},
		{name: "bad mount", args: []string{"--mount", "type=nope"}, err: "--mount: "},
		{name: "volumes from", args: []string{"--volumes-from", "a:ro", "--volumes-from", "b"}, want: func(p *Plan) {
			p.VolumesFrom = []From{{Container: "a", ReadOnly: true}, {Container: "b"}}
		}},
		{name: "volumes from with a bad option", args: []string{"--volumes-from", "a:x"}, err: "--volumes-from: "},
		{name: "shm size", args: []string{"--shm-size", "1g"}, want: func(p *Plan) { p.Pod.ShmSize = 1 << 30 }},
		{name: "bad shm size", args: []string{"--shm-size", "0"}, err: "--shm-size: "},
		{name: "device", args: []string{"--device", "/dev/fuse:rw"}, want: func(p *Plan) {
			p.Container.Devices = []spec.Device{{HostPath: "/dev/fuse", Path: "/dev/fuse", Access: "rw"}}
		}},
		{name: "device absent", args: []string{"--device", "/dev/nope"}, err: `--device: "/dev/nope" does not exist on the host`},
	})
}

func TestPlanLimits(t *testing.T) {
	runPlanTests(t, []planTest{
		{name: "resources", args: []string{
			"-m", "64m", "--memory-reservation", "32m", "--memory-swap", "-1", "--cpus", "1.5", "--cpu-shares", "512",
			"--cpuset-cpus", "0-1", "--cpuset-mems", "0", "--pids-limit", "10", "--blkio-weight", "100",
		}, want: func(p *Plan) {
			p.Container.Resources = spec.Resources{
				Memory: spec.Memory{Limit: 64 << 20, Reservation: 32 << 20, Swap: -1},
				CPU:    spec.CPU{NanoCPUs: 1.5e9, Shares: 512, Cpus: "0-1", Mems: "0"},
				Pids:   10, Blkio: 100,
			}
		}},
		{name: "quota", args: []string{"--cpu-quota", "50000", "--cpu-period", "100000", "--pids-limit", "0"}, want: func(p *Plan) {
			p.Container.Resources = spec.Resources{CPU: spec.CPU{Quota: 50000, Period: 100000}, Pids: -1}
		}},
		{name: "bad memory", args: []string{"-m", "lots"}, err: "--memory: "},
		{name: "bad swap", args: []string{"--memory-swap", "64m"}, err: "memory limit"},
		{name: "bad cpus", args: []string{"--cpus", "NaN"}, err: "--cpus: "},
		{name: "bad pids", args: []string{"--pids-limit", "many"}, err: "--pids-limit: "},
		{name: "limits", args: []string{"--ulimit", "nofile=10:20", "--ulimit", "nofile=30", "--oom-score-adj", "-5", "--cgroup-parent", "/x"}, want: func(p *Plan) {
			five := -5
			p.Container.Process.Rlimits = []spec.Rlimit{{Type: "RLIMIT_NOFILE", Soft: 30, Hard: 30}}
			p.Container.Process.OOMScoreAdj = &five
			p.Pod.CgroupParent = "/x"
		}},
		{name: "bad ulimit", args: []string{"--ulimit", "x=1"}, err: "--ulimit: "},
		{name: "bad score", args: []string{"--oom-score-adj", "2000"}, err: "--oom-score-adj: "},
		{name: "no cgroups", args: []string{"--cgroups", "disabled"}, want: func(p *Plan) {
			p.Container.CgroupsOff, p.Pod.CgroupsOff = true, true
			p.Container.Resources.Pids = 0
		}},
		{name: "bad cgroups", args: []string{"--cgroups", "split"}, err: "--cgroups: "},
	})
}

func TestPlanSecurity(t *testing.T) {
	runPlanTests(t, []planTest{
		{name: "security", args: []string{
			"--cap-add", "net_admin,CAP_SYS_PTRACE", "--cap-drop", "all", "--read-only",
			"--security-opt", "no-new-privileges", "--security-opt", "seccomp=profile.json",
			"--security-opt", "label=disable", "--security-opt", "apparmor=unconfined",
			"--security-opt", "mask=/a:/b", "--security-opt", "unmask=ALL",
		}, want: func(p *Plan) {
			p.Container.Security = spec.Security{
				Caps:           spec.Capabilities{Add: []string{"CAP_NET_ADMIN", "CAP_SYS_PTRACE"}, Drop: []string{"ALL"}},
				ReadOnlyRootfs: true, ReadOnlyTmpfs: true, NoNewPrivileges: true,
				Seccomp: `{"defaultAction":"SCMP_ACT_ALLOW"}`, AppArmor: "unconfined",
				SELinux: spec.SELinux{Options: []string{"disable"}},
				Paths:   spec.PathMasks{Mask: []string{"/a", "/b"}, Unmask: []string{"ALL"}},
			}
		}},
		{name: "privileged, unconfined", args: []string{"--privileged", "--security-opt", "seccomp=unconfined", "--read-only", "--read-only-tmpfs=false"}, want: func(p *Plan) {
			p.Container.Security = spec.Security{Privileged: true, Seccomp: "unconfined", ReadOnlyRootfs: true}
		}},
		{name: "bad capability", args: []string{"--cap-add", "FLY"}, err: "--cap-add: "},
		{name: "bad dropped capability", args: []string{"--cap-drop", "FLY"}, err: "--cap-drop: "},
		{name: "bad option", args: []string{"--security-opt", "x=y"}, err: "--security-opt: "},
		{name: "bad profile", args: []string{"--security-opt", "seccomp=bad.json"}, err: "--security-opt: "},
		{name: "absent profile", args: []string{"--security-opt", "seccomp=nope.json"}, err: `"nope.json" does not exist`},
		{name: "sysctl", args: []string{"--sysctl", "net.core.somaxconn=9"}, want: func(p *Plan) {
			p.Pod.Sysctls = map[string]string{"net.core.somaxconn": "9"}
		}},
		{name: "sysctl of the host", args: []string{"--sysctl", "vm.swappiness=9"}, err: "--sysctl: "},
		{name: "sysctl of the host's network", args: []string{"--network", "host", "--sysctl", "net.core.somaxconn=9"}, err: "--sysctl: "},
		{name: "namespaces", args: []string{"--pid", "host", "--ipc", "host", "--uts", "host", "--cgroupns", "private"}, want: func(p *Plan) {
			p.Pod.Namespaces = pod.Namespaces{IPC: spec.ModeHost, UTS: spec.ModeHost, PID: spec.ModeHost}
			p.Pod.ShmSize = 0
			p.Container.Namespaces.Cgroup.Mode = spec.ModePrivate
		}},
		{name: "namespace by path", args: []string{"--pid", "ns:/proc/1/ns/pid", "--ipc", "shareable"}, want: func(p *Plan) {
			p.Container.Namespaces.PID = spec.Namespace{Mode: spec.ModePath, Path: "/proc/1/ns/pid"}
		}},
		{name: "bad namespace", args: []string{"--pid", "x"}, err: "--pid: "},
		{name: "namespace of a container", args: []string{"--pid", "container:x"}, err: "living in one pod"},
		{name: "cgroup namespace of a container", args: []string{"--cgroupns", "container:x"}, err: "share no cgroup namespace"},
		{name: "bad cgroup namespace", args: []string{"--cgroupns", "pod"}, err: `--cgroupns: "pod" is not private, host or ns:PATH`},
		{name: "pod's namespace without a pod", args: []string{"--pid", "pod"}, err: "needs --pod"},
		{name: "host name of the host", args: []string{"--uts", "host", "--hostname", "x"}, err: "--hostname cannot"},
		{name: "shm of the host", args: []string{"--ipc", "host", "--shm-size", "1m"}, err: "--shm-size cannot"},
	})
}

func TestPlanNetwork(t *testing.T) {
	addr := netip.MustParseAddr
	runPlanTests(t, []planTest{
		{name: "host", args: []string{"--network", "host"}, want: func(p *Plan) { p.Pod.Network.Mode = pod.NetworkHost }},
		{name: "none", args: []string{"--net", "none"}, want: func(p *Plan) { p.Pod.Network.Mode = pod.NetworkNone }},
		{name: "networks", args: []string{"--network", "a,b", "--network", "c:ip=10.0.0.2,mac=02:00:00:00:00:01,alias=x,interface_name=net0"}, want: func(p *Plan) {
			p.Pod.Network.Networks = []netw.Ref{{Name: "a"}, {Name: "b"}, {
				Name: "c", IPs: []netip.Addr{addr("10.0.0.2")}, MAC: "02:00:00:00:00:01", Aliases: []string{"x"}, IfName: "net0",
			}}
		}},
		{name: "default network", args: []string{"--network", "bridge"}, want: func(p *Plan) {
			p.Pod.Network.Networks = []netw.Ref{{Name: "davit"}}
		}},
		{name: "addresses", args: []string{"--ip", "10.0.0.2", "--ip6", "fd00::2", "--mac-address", "02:00:00:00:00:01", "--network-alias", "x,y"}, want: func(p *Plan) {
			p.Pod.Network.Networks = []netw.Ref{{
				Name: "davit", IPs: []netip.Addr{addr("10.0.0.2"), addr("fd00::2")}, MAC: "02:00:00:00:00:01", Aliases: []string{"x", "y"},
			}}
		}},
		{name: "address of which network", args: []string{"--network", "a", "--network", "b", "--ip", "10.0.0.2"}, err: "--ip does not say which"},
		{name: "address without a network", args: []string{"--network", "none", "--ip", "10.0.0.2"}, err: "--ip cannot be used with --network none"},
		{name: "bad ip", args: []string{"--ip", "10.0.0"}, err: "--ip: "},
		{name: "ip of the wrong kind", args: []string{"--ip6", "10.0.0.1"}, err: "--ip6: "},
		{name: "bad mac", args: []string{"--mac-address", "01:00:00:00:00:01"}, err: "--mac-address: "},
		{name: "bad network", args: []string{"--network", "a/b"}, err: "--network: "},
		{name: "bad option of a network", args: []string{"--network", "a:x=y"}, err: "--network: unknown option"},
		{name: "network twice", args: []string{"--network", "a", "--network", "a"}, err: "given twice"},
		{name: "host and another", args: []string{"--network", "host", "--network", "a"}, err: "cannot be joined"},
		{name: "container's", args: []string{"--network", "container:web"}, err: "living in one pod"},
		{name: "ports", args: []string{"-p", "8080:80", "-p", "127.0.0.1::53/udp"}, want: func(p *Plan) {
			p.Pod.Network.Ports = []netw.Port{
				{HostPort: 8080, ContainerPort: 80, Protocol: "tcp"},
				{HostIP: addr("127.0.0.1"), ContainerPort: 53, Protocol: "udp"},
			}
		}},
		{name: "port of two protocols", args: []string{"-p", "53:53/tcp,udp"}, want: func(p *Plan) {
			p.Pod.Network.Ports = []netw.Port{
				{HostPort: 53, ContainerPort: 53, Protocol: "tcp"}, {HostPort: 53, ContainerPort: 53, Protocol: "udp"},
			}
		}},
		{name: "bad port", args: []string{"-p", "x"}, err: "--publish: "},
		{name: "port twice", args: []string{"-p", "80:80", "-p", "80:81"}, err: "--publish: "},
		{name: "port of the host", args: []string{"--network", "host", "-p", "80"}, err: "--publish cannot be used with --network host"},
		{name: "port of nothing", args: []string{"--network", "none", "-P"}, err: "--publish-all cannot be used with --network none"},
		{name: "expose", args: []string{"--expose", "80", "--expose", "90/udp", "-P"}, want: func(p *Plan) {
			p.PublishAll = true
			p.Exposed = []netw.Port{{ContainerPort: 80, Protocol: "tcp"}, {ContainerPort: 90, Protocol: "udp"}}
		}},
		{name: "expose with a host port", args: []string{"--expose", "80:80"}, err: "--expose: "},
		{name: "names", args: []string{
			"--hostname", "web", "--dns", "1.1.1.1", "--dns-search", "example.org", "--dns-option", "ndots:2",
			"--add-host", "a;b:10.0.0.1", "--add-host", "c:host-gateway", "--add-host", "d:[fd00::1]",
		}, want: func(p *Plan) {
			p.Pod.Hostname = "web"
			p.Pod.DNS = pod.DNS{
				Servers: []string{"1.1.1.1"}, Searches: []string{"example.org"}, Options: []string{"ndots:2"},
				Hosts: []pod.Host{
					{Name: "a", Addr: addr("10.0.0.1")}, {Name: "b", Addr: addr("10.0.0.1")}, {Name: "c", Gateway: true}, {Name: "d", Addr: addr("fd00::1")},
				},
			}
		}},
		{name: "no hosts", args: []string{"--no-hosts"}, want: func(p *Plan) { p.Pod.DNS.NoHosts = true }},
		{name: "no hosts but one", args: []string{"--no-hosts", "--add-host", "a:1.1.1.1"}, err: "contradict"},
		{name: "bad host name", args: []string{"--hostname", "a b"}, err: "--hostname: "},
		{name: "bad dns", args: []string{"--dns", "x"}, err: "--dns: "},
		{name: "bad search", args: []string{"--dns-search", "a b"}, err: "--dns-search: "},
		{name: "bad dns option", args: []string{"--dns-option", "a b"}, err: "--dns-option: "},
		{name: "bad host", args: []string{"--add-host", "a"}, err: "--add-host: "},
		{name: "host with a bad address", args: []string{"--add-host", "a:b"}, err: "--add-host: "},
		{name: "host with a bad name", args: []string{"--add-host", "a\nb:1.1.1.1"}, err: "--add-host: "},
	})
}

func TestPlanPod(t *testing.T) {
	inPod := func(p *Plan) { p.Pod, p.PodRef, p.Container.Implicit = nil, "web", false }
	runPlanTests(t, []planTest{
		{name: "in a pod", args: []string{"--pod", "web", "--ipc", "private", "--pid", "pod", "--sysctl", "kernel.msgmax=9"}, want: func(p *Plan) {
			inPod(p)
			p.Container.Namespaces.IPC.Mode = spec.ModePrivate
			p.Container.Resources.ShmSize = 64 << 20
			p.Container.Sysctls = map[string]string{"kernel.msgmax": "9"}
		}},
		{name: "new pod", args: []string{"--pod", "new:web", "-p", "80:80", "--hostname", "h"}, want: func(p *Plan) {
			p.Container.Implicit, p.Pod.Implicit, p.Pod.Name, p.Pod.Hostname = false, false, "web", "h"
			p.Pod.Network.Ports = []netw.Port{{HostPort: 80, ContainerPort: 80, Protocol: "tcp"}}
		}},
		{name: "new pod without a name", args: []string{"--pod", "new:"}, err: "names no pod"},
		{name: "new pod with a bad name", args: []string{"--pod", "new:a b"}, err: "--pod: "},
		{name: "port in a pod", args: []string{"--pod", "web", "-p", "80"}, err: "--publish cannot be used with --pod web"},
		{name: "network in a pod", args: []string{"--pod", "web", "--network", "host"}, err: "--network cannot"},
		{name: "host name in a pod", args: []string{"--pod", "web", "--hostname", "x"}, err: "--hostname cannot"},
		{name: "shm in a pod", args: []string{"--pod", "web", "--shm-size", "1m"}, err: "--shm-size cannot"},
		{name: "cgroup in a pod", args: []string{"--pod", "web", "--cgroup-parent", "/x"}, err: "--cgroup-parent cannot"},
	})
}

func TestDefaultsOfTheConfiguration(t *testing.T) {
	h := testHost()
	c := h.Config
	c.Containers.Env = []string{"TZ=UTC", "FROM_HOST=default"}
	c.Containers.DefaultUlimits = []string{"nofile=1:2"}
	c.Containers.DefaultCapabilities = []string{"CHOWN"}
	c.Containers.SeccompProfile = "unconfined"
	c.Containers.PidsLimit, c.Containers.StopTimeout, c.Containers.LogSizeMax, c.Containers.ShmSize = 7, -1, 0, 1<<20
	o := &Create{}
	set := pflag.NewFlagSet("run", pflag.ContinueOnError)
	o.Flags(set)
	o.Session.Flags(set)
	o.Session.AttachFlag(set)
	if err := set.Parse([]string{"-e", "TZ=CET", "--env-file", "begin", "--ulimit", "core=0"}); err != nil {
		t.Fatal(err)
	}
	got, err := o.Plan(h, []string{"img"})
	if err != nil {
		t.Fatal(err)
	}
	never := -time.Second
	want := basePlan()
	want.Container.Process.Env = []string{"TZ=UTC", "FROM_HOST=default", "OTHER_HOST=a=b", "FROM_HOST=file", "TZ=CET"}
	want.Container.Process.Rlimits = []spec.Rlimit{{Type: "RLIMIT_NOFILE", Soft: 1, Hard: 2}, {Type: "RLIMIT_CORE"}}
	want.Container.Security = spec.Security{Seccomp: "unconfined", Caps: spec.Capabilities{Base: []string{"CHOWN"}}}
	want.Container.Resources.Pids, want.Container.Stop.Timeout, want.Container.Log.MaxSize, want.Pod.ShmSize = 7, &never, 0, 1<<20
	if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" {
		t.Error(diff)
	}
	if keys := o.Session.Keys(h); keys != "ctrl-p,ctrl-q" {
		t.Errorf("detach keys %q", keys)
	}
	c.Containers.DetachKeys = "ctrl-x"
	if keys := o.Session.Keys(h); keys != "ctrl-x" {
		t.Errorf("detach keys %q", keys)
	}
	if err := set.Parse([]string{"--detach-keys", ""}); err != nil || o.Session.Keys(h) != "" {
		t.Errorf("detach keys %q, %v", o.Session.Keys(h), err)
	}
}

func TestInherit(t *testing.T) {
	c := ctr.Config{Mounts: []spec.Mount{{Type: "tmpfs", Destination: "/mine"}}}
	From{ReadOnly: true}.Inherit(&c, ctr.Config{Mounts: []spec.Mount{
		{Type: "volume", Source: "a", Destination: "/mine"},
		{Type: "volume", Source: "b", Destination: "/b", Options: []string{"rw", "nosuid"}},
		{Type: "bind", Source: "/c", Destination: "/c"},
		{Type: "tmpfs", Destination: "/t"},
	}})
	want := []spec.Mount{
		{Type: "tmpfs", Destination: "/mine"},
		{Type: "volume", Source: "b", Destination: "/b", Options: []string{"nosuid", "ro"}, NoCopy: true},
		{Type: "bind", Source: "/c", Destination: "/c", Options: []string{"ro"}, NoCopy: true},
	}
	if diff := cmp.Diff(want, c.Mounts); diff != "" {
		t.Error(diff)
	}
}

func TestPublishExposed(t *testing.T) {
	got, err := PublishExposed(
		[]netw.Port{{HostPort: 8080, ContainerPort: 80, Protocol: "tcp"}},
		[]string{"80/tcp", "53/udp"}, []netw.Port{{ContainerPort: 53, Protocol: "udp"}, {ContainerPort: 9, Protocol: "tcp"}})
	if err != nil {
		t.Fatal(err)
	}
	want := []netw.Port{
		{HostPort: 8080, ContainerPort: 80, Protocol: "tcp"},
		{ContainerPort: 53, Protocol: "udp"}, {ContainerPort: 9, Protocol: "tcp"},
	}
	if diff := cmp.Diff(want, got, cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); diff != "" {
		t.Error(diff)
	}
	if _, err := PublishExposed(nil, []string{"x"}, nil); err == nil {
		t.Error("a bad port of an image was taken")
	}
}
