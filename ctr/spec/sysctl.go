package spec

import (
	"maps"
	"slices"
	"strings"
)

// Sysctl is a kernel parameter, in the dotted form.
type Sysctl struct{ Key, Value string }

// String prints s as [ParseSysctl] reads it.
func (s Sysctl) String() string { return s.Key + "=" + s.Value }

// ParseSysctl parses "key=value" of a parameter that belongs to a namespace.
func ParseSysctl(s string) (Sysctl, error) {
	key, value, ok := strings.Cut(s, "=")
	if !ok {
		return Sysctl{}, invalidf("sysctl %q has no value: give key=value, such as net.core.somaxconn=1024", s)
	}
	// sysctl(8) takes slashes for dots: one form is enough to compare.
	if !strings.Contains(key, ".") {
		key = strings.ReplaceAll(key, "/", ".")
	}
	out := Sysctl{Key: strings.TrimSpace(key), Value: strings.TrimSpace(value)}
	if _, err := sysctlKind(out.Key, out.Value); err != nil {
		return Sysctl{}, err
	}
	return out, nil
}

// kinds of namespace that a parameter can belong to.
const (
	sysctlNet = "network"
	sysctlIPC = "ipc"
	sysctlUTS = "uts"
)

// sysctlKind returns the namespace that a parameter belongs to; an error for
// one that belongs to none, or is not written as one.
func sysctlKind(key, value string) (string, error) {
	// Both become a path and a file's content (CVE-2022-0811: a + in the value
	// smuggled in a second parameter).
	for i := range len(key) {
		c := key[i]
		if c != '.' && c != '_' && c != '-' && c != '/' && (c < '0' || c > '9') && (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') {
			return "", invalidf("sysctl %q has a character that no parameter's name has", key)
		}
	}
	for part := range strings.SplitSeq(strings.ReplaceAll(key, "/", "."), ".") {
		if part == "" {
			return "", invalidf("sysctl %q is not a parameter's name: give one such as net.core.somaxconn", key)
		}
	}
	if value == "" || strings.ContainsAny(value, "+=\\\"'`$;|&<>") || hasControl(strings.ReplaceAll(value, "\t", " ")) {
		return "", invalidf("sysctl %s has the value %q: give numbers or words without special characters", key, value)
	}
	switch {
	case strings.HasPrefix(key, "net."):
		return sysctlNet, nil
	case strings.HasPrefix(key, "fs.mqueue.") || slices.Contains(ipcSysctls(), key):
		return sysctlIPC, nil
	case key == "kernel.domainname":
		return sysctlUTS, nil
	case key == "kernel.hostname":
		return "", invalidf("sysctl kernel.hostname is set by --hostname")
	}
	return "", invalidf("sysctl %q belongs to no namespace of a container: allowed are net.*, fs.mqueue.*, kernel.domainname, %s",
		key, strings.Join(ipcSysctls(), ", "))
}

func ipcSysctls() []string {
	return []string{
		"kernel.msgmax", "kernel.msgmnb", "kernel.msgmni", "kernel.sem",
		"kernel.shmall", "kernel.shmmax", "kernel.shmmni", "kernel.shm_rmid_forced",
	}
}

// CheckSysctls returns an ErrInvalidArgument for a parameter that belongs to
// no namespace, or to one that n shares with the host: setting it would change
// the host.
func CheckSysctls(sysctls map[string]string, n Namespaces) error {
	for _, key := range slices.Sorted(maps.Keys(sysctls)) {
		kind, err := sysctlKind(key, sysctls[key])
		if err != nil {
			return err
		}
		mode := map[string]Mode{sysctlNet: n.Network.Mode, sysctlIPC: n.IPC.Mode, sysctlUTS: n.UTS.Mode}[kind]
		if mode == ModeHost {
			return invalidf("sysctl %s cannot be set: the container shares the host's %s namespace", key, kind)
		}
	}
	return nil
}
