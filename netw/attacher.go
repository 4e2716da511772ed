package netw

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"time"

	"github.com/containerd/errdefs"
	"github.com/containernetworking/cni/libcni"
	"github.com/davit-containers/davit/ctr/record"
	"github.com/davit-containers/davit/netw/nft"
	"github.com/davit-containers/davit/netw/plugin"
)

// DefaultTimeout is the deadline of one plugin run.
const DefaultTimeout = 60 * time.Second

// Config says where networks are kept and how they are set up.
type Config struct {
	// Root holds user-made networks, RunRoot everything that a reboot ends.
	Root, RunRoot string
	// ConfDir holds the host's networks; usually /etc/cni/net.d.
	ConfDir string
	// PluginDirs are searched for plugins, in order.
	PluginDirs []string
	// Default names the network of requests that name none; empty is Builtin.
	Default string
	// Bridge, Subnet and Subnet6 set the built-in network's; empty lets davit
	// choose. Subnet6 "none" leaves IPv6 out.
	Bridge, Subnet, Subnet6 string
	// DefaultRoots says that Root and RunRoot are the host's davit's. Any other
	// davit gets a bridge and an nft table named after its run root.
	DefaultRoots bool
	// PluginTimeout is the deadline of one plugin run; 0 is DefaultTimeout.
	PluginTimeout time.Duration
	// Log takes what is not the caller's error; nil discards.
	Log *slog.Logger
}

// Attacher attaches sandboxes to networks. It holds no state in memory: any
// number of them, in any number of processes, work on the same roots. It is
// safe for concurrent use.
type Attacher struct {
	place
	*catalog
	*ledger
	*firewall
	*joiner
	*readiness
	config Config
	log    *slog.Logger
}

// place knows the folders of networks and the lock on them.
type place struct {
	root, run string
}

// catalog finds the networks there are and plans new ones.
type catalog struct {
	place
	config Config
	log    *slog.Logger
}

// ledger keeps the records of attachments.
type ledger struct {
	place
	log *slog.Logger
}

// joiner joins and leaves networks: those of davit's own by itself, all others by
// CNI plugins.
type joiner struct {
	cni   *libcni.CNIConfig
	known *ledger
}

// firewall keeps the nft table, iptables' forwarding rules and the bridges in
// step with networks and attachments.
type firewall struct {
	place
	table nft.Table
	nets  *catalog
	known *ledger
	log   *slog.Logger
}

// New checks the configuration. It neither reads nor writes anything.
func New(c Config) (*Attacher, error) {
	if !filepath.IsAbs(c.Root) || !filepath.IsAbs(c.RunRoot) {
		return nil, fmt.Errorf("network roots %q and %q must be absolute: %w", c.Root, c.RunRoot, errdefs.ErrInvalidArgument)
	}
	if c.Default == "" {
		c.Default = Builtin
	}
	if err := CheckName(c.Default); err != nil {
		return nil, fmt.Errorf("default network: %w", err)
	}
	if c.Bridge != "" {
		if err := CheckIfName(c.Bridge); err != nil {
			return nil, fmt.Errorf("built-in network: %w", err)
		}
	}
	if err := c.checkSubnets(); err != nil {
		return nil, fmt.Errorf("built-in network: %w", err)
	}
	if c.PluginTimeout == 0 {
		c.PluginTimeout = DefaultTimeout
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	p := place{root: c.Root, run: c.RunRoot}
	a := &Attacher{place: p, config: c, log: c.Log}
	a.readiness = &readiness{networks: c.ConfDir, status: func(ctx context.Context) error { return a.Status(ctx, "") }}
	a.catalog = &catalog{place: p, config: c, log: c.Log}
	a.ledger = &ledger{place: p, log: c.Log}
	a.firewall = &firewall{place: p, table: nft.New(c.tableName()), nets: a.catalog, known: a.ledger, log: c.Log}
	a.joiner = &joiner{known: a.ledger}
	a.cni = libcni.NewCNIConfigWithCacheDir(c.PluginDirs, a.dir("cache"), &plugin.Exec{Timeout: c.PluginTimeout})
	return a, nil
}

func (c Config) checkSubnets() error {
	if c.Subnet != "" {
		p, err := netip.ParsePrefix(c.Subnet)
		if err != nil || !p.Addr().Is4() || p.Bits() > 30 {
			return fmt.Errorf("subnet %q is not an IPv4 subnet of at least 4 addresses: %w", c.Subnet, errdefs.ErrInvalidArgument)
		}
	}
	if c.Subnet6 != "" && c.Subnet6 != "none" {
		p, err := netip.ParsePrefix(c.Subnet6)
		if err != nil || p.Addr().Is4() || p.Bits() > 126 {
			return fmt.Errorf("subnet %q is not an IPv6 subnet of at least 4 addresses: %w", c.Subnet6, errdefs.ErrInvalidArgument)
		}
	}
	return nil
}

// suffix tells the davit of other roots from the host's.
func (c Config) suffix() string {
	sum := sha256.Sum256([]byte(filepath.Clean(c.RunRoot)))
	return hex.EncodeToString(sum[:3])
}

// tableName is the name of the nft table.
func (c Config) tableName() string {
	if c.DefaultRoots {
		return "davit"
	}
	return "davit-" + c.suffix()
}

// bridgeName is the name of the built-in network's bridge.
func (c Config) bridgeName() string {
	switch {
	case c.Bridge != "":
		return c.Bridge
	case c.DefaultRoots:
		return "davit0"
	default:
		return "davit-" + c.suffix()
	}
}

// dir is a path below the networks' run folder.
func (p place) dir(parts ...string) string {
	return filepath.Join(append([]string{p.run, "networks"}, parts...)...)
}

// locked runs f while no other process of these roots changes networks,
// bridges or the nft table. It is for short work: no plugin runs under it.
func (p place) locked(f func() error) error {
	if err := os.MkdirAll(p.dir(), 0o711); err != nil {
		return fmt.Errorf("making network run folder: %w", err)
	}
	file, err := os.OpenFile(p.dir("lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return fmt.Errorf("opening network lock: %w", err)
	}
	defer file.Close()
	if err := record.Lock(file, "the networks' lock"); err != nil {
		return fmt.Errorf("changing networks: %w", err)
	}
	return f()
}
