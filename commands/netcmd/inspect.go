package netcmd

import (
	"errors"

	"github.com/spf13/cobra"

	"github.com/davit-containers/davit/commands/cli"
	"github.com/davit-containers/davit/netw"
)

// Inspection is a network as inspect prints it.
type Inspection struct {
	Name      string            `json:"name"`
	ID        string            `json:"id"`
	Driver    string            `json:"driver"`
	Origin    string            `json:"origin"`
	Interface string            `json:"network_interface"`
	Created   string            `json:"created"`
	Subnets   []subnet          `json:"subnets"`
	IPv6      bool              `json:"ipv6_enabled"`
	Internal  bool              `json:"internal"`
	DNS       bool              `json:"dns_enabled"`
	Labels    map[string]string `json:"labels"`
	Options   map[string]string `json:"options"`
	File      string            `json:"file"`
}

type subnet struct {
	Subnet  string `json:"subnet"`
	Gateway string `json:"gateway,omitempty"`
	First   string `json:"first,omitempty"`
	Last    string `json:"last,omitempty"`
}

func newInspect(env *cli.Env) *cobra.Command {
	var format string
	cmd := &cobra.Command{
		Use:   "inspect NETWORK...",
		Short: "Show all that is known of networks",
		Long: "Show all that is known of networks, as JSON or by a Go template. A network that is absent\n" +
			"does not keep the others from being shown.",
		Example: "  davit network inspect davit\n  davit network inspect --format '{{.Interface}}' davit",
		Args:    cli.Args(1, -1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := (cli.Output[Inspection]{Format: format}).Check(); format != "" && err != nil {
				return err
			}
			e, err := env.Engine(cmd.Context(), cli.Networks)
			if err != nil {
				return err
			}
			var found []netw.Network
			failed := env.Each(args, cli.Code, func(name string) error {
				n, err := e.Networks.Network(cmd.Context(), name)
				if err == nil {
					found = append(found, n)
				}
				return absent(cmd.Context(), e.Networks, name, err)
			})
			return errors.Join(cli.PrintObjects(env.Out, format, inspections(found)), failed)
		},
		ValidArgsFunction: networkNames(env, nil),
	}
	cmd.Flags().StringVarP(&format, "format", "f", "", "`FORMAT`: json, or a Go template")
	return cmd
}

func inspections(all []netw.Network) []Inspection {
	out := make([]Inspection, 0, len(all))
	for _, n := range all {
		out = append(out, inspection(n))
	}
	return out
}

func inspection(n netw.Network) Inspection {
	i := Inspection{
		Name: n.Name, ID: networkID(n.Name), Driver: n.Driver, Origin: string(n.Origin), Interface: n.Interface,
		Created: cli.Time(n.Created), Subnets: []subnet{}, IPv6: n.IPv6, Internal: n.Internal, DNS: !n.DNSDisabled,
		Labels: n.Labels, Options: n.Options, File: n.File,
	}
	for _, s := range n.Subnets {
		out := subnet{Subnet: s.Subnet.String()}
		i.IPv6 = i.IPv6 || s.Subnet.Addr().Is6()
		if s.Gateway.IsValid() {
			out.Gateway = s.Gateway.String()
		}
		if s.First.IsValid() {
			out.First = s.First.String()
		}
		if s.Last.IsValid() {
			out.Last = s.Last.String()
		}
		i.Subnets = append(i.Subnets, out)
	}
	if i.Labels == nil {
		i.Labels = map[string]string{}
	}
	if i.Options == nil {
		i.Options = map[string]string{}
	}
	return i
}

func newExists(env *cli.Env) *cobra.Command {
	return &cobra.Command{
		Use:     "exists NETWORK",
		Short:   "Tell whether a network exists",
		Long:    "Tell whether a network exists: the exit code is 0 if it does, 1 if it does not.\nNothing is printed.",
		Example: "  davit network exists backend\n  davit network exists backend || davit network create backend",
		Args:    cli.Args(1, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			e, err := env.Engine(cmd.Context(), cli.Networks)
			if err != nil {
				return err
			}
			_, err = e.Networks.Network(cmd.Context(), args[0])
			return cli.ExistsError(err)
		},
		ValidArgsFunction: cli.First(1, networkNames(env, nil)),
	}
}
