package bridge

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/vishvananda/netlink"
)

// Port is an interface that is plugged into a bridge.
type Port struct {
	Name  string
	Index int
	// Veth says that it is an end of a pair.
	Veth bool
}

// Ports lists what is plugged into a bridge; nothing for one that is absent.
func Ports(name string) ([]Port, error) {
	master, err := netlink.LinkByName(name)
	if isAbsent(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("finding bridge %s: %w", name, err)
	}
	links, err := whole(netlink.LinkList)
	if err != nil {
		return nil, fmt.Errorf("listing interfaces: %w", err)
	}
	var out []Port
	for _, l := range links {
		if a := l.Attrs(); a.MasterIndex == master.Attrs().Index {
			out = append(out, Port{Name: a.Name, Index: a.Index, Veth: l.Type() == "veth"})
		}
	}
	return out, nil
}

// Staying are those of some ports that are still there after a while. It returns
// as soon as none is, or ctx ends: the kernel takes away the interfaces of a
// namespace that has gone in the background.
func Staying(ctx context.Context, ports []Port, while time.Duration) ([]Port, error) {
	ctx, cancel := context.WithTimeout(ctx, while)
	defer cancel()
	for {
		links, err := whole(netlink.LinkList)
		if err != nil {
			return nil, fmt.Errorf("listing interfaces: %w", err)
		}
		ports = slices.DeleteFunc(ports, func(p Port) bool {
			return !slices.ContainsFunc(links, func(l netlink.Link) bool { return l.Attrs().Index == p.Index && l.Attrs().Name == p.Name })
		})
		if len(ports) == 0 {
			return nil, nil
		}
		select {
		case <-ctx.Done():
			return ports, nil
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// Unplug deletes a port, with the other end of the pair that it is of. One that is
// absent, or another by now, is success.
func Unplug(p Port) error {
	link, err := netlink.LinkByIndex(p.Index)
	if isAbsent(err) || err == nil && link.Attrs().Name != p.Name {
		return nil
	}
	if err == nil {
		err = netlink.LinkDel(link)
	}
	if err != nil && !isAbsent(err) {
		return fmt.Errorf("deleting interface %s: %w", p.Name, err)
	}
	return nil
}
