package spec

import "fmt"

// Unlimited is RLIM_INFINITY.
const Unlimited = ^uint64(0)

// ClampRlimits returns the limits with none above what the process that starts
// the container may set: hard holds its own hard limits by type; a type that
// is not in it is not clamped. Every limit that was lowered is told in a line
// for the log.
func ClampRlimits(want []Rlimit, hard map[string]uint64) (limits []Rlimit, lowered []string) {
	for _, l := range want {
		top, ok := hard[l.Type]
		if ok && l.Hard > top {
			lowered = append(lowered, fmt.Sprintf("%s lowered from %s to %s, the most that may be set here", l.Type, limitText(l.Hard), limitText(top)))
			l.Hard = top
		}
		l.Soft = min(l.Soft, l.Hard)
		limits = append(limits, l)
	}
	return limits, lowered
}

// ClampOOMScoreAdj returns the adjustment that a process whose own is current
// can give to its child: without CAP_SYS_RESOURCE none below current.
func ClampOOMScoreAdj(want, current int, capable bool) (adj int, raised bool) {
	want = min(max(want, -1000), 1000)
	if !capable && want < current {
		return current, true
	}
	return want, false
}
