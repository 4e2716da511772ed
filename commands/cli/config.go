package cli

import (
	"cmp"
	"log/slog"
	"maps"
	"slices"
	"strings"
)

// Where davit is configured and keeps its state, unless something says otherwise.
const (
	DefaultConfigFile = "/etc/davit/davit.toml"
	DefaultRoot       = "/var/lib/davit"
	DefaultRunRoot    = "/run/davit"
)

// Config is davit's configuration, with the defaults filled in. Each field is a
// key of davit.toml: its tags give the key's name, what may be its value and what
// it means. It is not changed after it was read.
type Config struct {
	Root     string `key:"root" check:"path" doc:"Folder of the durable records. One of your own, together with runroot, moves everything that davit keeps there, images included."`
	RunRoot  string `key:"runroot" check:"path" doc:"Folder of what does not outlive a reboot: status, sockets, namespaces."`
	LogLevel string `key:"log_level" check:"level" doc:"What is written to standard error: debug, info, warn or error."`

	Storage    StorageConfig            `key:"storage" doc:"Images and root filesystems (containers-storage.conf(5) holds for what is empty here)."`
	Engine     EngineConfig             `key:"engine" doc:"The programs that davit runs."`
	Runtimes   map[string]RuntimeConfig `key:"runtimes" doc:"OCI runtimes beside those found by name in PATH, one table a name."`
	Containers ContainersConfig         `key:"containers" doc:"Defaults of containers made on the command line."`
	Network    NetworkConfig            `key:"network" doc:"Networks of containers made on the command line."`
	Images     ImagesConfig             `key:"images" doc:"Registries, and what is pulled from them."`
	CRI        CRIConfig                `key:"cri" doc:"The server of the Container Runtime Interface, davit serve-cri."`

	origins map[string]string
}

// StorageConfig says where layers are kept.
type StorageConfig struct {
	Root    string   `key:"root" check:"path" doc:"Folder of the layer store alone. Empty: the host's own store, or a folder below a root of your own."`
	RunRoot string   `key:"runroot" check:"path" doc:"Run folder of the layer store alone."`
	Driver  string   `key:"driver" check:"driver" doc:"overlay, btrfs, zfs or vfs. Empty: what storage.conf says, else overlay."`
	Options []string `key:"options" doc:"Options of the driver, such as \"overlay.mountopt=nodev\"."`
	Sync    string   `key:"sync" check:"sync" doc:"filesystem: a layer is on disk before it counts as complete, so that a power loss leaves an image whole or none (driver overlay). none: pulls are faster, and a power loss may leave images with empty files. Empty: what storage.conf says, else filesystem."`
}

// EngineConfig names the programs that davit runs.
type EngineConfig struct {
	Runtime       string   `key:"runtime" check:"runtime" doc:"OCI runtime: a name (runc, crun, one of [runtimes]) or a path."`
	Conmon        string   `key:"conmon" check:"program" doc:"Monitor of containers: a name looked up in PATH, or a path."`
	CgroupManager string   `key:"cgroup_manager" check:"cgroups" doc:"cgroupfs, systemd, or disabled for hosts where cgroups cannot be written."`
	InitPath      string   `key:"init_path" check:"program" doc:"The init process that --init puts into a container."`
	CDIDirs       []string `key:"cdi_dirs" check:"paths" doc:"Folders of the descriptions of CDI devices; later ones win."`
	InfraCommand  []string `key:"infra_command" doc:"Command of the infra container of a pod that shares its PID namespace. Empty: the init process, as a pause process."`

	RuntimeTimeout int64 `key:"runtime_timeout" check:"count" doc:"Seconds that the OCI runtime may take for what it is asked to do, twice as many for making a container's process; then it is killed."`
}

// RuntimeConfig is an OCI runtime.
type RuntimeConfig struct {
	Path string   `key:"path" check:"path" doc:"The binary. Empty: the table's name, looked up in PATH."`
	Root string   `key:"root" check:"path" doc:"Folder of the runtime's own state. Empty: below the run root."`
	Args []string `key:"args" doc:"Arguments before the runtime's verb."`

	AllowedAnnotations []string `key:"allowed_annotations" doc:"Annotations of a kubelet's container that reach the runtime; all others do not."`
}

// ContainersConfig are defaults that flags of run and create override.
type ContainersConfig struct {
	DefaultCapabilities []string `key:"default_capabilities" check:"caps" doc:"Capabilities of a container. Empty: davit's own eleven."`
	DefaultUlimits      []string `key:"default_ulimits" check:"ulimits" doc:"Limits of a container's processes, as \"nofile=1024:2048\"."`
	PidsLimit           int64    `key:"pids_limit" check:"limit" doc:"Processes in a container; -1 is no limit."`
	ShmSize             Bytes    `key:"shm_size" check:"size" doc:"Size of /dev/shm."`
	StopTimeout         int64    `key:"stop_timeout" check:"limit" doc:"Seconds between the stop signal and SIGKILL; -1 waits for ever."`
	LogSizeMax          Bytes    `key:"log_size_max" check:"size" doc:"Size at which a container's log is rotated; 0 never."`
	LogMaxFiles         int64    `key:"log_max_files" check:"count" doc:"Log files that are kept, the one being written included."`
	DetachKeys          string   `key:"detach_keys" check:"keys" doc:"Keys that detach from a container; empty: none."`
	SeccompProfile      string   `key:"seccomp_profile" check:"seccomp" doc:"Path of a seccomp profile, or \"unconfined\". Empty: davit's own."`
	Env                 []string `key:"env" check:"env" doc:"Environment of every container, as \"KEY=value\"."`
}

// NetworkConfig says where networks come from.
type NetworkConfig struct {
	Default    string   `key:"default" check:"name" doc:"Network of containers that name none. \"davit\" is the built-in one."`
	CNIDir     string   `key:"cni_dir" check:"path" doc:"Folder of CNI configurations."`
	PluginDirs []string `key:"plugin_dirs" check:"paths" doc:"Folders of CNI plugins, in the order in which they are searched."`
	Bridge     string   `key:"bridge" check:"ifname" doc:"Bridge of the built-in network. Empty: davit0, or a name of its own below a root of your own."`
	Subnet     string   `key:"subnet" check:"prefix4" doc:"IPv4 subnet of the built-in network. Empty: a free one."`
	Subnet6    string   `key:"subnet6" check:"prefix6" doc:"IPv6 subnet of the built-in network. Empty: a unique local one where the host has IPv6; \"none\": no IPv6."`

	PluginTimeout int64 `key:"plugin_timeout" check:"count" doc:"Seconds that a CNI plugin may take; then it is killed."`
}

// ImagesConfig steers transfers. Empty paths are the files that
// containers-registries.conf(5), containers-auth.json(5) and
// containers-policy.json(5) name.
type ImagesConfig struct {
	RegistriesConf    string `key:"registries_conf" check:"path" doc:"registries.conf: search order, mirrors, aliases. Empty: the host's."`
	RegistriesConfDir string `key:"registries_conf_dir" check:"path" doc:"registries.conf.d. Empty: the host's."`
	Policy            string `key:"policy" check:"path" doc:"Signature policy. Empty: the host's, or accept anything where it has none."`
	AuthFile          string `key:"auth_file" check:"path" doc:"Credentials. Empty: the standard files."`
	CertsDir          string `key:"certs_dir" check:"path" doc:"Certificates by registry, as /etc/containers/certs.d. Empty: the host's."`
	TempDir           string `key:"temp_dir" check:"path" doc:"Where blobs are kept during a transfer. Empty: a folder of the store."`
	ParallelTransfers int64  `key:"parallel_transfers" check:"count" doc:"Blobs that are transferred at a time."`
	Pull              string `key:"pull" check:"pull" doc:"When run and create pull: always, missing, newer or never."`
	StallTimeout      int64  `key:"stall_timeout" check:"limit" doc:"Seconds that a registry may send nothing before a transfer is given up; -1 is for ever. Unpacking does not count."`

	Pinned []string `key:"pinned" doc:"Images that a kubelet is told not to collect: a name, \"registry/app*\" or \"*app*\"."`
	Pin    string   `key:"pin" check:"pin" doc:"What else it is told not to collect: others, which are the images that did not come by way of the CRI, or none."`
}

// CRIConfig is what serve-cri listens on, its limits, and what it tells of itself.
type CRIConfig struct {
	Listen   string `key:"listen" check:"listen" doc:"unix:///path, or tcp://host:port with the three files below. Empty: davit.sock in the run root."`
	TLSCert  string `key:"tls_cert" check:"path" doc:"Certificate of a server on TCP."`
	TLSKey   string `key:"tls_key" check:"path" doc:"Its key."`
	ClientCA string `key:"client_ca" check:"path" doc:"Authority of the certificates of clients on TCP."`

	MaxCalls   int64 `key:"max_calls" check:"count" doc:"Calls in flight, and as many again that only ask (Status, List and the like); one more of either is refused. Not counted are those that wait: streams, and StopContainer for a container's grace period."`
	MaxMessage Bytes `key:"max_message" check:"size" doc:"Size of the largest request."`
	SlowCall   int64 `key:"slow_call" check:"limit" doc:"Milliseconds after which a call is worth a line in the log; -1 never."`
	Grace      int64 `key:"grace" check:"count" doc:"Seconds that calls under way are given when the server is told to end."`

	Metrics string `key:"metrics" check:"local" doc:"Where Prometheus metrics and /debug/pprof are served: unix:///path or tcp://127.0.0.1:port. Empty: nowhere. Heap profiles need GODEBUG=memprofilerate=N in the environment."`

	StreamAddress string `key:"stream_address" check:"address" doc:"IP address and port at which exec, attach and port-forward are served. Any but loopback's needs stream_cert and stream_key. Empty: a free port of 127.0.0.1."`
	StreamCert    string `key:"stream_cert" check:"path" doc:"Certificate, in PEM, with which they are served in TLS."`
	StreamKey     string `key:"stream_key" check:"path" doc:"Its private key."`
	StreamIdle    int64  `key:"stream_idle" check:"count" doc:"Seconds after which a connection that carries nothing is ended."`
}

// DefaultConfig is the configuration of a machine without any.
func DefaultConfig() *Config {
	return &Config{
		Root:     DefaultRoot,
		RunRoot:  DefaultRunRoot,
		LogLevel: "warn",
		Engine: EngineConfig{
			Runtime: "runc", Conmon: "conmon", CgroupManager: "cgroupfs", InitPath: "catatonit",
			RuntimeTimeout: 120,
			CDIDirs:        []string{"/etc/cdi", "/var/run/cdi"},
		},
		Containers: ContainersConfig{
			PidsLimit: 2048, ShmSize: 64 << 20, StopTimeout: 10,
			LogSizeMax: 10 << 20, LogMaxFiles: 3, DetachKeys: "ctrl-p,ctrl-q",
		},
		Network: NetworkConfig{
			Default: "davit", CNIDir: "/etc/cni/net.d",
			PluginDirs: []string{"/opt/cni/bin", "/usr/lib/cni", "/usr/libexec/cni"}, PluginTimeout: 60,
		},
		Images: ImagesConfig{ParallelTransfers: 6, Pull: "missing", StallTimeout: 60, Pin: "others"},
		CRI:    CRIConfig{MaxCalls: 512, MaxMessage: 16 << 20, SlowCall: 1000, Grace: 10, StreamIdle: 4 * 60 * 60},
	}
}

// DefaultRoots says whether the records are where davit keeps them by default.
// On roots of its own nothing of the host's davit or image store is touched.
func (c *Config) DefaultRoots() bool {
	return c.Root == DefaultRoot && c.RunRoot == DefaultRunRoot
}

// Setting is a key with its value and where that comes from: "default",
// "FILE:LINE", "env NAME" or "flag --name".
type Setting struct {
	Key    string `json:"key"`
	Value  any    `json:"value"`
	Origin string `json:"origin"`
}

// Settings returns every key, in the order of `davit config default`.
func (c *Config) Settings() []Setting {
	var all []Setting
	for _, k := range c.keys() {
		all = append(all, Setting{Key: k.name, Value: k.get(), Origin: cmp.Or(c.origins[k.name], "default")})
	}
	return all
}

// Origin tells where the value of a key comes from.
func (c *Config) Origin(key string) string { return cmp.Or(c.origins[key], "default") }

// RuntimeNames are the names of [runtimes], sorted.
func (c *Config) RuntimeNames() []string { return slices.Sorted(maps.Keys(c.Runtimes)) }

func (c *Config) slogLevel() slog.Level {
	var l slog.Level
	if err := l.UnmarshalText([]byte(strings.ToUpper(c.LogLevel))); err != nil {
		return slog.LevelWarn
	}
	return l
}
