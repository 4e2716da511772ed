package options

import (
	"path/filepath"
	"strings"

	"github.com/spf13/pflag"

	"github.com/davit-containers/davit/commands/cli"
	"github.com/davit-containers/davit/ctr"
	"github.com/davit-containers/davit/ctr/spec"
	"github.com/davit-containers/davit/pod"
)

// Namespaces says where a container's namespaces come from, but for the
// network's.
type Namespaces struct {
	PID, IPC, UTS, Cgroup string
}

// Flags adds the flags of the group.
func (o *Namespaces) Flags(fs *pflag.FlagSet) {
	fs.StringVar(&o.PID, "pid", "", "PID `NAMESPACE`: private, host, pod or ns:PATH")
	fs.StringVar(&o.IPC, "ipc", "", "IPC `NAMESPACE`: private, host, pod or ns:PATH")
	fs.StringVar(&o.UTS, "uts", "", "UTS `NAMESPACE`: private, host, pod or ns:PATH")
	fs.StringVar(&o.Cgroup, "cgroupns", "", "cgroup `NAMESPACE`: private, host or ns:PATH")
}

// parseNamespace reads the value of a namespace's flag; the zero value is none.
func parseNamespace(flag, s string) (spec.Namespace, error) {
	kind, rest, hasRest := strings.Cut(s, ":")
	switch {
	case s == "":
		return spec.Namespace{}, nil
	case kind == "ns" && filepath.IsAbs(rest):
		return spec.Namespace{Mode: spec.ModePath, Path: filepath.Clean(rest)}, nil
	case kind == "container" && flag == "cgroupns":
		return spec.Namespace{}, cli.Usagef("--cgroupns %s: containers share no cgroup namespace", s).
			Hintf("--cgroupns ns:/proc/PID/ns/cgroup, with the PID that davit inspect --format '{{.State.Pid}}' %s prints", rest)
	case kind == "container":
		return spec.Namespace{}, cli.Usagef("--%s %s: containers share namespaces by living in one pod", flag, s).
			Hintf("davit pod create --share %s --name NAME, then davit run --pod NAME …", flag)
	case hasRest:
	case s == "host":
		return spec.Namespace{Mode: spec.ModeHost}, nil
	case s == "private", flag == "ipc" && s == "shareable":
		return spec.Namespace{Mode: spec.ModePrivate}, nil
	case s == "pod" && flag != "cgroupns":
		return spec.Namespace{Mode: spec.ModePod}, nil
	}
	if flag == "cgroupns" {
		return spec.Namespace{}, cli.Usagef("--cgroupns: %q is not private, host or ns:PATH", s)
	}
	return spec.Namespace{}, cli.Usagef("--%s: %q is not private, host, pod or ns:PATH", flag, s)
}

// parse reads all four.
func (o *Namespaces) parse() (n spec.Namespaces, err error) {
	for _, f := range []struct {
		flag, text string
		to         *spec.Namespace
	}{
		{"pid", o.PID, &n.PID}, {"ipc", o.IPC, &n.IPC}, {"uts", o.UTS, &n.UTS}, {"cgroupns", o.Cgroup, &n.Cgroup},
	} {
		if *f.to, err = parseNamespace(f.flag, f.text); err != nil {
			return n, err
		}
	}
	return n, nil
}

// fillImplicit fills in the namespaces of a container and of the sandbox that is
// made for it: what a sandbox can hold is the sandbox's.
func (o *Namespaces) fillImplicit(c *ctr.Config, p *pod.Config) error {
	n, err := o.parse()
	if err != nil {
		return err
	}
	c.Namespaces.Cgroup = n.Cgroup
	for _, f := range []struct {
		flag  string
		asked spec.Namespace
		ctr   *spec.Namespace
		pod   *spec.Mode
		own   spec.Mode
	}{
		{"ipc", n.IPC, &c.Namespaces.IPC, &p.Namespaces.IPC, spec.ModePod},
		{"uts", n.UTS, &c.Namespaces.UTS, &p.Namespaces.UTS, spec.ModePod},
		{"pid", n.PID, &c.Namespaces.PID, &p.Namespaces.PID, spec.ModePrivate},
	} {
		*f.pod = f.own
		switch f.asked.Mode {
		case spec.ModeHost:
			*f.pod = spec.ModeHost
		case spec.ModePath:
			*f.ctr = f.asked
		case spec.ModePod:
			return cli.Usagef("--%s pod needs --pod: the pod whose namespace it is", f.flag)
		}
	}
	return nil
}

// fillPod fills in the namespaces of a container in a pod that others share.
func (o *Namespaces) fillPod(c *ctr.Config) error {
	n, err := o.parse()
	if err != nil {
		return err
	}
	for _, ns := range []*spec.Namespace{&n.PID, &n.IPC, &n.UTS} {
		if ns.Mode == spec.ModePod {
			*ns = spec.Namespace{} // the sandbox's
		}
	}
	c.Namespaces.PID, c.Namespaces.IPC, c.Namespaces.UTS, c.Namespaces.Cgroup = n.PID, n.IPC, n.UTS, n.Cgroup
	return nil
}
