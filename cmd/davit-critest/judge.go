package main

import (
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
)

// allowedSkip is a set of specs that may be skipped, and why.
type allowedSkip struct {
	specs  string // regular expression over the name
	reason string
}

// allowedSkips are the specs that this machine, or the runtime, cannot run.
func (s *stage) allowedSkips() []allowedSkip {
	var out []allowedSkip
	if on, _ := os.ReadFile("/sys/module/apparmor/parameters/enabled"); !strings.HasPrefix(string(on), "Y") {
		out = append(out, allowedSkip{`AppArmor`, "the kernel has no AppArmor"})
	}
	if _, err := os.Stat("/sys/fs/selinux/enforce"); err != nil {
		out = append(out, allowedSkip{`SELinux`, "the kernel has no SELinux"})
	}
	if s.runtime == "crun" {
		out = append(out,
			allowedSkip{`UserNamespaces`, "this crun has no `features` to tell that it has them"},
			allowedSkip{`recursive readonly`, "this crun has no `features` to tell that it has them"})
	}
	return out
}

// merge adds the specs of a later run: one that was skipped or not run before
// counts as the later run left it, and a failure stays one.
func merge(all, later []spec) []spec {
	for _, l := range later {
		i := slices.IndexFunc(all, func(s spec) bool { return s.name == l.name })
		switch {
		case i < 0:
			all = append(all, l)
		case all[i].state == "skipped" || l.state != "passed" && l.state != "skipped":
			all[i] = l
		}
	}
	return all
}

// verdict sorts specs by what became of them.
type verdict struct {
	passed, failed, skipped, unexpected []spec
	reasons                             map[string]string // of skipped, by name
}

func judge(specs []spec, allowed []allowedSkip) verdict {
	v := verdict{reasons: map[string]string{}}
	for _, s := range specs {
		switch s.state {
		case "passed":
			v.passed = append(v.passed, s)
		case "skipped":
			i := slices.IndexFunc(allowed, func(a allowedSkip) bool { return regexp.MustCompile(a.specs).MatchString(s.name) })
			if i < 0 {
				v.unexpected = append(v.unexpected, s)
				continue
			}
			v.skipped = append(v.skipped, s)
			v.reasons[s.name] = allowed[i].reason
		default:
			v.failed = append(v.failed, s)
		}
	}
	return v
}

// String is the summary: counts, then every spec that did not pass.
func (v verdict) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d passed, %d failed, %d skipped as expected, %d skipped unexpectedly\n",
		len(v.passed), len(v.failed), len(v.skipped), len(v.unexpected))
	reasons := map[string]int{}
	for _, s := range v.skipped {
		reasons[v.reasons[s.name]]++
	}
	for _, s := range v.skipped {
		if r := v.reasons[s.name]; reasons[r] > 0 {
			fmt.Fprintf(&b, "  skipped: %d: %s\n", reasons[r], r)
			reasons[r] = 0
		}
	}
	for _, s := range v.unexpected {
		fmt.Fprintf(&b, "  SKIPPED: %s: %s\n", s.name, short(s.message))
	}
	for _, s := range v.failed {
		fmt.Fprintf(&b, "  FAILED (%s): %s\n    %s\n", s.state, s.name, short(s.message))
	}
	return b.String()
}

// err is nil when nothing failed and nothing was skipped that may not be, and
// anything ran at all.
func (v verdict) err() error {
	if len(v.failed)+len(v.unexpected) > 0 {
		return fmt.Errorf("%d specs failed, %d were skipped and may not be", len(v.failed), len(v.unexpected))
	}
	if len(v.passed) == 0 {
		return fmt.Errorf("no spec ran")
	}
	return nil
}

// short is the beginning of a message, on one line, without gomega's dump of the
// error that it has in words already.
func short(message string) string {
	message, _, _ = strings.Cut(message, "\nUnexpected error:")
	message = strings.Join(strings.Fields(message), " ")
	if r := []rune(message); len(r) > 300 {
		return string(r[:300]) + "…"
	}
	return message
}
