package spec

import (
	"errors"
	"slices"

	"github.com/moby/profiles/seccomp"
	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// Filter returns the seccomp filter of a profile for a process with these
// bounding capabilities, on this machine's architecture and kernel. profile is
// [SeccompDefault] (also when empty), [SeccompUnconfined] (a nil filter), or a
// profile's JSON in docker's format, of which the runtime spec's is a part.
//
// The default profile blocks AF_ALG and AF_VSOCK sockets, io_uring and the
// kernel's other wide interfaces. A profile that does not parse, or that
// filters nothing, is an ErrInvalidArgument: it never runs unconfined.
func Filter(profile string, bounding []string) (*specs.LinuxSeccomp, error) {
	process := &specs.Spec{Process: &specs.Process{Capabilities: &specs.LinuxCapabilities{Bounding: bounding}}}
	switch profile {
	case SeccompUnconfined:
		return nil, nil
	case "", SeccompDefault:
		filter, err := seccomp.GetDefaultProfile(process)
		if err != nil {
			return nil, invalidf("making the default seccomp filter: %v", err)
		}
		return filter, nil
	}
	filter, err := seccomp.LoadProfile(profile, process)
	if err != nil {
		if cause := errors.Unwrap(err); cause != nil { // without the library's own words
			err = cause
		}
		return nil, invalidf("seccomp profile is not valid: %v", err)
	}
	if filter == nil || filter.DefaultAction == "" {
		return nil, invalidf("seccomp profile has no defaultAction")
	}
	if !slices.Contains(seccompActions(), filter.DefaultAction) {
		return nil, invalidf("seccomp profile's defaultAction %q is unknown", filter.DefaultAction)
	}
	for _, call := range filter.Syscalls {
		if !slices.Contains(seccompActions(), call.Action) {
			return nil, invalidf("seccomp profile's action %q is unknown", call.Action)
		}
	}
	return filter, nil
}

func seccompActions() []specs.LinuxSeccompAction {
	return []specs.LinuxSeccompAction{
		specs.ActKill, specs.ActKillProcess, specs.ActKillThread, specs.ActTrap, specs.ActErrno,
		specs.ActTrace, specs.ActAllow, specs.ActLog, specs.ActNotify,
	}
}
