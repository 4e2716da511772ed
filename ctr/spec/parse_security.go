package spec

import (
	"encoding/json"
	"math"
	"path"
	"slices"
	"strconv"
	"strings"
)

// SecurityOpt is one --security-opt. Only the command line can read the file
// that a seccomp option names; the rest goes to [SecurityOpt.Apply].
type SecurityOpt struct {
	Key   string // seccomp, apparmor, label, mask, unmask, no-new-privileges
	Value string
}

// String prints o as [ParseSecurityOpt] reads it.
func (o SecurityOpt) String() string { return o.Key + "=" + o.Value }

// ParseSecurityOpt parses "key=value", or "key:value" as docker once had it.
// The value of seccomp is "default", "unconfined", or the path of a profile.
func ParseSecurityOpt(s string) (SecurityOpt, error) {
	key, value, ok := strings.Cut(s, "=")
	if !ok {
		key, value, ok = strings.Cut(s, ":")
	}
	o := SecurityOpt{Key: strings.ToLower(key), Value: value}
	if o.Key == "no-new-privileges" {
		on := true
		if ok {
			var err error
			if on, err = strconv.ParseBool(value); err != nil {
				return SecurityOpt{}, invalidf("security option %q: give true or false", s)
			}
		}
		o.Value = strconv.FormatBool(on)
		return o, nil
	}
	if !slices.Contains([]string{"seccomp", "apparmor", "label", "mask", "unmask"}, o.Key) {
		return SecurityOpt{}, invalidf("unknown security option %q: give apparmor=, label=, mask=, no-new-privileges, seccomp= or unmask=", s)
	}
	if !ok || value == "" || hasControl(value) {
		return SecurityOpt{}, invalidf("security option %q has no value: give %s=…", s, o.Key)
	}
	return o, o.checkValue()
}

func (o SecurityOpt) checkValue() error {
	switch o.Key {
	case "label":
		kind, rest, ok := strings.Cut(o.Value, ":")
		known := slices.Contains([]string{"user", "role", "type", "level", "filetype"}, kind) && ok && rest != ""
		if o.Value != "disable" && o.Value != "nested" && !known {
			return invalidf("label %q is not disable, nested, or one of user:, role:, type:, level:, filetype: with a value", o.Value)
		}
	case "mask", "unmask":
		for p := range strings.SplitSeq(o.Value, ":") {
			if o.Key == "unmask" && strings.EqualFold(p, allCaps) {
				continue
			}
			if _, err := path.Match(p, "/"); err != nil || !path.IsAbs(p) {
				return invalidf("path %q to %s is not absolute: give paths with : between them", p, o.Key)
			}
		}
	}
	return nil
}

// Apply sets o in s. The value of a seccomp option that is a file's path must
// have been replaced by the file's content.
func (o SecurityOpt) Apply(s *Security) error {
	switch o.Key {
	case "no-new-privileges":
		s.NoNewPrivileges = o.Value == "true"
	case "seccomp":
		if o.Value != SeccompDefault && o.Value != SeccompUnconfined && !json.Valid([]byte(o.Value)) {
			return invalidf("seccomp profile is not JSON")
		}
		s.Seccomp = o.Value
	case "apparmor":
		s.AppArmor = o.Value
	case "label":
		s.SELinux.Options = append(s.SELinux.Options, o.Value)
	case "mask":
		s.Paths.Mask = append(s.Paths.Mask, strings.Split(o.Value, ":")...)
	case "unmask":
		s.Paths.Unmask = append(s.Paths.Unmask, strings.Split(o.Value, ":")...)
	default:
		return invalidf("unknown security option %q", o.Key)
	}
	return nil
}

// ParseUser checks "user[:group]": names without what /etc/passwd cannot hold,
// or numbers of 0 to 2147483647. It returns s.
func ParseUser(s string) (string, error) {
	name, group, grouped := strings.Cut(s, ":")
	if name == "" || grouped && group == "" {
		return "", invalidf("user %q is not user[:group]", s)
	}
	for _, part := range []string{name, group} {
		if hasControl(part) || strings.ContainsAny(part, ":, /\\") || strings.HasPrefix(part, "-") || strings.HasPrefix(part, "+") {
			return "", invalidf("user %q is neither a name nor a number: give user[:group], such as 1000:1000", s)
		}
		if strings.Trim(part, "0123456789") == "" && part != "" {
			if n, err := strconv.ParseInt(part, 10, 64); err != nil || n > math.MaxInt32 {
				return "", invalidf("user %q has a number that is not between 0 and %d", s, math.MaxInt32)
			}
		}
	}
	return s, nil
}

// ParseUmask parses an octal file creation mask of at most 0777.
func ParseUmask(s string) (uint32, error) {
	n, err := strconv.ParseUint(s, 8, 32)
	if err != nil || n > 0o777 {
		return 0, invalidf("umask %q is not an octal number of at most 0777", s)
	}
	return uint32(n), nil
}

// ParseOOMScoreAdj parses a number between -1000 and 1000.
func ParseOOMScoreAdj(s string) (int, error) {
	n, err := strconv.Atoi(s)
	if err != nil || n < -1000 || n > 1000 {
		return 0, invalidf("oom score adjustment %q is not a number between -1000 and 1000", s)
	}
	return n, nil
}

// ParseEntrypoint parses a command's words: a JSON list of strings, or one
// word as it is. The empty string is an entrypoint that takes the image's
// away.
func ParseEntrypoint(s string) ([]string, error) {
	if !strings.HasPrefix(s, "[") || s == "[" || s == "[[" { // programs too, see test(1)
		return []string{s}, nil
	}
	words := []string{}
	if err := json.Unmarshal([]byte(s), &words); err != nil {
		return nil, invalidf("entrypoint %q is not a JSON list of strings, such as [\"sh\",\"-c\"]", s)
	}
	return words, nil
}
