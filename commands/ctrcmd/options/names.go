package options

import (
	"net/netip"
	"strings"

	"github.com/spf13/pflag"

	"github.com/davit-containers/davit/commands/cli"
	"github.com/davit-containers/davit/pod"
)

// Names are a sandbox's own name and how it resolves others.
type Names struct {
	Hostname   string
	DNS        []string
	DNSSearch  []string
	DNSOptions []string
	Hosts      []string
	NoHosts    bool
}

// Flags adds the flags of the group. short is the short form of --hostname; a pod
// has none.
func (o *Names) Flags(fs *pflag.FlagSet, short string) {
	fs.StringVarP(&o.Hostname, "hostname", short, "", "host `NAME`")
	fs.StringSliceVar(&o.DNS, "dns", nil, "DNS server `ADDRESS` (may be repeated)")
	fs.StringSliceVar(&o.DNSSearch, "dns-search", nil, "DNS search `DOMAIN` (may be repeated)")
	fs.StringSliceVar(&o.DNSOptions, "dns-option", nil, "`OPTION` of resolv.conf(5) (may be repeated)")
	fs.StringArrayVar(&o.Hosts, "add-host", nil, "line of /etc/hosts, as `NAME:ADDRESS`, or name:host-gateway (may be repeated)")
	fs.BoolVar(&o.NoHosts, "no-hosts", false, "leave /etc/hosts as the image has it")
}

// given is the first flag of the group that was used; empty if none was.
func (o *Names) given() string {
	switch {
	case o.Hostname != "":
		return "hostname"
	case len(o.DNS) > 0:
		return "dns"
	case len(o.DNSSearch) > 0:
		return "dns-search"
	case len(o.DNSOptions) > 0:
		return "dns-option"
	case len(o.Hosts) > 0:
		return "add-host"
	case o.NoHosts:
		return "no-hosts"
	}
	return ""
}

// Fill fills in the names of a sandbox.
func (o *Names) Fill(c *pod.Config) error {
	if o.Hostname != "" && !isHostname(o.Hostname) || len(o.Hostname) > 64 {
		return cli.Usagef("--hostname: %q is not a host name of at most 64 letters, digits, '-' and '.'", o.Hostname)
	}
	c.Hostname = o.Hostname
	for _, s := range o.DNS {
		addr, err := netip.ParseAddr(s)
		if err != nil {
			return cli.Usagef("--dns: %q is not an IP address", s)
		}
		c.DNS.Servers = append(c.DNS.Servers, addr.String())
	}
	for _, s := range o.DNSSearch {
		if s != "." && !isHostname(strings.TrimSuffix(s, ".")) {
			return cli.Usagef("--dns-search: %q is not a domain", s)
		}
	}
	for _, s := range o.DNSOptions {
		if s == "" || strings.ContainsFunc(s, isBlank) {
			return cli.Usagef("--dns-option: %q is not an option of resolv.conf(5)", s)
		}
	}
	c.DNS.Searches, c.DNS.Options, c.DNS.NoHosts = o.DNSSearch, o.DNSOptions, o.NoHosts
	if o.NoHosts && len(o.Hosts) > 0 {
		return cli.Usagef("--add-host and --no-hosts contradict each other")
	}
	for _, s := range o.Hosts {
		hosts, err := parseHost(s)
		if err != nil {
			return err
		}
		c.DNS.Hosts = append(c.DNS.Hosts, hosts...)
	}
	return nil
}

// parseHost reads name[;name…]:address.
func parseHost(s string) ([]pod.Host, error) {
	names, addr, ok := strings.Cut(s, ":")
	if !ok || names == "" || addr == "" {
		return nil, cli.Usagef("--add-host: %q is not name:address", s)
	}
	var out []pod.Host
	for name := range strings.SplitSeq(names, ";") {
		host := pod.Host{Name: name}
		if !isHostname(name) {
			return nil, cli.Usagef("--add-host: %q is not a host name", name)
		}
		if addr == "host-gateway" {
			host.Gateway = true
		} else {
			ip, err := netip.ParseAddr(strings.TrimSuffix(strings.TrimPrefix(addr, "["), "]"))
			if err != nil || ip.Zone() != "" {
				return nil, cli.Usagef("--add-host: %q is neither an IP address nor host-gateway", addr)
			}
			host.Addr = ip
		}
		out = append(out, host)
	}
	return out, nil
}

// isHostname tells whether s may stand in /etc/hosts and be a host's name.
func isHostname(s string) bool {
	if s == "" || len(s) > 253 || s[0] == '-' || s[0] == '.' {
		return false
	}
	for i := range len(s) {
		c := s[i]
		if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '-' && c != '.' && c != '_' {
			return false
		}
	}
	return true
}

func isBlank(r rune) bool { return r <= ' ' || r == 0x7f }
