package doctor

import "time"

// Facts are what was read from a host. What could not be read has its zero value,
// or an error in words beside it.
type Facts struct {
	Kernel   string // as uname has it
	Cgroups  Cgroups
	Storage  Storage
	Programs []Program
	Network  Network
	Limits   Limits
	Clock    Clock
	Space    []Space
	Security Security
	Files    []File
	Roots    []Root
	Mounts   Mounts
}

// Cgroups are what limits are set with.
type Cgroups struct {
	Error       string
	Version     int
	Controllers []string
	Manager     string // davit's: cgroupfs or systemd
	Systemd     bool   // it is the host's init
}

// Storage is the layer store.
type Storage struct {
	Error   string // why it cannot be opened
	Driver  string
	Root    string
	NoDType bool // its file system does not tell the types of directory entries
}

// Program is a binary that davit runs.
type Program struct {
	Name    string
	Role    string // "runtime", "monitor" or "init"
	Path    string // empty if there is none
	Version string // "1.2.3", empty if it says none
	Error   string // why it does not run
	Needed  bool   // nothing works without
	Can     string // what a runtime can do, in words
}

// Network is what pods' networks need.
type Network struct {
	Plugins  []Plugin
	Networks int    // of the host's folder
	Folder   string // of the host's networks
	Broken   string // what is wrong in that folder
	Firewall string // why the kernel's nft cannot be used
	Legacy   []string
	Forward  string // net.ipv4.ip_forward
	BridgeNF string // net.bridge.bridge-nf-call-iptables, empty without br_netfilter
}

// Plugin is a CNI plugin.
type Plugin struct {
	Type     string
	Networks []string // that name it
	Path     string
	Versions []string
	Error    string
}

// Limits are the kernel's; 0 was not read, -1 is none.
type Limits struct {
	InotifyInstances, InotifyWatches int64
	PidMax, PidsCgroup               int64
	Files, FilesHost                 int64
	UserNamespaces                   int64
}

// Clock is the time, and when davit's own binary was made.
type Clock struct{ Now, Built time.Time }

// Space is what is free where something is kept. No inodes at all are made as
// they are needed.
type Space struct {
	For, Path                       string
	Free, Total, FreeInodes, Inodes uint64
}

// Security is what confines containers.
type Security struct {
	Seccomp        bool
	LSMs           string
	AppArmor       bool // it is on
	AppArmorParser bool // its program is there
}

// File is a configuration file of images' transfers.
type File struct{ Name, Error string }

// Root is one of davit's folders.
type Root struct {
	Path  string
	Mode  uint32 // permission bits
	Owner uint32
	Error string
}

// Mounts are about this process's mount namespace.
type Mounts struct {
	Shared bool // mounts below / are seen by other namespaces, and theirs here
	// Foreign counts pods and containers that an engine in another mount namespace
	// has made on the same roots.
	Foreign int
}
