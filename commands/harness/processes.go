package harness

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// process is a line of /proc.
type process struct {
	pid, parent int
	name        string
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
