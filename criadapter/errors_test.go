package criadapter

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/containerd/errdefs"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/davit-containers/davit/ctr/record"
	"github.com/davit-containers/davit/img"
)

func TestStatusOf(t *testing.T) {
	wrapped := func(err error) error { return fmt.Errorf("stopping %q: %w", "a", fmt.Errorf("deep: %w", err)) }
	tests := []struct {
		name string
		err  error
		want codes.Code
	}{
		{"canceled", wrapped(context.Canceled), codes.Canceled},
		{"deadline", wrapped(context.DeadlineExceeded), codes.DeadlineExceeded},
		{"unknown", wrapped(errdefs.ErrUnknown), codes.Unknown},
		{"invalid", wrapped(errdefs.ErrInvalidArgument), codes.InvalidArgument},
		{"not found", wrapped(errdefs.ErrNotFound), codes.NotFound},
		{"exists", wrapped(errdefs.ErrAlreadyExists), codes.AlreadyExists},
		{"permission", wrapped(errdefs.ErrPermissionDenied), codes.PermissionDenied},
		{"exhausted", wrapped(errdefs.ErrResourceExhausted), codes.ResourceExhausted},
		{"precondition", wrapped(errdefs.ErrFailedPrecondition), codes.FailedPrecondition},
		{"conflict", wrapped(errdefs.ErrConflict), codes.FailedPrecondition},
		{"not modified", wrapped(errdefs.ErrNotModified), codes.FailedPrecondition},
		{"aborted", wrapped(errdefs.ErrAborted), codes.Aborted},
		{"out of range", wrapped(errdefs.ErrOutOfRange), codes.OutOfRange},
		{"not implemented", wrapped(errdefs.ErrNotImplemented), codes.Unimplemented},
		{"internal", wrapped(errdefs.ErrInternal), codes.Internal},
		{"unavailable", wrapped(errdefs.ErrUnavailable), codes.Unavailable},
		{"data loss", wrapped(errdefs.ErrDataLoss), codes.DataLoss},
		{"unauthenticated", wrapped(errdefs.ErrUnauthenticated), codes.Unauthenticated},

		{"no class", errors.New("odd"), codes.Unknown},
		{"busy", wrapped(&record.BusyError{ID: "a"}), codes.Unavailable},
		{"name taken", wrapped(&record.NameTakenError{Key: "a"}), codes.AlreadyExists},
		{"ambiguous", wrapped(&record.AmbiguousError{Ref: "a"}), codes.InvalidArgument},
		{"corrupt", wrapped(record.ErrCorrupt), codes.DataLoss},
		{"newer version", wrapped(&record.VersionError{}), codes.FailedPrecondition},
		{"signature", wrapped(img.ErrSignature), codes.Unknown},
		{"registry", pullError(wrapped(errdefs.ErrUnavailable)), codes.Unknown},
		{"a file", wrapped(fs.ErrNotExist), codes.Unknown},
		{"the first of several", errors.Join(wrapped(errdefs.ErrNotFound), wrapped(context.Canceled)), codes.NotFound},
		{"a status", status.Error(codes.OutOfRange, "x"), codes.OutOfRange},
		{"a wrapped status", wrapped(status.Error(codes.OutOfRange, "x")), codes.OutOfRange},
	}
	covered := map[error]bool{}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := status.Code(statusOf(t.Context(), tt.err)); got != tt.want {
				t.Errorf("got %s, want %s", got, tt.want)
			}
		})
		for _, c := range classes() {
			if errors.Is(tt.err, c.err) {
				covered[c.err] = true
			}
		}
	}
	for _, c := range classes() {
		if !covered[c.err] {
			t.Errorf("class %q has no test", c.err)
		}
	}
	if statusOf(t.Context(), nil) != nil {
		t.Error("no error is an error")
	}
}

func TestStatusOfEndedContext(t *testing.T) {
	canceled, cancel := context.WithCancel(t.Context())
	cancel()
	late, cancel := context.WithTimeout(t.Context(), 0)
	defer cancel()
	busy := fmt.Errorf("waiting: %w: %w", errdefs.ErrUnavailable, context.Canceled)
	if got := status.Code(statusOf(canceled, busy)); got != codes.Canceled {
		t.Errorf("busy until the client went is %s", got)
	}
	slow := fmt.Errorf("waiting: %w: %w", errdefs.ErrUnavailable, context.DeadlineExceeded)
	if got := status.Code(statusOf(late, slow)); got != codes.DeadlineExceeded {
		t.Errorf("busy until the deadline is %s", got)
	}
	if got := status.Code(statusOf(late, errdefs.ErrNotFound)); got != codes.NotFound {
		t.Errorf("an error that came before the deadline is %s", got)
	}
}

func TestErrorText(t *testing.T) {
	tests := []struct{ name, text, want string }{
		{"plain", "stopping: no", "stopping: no"},
		{"lines", "a\r\n\tb\n\nc", "a; b; c"},
		{"control", "a\x1b[31mb\u0085", "a[31mb"},
		{"not UTF-8", "a\xffb", "a\uFFFDb"},
		{"password", `Get "https://me:secret@reg.io/v2/": EOF`, `Get "https://***@reg.io/v2/": EOF`},
		{"user alone", "https://token@reg.io: no", "https://***@reg.io: no"},
		{"an @ in the path", "http://reg.io/a@sha256:12 gone", "http://reg.io/a@sha256:12 gone"},
		{"an @ in the password", "http://u:p@ss@reg.io/a", "http://***@reg.io/a"},
		{"query", "GET https://s3.io/b?X-Amz-Signature=abc: 403", "GET https://s3.io/b?*** 403"},
		{"several", "https://a:b@c then https://d:e@f", "https://***@c then https://***@f"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := errorText(tt.text); got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
	long := errorText(strings.Repeat("é", 5000))
	if len(long) > maxErrorText+3 || !utf8.ValidString(long) {
		t.Errorf("a long text has %d bytes", len(long))
	}
	sig := status.Convert(statusOf(t.Context(), fmt.Errorf("pulling: %w", img.ErrSignature)))
	if !strings.HasPrefix(sig.Message(), "SignatureValidationFailed: ") {
		t.Errorf("a refused signature says %q", sig.Message())
	}
}
