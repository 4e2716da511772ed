package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os/exec"
	"strings"
	"syscall"

	"github.com/containerd/errdefs"

	"github.com/davit-containers/davit/ctr/cgroup"
	"github.com/davit-containers/davit/ctr/oci"
	"github.com/davit-containers/davit/ctr/record"
)

// Exit codes of davit's own. Every other one is the container's.
const (
	// CodeAbsent is what rm and rmi exit with when a thing does not exist, and
	// exists when it does not.
	CodeAbsent = 1
	// CodeInUse is what rm and rmi exit with when a thing is running or in use.
	CodeInUse = 2
	// CodeFailed is a failure of davit, bad usage included.
	CodeFailed = 125
	// CodeNotExecutable and CodeNotFound tell of the container's program.
	CodeNotExecutable = 126
	CodeNotFound      = 127
	// CodeSignal is added to a signal's number.
	CodeSignal = 128
)

// ExitError carries an exit code up to Main. Without Err nothing is printed:
// the code is the whole answer (a container's own, or that of exists).
type ExitError struct {
	Code int
	Err  error
}

// Error implements error.
func (e *ExitError) Error() string {
	if e.Err == nil {
		return fmt.Sprintf("exit code %d", e.Code)
	}
	return e.Err.Error()
}

// Unwrap returns Err.
func (e *ExitError) Unwrap() error { return e.Err }

// UsageError is an error with a hint for the person at the keyboard: the command
// to type instead. It is the only place where hints live.
type UsageError struct {
	Err error
	// Hint is one line without its "Hint: ".
	Hint string
}

// Error implements error.
func (e *UsageError) Error() string { return e.Err.Error() }

// Unwrap returns Err.
func (e *UsageError) Unwrap() error { return e.Err }

// Usagef is an error of the command line itself: ErrInvalidArgument, without a
// hint of its own (Main adds the command's --help).
func Usagef(format string, args ...any) *UsageError {
	return &UsageError{Err: &worded{class: errdefs.ErrInvalidArgument, text: fmt.Sprintf(format, args...)}}
}

// Hintf puts a hint on a usage error and returns it.
func (e *UsageError) Hintf(format string, args ...any) *UsageError {
	e.Hint = fmt.Sprintf(format, args...)
	return e
}

// WithHint puts a hint on any error; nil stays nil.
func WithHint(err error, format string, args ...any) error {
	if err == nil {
		return nil
	}
	return &UsageError{Err: err, Hint: fmt.Sprintf(format, args...)}
}

// Reworded is err in other words: its class and its types stay.
func Reworded(err error, text string) error { return &worded{class: err, text: text} }

// worded is an error of a class that says only its own text.
type worded struct {
	class error
	text  string
}

func (w *worded) Error() string { return w.text }
func (w *worded) Unwrap() error { return w.class }

// SignalError is the cause of a context that a signal ended.
type SignalError struct{ Signal syscall.Signal }

// Error implements error.
func (e *SignalError) Error() string { return "ended by " + e.Signal.String() }

// Cause adds what ended ctx to an error that came of it, so that Code tells the
// signal.
func Cause(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); err != nil && cause != nil && errors.Is(err, context.Canceled) {
		return errors.Join(cause, err)
	}
	return err
}

// Code is the exit code for err. It is the one table: nil 0; what an ExitError
// says; what an error with a method ExitCode() int says (126 and 127 of the
// container's program); 128 + n when a signal ended the work; everything else
// 125, of whatever class it is.
func Code(err error) int {
	if err == nil {
		return 0
	}
	var exit *ExitError
	if errors.As(err, &exit) {
		return exit.Code
	}
	if program := programOf(err); program != nil {
		return program.ExitCode()
	}
	var sig *SignalError
	if errors.As(err, &sig) {
		return CodeSignal + int(sig.Signal)
	}
	if errors.Is(err, context.Canceled) {
		return CodeSignal + int(syscall.SIGINT)
	}
	if brokenPipe(err) {
		return CodeSignal + int(syscall.SIGPIPE)
	}
	return CodeFailed
}

// RemoveCode is Code for the verbs that remove things: 1 for what is absent, 2
// for what runs or is in use, else as Code.
func RemoveCode(err error) int {
	switch {
	case err == nil:
		return 0
	case errdefs.IsNotFound(err):
		return CodeAbsent
	case errdefs.IsFailedPrecondition(err), errdefs.IsConflict(err):
		return CodeInUse
	}
	return Code(err)
}

// ExistsError is what the exists verbs return for the error of a look-up: nothing
// when it found the thing, a silent 1 when there is none.
func ExistsError(err error) error {
	if errdefs.IsNotFound(err) {
		return &ExitError{Code: CodeAbsent}
	}
	return err
}

// silent says whether nothing is to be printed for err: the code is the answer,
// the user ended the work, or the reader of our output has gone.
func silent(err error) bool {
	var exit *ExitError
	if errors.As(err, &exit) {
		return exit.Err == nil
	}
	var sig *SignalError
	return errors.As(err, &sig) || errors.Is(err, context.Canceled) || brokenPipe(err)
}

// brokenPipe says whether err is a write to our own output that nobody reads.
func brokenPipe(err error) bool {
	var path *fs.PathError
	return errors.As(err, &path) && path.Op == "write" && errors.Is(err, syscall.EPIPE)
}

// Message returns the one line that tells of err, and the hint below it, empty
// if there is none.
func Message(err error) (text, hint string) {
	var usage *UsageError
	if errors.As(err, &usage) {
		hint = OneLine(usage.Hint)
	}
	var cgroups *cgroup.AccessError
	if hint == "" && errors.As(err, &cgroups) {
		hint = "--runtime crun --cgroups disabled runs without them"
	}
	var busy *record.BusyError
	if hint == "" && errors.As(err, &busy) && busy.Stopped != 0 {
		hint = fmt.Sprintf("kill -CONT %d lets that process go on, kill -KILL %[1]d frees what it holds", busy.Stopped)
	}
	if hint == "" {
		hint = diskHint(err)
	}
	// What is wrong with a container's program needs no word of who found out.
	if program := programOf(err); program != nil {
		err = program
	}
	return stripClass(OneLine(err.Error())), hint
}

// diskHint names the file system that made an error, and what shows its state;
// empty for any other error.
func diskHint(err error) string {
	disk, ok := record.DiskFaultOf(err)
	if !ok || disk.Path == "" {
		return ""
	}
	switch disk.Errno {
	case syscall.EROFS, syscall.EIO:
		return disk.String() + ": dmesg may say why"
	case syscall.EDQUOT:
		return disk.String()
	}
	return fmt.Sprintf("%s: df -h %[2]s; df -i %[2]s", disk, disk.Mount())
}

// programError tells of the program in a container: it is not there, or cannot be
// executed.
type programError interface {
	error
	ExitCode() int
}

// programOf is the programError in err, nil for none. The end of a program that
// davit itself ran is not one.
func programOf(err error) programError {
	var program programError
	if !errors.As(err, &program) {
		return nil
	}
	if _, child := program.(*exec.ExitError); child {
		return nil
	}
	return program
}

// Report prints what went wrong, as one line and perhaps a hint. The text that a
// program davit ran said about it follows when verbose is set.
func Report(w io.Writer, err error, verbose bool) {
	if err == nil || silent(err) {
		return
	}
	text, hint := Message(err)
	fmt.Fprintln(w, "Error:", text)
	if hint != "" {
		fmt.Fprintln(w, "Hint:", hint)
	}
	var runtime *oci.Error
	if verbose && errors.As(err, &runtime) && runtime.Raw != "" {
		fmt.Fprintf(w, "%s %s said:\n%s\n", runtime.Runtime, runtime.Action, strings.TrimRight(runtime.Raw, "\n"))
	}
}

// OneLine makes a text safe to print on one line: line breaks become "; ", other
// control characters are dropped.
func OneLine(s string) string {
	if !strings.ContainsFunc(s, isControl) {
		return s
	}
	lines := strings.FieldsFunc(s, func(r rune) bool { return r == '\n' || r == '\r' })
	for i, l := range lines {
		lines[i] = strings.TrimSpace(strings.Map(dropControl, l))
	}
	return strings.Join(lines, "; ")
}

func isControl(r rune) bool { return r < 0x20 || r >= 0x7f && r < 0xa0 }

func dropControl(r rune) rune {
	switch {
	case r == '\t':
		return ' '
	case isControl(r):
		return -1
	}
	return r
}

// stripClass drops an error class from the end of a text that says it already:
// classes are for programs. "not found" and the like stay unless the last clause
// says it in a sentence of its own.
func stripClass(s string) string {
	for _, class := range []error{
		errdefs.ErrFailedPrecondition, errdefs.ErrInvalidArgument, errdefs.ErrUnavailable,
		errdefs.ErrResourceExhausted, errdefs.ErrConflict, errdefs.ErrInternal, errdefs.ErrUnknown,
	} {
		if rest, ok := strings.CutSuffix(s, ": "+class.Error()); ok {
			return rest
		}
	}
	for _, class := range []error{
		errdefs.ErrNotFound, errdefs.ErrAlreadyExists, errdefs.ErrPermissionDenied, errdefs.ErrNotImplemented,
	} {
		rest, ok := strings.CutSuffix(s, ": "+class.Error())
		clause := rest[strings.LastIndex(rest, ": ")+1:]
		if ok && (strings.Contains(rest, class.Error()) || strings.Contains(clause, " is ")) {
			return rest
		}
	}
	return s
}

// Each calls do for every name, goes on after an error, and reports each one on
// standard error. The result carries the worst exit code that code (Code or
// RemoveCode) gave: davit's own failure, then in use, then absent.
func (e *Env) Each(names []string, code func(error) int, do func(name string) error) error {
	worst := 0
	for _, name := range names {
		err := do(name)
		if err == nil {
			continue
		}
		worst = max(worst, code(err))
		Report(e.Err, err, e.Verbose())
		if silent(err) && !isExit(err) { // the user ended it
			break
		}
	}
	if worst == 0 {
		return nil
	}
	return &ExitError{Code: worst}
}

func isExit(err error) bool {
	var exit *ExitError
	return errors.As(err, &exit)
}
