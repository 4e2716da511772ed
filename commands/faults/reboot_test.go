//go:build faults

package faults

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/davit-containers/davit/commands/harness"
)

// hostNetwork is a network of the host's, whose addresses outlive a reboot, in a
// folder of the node's own.
func (n *node) hostNetwork(subnet string) (leases func() []string) {
	n.t.Helper()
	dir, data := filepath.Join(n.Roots.Dir, "cni"), filepath.Join(n.Roots.Dir, "leases")
	list := fmt.Sprintf(`{"cniVersion": "1.0.0", "name": "lasting", "plugins": [
  {"type": "bridge", "bridge": "cri-%s", "isGateway": true,
   "ipam": {"type": "host-local", "dataDir": %q, "ranges": [[{"subnet": %q}]]}}]}`, n.Roots.NetworkTag(), data, subnet)
	err := os.Mkdir(dir, 0o755)
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, "10-lasting.conflist"), []byte(list), 0o644)
	}
	if err == nil {
		err = n.Roots.Configure(fmt.Sprintf("[network]\ncni_dir = %q\n", dir))
	}
	if err != nil {
		n.t.Fatal(err)
	}
	return func() []string {
		files, _ := filepath.Glob(filepath.Join(data, "lasting", "[0-9]*"))
		return files
	}
}

// reboot restarts the node's machine.
func (n *node) reboot(keepRunRoot bool) {
	n.t.Helper()
	if err := n.Roots.Reboot(n.t.Context(), keepRunRoot); err != nil {
		n.t.Fatal(err)
	}
}

// state is a container's, with its exit code and why it ended.
func (n *node) state(name string) string {
	n.t.Helper()
	return n.must("inspect", "--format", "{{.State.Status}} {{.State.ExitCode}} {{.State.Reason}}", name).Line()
}

// household makes one of each kind of thing that a reboot meets.
func (n *node) household() {
	n.t.Helper()
	n.must("pod", "create", "--name", "shop", "--network", "lasting", "--share", "net,ipc,uts,pid")
	n.must("run", "-d", "--stop-signal", "KILL", "--pod", "shop", "--name", "till", n.image, "sleep", "1000")
	n.must("run", "-d", "--stop-signal", "KILL", "--name", "web", "--network", "lasting", n.image, "sleep", "1000")
	n.must("run", "-d", "--stop-signal", "KILL", "--name", "port", "-p", "127.0.0.1::80", n.image, "sleep", "1000")
	n.must("run", "-d", "--stop-signal", "KILL", "--rm", "--name", "brief", "--network", "lasting", n.image, "sleep", "1000")
	n.must("create", "--name", "fresh", n.image, "true")
	n.fails(7, "", "run", "--name", "done", n.image, "sh", "-c", "exit 7")
}

func TestF33Reboot(t *testing.T) {
	for _, tt := range []struct {
		name string
		keep bool // the run root is on a disk
	}{{name: "run root gone"}, {name: "run root of the last boot", keep: true}} {
		t.Run(tt.name, func(t *testing.T) { rebootOnce(t, tt.keep) })
	}
}

func rebootOnce(t *testing.T, keep bool) {
	n := newNode(t, "")
	leases := n.hostNetwork("10.233.0.0/24")
	n.household()
	images := n.must("images", "-q", "--no-trunc").Stdout
	if got := len(leases()); got != 3 {
		t.Fatalf("%d addresses are taken, want 3", got)
	}
	n.reboot(keep)
	if got := n.must("ps", "-a", "--format", "{{.Names}}").Stdout; strings.Contains(got, "brief") || strings.Contains(got, "infra") {
		t.Errorf("these are not to survive a reboot:\n%s", got)
	}
	for name, want := range map[string]string{
		"till": "exited -1 Reboot", "web": "exited -1 Reboot", "port": "exited -1 Reboot",
		"fresh": "created 0", "done": "exited 7 Error",
	} {
		if got := n.state(name); got != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
	if got := n.must("pod", "inspect", "--format", "{{.State}} {{.Message}}", "shop").Line(); got != "Exited the machine was restarted" {
		t.Errorf("pod: %q", got)
	}
	if got := leases(); len(got) > 0 {
		t.Errorf("addresses are still taken: %q", got)
	}
	if got := n.must("images", "-q", "--no-trunc").Stdout; got != images {
		t.Errorf("images are now\n%s", got)
	}
	n.fails(0, "", "run", "-d", "--stop-signal", "KILL", "--name", "brief", n.image, "sleep", "1000") // the name is free
	n.must("start", "web", "port", "fresh")
	n.must("pod", "start", "shop")
	for _, name := range []string{"till", "web", "port", "brief"} {
		if got := n.state(name); got != "running 0" {
			t.Errorf("%s is %q after its start", name, got)
		}
	}
	if got := len(leases()); got != 2 {
		t.Errorf("%d addresses are taken, want 2", got)
	}
	n.empty()
	if got := leases(); len(got) > 0 {
		t.Errorf("addresses are left: %q", got)
	}
}

// A davit that dies while it settles what a reboot has ended leaves the rest to the
// next one.
func TestF33RebootTwice(t *testing.T) {
	n := newNode(t, "")
	leases := n.hostNetwork("10.234.0.0/24")
	for i := range 3 {
		n.household()
		n.reboot(i%2 == 0)
		// The first command of the boot is cut short, ever later.
		n.killed(time.Duration(2+8*i)*time.Millisecond, "ps", "-a")
		if i == 1 {
			n.reboot(false) // nor has it the time to do it all in this boot
		}
		n.must("start", "fresh") // whoever changes something, settles first
		if got := leases(); len(got) > 0 {
			t.Errorf("round %d: addresses are still taken: %q", i, got)
		}
		if got := n.must("ps", "-a", "--format", "{{.Names}}").Stdout; strings.Contains(got, "brief") || strings.Contains(got, "infra") {
			t.Errorf("round %d: these are not to survive a reboot:\n%s", i, got)
		}
		if got := n.state("web"); got != "exited -1 Reboot" {
			t.Errorf("round %d: web is %q", i, got)
		}
		n.empty()
	}
}

// The kubelet is told of its pods' end, and can stop and remove them.
func TestF33RebootUnderTheServer(t *testing.T) {
	n := newNode(t, "")
	leases := n.hostNetwork("10.235.0.0/24")
	s := n.serve()
	config := s.podConfig("shop")
	config.Linux.SecurityContext.NamespaceOptions = &runtimeapi.NamespaceOption{Pid: runtimeapi.NamespaceMode_CONTAINER}
	pod := s.sandbox(config)
	id := s.container(pod, s.containerConfig("till", "exec sleep 1000"))
	if got := len(leases()); got != 1 {
		t.Fatalf("%d addresses are taken, want 1", got)
	}
	if err := s.Kill(); err != nil {
		t.Fatal(err)
	}
	n.reboot(false)
	s.start()
	n.eventually("the address is free", func() bool { return len(leases()) == 0 })
	status := s.status(id)
	if status.State != runtimeapi.ContainerState_CONTAINER_EXITED || status.Reason != "Reboot" || status.ExitCode == 0 {
		t.Errorf("container: %s, reason %q, exit code %d", status.State, status.Reason, status.ExitCode)
	}
	got, err := s.PodSandboxStatus(t.Context(), &runtimeapi.PodSandboxStatusRequest{PodSandboxId: pod})
	if err != nil || got.Status.State != runtimeapi.PodSandboxState_SANDBOX_NOTREADY {
		t.Errorf("sandbox: %v, %v", got, err)
	}
	config.Metadata.Attempt++
	again := s.sandbox(config)
	s.remove(pod)
	s.remove(again)
}

// bootCommand is what davit-restart.service runs, without the program.
func bootCommand(t *testing.T) []string {
	t.Helper()
	data, err := os.ReadFile("../../cmd/davit/systemd/davit-restart.service")
	if err != nil {
		t.Fatal(err)
	}
	_, line, ok := strings.Cut(string(data), "ExecStart=@BINDIR@/davit ")
	line, _, _ = strings.Cut(line, "\n")
	if !ok {
		t.Fatal("the unit starts nothing")
	}
	return strings.Fields(line)
}

// After a reboot the unit starts what restart policies promise, and nothing else.
func TestF33RestartPolicies(t *testing.T) {
	n := newNode(t, "")
	run := func(name string, more ...string) {
		args := append([]string{"run", "-d", "--stop-signal", "KILL", "--name", name}, more...)
		n.must(append(args, n.image, "sleep", "1000")...)
	}
	n.must("pod", "create", "--name", "shop", "--restart", "always")
	run("till", "--pod", "shop")
	run("always", "--restart", "always")
	run("always-stopped", "--restart", "always")
	run("unless", "--restart", "unless-stopped")
	run("unless-stopped", "--restart", "unless-stopped")
	run("unless-again", "--restart", "unless-stopped")
	run("failure", "--restart", "on-failure")
	run("none")
	n.must("stop", "always-stopped", "unless-stopped", "unless-again")
	n.must("start", "unless-again")
	n.reboot(false)
	for _, name := range []string{"till", "always", "unless"} {
		if got := n.state(name); got != "exited -1 Reboot" {
			t.Errorf("%s is %q before the unit has run", name, got)
		}
	}
	n.must(bootCommand(t)...)
	for name, runs := range map[string]bool{
		"till": true, "always": true, "always-stopped": true, "unless": true, "unless-again": true,
		"unless-stopped": false, "failure": false, "none": false,
	} {
		if got := n.state(name); strings.HasPrefix(got, "running") != runs {
			t.Errorf("%s is %q, is it to run: %t", name, got, runs)
		}
	}
	if got := n.must(bootCommand(t)...).Line(); got != "" {
		t.Errorf("the unit started these twice: %s", got)
	}
	// The mark of a user's stop outlives one reboot after the other.
	n.reboot(true)
	n.must(bootCommand(t)...)
	if got := n.state("unless-stopped"); strings.HasPrefix(got, "running") {
		t.Errorf("unless-stopped is %q after another reboot", got)
	}
	n.empty()
}

// Programs that are missing, broken or hang do not keep the doctor from an answer.
func TestDoctorOnASickHost(t *testing.T) {
	n := newNode(t, "")
	script := func(name, text string) string {
		path := filepath.Join(n.Roots.Dir, name)
		if err := harness.WriteExecutable(path, "#!/bin/sh\n"+text+"\n"); err != nil {
			t.Fatal(err)
		}
		return path
	}
	if got := n.must("system", "doctor", "--format", "{{.Level}}").Stdout; strings.Contains(got, "fail") {
		t.Errorf("a host that runs containers fails:\n%s", n.must("system", "doctor").Stdout)
	}
	hangs, broken := script("hangs", "sleep 1000"), script("broken", "echo no; exit 3")
	if err := n.Roots.Configure(fmt.Sprintf("[engine]\nconmon = %q\nruntime = %q\n", broken, hangs)); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(n.Roots.Root, 0o777); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(n.Roots.Policy, []byte("{"), 0o644); err != nil {
		t.Fatal(err)
	}
	r := n.try("system", "doctor", "--format", "{{.Level}} {{.Subject}}: {{.Found}}")
	if r.Code != 1 || r.Took > time.Minute {
		t.Errorf("exit code %d after %s", r.Code, r.Took)
	}
	for _, want := range []string{"fail runtime hangs: ", "did not answer", "fail monitor broken: ", "fail folder: ", "fail policy.json: "} {
		if !strings.Contains(r.Stdout, want) {
			t.Errorf("not found: %q\n%s", want, r.Stdout)
		}
	}
	if err := os.Chmod(n.Roots.Root, 0o711); err != nil {
		t.Fatal(err)
	}
}
