package oci

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"github.com/containerd/errdefs"
)

// Error is a failed run of the runtime.
type Error struct {
	// Runtime is the runtime's name, Action its verb.
	Runtime, Action string
	// Message is the one line that tells why.
	Message string
	// Raw is all that the runtime printed, bounded.
	Raw string

	class error
}

// Error implements error: one line.
func (e *Error) Error() string {
	return fmt.Sprintf("%s %s: %s", e.Runtime, e.Action, e.Message)
}

// Unwrap returns the class of the failure where it is known: a class of
// errdefs, an [*ExecutableError], or the cause of a run that did not happen.
func (e *Error) Unwrap() error { return e.class }

// ExecutableError says that the container's command cannot be run.
type ExecutableError struct {
	// Name is the command as it was given, empty if the runtime did not tell.
	Name string
	// Code is what a shell would exit with: 127 not found, 126 not executable.
	Code int
}

// CodeNotFound and CodeNotExecutable are the values of ExecutableError.Code.
const (
	CodeNotExecutable = 126
	CodeNotFound      = 127
)

// Error implements error.
func (e *ExecutableError) Error() string {
	name := "command"
	if e.Name != "" {
		name = fmt.Sprintf("command %q", e.Name)
	}
	if e.Code == CodeNotFound {
		return name + " not found in the container"
	}
	return name + " cannot be executed in the container"
}

// ParseError makes an [Error] of what the runtime printed, on stderr or in a
// log of format text or json. It is for those who run the binary themselves;
// the methods of Runtime have done it already.
func (r Runtime) ParseError(action, raw string) *Error {
	if len(raw) > maxOutput {
		raw = raw[len(raw)-maxOutput:]
	}
	msg := lastMessage(raw)
	e := &Error{Runtime: r.name(), Action: action, Message: msg, Raw: raw, class: classify(msg)}
	if e.Message == "" {
		e.Message = fmt.Sprintf("%q gave no reason", r.Path)
	}
	var ee *ExecutableError
	if errors.As(e.class, &ee) {
		e.Message = ee.Error()
	}
	return e
}

// failure makes the error of a run that ended with err.
func (r Runtime) failure(action, raw string, err error) error {
	var exit *exec.ExitError
	if !errors.As(err, &exit) {
		// The binary did not start: a bad interpreter, a wrong format.
		class := err
		if errors.Is(err, fs.ErrPermission) || errors.Is(err, syscall.ENOEXEC) {
			class = fmt.Errorf("%w: %w", err, errdefs.ErrFailedPrecondition)
		}
		return &Error{Runtime: r.name(), Action: action, Message: err.Error(), Raw: raw, class: class}
	}
	e := r.ParseError(action, raw)
	if strings.TrimSpace(raw) == "" {
		e.Message = fmt.Sprintf("%q gave no reason (%s)", r.Path, exit.ProcessState)
	}
	return e
}

// CannotRun tells whether an error of a Runtime says that its binary cannot be
// run, whoever tries: it is not there, or no program.
func CannotRun(err error) bool {
	var at *fs.PathError
	if errors.As(err, &at) && at.Op == "fork/exec" {
		return errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) || errors.Is(err, syscall.ENOEXEC)
	}
	var ran *Error
	return err != nil && !errors.As(err, &ran) && (errdefs.IsNotFound(err) || errdefs.IsPermissionDenied(err))
}

func (r Runtime) timeoutError(ctx context.Context, action string, after time.Duration, raw string) error {
	msg := fmt.Sprintf("killed after %s without an end", after.Round(10*time.Millisecond))
	if last := lastMessage(raw); last != "" {
		msg += "; its last words: " + last
	}
	return &Error{Runtime: r.name(), Action: action, Message: msg, Raw: raw, class: context.Cause(ctx)}
}

// lastMessage finds the last meaningful line of a runtime's output: the text
// of the last logged error, or the last line that is not a log record.
func lastMessage(raw string) string {
	best, bestRank := "", 0
	for line := range strings.Lines(raw) {
		text, level := parseLine(strings.TrimSpace(line))
		if text == "" {
			continue
		}
		if level == "" && crashed(text) {
			return text
		}
		if rank := levelRank(level); rank >= bestRank {
			best, bestRank = text, rank
		}
	}
	return trimPrefixes(best)
}

// crashed says whether a line begins what Go's runtime prints when a program dies
// of it: the registers at the end tell nobody anything.
func crashed(line string) bool {
	for _, begin := range []string{"runtime/cgo: ", "runtime: failed", "fatal error: ", "panic: "} {
		if strings.HasPrefix(line, begin) {
			return true
		}
	}
	return false
}

// parseLine takes one line apart: logrus text, logrus or crun JSON, or bare.
func parseLine(line string) (text, level string) {
	switch {
	case strings.HasPrefix(line, "{"):
		var rec struct{ Level, Msg string }
		if json.Unmarshal([]byte(line), &rec) == nil && rec.Msg != "" {
			return strings.TrimSpace(rec.Msg), rec.Level
		}
	case strings.HasPrefix(line, "time="):
		_, rest, ok := strings.Cut(line, " level=")
		level, rest, ok2 := strings.Cut(rest, " msg=")
		if ok && ok2 {
			return unquote(rest), level
		}
	}
	return line, ""
}

// unquote reads logrus' msg value, quoted or not, ignoring what follows it.
func unquote(s string) string {
	if !strings.HasPrefix(s, `"`) {
		return strings.TrimSpace(s)
	}
	var b strings.Builder
	for i := 1; i < len(s); i++ {
		switch {
		case s[i] == '"':
			return b.String()
		case s[i] == '\\' && i+1 < len(s):
			i++
			switch s[i] {
			case 'n':
				b.WriteByte(' ')
			case 't':
				b.WriteByte(' ')
			default:
				b.WriteByte(s[i])
			}
		default:
			b.WriteByte(s[i])
		}
	}
	return b.String()
}

// levelRank orders lines: an error says more than a bare line, a bare line
// more than a warning. "fatal" is what runc's C code says on its way to the
// error proper.
func levelRank(level string) int {
	switch level {
	case "error", "fatal", "panic":
		return 3
	case "":
		return 2
	case "warning":
		return 1
	default:
		return 0
	}
}

// trimPrefixes drops the outer words that repeat what Error already says.
func trimPrefixes(msg string) string {
	for _, p := range []string{"runc create failed: ", "runc run failed: ", "exec failed: ",
		"unable to start container process: ", "container_linux.go"} {
		if p == "container_linux.go" {
			// runc 1.0 put file:line before its words.
			if strings.HasPrefix(msg, p) {
				if _, rest, ok := strings.Cut(msg, ": "); ok {
					msg = rest
				}
			}
			continue
		}
		msg = strings.TrimPrefix(msg, p)
	}
	return strings.TrimSpace(msg)
}

// classify maps the known words of runc and crun to a class, or nil.
func classify(msg string) error {
	if e := classifyExecutable(msg); e != nil {
		return e
	}
	for _, c := range []struct {
		has   string
		class error
	}{
		{"container does not exist", errdefs.ErrNotFound},
		{"/status`: No such file or directory", errdefs.ErrNotFound},
		{"cannot open directory", errdefs.ErrNotFound},
		{"already exists", errdefs.ErrAlreadyExists},
		{"container not running", errdefs.ErrFailedPrecondition},
		{"container not paused", errdefs.ErrFailedPrecondition},
		{"is not running", errdefs.ErrFailedPrecondition},
		{"cannot start an already running", errdefs.ErrFailedPrecondition},
		{"cannot start a container that has stopped", errdefs.ErrFailedPrecondition},
		{"exec.fifo`: No such file or directory", errdefs.ErrFailedPrecondition},
		{"that is not stopped", errdefs.ErrFailedPrecondition},
		{"is not in `created` or `stopped` state", errdefs.ErrFailedPrecondition},
		{"cannot exec in a stopped container", errdefs.ErrFailedPrecondition},
		{"cannot exec in a paused container", errdefs.ErrFailedPrecondition},
		{"process already finished", errdefs.ErrFailedPrecondition},
		{"No space left on device", errdefs.ErrResourceExhausted},
		{"no space left on device", errdefs.ErrResourceExhausted},
		{"Cannot allocate memory", errdefs.ErrResourceExhausted},
		{"cannot allocate memory", errdefs.ErrResourceExhausted},
	} {
		if strings.Contains(msg, c.has) {
			return c.class
		}
	}
	return nil
}

// classifyExecutable knows the words for a command that cannot be run:
//
//	runc: exec: "NAME": executable file not found in $PATH
//	runc: exec: "/NAME": stat /NAME: no such file or directory
//	runc: exec: "NAME": permission denied | is a directory | exec format error
//	crun: executable file `NAME` not found in $PATH: No such file or directory
//	crun: open executable: Permission denied | Operation not permitted
//	crun: exec container process [(missing dynamic library?) ]`NAME`: …
func classifyExecutable(msg string) error {
	if i := strings.Index(msg, `exec: "`); i >= 0 {
		name, rest, _ := strings.Cut(msg[i+len(`exec: "`):], `"`)
		return executableError(name, rest)
	}
	if _, rest, ok := strings.Cut(msg, "executable file `"); ok {
		name, rest, _ := strings.Cut(rest, "`")
		if strings.Contains(rest, "not found") {
			return &ExecutableError{Name: name, Code: CodeNotFound}
		}
		return executableError(name, rest)
	}
	if strings.HasPrefix(msg, "open executable: ") {
		return &ExecutableError{Code: CodeNotExecutable}
	}
	if rest, ok := strings.CutPrefix(msg, "exec container process "); ok {
		_, rest, _ = strings.Cut(rest, "`")
		name, rest, _ := strings.Cut(rest, "`")
		return executableError(name, rest)
	}
	return nil
}

func executableError(name, reason string) error {
	low := strings.ToLower(reason)
	for _, c := range []struct {
		has  string
		code int
	}{
		{"not found", CodeNotFound},
		{"no such file or directory", CodeNotFound},
		{"permission denied", CodeNotExecutable},
		{"operation not permitted", CodeNotExecutable},
		{"is a directory", CodeNotExecutable},
		{"exec format error", CodeNotExecutable},
		{"not a directory", CodeNotExecutable},
	} {
		if strings.Contains(low, c.has) {
			return &ExecutableError{Name: name, Code: c.code}
		}
	}
	return nil
}

// ExitCode is Code: what the command line exits with for this error.
func (e *ExecutableError) ExitCode() int { return e.Code }
