package harness

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// Push writes an image or an index, a v1.Image or a v1.ImageIndex, under a
// name such as "busybox:latest".
func (r *Registry) Push(ctx context.Context, name string, what any) error {
	repository, tag, ok := strings.Cut(name, ":")
	if !ok {
		tag = "latest"
	}
	p := pusher{registry: r, repository: repository}
	var err error
	switch what := what.(type) {
	case v1.ImageIndex:
		err = p.index(ctx, what, tag)
	case v1.Image:
		err = p.image(ctx, what, tag)
	default:
		err = fmt.Errorf("neither image nor index: %T", what)
	}
	if err != nil {
		return fmt.Errorf("pushing %s: %w", r.Ref(name), err)
	}
	return nil
}

// pusher speaks the write half of the OCI distribution specification to one
// repository. It exists because go-containerregistry's own needs Docker's
// command line as a dependency.
type pusher struct {
	registry   *Registry
	repository string
	token      string
}

func (p *pusher) image(ctx context.Context, img v1.Image, reference string) error {
	layers, err := img.Layers()
	if err != nil {
		return fmt.Errorf("listing layers: %w", err)
	}
	for _, l := range layers {
		digest, err := l.Digest()
		if err != nil {
			return fmt.Errorf("reading a layer: %w", err)
		}
		content, err := l.Compressed()
		if err != nil {
			return fmt.Errorf("reading a layer: %w", err)
		}
		if err := p.blob(ctx, digest, content); err != nil {
			return err
		}
	}
	config, err := img.RawConfigFile()
	if err != nil {
		return fmt.Errorf("reading the image's configuration: %w", err)
	}
	digest, err := img.ConfigName()
	if err != nil {
		return fmt.Errorf("reading the image's configuration: %w", err)
	}
	if err := p.blob(ctx, digest, io.NopCloser(bytes.NewReader(config))); err != nil {
		return err
	}
	raw, err := img.RawManifest()
	if err != nil {
		return fmt.Errorf("reading the manifest: %w", err)
	}
	media, err := img.MediaType()
	if err != nil {
		return fmt.Errorf("reading the manifest: %w", err)
	}
	return p.manifest(ctx, reference, media, raw)
}

func (p *pusher) index(ctx context.Context, idx v1.ImageIndex, reference string) error {
	list, err := idx.IndexManifest()
	if err != nil {
		return fmt.Errorf("reading the index: %w", err)
	}
	for _, d := range list.Manifests {
		img, err := idx.Image(d.Digest)
		if err != nil {
			return fmt.Errorf("reading the index: %w", err)
		}
		if err := p.image(ctx, img, d.Digest.String()); err != nil {
			return err
		}
	}
	raw, err := idx.RawManifest()
	if err != nil {
		return fmt.Errorf("reading the index: %w", err)
	}
	media, err := idx.MediaType()
	if err != nil {
		return fmt.Errorf("reading the index: %w", err)
	}
	return p.manifest(ctx, reference, media, raw)
}

func (p *pusher) manifest(ctx context.Context, reference string, media types.MediaType, raw []byte) error {
	target := p.registry.url("/v2/" + p.repository + "/manifests/" + reference)
	resp, err := p.do(ctx, http.MethodPut, target, payload{string(media), raw})
	if err != nil {
		return err
	}
	return expect(resp, http.StatusCreated)
}

func (p *pusher) blob(ctx context.Context, digest v1.Hash, content io.ReadCloser) error {
	data, err := io.ReadAll(content)
	if err = errors.Join(err, content.Close()); err != nil {
		return fmt.Errorf("reading blob %s: %w", digest, err)
	}
	base := "/v2/" + p.repository + "/blobs/"
	resp, err := p.do(ctx, http.MethodHead, p.registry.url(base+digest.String()), payload{})
	if err != nil {
		return err
	}
	if expect(resp, http.StatusOK) == nil {
		return nil // there already
	}
	resp, err = p.do(ctx, http.MethodPost, p.registry.url(base+"uploads/"), payload{})
	if err != nil {
		return err
	}
	location, err := resp.Location()
	if err = errors.Join(expect(resp, http.StatusAccepted), err); err != nil {
		return err
	}
	q := location.Query()
	q.Set("digest", digest.String())
	location.RawQuery = q.Encode()
	resp, err = p.do(ctx, http.MethodPut, location.String(), payload{"application/octet-stream", data})
	if err != nil {
		return err
	}
	return expect(resp, http.StatusCreated)
}

// payload is the body of a request; empty without a media type.
type payload struct {
	media string
	data  []byte
}

// do sends a request; asked for a token, it gets one and sends it again.
func (p *pusher) do(ctx context.Context, method, target string, body payload) (*http.Response, error) {
	for attempt := 0; ; attempt++ {
		req, err := http.NewRequestWithContext(ctx, method, target, bytes.NewReader(body.data))
		if err != nil {
			return nil, fmt.Errorf("making a request: %w", err)
		}
		if body.media != "" {
			req.Header.Set("Content-Type", body.media)
		}
		switch c := p.registry.config; {
		case p.token != "":
			req.Header.Set("Authorization", "Bearer "+p.token)
		case c.User != "" && !c.Token:
			req.SetBasicAuth(c.User, c.Password)
		}
		resp, err := p.registry.client().Do(req)
		if err != nil || resp.StatusCode != http.StatusUnauthorized || !p.registry.config.Token || attempt > 0 {
			return resp, err
		}
		challenge := resp.Header.Get("WWW-Authenticate")
		_ = resp.Body.Close()
		if err := p.login(ctx, challenge); err != nil {
			return nil, err
		}
	}
}

// login asks the token server that a challenge names for leave to push.
func (p *pusher) login(ctx context.Context, challenge string) error {
	parts := map[string]string{}
	for _, m := range regexp.MustCompile(`(\w+)="([^"]*)"`).FindAllStringSubmatch(challenge, -1) {
		parts[m[1]] = m[2]
	}
	q := url.Values{"service": {parts["service"]}, "scope": {"repository:" + p.repository + ":pull,push"}}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, parts["realm"]+"?"+q.Encode(), nil)
	if err != nil {
		return fmt.Errorf("asking for a token: %w", err)
	}
	req.SetBasicAuth(p.registry.config.User, p.registry.config.Password)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return fmt.Errorf("asking for a token: %w", err)
	}
	defer resp.Body.Close()
	var answer struct{ Token string }
	if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil {
		return fmt.Errorf("asking for a token: %w", err)
	}
	p.token = answer.Token
	return nil
}

// expect closes an answer and makes an error of any status but the one wanted.
func expect(resp *http.Response, status int) error {
	text, _ := io.ReadAll(io.LimitReader(resp.Body, 4096))
	_ = resp.Body.Close()
	if resp.StatusCode != status {
		return fmt.Errorf("%s %s: %s: %s", resp.Request.Method, resp.Request.URL.Path, resp.Status, bytes.TrimSpace(text))
	}
	return nil
}
