package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os/exec"
	"syscall"
	"testing"

	"github.com/containerd/errdefs"

	"github.com/davit-containers/davit/ctr/oci"
)

// coded is an error that knows its exit code, as those of a container's program.
type coded struct{ code int }

func (c *coded) Error() string { return "no such program" }
func (c *coded) ExitCode() int { return c.code }

// exited is the error of a program that exited with 1.
func exited(t *testing.T) error {
	t.Helper()
	err := exec.CommandContext(t.Context(), "false").Run()
	if err == nil {
		t.Fatal("false succeeded")
	}
	return err
}

func TestCode(t *testing.T) {
	for _, tt := range []struct {
		name         string
		err          error
		want, remove int
	}{
		{"nil", nil, 0, 0},
		{"unknown", errdefs.ErrUnknown, 125, 125},
		{"invalid argument", errdefs.ErrInvalidArgument, 125, 125},
		{"not found", errdefs.ErrNotFound, 125, 1},
		{"already exists", errdefs.ErrAlreadyExists, 125, 125},
		{"permission denied", errdefs.ErrPermissionDenied, 125, 125},
		{"resource exhausted", errdefs.ErrResourceExhausted, 125, 125},
		{"failed precondition", errdefs.ErrFailedPrecondition, 125, 2},
		{"conflict", errdefs.ErrConflict, 125, 2},
		{"not modified", errdefs.ErrNotModified, 125, 125},
		{"aborted", errdefs.ErrAborted, 125, 125},
		{"out of range", errdefs.ErrOutOfRange, 125, 125},
		{"not implemented", errdefs.ErrNotImplemented, 125, 125},
		{"internal", errdefs.ErrInternal, 125, 125},
		{"unavailable", errdefs.ErrUnavailable, 125, 125},
		{"data loss", errdefs.ErrDataLoss, 125, 125},
		{"unauthenticated", errdefs.ErrUnauthenticated, 125, 125},
		{"deadline", context.DeadlineExceeded, 125, 125},
		{"canceled", context.Canceled, 130, 130},
		{"interrupted", &SignalError{syscall.SIGINT}, 130, 130},
		{"terminated", &SignalError{syscall.SIGTERM}, 143, 143},
		{"usage", Usagef("bad"), 125, 125},
		{"usage about an absent thing", WithHint(errdefs.ErrNotFound, "look"), 125, 1},
		{"of a container", &ExitError{Code: 7}, 7, 7},
		{"not executable", &coded{126}, 126, 126},
		{"no program", &coded{127}, 127, 127},
		{"a program of davit's", fmt.Errorf("unpacking: %w", exited(t)), 125, 125},
		{"broken pipe", &fs.PathError{Op: "write", Path: "/dev/stdout", Err: syscall.EPIPE}, 141, 141},
		{"pipe of another", fmt.Errorf("talking to conmon: %w", syscall.EPIPE), 125, 125},
		{"plain", errors.New("x"), 125, 125},
	} {
		t.Run(tt.name, func(t *testing.T) {
			err := tt.err
			for range 2 { // bare, then wrapped
				if got := Code(err); got != tt.want {
					t.Errorf("Code(%v) = %d, want %d", err, got, tt.want)
				}
				if got := RemoveCode(err); got != tt.remove {
					t.Errorf("RemoveCode(%v) = %d, want %d", err, got, tt.remove)
				}
				if err != nil {
					err = fmt.Errorf("doing it: %w", err)
				}
			}
		})
	}
}

func TestReport(t *testing.T) {
	runtimeError := fmt.Errorf("starting: %w", &oci.Error{Runtime: "runc", Action: "create", Message: "no space", Raw: "time=1 msg=\"no space\"\n"})
	for _, tt := range []struct {
		name    string
		err     error
		verbose bool
		want    string
	}{
		{"nothing", nil, false, ""},
		{"plain", errors.New("no room"), false, "Error: no room\n"},
		{"class at the end", fmt.Errorf("container %q is running: %w", "web", errdefs.ErrFailedPrecondition), false, "Error: container \"web\" is running\n"},
		{"class that says it", fmt.Errorf("container %q: %w", "web", errdefs.ErrNotFound), false, "Error: container \"web\": not found\n"},
		{"class after a sentence", fmt.Errorf("creating network %q: there is one of that name: %w", "web", errdefs.ErrAlreadyExists), false, "Error: creating network \"web\": there is one of that name\n"},
		{"class said already", fmt.Errorf("network %q not found: %w", "web", errdefs.ErrNotFound), false, "Error: network \"web\" not found\n"},
		{"hint", WithHint(errors.New("gone"), "davit ps --all"), false, "Error: gone\nHint: davit ps --all\n"},
		{"hint below", fmt.Errorf("starting: %w", WithHint(errors.New("gone"), "look")), false, "Error: starting: gone\nHint: look\n"},
		{"many", errors.Join(errors.New("one"), errors.New("two")), false, "Error: one; two\n"},
		{"hostile", errors.New("name \"a\x1b[31m\r\nb\""), false, "Error: name \"a[31m; b\"\n"},
		{"code alone", &ExitError{Code: 3}, false, ""},
		{"code with text", &ExitError{Code: 3, Err: errors.New("three")}, false, "Error: three\n"},
		{"interrupted", errors.Join(&SignalError{syscall.SIGINT}, context.Canceled), false, ""},
		{"broken pipe", fmt.Errorf("printing: %w", &fs.PathError{Op: "write", Path: "/dev/stdout", Err: syscall.EPIPE}), false, ""},
		{"program", fmt.Errorf("starting %q: %w", "web", fmt.Errorf("runc create: %w", &coded{127})), false, "Error: no such program\n"},
		{"runtime", runtimeError, false, "Error: starting: runc create: no space\n"},
		{"runtime, verbosely", runtimeError, true, "Error: starting: runc create: no space\nrunc create said:\ntime=1 msg=\"no space\"\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var b bytes.Buffer
			Report(&b, tt.err, tt.verbose)
			if b.String() != tt.want {
				t.Errorf("got %q, want %q", b.String(), tt.want)
			}
		})
	}
}

func TestEach(t *testing.T) {
	errs := map[string]error{
		"absent": fmt.Errorf("absent: %w", errdefs.ErrNotFound),
		"used":   fmt.Errorf("used: %w", errdefs.ErrFailedPrecondition),
		"broken": errors.New("broken"),
		"ended":  &SignalError{syscall.SIGINT},
	}
	for _, tt := range []struct {
		names []string
		done  int
		want  int
	}{
		{[]string{"a", "b"}, 2, 0},
		{[]string{"absent", "b"}, 2, 1},
		{[]string{"used", "absent"}, 2, 2},
		{[]string{"absent", "broken", "used"}, 3, 125},
		{[]string{"ended", "b"}, 1, 130},
	} {
		var stderr bytes.Buffer
		env := NewEnv(Streams{Err: &stderr}, nil)
		env.Flags.File = writeFile(t, "davit.toml", "")
		done := 0
		err := env.Each(tt.names, RemoveCode, func(name string) error { done++; return errs[name] })
		if got := Code(err); got != tt.want || done != tt.done {
			t.Errorf("%v: code %d after %d, want %d after %d", tt.names, got, done, tt.want, tt.done)
		}
	}
}
