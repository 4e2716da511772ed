package top

import (
	"bytes"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/containerd/errdefs"
)

// Names resolves numbers to the names that they have inside the container.
type Names struct {
	// User and Group return the name of an ID; empty if there is none.
	User, Group func(id uint32) string
}

// Process is one process, as /proc tells it.
type Process struct {
	HostPid, Pid, PPid int
	UID, GID           uint32
	Comm, State, TTY   string
	Args               []string
	Nice, Threads      int
	VSize, RSS         uint64 // bytes
	CPU, Elapsed       time.Duration
}

// Default are the columns that are shown when none are asked for.
func Default() []string {
	return []string{"user", "pid", "ppid", "pcpu", "etime", "tty", "time", "comm"}
}

// column is what a descriptor shows.
type column struct {
	name, title string
	value       func(p Process, n Names) string
}

func columns() []column {
	host := Names{User: func(uint32) string { return "" }}
	return []column{
		{"args", "COMMAND", func(p Process, _ Names) string { return command(p) }},
		{"comm", "COMMAND", func(p Process, _ Names) string { return command(p) }},
		{"etime", "ELAPSED", func(p Process, _ Names) string { return p.Elapsed.Round(time.Second).String() }},
		{"group", "GROUP", func(p Process, n Names) string { return named(n.Group, p.GID) }},
		{"hpid", "HPID", func(p Process, _ Names) string { return strconv.Itoa(p.HostPid) }},
		{"huser", "HUSER", func(p Process, _ Names) string { return named(host.User, p.UID) }},
		{"nice", "NI", func(p Process, _ Names) string { return strconv.Itoa(p.Nice) }},
		{"pcpu", "%CPU", func(p Process, _ Names) string { return strconv.FormatFloat(percent(p), 'f', 3, 64) }},
		{"pid", "PID", func(p Process, _ Names) string { return strconv.Itoa(p.Pid) }},
		{"ppid", "PPID", func(p Process, _ Names) string { return strconv.Itoa(p.PPid) }},
		{"rss", "RSS", func(p Process, _ Names) string { return strconv.FormatUint(p.RSS>>10, 10) }},
		{"state", "STATE", func(p Process, _ Names) string { return p.State }},
		{"threads", "THREADS", func(p Process, _ Names) string { return strconv.Itoa(p.Threads) }},
		{"time", "TIME", func(p Process, _ Names) string { return p.CPU.Round(time.Second).String() }},
		{"tty", "TTY", func(p Process, _ Names) string { return p.TTY }},
		{"user", "USER", func(p Process, n Names) string { return named(n.User, p.UID) }},
		{"vsz", "VSZ", func(p Process, _ Names) string { return strconv.FormatUint(p.VSize>>10, 10) }},
	}
}

// Descriptors lists the columns that there are.
func Descriptors() []string {
	var out []string
	for _, c := range columns() {
		out = append(out, c.name)
	}
	return out
}

// Table shows processes, headings first. An unknown descriptor is
// ErrInvalidArgument and names those that there are.
func Table(procs []Process, descriptors []string, n Names) ([][]string, error) {
	if len(descriptors) == 0 {
		descriptors = Default()
	}
	all := columns()
	var chosen []column
	var head []string
	for _, d := range descriptors {
		i := slices.IndexFunc(all, func(c column) bool { return c.name == strings.ToLower(d) })
		if i < 0 {
			return nil, fmt.Errorf("no column %q; there are %s: %w", d, strings.Join(Descriptors(), ", "), errdefs.ErrInvalidArgument)
		}
		chosen, head = append(chosen, all[i]), append(head, all[i].title)
	}
	out := [][]string{head}
	for _, p := range procs {
		var row []string
		for _, c := range chosen {
			row = append(row, c.value(p, n))
		}
		out = append(out, row)
	}
	return out, nil
}

// Read reads the processes with these pids of the host; those that are gone are
// left out.
func Read(pids []int) ([]Process, error) {
	uptime, err := readUptime()
	if err != nil {
		return nil, err
	}
	var out []Process
	for _, pid := range pids {
		p, err := read(pid, uptime)
		if err != nil {
			continue
		}
		out = append(out, p)
	}
	slices.SortFunc(out, func(a, b Process) int { return a.Pid - b.Pid })
	inner := map[int]int{}
	for _, p := range out {
		inner[p.HostPid] = p.Pid
	}
	for i := range out {
		out[i].PPid = inner[out[i].PPid] // 0: its parent is outside
	}
	return out, nil
}

// ticks is the unit of the times in /proc/PID/stat: USER_HZ, 100 on every
// architecture that Linux runs containers on (proc(5)).
const ticks = 100

func read(pid int, uptime time.Duration) (Process, error) {
	p := Process{HostPid: pid, Pid: pid}
	dir := fmt.Sprintf("/proc/%d/", pid)
	stat, err := os.ReadFile(dir + "stat")
	if err != nil {
		return p, err
	}
	open, end := bytes.IndexByte(stat, '('), bytes.LastIndexByte(stat, ')')
	if open < 0 || end < open {
		return p, fmt.Errorf("%sstat is malformed", dir)
	}
	p.Comm = string(stat[open+1 : end])
	f := strings.Fields(string(stat[end+1:]))
	if len(f) < 22 {
		return p, fmt.Errorf("%sstat is short", dir)
	}
	num := func(i int) int64 { n, _ := strconv.ParseInt(f[i], 10, 64); return n }
	p.State, p.PPid, p.TTY = f[0], int(num(1)), tty(num(4))
	p.CPU = time.Duration(num(11)+num(12)) * time.Second / ticks
	p.Nice, p.Threads = int(num(16)), int(num(17))
	p.Elapsed = uptime - time.Duration(num(19))*time.Second/ticks
	p.VSize, p.RSS = uint64(num(20)), uint64(num(21))*uint64(os.Getpagesize())
	if args, err := os.ReadFile(dir + "cmdline"); err == nil && len(args) > 0 {
		p.Args = strings.Split(strings.TrimRight(string(args), "\x00"), "\x00")
	}
	status, err := os.ReadFile(dir + "status")
	if err != nil {
		return p, err
	}
	for line := range strings.Lines(string(status)) {
		key, value, _ := strings.Cut(line, ":")
		v := strings.Fields(value)
		switch {
		case key == "Uid" && len(v) > 1:
			p.UID = number(v[1])
		case key == "Gid" && len(v) > 1:
			p.GID = number(v[1])
		case key == "NSpid" && len(v) > 0:
			p.Pid = int(number(v[len(v)-1]))
		}
	}
	return p, nil
}

func number(s string) uint32 {
	n, _ := strconv.ParseUint(s, 10, 32)
	return uint32(n)
}

func readUptime() (time.Duration, error) {
	data, err := os.ReadFile("/proc/uptime")
	if err != nil {
		return 0, fmt.Errorf("reading uptime: %w", err)
	}
	first, _, _ := strings.Cut(string(data), " ")
	secs, err := strconv.ParseFloat(first, 64)
	if err != nil {
		return 0, fmt.Errorf("reading uptime: %w", err)
	}
	return time.Duration(secs * float64(time.Second)), nil
}

// tty names a terminal by its device number (proc(5)).
func tty(nr int64) string {
	major, minor := nr>>8&0xfff, nr&0xff|nr>>12&0xfff00
	switch {
	case nr == 0:
		return "?"
	case major >= 136 && major <= 143:
		return fmt.Sprintf("pts/%d", (major-136)*256+minor)
	}
	return fmt.Sprintf("%d:%d", major, minor)
}

func named(f func(uint32) string, id uint32) string {
	if f != nil {
		if name := f(id); name != "" {
			return name
		}
	}
	return strconv.FormatUint(uint64(id), 10)
}

// command is the command line on one line, or the bracketed name of a process
// that has none. Control characters are shown, not obeyed.
func command(p Process) string {
	if len(p.Args) == 0 {
		return "[" + p.Comm + "]"
	}
	q := strconv.Quote(strings.Join(p.Args, " "))
	return strings.ReplaceAll(q[1:len(q)-1], `\"`, `"`)
}

func percent(p Process) float64 {
	if p.Elapsed <= 0 {
		return 0
	}
	return 100 * float64(p.CPU) / float64(p.Elapsed)
}
