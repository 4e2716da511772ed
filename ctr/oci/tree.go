package oci

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// killTree kills an exec'd process with what it started: its descendants, and
// whoever is in its session or process group. A runtime's init calls setsid
// before the command, so that pid names all three. Looking is repeated until
// nobody new is found, as a process may fork while it is looked at.
//
// pid must be a child of this process that is not reaped yet, or of a runtime
// that never reaps it: then it cannot be another's.
func killTree(pid int) error {
	if pid <= 1 {
		return fmt.Errorf("killing process %d: %w", pid, os.ErrInvalid)
	}
	seen := map[int]bool{}
	for range 32 {
		procs, err := processes()
		if err != nil {
			return errors.Join(err, ignoreGone(unix.Kill(-pid, unix.SIGKILL)), ignoreGone(unix.Kill(pid, unix.SIGKILL)))
		}
		fresh := false
		for _, p := range treeOf(procs, pid) {
			if seen[p.pid] || p.zombie {
				continue
			}
			seen[p.pid], fresh = true, true
			if p.pid != pid {
				_ = unix.Kill(p.pid, unix.SIGKILL)
			}
		}
		// The root last: while it lives its children are found below it.
		if !fresh {
			break
		}
		// Stop it first, lest it go on forking.
		_ = unix.Kill(pid, unix.SIGSTOP)
	}
	return errors.Join(ignoreGone(unix.Kill(-pid, unix.SIGKILL)), ignoreGone(unix.Kill(pid, unix.SIGKILL)))
}

func ignoreGone(err error) error {
	if errors.Is(err, unix.ESRCH) {
		return nil
	}
	return err
}

// process is a line of the process table.
type process struct {
	pid, parent, group, session int
	zombie                      bool
}

// treeOf picks pid, its descendants, and the members of the session and the
// group that it leads, with their descendants.
func treeOf(procs []process, pid int) []process {
	in := map[int]bool{pid: true}
	for again := true; again; {
		again = false
		for _, p := range procs {
			if in[p.pid] || p.pid <= 1 {
				continue
			}
			if in[p.parent] || p.session == pid || p.group == pid {
				in[p.pid], again = true, true
			}
		}
	}
	var out []process
	for _, p := range procs {
		if in[p.pid] {
			out = append(out, p)
		}
	}
	return out
}

// processes reads the process table; those that vanish meanwhile are left out.
func processes() ([]process, error) {
	dir, err := os.Open("/proc")
	if err != nil {
		return nil, err
	}
	defer func() { _ = dir.Close() }()
	names, err := dir.Readdirnames(-1)
	if err != nil {
		return nil, err
	}
	var out []process
	for _, name := range names {
		pid, err := strconv.Atoi(name)
		if err != nil {
			continue
		}
		data, err := os.ReadFile("/proc/" + name + "/stat")
		if err != nil {
			continue
		}
		// The name, in parentheses, may hold anything.
		_, rest, ok := cutLast(string(data), ") ")
		f := strings.Fields(rest)
		if !ok || len(f) < 4 {
			continue
		}
		p := process{pid: pid, zombie: f[0] == "Z" || f[0] == "X"}
		p.parent, _ = strconv.Atoi(f[1])
		p.group, _ = strconv.Atoi(f[2])
		p.session, _ = strconv.Atoi(f[3])
		out = append(out, p)
	}
	return out, nil
}

func cutLast(s, sep string) (before, after string, ok bool) {
	i := strings.LastIndex(s, sep)
	if i < 0 {
		return s, "", false
	}
	return s[:i], s[i+len(sep):], true
}
