package options

import (
	"encoding/json"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"github.com/davit-containers/davit/commands/cli"
	"github.com/davit-containers/davit/ctr"
)

// Health is how a container is seen to be well.
type Health struct {
	Command     string
	Interval    string
	Timeout     string
	StartPeriod string
	Retries     int
	OnFailure   string
	Off         bool
}

// HealthActions are what may be done to a container that is unhealthy.
func HealthActions() []string {
	return []string{ctr.HealthNone, ctr.HealthKill, ctr.HealthRestart, ctr.HealthStop}
}

// Flags adds the flags of the group.
func (o *Health) Flags(fs *pflag.FlagSet) {
	fs.StringVar(&o.Command, "health-cmd", "", "`COMMAND` that is run in the container and exits with 0 where it is well: a line for its shell, a JSON array of words, or none (default: the image's)")
	fs.StringVar(&o.Interval, "health-interval", "", "`TIME` between two checks, such as 90s; disable leaves them to 'davit healthcheck run' (default: the image's, else 30s)")
	fs.StringVar(&o.Timeout, "health-timeout", "", "`TIME` after which a check has failed (default: the image's, else 30s)")
	fs.StringVar(&o.StartPeriod, "health-start-period", "", "`TIME` after the start in which failures do not count, unless a check has passed (default: the image's, else none)")
	fs.IntVar(&o.Retries, "health-retries", 0, "`NUMBER` of failures in a row that make it unhealthy (default: the image's, else 3)")
	fs.StringVar(&o.OnFailure, "health-on-failure", "", "`WHAT` to do to it when it is unhealthy: none, kill, restart or stop (default: none)")
	fs.BoolVar(&o.Off, "no-healthcheck", false, "run no checks, the image's neither")
}

// Fill fills in how a container is checked.
func (o *Health) Fill(c *ctr.Config) error {
	if *o == (Health{}) {
		return nil
	}
	h := &ctr.Health{Retries: o.Retries}
	if o.Off {
		if o.Command != "" {
			return cli.Usagef("--health-cmd cannot be used with --no-healthcheck")
		}
		h.Test = []string{"NONE"}
		c.Health = h
		return nil
	}
	var err error
	if h.Test, err = healthTest(o.Command); err != nil {
		return err
	}
	if h.Interval, err = healthInterval(o.Interval); err != nil {
		return err
	}
	if h.Timeout, err = healthTime("health-timeout", o.Timeout); err != nil {
		return err
	}
	if o.Timeout != "" && h.Timeout == 0 {
		return cli.Usagef("--health-timeout: %q leaves a check no time", o.Timeout)
	}
	if h.StartPeriod, err = healthTime("health-start-period", o.StartPeriod); err != nil {
		return err
	}
	if o.Retries < 0 {
		return cli.Usagef("--health-retries: %d is not a number of failures", o.Retries)
	}
	switch h.OnFailure = strings.ToLower(o.OnFailure); h.OnFailure {
	case "", ctr.HealthNone, ctr.HealthKill, ctr.HealthRestart, ctr.HealthStop:
	default:
		return cli.Usagef("--health-on-failure: %q is none of %s", o.OnFailure, strings.Join(HealthActions(), ", "))
	}
	if h.OnFailure == ctr.HealthRestart && c.Remove {
		return cli.Usagef("--health-on-failure restart cannot be used with --rm: there would be nothing to start again")
	}
	c.Health = h
	return nil
}

// healthTest is a health command as images have it; nil if none is given.
func healthTest(s string) ([]string, error) {
	var words []string
	kind, rest, _ := strings.Cut(strings.TrimSpace(s), " ")
	switch {
	case s == "":
		return nil, nil
	case strings.EqualFold(s, "none"):
		return []string{"NONE"}, nil
	case strings.HasPrefix(strings.TrimSpace(s), "[") && json.Unmarshal([]byte(s), &words) == nil:
		if len(words) == 0 || words[0] == "" {
			return nil, cli.Usagef("--health-cmd: %s has no command", s)
		}
		switch first := strings.ToUpper(words[0]); {
		case first == "NONE":
			return []string{first}, nil
		case first != "CMD" && first != "CMD-SHELL":
			return append([]string{"CMD"}, words...), nil
		case len(words) < 2:
			return nil, cli.Usagef("--health-cmd: %s has no command", s)
		default:
			return append([]string{first}, words[1:]...), nil
		}
	case kind == "CMD" && rest != "":
		return append([]string{"CMD"}, strings.Fields(rest)...), nil
	case kind == "CMD-SHELL" && rest != "":
		return []string{"CMD-SHELL", rest}, nil
	}
	return []string{"CMD-SHELL", s}, nil
}

// healthInterval reads --health-interval; below 0 if nothing is checked by itself.
func healthInterval(s string) (time.Duration, error) {
	if s == "disable" {
		return -1, nil
	}
	d, err := healthTime("health-interval", s)
	if err == nil && d == 0 && s != "" {
		return -1, nil
	}
	return d, err
}

// healthTime reads a time of a health check; 0 if it is empty.
func healthTime(flag, s string) (time.Duration, error) {
	if s == "" {
		return 0, nil
	}
	d, err := cli.ParseSeconds(s)
	return d, flagError(flag, err)
}
