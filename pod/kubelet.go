package pod

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/containerd/errdefs"

	"github.com/davit-containers/davit/ctr"
	"github.com/davit-containers/davit/ctr/record"
	"github.com/davit-containers/davit/netw"
)

// Run makes a sandbox that the kubelet asks for, cfg.Kube being its key, and
// returns its ID when it is ready. A call for a key under way joins that work,
// one for a key that is done returns the same ID, one for a sandbox that is not
// ready makes it ready again. The work goes on when ctx ends: what is left of a
// call that was given up is a whole sandbox, or nothing.
//
// On an error nothing is left, but for what could not be undone: that stays
// listed, not ready, until StopSandbox, Remove or Sweep succeed. ErrUnavailable
// while the host has no network, ErrInvalidArgument for what cannot be.
func (c *Controller) Run(ctx context.Context, cfg Config) (string, error) {
	if err := cfg.Kube.check(); err != nil {
		return "", err
	}
	cfg.Name, cfg.Owner = cfg.Kube.recordName(), record.OwnerCRI
	return c.flights.join(ctx, cfg.Kube.key(), func(ctx context.Context, known func(string)) (string, error) {
		return unraced(ctx, func() (string, error) { return c.runOnce(ctx, cfg, known) })
	})
}

// errGone says that what was found is not there any more.
var errGone = errors.New("it is gone")

// errGoing says that what was found is being removed.
var errGoing = fmt.Errorf("it is being removed: %w", errdefs.ErrFailedPrecondition)

// unraced finds or makes an object of a name, anew as long as another process
// makes it or removes it in between.
func unraced(ctx context.Context, findOrMake func() (string, error)) (string, error) {
	for {
		id, err := findOrMake()
		var taken *record.NameTakenError
		if (!errors.As(err, &taken) && !errors.Is(err, errGone)) || ctx.Err() != nil {
			return id, err
		}
	}
}

// runOnce makes a sandbox, or makes the one ready that has its name.
func (c *Controller) runOnce(ctx context.Context, cfg Config, known func(string)) (string, error) {
	id, err := c.dir.Lookup(record.OwnerCRI, cfg.Name)
	if errdefs.IsNotFound(err) {
		return c.make(ctx, cfg, known)
	}
	if err != nil {
		return "", err
	}
	known(id)
	if s, err := c.Get(ctx, id); err == nil && s.Config.Kube != cfg.Kube {
		return "", fmt.Errorf("pod %q is another one's: %w", cfg.Name, errdefs.ErrAlreadyExists)
	}
	err = c.ready(ctx, id)
	if errors.Is(err, errGoing) {
		err = seeOff(ctx, c, id)
	}
	if errdefs.IsNotFound(err) {
		if _, err := c.Get(ctx, id); errdefs.IsNotFound(err) {
			return "", errGone
		}
	}
	return id, err
}

// seeOff waits for a removal that is under way: a server that starts takes back what
// a dead one had begun to make, while the kubelet asks for it again. It returns
// ErrNotFound then, and finishes a removal that somebody gave up.
func seeOff(ctx context.Context, c *Controller, id string) error {
	op, err := c.begin(ctx, id, opRemove)
	if err != nil {
		return err
	}
	s, err := c.Get(ctx, id)
	if err != nil || s.Status.State != Removing {
		return errors.Join(err, op.End(), errGone)
	}
	if err := c.remove(ctx, op, ctr.RemoveOptions{Force: true, Timeout: ctr.AtOnce()}); err != nil {
		return err
	}
	return errGone
}

// make records a sandbox and makes it ready, as one operation.
func (c *riser) make(ctx context.Context, cfg Config, known func(string)) (string, error) {
	if err := c.ctrs.CheckRuntime(cfg.Runtime); err != nil {
		return "", err
	}
	cfg, err := c.networked(ctx, cfg)
	if err != nil {
		return "", err
	}
	id := ctr.NewID()
	known(id)
	s, op, err := c.create(ctx, id, cfg, true)
	if err != nil {
		return "", err
	}
	r, err := c.rise(ctx, op, s)
	if err == nil {
		err = r.wait(ctx)
	}
	if err != nil {
		return "", errors.Join(err, c.undo(ctx, op, opCreate))
	}
	return id, nil
}

// networked is a Config with the network of the kubelet's pods.
func (c *riser) networked(ctx context.Context, cfg Config) (Config, error) {
	if cfg.Network.Mode != NetworkCNI {
		return cfg, nil
	}
	n, err := c.o.Networks.HostDefault(ctx)
	if err != nil {
		return cfg, fmt.Errorf("network not ready: %w", err)
	}
	cfg.Network.Networks = []netw.Ref{{Name: n.Name, Host: true}}
	return cfg, nil
}

// StopSandbox kills a sandbox's containers and gives back its network. A making
// that is under way is cancelled. It is not ready from then on, also when the
// network cannot be given back: that is retried by the next StopSandbox, by
// Remove and by Sweep. One that is stopped is no error, one that is not there
// ErrNotFound.
func (c *Controller) StopSandbox(ctx context.Context, id string) error {
	id, err := c.halted(ctx, id)
	if err != nil {
		return err
	}
	now := time.Duration(0)
	return c.Stop(ctx, id, &now)
}

// halted cancels what makes one of the kubelet's sandboxes here, and what makes
// containers in it, and has no more of them made. It returns the sandbox's full ID.
func (c *Controller) halted(ctx context.Context, id string) (string, error) {
	s, err := c.GetSandbox(ctx, id)
	if err == nil {
		err = c.unready(ctx, s.ID)
	}
	if err != nil {
		return "", err
	}
	return s.ID, c.flights.halt(ctx, s.ID)
}

// RemoveSandbox deletes a sandbox of the kubelet's with its containers, which are
// killed, and their volumes. One that is not there is ErrNotFound. Repeating a
// removal that was cut short finishes it.
func (c *Controller) RemoveSandbox(ctx context.Context, id string) error {
	id, err := c.halted(ctx, id)
	if err != nil {
		return err
	}
	return c.Remove(ctx, id, RemoveOptions{Force: true, Timeout: ctr.AtOnce(), Volumes: true})
}

// fullID is how long an ID is, see ctr.NewID: whoever has a full one, as the kubelet,
// has nothing else looked for.
const fullID = 64

// GetSandbox is Get for the kubelet, to whom the pods of the command line are
// ErrNotFound, and for people who know the beginning of an ID: *record.AmbiguousError
// if that is the beginning of several.
func (c *records) GetSandbox(ctx context.Context, id string) (Sandbox, error) {
	s, err := c.Get(ctx, id)
	if errdefs.IsNotFound(err) && len(id) < fullID {
		full, short := c.dir.ResolveID([]record.Owner{record.OwnerCRI}, id)
		if short != nil {
			return s, fmt.Errorf("pod %q: %w", id, short)
		}
		s, err = c.Get(ctx, full)
	}
	if err == nil && s.Config.Owner != record.OwnerCRI {
		return Sandbox{}, fmt.Errorf("pod %q: %w", id, errdefs.ErrNotFound)
	}
	return s, err
}

// Made says whether a sandbox is one that a kubelet is to know of: not while it is
// made for the first time, when a retry of the same call joins the making.
func (s Sandbox) Made() bool { return s.Status.State != Creating && s.Status.State != Created }

// Drain waits for what Run and MakeContainer have under way, and refuses more.
// When ctx ends that is cancelled and undone, and waited for.
func (c *Controller) Drain(ctx context.Context) { c.flights.drain(ctx) }

// maxKubeName is the longest name that the kubelet gives (RFC 1123 subdomains).
const maxKubeName = 253

// check refuses names that no Kubernetes object has and that could not be
// carried on, to a file, a terminal or a plugin's arguments.
func (k Kube) check() error {
	if k.Name == "" || k.Namespace == "" {
		return fmt.Errorf("the sandbox has no name or no namespace: %w", errdefs.ErrInvalidArgument)
	}
	return errors.Join(CheckKubeName("name", k.Name), CheckKubeName("namespace", k.Namespace), CheckKubeName("uid", k.UID))
}

// CheckKubeName refuses what cannot be the name of a Kubernetes object, as what:
// over 253 bytes, white space, control and formatting characters, slashes, and
// what CNI's arguments have a meaning for.
func CheckKubeName(what, name string) error {
	bad := func(r rune) bool {
		return r == utf8.RuneError || !unicode.IsPrint(r) || unicode.IsSpace(r) || strings.ContainsRune(`/\;=#`, r)
	}
	if len(name) > maxKubeName || strings.ContainsFunc(name, bad) || name == "." || name == ".." {
		return fmt.Errorf("%s %.300q cannot be that of a Kubernetes object: %w", what, name, errdefs.ErrInvalidArgument)
	}
	return nil
}

// key tells sandboxes apart.
func (k Kube) key() string {
	return fmt.Sprintf("pod %q %q %q %d", k.Name, k.Namespace, k.UID, k.Attempt)
}

// recordName is the sandbox's name in davit.
func (k Kube) recordName() string {
	return fmt.Sprintf("k8s_%s_%s_%s_%d", k.Name, k.Namespace, k.UID, k.Attempt)
}
