package oci

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"
)

// featuresTimeout bounds the question for a runtime's features.
const featuresTimeout = 10 * time.Second

// Features are what a runtime says it can do, the parts of the runtime
// specification's features.md that davit asks about.
type Features struct {
	MountOptions []string `json:"mountOptions"`
	Linux        struct {
		Namespaces      []string `json:"namespaces"`
		MountExtensions struct {
			IDMap struct {
				Enabled bool `json:"enabled"`
			} `json:"idmap"`
		} `json:"mountExtensions"`
	} `json:"linux"`
}

// RecursiveReadOnly tells whether mounts can be read-only with all below them.
func (f Features) RecursiveReadOnly() bool { return slices.Contains(f.MountOptions, "rro") }

// IDMappedMounts tells whether a container can have a user namespace and mounts
// that are mapped into it.
func (f Features) IDMappedMounts() bool {
	return f.Linux.MountExtensions.IDMap.Enabled && slices.Contains(f.Linux.Namespaces, "user")
}

// FeaturesOf asks a runtime what it can do. One without that verb is an error:
// nothing is known of it.
func FeaturesOf(ctx context.Context, r Runtime) (Features, error) {
	ctx, cancel := context.WithTimeout(ctx, featuresTimeout)
	defer cancel()
	var out bytes.Buffer
	if err := r.run(ctx, invocation{action: "features", args: []string{"features"}, stdout: &out}); err != nil {
		return Features{}, err
	}
	var f Features
	if err := json.Unmarshal(out.Bytes(), &f); err != nil {
		return Features{}, fmt.Errorf("reading the features of runtime %q: %w", r.Name, err)
	}
	return f, nil
}
