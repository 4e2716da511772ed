//go:build faults || faultslong

package faults

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// logged reads a log in the format of the CRI and gives each whole line of standard
// output to line, its parts joined. Anything else in the file is an error.
func logged(path string, line func(data []byte) error) error {
	rest, err := loggedOn(path, nil, line)
	if err == nil && len(rest) > 0 {
		err = fmt.Errorf("a line of %d bytes is not ended", len(rest))
	}
	return err
}

// loggedOn is logged for a file that goes on with a line begun in the one before: the
// log may be opened again between two parts. It returns what the file has begun.
func loggedOn(path string, whole []byte, line func(data []byte) error) (rest []byte, err error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	r := bufio.NewReaderSize(f, 64<<10)
	for n := 1; ; n++ {
		text, err := r.ReadBytes('\n')
		if errors.Is(err, io.EOF) && len(text) == 0 {
			break
		}
		if err != nil {
			return nil, fmt.Errorf("line %d has no end: %w", n, err)
		}
		f := bytes.SplitN(text[:len(text)-1], []byte(" "), 4)
		if len(f) != 4 || string(f[1]) != "stdout" || (string(f[2]) != "P" && string(f[2]) != "F") {
			return nil, fmt.Errorf("line %d is %.80q", n, text)
		}
		if _, err := time.Parse(time.RFC3339Nano, string(f[0])); err != nil {
			return nil, fmt.Errorf("line %d: %w", n, err)
		}
		whole = append(whole, f[3]...)
		if string(f[2]) == "P" {
			continue
		}
		if err := line(whole); err != nil {
			return nil, fmt.Errorf("line %d: %w", n, err)
		}
		whole = whole[:0]
	}
	return whole, nil
}

// hardLines has a container write one line of so many bytes, then bytes that are no
// text, and compares what is in the log, and what davit logs prints.
func hardLines(t *testing.T, size int) {
	n := newNode(t, "")
	s := n.serve()
	pod := s.sandbox(s.podConfig("writes"))
	id := s.container(pod, s.containerConfig("c", fmt.Sprintf(`head -c %d /dev/zero | tr '\0' x; echo; printf 'a\000b\n\377\376\n\n'`, size)))
	for s.status(id).State != runtimeapi.ContainerState_CONTAINER_EXITED {
		time.Sleep(50 * time.Millisecond)
	}
	var got []string
	path := s.status(id).LogPath
	err := logged(path, func(data []byte) error {
		if len(got) == 0 {
			if x := bytes.Count(data, []byte("x")); x != len(data) || x != size {
				return fmt.Errorf("%d bytes, %d of them right, want %d", len(data), x, size)
			}
			data = nil
		}
		got = append(got, string(data))
		return nil
	})
	if want := []string{"", "a\x00b", "\xff\xfe", ""}; err != nil || strings.Join(got, "|") != strings.Join(want, "|") {
		t.Errorf("lines %q, want %q; %v", got, want, err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the log is %v, %v", info, err)
	}
	if got := n.must("logs", "--tail", "3", id).Stdout; got != "a\x00b\n\xff\xfe\n\n" {
		t.Errorf("logs prints %q", got)
	}
	s.remove(pod)
	n.check()
}

// rotations renames a log again and again while a container writes 20,000 lines a
// second, as a kubelet rotates. All lines are there afterwards, in their order.
func rotations(t *testing.T, batches int) {
	n := newNode(t, "")
	s := n.serve()
	pod := s.sandbox(s.podConfig("rotates"))
	const batch = 2000
	id := s.container(pod, s.containerConfig("c", fmt.Sprintf(
		`mkfifo /tick; exec 3<>/tick; b=0; while [ $b -lt %d ]; do seq $((b*%d)) $((b*%d+%d)); b=$((b+1)); read -t 0.1 x <&3; done`, batches, batch, batch, batch-1)))
	path := s.status(id).LogPath
	began := time.Now()
	var files []string
	for {
		state := s.status(id).State
		if _, err := os.Stat(path); err == nil && state == runtimeapi.ContainerState_CONTAINER_RUNNING {
			next := fmt.Sprintf("%s.%d", path, len(files))
			if err := os.Rename(path, next); err != nil {
				t.Fatal(err)
			}
			files = append(files, next)
			for range 2 { // who has had no answer asks again, and what was written meanwhile stays
				_, err := s.ReopenContainerLog(t.Context(), &runtimeapi.ReopenContainerLogRequest{ContainerId: id})
				if err != nil && s.status(id).State == runtimeapi.ContainerState_CONTAINER_RUNNING {
					t.Fatal(err)
				}
			}
		}
		if state == runtimeapi.ContainerState_CONTAINER_EXITED {
			break
		}
		time.Sleep(50 * time.Millisecond)
	}
	took := time.Since(began)
	if _, err := os.Stat(path); err == nil {
		files = append(files, path)
	}
	next := 0
	var rest []byte
	for _, f := range files {
		var err error
		rest, err = loggedOn(f, rest, func(data []byte) error {
			if string(data) != strconv.Itoa(next) {
				return fmt.Errorf("%.40q, want %d", data, next)
			}
			next++
			return nil
		})
		if err != nil {
			t.Errorf("%s: %v", filepath.Base(f), err)
			break
		}
	}
	if next != batches*batch || len(rest) > 0 {
		t.Errorf("%d lines, want %d", next, batches*batch)
	}
	t.Logf("%d lines in %s, in %d files", next, took.Round(time.Millisecond), len(files))
	s.remove(pod)
	n.check()
}
