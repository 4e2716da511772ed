package spec

import (
	"math"
	"strconv"
	"strings"
)

// ParseSize parses a number of bytes with an optional unit of b, k, m, g, t or
// p, in any case, also written kb or KiB: always powers of 1024, as docker and
// podman have it. Fractions are fine ("1.5g").
func ParseSize(s string) (int64, error) {
	number := strings.TrimRight(s, "bBiIkKmMgGtTpP ")
	unit := strings.ToLower(strings.TrimSpace(s[len(number):]))
	shift, ok := sizeShift(unit)
	value, err := strconv.ParseFloat(number, 64)
	if !ok || err != nil || number == "" || strings.Trim(number, "0123456789.") != "" {
		return 0, invalidf("size %q is not a number with a unit of b, k, m or g, such as 512m", s)
	}
	// Whole numbers are exact beyond what a float holds.
	if whole, err := strconv.ParseInt(number, 10, 64); err == nil {
		if whole > math.MaxInt64>>shift {
			return 0, invalidf("size %q is too large", s)
		}
		return whole << shift, nil
	}
	value *= float64(int64(1) << shift)
	if value >= math.MaxInt64 {
		return 0, invalidf("size %q is too large", s)
	}
	return int64(value), nil
}

func sizeShift(unit string) (shift uint, ok bool) {
	if len(unit) > 1 {
		// k, kb and kib are the same; b and ib alone are not.
		rest := unit[1:]
		if rest != "b" && rest != "ib" || unit[0] == 'b' || unit[0] == 'i' {
			return 0, false
		}
		unit = unit[:1]
	}
	if unit == "" || unit == "b" {
		return 0, true
	}
	i := strings.Index("kmgtp", unit)
	return uint(i+1) * 10, i >= 0
}

// FormatSize prints a number of bytes in the largest unit that divides it, as
// [ParseSize] reads it.
func FormatSize(n int64) string {
	const units = "bkmgtp"
	i := 0
	for n != 0 && n%1024 == 0 && i < len(units)-1 {
		n /= 1024
		i++
	}
	return strconv.FormatInt(n, 10) + units[i:i+1]
}

// ParseMemory parses a memory limit of at least 4 KiB; 0 is none.
func ParseMemory(s string) (int64, error) {
	n, err := ParseSize(s)
	if err != nil {
		return 0, err
	}
	if n != 0 && n < 4096 {
		return 0, invalidf("memory limit %q is below 4k, the least that the kernel counts", s)
	}
	return n, nil
}

// ParseMemorySwap parses a limit of memory and swap together; -1 is unlimited.
func ParseMemorySwap(s string) (int64, error) {
	if s == "-1" {
		return -1, nil
	}
	return ParseMemory(s)
}

// ParseCPUs parses a number of CPUs, such as 1.5, into billionths of one; 0 is
// no limit.
func ParseCPUs(s string) (int64, error) {
	n, err := strconv.ParseFloat(s, 64)
	// Only plain decimal notation: ParseFloat takes NaN, Inf, 0x1p4 and 1_0.
	if err != nil || strings.Trim(s, "0123456789.") != "" || n > 1<<20 {
		return 0, invalidf("number of cpus %q is not a number such as 1.5", s)
	}
	if n != 0 && n < 0.01 {
		return 0, invalidf("number of cpus %q is below 0.01, the least that the kernel's scheduler takes", s)
	}
	return int64(math.Round(n * 1e9)), nil
}

// FormatCPUs prints billionths of a CPU as [ParseCPUs] reads them.
func FormatCPUs(nano int64) string {
	s := strconv.FormatInt(nano/1e9, 10)
	if nano%1e9 == 0 {
		return s
	}
	frac := strconv.FormatInt(1e9+nano%1e9, 10)[1:]
	return s + "." + strings.TrimRight(frac, "0")
}

// ParsePids parses a limit of processes; -1 and 0 are unlimited.
func ParsePids(s string) (int64, error) {
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil || n < -1 {
		return 0, invalidf("pids limit %q is not a number, or -1 for unlimited", s)
	}
	if n == 0 {
		return -1, nil
	}
	return n, nil
}
