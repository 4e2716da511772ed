//go:build faults || faultslong

package faults

import (
	"encoding/json"
	"slices"
)

// finding is one line of system check --format json.
type finding struct {
	Kind, Object, Problem, Repair, Error string
	Repaired                             bool
}

// findings are what system check says.
func (n *node) findings(args ...string) (out []finding, code int) {
	n.t.Helper()
	r := n.try(append([]string{"system", "check", "--format", "json"}, args...)...)
	if err := json.Unmarshal([]byte(r.Stdout), &out); err != nil {
		n.t.Fatalf("system check: exit code %d, %v\n%s%s", r.Code, err, r.Stdout, r.Stderr)
	}
	return out, r.Code
}

// mended checks that a check finds each of the kinds, that --repair mends all that
// is found, and that nothing is found afterwards.
func (n *node) mended(kinds []string, flags ...string) {
	n.t.Helper()
	found, code := n.findings(flags...)
	if code != 1 {
		n.t.Errorf("system check: exit code %d, %+v", code, found)
	}
	for _, k := range kinds {
		if !slices.ContainsFunc(found, func(f finding) bool { return f.Kind == k && f.Problem != "" && f.Repair != "" }) {
			n.t.Errorf("no finding of kind %s: %+v", k, found)
		}
	}
	done, code := n.findings(append([]string{"--repair"}, flags...)...)
	if code != 0 || slices.ContainsFunc(done, func(f finding) bool { return !f.Repaired }) {
		n.t.Errorf("--repair: exit code %d, %+v", code, done)
	}
	n.check()
}
