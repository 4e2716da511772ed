package cli

import (
	"fmt"
	"net/netip"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/moby/term"
)

// checkValue says whether a key may have a value. The kind is the check tag of
// the key's field.
func checkValue(kind string, value any) error {
	switch v := value.(type) {
	case string:
		return checkString(kind, v)
	case []string:
		for _, s := range v {
			if err := checkString(strings.TrimSuffix(kind, "s"), s); err != nil {
				return err
			}
		}
	case Bytes:
		if v < 0 {
			return fmt.Errorf("a size is not negative")
		}
	case int64:
		return checkNumber(kind, v)
	}
	return nil
}

func checkNumber(kind string, n int64) error {
	switch {
	case kind == "limit" && n < -1:
		return fmt.Errorf("%d is neither a number nor -1", n)
	case kind == "count" && n < 1:
		return fmt.Errorf("%d is less than 1", n)
	}
	return nil
}

func checkString(kind, s string) error {
	switch kind {
	case "path":
		if s != "" && !filepath.IsAbs(s) {
			return fmt.Errorf("%q is not an absolute path", s)
		}
	case "program", "runtime":
		if strings.Contains(s, "/") && !filepath.IsAbs(s) {
			return fmt.Errorf("%q is neither a name nor an absolute path", s)
		}
		if s == "" && kind == "runtime" {
			return fmt.Errorf("a runtime is needed")
		}
	case "level":
		return oneOf(s, "debug", "info", "warn", "error")
	case "driver":
		return oneOf(s, "", "overlay", "btrfs", "zfs", "vfs")
	case "sync":
		return oneOf(s, "", "filesystem", "none")
	case "cgroups":
		return oneOf(s, "cgroupfs", "systemd", "disabled")
	case "pin":
		return oneOf(s, "others", "none")
	case "pull":
		return oneOf(s, "always", "missing", "newer", "never")
	case "keys":
		if s == "" {
			return nil
		}
		if _, err := term.ToBytes(s); err != nil {
			return fmt.Errorf("%q are not keys such as ctrl-p,ctrl-q", s)
		}
	case "seccomp":
		if s != "" && s != "unconfined" && !filepath.IsAbs(s) {
			return fmt.Errorf("%q is neither an absolute path nor unconfined", s)
		}
	case "cap":
		if !isCapability(s) {
			return fmt.Errorf("%q is not a capability such as CAP_CHOWN", s)
		}
	case "ulimit":
		return checkUlimit(s)
	case "env":
		if key, _, ok := strings.Cut(s, "="); !ok || key == "" {
			return fmt.Errorf("%q is not KEY=value", s)
		}
	default:
		return checkNet(kind, s)
	}
	return nil
}

func checkNet(kind, s string) error {
	switch kind {
	case "listen":
		return checkListen(s, false)
	case "local":
		return checkListen(s, true)
	case "name":
		return checkName(s)
	case "ifname":
		if len(s) > 15 || strings.ContainsAny(s, "/ \t\n:") || s == "." || s == ".." {
			return fmt.Errorf("%q is not the name of an interface", s)
		}
	case "address":
		if _, err := netip.ParseAddrPort(s); s != "" && err != nil {
			return fmt.Errorf("%q is not an IP address and a port", s)
		}
	case "prefix4", "prefix6":
		if s == "" || s == "none" && kind == "prefix6" {
			return nil
		}
		p, err := netip.ParsePrefix(s)
		if err != nil || p.Addr().Is4() != (kind == "prefix4") {
			return fmt.Errorf("%q is not an %s subnet", s, map[string]string{"prefix4": "IPv4", "prefix6": "IPv6"}[kind])
		}
	}
	return nil
}

// checkListen accepts the addresses of servers: a socket, or a port, of loopback
// alone where local is set.
func checkListen(s string, local bool) error {
	if s == "" {
		return nil
	}
	scheme, rest, _ := strings.Cut(s, "://")
	switch scheme {
	case "unix":
		if filepath.IsAbs(rest) {
			return nil
		}
	case "tcp":
		addr, err := netip.ParseAddrPort(rest)
		if err != nil {
			break
		}
		if local && !addr.Addr().IsLoopback() {
			return fmt.Errorf("%q is not an address of this machine alone, such as tcp://127.0.0.1:9100", s)
		}
		return nil
	}
	return fmt.Errorf("%q is neither unix:///path nor tcp://address:port", s)
}

// checkName accepts the names that things of davit's may have.
func checkName(s string) error {
	ok := s != "" && s[0] != '.' && s[0] != '-' && !strings.ContainsFunc(s, func(r rune) bool {
		return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("_.-", r))
	})
	if !ok {
		return fmt.Errorf("%q is not a name: use letters, digits, _ . and -", s)
	}
	return nil
}

func oneOf(s string, words ...string) error {
	if slices.Contains(words, s) {
		return nil
	}
	return fmt.Errorf("%q is none of %s", s, strings.Join(slices.DeleteFunc(words, func(w string) bool { return w == "" }), ", "))
}

func isCapability(s string) bool {
	name := strings.TrimPrefix(strings.ToUpper(s), "CAP_")
	return name != "" && !strings.ContainsFunc(name, func(r rune) bool { return (r < 'A' || r > 'Z') && r != '_' })
}

func checkUlimit(s string) error {
	name, limits, ok := strings.Cut(s, "=")
	soft, hard, both := strings.Cut(limits, ":")
	if !both {
		hard = soft
	}
	for _, l := range []string{soft, hard} {
		if _, err := strconv.ParseInt(l, 10, 64); err != nil {
			ok = false
		}
	}
	if !ok || name == "" {
		return fmt.Errorf("%q is not a limit such as nofile=1024:2048", s)
	}
	return nil
}
