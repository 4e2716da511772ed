package pod

import (
	"context"
	"fmt"
	"log/slog"
	"path/filepath"
	"time"

	"github.com/davit-containers/davit/ctr"
	"github.com/davit-containers/davit/ctr/cgroup"
	"github.com/davit-containers/davit/ctr/record"
	"github.com/davit-containers/davit/ctr/selinux"
	"github.com/davit-containers/davit/netw"
)

// Networks attaches sandboxes. *netw.Attacher is one.
type Networks interface {
	// Attach joins a sandbox's namespace to its networks.
	Attach(ctx context.Context, r netw.Request) (netw.Attachment, error)
	// Detach undoes Attach, from what is recorded in r.Dir alone.
	Detach(ctx context.Context, r netw.Request) error
	// Peers are the names and addresses on a user-made network.
	Peers(ctx context.Context, network string) ([]netw.HostEntry, error)
	// HostDefault is the network of the kubelet's pods; ErrUnavailable if there is
	// none yet.
	HostDefault(ctx context.Context) (netw.Network, error)
	// Collect ends what is left of attachments whose sandbox is not valid.
	Collect(ctx context.Context, valid func(id string) bool) error
}

// Options are what a Controller works with.
type Options struct {
	Paths      record.Paths
	Containers *ctr.Controller
	Networks   Networks
	// DefaultNetwork is what pods that name no network are on; the kubelet's are on
	// the host's. Empty leaves it to Networks.
	DefaultNetwork string
	Cgroups        func() (*cgroup.Host, error)
	// CgroupDriver is what cgroups are made by, and where.
	CgroupDriver cgroup.Driver
	// InfraCommand runs in infra containers: an absolute path of a static binary
	// on the host and its arguments.
	InfraCommand []string
	// TimerCommand runs Tend for the pod whose ID is appended, with a lock as its
	// descriptor health.LockFD. Empty has nobody look after containers.
	TimerCommand []string
	// SELinux is this host's where it is zero.
	SELinux selinux.Labeller
	// HostDNS tells the host's resolver configuration.
	HostDNS func() (netw.DNS, error)
	Log     *slog.Logger
	Now     func() time.Time
}

// Controller drives sandboxes. It is safe for concurrent use, by any number of
// processes on the same roots. It is composed of a part for each concern, each
// of which needs those before it.
type Controller struct {
	*riser
	*runner
	*maker
	*meter
	*checkpointer
	*checker
	events *tracker
}

// records reads pods' records.
type records struct {
	o    Options
	ctrs *ctr.Controller
	dir  *record.Dir[Config, Status]
}

// files keeps what a sandbox's containers have mounted.
type files struct{ *records }

// settler undoes and finishes operations; it holds all ways out.
type settler struct {
	*files
	flights *flights
}

// exits does what is due when a container has ended or an owner has died.
type exits struct{ *settler }

// riser makes sandboxes and makes them ready.
type riser struct{ *exits }

// runner drives the command line's containers.
type runner struct{ *riser }

// maker makes and drives the kubelet's containers.
type maker struct{ *riser }

// New returns a Controller on the records below o.Paths.
func New(o Options) (*Controller, error) {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.HostDNS == nil {
		o.HostDNS = netw.HostDNS
	}
	dir, err := record.Open[Config, Status](record.Options{Paths: o.Paths, Kind: "pods", Log: o.Log, Now: o.Now})
	if err != nil {
		return nil, fmt.Errorf("opening pod records: %w", err)
	}
	r := &records{o: o, ctrs: o.Containers, dir: dir}
	e := &exits{&settler{files: &files{r}, flights: &flights{}}}
	r.ctrs.OnEnd(e.afterExit)
	rise := &riser{e}
	c := &Controller{
		riser: rise, runner: &runner{rise}, maker: &maker{rise}, meter: &meter{pods: r}, checkpointer: &checkpointer{rise},
		checker: &checker{rise},
		events:  &tracker{pods: r},
	}
	r.ctrs.OnChange(ctr.Watcher{Changed: c.events.containerChanged, Ended: e.ContainerExited})
	return c, nil
}

// Get returns the pod with a full ID as it is now. It takes no lock and runs
// nothing. ErrNotFound if there is none.
func (c *records) Get(_ context.Context, id string) (Sandbox, error) {
	e, err := c.dir.Get(id)
	if err != nil {
		return Sandbox{}, fmt.Errorf("pod %q: %w", id, err)
	}
	return c.sandbox(e), nil
}

// List returns all pods, oldest first. Records that cannot be read are left out
// and named in the error, which comes beside the others.
func (c *records) List(context.Context) ([]Sandbox, error) {
	entries, err := c.dir.All()
	out := make([]Sandbox, len(entries))
	for i, e := range entries {
		out[i] = c.sandbox(*e)
	}
	return out, err
}

// Each calls f for all pods as List has them; see [record.Each] for what f may do.
func (c *records) Each(_ context.Context, f func(*Sandbox)) error {
	return record.Each(c.dir, c.sandbox, f)
}

// Resolve finds a pod's full ID by name, full ID or unique prefix. ErrNotFound
// if there is none, *record.AmbiguousError if there are several.
func (c *records) Resolve(ref string) (string, error) {
	id, err := c.dir.Resolve(nil, ref)
	if err != nil {
		return "", fmt.Errorf("pod %q: %w", ref, err)
	}
	return id, nil
}

// ContainersOf lists the containers of a pod, oldest first, infra included.
func (c *records) ContainersOf(_ context.Context, id string) ([]ctr.Container, error) {
	return c.ctrs.In(id), nil
}

// sandbox is a record as it is now: one whose run files a reboot took has none
// of its resources, but for what networks keep elsewhere. One whose status cannot
// be read is not ready.
func sandbox(e record.Entry[Config, Status]) Sandbox {
	s := Sandbox{ID: e.ID, Created: e.Created, Config: e.Config, Status: e.Status, Op: e.Op}
	if e.Lost {
		held := attaches(e.Config)
		s.Status = Status{State: NotReady, Message: "the machine was restarted", Attached: held, Restarted: held}
	}
	if e.Damaged != nil {
		s.Status = Status{State: NotReady, Message: "its status cannot be read: " + e.Damaged.Error(), Attached: attaches(e.Config)}
	}
	return s
}

// sandbox is a record as it is now; one whose status cannot be read has whatever
// its configuration can have given it.
func (c *records) sandbox(e record.Entry[Config, Status]) Sandbox {
	s := sandbox(e)
	if e.Damaged == nil {
		return s
	}
	if place, err := c.o.CgroupDriver.Pod(e.Config.CgroupParent, e.ID); err == nil && !e.Config.CgroupsOff {
		s.Status.Cgroup = place.Path
		if !place.Own {
			s.Status.Slice = place.Parent
		}
	}
	for _, k := range c.ctrs.In(e.ID) {
		if k.Config.Infra {
			s.Status.Infra = k.ID
		}
	}
	return s
}

// update changes a pod's status, as ctr's does.
func (c *records) update(ctx context.Context, s Sandbox, f func(*Status)) (Sandbox, error) {
	status, err := c.dir.Update(ctx, s.ID, func(now Status) (Status, error) {
		if now.State == "" {
			now = s.Status
		}
		f(&now)
		return now, nil
	})
	if err != nil {
		return s, fmt.Errorf("updating status of pod %q: %w", s.Config.Name, err)
	}
	s.Status = status
	return s, nil
}

func (c *records) runDir(id string) string { return c.dir.RunDir(id) }

func (c *records) nsDir(id string) string { return filepath.Join(c.dir.RunDir(id), "ns") }
