package img

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/containerd/errdefs"
	imgspecv1 "github.com/opencontainers/image-spec/specs-go/v1"
)

// applyChange applies one Dockerfile instruction to a config, as import and
// commit take them: CMD, ENTRYPOINT, ENV, EXPOSE, LABEL, STOPSIGNAL, USER,
// VOLUME and WORKDIR. INSTRUCTION=VALUE is read like INSTRUCTION VALUE, as
// podman does.
func applyChange(c *imgspecv1.ImageConfig, change string) error {
	change = strings.TrimSpace(change)
	at := strings.IndexAny(change, " \t=")
	if at <= 0 || strings.TrimSpace(change[at+1:]) == "" {
		return fmt.Errorf("change %q: not of the form INSTRUCTION VALUE: %w", change, errdefs.ErrInvalidArgument)
	}
	word, value := strings.ToUpper(change[:at]), strings.TrimSpace(change[at+1:])
	switch word {
	case "CMD":
		c.Cmd = command(value)
	case "ENTRYPOINT":
		c.Entrypoint = command(value)
	case "ENV":
		pairs, err := pairs(value)
		if err != nil {
			return fmt.Errorf("change %q: %w", change, err)
		}
		for _, p := range pairs {
			c.Env = setEnv(c.Env, p[0], p[1])
		}
	case "LABEL":
		pairs, err := pairs(value)
		if err != nil {
			return fmt.Errorf("change %q: %w", change, err)
		}
		if c.Labels == nil {
			c.Labels = map[string]string{}
		}
		for _, p := range pairs {
			c.Labels[p[0]] = p[1]
		}
	case "EXPOSE":
		if c.ExposedPorts == nil {
			c.ExposedPorts = map[string]struct{}{}
		}
		for _, port := range strings.Fields(value) {
			c.ExposedPorts[exposed(port)] = struct{}{}
		}
	case "VOLUME":
		if c.Volumes == nil {
			c.Volumes = map[string]struct{}{}
		}
		for _, v := range list(value) {
			c.Volumes[v] = struct{}{}
		}
	case "STOPSIGNAL":
		c.StopSignal = value
	case "USER":
		c.User = value
	case "WORKDIR":
		c.WorkingDir = value
	default:
		return fmt.Errorf("change %q: %s is not one of CMD, ENTRYPOINT, ENV, EXPOSE, LABEL, STOPSIGNAL, USER, VOLUME, WORKDIR: %w", change, word, errdefs.ErrInvalidArgument)
	}
	return nil
}

// command is a command in JSON, or one for the shell.
func command(value string) []string {
	var words []string
	if json.Unmarshal([]byte(value), &words) == nil {
		return words
	}
	return []string{"/bin/sh", "-c", value}
}

// list is a list in JSON, or words.
func list(value string) []string {
	var words []string
	if json.Unmarshal([]byte(value), &words) == nil {
		return words
	}
	return strings.Fields(value)
}

// exposed is a port with its protocol.
func exposed(port string) string {
	if strings.Contains(port, "/") {
		return strings.ToLower(port)
	}
	return port + "/tcp"
}

// pairs are KEY=VALUE words, with quotes and backslashes as a Dockerfile has
// them; or the old form, one KEY and the rest of the line.
func pairs(value string) ([][2]string, error) {
	words, err := split(value)
	if err != nil {
		return nil, err
	}
	if key, rest, ok := strings.Cut(value, " "); ok && !strings.Contains(key, "=") {
		return [][2]string{{key, strings.TrimSpace(rest)}}, nil
	}
	var out [][2]string
	for _, w := range words {
		key, v, ok := strings.Cut(w, "=")
		if !ok || key == "" {
			return nil, fmt.Errorf("%q is not of the form KEY=VALUE: %w", w, errdefs.ErrInvalidArgument)
		}
		out = append(out, [2]string{key, v})
	}
	return out, nil
}

// split splits at blanks outside of quotes, and takes the quotes off.
func split(value string) ([]string, error) {
	var (
		out    []string
		word   strings.Builder
		quote  rune
		inside bool
		escape bool
	)
	for _, r := range value {
		switch {
		case escape:
			word.WriteRune(r)
			escape = false
		case r == '\\' && quote != '\'':
			escape, inside = true, true
		case quote != 0:
			if r == quote {
				quote = 0
			} else {
				word.WriteRune(r)
			}
		case r == '"' || r == '\'':
			quote, inside = r, true
		case r == ' ' || r == '\t':
			if inside {
				out = append(out, word.String())
				word.Reset()
				inside = false
			}
		default:
			word.WriteRune(r)
			inside = true
		}
	}
	if quote != 0 || escape {
		return nil, fmt.Errorf("a quote is not closed: %w", errdefs.ErrInvalidArgument)
	}
	if inside {
		out = append(out, word.String())
	}
	return out, nil
}

// setEnv sets one variable, in its place if it is there.
func setEnv(env []string, key, value string) []string {
	for i, e := range env {
		if k, _, _ := strings.Cut(e, "="); k == key {
			env[i] = key + "=" + value
			return env
		}
	}
	return append(env, key+"="+value)
}
