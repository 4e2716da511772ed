package options

import (
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"github.com/davit-containers/davit/commands/cli"
	"github.com/davit-containers/davit/ctr"
	"github.com/davit-containers/davit/ctr/spec"
)

// Lifecycle is how a container ends and what is kept of it.
type Lifecycle struct {
	Remove      bool
	Restart     string
	StopSignal  string
	StopTimeout string
	LogDriver   string
	LogOptions  []string
}

// Flags adds the flags of the group.
func (o *Lifecycle) Flags(fs *pflag.FlagSet) {
	fs.BoolVar(&o.Remove, "rm", false, "remove the container when it has exited")
	fs.StringVar(&o.Restart, "restart", "", "`POLICY` on starting it again when it has ended: no, on-failure[:N], always or unless-stopped (default: its pod's, else no)")
	fs.StringVar(&o.StopSignal, "stop-signal", "", "`SIGNAL` that stops the container (default: the image's, else TERM)")
	fs.StringVar(&o.StopTimeout, "stop-timeout", "", "`SECONDS` between the stop signal and KILL; -1 waits for ever (default: the configuration's, 10)")
	fs.StringVar(&o.LogDriver, "log-driver", "k8s-file", "`DRIVER` of the log: k8s-file, or none")
	fs.StringArrayVar(&o.LogOptions, "log-opt", nil, "`OPTION` of the log: path=FILE, max-size=SIZE (may be repeated)")
}

// Fill fills in how a container ends and what is kept of it.
func (o *Lifecycle) Fill(h Host, c *ctr.Config) error {
	c.Remove = o.Remove
	if err := o.restart(c); err != nil {
		return err
	}
	// On record, so that it stays the container's when the default changes.
	c.Runtime = h.Config.Engine.Runtime
	if o.StopSignal != "" {
		if _, err := spec.ParseSignal(o.StopSignal); err != nil {
			return flagError("stop-signal", err)
		}
		c.Stop.Signal = o.StopSignal
	}
	if o.StopTimeout != "" {
		d, err := spec.ParseStopTimeout(o.StopTimeout)
		if err != nil {
			return flagError("stop-timeout", err)
		}
		c.Stop.Timeout = &d
	} else {
		d := time.Duration(max(h.Config.Containers.StopTimeout, -1)) * time.Second
		c.Stop.Timeout = &d
	}
	return o.log(h, c)
}

// restart reads --restart. A container that goes with its end cannot be started
// again whatever that was; after a failure, it goes with the last one.
func (o *Lifecycle) restart(c *ctr.Config) (err error) {
	if c.Restart, err = Restart(o.Restart); err != nil {
		return err
	}
	if p := c.Restart.Policy; o.Remove && (p == ctr.RestartAlways || p == ctr.RestartUnlessStopped) {
		return cli.Usagef("--rm cannot be used with --restart %s: there would be nothing to start again", p).
			Hintf("--restart on-failure can be used with --rm")
	}
	return nil
}

// Restart reads --restart; empty is none.
func Restart(s string) (ctr.Restart, error) {
	if s == "" {
		return ctr.Restart{}, nil
	}
	r, err := ctr.ParseRestart(s)
	return r, flagError("restart", err)
}

func (o *Lifecycle) log(h Host, c *ctr.Config) error {
	switch o.LogDriver {
	case "", "k8s-file", "json-file": // podman, too, writes json-file as k8s-file
		c.Log.MaxSize = int64(h.Config.Containers.LogSizeMax)
	case ctr.LogNone:
		if len(o.LogOptions) > 0 {
			return cli.Usagef("--log-opt has no meaning with --log-driver none")
		}
		c.Log.Driver = ctr.LogNone
		return nil
	default:
		return cli.Usagef("--log-driver: %q is not supported: give k8s-file or none", o.LogDriver)
	}
	for _, opt := range o.LogOptions {
		key, value, ok := strings.Cut(opt, "=")
		switch {
		case !ok || value == "":
			return cli.Usagef("--log-opt: %q has no value: give path=FILE or max-size=SIZE", opt)
		case key == "path" && !filepath.IsLocal(filepath.Base(value)):
			return cli.Usagef("--log-opt: %q is not a file", value)
		case key == "path":
			c.Log.Path = h.abs(value)
		case key == "max-size" && value == "-1":
			c.Log.MaxSize = 0
		case key == "max-size":
			n, err := spec.ParseSize(value)
			if err != nil {
				return flagError("log-opt", err)
			}
			c.Log.MaxSize = n
		default:
			return cli.Usagef("--log-opt: unknown option %q: give path=FILE or max-size=SIZE", key)
		}
	}
	return nil
}

// Session is how a client is attached to a container.
type Session struct {
	Attach     []string
	SigProxy   bool
	DetachKeys string

	keysSet func() bool
}

// Flags adds the flags of the group, but for --attach.
func (o *Session) Flags(fs *pflag.FlagSet) {
	fs.BoolVar(&o.SigProxy, "sig-proxy", true, "pass signals on to the container")
	fs.StringVar(&o.DetachKeys, "detach-keys", "ctrl-p,ctrl-q", "`KEYS` that detach from a container with a terminal; \"\" for none")
	flag := fs.Lookup("detach-keys")
	o.keysSet = func() bool { return flag.Changed }
}

// AttachFlag adds --attach.
func (o *Session) AttachFlag(fs *pflag.FlagSet) {
	fs.StringSliceVarP(&o.Attach, "attach", "a", nil, "attach to a `STREAM` only: stdin, stdout or stderr (may be repeated)")
}

// Keys are the detach keys: the flag's, else the configuration's.
func (o *Session) Keys(h Host) string {
	if o.keysSet != nil && !o.keysSet() {
		return h.Config.Containers.DetachKeys
	}
	return o.DetachKeys
}

// Check refuses streams that are none.
func (o *Session) Check() error {
	for _, name := range o.Attach {
		if !slices.Contains([]string{"stdin", "stdout", "stderr"}, strings.ToLower(name)) {
			return cli.Usagef("--attach: %q is not stdin, stdout or stderr", name)
		}
	}
	return nil
}

// Attached tells whether to attach to a stream; without --attach, to all.
func (o *Session) Attached(name string) bool {
	return len(o.Attach) == 0 || slices.ContainsFunc(o.Attach, func(s string) bool { return strings.EqualFold(s, name) })
}
