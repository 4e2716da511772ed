package harness

import (
	"archive/tar"
	"bytes"
	"encoding/hex"
	"fmt"
	"io"
	"math/rand/v2"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/google/go-containerregistry/pkg/compression"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// LayersConfig says what an image that is only there to be transferred consists
// of.
type LayersConfig struct {
	Layers    int
	Files     int // in each layer
	FileBytes int // of each file; half of it is what compression leaves
	Zstd      bool
	Seed      uint64 // images of different seeds share no layer
}

// Layered builds an image of many layers, of the OCI's media types. The same
// LayersConfig gives the same image.
func Layered(c LayersConfig) (v1.Image, error) {
	media, with := types.OCILayer, compression.GZip
	if c.Zstd {
		media, with = types.OCILayerZStd, compression.ZStd
	}
	var layers []v1.Layer
	for n := range c.Layers {
		data := c.layer(n)
		l, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) {
			return io.NopCloser(bytes.NewReader(data)), nil
		}, tarball.WithCompressedCaching, tarball.WithMediaType(media), tarball.WithCompression(with))
		if err != nil {
			return nil, fmt.Errorf("writing a layer: %w", err)
		}
		layers = append(layers, l)
	}
	base := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON)
	img, err := mutate.AppendLayers(base, layers...)
	if err != nil {
		return nil, fmt.Errorf("adding layers: %w", err)
	}
	return configure(img, ImageConfig{})
}

// layer is the tar of one layer, files of random hexadecimal digits.
func (c LayersConfig) layer(n int) []byte {
	random := rand.New(rand.NewPCG(c.Seed, uint64(n)))
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	raw := make([]byte, (c.FileBytes+1)/2)
	for f := range c.Files {
		for i := range raw {
			raw[i] = byte(random.Uint32())
		}
		writeHeader(w, tar.Header{Name: fmt.Sprintf("layer%d/file%d", n, f), Typeflag: tar.TypeReg, Mode: 0o644, Size: int64(c.FileBytes)})
		_, _ = w.Write([]byte(hex.EncodeToString(raw))[:c.FileBytes])
	}
	_ = w.Close()
	return b.Bytes()
}
