package main

import (
	"archive/tar"
	"bytes"
	"context"
	"fmt"
	"os/exec"
	"strconv"

	"github.com/davit-containers/davit/cmd/davit-bench/rounds"
)

// cold measures commands that only look, from nothing, with few and with many
// objects there. Containers are created and not started.
func cold(ctx context.Context, l *lab) error {
	if err := l.look(ctx, "version", "--version"); err != nil {
		return err
	}
	made := 0
	for _, n := range []int{0, 100, 1000} {
		if err := l.createUpTo(ctx, made, n); err != nil {
			return err
		}
		made = n
		if err := l.look(ctx, fmt.Sprintf("ps -a of %d", n), "ps", "-a"); err != nil {
			return err
		}
		if n == 100 {
			if err := l.lookAtHundred(ctx); err != nil {
				return err
			}
		}
	}
	return nil
}

// lookAtHundred measures what depends on a hundred containers and images.
func (l *lab) lookAtHundred(ctx context.Context) error {
	if err := l.look(ctx, "inspect, 100 there", "inspect", "c7"); err != nil {
		return err
	}
	if err := l.look(ctx, "completion of a name, 100 there", "__complete", "rm", "c1"); err != nil {
		return err
	}
	for i := range 100 {
		archive := tiny(i)
		for _, e := range l.engines {
			cmd := e.cli(ctx, "", "import", "-", "image"+strconv.Itoa(i))
			cmd.Stdin = bytes.NewReader(archive)
			if err := succeed(cmd); err != nil {
				return fmt.Errorf("importing images into %s: %w", e.name(), err)
			}
		}
	}
	return l.look(ctx, "images, 100 there", "images")
}

// look measures one command of all engines.
func (l *lab) look(ctx context.Context, name string, args ...string) error {
	c := rounds.Case{Name: name}
	for _, e := range l.engines {
		c.Subjects = append(c.Subjects, rounds.Subject{Name: e.name(), Sample: command(func(ctx context.Context) *exec.Cmd { return e.cli(ctx, "", args...) })})
	}
	return l.measure(ctx, c)
}

// createUpTo creates containers named c0, c1 and so on.
func (l *lab) createUpTo(ctx context.Context, from, to int) error {
	for _, e := range l.engines {
		for i := from; i < to; i++ {
			if err := succeed(e.cli(ctx, "", "create", "--network", "none", "--name", "c"+strconv.Itoa(i), l.image, "true")); err != nil {
				return fmt.Errorf("creating containers of %s: %w", e.name(), err)
			}
		}
	}
	return nil
}

// tiny is an archive with one file, which no other n has.
func tiny(n int) []byte {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	text := strconv.Itoa(n)
	_ = w.WriteHeader(&tar.Header{Name: "n", Typeflag: tar.TypeReg, Mode: 0o644, Size: int64(len(text))})
	_, _ = w.Write([]byte(text))
	_ = w.Close() // into memory, all three
	return b.Bytes()
}
