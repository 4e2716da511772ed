package show

import (
	"fmt"
	"strings"
	"time"

	"github.com/davit-containers/davit/commands/cli"
	"github.com/davit-containers/davit/ctr"
	"github.com/davit-containers/davit/ctr/record"
	"github.com/davit-containers/davit/ctr/spec"
	"github.com/davit-containers/davit/netw"
	"github.com/davit-containers/davit/pod"
)

// Object is a container as inspect prints it.
type Object struct {
	ID              string `json:"Id"`
	Created         string
	Path            string
	Args            Words
	State           ObjectState
	Image           string
	ImageName       string
	Name            string
	Pod             string `json:",omitempty"`
	PodName         string `json:",omitempty"`
	Sandbox         string
	IsInfra         bool
	Owner           string
	OCIRuntime      string
	LogPath         string
	RestartCount    int
	Mounts          []ObjectMount
	NetworkSettings NetworkSettings
	Config          ObjectConfig
	HostConfig      HostConfig
	// Operation is the change under way, absent when there is none.
	Operation *record.Holder `json:",omitempty"`
}

// ObjectState is the state of a container.
type ObjectState struct {
	Status     string
	Running    bool
	Paused     bool
	Restarting bool
	// StoppedByUser says that no policy starts it again.
	StoppedByUser bool
	OOMKilled     bool
	Dead          bool
	Pid           int
	ConmonPid     int
	ExitCode      int
	Error         string
	Reason        string `json:",omitempty"`
	StartedAt     string
	FinishedAt    string
	// Health is absent without a health check.
	Health *ObjectHealth `json:",omitempty"`
}

// ObjectHealth is what the checks of a container have shown, the last ones last.
type ObjectHealth struct {
	Status        string
	FailingStreak int
	Log           []ObjectCheck
}

// ObjectCheck is one check of a container's health.
type ObjectCheck struct {
	Start, End string
	ExitCode   int
	Output     string
}

// Healthcheck is how a container is checked; times are in nanoseconds.
type Healthcheck struct {
	Test        Words
	Interval    int64 // negative: by 'davit healthcheck run' alone
	Timeout     int64
	StartPeriod int64
	Retries     int
}

// ObjectMount is something that a user mounted.
type ObjectMount struct {
	Type        string
	Name        string `json:",omitempty"`
	Source      string
	Destination string
	// SubPath is what of the volume or the image is mounted; empty is all.
	SubPath string `json:",omitempty"`
	Options Words
	RW      bool
}

// ObjectConfig is what a container was asked to run.
type ObjectConfig struct {
	Hostname    string
	User        string
	Env         Words
	Cmd         Words
	Entrypoint  Words
	Image       string
	Labels      Labels
	Annotations Labels
	StopSignal  string
	StopTimeout int64
	WorkingDir  string
	Umask       string `json:",omitempty"`
	Tty         bool
	OpenStdin   bool
	StdinOnce   bool

	// Healthcheck is absent without one.
	Healthcheck                *Healthcheck `json:",omitempty"`
	HealthcheckOnFailureAction string       `json:",omitempty"`
}

// Paths are where on the host things of a container are.
type Paths struct {
	Log string
	// Volume is the path of a volume's data; empty if there is no such volume.
	Volume func(name string) string
}

// Object is what inspect prints of a container.
func (w World) Object(c ctr.Container, paths Paths) Object {
	cfg, sandbox := c.Config, w.Pod(c)
	o := Object{
		ID: c.ID, Created: cli.Time(c.Created),
		State: objectState(c, w.Now), RestartCount: c.Status.Again.Count,
		Image: cfg.Image.ID, ImageName: ImageName(cfg.Image), Name: cfg.Name,
		Sandbox: cfg.Sandbox, IsInfra: cfg.Infra, Owner: string(cfg.Owner),
		OCIRuntime: cfg.Runtime, LogPath: paths.Log,
		Mounts:          objectMounts(cfg.Mounts, paths.Volume),
		NetworkSettings: networkSettings(sandbox),
		Config:          objectConfig(cfg, sandbox),
		HostConfig:      hostConfig(cfg, sandbox),
		Operation:       c.Op,
	}
	policy := c.RestartPolicy()
	o.HostConfig.LogConfig.Path = paths.Log
	o.HostConfig.RestartPolicy = RestartPolicy{Name: policy.Policy, MaximumRetryCount: policy.Retries}
	if len(cfg.Process.Args) > 0 {
		o.Path, o.Args = cfg.Process.Args[0], cfg.Process.Args[1:]
	}
	if !cfg.Implicit {
		o.Pod, o.PodName = cfg.Sandbox, sandbox.Config.Name
	}
	return o
}

func objectState(c ctr.Container, now time.Time) ObjectState {
	s := c.Status
	o := ObjectState{
		Status: State(s), Running: s.State == ctr.Running, Paused: s.State == ctr.Paused,
		StoppedByUser: s.StoppedByUser,
		OOMKilled:     s.OOMKilled, Dead: s.State == ctr.Removing,
		Pid: s.Pid, ConmonPid: s.MonitorPid, ExitCode: s.ExitCode,
		Error: s.Message, Reason: s.Reason,
		StartedAt: cli.Time(s.StartedAt), FinishedAt: cli.Time(s.FinishedAt),
	}
	if s.Alive() {
		o.FinishedAt, o.ExitCode = "", 0
	}
	_, o.Restarting = c.RestartDue(now)
	o.Health = objectHealth(s.Health)
	return o
}

func objectHealth(h *ctr.HealthState) *ObjectHealth {
	if h == nil {
		return nil
	}
	o := &ObjectHealth{Status: h.Status, FailingStreak: h.FailingStreak, Log: []ObjectCheck{}}
	for _, r := range h.Log {
		o.Log = append(o.Log, ObjectCheck{Start: cli.Time(r.Start), End: cli.Time(r.End), ExitCode: r.ExitCode, Output: r.Output})
	}
	return o
}

func objectMounts(mounts []spec.Mount, path func(string) string) []ObjectMount {
	out := []ObjectMount{}
	for _, m := range mounts {
		o := ObjectMount{Type: m.Type, Source: m.Source, Destination: m.Destination, SubPath: m.Subpath, Options: m.Options, RW: true}
		if m.Type == spec.MountVolume {
			o.Name, o.Source = m.Source, path(m.Source)
		}
		for _, opt := range m.Options {
			if opt == "ro" || opt == "rro" {
				o.RW = false
			}
		}
		out = append(out, o)
	}
	return out
}

func objectConfig(cfg ctr.Config, s pod.Sandbox) ObjectConfig {
	p := cfg.Process
	o := ObjectConfig{
		Hostname: s.Config.Hostname, User: p.User, Env: p.Env, Cmd: p.Command, Entrypoint: p.Entrypoint,
		Image: ImageName(cfg.Image), Labels: cfg.Labels, Annotations: cfg.Annotations,
		StopSignal: stopSignal(cfg.Stop), StopTimeout: 10,
		WorkingDir: p.WorkingDir, Umask: p.Umask, Tty: p.Terminal, OpenStdin: p.Stdin, StdinOnce: p.StdinOnce,
	}
	if t := cfg.Stop.Timeout; t != nil {
		o.StopTimeout = int64(t.Seconds())
	}
	if h := cfg.Health; h != nil {
		o.Healthcheck = &Healthcheck{
			Test: h.Test, Interval: int64(h.Interval), Timeout: int64(h.Timeout), StartPeriod: int64(h.StartPeriod), Retries: h.Retries,
		}
		o.HealthcheckOnFailureAction = h.OnFailure
	}
	if len(o.Cmd) == 0 && len(o.Entrypoint) == 0 {
		o.Cmd = p.Args
	}
	return o
}

func stopSignal(s ctr.Stop) string {
	sig, _ := s.Ends()
	return spec.SignalName(sig)
}

// NetworkSettings is the network of a sandbox.
type NetworkSettings struct {
	IPAddress           string
	IPPrefixLen         int
	Gateway             string
	GlobalIPv6Address   string
	GlobalIPv6PrefixLen int
	IPv6Gateway         string
	MacAddress          string
	SandboxKey          string
	Ports               map[string][]Binding
	Networks            map[string]Endpoint
}

// Binding is where on the host a port is published.
type Binding struct {
	HostIP   string `json:"HostIp"`
	HostPort string
}

// Endpoint is a sandbox's place in one network.
type Endpoint struct {
	Interface           string
	IPAddress           string
	IPPrefixLen         int
	Gateway             string
	GlobalIPv6Address   string
	GlobalIPv6PrefixLen int
	IPv6Gateway         string
	MacAddress          string
}

func networkSettings(s pod.Sandbox) NetworkSettings {
	n := NetworkSettings{
		Ports: bindings(Ports(s)), Networks: map[string]Endpoint{},
		SandboxKey: s.Status.Namespaces.Net,
	}
	for i, link := range s.Status.Attachment.Interfaces {
		e := endpoint(link)
		n.Networks[link.Network] = e
		if i == 0 {
			n.IPAddress, n.IPPrefixLen, n.Gateway = e.IPAddress, e.IPPrefixLen, e.Gateway
			n.GlobalIPv6Address, n.GlobalIPv6PrefixLen, n.IPv6Gateway = e.GlobalIPv6Address, e.GlobalIPv6PrefixLen, e.IPv6Gateway
			n.MacAddress = e.MacAddress
		}
	}
	for _, name := range Networks(s) {
		if _, ok := n.Networks[name]; !ok && s.Config.Network.Mode == pod.NetworkCNI {
			n.Networks[name] = Endpoint{}
		}
	}
	return n
}

func endpoint(link netw.Interface) Endpoint {
	e := Endpoint{Interface: link.Name, MacAddress: link.MAC}
	for _, ip := range link.IPs {
		switch {
		case ip.Addr().Is4() && e.IPAddress == "":
			e.IPAddress, e.IPPrefixLen = ip.Addr().String(), ip.Bits()
		case ip.Addr().Is6() && e.GlobalIPv6Address == "":
			e.GlobalIPv6Address, e.GlobalIPv6PrefixLen = ip.Addr().String(), ip.Bits()
		}
	}
	for _, gw := range link.Gateways {
		switch {
		case gw.Is4() && e.Gateway == "":
			e.Gateway = gw.String()
		case gw.Is6() && e.IPv6Gateway == "":
			e.IPv6Gateway = gw.String()
		}
	}
	return e
}

// bindings are published ports by the container's port.
func bindings(ports []netw.Port) map[string][]Binding {
	out := map[string][]Binding{}
	for _, p := range ports {
		key := fmt.Sprintf("%d/%s", p.ContainerPort, p.Protocol)
		out[key] = append(out[key], Binding{HostIP: HostIP(p), HostPort: fmt.Sprint(p.HostPort)})
	}
	return out
}

// HostIP is the address of the host that a port is published on.
func HostIP(p netw.Port) string {
	if p.HostIP.IsValid() {
		return p.HostIP.String()
	}
	return "0.0.0.0"
}

// HostAddr is a port's address on the host: "0.0.0.0:8080", "[::]:8080".
func HostAddr(p netw.Port) string {
	ip := HostIP(p)
	if strings.Contains(ip, ":") {
		ip = "[" + ip + "]"
	}
	return fmt.Sprintf("%s:%d", ip, p.HostPort)
}
