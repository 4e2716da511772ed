package record

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
)

// configFile is config.json: written once.
type configFile[C any] struct {
	Version int  `json:"version"`
	Meta    Meta `json:"meta"`
	Config  C    `json:"config"`
}

// metaFile reads of a config.json what does not depend on its type.
type metaFile struct {
	Version int  `json:"version"`
	Meta    Meta `json:"meta"`
}

// keyFile is key.json: the key of an object that was renamed. A rename is written
// down before it claims and before it releases.
type keyFile struct {
	Version int    `json:"version"`
	Key     string `json:"key"`
	// Also are keys whose claims may already, or may still, be the object's.
	Also []string `json:"also,omitempty"`
	// Gone are keys that it has given up. Claims that lead from there to the object
	// are dead: their release was not synced, or was cut short.
	Gone []string `json:"gone,omitempty"`
}

// live are the keys that the object has.
func (f keyFile) live() []string { return append(slices.Clone(f.Also), f.Key) }

// all are those that may have a claim.
func (f keyFile) all() []string { return append(f.live(), f.Gone...) }

// statusFile is status/<kind>/<id>.json.
type statusFile[S any] struct {
	Version int    `json:"version"`
	Number  uint64 `json:"number"`
	Renamed bool   `json:"renamed,omitempty"` // there is a key.json to be read
	MountNS string `json:"mountNS,omitempty"`
	Status  S      `json:"status"`
}

// opFile is the op file's text.
type opFile struct {
	Version int `json:"version"`
	Holder
	// Fresh says that Create began this record: without a status it is not
	// whole. Operations that take over from a dead one inherit it.
	Fresh bool `json:"fresh,omitempty"`
	// Prior is the dead operation that this one found and has not dealt with.
	Prior *Holder `json:"prior,omitempty"`
}

// extraFile is what PutFile writes.
type extraFile struct {
	Version int `json:"version"`
	Value   any `json:"value"`
}

// encode makes the text of a file. One that could not be read again is
// ErrInvalidArgument.
func encode(v any) ([]byte, error) {
	var text bytes.Buffer
	e := json.NewEncoder(&text)
	e.SetEscapeHTML(false) // six bytes for one
	if err := e.Encode(v); err != nil {
		return nil, err
	}
	if text.Len() >= maxFile {
		return nil, invalidf("a record of %d bytes, %d is too large", text.Len(), maxFile)
	}
	return text.Bytes(), nil
}

// decode reads one of the files above. A newer version is a VersionError,
// also when its text no longer fits v; what cannot be read is ErrCorrupt.
func decode(path string, data []byte, v versioned) error {
	err := json.Unmarshal(data, v)
	version := v.version()
	if err != nil {
		var header struct {
			Version int `json:"version"`
		}
		if json.Unmarshal(data, &header) == nil {
			version = header.Version
		}
	}
	switch {
	case version > Version:
		return &VersionError{Path: path, Have: version, Max: Version}
	case err != nil:
		return fmt.Errorf("reading %s: %w: %w", path, ErrCorrupt, err)
	case version < 1:
		return fmt.Errorf("reading %s: %w: it has no version", path, ErrCorrupt)
	}
	return nil
}

type versioned interface{ version() int }

var (
	_ versioned = (*configFile[int])(nil)
	_ versioned = (*statusFile[int])(nil)
	_ versioned = (*metaFile)(nil)
	_ versioned = (*keyFile)(nil)
	_ versioned = (*opFile)(nil)
	_ versioned = (*extraFile)(nil)
)

func (f *configFile[C]) version() int { return f.Version }
func (f *statusFile[S]) version() int { return f.Version }
func (f *metaFile) version() int      { return f.Version }
func (f *keyFile) version() int       { return f.Version }
func (f *opFile) version() int        { return f.Version }
func (f *extraFile) version() int     { return f.Version }
