package harness

import (
	"archive/tar"
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// ImageConfig says what an image made of busybox is to be. The zero value is
// /bin/sh on one layer.
type ImageConfig struct {
	Config       v1.Config // Cmd /bin/sh and PATH where unset
	Layers       int       // layers beyond the first, each with a small file /layers/N
	Files        []File    // put into the last layer
	Programs     []Program // of the host, with their libraries: a layer above busybox's
	HardLinks    bool      // the applets are hard links, as if each were a file of its own
	Architecture string    // amd64 where empty
	Busybox      string    // path of a static busybox; the host's where empty
}

// File is a regular file of an image, or a symbolic link.
type File struct {
	Path string // absolute
	Text string
	Mode int64  // 0644 where 0
	Link string // what a symbolic link leads to
}

// busyboxFiles are what every image has beside busybox itself.
func busyboxFiles() []File {
	return []File{
		{Path: "/etc/passwd", Text: "root:x:0:0:root:/root:/bin/sh\nweb:x:1000:1000:web:/var/www:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n"},
		{Path: "/etc/group", Text: "root:x:0:\nweb:x:1000:\nstaff:x:50:web\nnobody:x:65534:\n"},
		{Path: "/var/www/index.html", Text: "hello from busybox\n"},
		{Path: "/usr/bin/not-executable", Text: "just a text\n"},
	}
}

// Busybox builds an image from the host's static busybox: one layer with the
// binary and a link for each of its applets. It needs no network.
func Busybox(ctx context.Context, c ImageConfig) (v1.Image, error) {
	if c.Busybox == "" {
		c.Busybox = hostBusybox()
	}
	base, err := busyboxLayer(ctx, c.Busybox, c.HardLinks)
	if err != nil {
		return nil, fmt.Errorf("building the image's first layer: %w", err)
	}
	layers := []v1.Layer{base}
	if len(c.Programs) > 0 {
		l, err := programLayer(ctx, c.Programs)
		if err != nil {
			return nil, err
		}
		layers = append(layers, l)
	}
	for n := range c.Layers {
		l, err := fileLayer([]File{{Path: fmt.Sprintf("/layers/%d", n+1), Text: fmt.Sprintf("layer %d\n", n+1)}})
		if err != nil {
			return nil, err
		}
		layers = append(layers, l)
	}
	img, err := mutate.AppendLayers(mutate.MediaType(empty.Image, types.DockerManifestSchema2), layers...)
	if err != nil {
		return nil, fmt.Errorf("adding layers: %w", err)
	}
	return derive(img, c)
}

// Derive builds an image on top of another: its layers, and above them the
// programs and files of c. Architecture and Config are c's alone.
func Derive(ctx context.Context, base v1.Image, c ImageConfig) (v1.Image, error) {
	if len(c.Programs) > 0 {
		l, err := programLayer(ctx, c.Programs)
		if err != nil {
			return nil, err
		}
		if base, err = mutate.AppendLayers(base, l); err != nil {
			return nil, fmt.Errorf("adding layers: %w", err)
		}
	}
	return derive(base, c)
}

func derive(base v1.Image, c ImageConfig) (v1.Image, error) {
	if len(c.Files) > 0 {
		l, err := fileLayer(c.Files)
		if err != nil {
			return nil, err
		}
		if base, err = mutate.AppendLayers(base, l); err != nil {
			return nil, fmt.Errorf("adding layers: %w", err)
		}
	}
	return configure(base, c)
}

func configure(img v1.Image, c ImageConfig) (v1.Image, error) {
	file, err := img.ConfigFile()
	if err != nil {
		return nil, fmt.Errorf("reading the image's configuration: %w", err)
	}
	file = file.DeepCopy()
	file.OS, file.Architecture = "linux", c.Architecture
	if file.Architecture == "" {
		file.Architecture = "amd64"
	}
	file.Created = v1.Time{Time: epoch()}
	file.Config = c.Config
	if len(file.Config.Cmd)+len(file.Config.Entrypoint) == 0 {
		file.Config.Cmd = []string{"/bin/sh"}
	}
	if len(file.Config.Env) == 0 {
		file.Config.Env = []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}
	}
	return mutate.ConfigFile(img, file)
}

// Index puts images of several architectures under one name.
func Index(images ...v1.Image) (v1.ImageIndex, error) {
	idx := mutate.IndexMediaType(empty.Index, types.OCIImageIndex)
	for _, img := range images {
		file, err := img.ConfigFile()
		if err != nil {
			return nil, fmt.Errorf("reading an image's configuration: %w", err)
		}
		idx = mutate.AppendManifests(idx, mutate.IndexAddendum{
			Add:        img,
			Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: file.OS, Architecture: file.Architecture}},
		})
	}
	return idx, nil
}

func busyboxLayer(ctx context.Context, path string, hardLinks bool) (v1.Layer, error) {
	binary, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("reading busybox (Debian's busybox-static): %w", err)
	}
	applets, err := exec.CommandContext(ctx, path, "--list").Output()
	if err != nil {
		return nil, fmt.Errorf("asking busybox for its applets: %w", err)
	}
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, dir := range []string{"bin", "dev", "etc", "home", "proc", "root", "run", "sys", "usr", "usr/bin", "var", "var/www"} {
		writeHeader(w, tar.Header{Name: dir + "/", Typeflag: tar.TypeDir, Mode: 0o755})
	}
	writeHeader(w, tar.Header{Name: "tmp/", Typeflag: tar.TypeDir, Mode: 0o1777})
	writeHeader(w, tar.Header{Name: "bin/busybox", Typeflag: tar.TypeReg, Mode: 0o755, Size: int64(len(binary))})
	_, _ = w.Write(binary)
	link := tar.Header{Typeflag: tar.TypeSymlink, Linkname: "busybox", Mode: 0o777}
	if hardLinks {
		link = tar.Header{Typeflag: tar.TypeLink, Linkname: "bin/busybox", Mode: 0o755}
	}
	for _, applet := range strings.Fields(string(applets)) {
		if applet != "busybox" {
			link.Name = "bin/" + applet
			writeHeader(w, link)
		}
	}
	writeFiles(w, busyboxFiles())
	return sealLayer(w, &b)
}

func fileLayer(files []File) (v1.Layer, error) {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	writeFiles(w, files)
	return sealLayer(w, &b)
}

func writeFiles(w *tar.Writer, files []File) {
	for _, f := range files {
		if f.Link != "" {
			writeHeader(w, tar.Header{Name: strings.TrimPrefix(f.Path, "/"), Typeflag: tar.TypeSymlink, Linkname: f.Link, Mode: 0o777})
			continue
		}
		mode := f.Mode
		if mode == 0 {
			mode = 0o644
		}
		writeHeader(w, tar.Header{Name: strings.TrimPrefix(f.Path, "/"), Typeflag: tar.TypeReg, Mode: mode, Size: int64(len(f.Text))})
		_, _ = io.WriteString(w, f.Text)
	}
}

// writeHeader writes to a tar in memory: its error is sticky and seen at the
// end, by sealLayer.
func writeHeader(w *tar.Writer, h tar.Header) {
	h.ModTime = epoch()
	_ = w.WriteHeader(&h)
}

func sealLayer(w *tar.Writer, b *bytes.Buffer) (v1.Layer, error) {
	if err := w.Close(); err != nil {
		return nil, fmt.Errorf("writing a layer: %w", err)
	}
	data := b.Bytes()
	return tarball.LayerFromOpener(func() (io.ReadCloser, error) {
		return io.NopCloser(bytes.NewReader(data)), nil
	}, tarball.WithCompressedCaching)
}

// epoch is the age of all files, so that an image has the same digest each time.
func epoch() time.Time { return time.Date(2024, 1, 1, 0, 0, 0, 0, time.UTC) }

// hostBusybox is the busybox in PATH, or where Debian puts it.
func hostBusybox() string {
	if path, err := exec.LookPath("busybox"); err == nil {
		return path
	}
	return "/bin/busybox"
}
