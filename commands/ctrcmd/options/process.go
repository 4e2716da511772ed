package options

import (
	"path"
	"path/filepath"

	"github.com/spf13/pflag"

	"github.com/davit-containers/davit/commands/cli"
	"github.com/davit-containers/davit/ctr"
	"github.com/davit-containers/davit/ctr/spec"
)

// Process is what runs in a container.
type Process struct {
	Env, EnvFiles []string
	WorkDir       string
	User          string
	Groups        []string
	Entrypoint    string
	Umask         string
	Init          bool
	TTY           bool
	Interactive   bool
	Timezone      string

	entrypointSet func() bool
}

// Flags adds the flags of the group.
func (o *Process) Flags(fs *pflag.FlagSet) {
	fs.StringArrayVarP(&o.Env, "env", "e", nil, "environment variable, as `KEY=value`, or KEY for your own value, or KEY* for all of yours that begin so (may be repeated)")
	fs.StringArrayVar(&o.EnvFiles, "env-file", nil, "read variables from a `FILE`, one a line (may be repeated)")
	fs.StringVarP(&o.WorkDir, "workdir", "w", "", "working `FOLDER` in the container")
	fs.StringVarP(&o.User, "user", "u", "", "`USER[:GROUP]` to run as, names or numbers")
	fs.StringSliceVar(&o.Groups, "group-add", nil, "further `GROUP` (may be repeated)")
	fs.StringVar(&o.Entrypoint, "entrypoint", "", "`COMMAND` in place of the image's entrypoint: a string, or a JSON array; \"\" for none")
	fs.StringVar(&o.Umask, "umask", "", "octal file mode creation `MASK` (default 0022)")
	fs.BoolVar(&o.Init, "init", false, "run an init process as PID 1, which reaps and forwards signals")
	fs.BoolVarP(&o.TTY, "tty", "t", false, "give the process a terminal")
	fs.BoolVarP(&o.Interactive, "interactive", "i", false, "keep standard input open")
	fs.StringVar(&o.Timezone, "timezone", "", "time `ZONE`, such as Europe/Berlin, or local for the host's")
	flag := fs.Lookup("entrypoint")
	o.entrypointSet = func() bool { return flag.Changed }
}

// Fill fills in what runs; command are the words behind the image.
func (o *Process) Fill(h Host, c *ctr.Config, command []string) error {
	p := &c.Process
	defaults, err := h.Env(h.Config.Containers.Env, nil)
	if err != nil {
		return err
	}
	own, err := h.Env(o.Env, o.EnvFiles)
	if err != nil {
		return err
	}
	p.Env = append(defaults, own...)
	if o.entrypointSet != nil && o.entrypointSet() {
		if p.Entrypoint, err = spec.ParseEntrypoint(o.Entrypoint); err != nil {
			return flagError("entrypoint", err)
		}
	}
	if o.WorkDir != "" && !path.IsAbs(o.WorkDir) {
		return cli.Usagef("--workdir: %q is not an absolute path", o.WorkDir)
	}
	if o.User != "" {
		if _, err := spec.ParseUser(o.User); err != nil {
			return flagError("user", err)
		}
	}
	if o.Umask != "" {
		if _, err := spec.ParseUmask(o.Umask); err != nil {
			return flagError("umask", err)
		}
	}
	p.Command, p.WorkingDir, p.User, p.Groups, p.Umask = command, o.WorkDir, o.User, o.Groups, o.Umask
	p.Terminal, p.Stdin, p.StdinOnce = o.TTY, o.Interactive, o.Interactive
	c.Init = o.Init
	return o.timezone(h, c)
}

// timezone mounts the host's description of a time zone.
func (o *Process) timezone(h Host, c *ctr.Config) error {
	var file string
	switch {
	case o.Timezone == "":
		return nil
	case o.Timezone == "local":
		file = "/etc/localtime"
	case !filepath.IsLocal(o.Timezone):
		return cli.Usagef("--timezone: %q is not a time zone such as Europe/Berlin", o.Timezone)
	default:
		file = filepath.Join("/usr/share/zoneinfo", o.Timezone)
	}
	if st, err := h.Stat(file); err != nil || st.IsDir() {
		return cli.Usagef("--timezone: the host has no time zone %q (looked for %s)", o.Timezone, file)
	}
	c.Mounts = append(c.Mounts, spec.Mount{
		Type: spec.MountBind, Source: file, Destination: "/etc/localtime", Options: []string{"rbind", "ro"},
	})
	return nil
}
