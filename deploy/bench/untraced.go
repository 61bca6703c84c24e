package main

import (
	"bytes"
	"go/ast"
	"go/format"
	"go/parser"
	"go/token"
	"path"
	"strconv"
	"strings"
)

// untraced gives a source file without its trace code, and how many places
// that changed:
//
//	func (tr *Trace) note(...) {...}   what it does when tr is nil, mostly nothing
//	x.trace.note(...)                  gone, and what its arguments cost
//	if x.trace != nil {...}            gone
func untraced(name string) ([]byte, int, error) {
	set := token.NewFileSet()
	// Without comments: they would be left hanging where code was.
	file, err := parser.ParseFile(set, name, nil, parser.SkipObjectResolution)
	if err != nil {
		return nil, 0, err
	}
	u := &stripper{}
	for _, decl := range file.Decls {
		f, ok := decl.(*ast.FuncDecl)
		if !ok || f.Body == nil {
			continue
		}
		u.receiver = traceReceiver(f)
		u.block(f.Body)
	}
	blankUnused(file)
	var b bytes.Buffer
	err = format.Node(&b, set, file)
	return b.Bytes(), u.removed, err
}

// traceReceiver gives the name of a method's receiver, if that is a trace.
func traceReceiver(f *ast.FuncDecl) string {
	if f.Recv == nil || len(f.Recv.List[0].Names) == 0 {
		return ""
	}
	star, ok := f.Recv.List[0].Type.(*ast.StarExpr)
	if !ok {
		return ""
	}
	if of, ok := star.X.(*ast.Ident); !ok || !strings.HasSuffix(of.Name, "Trace") {
		return ""
	}
	return f.Recv.List[0].Names[0].Name
}

// stripper takes trace code out of one function after the other.
type stripper struct {
	receiver string // of a trace's own method, which is nil from now on
	removed  int
}

// block strips a block and those inside it.
func (u *stripper) block(b *ast.BlockStmt) {
	var kept []ast.Stmt
	for _, s := range b.List {
		if taken := u.whenNil(s); taken != nil {
			u.removed++
			kept = append(kept, taken.List...)
			break // it returns
		}
		if u.traces(s) {
			u.removed++
			kept = append(kept, blankArguments(s)...)
			continue
		}
		ast.Inspect(s, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.BlockStmt:
				u.block(n)
				return false
			case *ast.CaseClause:
				body := &ast.BlockStmt{List: n.Body}
				u.block(body)
				n.Body = body.List
				return false
			}
			return true
		})
		kept = append(kept, s)
	}
	b.List = kept
}

// blankArguments keeps variables that only trace code used, for the compiler.
func blankArguments(s ast.Stmt) (kept []ast.Stmt) {
	expr, ok := s.(*ast.ExprStmt)
	if !ok {
		return nil
	}
	for _, arg := range expr.X.(*ast.CallExpr).Args {
		if variable, ok := arg.(*ast.Ident); ok {
			kept = append(kept, &ast.AssignStmt{Lhs: []ast.Expr{ast.NewIdent("_")}, Tok: token.ASSIGN, Rhs: []ast.Expr{variable}})
		}
	}
	return kept
}

// whenNil gives the body of "if tr == nil {...}" in a method of tr.
func (u *stripper) whenNil(s ast.Stmt) *ast.BlockStmt {
	if i, ok := s.(*ast.IfStmt); ok && u.receiver != "" && i.Init == nil && u.comparesTrace(i.Cond, token.EQL) {
		return i.Body
	}
	return nil
}

// traces says whether a statement does nothing when traces are nil.
func (u *stripper) traces(s ast.Stmt) bool {
	switch s := s.(type) {
	case *ast.IfStmt:
		return s.Init == nil && s.Else == nil && u.comparesTrace(s.Cond, token.NEQ)
	case *ast.ExprStmt:
		call, ok := s.X.(*ast.CallExpr)
		if !ok {
			return false
		}
		method, ok := call.Fun.(*ast.SelectorExpr)
		return ok && u.isTrace(method.X)
	}
	return false
}

func (u *stripper) comparesTrace(cond ast.Expr, op token.Token) bool {
	c, ok := cond.(*ast.BinaryExpr)
	if !ok || c.Op != op || !u.isTrace(c.X) {
		return false
	}
	null, ok := c.Y.(*ast.Ident)
	return ok && null.Name == "nil"
}

// isTrace tells a trace by its name: x.trace, or the receiver of its methods.
func (u *stripper) isTrace(e ast.Expr) bool {
	switch e := e.(type) {
	case *ast.SelectorExpr:
		return e.Sel.Name == "trace"
	case *ast.Ident:
		return u.receiver != "" && e.Name == u.receiver
	}
	return false
}

// blankUnused keeps imports that only trace code used, for the compiler.
func blankUnused(file *ast.File) {
	used := map[string]bool{}
	ast.Inspect(file, func(n ast.Node) bool {
		if s, ok := n.(*ast.SelectorExpr); ok {
			if x, ok := s.X.(*ast.Ident); ok {
				used[x.Name] = true
			}
		}
		return true
	})
	for _, spec := range file.Imports {
		imported, _ := strconv.Unquote(spec.Path.Value)
		if spec.Name == nil && !used[path.Base(imported)] {
			spec.Name = ast.NewIdent("_")
		}
	}
}
