package cli

import (
	"strings"
	"testing"
	"time"
)

func TestFilters(t *testing.T) {
	f, err := ParseFilters([]string{"name=a", "name=b", "status=running", "label=x", "label=y=1", "label!=z"}, "name", "status", "label", "label!")
	if err != nil {
		t.Fatal(err)
	}
	is := func(s string) func(string) bool { return func(v string) bool { return v == s } }
	for _, tt := range []struct {
		name string
		got  bool
		want bool
	}{
		{"one of a key", f.Any("name", is("b")), true},
		{"none of a key", f.Any("name", is("c")), false},
		{"a key not asked for", f.Any("id", is("c")), true},
		{"all labels", f.Labels(map[string]string{"x": "", "y": "1"}), true},
		{"a label with another value", f.Labels(map[string]string{"x": "", "y": "2"}), false},
		{"a label missing", f.Labels(map[string]string{"y": "1"}), false},
		{"an excluded label", f.Labels(map[string]string{"x": "", "y": "1", "z": "0"}), false},
	} {
		if tt.got != tt.want {
			t.Errorf("%s: %v", tt.name, tt.got)
		}
	}
	for _, bad := range []string{"nope=1", "name", "statsu=running"} {
		_, err := ParseFilters([]string{bad}, "name", "status")
		if err == nil || !strings.Contains(err.Error(), strings.SplitN(bad, "=", 2)[0]) {
			t.Errorf("%q: %v", bad, err)
		}
	}
	if _, err := ParseFilters([]string{"statsu=running"}, "name", "status"); err != nil {
		if _, hint := Message(err); hint != "did you mean --filter status=running?" {
			t.Errorf("hint %q", hint)
		}
	}
}

func TestMatcher(t *testing.T) {
	for _, tt := range []struct {
		value, name string
		want        bool
	}{{"web", "my-web-1", true}, {"^web$", "my-web", false}, {"^web", "web-1", true}, {"a[", "a[b", true}, {"x", "web", false}} {
		if got := Matcher(tt.value)(tt.name); got != tt.want {
			t.Errorf("%q on %q: %v", tt.value, tt.name, got)
		}
	}
}

func TestParseTime(t *testing.T) {
	now := time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)
	for s, want := range map[string]time.Time{
		"10m":                    now.Add(-10 * time.Minute),
		"2026-01-02T03:04:05Z":   time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC),
		"2026-01-02T03:04:05.5Z": time.Date(2026, 1, 2, 3, 4, 5, 5e8, time.UTC),
		"2026-01-02":             time.Date(2026, 1, 2, 0, 0, 0, 0, time.UTC),
		"2026-01-02T03:04":       time.Date(2026, 1, 2, 3, 4, 0, 0, time.UTC),
		"1700000000":             time.Unix(1700000000, 0),
		"1700000000.25":          time.Unix(1700000000, 25e7),
		"0":                      time.Unix(0, 0),
		"0s":                     now,
	} {
		got, err := ParseTime(s, now)
		if err != nil || !got.Equal(want) {
			t.Errorf("%q: %v, %v; want %v", s, got, err, want)
		}
	}
	for _, s := range []string{"yesterday", "inf", "NaN", "1e300"} {
		if got, err := ParseTime(s, now); err == nil {
			t.Errorf("%q was read as %v", s, got)
		}
	}
}

func TestParseSeconds(t *testing.T) {
	for s, want := range map[string]time.Duration{
		"5": 5 * time.Second, "0": 0, "0s": 0, "1.5s": 1500 * time.Millisecond, "2m": 2 * time.Minute,
	} {
		if got, err := ParseSeconds(s); got != want || err != nil {
			t.Errorf("%q: %v, %v; want %v", s, got, err, want)
		}
	}
	for _, s := range []string{"", "-1", "-1s", "5x", "often", "99999999999999999999"} {
		if got, err := ParseSeconds(s); err == nil {
			t.Errorf("%q was read as %v", s, got)
		}
	}
}

func TestNearest(t *testing.T) {
	words := []string{"run", "rename", "images", "rmi", "pull", "push", "status", "network.default"}
	for word, want := range map[string]string{
		"imges": "images", "runn": "run", "pul": "pull", "statsu": "status", "xyzzy": "", "Run": "run",
		"netwrk.default": "network.default", "ren": "run", "rena": "rename", "": "",
	} {
		if got := Nearest(word, words); got != want {
			t.Errorf("Nearest(%q) = %q, want %q", word, got, want)
		}
	}
}

func TestHuman(t *testing.T) {
	now := time.Unix(1e9, 0)
	for _, tt := range []struct{ got, want string }{
		{Size(0), "0 B"}, {Size(4260000), "4.26 MB"}, {Size(999), "999 B"}, {Size(1992294), "1.99 MB"},
		{Ago(now.Add(-2*time.Minute), now), "2 minutes ago"}, {Ago(time.Time{}, now), ""},
		{Ago(now.Add(time.Hour), now), "Less than a second ago"},
		{ShortID("sha256:0123456789abcdef", false), "0123456789ab"},
		{ShortID("0123456789abcdef", true), "0123456789abcdef"},
		{ShortID("ab", false), "ab"},
		{Time(time.Time{}), ""},
		{Bytes(64 << 20).String(), "64m"}, {Bytes(1).String(), "1"}, {Bytes(0).String(), "0"}, {Bytes(1 << 40).String(), "1t"},
		{OneLine("a\nb\n"), "a; b"},
	} {
		if tt.got != tt.want {
			t.Errorf("got %q, want %q", tt.got, tt.want)
		}
	}
}
