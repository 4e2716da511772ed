package syscmd

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"time"

	"github.com/containerd/errdefs"
	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"github.com/davit-containers/davit/commands/cli"
	"github.com/davit-containers/davit/criadapter"
)

func newServeCRI(env *cli.Env) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "serve-cri",
		Short: "Serve the Kubernetes Container Runtime Interface",
		Long: "Serve the Kubernetes Container Runtime Interface to a kubelet or crictl, on the socket davit.sock of the run root. " +
			"Containers live on when the server ends. SIGHUP reads the configuration again. The table [cri] of davit.toml has more. " +
			"Traces of calls go where the OTEL_* variables of OpenTelemetry say.",
		Example: "  davit serve-cri --log-level info\n  davit serve-cri --listen unix:///run/cri/davit.sock",
		Args:    cli.Args(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if f := cmd.Flags().Lookup("listen"); f.Changed {
				env.Flags.Set("cri.listen", "listen", f.Value.String())
			}
			return serveCRI(cmd.Context(), env)
		},
		ValidArgsFunction: cobra.NoFileCompletions,
	}
	cmd.Flags().String("listen", "", "`address` to serve on: unix:///path, or tcp://address:port with TLS")
	return cmd
}

func serveCRI(ctx context.Context, env *cli.Env) error {
	env.Stay()
	if _, err := env.Engine(ctx); err != nil { // the run root is this boot's from here on
		return err
	}
	config, err := env.Config()
	if err != nil {
		return err
	}
	lock, err := claim(ctx, config.RunRoot)
	if err != nil {
		return err
	}
	defer lock.Close()
	l, err := listen(ctx, config)
	if err != nil {
		return err
	}
	defer l.Close()
	metrics, err := listenMetrics(ctx, config)
	if err != nil {
		return err
	}
	if metrics != nil {
		defer metrics.Close()
	}
	e, err := env.Engine(ctx, cli.Images, cli.Networks, cli.Containers, cli.Pods)
	if err != nil {
		return err
	}
	if err := e.Pods.Keep(ctx); err != nil {
		return err
	}
	o := serverOptions(env, config, e)
	o.Telemetry.Listener = metrics
	server, err := criadapter.New(ctx, o)
	if err != nil {
		return err
	}
	var beside errgroup.Group
	bctx, stop := context.WithCancel(ctx)
	beside.Go(func() error { settle(bctx, env, e); return nil })
	beside.Go(func() error { watch(bctx, env, e); return nil })
	beside.Go(func() error { control(bctx, env); return nil })
	err = server.Serve(ctx, l)
	stop()
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Duration(config.CRI.Grace)*time.Second)
	defer cancel()
	e.Pods.Drain(last)
	return errors.Join(err, beside.Wait())
}

func serverOptions(env *cli.Env, c *cli.Config, e *cli.Engine) criadapter.Options {
	return criadapter.Options{
		Engine:  criadapter.Engine{Pods: e.Pods, Containers: e.Containers, Images: e.Images, Networks: e.Networks},
		Version: env.Version, Log: env.Log(),
		Images: criadapter.ImageOptions{
			Pins: criadapter.Pins{Others: c.Images.Pin == "others", Patterns: c.Images.Pinned},
		},
		Limits: criadapter.Limits{
			Calls: int(c.CRI.MaxCalls), Message: int(c.CRI.MaxMessage),
			Slow: time.Duration(c.CRI.SlowCall) * time.Millisecond, Grace: time.Duration(c.CRI.Grace) * time.Second,
		},
		Streams: criadapter.StreamOptions{
			Address: c.CRI.StreamAddress, CertFile: c.CRI.StreamCert, KeyFile: c.CRI.StreamKey,
			Idle: time.Duration(c.CRI.StreamIdle) * time.Second,
		},
		Telemetry:      criadapter.TelemetryOptions{Getenv: env.Getenv},
		SystemdCgroups: c.Engine.CgroupManager == "systemd",
		Resting:        func(ctx context.Context) { rest(ctx, env, e) },
	}
}

// settle clears up what dead processes have left, while calls are answered
// already: whoever touches such an object settles it first.
func settle(ctx context.Context, env *cli.Env, e *cli.Engine) {
	err := errors.Join(
		e.Pods.Sweep(ctx),
		e.Images.Sweep(ctx),
		e.Networks.Collect(ctx, func(id string) bool {
			_, err := e.Pods.Get(ctx, id)
			return !errdefs.IsNotFound(err)
		}))
	if err != nil && ctx.Err() == nil {
		env.Log().Warn("not all of what was left is cleared up", "error", err)
	}
}

// rest finishes what calls had to leave: what they could not undo, and what commands
// that were killed have left meanwhile.
func rest(ctx context.Context, env *cli.Env, e *cli.Engine) {
	if err := e.Pods.Sweep(ctx); err != nil && ctx.Err() == nil {
		env.Log().Warn("not all of what was left is cleared up", "error", err)
	}
}

func watch(ctx context.Context, env *cli.Env, e *cli.Engine) {
	if err := e.Networks.Watch(ctx); err != nil {
		env.Log().Info("the folder of networks is read when it is asked for", "error", err)
	}
}

// control tells systemd how the server is, and reloads on SIGHUP, until ctx ends.
func control(ctx context.Context, env *cli.Env) {
	hup := make(chan os.Signal, 1)
	signal.Notify(hup, unix.SIGHUP)
	defer signal.Stop(hup)
	var beat <-chan time.Time
	if every := watchdog(env); every > 0 {
		t := time.NewTicker(every)
		defer t.Stop()
		beat = t.C
	}
	notify(env, "READY=1\nSTATUS=serving the CRI")
	defer notify(env, "STOPPING=1")
	for {
		select {
		case <-ctx.Done():
			return
		case <-beat:
			notify(env, "WATCHDOG=1")
		case <-hup:
			notify(env, reloading())
			reload(env)
			notify(env, "READY=1")
		}
	}
}

func reload(env *cli.Env) {
	applied, pending, err := env.Reload()
	if err != nil {
		env.Log().Error("the configuration stays as it was", "error", err)
		return
	}
	words := func(keys []string) string {
		if len(keys) == 0 {
			return "nothing"
		}
		return strings.Join(keys, " ")
	}
	// Said at any level: it is the answer to a signal.
	fmt.Fprintf(env.Err, "configuration read again: now in effect: %s; after a restart: %s\n", words(applied), words(pending))
}
