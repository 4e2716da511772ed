package logs

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	"github.com/google/go-cmp/cmp"
)

const stamp = "2026-08-21T15:09:13.123456789+00:00"

func at(sec int) string {
	return time.Date(2026, 8, 21, 15, 9, 0, 123456789, time.UTC).Add(time.Duration(sec) * time.Second).Format("2006-01-02T15:04:05.000000000-07:00")
}

func write(t testing.TB, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func read(t testing.TB, o Options) (stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	if err := Read(t.Context(), o, Sinks{&out, &errs}); err != nil {
		t.Fatal(err)
	}
	return out.String(), errs.String()
}

func ptr[T any](v T) *T { return &v }

func TestRead(t *testing.T) {
	five := ""
	for i := range 5 {
		five += fmt.Sprintf("%s stdout F line %d\n", at(i), i)
	}
	since := time.Date(2026, 8, 21, 15, 9, 2, 123456789, time.UTC)
	tests := []struct {
		name, log   string
		o           Options
		out, stderr string
	}{
		{name: "empty"},
		{name: "streams", log: stamp + " stdout F a\n" + stamp + " stderr F b\n" + stamp + " stdout F \n", out: "a\n\n", stderr: "b\n"},
		{name: "pieces", log: stamp + " stdout P ab\n" + stamp + " stderr F x\n" + stamp + " stdout P cd\n" + stamp + " stdout F ef\n", out: "abcdef\n", stderr: "x\n"},
		{name: "no line feed at the end", log: stamp + " stdout P prompt> \n", out: "prompt> "},
		{name: "more tags", log: stamp + " stdout P:x a\n" + stamp + " stdout F:y:z b\n", out: "ab\n"},
		{name: "short time", log: "2026-08-21T15:09:13Z stdout F a\n", out: "a\n"},
		{name: "bytes", log: stamp + " stdout F \x00\xff\xfe\r\n", out: "\x00\xff\xfe\r\n"},
		{name: "malformed", log: "garbage\n\n" + stamp + " stdin F x\n" + stamp + " stdout Q x\n" + stamp + " stdout F ok\n",
			out: "garbage\n\n" + stamp + " stdin F x\n" + stamp + " stdout Q x\nok\n"},
		{name: "torn", log: stamp + " stdout F a\n" + stamp + " stderr F hal", out: "a\n", stderr: "hal"},
		{name: "torn head", log: stamp + " std", out: stamp + " std"},
		{name: "times", log: stamp + " stdout P a\n" + stamp + " stdout F b\n" + stamp + " stderr F c\n",
			o: Options{Timestamps: true}, out: stamp + " ab\n", stderr: stamp + " c\n"},
		{name: "since", log: five, o: Options{Filter: Filter{Since: since}}, out: "line 2\nline 3\nline 4\n"},
		{name: "until", log: five, o: Options{Filter: Filter{Until: since}}, out: "line 0\nline 1\nline 2\n"},
		{name: "since in another zone", log: "2026-08-21T17:09:02.000000000+02:00 stdout F before\n2026-08-21T17:09:03.000000000+02:00 stdout F after\n",
			o: Options{Filter: Filter{Since: since}}, out: "after\n"},
		{name: "one stream", log: stamp + " stdout F a\n" + stamp + " stderr F b\n", o: Options{Filter: Filter{Stream: Stderr}}, stderr: "b\n"},
		{name: "tail", log: five, o: Options{Filter: Filter{Tail: ptr(2)}}, out: "line 3\nline 4\n"},
		{name: "tail none", log: five, o: Options{Filter: Filter{Tail: ptr(0)}}},
		{name: "tail more than all", log: five, o: Options{Filter: Filter{Tail: ptr(50)}}, out: "line 0\nline 1\nline 2\nline 3\nline 4\n"},
		{name: "tail of pieces", log: stamp + " stderr F no\n" + stamp + " stderr P a\n" + stamp + " stdout F no\n" + stamp + " stdout F x\n" + stamp + " stderr F b\n",
			o: Options{Filter: Filter{Tail: ptr(2)}}, out: "x\n", stderr: "ab\n"},
		{name: "tail of one stream", log: stamp + " stderr F e\n" + five, o: Options{Filter: Filter{Tail: ptr(1), Stream: Stderr}}, stderr: "e\n"},
		{name: "tail ends without a line feed", log: five + stamp + " stdout P go\n", o: Options{Filter: Filter{Tail: ptr(2)}}, out: "line 4\ngo"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tt.o.Path = filepath.Join(t.TempDir(), "log")
			write(t, tt.o.Path, tt.log)
			out, stderr := read(t, tt.o)
			if out != tt.out || stderr != tt.stderr {
				t.Errorf("stdout %q\nwant   %q\nstderr %q\nwant   %q", out, tt.out, stderr, tt.stderr)
			}
		})
	}
}

func TestRefused(t *testing.T) {
	dir := t.TempDir()
	file, link, sub := filepath.Join(dir, "log"), filepath.Join(dir, "link"), filepath.Join(dir, "dir")
	write(t, file, "")
	if err := errors.Join(os.Symlink(file, link), os.Mkdir(sub, 0o700)); err != nil {
		t.Fatal(err)
	}
	for path, is := range map[string]func(error) bool{
		link: errdefs.IsInvalidArgument, sub: errdefs.IsInvalidArgument, filepath.Join(dir, "none"): errdefs.IsNotFound,
	} {
		if err := Read(t.Context(), Options{Path: path}, Sinks{}); !is(err) {
			t.Errorf("%s: %v", path, err)
		}
	}
	write(t, file, stamp+" stdout F a\n")
	full := errors.New("full")
	if err := Read(t.Context(), Options{Path: file}, Sinks{Stdout: failing{full}}); !errors.Is(err, full) {
		t.Errorf("sink: %v", err)
	}
}

type failing struct{ err error }

func (f failing) Write([]byte) (int, error) { return 0, f.err }

// conmon writes what a container wrote as the monitor does: at most 8 KiB a
// read, a piece where it has no line feed.
func conmon(log io.Writer, stream string, p []byte) {
	for len(p) > 0 {
		chunk := p[:min(len(p), 8192)]
		p = p[len(chunk):]
		for len(chunk) > 0 {
			i := bytes.IndexByte(chunk, '\n')
			if i < 0 {
				fmt.Fprintf(log, "%s %s P %s\n", stamp, stream, chunk)
				break
			}
			fmt.Fprintf(log, "%s %s F %s", stamp, stream, chunk[:i+1])
			chunk = chunk[i+1:]
		}
	}
}

// noise is random output, with long lines, empty ones and binary.
func noise(r *rand.Rand, n int) []byte {
	p := make([]byte, r.IntN(n))
	for i := range p {
		switch r.IntN(40) {
		case 0:
			p[i] = '\n'
		default:
			p[i] = byte(r.IntN(256))
		}
	}
	if r.IntN(4) == 0 {
		p = bytes.ReplaceAll(p, []byte("\n"), nil)
	}
	return p
}

func TestWhatWentInComesOut(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 20 {
		var log, out, errs bytes.Buffer
		for range 200 {
			p := noise(r, 20000)
			if r.IntN(2) == 0 {
				out.Write(p)
				conmon(&log, "stdout", p)
			} else {
				errs.Write(p)
				conmon(&log, "stderr", p)
			}
		}
		path := filepath.Join(t.TempDir(), "log")
		write(t, path, log.String())
		gotOut, gotErr := read(t, Options{Path: path})
		if gotOut != out.String() || gotErr != errs.String() {
			t.Fatal("differs")
		}
	}
}

// tailBySight counts lines as one would by hand, from the beginning.
func tailBySight(log string, n int, want Stream) (stdout, stderr string) {
	type logical struct {
		stream Stream
		text   string
	}
	var lines []*logical
	var order []*logical // by where a line ends
	open := map[Stream]*logical{}
	for _, l := range strings.SplitAfter(log, "\n") {
		p, ok := parse([]byte(strings.TrimSuffix(l, "\n")))
		if !ok || (want != Both && p.stream != want) {
			continue
		}
		c := open[p.stream]
		if c == nil {
			c = &logical{stream: p.stream}
			open[p.stream] = c
			lines = append(lines, c)
		}
		c.text += string(p.text)
		for i, o := range order {
			if o == c {
				order = append(order[:i], order[i+1:]...)
				break
			}
		}
		order = append(order, c)
		if !p.partial {
			c.text += "\n"
			open[p.stream] = nil
		}
	}
	keep := map[*logical]bool{}
	for _, l := range order[max(0, len(order)-n):] {
		keep[l] = true
	}
	for _, l := range lines {
		if keep[l] && l.stream == Stdout {
			stdout += l.text
		} else if keep[l] {
			stderr += l.text
		}
	}
	return stdout, stderr
}

func TestTailAgreesWithCounting(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	for round := range 60 {
		var log bytes.Buffer
		for range r.IntN(400) {
			stream := []string{"stdout", "stderr"}[r.IntN(2)]
			tag := []string{"F", "P", "F", "F"}[r.IntN(4)]
			fmt.Fprintf(&log, "%s %s %s %s\n", stamp, stream, tag, strings.Repeat(string(rune('a'+r.IntN(26))), r.IntN(2000)))
		}
		dir := t.TempDir()
		path, older := filepath.Join(dir, "log"), filepath.Join(dir, "log.1")
		text := log.String()
		cut := 0
		if i := strings.IndexByte(text[len(text)/2:], '\n'); i >= 0 && round%2 == 0 {
			cut = len(text)/2 + i + 1
		}
		write(t, older, text[:cut])
		write(t, path, text[cut:])
		n, want := r.IntN(120), Stream(r.IntN(3))
		wantOut, wantErr := tailBySight(text, n, want)
		gotOut, gotErr := read(t, Options{Path: path, Older: []string{older, path + ".none"}, Filter: Filter{Tail: &n, Stream: want}})
		if diff := cmp.Diff([]string{wantOut, wantErr}, []string{gotOut, gotErr}); diff != "" {
			t.Fatalf("round %d, tail %d of %d: %s", round, n, want, diff)
		}
	}
}

// A line longer than the buffer passes through in pieces.
func TestLineLongerThanTheBuffer(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	long := strings.Repeat("0123456789", 3*blockSize/10)
	write(t, path, stamp+" stderr F "+long+"\n"+stamp+" stdout F x\n"+strings.Repeat("z", blockSize+5)+"\n"+stamp+" stdout P "+long)
	out, errs := read(t, Options{Path: path})
	if errs != long+"\n" || out != "x\n"+strings.Repeat("z", blockSize+5)+"\n"+long {
		t.Errorf("lengths %d, %d", len(out), len(errs))
	}
}

func TestTailOfABigFileReadsItsEndOnly(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	// A hole: reading it would take seconds.
	if _, err := f.WriteAt([]byte("\n"+stamp+" stdout F a\n"+stamp+" stdout F b\n"), 40<<30); err != nil {
		t.Skip(err)
	}
	_ = f.Close()
	began := time.Now()
	out, _ := read(t, Options{Path: path, Filter: Filter{Tail: ptr(1)}})
	if out != "b\n" || time.Since(began) > 2*time.Second {
		t.Errorf("%q in %v", out, time.Since(began))
	}
}

func TestCancelled(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	write(t, path, stamp+" stdout F a\n")
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	var out bytes.Buffer
	if err := Read(ctx, Options{Path: path, Follow: true}, Sinks{Stdout: &out}); !errors.Is(err, context.DeadlineExceeded) || out.String() != "a\n" {
		t.Errorf("%v, %q", err, out.String())
	}
	began := time.Now()
	if err := Read(t.Context(), Options{Path: path, Follow: true, Filter: Filter{Until: time.Now().Add(50 * time.Millisecond)}}, Sinks{}); err != nil || time.Since(began) > 5*time.Second {
		t.Errorf("until: %v after %v", err, time.Since(began))
	}
}

func BenchmarkRead(b *testing.B) {
	path := filepath.Join(b.TempDir(), "log")
	var log bytes.Buffer
	for i := range 1 << 20 {
		fmt.Fprintf(&log, "%s stdout F this is line %d of a log as they are\n", stamp, i)
	}
	write(b, path, log.String())
	for _, tt := range []struct {
		name string
		o    Options
	}{
		{"all", Options{}},
		{"times", Options{Timestamps: true}},
		{"since", Options{Filter: Filter{Since: time.Unix(1, 0)}}},
	} {
		b.Run(tt.name, func(b *testing.B) {
			tt.o.Path = path
			b.SetBytes(int64(log.Len()))
			b.ReportAllocs()
			for b.Loop() {
				if err := Read(b.Context(), tt.o, Sinks{Stdout: io.Discard}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
