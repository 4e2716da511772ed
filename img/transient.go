package img

import (
	"errors"
	"io"
	"net"
	"strings"
	"syscall"

	"go.podman.io/image/v5/docker"
)

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
	case errors.Is(err, docker.ErrTooManyRequests), errors.Is(err, io.ErrUnexpectedEOF), isServerError(text):
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
