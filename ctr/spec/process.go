package spec

import (
	"path"
	"strings"
)

// defaultPath is PATH where neither the image nor the user sets it.
const defaultPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// ImageProcess is what an image says about its process.
type ImageProcess struct {
	User       string   `json:"user,omitempty"`
	Env        []string `json:"env,omitempty"`
	Entrypoint []string `json:"entrypoint,omitempty"`
	Cmd        []string `json:"cmd,omitempty"`
	WorkingDir string   `json:"workingDir,omitempty"`
	StopSignal string   `json:"stopSignal,omitempty"`
}

// Overrides are what a user (or a pod's manifest) says instead.
type Overrides struct {
	// Entrypoint, when not nil, replaces the image's, and then the image's
	// command is not used. An empty one, or one empty word, leaves the
	// command alone to run.
	Entrypoint []string
	Command    []string
	Env        []string // KEY=value
	UnsetEnv   []string // keys of the image's variables that are not passed on
	ClearEnv   bool     // none of the image's is passed on
	User       string
	WorkingDir string // absolute
	Terminal   bool
	Hostname   string // becomes HOSTNAME unless that is set
	StopSignal string
	Container  string // becomes container=… unless that is set
}

// MergeProcess makes a container's process out of an image's and a user's
// words, by docker's and podman's rules. User.Ref is filled, its numbers and
// HOME (see [Process.WithHome]) are left to the caller, who can look into the
// root filesystem.
//
// Values are taken literally: no variable of the host is ever expanded into
// an image's environment. An ErrInvalidArgument names what cannot be.
func MergeProcess(image ImageProcess, o Overrides) (Process, error) {
	p := Process{Terminal: o.Terminal, User: User{Ref: image.User}, StopSignal: image.StopSignal}
	if o.User != "" {
		p.User.Ref = o.User
	}
	if o.StopSignal != "" {
		p.StopSignal = o.StopSignal
	}
	if p.Args = mergeArgs(image, o); len(p.Args) == 0 {
		return Process{}, invalidf("no command given, and the image has none")
	}
	if p.Args[0] == "" {
		return Process{}, invalidf("the command to run is empty")
	}
	for _, arg := range p.Args {
		if strings.IndexByte(arg, 0) >= 0 {
			return Process{}, invalidf("argument %q has a NUL byte", arg)
		}
	}
	var err error
	if p.Cwd, err = mergeCwd(image.WorkingDir, o.WorkingDir); err != nil {
		return Process{}, err
	}
	if p.Env, err = mergeEnv(image.Env, o); err != nil {
		return Process{}, err
	}
	return p, nil
}

// mergeArgs: an entrypoint of the user's resets the image's command.
func mergeArgs(image ImageProcess, o Overrides) []string {
	entrypoint, cmd := image.Entrypoint, image.Cmd
	if o.Entrypoint != nil {
		entrypoint, cmd = o.Entrypoint, nil
		if len(entrypoint) == 1 && entrypoint[0] == "" {
			entrypoint = nil
		}
	}
	if len(o.Command) > 0 {
		cmd = o.Command
	}
	args := make([]string, 0, len(entrypoint)+len(cmd))
	return append(append(args, entrypoint...), cmd...)
}

// mergeCwd: an image's relative directory counts from the root, as docker has
// it; a user's is refused.
func mergeCwd(image, user string) (string, error) {
	switch {
	case user != "" && !path.IsAbs(user):
		return "", invalidf("working directory %q is not an absolute path", user)
	case hasControl(user) || hasControl(image):
		return "", invalidf("working directory %q has control characters", user+image)
	case user != "":
		return path.Clean(user), nil
	}
	return path.Clean("/" + image), nil
}

// environment keeps variables in the order in which their keys first came.
type environment struct {
	vars  []string
	index map[string]int
}

func (e *environment) set(key, value string) {
	if i, ok := e.index[key]; ok {
		e.vars[i] = key + "=" + value
		return
	}
	e.index[key] = len(e.vars)
	e.vars = append(e.vars, key+"="+value)
}

func (e *environment) setDefault(key, value string) {
	if _, ok := e.index[key]; !ok && value != "" {
		e.set(key, value)
	}
}

func mergeEnv(image []string, o Overrides) ([]string, error) {
	unset := make(map[string]bool, len(o.UnsetEnv))
	for _, key := range o.UnsetEnv {
		unset[key] = true
	}
	env := &environment{index: make(map[string]int, len(image)+len(o.Env)+4)}
	if !unset["PATH"] {
		env.set("PATH", defaultPath)
	}
	for _, kv := range image {
		key, value, ok := strings.Cut(kv, "=")
		// An image's word without a value is no variable; runtimes differ
		// about it.
		if !ok || key == "" || o.ClearEnv || unset[key] {
			continue
		}
		if strings.IndexByte(kv, 0) >= 0 {
			return nil, invalidf("the image's variable %q has a NUL byte", key)
		}
		env.set(key, value)
	}
	for _, kv := range o.Env {
		v, err := ParseEnv(kv)
		if err != nil {
			return nil, err
		}
		if v.Set {
			env.set(v.Key, v.Value)
		}
	}
	if o.Terminal && !unset["TERM"] {
		env.setDefault("TERM", "xterm")
	}
	if !unset["HOSTNAME"] {
		env.setDefault("HOSTNAME", o.Hostname)
	}
	if !unset["container"] {
		env.setDefault("container", o.Container)
	}
	return env.vars, nil
}

// WithHome returns p with HOME set to home ("/" when empty), unless p's
// environment has one already.
func (p Process) WithHome(home string) Process {
	for _, kv := range p.Env {
		if strings.HasPrefix(kv, "HOME=") {
			return p
		}
	}
	if home == "" {
		home = "/"
	}
	p.Env = append(p.Env[:len(p.Env):len(p.Env)], "HOME="+home)
	return p
}
