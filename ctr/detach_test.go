package ctr

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"
	"time"
)

func TestCopyInput(t *testing.T) {
	keys := []byte{0x10, 0x11} // ctrl-p,ctrl-q
	for _, tt := range []struct {
		name, in, want string
		keys           []byte
		wantErr        error
	}{
		{name: "plain", in: "hello", want: "hello", keys: keys},
		{name: "detach", in: "ab\x10\x11cd", want: "ab", keys: keys, wantErr: ErrDetached},
		{name: "first key alone at the end", in: "ab\x10", want: "ab\x10", keys: keys},
		{name: "first key, then another", in: "\x10x\x10\x10\x11", want: "\x10x\x10", keys: keys, wantErr: ErrDetached},
		{name: "self-overlapping keys", in: "aab", want: "a", keys: []byte("ab"), wantErr: ErrDetached},
		{name: "disabled", in: "\x10\x11", want: "\x10\x11"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var out bytes.Buffer
			err := copyInput(&out, strings.NewReader(tt.in), tt.keys)
			if !errors.Is(err, tt.wantErr) || (tt.wantErr == nil && err != nil) {
				t.Errorf("error = %v, want %v", err, tt.wantErr)
			}
			if out.String() != tt.want {
				t.Errorf("passed on %q, want %q", out.String(), tt.want)
			}
		})
	}
}

// A single ctrl-p must reach the program (shell history), only a moment later.
func TestCopyInputPassesFirstKeyAfterTimeout(t *testing.T) {
	r, w := io.Pipe()
	defer func() { _ = w.Close() }()
	got := make(chan byte, 1)
	go func() {
		_ = copyInput(writerFunc(func(p []byte) (int, error) { got <- p[0]; return len(p), nil }), r, []byte{0x10, 0x11})
	}()
	if _, err := w.Write([]byte{0x10}); err != nil {
		t.Fatal(err)
	}
	select {
	case b := <-got:
		if b != 0x10 {
			t.Errorf("passed on %#x, want 0x10", b)
		}
	case <-time.After(20 * keyTimeout):
		t.Error("the first of the detach keys never reached the container")
	}
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }
