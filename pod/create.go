package pod

import (
	"cmp"
	"context"
	"fmt"
	"os"

	"github.com/containerd/errdefs"

	"github.com/davit-containers/davit/ctr"
	"github.com/davit-containers/davit/ctr/record"
	"github.com/davit-containers/davit/ctr/spec"
	"github.com/davit-containers/davit/netw"
)

// Operations on a pod, as they are written down.
const (
	opCreate = "create"
	opStart  = "start"
	opStop   = "stop"
	opRemove = "remove"
	opJoin   = "join"
)

// Stages of starting, each written down before what it names is done.
const (
	stageRecord     = "record"
	stageCgroup     = "cgroup"
	stageNamespaces = "namespaces"
	stageNetwork    = "network"
	stageInfra      = "infra"
)

// Create records a pod; it holds no resources until it is started. A name that
// is taken is *record.NameTakenError.
func (c *Controller) Create(ctx context.Context, cfg Config) (Sandbox, error) {
	s, op, err := c.create(ctx, ctr.NewID(), cfg, true)
	if err != nil {
		return Sandbox{}, err
	}
	return s, op.End()
}

// create records a pod and leaves its operation to the caller, who ends it when
// what the pod is for exists.
func (c *riser) create(ctx context.Context, id string, cfg Config, durable bool) (Sandbox, *record.Op, error) {
	if cfg.Owner == "" {
		cfg.Owner = record.OwnerCLI
	}
	if cfg.Name == "" {
		cfg.Name = id[:12]
	}
	if cfg.Hostname == "" {
		cfg.Hostname = hostname(cfg, id)
	}
	if n := &cfg.Network; n.Mode == NetworkCNI && len(n.Networks) == 0 && c.o.DefaultNetwork != "" && cfg.Owner != record.OwnerCRI {
		n.Networks = []netw.Ref{{Name: c.o.DefaultNetwork}} // also once it is stopped, and another is the default
	}
	if err := spec.CheckSysctls(cfg.Sysctls, sysctlNamespaces(cfg)); err != nil {
		return Sandbox{}, nil, err
	}
	if !cfg.CgroupsOff {
		if _, err := c.o.CgroupDriver.Pod(cfg.CgroupParent, id); err != nil {
			return Sandbox{}, nil, fmt.Errorf("pod %q: %w", cfg.Name, err)
		}
	}
	cfg, err := c.label(cfg)
	if err != nil {
		return Sandbox{}, nil, err
	}
	defer c.o.SELinux.Release(labels(cfg.SELinux))
	now := c.o.Now()
	key := cfg.Name
	if cfg.Implicit {
		key = "" // found through its container
	}
	status := Status{State: Created}
	var op *record.Op
	err = record.Claiming(ctx, func() error {
		op, err = c.dir.Create(ctx, record.Meta{ID: id, Owner: cfg.Owner, Key: key, Created: now}, cfg, status,
			record.CreateOptions{Durable: durable, Part: cfg.Implicit, Stage: stageRecord})
		return err
	}, c.leaves)
	if err != nil {
		return Sandbox{}, nil, fmt.Errorf("recording pod %q: %w", cfg.Name, err)
	}
	return Sandbox{ID: id, Created: now, Config: cfg, Status: status}, op, nil
}

// leaves tells whether a pod that has a name is being removed, and waits until it
// has gone. A removal whose owner has died is finished.
func (c *riser) leaves(ctx context.Context, id string) (bool, error) {
	s, err := c.Get(ctx, id)
	if err == nil && s.Status.State != Removing {
		return false, nil
	}
	if err == nil {
		var op *record.Op
		if op, err = c.begin(ctx, id, opJoin); err == nil {
			err = op.End()
		}
	}
	if err == nil {
		_, err = c.Get(ctx, id)
	}
	return errdefs.IsNotFound(err), ctr.AbsentOK(err)
}

// hostname is a pod's when none is given: none where it shares the host's UTS
// namespace, which has one; else its name, or the short ID of an implicit one and of
// the kubelet's. An implicit one on the host's network has the host's.
func hostname(cfg Config, id string) string {
	switch {
	case cfg.Namespaces.UTS == spec.ModeHost:
		return ""
	case cfg.Implicit && cfg.Network.Mode == NetworkHost:
		return cmp.Or(hostsName(), id[:12])
	case cfg.Implicit, cfg.Owner == record.OwnerCRI:
		return id[:12]
	}
	return cfg.Name
}

// toldHostname is what a pod's containers are told of their host's name, in HOSTNAME
// and /etc/hostname, which nobody else has for those in the host's UTS namespace.
func toldHostname(cfg Config) string {
	if cfg.Namespaces.UTS == spec.ModeHost {
		return hostsName()
	}
	return cfg.Hostname
}

// hostsName is this host's name; empty if it has none.
func hostsName() string {
	name, _ := os.Hostname()
	return name
}

// sysctlNamespaces is what the sandbox's own sysctls are checked against.
func sysctlNamespaces(cfg Config) spec.Namespaces {
	ns := spec.Namespaces{
		IPC: spec.Namespace{Mode: cfg.Namespaces.IPC},
		UTS: spec.Namespace{Mode: cfg.Namespaces.UTS},
	}
	if cfg.Network.Mode == NetworkHost {
		ns.Network.Mode = spec.ModeHost
	}
	return ns
}
