package logs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"time"

	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"
)

// Stream is one of a container's output streams.
type Stream uint8

// Both is every stream; Stdout and Stderr are one of them.
const (
	Both Stream = iota
	Stdout
	Stderr
)

// Filter says which lines are wanted. The zero value wants all.
type Filter struct {
	// Tail is how many of the last lines are wanted, before Since and Until
	// are looked at; nil is all. Pieces of one line count once.
	Tail *int
	// Since and Until bound the times of lines, both inclusive; zero is open.
	Since, Until time.Time
	// Stream is the stream that is wanted.
	Stream Stream
}

// Options say what to read.
type Options struct {
	// Path is the file that the monitor writes. It is opened without
	// following a symbolic link, and must be a regular file.
	Path string
	// Older are files that were rotated away, oldest first, to be read
	// before. Those that are not there are left out.
	Older  []string
	Filter Filter
	// Timestamps puts each line's time before it, as it is in the file, and a
	// space.
	Timestamps bool
	// Follow goes on at the end of the file, also in the file that takes its
	// place when it is rotated, until Done is closed and the end is reached
	// again, the clock passes Until, or ctx ends.
	Follow bool
	// Done closes when nothing more will be written; nil never does.
	Done <-chan struct{}
}

// Sinks receive the bytes of the streams, many lines at once; a nil one drops
// them. The order between the streams is kept.
type Sinks struct {
	Stdout, Stderr io.Writer
}

// blockSize is how much is read at once. A longer line is handed on in pieces.
const blockSize = 512 << 10

// Read copies what is wanted of a log to the sinks. A log that is not there is
// ErrNotFound, unless it is followed: then it is waited for. An error of a sink
// ends it.
func Read(ctx context.Context, o Options, to Sinks) error {
	r := &reading{o: o, dec: newDecoder(o, to), buf: make([]byte, 0, blockSize)}
	if o.Follow {
		// Before the first look, so that nothing goes by between.
		w, err := watch(o.Path)
		if err != nil {
			return fmt.Errorf("following log %q: %w", o.Path, err)
		}
		defer w.close()
		r.watch = w
	}
	if err := r.run(ctx); err != nil {
		return fmt.Errorf("reading log %q: %w", o.Path, err)
	}
	return nil
}

// reading is one Read.
type reading struct {
	o     Options
	dec   *decoder
	watch *watcher
	// buf holds what was read and is not a whole line yet.
	buf []byte
	// offset is where the next read of the current file begins.
	offset int64
}

func (r *reading) run(ctx context.Context) error {
	files, err := r.open()
	if err != nil {
		return err
	}
	defer func() { closeAll(files) }()
	from, err := tailStart(files, r.o.Filter)
	if err != nil {
		return err
	}
	for i, f := range files {
		r.begin(from[i])
		if err := r.toEnd(ctx, f); err != nil {
			return err
		}
		if i < len(files)-1 || !r.o.Follow {
			r.tear()
		}
	}
	if err := r.dec.flush(); err != nil || !r.o.Follow {
		return err
	}
	var current *os.File
	if n := len(files); n > 0 {
		current, files = files[n-1], files[:n-1]
	}
	return r.follow(ctx, current)
}

// open opens the files in the order of time. For a follower a missing Path is
// one that comes later.
func (r *reading) open() ([]*os.File, error) {
	var files []*os.File
	for _, path := range r.o.Older {
		f, err := openLog(path)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			closeAll(files)
			return nil, err
		}
		files = append(files, f)
	}
	f, err := openLog(r.o.Path)
	switch {
	case err == nil:
		return append(files, f), nil
	case errors.Is(err, fs.ErrNotExist) && r.o.Follow:
		return files, nil
	case errors.Is(err, fs.ErrNotExist) && len(files) > 0:
		// Between a rotation's rename and the reopening.
		return files, nil
	case errors.Is(err, fs.ErrNotExist):
		err = errdefs.ErrNotFound
	}
	closeAll(files)
	return nil, err
}

// openLog opens a regular file, and nothing else.
func openLog(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		if errors.Is(err, unix.ELOOP) {
			return nil, fmt.Errorf("%q is a symbolic link: %w", path, errdefs.ErrInvalidArgument)
		}
		return nil, err
	}
	info, err := f.Stat()
	if err != nil {
		_ = f.Close()
		return nil, err
	}
	if !info.Mode().IsRegular() {
		_ = f.Close()
		return nil, fmt.Errorf("%q is not a regular file: %w", path, errdefs.ErrInvalidArgument)
	}
	return f, nil
}

// begin sets where the next file is read from.
func (r *reading) begin(s start) {
	r.offset, r.buf = s.lowest(), r.buf[:0]
	r.dec.skip, r.dec.offset = s, r.offset
}

// toEnd reads what the file holds from offset on.
func (r *reading) toEnd(ctx context.Context, f *os.File) error {
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		n, err := f.ReadAt(r.buf[len(r.buf):cap(r.buf)], r.offset)
		r.buf = r.buf[:len(r.buf)+n]
		r.offset += int64(n)
		used, derr := r.dec.feed(r.buf, len(r.buf) == cap(r.buf))
		r.buf = r.buf[:copy(r.buf, r.buf[used:])]
		if derr != nil {
			return derr
		}
		if errors.Is(err, io.EOF) {
			return r.dec.flush()
		}
		if err != nil {
			return err
		}
	}
}

// tear passes on a last line that has no end: its writer was killed.
func (r *reading) tear() {
	if len(r.buf) > 0 || r.dec.long.on {
		r.dec.torn(r.buf)
		r.buf = r.buf[:0]
	}
}

func closeAll(files []*os.File) {
	for _, f := range files {
		_ = f.Close()
	}
}
