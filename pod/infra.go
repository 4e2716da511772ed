package pod

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/containerd/errdefs"

	"github.com/davit-containers/davit/ctr"
	"github.com/davit-containers/davit/ctr/nspin"
	"github.com/davit-containers/davit/ctr/record/failpoint"
	"github.com/davit-containers/davit/ctr/spec"
)

// infraRootfs is the infra container's root folder, below the pod's run folder:
// empty but for mount points.
const infraRootfs = "infra"

// startInfra starts the container that holds the shared PID namespace open. Its
// ID is recorded before it is made.
func (c *riser) startInfra(ctx context.Context, s Sandbox) (Sandbox, error) {
	command := s.Config.InfraCommand
	if command == nil {
		command = c.o.InfraCommand
	}
	if len(command) == 0 {
		return s, fmt.Errorf("pod %q shares its PID namespace and no infra command is configured: %w", s.Config.Name, errdefs.ErrFailedPrecondition)
	}
	if _, err := os.Stat(command[0]); err != nil {
		return s, fmt.Errorf("infra command of pod %q: %w: %w", s.Config.Name, err, errdefs.ErrFailedPrecondition)
	}
	if err := c.removeInfra(ctx, s); err != nil {
		return s, err
	}
	id := ctr.NewID()
	s, err := c.update(ctx, s, func(n *Status) { n.Infra = id })
	if err != nil {
		return s, err
	}
	root := filepath.Join(c.runDir(s.ID), infraRootfs)
	if err := os.MkdirAll(root, 0o755); err != nil {
		return s, fmt.Errorf("making root folder of the infra container: %w", err)
	}
	if m := s.Config.Namespaces; len(m.UIDMappings) > 0 { // whose root makes the mount points
		if err := os.Chown(root, int(m.UIDMappings[0].HostID), int(m.GIDMappings[0].HostID)); err != nil {
			return s, fmt.Errorf("giving the infra container its root folder: %w", err)
		}
	}
	if err := c.o.SELinux.Relabel(root, s.Config.SELinux.MountLabel, false, true); err != nil {
		return s, err
	}
	cfg, err := c.labelled(s.Config, infraConfig(s, id, root, command))
	if err != nil {
		return s, err
	}
	if err := failpoint.Reach(ctx, failpoint.InfraRecorded); err != nil {
		return s, err
	}
	if _, err := c.ctrs.Create(ctx, cfg); err != nil {
		return s, err
	}
	give := c.give(s)
	give.Namespaces.PID = spec.Namespace{Mode: spec.ModePrivate}
	err = c.ctrs.Launch(ctx, id, ctr.Launch{
		Sandbox: func(context.Context) (ctr.Sandbox, error) { return give, nil },
	})
	if err != nil {
		return s, fmt.Errorf("starting infra container of pod %q: %w", s.Config.Name, err)
	}
	if err := failpoint.Reach(ctx, failpoint.InfraStarted); err != nil {
		return s, err
	}
	return c.pinPID(ctx, s, id)
}

func infraConfig(s Sandbox, id, root string, command []string) ctr.Config {
	return ctr.Config{
		ID: id, Name: s.ID[:12] + "-infra", Owner: s.Config.Owner, Sandbox: s.ID, Infra: true, Rootfs: root,
		Process: ctr.Process{
			Entrypoint: append([]string{"/" + filepath.Base(command[0])}, command[1:]...), WorkingDir: "/",
		},
		Mounts: []spec.Mount{{
			Type: spec.MountBind, Source: command[0], Destination: "/" + filepath.Base(command[0]),
			Options: []string{"bind", "ro", "nosuid", "nodev"},
		}},
		Security:   spec.Security{ReadOnlyRootfs: true, NoNewPrivileges: true},
		Namespaces: spec.Namespaces{UIDMappings: s.Config.Namespaces.UIDMappings, GIDMappings: s.Config.Namespaces.GIDMappings},
		CgroupsOff: s.Config.CgroupsOff, Runtime: s.Config.Runtime,
		Log: ctr.Log{Driver: ctr.LogNone}, Remove: true,
	}
}

// pinPID pins the infra container's PID namespace beside the others, so that no
// path through a pid, which may be reused, is ever used.
func (c *riser) pinPID(ctx context.Context, s Sandbox, infra string) (Sandbox, error) {
	k, err := c.ctrs.Get(ctx, infra)
	if err != nil {
		return s, err
	}
	if err := c.unpinPID(s.ID); err != nil {
		return s, err
	}
	path := filepath.Join(c.runDir(s.ID), pidPin)
	if err := nspin.Pin(path, "pid", k.Status.Process()); err != nil {
		return s, fmt.Errorf("pinning PID namespace of pod %q: %w", s.Config.Name, err)
	}
	if err := failpoint.Reach(ctx, failpoint.InfraPinned); err != nil {
		return s, err
	}
	return c.update(ctx, s, func(n *Status) { n.Namespaces.PID = path })
}

// pidPin is where the PID namespace is pinned, below the pod's run folder.
const pidPin = "pidns"

// unpinPID undoes pinPID.
func (c *settler) unpinPID(id string) error {
	if err := nspin.Unpin(filepath.Join(c.runDir(id), pidPin)); err != nil {
		return fmt.Errorf("unpinning PID namespace of pod %q: %w", id, err)
	}
	return nil
}

// infraGone tells whether a sandbox has an infra container that has ended, and with it
// all that ran in the PID namespace.
func infraGone(ctx context.Context, c *records, s Sandbox) bool {
	if s.Status.Infra == "" {
		return false
	}
	k, err := c.ctrs.Get(ctx, s.Status.Infra)
	return errdefs.IsNotFound(err) || err == nil && !k.Status.Alive() && k.Op == nil
}

// removeInfra ends and deletes the infra container, if there is one.
func (c *settler) removeInfra(ctx context.Context, s Sandbox) error {
	if s.Status.Infra != "" {
		if err := ctr.AbsentOK(c.ctrs.Remove(ctx, s.Status.Infra, ctr.RemoveOptions{Force: true, Timeout: ctr.AtOnce()})); err != nil {
			return fmt.Errorf("removing infra container of pod %q: %w", s.Config.Name, err)
		}
	}
	return os.RemoveAll(filepath.Join(c.runDir(s.ID), infraRootfs))
}
