package harness

import (
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
)

// dropOthers takes out of a snapshot what another davit on roots of its own
// makes meanwhile, other tests on the same machine: links, tables and cgroups
// that bear the tag of other roots, and mounts in the temporary folder below
// none of these roots.
func (s Snapshot) dropOthers(roots []Roots) {
	if len(roots) == 0 {
		return
	}
	for _, k := range []Kind{Links, Firewall, Cgroups} {
		s.lines[k] = slices.DeleteFunc(s.lines[k], func(l string) bool { return taggedByOthers(l, roots) })
	}
	s.lines[Mounts] = slices.DeleteFunc(s.lines[Mounts], func(l string) bool {
		_, at, _ := strings.Cut(l, " at ")
		below := func(r Roots) bool { return strings.HasPrefix(at, r.Dir+"/") }
		return strings.HasPrefix(at, strings.TrimSuffix(os.TempDir(), "/")+"/") && !slices.ContainsFunc(roots, below)
	})
}

// taggedByOthers reports whether a name bears the tag of roots other than these.
func taggedByOthers(line string, roots []Roots) bool {
	m := regexp.MustCompile(`\bdavit-([0-9a-f]{6})\b`).FindStringSubmatch(line)
	return m != nil && !slices.ContainsFunc(roots, func(r Roots) bool { return r.NetworkTag() == m[1] })
}

// ofOthers reports whether a process is another davit's, by its cgroup or by
// the configuration in its environment.
func ofOthers(pid int, roots []Roots) bool {
	if len(roots) == 0 {
		return false
	}
	if taggedByOthers(cgroupPaths(pid), roots) {
		return true
	}
	environ, _ := os.ReadFile(fmt.Sprintf("/proc/%d/environ", pid))
	for kv := range strings.SplitSeq(string(environ), "\x00") {
		if config, ok := strings.CutPrefix(kv, "DAVIT_CONFIG="); ok {
			return !slices.ContainsFunc(roots, func(r Roots) bool { return r.Config == config })
		}
	}
	return false
}
