package netw

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/containerd/errdefs"

	"github.com/davit-containers/davit/ctr/record/failpoint"
)

// Connect joins an attached sandbox to further networks, r.Networks, and returns
// the whole attachment. Of r it needs ID, Dir and Networks; interfaces without a
// name get the next free one. What fails is undone, the networks joined before
// stay. The caller sees to it that one operation at a time changes a sandbox.
//
// ErrNotFound: the sandbox is not attached, or there is no such network.
// ErrAlreadyExists: it is on that network already.
func (a *Attacher) Connect(ctx context.Context, r Request) (Attachment, error) {
	in, err := a.attachedIntent(ctx, r)
	if err != nil {
		return Attachment{}, fmt.Errorf("connecting %q: %w", r.ID, err)
	}
	r.Name, r.Namespace, r.UID, r.Netns, r.Ports = in.Name, in.Namespace, in.UID, in.Netns, nil
	r.Networks = slices.Clone(r.Networks)
	for i := range r.Networks {
		n := &r.Networks[i]
		if in.joins(n.Name) >= 0 {
			return Attachment{}, fmt.Errorf("connecting %q: it is on network %q: %w", in.display(), n.Name, errdefs.ErrAlreadyExists)
		}
		if n.IfName == "" {
			n.IfName = in.nextIfName(r.Networks)
		}
	}
	if err := r.check(); err != nil {
		return Attachment{}, fmt.Errorf("connecting %q: %w", in.display(), err)
	}
	p, err := a.plan(r)
	if err != nil {
		return Attachment{}, fmt.Errorf("connecting %q: %w", in.display(), err)
	}
	before := *in
	in.Joins = slices.Concat(in.Joins, p.intent.Joins)
	if err := a.extend(ctx, in, p); err != nil {
		undo, cancel := context.WithTimeout(context.WithoutCancel(ctx), failpoint.Deadline(undoTimeout))
		defer cancel()
		return Attachment{}, errors.Join(fmt.Errorf("connecting %q: %w", in.display(), err), a.dropTail(undo, &before, in.Joins))
	}
	return *in.Result, nil
}

// extend carries the plan out on top of in, which has its joins already.
func (a *Attacher) extend(ctx context.Context, in *intent, p *plan) error {
	if err := a.write(ctx, in); err != nil {
		return err
	}
	more, err := a.joinAll(ctx, p, false)
	if err != nil {
		return err
	}
	result := *in.Result
	result.Interfaces = slices.Concat(result.Interfaces, more.Interfaces)
	in.Result = &result
	return a.write(ctx, in)
}

// dropTail leaves the networks of joins that in does not have, and puts in on
// record. If one cannot be left, the record keeps all of them for Detach.
func (x *joiner) dropTail(ctx context.Context, in *intent, joins []join) error {
	tail := *in
	tail.Joins = joins[len(in.Joins):]
	path := in.Netns
	if !isNetns(path) {
		path = ""
	}
	if err := x.leave(ctx, &tail, path, func(join) bool { return true }); err != nil {
		return err
	}
	return x.known.write(ctx, in)
}

// Disconnect makes an attached sandbox leave a network and returns what is left
// of the attachment. Of r it needs ID and Dir. Leaving can be repeated when it
// failed. ErrNotFound: the sandbox is not attached, or not to that network.
// ErrFailedPrecondition: its ports are published on that network.
func (a *Attacher) Disconnect(ctx context.Context, r Request, network string) (Attachment, error) {
	in, err := a.attachedIntent(ctx, r)
	if err != nil {
		return Attachment{}, fmt.Errorf("disconnecting %q: %w", r.ID, err)
	}
	i := in.joins(network)
	switch {
	case i < 0:
		return Attachment{}, fmt.Errorf("disconnecting %q: it is not on network %q: %w", in.display(), network, errdefs.ErrNotFound)
	case i == 0 && len(in.Ports) > 0:
		return Attachment{}, fmt.Errorf("disconnecting %q: its ports are published on network %q: %w", in.display(), network, errdefs.ErrFailedPrecondition)
	}
	path := in.Netns
	if !isNetns(path) {
		path = ""
	}
	if err := a.leave(ctx, in, path, func(j join) bool { return j.Network == network }); err != nil {
		return Attachment{}, fmt.Errorf("disconnecting %q: %w", in.display(), err)
	}
	result := *in.Result
	in.Joins = slices.Delete(slices.Clone(in.Joins), i, i+1)
	result.Interfaces = slices.Delete(slices.Clone(result.Interfaces), i, i+1)
	in.Result = &result
	return result, a.write(ctx, in)
}

// attachedIntent reads a complete attachment. What a Connect that was killed has
// left at its end is undone first.
func (x *joiner) attachedIntent(ctx context.Context, r Request) (*intent, error) {
	if err := r.checkTarget(); err != nil {
		return nil, err
	}
	in, err := readIntent(r.Dir)
	switch {
	case err != nil:
		return nil, err
	case in.ID != r.ID:
		return nil, fmt.Errorf("%s holds the attachment of %q: %w", r.Dir, in.ID, errdefs.ErrInvalidArgument)
	case in.Result == nil:
		return nil, fmt.Errorf("the sandbox is not attached: %w", errdefs.ErrNotFound)
	}
	if n := len(in.Result.Interfaces); n < len(in.Joins) {
		joins := in.Joins
		in.Joins = joins[:n]
		return in, x.dropTail(ctx, in, joins)
	}
	return in, nil
}

// nextIfName is the first of eth0, eth1, … that neither the attachment nor the
// request has.
func (in *intent) nextIfName(asked []Ref) string {
	for i := 0; ; i++ {
		name := fmt.Sprintf("eth%d", i)
		taken := slices.ContainsFunc(in.Joins, func(j join) bool { return j.IfName == name }) ||
			slices.ContainsFunc(asked, func(r Ref) bool { return r.IfName == name })
		if !taken {
			return name
		}
	}
}
