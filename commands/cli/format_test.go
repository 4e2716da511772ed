package cli

import (
	"bytes"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

type rowNested struct {
	Port int
	Tags []string
}

type row struct {
	ID        string            `json:"id"`
	CreatedAt string            `json:"created"`
	Size      int64             `json:"size"`
	Labels    map[string]string `json:"labels"`
	Nested    rowNested         `json:"nested"`
	List      []rowNested       `json:"-"`
	hidden    string
}

// Names is a method, as a template may name it.
func (r row) Names() string { return r.ID + "," + r.hidden }

func someRows() []row {
	return []row{
		{ID: "1", CreatedAt: "now", Size: 12, Labels: map[string]string{"a": "b"}, Nested: rowNested{Port: 80, Tags: []string{"x", "y"}}, hidden: "h"},
		{ID: "22", CreatedAt: "then", hidden: "i", List: []rowNested{{Port: 1}, {Port: 2}}},
	}
}

func TestPrint(t *testing.T) {
	out := Output[row]{Table: "{{.ID}}\t{{.CreatedAt}}\t{{.Names}}", Headings: map[string]string{"ID": "ROW ID"}}
	for _, tt := range []struct {
		name, format string
		noHeading    bool
		empty        bool
		want         string
	}{
		{name: "table", want: "ROW ID  CREATED AT  NAMES\n1       now         1,h\n22      then        22,i\n"},
		{name: "table word", format: "table", want: "ROW ID  CREATED AT  NAMES\n1       now         1,h\n22      then        22,i\n"},
		{name: "no heading", noHeading: true, want: "1   now   1,h\n22  then  22,i\n"},
		{name: "empty", empty: true, want: "ROW ID  CREATED AT  NAMES\n"},
		{name: "empty without heading", empty: true, noHeading: true},
		{name: "own table", format: `table {{.ID}}\t{{upper .CreatedAt}}`, want: "ROW ID  CREATED AT\n1       NOW\n22      THEN\n"},
		{name: "empty own table", format: "table {{.ID}}", empty: true, want: "ROW ID\n"},
		{name: "template", format: `{{.ID}} {{.Nested.Port}}`, want: "1 80\n22 0\n"},
		{name: "empty template", format: `{{.ID}}`, empty: true},
		{name: "escapes", format: `{{.ID}}\t{{.Size}}\n`, want: "1\t12\n22\t0\n"},
		{name: "escapes in quotes", format: `{{.ID}}{{"\n"}}x\t{{join .Nested.Tags "\t"}}{{print "}}\n" '"' "\t"}}\n`,
			want: "1\nx\tx\ty}}\n34\t\n22\nx\t}}\n34\t\n"},
		{name: "escapes in raw quotes", format: "{{.ID}}{{print `\\n}}`}}\\t", want: "1\\n}}\t\n22\\n}}\t\n"},
		{name: "escapes around a comment", format: `{{/* don't }} */}}{{.ID}}\t|{{/* " */}}\t`, want: "1\t|\t\n22\t|\t\n"},
		{name: "escapes in the quotes of a table", format: `table {{.ID}}\t{{printf "%s\t" .CreatedAt}}{{.Names}}`,
			want: "ROW ID  CREATED AT  NAMES\n1       now         1,h\n22      then        22,i\n"},
		{name: "println", format: `{{println .ID}}`, want: "1\n22\n"},
		{name: "json of all", format: `{{json .Nested.Tags}}`, want: "[\"x\",\"y\"]\nnull\n"},
		{name: "functions", format: `{{lower "A"}}{{title "ab cd"}}{{pad .ID 1 2}}|{{truncate "abcdef" 3}}{{join .Nested.Tags "-"}}{{len (split "a,b" ",")}}`,
			want: "aAb Cd 1  |abcx-y2\naAb Cd 22  |abc2\n"},
		{name: "names of JSON", format: `{{.id}} {{.nested.Port}}{{range .List}} {{$.created}}{{end}}`, want: "1 80\n22 0 then then\n"},
		{name: "map", format: `{{.Labels.a}}`, want: "b\n<no value>\n"},
		{name: "range", format: `{{range .List}}{{.Port}};{{end}}`, want: "\n1;2;\n"},
		{name: "root in range", format: `{{range .List}}{{$.ID}}{{end}}`, want: "\n2222\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			o, rows := out, someRows()
			o.Format, o.NoHeading = tt.format, tt.noHeading
			if tt.empty {
				rows = nil
			}
			if err := o.Check(); err != nil {
				t.Fatal(err)
			}
			var b bytes.Buffer
			if err := o.Print(&b, rows); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, b.String()); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestPrintJSON(t *testing.T) {
	var b bytes.Buffer
	if err := (Output[row]{Format: "json"}).Print(&b, nil); err != nil || b.String() != "[]\n" {
		t.Errorf("no rows: %q, %v", b.String(), err)
	}
	b.Reset()
	rows := []row{{ID: "<1>", CreatedAt: Time(time.Unix(0, 0)), Size: 5}}
	if err := PrintObjects(&b, "", rows); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`"id": "<1>"`, `"size": 5`, "[\n  {\n"} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("%s lacks %s", b.String(), want)
		}
	}
}

func TestBadFormats(t *testing.T) {
	for _, tt := range []struct{ format, want, hint string }{
		{"{{.Name}}", `unknown field "Name" in --format; the fields are ID, CreatedAt, Size, Labels, Nested, List, Names`, "did you mean {{.Names}}?"},
		{"{{.Nested.Prot}}", `unknown field "Prot" in --format; the fields are Port, Tags`, "did you mean {{.Port}}?"},
		{"{{.hidden}}", `unknown field "hidden"`, ""},
		{"{{if .Nope}}x{{end}}", `unknown field "Nope"`, ""},
		{"{{if true}}x{{else}}{{.Nope}}{{end}}", `unknown field "Nope"`, ""},
		{"{{range .List}}{{.Nope}}{{end}}", `unknown field "Nope"`, ""},
		{"{{with .Nested}}{{.Nope}}{{end}}", `unknown field "Nope"`, ""},
		{"{{range .List}}{{$.Nope}}{{end}}", `unknown field "Nope"`, ""},
		{"{{json (upper .Nope)}}", `unknown field "Nope"`, ""},
		{"{{.ID.More}}", `"More" is not a field`, ""},
		{"{{.ID", "unclosed action", ""},
		{"{{nope .ID}}", `function "nope" not defined`, ""},
	} {
		o := Output[row]{Table: "{{.ID}}", Format: tt.format}
		err := o.Check()
		if err == nil {
			t.Errorf("%s: no error", tt.format)
			continue
		}
		if !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %q lacks %q", tt.format, err, tt.want)
		}
		if _, hint := Message(err); tt.hint != "" && hint != tt.hint {
			t.Errorf("%s: hint %q, want %q", tt.format, hint, tt.hint)
		}
		if Code(err) != CodeFailed {
			t.Errorf("%s: code %d", tt.format, Code(err))
		}
	}
	var usage *UsageError
	if err := (Output[row]{Format: "{{index .Nested.Tags 5}}"}).Print(&bytes.Buffer{}, someRows()); !errors.As(err, &usage) {
		t.Errorf("an index out of range is %v", err)
	}
}

func TestWriteTable(t *testing.T) {
	render := func(headings []string, rows [][]string) string {
		var b bytes.Buffer
		if err := WriteTable(&b, headings, rows); err != nil {
			t.Fatal(err)
		}
		return b.String()
	}
	got := render([]string{"A", "BB", "C"}, [][]string{{"1", "", "x"}, {"long\tcell\x1b[0m", "y\n", ""}})
	want := "A              BB  C\n1                  x\nlong cell [0m  y\n"
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if got := render([]string{"NAME", "X"}, [][]string{{"日本", "1"}, {"ab", "2"}}); got != "NAME  X\n日本  1\nab    2\n" {
		t.Errorf("wide characters: %q", got)
	}
	if got := render(nil, [][]string{{"a", "b"}, {"long", "c", "more"}, {}}); got != "a     b\nlong  c  more\n\n" {
		t.Errorf("uneven rows without headings: %q", got)
	}
	if got := render([]string{"NAME", "X"}, nil); got != "NAME  X\n" {
		t.Errorf("headings alone: %q", got)
	}
	var b bytes.Buffer
	rows := slices.Repeat([][]string{{"0123456789ab", "a name", "running"}}, 1000)
	if n := testing.AllocsPerRun(10, func() { b.Reset(); _ = WriteTable(&b, []string{"A", "B", "C"}, rows) }); n > 1100 {
		t.Errorf("%v allocations for 1000 rows, about one each at most", n)
	}
}
