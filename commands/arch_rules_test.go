package commands_test

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"path"
	"regexp"
	"slices"
	"sort"
	"strconv"
	"strings"
)

// sources is a Go tree, parsed.
type sources struct {
	set     *token.FileSet
	top     []string // names in the root
	folders []string
	files   []*source
}

// source is one Go file.
type source struct {
	path, dir string
	test      bool // a _test.go file
	lines     int
	ast       *ast.File
}

// violation is one breach of a rule: what, and a place that does not move when
// lines are added above it.
type violation struct {
	where, what string
}

type rule struct {
	name  string
	check func(*sources) []violation
}

func rules() []rule {
	return []rule{
		{"layout", checkLayout},
		{"arrow", checkArrows},
		{"fence", checkFences},
		{"pure", checkPure},
		{"main", checkMain},
		{"file size", checkFileSizes},
		{"function size", checkFunctionSizes},
		{"parameters", checkParameters},
		{"package size", checkPackageSizes},
		{"methods", checkMethods},
		{"interface", checkInterfaces},
		{"options", checkOptions},
		{"init", checkInit},
		{"package variable", checkVariables},
		{"documentation", checkDocs},
		{"context", checkContexts},
		{"name", checkNames},
		{"wording", checkWording},
	}
}

func newSources() *sources { return &sources{set: token.NewFileSet()} }

func (s *sources) add(name, text string) error {
	f, err := parser.ParseFile(s.set, name, text, parser.ParseComments)
	if err != nil {
		return err
	}
	if ast.IsGenerated(f) {
		return nil
	}
	s.files = append(s.files, &source{
		path: name, dir: path.Dir(name), test: strings.HasSuffix(name, "_test.go"),
		lines: strings.Count(text, "\n"), ast: f,
	})
	return nil
}

// code returns the files that are not tests.
func (s *sources) code() []*source {
	return slices.DeleteFunc(slices.Clone(s.files), func(f *source) bool { return f.test })
}

func (f *source) imports() []string {
	var out []string
	for _, i := range f.ast.Imports {
		p, _ := strconv.Unquote(i.Path.Value)
		out = append(out, p)
	}
	return out
}

func (f *source) functions() []*ast.FuncDecl {
	var out []*ast.FuncDecl
	for _, d := range f.ast.Decls {
		if fn, ok := d.(*ast.FuncDecl); ok {
			out = append(out, fn)
		}
	}
	return out
}

func (f *source) types() []*ast.TypeSpec {
	var out []*ast.TypeSpec
	ast.Inspect(f.ast, func(n ast.Node) bool {
		if t, ok := n.(*ast.TypeSpec); ok {
			out = append(out, t)
		}
		return true
	})
	return out
}

// receiver returns the name of the type that fn is a method of, "" for none.
func receiver(fn *ast.FuncDecl) string {
	if fn.Recv == nil || len(fn.Recv.List) == 0 {
		return ""
	}
	t := fn.Recv.List[0].Type
	for {
		switch x := t.(type) {
		case *ast.StarExpr:
			t = x.X
		case *ast.IndexExpr:
			t = x.X
		case *ast.IndexListExpr:
			t = x.X
		case *ast.Ident:
			return x.Name
		default:
			return ""
		}
	}
}

func funcName(f *source, fn *ast.FuncDecl) string {
	if r := receiver(fn); r != "" {
		return f.dir + " " + r + "." + fn.Name.Name
	}
	return f.dir + " " + fn.Name.Name
}

// within reports whether dir is one of the places; a/* is any folder below a.
func within(dir string, places []string) bool {
	for _, p := range places {
		if below, ok := strings.CutSuffix(p, "/*"); ok && strings.HasPrefix(dir, below+"/") || dir == p {
			return true
		}
	}
	return false
}

func checkLayout(s *sources) []violation {
	var out []violation
	for _, name := range s.top {
		if !slices.Contains(topLevel(), name) {
			out = append(out, violation{name, "the top level is fixed; depth goes into subpackages"})
		}
	}
	forbidden := []string{"internal", "pkg", "util", "utils", "common", "helper", "helpers", "base", "misc", "lib"}
	for _, dir := range s.folders {
		if slices.Contains(forbidden, path.Base(dir)) {
			out = append(out, violation{dir, "a folder name that says nothing"})
		}
	}
	return out
}

func checkArrows(s *sources) []violation {
	allowed := arrows()
	var out []violation
	for _, f := range s.files {
		for _, imported := range f.imports() {
			to, ours := strings.CutPrefix(imported, module)
			if !ours || within(to, []string{"ctr/record", "ctr/record/failpoint", "ctr/record/words"}) || to == f.dir || f.test && within(to, testImports(f.dir)) {
				continue
			}
			if !within(to, arrowsOf(f.dir, allowed)) {
				out = append(out, violation{f.dir + " → " + to, f.path + " imports it; no such arrow in the design"})
			}
		}
	}
	return out
}

// arrowsOf looks a folder up, or the command package that it is part of.
func arrowsOf(dir string, allowed map[string][]string) []string {
	if places, ok := allowed[dir]; ok {
		return places
	}
	if parent := path.Dir(dir); strings.HasSuffix(parent, "cmd") && parent != "cmd" {
		return allowed[parent]
	}
	return nil
}

// testImports are the arrows of tests beyond those of their package: the
// harness, and at the top of the tree whatever is told a story about.
func testImports(dir string) []string {
	if dir == "commands" || strings.HasPrefix(dir, "commands/") {
		return []string{"commands", "commands/*", "pod", "pod/*", "ctr", "ctr/*", "img", "netw"}
	}
	return []string{"commands/harness", "ctr/*", "img"}
}

func checkFences(s *sources) []violation {
	var out []violation
	for _, f := range s.files {
		for _, imported := range f.imports() {
			for library, places := range fences() {
				if !strings.HasPrefix(imported, library) || library == "log" && imported != "log" {
					continue
				}
				if within(f.dir, places) || f.test && slices.Contains(places, "tests") {
					continue
				}
				out = append(out, violation{f.dir + " → " + imported, fmt.Sprintf("%s imports it; only %v may", f.path, places)})
			}
		}
	}
	return out
}

func checkPure(s *sources) []violation {
	var out []violation
	for _, f := range s.code() {
		pure := f.dir == "ctr/spec" || strings.HasPrefix(path.Base(f.path), "convert_")
		for _, imported := range f.imports() {
			if pure && (imported == "os" || strings.HasPrefix(imported, "os/")) {
				out = append(out, violation{f.path, "a pure core imports " + imported})
			}
		}
	}
	return out
}

// checkMain holds cmd/davit to one call.
func checkMain(s *sources) []violation {
	var out []violation
	for _, f := range s.code() {
		if f.dir != "cmd/davit" {
			continue
		}
		fns := f.functions()
		if path.Base(f.path) != "main.go" || len(fns) != 1 || len(fns[0].Body.List) != 1 {
			out = append(out, violation{f.path, "cmd/davit is os.Exit(commands.Main(…)) and nothing else"})
		}
	}
	return out
}

func checkFileSizes(s *sources) []violation {
	var out []violation
	var sizes []int
	for _, f := range s.code() {
		sizes = append(sizes, f.lines)
		if f.lines > 600 {
			out = append(out, violation{f.path, fmt.Sprintf("%d lines, 600 at most", f.lines)})
		}
	}
	if p := percentile95(sizes); p > 400 {
		out = append(out, violation{"p95", fmt.Sprintf("%d lines a file, 400 at most", p)})
	}
	return out
}

func checkFunctionSizes(s *sources) []violation {
	var out []violation
	var sizes []int
	for _, f := range s.code() {
		for _, fn := range f.functions() {
			n := s.set.Position(fn.End()).Line - s.set.Position(fn.Pos()).Line + 1
			sizes = append(sizes, n)
			if n > 80 {
				out = append(out, violation{funcName(f, fn), fmt.Sprintf("%d lines, 80 at most", n)})
			}
		}
	}
	if p := percentile95(sizes); p > 50 {
		out = append(out, violation{"p95", fmt.Sprintf("%d lines a function, 50 at most", p)})
	}
	return out
}

// percentile95 returns the size that 95 of 100 do not exceed.
func percentile95(sizes []int) int {
	if len(sizes) == 0 {
		return 0
	}
	sort.Ints(sizes)
	return sizes[(len(sizes)*95+99)/100-1]
}

func checkParameters(s *sources) []violation {
	var out []violation
	for _, f := range s.code() {
		for _, fn := range f.functions() {
			n := 0
			for i, p := range fn.Type.Params.List {
				if i == 0 && isContext(p.Type) {
					continue
				}
				n += max(1, len(p.Names))
			}
			if n > 4 {
				out = append(out, violation{funcName(f, fn), fmt.Sprintf("%d parameters after ctx, 4 at most, else a struct", n)})
			}
		}
	}
	return out
}

func isContext(e ast.Expr) bool {
	sel, ok := e.(*ast.SelectorExpr)
	return ok && sel.Sel.Name == "Context"
}

func checkPackageSizes(s *sources) []violation {
	count := map[string]int{}
	for _, f := range s.code() {
		count[f.dir]++
	}
	var out []violation
	for dir, n := range count {
		most := 25
		if strings.HasSuffix(dir, "cmd") {
			most = 40
		}
		if n > most {
			out = append(out, violation{dir, fmt.Sprintf("%d files, %d at most", n, most)})
		}
	}
	return out
}

func checkMethods(s *sources) []violation {
	count := map[string]int{}
	for _, f := range s.code() {
		for _, fn := range f.functions() {
			if r := receiver(fn); r != "" {
				count[f.dir+" "+r]++
			}
		}
	}
	var out []violation
	for name, n := range count {
		if n > 20 {
			out = append(out, violation{name, fmt.Sprintf("%d methods, 20 at most", n)})
		}
	}
	return out
}

func checkInterfaces(s *sources) []violation {
	var out []violation
	for _, f := range s.code() {
		for _, t := range f.types() {
			i, ok := t.Type.(*ast.InterfaceType)
			if ok && i.Methods.NumFields() > 5 {
				out = append(out, violation{f.dir + " " + t.Name.Name, fmt.Sprintf("%d methods, 5 at most", i.Methods.NumFields())})
			}
		}
	}
	return out
}

func checkOptions(s *sources) []violation {
	var out []violation
	for _, f := range s.code() {
		for _, t := range f.types() {
			st, ok := t.Type.(*ast.StructType)
			if ok && strings.HasSuffix(strings.ToLower(t.Name.Name), "options") && st.Fields.NumFields() > 12 {
				out = append(out, violation{f.dir + " " + t.Name.Name, fmt.Sprintf("%d fields, 12 at most, grouped by concept", st.Fields.NumFields())})
			}
		}
	}
	return out
}

func checkInit(s *sources) []violation {
	var out []violation
	for _, f := range s.code() {
		for _, fn := range f.functions() {
			if fn.Recv == nil && fn.Name.Name == "init" {
				out = append(out, violation{f.path, "has an init function"})
			}
		}
	}
	return out
}

func checkVariables(s *sources) []violation {
	var out []violation
	for _, f := range s.code() {
		for _, d := range f.ast.Decls {
			g, ok := d.(*ast.GenDecl)
			if !ok || g.Tok != token.VAR {
				continue
			}
			for _, spec := range g.Specs {
				v := spec.(*ast.ValueSpec)
				if !allowedVariable(g, v) {
					out = append(out, violation{f.dir + " " + v.Names[0].Name, f.path + " has a package variable"})
				}
			}
		}
	}
	return out
}

// allowedVariable knows sentinels, var _ I = (*T)(nil), //go:embed and the
// once functions of sync.
func allowedVariable(g *ast.GenDecl, v *ast.ValueSpec) bool {
	if n := v.Names[0].Name; n == "_" || strings.HasPrefix(n, "Err") || strings.HasPrefix(n, "err") {
		return true
	}
	for _, doc := range []*ast.CommentGroup{g.Doc, v.Doc} {
		if doc != nil && strings.HasPrefix(doc.List[len(doc.List)-1].Text, "//go:embed") {
			return true
		}
	}
	if len(v.Values) != 1 {
		return false
	}
	call, ok := v.Values[0].(*ast.CallExpr)
	if !ok {
		return false
	}
	sel, ok := call.Fun.(*ast.SelectorExpr)
	return ok && slices.Contains([]string{"OnceValue", "OnceValues", "OnceFunc"}, sel.Sel.Name)
}

func checkContexts(s *sources) []violation {
	var out []violation
	for _, f := range s.code() {
		if f.ast.Name.Name == "main" {
			continue
		}
		ast.Inspect(f.ast, func(n ast.Node) bool {
			sel, ok := n.(*ast.SelectorExpr)
			if !ok {
				return true
			}
			x, ok := sel.X.(*ast.Ident)
			if ok && x.Name == "context" && (sel.Sel.Name == "Background" || sel.Sel.Name == "TODO") {
				out = append(out, violation{f.path, "context." + sel.Sel.Name + " outside main and tests"})
			}
			return true
		})
	}
	return out
}

func checkNames(s *sources) []violation {
	empty := regexp.MustCompile(`(Manager|Helper|Utils?|Service|Base|Common|Handler)$`)
	var out []violation
	for _, f := range s.code() {
		for _, t := range f.types() {
			if empty.MatchString(t.Name.Name) && t.Name.Name != "RuntimeHandler" {
				out = append(out, violation{f.dir + " " + t.Name.Name, "a type name that says nothing"})
			}
		}
	}
	return out
}

func checkWording(s *sources) []violation {
	bad := regexp.MustCompile(`(?i)^"(failed to|unable to|could not|error )`)
	var out []violation
	for _, f := range s.code() {
		ast.Inspect(f.ast, func(n ast.Node) bool {
			call, ok := n.(*ast.CallExpr)
			if !ok || len(call.Args) == 0 {
				return true
			}
			sel, ok := call.Fun.(*ast.SelectorExpr)
			if !ok || sel.Sel.Name != "Errorf" && sel.Sel.Name != "New" {
				return true
			}
			if lit, ok := call.Args[0].(*ast.BasicLit); ok && bad.MatchString(lit.Value) {
				out = append(out, violation{f.path, "an error that begins with " + lit.Value})
			}
			return true
		})
	}
	return out
}
