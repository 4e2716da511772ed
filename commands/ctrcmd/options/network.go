package options

import (
	"net"
	"net/netip"
	"slices"
	"strings"

	"github.com/spf13/pflag"

	"github.com/davit-containers/davit/commands/cli"
	"github.com/davit-containers/davit/netw"
	"github.com/davit-containers/davit/pod"
)

// Network is what a sandbox is attached to.
type Network struct {
	Networks  []string
	Aliases   []string
	IP, IP6   string
	MAC       string
	Publish   []string
	Expose    []string
	ExposeAll bool

	net []string // of --net
}

// Flags adds the flags of the group.
func (o *Network) Flags(fs *pflag.FlagSet) {
	fs.StringArrayVar(&o.Networks, "network", nil, "`NETWORK` to join, as NAME[:ip=ADDR,mac=ADDR,alias=NAME,interface_name=IF]; host, or none (may be repeated)")
	fs.StringArrayVar(&o.net, "net", nil, "the same as --network")
	_ = fs.MarkHidden("net") // there is such a flag
	fs.StringSliceVar(&o.Aliases, "network-alias", nil, "further `NAME` on the network (may be repeated)")
	fs.StringVar(&o.IP, "ip", "", "static IPv4 `ADDRESS`")
	fs.StringVar(&o.IP6, "ip6", "", "static IPv6 `ADDRESS`")
	fs.StringVar(&o.MAC, "mac-address", "", "hardware `ADDRESS` of the interface")
	fs.StringArrayVarP(&o.Publish, "publish", "p", nil, "publish a `PORT`, as [[ip:]hostPort:]port[-range][/tcp,udp,sctp] (may be repeated)")
}

// ExposeFlags adds the flags for ports that an image exposes.
func (o *Network) ExposeFlags(fs *pflag.FlagSet) {
	fs.StringArrayVar(&o.Expose, "expose", nil, "`PORT` that the container listens on, as port[-range][/protocol] (may be repeated)")
	fs.BoolVarP(&o.ExposeAll, "publish-all", "P", false, "publish all exposed ports on random ports of the host")
}

// given is the first flag of the group that was used; empty if none was.
func (o *Network) given() string {
	switch {
	case len(o.Publish) > 0:
		return "publish"
	case o.ExposeAll:
		return "publish-all"
	case len(o.Networks) > 0 || len(o.net) > 0:
		return "network"
	case len(o.Aliases) > 0:
		return "network-alias"
	case o.IP != "":
		return "ip"
	case o.IP6 != "":
		return "ip6"
	case o.MAC != "":
		return "mac-address"
	}
	return ""
}

// Fill fills in the network of a sandbox.
func (o *Network) Fill(h Host, c *pod.Config) error {
	if err := o.networks(h, &c.Network); err != nil {
		return err
	}
	if err := o.addresses(h, &c.Network); err != nil {
		return err
	}
	for _, text := range o.Publish {
		ports, err := netw.ParsePort(text)
		if err != nil {
			return flagError("publish", err)
		}
		c.Network.Ports = append(c.Network.Ports, ports...)
	}
	if c.Network.Mode != pod.NetworkCNI && (len(c.Network.Ports) > 0 || o.ExposeAll) {
		flag := "--publish"
		if o.ExposeAll {
			flag = "--publish-all"
		}
		err := cli.Usagef("%s cannot be used with --network %s", flag, c.Network.Mode)
		if c.Network.Mode == pod.NetworkHost {
			return err.Hintf("leave %s out: with the host's network every port is the host's already", flag)
		}
		return err
	}
	return flagError("publish", netw.CheckPorts(c.Network.Ports))
}

// networks reads --network.
func (o *Network) networks(h Host, n *pod.Network) error {
	var args []string
	for _, arg := range slices.Concat(o.Networks, o.net) {
		if strings.Contains(arg, ":") {
			args = append(args, arg)
		} else {
			args = append(args, strings.Split(arg, ",")...)
		}
	}
	for _, arg := range args {
		name, opts, _ := strings.Cut(arg, ":")
		switch name {
		case "host", "none":
			if len(args) > 1 || opts != "" {
				return cli.Usagef("--network %s cannot be joined with another network or option", name)
			}
			n.Mode = pod.NetworkMode(name)
			return nil
		case "container":
			return cli.Usagef("--network %s: containers share a network by living in one pod", arg).
				Hintf("davit pod create --name NAME, then davit run --pod NAME …")
		case "ns", "pasta", "slirp4netns":
			return cli.Usagef("--network %s is not supported", name).Hintf("give host, none or the name of a network (davit network ls)")
		case "", "bridge", "default", "private":
			name = h.Config.Network.Default
		}
		if err := netw.CheckName(name); err != nil {
			return flagError("network", err)
		}
		ref := netw.Ref{Name: name}
		if err := refOptions(&ref, opts); err != nil {
			return err
		}
		if slices.ContainsFunc(n.Networks, func(r netw.Ref) bool { return r.Name == name }) {
			return cli.Usagef("--network: %q is given twice", name)
		}
		n.Networks = append(n.Networks, ref)
	}
	return nil
}

func refOptions(ref *netw.Ref, opts string) error {
	if opts == "" {
		return nil
	}
	for opt := range strings.SplitSeq(opts, ",") {
		key, value, _ := strings.Cut(opt, "=")
		var err error
		switch key {
		case "ip", "ip6":
			err = addIP(ref, "network", value)
		case "mac":
			err = setMAC(ref, "network", value)
		case "alias":
			ref.Aliases = append(ref.Aliases, value)
		case "interface_name":
			ref.IfName = value
			err = flagError("network", netw.CheckIfName(value))
		default:
			return cli.Usagef("--network: unknown option %q: give ip=, ip6=, mac=, alias= or interface_name=", opt)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// addresses puts what flags say of the one network there.
func (o *Network) addresses(h Host, n *pod.Network) error {
	var flag string
	for _, f := range []struct {
		name string
		on   bool
	}{
		{"ip", o.IP != ""}, {"ip6", o.IP6 != ""}, {"mac-address", o.MAC != ""}, {"network-alias", len(o.Aliases) > 0},
	} {
		if f.on {
			flag = f.name
			break
		}
	}
	switch {
	case flag == "":
		return nil
	case n.Mode != pod.NetworkCNI:
		return cli.Usagef("--%s cannot be used with --network %s", flag, n.Mode)
	case len(n.Networks) > 1:
		return cli.Usagef("--%s does not say which of the networks it is for", flag).Hintf("--network NAME:ip=…,mac=…,alias=…")
	case len(n.Networks) == 0:
		n.Networks = []netw.Ref{{Name: h.Config.Network.Default}}
	}
	ref := &n.Networks[0]
	ref.Aliases = append(ref.Aliases, o.Aliases...)
	if o.IP != "" {
		if err := addIP(ref, "ip", o.IP); err != nil {
			return err
		}
	}
	if o.IP6 != "" {
		if err := addIP(ref, "ip6", o.IP6); err != nil {
			return err
		}
	}
	if o.MAC != "" {
		return setMAC(ref, "mac-address", o.MAC)
	}
	return nil
}

func addIP(ref *netw.Ref, flag, s string) error {
	addr, err := netip.ParseAddr(s)
	if err != nil || addr.Zone() != "" || addr.IsUnspecified() || addr.IsMulticast() || flag == "ip" && !addr.Is4() || flag == "ip6" && !addr.Is6() {
		return cli.Usagef("--%s: %q is not an address for a container", flag, s)
	}
	ref.IPs = append(ref.IPs, addr)
	return nil
}

func setMAC(ref *netw.Ref, flag, s string) error {
	mac, err := net.ParseMAC(s)
	if err != nil || len(mac) != 6 || mac[0]&1 != 0 {
		return cli.Usagef("--%s: %q is not a unicast Ethernet address such as 02:00:00:00:00:01", flag, s)
	}
	ref.MAC = mac.String()
	return nil
}

// Exposed reads --expose: the ports that a container listens on.
func (o *Network) Exposed() ([]netw.Port, error) {
	var out []netw.Port
	for _, text := range o.Expose {
		if strings.Contains(text, ":") {
			return nil, cli.Usagef("--expose: %q has an address: give port[-range][/protocol]", text).Hintf("--publish %s", text)
		}
		ports, err := netw.ParsePort(text)
		if err != nil {
			return nil, flagError("expose", err)
		}
		out = append(out, ports...)
	}
	return out, nil
}

// PublishExposed adds those exposed ports, as [netw.ParsePort] reads them, that
// are not published already, each to be put on a random port of the host.
func PublishExposed(ports []netw.Port, exposed []string, more []netw.Port) ([]netw.Port, error) {
	all := slices.Clone(more)
	for _, text := range exposed {
		p, err := netw.ParsePort(text)
		if err != nil {
			return nil, cli.Usagef("the image exposes a port that is none: %q", text)
		}
		all = append(all, p...)
	}
	for _, e := range all {
		if !slices.ContainsFunc(ports, func(p netw.Port) bool {
			return p.ContainerPort == e.ContainerPort && p.Protocol == e.Protocol
		}) {
			ports = append(ports, e)
		}
	}
	return ports, nil
}
