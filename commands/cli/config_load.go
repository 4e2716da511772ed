package cli

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/BurntSushi/toml"
)

// Sources are where a configuration comes from, the weakest first: File, the
// *.toml of the folder File.d in the order of their names, the environment, Flags.
type Sources struct {
	// File may be absent, and so may its folder, unless a flag or DAVIT_CONFIG
	// named it.
	File string
	// Environ are KEY=value pairs; DAVIT_NETWORK_DEFAULT sets network.default.
	Environ []string
	Flags   Settings
}

// Settings are what global flags set, in their order.
type Settings struct {
	// File is what --config names.
	File string
	// Keys are keys with their values as texts; Origin is "flag --name".
	Keys []Setting
}

// configEnv is the environment variable that names the file.
const configEnv = "DAVIT_CONFIG"

// LoadConfig reads the configuration. Without any file it costs two failed opens.
// An error names the file and line, the variable or the flag.
func LoadConfig(src Sources) (*Config, error) {
	c := DefaultConfig()
	c.origins = map[string]string{}
	file, named := src.File, ""
	if v := environ(src.Environ, configEnv); v != "" {
		file, named = v, configEnv
	}
	if src.Flags.File != "" {
		file, named = src.Flags.File, "--config"
	}
	if err := c.readFile(file, named); err != nil {
		return nil, err
	}
	drops, err := dropIns(file)
	if err != nil {
		return nil, err
	}
	for _, drop := range drops {
		if err := c.readFile(drop, ""); err != nil {
			return nil, err
		}
	}
	if err := c.readEnviron(src.Environ); err != nil {
		return nil, err
	}
	for _, s := range src.Flags.Keys {
		if err := c.set(s.Key, s.Value); err != nil {
			return nil, Usagef("%s: %s", strings.TrimPrefix(s.Origin, "flag "), causeOf(s.Key, err))
		}
		c.origins[s.Key] = s.Origin
	}
	return c, c.checkRoots()
}

// CheckFile reads one file by itself, as `davit config validate FILE` does.
func CheckFile(file string) error {
	c := DefaultConfig()
	c.origins = map[string]string{}
	return c.readFile(file, "argument")
}

// Files are the files that LoadConfig reads and that exist.
func Files(src Sources) []string {
	file := src.File
	if v := environ(src.Environ, configEnv); v != "" {
		file = v
	}
	if src.Flags.File != "" {
		file = src.Flags.File
	}
	drops, _ := dropIns(file)
	return slices.DeleteFunc(append([]string{file}, drops...), func(f string) bool {
		_, err := os.Stat(f)
		return err != nil
	})
}

func dropIns(file string) ([]string, error) {
	entries, err := os.ReadDir(file + ".d")
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("reading configuration: %w", err)
	}
	var drops []string
	for _, e := range entries {
		if !e.IsDir() && filepath.Ext(e.Name()) == ".toml" {
			drops = append(drops, filepath.Join(file+".d", e.Name()))
		}
	}
	return drops, nil
}

// readFile applies a file. With named set it must exist.
func (c *Config) readFile(file, named string) error {
	data, err := os.ReadFile(file)
	switch {
	case errors.Is(err, fs.ErrNotExist) && named == "":
		return nil
	case errors.Is(err, fs.ErrNotExist):
		return Usagef("configuration file %s: no such file", file).Hintf("%s names it", named)
	case err != nil:
		return fmt.Errorf("reading configuration: %w", err)
	}
	tree := map[string]any{}
	if _, err := toml.Decode(string(data), &tree); err != nil {
		var parse toml.ParseError
		if errors.As(err, &parse) {
			return Usagef("%s:%d: %s", file, parse.Position.Line, OneLine(parse.Message))
		}
		return Usagef("%s: %s", file, err)
	}
	lines := keyLines(string(data))
	for _, leaf := range flatten("", tree) {
		at := file
		if line := lines[leaf.Key]; line > 0 {
			at = fmt.Sprintf("%s:%d", file, line)
		}
		if err := c.set(leaf.Key, leaf.Value); err != nil {
			out := Usagef("%s: %s", at, err)
			if _, hint := Message(err); hint != "" {
				out.Hint = hint
			}
			return out
		}
		c.origins[leaf.Key] = at
	}
	return nil
}

// readEnviron applies the DAVIT_ variables that are the name of a key.
func (c *Config) readEnviron(environ []string) error {
	for _, kv := range environ {
		name, value, _ := strings.Cut(kv, "=")
		if !strings.HasPrefix(name, "DAVIT_") || name == configEnv {
			continue
		}
		for _, k := range c.keys() {
			if EnvName(k.name) != name {
				continue
			}
			if err := c.set(k.name, text(value)); err != nil {
				return Usagef("environment variable %s: %s", name, causeOf(k.name, err))
			}
			c.origins[k.name] = "env " + name
		}
	}
	return nil
}

// EnvName is the environment variable of a key.
func EnvName(key string) string {
	return "DAVIT_" + strings.ToUpper(strings.NewReplacer(".", "_", "-", "_").Replace(key))
}

// checkRoots refuses half of a pair: records and status of two davits would mix.
func (c *Config) checkRoots() error {
	switch {
	case c.Root == "" || c.RunRoot == "":
		return Usagef("root and runroot cannot be empty")
	case (c.Root == DefaultRoot) != (c.RunRoot == DefaultRunRoot):
		return Usagef("root is %s and runroot is %s: one was moved without the other", c.Root, c.RunRoot).
			Hintf("give --root and --runroot together")
	}
	return nil
}

// flatten lists the leaves of a decoded file by dotted key, sorted. A table
// below a key that is none is left for set to refuse.
func flatten(prefix string, tree map[string]any) []Setting {
	var out []Setting
	for key, value := range tree {
		name := key
		if prefix != "" {
			name = prefix + "." + key
		}
		if sub, ok := value.(map[string]any); ok && len(sub) > 0 {
			out = append(out, flatten(name, sub)...)
			continue
		} else if ok && isTable(name) {
			continue
		}
		out = append(out, Setting{Key: name, Value: value})
	}
	slices.SortFunc(out, func(a, b Setting) int { return strings.Compare(a.Key, b.Key) })
	return out
}

// isTable says whether a name may be that of an empty table.
func isTable(name string) bool {
	return name == "runtimes" || strings.HasPrefix(name, "runtimes.") ||
		slices.ContainsFunc(DefaultConfig().sections(), func(s section) bool { return s.name == name })
}

// keyLines finds the line of every key of a file, as far as plain lines tell: it
// is for messages only.
func keyLines(data string) map[string]int {
	lines := map[string]int{}
	table := ""
	n := 0
	for line := range strings.Lines(data) {
		n++
		line = strings.TrimSpace(line)
		if name, ok := strings.CutPrefix(line, "["); ok {
			if name, _, ok = strings.Cut(name, "]"); ok && !strings.ContainsAny(name, "[,") {
				table = unquoteKey(name) + "."
				lines[strings.TrimSuffix(table, ".")] = n
			}
			continue
		}
		if key, _, ok := strings.Cut(line, "="); ok && !strings.HasPrefix(key, "#") {
			name := table + unquoteKey(key)
			if lines[name] == 0 {
				lines[name] = n
			}
		}
	}
	return lines
}

func unquoteKey(s string) string {
	return strings.NewReplacer(`"`, "", "'", "", " ", "", "\t", "").Replace(s)
}

// causeOf is the text of an error of set without the key, where the user typed
// something else for it.
func causeOf(key string, err error) string {
	return strings.TrimPrefix(err.Error(), key+": ")
}

func environ(pairs []string, key string) string {
	e := Env{Environ: pairs}
	return e.Getenv(key)
}

// DefaultTOML is a commented file with every key at its default.
func DefaultTOML() string {
	var b strings.Builder
	b.WriteString("# davit's configuration. Every key is optional; these are the defaults.\n")
	b.WriteString("# Read in this order, the last one wins: " + DefaultConfigFile + ",\n")
	b.WriteString("# " + DefaultConfigFile + ".d/*.toml, the environment (DAVIT_NETWORK_DEFAULT sets\n")
	b.WriteString("# network.default), flags.\n")
	for _, s := range DefaultConfig().sections() {
		if s.name != "" {
			fmt.Fprintf(&b, "\n# %s\n[%s]\n", s.doc, s.name)
		}
		for _, k := range s.keys {
			for _, line := range wrap(k.doc, 76) {
				b.WriteString("# " + line + "\n")
			}
			fmt.Fprintf(&b, "%s = %s\n", k.name[strings.LastIndex(k.name, ".")+1:], tomlValue(k.get()))
		}
	}
	b.WriteString("\n# OCI runtimes beside those found by name in PATH, one table a name.\n")
	b.WriteString("# [runtimes.kata]\n# path = \"/usr/bin/kata-runtime\"\n# root = \"\"\n# args = []\n# allowed_annotations = []\n")
	return b.String()
}

func tomlValue(v any) string {
	switch v := v.(type) {
	case string:
		return fmt.Sprintf("%q", v)
	case []string:
		quoted := make([]string, len(v))
		for i, s := range v {
			quoted[i] = fmt.Sprintf("%q", s)
		}
		return "[" + strings.Join(quoted, ", ") + "]"
	}
	return fmt.Sprint(v)
}

// wrap breaks a text into lines of at most width columns.
func wrap(s string, width int) []string {
	var lines []string
	line := ""
	for _, word := range strings.Fields(s) {
		switch {
		case line == "":
			line = word
		case len(line)+1+len(word) <= width:
			line += " " + word
		default:
			lines, line = append(lines, line), word
		}
	}
	if line != "" {
		lines = append(lines, line)
	}
	return lines
}

// Set gives a key the value of a flag.
func (s *Settings) Set(key, flag, value string) {
	s.Keys = slices.DeleteFunc(s.Keys, func(k Setting) bool { return k.Key == key })
	s.Keys = append(s.Keys, Setting{Key: key, Value: text(value), Origin: "flag --" + flag})
}

// Append adds the value of a flag that may be repeated to a key's list.
func (s *Settings) Append(key, flag, value string) {
	for i, k := range s.Keys {
		if list, ok := k.Value.([]string); ok && k.Key == key {
			s.Keys[i].Value = append(list, value)
			return
		}
	}
	s.Keys = append(s.Keys, Setting{Key: key, Value: []string{value}, Origin: "flag --" + flag})
}
