package config

import (
	"cmp"
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"unicode"
)

const referenceFile = "../docs/configuration.md"

// The reference of every word is written from the code: the doc comments and
// line comments of the structs, their yaml tags, the vocabularies and what the
// checks demand. Run with -update to rewrite it.
func TestReference(t *testing.T) {
	golden(t, referenceFile, readSource(t).reference())
}

// A word that no sentence describes is a hole in the reference.
func TestReferenceIsComplete(t *testing.T) {
	s := readSource(t)
	text := s.reference()
	plain := map[string]bool{"name": true, "probes": true} // the form says it all
	for _, name := range s.order {
		for _, k := range s.structs[name].keys {
			if k.says == "" && s.brief(k) == "" && !plain[k.key] {
				t.Errorf("%s.%s: no comment says what %q means", name, k.field, k.key)
			}
			if !strings.Contains(text, "| `"+k.key+"` |") {
				t.Errorf("%s.%s: key %q stands in no table", name, k.field, k.key)
			}
		}
	}
	for vocabulary, v := range vocabularies {
		for _, word := range slices.Concat(v.built, slices.Collect(maps.Keys(v.later))) {
			if !strings.Contains(text, "`"+word+"`") {
				t.Errorf("%s: word %q is nowhere", vocabulary, word)
			}
		}
	}
	for _, c := range s.unknown() {
		t.Errorf("words.go has a comment on %q, which is no word", c)
	}
}

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
	"Duration": "time", "Percent": "share", "Bandwidth": "bandwidth",
	"netip.Addr": "address", "netip.AddrPort": "address with port", "netip.Prefix": "prefix",
}

var plurals = strings.NewReplacer("list of name of a probe", "list of names of probes",
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

const referenceHead = `# Configuration

Every word that a configuration may hold. This page is written from the code
that reads it (` + "`go test ./config -run Reference -update`" + `): change the comments
in ` + "`config`" + `, not this file.

A configuration is one YAML file, or a folder whose ` + "`*.yaml`" + ` files are read in the
order of their names as if they were one: lists are joined, any other section
stands in one file only. It starts with ` + "`version: 1`" + `. Unknown keys, keys given
twice, values without a unit, anchors, aliases and tags are refused; so are, with
the module that they wait for, keys and words of modules that are not built yet.
` + "`portolan check FILE`" + ` reports every mistake at once.

## Forms

| form | is written |
|---|---|
| name | letters and digits of any script, inside also ` + "`. _ -`" + `; at most 63, no address; unique among its kind whatever the case |
| domain name | such as ` + "`www.example.com`" + `; lower case and the last dot are added; other scripts as ` + "`xn--...`" + ` |
| number | a whole number in plain decimal digits |
| address | IPv4 or IPv6 without a zone: ` + "`192.0.2.1`, `\"2001:db8::1\"`" + ` |
| address with port | ` + "`\"192.0.2.1:53\"`, `\"[2001:db8::1]:53\"`" + ` |
| prefix | ` + "`192.0.2.0/24`, `\"2001:db8::/32\"`" + `; no bits set beyond its length |
| path of a file | relative to the configuration |
| text | a word or quoted text |
`

func (s *source) reference() string {
	var b strings.Builder
	b.WriteString(referenceHead)
	for _, form := range []string{"Duration", "Percent"} {
		b.WriteString("| " + forms[form] + " | " + strings.TrimSuffix(s.told(form), ".") + " |\n")
	}
	for _, name := range s.order {
		s.section(&b, name)
	}
	s.kinds(&b)
	s.words(&b)
	return b.String()
}

// section writes one noun.
func (s *source) section(b *strings.Builder, name string) {
	n, level := s.structs[name], "###"
	for _, k := range s.structs["Model"].keys {
		if k.inner == name || name == "Model" {
			level = "##"
		}
	}
	b.WriteString("\n" + level + " " + heading(name) + "\n\n" + upFirst(s.told(name)) + "\n")
	if name == "Probe" {
		b.WriteString("\nWhich kind has which keys of its own: [Keys of each kind](#keys-of-each-kind).\n")
	}
	if len(n.keys) > 0 {
		b.WriteString("\n| key | form | what it means |\n|---|---|---|\n")
	}
	kinds := kindsOf()
	for _, k := range n.keys {
		says := s.prose(name, k.says)
		if of := kinds[k.field]; name == "Probe" && of != "" {
			says = "*" + of + "*: " + withoutKinds(says, of)
		}
		if s.needed[name+"."+k.field] {
			says = join("**required**", says)
		}
		if says == "" {
			says = s.brief(k)
		}
		b.WriteString("| `" + k.key + "` | " + k.form + " | " + strings.ReplaceAll(says, "|", "\\|") + " |\n")
	}
	if later := laterKeys[name]; len(later) > 0 {
		b.WriteString("\nNot built yet, refused with the module they wait for: " + waiting(later) + ".\n")
	}
}

// brief stands in for the comment of a key whose section says it all.
func (s *source) brief(k key) string {
	if k.inner == "" {
		return ""
	}
	first, _, _ := strings.Cut(s.told(k.inner), ". ")
	return strings.TrimSuffix(first, ".")
}

// told is the doc comment of a type without the words that Go begins it with.
func (s *source) told(name string) string {
	text := strings.TrimPrefix(strings.TrimPrefix(s.docs[name], name+" "), "is ")
	if name == "Model" { // its first sentences are for readers of Go
		_, text, _ = strings.Cut(text, "without locks. ")
	}
	return s.prose(name, text)
}

func heading(name string) string {
	if name == "Model" {
		return "Sections"
	}
	return spaced(name)
}

func join(parts ...string) string {
	return strings.Join(slices.DeleteFunc(parts, func(p string) bool { return p == "" }), "; ")
}

// withoutKinds drops the kinds that a comment begins with, if belongs says the
// same of the field.
func withoutKinds(says, kinds string) string {
	end := strings.IndexAny(says, ":(")
	if end < 0 {
		return says
	}
	sorted := func(list string) []string { return slices.Sorted(slices.Values(strings.Split(list, ", "))) }
	if slices.Equal(sorted(strings.TrimSpace(says[:end])), sorted(kinds)) {
		return strings.TrimSpace(strings.TrimPrefix(says[end:], ":"))
	}
	return says
}

// kindsOf gives the kinds of probe that a field belongs to, by its name.
func kindsOf() map[string]string {
	var p Probe
	kinds, v := map[string]string{}, reflect.ValueOf(&p).Elem()
	for _, f := range p.belongs() {
		for i := range v.NumField() {
			if v.Field(i).Addr().Interface() == f.field {
				kinds[v.Type().Field(i).Name] = f.kinds
			}
		}
	}
	return kinds
}

// kinds writes which keys each kind of probe has of its own.
func (s *source) kinds(b *strings.Builder) {
	b.WriteString("\n## Keys of each kind\n\nAll kinds have ")
	common, own := []string{}, map[string][]string{}
	kinds := kindsOf()
	for _, k := range s.structs["Probe"].keys {
		if of := kinds[k.field]; of == "" {
			common = append(common, k.key)
		} else {
			for _, kind := range strings.Split(of, ", ") {
				own[kind] = append(own[kind], k.key)
			}
		}
	}
	b.WriteString(code(common) + ".\n\n| kind | keys of its own |\n|---|---|\n")
	for _, kind := range vocabularies["kind"].built {
		b.WriteString("| `" + kind + "` | " + cmp.Or(code(own[kind]), "none") + " |\n")
	}
}

// words writes the vocabularies in the order in which the keys need them.
func (s *source) words(b *strings.Builder) {
	b.WriteString("\n## Words\n")
	written := map[string]bool{}
	for _, name := range s.order {
		for _, k := range s.structs[name].keys {
			if k.words != "" && !written[k.words] {
				written[k.words] = true
				b.WriteString("\n### " + k.words + " words\n\n")
				s.vocabulary(b, k.words)
			}
		}
	}
}

func (s *source) vocabulary(b *strings.Builder, name string) {
	v, means := vocabularies[name], s.means[name]
	if len(means) == 0 {
		b.WriteString(code(v.built) + "\n")
	} else {
		b.WriteString("| word | what it means |\n|---|---|\n")
		for _, word := range v.built {
			b.WriteString("| `" + word + "` | " + s.prose("", means[word]) + " |\n")
		}
	}
	if len(v.later) > 0 {
		b.WriteString("\nNot built yet, refused with the module they wait for: " + waiting(v.later) + ".\n")
	}
}

// waiting lists words that wait for a module, by module.
func waiting(later map[string]string) string {
	by := map[string][]string{}
	for word, module := range later {
		by[module] = append(by[module], word)
	}
	var parts []string
	for _, module := range slices.Sorted(maps.Keys(by)) {
		slices.Sort(by[module])
		parts = append(parts, code(by[module])+" ("+module+")")
	}
	return strings.Join(parts, ", ")
}

// prose turns a comment for readers of Go into one for operators: fields
// become keys, and the ids of rules go.
func (s *source) prose(name, text string) string {
	text = ruleIDs.ReplaceAllString(text, "")
	n := s.structs[name]
	if n == nil {
		return text
	}
	known := map[string]string{}
	for _, k := range n.keys {
		known[k.field] = k.key
	}
	for _, k := range s.structs["Model"].keys {
		if strings.HasSuffix(k.field, "s") { // sections that are lists: Sites, Probes
			known[k.field] = cmp.Or(known[k.field], k.key)
		}
	}
	return goWord.ReplaceAllStringFunc(text, func(word string) string {
		if key := known[word]; key != "" && word != name {
			return "`" + key + "`"
		}
		return word
	})
}

var (
	ruleIDs = regexp.MustCompile(` \((?:(?:FAQ|DESIGN) [\d.]+|[TC]\d+)(?:, (?:(?:FAQ )?[\d.]+|[TC]\d+))*\)|, (?:FAQ [\d.]*\d|T\d+)\b|; canonical after Load`)
	goWord  = regexp.MustCompile(`\b[A-Z][A-Za-z0-9]*\b`)
)

func code(words []string) string {
	if len(words) == 0 {
		return ""
	}
	return "`" + strings.Join(words, "`, `") + "`"
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

// spaced turns VirtualServer into "Virtual server" and leaves DNS alone.
func spaced(name string) string {
	var b strings.Builder
	for i, r := range name {
		if i > 0 && unicode.IsUpper(r) && unicode.IsLower(rune(name[i-1])) {
			b.WriteString(" " + string(unicode.ToLower(r)))
			continue
		}
		b.WriteRune(r)
	}
	return b.String()
}

func anchor(heading string) string { return strings.ToLower(strings.ReplaceAll(heading, " ", "-")) }

func upFirst(s string) string { return strings.ToUpper(s[:1]) + s[1:] }
