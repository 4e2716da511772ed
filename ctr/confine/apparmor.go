package confine

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"

	"github.com/containerd/errdefs"
	"github.com/moby/profiles/apparmor"
)

// DefaultProfile is the name of the AppArmor profile of containers that ask for
// none.
const DefaultProfile = "davit-default"

// unconfined asks for no AppArmor profile.
const unconfined = "unconfined"

// Profiles are the AppArmor profiles of a host.
type Profiles interface {
	// Enabled tells whether the host has AppArmor.
	Enabled() bool
	// CanLoad tells whether the host has what loads profiles.
	CanLoad() bool
	Loaded(name string) (bool, error)
	// LoadDefault makes the default profile and loads it under a name, in place of
	// one of that name.
	LoadDefault(name string) error
}

// AppArmor chooses profiles. The zero value works on this host.
type AppArmor struct {
	// Profiles are this host's where it is nil.
	Profiles Profiles
}

// Profile returns the profile to give to the runtime, empty for none: the one that
// is asked for; else the default one, which is loaded when it is first needed and
// which the privileged do without, and hosts without AppArmor or its parser.
// ErrFailedPrecondition for one that is asked for and not loaded.
func (a AppArmor) Profile(asked string, privileged bool) (string, error) {
	p := a.Profiles
	if p == nil {
		p = hostProfiles{}
	}
	switch {
	case asked == unconfined, asked == "" && (privileged || !p.Enabled()):
		return "", nil
	case asked == "", asked == DefaultProfile && p.Enabled():
		return defaultProfile(p, asked)
	case !p.Enabled():
		return "", fmt.Errorf("AppArmor profile %q cannot be used: this host has no AppArmor: %w", asked, errdefs.ErrFailedPrecondition)
	}
	loaded, err := p.Loaded(asked)
	if err != nil {
		return "", fmt.Errorf("looking for AppArmor profile %q: %w", asked, err)
	}
	if !loaded {
		return "", fmt.Errorf("AppArmor profile %q cannot be used: it is not loaded: load it with apparmor_parser: %w", asked, errdefs.ErrFailedPrecondition)
	}
	return asked, nil
}

func defaultProfile(p Profiles, asked string) (string, error) {
	if loaded, err := p.Loaded(DefaultProfile); err == nil && loaded {
		return DefaultProfile, nil
	}
	if asked == "" && !p.CanLoad() {
		return "", nil
	}
	if err := p.LoadDefault(DefaultProfile); err != nil {
		return "", fmt.Errorf("loading AppArmor profile %q: %w: %w", DefaultProfile, err, errdefs.ErrFailedPrecondition)
	}
	return DefaultProfile, nil
}

// hostProfiles are those of this host.
type hostProfiles struct{}

var _ Profiles = hostProfiles{}

// apparmorEnabled is where the kernel says whether it has AppArmor.
const apparmorEnabled = "/sys/module/apparmor/parameters/enabled"

func (hostProfiles) Enabled() bool {
	on, err := os.ReadFile(apparmorEnabled)
	return err == nil && bytes.HasPrefix(on, []byte("Y"))
}

func (hostProfiles) CanLoad() bool {
	_, err := exec.LookPath("apparmor_parser")
	return err == nil
}

func (hostProfiles) Loaded(name string) (bool, error) { return apparmor.IsLoaded(name) }

func (hostProfiles) LoadDefault(name string) error { return apparmor.InstallDefault(name) }
