//lint:file-ignore SA1019 The API's older fields are obeyed, too.

package criadapter

import (
	"strings"
	"testing"

	"github.com/containerd/errdefs"
	"github.com/google/go-cmp/cmp"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/davit-containers/davit/ctr"
	"github.com/davit-containers/davit/ctr/spec"
)

func int64Value(n int64) *runtimeapi.Int64Value { return &runtimeapi.Int64Value{Value: n} }

func TestContainerSecurity(t *testing.T) {
	type in = runtimeapi.LinuxContainerSecurityContext
	mapping := []*runtimeapi.IDMapping{{HostId: 100000, Length: 65536}}
	userns := &runtimeapi.NamespaceOption{UsernsOptions: &runtimeapi.UserNamespace{Uids: mapping, Gids: mapping}}
	local := func(ref string) *runtimeapi.SecurityProfile {
		return &runtimeapi.SecurityProfile{ProfileType: runtimeapi.SecurityProfile_Localhost, LocalhostRef: ref}
	}
	type part struct{ got, want any }
	for _, tt := range []struct {
		name string
		in   *in
		look func(ctr.Config) part
	}{
		{"none at all", nil, func(c ctr.Config) part {
			return part{c, ctr.Config{
				Process: ctr.Process{GroupPolicy: ctr.GroupsMerge},
				Security: spec.Security{
					Caps: spec.Capabilities{Base: spec.CRICapabilities()}, Seccomp: spec.SeccompUnconfined,
				},
			}}
		}},
		{"user", &in{RunAsUser: int64Value(0), RunAsGroup: int64Value(7)}, func(c ctr.Config) part { return part{c.Process.User, "0:7"} }},
		{"name", &in{RunAsUsername: "web", RunAsGroup: int64Value(7)}, func(c ctr.Config) part { return part{c.Process.User, "web:7"} }},
		{"strict", &in{SupplementalGroups: []int64{5, 6}, SupplementalGroupsPolicy: runtimeapi.SupplementalGroupsPolicy_Strict}, func(c ctr.Config) part {
			return part{c.Process, ctr.Process{Groups: []string{"5", "6"}, GroupPolicy: ctr.GroupsStrict}}
		}},
		{"ambient are added", &in{Capabilities: &runtimeapi.Capability{AddCapabilities: []string{"CHOWN"}, AddAmbientCapabilities: []string{"NET_RAW"}}}, func(c ctr.Config) part {
			return part{c.Security.Caps, spec.Capabilities{Base: spec.CRICapabilities(), Add: []string{"CHOWN", "NET_RAW"}, Ambient: []string{"NET_RAW"}}}
		}},
		{"default filter", &in{Seccomp: &runtimeapi.SecurityProfile{}}, func(c ctr.Config) part { return part{c.Security.Seccomp, spec.SeccompDefault} }},
		{"filter of a file", &in{Seccomp: local("/etc/p.json"), SeccompProfilePath: "unconfined"}, func(c ctr.Config) part {
			return part{[2]string{c.Security.Seccomp, c.SeccompFile}, [2]string{"", "/etc/p.json"}}
		}},
		{"deprecated filter of a file", &in{SeccompProfilePath: "localhost//etc/p.json"}, func(c ctr.Config) part { return part{c.SeccompFile, "/etc/p.json"} }},
		{"privileged", &in{Privileged: true, Seccomp: local("/etc/p.json"), Apparmor: local("web"), SelinuxOptions: &runtimeapi.SELinuxOption{Type: "web_t"}}, func(c ctr.Config) part {
			return part{[]any{c.Security.Privileged, c.Security.Seccomp, c.SeccompFile, c.Security.AppArmor, c.Security.SELinux.Options}, []any{true, spec.SeccompUnconfined, "", "", []string{"disable"}}}
		}},
		{"apparmor", &in{Apparmor: local("localhost/web")}, func(c ctr.Config) part { return part{c.Security.AppArmor, "web"} }},
		{"default apparmor", &in{Apparmor: &runtimeapi.SecurityProfile{}, ApparmorProfile: "localhost/web"}, func(c ctr.Config) part { return part{c.Security.AppArmor, ""} }},
		{"label", &in{SelinuxOptions: &runtimeapi.SELinuxOption{Type: "web_t", Level: "s0:c1"}}, func(c ctr.Config) part {
			return part{c.Security.SELinux.Options, []string{"type:web_t", "level:s0:c1"}}
		}},
		{"no label", &in{SelinuxOptions: &runtimeapi.SELinuxOption{}}, func(c ctr.Config) part { return part{c.Security.SELinux.Options, []string(nil)} }},
		{"no masks outside of a user namespace", &in{MaskedPaths: []string{}}, func(c ctr.Config) part { return part{c.Security.Paths, spec.PathMasks{}} }},
		{"no masks in a user namespace", &in{NamespaceOptions: userns}, func(c ctr.Config) part {
			return part{c.Security.Paths, spec.PathMasks{Masked: []string{}, Readonly: []string{}}}
		}},
		{"masks in a user namespace", &in{NamespaceOptions: userns, MaskedPaths: []string{"/proc/kcore"}}, func(c ctr.Config) part {
			return part{c.Security.Paths, spec.PathMasks{Masked: []string{"/proc/kcore"}}}
		}},
		{"target", &in{NamespaceOptions: &runtimeapi.NamespaceOption{Pid: runtimeapi.NamespaceMode_TARGET, TargetId: "abc"}}, func(c ctr.Config) part { return part{c.PIDTarget, "abc"} }},
		{"host", &in{NamespaceOptions: &runtimeapi.NamespaceOption{Pid: runtimeapi.NamespaceMode_NODE, Ipc: runtimeapi.NamespaceMode_NODE, Network: runtimeapi.NamespaceMode_NODE}}, func(c ctr.Config) part {
			host := spec.Namespace{Mode: spec.ModeHost}
			return part{c.Namespaces, spec.Namespaces{PID: host, IPC: host, Network: host}}
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var c ctr.Config
			if err := containerSecurity(tt.in, &c); err != nil {
				t.Fatal(err)
			}
			p := tt.look(c)
			if diff := cmp.Diff(p.want, p.got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestContainerSecurityRefuses(t *testing.T) {
	type in = runtimeapi.LinuxContainerSecurityContext
	users := func(mode runtimeapi.NamespaceMode, m ...*runtimeapi.IDMapping) *in {
		return &in{NamespaceOptions: &runtimeapi.NamespaceOption{UsernsOptions: &runtimeapi.UserNamespace{Mode: mode, Uids: m, Gids: m}}}
	}
	one := &runtimeapi.IDMapping{HostId: 100000, Length: 65536}
	pod, node := runtimeapi.NamespaceMode_POD, runtimeapi.NamespaceMode_NODE
	for name, c := range map[string]*in{
		"two users":            {RunAsUser: int64Value(1), RunAsUsername: "web"},
		"group alone":          {RunAsGroup: int64Value(1)},
		"negative":             {RunAsUser: int64Value(-1)},
		"wraps":                {RunAsUser: int64Value(1 << 32)},
		"group wraps":          {RunAsUser: int64Value(1), RunAsGroup: int64Value(1 << 31)},
		"groups wrap":          {SupplementalGroups: []int64{1 << 31}},
		"policy":               {SupplementalGroupsPolicy: 9},
		"number as name":       {RunAsUsername: "0"},
		"name with group":      {RunAsUsername: "web:root"},
		"name with newline":    {RunAsUsername: "web\nroot"},
		"capability":           {Capabilities: &runtimeapi.Capability{AddCapabilities: []string{"NOTHING"}}},
		"dropped capability":   {Capabilities: &runtimeapi.Capability{DropCapabilities: []string{"NOTHING"}}},
		"ambient capability":   {Capabilities: &runtimeapi.Capability{AddAmbientCapabilities: []string{"NOTHING"}}},
		"seccomp relative":     {Seccomp: &runtimeapi.SecurityProfile{ProfileType: runtimeapi.SecurityProfile_Localhost, LocalhostRef: "p.json"}},
		"seccomp without file": {Seccomp: &runtimeapi.SecurityProfile{ProfileType: runtimeapi.SecurityProfile_Localhost}},
		"seccomp type":         {Seccomp: &runtimeapi.SecurityProfile{ProfileType: 9}},
		"seccomp word":         {SeccompProfilePath: "strict"},
		"apparmor type":        {Apparmor: &runtimeapi.SecurityProfile{ProfileType: 9}},
		"apparmor empty":       {Apparmor: &runtimeapi.SecurityProfile{ProfileType: runtimeapi.SecurityProfile_Localhost}},
		"apparmor word":        {ApparmorProfile: "web"},
		"target of none":       {NamespaceOptions: &runtimeapi.NamespaceOption{Pid: runtimeapi.NamespaceMode_TARGET}},
		"network target":       {NamespaceOptions: &runtimeapi.NamespaceOption{Network: runtimeapi.NamespaceMode_TARGET, TargetId: "abc"}},
		"own network":          {NamespaceOptions: &runtimeapi.NamespaceOption{Network: runtimeapi.NamespaceMode_CONTAINER}},
		"unknown mode":         {NamespaceOptions: &runtimeapi.NamespaceOption{Ipc: 9}},
		"no mapping":           users(pod),
		"two mappings":         users(pod, one, one),
		"not from 0":           users(pod, &runtimeapi.IDMapping{ContainerId: 1, HostId: 1, Length: 1}),
		"empty mapping":        users(pod, &runtimeapi.IDMapping{HostId: 1}),
		"mapping wraps":        users(pod, &runtimeapi.IDMapping{HostId: 1 << 31, Length: 1 << 31}),
		"host's with mapping":  users(node, one),
		"own user namespace":   users(runtimeapi.NamespaceMode_CONTAINER, one),
		"user target":          users(runtimeapi.NamespaceMode_TARGET, one),
	} {
		var out ctr.Config
		if err := containerSecurity(c, &out); !errdefs.IsInvalidArgument(err) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: error %v", name, err)
		}
	}
}

func TestSandboxLabel(t *testing.T) {
	got, err := sandboxConfig(&runtimeapi.RunPodSandboxRequest{Config: &runtimeapi.PodSandboxConfig{
		Metadata: &runtimeapi.PodSandboxMetadata{Name: "p"},
		Linux: &runtimeapi.LinuxPodSandboxConfig{SecurityContext: &runtimeapi.LinuxSandboxSecurityContext{
			SelinuxOptions: &runtimeapi.SELinuxOption{Type: "web_t", Level: "s0:c1"},
		}},
	}})
	if diff := cmp.Diff([]string{"type:web_t", "level:s0:c1"}, got.SELinux.Options); diff != "" || err != nil {
		t.Errorf("error %v; -want +got\n%s", err, diff)
	}
}
