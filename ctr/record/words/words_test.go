package words

import (
	"bytes"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// slow is a writer that sleeps before the first bytes, as a goroutine does that gets no
// processor.
type slow struct {
	got   bytes.Buffer
	slept time.Duration
}

func (s *slow) Write(p []byte) (int, error) {
	time.Sleep(s.slept)
	s.slept = 0
	return s.got.Write(p)
}

const while = 50 * time.Millisecond

// What was written before the end is taken, however late it is read.
func TestReadLate(t *testing.T) {
	to := &slow{slept: 4 * while}
	p, err := into(to)
	if err != nil {
		t.Fatal(err)
	}
	want := strings.Repeat("x", 40<<10) // more than one read takes
	if _, err := p.in.WriteString(want); err != nil {
		t.Fatal(err)
	}
	finish(while, p)
	if got := to.got.String(); got != want {
		t.Errorf("%d bytes, want %d", len(got), len(want))
	}
}

// Somebody else who has the pipe is waited for for a while, and no longer, silent or
// not.
func TestHeldOpen(t *testing.T) {
	for name, chatter := range map[string]bool{"silent": false, "endless": true} {
		t.Run(name, func(t *testing.T) {
			var to bytes.Buffer
			p, err := into(&to)
			if err != nil {
				t.Fatal(err)
			}
			other := dup(t, p.in)
			if _, err := other.WriteString("its last words"); err != nil {
				t.Fatal(err)
			}
			stop := make(chan struct{})
			ended := make(chan struct{})
			go func() {
				defer close(ended)
				for chatter {
					if _, err := other.WriteString(strings.Repeat("y", 4096)); err != nil {
						return // the other end is closed
					}
				}
				<-stop
			}()
			began := time.Now()
			finish(while, p)
			if took := time.Since(began); took < while || took > 20*while {
				t.Errorf("it took %s", took)
			}
			if !strings.HasPrefix(to.String(), "its last words") {
				t.Errorf("got %.40q", to.String())
			}
			close(stop)
			<-ended
			_ = other.Close()
		})
	}
}

func dup(t *testing.T, f *os.File) *os.File {
	t.Helper()
	fd, err := unix.Dup(int(f.Fd()))
	if err != nil {
		t.Fatal(err)
	}
	return os.NewFile(uintptr(fd), "dup")
}
