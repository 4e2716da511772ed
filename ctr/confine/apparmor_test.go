package confine

import (
	"errors"
	"os"
	"slices"
	"testing"

	"github.com/containerd/errdefs"
)

// someProfiles are those of a host that has AppArmor.
type someProfiles struct {
	off, noParser, broken bool
	loaded                []string
}

func (p *someProfiles) Enabled() bool { return !p.off }
func (p *someProfiles) CanLoad() bool { return !p.noParser }

func (p *someProfiles) Loaded(name string) (bool, error) {
	if p.broken {
		return false, errors.New("not mounted")
	}
	return slices.Contains(p.loaded, name), nil
}

func (p *someProfiles) LoadDefault(name string) error {
	if p.noParser {
		return errors.New("no apparmor_parser")
	}
	p.loaded = append(p.loaded, name)
	return nil
}

// What was asked for and cannot be enforced is an error, never left out.
func TestAppArmor(t *testing.T) {
	for name, tt := range map[string]struct {
		host       someProfiles
		asked      string
		privileged bool
		want       string
		refused    bool
		loads      int // profiles that are loaded afterwards
	}{
		"default":                 {want: DefaultProfile, loads: 1},
		"default, loaded":         {host: someProfiles{loaded: []string{DefaultProfile}}, want: DefaultProfile, loads: 1},
		"default, loaded, parser": {host: someProfiles{loaded: []string{DefaultProfile}, noParser: true}, want: DefaultProfile, loads: 1},
		"default, unreadable":     {host: someProfiles{broken: true}, want: DefaultProfile, loads: 1},
		"default, no parser":      {host: someProfiles{noParser: true}},
		"default, off":            {host: someProfiles{off: true}},
		"default by name":         {asked: DefaultProfile, want: DefaultProfile, loads: 1},
		"by name, no parser":      {host: someProfiles{noParser: true}, asked: DefaultProfile, refused: true},
		"by name, off":            {host: someProfiles{off: true}, asked: DefaultProfile, refused: true},
		"privileged":              {privileged: true},
		"privileged, asked":       {host: someProfiles{loaded: []string{"web"}}, asked: "web", privileged: true, want: "web", loads: 1},
		"unconfined":              {asked: "unconfined"},
		"unconfined, off":         {host: someProfiles{off: true}, asked: "unconfined"},
		"loaded":                  {host: someProfiles{loaded: []string{"web"}}, asked: "web", want: "web", loads: 1},
		"not loaded":              {host: someProfiles{loaded: []string{"website"}}, asked: "web", refused: true, loads: 1},
		"asked, off":              {host: someProfiles{off: true}, asked: "web", refused: true},
	} {
		got, err := AppArmor{&tt.host}.Profile(tt.asked, tt.privileged)
		if got != tt.want || (err != nil) != tt.refused || err != nil && !errdefs.IsFailedPrecondition(err) || len(tt.host.loaded) != tt.loads {
			t.Errorf("%s: %q, error %v, loaded %q", name, got, err, tt.host.loaded)
		}
	}
	if got, err := (AppArmor{&someProfiles{broken: true}}).Profile("web", false); got != "" || err == nil {
		t.Errorf("profiles that cannot be read: %q, error %v", got, err)
	}
}

func TestHostWithoutAppArmor(t *testing.T) {
	if _, err := os.Stat(apparmorEnabled); err == nil {
		t.Skip("this host has AppArmor")
	}
	for profile, refused := range map[string]bool{"": false, "unconfined": false, "web": true} {
		got, err := AppArmor{}.Profile(profile, false)
		if got != "" || (err != nil) != refused || (err != nil && !errdefs.IsFailedPrecondition(err)) {
			t.Errorf("profile %q: %q, error %v, refused should be %v", profile, got, err, refused)
		}
	}
}
