package syscmd

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/davit-containers/davit/commands/cli"
	"github.com/davit-containers/davit/criadapter"
)

func newServeCRI(env *cli.Env) *cobra.Command {
	return &cobra.Command{
		Use:     "serve-cri",
		Short:   "Serve the Kubernetes Container Runtime Interface",
		Long:    "Serve the Kubernetes Container Runtime Interface to a kubelet or crictl, on a socket below the run root.",
		Example: "  davit serve-cri\n  davit serve-cri --log-level info",
		Args:    cli.Args(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return serveCRI(cmd.Context(), env)
		},
		ValidArgsFunction: cobra.NoFileCompletions,
	}
}

// drainTime is what a server that is to end gives to the pods that it is making.
const drainTime = 10 * time.Second

func serveCRI(ctx context.Context, env *cli.Env) error {
	env.Stay()
	e, err := env.Change(ctx, cli.Images, cli.Networks, cli.Containers, cli.Pods)
	if err != nil {
		return err
	}
	if err := e.Pods.Keep(ctx); err != nil {
		return err
	}
	config, err := env.Config()
	if err != nil {
		return err
	}
	if err := e.Images.Sweep(ctx); err != nil {
		env.Log().Warn("not all of what was left in the image store is gone", "error", err)
	}
	server, err := criadapter.New(criadapter.Options{
		Engine:  criadapter.Engine{Pods: e.Pods, Containers: e.Containers, Images: e.Images, Networks: e.Networks},
		Version: env.Version, Log: env.Log(),
		Images: criadapter.ImageOptions{
			Pins: criadapter.Pins{Others: config.Images.Pin == "others", Patterns: config.Images.Pinned},
		},
		Limits: criadapter.Limits{Calls: 512, Message: 16 << 20, Slow: time.Second},
		Streams: criadapter.StreamOptions{
			Address: config.CRI.StreamAddress, CertFile: config.CRI.StreamCert, KeyFile: config.CRI.StreamKey,
			Idle: time.Duration(config.CRI.StreamIdle) * time.Second,
		},
	})
	if err != nil {
		return err
	}
	path := filepath.Join(config.RunRoot, "davit.sock")
	if err := os.Remove(path); err != nil && !os.IsNotExist(err) {
		return fmt.Errorf("removing the old socket: %w", err)
	}
	l, err := net.Listen("unix", path)
	if err != nil {
		return fmt.Errorf("listening: %w", err)
	}
	if err := os.Chmod(path, 0o600); err != nil {
		return fmt.Errorf("listening: %w", err)
	}
	err = server.Serve(ctx, l)
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), drainTime)
	defer cancel()
	e.Pods.Drain(last)
	return err
}
