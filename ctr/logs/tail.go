package logs

import (
	"bytes"
	"os"
)

const (
	tailBlock = 64 << 10
	// maxLookBack is how far before the last wanted line the beginnings of
	// lines of the other stream are looked for.
	maxLookBack = 4 << 20
	// maxLine bounds a line that is looked for backwards; the monitor writes
	// none that is even near.
	maxLine = 16 << 20
)

// start is where in a file the wanted pieces of each stream begin. They may
// differ, as a line's pieces may lie among lines of the other stream.
type start struct {
	stdout, stderr int64
}

func (s start) of(stream Stream) int64 {
	if stream == Stderr {
		return s.stderr
	}
	return s.stdout
}

func (s start) lowest() int64 { return min(s.stdout, s.stderr) }

// tailStart finds where in each of the files the last lines begin that f wants,
// reading backwards. A file without any begins at its end.
func tailStart(files []*os.File, f Filter) ([]start, error) {
	out := make([]start, len(files))
	if f.Tail == nil {
		return out, nil
	}
	s := &scan{left: max(*f.Tail, 0), want: f.Stream}
	for i := len(files) - 1; i >= 0; i-- {
		info, err := files[i].Stat()
		if err != nil {
			return nil, err
		}
		s.cut = [3]int64{-1, -1, -1}
		if s.closed() {
			out[i] = start{info.Size(), info.Size()}
			continue
		}
		if err := s.file(files[i], info.Size()); err != nil {
			return nil, err
		}
		out[i] = s.start()
	}
	return out, nil
}

// scan counts lines backwards.
type scan struct {
	left int
	want Stream
	// open says of a stream that its last seen piece is wanted, and may have
	// pieces of the same line before it.
	open [3]bool
	// cut is where the wanted part of a stream begins; -1 is not found yet.
	cut [3]int64
	// full is set once left lines were found, at the offset fullAt.
	full   bool
	fullAt int64
}

// closed says that nothing before is wanted.
func (s *scan) closed() bool {
	return s.left == 0 && !s.open[Stdout] && !s.open[Stderr]
}

func (s *scan) start() start {
	at := func(v int64) int64 { return max(v, 0) }
	return start{at(s.cut[Stdout]), at(s.cut[Stderr])}
}

// file scans one file of the given size.
func (s *scan) file(f *os.File, size int64) error {
	s.full = false
	var rest []byte // the end of a line whose beginning is in the block before
	pos := size
	end := size // the offset after the line that is being put together
	for pos > 0 {
		n := min(pos, tailBlock)
		block := make([]byte, n, int(n)+len(rest))
		if _, err := f.ReadAt(block, pos-n); err != nil {
			return err
		}
		block = append(block, rest...)
		pos -= n
		for {
			// The last line of the block ends at its end, with or without \n.
			body := len(block)
			if body > 0 && block[body-1] == '\n' {
				body--
			}
			i := bytes.LastIndexByte(block[:body], '\n')
			if i < 0 && pos > 0 {
				break
			}
			if s.line(block[i+1:body], end) {
				return nil
			}
			end = pos + int64(i+1)
			block = block[:i+1]
			if i < 0 {
				break
			}
		}
		if rest = block; len(rest) > maxLine {
			s.close(pos)
			return nil
		}
	}
	return nil
}

// line looks at the line that ends at offset end; true ends the scan.
func (s *scan) line(line []byte, end int64) bool {
	if s.closed() {
		s.close(end)
		return true
	}
	p, ok := parse(line)
	if !ok {
		p = parsed{stream: Stdout}
	}
	if s.want != Both && p.stream != s.want {
		return s.check(end)
	}
	if s.cut[p.stream] >= 0 {
		return s.check(end)
	}
	if p.partial && s.open[p.stream] {
		return s.check(end)
	}
	// A line of its own, or the last piece of one.
	if s.left == 0 {
		s.cut[p.stream], s.open[p.stream] = end, false
		return s.check(end)
	}
	s.left--
	s.open[p.stream] = true
	if s.left == 0 {
		s.full, s.fullAt = true, end
		for _, other := range []Stream{Stdout, Stderr} {
			if !s.open[other] && s.cut[other] < 0 {
				s.cut[other] = end
			}
		}
	}
	return false
}

// check ends the scan when each stream's beginning is known, or is too far.
func (s *scan) check(end int64) bool {
	if s.closed() || (s.full && s.fullAt-end > maxLookBack) {
		s.close(end)
		return true
	}
	return false
}

// close sets what was not found.
func (s *scan) close(end int64) {
	for _, stream := range []Stream{Stdout, Stderr} {
		if s.cut[stream] < 0 {
			s.cut[stream] = end
		}
		s.open[stream] = false
	}
}
