package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/davit-containers/davit/cmd/davit-bench/rounds"
)

// writer is a script that writes a log of so many MB, in lines of 100 bytes.
func writer(mb int) string {
	return fmt.Sprintf("yes %s | head -c %d", strings.Repeat("x", 99), mb*1000*1000)
}

// logs measures how fast a log gets into its file, beside conmon alone, how fast it
// is shown, and how long a line takes to an attached container and back.
func logs(ctx context.Context, l *lab) error {
	runtime := l.runtimes[0]
	written := rounds.Case{Name: fmt.Sprintf("%d MB of log until in the file", l.logMB/4), Unit: rounds.MBPerSecond, Rounds: max(3, l.rounds/4), Warm: 1}
	shown := rounds.Case{Name: fmt.Sprintf("logs of %d MB", l.logMB), Unit: rounds.MBPerSecond, Rounds: max(3, l.rounds/4), Warm: 1}
	for _, e := range l.engines {
		written.Subjects = append(written.Subjects, rounds.Subject{Name: e.name(), Sample: func(ctx context.Context) ([]float64, error) {
			return l.writeLog(ctx, e, runtime, l.logMB/4)
		}})
		if err := l.startWriter(ctx, e, runtime, "log", l.logMB); err != nil {
			return err
		}
		if err := succeed(e.cli(ctx, "", "wait", "log")); err != nil {
			return err
		}
		shown.Subjects = append(shown.Subjects, rounds.Subject{Name: e.name(), Sample: func(ctx context.Context) ([]float64, error) {
			cmd := e.cli(ctx, "", "logs", "log") // to /dev/null
			began := time.Now()
			err := cmd.Run()
			return []float64{float64(l.logMB) / time.Since(began).Seconds()}, err
		}})
	}
	written.Subjects = append(written.Subjects, rounds.Subject{Name: "conmon alone", Sample: func(ctx context.Context) ([]float64, error) {
		return l.conmonLog(ctx, runtime, l.logMB/4)
	}})
	trips := rounds.Case{Name: "a line to an attached cat and back"}
	for _, e := range l.engines {
		a, err := attachCat(ctx, l, e, runtime)
		if err != nil {
			return err
		}
		defer a.close()
		trips.Subjects = append(trips.Subjects, rounds.Subject{Name: e.name(), Sample: a.trip})
	}
	return errors.Join(l.measure(ctx, written), l.measure(ctx, shown), l.measure(ctx, trips))
}

func (l *lab) startWriter(ctx context.Context, e engine, runtime, name string, mb int) error {
	return succeed(e.cli(ctx, runtime, "run", "-d", "--name", name, "--network", "none", "--log-driver", "k8s-file",
		"--log-opt", "max-size=4g", l.image, "sh", "-c", writer(mb)))
}

// writeLog is the rate of a container that only writes.
func (l *lab) writeLog(ctx context.Context, e engine, runtime string, mb int) (rate []float64, err error) {
	if err := l.startWriter(ctx, e, runtime, "written", mb); err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, succeed(e.cli(context.WithoutCancel(ctx), "", "rm", "-f", "written"))) }()
	if err := succeed(e.cli(ctx, "", "wait", "written")); err != nil {
		return nil, err
	}
	path, err := e.cli(ctx, "", "inspect", "--format", "{{.HostConfig.LogConfig.Path}}", "written").Output()
	if err != nil {
		return nil, fmt.Errorf("asking %s for a log: %w", e.name(), err)
	}
	return logRate(strings.TrimSpace(string(path)), mb)
}

// logRate is the rate of a log in CRI format that a container wrote without a
// pause, from its first line to its last.
func logRate(path string, mb int) ([]float64, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("reading a log: %w", err)
	}
	defer f.Close()
	const most = 4096 // of a line
	head, tail := make([]byte, most), make([]byte, most)
	size, err := f.Seek(0, io.SeekEnd)
	if err == nil {
		_, err = f.ReadAt(head, 0)
	}
	if err == nil {
		_, err = f.ReadAt(tail, max(0, size-most))
	}
	if err != nil {
		return nil, fmt.Errorf("reading log %s: %w", path, err)
	}
	first, err := stamp(string(head))
	if err != nil {
		return nil, err
	}
	lines := strings.Split(strings.TrimSpace(string(tail)), "\n")
	last, err := stamp(lines[len(lines)-1])
	if err != nil {
		return nil, err
	}
	return []float64{float64(mb) / last.Sub(first).Seconds()}, nil
}

// stamp is when a line was written.
func stamp(line string) (time.Time, error) {
	word, _, _ := strings.Cut(line, " ")
	return time.Parse(time.RFC3339Nano, word)
}

// conmonLog is the same with conmon and the runtime, without an engine.
func (l *lab) conmonLog(ctx context.Context, runtime string, mb int) (rate []float64, err error) {
	dir := filepath.Join(l.dir, "conmon")
	bundle := filepath.Join(dir, "bundle")
	for _, d := range []string{filepath.Join(bundle, "rootfs", "proc"), filepath.Join(bundle, "rootfs", "dev"), filepath.Join(bundle, "rootfs", "sys"), filepath.Join(bundle, "rootfs", "bin"), filepath.Join(dir, "exits")} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			return nil, fmt.Errorf("making conmon's folders: %w", err)
		}
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	for _, applet := range []string{"sh", "yes", "head"} {
		if err := succeed(exec.CommandContext(ctx, "cp", "/bin/busybox", filepath.Join(bundle, "rootfs", "bin", applet))); err != nil {
			return nil, err
		}
	}
	if err := writeSpec(ctx, bundle, []string{"sh", "-c", writer(mb)}, false); err != nil {
		return nil, err
	}
	path, err := exec.LookPath(runtime)
	if err != nil {
		return nil, fmt.Errorf("finding %s: %w", runtime, err)
	}
	id := l.raw.id()
	defer func() {
		err = errors.Join(err, succeed(exec.CommandContext(context.WithoutCancel(ctx), path, "delete", "--force", id)))
	}()
	log := filepath.Join(dir, "log")
	conmon := exec.CommandContext(ctx, "conmon", "--sync", "--full-attach", "-c", id, "-u", id, "-n", id, "-r", path, "-b", bundle,
		"-p", filepath.Join(dir, "pid"), "-l", "k8s-file:"+log, "--exit-dir", filepath.Join(dir, "exits"),
		"--socket-dir-path", dir, "--no-sync-log")
	// With --sync it reports on this descriptor that the container is there.
	read, write, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("making a pipe: %w", err)
	}
	defer read.Close()
	conmon.ExtraFiles = []*os.File{write}
	conmon.Env = append(os.Environ(), "_OCI_SYNCPIPE=3")
	err = conmon.Start()
	_ = write.Close()
	if err != nil {
		return nil, fmt.Errorf("starting conmon: %w", err)
	}
	answer, err := bufio.NewReader(read).ReadString('\n')
	if err == nil && strings.Contains(answer, `-1`) {
		err = fmt.Errorf("conmon says %s", strings.TrimSpace(answer))
	}
	if err == nil {
		err = succeed(exec.CommandContext(ctx, path, "start", id))
	}
	if err := errors.Join(err, conmon.Wait()); err != nil {
		return nil, err
	}
	return logRate(log, mb)
}

// attached is a client of a container that echoes.
type attached struct {
	cmd *exec.Cmd
	in  io.WriteCloser
	out *bufio.Reader
	n   int
}

func attachCat(ctx context.Context, l *lab, e engine, runtime string) (*attached, error) {
	cmd := e.cli(ctx, runtime, "run", "-i", "--rm", "--network", "none", l.image, "cat")
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("starting %s: %w", e.name(), err)
	}
	return &attached{cmd: cmd, in: in, out: bufio.NewReader(out)}, nil
}

// trip is the mean of a hundred lines, one after the other.
func (a *attached) trip(context.Context) ([]float64, error) {
	const lines = 100
	began := time.Now()
	for range lines {
		a.n++
		sent := strconv.Itoa(a.n) + "\n"
		if _, err := io.WriteString(a.in, sent); err != nil {
			return nil, err
		}
		if got, err := a.out.ReadString('\n'); err != nil || got != sent {
			return nil, fmt.Errorf("sent %q, got %q: %w", sent, got, err)
		}
	}
	return []float64{rounds.MS(time.Since(began)) / lines}, nil
}

func (a *attached) close() {
	_ = a.in.Close()
	_ = a.cmd.Wait()
}
