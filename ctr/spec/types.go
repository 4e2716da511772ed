package spec

// Config is everything that [Build] needs. The zero value of each part means
// the safe default: no capability beyond [CLICapabilities], the default
// seccomp profile, default masks, private namespaces.
type Config struct {
	Process     Process           `json:"process"`
	Rootfs      string            `json:"rootfs"` // path of the mounted root filesystem, absolute
	Mounts      []Mount           `json:"mounts,omitempty"`
	Devices     []Device          `json:"devices,omitempty"`
	Namespaces  Namespaces        `json:"namespaces"`
	Resources   Resources         `json:"resources"`
	Security    Security          `json:"security"`
	Sysctls     map[string]string `json:"sysctls,omitempty"`
	Annotations map[string]string `json:"annotations,omitempty"` // written as given: the caller decides which may steer a runtime
	Hostname    string            `json:"hostname,omitempty"`    // set by the runtime only in a private UTS namespace
	CgroupsPath string            `json:"cgroupsPath,omitempty"`
	Host        Host              `json:"host"`
}

// Host is what the caller knows of its host, or supplies from it.
type Host struct {
	// CgroupVersion is 1 or 2; 0 counts as 2.
	CgroupVersion int `json:"cgroupVersion,omitempty"`
	// Capabilities is the bounding set of the caller, as CAP_ names: a
	// privileged container gets exactly these, and nothing outside of them
	// can be added. Nil means that it is unknown: all capabilities of
	// [AllCapabilities] count as held.
	Capabilities []string `json:"capabilities,omitempty"`
	// Mounts are the engine's own (/etc/hosts, /etc/resolv.conf, /dev/shm of
	// the pod); a mount of Config.Mounts at the same destination wins.
	Mounts []Mount `json:"mounts,omitempty"`
	// MaskedPaths are masked beside the default ones: what only the host's
	// own /sys shows, as thermal_throttle of each cpu.
	MaskedPaths []string `json:"maskedPaths,omitempty"`
	// NoX32 says that the kernel has no x32 calls. The default seccomp filter
	// then has no rules for them, which make a runtime spend half as long again
	// on its compilation; who tries one is killed instead of answered ENOSYS.
	NoX32 bool `json:"noX32,omitempty"`
	// Init is the host's path of the init binary (catatonit) for a container
	// with Process.Init.
	Init string `json:"init,omitempty"`
}

// Process is what runs in the container.
type Process struct {
	Args        []string `json:"args"`
	Env         []string `json:"env,omitempty"` // KEY=value, one per key
	Cwd         string   `json:"cwd"`           // absolute
	User        User     `json:"user"`
	Terminal    bool     `json:"terminal,omitempty"`
	ConsoleSize Size     `json:"consoleSize,omitzero"` // at start; zero leaves it to the terminal
	Rlimits     []Rlimit `json:"rlimits,omitempty"`    // clamped by the caller, see [ClampRlimits]
	OOMScoreAdj *int     `json:"oomScoreAdj,omitempty"`
	Init        bool     `json:"init,omitempty"` // run Host.Init as process 1, Args as its child
	StopSignal  string   `json:"stopSignal,omitempty"`
}

// Size is a terminal's size in character cells.
type Size struct {
	Width  uint `json:"width"`
	Height uint `json:"height"`
}

// User is who the process runs as. Runtimes are given numbers only.
type User struct {
	Ref            string   `json:"ref,omitempty"` // as asked, "user[:group]"; for messages, Build ignores it
	UID            uint32   `json:"uid"`
	GID            uint32   `json:"gid"`
	AdditionalGIDs []uint32 `json:"additionalGids,omitempty"`
	Umask          *uint32  `json:"umask,omitempty"` // nil means 0022
}

// Types of a [Mount].
const (
	MountBind   = "bind"   // Source is a path of the host
	MountTmpfs  = "tmpfs"  // no source
	MountVolume = "volume" // Source is a volume's name until the caller replaces it by its path; empty for an anonymous one
	MountImage  = "image"  // Source is an image until the caller replaces it by its mounted path
)

// Mount is one mount that a user or the engine asks for. Before [Build] the
// caller replaces the source of a volume or an image by its absolute path.
type Mount struct {
	Type        string   `json:"type"`
	Source      string   `json:"source,omitempty"`
	Destination string   `json:"destination"`
	Options     []string `json:"options,omitempty"` // mount(8)'s words, as the runtime spec lists them

	// What the caller does before the runtime mounts; Build ignores these.
	Relabel string `json:"relabel,omitempty"` // "z" shared or "Z" private SELinux label
	NoCopy  bool   `json:"noCopy,omitempty"`  // a volume's first use does not copy the image's content
	Subpath string `json:"subpath,omitempty"` // relative path inside a volume or an image
	ImageID string `json:"imageID,omitempty"` // of the image that Source named when the container was made

	// Mappings make an idmapped mount, where the runtime knows them.
	UIDMappings []IDMapping `json:"uidMappings,omitempty"`
	GIDMappings []IDMapping `json:"gidMappings,omitempty"`
}

// Device is a node of the host that the container may use. The caller fills
// Type, Major and Minor from the host's node (stat).
type Device struct {
	HostPath string  `json:"hostPath"`
	Path     string  `json:"path"`           // in the container; empty means HostPath
	Access   string  `json:"access"`         // of "rwm"; empty means all
	Type     string  `json:"type,omitempty"` // "c", "b" or "p"
	Major    int64   `json:"major,omitempty"`
	Minor    int64   `json:"minor,omitempty"`
	FileMode *uint32 `json:"fileMode,omitempty"`
	UID      *uint32 `json:"uid,omitempty"`
	GID      *uint32 `json:"gid,omitempty"`
}

// Rlimit is one limit of setrlimit(2). Unlimited is 1<<64-1.
type Rlimit struct {
	Type string `json:"type"` // "RLIMIT_NOFILE", …
	Soft uint64 `json:"soft"`
	Hard uint64 `json:"hard"`
}

// Mode says where a namespace comes from.
type Mode string

// Modes of a [Namespace]. The empty mode is private, but for a user namespace,
// where it is host, and a cgroup namespace, where it is private on cgroup v2
// and host on v1.
const (
	ModePrivate Mode = "private" // the runtime makes one
	ModeHost    Mode = "host"    // the runtime's own
	ModePod     Mode = "pod"     // the pod's; the caller fills Path
	ModePath    Mode = "path"    // somebody's, at Path
)

// Namespace is one of a container's namespaces.
type Namespace struct {
	Mode Mode   `json:"mode,omitempty"`
	Path string `json:"path,omitempty"` // of ModePod and ModePath
}

// Namespaces are those of a container. Its mount namespace is always private.
type Namespaces struct {
	PID     Namespace `json:"pid"`
	Network Namespace `json:"network"`
	IPC     Namespace `json:"ipc"`
	UTS     Namespace `json:"uts"`
	User    Namespace `json:"user"`
	Cgroup  Namespace `json:"cgroup"`

	// Mappings of the user namespace, when it is not the host's.
	UIDMappings []IDMapping `json:"uidMappings,omitempty"`
	GIDMappings []IDMapping `json:"gidMappings,omitempty"`
}

// IDMapping maps Size IDs from ContainerID on to those from HostID on.
type IDMapping struct {
	ContainerID uint32 `json:"containerId"`
	HostID      uint32 `json:"hostId"`
	Size        uint32 `json:"size"`
}

// Seccomp profiles that are not inline JSON.
const (
	SeccompDefault    = "default"
	SeccompUnconfined = "unconfined"
)

// Security is what confines a container.
type Security struct {
	// Privileged gives the caller's whole bounding set, every device, no
	// masks, /sys and cgroups writable, and no seccomp, AppArmor or SELinux
	// confinement unless a profile other than the default is asked for.
	Privileged      bool         `json:"privileged,omitempty"`
	Caps            Capabilities `json:"capabilities"`
	Seccomp         string       `json:"seccomp,omitempty"` // SeccompDefault (also when empty), SeccompUnconfined, or a profile's JSON
	AppArmor        string       `json:"apparmor,omitempty"`
	SELinux         SELinux      `json:"selinux,omitzero"`
	NoNewPrivileges bool         `json:"noNewPrivileges,omitempty"`
	Paths           PathMasks    `json:"paths"`
	ReadOnlyRootfs  bool         `json:"readOnlyRootfs,omitempty"`
	ReadOnlyTmpfs   bool         `json:"readOnlyTmpfs,omitempty"` // with ReadOnlyRootfs: writable tmpfs on /tmp, /run and /var/tmp
}

// Capabilities are named with or without CAP_, in any case; "ALL" is all.
type Capabilities struct {
	Base []string `json:"base"` // nil means CLICapabilities
	Add  []string `json:"add,omitempty"`
	// Ambient are kept by a program of a user other than root: exactly these are
	// ambient and inheritable. Each must be in the bounding set.
	Ambient []string `json:"ambient,omitempty"`
	Drop    []string `json:"drop,omitempty"` // wins over Add, but "ALL" is dropped before anything is added
}

// SELinux labels. The caller makes the labels out of the options; there are none
// on a host without SELinux.
type SELinux struct {
	Options      []string `json:"options,omitempty"` // of --security-opt label=: "disable", "type:…", "level:…"
	ProcessLabel string   `json:"processLabel,omitempty"`
	MountLabel   string   `json:"mountLabel,omitempty"`
}

// PathMasks says which paths of /proc and /sys are hidden or read-only.
type PathMasks struct {
	// Masked and Readonly: nil means the default; an empty list means none
	// at all (a pod's unmasked procMount); other lists are added to the
	// default.
	Masked   []string `json:"masked"`
	Readonly []string `json:"readonly"`
	// Mask is masked beside them; Unmask, "ALL" or patterns of path.Match,
	// is taken out of both lists.
	Mask   []string `json:"mask,omitempty"`
	Unmask []string `json:"unmask,omitempty"`
}
