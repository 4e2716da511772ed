package criadapter

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"path"
	"strings"

	"github.com/containerd/errdefs"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/davit-containers/davit/ctr"
	"github.com/davit-containers/davit/ctr/record"
	"github.com/davit-containers/davit/ctr/spec"
	"github.com/davit-containers/davit/netw"
	"github.com/davit-containers/davit/pod"
)

// sandboxConfig is what RunPodSandbox asks for.
func sandboxConfig(r *runtimeapi.RunPodSandboxRequest) (pod.Config, error) {
	c := r.GetConfig()
	if c == nil {
		return pod.Config{}, invalid("the request has no sandbox configuration")
	}
	m := c.GetMetadata()
	if m == nil {
		return pod.Config{}, invalid("the sandbox has no metadata")
	}
	linux := c.GetLinux()
	security := linux.GetSecurityContext()
	if security.GetRunAsGroup() != nil && security.GetRunAsUser() == nil {
		return pod.Config{}, invalid("run_as_group is given without run_as_user")
	}
	out := pod.Config{
		Owner:    record.OwnerCRI,
		Kube:     pod.Kube{Name: m.GetName(), Namespace: m.GetNamespace(), UID: m.GetUid(), Attempt: m.GetAttempt()},
		Hostname: c.GetHostname(), LogDir: c.GetLogDirectory(), Runtime: r.GetRuntimeHandler(),
		Labels: c.GetLabels(), Annotations: c.GetAnnotations(), Sysctls: linux.GetSysctls(),
		CgroupParent: linux.GetCgroupParent(), DNS: sandboxDNS(c.GetDnsConfig()), Privileged: security.GetPrivileged(),
		SELinux: spec.SELinux{Options: selinuxOptions(security.GetSelinuxOptions())},
	}
	out.Resources, out.Overhead = sandboxResources(linux.GetResources()), sandboxResources(linux.GetOverhead())
	if err := checkPaths(out.LogDir, out.CgroupParent); err != nil {
		return out, err
	}
	if err := sandboxNamespaces(security.GetNamespaceOptions(), &out); err != nil {
		return out, err
	}
	var err error
	if out.Network.Ports, err = sandboxPorts(c.GetPortMappings()); err != nil {
		return out, err
	}
	if out.Network.Bandwidth, err = bandwidth(c.GetAnnotations()); err != nil {
		return out, err
	}
	if out.Network.Mode != pod.NetworkCNI { // the host's ports are the pod's
		out.Network.Ports, out.Network.Bandwidth = nil, pod.Bandwidth{}
	}
	return out, nil
}

func invalid(format string, args ...any) error {
	return fmt.Errorf(format+": %w", append(args, errdefs.ErrInvalidArgument)...)
}

// sandboxResources are what counts of a sandbox's limits: those that can be summed
// up.
func sandboxResources(r *runtimeapi.LinuxContainerResources) spec.Resources {
	return spec.Resources{
		Memory: spec.Memory{Limit: max(r.GetMemoryLimitInBytes(), 0)},
		CPU: spec.CPU{
			Shares: uint64(max(r.GetCpuShares(), 0)), Quota: max(r.GetCpuQuota(), 0), Period: uint64(max(r.GetCpuPeriod(), 0)),
		},
	}
}

// checkPaths refuses paths that lead elsewhere than they seem to.
func checkPaths(logDir, cgroupParent string) error {
	if logDir != "" && (!path.IsAbs(logDir) || path.Clean(logDir) != strings.TrimSuffix(logDir, "/") || strings.ContainsRune(logDir, 0)) {
		return invalid("log directory %q is not a plain absolute path", logDir)
	}
	for part := range strings.SplitSeq(cgroupParent, "/") {
		if part == ".." || strings.ContainsAny(part, "\x00\n") {
			return invalid("cgroup parent %q is not a plain path", cgroupParent)
		}
	}
	return nil
}

// sandboxNamespaces fills in where the namespaces come from. The API's zero value
// is the pod's own.
func sandboxNamespaces(o *runtimeapi.NamespaceOption, c *pod.Config) error {
	var err error
	if c.Namespaces.PID, err = namespaceMode("pid", o.GetPid()); err != nil {
		return err
	}
	if c.Namespaces.IPC, err = namespaceMode("ipc", o.GetIpc()); err != nil {
		return err
	}
	if c.Namespaces.UIDMappings, c.Namespaces.GIDMappings, err = userMappings(o.GetUsernsOptions()); err != nil {
		return err
	}
	c.Namespaces.UTS = spec.ModePod
	switch o.GetNetwork() {
	case runtimeapi.NamespaceMode_POD:
	case runtimeapi.NamespaceMode_NODE:
		c.Network.Mode, c.Namespaces.UTS, c.Hostname = pod.NetworkHost, spec.ModeHost, ""
	default:
		return invalid("a sandbox's network cannot be %s", o.GetNetwork())
	}
	return nil
}

func namespaceMode(kind string, m runtimeapi.NamespaceMode) (spec.Mode, error) {
	switch m {
	case runtimeapi.NamespaceMode_POD:
		return spec.ModePod, nil
	case runtimeapi.NamespaceMode_NODE:
		return spec.ModeHost, nil
	case runtimeapi.NamespaceMode_CONTAINER:
		return spec.ModePrivate, nil
	}
	return "", invalid("a sandbox's %s namespace cannot be %s", kind, m)
}

func sandboxDNS(d *runtimeapi.DNSConfig) pod.DNS {
	out := pod.DNS{Servers: d.GetServers(), Searches: d.GetSearches(), Options: d.GetOptions()}
	out.Replace = len(out.Servers)+len(out.Searches)+len(out.Options) > 0
	return out
}

// sandboxPorts are the ports to publish: a mapping without a host port asks for
// none.
func sandboxPorts(mappings []*runtimeapi.PortMapping) ([]netw.Port, error) {
	var out []netw.Port
	for _, m := range mappings {
		if m.GetHostPort() == 0 {
			continue
		}
		for _, n := range []int32{m.GetHostPort(), m.GetContainerPort()} {
			if n < 1 || n > 65535 {
				return nil, invalid("port %d is not between 1 and 65535", n)
			}
		}
		p := netw.Port{HostPort: uint16(m.GetHostPort()), ContainerPort: uint16(m.GetContainerPort())}
		switch m.GetProtocol() {
		case runtimeapi.Protocol_TCP:
			p.Protocol = "tcp"
		case runtimeapi.Protocol_UDP:
			p.Protocol = "udp"
		case runtimeapi.Protocol_SCTP:
			p.Protocol = "sctp"
		default:
			return nil, invalid("port %d has an unknown protocol", p.HostPort)
		}
		if ip := m.GetHostIp(); ip != "" {
			addr, err := netip.ParseAddr(ip)
			if err != nil || addr.Zone() != "" {
				return nil, invalid("host address %q of port %d is no IP address", ip, p.HostPort)
			}
			p.HostIP = addr.Unmap()
		}
		out = append(out, p)
	}
	return out, netw.CheckPorts(out)
}

// Annotations by which Kubernetes limits a pod's traffic: the one way that it has
// to tell CNI's bandwidth capability.
const (
	ingressBandwidth = "kubernetes.io/ingress-bandwidth"
	egressBandwidth  = "kubernetes.io/egress-bandwidth"
)

func bandwidth(annotations map[string]string) (pod.Bandwidth, error) {
	var out pod.Bandwidth
	for _, limit := range []struct {
		key string
		to  *uint64
	}{{ingressBandwidth, &out.Ingress}, {egressBandwidth, &out.Egress}} {
		text, ok := annotations[limit.key]
		if !ok {
			continue
		}
		rate, err := quantity(text)
		// Kubernetes' own bounds: a thousand to 10^15 bits per second.
		if err != nil || rate < 1e3 || rate > 1e15 {
			return out, invalid("annotation %s=%q is not a rate between 1k and 1P", limit.key, text)
		}
		*limit.to = rate
	}
	return out, nil
}

// sandboxState is READY for what can take containers.
func sandboxState(s *pod.Sandbox) runtimeapi.PodSandboxState {
	if s.Status.State == pod.Ready {
		return runtimeapi.PodSandboxState_SANDBOX_READY
	}
	return runtimeapi.PodSandboxState_SANDBOX_NOTREADY
}

// sandboxItem is a sandbox as lists show it.
func sandboxItem(s *pod.Sandbox) *runtimeapi.PodSandbox {
	return &runtimeapi.PodSandbox{
		Id: s.ID, Metadata: podMetadata(s), State: sandboxState(s), CreatedAt: s.Created.UnixNano(),
		Labels: s.Config.Labels, Annotations: s.Config.Annotations, RuntimeHandler: s.Config.Runtime,
	}
}

// sandboxMatches says whether a list with that filter, which may be nil, shows a
// sandbox. What is being made is not shown: it is not there until its call
// succeeds.
func sandboxMatches(s *pod.Sandbox, f *runtimeapi.PodSandboxFilter) bool {
	if s.Config.Owner != record.OwnerCRI || !s.Made() || !strings.HasPrefix(s.ID, f.GetId()) {
		return false
	}
	if f.GetState() != nil && f.GetState().GetState() != sandboxState(s) {
		return false
	}
	return labelsMatch(s.Config.Labels, f.GetLabelSelector())
}

// labelsMatch says whether labels have all that a selector names.
func labelsMatch(labels, selector map[string]string) bool {
	for k, v := range selector {
		if got, ok := labels[k]; !ok || got != v {
			return false
		}
	}
	return true
}

// sandboxStatus is a sandbox as PodSandboxStatus and events show it.
func sandboxStatus(s pod.Sandbox) *runtimeapi.PodSandboxStatus {
	return &runtimeapi.PodSandboxStatus{
		Id: s.ID, Metadata: podMetadata(&s), State: sandboxState(&s), CreatedAt: s.Created.UnixNano(),
		Network: sandboxNetwork(s), Linux: &runtimeapi.LinuxPodSandboxStatus{
			Namespaces: &runtimeapi.Namespace{Options: namespaceOptions(s.Config)},
		},
		Labels: s.Config.Labels, Annotations: s.Config.Annotations, RuntimeHandler: s.Config.Runtime,
	}
}

// sandboxNetwork has the addresses; none for a sandbox on the host's network,
// whose address the kubelet knows.
func sandboxNetwork(s pod.Sandbox) *runtimeapi.PodSandboxNetworkStatus {
	out := &runtimeapi.PodSandboxNetworkStatus{}
	for i, ip := range s.Status.Attachment.IPs() {
		if i == 0 {
			out.Ip = ip.String()
			continue
		}
		out.AdditionalIps = append(out.AdditionalIps, &runtimeapi.PodIP{Ip: ip.String()})
	}
	return out
}

func namespaceOptions(c pod.Config) *runtimeapi.NamespaceOption {
	mode := func(m spec.Mode) runtimeapi.NamespaceMode {
		switch m {
		case spec.ModePod:
			return runtimeapi.NamespaceMode_POD
		case spec.ModeHost:
			return runtimeapi.NamespaceMode_NODE
		}
		return runtimeapi.NamespaceMode_CONTAINER
	}
	out := &runtimeapi.NamespaceOption{Pid: mode(c.Namespaces.PID), Ipc: mode(c.Namespaces.IPC)}
	if len(c.Namespaces.UIDMappings) > 0 {
		out.UsernsOptions = &runtimeapi.UserNamespace{
			Mode: runtimeapi.NamespaceMode_POD,
			Uids: statusMappings(c.Namespaces.UIDMappings), Gids: statusMappings(c.Namespaces.GIDMappings),
		}
	}
	if c.Network.Mode == pod.NetworkHost {
		out.Network = runtimeapi.NamespaceMode_NODE
	}
	return out
}

// sandboxInfo is what a verbose status tells besides, for people and for scripts.
func sandboxInfo(s pod.Sandbox, containers []ctr.Container) (map[string]string, error) {
	info := struct {
		Pid        int             `json:"pid,omitempty"` // of the infra container
		NetNS      string          `json:"netNamespacePath,omitempty"`
		Namespaces pod.Pinned      `json:"namespaces"`
		Cgroup     string          `json:"cgroup,omitempty"`
		State      pod.State       `json:"state"`
		Message    string          `json:"message,omitempty"`
		Operation  *record.Holder  `json:"operation,omitempty"`
		Attachment netw.Attachment `json:"attachment"`
		Config     pod.Config      `json:"config"`
	}{
		NetNS: s.Status.Namespaces.Net, Namespaces: s.Status.Namespaces, Cgroup: s.Status.Cgroup,
		State: s.Status.State, Message: s.Status.Message, Operation: s.Op,
		Attachment: s.Status.Attachment, Config: s.Config,
	}
	for _, k := range containers {
		if k.ID == s.Status.Infra {
			info.Pid = k.Status.Pid
		}
	}
	data, err := json.Marshal(info)
	if err != nil {
		return nil, fmt.Errorf("encoding information on pod %q: %w", s.ID, err)
	}
	return map[string]string{"info": string(data)}, nil
}
