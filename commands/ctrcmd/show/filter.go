package show

import (
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/davit-containers/davit/commands/cli"
	"github.com/davit-containers/davit/ctr"
	"github.com/davit-containers/davit/pod"
)

// FilterKeys are the keys that ps filters by.
func FilterKeys() []string {
	return []string{
		"ancestor", "before", "command", "exited", "health", "id", "label", "label!", "name",
		"network", "owner", "pod", "restart-policy", "should-start-on-boot", "since", "status", "until", "volume",
	}
}

// Filter is a filter of containers.
type Filter struct {
	f      cli.Filters
	world  World
	before time.Time
	since  time.Time
	until  time.Time
}

// NewFilter checks the values of filters.
func NewFilter(f cli.Filters, w World) (Filter, error) {
	out := Filter{f: f, world: w}
	for i, s := range f["status"] {
		if s == string(ctr.Stopped) {
			f["status"][i] = Exited
		} else if !slices.Contains(States(), s) {
			return out, cli.Usagef("--filter status=%s: the states are %s", s, strings.Join(States(), ", "))
		}
	}
	for _, s := range f["health"] {
		if !slices.Contains(Healths(), s) {
			return out, cli.Usagef("--filter health=%s: it is one of %s", s, strings.Join(Healths(), ", "))
		}
	}
	for _, s := range f["restart-policy"] {
		if _, err := ctr.ParseRestart(s); err != nil {
			return out, cli.Usagef("--filter restart-policy: %s", err)
		}
	}
	for _, s := range f["should-start-on-boot"] {
		if _, err := strconv.ParseBool(s); err != nil {
			return out, cli.Usagef("--filter should-start-on-boot=%s: that is neither true nor false", s)
		}
	}
	for _, s := range f["exited"] {
		if _, err := strconv.Atoi(s); err != nil {
			return out, cli.Usagef("--filter exited=%s: that is not an exit code", s)
		}
	}
	for key, at := range map[string]*time.Time{"before": &out.before, "since": &out.since} {
		for _, ref := range f[key] {
			c, ok := w.find(ref)
			if !ok {
				return out, cli.Usagef("--filter %s=%s: there is no such container", key, ref)
			}
			*at = c.Created
		}
	}
	for _, s := range f["until"] {
		t, err := cli.ParseTime(s, w.Now)
		if err != nil {
			return out, err
		}
		out.until = t
	}
	return out, nil
}

// find is a container by name or by the beginning of its ID.
func (w World) find(ref string) (ctr.Container, bool) {
	for _, c := range w.Containers {
		if c.Config.Name == ref {
			return c, true
		}
	}
	for _, c := range w.Containers {
		if ref != "" && strings.HasPrefix(c.ID, ref) {
			return c, true
		}
	}
	return ctr.Container{}, false
}

// Match tells whether a container is to be shown.
func (f Filter) Match(c ctr.Container) bool {
	s, cfg := c.Status, c.Config
	return f.f.Any("id", func(v string) bool { return strings.HasPrefix(c.ID, v) || cli.Matcher(v)(c.ID) }) &&
		f.f.Any("name", func(v string) bool { return cli.Matcher(v)(cfg.Name) }) &&
		f.f.Any("status", func(v string) bool { return State(s) == v }) &&
		f.f.Any("exited", func(v string) bool {
			return s.State == ctr.Stopped && s.CodeKnown && strconv.Itoa(s.ExitCode) == v
		}) &&
		f.f.Any("ancestor", func(v string) bool { return isAncestor(cfg.Image, v) }) &&
		f.f.Any("command", func(v string) bool { return len(cfg.Process.Args) > 0 && cli.Matcher(v)(cfg.Process.Args[0]) }) &&
		f.f.Any("network", func(v string) bool { return slices.Contains(Networks(f.world.Pod(c)), v) }) &&
		f.f.Any("owner", func(v string) bool { return string(cfg.Owner) == v }) &&
		f.f.Any("pod", func(v string) bool { return f.inPod(c, v) }) &&
		f.f.Any("health", func(v string) bool { return Health(c) == v }) &&
		f.f.Any("restart-policy", func(v string) bool { return hasPolicy(c, v) }) &&
		f.f.Any("should-start-on-boot", func(v string) bool {
			want, err := strconv.ParseBool(v)
			return err == nil && c.StartsOnBoot() == want
		}) &&
		f.f.Any("volume", func(v string) bool { return mounts(cfg, v) }) &&
		f.f.Labels(cfg.Labels) && f.inTime(c)
}

// Healths are what a container's health may be.
func Healths() []string {
	return []string{ctr.HealthStarting, ctr.Healthy, ctr.Unhealthy, "none"}
}

// Health is a running container's health; none without a check.
func Health(c ctr.Container) string {
	if !c.Status.Alive() || c.Status.Health == nil {
		return "none"
	}
	return c.Status.Health.Status
}

// hasPolicy tells whether a container has a restart policy, with the number of
// tries where one is given.
func hasPolicy(c ctr.Container, v string) bool {
	want, err := ctr.ParseRestart(v)
	have := c.RestartPolicy()
	return err == nil && have.Policy == want.Policy && (want.Retries == 0 || have.Retries == want.Retries)
}

func (f Filter) inTime(c ctr.Container) bool {
	return (f.before.IsZero() || c.Created.Before(f.before)) &&
		(f.since.IsZero() || c.Created.After(f.since)) &&
		(f.until.IsZero() || c.Created.Before(f.until))
}

func (f Filter) inPod(c ctr.Container, v string) bool {
	s := f.world.Pod(c)
	return s.ID != "" && (strings.HasPrefix(s.ID, v) || cli.Matcher(v)(s.Config.Name))
}

// isAncestor tells whether a container was made from an image: by its ID, its
// name, or its name without the tag.
func isAncestor(i ctr.Image, v string) bool {
	if i.ID != "" && v != "" && strings.HasPrefix(i.ID, strings.TrimPrefix(v, "sha256:")) {
		return true
	}
	for _, name := range []string{i.Name, i.Ref} {
		if name == v || strings.HasSuffix(name, "/"+v) {
			return true
		}
		repo := name
		if at := strings.LastIndexByte(name, ':'); at > strings.LastIndexByte(name, '/') {
			repo = name[:at]
		}
		if repo == v || strings.HasSuffix(repo, "/"+v) {
			return true
		}
	}
	return false
}

// mounts tells whether a container has a volume or a mount at a place.
func mounts(cfg ctr.Config, v string) bool {
	for _, m := range cfg.Mounts {
		if m.Source == v || m.Destination == v {
			return true
		}
	}
	return false
}

// PodFilterKeys are the keys that pod ps filters by.
func PodFilterKeys() []string {
	return []string{"ctr-ids", "ctr-names", "ctr-number", "ctr-status", "id", "label", "label!", "name", "network", "owner", "status", "until"}
}

// PodMatcher returns the filter of pods that f is.
func PodMatcher(f cli.Filters, w World) (func(pod.Sandbox) bool, error) {
	var until time.Time
	for _, s := range f["until"] {
		t, err := cli.ParseTime(s, w.Now)
		if err != nil {
			return nil, err
		}
		until = t
	}
	for _, s := range f["status"] {
		if !slices.Contains(PodStates(), strings.ToLower(s)) {
			return nil, cli.Usagef("--filter status=%s: the states are %s", s, strings.Join(PodStates(), ", "))
		}
	}
	return func(s pod.Sandbox) bool {
		members := w.Members(s)
		anyMember := func(key string, is func(c ctr.Container, v string) bool) bool {
			return f.Any(key, func(v string) bool {
				return slices.ContainsFunc(members, func(c ctr.Container) bool { return is(c, v) })
			})
		}
		return f.Any("id", func(v string) bool { return strings.HasPrefix(s.ID, v) || cli.Matcher(v)(s.ID) }) &&
			f.Any("name", func(v string) bool { return cli.Matcher(v)(s.Config.Name) }) &&
			f.Any("status", func(v string) bool { return strings.EqualFold(PodStatus(s, members), v) }) &&
			f.Any("network", func(v string) bool { return slices.Contains(Networks(s), v) }) &&
			f.Any("owner", func(v string) bool { return string(s.Config.Owner) == v }) &&
			f.Any("ctr-number", func(v string) bool { return strconv.Itoa(len(members)) == v }) &&
			anyMember("ctr-ids", func(c ctr.Container, v string) bool { return strings.HasPrefix(c.ID, v) }) &&
			anyMember("ctr-names", func(c ctr.Container, v string) bool { return cli.Matcher(v)(c.Config.Name) }) &&
			anyMember("ctr-status", func(c ctr.Container, v string) bool { return State(c.Status) == strings.ToLower(v) }) &&
			f.Labels(s.Config.Labels) && (until.IsZero() || s.Created.Before(until))
	}, nil
}
