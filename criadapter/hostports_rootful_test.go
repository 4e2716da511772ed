//go:build rootful

package criadapter_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// within calls f in a sandbox's network namespace; sockets that f makes stay there.
func (n *node) within(id string, f func() error) error {
	r, err := n.runtime.PodSandboxStatus(n.Context(), &runtimeapi.PodSandboxStatusRequest{PodSandboxId: id, Verbose: true})
	n.must(err)
	var info struct {
		NetNS string `json:"netNamespacePath"`
	}
	n.must(json.Unmarshal([]byte(r.Info["info"]), &info))
	ended := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // and ends with its goroutine
		ns, err := os.Open(info.NetNS)
		if err == nil {
			defer func() { _ = ns.Close() }()
			err = unix.Setns(int(ns.Fd()), unix.CLONE_NEWNET)
		}
		if err == nil {
			err = f()
		}
		ended <- err
	}()
	return <-ended
}

// answer has a sandbox answer on a port, with its own name.
func (n *node) answer(id, network string, port int, name string) {
	n.Helper()
	addr := fmt.Sprintf(":%d", port)
	n.must(n.within(id, func() error {
		if network == "udp" {
			c, err := net.ListenPacket("udp4", addr)
			if err != nil {
				return err
			}
			n.Cleanup(func() { _ = c.Close() })
			go func() {
				b := make([]byte, 100)
				for {
					_, from, err := c.ReadFrom(b)
					if err != nil {
						return
					}
					_, _ = c.WriteTo([]byte(name), from)
				}
			}()
			return nil
		}
		l, err := net.Listen("tcp4", addr)
		if err != nil {
			return err
		}
		n.Cleanup(func() { _ = l.Close() })
		go func() {
			for {
				c, err := l.Accept()
				if err != nil {
					return
				}
				_, _ = io.WriteString(c, name)
				_ = c.Close()
			}
		}()
		return nil
	}))
}

// ask is what answers at an address, "" if nothing does.
func ask(network, addr string) string {
	c, err := net.DialTimeout(network, addr, time.Second)
	if err != nil {
		return ""
	}
	defer func() { _ = c.Close() }()
	_ = c.SetDeadline(time.Now().Add(time.Second))
	if network == "udp4" {
		_, _ = c.Write([]byte("?"))
	}
	b := make([]byte, 100)
	count, _ := c.Read(b)
	return string(b[:count])
}

// askFrom asks from a sandbox.
func (n *node) askFrom(id, network, addr string) (out string) {
	n.Helper()
	n.must(n.within(id, func() error {
		out = ask(network, addr)
		return nil
	}))
	return out
}

// withoutPortmap takes the portmap plugin out of the pod network.
func (n *node) withoutPortmap() {
	n.Helper()
	path := filepath.Join(n.davit.Roots.Dir, "cni", "10-pods.conflist")
	data, err := os.ReadFile(path)
	n.must(err)
	before, _, ok := strings.Cut(string(data), ",\n  {\"type\": \"portmap\"")
	if !ok {
		n.Fatalf("no portmap in %s", data)
	}
	n.must(os.WriteFile(path, []byte(before+"\n]}"), 0o644))
}

// TestHostPorts: a sandbox's ports are the host's, by the network's own plugin and
// by davit's table, as long as it is ready.
func TestHostPorts(t *testing.T) {
	for _, tt := range []struct {
		name    string
		subnet  int
		portmap bool
	}{{"portmap", 110, true}, {"table", 111, false}} {
		t.Run(tt.name, func(t *testing.T) {
			n := newNode(t, tt.subnet)
			if !tt.portmap {
				n.withoutPortmap()
			}
			n.hostPorts(fmt.Sprintf("10.%d.0.1", tt.subnet))
		})
	}
}

func (n *node) hostPorts(gateway string) {
	n.Helper()
	request := func(name string) *runtimeapi.RunPodSandboxRequest {
		r := sandboxRequest(name)
		r.Config.PortMappings = []*runtimeapi.PortMapping{
			{Protocol: runtimeapi.Protocol_TCP, ContainerPort: 80, HostPort: 28080},
			{Protocol: runtimeapi.Protocol_UDP, ContainerPort: 53, HostPort: 28053},
			{Protocol: runtimeapi.Protocol_TCP, ContainerPort: 81, HostPort: 28081, HostIp: "127.0.0.1"},
			{Protocol: runtimeapi.Protocol_TCP, ContainerPort: 82, HostPort: 28082, HostIp: gateway},
			{Protocol: runtimeapi.Protocol_SCTP, ContainerPort: 90, HostPort: 28090},
			{Protocol: runtimeapi.Protocol_TCP, ContainerPort: 99}, // tells, and publishes nothing
		}
		return r
	}
	other := n.run("other")
	n.Cleanup(n.withoutPortmapChains)
	r, err := n.runtime.RunPodSandbox(n.Context(), request("a"))
	n.must(err)
	a := r.PodSandboxId
	for _, port := range []int{80, 81, 82} {
		n.answer(a, "tcp", port, fmt.Sprint("a", port))
	}
	n.answer(a, "udp", 53, "a53")
	for _, p := range []struct{ network, addr, here, there string }{
		{"tcp4", "127.0.0.1:28080", "a80", ""},
		{"tcp4", gateway + ":28080", "a80", "a80"},
		{"udp4", "127.0.0.1:28053", "a53", ""},
		{"udp4", gateway + ":28053", "a53", "a53"},
		{"tcp4", "127.0.0.1:28081", "a81", ""},
		{"tcp4", gateway + ":28081", "", ""},
		{"tcp4", "127.0.0.1:28082", "", ""},
		{"tcp4", gateway + ":28082", "a82", "a82"},
	} {
		if got := ask(p.network, p.addr); got != p.here {
			n.Errorf("the host hears %q at %s %s, want %q", got, p.network, p.addr, p.here)
		}
		if got := n.askFrom(other, p.network, p.addr); got != p.there {
			n.Errorf("another sandbox hears %q at %s %s, want %q", got, p.network, p.addr, p.there)
		}
	}
	if rules := firewall(n.Context()); !strings.Contains(rules, "sctp") || !strings.Contains(rules, "28090") {
		n.Errorf("no rule for SCTP:\n%s", rules)
	}

	before := firewall(n.Context())
	_, err = n.runtime.RunPodSandbox(n.Context(), request("b"))
	if status.Code(err) != codes.Unavailable || !strings.Contains(err.Error(), "host port") || !strings.Contains(err.Error(), `"a" has published it`) {
		n.Errorf("the second sandbox of a host port: %v", err)
	}
	if got, leases := n.list(nil), n.davit.Roots.Leases(); len(got) != 2 || len(leases) != 2 {
		n.Errorf("left of it: sandboxes %v, leases %v", got, leases)
	}
	if after := firewall(n.Context()); after != before {
		n.Errorf("left of it:\n%s\nbefore:\n%s", after, before)
	}
	n.must(n.stop(a))
	for _, addr := range []string{"127.0.0.1:28080", "127.0.0.1:28081", gateway + ":28082"} {
		if got := ask("tcp4", addr); got != "" {
			n.Errorf("after the stop %s answers %q", addr, got)
		}
	}
	r, err = n.runtime.RunPodSandbox(n.Context(), request("b"))
	n.must(err)
	n.answer(r.PodSandboxId, "tcp", 80, "b80")
	n.answer(r.PodSandboxId, "udp", 53, "b53")
	if got := ask("tcp4", "127.0.0.1:28080") + ask("udp4", "127.0.0.1:28053"); got != "b80b53" {
		n.Errorf("the ports' next sandbox answers %q", got)
	}
}

// withoutPortmapChains removes all sandboxes, and then the chains that portmap
// makes once for all and leaves.
func (n *node) withoutPortmapChains() {
	ctx := context.WithoutCancel(n.Context())
	if list, err := n.runtime.ListPodSandbox(ctx, &runtimeapi.ListPodSandboxRequest{}); err == nil {
		for _, s := range list.Items {
			_, _ = n.runtime.RemovePodSandbox(ctx, &runtimeapi.RemovePodSandboxRequest{PodSandboxId: s.Id})
		}
	}
	for _, args := range [][]string{
		{"-D", "PREROUTING", "-m", "addrtype", "--dst-type", "LOCAL", "-j", "CNI-HOSTPORT-DNAT"},
		{"-D", "OUTPUT", "-m", "addrtype", "--dst-type", "LOCAL", "-j", "CNI-HOSTPORT-DNAT"},
		{"-D", "POSTROUTING", "-m", "comment", "--comment", "CNI portfwd requiring masquerade", "-j", "CNI-HOSTPORT-MASQ"},
		{"-F", "CNI-HOSTPORT-DNAT"}, {"-F", "CNI-HOSTPORT-MASQ"}, {"-F", "CNI-HOSTPORT-SETMARK"},
		{"-X", "CNI-HOSTPORT-DNAT"}, {"-X", "CNI-HOSTPORT-MASQ"}, {"-X", "CNI-HOSTPORT-SETMARK"},
	} {
		_ = exec.CommandContext(ctx, "iptables", append([]string{"-w", "-t", "nat"}, args...)...).Run()
	}
}

// firewall is the rules there are, without counters.
func firewall(ctx context.Context) string {
	var out strings.Builder
	for _, args := range [][]string{{"nft", "-s", "list", "ruleset"}, {"iptables-save", "-t", "nat"}} {
		text, _ := exec.CommandContext(ctx, args[0], args[1:]...).Output()
		for line := range strings.Lines(string(text)) {
			if !strings.HasPrefix(line, "#") && !strings.HasPrefix(line, ":") {
				out.WriteString(line)
			}
		}
	}
	return out.String()
}
