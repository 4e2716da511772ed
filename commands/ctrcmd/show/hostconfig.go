package show

import (
	"fmt"
	"strings"

	"github.com/davit-containers/davit/commands/cli"
	"github.com/davit-containers/davit/ctr"
	"github.com/davit-containers/davit/ctr/spec"
	"github.com/davit-containers/davit/pod"
)

// HostConfig is how a container meets its host.
type HostConfig struct {
	Binds Words
	Tmpfs Labels
	Limits

	Privileged     bool
	CapAdd         Words
	CapDrop        Words
	SecurityOpt    Words
	ReadonlyRootfs bool
	Devices        []ObjectDevice
	Sysctls        Labels
	GroupAdd       Words

	NetworkMode  string
	PidMode      string
	IpcMode      string
	UTSMode      string
	CgroupMode   string
	CgroupParent string
	Cgroups      string
	PortBindings map[string][]Binding
	DNS          Words `json:"Dns"`
	DNSSearch    Words `json:"DnsSearch"`
	DNSOptions   Words `json:"DnsOptions"`
	ExtraHosts   Words

	Init          bool
	AutoRemove    bool
	RestartPolicy RestartPolicy
	Runtime       string
	ShmSize       int64
	LogConfig     LogConfig
}

// RestartPolicy is when a container is started again; 0 tries are any number.
type RestartPolicy struct {
	Name              string
	MaximumRetryCount int
}

// Limits are limits of a container, in bytes and billionths of a CPU.
type Limits struct {
	Memory            int64
	MemoryReservation int64
	MemorySwap        int64
	NanoCPUs          int64  `json:"NanoCpus"`
	CPUShares         uint64 `json:"CpuShares"`
	CPUPeriod         uint64 `json:"CpuPeriod"`
	CPUQuota          int64  `json:"CpuQuota"`
	CpusetCpus        string
	CpusetMems        string
	PidsLimit         int64
	BlkioWeight       uint16
	OomScoreAdj       int
	Ulimits           []Ulimit
}

// Ulimit is one resource limit of processes; -1 is unlimited.
type Ulimit struct {
	Name string
	Soft int64
	Hard int64
}

// ObjectDevice is a device of the host.
type ObjectDevice struct {
	PathOnHost        string
	PathInContainer   string
	CgroupPermissions string
}

// LogConfig is where output is written.
type LogConfig struct {
	Type string
	Path string `json:",omitempty"`
	// Size is the size in bytes at which the log is rotated; 0 is never.
	Size int64
}

func hostConfig(cfg ctr.Config, s pod.Sandbox) HostConfig {
	sec := cfg.Security
	h := HostConfig{
		Binds: Words{}, Tmpfs: Labels{}, Limits: limits(cfg),
		Privileged: sec.Privileged, CapAdd: sec.Caps.Add, CapDrop: sec.Caps.Drop, SecurityOpt: securityOptions(sec),
		ReadonlyRootfs: sec.ReadOnlyRootfs, Devices: []ObjectDevice{}, GroupAdd: cfg.Process.Groups,
		Sysctls:     s.Config.Sysctls,
		NetworkMode: networkMode(s),
		PidMode:     mode(cfg.Namespaces.PID, s.Config.Namespaces.PID),
		IpcMode:     mode(cfg.Namespaces.IPC, s.Config.Namespaces.IPC),
		UTSMode:     mode(cfg.Namespaces.UTS, s.Config.Namespaces.UTS),
		CgroupMode:  string(cfg.Namespaces.Cgroup.Mode),

		CgroupParent: s.Config.CgroupParent, Cgroups: "enabled",
		PortBindings: bindings(s.Config.Network.Ports),
		DNS:          s.Config.DNS.Servers, DNSSearch: s.Config.DNS.Searches, DNSOptions: s.Config.DNS.Options,
		ExtraHosts: hosts(s.Config.DNS.Hosts),
		Init:       cfg.Init, AutoRemove: cfg.Remove, Runtime: cfg.Runtime,
		ShmSize:   s.Config.ShmSize,
		LogConfig: LogConfig{Type: cfg.Log.Driver, Size: cfg.Log.MaxSize},
	}
	if h.LogConfig.Type == "" {
		h.LogConfig.Type = "k8s-file"
	}
	if cfg.CgroupsOff {
		h.Cgroups = "disabled"
	}
	if len(cfg.Sysctls) > 0 {
		h.Sysctls = cfg.Sysctls
	}
	if cfg.Resources.ShmSize > 0 {
		h.ShmSize = cfg.Resources.ShmSize
	}
	for _, m := range cfg.Mounts {
		options := strings.Join(m.Options, ",")
		switch m.Type {
		case spec.MountTmpfs:
			h.Tmpfs[m.Destination] = options
		default:
			h.Binds = append(h.Binds, strings.TrimSuffix(m.Source+":"+m.Destination+":"+options, ":"))
		}
	}
	for _, d := range cfg.Devices {
		h.Devices = append(h.Devices, ObjectDevice{PathOnHost: d.HostPath, PathInContainer: d.Path, CgroupPermissions: d.Access})
	}
	return h
}

func limits(cfg ctr.Config) Limits {
	r := cfg.Resources
	l := Limits{
		Memory: r.Memory.Limit, MemoryReservation: r.Memory.Reservation, MemorySwap: r.Memory.Swap,
		NanoCPUs: r.CPU.NanoCPUs, CPUShares: r.CPU.Shares, CPUPeriod: r.CPU.Period, CPUQuota: r.CPU.Quota,
		CpusetCpus: r.CPU.Cpus, CpusetMems: r.CPU.Mems, PidsLimit: r.Pids, BlkioWeight: r.Blkio, Ulimits: []Ulimit{},
	}
	if cfg.Process.OOMScoreAdj != nil {
		l.OomScoreAdj = *cfg.Process.OOMScoreAdj
	}
	for _, u := range cfg.Process.Rlimits {
		l.Ulimits = append(l.Ulimits, Ulimit{Name: u.Type, Soft: limit(u.Soft), Hard: limit(u.Hard)})
	}
	return l
}

func limit(n uint64) int64 {
	if n > 1<<63-1 {
		return -1
	}
	return int64(n)
}

func securityOptions(s spec.Security) Words {
	out := Words{}
	if s.NoNewPrivileges {
		out = append(out, "no-new-privileges")
	}
	switch s.Seccomp {
	case "", spec.SeccompDefault:
	case spec.SeccompUnconfined:
		out = append(out, "seccomp=unconfined")
	default:
		out = append(out, "seccomp=profile")
	}
	if s.AppArmor != "" {
		out = append(out, "apparmor="+s.AppArmor)
	}
	for _, l := range s.SELinux.Options {
		out = append(out, "label="+l)
	}
	for _, list := range []struct {
		key   string
		paths []string
	}{{"mask", s.Paths.Mask}, {"unmask", s.Paths.Unmask}} {
		if len(list.paths) > 0 {
			out = append(out, list.key+"="+strings.Join(list.paths, ":"))
		}
	}
	return out
}

// mode is where a namespace comes from: as a container wants it, else as its
// sandbox gives it.
func mode(own spec.Namespace, given spec.Mode) string {
	switch {
	case own.Mode == spec.ModePath:
		return "ns:" + own.Path
	case own.Mode != "":
		return string(own.Mode)
	case given == "":
		return string(spec.ModePrivate)
	}
	return string(given)
}

func networkMode(s pod.Sandbox) string {
	if s.Config.Network.Mode != pod.NetworkCNI {
		return string(s.Config.Network.Mode)
	}
	if names := Networks(s); len(names) > 0 {
		return strings.Join(names, ",")
	}
	return "bridge"
}

func hosts(list []pod.Host) Words {
	out := Words{}
	for _, h := range list {
		if h.Gateway {
			out = append(out, h.Name+":host-gateway")
		} else {
			out = append(out, h.Name+":"+h.Addr.String())
		}
	}
	return out
}

// PodObject is a pod as inspect prints it.
type PodObject struct {
	ID               string `json:"Id"`
	Name             string
	Created          string
	State            string
	Message          string `json:",omitempty"`
	Hostname         string
	Labels           Labels
	Annotations      Labels
	Owner            string
	Implicit         bool
	CreateInfra      bool
	InfraContainerID string
	SharedNamespaces Words
	CgroupParent     string
	CgroupPath       string
	NumContainers    int
	Containers       []PodMember
	NetworkSettings  NetworkSettings
	InfraConfig      InfraConfig
	Limits
}

// PodMember is a container of a pod.
type PodMember struct {
	ID    string `json:"Id"`
	Name  string
	State string
}

// InfraConfig is what the containers of a pod share.
type InfraConfig struct {
	NetworkMode   string
	HostNetwork   bool
	Networks      Words
	PortBindings  map[string][]Binding
	DNSServer     Words
	DNSSearch     Words
	DNSOption     Words
	HostAdd       Words
	NoManageHosts bool
	ShmSize       int64
	Sysctls       Labels
	InfraCommand  Words
}

// PodObject is what inspect prints of a pod.
func (w World) PodObject(s pod.Sandbox) PodObject {
	members, cfg := w.Members(s), s.Config
	o := PodObject{
		ID: s.ID, Name: cfg.Name, Created: cli.Time(s.Created), State: PodStatus(s, members), Message: s.Status.Message,
		Hostname: cfg.Hostname, Labels: cfg.Labels, Annotations: cfg.Annotations, Owner: string(cfg.Owner), Implicit: cfg.Implicit,
		CreateInfra: s.Status.Infra != "", InfraContainerID: s.Status.Infra, SharedNamespaces: Shared(cfg),
		CgroupParent: cfg.CgroupParent, CgroupPath: s.Status.Cgroup,
		NumContainers: len(members), Containers: []PodMember{},
		NetworkSettings: networkSettings(s),
		InfraConfig: InfraConfig{
			NetworkMode: networkMode(s), HostNetwork: cfg.Network.Mode == pod.NetworkHost, Networks: Networks(s),
			PortBindings: bindings(cfg.Network.Ports),
			DNSServer:    cfg.DNS.Servers, DNSSearch: cfg.DNS.Searches, DNSOption: cfg.DNS.Options,
			HostAdd: hosts(cfg.DNS.Hosts), NoManageHosts: cfg.DNS.NoHosts,
			ShmSize: cfg.ShmSize, Sysctls: cfg.Sysctls, InfraCommand: cfg.InfraCommand,
		},
		Limits: limits(ctr.Config{Resources: cfg.Resources}),
	}
	for _, c := range members {
		o.Containers = append(o.Containers, PodMember{ID: c.ID, Name: c.Config.Name, State: State(c.Status)})
	}
	return o
}

// Shared are the namespaces that the containers of a pod share.
func Shared(cfg pod.Config) Words {
	out := Words{}
	if cfg.Network.Mode != pod.NetworkPrivate {
		out = append(out, "net")
	}
	for _, n := range []struct {
		name string
		mode spec.Mode
	}{{"ipc", cfg.Namespaces.IPC}, {"uts", cfg.Namespaces.UTS}, {"pid", cfg.Namespaces.PID}} {
		if n.mode == spec.ModePod {
			out = append(out, n.name)
		}
	}
	return out
}

// String names a pod's member.
func (m PodMember) String() string { return fmt.Sprintf("%s(%s)", m.Name, m.State) }
