package logs

import (
	"bytes"
	"io"
	"time"
)

// flushSize is how much output is gathered before it is written.
const flushSize = 64 << 10

// decoder turns a log's lines into the streams' bytes. It allocates nothing a
// line.
type decoder struct {
	sinks      Sinks
	want       Stream
	since      int64
	until      int64
	timestamps bool

	// offset is where in the file the next byte fed is; pieces of a stream
	// before skip's are not wanted.
	offset int64
	skip   start

	out    []byte
	outFor Stream
	// inside says of each stream that its line goes on: no time before it.
	inside [3]bool
	// long is set while a line that does not fit in the buffer is passed on.
	long struct {
		on, keep, newline bool
		stream            Stream
	}
	clock clock
	last  int64
	err   error
}

func newDecoder(o Options, to Sinks) *decoder {
	d := &decoder{sinks: to, want: o.Filter.Stream, timestamps: o.Timestamps, out: make([]byte, 0, flushSize+blockSize)}
	d.since, d.until = -1<<63, 1<<63-1
	if !o.Filter.Since.IsZero() {
		d.since = o.Filter.Since.UnixNano()
	}
	if !o.Filter.Until.IsZero() {
		d.until = o.Filter.Until.UnixNano()
	}
	return d
}

// feed decodes the whole lines of p and returns how much of it that was. With
// full the first line of p may be used in part, as it does not fit in.
func (d *decoder) feed(p []byte, full bool) (int, error) {
	used := 0
	for used < len(p) && d.err == nil {
		i := bytes.IndexByte(p[used:], '\n')
		if i < 0 {
			if d.long.on {
				d.more(p[used:])
				used = len(p)
			} else if full && used == 0 {
				d.beginLong(p)
				used = len(p)
			}
			break
		}
		line := p[used : used+i]
		if d.long.on {
			d.more(line)
			d.endLong()
		} else {
			d.line(line, d.offset+int64(used))
		}
		used += i + 1
		if len(d.out) >= flushSize {
			d.write()
		}
	}
	d.offset += int64(used)
	return used, d.err
}

// parsed is a line taken apart.
type parsed struct {
	time    []byte
	stream  Stream
	partial bool
	text    []byte
}

// stampLen is the length of the times that monitors write.
const stampLen = len("2026-08-21T15:09:13.123456789+00:00")

// parse takes a line apart; false if it is not of the format.
func parse(line []byte) (p parsed, ok bool) {
	i := stampLen
	if len(line) <= i || line[i] != ' ' {
		if i = bytes.IndexByte(line, ' '); i < len("2006-01-02T15:04:05Z") {
			return p, false
		}
	}
	p.time = line[:i]
	rest := line[i+1:]
	const word = len("stdout ")
	if len(rest) < word+1 || line[4] != '-' || string(rest[:3]) != "std" || rest[word-1] != ' ' {
		return p, false
	}
	switch string(rest[3:6]) {
	case "out":
		p.stream = Stdout
	case "err":
		p.stream = Stderr
	default:
		return p, false
	}
	rest = rest[word:]
	switch rest[0] {
	case 'F':
	case 'P':
		p.partial = true
	default:
		return p, false
	}
	switch {
	case len(rest) == 1:
		return p, true
	case rest[1] == ' ':
		p.text = rest[2:]
		return p, true
	case rest[1] == ':':
		if j := bytes.IndexByte(rest, ' '); j >= 0 {
			p.text = rest[j+1:]
		}
		return p, true
	}
	return p, false
}

// line decodes one line, without its end, that begins at offset at.
func (d *decoder) line(line []byte, at int64) {
	p, ok := parse(line)
	if !ok {
		p = parsed{stream: Stdout, text: line}
	}
	if !d.wanted(p, at) {
		return
	}
	d.emit(p)
	if !p.partial {
		d.out = append(d.out, '\n')
	}
	d.inside[p.stream] = p.partial
}

// emit puts a piece into the output.
func (d *decoder) emit(p parsed) {
	if d.outFor != p.stream {
		d.write()
		d.outFor = p.stream
	}
	if d.timestamps && !d.inside[p.stream] && p.time != nil {
		d.out = append(append(d.out, p.time...), ' ')
	}
	d.out = append(d.out, p.text...)
}

// wanted applies the filters. A line without a time has the last one's.
func (d *decoder) wanted(p parsed, at int64) bool {
	if at < d.skip.of(p.stream) || (d.want != Both && d.want != p.stream) {
		return false
	}
	if d.since == -1<<63 && d.until == 1<<63-1 {
		return true
	}
	if t, ok := d.clock.parse(p.time); ok {
		d.last = t
	}
	return d.last >= d.since && d.last <= d.until
}

// beginLong passes on the beginning of a line that does not fit in the buffer.
func (d *decoder) beginLong(head []byte) {
	p, ok := parse(head)
	if !ok {
		p = parsed{stream: Stdout, text: head}
	}
	d.long.on, d.long.stream, d.long.newline = true, p.stream, !p.partial
	if d.long.keep = d.wanted(p, d.offset); d.long.keep {
		d.emit(p)
	}
}

func (d *decoder) more(p []byte) {
	if d.long.keep {
		d.out = append(d.out, p...)
		if len(d.out) >= flushSize {
			d.write()
		}
	}
}

func (d *decoder) endLong() {
	d.long.on = false
	if !d.long.keep {
		return
	}
	if d.long.newline {
		d.out = append(d.out, '\n')
	}
	d.inside[d.long.stream] = !d.long.newline
}

// torn passes on a line whose end is missing, as far as it is there.
func (d *decoder) torn(line []byte) {
	if d.long.on {
		d.more(line)
		d.long.on = false
		return
	}
	p, ok := parse(line)
	if !ok {
		p = parsed{stream: Stdout, text: line}
	}
	if d.wanted(p, d.offset) {
		d.emit(p)
	}
	d.offset += int64(len(line))
}

// write hands the gathered output to its sink.
func (d *decoder) write() {
	if len(d.out) == 0 {
		return
	}
	var w io.Writer
	switch d.outFor {
	case Stderr:
		w = d.sinks.Stderr
	default:
		w = d.sinks.Stdout
	}
	if w != nil && d.err == nil {
		_, d.err = w.Write(d.out)
	}
	d.out = d.out[:0]
}

func (d *decoder) flush() error {
	d.write()
	return d.err
}

// clock parses times of RFC 3339; those of one minute are parsed once.
type clock struct {
	minute [17]byte
	zone   [6]byte
	base   int64
	set    bool
}

// parse returns nanoseconds since 1970.
func (c *clock) parse(s []byte) (int64, bool) {
	const minute = len("2026-08-21T15:09:")
	if len(s) == stampLen && c.set && string(s[:minute]) == string(c.minute[:]) && string(s[29:]) == string(c.zone[:]) {
		n := int64(0)
		for _, i := range [...]int{17, 18, 20, 21, 22, 23, 24, 25, 26, 27, 28} {
			b := s[i] - '0'
			if b > 9 {
				return 0, false
			}
			n = n*10 + int64(b)
		}
		return c.base + n, true
	}
	t, err := time.Parse(time.RFC3339Nano, string(s))
	if err != nil {
		return 0, false
	}
	if len(s) == stampLen {
		copy(c.minute[:], s)
		copy(c.zone[:], s[29:])
		c.base, c.set = t.Truncate(time.Minute).UnixNano(), true
	}
	return t.UnixNano(), true
}
