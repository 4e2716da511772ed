package img

import (
	"errors"
	"fmt"
	"strings"

	"github.com/containerd/errdefs"
)

// ErrSignature is the class of an image that policy.json refuses: rejected, not
// signed, or signed by somebody else.
var ErrSignature = errors.New("refused by the signature policy")

// ErrSeveralNames is the class of an image that was to be removed by its ID, and
// stays because it has several names: by force it goes with all of them.
var ErrSeveralNames = errors.New("the image has several names")

// AmbiguousError says that a prefix is one of several images' IDs.
type AmbiguousError struct {
	Ref string   // what was typed
	IDs []string // the images' full IDs
}

// Error names the candidates.
func (e *AmbiguousError) Error() string {
	short := make([]string, len(e.IDs))
	for i, id := range e.IDs {
		short[i] = id[:min(12, len(id))]
	}
	return fmt.Sprintf("image %q is ambiguous: %s", e.Ref, strings.Join(short, ", "))
}

// Unwrap gives the class.
func (e *AmbiguousError) Unwrap() error { return errdefs.ErrInvalidArgument }

// InUseError says that containers keep an image from being removed.
type InUseError struct {
	Image      string   // the image as the caller named it
	Containers []string // the storage containers' IDs, sorted
}

// Error names the containers.
func (e *InUseError) Error() string {
	short := make([]string, len(e.Containers))
	for i, id := range e.Containers {
		short[i] = id[:min(12, len(id))]
	}
	return fmt.Sprintf("image %q is in use by container %s", e.Image, strings.Join(short, ", "))
}

// Unwrap gives the class.
func (e *InUseError) Unwrap() error { return errdefs.ErrFailedPrecondition }

// ShortNameError says that a short name cannot be pulled as it stands: nothing
// configured says which registry it is of, or several are and nobody chose.
type ShortNameError struct {
	Name       string   // the short name
	Candidates []string // full names to choose from, the likeliest first
	Ambiguous  bool     // several registries are configured, and short-name-mode is enforcing
}

// Error ends with the command to type.
func (e *ShortNameError) Error() string {
	if e.Ambiguous {
		return fmt.Sprintf("short name %q may mean %s; name one: davit pull %s", e.Name, strings.Join(e.Candidates, " or "), e.Candidates[0])
	}
	return fmt.Sprintf("short name %q: registries.conf has no alias and no unqualified-search-registries for it; type the full name: davit pull %s", e.Name, e.Candidates[0])
}

// Unwrap gives the class.
func (e *ShortNameError) Unwrap() error { return errdefs.ErrInvalidArgument }

// classified is an error of one line with a class. The libraries' long chain
// stays below it for errors.As, and is not printed.
type classified struct {
	msg   string
	class []error
	cause error
}

// Error is the one line.
func (e *classified) Error() string { return e.msg }

// Unwrap gives the classes and the cause.
func (e *classified) Unwrap() []error {
	if e.cause == nil {
		return e.class
	}
	return append(append([]error(nil), e.class...), e.cause)
}

// notFound is the error of a reference that no image answers to.
func notFound(ref string) error { return fmt.Errorf("image %q: %w", ref, errdefs.ErrNotFound) }
