package netw

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"slices"
	"strings"
	"time"

	"github.com/davit-containers/davit/ctr/record"
	"github.com/davit-containers/davit/netw/nft"
)

// forwardFile lists the iptables rules that were inserted, below the networks'
// run folder, so that they can be taken out again.
const forwardFile = "forward.json"

// iptablesTimeout bounds one run of iptables, its waiting for the lock included.
const iptablesTimeout = 10 * time.Second

// iptablesRule is one inserted rule: the program that did it, and where and what.
type iptablesRule struct {
	Program string   `json:"program"`
	Chain   string   `json:"chain"`
	Spec    []string `json:"spec"`
}

// run carries out an action (-I, -D, -C) on the rule.
func (r iptablesRule) run(ctx context.Context, action string) error {
	ctx, cancel := context.WithTimeout(ctx, iptablesTimeout)
	defer cancel()
	args := append([]string{"--wait", action, r.Chain}, r.Spec...)
	out, err := exec.CommandContext(ctx, r.Program, args...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("running %s %s: %w: %s", r.Program, strings.Join(args, " "), err, strings.TrimSpace(string(out)))
	}
	return nil
}

// openForwarding makes sure that a FORWARD policy of DROP in iptables' own table,
// as Docker sets it, does not keep the networks' packets: an accept in davit's
// table cannot override it. It runs iptables, so that what it inserts is what
// iptables understands, but only when there is something to insert.
func (f *firewall) openForwarding(ctx context.Context, nets []Network) error {
	var bridges, bridges6 []string
	for _, n := range nets {
		if n.managed() && !n.Internal {
			bridges = append(bridges, n.Interface)
			if n.has6() {
				bridges6 = append(bridges6, n.Interface)
			}
		}
	}
	return errors.Join(
		f.openFamily(ctx, "iptables", bridges, false),
		f.openFamily(ctx, "ip6tables", bridges6, true))
}

func (f *firewall) openFamily(ctx context.Context, program string, bridges []string, six bool) error {
	if len(bridges) == 0 {
		return nil
	}
	now, err := nft.InspectForwarding(six, bridges)
	if err != nil {
		return err
	}
	if !now.Drops {
		program += "-legacy"
		if now, err = inspectLegacy(ctx, program, bridges); err != nil || !now.Drops {
			return err
		}
	}
	missing := slices.DeleteFunc(slices.Clone(bridges), func(b string) bool { return now.Known[b] })
	if len(missing) == 0 {
		return nil
	}
	if _, err := exec.LookPath(program); err != nil {
		f.log.Warn("the firewall drops forwarded packets and iptables is not installed: containers cannot reach other hosts", "program", program)
		return nil
	}
	return f.locked(func() error {
		for _, b := range missing {
			if err := f.insertRules(ctx, program, now.Chain, b); err != nil {
				return fmt.Errorf("letting packets of bridge %s through the firewall: %w", b, err)
			}
		}
		return nil
	})
}

// inspectLegacy is nft.InspectForwarding for iptables-legacy, whose tables only
// its own program can read. It is run where the kernel has such a table, that is
// on hosts that use it.
func inspectLegacy(ctx context.Context, program string, bridges []string) (nft.Forwarding, error) {
	now := nft.Forwarding{Chain: nft.ForwardChain, Known: make(map[string]bool)}
	names := "/proc/net/ip_tables_names"
	if strings.HasPrefix(program, "ip6") {
		names = "/proc/net/ip6_tables_names"
	}
	tables, err := os.ReadFile(names)
	if err != nil || !slices.Contains(strings.Fields(string(tables)), "filter") {
		return now, nil // the kernel has none
	}
	if _, err := exec.LookPath(program); err != nil {
		return now, nil // and nobody to ask about it
	}
	ctx, cancel := context.WithTimeout(ctx, iptablesTimeout)
	defer cancel()
	out, err := exec.CommandContext(ctx, program, "--wait", "-S", nft.ForwardChain).Output()
	if err != nil {
		return now, fmt.Errorf("running %s -S %s: %w", program, nft.ForwardChain, err)
	}
	for line := range strings.SplitSeq(string(out), "\n") {
		if line == "-P FORWARD DROP" {
			now.Drops = true
		}
		for _, b := range bridges {
			if line == "-A FORWARD -i "+b+" -j ACCEPT" {
				now.Known[b] = true
			}
		}
	}
	return now, nil
}

// insertRules records the rules for a bridge and inserts those that are absent.
// The caller holds the lock.
func (f *firewall) insertRules(ctx context.Context, program, chain, bridge string) error {
	rules := []iptablesRule{
		{program, chain, []string{"-i", bridge, "-j", "ACCEPT"}},
		{program, chain, []string{"-o", bridge, "-m", "conntrack", "--ctstate", "RELATED,ESTABLISHED,DNAT", "-j", "ACCEPT"}},
	}
	known, err := f.insertedRules()
	if err != nil {
		return err
	}
	for _, r := range rules {
		if !slices.ContainsFunc(known, func(k iptablesRule) bool {
			return k.Program == r.Program && k.Chain == r.Chain && slices.Equal(k.Spec, r.Spec)
		}) {
			known = append(known, r)
		}
	}
	b, err := json.Marshal(known)
	if err != nil {
		return err
	}
	if err := record.WriteAtomic(f.dir(forwardFile), b, record.WriteOptions{}); err != nil {
		return err
	}
	for _, r := range rules {
		if r.run(ctx, "-C") == nil {
			continue
		}
		if err := r.run(ctx, "-I"); err != nil {
			return err
		}
	}
	return nil
}

// insertedRules reads the rules on record.
func (f *firewall) insertedRules() ([]iptablesRule, error) {
	b, err := os.ReadFile(f.dir(forwardFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var rules []iptablesRule
	if err := json.Unmarshal(b, &rules); err != nil {
		return nil, fmt.Errorf("reading %s: %w", f.dir(forwardFile), err)
	}
	return rules, nil
}

// closeForwarding takes the rules on record out again. The caller holds the lock.
func (f *firewall) closeForwarding(ctx context.Context) error {
	rules, err := f.insertedRules()
	if err != nil || len(rules) == 0 {
		return err
	}
	var errs []error
	for _, r := range rules {
		if r.run(ctx, "-C") != nil {
			continue // gone already, with its chain or by a flush
		}
		errs = append(errs, r.run(ctx, "-D"))
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	return os.Remove(f.dir(forwardFile))
}
