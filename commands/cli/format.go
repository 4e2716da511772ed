package cli

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"reflect"
	"strconv"
	"strings"
	"text/template"
	"unicode"
)

// Output prints rows of type T as --format asks. The exported fields of T and its
// exported methods without arguments are what a template may name; JSON is what
// encoding/json makes of T (RFC 3339 times, bytes as integers).
type Output[T any] struct {
	// Table is the template of the table that is printed without --format: its
	// columns, with a tab between them.
	Table string
	// Headings are the headings of fields, where they are not the field's name in
	// capitals with a blank between its words.
	Headings map[string]string
	// Format is what the user gave to --format: empty, "json", "table …" or a
	// template.
	Format string
	// NoHeading leaves the table's first line out.
	NoHeading bool
}

// Check tells whether Format can be printed at all: a usage error names a field
// that T does not have. It is for a command's parse step, before any work.
func (o Output[T]) Check() error {
	if o.Format == "json" {
		return nil
	}
	text, _ := o.template()
	_, err := parseTemplate(text, reflect.TypeFor[T]())
	return err
}

// Print writes rows to w. No rows: the headings of a table, "[]" for JSON, else
// nothing.
func (o Output[T]) Print(w io.Writer, rows []T) error {
	if o.Format == "json" {
		if rows == nil {
			rows = []T{}
		}
		return WriteJSON(w, rows)
	}
	text, table := o.template()
	t, err := parseTemplate(text, reflect.TypeFor[T]())
	if err != nil {
		return err
	}
	lines := make([]string, 0, len(rows))
	for i := range rows {
		line, err := render(t, &rows[i])
		if err != nil {
			return err
		}
		lines = append(lines, line)
	}
	if !table {
		for _, line := range lines {
			if _, err := io.WriteString(w, line+"\n"); err != nil {
				return err
			}
		}
		return nil
	}
	cells := make([][]string, 0, len(lines))
	for _, line := range lines {
		cells = append(cells, strings.Split(line, "\t"))
	}
	var headings []string
	if !o.NoHeading {
		line, err := render(t, o.headings())
		if err != nil {
			return Usagef("--format table needs plain fields: %s", err)
		}
		headings = strings.Split(line, "\t")
	}
	return WriteTable(w, headings, cells)
}

// template returns the template's text, and whether it makes a table.
func (o Output[T]) template() (text string, table bool) {
	if o.Format == "" || o.Format == "table" {
		return o.Table, true
	}
	text = o.Format
	if rest, ok := strings.CutPrefix(text, "table "); ok {
		return strings.TrimSpace(unescape(rest)), true
	}
	return unescape(text), false
}

// headings is the row that prints the headings when it is given to the template.
func (o Output[T]) headings() map[string]string {
	m := map[string]string{}
	for _, name := range fieldNames(reflect.TypeFor[T]()) {
		m[name] = heading(name)
	}
	for name, h := range o.Headings {
		m[name] = h
	}
	return m
}

// PrintObjects writes whole objects, as inspect does: a JSON array, or a template
// for each.
func PrintObjects[T any](w io.Writer, format string, objects []T) error {
	if format == "" {
		format = "json"
	}
	return Output[T]{Format: format}.Print(w, objects)
}

// WriteJSON writes v as indented JSON, without escaping for HTML.
func WriteJSON(w io.Writer, v any) error {
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(v); err != nil {
		return fmt.Errorf("writing JSON: %w", err)
	}
	_, err := w.Write(buf.Bytes())
	return err
}

// unescape replaces the \t and \n that shells leave as two characters in a
// template's text. Those in its actions are text/template's, which allows no new
// line in a quoted string.
func unescape(s string) string {
	replacer := strings.NewReplacer(`\t`, "\t", `\n`, "\n")
	var b strings.Builder
	for {
		text, rest, found := strings.Cut(s, "{{")
		b.WriteString(replacer.Replace(text))
		if !found {
			return b.String()
		}
		n := actionLen(rest)
		b.WriteString("{{" + rest[:n])
		s = rest[n:]
	}
}

// actionLen is the length of an action behind its {{, with its }}; those in
// quotes and comments are not its own.
func actionLen(s string) int {
	for i := 0; i < len(s); i++ {
		switch rest := s[i:]; {
		case strings.HasPrefix(rest, "}}"):
			return i + len("}}")
		case strings.HasPrefix(rest, "/*"):
			comment, _, _ := strings.Cut(rest, "*/")
			i += len(comment)
		default:
			quoted, _ := strconv.QuotedPrefix(rest)
			i += max(len(quoted)-1, 0)
		}
	}
	return len(s)
}

// heading splits a field's name into words: CreatedAt becomes CREATED AT.
func heading(field string) string {
	var b strings.Builder
	runes := []rune(field)
	for i, r := range runes {
		if i > 0 && unicode.IsUpper(r) && (unicode.IsLower(runes[i-1]) ||
			i+1 < len(runes) && unicode.IsLower(runes[i+1])) {
			b.WriteByte(' ')
		}
		b.WriteRune(unicode.ToUpper(r))
	}
	return b.String()
}

func render(t *template.Template, row any) (string, error) {
	var buf strings.Builder
	if err := t.Execute(&buf, row); err != nil {
		var exec template.ExecError
		if errors.As(err, &exec) {
			err = exec.Err
		}
		return "", Usagef("--format: %s", templateWords(err.Error()))
	}
	return strings.TrimSuffix(buf.String(), "\n"), nil
}

// templateWords drops the "template: :1:2: executing "" at <…>: " before the cause.
func templateWords(s string) string {
	if i := strings.LastIndex(s, ">: "); i >= 0 {
		return s[i+len(">: "):]
	}
	if rest, ok := strings.CutPrefix(s, "template: :"); ok {
		if _, cause, ok := strings.Cut(rest, ": "); ok {
			return cause
		}
	}
	return s
}

// parseTemplate parses a template for rows of type t, and checks its fields.
func parseTemplate(text string, t reflect.Type) (*template.Template, error) {
	tmpl, err := template.New("").Funcs(templateFuncs()).Parse(text)
	if err != nil {
		return nil, Usagef("--format %q: %s", text, templateWords(err.Error()))
	}
	if err := checkFields(tmpl.Tree, t); err != nil {
		return nil, err
	}
	return tmpl, nil
}

// templateFuncs are the functions that templates have beside text/template's own
// (println among them).
func templateFuncs() template.FuncMap {
	return template.FuncMap{
		"json":     toJSON,
		"upper":    strings.ToUpper,
		"lower":    strings.ToLower,
		"split":    strings.Split,
		"join":     strings.Join,
		"title":    title,
		"pad":      pad,
		"truncate": truncate,
	}
}

func toJSON(v any) (string, error) {
	var buf strings.Builder
	enc := json.NewEncoder(&buf)
	enc.SetEscapeHTML(false)
	err := enc.Encode(v)
	return strings.TrimSuffix(buf.String(), "\n"), err
}

func title(s string) string {
	upper := true
	return strings.Map(func(r rune) rune {
		was := upper
		upper = unicode.IsSpace(r)
		if was {
			return unicode.ToTitle(r)
		}
		return r
	}, s)
}

// pad puts blanks before and after s, but not around nothing.
func pad(s string, before, after int) string {
	if s == "" {
		return s
	}
	return strings.Repeat(" ", max(before, 0)) + s + strings.Repeat(" ", max(after, 0))
}

func truncate(s string, n int) string {
	runes := []rune(s)
	if n < 0 || len(runes) <= n {
		return s
	}
	return string(runes[:n])
}
