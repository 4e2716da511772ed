package harness

import (
	"archive/tar"
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// Program is a binary of the host that an image is to have, with the shared
// libraries that it needs.
type Program struct {
	From string // path on the host
	To   string // path in the image; From where empty
	Mode int64  // 0755 where 0
}

// programLayer is a layer of programs, and of their libraries at the paths at
// which the loader finds them here.
func programLayer(ctx context.Context, programs []Program) (v1.Layer, error) {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	var done []string
	for _, p := range programs {
		to, mode := p.To, p.Mode
		if to == "" {
			to = p.From
		}
		if mode == 0 {
			mode = 0o755
		}
		if err := writeProgram(w, Program{From: p.From, To: to, Mode: mode}); err != nil {
			return nil, err
		}
		libraries, err := sharedLibraries(ctx, p.From)
		if err != nil {
			return nil, err
		}
		for _, l := range libraries {
			if slices.Contains(done, l) {
				continue
			}
			done = append(done, l)
			if err := writeProgram(w, Program{From: l, To: l, Mode: 0o755}); err != nil {
				return nil, err
			}
		}
	}
	return sealLayer(w, &b)
}

func writeProgram(w *tar.Writer, p Program) error {
	data, err := os.ReadFile(p.From)
	if err != nil {
		return fmt.Errorf("reading a program for an image: %w", err)
	}
	writeHeader(w, tar.Header{Name: strings.TrimPrefix(p.To, "/"), Typeflag: tar.TypeReg, Mode: p.Mode, Size: int64(len(data))})
	_, _ = w.Write(data)
	return nil
}

// sharedLibraries asks ldd for what a binary is linked with; a static one has none.
func sharedLibraries(ctx context.Context, path string) ([]string, error) {
	out, err := exec.CommandContext(ctx, "ldd", path).CombinedOutput()
	if strings.Contains(string(out), "not a dynamic executable") || strings.Contains(string(out), "statically linked") {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("asking ldd for the libraries of %s: %w: %s", path, err, strings.TrimSpace(string(out)))
	}
	libraries := lddPaths(string(out))
	if len(libraries) == 0 {
		return nil, fmt.Errorf("asking ldd for the libraries of %s: no paths in %q", path, out)
	}
	return libraries, nil
}

// lddPaths are the absolute paths in ldd's output: "name => path (address)",
// and "path (address)" for the loader itself.
func lddPaths(out string) []string {
	var paths []string
	for line := range strings.Lines(out) {
		for _, f := range strings.Fields(line) {
			if strings.HasPrefix(f, "/") {
				paths = append(paths, f)
			}
		}
	}
	return paths
}
