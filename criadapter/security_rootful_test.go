//go:build rootful

//lint:file-ignore SA1019 The API's older fields are obeyed, too.

package criadapter_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// TestSecurity tells what containers are given and what confines them, over CRI,
// in one server.
func TestSecurity(t *testing.T) {
	extra := "[engine]\ncdi_dirs = [\"/run/davit-test-cdi\"]\n"
	next := runcNext(t)
	if next != "" {
		extra += fmt.Sprintf("\n[runtimes.next]\npath = %q\n", next)
	}
	r := newRig(t, extra)
	for _, tt := range []struct {
		name string
		run  func(*testing.T, *rig)
	}{
		{"status", securityStatus},
		{"seccomp file", securitySeccompFile},
		{"sandbox", securitySandbox},
		{"target", securityTarget},
		{"cdi", securityCDI},
	} {
		t.Run(tt.name, func(t *testing.T) { tt.run(t, r) })
	}
	t.Run("user namespace", func(t *testing.T) {
		if next == "" {
			t.Skip("there is no bin/runc-…: make deps builds it")
		}
		securityUserns(t, r)
		if leases := r.davit.Roots.Leases(); len(leases) > 0 {
			t.Errorf("address leases are left: %v", leases)
		}
	})
}

// runcNext is a runc that has idmapped mounts, empty for none.
func runcNext(t *testing.T) string {
	found, err := filepath.Glob("../bin/runc-*")
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range found {
		if fi, err := os.Stat(path); err == nil && fi.Mode().IsRegular() {
			path, _ = filepath.Abs(path)
			return path
		}
	}
	return ""
}

// output runs a container to its end and returns what it wrote.
func (r *rig) output(t *testing.T, pod string, c *runtimeapi.ContainerConfig) string {
	t.Helper()
	id := r.run(t, pod, c)
	s := r.ended(t, id)
	data, err := os.ReadFile(s.LogPath)
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	for line := range strings.Lines(string(data)) {
		if parts := strings.SplitN(line, " ", 4); len(parts) == 4 {
			b.WriteString(parts[3])
		}
	}
	if s.ExitCode != 0 {
		t.Fatalf("exit code %d: %s", s.ExitCode, b.String())
	}
	return b.String()
}

func secured(c *runtimeapi.ContainerConfig, s *runtimeapi.LinuxContainerSecurityContext) *runtimeapi.ContainerConfig {
	c.Linux = &runtimeapi.LinuxContainerConfig{SecurityContext: s}
	return c
}

// securityStatus is S8: the kernel's own words on a process, by what was asked for.
func securityStatus(t *testing.T, r *rig) {
	config := r.podConfig("status")
	config.Linux.SecurityContext.Privileged = true
	pod := r.sandbox(t, config)
	type fields map[string]string
	const none, nine, net = "0000000000000000", "00000000000005fb", "00000000000015fb"
	unconfined := &runtimeapi.SecurityProfile{ProfileType: runtimeapi.SecurityProfile_Unconfined}
	for i, tt := range []struct {
		name string
		in   *runtimeapi.LinuxContainerSecurityContext
		want fields
	}{
		{"nothing asked for", nil, fields{"CapInh": none, "CapPrm": nine, "CapEff": nine, "CapBnd": nine, "CapAmb": none, "NoNewPrivs": "0", "Seccomp": "0", "Uid": "0 0 0 0"}},
		{"default filter", &runtimeapi.LinuxContainerSecurityContext{Seccomp: &runtimeapi.SecurityProfile{}, NoNewPrivs: true}, fields{"NoNewPrivs": "1", "Seccomp": "2"}},
		{"filter off", &runtimeapi.LinuxContainerSecurityContext{Seccomp: unconfined, SeccompProfilePath: "runtime/default"}, fields{"Seccomp": "0"}},
		{"deprecated filter", &runtimeapi.LinuxContainerSecurityContext{SeccompProfilePath: "runtime/default"}, fields{"Seccomp": "2"}},
		{"user", &runtimeapi.LinuxContainerSecurityContext{RunAsUser: &runtimeapi.Int64Value{Value: 1001}, RunAsGroup: &runtimeapi.Int64Value{Value: 1002}, SupplementalGroups: []int64{7}},
			fields{"Uid": "1001 1001 1001 1001", "Gid": "1002 1002 1002 1002", "Groups": "7 1002", "CapEff": none, "CapPrm": none, "CapBnd": nine}},
		{"added", &runtimeapi.LinuxContainerSecurityContext{Capabilities: &runtimeapi.Capability{AddCapabilities: []string{"net_admin"}}}, fields{"CapEff": net, "CapInh": none, "CapAmb": none}},
		{"dropped", &runtimeapi.LinuxContainerSecurityContext{Capabilities: &runtimeapi.Capability{DropCapabilities: []string{"ALL"}}}, fields{"CapEff": none, "CapBnd": none}},
		{"ambient", &runtimeapi.LinuxContainerSecurityContext{RunAsUser: &runtimeapi.Int64Value{Value: 1001}, Capabilities: &runtimeapi.Capability{AddAmbientCapabilities: []string{"CAP_NET_ADMIN"}}},
			fields{"CapInh": "0000000000001000", "CapAmb": "0000000000001000", "CapEff": "0000000000001000", "CapBnd": net}},
		{"privileged", &runtimeapi.LinuxContainerSecurityContext{Privileged: true, Seccomp: &runtimeapi.SecurityProfile{}, Capabilities: &runtimeapi.Capability{DropCapabilities: []string{"ALL"}}},
			fields{"CapEff": boundingSet(t), "CapInh": none, "CapAmb": none, "Seccomp": "0"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := fields{}
			for line := range strings.Lines(r.output(t, pod, secured(r.containerConfig(fmt.Sprintf("c%d", i), "cat /proc/self/status"), tt.in))) {
				if key, value, ok := strings.Cut(line, ":"); ok {
					got[key] = strings.Join(strings.Fields(value), " ")
				}
			}
			for key, want := range tt.want {
				if got[key] != want {
					t.Errorf("%s: %s, want %s", key, got[key], want)
				}
			}
		})
	}
}

func boundingSet(t *testing.T) string {
	data, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Fatal(err)
	}
	return regexp.MustCompile(`CapBnd:\s+(\w+)`).FindStringSubmatch(string(data))[1]
}

// securitySeccompFile: a profile is what it was when the container was created.
func securitySeccompFile(t *testing.T, r *rig) {
	pod := r.sandbox(t, r.podConfig("seccomp"))
	path := filepath.Join(r.dir, "profile.json")
	put := func(text string) {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	local := func(path string) *runtimeapi.LinuxContainerSecurityContext {
		return &runtimeapi.LinuxContainerSecurityContext{Seccomp: &runtimeapi.SecurityProfile{ProfileType: runtimeapi.SecurityProfile_Localhost, LocalhostRef: path}}
	}
	put(`{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["chmod", "fchmodat", "fchmodat2"], "action": "SCMP_ACT_ERRNO"}]}`)
	id := r.create(t, pod, secured(r.containerConfig("local", "chmod 700 /tmp || exit 7"), local(path)))
	put("{")
	r.begin(t, id)
	if s := r.ended(t, id); s.ExitCode != 7 {
		t.Errorf("exit code %d: chmod was to be refused", s.ExitCode)
	}
	for name, file := range map[string]string{"malformed": path, "absent": path + ".absent", "relative": "profile.json", "folder": r.dir} {
		_, err := r.CreateContainer(t.Context(), &runtimeapi.CreateContainerRequest{PodSandboxId: pod, Config: secured(r.containerConfig(name, "true"), local(file))})
		refused(t, err, codes.InvalidArgument)
	}
}

// securitySandbox: a container gets nothing of the host's that its sandbox was not
// made for.
func securitySandbox(t *testing.T, r *rig) {
	config := r.podConfig("plain")
	config.Linux.SecurityContext.NamespaceOptions.Network = runtimeapi.NamespaceMode_NODE
	pod := r.sandbox(t, config)
	mapping := []*runtimeapi.IDMapping{{HostId: 100000, Length: 65536}}
	for name, in := range map[string]*runtimeapi.LinuxContainerSecurityContext{
		"privileged":     {Privileged: true},
		"ipc":            {NamespaceOptions: &runtimeapi.NamespaceOption{Ipc: runtimeapi.NamespaceMode_NODE}},
		"user namespace": {NamespaceOptions: &runtimeapi.NamespaceOption{UsernsOptions: &runtimeapi.UserNamespace{Uids: mapping, Gids: mapping}}},
		"group":          {RunAsGroup: &runtimeapi.Int64Value{Value: 1}},
		"negative":       {RunAsUser: &runtimeapi.Int64Value{Value: -1}},
		"wraps":          {RunAsUser: &runtimeapi.Int64Value{Value: 1 << 32}},
		"groups wrap":    {SupplementalGroups: []int64{1 << 32}},
		"capability":     {Capabilities: &runtimeapi.Capability{AddCapabilities: []string{"CAP_NOTHING"}}},
		"number as name": {RunAsUsername: "0"},
		"path":           {MaskedPaths: []string{"relative"}},
	} {
		_, err := r.CreateContainer(t.Context(), &runtimeapi.CreateContainerRequest{PodSandboxId: pod, Config: secured(r.containerConfig("c", "true"), in)})
		if err == nil {
			t.Errorf("%s: it was created", name)
		}
		refused(t, err, codes.InvalidArgument)
	}
	// A sandbox that has privileged containers by now takes one: kubectl debug's, which
	// the kubelet says of the sandbox, too.
	later := r.podConfig("plain")
	later.Linux.SecurityContext.Privileged = true
	debug := secured(r.containerConfig("debug", "true"), &runtimeapi.LinuxContainerSecurityContext{Privileged: true})
	if _, err := r.CreateContainer(t.Context(), &runtimeapi.CreateContainerRequest{PodSandboxId: pod, Config: debug, SandboxConfig: later}); err != nil {
		t.Errorf("a debugging container: %v", err)
	}
	if path, err := exec.LookPath("runc"); err == nil {
		if features, err := exec.CommandContext(t.Context(), path, "features").Output(); err == nil && !strings.Contains(string(features), "idmap") {
			c := r.containerConfig("c", "true")
			c.Mounts = []*runtimeapi.Mount{{HostPath: r.dir, ContainerPath: "/data", UidMappings: mapping, GidMappings: mapping}}
			_, err := r.CreateContainer(t.Context(), &runtimeapi.CreateContainerRequest{PodSandboxId: pod, Config: c})
			refused(t, err, codes.FailedPrecondition)

			config := r.podConfig("userns-refused")
			o := config.Linux.SecurityContext.NamespaceOptions
			o.Pid, o.UsernsOptions = runtimeapi.NamespaceMode_POD, &runtimeapi.UserNamespace{Uids: mapping, Gids: mapping}
			_, err = r.RunPodSandbox(t.Context(), &runtimeapi.RunPodSandboxRequest{Config: config})
			refused(t, err, codes.FailedPrecondition)
		}
	}
	for name, in := range map[string]*runtimeapi.LinuxContainerSecurityContext{
		"apparmor": {Apparmor: &runtimeapi.SecurityProfile{ProfileType: runtimeapi.SecurityProfile_Localhost, LocalhostRef: "web"}},
		"selinux":  {SelinuxOptions: &runtimeapi.SELinuxOption{Type: "web_t"}},
	} {
		_, err := r.CreateContainer(t.Context(), &runtimeapi.CreateContainerRequest{PodSandboxId: pod, Config: secured(r.containerConfig("c", "true"), in)})
		if err == nil {
			t.Errorf("%s: it was created", name)
		}
		refused(t, err, codes.FailedPrecondition)
	}
}

// securityTarget starts a container in another's PID namespace.
func securityTarget(t *testing.T, r *rig) {
	pod, other := r.sandbox(t, r.podConfig("target")), r.sandbox(t, r.podConfig("other"))
	id := r.run(t, pod, r.containerConfig("app", "exec sleep 4321"))
	join := func(id string) *runtimeapi.LinuxContainerSecurityContext {
		return &runtimeapi.LinuxContainerSecurityContext{NamespaceOptions: &runtimeapi.NamespaceOption{
			Pid: runtimeapi.NamespaceMode_TARGET, TargetId: id, Network: runtimeapi.NamespaceMode_NODE,
		}}
	}
	got := r.output(t, pod, secured(r.containerConfig("debug", "tr '\\0' ' ' < /proc/1/cmdline; echo"), join(id)))
	if !strings.Contains(got, "sleep 4321") {
		t.Errorf("process 1 of the namespace is %q", got)
	}
	create := func(pod, name string, s *runtimeapi.LinuxContainerSecurityContext) error {
		_, err := r.CreateContainer(t.Context(), &runtimeapi.CreateContainerRequest{PodSandboxId: pod, Config: secured(r.containerConfig(name, "true"), s)})
		return err
	}
	refused(t, create(other, "elsewhere", join(id)), codes.NotFound)
	refused(t, create(pod, "absent", join(strings.Repeat("0", 64))), codes.NotFound)
	refused(t, create(pod, "path", join("../../etc")), codes.NotFound)
	refused(t, create(pod, "none", join("")), codes.InvalidArgument)
	r.stop(t, id, 0)
	refused(t, create(pod, "late", join(id)), codes.FailedPrecondition)
}

// securityCDI gives a container a device that a description of the host has.
func securityCDI(t *testing.T, r *rig) {
	const dir = "/run/davit-test-cdi"
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	text := `{"cdiVersion": "0.6.0", "kind": "vendor.com/device", "devices": [{"name": "one", "containerEdits": {
		"env": ["ONE=described"], "deviceNodes": [{"path": "/dev/one", "hostPath": "/dev/null"}]}}]}`
	if err := os.WriteFile(filepath.Join(dir, "vendor.json"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	pod := r.sandbox(t, r.podConfig("cdi"))
	c := r.containerConfig("one", "test -c /dev/one && echo gone > /dev/one && echo $ONE")
	c.CDIDevices = []*runtimeapi.CDIDevice{{Name: "vendor.com/device=one"}}
	if got := r.output(t, pod, c); got != "described\n" {
		t.Errorf("the container says %q", got)
	}
	for _, name := range []string{"vendor.com/device=two", "../../etc/passwd=one", ""} {
		c := r.containerConfig("two", "true")
		c.CDIDevices = []*runtimeapi.CDIDevice{{Name: name}}
		_, err := r.CreateContainer(t.Context(), &runtimeapi.CreateContainerRequest{PodSandboxId: pod, Config: c})
		refused(t, err, codes.InvalidArgument)
		if err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("the error does not name %q: %v", name, err)
		}
	}
}

// securityUserns runs containers in a sandbox with a user namespace.
func securityUserns(t *testing.T, r *rig) {
	mapping := []*runtimeapi.IDMapping{{HostId: 100000, Length: 65536}}
	if err := os.Chmod(r.davit.Roots.Dir, 0o711); err != nil { // as the folders above a run root are
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name     string
		net, pid runtimeapi.NamespaceMode
	}{
		{"own network", runtimeapi.NamespaceMode_POD, runtimeapi.NamespaceMode_CONTAINER},
		{"host network", runtimeapi.NamespaceMode_NODE, runtimeapi.NamespaceMode_CONTAINER},
		{"shared processes", runtimeapi.NamespaceMode_NODE, runtimeapi.NamespaceMode_POD},
	} {
		t.Run(tt.name, func(t *testing.T) {
			config := r.podConfig("userns-" + strings.ReplaceAll(tt.name, " ", "-"))
			o := config.Linux.SecurityContext.NamespaceOptions
			o.Network, o.Pid = tt.net, tt.pid
			o.UsernsOptions = &runtimeapi.UserNamespace{Mode: runtimeapi.NamespaceMode_POD, Uids: mapping, Gids: mapping}
			out, err := r.RunPodSandbox(t.Context(), &runtimeapi.RunPodSandboxRequest{Config: config, RuntimeHandler: "next"})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { r.removeSandbox(t, out.PodSandboxId) })
			// As volumes are, in a folder that nobody but the host's root gets into.
			closed := filepath.Join(r.dir, "closed-"+strings.ReplaceAll(tt.name, " ", "-"))
			host, plain := filepath.Join(closed, "volume"), filepath.Join(closed, "plain")
			for dir, mode := range map[string]os.FileMode{host: 0o755, plain: 0o777} {
				if err := os.MkdirAll(dir, 0o755); err != nil {
					t.Fatal(err)
				}
				if err := os.Chmod(dir, mode); err != nil {
					t.Fatal(err)
				}
			}
			if err := os.Chmod(closed, 0o700); err != nil {
				t.Fatal(err)
			}
			c := r.containerConfig("c", "cat /proc/self/uid_map; touch /tmp/x /data/x /plain/x && stat -c '%u:%g' /tmp/x /data/x /bin/sh; echo a > /dev/shm/a; cat /etc/hosts > /dev/null")
			c.Mounts = []*runtimeapi.Mount{
				{HostPath: host, ContainerPath: "/data", UidMappings: mapping, GidMappings: mapping},
				{HostPath: plain, ContainerPath: "/plain"},
			}
			got := strings.Join(strings.Fields(r.output(t, out.PodSandboxId, c)), " ")
			if want := "0 100000 65536 0:0 0:0 0:0"; got != want {
				t.Errorf("the container says %q, want %q", got, want)
			}
			fi, err := os.Stat(filepath.Join(host, "x"))
			if err != nil {
				t.Fatal(err)
			}
			if owner := fmt.Sprint(fi.Sys()); !strings.Contains(owner, " 0 0 ") {
				t.Errorf("the file of the idmapped mount is not root's: %s", owner)
			}
		})
	}
}
