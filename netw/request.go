package netw

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"path/filepath"
	"strings"

	"github.com/containerd/errdefs"
	"github.com/containernetworking/cni/pkg/utils"
)

// Request says what to attach, or to detach.
type Request struct {
	// ID is the sandbox's ID; a plain file name.
	ID string
	// Name, Namespace and UID describe the sandbox to plugins (K8S_POD_NAME and
	// the like); Name is also how its neighbours of a user-made network know it.
	Name, Namespace, UID string
	// Netns is the path of the sandbox's network namespace. For Detach it may
	// be empty: the one that Attach was given is used, if it is still there.
	Netns string
	// Dir is the sandbox's run folder, which must exist; the attachment is on
	// record in its network.json.
	Dir string
	// PinDir is for Detach: the folder of the sandbox's pinned namespaces. When
	// it is set, Detach removes the pins as soon as no plugin needs them any
	// more, which is before DEL for davit's own bridges: that saves 11 to 15 ms.
	// The sandbox's processes must be dead by then.
	PinDir string
	// NetnsGone is for Detach: there is no namespace any more, call DEL without.
	NetnsGone bool
	// Unrecorded is for Detach: there was an attachment, and its record may have
	// gone with the machine's restart. Networks are then the host's to leave.
	Unrecorded bool
	// Networks to join, the first one first; empty means the default network.
	Networks []Ref
	// Ports to publish, on the first network.
	Ports []Port
	// Capabilities are runtime values for plugins that declare the capability of
	// the same name ("bandwidth", "dns", …); see CONVENTIONS.md of CNI.
	Capabilities map[string]any
	// Idle is for Attach, and may be nil: it is closed when the host has little else to
	// do for the sandbox. Networks of davit's own, which are joined in a few
	// milliseconds, are not begun with before.
	Idle <-chan struct{}
}

// Ref names a network to join, and how.
type Ref struct {
	// Name is the network's name.
	Name string `json:"name"`
	// IfName is the interface's name in the sandbox; empty gives eth0, eth1, …
	IfName string `json:"ifName,omitempty"`
	// MAC is the interface's address; empty lets the plugin choose.
	MAC string `json:"mac,omitempty"`
	// IPs are static addresses; empty lets the plugin choose.
	IPs []netip.Addr `json:"ips,omitempty"`
	// Host says that the network is one of the host's, whatever davit's own are
	// called.
	Host bool `json:"host,omitempty"`
	// Aliases are further names of the sandbox on a user-made network.
	Aliases []string `json:"aliases,omitempty"`
}

// check refuses what could not be carried out or would reach a place it must
// not. All refusals wrap ErrInvalidArgument.
func (r Request) check() error {
	errs := []error{r.checkTarget(), CheckPorts(r.Ports), checkHostName("name", r.Name)}
	// A path below /proc may belong to another process by the time of DEL.
	if !filepath.IsAbs(r.Netns) || strings.HasPrefix(filepath.Clean(r.Netns), "/proc/") {
		errs = append(errs, fmt.Errorf("network namespace %q is not the path of a pin: %w", r.Netns, errdefs.ErrInvalidArgument))
	}
	for _, s := range []string{r.Namespace, r.UID} {
		if strings.ContainsAny(s, ";=") || hasControl(s) {
			// these end up in CNI_ARGS
			errs = append(errs, fmt.Errorf("%q has characters that CNI cannot carry: %w", s, errdefs.ErrInvalidArgument))
		}
	}
	seen := make(map[string]bool)
	for i, n := range r.Networks {
		name := n.ifName(i)
		if seen[name] {
			errs = append(errs, fmt.Errorf("interface %q is asked for twice: %w", name, errdefs.ErrInvalidArgument))
		}
		seen[name] = true
		errs = append(errs, n.check(name))
	}
	return errors.Join(errs...)
}

// checkTarget checks what names files.
func (r Request) checkTarget() error {
	if err := utils.ValidateContainerID(r.ID); err != nil || hasControl(r.ID) || len(r.ID) > 200 {
		return fmt.Errorf("sandbox ID %q is not a plain name: %w", r.ID, errdefs.ErrInvalidArgument)
	}
	if !filepath.IsAbs(r.Dir) {
		return fmt.Errorf("run folder %q is not an absolute path: %w", r.Dir, errdefs.ErrInvalidArgument)
	}
	return nil
}

// ifName is the interface's name for the i-th network.
func (n Ref) ifName(i int) string {
	if n.IfName != "" {
		return n.IfName
	}
	return fmt.Sprintf("eth%d", i)
}

func (n Ref) check(ifName string) error {
	errs := []error{CheckName(n.Name), CheckIfName(ifName)}
	if n.MAC != "" {
		if mac, err := net.ParseMAC(n.MAC); err != nil || len(mac) != 6 || mac[0]&1 != 0 {
			errs = append(errs, fmt.Errorf("MAC address %q is not a unicast Ethernet address: %w", n.MAC, errdefs.ErrInvalidArgument))
		}
	}
	for _, ip := range n.IPs {
		if !ip.IsValid() || ip.Zone() != "" || ip.IsUnspecified() || ip.IsMulticast() {
			errs = append(errs, fmt.Errorf("static address %s cannot be an interface's: %w", ip, errdefs.ErrInvalidArgument))
		}
	}
	for _, alias := range n.Aliases {
		if alias == "" {
			errs = append(errs, fmt.Errorf("empty network alias: %w", errdefs.ErrInvalidArgument))
		}
		errs = append(errs, checkHostName("network alias", alias))
	}
	return errors.Join(errs...)
}

// CheckName refuses network names that are not plain words of letters, digits,
// dot, dash and underscore, starting with a letter or digit, of at most 200
// bytes.
func CheckName(name string) error {
	if utils.ValidateNetworkName(name) != nil || hasControl(name) || len(name) > 200 {
		return fmt.Errorf("network name %q is not a plain name: %w", name, errdefs.ErrInvalidArgument)
	}
	return nil
}

// CheckIfName refuses names that the kernel or a file path would not take: more
// than 15 bytes, slash, colon, blanks, control characters, "." and "..".
func CheckIfName(name string) error {
	if utils.ValidateInterfaceName(name) != nil || hasControl(name) || strings.ContainsRune(name, '%') {
		return fmt.Errorf("interface name %q is not usable: %w", name, errdefs.ErrInvalidArgument)
	}
	return nil
}

// checkHostName refuses what must not be written into a hosts file or CNI_ARGS.
func checkHostName(what, name string) error {
	bad := strings.ContainsFunc(name, func(r rune) bool {
		return r <= ' ' || r == 0x7f || strings.ContainsRune("#;=/", r)
	})
	if bad || len(name) > 253 {
		return fmt.Errorf("%s %q cannot be a host name: %w", what, name, errdefs.ErrInvalidArgument)
	}
	return nil
}

func hasControl(s string) bool {
	return strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r == 0x7f })
}
