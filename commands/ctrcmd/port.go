package ctrcmd

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/davit-containers/davit/commands/cli"
	"github.com/davit-containers/davit/commands/ctrcmd/show"
	"github.com/davit-containers/davit/ctr"
	"github.com/davit-containers/davit/netw"
)

func newPort(env *cli.Env) *cobra.Command {
	var w which
	cmd := &cobra.Command{
		Use:   "port [flags] CONTAINER [PORT[/PROTOCOL]]",
		Short: "List where a container's ports are published",
		Long: "List where on the host a container's ports are published, or where one of them is. What is\n" +
			"published for a pod is published for all its containers.",
		Example: "  davit port web\n" +
			"  davit port web 80/tcp",
		ValidArgsFunction: cli.First(1, names(env, ctr.Running)),
		RunE: func(cmd *cobra.Command, args []string) error {
			if !w.All && !w.Latest && len(args) > 0 {
				w.Refs, args = args[:1], args[1:]
			}
			if err := w.check(); err != nil {
				return err
			}
			if len(args) > 1 || w.All && len(args) > 0 {
				return cli.Usagef("there is one port too many: %q", args[len(args)-1])
			}
			return listPorts(cmd.Context(), env, w, args)
		},
	}
	cmd.Flags().BoolVarP(&w.All, "all", "a", false, "of all running containers")
	latest(&w, cmd)
	return cmd
}

func listPorts(ctx context.Context, env *cli.Env, w which, port []string) error {
	match, err := portMatcher(port)
	if err != nil {
		return err
	}
	e, err := env.Engine(ctx, cli.Containers, cli.Pods)
	if err != nil {
		return err
	}
	refs, err := w.refs(ctx, env, alive)
	if err != nil {
		return err
	}
	return env.Each(refs, cli.Code, func(ref string) error {
		c, err := find(ctx, e, ref)
		if err != nil {
			return err
		}
		s, err := e.Pods.Get(ctx, c.Config.Sandbox)
		if err != nil {
			return err
		}
		var b strings.Builder
		for _, p := range show.Ports(s) {
			if !match(p) || !c.Status.Alive() {
				continue
			}
			if len(port) == 0 {
				if w.All {
					fmt.Fprintf(&b, "%s\t", cli.ShortID(c.ID, false))
				}
				fmt.Fprintf(&b, "%d/%s -> ", p.ContainerPort, p.Protocol)
			}
			fmt.Fprintln(&b, show.HostAddr(p))
		}
		if b.Len() == 0 && len(port) > 0 {
			return fmt.Errorf("port %s of container %q is not published", port[0], c.Config.Name)
		}
		_, err = env.Out.Write([]byte(b.String()))
		return err
	})
}

// portMatcher reads PORT[/PROTOCOL].
func portMatcher(port []string) (func(netw.Port) bool, error) {
	if len(port) == 0 {
		return func(netw.Port) bool { return true }, nil
	}
	number, protocol, ok := strings.Cut(port[0], "/")
	n, err := strconv.ParseUint(number, 10, 16)
	if err != nil || n == 0 {
		return nil, cli.Usagef("%q is not a port: give PORT[/PROTOCOL]", port[0])
	}
	if !ok {
		protocol = "tcp"
	}
	return func(p netw.Port) bool { return uint64(p.ContainerPort) == n && p.Protocol == protocol }, nil
}

// portHint says which container or pod has published a port.
func portHint(ctx context.Context, env *cli.Env, err error) error {
	var inUse *netw.PortInUseError
	if !errors.As(err, &inUse) {
		return err
	}
	holder := inUse.Holder
	if holder == "" {
		return cli.WithHint(err, "-p %d publishes it on a free port of the host", inUse.Port.ContainerPort)
	}
	world, werr := show.Read(ctx, env)
	if werr != nil {
		return err
	}
	for _, s := range world.Pods {
		if s.ID != holder && s.Config.Name != holder {
			continue
		}
		what := "pod " + s.Config.Name
		stop := "davit pod stop " + s.Config.Name
		if members := world.Members(s); s.Config.Implicit && len(members) > 0 {
			what = "container " + members[0].Config.Name
			stop = "davit stop " + members[0].Config.Name
		}
		text := strings.ReplaceAll(err.Error(), strconv.Quote(holder), what)
		return cli.WithHint(&said{err, text}, "%s, or publish it on another port", stop)
	}
	return err
}
