package netcmd

import (
	"context"
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"github.com/containerd/errdefs"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/davit-containers/davit/commands/cli"
	"github.com/davit-containers/davit/netw"
)

// createOptions are the flags of network create.
type createOptions struct {
	Driver     string
	Interface  string
	Labels     []string
	Options    []string
	Internal   bool
	DisableDNS bool
	Ignore     bool
	Addresses  addressOptions
}

// addressOptions are the flags of network create about addresses.
type addressOptions struct {
	Subnets  []string
	Gateways []string
	Ranges   []string
	IPv6     bool
}

func newCreate(env *cli.Env) *cobra.Command {
	var o createOptions
	cmd := &cobra.Command{
		Use:   "create [NAME]",
		Short: "Make a network",
		Long: "Make a network and print its name. Containers on it reach one another by name, and the\n" +
			"outside unless it is internal. Without --subnet a free one is taken.",
		Example: "  davit network create backend\n" +
			"  davit network create --subnet 10.90.0.0/24 --gateway 10.90.0.1 --internal db\n" +
			"  davit network create --driver macvlan -o parent=eth0 lan",
		Args: cli.Args(0, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			n, err := o.parse(args)
			if err != nil {
				return err
			}
			return o.run(cmd.Context(), env, n)
		},
		ValidArgsFunction: cobra.NoFileCompletions,
	}
	fs := cmd.Flags()
	fs.StringVarP(&o.Driver, "driver", "d", netw.DriverBridge, "`DRIVER`: bridge or macvlan")
	fs.StringVar(&o.Interface, "interface-name", "", "`NAME` of the bridge, or of the interface below a macvlan network")
	fs.BoolVar(&o.Internal, "internal", false, "no way out of the host")
	fs.BoolVar(&o.DisableDNS, "disable-dns", false, "containers do not find one another by name")
	fs.BoolVar(&o.Ignore, "ignore", false, "a network of that name is no error")
	fs.StringArrayVar(&o.Labels, "label", nil, "label: `KEY=VALUE` (may be repeated)")
	fs.StringArrayVarP(&o.Options, "opt", "o", nil, "`KEY=VALUE`: mtu, vlan, parent, mode (may be repeated)")
	cli.FlagGroup(fs, "Addresses", o.Addresses.flags)
	_ = cmd.RegisterFlagCompletionFunc("driver", cli.Words(netw.DriverBridge, netw.DriverMacvlan))
	return cmd
}

func (o *addressOptions) flags(fs *pflag.FlagSet) {
	fs.StringArrayVar(&o.Subnets, "subnet", nil, "`SUBNET` such as 10.90.0.0/24 (may be repeated)")
	fs.StringArrayVar(&o.Gateways, "gateway", nil, "`ADDRESS` of the host in the subnet (may be repeated)")
	fs.StringArrayVar(&o.Ranges, "ip-range", nil, "part of the subnet to give out: `SUBNET`, or FIRST-LAST (may be repeated)")
	fs.BoolVar(&o.IPv6, "ipv6", false, "an IPv6 subnet too")
}

// parse makes the network that the flags describe. Without a name it has none.
func (o createOptions) parse(args []string) (netw.Network, error) {
	n := netw.Network{
		Driver: o.Driver, Interface: o.Interface, Internal: o.Internal, IPv6: o.Addresses.IPv6, DNSDisabled: o.DisableDNS,
	}
	if len(args) > 0 {
		n.Name = args[0]
		if err := netw.CheckName(n.Name); err != nil {
			return n, err
		}
	}
	var err error
	if n.Labels, err = pairs("--label", o.Labels); err != nil {
		return n, err
	}
	if n.Options, err = pairs("--opt", o.Options); err != nil {
		return n, err
	}
	if n.Subnets, err = o.Addresses.parse(); err != nil {
		return n, err
	}
	return n, nil
}

// pairs reads KEY=VALUE; nil if there are none.
func pairs(flag string, list []string) (map[string]string, error) {
	if len(list) == 0 {
		return nil, nil
	}
	m := make(map[string]string, len(list))
	for _, s := range list {
		key, value, ok := strings.Cut(s, "=")
		if key == "" || !ok && flag == "--opt" {
			return nil, cli.Usagef("%s %q is not KEY=VALUE", flag, s)
		}
		m[key] = value
	}
	return m, nil
}

// parse puts each gateway and range into the subnet that it is of.
func (o addressOptions) parse() ([]netw.Subnet, error) {
	var subnets []netw.Subnet
	for _, s := range o.Subnets {
		p, err := netip.ParsePrefix(s)
		if err != nil {
			return nil, cli.Usagef("--subnet %q is not a subnet such as 10.90.0.0/24", s)
		}
		subnets = append(subnets, netw.Subnet{Subnet: p.Masked()})
	}
	within := func(flag, text string, a netip.Addr) (*netw.Subnet, error) {
		for i := range subnets {
			if subnets[i].Subnet.Contains(a) {
				return &subnets[i], nil
			}
		}
		return nil, cli.Usagef("%s %s is in no --subnet", flag, text)
	}
	for _, g := range o.Gateways {
		a, err := netip.ParseAddr(g)
		if err != nil {
			return nil, cli.Usagef("--gateway %q is not an address", g)
		}
		s, err := within("--gateway", g, a)
		if err != nil {
			return nil, err
		}
		s.Gateway = a
	}
	for _, r := range o.Ranges {
		first, last, err := parseRange(r)
		if err != nil {
			return nil, err
		}
		s, err := within("--ip-range", r, first)
		if err != nil {
			return nil, err
		}
		if !s.Subnet.Contains(last) {
			return nil, cli.Usagef("--ip-range %s does not end in %s", r, s.Subnet)
		}
		s.First, s.Last = first, last
	}
	return subnets, nil
}

// parseRange reads FIRST-LAST or a subnet.
func parseRange(s string) (first, last netip.Addr, err error) {
	bad := cli.Usagef("--ip-range %q is neither a subnet nor FIRST-LAST", s)
	if a, b, ok := strings.Cut(s, "-"); ok {
		first, err1 := netip.ParseAddr(a)
		last, err2 := netip.ParseAddr(b)
		if err1 != nil || err2 != nil || last.Less(first) {
			return first, last, bad
		}
		return first, last, nil
	}
	p, err := netip.ParsePrefix(s)
	if err != nil {
		return first, last, bad
	}
	p = p.Masked()
	bytes := p.Addr().AsSlice()
	for bit := p.Bits(); bit < len(bytes)*8; bit++ {
		bytes[bit/8] |= 1 << (7 - bit%8)
	}
	last, _ = netip.AddrFromSlice(bytes)
	return p.Addr(), last, nil
}

func (o createOptions) run(ctx context.Context, env *cli.Env, n netw.Network) error {
	e, err := env.Engine(ctx, cli.Networks)
	if err != nil {
		return err
	}
	if n.Name == "" {
		if n.Name, err = freeName(ctx, e.Networks); err != nil {
			return err
		}
	}
	made, err := e.Networks.Create(ctx, n)
	if errdefs.IsAlreadyExists(err) {
		if _, lookErr := e.Networks.Network(ctx, n.Name); lookErr == nil {
			if o.Ignore {
				_, err = fmt.Fprintln(env.Out, n.Name)
				return err
			}
			return cli.WithHint(err, "davit network rm %s, or use --ignore", n.Name)
		}
	}
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(env.Out, made.Name)
	return err
}

// freeName is the first of net1, net2 … that no network has.
func freeName(ctx context.Context, networks *netw.Attacher) (string, error) {
	all, err := networks.Networks(ctx)
	if err != nil && len(all) == 0 {
		return "", err
	}
	taken := map[string]bool{}
	for _, n := range all {
		taken[n.Name] = true
	}
	for i := 1; ; i++ {
		if name := "net" + strconv.Itoa(i); !taken[name] {
			return name, nil
		}
	}
}
