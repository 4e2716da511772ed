package options

import (
	"strings"

	"github.com/davit-containers/davit/commands/cli"
	"github.com/davit-containers/davit/ctr/spec"
)

// Labels reads KEY=VALUE pairs; KEY alone has an empty value. Those of files come
// first, so that flags win.
func (h Host) Labels(flag string, args, files []string) (map[string]string, error) {
	var lines []string
	for _, file := range files {
		data, err := h.read(flag+"-file", file)
		if err != nil {
			return nil, err
		}
		lines = append(lines, textLines(string(data))...)
	}
	var out map[string]string
	for _, arg := range append(lines, args...) {
		key, value, _ := strings.Cut(arg, "=")
		if strings.TrimSpace(key) == "" {
			return nil, cli.Usagef("--%s: %q has no key: give KEY=VALUE", flag, arg)
		}
		if out == nil {
			out = map[string]string{}
		}
		out[key] = value
	}
	return out, nil
}

// textLines are the lines that are neither empty nor comments.
func textLines(text string) []string {
	var out []string
	for line := range strings.SplitSeq(text, "\n") {
		line = strings.TrimLeft(strings.TrimSuffix(line, "\r"), " \t")
		if line != "" && line[0] != '#' {
			out = append(out, line)
		}
	}
	return out
}

// Env reads KEY=value pairs of files, then of flags. KEY alone takes the user's
// value, and nothing where the user has none; KEY* takes all whose names begin so.
func (h Host) Env(args, files []string) ([]string, error) {
	var vars []spec.EnvVar
	for _, file := range files {
		data, err := h.read("env-file", file)
		if err != nil {
			return nil, err
		}
		more, err := spec.ParseEnvFile(file, data)
		if err != nil {
			return nil, flagError("env-file", err)
		}
		vars = append(vars, more...)
	}
	for _, arg := range args {
		v, err := spec.ParseEnv(arg)
		if err != nil {
			return nil, flagError("env", err)
		}
		vars = append(vars, v)
	}
	var out []string
	for _, v := range vars {
		if v.Set {
			out = append(out, v.String())
		} else {
			out = append(out, h.own(v.Key)...)
		}
	}
	return out, nil
}

// own are the variables of the user's environment that KEY or KEY* asks for. One
// that a container cannot have is none.
func (h Host) own(key string) []string {
	prefix, several := strings.CutSuffix(key, "*")
	var out []string
	for _, kv := range h.Environ {
		v, err := spec.ParseEnv(kv)
		if err == nil && v.Set && (v.Key == key || several && strings.HasPrefix(v.Key, prefix)) {
			out = append(out, kv)
		}
	}
	return out
}
