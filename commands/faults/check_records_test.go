//go:build faults

package faults

import (
	"bytes"
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// sleeper is a container that runs, and what the machine has of it.
type sleeper struct {
	*node
	id           string
	pid, monitor int
}

func (n *node) sleeper(flags ...string) sleeper {
	n.t.Helper()
	args := append([]string{"run", "-d"}, flags...)
	s := sleeper{node: n, id: n.must(append(args, n.image, "sleep", "1000")...).Line()}
	var err error
	if s.pid, err = strconv.Atoi(n.must("inspect", "--format", "{{.State.Pid}}", s.id).Line()); err != nil {
		n.t.Fatal(err)
	}
	stat, err := os.ReadFile("/proc/" + strconv.Itoa(s.pid) + "/stat")
	if err != nil {
		n.t.Fatal(err)
	}
	if s.monitor, err = strconv.Atoi(strings.Fields(string(stat[bytes.LastIndexByte(stat, ')'):]))[2]); err != nil {
		n.t.Fatal(err)
	}
	return s
}

func (s sleeper) run(kind string, parts ...string) string {
	return filepath.Join(append([]string{s.Roots.RunRoot, kind, s.id}, parts...)...)
}

func (s sleeper) status(kind string) string {
	return filepath.Join(s.Roots.RunRoot, "status", kind, s.id+".json")
}

func (s sleeper) root(kind string, parts ...string) string {
	return filepath.Join(append([]string{s.Roots.Root, kind, s.id}, parts...)...)
}

// kill kills processes, and waits until they are gone.
func (s sleeper) kill(pids ...int) {
	s.t.Helper()
	for _, pid := range pids {
		if err := unix.Kill(pid, unix.SIGKILL); err != nil {
			s.t.Fatal(err)
		}
	}
	for _, pid := range pids {
		s.eventually("a killed process ends", func() bool {
			stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
			return err != nil || bytes.Contains(stat, []byte(") Z "))
		})
	}
}

// edit replaces a text in a file.
func (n *node) edit(path, from, to string) {
	n.t.Helper()
	data, err := os.ReadFile(path)
	if err == nil && !bytes.Contains(data, []byte(from)) {
		err = errors.New("it has no " + from + ": " + string(data))
	}
	if err == nil {
		err = os.WriteFile(path, bytes.Replace(data, []byte(from), []byte(to), 1), 0o600)
	}
	if err != nil {
		n.t.Fatalf("editing %s: %v", path, err)
	}
}

func (n *node) command(name string, args ...string) string {
	n.t.Helper()
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		n.t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}

// The records of a container that runs are deleted: all that the machine has of it
// is found and taken away.
func TestCheckRecordsLost(t *testing.T) {
	n := newNode(t, "")
	sound := n.sleeper("--name", "sound", "-p", "127.0.0.1::80")
	lost := n.sleeper("--name", "lost", "-p", "127.0.0.1::81", "-v", "data:/data")
	for _, kind := range []string{"pods", "containers"} {
		n.remove(lost.root(kind))
	}
	n.mended([]string{"monitor", "cgroup", "mount", "runtime state", "run folder", "status", "name", "network", "rootfs"})
	if alive(strconv.Itoa(lost.pid)) {
		t.Error("the process of the container that was lost is alive")
	}
	again := n.sleeper("--name", "lost") // and so without the record of its network
	for _, kind := range []string{"pods", "containers"} {
		n.remove(again.root(kind))
	}
	n.remove(again.run("pods", "network.json"))
	n.remove(filepath.Join(n.Roots.RunRoot, "networks/attached", again.id))
	n.mended([]string{"address", "link"})
	n.must("run", "--rm", "--name", "lost", n.image, "true")
	if err := unix.Kill(sound.pid, 0); err != nil {
		t.Errorf("the container that was sound: %v", err)
	}
	n.empty()
}

// Statuses that the machine belies are found, and made to agree with it.
func TestCheckStatuses(t *testing.T) {
	n := newNode(t, "")
	t.Run("says that it has ended, and it runs", func(t *testing.T) {
		s := n.sleeper("--name", "c")
		for kind, text := range map[string]string{
			"containers": `{"version":1,"number":99,"status":{"state":"stopped","start":1}}`,
			"pods":       `{"version":1,"number":99,"status":{"state":"notready"}}`,
		} {
			if err := os.WriteFile(s.status(kind), []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		n.mended([]string{"monitor", "cgroup", "rootfs", "runtime state", "bundle", "run file", "network"})
		n.must("start", "c")
		n.must("rm", "-f", "-t", "0", "c")
		n.check()
	})
	t.Run("ended with its monitor", func(t *testing.T) {
		s := n.sleeper("--name", "c")
		s.kill(s.monitor, s.pid)
		n.mended([]string{"container"})
		if state := n.must("inspect", "--format", "{{.State.Status}}", "c").Line(); state != "exited" {
			t.Errorf("it is %s", state)
		}
		n.must("rm", "c")
	})
	t.Run("ended with its monitor and to be removed", func(t *testing.T) {
		s := n.sleeper("--name", "c", "--rm")
		s.kill(s.monitor, s.pid)
		n.mended([]string{"container"})
		n.fails(1, "", "container", "exists", "c")
	})
	t.Run("runs without its monitor", func(t *testing.T) {
		s := n.sleeper("--name", "c")
		s.kill(s.monitor)
		if found, code := n.findings("--repair"); code != 1 || len(found) != 1 || !strings.Contains(found[0].Problem, "monitor") {
			t.Errorf("exit code %d, %+v", code, found)
		}
		n.must("rm", "-f", "-t", "0", "c")
		n.check()
	})
	t.Run("ended, with a process that its runtime knows nothing of", func(t *testing.T) {
		s := n.sleeper("--name", "c", "--pid", "host")
		n.must("exec", "-d", "c", "sleep", "4242")
		states, err := filepath.Glob(filepath.Join(s.Roots.RunRoot, "runtimes", "*", s.id))
		if err != nil || len(states) != 1 {
			t.Fatalf("%q, error %v", states, err)
		}
		if err := os.RemoveAll(states[0]); err != nil {
			t.Fatal(err)
		}
		s.kill(s.pid)
		n.eventually("it is settled", func() bool { return n.try("system", "check").Code == 0 })
		n.noProcess("sleep 4242")
		n.must("rm", "c")
	})
	t.Run("its pod is not given back", func(t *testing.T) {
		s := n.sleeper("--name", "c")
		ready, err := os.ReadFile(s.status("pods"))
		if err != nil {
			t.Fatal(err)
		}
		n.must("stop", "-t", "0", "c")
		if err := os.WriteFile(s.status("pods"), ready, 0o600); err != nil {
			t.Fatal(err)
		}
		n.mended([]string{"pod", "namespace"})
		n.must("start", "c")
		n.must("rm", "-f", "-t", "0", "c")
	})
	t.Run("an operation of a dead owner", func(t *testing.T) {
		s := n.sleeper("--name", "c")
		op := `{"version":1,"kind":"stop","stage":"","pid":1,"pidStart":1,"since":"2020-01-01T00:00:00Z"}`
		if err := os.WriteFile(s.run("containers", "op"), []byte(op), 0o600); err != nil {
			t.Fatal(err)
		}
		n.mended([]string{"operation"})
		n.must("rm", "-f", "-t", "0", "c")
	})
	t.Run("its infra container has ended with its monitor", func(t *testing.T) {
		n.must("pod", "create", "--name", "family", "--share", "net,ipc,uts,pid")
		n.must("run", "-d", "--pod", "family", n.image, "sleep", "1000")
		pids := n.command("sh", "-c", "for p in /proc/[0-9]*; do tr '\\0' ' ' <$p/cmdline 2>/dev/null | grep -q -e '-n [0-9a-f]*-infra' && echo ${p#/proc/}; done; true")
		monitor, err := strconv.Atoi(strings.TrimSpace(pids))
		if err != nil {
			t.Fatal(err, pids)
		}
		children, err := os.ReadFile("/proc/" + strconv.Itoa(monitor) + "/task/" + strconv.Itoa(monitor) + "/children")
		if err != nil {
			t.Fatal(err)
		}
		infra, err := strconv.Atoi(strings.Fields(string(children))[0])
		if err != nil {
			t.Fatal(err)
		}
		sleeper{node: n}.kill(monitor, infra)
		n.mended([]string{"container"})
		n.must("pod", "start", "family")
		n.must("pod", "rm", "-f", "-t", "0", "family")
	})
	n.empty()
}

// Records that are damaged are found. What is in them is removed by force alone.
func TestCheckDamagedRecords(t *testing.T) {
	n := newNode(t, "")
	t.Run("a name that is not claimed", func(t *testing.T) {
		s := n.sleeper("--name", "c")
		claims, err := filepath.Glob(filepath.Join(n.Roots.Root, "names/containers/*"))
		if err != nil || len(claims) != 1 {
			t.Fatal(claims, err)
		}
		n.remove(claims[0])
		n.mended([]string{"name"})
		n.fails(125, "in use", "create", "--name", "c", n.image, "true")
		n.must("rm", "-f", "-t", "0", s.id)
	})
	for _, kind := range []string{"containers", "pods"} {
		t.Run("a configuration of "+kind, func(t *testing.T) {
			s := n.sleeper("--name", "c")
			garble(t, s.root(kind, "config.json"))
			if found, code := n.findings("--repair"); code != 1 || len(found) == 0 || !strings.Contains(found[0].Error, "--force") {
				t.Errorf("without force: exit code %d, %+v", code, found)
			}
			if err := unix.Kill(s.pid, 0); err != nil {
				t.Errorf("without force the container ends: %v", err)
			}
			if done, code := n.findings("--repair", "--force"); code != 0 {
				t.Errorf("with force: exit code %d, %+v", code, done)
			}
			n.check()
			n.must("run", "-d", "--name", "c", n.image, "sleep", "1000")
			n.must("rm", "-f", "-t", "0", "c")
		})
		t.Run("a status of "+kind, func(t *testing.T) {
			s := n.sleeper("--name", "c", "-p", "127.0.0.1::80")
			garble(t, s.status(kind))
			n.mended([]string{"status"})
			if now := n.must("inspect", "--format", "{{.State.Pid}} {{.State.Status}}", "c").Line(); now != strconv.Itoa(s.pid)+" running" {
				t.Errorf("it is %s, was %d running", now, s.pid)
			}
			n.must("exec", "c", "true")
			n.must("restart", "-t", "0", "c")
			garble(t, s.status(kind))
			n.must("pod", "ps")
			n.mended([]string{"status"})
			n.must("rm", "-f", "-t", "0", "c")
			n.check()
		})
	}
	n.empty()
}

// garble makes a record unreadable.
func garble(t *testing.T, path string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(`{"version":1,"`), 0o600); err != nil {
		t.Fatal(err)
	}
}

// What a ready pod lacks is found, and given to it again where that can be.
func TestCheckReadyPods(t *testing.T) {
	n := newNode(t, "")
	s := n.sleeper("--name", "c", "-p", "127.0.0.1:18081:81")
	bridge := "davit-" + n.Roots.NetworkTag()
	veth := func() string {
		return strings.Fields(strings.NewReplacer("@", " ", ":", " ").Replace(n.command("ip", "-o", "link", "show", "master", bridge)))[1]
	}
	detach := func(parts ...string) {
		t.Helper()
		if err := unix.Unmount(s.run("pods", parts...), unix.MNT_DETACH); err != nil {
			t.Fatal(err)
		}
	}
	address := func() string {
		files, err := filepath.Glob(filepath.Join(n.Roots.RunRoot, "networks/ipam/davit/10.*"))
		if err != nil || len(files) != 1 {
			t.Fatal(files, err)
		}
		return files[0]
	}
	for _, tt := range []struct {
		name, kind string
		do         func()
	}{
		{"network namespace unmounted", "namespace", func() { detach("ns", "net") }},
		{"network namespace deleted", "namespace", func() { detach("ns", "net"); n.remove(s.run("pods", "ns", "net")) }},
		{"IPC namespace unmounted", "namespace", func() { detach("ns", "ipc") }},
		{"shared memory unmounted", "mount", func() { detach("shm") }},
		{"interface off its bridge", "link", func() { n.command("ip", "link", "set", veth(), "nomaster") }},
		{"address not reserved", "address", func() { n.remove(address()) }},
		{"firewall flushed", "firewall", func() { n.command("nft", "flush", "ruleset") }},
		{"bundle of nobody", "bundle", func() {
			id := n.must("create", "--name", "made", n.image, "true").Line()
			if err := os.MkdirAll(filepath.Join(n.Roots.RunRoot, "containers", id, "bundle"), 0o700); err != nil {
				t.Fatal(err)
			}
		}},
		{"files of a pod that holds nothing", "run file", func() {
			id := n.must("inspect", "--format", "{{.Id}}", "made").Line()
			for _, name := range []string{"shm", "ns"} {
				if err := os.MkdirAll(filepath.Join(n.Roots.RunRoot, "pods", id, name), 0o700); err != nil {
					t.Fatal(err)
				}
			}
		}},
		{"half of a volume", "volume", func() {
			if err := os.MkdirAll(filepath.Join(n.Roots.Root, "volumes/.old-0123"), 0o700); err != nil {
				t.Fatal(err)
			}
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tt.do()
			n.mended([]string{tt.kind})
			if now := n.must("inspect", "--format", "{{.State.Pid}}", "c").Line(); now != strconv.Itoa(s.pid) {
				t.Errorf("its process is %s, was %d", now, s.pid)
			}
		})
	}
	n.must("exec", "-d", "c", "nc", "-l", "-p", "81", "-e", "echo", "hello")
	n.eventually("the published port answers", func() bool {
		conn, err := net.DialTimeout("tcp", "127.0.0.1:18081", time.Second)
		if err == nil {
			_ = conn.Close()
		}
		return err == nil
	})
	n.must("restart", "-t", "0", "c")
	n.must("run", "--rm", n.image, "true")
	n.empty()
}

// What somebody is at work on is left, and said; it is mended when it is free.
func TestCheckLeavesTheBusy(t *testing.T) {
	n := newNode(t, "")
	id := n.must("create", "--name", "made", n.image, "true").Line()
	dir := filepath.Join(n.Roots.RunRoot, "containers", id)
	if err := os.Mkdir(filepath.Join(dir, "bundle"), 0o700); err != nil {
		t.Fatal(err)
	}
	op, err := os.OpenFile(filepath.Join(dir, "op"), os.O_RDWR, 0)
	if err == nil {
		err = unix.Flock(int(op.Fd()), unix.LOCK_EX)
	}
	if err != nil {
		t.Fatal(err)
	}
	found, code := n.findings("--repair")
	if code != 1 || len(found) != 1 || !strings.Contains(found[0].Error, "busy") {
		t.Errorf("exit code %d, %+v", code, found)
	}
	if err := op.Close(); err != nil {
		t.Fatal(err)
	}
	n.mended([]string{"bundle"})
	n.empty()
}
