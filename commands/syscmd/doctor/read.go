package doctor

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/davit-containers/davit/commands/cli"
	"github.com/davit-containers/davit/img"
	"github.com/davit-containers/davit/netw"
)

// Host is where facts are read from.
type Host struct {
	Config *cli.Config
	// Engine has those of its parts open that could be; StoreError is why the
	// image store could not.
	Engine     *cli.Engine
	StoreError error
	Now        func() time.Time
	// Proc and Sys are the mount points, "/proc" and "/sys".
	Proc, Sys string
}

// patience is what a question to a program may take.
const patience = 5 * time.Second

// Read reads the facts. It changes nothing and runs each program once.
func Read(ctx context.Context, h Host) Facts {
	f := Facts{
		Kernel: h.text(h.Proc + "/sys/kernel/osrelease"), Cgroups: h.cgroups(), Storage: h.storage(ctx),
		Programs: h.programs(ctx), Network: h.network(ctx), Limits: h.limits(), Clock: h.clock(),
		Security: h.security(), Files: h.files(), Mounts: h.mounts(),
	}
	places := [][2]string{{"root", h.Config.Root}, {"run root", h.Config.RunRoot}}
	for _, p := range places {
		f.Roots = append(f.Roots, root(p[1]))
	}
	if f.Storage.Root != "" {
		places = append(places, [2]string{"storage", f.Storage.Root})
	}
	for _, p := range places {
		if s, err := space(p[0], p[1]); err == nil {
			f.Space = append(f.Space, s)
		}
	}
	return f
}

// text is a file's content without the white space around it, or nothing.
func (h Host) text(path string) string {
	data, err := os.ReadFile(path)
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(data))
}

func (h Host) number(path string) int64 {
	n, _ := strconv.ParseInt(h.text(path), 10, 64)
	return n
}

func (h Host) cgroups() Cgroups {
	c := Cgroups{Manager: h.Config.Engine.CgroupManager}
	if _, err := os.Stat("/run/systemd/system"); err == nil {
		c.Systemd = true
	}
	var err error
	if c.Version, c.Controllers, err = cli.Cgroups(); err != nil {
		c.Error = err.Error()
	}
	return c
}

func (h Host) storage(ctx context.Context) Storage {
	if h.StoreError != nil {
		return Storage{Error: h.StoreError.Error()}
	}
	u, err := h.Engine.Images.Usage(ctx)
	if err != nil {
		return Storage{Error: err.Error()}
	}
	return Storage{Driver: u.Driver, Root: u.Root, NoDType: u.NoTypes}
}

func (h Host) programs(ctx context.Context) []Program {
	e := h.Config.Engine
	names := h.Config.RuntimeNames()
	for _, name := range []string{e.Runtime, "runc", "crun"} {
		if !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	var out []Program
	can := h.abilities(ctx)
	for _, name := range names {
		conf, configured := h.Config.Runtimes[name]
		bin := name
		if conf.Path != "" {
			bin = conf.Path
		}
		p := ask(ctx, Program{Name: filepath.Base(name), Role: roleRuntime, Needed: name == e.Runtime, Can: can[name]}, bin)
		if p.Path != "" || p.Needed || configured {
			out = append(out, p)
		}
	}
	out = append(out, ask(ctx, Program{Name: filepath.Base(e.Conmon), Role: roleMonitor, Needed: true}, e.Conmon))
	return append(out, ask(ctx, Program{Name: filepath.Base(e.InitPath), Role: roleInit}, e.InitPath))
}

// abilities are what runtimes can do, by name.
func (h Host) abilities(ctx context.Context) map[string]string {
	out := map[string]string{}
	if h.Engine == nil || h.Engine.Containers == nil {
		return out
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for _, r := range h.Engine.Containers.Runtimes(ctx) {
		var words []string
		if r.UserNamespaces {
			words = append(words, "user namespaces")
		}
		if r.RecursiveReadOnly {
			words = append(words, "recursive read-only mounts")
		}
		out[r.Name] = strings.Join(words, ", ")
	}
	return out
}

// ask finds a program and asks for its version.
func ask(ctx context.Context, p Program, name string) Program {
	path, err := exec.LookPath(name)
	if err != nil {
		if !errors.Is(err, exec.ErrNotFound) && !errors.Is(err, fs.ErrNotExist) {
			p.Error = err.Error()
		}
		return p
	}
	p.Path = path
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, path, "--version")
	cmd.WaitDelay = time.Second
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	out, err := cmd.CombinedOutput()
	switch {
	case ctx.Err() != nil:
		p.Error = fmt.Sprintf("it did not answer --version in %s", patience)
	case err != nil:
		p.Error = err.Error()
	default:
		p.Version = versionIn(string(out))
	}
	return p
}

// versionIn is the first word of a text that begins as a version does.
func versionIn(s string) string {
	for _, w := range strings.Fields(s) {
		if len(numbers(w)) > 1 {
			return w
		}
	}
	return ""
}

func (h Host) network(ctx context.Context) Network {
	n := Network{
		Folder: h.Config.Network.CNIDir, Forward: h.text(h.Proc + "/sys/net/ipv4/ip_forward"),
		BridgeNF: h.text(h.Proc + "/sys/net/bridge/bridge-nf-call-iptables"),
		Legacy:   strings.Fields(h.text(h.Proc + "/net/ip_tables_names")),
	}
	if h.Engine == nil || h.Engine.Networks == nil {
		return n
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	found := netw.Probe(ctx, h.Engine.Networks)
	n.Networks, n.Broken, n.Firewall = found.Host, words(found.Broken), words(found.Firewall)
	for _, p := range found.Plugins {
		n.Plugins = append(n.Plugins, pluginFact(p))
	}
	return n
}

func pluginFact(p netw.ProbedPlugin) Plugin {
	return Plugin{Type: p.Type, Networks: p.Networks, Path: p.Path, Versions: p.Versions, Error: words(p.Err)}
}

func words(err error) string {
	if err == nil {
		return ""
	}
	return strings.ReplaceAll(err.Error(), "\n", "; ")
}

func (h Host) limits() Limits {
	l := Limits{
		InotifyInstances: h.number(h.Proc + "/sys/fs/inotify/max_user_instances"),
		InotifyWatches:   h.number(h.Proc + "/sys/fs/inotify/max_user_watches"),
		PidMax:           h.number(h.Proc + "/sys/kernel/pid_max"),
		FilesHost:        h.number(h.Proc + "/sys/fs/file-max"),
		UserNamespaces:   h.number(h.Proc + "/sys/user/max_user_namespaces"),
		PidsCgroup:       h.pidsCgroup(),
	}
	if _, err := os.Stat(h.Proc + "/self/ns/user"); err != nil || l.UserNamespaces == 0 {
		l.UserNamespaces = -1
	}
	var r unix.Rlimit
	if unix.Getrlimit(unix.RLIMIT_NOFILE, &r) == nil {
		l.Files = int64(min(r.Max, 1<<62))
	}
	return l
}

// pidsCgroup is the limit of processes of this process's own cgroup; 0 for none.
func (h Host) pidsCgroup() int64 {
	for line := range strings.Lines(h.text(h.Proc + "/self/cgroup")) {
		f := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(f) != 3 {
			continue
		}
		switch f[1] {
		case "pids":
			return h.number(h.Sys + "/fs/cgroup/pids" + f[2] + "/pids.max")
		case "":
			if n := h.number(h.Sys + "/fs/cgroup" + f[2] + "/pids.max"); n > 0 {
				return n
			}
		}
	}
	return 0
}

func (h Host) clock() Clock {
	c := Clock{Now: h.Now()}
	if self, err := os.Executable(); err == nil {
		if st, err := os.Stat(self); err == nil {
			c.Built = st.ModTime()
		}
	}
	return c
}

func (h Host) security() Security {
	_, err := exec.LookPath("apparmor_parser")
	return Security{
		Seccomp:  strings.Contains(h.text(h.Proc+"/self/status"), "Seccomp:"),
		LSMs:     h.text(h.Sys + "/kernel/security/lsm"),
		AppArmor: h.text(h.Sys+"/module/apparmor/parameters/enabled") == "Y", AppArmorParser: err == nil,
	}
}

func (h Host) files() []File {
	c := h.Config.Images
	found := img.CheckFiles(img.Registries{Conf: c.RegistriesConf, ConfDir: c.RegistriesConfDir, Policy: c.Policy})
	var out []File
	for name, err := range found {
		out = append(out, File{Name: name, Error: words(err)})
	}
	slices.SortFunc(out, func(a, b File) int { return strings.Compare(a.Name, b.Name) })
	return out
}

func root(path string) Root {
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		return Root{Path: path, Error: path + ": " + err.Error()}
	}
	return Root{Path: path, Mode: st.Mode & 0o7777, Owner: st.Uid}
}

func space(what, path string) (Space, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(path, &st); err != nil {
		return Space{}, err
	}
	size := uint64(st.Bsize) //nolint:gosec // a block's
	return Space{
		For: "space of " + what, Path: path, Free: st.Bavail * size, Total: st.Blocks * size,
		FreeInodes: st.Ffree, Inodes: st.Files,
	}, nil
}

func (h Host) mounts() Mounts {
	m := Mounts{Shared: rootShared(h.text(h.Proc + "/self/mountinfo"))}
	var own unix.Stat_t
	if unix.Stat(h.Proc+"/self/ns/mnt", &own) != nil {
		return m
	}
	files, _ := filepath.Glob(h.Config.RunRoot + "/status/*/*.json")
	for _, file := range files {
		_, after, ok := strings.Cut(h.text(file), `"mountNS":"`)
		if ns, _, closed := strings.Cut(after, `"`); ok && closed && ns != fmt.Sprint(own.Ino) {
			m.Foreign++
		}
	}
	return m
}

// rootShared reads mountinfo, see proc(5), for whether / is a shared mount.
func rootShared(info string) bool {
	shared := false
	for line := range strings.Lines(info) {
		before, _, _ := strings.Cut(line, " - ")
		if f := strings.Fields(before); len(f) > 5 && f[4] == "/" {
			shared = slices.ContainsFunc(f[6:], func(s string) bool { return strings.HasPrefix(s, "shared:") })
		}
	}
	return shared
}
