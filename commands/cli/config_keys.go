package cli

import (
	"fmt"
	"reflect"
	"strconv"
	"strings"

	"github.com/docker/go-units"
)

// Bytes is a size that the configuration gives as a number or as "64m", in powers
// of 1024.
type Bytes int64

// String is the size as the configuration has it: "64m".
func (b Bytes) String() string {
	for i := len("kmgt") - 1; i >= 0; i-- {
		if unit := Bytes(1) << (10 * (i + 1)); b != 0 && b%unit == 0 {
			return strconv.FormatInt(int64(b/unit), 10) + "kmgt"[i:i+1]
		}
	}
	return strconv.FormatInt(int64(b), 10)
}

// configKey is a leaf of Config.
type configKey struct {
	name  string // dotted
	doc   string
	check string
	value reflect.Value // settable
}

// get is the key's value as JSON and a person are shown it.
func (k configKey) get() any {
	if b, ok := k.value.Interface().(Bytes); ok {
		return b.String()
	}
	if k.value.Kind() == reflect.Slice && k.value.IsNil() {
		return []string{}
	}
	return k.value.Interface()
}

// section is a table of the configuration.
type section struct {
	name string // empty for the top
	doc  string
	keys []configKey
}

// keys are all leaves, those of every table in [runtimes] included.
func (c *Config) keys() []configKey {
	var all []configKey
	for _, s := range c.sections() {
		all = append(all, s.keys...)
	}
	return all
}

// sections are the tables in their order. Values of [runtimes] are copies: set
// them with set.
func (c *Config) sections() []section {
	v := reflect.ValueOf(c).Elem()
	top := section{}
	tables := []section{}
	for i := range v.NumField() {
		f := v.Type().Field(i)
		name := f.Tag.Get("key")
		switch {
		case name == "":
		case f.Type.Kind() == reflect.Struct:
			tables = append(tables, section{name, f.Tag.Get("doc"), leaves(name, v.Field(i))})
		case f.Type.Kind() == reflect.Map:
			for _, runtime := range c.RuntimeNames() {
				r := c.Runtimes[runtime]
				prefix := name + "." + runtime
				tables = append(tables, section{prefix, f.Tag.Get("doc"), leaves(prefix, reflect.ValueOf(&r).Elem())})
			}
		default:
			top.keys = append(top.keys, leaf("", f, v.Field(i)))
		}
	}
	return append([]section{top}, tables...)
}

func leaves(prefix string, v reflect.Value) []configKey {
	var out []configKey
	for i := range v.NumField() {
		out = append(out, leaf(prefix, v.Type().Field(i), v.Field(i)))
	}
	return out
}

func leaf(prefix string, f reflect.StructField, v reflect.Value) configKey {
	name := f.Tag.Get("key")
	if prefix != "" {
		name = prefix + "." + name
	}
	return configKey{name: name, doc: f.Tag.Get("doc"), check: f.Tag.Get("check"), value: v}
}

// known are the names of all keys, with NAME for that of a runtime.
func (c *Config) known() []string {
	var names []string
	for _, k := range DefaultConfig().keys() {
		names = append(names, k.name)
	}
	for _, k := range leaves("runtimes.NAME", reflect.ValueOf(&RuntimeConfig{}).Elem()) {
		names = append(names, k.name)
	}
	return names
}

// text is a value from the environment or a flag, where a number is written as
// any other text, and a list with commas.
type text string

// set gives a key a value from a file (what TOML decodes to) or a text. It says which key, but not where it was found.
func (c *Config) set(name string, value any) error {
	if rest, ok := strings.CutPrefix(name, "runtimes."); ok {
		if runtime, _, ok := strings.Cut(rest, "."); ok {
			return c.setRuntime(runtime, name, value)
		}
	}
	for _, k := range c.keys() {
		if k.name == name {
			return k.set(value)
		}
	}
	return c.unknownKey(name)
}

func (c *Config) setRuntime(runtime, name string, value any) error {
	if err := checkName(runtime); err != nil {
		return fmt.Errorf("runtime %q: %w", runtime, err)
	}
	r := c.Runtimes[runtime]
	for _, k := range leaves("runtimes."+runtime, reflect.ValueOf(&r).Elem()) {
		if k.name != name {
			continue
		}
		if err := k.set(value); err != nil {
			return err
		}
		if c.Runtimes == nil {
			c.Runtimes = map[string]RuntimeConfig{}
		}
		c.Runtimes[runtime] = r
		return nil
	}
	return c.unknownKey(name)
}

// unknownKey names the nearest key, also one of the same name in another table.
func (c *Config) unknownKey(name string) error {
	names := c.known()
	if parts := strings.Split(name, "."); parts[0] == "runtimes" && len(parts) == 3 {
		for i := range names {
			names[i] = strings.Replace(names[i], "runtimes.NAME.", "runtimes."+parts[1]+".", 1)
		}
	}
	near := Nearest(name, names)
	last := name[strings.LastIndex(name, ".")+1:]
	for _, n := range names {
		if near == "" && n[strings.LastIndex(n, ".")+1:] == last {
			near = n
		}
	}
	err := Usagef("unknown key %q", name)
	err.Hint = "davit config default lists the keys"
	if near != "" {
		err.Hint = fmt.Sprintf("did you mean %q?", near)
	}
	return err
}

// set converts, stores and checks a value.
func (k configKey) set(value any) error {
	if err := assign(k.value, value); err != nil {
		return fmt.Errorf("%s: %w", k.name, err)
	}
	if err := checkValue(k.check, k.value.Interface()); err != nil {
		return fmt.Errorf("%s: %w", k.name, err)
	}
	return nil
}

func assign(to reflect.Value, value any) error {
	switch to.Interface().(type) {
	case string:
		switch x := value.(type) {
		case string:
			to.SetString(x)
		case text:
			to.SetString(string(x))
		default:
			return wantError("a string", value)
		}
	case []string:
		list, err := stringList(value)
		if err != nil {
			return err
		}
		to.Set(reflect.ValueOf(list))
	case Bytes:
		n, err := sizeOf(value)
		if err != nil {
			return err
		}
		to.SetInt(n)
	case int64:
		n, err := intOf(value)
		if err != nil {
			return err
		}
		to.SetInt(n)
	default:
		return fmt.Errorf("no such type of key: %s", to.Type())
	}
	return nil
}

func intOf(value any) (int64, error) {
	switch x := value.(type) {
	case int64:
		return x, nil
	case text:
		if n, err := strconv.ParseInt(string(x), 10, 64); err == nil {
			return n, nil
		}
	}
	return 0, wantError("an integer", value)
}

func sizeOf(value any) (int64, error) {
	var s string
	switch x := value.(type) {
	case int64:
		return x, nil
	case text:
		s = string(x)
	case string:
		s = x
	default:
		return 0, wantError("a size such as \"64m\"", value)
	}
	n, err := units.RAMInBytes(s)
	if err != nil {
		return 0, fmt.Errorf("%q is not a size such as 64m", s)
	}
	return n, nil
}

func stringList(value any) ([]string, error) {
	switch x := value.(type) {
	case text:
		if x == "" {
			return nil, nil
		}
		return strings.Split(string(x), ","), nil
	case []string:
		return x, nil
	case []any:
		list := make([]string, 0, len(x))
		for _, v := range x {
			s, ok := v.(string)
			if !ok {
				return nil, wantError("a list of strings", value)
			}
			list = append(list, s)
		}
		return list, nil
	}
	return nil, wantError("a list of strings", value)
}

func wantError(want string, got any) error {
	kind := "a table"
	switch got.(type) {
	case string, text:
		kind = fmt.Sprintf("the string %q", got)
	case int64, float64, bool:
		kind = fmt.Sprint(got)
	case []any:
		kind = "a list"
	}
	return fmt.Errorf("want %s, got %s", want, kind)
}
