package cli

import (
	"reflect"
	"slices"
	"strings"
	"text/template/parse"
)

// checkFields walks a template and looks its fields up in the type of its rows.
// Where it cannot tell what the dot is, it lets pass.
func checkFields(tree *parse.Tree, t reflect.Type) error {
	if tree == nil || tree.Root == nil {
		return nil
	}
	w := fieldWalk{root: t}
	return w.list(tree.Root, t)
}

type fieldWalk struct{ root reflect.Type }

func (w fieldWalk) list(l *parse.ListNode, dot reflect.Type) error {
	if l == nil {
		return nil
	}
	for _, n := range l.Nodes {
		if err := w.node(n, dot); err != nil {
			return err
		}
	}
	return nil
}

func (w fieldWalk) node(n parse.Node, dot reflect.Type) error {
	switch n := n.(type) {
	case *parse.ActionNode:
		return w.pipe(n.Pipe, dot)
	case *parse.IfNode:
		return w.branch(&n.BranchNode, dot, dot)
	case *parse.WithNode:
		return w.branch(&n.BranchNode, dot, w.pipeType(n.Pipe, dot))
	case *parse.RangeNode:
		inner := w.pipeType(n.Pipe, dot)
		if inner != nil {
			switch inner.Kind() {
			case reflect.Slice, reflect.Array, reflect.Map:
				inner = inner.Elem()
			default:
				inner = nil
			}
		}
		return w.branch(&n.BranchNode, dot, inner)
	}
	return nil
}

func (w fieldWalk) branch(b *parse.BranchNode, dot, inner reflect.Type) error {
	if err := w.pipe(b.Pipe, dot); err != nil {
		return err
	}
	if err := w.list(b.List, inner); err != nil {
		return err
	}
	return w.list(b.ElseList, dot)
}

func (w fieldWalk) pipe(p *parse.PipeNode, dot reflect.Type) error {
	if p == nil {
		return nil
	}
	for _, cmd := range p.Cmds {
		for _, arg := range cmd.Args {
			if err := w.arg(arg, dot); err != nil {
				return err
			}
		}
	}
	return nil
}

func (w fieldWalk) arg(n parse.Node, dot reflect.Type) error {
	switch n := n.(type) {
	case *parse.FieldNode:
		_, err := lookUp(dot, n.Ident)
		return err
	case *parse.VariableNode:
		if n.Ident[0] == "$" {
			_, err := lookUp(w.root, n.Ident[1:])
			return err
		}
	case *parse.PipeNode:
		return w.pipe(n, dot)
	case *parse.ChainNode:
		return w.arg(n.Node, dot)
	}
	return nil
}

// pipeType is the type of a pipeline that is a single field; nil if unknown.
func (w fieldWalk) pipeType(p *parse.PipeNode, dot reflect.Type) reflect.Type {
	if p == nil || len(p.Decl) > 0 || len(p.Cmds) != 1 || len(p.Cmds[0].Args) != 1 {
		return nil
	}
	switch n := p.Cmds[0].Args[0].(type) {
	case *parse.DotNode:
		return dot
	case *parse.FieldNode:
		t, err := lookUp(dot, n.Ident)
		if err == nil {
			return t
		}
	}
	return nil
}

// lookUp follows field names from a type. The result is nil where it is not
// known before the template runs. A field that is called as JSON has it gets its
// own name in idents: {{.Id}} is {{.ID}}.
func lookUp(t reflect.Type, idents []string) (reflect.Type, error) {
	for i, name := range idents {
		if t == nil {
			return nil, nil
		}
		next, ok := member(t, name)
		if !ok {
			if idents[i] = jsonField(t, name); idents[i] == "" {
				return nil, unknownField(t, name)
			}
			next, _ = member(t, idents[i])
		}
		t = next
	}
	return t, nil
}

// jsonField is the field of a struct that JSON calls by a name; empty if none is.
func jsonField(t reflect.Type, name string) string {
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if t.Kind() != reflect.Struct {
		return ""
	}
	for _, f := range reflect.VisibleFields(t) {
		if tag, _, _ := strings.Cut(f.Tag.Get("json"), ","); tag == name && tag != "" && f.IsExported() {
			return f.Name
		}
	}
	return ""
}

// member is the type of a field or method; ok is false if there is none.
func member(t reflect.Type, name string) (next reflect.Type, ok bool) {
	ptr := t
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	} else {
		ptr = reflect.PointerTo(t)
	}
	if m, ok := ptr.MethodByName(name); ok && m.Type.NumOut() > 0 {
		return known(m.Type.Out(0)), true
	}
	switch t.Kind() {
	case reflect.Struct:
		f, ok := t.FieldByName(name)
		if !ok || !f.IsExported() {
			return nil, false
		}
		return known(f.Type), true
	case reflect.Map:
		return known(t.Elem()), true
	case reflect.Interface:
		return nil, true
	}
	return nil, false
}

// known is t, or nil when only the value will tell.
func known(t reflect.Type) reflect.Type {
	if t.Kind() == reflect.Interface {
		return nil
	}
	return t
}

// fieldNames are what a template may name in a row of type t: fields in their
// order, then methods without arguments.
func fieldNames(t reflect.Type) []string {
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	var names []string
	if t.Kind() == reflect.Struct {
		for _, f := range reflect.VisibleFields(t) {
			if f.IsExported() && !f.Anonymous {
				names = append(names, f.Name)
			}
		}
	}
	ptr := reflect.PointerTo(t)
	for i := range ptr.NumMethod() {
		m := ptr.Method(i)
		if m.Type.NumIn() == 1 && m.Type.NumOut() == 1 && !slices.Contains(names, m.Name) {
			names = append(names, m.Name)
		}
	}
	return names
}

func unknownField(t reflect.Type, name string) error {
	names := fieldNames(t)
	if len(names) == 0 {
		return Usagef("--format: %q is not a field: there are none below it", name)
	}
	err := Usagef("unknown field %q in --format; the fields are %s", name, strings.Join(names, ", "))
	if near := Nearest(name, names); near != "" {
		err.Hint = "did you mean {{." + near + "}}?"
	}
	return err
}
