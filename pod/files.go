package pod

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"unicode"

	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"

	"github.com/davit-containers/davit/ctr"
	"github.com/davit-containers/davit/ctr/record"
	"github.com/davit-containers/davit/ctr/record/failpoint"
	"github.com/davit-containers/davit/ctr/spec"
	"github.com/davit-containers/davit/netw"
)

// Files of a sandbox that its containers have mounted, below its run folder.
const (
	hostsFile    = "hosts"
	resolvFile   = "resolv.conf"
	hostnameFile = "hostname"
	shmDir       = "shm"
)

// hostsLock in a sandbox's run folder is locked by whoever writes its hosts file. That
// file itself is in its containers' reach, who could keep the lock. It is made by the
// sandbox's own davit and stays until the sandbox is removed.
const hostsLock = "hosts.lock"

const defaultShmSize = 64 << 20

// writeFiles writes what the sandbox's containers see as /etc/hosts,
// /etc/resolv.conf and /etc/hostname, and mounts their /dev/shm. Files are
// written in place, so that a container that has them mounted sees the change.
func (c *files) writeFiles(ctx context.Context, s Sandbox) error {
	if s.Config.Namespaces.IPC == spec.ModePod {
		if err := c.mountShm(s); err != nil {
			return err
		}
		if err := failpoint.Reach(ctx, failpoint.PodShm); err != nil {
			return err
		}
	}
	if name := toldHostname(s.Config); name != "" {
		if err := c.writeFile(s, hostnameFile, name+"\n", os.O_CREATE); err != nil {
			return err
		}
	}
	if s.Config.Network.Mode == NetworkPrivate {
		return nil
	}
	resolv, err := c.resolvConf(s)
	if err != nil {
		return err
	}
	if err := c.writeFile(s, resolvFile, resolv, os.O_CREATE); err != nil {
		return err
	}
	if s.Config.DNS.NoHosts {
		return nil
	}
	lock, err := c.lockHosts(s.ID, os.O_CREATE)
	if err != nil {
		return err
	}
	defer lock.Close()
	return c.writeHosts(ctx, s, os.O_CREATE)
}

// lockHosts takes the lock of a sandbox's hosts file, from before the names are read
// that are written: else what somebody has read before might be written after what is
// newer. It ends with the file that it returns. create is os.O_CREATE or 0.
func (c *files) lockHosts(id string, create int) (*os.File, error) {
	f, err := os.OpenFile(filepath.Join(c.runDir(id), hostsLock), os.O_RDWR|create|unix.O_NOFOLLOW, 0o600)
	if err == nil {
		if err = record.Lock(f, "the lock of a hosts file"); err == nil {
			return f, nil
		}
		_ = f.Close()
	}
	return nil, fmt.Errorf("locking hosts file of pod %q: %w", id, err)
}

// writeHosts writes a sandbox's hosts file; its lock is held.
func (c *files) writeHosts(ctx context.Context, s Sandbox, create int) error {
	hosts, err := c.hosts(ctx, s)
	if err != nil {
		return err
	}
	return c.writeFile(s, hostsFile, hosts, create)
}

// writeFile replaces a file's content, keeping its inode. One that is read meanwhile is
// never empty. create is os.O_CREATE or 0.
func (c *files) writeFile(s Sandbox, name, content string, create int) error {
	path := filepath.Join(c.runDir(s.ID), name)
	f, err := os.OpenFile(path, os.O_WRONLY|create|unix.O_NOFOLLOW, 0o644)
	if err != nil {
		return fmt.Errorf("writing %s of pod %q: %w", name, s.Config.Name, err)
	}
	if _, err = f.WriteString(content); err == nil {
		err = f.Truncate(int64(len(content)))
	}
	if err = errors.Join(err, f.Close()); err == nil {
		err = c.o.SELinux.Relabel(path, s.Config.SELinux.MountLabel, false, true)
	}
	if err != nil {
		return fmt.Errorf("writing %s of pod %q: %w", name, s.Config.Name, err)
	}
	return nil
}

// resolvConf is the host's resolver configuration with what the user gave in
// its place. To a person "." alone is no domain at all; the kubelet's lists, where it
// has resolvers try a name as it is first, are written as they are (KEP-4427).
func (c *files) resolvConf(s Sandbox) (string, error) {
	own := s.Config.DNS
	if own.Replace {
		return formatResolv(netw.DNS{Servers: own.Servers, Searches: own.Searches, Options: own.Options})
	}
	dns, err := c.o.HostDNS()
	if err != nil {
		return "", fmt.Errorf("reading the host's resolver configuration: %w", err)
	}
	if len(own.Servers) > 0 {
		dns.Servers = own.Servers
	}
	if len(own.Searches) > 0 {
		dns.Searches = own.Searches
	}
	if len(own.Options) > 0 {
		dns.Options = own.Options
	}
	if s.Config.Owner != record.OwnerCRI && slices.Equal(dns.Searches, []string{"."}) {
		dns.Searches = nil
	}
	return formatResolv(dns)
}

func formatResolv(dns netw.DNS) (string, error) {
	var b strings.Builder
	for _, s := range dns.Servers {
		fmt.Fprintf(&b, "nameserver %s\n", s)
	}
	if len(dns.Searches) > 0 {
		fmt.Fprintf(&b, "search %s\n", strings.Join(dns.Searches, " "))
	}
	if len(dns.Options) > 0 {
		fmt.Fprintf(&b, "options %s\n", strings.Join(dns.Options, " "))
	}
	for _, list := range [][]string{dns.Servers, dns.Searches, dns.Options} {
		for _, v := range list {
			if strings.ContainsFunc(v, func(r rune) bool { return unicode.IsControl(r) || unicode.IsSpace(r) }) {
				return "", fmt.Errorf("DNS setting %q has white space or control characters: %w", v, errdefs.ErrInvalidArgument)
			}
		}
	}
	return b.String(), nil
}

// hosts is the sandbox's /etc/hosts: the loopback names, the user's lines, its
// own name, and its peers on user-made networks.
func (c *files) hosts(ctx context.Context, s Sandbox) (string, error) {
	var b strings.Builder
	b.WriteString("127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n")
	for _, h := range s.Config.DNS.Hosts {
		addr := h.Addr
		if h.Gateway {
			addr = gateway(s.Status.Attachment)
		}
		if !addr.IsValid() {
			continue // not attached yet
		}
		if err := hostLine(&b, addr, h.Name); err != nil {
			return "", err
		}
	}
	names := []string{s.Config.Hostname}
	if !s.Config.Implicit && s.Config.Owner != record.OwnerCRI && s.Config.Name != s.Config.Hostname {
		names = append(names, s.Config.Name)
	}
	addrs := s.Status.Attachment.IPs()
	if len(addrs) == 0 && s.Config.Network.Mode != NetworkCNI {
		addrs = []netip.Addr{netip.AddrFrom4([4]byte{127, 0, 0, 1})}
	}
	for _, a := range addrs {
		if err := hostLine(&b, a, names...); err != nil {
			return "", err
		}
	}
	for _, i := range s.Status.Attachment.Interfaces {
		peers, err := c.o.Networks.Peers(ctx, i.Network)
		if err != nil {
			return "", fmt.Errorf("reading names on network %q: %w", i.Network, err)
		}
		for _, p := range peers {
			if p.ID == s.ID {
				continue // above
			}
			for _, addr := range p.IPs {
				if err := hostLine(&b, addr, p.Names...); err != nil {
					return "", err
				}
			}
		}
	}
	return b.String(), nil
}

func hostLine(b *strings.Builder, addr netip.Addr, names ...string) error {
	var kept []string
	for _, n := range names {
		if strings.ContainsFunc(n, func(r rune) bool { return unicode.IsControl(r) || unicode.IsSpace(r) || r == '#' }) {
			return fmt.Errorf("host name %q has white space or control characters: %w", n, errdefs.ErrInvalidArgument)
		}
		if n != "" {
			kept = append(kept, n)
		}
	}
	if len(kept) > 0 {
		fmt.Fprintf(b, "%s\t%s\n", addr, strings.Join(kept, " "))
	}
	return nil
}

// gateway is the host's address as the sandbox sees it.
func gateway(a netw.Attachment) netip.Addr {
	for _, i := range a.Interfaces {
		for _, g := range i.Gateways {
			return g
		}
	}
	return netip.Addr{}
}

// mountShm mounts the shared memory of the sandbox unless it is there.
func (c *files) mountShm(s Sandbox) error {
	path := filepath.Join(c.runDir(s.ID), shmDir)
	if err := os.Mkdir(path, 0o700); err != nil && !errors.Is(err, os.ErrExist) {
		return fmt.Errorf("making /dev/shm of pod %q: %w", s.Config.Name, err)
	}
	var fs unix.Statfs_t
	if err := unix.Statfs(path, &fs); err == nil && fs.Type == unix.TMPFS_MAGIC && mountPoint(path) {
		return nil
	}
	size := s.Config.ShmSize
	if size == 0 {
		size = defaultShmSize
	}
	data := fmt.Sprintf("mode=1777,size=%d", size)
	if l := s.Config.SELinux.MountLabel; l != "" && c.o.SELinux.Enabled() {
		data += fmt.Sprintf(",context=%q", l) // a level has commas
	}
	err := unix.Mount("shm", path, "tmpfs", unix.MS_NOEXEC|unix.MS_NOSUID|unix.MS_NODEV, data)
	if err != nil {
		return fmt.Errorf("mounting /dev/shm of pod %q: %w", s.Config.Name, err)
	}
	return nil
}

// mountPoint tells whether a folder is on another file system than its parent.
func mountPoint(path string) bool {
	var own, parent unix.Statx_t
	if unix.Statx(unix.AT_FDCWD, path, unix.AT_SYMLINK_NOFOLLOW, unix.STATX_MNT_ID, &own) != nil {
		return false
	}
	if unix.Statx(unix.AT_FDCWD, filepath.Dir(path), unix.AT_SYMLINK_NOFOLLOW, unix.STATX_MNT_ID, &parent) != nil {
		return false
	}
	return own.Mnt_id != parent.Mnt_id
}

func (c *files) unmountShm(id string) error {
	path := filepath.Join(c.runDir(id), shmDir)
	var err error
	for err == nil { // somebody may have mounted something over it
		err = unix.Unmount(path, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW)
	}
	if !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("unmounting %s: %w", path, err)
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}

// refreshPeers rewrites the hosts files of those that share a user-made network
// with a sandbox that came or went.
func (c *files) refreshPeers(ctx context.Context, s Sandbox) error {
	var errs []error
	for _, ref := range s.Config.Network.Networks {
		peers, err := c.o.Networks.Peers(ctx, ref.Name)
		if err != nil {
			errs = append(errs, ctr.AbsentOK(err))
			continue
		}
		for _, p := range peers {
			if p.ID != s.ID {
				errs = append(errs, c.refresh(ctx, p.ID))
			}
		}
	}
	return errors.Join(errs...)
}

// refresh rewrites the hosts file of a sandbox that is ready. One that is gone
// meanwhile, or about to, is nobody's loss, and no file is made for it.
func (c *files) refresh(ctx context.Context, id string) error {
	lock, err := c.lockHosts(id, 0)
	if err == nil {
		defer lock.Close()
	} else if !errors.Is(err, os.ErrNotExist) { // an older davit made it ready, without a lock
		return err
	}
	s, err := c.Get(ctx, id)
	if err != nil || s.Status.State != Ready || s.Config.DNS.NoHosts {
		return nil
	}
	if err := c.writeHosts(ctx, s, 0); !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}
