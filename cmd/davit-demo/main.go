// Davit-demo runs davit's main job before your eyes: an image is pulled from a
// real registry, a pod is made, containers run in it, their logs are read, a
// command is executed in one and another is attached to, and all is gone
// again. Each command is printed as one would type it, with what it answers;
// what differs from what is expected ends the demo with exit code 1.
//
// It works on davit roots of its own below the temporary folder and touches
// nothing of the host's davit.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/davit-containers/davit/commands/harness"
)

func main() {
	bin := flag.String("davit", "bin/davit", "the davit binary to show")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	ctx, cancel := context.WithTimeout(ctx, 5*time.Minute)
	err := run(ctx, *bin)
	cancel()
	stop()
	if err != nil {
		fmt.Fprintf(os.Stderr, "\ndemo: %v\n", err)
		os.Exit(1)
	}
}

// run sets the stage, plays, and clears it whatever happened.
func run(ctx context.Context, bin string) (err error) {
	if os.Geteuid() != 0 {
		return errors.New("containers need root: run `sudo make demo`")
	}
	bin, err = filepath.Abs(bin)
	if err != nil {
		return fmt.Errorf("finding davit: %w", err)
	}
	dir, err := os.MkdirTemp("", "davit-demo-")
	if err != nil {
		return fmt.Errorf("making a folder: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	d, err := newDemo(ctx, bin, dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, d.close(context.WithoutCancel(ctx))) }()
	if err := d.play(ctx); err != nil {
		return err
	}
	return d.finish(ctx)
}

// newDemo starts a registry with one image and makes the roots.
func newDemo(ctx context.Context, bin, dir string) (*demo, error) {
	roots, err := harness.NewRoots(dir)
	if err != nil {
		return nil, err
	}
	data := filepath.Join(dir, "registry")
	if err := os.Mkdir(data, 0o700); err != nil {
		return nil, fmt.Errorf("making the registry's folder: %w", err)
	}
	registry, err := harness.StartRegistry(ctx, harness.RegistryConfig{Dir: data})
	if err != nil {
		return nil, err
	}
	d := &demo{davit: harness.Davit{Bin: bin, Roots: roots}, registry: registry, out: os.Stdout}
	img, err := harness.Busybox(ctx, harness.ImageConfig{})
	if err == nil {
		err = registry.Push(ctx, "busybox:latest", img)
	}
	if err == nil {
		err = roots.TrustRegistry(registry.Addr)
	}
	if err == nil {
		d.before, err = harness.Take(ctx, d.scope())
	}
	if err != nil {
		return nil, errors.Join(err, registry.Close())
	}
	d.say("A registry (Debian's docker-registry) is up at %s, with an image made of busybox-static.", registry.Addr)
	d.say("This davit keeps everything below %s, named once:", dir)
	fmt.Fprintf(d.out, "\n$ export DAVIT_CONFIG=%s\n", roots.Config)
	return d, nil
}
