package check

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/davit-containers/davit/ctr"
	"github.com/davit-containers/davit/ctr/record"
	"github.com/davit-containers/davit/img"
	"github.com/davit-containers/davit/netw"
	"github.com/davit-containers/davit/pod"
)

// Engine is what is checked.
type Engine struct {
	Containers *ctr.Controller
	Pods       *pod.Controller
	Networks   *netw.Attacher
	Images     *img.Store
}

// Options say how far to look, and what to mend.
type Options struct {
	// Deep reads the contents of all images.
	Deep bool
	// MaxAge is how old a layer may be that nothing uses; 0 is a day.
	MaxAge time.Duration
	// Force mends what takes something away that may be wanted, too.
	Force bool
}

// Outcome is what has become of a finding.
type Outcome struct {
	record.Finding
	// Repaired says that it is mended; Error is why it is not, where that was tried.
	Repaired bool   `json:"repaired"`
	Error    string `json:"error,omitempty"`
}

// The times that what is under way is given to be over.
const (
	pause   = 500 * time.Millisecond // between two looks
	longest = 10 * time.Second       // for processes that are on their way out
)

// Find looks at everything. What was found is looked for once more, a moment
// later, and told of only if it is there still. The findings are good, whatever
// the error is.
func (e Engine) Find(ctx context.Context, o Options) ([]record.Finding, error) {
	first, err := e.look(ctx, o)
	if len(first) == 0 || ctx.Err() != nil {
		return first, err
	}
	patience, cancel := context.WithTimeout(ctx, longest)
	defer cancel()
	for _, f := range first {
		if f.Until != nil {
			f.Until(patience)
		}
	}
	timer := time.NewTimer(pause)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return first, errors.Join(err, ctx.Err())
	case <-timer.C:
	}
	second, err := e.look(ctx, o)
	return slices.DeleteFunc(second, func(f record.Finding) bool { return !slices.ContainsFunc(first, f.Same) }), err
}

// look looks once.
func (e Engine) look(ctx context.Context, o Options) ([]record.Finding, error) {
	ctrs, cerr := e.Containers.Check(ctx)
	pods, perr := e.Pods.Check(ctx)
	nets, nerr := netw.Check(ctx, e.Networks, e.Pods.Owners())
	images, ierr := e.Images.Check(ctx, img.CheckOptions{
		Deep: o.Deep, MaxAge: o.MaxAge, Owners: e.Containers.Owners(),
		RemoveContainer: func(ctx context.Context, id string) error {
			return e.Pods.RemoveContainer(ctx, id, ctr.RemoveOptions{Force: true, Timeout: ctr.AtOnce()})
		},
	})
	roots, rerr := e.rootless(ctx)
	return slices.Concat(ctrs, pods, nets, images, roots), errors.Join(cerr, perr, nerr, ierr, rerr)
}

// rootless finds containers whose root filesystem is gone.
func (e Engine) rootless(ctx context.Context) ([]record.Finding, error) {
	ctrs, err := e.Containers.List(ctx)
	roots, rerr := e.Images.RootfsContainers(ctx)
	if err := errors.Join(record.Unread(err), rerr); err != nil {
		return nil, err
	}
	var list []record.Finding
	for _, k := range ctrs {
		if k.Op != nil || k.Config.Rootfs != "" || slices.ContainsFunc(roots, func(r img.Rootfs) bool { return r.ID == k.ID }) {
			continue
		}
		if now, err := e.Containers.Get(ctx, k.ID); err != nil || now.Op != nil {
			continue
		}
		list = append(list, record.Finding{
			Kind: "rootfs", Object: fmt.Sprintf("container %q (%s)", k.Config.Name, k.ID),
			Problem: "its root filesystem is gone", Repair: "remove the container", Loses: true,
			Mend: func(ctx context.Context) error {
				return ctr.AbsentOK(e.Pods.RemoveContainer(ctx, k.ID, ctr.RemoveOptions{Force: true, Timeout: ctr.AtOnce()}))
			},
		})
	}
	return list, nil
}

// Repair mends what Find finds, and looks again, until nothing is left that it can
// mend. What somebody is at work on is left, and said.
func (e Engine) Repair(ctx context.Context, o Options) ([]Outcome, error) {
	var done []Outcome
	for {
		found, err := e.Find(ctx, o)
		if err != nil && len(found) == 0 {
			return done, err
		}
		var now []Outcome
		progress := false
		for _, f := range found {
			at := Outcome{Finding: f}
			if slices.ContainsFunc(done, func(d Outcome) bool { return d.Repaired && d.Same(f) }) {
				at.Error = "it was mended, and is there again"
			} else if at.Error = mend(ctx, f, o.Force); at.Error == "" {
				progress, at.Repaired = true, true
			}
			now = append(now, at)
		}
		done = merge(done, now)
		if !progress || ctx.Err() != nil {
			return done, errors.Join(err, ctx.Err())
		}
	}
}

// mend says why a finding is left; "" if it is mended.
func mend(ctx context.Context, f record.Finding, force bool) string {
	switch {
	case f.Mend == nil:
		return "only a person can mend it"
	case f.Loses && !force:
		return "it takes --force"
	}
	if err := f.Mend(ctx); err != nil {
		return err.Error()
	}
	return ""
}

// merge takes what a further round says: what does not come again is mended,
// though it could not be before.
func merge(before, now []Outcome) []Outcome {
	var out []Outcome
	for _, b := range before {
		if !slices.ContainsFunc(now, func(n Outcome) bool { return n.Same(b.Finding) }) {
			b.Repaired, b.Error = true, ""
			out = append(out, b)
		}
	}
	return append(out, now...)
}
