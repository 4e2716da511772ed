package netw

import (
	"context"
	"crypto/sha512"
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"strings"
)

// markLeaving notes that DEL is about to be called, where something masquerades the
// sandbox. That it was called before and did not come to its end is what matters.
func markLeaving(in *intent) {
	if in.Leaving || len(masquerades(in)) == 0 {
		return
	}
	in.Leaving = true
	in.note()
}

// dropMasquerade removes what masquerades a sandbox by the CNI project's own plugins,
// of an ADD or a DEL that was cut off, or of a namespace that is gone: they find the
// addresses by the interface in there, which is the first that DEL takes away.
func dropMasquerade(ctx context.Context, in *intent) error {
	var errs []error
	for _, m := range masquerades(in) {
		errs = append(errs, m.drop(ctx))
	}
	return errors.Join(errs...)
}

// masquerades are those that the plugins of a sandbox's networks make.
func masquerades(in *intent) []masquerade {
	var out []masquerade
	for _, j := range in.Joins {
		var list struct {
			Name    string
			Plugins []struct{ IPMasq bool }
		}
		if json.Unmarshal(j.Conflist, &list) != nil {
			continue
		}
		for _, p := range list.Plugins {
			if p.IPMasq {
				out = append(out, masquerade{"iptables", list.Name, in.ID}, masquerade{"ip6tables", list.Name, in.ID})
				break
			}
		}
	}
	return out
}

// masquerade is a chain of its own in the table nat, and the rules that lead there.
type masquerade struct{ program, network, id string }

// chain is its name, as utils.FormatChainName of the plugins has it.
func (m masquerade) chain() string {
	return fmt.Sprintf("CNI-%x", sha512.Sum512([]byte(m.network+m.id)))[:28]
}

// drop removes the rules and the chain; there need not be any.
func (m masquerade) drop(ctx context.Context) error {
	if _, err := m.run(ctx, "-S", m.chain()); err != nil {
		return nil // no such chain, or no such program
	}
	rules, err := m.run(ctx, "-S", "POSTROUTING")
	if err != nil {
		return err
	}
	var errs []error
	for rule := range strings.Lines(rules) {
		f := strings.Fields(rule)
		if len(f) < 4 || f[2] != "-s" || f[len(f)-1] != m.chain() {
			continue
		}
		// As utils.FormatComment has it.
		comment := fmt.Sprintf("name: %q id: %q", m.network, m.id)
		_, err := m.run(ctx, "-D", "POSTROUTING", "-s", f[3], "-m", "comment", "--comment", comment, "-j", m.chain())
		errs = append(errs, err)
	}
	for _, action := range []string{"-F", "-X"} {
		_, err := m.run(ctx, action, m.chain())
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

func (m masquerade) run(ctx context.Context, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, iptablesTimeout)
	defer cancel()
	out, err := exec.CommandContext(ctx, m.program, append([]string{"-w", "-t", "nat"}, args...)...).CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("running %s %s: %w: %s", m.program, args[0], err, strings.TrimSpace(string(out)))
	}
	return string(out), nil
}
