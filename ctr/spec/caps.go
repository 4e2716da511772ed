package spec

import (
	"slices"
	"strings"

	"github.com/moby/sys/capability"
)

// CLICapabilities returns the capabilities that the command line's containers
// have by default, podman's eleven, sorted.
func CLICapabilities() []string {
	return []string{
		"CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FOWNER", "CAP_FSETID", "CAP_KILL", "CAP_NET_BIND_SERVICE",
		"CAP_SETFCAP", "CAP_SETGID", "CAP_SETPCAP", "CAP_SETUID", "CAP_SYS_CHROOT",
	}
}

// CRICapabilities returns the capabilities that a kubelet's containers have by
// default, CRI-O's nine, sorted.
func CRICapabilities() []string {
	return []string{
		"CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FOWNER", "CAP_FSETID", "CAP_KILL", "CAP_NET_BIND_SERVICE",
		"CAP_SETGID", "CAP_SETPCAP", "CAP_SETUID",
	}
}

// AllCapabilities returns every capability that this build knows in the order
// of the kernel's numbers: the index is the bit.
func AllCapabilities() []string {
	known := capability.ListKnown()
	names := make([]string, 0, len(known))
	for _, c := range known {
		names = append(names, "CAP_"+strings.ToUpper(c.String()))
	}
	return names
}

const allCaps = "ALL"

// ParseCapability returns the CAP_ name of a capability given with or without
// CAP_, in any case, or "ALL".
func ParseCapability(s string) (string, error) {
	name := strings.ToUpper(s)
	if name == allCaps || name == "CAP_ALL" {
		return allCaps, nil
	}
	if !strings.HasPrefix(name, "CAP_") {
		name = "CAP_" + name
	}
	if !slices.Contains(AllCapabilities(), name) {
		return "", invalidf("unknown capability %q: give one of capabilities(7), such as NET_ADMIN, or ALL", s)
	}
	return name, nil
}

func parseCapabilities(list []string) (names []string, all bool, err error) {
	for _, s := range list {
		name, err := ParseCapability(s)
		if err != nil {
			return nil, false, err
		}
		if name == allCaps {
			all = true
			continue
		}
		names = append(names, name)
	}
	return names, all, nil
}

// bounding returns the sorted bounding set that c asks for; held is what the
// caller can give, nil when that is unknown.
func (c Capabilities) bounding(held []string) ([]string, error) {
	if held == nil {
		held = AllCapabilities()
	}
	base, _, err := parseCapabilities(c.Base)
	if err != nil {
		return nil, err
	}
	if c.Base == nil {
		base = CLICapabilities()
	}
	add, addAll, err := parseCapabilities(c.Add)
	if err != nil {
		return nil, err
	}
	drop, dropAll, err := parseCapabilities(c.Drop)
	if err != nil {
		return nil, err
	}
	for _, name := range add {
		if !slices.Contains(held, name) && !slices.Contains(drop, name) {
			return nil, invalidf("capability %s cannot be added: davit itself does not hold it", name)
		}
	}
	var set []string
	switch {
	case addAll && dropAll:
		return nil, invalidf("all capabilities cannot be both added and dropped")
	case dropAll:
		set = add
	case addAll:
		set = slices.Clone(held)
	default:
		set = append(base, add...)
	}
	set = slices.DeleteFunc(set, func(name string) bool {
		return slices.Contains(drop, name) || !slices.Contains(held, name)
	})
	slices.Sort(set)
	return slices.Compact(set), nil
}

// ambient returns the sorted ambient set that c asks for, all of it within the
// bounding set.
func (c Capabilities) ambient(bounding []string) ([]string, error) {
	names, all, err := parseCapabilities(c.Ambient)
	if err != nil {
		return nil, err
	}
	if all {
		names = append(names, bounding...)
	}
	drop, _, err := parseCapabilities(c.Drop)
	if err != nil {
		return nil, err
	}
	names = slices.DeleteFunc(names, func(name string) bool { return slices.Contains(drop, name) })
	for _, name := range names {
		if !slices.Contains(bounding, name) {
			return nil, invalidf("capability %s cannot be ambient: the container does not have it", name)
		}
	}
	slices.Sort(names)
	return slices.Compact(names), nil
}
