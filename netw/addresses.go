package netw

import (
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/containerd/errdefs"
)

// lastFile is the beginning of the names of files that hold the address given out
// last, of each of a network's subnets; the plugin host-local calls them the same.
const lastFile = "last_reserved_ip."

// holder is who has an address: a sandbox's interface.
type holder struct{ id, ifName string }

// reservation of an address: file is named after it.
type reserved struct {
	file string
	holder
}

// pool gives out the addresses of one network. A reservation is a symbolic link named
// after the address that leads to its holder: it is there whole or not at all, and of
// two who want an address one gets it, without a lock. What the plugin host-local has
// reserved, files in the same folder, is taken as well.
type pool struct {
	dir     string
	subnets []Subnet
}

// pool gives out the addresses of a network of davit's own. To free them it needs no
// subnets.
func (p place) pool(network string, subnets []Subnet) pool {
	return pool{dir: p.dir("ipam", network), subnets: subnets}
}

// take reserves an address of every subnet: the one that is asked for, or the next
// free one after the one given out last. On an error nothing is reserved.
// ErrResourceExhausted: a subnet is full. ErrAlreadyExists: an address that is asked
// for is taken. ErrInvalidArgument: it is none that the network gives out.
func (p pool) take(who holder, asked []netip.Addr) (got []netip.Prefix, err error) {
	if err := os.MkdirAll(p.dir, 0o755); err != nil {
		return nil, fmt.Errorf("reserving an address: %w", err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, p.free(who, addresses(got)))
		}
	}()
	asked = slices.Clone(asked)
	for i, s := range p.subnets {
		var ip netip.Addr
		if at := slices.IndexFunc(asked, s.Subnet.Contains); at >= 0 {
			ip = asked[at]
			asked = slices.Delete(asked, at, at+1)
			err = p.takeThis(who, s, ip)
		} else {
			ip, err = p.takeNext(who, s, filepath.Join(p.dir, lastFile+strconv.Itoa(i)))
		}
		if err != nil {
			return got, err
		}
		got = append(got, netip.PrefixFrom(ip, s.Subnet.Bits()))
	}
	if len(asked) > 0 {
		return got, fmt.Errorf("address %s: the network gives one address of each subnet: %w", asked[0], errdefs.ErrInvalidArgument)
	}
	return got, nil
}

// takeThis reserves an address that is asked for.
func (p pool) takeThis(who holder, s Subnet, ip netip.Addr) error {
	first, last := s.bounds()
	if ip.Less(first) || last.Less(ip) || ip == s.Gateway {
		return fmt.Errorf("address %s is none of those that the network gives out, %s to %s: %w", ip, first, last, errdefs.ErrInvalidArgument)
	}
	ok, err := p.reserve(who, ip)
	if err == nil && !ok {
		err = fmt.Errorf("address %s is not available: another sandbox has it: %w", ip, errdefs.ErrAlreadyExists)
	}
	return err
}

// takeNext reserves the next free address of a subnet; lastPath remembers it, so that
// one which has just been freed is not given out again before all others.
func (p pool) takeNext(who holder, s Subnet, lastPath string) (netip.Addr, error) {
	first, last := s.bounds()
	begin := first
	if b, err := os.ReadFile(lastPath); err == nil {
		if ip, err := netip.ParseAddr(strings.TrimSpace(string(b))); err == nil && !ip.Less(first) && ip.Less(last) {
			begin = ip.Next()
		}
	}
	for ip := begin; ; {
		if ip != s.Gateway {
			ok, err := p.reserve(who, ip)
			if err != nil {
				return ip, err
			}
			if ok {
				// a loss only moves the place where the next search begins
				_ = os.WriteFile(lastPath, []byte(ip.String()), 0o600)
				return ip, nil
			}
		}
		if ip = ip.Next(); !ip.IsValid() || last.Less(ip) {
			ip = first
		}
		if ip == begin {
			return ip, fmt.Errorf("no free address in %s: %w", s.Subnet, errdefs.ErrResourceExhausted)
		}
	}
}

// reserve reports whether the address was free, and is who's now.
func (p pool) reserve(who holder, ip netip.Addr) (bool, error) {
	err := os.Symlink(who.id+"/"+who.ifName, filepath.Join(p.dir, ip.String()))
	if errors.Is(err, fs.ErrExist) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("reserving %s: %w", ip, err)
	}
	return true, nil
}

// free gives back the addresses of a holder. known are all that it can have; without
// them all reservations of the network are looked at.
func (p pool) free(who holder, known []netip.Addr) error {
	var files []string
	for _, ip := range known {
		files = append(files, filepath.Join(p.dir, ip.String()))
	}
	if known == nil {
		all, err := filepath.Glob(filepath.Join(p.dir, "*"))
		if err != nil {
			return err
		}
		files = all
	}
	var errs []error
	for _, file := range files {
		if addressOf(file).IsValid() && reservedBy(file) == who {
			errs = append(errs, absent(os.Remove(file)))
		}
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("freeing addresses: %w", err)
	}
	return nil
}

// bounds are the first and the last address of a subnet that sandboxes are given.
func (s Subnet) bounds() (first, last netip.Addr) {
	first, last = s.First, s.Last
	if !first.IsValid() {
		first = s.Subnet.Masked().Addr().Next()
	}
	if !last.IsValid() {
		b := s.Subnet.Masked().Addr().AsSlice()
		for i := s.Subnet.Bits(); i < len(b)*8; i++ {
			b[i/8] |= 0x80 >> (i % 8)
		}
		last, _ = netip.AddrFromSlice(b)
		if last.Is4() {
			last = last.Prev() // the broadcast address
		}
	}
	return first, last
}

// addresses are those of prefixes.
func addresses(ps []netip.Prefix) []netip.Addr {
	out := make([]netip.Addr, 0, len(ps))
	for _, p := range ps {
		out = append(out, p.Addr())
	}
	return out
}

// reserved lists the addresses that are given out in davit's own networks.
func (p place) reserved() ([]reserved, error) {
	files, err := filepath.Glob(filepath.Join(p.dir("ipam"), "*", "*"))
	var out []reserved
	for _, file := range files {
		if !addressOf(file).IsValid() {
			continue
		}
		if who := reservedBy(file); who.id != "" {
			out = append(out, reserved{file, who})
		}
	}
	return out, err
}

// reservedBy is who has the address of a reservation; the zero holder if there is none.
// The plugin host-local writes a file of two lines, older ones of one.
func reservedBy(file string) holder {
	if to, err := os.Readlink(file); err == nil {
		id, ifName, _ := strings.Cut(to, "/")
		return holder{id, ifName}
	}
	b, err := os.ReadFile(file)
	if err != nil {
		return holder{}
	}
	id, ifName, _ := strings.Cut(strings.TrimSpace(string(b)), "\n")
	return holder{strings.TrimSpace(id), ifName}
}

// addressOf is the address that a reservation's file stands for; invalid for any other
// file. The plugin host-local writes IPv6 addresses with dashes for colons on some systems.
func addressOf(file string) netip.Addr {
	ip, _ := netip.ParseAddr(strings.ReplaceAll(filepath.Base(file), "-", ":"))
	return ip
}
