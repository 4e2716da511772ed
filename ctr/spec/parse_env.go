package spec

import (
	"bufio"
	"strings"
)

// EnvVar is one variable as typed: KEY=value, or KEY alone, which asks for the
// value that the person's own environment has; only the command line may look
// that up.
type EnvVar struct {
	Key, Value string
	Set        bool // a value was given, possibly an empty one
}

// String prints v as [ParseEnv] reads it.
func (v EnvVar) String() string {
	if !v.Set {
		return v.Key
	}
	return v.Key + "=" + v.Value
}

// ParseEnv parses "KEY=value" or "KEY". Nothing is expanded.
func ParseEnv(s string) (EnvVar, error) {
	key, value, set := strings.Cut(s, "=")
	switch {
	case key == "":
		return EnvVar{}, invalidf("environment variable %q has no name: give KEY=value", s)
	case strings.IndexByte(s, 0) >= 0:
		return EnvVar{}, invalidf("environment variable %q has a NUL byte", key)
	case strings.ContainsAny(key, " \t\r\n"):
		return EnvVar{}, invalidf("environment variable %q has white space in its name: give KEY=value", s)
	}
	return EnvVar{Key: key, Value: value, Set: set}, nil
}

// ParseEnvFile parses the content of an env file: a variable a line, as
// [ParseEnv] reads it; empty lines and lines that start with # count for
// nothing. Quotes are part of the value, as docker and podman have it. name is
// the file's, for messages.
func ParseEnvFile(name string, content []byte) ([]EnvVar, error) {
	var vars []EnvVar
	lines := bufio.NewScanner(strings.NewReader(strings.TrimPrefix(string(content), "\ufeff")))
	lines.Buffer(nil, len(content)+1)
	for n := 1; lines.Scan(); n++ {
		line := strings.TrimLeft(lines.Text(), " \t")
		if line == "" || line[0] == '#' {
			continue
		}
		v, err := ParseEnv(line)
		if err != nil {
			return nil, invalidf("%s: line %d: %v", name, n, err)
		}
		vars = append(vars, v)
	}
	return vars, nil
}
