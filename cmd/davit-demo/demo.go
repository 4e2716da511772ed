package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"regexp"
	"strings"
	"time"

	"github.com/davit-containers/davit/commands/harness"
)

// demo is the stage: a davit, a registry, and the machine as it was before.
type demo struct {
	davit    harness.Davit
	registry *harness.Registry
	before   harness.Snapshot
	out      io.Writer
	played   int
}

// step is a davit command with what it must answer.
type step struct {
	args []string
	want string // regular expression over standard output, (?s) and trimmed
	errs string // and over standard error
	code int
}

const id = `[0-9a-f]{64}`

// play goes through the main job.
func (d *demo) play(ctx context.Context) error {
	port, err := freePort(ctx)
	if err != nil {
		return err
	}
	image := d.registry.Ref("busybox:latest")
	acts := []struct {
		title string
		act   func(context.Context) error
	}{
		{"Pull an image", d.steps(
			step{args: words("pull", image), want: `^` + id + `$`},
			step{args: words("images"), want: `^REPOSITORY +TAG +IMAGE ID +CREATED +SIZE\n` + regexp.QuoteMeta(d.registry.Ref("busybox")) + ` +latest +[0-9a-f]{12} .*[kM]B$`},
		)},
		{"Make a pod that publishes a port", d.steps(
			step{args: words("pod", "create", "--name", "shop", "-p", fmt.Sprintf("127.0.0.1:%d:80", port)), want: `^` + id + `$`},
		)},
		{"Run two containers in it", d.steps(
			step{args: words("run", "-d", "--pod", "shop", "--name", "web", image, "httpd", "-f", "-v", "-p", "80", "-h", "/var/www"), want: `^` + id + `$`},
			step{args: words("run", "-d", "--pod", "shop", "--name", "client", image, "sh", "-c", "for n in 1 2 3; do wget -qO- http://localhost/; sleep 1; done"), want: `^` + id + `$`},
		)},
		{"They talk over the pod's localhost; logs -f follows until the end", d.steps(
			step{args: words("logs", "-f", "client"), want: `^(hello from busybox\n){2}hello from busybox$`},
			step{args: words("wait", "client"), want: `^0$`},
		)},
		{"The host reaches the published port", func(ctx context.Context) error { return d.fetch(ctx, port) }},
		{"Execute a command in a container", d.steps(
			step{args: words("exec", "web", "hostname"), want: `^shop$`},
			step{args: words("exec", "web", "sh", "-c", "echo to stdout; echo to stderr >&2; exit 7"), want: `^to stdout$`, errs: `^to stderr$`, code: 7},
			step{args: words("logs", "--tail", "1", "web"), want: `^$`, errs: `^\[.*: response:200$`},
		)},
		{"Attach to a shell, on a terminal", d.attach},
		{"See what runs", d.steps(
			step{args: words("ps"), want: `^CONTAINER ID +IMAGE +COMMAND +CREATED +STATUS +PORTS +NAMES\n.* Up .*(web|shell).*`},
			step{args: words("ps", "-a", "--format", "{{.Names}}: {{.Status}}"), want: `(?m)^client: Exited \(0\) .*`},
			step{args: words("pod", "ps"), want: `^POD ID +NAME +STATUS +CREATED +INFRA ID +# OF CONTAINERS\n[0-9a-f]{12} +shop +.* 3$`},
			step{args: words("stats", "--no-stream", "web"), want: `^ID +NAME +CPU % +MEM USAGE / LIMIT +MEM % +NET IO +BLOCK IO +PIDS.*\n[0-9a-f]{12} +web +[0-9.]+%.*`},
		)},
		{"Stop the pod and remove it", d.steps(
			step{args: words("pod", "stop", "-t", "1", "shop"), want: `^` + id + `$`},
			step{args: words("pod", "ps", "--format", "{{.Name}}: {{.Status}}"), want: `^shop: Exited$`},
			step{args: words("pod", "rm", "shop"), want: `^` + id + `$`},
			step{args: words("ps", "-a", "-q"), want: `^$`},
			step{args: words("pod", "ps", "-q"), want: `^$`},
		)},
	}
	for _, a := range acts {
		d.say("%s", a.title)
		if err := a.act(ctx); err != nil {
			return err
		}
	}
	return nil
}

// words makes an argument list read like a command.
func words(w ...string) []string { return w }

func (d *demo) steps(steps ...step) func(context.Context) error {
	return func(ctx context.Context) error {
		for _, s := range steps {
			if err := d.step(ctx, s); err != nil {
				return err
			}
		}
		return nil
	}
}

// step runs one command, shows it with its answer, and judges the answer.
func (d *demo) step(ctx context.Context, s step) error {
	ctx, cancel := context.WithTimeout(ctx, 90*time.Second)
	defer cancel()
	d.show(s.args)
	r, err := harness.Capture(d.davit.Command(ctx, s.args...), d.out)
	if err != nil {
		return fmt.Errorf("running %s: %w", typed(s.args), err)
	}
	d.played++
	return judge(s, r)
}

// judge compares an answer with what a step wants.
func judge(s step, r harness.Result) error {
	var diff []string
	if r.Code != s.code {
		diff = append(diff, fmt.Sprintf("  exit code: want %d, got %d", s.code, r.Code))
	}
	for _, stream := range []struct{ name, want, got string }{
		{"standard output", s.want, r.Line()},
		{"standard error", s.errs, strings.TrimSpace(r.Stderr)},
	} {
		if !regexp.MustCompile(`(?s)` + stream.want).MatchString(stream.got) {
			diff = append(diff, fmt.Sprintf("  %s: want a match of\n    %s\n  got\n    %s",
				stream.name, stream.want, strings.ReplaceAll(stream.got, "\n", "\n    ")))
		}
	}
	if len(diff) == 0 {
		return nil
	}
	return fmt.Errorf("%s differs from what is expected:\n%s", typed(s.args), strings.Join(diff, "\n"))
}

// fetch asks the published port as curl would.
func (d *demo) fetch(ctx context.Context, port int) error {
	url := fmt.Sprintf("http://127.0.0.1:%d/", port)
	fmt.Fprintf(d.out, "\n$ curl -s %s\n", url)
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return fmt.Errorf("asking the published port: %w", err)
	}
	req.Close = true
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return fmt.Errorf("asking the published port: %w", err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 1<<16))
	if err != nil {
		return fmt.Errorf("asking the published port: %w", err)
	}
	d.print(string(body))
	if want := "hello from busybox\n"; string(body) != want {
		return fmt.Errorf("the published port answers %q, want %q", body, want)
	}
	d.played++
	return nil
}

// finish checks that nothing is left, first beside the image and the built-in
// network, which stay for the next run, and then at all.
func (d *demo) finish(ctx context.Context) error {
	d.say("Leak check: the machine against what it was before")
	scope := d.scope()
	scope.IgnoreNetwork = true
	diff, err := harness.Settle(ctx, d.before, scope, 10*time.Second)
	if err != nil {
		return err
	}
	if !diff.Empty() {
		return fmt.Errorf("something is left:\n%s", diff)
	}
	fmt.Fprintf(d.out, "\n  mounts, namespaces, links, addresses, firewall rules, cgroups, processes,\n"+
		"  run files, records, layers: nothing is left.\n")
	if err := d.step(ctx, step{args: words("rmi", d.registry.Ref("busybox:latest")), want: `^Untagged: .*\nDeleted: `}); err != nil {
		return err
	}
	if err := d.davit.Roots.RemoveNetwork(ctx); err != nil {
		return err
	}
	diff, err = harness.Settle(ctx, d.before, d.scope(), 10*time.Second)
	if err != nil {
		return err
	}
	if !diff.Empty() {
		return fmt.Errorf("something is left after the image and the network are gone:\n%s", diff)
	}
	fmt.Fprintf(d.out, "\nThe demo is over: %d steps, all as expected, nothing is left.\n", d.played)
	return nil
}

// close ends what a demo that stopped half-way left running. After a whole one
// there is nothing but the registry.
func (d *demo) close(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	for _, args := range [][]string{{"pod", "rm", "-f", "-a", "-t", "0"}, {"rm", "-f", "-a", "-t", "0"}} {
		_, _ = d.davit.Run(ctx, args...) // what it leaves, Remove shows
	}
	return errors.Join(d.registry.Close(), d.davit.Roots.RemoveNetwork(ctx), d.davit.Roots.Remove())
}

func (d *demo) scope() harness.Scope {
	return harness.Scope{Roots: []harness.Roots{d.davit.Roots}}
}

func (d *demo) say(format string, args ...any) {
	fmt.Fprintf(d.out, "\n# "+format+"\n", args...)
}

func (d *demo) show(args []string) { fmt.Fprintf(d.out, "\n$ %s\n", typed(args)) }

func (d *demo) print(text string) {
	if text != "" {
		fmt.Fprintln(d.out, strings.TrimSuffix(text, "\n"))
	}
}

// typed writes a command as one would type it into a shell.
func typed(args []string) string {
	plain := regexp.MustCompile(`^[A-Za-z0-9_./:=@%+-]+$`)
	out := []string{"davit"}
	for _, a := range args {
		if !plain.MatchString(a) {
			a = "'" + strings.ReplaceAll(a, "'", `'\''`) + "'"
		}
		out = append(out, a)
	}
	return strings.Join(out, " ")
}

func freePort(ctx context.Context) (int, error) {
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return 0, fmt.Errorf("finding a free port: %w", err)
	}
	defer l.Close()
	addr, ok := l.Addr().(*net.TCPAddr)
	if !ok {
		return 0, os.ErrInvalid
	}
	return addr.Port, nil
}
