package netcmd

import (
	"context"
	"crypto/sha256"
	"encoding/hex"

	"github.com/containerd/errdefs"
	"github.com/spf13/cobra"

	"github.com/davit-containers/davit/commands/cli"
	"github.com/davit-containers/davit/netw"
)

// Commands is network with its verbs.
func Commands(env *cli.Env) []*cobra.Command {
	return cli.InGroup(cli.GroupNetwork, cli.Make(env, cli.Verb{Name: "network", New: newNetwork})...)
}

func newNetwork(env *cli.Env) *cobra.Command {
	return cli.Parent(&cobra.Command{
		Use:   "network",
		Short: "Work with networks",
		Long: "Work with the networks that pods are attached to: the built-in one, those made here,\n" +
			"and the host's in /etc/cni/net.d.",
		Example: "  davit network create --subnet 10.90.0.0/24 backend\n  davit network ls",
	}, newList(env), newCreate(env), newRemove(env), newInspect(env), newExists(env), newPrune(env))
}

// networkNames completes the names of networks that keep accepts; nil accepts
// all.
func networkNames(env *cli.Env, keep func(netw.Network) bool) cobra.CompletionFunc {
	return cli.Names(func(ctx context.Context) ([]string, error) {
		e, err := env.Engine(ctx, cli.Networks)
		if err != nil {
			return nil, err
		}
		all, err := e.Networks.Networks(ctx)
		if err != nil && len(all) == 0 {
			return nil, err
		}
		var names []string
		for _, n := range all {
			if keep == nil || keep(n) {
				names = append(names, n.Name)
			}
		}
		return names, nil
	})
}

// made says whether a network is one that davit network create made.
func made(n netw.Network) bool { return n.Origin == netw.OriginUser }

// networkID is what stands for an ID: networks are known by their names.
func networkID(name string) string {
	sum := sha256.Sum256([]byte(name))
	return hex.EncodeToString(sum[:])
}

// absent adds to the error of a network that is not there which one was perhaps
// meant, or where to look.
func absent(ctx context.Context, networks *netw.Attacher, name string, err error) error {
	if !errdefs.IsNotFound(err) {
		return err
	}
	all, _ := networks.Networks(ctx) // for the hint only
	var names []string
	for _, n := range all {
		names = append(names, n.Name)
	}
	if near := cli.Nearest(name, names); near != "" {
		return cli.WithHint(err, "did you mean %s?", near)
	}
	return cli.WithHint(err, "davit network ls lists the networks")
}
