package netw

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"slices"
	"strings"
)

// DNS is a resolver's configuration.
type DNS struct {
	Servers  []string `json:"servers,omitempty"`
	Searches []string `json:"searches,omitempty"`
	Options  []string `json:"options,omitempty"`
}

// Files of the host's resolver; the second one holds the upstreams of
// systemd-resolved, whose own address 127.0.0.53 means nothing in a container.
const (
	resolvConf       = "/etc/resolv.conf"
	resolvedUpstream = "/run/systemd/resolve/resolv.conf"
)

// HostDNS is the host's resolver configuration as containers with a network of
// their own can use it: the stub 127.0.0.53 is replaced by its upstreams, and
// other loopback servers are left out. An absent resolv.conf is an empty one.
// Containers on the host's network want the file itself instead.
func HostDNS() (DNS, error) { return hostDNS(resolvConf, resolvedUpstream) }

func hostDNS(path, upstream string) (DNS, error) {
	dns, err := readDNS(path)
	if err != nil {
		return DNS{}, err
	}
	if slices.Contains(dns.Servers, "127.0.0.53") {
		real, err := readDNS(upstream)
		if err != nil {
			return DNS{}, err
		}
		if len(real.Servers) > 0 {
			dns.Servers = real.Servers
		}
	}
	dns.Servers = slices.DeleteFunc(dns.Servers, isLoopback)
	return dns, nil
}

func readDNS(path string) (DNS, error) {
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return DNS{}, nil
	}
	if err != nil {
		return DNS{}, fmt.Errorf("reading resolver configuration: %w", err)
	}
	return parseResolvConf(b), nil
}

// parseResolvConf reads what resolv.conf(5) describes; the last search line
// counts, options add up, lines that it does not know are passed over.
func parseResolvConf(b []byte) DNS {
	var dns DNS
	s := bufio.NewScanner(bytes.NewReader(b))
	for s.Scan() {
		line, _, _ := strings.Cut(s.Text(), "#")
		line, _, _ = strings.Cut(line, ";")
		fields := strings.Fields(line)
		if len(fields) < 2 {
			continue
		}
		switch fields[0] {
		case "nameserver":
			if _, err := netip.ParseAddr(fields[1]); err == nil {
				dns.Servers = append(dns.Servers, fields[1])
			}
		case "search", "domain":
			dns.Searches = slices.Clone(fields[1:])
		case "options":
			dns.Options = append(dns.Options, fields[1:]...)
		}
	}
	return dns
}

func isLoopback(server string) bool {
	addr, err := netip.ParseAddr(server)
	return err == nil && addr.Unmap().IsLoopback()
}
