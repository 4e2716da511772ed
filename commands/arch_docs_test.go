package commands_test

import (
	"go/ast"
	"go/token"
	"path"
)

// checkDocs wants doc.go in each package and a comment on each exported name.
func checkDocs(s *sources) []violation {
	var out []violation
	opened := map[string]bool{}
	for _, f := range s.code() {
		if path.Base(f.path) == "doc.go" && f.ast.Doc != nil || f.ast.Name.Name == "main" && f.ast.Doc != nil {
			opened[f.dir] = true
		}
	}
	reported := map[string]bool{}
	for _, f := range s.code() {
		if !opened[f.dir] && !reported[f.dir] {
			reported[f.dir] = true
			out = append(out, violation{f.dir, "no doc.go that opens the package with its terms"})
		}
		if f.ast.Name.Name == "main" {
			continue
		}
		for _, d := range f.ast.Decls {
			out = append(out, undocumented(f, d)...)
		}
	}
	return out
}

func undocumented(f *source, d ast.Decl) []violation {
	var out []violation
	switch d := d.(type) {
	case *ast.FuncDecl:
		r := receiver(d)
		if d.Name.IsExported() && d.Doc == nil && (r == "" || ast.IsExported(r)) {
			out = append(out, violation{funcName(f, d), "is exported without a comment"})
		}
	case *ast.GenDecl:
		if d.Tok == token.IMPORT {
			return nil
		}
		for _, spec := range d.Specs {
			name, own := specNames(spec)
			if name != "" && !own && d.Doc == nil {
				out = append(out, violation{f.dir + " " + name, "is exported without a comment"})
			}
		}
	}
	return out
}

// specNames returns the first exported name of a declaration and whether it
// has a comment of its own.
func specNames(spec ast.Spec) (name string, documented bool) {
	switch spec := spec.(type) {
	case *ast.TypeSpec:
		if spec.Name.IsExported() {
			return spec.Name.Name, spec.Doc != nil || spec.Comment != nil
		}
	case *ast.ValueSpec:
		for _, n := range spec.Names {
			if n.IsExported() {
				return n.Name, spec.Doc != nil || spec.Comment != nil
			}
		}
	}
	return "", false
}
