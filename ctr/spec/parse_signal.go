package spec

import (
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// The real-time signals that the C library leaves to programs.
const (
	sigRTMin = 34
	sigRTMax = 64
)

// ParseSignal parses the name of a signal, with or without SIG, in any case,
// or its number: "TERM", "SIGTERM", "15", "RTMIN+3".
func ParseSignal(s string) (syscall.Signal, error) {
	if n, err := strconv.ParseUint(s, 10, 8); err == nil {
		if n == 0 || n > sigRTMax {
			return 0, invalidf("signal %q is not a number between 1 and %d", s, sigRTMax)
		}
		return syscall.Signal(n), nil
	}
	name := strings.ToUpper(s)
	if !strings.HasPrefix(name, "SIG") {
		name = "SIG" + name
	}
	if sig := unix.SignalNum(name); sig != 0 {
		return sig, nil
	}
	if sig, ok := parseRealTime(name); ok {
		return sig, nil
	}
	return 0, invalidf("unknown signal %q: give a name or a number, such as TERM or 15", s)
}

func parseRealTime(name string) (syscall.Signal, bool) {
	base, offset := sigRTMin, ""
	switch {
	case strings.HasPrefix(name, "SIGRTMIN"):
		offset = name[len("SIGRTMIN"):]
	case strings.HasPrefix(name, "SIGRTMAX"):
		base, offset = sigRTMax, name[len("SIGRTMAX"):]
	default:
		return 0, false
	}
	n := 0
	if offset != "" {
		var err error
		if n, err = strconv.Atoi(offset); err != nil || offset[0] != '+' && offset[0] != '-' {
			return 0, false
		}
	}
	if n < -sigRTMax || n > sigRTMax || base+n < sigRTMin || base+n > sigRTMax {
		return 0, false
	}
	return syscall.Signal(base + n), true
}

// SignalName prints a signal as people know it: "SIGTERM", "SIGRTMIN+3", or
// its number.
func SignalName(sig syscall.Signal) string {
	if sig == sigRTMin {
		return "SIGRTMIN"
	}
	if sig > sigRTMin && sig <= sigRTMax {
		return "SIGRTMIN+" + strconv.Itoa(int(sig-sigRTMin))
	}
	if name := unix.SignalName(sig); name != "" {
		return name
	}
	return strconv.Itoa(int(sig))
}

// ParseStopTimeout parses a number of seconds, or a duration such as 1m30s; -1
// (any negative number) waits for ever.
func ParseStopTimeout(s string) (time.Duration, error) {
	if n, err := strconv.ParseInt(s, 10, 32); err == nil {
		return time.Duration(max(n, -1)) * time.Second, nil
	}
	d, err := time.ParseDuration(s)
	if err != nil {
		return 0, invalidf("timeout %q is neither a number of seconds nor a duration such as 1m30s", s)
	}
	if d < 0 {
		return -time.Second, nil
	}
	return d, nil
}
