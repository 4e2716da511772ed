package img

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/url"
	"strings"
	"syscall"

	"github.com/containerd/errdefs"
	"github.com/docker/distribution/registry/api/errcode"
	"github.com/opencontainers/go-digest"
	"go.podman.io/image/v5/docker"
	ociarchive "go.podman.io/image/v5/oci/archive"
	ocilayout "go.podman.io/image/v5/oci/layout"
	"go.podman.io/image/v5/signature"
	"go.podman.io/storage"

	"github.com/davit-containers/davit/ctr/record"
)

// transfer is what was done, for the words of an error.
type transfer struct {
	act  string // such as pulling
	what string // a full name or a path
	host string // the registry's; empty for what is local
}

// transferError is the error of a pull.
func transferError(ref, host string, err error) error {
	return transfer{"pulling", ref, host}.error(err)
}

// localError is the error of something that no registry has a part in.
func localError(act, what string, err error) error { return transfer{act, what, ""}.error(err) }

// error puts in one line why it failed, and gives the error its class.
func (t transfer) error(err error) error {
	if c, ok := err.(*classified); err == nil || ok && strings.HasPrefix(c.msg, t.act) {
		return err // it is put already
	}
	host := t.host
	begin := fmt.Sprintf("%s %q: ", t.act, t.what)
	line := func(class error, format string, args ...any) error {
		return &classified{msg: begin + fmt.Sprintf(format, args...), class: []error{class}, cause: err}
	}
	text := err.Error()
	var (
		policy  signature.PolicyRequirementError
		creds   docker.ErrUnauthorizedForCredentials
		stalled *stalledError
		busy    *record.BusyError
	)
	switch {
	case errors.As(err, &busy):
		return line(errdefs.ErrUnavailable, "%s", busy.Error())
	case errors.As(err, &stalled):
		return line(errdefs.ErrUnavailable, "registry %s %s", host, stalled.Error())
	case errors.Is(err, context.Canceled):
		return line(context.Canceled, "cancelled")
	case errors.Is(err, context.DeadlineExceeded) && !isNetTimeout(err):
		return line(context.DeadlineExceeded, "out of time")
	case errors.Is(err, ErrSignature):
		return line(ErrSignature, "%s", lastCause(err))
	case errors.As(err, &policy):
		return line(ErrSignature, "refused by the signature policy: %s", lastCause(err))
	case isOvertaken(err):
		return line(errdefs.ErrUnavailable, "its layers are being removed at the same time")
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return line(errdefs.ErrResourceExhausted, "%s", lastCause(err))
	case isDigestMismatch(text):
		return line(errdefs.ErrDataLoss, "what was received does not match its digest: %s", lastCause(err))
	case errors.As(err, &creds), hasCode(err, errcode.ErrorCodeUnauthorized), statusOf(text) == 401, strings.Contains(text, "unauthorized"), strings.Contains(text, "authentication required"):
		e := line(errdefs.ErrPermissionDenied, "registry %s asks for credentials, or does not accept those given", host).(*classified)
		e.class = append(e.class, errdefs.ErrUnauthenticated)
		return e
	case strings.Contains(text, "is blocked in"):
		return line(errdefs.ErrPermissionDenied, "registry %s is blocked by registries.conf", host)
	case hasCode(err, errcode.ErrorCodeDenied), statusOf(text) == 403:
		return line(errdefs.ErrPermissionDenied, "registry %s denies access to it", host)
	case isUnknown(err, text):
		if host == "" {
			return line(errdefs.ErrNotFound, "no such image: %s", lastCause(err))
		}
		return line(errdefs.ErrNotFound, "no such image at %s", host)
	case strings.Contains(text, "no image found in"):
		return line(errdefs.ErrNotFound, "%s", lastCause(err))
	case strings.Contains(text, "exceeded maximum allowed size"):
		return line(errdefs.ErrResourceExhausted, "its manifest or config: %s", lastCause(err))
	case isTooMany(err):
		return line(errdefs.ErrUnavailable, "registry %s has had too many requests: try again later", host)
	case errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, syscall.ECONNRESET), strings.Contains(text, "unexpected EOF"):
		return line(errdefs.ErrUnavailable, "the connection to registry %s broke%s: %s", host, inBlob(err), networkCause(err))
	case isNetwork(err):
		return line(errdefs.ErrUnavailable, "registry %s cannot be reached%s: %s", host, inBlob(err), networkCause(err))
	case host != "" && isServerError(text):
		return line(errdefs.ErrUnavailable, "registry %s: %s", host, lastCause(err))
	case host != "" && statusOf(text) != 0:
		return line(errdefs.ErrUnknown, "registry %s answers HTTP %d", host, statusOf(text))
	}
	if errors.Is(err, fs.ErrNotExist) {
		return line(errdefs.ErrNotFound, "%s", lastCause(err))
	}
	return &classified{msg: begin + lastCause(err), cause: err}
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
	if errors.As(err, new(ocilayout.ImageNotFoundError)) || errors.As(err, new(ociarchive.ImageNotFoundError)) {
		return true
	}
	for _, s := range []string{"manifest unknown", "name unknown", "repository name not known", "NAME_UNKNOWN", "MANIFEST_UNKNOWN", "StatusCode: 404", "status code 404"} {
		if strings.Contains(text, s) {
			return true
		}
	}
	return false
}

// isDigestMismatch knows the libraries' words for content that is not what its
// digest or size says: they have no type for it.
func isDigestMismatch(text string) bool {
	for _, s := range []string{
		"Digest did not match", "does not match provided manifest digest", "does not match selected manifest digest", "does not match expected",
		"digest mismatch", "size mismatch", "Size mismatch", "does not match config's DiffID",
		"gzip: invalid", "invalid checksum", "corrupt input",
	} {
		if strings.Contains(text, s) {
			return true
		}
	}
	return false
}

// statusOf is the status of a registry's answer without a body that says more, 0
// for none.
func statusOf(text string) (status int) {
	_, rest, _ := strings.Cut(text, "StatusCode: ")
	_, _ = fmt.Sscan(strings.TrimRight(rest[:min(3, len(rest))], ", "), &status)
	return status
}

// isTooMany says whether a registry answered 429 until the library, which waits as
// long as the answer says and asks five times, gave up.
func isTooMany(err error) bool {
	return errors.Is(err, docker.ErrTooManyRequests) || hasCode(err, errcode.ErrorCodeTooManyRequests) || statusOf(err.Error()) == 429
}

// inBlob tells at which blob a transfer has failed, or which were under way; it is
// empty where that is not known.
func inBlob(err error) string {
	var of *blobError
	if errors.As(err, &of) {
		return " at " + strings.Join(of.blobs, ", ")
	}
	if _, rest, ok := strings.Cut(err.Error(), "/blobs/"); ok {
		if d, derr := digest.Parse(rest[:min(len("sha256:")+64, len(rest))]); derr == nil {
			return " at " + d.String()
		}
	}
	if strings.Contains(err.Error(), "parsing image configuration") {
		return " at its configuration"
	}
	return ""
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
func isNetwork(err error) bool {
	var (
		op   *net.OpError
		dns  *net.DNSError
		cert *tls.CertificateVerificationError
		rec  tls.RecordHeaderError
	)
	return isURLError(err) || errors.As(err, &op) || errors.As(err, &dns) || errors.As(err, &cert) || errors.As(err, &rec) ||
		strings.Contains(err.Error(), "server gave HTTP response to HTTPS client")
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
		if c, ok := err.(*classified); ok {
			return c.msg
		}
		if p, ok := err.(*fs.PathError); ok { // without the path it says too little
			return p.Error()
		}
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

// isOvertaken says whether a removal in another process took layers away that a
// transfer had counted on. Both go on without waiting for each other: whoever
// transfers does it once more, with what is there now.
func isOvertaken(err error) bool {
	return errors.Is(err, storage.ErrLayerUnknown) || errors.Is(err, storage.ErrParentUnknown) || errors.Is(err, storage.ErrNotAnID) ||
		errors.Is(err, storage.ErrImageUnknown) || strings.Contains(err.Error(), "layer for blob")
}

// isTransient says whether a transfer that failed like this may succeed a
// moment later. A refused connection or an unknown host is not: whoever typed
// the name wants to hear of it at once.
func isTransient(err error) bool {
	var (
		dns *net.DNSError
		n   net.Error
		no  syscall.Errno
	)
	text := err.Error()
	switch {
	case errors.Is(err, io.ErrUnexpectedEOF), isServerError(text):
		return true
	case errors.As(err, &dns):
		return dns.IsTemporary || dns.IsTimeout
	case errors.As(err, &no) && isURLError(err) || errors.As(err, new(*net.OpError)) && errors.As(err, &no):
		switch no {
		case syscall.ECONNRESET, syscall.EPIPE, syscall.ETIMEDOUT, syscall.ENETDOWN, syscall.ENETUNREACH, syscall.EHOSTUNREACH:
			return true
		}
		return false
	case errors.As(err, &n) && n.Timeout():
		return true
	}
	return strings.Contains(text, "unexpected EOF") || strings.Contains(text, "connection reset by peer") ||
		strings.Contains(text, "http2: server sent GOAWAY")
}
