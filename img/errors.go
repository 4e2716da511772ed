package img

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"
	"syscall"

	"github.com/containerd/errdefs"
	"github.com/docker/distribution/registry/api/errcode"
	"go.podman.io/image/v5/docker"
	"go.podman.io/image/v5/signature"
	"go.podman.io/storage"
)

// ErrSignature is the class of an image that policy.json refuses: rejected, not
// signed, or signed by somebody else.
var ErrSignature = errors.New("refused by the signature policy")

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

// transferError puts in one line why ref could not be transferred, and gives it
// its class. Host is the registry's, or empty for a local source.
func transferError(ref, host string, err error) error {
	if err == nil {
		return nil
	}
	line := func(class error, format string, args ...any) error {
		return &classified{msg: fmt.Sprintf("pulling %q: ", ref) + fmt.Sprintf(format, args...), class: []error{class}, cause: err}
	}
	text := err.Error()
	var (
		policy signature.PolicyRequirementError
		creds  docker.ErrUnauthorizedForCredentials
	)
	switch {
	case errors.Is(err, context.Canceled):
		return &classified{msg: fmt.Sprintf("pulling %q: cancelled", ref), class: []error{context.Canceled}, cause: err}
	case errors.Is(err, context.DeadlineExceeded) && !isNetTimeout(err):
		return &classified{msg: fmt.Sprintf("pulling %q: out of time", ref), class: []error{context.DeadlineExceeded}, cause: err}
	case errors.As(err, &policy), errors.Is(err, ErrSignature):
		return line(ErrSignature, "refused by the signature policy: %s", lastCause(err))
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return line(errdefs.ErrResourceExhausted, "no space left for it (%s)", lastCause(err))
	case isDigestMismatch(text):
		return line(errdefs.ErrDataLoss, "what was received does not match its digest: %s", lastCause(err))
	case errors.As(err, &creds), hasCode(err, errcode.ErrorCodeUnauthorized), strings.Contains(text, "unauthorized"), strings.Contains(text, "authentication required"):
		e := line(errdefs.ErrPermissionDenied, "registry %s does not accept these credentials", host).(*classified)
		e.class = append(e.class, errdefs.ErrUnauthenticated)
		return e
	case hasCode(err, errcode.ErrorCodeDenied):
		return line(errdefs.ErrPermissionDenied, "registry %s denies access to it", host)
	case isUnknown(err, text):
		if host == "" {
			return line(errdefs.ErrNotFound, "no such image: %s", lastCause(err))
		}
		return line(errdefs.ErrNotFound, "no such image at %s", host)
	case strings.Contains(text, "no image found in"):
		return line(errdefs.ErrNotFound, "no image for this platform: %s", lastCause(err))
	case errors.Is(err, docker.ErrTooManyRequests):
		return line(errdefs.ErrUnavailable, "registry %s: too many requests", host)
	case isNetwork(err, text):
		return line(errdefs.ErrUnavailable, "registry %s cannot be reached: %s", host, networkCause(err))
	case host != "" && isServerError(text):
		return line(errdefs.ErrUnavailable, "registry %s: %s", host, lastCause(err))
	}
	return &classified{msg: fmt.Sprintf("pulling %q: %s", ref, lastCause(err)), cause: err}
}

// hasCode says whether a registry answered with this code.
func hasCode(err error, code errcode.ErrorCode) bool {
	var (
		e  errcode.Error
		c  errcode.ErrorCode
		es errcode.Errors
	)
	switch {
	case errors.As(err, &e):
		return e.Code == code
	case errors.As(err, &c):
		return c == code
	case errors.As(err, &es):
		for _, one := range es {
			if hasCode(one, code) {
				return true
			}
		}
	}
	return false
}

// isUnknown says whether the source does not have the image. Registries answer
// a missing repository and a missing manifest in several ways.
func isUnknown(err error, text string) bool {
	if errors.Is(err, storage.ErrImageUnknown) {
		return true
	}
	for _, s := range []string{"manifest unknown", "name unknown", "repository name not known", "NAME_UNKNOWN", "MANIFEST_UNKNOWN", "StatusCode: 404", "status code 404", "not found in oci layout", "no image found for", "does not contain a tag", "Tag \""} {
		if strings.Contains(text, s) {
			return true
		}
	}
	return errors.Is(err, syscall.ENOENT)
}

// isDigestMismatch knows the libraries' words for content that is not what its
// digest or size says: they have no type for it.
func isDigestMismatch(text string) bool {
	for _, s := range []string{"Digest did not match", "does not match provided manifest digest", "does not match expected digest", "blob size mismatch", "mismatch", "manifest digest"} {
		if strings.Contains(text, s) && !strings.Contains(text, "image OS") {
			return true
		}
	}
	return false
}

// isServerError says whether a registry answered 5xx.
func isServerError(text string) bool {
	for _, s := range []string{"received unexpected HTTP status: 5", "StatusCode: 5", "status code 5", "invalid status code from registry 5"} {
		if strings.Contains(text, s) {
			return true
		}
	}
	return false
}

func isNetTimeout(err error) bool {
	var n net.Error
	return errors.As(err, &n) && n.Timeout() && isURLError(err)
}

func isURLError(err error) bool {
	var u *url.Error
	return errors.As(err, &u)
}

// isNetwork says whether the registry was not reached at all.
func isNetwork(err error, text string) bool {
	var (
		op   *net.OpError
		dns  *net.DNSError
		cert *tls.CertificateVerificationError
		rec  tls.RecordHeaderError
	)
	return isURLError(err) || errors.As(err, &op) || errors.As(err, &dns) || errors.As(err, &cert) || errors.As(err, &rec) ||
		strings.Contains(text, "server gave HTTP response to HTTPS client") || strings.Contains(text, "unexpected EOF")
}

// networkCause is the innermost reason of a network error.
func networkCause(err error) string {
	var (
		dns   *net.DNSError
		no    syscall.Errno
		ca    x509.UnknownAuthorityError
		name  x509.HostnameError
		inval x509.CertificateInvalidError
	)
	switch {
	case errors.As(err, &dns) && dns.IsNotFound:
		return fmt.Sprintf("no such host %q", dns.Name)
	case errors.As(err, &dns):
		return fmt.Sprintf("looking up %q: %s", dns.Name, dns.Err)
	case strings.Contains(err.Error(), "server gave HTTP response to HTTPS client"):
		return "it speaks plain HTTP, not TLS"
	case errors.As(err, &ca):
		return "its certificate is signed by an unknown authority"
	case errors.As(err, &name):
		return name.Error()
	case errors.As(err, &inval):
		return inval.Error()
	case errors.As(err, &no):
		return no.Error()
	case isNetTimeout(err):
		return "no answer in time"
	}
	return lastCause(err)
}

// lastCause is the text of the innermost error, on one line: the libraries'
// chains repeat at each level what the caller says once.
func lastCause(err error) string {
	for {
		next := errors.Unwrap(err)
		if next == nil {
			if many, ok := err.(interface{ Unwrap() []error }); ok && len(many.Unwrap()) > 0 {
				err = many.Unwrap()[0]
				continue
			}
			break
		}
		if next.Error() == "" {
			break
		}
		err = next
	}
	return strings.Join(strings.Fields(err.Error()), " ")
}
