package cli

import (
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Filters are the values of --filter by key. Values of one key are alternatives,
// different keys must all hold, and so must all labels.
type Filters map[string][]string

// ParseFilters reads KEY=VALUE pairs. A key that is not known is a usage error
// that names the known ones. "label!" is a key of its own.
func ParseFilters(args []string, known ...string) (Filters, error) {
	f := Filters{}
	for _, arg := range args {
		key, value, ok := strings.Cut(arg, "=")
		if !ok {
			return nil, Usagef("filter %q is not KEY=VALUE", arg).Hintf("keys: %s", strings.Join(known, ", "))
		}
		if !slices.Contains(known, key) {
			err := Usagef("unknown filter %q; the keys are %s", key, strings.Join(known, ", "))
			if near := Nearest(key, known); near != "" {
				err.Hint = "did you mean --filter " + near + "=" + value + "?"
			}
			return nil, err
		}
		f[key] = append(f[key], value)
	}
	return f, nil
}

// Any says whether one value of key matches; true when key is not filtered by.
func (f Filters) Any(key string, match func(value string) bool) bool {
	values, ok := f[key]
	return !ok || slices.ContainsFunc(values, match)
}

// Labels says whether labels have all that "label" asks for (KEY or KEY=VALUE),
// and none that "label!" excludes.
func (f Filters) Labels(labels map[string]string) bool {
	has := func(want string) bool {
		key, value, withValue := strings.Cut(want, "=")
		got, ok := labels[key]
		return ok && (!withValue || got == value)
	}
	for _, want := range f["label"] {
		if !has(want) {
			return false
		}
	}
	return !slices.ContainsFunc(f["label!"], has)
}

// Matcher returns how a name is compared with a filter's value: as a regular
// expression where it is one, else literally.
func Matcher(value string) func(s string) bool {
	if regexp.QuoteMeta(value) == value {
		return func(s string) bool { return strings.Contains(s, value) }
	}
	re, err := regexp.Compile(value)
	if err != nil {
		return func(s string) bool { return strings.Contains(s, value) }
	}
	return re.MatchString
}

// ParseTime reads a point in time: a duration before now ("10m", "24h"), RFC 3339
// in whole or in part, or seconds since 1970.
func ParseTime(s string, now time.Time) (time.Time, error) {
	// Before durations: "0" is one, too.
	if sec, err := strconv.ParseFloat(s, 64); err == nil && math.Abs(sec) < 1e15 {
		whole := int64(sec)
		return time.Unix(whole, int64((sec-float64(whole))*1e9)), nil
	}
	if d, err := time.ParseDuration(s); err == nil {
		return now.Add(-d), nil
	}
	for _, layout := range []string{time.RFC3339Nano, "2006-01-02T15:04:05", "2006-01-02T15:04", "2006-01-02 15:04:05", time.DateOnly} {
		if t, err := time.ParseInLocation(layout, s, now.Location()); err == nil {
			return t, nil
		}
	}
	return time.Time{}, Usagef("%q is not a time", s).Hintf("give a duration (10m, 24h), a time (2026-01-31T15:04:05Z) or seconds since 1970")
}

// ParseSeconds reads how long something lasts: a duration ("1m30s"), or a whole
// number of seconds. It is not negative.
func ParseSeconds(s string) (time.Duration, error) {
	d, err := time.ParseDuration(s)
	if n, perr := strconv.ParseUint(s, 10, 31); perr == nil {
		d, err = time.Duration(n)*time.Second, nil
	}
	if err != nil || d < 0 {
		return 0, Usagef("%q is not a time such as 30s", s)
	}
	return d, nil
}
