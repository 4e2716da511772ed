package doctor

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Level says how bad a finding is.
type Level string

// The levels: what is well; what keeps some things from working, or will; what
// keeps containers from working.
const (
	OK   Level = "ok"
	Warn Level = "warn"
	Fail Level = "fail"
)

// Finding is what was found about one thing.
type Finding struct {
	Level   Level  `json:"level"`
	Subject string `json:"subject"`
	Found   string `json:"found"`
	// Fix is the command that mends it; empty where there is nothing to mend.
	Fix string `json:"fix,omitempty"`
}

// findings collect what a judgement finds.
type findings []Finding

func (f *findings) add(l Level, subject, found, fix string) {
	*f = append(*f, Finding{l, subject, found, fix})
}

// Judge says what facts mean. It reads nothing.
func Judge(f Facts) []Finding {
	var out findings
	judgeKernel(&out, f)
	judgeCgroups(&out, f)
	judgeStorage(&out, f)
	for _, p := range f.Programs {
		judgeProgram(&out, p)
	}
	judgeNetwork(&out, f.Network)
	judgeLimits(&out, f.Limits)
	judgeClock(&out, f.Clock)
	for _, s := range f.Space {
		judgeSpace(&out, s)
	}
	judgeSecurity(&out, f)
	for _, c := range f.Files {
		if c.Error != "" {
			out.add(Fail, c.Name, c.Error, "correct the file, or see davit config show for which one is read")
			continue
		}
		out.add(OK, c.Name, "can be read", "")
	}
	for _, r := range f.Roots {
		judgeRoot(&out, r)
	}
	judgeMounts(&out, f.Mounts)
	return out
}

func judgeKernel(out *findings, f Facts) {
	switch {
	case f.Kernel == "":
		out.add(Warn, "kernel", "its version is not known", "uname -r")
	case older(f.Kernel, "4.18"):
		out.add(Fail, "kernel", f.Kernel+", and overlay, cgroups and pidfd need 5.4 at least", "install a newer kernel")
	case older(f.Kernel, "5.12"):
		out.add(Warn, "kernel", f.Kernel+" has no ID-mapped mounts, which user namespaces need: those came with 5.12", "install a newer kernel")
	default:
		out.add(OK, "kernel", f.Kernel, "")
	}
}

func judgeCgroups(out *findings, f Facts) {
	c := f.Cgroups
	if c.Error != "" {
		out.add(Fail, "cgroups", c.Error, "mount -t cgroup2 cgroup2 /sys/fs/cgroup")
		return
	}
	text := fmt.Sprintf("version %d with %s", c.Version, cmp.Or(strings.Join(c.Controllers, " "), "no controllers"))
	if c.Version == 1 {
		out.add(Warn, "cgroups", text+"; kubelets from 1.35 on want version 2", "boot with systemd.unified_cgroup_hierarchy=1")
	} else {
		out.add(OK, "cgroups", text, "")
	}
	needed := []string{"cpu", "memory", "pids"}
	if c.Version == 1 {
		needed = append(needed, "cpuset", "devices", "freezer")
	}
	for _, name := range needed {
		if slices.Contains(c.Controllers, name) {
			continue
		}
		fix := "boot with cgroup_enable=" + name
		if c.Version == 1 {
			fix = mountController(name)
		}
		out.add(Fail, "cgroups", "the controller "+name+" is not there: its limits cannot be set", fix)
	}
	crun := slices.ContainsFunc(f.Programs, func(p Program) bool { return p.Role == roleRuntime && p.Name == "crun" && p.Path != "" })
	if c.Version == 1 && crun && !slices.Contains(c.Controllers, "hugetlb") {
		out.add(Warn, "cgroups", "crun does not work without the controller hugetlb", mountController("hugetlb"))
	}
	if c.Manager == "systemd" && !c.Systemd {
		out.add(Fail, "cgroup manager", "systemd is configured, and is not this host's init", `set cgroup_manager = "cgroupfs" in /etc/davit/davit.toml`)
	}
}

func mountController(name string) string {
	return fmt.Sprintf("mkdir -p /sys/fs/cgroup/%s && mount -t cgroup -o %s cgroup /sys/fs/cgroup/%s", name, name, name)
}

func judgeStorage(out *findings, f Facts) {
	s := f.Storage
	switch {
	case s.Error != "":
		out.add(Fail, "storage", s.Error, "modprobe overlay, or choose another driver under [storage]")
	case s.NoDType:
		out.add(Fail, "storage", s.Root+" is on a file system without d_type: removed files would come back", "mkfs.xfs -n ftype=1, or move it with --storage-root")
	case s.Driver == "vfs":
		out.add(Warn, "storage", "the driver vfs copies each layer whole", `modprobe overlay, and set driver = "overlay" under [storage]`)
	default:
		out.add(OK, "storage", s.Driver+" in "+s.Root, "")
	}
}

const (
	roleRuntime = "runtime"
	roleMonitor = "monitor"
	roleInit    = "init"
)

// least is the oldest version of a program that davit is known to work with.
func least(name string) string {
	switch name {
	case "runc":
		return "1.1.0"
	case "crun":
		return "1.4"
	case "conmon":
		return "2.1.0"
	}
	return ""
}

func judgeProgram(out *findings, p Program) {
	subject := p.Role + " " + p.Name
	bad := Warn
	if p.Needed {
		bad = Fail
	}
	install := "apt-get install " + p.Name
	min := least(p.Name)
	switch {
	case p.Path == "" && p.Role == roleInit:
		out.add(bad, subject, "is not installed: --init, and pods that share their processes, need it", install)
	case p.Path == "":
		out.add(bad, subject, cmp.Or(p.Error, "is not installed"), install)
	case p.Error != "":
		out.add(bad, subject, p.Path+" does not run: "+p.Error, "apt-get install --reinstall "+p.Name)
	case min != "" && p.Version != "" && older(p.Version, min):
		out.add(Warn, subject, fmt.Sprintf("%s is version %s; davit is tested with %s and later", p.Path, p.Version, min), install)
	default:
		text := strings.TrimSpace(p.Path + " " + p.Version)
		if p.Can != "" {
			text += ", " + p.Can
		}
		out.add(OK, subject, text, "")
	}
}

func judgeNetwork(out *findings, n Network) {
	for _, p := range n.Plugins {
		subject := "plugin " + p.Type
		of := "of " + strings.Join(p.Networks, ", ")
		switch {
		case p.Path == "":
			out.add(Fail, subject, of+" is not installed", "apt-get install containernetworking-plugins, or see plugin_dirs in davit config show")
		case p.Error != "":
			out.add(Fail, subject, p.Path+" does not tell its version: "+p.Error, "apt-get install --reinstall containernetworking-plugins")
		case !slices.Contains(p.Versions, "1.0.0"):
			out.add(Warn, subject, fmt.Sprintf("%s knows CNI %s, not 1.0.0", p.Path, strings.Join(p.Versions, " ")), "apt-get install containernetworking-plugins")
		default:
			out.add(OK, subject, p.Path+", CNI up to "+p.Versions[len(p.Versions)-1], "")
		}
	}
	switch {
	case n.Broken != "":
		out.add(Warn, "networks", n.Broken, "correct or remove the file in "+n.Folder)
	case n.Networks == 0:
		out.add(OK, "networks", "none in "+n.Folder+", which only a kubelet's pods need", "")
	default:
		out.add(OK, "networks", fmt.Sprintf("%d in %s", n.Networks, n.Folder), "")
	}
	if n.Firewall != "" {
		out.add(Fail, "firewall", "nftables cannot be used: "+n.Firewall, "modprobe nf_tables nft_chain_nat nft_masq")
	} else {
		out.add(OK, "firewall", "nftables answers", "")
	}
	if len(n.Legacy) > 0 {
		out.add(Warn, "firewall", "iptables-legacy has tables of its own ("+strings.Join(n.Legacy, " ")+"), whose rules are applied beside those of nftables",
			"update-alternatives --set iptables /usr/sbin/iptables-nft")
	}
	if n.Forward == "0" {
		out.add(Warn, "forwarding", "net.ipv4.ip_forward is 0: pods reach nothing beyond this host", "sysctl -w net.ipv4.ip_forward=1")
	}
	if n.Networks > 0 && n.BridgeNF == "0" {
		out.add(Warn, "forwarding", "bridged packets pass by the firewall, which Kubernetes services need", "sysctl -w net.bridge.bridge-nf-call-iptables=1")
	}
}

// need is a limit and the least that a node with 110 pods wants of it.
type need struct {
	what, sysctl string
	have, want   int64
}

func judgeLimits(out *findings, l Limits) {
	small := false
	for _, n := range []need{
		{"inotify instances", "sysctl -w fs.inotify.max_user_instances=1024", l.InotifyInstances, 128},
		{"inotify watches", "sysctl -w fs.inotify.max_user_watches=524288", l.InotifyWatches, 8192},
		{"process IDs", "sysctl -w kernel.pid_max=4194304", l.PidMax, 32768},
		{"processes of davit's own cgroup", "raise pids.max of the cgroup that davit is started in; TasksMax= of its unit", l.PidsCgroup, 4096},
		{"open files of a process", "ulimit -Hn 1048576; LimitNOFILE= of its unit", l.Files, 4096},
		{"open files of the host", "sysctl -w fs.file-max=1048576", l.FilesHost, 65536},
	} {
		if n.have <= 0 || n.have >= n.want {
			continue
		}
		small = true
		out.add(Warn, "limits", fmt.Sprintf("%s: %d, and a full node wants %d", n.what, n.have, n.want), n.sysctl)
	}
	if !small {
		out.add(OK, "limits", "inotify, processes and files suffice for a full node", "")
	}
}

// clockSlack is what a clock may lag behind the one of the machine that built davit.
const clockSlack = 24 * time.Hour

func judgeClock(out *findings, c Clock) {
	const fix = "timedatectl set-ntp true, or date --set"
	switch now := c.Now.UTC().Format(time.RFC3339); {
	case c.Now.Year() < 2024:
		out.add(Fail, "clock", "it is not set: "+now, fix)
	case c.Now.Add(clockSlack).Before(c.Built):
		out.add(Fail, "clock", "it says "+now+", before davit was installed: certificates will not be valid", fix)
	default:
		out.add(OK, "clock", now, "")
	}
}

func judgeSpace(out *findings, s Space) {
	const fix = "davit image prune --all, or a larger file system"
	share := func(free, total uint64) float64 { return 100 * float64(free) / float64(total) }
	level, worst := OK, ""
	for _, r := range []struct {
		what        string
		free, total uint64
	}{{"space", s.Free, s.Total}, {"inodes", s.FreeInodes, s.Inodes}} {
		if r.total == 0 {
			continue
		}
		switch p := share(r.free, r.total); {
		case p < 1:
			level, worst = Fail, r.what
		case p < 10 && level == OK:
			level, worst = Warn, r.what
		}
	}
	text := fmt.Sprintf("%s: %s of %s free", s.Path, bytesText(s.Free), bytesText(s.Total))
	if s.Inodes > 0 {
		text += fmt.Sprintf(", %.0f%% of inodes", share(s.FreeInodes, s.Inodes))
	}
	switch {
	case s.Total == 0:
	case level == OK:
		out.add(OK, s.For, text, "")
	default:
		out.add(level, s.For, text+": "+worst+" will be short", fix)
	}
}

func bytesText(n uint64) string {
	const gib, mib = 1 << 30, 1 << 20
	if n >= gib {
		return fmt.Sprintf("%.1f GiB", float64(n)/gib)
	}
	return fmt.Sprintf("%.0f MiB", float64(n)/mib)
}

func judgeSecurity(out *findings, f Facts) {
	if !f.Security.Seccomp {
		out.add(Fail, "seccomp", "the kernel has no seccomp filters, which containers get by default", "boot a kernel with CONFIG_SECCOMP_FILTER")
	} else {
		out.add(OK, "seccomp", "filters can be set", "")
	}
	switch {
	case f.Security.AppArmor && !f.Security.AppArmorParser:
		out.add(Warn, "security modules", "AppArmor is on, and its profiles cannot be loaded", "apt-get install apparmor")
	default:
		out.add(OK, "security modules", cmp.Or(f.Security.LSMs, "none"), "")
	}
	if f.Limits.UserNamespaces == -1 {
		out.add(Warn, "user namespaces", "there can be none: --userns and hostUsers: false do not work", "sysctl -w user.max_user_namespaces=65536")
	} else {
		out.add(OK, "user namespaces", "can be made", "")
	}
}

func judgeRoot(out *findings, r Root) {
	switch {
	case r.Error != "":
		out.add(Fail, "folder", r.Error, "davit config show says where it is")
	case r.Owner != 0:
		out.add(Fail, "folder", fmt.Sprintf("%s belongs to user %d, who can change what root runs", r.Path, r.Owner), "chown root:root "+r.Path)
	case r.Mode&0o022 != 0:
		out.add(Fail, "folder", fmt.Sprintf("%s has mode %04o: others can change what root runs", r.Path, r.Mode), "chmod 0711 "+r.Path)
	case r.Mode&0o044 != 0:
		out.add(Warn, "folder", fmt.Sprintf("%s has mode %04o: others can list what is in it", r.Path, r.Mode), "chmod 0711 "+r.Path)
	default:
		out.add(OK, "folder", fmt.Sprintf("%s, mode %04o", r.Path, r.Mode), "")
	}
}

func judgeMounts(out *findings, m Mounts) {
	if m.Foreign > 0 {
		out.add(Fail, "mount namespace", fmt.Sprintf("%d pods and containers were made by a davit in another one, where alone their mounts are to be seen", m.Foreign),
			"nsenter --target 1 --mount davit …, or take the sandboxing out of davit's unit")
	}
	if !m.Shared {
		out.add(Warn, "mounts", "/ is private: volumes that a kubelet's helpers mount are not seen in running containers", "mount --make-rshared /")
	} else {
		out.add(OK, "mounts", "/ is shared", "")
	}
}

// older compares versions by their numbers; what follows them, as in 6.1.0-13,
// does not count.
func older(have, want string) bool { return slices.Compare(numbers(have), numbers(want)) < 0 }

func numbers(version string) []int {
	var out []int
	for part := range strings.SplitSeq(version, ".") {
		digits := part
		if i := strings.IndexFunc(part, func(r rune) bool { return r < '0' || r > '9' }); i >= 0 {
			digits = part[:i]
		}
		n, err := strconv.Atoi(digits)
		if err != nil {
			break
		}
		out = append(out, n)
		if digits != part {
			break
		}
	}
	return out
}
