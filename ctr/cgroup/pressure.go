package cgroup

import (
	"bytes"
	"strconv"
	"strings"
	"time"
)

// PressureStats tell how long tasks of a cgroup have waited for what they needed
// (the kernel's Documentation/accounting/psi.rst).
type PressureStats struct {
	CPU, Memory, IO Pressure
}

// Pressure is one resource's.
type Pressure struct {
	// Some is the time in which at least one task waited, Full that in which all
	// did.
	Some, Full Stall
}

// Stall is a time of waiting: Total since the cgroup was made, in nanoseconds, and
// averages over 10, 60 and 300 seconds in per cent.
type Stall struct {
	Total                uint64
	Avg10, Avg60, Avg300 float64
}

// pressure reads the three files; nil where there is none of them.
func (r *reader) pressure() *PressureStats {
	p := &PressureStats{}
	any := false
	for _, f := range []struct {
		file string
		to   *Pressure
	}{{"cpu.pressure", &p.CPU}, {"memory.pressure", &p.Memory}, {"io.pressure", &p.IO}} {
		text := r.text("", f.file)
		any = any || len(text) > 0
		*f.to = parsePressure(text)
	}
	if !any {
		return nil
	}
	return p
}

func parsePressure(text []byte) Pressure {
	var p Pressure
	for line := range bytes.Lines(text) {
		f := strings.Fields(string(line))
		if len(f) == 0 {
			continue
		}
		to := &p.Some
		if f[0] == "full" {
			to = &p.Full
		}
		for _, kv := range f[1:] {
			key, value, _ := strings.Cut(kv, "=")
			switch key {
			case "total":
				usec, _ := strconv.ParseUint(value, 10, 64) // the kernel writes numbers
				to.Total = usec * uint64(time.Microsecond)
			case "avg10":
				to.Avg10, _ = strconv.ParseFloat(value, 64)
			case "avg60":
				to.Avg60, _ = strconv.ParseFloat(value, 64)
			case "avg300":
				to.Avg300, _ = strconv.ParseFloat(value, 64)
			}
		}
	}
	return p
}
