package commands_test

import (
	"fmt"
	"strings"
	"testing"
)

// TestRulesBite hands each rule a breach made for it, and something next to it
// that is allowed: a rule that cannot fail guards nothing.
func TestRulesBite(t *testing.T) {
	const record, ctr = `"` + module + `ctr/record"`, `"` + module + `ctr"`
	tests := []struct {
		rule      string
		bad, good map[string]string
	}{
		{"arrow", one("img/x.go", "import _ "+ctr), one("img/x.go", "import _ "+record)},
		{"arrow", one("ctr/oci/x.go", `import _ "`+module+`ctr/logs"`), one("ctr/x.go", `import _ "`+module+`ctr/logs"`)},
		{"arrow", one("commands/ctrcmd/x.go", `import _ "`+module+`criadapter"`), one("commands/syscmd/x.go", `import _ "`+module+`criadapter"`)},
		{"fence", one("ctr/x.go", `import _ "go.podman.io/storage"`), one("img/x.go", `import _ "go.podman.io/storage"`)},
		{"fence", one("netw/x_test.go", `import _ "github.com/spf13/cobra"`), one("commands/x.go", `import _ "github.com/spf13/cobra"`)},
		{"fence", one("ctr/x.go", `import _ "github.com/google/go-cmp/cmp"`), one("ctr/x_test.go", `import _ "github.com/google/go-cmp/cmp"`)},
		{"fence", one("ctr/x.go", `import _ "log"`), one("ctr/x.go", `import _ "log/slog"`)},
		{"pure", one("ctr/spec/x.go", `import _ "os"`), one("ctr/spec/x_test.go", `import _ "os"`)},
		{"pure", one("criadapter/convert_x.go", `import _ "os"`), one("criadapter/x.go", `import _ "os"`)},
		{"main", one("cmd/davit/main.go", "func main() { a(); b() }"), one("cmd/davit/main.go", "func main() { a() }")},
		{"file size", one("ctr/x.go", strings.Repeat("\n", 601)), one("ctr/x_test.go", strings.Repeat("\n", 601))},
		{"file size", one("ctr/x.go", strings.Repeat("\n", 450)), one("ctr/x.go", strings.Repeat("\n", 390))},
		{"function size", one("ctr/x.go", "func f() {"+strings.Repeat("\n", 80)+"}"), one("ctr/x.go", "func f() {"+strings.Repeat("\n", 40)+"}")},
		{"function size", one("ctr/x.go", "func f() {"+strings.Repeat("\n", 60)+"}"), one("ctr/x_test.go", "func f() {"+strings.Repeat("\n", 60)+"}")},
		{"parameters", one("ctr/x.go", "func f(a, b, c int, d, e string) {}"), one("ctr/x.go", "func f(ctx context.Context, a, b, c int, d string) {}")},
		{"package size", files("ctr", 26), files("commands/ctrcmd", 26)},
		{"package size", files("commands/ctrcmd", 41), files("ctr", 25)},
		{"methods", one("ctr/x.go", methods(21)), one("ctr/x.go", methods(20))},
		{"interface", one("ctr/x.go", "type i interface { a(); b(); c(); d(); e(); f() }"), one("ctr/x.go", "type i interface { a(); b(); c(); d(); e() }")},
		{"options", one("ctr/x.go", "type runOptions struct { a, b, c, d, e, f, g, h, i, j, k, l, m int }"), one("ctr/x.go", "type config struct { a, b, c, d, e, f, g, h, i, j, k, l, m int }")},
		{"init", one("ctr/x.go", "func init() {}"), one("ctr/x.go", "func (t) init() {}")},
		{"package variable", one("ctr/x.go", "var table = map[string]int{}"), one("ctr/x.go", "var table = sync.OnceValue(f)")},
		{"package variable", one("ctr/x.go", "var n int"), one("ctr/x.go", "//go:embed x\nvar text string")},
		{"package variable", one("ctr/x.go", "var a = b.New(`x`)"), one("ctr/x.go", "var ErrA = b.New(`x`)")},
		{"package variable", one("ctr/x.go", "var a I = (*T)(nil)"), one("ctr/x.go", "var _ I = (*T)(nil)")},
		{"context", one("ctr/x.go", "func f() { context.Background() }"), one("ctr/x_test.go", "func f() { context.Background() }")},
		{"name", one("ctr/x.go", "type NetworkManager int"), one("ctr/x.go", "type RuntimeHandler int")},
		{"wording", one("ctr/x.go", "func f() { fmt.Errorf(`x`); fmt.Errorf(\"failed to x\") }"), one("ctr/x.go", "func f() { fmt.Errorf(\"making x\") }")},
		{"documentation", one("ctr/doc.go", "func F() {}"), one("ctr/doc.go", "// F does.\nfunc F() {}")},
		{"documentation", one("ctr/doc.go", "type T int"), one("ctr/doc.go", "// T is.\ntype T int")},
		{"documentation", one("ctr/doc.go", "const A = 1"), one("ctr/doc.go", "// The numbers.\nconst (\n\tA = 1\n)")},
		{"documentation", one("ctr/x.go", ""), one("ctr/doc.go", "")},
	}
	for i, tt := range tests {
		t.Run(fmt.Sprintf("%s %d", tt.rule, i), func(t *testing.T) {
			if got := judge(t, tt.rule, tt.bad); len(got) == 0 {
				t.Error("the breach went unseen")
			}
			if got := judge(t, tt.rule, tt.good); len(got) != 0 {
				t.Errorf("what is allowed was refused: %v", got)
			}
		})
	}
}

func TestLayoutBites(t *testing.T) {
	s := newSources()
	s.top, s.folders = []string{"commands", "scripts"}, []string{"ctr/spec", "ctr/utils"}
	if got := checkLayout(s); len(got) != 2 {
		t.Errorf("got %v, want scripts and ctr/utils", got)
	}
}

func TestPercentile(t *testing.T) {
	sizes := make([]int, 100)
	for i := range sizes {
		sizes[i] = i + 1
	}
	if got := percentile95(sizes); got != 95 {
		t.Errorf("got %d, want 95", got)
	}
}

func judge(t *testing.T, name string, files map[string]string) []violation {
	t.Helper()
	s := newSources()
	for path, text := range files {
		if err := s.add(path, text); err != nil {
			t.Fatal(err)
		}
	}
	for _, r := range rules() {
		if r.name == name {
			return r.check(s)
		}
	}
	t.Fatalf("no rule %q", name)
	return nil
}

func one(path, body string) map[string]string {
	return map[string]string{path: "// Package p is.\npackage p\n" + body}
}

func files(dir string, n int) map[string]string {
	out := map[string]string{}
	for i := range n {
		out[fmt.Sprintf("%s/f%d.go", dir, i)] = "package p"
	}
	return out
}

func methods(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "func (*T[A]) m%d() {}\n", i)
	}
	return b.String()
}
