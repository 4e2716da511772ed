package cli

import (
	"strings"
	"time"

	"github.com/docker/go-units"
)

// ShortID is the first 12 characters of an ID, without its algorithm; the whole
// ID when full is set.
func ShortID(id string, full bool) string {
	_, hex, ok := strings.Cut(id, ":")
	if !ok {
		hex = id
	}
	if full || len(hex) <= 12 {
		return hex
	}
	return hex[:12]
}

// Ago is how long before now t was, in words: "2 minutes ago". Empty for the
// zero time.
func Ago(t, now time.Time) string {
	if t.IsZero() {
		return ""
	}
	return Lasting(now.Sub(t)) + " ago"
}

// Lasting is a duration in words: "2 minutes". Negative ones are none.
func Lasting(d time.Duration) string {
	return units.HumanDuration(max(d, 0))
}

// Size is a size in bytes in words, in powers of 1000: "4.26 MB".
func Size(bytes int64) string {
	s := units.HumanSizeWithPrecision(float64(bytes), 3)
	i := strings.LastIndexAny(s, "0123456789") + 1
	return s[:i] + " " + s[i:]
}

// Time is a time as every machine-readable output has it: RFC 3339 with what
// fractions there are, in the local zone; empty for the zero time.
func Time(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.Local().Format(time.RFC3339Nano)
}
