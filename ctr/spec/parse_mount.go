package spec

import (
	"encoding/csv"
	"path"
	"strconv"
	"strings"
)

// String prints m as [ParseMount] reads it.
func (m Mount) String() string {
	fields := []string{"type=" + m.Type}
	if m.Source != "" {
		fields = append(fields, "source="+m.Source)
	}
	fields = append(fields, "destination="+m.Destination)
	if m.Subpath != "" {
		fields = append(fields, "subpath="+m.Subpath)
	}
	var line strings.Builder
	w := csv.NewWriter(&line)
	_ = w.Write(append(fields, m.words()...)) // a strings.Builder takes everything
	w.Flush()
	return strings.TrimSuffix(line.String(), "\n")
}

// ParseVolume parses the "[source:]destination[:options]" of -v. A source that
// starts with / or . is a path of the host, which the caller makes absolute;
// any other is a volume's name; none is a volume without a name.
func ParseVolume(s string) (Mount, error) {
	parts := strings.Split(s, ":")
	m := Mount{Type: MountVolume}
	var words []string
	switch len(parts) {
	case 1:
		m.Destination = parts[0]
	case 3:
		words = strings.Split(parts[2], ",")
		fallthrough
	case 2:
		m.Source, m.Destination = parts[0], parts[1]
		if m.Source == "" {
			return Mount{}, invalidf("volume %q has no source: give source:destination[:options]", s)
		}
	default:
		return Mount{}, invalidf("volume %q has too many parts: give source:destination[:options]; --mount takes paths with a colon", s)
	}
	if strings.HasPrefix(m.Source, "/") || strings.HasPrefix(m.Source, ".") {
		m.Type = MountBind
	}
	if err := m.addOptions(s, words); err != nil {
		return Mount{}, err
	}
	return m.finish(s)
}

// ParseTmpfs parses the "destination[:options]" of --tmpfs.
func ParseTmpfs(s string) (Mount, error) {
	dest, options, _ := strings.Cut(s, ":")
	m := Mount{Type: MountTmpfs, Destination: dest}
	if err := m.addOptions(s, strings.Split(options, ",")); err != nil {
		return Mount{}, err
	}
	return m.finish(s)
}

// ParseMount parses the "type=…,source=…,destination=…" of --mount, a line of
// comma-separated values in which a field may be quoted. The type is volume
// when none is given.
func ParseMount(s string) (Mount, error) {
	fields, err := csv.NewReader(strings.NewReader(s)).Read()
	if err != nil || strings.ContainsAny(s, "\r\n") {
		return Mount{}, invalidf("mount %q is not a list such as type=bind,source=/a,destination=/b", s)
	}
	m := Mount{Type: MountVolume}
	for _, field := range fields {
		if kind, ok := strings.CutPrefix(field, "type="); ok {
			m.Type = kind
		}
	}
	switch m.Type {
	case MountBind, MountTmpfs, MountVolume, MountImage:
	default:
		return Mount{}, invalidf("mount %q has the type %q: give bind, tmpfs, volume or image", s, m.Type)
	}
	var words []string
	for _, field := range fields {
		key, value, hasValue := strings.Cut(field, "=")
		word, err := m.setField(key, value, hasValue)
		if err != nil {
			return Mount{}, invalidf("mount %q: %v", s, err)
		}
		if word != "" {
			words = append(words, word)
		}
	}
	if err := m.addOptions(s, words); err != nil {
		return Mount{}, err
	}
	return m.finish(s)
}

// setField sets what the field names, or returns the option that it means.
func (m *Mount) setField(key, value string, hasValue bool) (word string, err error) {
	switch key {
	case "type", "consistency":
		return "", nil
	case "source", "src":
		return "", once(&m.Source, key, value)
	case "destination", "dst", "dest", "target":
		return "", once(&m.Destination, key, value)
	case "subpath", "volume-subpath", "image-subpath":
		return "", once(&m.Subpath, key, value)
	case "bind-propagation":
		return value, nil
	case "tmpfs-size":
		return "size=" + value, nil
	case "tmpfs-mode":
		return "mode=" + value, nil
	case "relabel":
		switch value {
		case "shared":
			return "z", nil
		case "private":
			return "Z", nil
		}
		return "", invalidf("relabel=%s is neither shared nor private", value)
	case "readonly", "ro":
		return choose(setting{key, value, hasValue}, "ro", "rw")
	case "rw", "readwrite":
		return choose(setting{key, value, hasValue}, "rw", "ro")
	case "bind-nonrecursive":
		return choose(setting{key, value, hasValue}, "bind", "rbind")
	case "U", "chown":
		return choose(setting{key, value, hasValue}, "U", "")
	case "volume-nocopy", "nocopy":
		return choose(setting{key, value, hasValue}, "nocopy", "copy")
	case "tmpcopyup", "notmpcopyup", "exec", "noexec", "dev", "nodev", "suid", "nosuid":
		return choose(setting{key, value, hasValue}, key, strings.TrimPrefix("no"+key, "nono"))
	}
	if hasValue {
		return key + "=" + value, nil
	}
	return key, nil
}

func once(field *string, key, value string) error {
	if value == "" {
		return invalidf("%s= has no value", key)
	}
	if *field != "" {
		return invalidf("%s is given twice", key)
	}
	*field = value
	return nil
}

// setting is a word of --mount: KEY or KEY=VALUE.
type setting struct {
	key, value string
	hasValue   bool
}

// choose returns yes for a setting that is on, as one without a value is, and no
// for one that is off.
func choose(s setting, yes, no string) (string, error) {
	if !s.hasValue {
		return yes, nil
	}
	on, err := strconv.ParseBool(s.value)
	if err != nil {
		return "", invalidf("%s=%s is neither true nor false", s.key, s.value)
	}
	if on {
		return yes, nil
	}
	return no, nil
}

// finish checks what was parsed and cleans the destination.
func (m Mount) finish(typed string) (Mount, error) {
	if m.Destination == "" {
		return Mount{}, invalidf("mount %q has no destination", typed)
	}
	if err := m.check(); err != nil {
		return Mount{}, invalidf("mount %q: %v", typed, err)
	}
	m.Destination = path.Clean(m.Destination)
	switch {
	case hasControl(m.Source) || hasControl(m.Subpath):
		return Mount{}, invalidf("mount %q has control characters", typed)
	case (m.Type == MountBind || m.Type == MountImage) && m.Source == "":
		return Mount{}, invalidf("mount %q has no source: a %s mount needs one", typed, m.Type)
	case m.Type == MountTmpfs && m.Source != "":
		return Mount{}, invalidf("mount %q has a source: a tmpfs has none", typed)
	case m.Type == MountVolume && m.Source != "" && !validVolumeName(m.Source):
		return Mount{}, invalidf("mount %q: %q is neither a path (it would start with / or .) nor a volume's name, of letters, digits, _, . and -", typed, m.Source)
	case m.Subpath != "" && m.Type == MountVolume && m.Source == "":
		return Mount{}, invalidf("mount %q: a volume without a name is new and has nothing at a subpath", typed)
	case m.Subpath != "" && (m.Type == MountBind || m.Type == MountTmpfs):
		return Mount{}, invalidf("mount %q: only a volume or an image has a subpath", typed)
	case m.Subpath != "" && !localPath(m.Subpath):
		return Mount{}, invalidf("mount %q: subpath %q is not a relative path without ..", typed, m.Subpath)
	}
	return m, nil
}

func validVolumeName(name string) bool {
	for i := range len(name) {
		c := name[i]
		alnum := c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
		if !alnum && (i == 0 || c != '_' && c != '.' && c != '-') {
			return false
		}
	}
	return name != "" && len(name) <= 255
}

// localPath reports a relative path that stays where it starts.
func localPath(p string) bool {
	if path.IsAbs(p) {
		return false
	}
	for part := range strings.SplitSeq(p, "/") {
		if part == ".." {
			return false
		}
	}
	return true
}
