package pod

import (
	"context"
	"slices"

	"github.com/davit-containers/davit/ctr"
	"github.com/davit-containers/davit/ctr/selinux"
	"github.com/davit-containers/davit/ctr/spec"
)

// label gives a sandbox that is to be recorded its SELinux labels, unless it has
// them: its level is none of those on record. They are to be released when they
// are on record, too.
func (c *records) label(cfg Config) (Config, error) {
	if cfg.SELinux.MountLabel != "" {
		return cfg, nil
	}
	made, err := c.o.SELinux.Pod(cfg.SELinux.Options, func() []string {
		// A record that cannot be read has a level that is met by one draw in half a
		// million; it is no reason to make no pods.
		entries, _ := c.dir.List()
		var inUse []string
		for _, e := range entries {
			if l := e.Config.SELinux.ProcessLabel; l != "" {
				inUse = append(inUse, l)
			}
		}
		return inUse
	})
	cfg.SELinux.ProcessLabel, cfg.SELinux.MountLabel = made.Process, made.Mount
	return cfg, err
}

func labels(s spec.SELinux) selinux.Labels {
	return selinux.Labels{Process: s.ProcessLabel, Mount: s.MountLabel}
}

// labelled gives a container of a sandbox its SELinux labels.
func (c *records) labelled(s Config, cfg ctr.Config) (ctr.Config, error) {
	host := func(own spec.Namespace, given spec.Mode) bool {
		return own.Mode == spec.ModeHost || own.Mode == "" && given == spec.ModeHost
	}
	open := cfg.Security.Privileged || host(cfg.Namespaces.PID, s.Namespaces.PID) || host(cfg.Namespaces.IPC, s.Namespaces.IPC)
	made, err := c.o.SELinux.Container(cfg.Security.SELinux.Options, labels(s.SELinux), open)
	cfg.Security.SELinux.ProcessLabel, cfg.Security.SELinux.MountLabel = made.Process, made.Mount
	return cfg, err
}

// labelledLaunch gives the container of a launch its SELinux labels, and its
// implicit sandbox, which is labelled as its container is.
func (c *records) labelledLaunch(ctx context.Context, l Launch) (Launch, error) {
	var err error
	if l.Pod == nil {
		if !c.o.SELinux.Enabled() {
			return l, nil
		}
		s, err := c.Get(ctx, l.Container.Sandbox)
		if err != nil {
			return l, err
		}
		l.Container, err = c.labelled(s.Config, l.Container)
		return l, err
	}
	p := *l.Pod
	if own := l.Container.Security.SELinux.Options; !slices.Contains(own, "disable") {
		p.SELinux.Options = own
	}
	if p, err = c.label(p); err != nil {
		return l, err
	}
	l.Pod = &p
	if l.Container, err = c.labelled(p, l.Container); err != nil {
		c.o.SELinux.Release(labels(p.SELinux))
	}
	return l, err
}
