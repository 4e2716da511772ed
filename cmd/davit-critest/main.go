// Davit-critest runs the Kubernetes node team's conformance suite of the
// Container Runtime Interface, critest, against `davit serve-cri`, and then a
// walk through crictl's verbs. It prints what passed, failed and was skipped;
// a skip that is not on its list of what this machine cannot do is a failure.
//
// All happens in network and IPC namespaces of its own: the suite's fixed host
// ports are free there, and its firewall rules are nobody else's. The images are
// built from the distribution's programs and pulled through mirrors from a
// registry on 127.0.0.1. The davit is on roots of its own below the temporary
// folder.
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

// options are the command line's.
type options struct {
	davit    string
	tools    string // folder of critest, crictl and ginkgo
	runtime  string
	next     string // path of a runc with user namespaces; none where empty or absent
	shell    string // path of a shell that runs what is in PATH, for the images
	focus    string
	logs     string
	parallel int
	suite    bool
	crictl   bool
}

func main() {
	var o options
	flag.StringVar(&o.davit, "davit", "bin/davit", "the davit binary to test")
	flag.StringVar(&o.tools, "tools", "bin/critools-1.36.0", "folder of critest, crictl and ginkgo")
	flag.StringVar(&o.runtime, "runtime", "runc", "the OCI runtime to test with: runc or crun")
	flag.StringVar(&o.next, "runc-next", "", "path of a runc with user namespaces, where the distribution's has none")
	flag.StringVar(&o.shell, "shell", "bin/busybox-shell", "path of a busybox whose shell does not prefer its own commands, for the images")
	flag.StringVar(&o.focus, "focus", "", "run only the specs whose names match; no crictl then")
	flag.StringVar(&o.logs, "logs", "bin/test-cri", "folder for the logs of the server and the suite")
	flag.IntVar(&o.parallel, "parallel", 2, "specs that run at a time")
	flag.BoolVar(&o.suite, "suite", true, "run critest")
	flag.BoolVar(&o.crictl, "crictl", true, "walk through crictl's verbs")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	ctx, cancel := context.WithTimeout(ctx, 25*time.Minute)
	code, err := 0, error(nil)
	if harness.Inside() {
		err = o.run(ctx)
	} else {
		code, err = harness.Enter(ctx)
	}
	cancel()
	stop()
	if err != nil {
		fmt.Fprintf(os.Stderr, "\ntest-cri: %v\n", err)
		code = 1
	}
	os.Exit(code)
}

// run sets the stage, runs what is asked for, and clears the stage whatever happened.
func (o options) run(ctx context.Context) (err error) {
	dir, err := os.MkdirTemp("", "davit-cri-")
	if err != nil {
		return fmt.Errorf("making a folder: %w", err)
	}
	defer func() { err = errors.Join(err, harness.RemoveTree(dir)) }()
	// The root of a user namespace has to reach the root filesystems below.
	if err := os.Chmod(dir, 0o711); err != nil {
		return fmt.Errorf("making a folder: %w", err)
	}
	for _, p := range []*string{&o.davit, &o.tools, &o.next, &o.shell, &o.logs} {
		if *p == "" {
			continue
		}
		if *p, err = filepath.Abs(*p); err != nil {
			return fmt.Errorf("finding what to run: %w", err)
		}
	}
	if err := os.MkdirAll(o.logs, 0o755); err != nil {
		return fmt.Errorf("making the folder of logs: %w", err)
	}
	s, err := o.setUp(ctx, dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.close(context.WithoutCancel(ctx))) }()
	serverLog := filepath.Join(o.logs, "server.log")
	if err := os.RemoveAll(serverLog); err != nil {
		return fmt.Errorf("removing the last log: %w", err)
	}
	if s.server, err = harness.StartCRI(ctx, s.davitOf, serverLog); err != nil {
		return err
	}
	var errs []error
	if o.suite {
		errs = append(errs, s.runSuite(ctx))
	}
	if o.crictl && o.focus == "" {
		errs = append(errs, s.walk(ctx))
	}
	errs = append(errs, s.server.Stop(), s.leakCheck(ctx))
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("%w\nthe logs are in %s", err, o.logs)
	}
	return nil
}
