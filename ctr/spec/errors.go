package spec

import (
	"fmt"

	"github.com/containerd/errdefs"
)

// invalidError is of class ErrInvalidArgument without saying so in its text,
// which is written for the person who typed the value.
type invalidError struct{ text string }

func (e invalidError) Error() string { return e.text }
func (e invalidError) Unwrap() error { return errdefs.ErrInvalidArgument }

func invalidf(format string, args ...any) error {
	return invalidError{text: fmt.Sprintf(format, args...)}
}

// isControl reports a byte that never belongs into a path, a name or a
// variable.
func isControl(b byte) bool { return b < 0x20 || b == 0x7f }

func hasControl(s string) bool {
	for i := range len(s) {
		if isControl(s[i]) {
			return true
		}
	}
	return false
}
