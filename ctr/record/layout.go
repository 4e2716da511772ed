package record

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// The files of a record.
const (
	configName  = "config.json"
	keyName     = "key.json"
	opName      = "op"
	opDraft     = ".op"      // an op file that is not locked yet
	markName    = ".partial" // see markOf
	jsonSuffix  = ".json"
	draftSuffix = ".tmp"
)

// layout knows where the files of one kind of object are. It is the part of a
// Dir that does not depend on the types of what is kept.
type layout struct {
	kind    string
	root    string // Root/<kind>
	names   string // Root/names/<kind>
	run     string // RunRoot/<kind>
	status  string // RunRoot/status/<kind>
	log     *slog.Logger
	now     func() time.Time
	fsync   func(fd int) error
	self    func() Process // this one
	keeping atomic.Bool
	// removed is told what this process has removed, once somebody keeps it in
	// memory.
	removed atomic.Pointer[func(id string)]
}

func newLayout(o Options) (*layout, error) {
	if !validID(o.Kind) || o.Kind == "names" || o.Kind == "status" {
		return nil, invalidf("record kind %q", o.Kind)
	}
	if !filepath.IsAbs(o.Root) || !filepath.IsAbs(o.RunRoot) {
		return nil, invalidf("roots %q and %q are to be absolute paths", o.Root, o.RunRoot)
	}
	l := &layout{
		kind:   o.Kind,
		root:   filepath.Join(o.Root, o.Kind),
		names:  filepath.Join(o.Root, "names", o.Kind),
		run:    filepath.Join(o.RunRoot, o.Kind),
		status: filepath.Join(o.RunRoot, "status", o.Kind),
		log:    o.Log,
		now:    o.Now,
		fsync:  fsync,
		self: sync.OnceValue(func() Process {
			self, _ := ProcessOf(os.Getpid())
			self.Pid = os.Getpid() // also where /proc cannot be read
			return self
		}),
	}
	if l.log == nil {
		l.log = slog.New(slog.DiscardHandler)
	}
	if l.now == nil {
		l.now = time.Now
	}
	return l, nil
}

func (l *layout) rootDir(id string) string    { return l.root + "/" + id }
func (l *layout) runDir(id string) string     { return l.run + "/" + id }
func (l *layout) configPath(id string) string { return l.root + "/" + id + "/" + configName }
func (l *layout) keyPath(id string) string    { return l.root + "/" + id + "/" + keyName }
func (l *layout) opPath(id string) string     { return l.run + "/" + id + "/" + opName }
func (l *layout) statusPath(id string) string { return l.status + "/" + id + jsonSuffix }
func (l *layout) statusDraft(id string) string {
	return l.status + "/." + id + draftSuffix
}

// folders are those that Open makes.
func (l *layout) folders() []string { return []string{l.root, l.names, l.run, l.status} }

func (l *layout) claimPath(owner Owner, key string) string {
	sum := sha256.Sum256([]byte(string(owner) + "\x00" + key))
	return l.names + "/" + hex.EncodeToString(sum[:])
}

// filePath is where PutFile keeps a file.
func (l *layout) filePath(id, name string) (string, error) {
	if err := l.checkID(id); err != nil {
		return "", err
	}
	if name == "" || name[0] == '.' || strings.ContainsAny(name, "/\x00") || name == configName || name == keyName {
		return "", invalidf("file name %q in a record", name)
	}
	return l.rootDir(id) + "/" + name, nil
}

// noun is the kind in the singular, for messages.
func (l *layout) noun() string { return strings.TrimSuffix(l.kind, "s") }

func (l *layout) notFound(id string) error { return notFoundf("%s %q", l.noun(), id) }

func (l *layout) wrap(id, doing string, err error) error {
	return fmt.Errorf("%s of %s %q: %w", doing, l.noun(), id, err)
}

func (l *layout) checkID(id string) error {
	if !validID(id) {
		return invalidf("%s id %q", l.noun(), id)
	}
	return nil
}

// validID says whether s can be an ID: one path element that is neither
// hidden nor able to lead elsewhere.
func validID(s string) bool {
	if s == "" || len(s) > 128 {
		return false
	}
	for i := range len(s) {
		c := s[i]
		switch {
		case c >= '0' && c <= '9', c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c == '_', c == '-':
		default:
			return false
		}
	}
	return true
}
