package spec

import (
	"slices"
	"strconv"
	"strings"
)

// String prints l as [ParseUlimit] reads it.
func (l Rlimit) String() string {
	return strings.ToLower(strings.TrimPrefix(l.Type, "RLIMIT_")) + "=" + limitText(l.Soft) + ":" + limitText(l.Hard)
}

func limitText(n uint64) string {
	if n == Unlimited {
		return "unlimited"
	}
	return strconv.FormatUint(n, 10)
}

func rlimitNames() []string {
	return []string{
		"as", "core", "cpu", "data", "fsize", "locks", "memlock", "msgqueue",
		"nice", "nofile", "nproc", "rss", "rtprio", "rttime", "sigpending", "stack",
	}
}

// ParseUlimit parses "name=soft[:hard]"; -1 and unlimited are no limit, and
// hard is soft where it is not given.
func ParseUlimit(s string) (Rlimit, error) {
	name, values, ok := strings.Cut(s, "=")
	name = strings.TrimPrefix(strings.ToLower(name), "rlimit_")
	if !slices.Contains(rlimitNames(), name) {
		return Rlimit{}, invalidf("ulimit %q: %q is no limit: give one of %s", s, name, strings.Join(rlimitNames(), ", "))
	}
	if !ok {
		return Rlimit{}, invalidf("ulimit %q has no value: give name=soft[:hard], such as nofile=1024:2048", s)
	}
	softText, hardText, both := strings.Cut(values, ":")
	if !both {
		hardText = softText
	}
	soft, err := parseLimit(softText)
	hard, err2 := parseLimit(hardText)
	switch {
	case err != nil || err2 != nil:
		return Rlimit{}, invalidf("ulimit %q has a value that is no number: give name=soft[:hard], such as nofile=1024:2048", s)
	case soft > hard:
		return Rlimit{}, invalidf("ulimit %q: the soft limit is above the hard limit", s)
	}
	return Rlimit{Type: "RLIMIT_" + strings.ToUpper(name), Soft: soft, Hard: hard}, nil
}

func parseLimit(s string) (uint64, error) {
	if s == "-1" || s == "unlimited" {
		return Unlimited, nil
	}
	return strconv.ParseUint(s, 10, 64)
}
