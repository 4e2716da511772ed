package options

import (
	"strings"

	"github.com/spf13/pflag"

	"github.com/davit-containers/davit/commands/cli"
	"github.com/davit-containers/davit/ctr"
	"github.com/davit-containers/davit/ctr/spec"
)

// Security is what confines a container.
type Security struct {
	Privileged bool
	CapAdd     []string
	CapDrop    []string
	Options    []string
	Devices    []string
	Sysctls    []string
	ReadOnly   bool
	// ReadOnlyTmpfs leaves /tmp, /run and /var/tmp writable below a read-only
	// root.
	ReadOnlyTmpfs bool
}

// Flags adds the flags of the group.
func (o *Security) Flags(fs *pflag.FlagSet) {
	fs.BoolVar(&o.Privileged, "privileged", false, "all capabilities and devices, nothing masked or filtered")
	fs.StringSliceVar(&o.CapAdd, "cap-add", nil, "add a `CAPABILITY`, or ALL (may be repeated)")
	fs.StringSliceVar(&o.CapDrop, "cap-drop", nil, "drop a `CAPABILITY`, or ALL (may be repeated)")
	fs.StringArrayVar(&o.Options, "security-opt", nil, "`OPTION`: seccomp=FILE|unconfined, no-new-privileges, label=, apparmor=, mask=, unmask= (may be repeated)")
	fs.StringSliceVar(&o.Devices, "device", nil, "`DEVICE` of the host, as host[:container][:rwm], or of its CDI descriptions, as vendor.com/class=name (may be repeated)")
	fs.StringArrayVar(&o.Sysctls, "sysctl", nil, "kernel parameter of the container's namespaces, as `KEY=VALUE` (may be repeated)")
	fs.BoolVar(&o.ReadOnly, "read-only", false, "mount the root filesystem read-only")
	fs.BoolVar(&o.ReadOnlyTmpfs, "read-only-tmpfs", true, "with --read-only: /tmp, /run and /var/tmp stay writable")
}

// Fill fills in what confines a container, but for Sysctls.
func (o *Security) Fill(h Host, c *ctr.Config) error {
	s := &c.Security
	s.Privileged, s.ReadOnlyRootfs, s.ReadOnlyTmpfs = o.Privileged, o.ReadOnly, o.ReadOnly && o.ReadOnlyTmpfs
	if base := h.Config.Containers.DefaultCapabilities; len(base) > 0 {
		s.Caps.Base = base
	}
	var err error
	if s.Caps.Add, err = capabilities("cap-add", o.CapAdd); err != nil {
		return err
	}
	if s.Caps.Drop, err = capabilities("cap-drop", o.CapDrop); err != nil {
		return err
	}
	options := o.Options
	if p := h.Config.Containers.SeccompProfile; p != "" {
		options = append([]string{"seccomp=" + p}, options...)
	}
	for _, text := range options {
		if err := h.securityOption(s, text); err != nil {
			return err
		}
	}
	for _, text := range o.Devices {
		if strings.Contains(text, "=") && !strings.HasPrefix(text, "/") { // vendor.com/class=name
			c.CDIDevices = append(c.CDIDevices, text)
			continue
		}
		d, err := spec.ParseDevice(text)
		if err != nil {
			return flagError("device", err)
		}
		if _, err := h.Stat(d.HostPath); err != nil {
			return cli.Usagef("--device: %s on the host", reason(err, d.HostPath))
		}
		c.Devices = append(c.Devices, d)
	}
	return nil
}

func (h Host) securityOption(s *spec.Security, text string) error {
	opt, err := spec.ParseSecurityOpt(text)
	if err != nil {
		return flagError("security-opt", err)
	}
	if opt.Key == "seccomp" && opt.Value != spec.SeccompDefault && opt.Value != spec.SeccompUnconfined {
		data, err := h.read("security-opt", opt.Value)
		if err != nil {
			return err
		}
		opt.Value = string(data)
	}
	return flagError("security-opt", opt.Apply(s))
}

func capabilities(flag string, args []string) ([]string, error) {
	var out []string
	for _, arg := range args {
		name, err := spec.ParseCapability(strings.TrimSpace(arg))
		if err != nil {
			return nil, flagError(flag, err)
		}
		out = append(out, name)
	}
	return out, nil
}

// Sysctls reads key=value pairs of parameters that belong to namespaces.
func Sysctls(args []string) (map[string]string, error) {
	var out map[string]string
	for _, arg := range args {
		s, err := spec.ParseSysctl(arg)
		if err != nil {
			return nil, flagError("sysctl", err)
		}
		if out == nil {
			out = map[string]string{}
		}
		out[s.Key] = s.Value
	}
	return out, nil
}
