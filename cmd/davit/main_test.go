package main

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// build builds davit as `make build` does.
func build(t *testing.T) string {
	t.Helper()
	bin := filepath.Join(t.TempDir(), "davit")
	cmd := exec.Command("go", "build", "-buildvcs=false", "-trimpath", "-tags=containers_image_openpgp", "-ldflags=-s -w", "-o", bin, ".")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("building davit: %v\n%s", err, out)
	}
	return bin
}

// TestBinary looks at what only the linked program shows.
func TestBinary(t *testing.T) {
	if testing.Short() {
		t.Skip("builds davit")
	}
	bin := build(t)
	t.Run("start", func(t *testing.T) { testStart(t, bin) })
	t.Run("closed pipe", func(t *testing.T) { testClosedPipe(t, bin) })
}

// testStart holds what happens before main to 1 ms a package and 8 ms in all. A
// slow machine is not a slow program: the quickest of many starts counts.
func testStart(t *testing.T, bin string) {
	line := regexp.MustCompile(`(?m)^init (\S+) @.* ms, ([0-9.]+) ms clock`)
	best := map[string]float64{}
	total := 1e9
	for range 25 {
		cmd := exec.Command(bin, "--version")
		cmd.Env = append(os.Environ(), "GODEBUG=inittrace=1", "DAVIT_CONFIG=")
		var trace bytes.Buffer
		cmd.Stderr = &trace
		if err := cmd.Run(); err != nil {
			t.Fatalf("davit --version: %v\n%s", err, trace.String())
		}
		sum := 0.0
		for _, m := range line.FindAllStringSubmatch(trace.String(), -1) {
			ms, err := strconv.ParseFloat(m[2], 64)
			if err != nil {
				t.Fatal(err)
			}
			sum += ms
			if old, ok := best[m[1]]; !ok || ms < old {
				best[m[1]] = ms
			}
		}
		total = min(total, sum)
	}
	if len(best) < 50 {
		t.Fatalf("only %d packages in the trace: its form has changed", len(best))
	}
	for name, ms := range best {
		if ms > 1 {
			t.Errorf("init of %s takes %.2f ms", name, ms)
		}
	}
	if total > 8 {
		t.Errorf("init takes %.2f ms in all", total)
	}
	t.Logf("%d packages, %.2f ms", len(best), total)
}

// testClosedPipe holds davit to silence when nobody reads what it prints.
func testClosedPipe(t *testing.T, bin string) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(bin, "config", "default")
	var stderr strings.Builder
	cmd.Stdout, cmd.Stderr = w, &stderr
	cmd.Env = append(os.Environ(), "DAVIT_CONFIG=/dev/null")
	err = cmd.Run()
	if cerr := w.Close(); cerr != nil {
		t.Fatal(cerr)
	}
	var exit *exec.ExitError
	if !errors.As(err, &exit) {
		t.Errorf("printing to a closed pipe gives %v", err)
	}
	if stderr.String() != "" {
		t.Errorf("it says %q", stderr.String())
	}
}
