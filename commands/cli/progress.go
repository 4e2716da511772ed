package cli

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/davit-containers/davit/img"
)

// redrawEvery is the shortest time between two drawings of the bars.
const redrawEvery = 80 * time.Millisecond

// Progress shows transfers of images on standard error: bars, one a layer, on a
// terminal; else one line an image; nothing when quiet. Its methods are called by
// one goroutine at a time.
type Progress struct {
	w       io.Writer
	verb    string
	bars    bool
	quiet   bool
	width   int
	height  int
	now     func() time.Time
	drawn   int // lines on the screen that belong to the bars
	last    time.Time
	blobs   []blob
	started string
}

type blob struct {
	digest        string
	offset, total int64
	done, skipped bool
}

// Progress returns a Progress that says "Pulling NAME", or another verb.
func (e *Env) Progress(verb string, quiet bool) *Progress {
	p := &Progress{w: e.Err, verb: verb, quiet: quiet, now: e.Now, width: e.Columns(e.Err), height: Height(e.Err)}
	p.bars = !quiet && e.Fancy(e.Err)
	return p
}

// Event shows what happened. It is what img.PullOptions.Progress takes.
func (p *Progress) Event(ev img.ProgressEvent) {
	if p.quiet {
		return
	}
	switch ev.Kind {
	case img.PullStarted:
		p.finish()
		if p.started != ev.Ref {
			p.line("%s %s", p.verb, ev.Ref)
		}
		p.started = ev.Ref
	case img.PullWaiting:
		p.line("Waiting for another process that transfers %s", ev.Ref)
	case img.Retrying:
		p.line("Trying again in %s: %s", ev.Wait.Round(time.Millisecond), OneLine(fmt.Sprint(ev.Err)))
	case img.BlobStarted, img.BlobProgress, img.BlobDone, img.BlobSkipped:
		if ev.Config {
			return
		}
		p.update(ev)
		p.draw(ev.Kind != img.BlobProgress)
	case img.PullDone, img.PullSkipped:
		p.finish()
	}
}

// Close leaves the bars as they are, with the cursor below them.
func (p *Progress) Close() { p.finish() }

func (p *Progress) update(ev img.ProgressEvent) {
	i := 0
	for i < len(p.blobs) && p.blobs[i].digest != ev.Digest {
		i++
	}
	if i == len(p.blobs) {
		p.blobs = append(p.blobs, blob{digest: ev.Digest})
	}
	b := &p.blobs[i]
	b.total = max(b.total, ev.Total)
	b.offset = max(b.offset, ev.Offset)
	b.done = b.done || ev.Kind == img.BlobDone
	b.skipped = b.skipped || ev.Kind == img.BlobSkipped
}

// line prints a line above the bars.
func (p *Progress) line(format string, args ...any) {
	p.erase()
	fmt.Fprintf(p.w, format+"\n", args...)
	p.draw(true)
}

func (p *Progress) finish() {
	p.draw(true)
	p.blobs, p.drawn = nil, 0
}

func (p *Progress) erase() {
	if p.drawn > 0 {
		fmt.Fprintf(p.w, "\x1b[%dA\x1b[J", p.drawn)
		p.drawn = 0
	}
}

// draw draws the bars over those drawn before. It skips drawings that follow one
// another too quickly, unless now is set.
func (p *Progress) draw(now bool) {
	if !p.bars || len(p.blobs) == 0 || !now && p.now().Sub(p.last) < redrawEvery {
		return
	}
	p.last = p.now()
	lines := p.lines()
	var b strings.Builder
	if p.drawn > 0 {
		fmt.Fprintf(&b, "\x1b[%dA", p.drawn)
	}
	for _, l := range lines {
		b.WriteString("\x1b[K" + l + "\n")
	}
	if p.drawn > len(lines) {
		b.WriteString("\x1b[J")
	}
	p.drawn = len(lines)
	_, _ = io.WriteString(p.w, b.String())
}

// lines are the bars as text. Where there are more than fit, those that are done
// become one line.
func (p *Progress) lines() []string {
	blobs, most := p.blobs, max(p.height-2, 3)
	var lines []string
	if len(blobs) > most {
		var open []blob
		for _, b := range blobs {
			if !b.done && !b.skipped {
				open = append(open, b)
			}
		}
		lines = append(lines, fmt.Sprintf("%d of %d layers done", len(blobs)-len(open), len(blobs)))
		blobs = open[:min(len(open), most-1)]
	}
	for _, b := range blobs {
		lines = append(lines, b.text(p.width))
	}
	return lines
}

// text is a layer's line, at most width columns.
func (b blob) text(width int) string {
	name := ShortID(b.digest, false)
	state := Size(b.offset)
	switch {
	case b.skipped:
		state = "here already"
	case b.done:
		state = "done " + Size(max(b.total, b.offset))
	case b.total > 0:
		state = Size(b.offset) + " / " + Size(b.total)
	}
	cells := min(40, width-len(name)-len(state)-6)
	if cells < 5 || b.skipped {
		return truncate(name+"  "+state, width)
	}
	full := 0
	if b.done {
		full = cells
	} else if b.total > 0 {
		full = int(min(b.offset*int64(cells)/b.total, int64(cells)))
	}
	return fmt.Sprintf("%s  [%s%s]  %s", name, strings.Repeat("=", full), strings.Repeat(" ", cells-full), state)
}
