package cdi

import (
	"errors"
	"fmt"
	"strings"

	"github.com/containerd/errdefs"
	specs "github.com/opencontainers/runtime-spec/specs-go"
	"tags.cncf.io/container-device-interface/pkg/cdi"
	"tags.cncf.io/container-device-interface/pkg/parser"
)

// CheckName returns an ErrInvalidArgument for what is not a device's qualified
// name, "vendor.com/class=name".
func CheckName(name string) error {
	if _, _, _, err := parser.ParseQualifiedName(name); err != nil {
		return fmt.Errorf("CDI device %.128q is not of the form vendor.com/class=name: %w", name, errdefs.ErrInvalidArgument)
	}
	return nil
}

// Inject adds devices, as the descriptions in dirs have them, to a spec; later
// folders win. A name that is none, or that no description has, is
// ErrInvalidArgument and named, with what is wrong with the descriptions.
func Inject(s *specs.Spec, dirs, names []string) error {
	for _, name := range names {
		if err := CheckName(name); err != nil {
			return err
		}
	}
	cache, err := cdi.NewCache(cdi.WithSpecDirs(dirs...), cdi.WithAutoRefresh(false))
	if err != nil {
		return fmt.Errorf("reading CDI descriptions: %w", err)
	}
	unknown, err := cache.InjectDevices(s, names...)
	if len(unknown) > 0 {
		broken := []error{nil}
		for path, errs := range cache.GetErrors() {
			broken = append(broken, fmt.Errorf("%s: %w", path, errors.Join(errs...)))
		}
		err = errdefs.ErrInvalidArgument
		if cause := errors.Join(broken...); cause != nil {
			err = fmt.Errorf("%w (%w)", err, cause)
		}
		return fmt.Errorf("no description in %s has the CDI device %q: %w", strings.Join(dirs, ", "), strings.Join(unknown, ", "), err)
	}
	if err != nil {
		return fmt.Errorf("adding CDI devices: %w", err)
	}
	return nil
}
