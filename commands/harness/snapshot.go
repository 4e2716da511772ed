package harness

import (
	"bufio"
	"context"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"sort"
	"strings"
	"time"
)

// Kind names what sort of thing a line of a snapshot stands for.
type Kind string

// What a snapshot holds, in the order in which a diff shows it.
const (
	Processes  Kind = "process"
	Mounts     Kind = "mount"
	Links      Kind = "link"
	Firewall   Kind = "firewall"
	Cgroups    Kind = "cgroup"
	Addresses  Kind = "address lease"
	RunFiles   Kind = "run file"
	StateFiles Kind = "state file"
	Layers     Kind = "ownerless layer"
)

// Scope says what a snapshot looks at beyond the machine as a whole.
type Scope struct {
	// Roots are the davit roots whose records, run files and layers are
	// listed too. Where there are any, what another davit on roots of its own
	// makes meanwhile, and names so, is left out.
	Roots []Roots
	// IgnoreNetwork leaves out the fixed parts of the built-in networks of
	// Roots: the bridge itself and davit's own firewall table with what is
	// set up once for the network. What belongs to one container still counts.
	IgnoreNetwork bool
	// IgnoreFirewall leaves out all firewall rules, where they are a network
	// namespace's that goes away with its test.
	IgnoreFirewall bool
}

// Snapshot is what the machine held at one moment. It is a value: nothing
// changes in it later.
type Snapshot struct {
	lines map[Kind][]string
}

// Take makes a snapshot. It changes nothing. What cannot be read, such as a
// firewall tool that is not installed, counts as empty.
func Take(ctx context.Context, s Scope) (Snapshot, error) {
	snap := Snapshot{lines: map[Kind][]string{}}
	mounts, err := mountLines()
	if err != nil {
		return Snapshot{}, err
	}
	links, err := linkLines()
	if err != nil {
		return Snapshot{}, err
	}
	snap.lines[Mounts] = mounts
	snap.lines[Links] = links
	snap.lines[Processes] = processLines(s.Roots)
	snap.lines[Cgroups] = cgroupLines()
	if !s.IgnoreFirewall {
		snap.lines[Firewall] = firewallLines(ctx)
	}
	snap.lines[Addresses] = fileLines("/var/lib/cni/networks", "/var/lib/cni/results", "/var/lib/cni/cache")
	for _, r := range s.Roots {
		snap.lines[RunFiles] = append(snap.lines[RunFiles], runFileLines(r)...)
		snap.lines[StateFiles] = append(snap.lines[StateFiles], stateFileLines(r)...)
		layers, err := ownerlessLayers(r)
		if err != nil {
			return Snapshot{}, err
		}
		snap.lines[Layers] = append(snap.lines[Layers], layers...)
		if s.IgnoreNetwork {
			snap.dropNetwork(r)
		}
	}
	snap.dropOthers(s.Roots)
	for k := range snap.lines {
		sort.Strings(snap.lines[k])
	}
	return snap, nil
}

// Settle takes snapshots until one agrees with before, or until the patience
// ends, and returns the last difference. Monitors end a moment after the
// command that stopped their container, so one look is not enough.
func Settle(ctx context.Context, before Snapshot, s Scope, patience time.Duration) (Diff, error) {
	deadline := time.Now().Add(patience)
	for {
		after, err := Take(ctx, s)
		if err != nil {
			return Diff{}, err
		}
		d := before.Diff(after)
		if d.Empty() || time.Now().After(deadline) {
			return d, nil
		}
		select {
		case <-ctx.Done():
			return d, ctx.Err()
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// Diff is what two snapshots do not share.
type Diff struct {
	Leaked  []string // in the later one only
	Damaged []string // in the earlier one only
}

// Empty reports whether the snapshots agreed.
func (d Diff) Empty() bool { return len(d.Leaked)+len(d.Damaged) == 0 }

// String lists the difference, a line each, leaks first.
func (d Diff) String() string {
	var b strings.Builder
	for _, l := range d.Leaked {
		fmt.Fprintf(&b, "left over: %s\n", l)
	}
	for _, l := range d.Damaged {
		fmt.Fprintf(&b, "was there: %s\n", l)
	}
	return b.String()
}

// Diff compares s with a later snapshot of the same scope. Lines that occur
// several times are counted.
func (s Snapshot) Diff(after Snapshot) Diff {
	var d Diff
	kinds := []Kind{Processes, Mounts, Links, Firewall, Cgroups, Addresses, RunFiles, StateFiles, Layers}
	for _, k := range kinds {
		leaked, damaged := difference(s.lines[k], after.lines[k])
		for _, l := range leaked {
			d.Leaked = append(d.Leaked, string(k)+" "+l)
		}
		for _, l := range damaged {
			d.Damaged = append(d.Damaged, string(k)+" "+l)
		}
	}
	return d
}

// Count returns how many lines of a kind the snapshot holds.
func (s Snapshot) Count(k Kind) int { return len(s.lines[k]) }

func difference(before, after []string) (added, gone []string) {
	count := map[string]int{}
	for _, l := range before {
		count[l]++
	}
	for _, l := range after {
		if count[l]--; count[l] < 0 {
			added = append(added, l)
		}
	}
	for _, l := range before {
		if count[l]--; count[l] >= 0 {
			gone = append(gone, l)
		}
	}
	return added, gone
}

// mountLines lists this mount namespace, pinned namespaces (nsfs) among them,
// without the numbers that change with every mount.
func mountLines() ([]string, error) {
	f, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return nil, fmt.Errorf("reading the mount table: %w", err)
	}
	defer f.Close()
	var out []string
	scan := bufio.NewScanner(f)
	scan.Buffer(nil, 1<<20)
	for scan.Scan() {
		before, after, ok := strings.Cut(scan.Text(), " - ")
		left, right := strings.Fields(before), strings.Fields(after)
		if !ok || len(left) < 5 || len(right) < 2 {
			continue
		}
		root := left[3]
		if right[0] == "nsfs" {
			root, _, _ = strings.Cut(root, ":") // net:[4026532…] is a new number each time
		}
		out = append(out, fmt.Sprintf("%s at %s (%s)", right[0], left[4], root))
	}
	return out, scan.Err()
}

func linkLines() ([]string, error) {
	links, err := net.Interfaces()
	if err != nil {
		return nil, fmt.Errorf("listing network links: %w", err)
	}
	var out []string
	for _, l := range links {
		out = append(out, l.Name)
	}
	return out, nil
}

// ours matches cgroups that a container engine makes.
func ours() *regexp.Regexp {
	return regexp.MustCompile(`davit|conmon|libpod|runc|crun|[0-9a-f]{64}`)
}

// cgroupLines lists the folders of every cgroup hierarchy, v1 and v2, that a
// container engine makes; those of the host's own services come and go.
func cgroupLines() []string {
	engine := ours()
	var out []string
	for _, top := range cgroupMounts() {
		_ = filepath.WalkDir(top, func(path string, d fs.DirEntry, err error) error {
			if err == nil && d.IsDir() && engine.MatchString(strings.TrimPrefix(path, top)) {
				out = append(out, path)
			}
			return nil // a folder that went away while walking is no error
		})
	}
	return out
}

func cgroupMounts() []string {
	data, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		return nil
	}
	var out []string
	for line := range strings.Lines(string(data)) {
		f := strings.Fields(line)
		if len(f) > 2 && (f[2] == "cgroup" || f[2] == "cgroup2") && !slices.Contains(out, f[1]) {
			out = append(out, f[1])
		}
	}
	return out
}

// fileLines lists all files below the given folders. Folders do not count.
func fileLines(dirs ...string) []string {
	var out []string
	for _, dir := range dirs {
		_ = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
			if err == nil && !d.IsDir() {
				out = append(out, path)
			}
			return nil
		})
	}
	return out
}
