package criadapter

import (
	"context"
	"errors"
	"strings"
	"syscall"
	"unicode"

	"github.com/containerd/errdefs"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	crierrors "k8s.io/cri-api/pkg/errors"

	"github.com/davit-containers/davit/ctr/record"
	"github.com/davit-containers/davit/img"
)

// maxErrorText bounds an error's text: it travels in a header.
const maxErrorText = 2048

// class is a row of the table of errors.
type class struct {
	err  error
	code codes.Code
}

// classes are the classes of the domain's errors with their codes, the only
// place that knows both. Of an error that is of several, the one that its chain
// names first holds.
func classes() []class {
	return []class{
		{context.Canceled, codes.Canceled},
		{context.DeadlineExceeded, codes.DeadlineExceeded},
		{errdefs.ErrUnknown, codes.Unknown},
		{errdefs.ErrInvalidArgument, codes.InvalidArgument},
		{errdefs.ErrNotFound, codes.NotFound},
		{errdefs.ErrAlreadyExists, codes.AlreadyExists},
		{errdefs.ErrPermissionDenied, codes.PermissionDenied},
		{errdefs.ErrResourceExhausted, codes.ResourceExhausted},
		{errdefs.ErrFailedPrecondition, codes.FailedPrecondition},
		{errdefs.ErrConflict, codes.FailedPrecondition},
		{errdefs.ErrNotModified, codes.FailedPrecondition},
		{errdefs.ErrAborted, codes.Aborted},
		{errdefs.ErrOutOfRange, codes.OutOfRange},
		{errdefs.ErrNotImplemented, codes.Unimplemented},
		{errdefs.ErrInternal, codes.Internal},
		{errdefs.ErrUnavailable, codes.Unavailable},
		{errdefs.ErrDataLoss, codes.DataLoss},
		{errdefs.ErrUnauthenticated, codes.Unauthenticated},
	}
}

// reason is a word that the kubelet looks for at the beginning of an error's
// text. It does so where the code is Unknown: of an error with any other one it
// sees the code first.
type reason struct{ err, word error }

func reasons() []reason {
	return []reason{
		{img.ErrSignature, crierrors.ErrSignatureValidationFailed},
		{crierrors.ErrRegistryUnavailable, crierrors.ErrRegistryUnavailable},
	}
}

// statusOf is an error of the domain as gRPC sends it: its code, and its text on
// one line, bounded and without credentials. An error that is a status already
// keeps its code. An error that came of the end of the call's own context has
// the code of that.
func statusOf(ctx context.Context, err error) error {
	if err == nil {
		return nil
	}
	text := errorText(err.Error())
	var made interface{ GRPCStatus() *status.Status }
	if errors.As(err, &made) {
		s := made.GRPCStatus()
		return status.Error(s.Code(), errorText(s.Message()))
	}
	if end := ctx.Err(); end != nil && (errors.Is(err, end) || errors.Is(err, context.Cause(ctx))) {
		return status.Error(codeOf(end), text)
	}
	for _, r := range reasons() {
		if errors.Is(err, r.err) {
			if word := r.word.Error(); !strings.HasPrefix(text, word) {
				text = word + ": " + text
			}
			return status.Error(codes.Unknown, text)
		}
	}
	return status.Error(codeOf(err), text)
}

// codeOf is the code of an error's class, or of what a file system said; Unknown
// when it has none.
func codeOf(err error) codes.Code {
	first := errdefs.Resolve(err)
	if disk, ok := record.DiskFaultOf(err); ok && errors.Is(first, errdefs.ErrUnknown) {
		switch disk.Errno {
		case syscall.ENOSPC, syscall.EDQUOT:
			return codes.ResourceExhausted
		case syscall.EROFS:
			return codes.FailedPrecondition
		default:
			return codes.DataLoss
		}
	}
	for _, c := range classes() {
		if errors.Is(first, c.err) {
			return c.code
		}
	}
	return codes.Unknown
}

// errorText makes one line of a text: no control characters, no credentials, at
// most maxErrorText bytes.
func errorText(s string) string {
	s = strings.ToValidUTF8(s, "\uFFFD")
	lines := strings.FieldsFunc(s, func(r rune) bool { return r == '\n' || r == '\r' })
	for i, l := range lines {
		lines[i] = strings.TrimSpace(strings.Map(printable, l))
	}
	s = withoutSecrets(strings.Join(lines, "; "))
	if len(s) > maxErrorText {
		s = strings.ToValidUTF8(s[:maxErrorText], "") + "…"
	}
	return s
}

func printable(r rune) rune {
	switch {
	case r == '\t':
		return ' '
	case unicode.IsControl(r):
		return -1
	}
	return r
}

// withoutSecrets blanks what a URL in a text may hold of them: user and password,
// and the query, where registries put tokens and signatures.
func withoutSecrets(s string) string {
	var b strings.Builder
	for {
		at := strings.Index(s, "://")
		if at < 0 {
			b.WriteString(s)
			return b.String()
		}
		at += len("://")
		b.WriteString(s[:at])
		url := s[at:]
		if end := strings.IndexFunc(url, func(r rune) bool { return unicode.IsSpace(r) || strings.ContainsRune("\"'`<>,;", r) }); end >= 0 {
			url = url[:end]
		}
		s = s[at+len(url):]
		b.WriteString(withoutUser(url))
	}
}

// withoutUser blanks the user and the query of a URL without its scheme.
func withoutUser(url string) string {
	url, _, query := strings.Cut(url, "?")
	host, path, hasPath := strings.Cut(url, "/")
	if at := strings.LastIndex(host, "@"); at >= 0 {
		host = "***" + host[at:]
	}
	if hasPath {
		host += "/" + path
	}
	if query {
		host += "?***"
	}
	return host
}
