package whole

import (
	"testing"

	"go.podman.io/storage"
)

func TestIs(t *testing.T) {
	const signed = `{"signature-sizes":[7],"signatures-sizes":{"sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855":[7]}}`
	noted := map[string]any{note: true}
	for name, tt := range map[string]struct {
		im   storage.Image
		want bool
	}{
		"nothing yet":           {storage.Image{Flags: noted}, false},
		"config":                {storage.Image{Flags: noted, BigDataNames: []string{"sha256:1"}}, false},
		"manifest by digest":    {storage.Image{Flags: noted, BigDataNames: []string{"sha256:1", "manifest-sha256:2"}}, false},
		"manifest":              {storage.Image{Flags: noted, BigDataNames: []string{"sha256:1", "manifest"}, Metadata: "{}"}, true},
		"signatures to come":    {storage.Image{Flags: noted, BigDataNames: []string{"manifest"}, Metadata: signed}, false},
		"one signature to come": {storage.Image{Flags: noted, BigDataNames: []string{"manifest", "signatures"}, Metadata: signed}, false},
		"signatures": {storage.Image{Flags: noted, Metadata: signed, BigDataNames: []string{
			"manifest", "signatures", "signature-e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"}}, true},
		"no digest":          {storage.Image{Flags: noted, BigDataNames: []string{"manifest"}, Metadata: `{"signatures-sizes":{"x":[1]}}`}, true},
		"no JSON":            {storage.Image{Flags: noted, BigDataNames: []string{"manifest"}, Metadata: "mine"}, true},
		"of another program": {storage.Image{BigDataNames: []string{"sha256:1"}}, true},
		"named":              {storage.Image{Flags: noted, Names: []string{"a:1"}}, true},
	} {
		if got := Is(&tt.im); got != tt.want {
			t.Errorf("%s: whole %t, want %t", name, got, tt.want)
		}
	}
}
