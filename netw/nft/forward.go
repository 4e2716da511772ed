package nft

import (
	"bytes"
	"fmt"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
)

// Chains of iptables' filter table that decide about forwarding. DOCKER-USER is
// where Docker leaves room for others; FORWARD jumps to it first.
const (
	ForwardChain    = "FORWARD"
	DockerUserChain = "DOCKER-USER"
)

// Forwarding is what iptables' filter table, kept in nftables by iptables-nft,
// says about forwarded packets of one family.
type Forwarding struct {
	// Drops says that the FORWARD chain's policy is DROP: without a rule for
	// them, packets from and to a bridge of ours are lost, whatever our own
	// table says.
	Drops bool
	// Chain is where to insert a rule.
	Chain string
	// Known are the bridges, of those asked for, that a rule of Chain accepts
	// packets from.
	Known map[string]bool
}

// InspectForwarding reads iptables' filter table of IPv4 or, with six, of IPv6.
// Without such a table nothing drops. Tables of iptables-legacy are not seen.
func InspectForwarding(six bool, bridges []string) (Forwarding, error) {
	c, err := Table{}.dial()
	if err != nil {
		return Forwarding{}, err
	}
	defer func() { _ = c.CloseLasting() }()
	table := &nftables.Table{Name: "filter", Family: nftables.TableFamilyIPv4}
	if six {
		table.Family = nftables.TableFamilyIPv6
	}
	f := Forwarding{Chain: ForwardChain, Known: make(map[string]bool)}
	chain, err := c.ListChain(table, ForwardChain)
	if isAbsent(err) {
		return f, nil
	}
	if err != nil {
		return f, fmt.Errorf("reading iptables' FORWARD chain: %w", err)
	}
	f.Drops = chain.Policy != nil && *chain.Policy == nftables.ChainPolicyDrop
	if !f.Drops {
		return f, nil
	}
	if _, err := c.ListChain(table, DockerUserChain); err == nil {
		f.Chain = DockerUserChain
	}
	rules, err := c.GetRules(table, &nftables.Chain{Table: table, Name: f.Chain})
	if err != nil {
		return f, fmt.Errorf("reading iptables' %s chain: %w", f.Chain, err)
	}
	for _, r := range rules {
		for _, b := range bridges {
			if acceptsFrom(r, b) {
				f.Known[b] = true
			}
		}
	}
	return f, nil
}

// acceptsFrom recognises what "iptables -i bridge -j ACCEPT" makes.
func acceptsFrom(r *nftables.Rule, bridge string) bool {
	in, accept := false, false
	for i, e := range r.Exprs {
		switch e := e.(type) {
		case *expr.Meta:
			if e.Key != expr.MetaKeyIIFNAME || i+1 == len(r.Exprs) {
				continue
			}
			cmp, ok := r.Exprs[i+1].(*expr.Cmp)
			in = in || ok && cmp.Op == expr.CmpOpEq && string(bytes.TrimRight(cmp.Data, "\x00")) == bridge
		case *expr.Verdict:
			accept = accept || e.Kind == expr.VerdictAccept
		}
	}
	return in && accept
}
