package cli

import (
	"io"
	"os"
	"strconv"

	"golang.org/x/term"
)

// Streams are the standard streams of an invocation. Each may be anything; what
// is an *os.File on a terminal is treated as one.
type Streams struct {
	In  io.Reader
	Out io.Writer
	Err io.Writer
}

// OSStreams are the streams of this process.
func OSStreams() Streams {
	return Streams{In: os.Stdin, Out: os.Stdout, Err: os.Stderr}
}

// FD returns the file descriptor behind a stream, and whether there is one.
func FD(stream any) (int, bool) {
	f, ok := stream.(interface{ Fd() uintptr })
	if !ok {
		return -1, false
	}
	return int(f.Fd()), true
}

// IsTerminal says whether a stream is a terminal.
func IsTerminal(stream any) bool {
	fd, ok := FD(stream)
	return ok && term.IsTerminal(fd)
}

// InIsTerminal says whether standard input is a terminal.
func (s Streams) InIsTerminal() bool { return IsTerminal(s.In) }

// OutIsTerminal says whether standard output is a terminal.
func (s Streams) OutIsTerminal() bool { return IsTerminal(s.Out) }

// ErrIsTerminal says whether standard error is a terminal.
func (s Streams) ErrIsTerminal() bool { return IsTerminal(s.Err) }

// Width is the number of columns of the terminal behind stream, 0 if it is none.
func Width(stream any) int {
	fd, ok := FD(stream)
	if !ok {
		return 0
	}
	w, _, err := term.GetSize(fd)
	if err != nil {
		return 0
	}
	return w
}

// Height is the number of lines of the terminal behind stream, 0 if it is none.
func Height(stream any) int {
	fd, ok := FD(stream)
	if !ok {
		return 0
	}
	_, h, err := term.GetSize(fd)
	if err != nil {
		return 0
	}
	return h
}

// Fancy says whether progress bars and colours may be written to stream: it is a
// terminal, and neither NO_COLOR nor TERM=dumb asks for plain text.
func (e *Env) Fancy(stream any) bool {
	return IsTerminal(stream) && e.Getenv("NO_COLOR") == "" && e.Getenv("TERM") != "dumb"
}

// Columns is the width to lay text out for on stream: the terminal's, else
// $COLUMNS, else 80.
func (e *Env) Columns(stream any) int {
	if w := Width(stream); w > 0 {
		return w
	}
	if w, err := strconv.Atoi(e.Getenv("COLUMNS")); err == nil && w > 0 {
		return w
	}
	return 80
}
