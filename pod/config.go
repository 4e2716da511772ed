package pod

import (
	"net/netip"
	"time"

	"github.com/davit-containers/davit/ctr"
	"github.com/davit-containers/davit/ctr/record"
	"github.com/davit-containers/davit/ctr/spec"
	"github.com/davit-containers/davit/netw"
)

// Config is what a sandbox was asked to be. It is written once and never
// changes.
type Config struct {
	// Name is the human name, unique among the pods of one owner; empty lets
	// Create make one up.
	Name  string       `json:"name"`
	Owner record.Owner `json:"owner"`
	// Implicit says that the sandbox was made for one container.
	Implicit bool `json:"implicit,omitempty"`

	Hostname   string     `json:"hostname,omitempty"`
	Namespaces Namespaces `json:"namespaces"`
	Network    Network    `json:"network"`
	DNS        DNS        `json:"dns"`
	// ShmSize is the size of /dev/shm in bytes; 0 is 64 MiB.
	ShmSize int64             `json:"shmSize,omitempty"`
	Sysctls map[string]string `json:"sysctls,omitempty"`

	Resources spec.Resources `json:"resources"`
	// Overhead is what a sandbox of the kubelet's may use beside its containers,
	// whose sum Resources is then.
	Overhead     spec.Resources `json:"overhead,omitzero"`
	CgroupParent string         `json:"cgroupParent,omitempty"`
	CgroupsOff   bool           `json:"cgroupsOff,omitempty"`
	// Restart is the policy of containers of the command line that are given none.
	Restart ctr.Restart `json:"restart,omitzero"`
	// InfraCommand runs in the infra container of a shared PID namespace; nil is
	// the configured one.
	InfraCommand []string          `json:"infraCommand,omitempty"`
	Runtime      string            `json:"runtime,omitempty"`
	Labels       map[string]string `json:"labels,omitempty"`
	Annotations  map[string]string `json:"annotations,omitempty"`
	// Privileged says that there may be privileged containers of the kubelet's.
	Privileged bool `json:"privileged,omitempty"`
	// SELinux is what the containers are labelled with that ask for nothing else; all
	// have its level. The labels are filled in by Create.
	SELinux spec.SELinux `json:"selinux,omitzero"`
	// Kube is what the kubelet calls the sandbox; zero for one that was made on
	// the command line.
	Kube Kube `json:"kube,omitzero"`
	// LogDir is the folder below which the kubelet wants its containers' logs.
	LogDir string `json:"logDir,omitempty"`
}

// Kube names a sandbox as the kubelet does: the four together are unique.
type Kube struct {
	Name      string `json:"name"`
	Namespace string `json:"namespace"`
	UID       string `json:"uid"`
	Attempt   uint32 `json:"attempt,omitempty"`
}

// Namespaces says where the containers' namespaces come from, but for the
// network, which Network tells: spec.ModePod is one that the pod pins and its
// containers share, spec.ModeHost the host's, spec.ModePrivate (and empty) one
// for each container. A shared PID namespace needs an infra container.
type Namespaces struct {
	IPC spec.Mode `json:"ipc,omitempty"`
	UTS spec.Mode `json:"uts,omitempty"`
	PID spec.Mode `json:"pid,omitempty"`
	// UIDMappings and GIDMappings ask for a user namespace with these, which
	// owns the pod's others and is all its containers'. Both or neither.
	UIDMappings []spec.IDMapping `json:"uidMappings,omitempty"`
	GIDMappings []spec.IDMapping `json:"gidMappings,omitempty"`
}

// NetworkMode says what a sandbox's network is.
type NetworkMode string

// The modes of a sandbox's network.
const (
	// NetworkCNI attaches the sandbox's own namespace to networks.
	NetworkCNI NetworkMode = ""
	// NetworkHost uses the host's namespace.
	NetworkHost NetworkMode = "host"
	// NetworkNone has a namespace with nothing but lo.
	NetworkNone NetworkMode = "none"
	// NetworkPrivate gives each container an empty namespace of its own: a pod
	// that does not share its network.
	NetworkPrivate NetworkMode = "private"
)

// Network is the network of a sandbox.
type Network struct {
	Mode NetworkMode `json:"mode,omitempty"`
	// Networks to attach to; empty is the default network.
	Networks []netw.Ref  `json:"networks,omitempty"`
	Ports    []netw.Port `json:"ports,omitempty"`
	// Bandwidth limits the sandbox's traffic, where the network can.
	Bandwidth Bandwidth `json:"bandwidth,omitzero"`
}

// Bandwidth is in bits per second; 0 is no limit.
type Bandwidth struct {
	Ingress uint64 `json:"ingress,omitempty"`
	Egress  uint64 `json:"egress,omitempty"`
}

// DNS is what the sandbox's /etc/resolv.conf and /etc/hosts say.
type DNS struct {
	// Servers, Searches and Options replace the host's where they are given.
	Servers  []string `json:"servers,omitempty"`
	Searches []string `json:"searches,omitempty"`
	Options  []string `json:"options,omitempty"`
	// Replace says that they are all there is: the host's are not looked at.
	Replace bool `json:"replace,omitempty"`
	// Hosts are further lines of /etc/hosts.
	Hosts []Host `json:"hosts,omitempty"`
	// NoHosts leaves the image's /etc/hosts alone.
	NoHosts bool `json:"noHosts,omitempty"`
}

// Host is a line of /etc/hosts.
type Host struct {
	Name string     `json:"name"`
	Addr netip.Addr `json:"addr"`
	// Gateway stands for the host's address as seen from the sandbox
	// ("host-gateway"); Addr is then ignored.
	Gateway bool `json:"gateway,omitempty"`
}

// State is where a sandbox is in its life:
//
//	create ─► created ─► ready ⇄ notready ─► removing
//
// Created has no resources yet; notready has lost or given back its own, with
// its record kept, and start makes it ready again.
type State string

// The states of a sandbox.
const (
	Creating State = "creating"
	Created  State = "created"
	Ready    State = "ready"
	NotReady State = "notready"
	Removing State = "removing"
)

// Status is what changes during a sandbox's life.
type Status struct {
	State State `json:"state"`
	// Namespaces are the paths of those that are pinned; PID is that of the
	// infra container.
	Namespaces Pinned `json:"namespaces"`
	// Attachment is the network as it was attached.
	Attachment netw.Attachment `json:"attachment"`
	// Attached says that a network may be attached: it is set before the first
	// ADD and cleared after the last DEL.
	Attached bool `json:"attached,omitempty"`
	// Restarted says that the machine was restarted since: of the attachment
	// there is no record any more, and of its addresses there may be.
	Restarted bool `json:"restarted,omitempty"`
	// Cgroup is the sandbox's cgroup, which its containers' are in.
	Cgroup string `json:"cgroup,omitempty"`
	// Slice is systemd's slice that the containers' scopes are in, where the
	// cgroup driver is systemd: then Cgroup is not davit's to make or remove.
	Slice string `json:"slice,omitempty"`
	// Infra is the ID of the infra container.
	Infra     string    `json:"infra,omitempty"`
	StartedAt time.Time `json:"startedAt,omitzero"`
	// Message says why the sandbox is not ready.
	Message string `json:"message,omitempty"`
}

// Pinned are paths of pinned namespaces; empty where there is none.
type Pinned struct {
	Net string `json:"net,omitempty"`
	IPC string `json:"ipc,omitempty"`
	UTS string `json:"uts,omitempty"`
	PID string `json:"pid,omitempty"`
	// User owns the others, where there is one.
	User string `json:"user,omitempty"`
}

// Sandbox is one pod as it is now.
type Sandbox struct {
	ID      string
	Created time.Time
	Config  Config
	Status  Status
	Op      *record.Holder
}
