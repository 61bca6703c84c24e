package config

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// source is what the package's own files say.
type source struct {
	structs map[string]*noun
	order   []string                     // of the sections
	docs    map[string]string            // of types, by name
	demands map[string]string            // "Pool.Name": what the checks make of the field's text
	needed  map[string]bool              // "Pool.Name": must be given
	means   map[string]map[string]string // vocabulary, word: its meaning
}

// noun is a struct that an operator writes.
type noun struct {
	keys  []key
	short bool // can be written as a single value
}

type key struct {
	field, key, words string
	form              string // in an operator's words
	inner             string // the struct of its value
	says              string // its comment
}

func readSource(t *testing.T) *source {
	t.Helper()
	set := token.NewFileSet()
	s := &source{structs: map[string]*noun{}, docs: map[string]string{}, demands: map[string]string{},
		needed: map[string]bool{}, means: map[string]map[string]string{}}
	entries, err := os.ReadDir(".")
	if err != nil {
		t.Fatal(err)
	}
	var files []*ast.File
	for _, e := range entries {
		if !strings.HasSuffix(e.Name(), ".go") || strings.HasSuffix(e.Name(), "_test.go") {
			continue
		}
		f, err := parser.ParseFile(set, e.Name(), nil, parser.ParseComments)
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, f)
	}
	for _, f := range files {
		s.types(f)
		s.vocabularyComments(set, f)
	}
	for _, f := range files {
		s.checks(f)
		s.constants(f)
	}
	s.visit("Model")
	return s
}

// types reads the structs with yaml tags, and the doc comments of all types.
func (s *source) types(f *ast.File) {
	for _, decl := range f.Decls {
		switch d := decl.(type) {
		case *ast.GenDecl:
			for _, spec := range d.Specs {
				if ts, ok := spec.(*ast.TypeSpec); ok {
					s.docs[ts.Name.Name] = flat(d.Doc)
					if st, ok := ts.Type.(*ast.StructType); ok {
						s.noun(ts.Name.Name).keys = keysIn(st)
					}
				}
			}
		case *ast.FuncDecl:
			if d.Name.Name == "decodeShort" {
				s.noun(typeName(d.Recv.List[0].Type)).short = true
			}
		}
	}
}

func (s *source) noun(name string) *noun {
	if s.structs[name] == nil {
		s.structs[name] = &noun{}
	}
	return s.structs[name]
}

func keysIn(st *ast.StructType) (keys []key) {
	for _, f := range st.Fields.List {
		if f.Tag == nil || len(f.Names) == 0 {
			continue
		}
		raw, _ := strconv.Unquote(f.Tag.Value)
		tag := reflect.StructTag(raw)
		if word := tag.Get("yaml"); word != "" && word != "-" {
			form, inner := formOf(f.Type)
			keys = append(keys, key{f.Names[0].Name, word, tag.Get("words"), form, inner, flat(f.Comment)})
		}
	}
	return keys
}

// forms names the types that are not structs of this package.
var forms = map[string]string{
	"string": "text", "bool": "`true` or `false`", "int": "number", "uint16": "number", "uint32": "number",
	"Duration": "time", "Percent": "share", "Bandwidth": "bandwidth", "Size": "size",
	"TimeOfDay": "time of the day", "TOS": "type of service",
	"netip.Addr": "address", "netip.AddrPort": "address with port", "netip.Prefix": "prefix",
}

var plurals = strings.NewReplacer("list of name of a probe", "list of names of probes",
	"list of name of an ISP", "list of names of ISPs", "list of name of a class", "list of names of classes",
	"list of path of a file", "list of paths of files", "list of number", "list of numbers", "list of text", "list of texts",
	"list of address", "list of addresses", "list of prefix", "list of prefixes", "list of [word]", "list of [words]")

// formOf says in an operator's words what a type is written as.
func formOf(t ast.Expr) (form, inner string) {
	switch v := t.(type) {
	case *ast.StarExpr:
		return formOf(v.X)
	case *ast.ArrayType:
		form, inner = formOf(v.Elt)
		return strings.TrimSuffix("list of "+form, " "), inner
	case *ast.MapType:
		return "mapping of names to text", ""
	case *ast.SelectorExpr:
		return forms["netip."+v.Sel.Name], ""
	case *ast.Ident:
		if form, ok := forms[v.Name]; ok {
			return form, ""
		}
		return "", v.Name
	}
	panic("a type that the reference has no words for")
}

// vocabularyComments reads the lines "// word: meaning" above an entry of the
// vocabularies.
func (s *source) vocabularyComments(set *token.FileSet, f *ast.File) {
	ends := map[int]*ast.CommentGroup{}
	for _, g := range f.Comments {
		ends[set.Position(g.End()).Line] = g
	}
	ast.Inspect(f, func(n ast.Node) bool {
		kv, ok := n.(*ast.KeyValueExpr)
		if !ok {
			return true
		}
		name, ok := literal(kv.Key)
		g := ends[set.Position(kv.Pos()).Line-1]
		if _, known := vocabularies[name]; !ok || !known || g == nil {
			return true
		}
		for line := range strings.Lines(g.Text()) {
			word, meaning, _ := strings.Cut(strings.TrimSpace(line), ": ")
			s.mean(name, word, meaning)
		}
		return true
	})
}

func (s *source) mean(vocabulary, word, meaning string) {
	if s.means[vocabulary] == nil {
		s.means[vocabulary] = map[string]string{}
	}
	s.means[vocabulary][word] = meaning
}

// unknown lists the meanings of words that there are not.
func (s *source) unknown() (words []string) {
	for name, means := range s.means {
		for word := range means {
			if v := vocabularies[name]; !v.has(word) && v.later[word] == "" {
				words = append(words, word)
			}
		}
	}
	return words
}

// constants reads the line comments of constants such as RungLastGood: they
// are the meanings of words of the vocabulary that fields of their type have.
func (s *source) constants(f *ast.File) {
	vocabularyOf := map[string]string{}
	for _, n := range s.structs {
		for _, k := range n.keys {
			if k.inner != "" && k.words != "" {
				vocabularyOf[k.inner] = k.words
			}
		}
	}
	ast.Inspect(f, func(n ast.Node) bool {
		v, ok := n.(*ast.ValueSpec)
		if !ok || v.Type == nil || v.Comment == nil || len(v.Values) != 1 {
			return true
		}
		word, ok := literal(v.Values[0])
		if name := vocabularyOf[typeName(v.Type)]; ok && name != "" {
			s.mean(name, word, flat(v.Comment))
		}
		return true
	})
}

// checks reads what the check methods demand of fields: c.need(&p.Name, ...),
// c.refer("pool", &n.Pool), c.exists(&z.File) and the like.
func (s *source) checks(f *ast.File) {
	owner := map[string]string{} // variable to type; names do not change their type within a function
	ast.Inspect(f, func(n ast.Node) bool {
		switch v := n.(type) {
		case *ast.FuncDecl:
			clear(owner)
			enter(owner, v.Recv)
		case *ast.FuncType:
			enter(owner, v.Params)
		case *ast.CallExpr:
			s.demand(v, owner)
		}
		return true
	})
}

func enter(owner map[string]string, fields *ast.FieldList) {
	if fields == nil {
		return
	}
	for _, f := range fields.List {
		for _, name := range f.Names {
			owner[name.Name] = typeName(f.Type)
		}
	}
}

func (s *source) demand(call *ast.CallExpr, owner map[string]string) {
	sel, ok := call.Fun.(*ast.SelectorExpr)
	if !ok || len(call.Args) == 0 {
		return
	}
	verb, first := sel.Sel.Name, call.Args[0]
	what, _ := literal(first)
	switch verb {
	case "need":
		s.needed[fieldIn(first, owner)] = true
	case "declare":
		s.needed[fieldIn(call.Args[1], owner)] = true
		s.demands[fieldIn(call.Args[1], owner)] = "name"
	case "refer":
		s.demands[fieldIn(call.Args[1], owner)] = strings.Replace("name of a "+what, "a isp", "an ISP", 1)
	case "exists":
		s.demands[fieldIn(first, owner)] = "path of a file"
	case "hostName", "domainName":
		s.demands[fieldIn(first, owner)] = "domain name"
	case "attach", "referProbes":
		s.demands[fieldIn(first, owner)] = "name of a probe"
	}
}

// fieldIn gives "Pool.Name" for &p.Name, p.Name and &p.Name[i].
func fieldIn(e ast.Expr, owner map[string]string) string {
	if u, ok := e.(*ast.UnaryExpr); ok {
		e = u.X
	}
	if ix, ok := e.(*ast.IndexExpr); ok {
		e = ix.X
	}
	sel, ok := e.(*ast.SelectorExpr)
	if !ok {
		return ""
	}
	if id, ok := sel.X.(*ast.Ident); ok {
		return owner[id.Name] + "." + sel.Sel.Name
	}
	if in, ok := sel.X.(*ast.SelectorExpr); ok && in.Sel.Name == "m" {
		return "Model." + sel.Sel.Name
	}
	return ""
}

// visit puts a struct and those that it holds into the order of reading, and
// settles the form of each key.
func (s *source) visit(name string) {
	n := s.structs[name]
	if n == nil || slices.Contains(s.order, name) {
		return
	}
	s.order = append(s.order, name)
	for i := range n.keys {
		k := &n.keys[i]
		at := name + "." + k.field
		if d := s.demands[at]; d != "" {
			k.form = strings.Replace(k.form, "text", d, 1)
		}
		switch {
		case k.words != "":
			k.form = strings.TrimSpace(strings.Replace(k.form, "text", "", 1) + " [word](#" + anchor(k.words+" words") + ")")
		case k.inner != "":
			k.form = strings.TrimSpace(k.form + " [" + spaced(k.inner) + "](#" + anchor(spaced(k.inner)) + ")")
		}
		k.form = plurals.Replace(strings.Join(strings.Fields(k.form), " "))
	}
	for _, k := range n.keys {
		s.visit(k.inner)
	}
}

// flat gives a comment in one line.
func flat(g *ast.CommentGroup) string { return strings.Join(strings.Fields(g.Text()), " ") }

func literal(e ast.Expr) (string, bool) {
	l, ok := e.(*ast.BasicLit)
	if !ok || l.Kind != token.STRING {
		return "", false
	}
	text, err := strconv.Unquote(l.Value)
	return text, err == nil
}

func typeName(e ast.Expr) string {
	if star, ok := e.(*ast.StarExpr); ok {
		e = star.X
	}
	if id, ok := e.(*ast.Ident); ok {
		return id.Name
	}
	return ""
}
