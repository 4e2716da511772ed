package harness

import (
	"bytes"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// process is a line of /proc.
type process struct {
	pid, parent int
	name        string
}

// Process is one that Roots.Processes lists.
type Process struct {
	PID, Parent int
	// Args are its command line, at least a name.
	Args []string
	// Davit says that it was given davit's configuration: it is davit itself, a
	// monitor, or something that they run.
	Davit bool
}

// Name is the last element of its program's path.
func (p Process) Name() string { return filepath.Base(p.Args[0]) }

// Monitor says whether it is one.
func (p Process) Monitor() bool { return p.Name() == "conmon" }

// rank is its place in the order in which Reboot ends processes.
func (p Process) rank() int {
	switch {
	case p.Monitor():
		return 1
	case p.Davit:
		return 0
	}
	return 2
}

// Processes lists the processes of these roots: davit itself, monitors, what is in
// their cgroups, and what descends from any of those; not those that have ended, nor
// the caller's own.
func (r Roots) Processes() []Process {
	all := readProcesses()
	found := map[int]Process{}
	for pid, p := range all {
		q := Process{PID: pid, Parent: p.parent, Args: arguments(pid, p.name)}
		environ, _ := os.ReadFile(fmt.Sprintf("/proc/%d/environ", pid))
		q.Davit = slices.Contains(strings.Split(string(environ), "\x00"), "DAVIT_CONFIG="+r.Config)
		named := slices.ContainsFunc(q.Args, func(a string) bool { return strings.HasPrefix(a, r.RunRoot+"/") })
		if q.Davit || named || strings.Contains(cgroupPaths(pid), "davit-"+r.NetworkTag()) {
			found[pid] = q
		}
	}
	for n := -1; n != len(found); {
		n = len(found)
		for pid, p := range all {
			if _, ok := found[p.parent]; ok && found[pid].PID == 0 {
				found[pid] = Process{PID: pid, Parent: p.parent, Args: arguments(pid, p.name)}
			}
		}
	}
	delete(found, os.Getpid())
	return slices.Collect(maps.Values(found))
}

// arguments are a process's command line, or its name where it has none.
func arguments(pid int, name string) []string {
	data, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	if words := strings.Split(strings.TrimRight(string(data), "\x00"), "\x00"); words[0] != "" {
		return words
	}
	return []string{name}
}

// engineName reports whether a process name is one of an engine's own.
func engineName(name string) bool {
	switch {
	case name == "conmon", name == "crun", name == "catatonit", name == "davit", name == "davit-faults":
		return true
	}
	return strings.HasPrefix(name, "runc")
}

// processLines lists the processes of container engines: those named so, all
// that descend from them, and those that live in a cgroup an engine made (a
// container whose monitor was killed has init for a parent). The caller's own
// process and its ancestors do not count, nor does another davit's.
func processLines(roots []Roots) []string {
	all := readProcesses()
	self := map[int]bool{}
	for pid := os.Getpid(); pid > 1; pid = all[pid].parent {
		if self[pid] {
			break
		}
		self[pid] = true
	}
	engine := ours()
	found := map[int]bool{}
	var belongs func(pid, depth int) bool
	belongs = func(pid, depth int) bool {
		p, ok := all[pid]
		if !ok || self[pid] || depth > 64 {
			return false
		}
		if yes, known := found[pid]; known {
			return yes
		}
		found[pid] = engineName(p.name) || belongs(p.parent, depth+1) || engine.MatchString(cgroupPaths(pid))
		return found[pid]
	}
	var out []string
	for pid := range all {
		if belongs(pid, 0) && !ofOthers(pid, roots) {
			out = append(out, fmt.Sprintf("%d %s: %s", pid, all[pid].name, commandLine(pid)))
		}
	}
	return out
}

func readProcesses() map[int]process {
	all := map[int]process{}
	stats, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, path := range stats {
		data, err := os.ReadFile(path)
		if err != nil {
			continue // ended meanwhile
		}
		open, end := bytes.IndexByte(data, '('), bytes.LastIndexByte(data, ')')
		if open < 0 || end < 0 {
			continue
		}
		fields := strings.Fields(string(data[end+1:]))
		pid, err := strconv.Atoi(strings.TrimSpace(string(data[:open])))
		if err != nil || len(fields) < 2 || fields[0] == "Z" || fields[0] == "X" {
			continue
		}
		parent, _ := strconv.Atoi(fields[1])
		all[pid] = process{pid: pid, parent: parent, name: string(data[open+1 : end])}
	}
	return all
}

// cgroupPaths returns the cgroups of a process, "" when it ended.
func cgroupPaths(pid int) string {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", pid))
	if err != nil {
		return ""
	}
	return string(data)
}

func commandLine(pid int) string {
	data, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	s := strings.TrimSpace(string(bytes.ReplaceAll(data, []byte{0}, []byte{' '})))
	if len(s) > 160 {
		s = s[:160] + "…"
	}
	return s
}
