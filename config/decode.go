package config

import (
	"encoding"
	"fmt"
	"math"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/goccy/go-yaml/ast"
)

const noAliases = "anchors, aliases and tags are not used here; write the value out"

// place is where a value stands: in a mapping under key, or in a list.
type place struct {
	parent *place
	key    string // "" in a list
	index  int
	file   *file
	node   ast.Node // the value
	bad    bool     // an error was reported here already
}

// path prints the place as an operator reads it: pools[0].preferred.
func (p *place) path() string {
	switch {
	case p.parent == nil:
		return ""
	case p.key == "":
		return fmt.Sprintf("%s[%d]", p.parent.path(), p.index)
	case p.parent.parent == nil:
		return p.key
	default:
		return p.parent.path() + "." + p.key
	}
}

func (p *place) pos() Pos {
	line, col := start(p.node)
	return Pos{File: p.file.shown, Line: line, Col: col}
}

// defaulter is a struct with defaults; they are set before it is decoded, so
// that what the file says wins.
type defaulter interface{ defaults() }

// shortForm is a struct that can also be written as a single value.
type shortForm interface{ decodeShort(d *decoder, p *place) }

// decoder fills structs from trees, strictly, and reports all that is wrong.
// It remembers where each field was written.
type decoder struct {
	log    *journal
	places map[any]*place // by the field's address
	fields map[reflect.Type][]field
	top    map[string]*place // sections given so far, in all files
	broken bool              // a whole section could not be read
}

// field is a key that a struct knows.
type field struct {
	key   string
	index int
	words string // name of the vocabulary of its value
}

func newDecoder(log *journal) *decoder {
	return &decoder{log: log, places: map[any]*place{}, fields: map[reflect.Type][]field{}, top: map[string]*place{}}
}

// fieldsOf lists the keys of a struct in the order of its fields.
func (d *decoder) fieldsOf(t reflect.Type) []field {
	if fs, ok := d.fields[t]; ok {
		return fs
	}
	fs := []field{}
	for i := range t.NumField() {
		f := t.Field(i)
		if key := f.Tag.Get("yaml"); key != "" && key != "-" {
			fs = append(fs, field{key, i, f.Tag.Get("words")})
		}
	}
	d.fields[t] = fs
	return fs
}

// fail reports an error at p, once.
func (d *decoder) fail(p *place, hint, format string, args ...any) {
	if p.bad {
		return
	}
	p.bad = true
	if p.parent == nil || p.parent.parent == nil {
		d.broken = true
	}
	if d.log.full() {
		return
	}
	d.log.add(p.file, &Error{Pos: p.pos(), Path: p.path(), Hint: hint, Text: fmt.Sprintf(format, args...)})
}

// value decodes what stands at p. words names the vocabulary, if any.
func (d *decoder) value(p *place, into reflect.Value, words string) {
	addr := into.Addr().Interface()
	d.places[addr] = p
	if into.Kind() == reflect.Pointer { // before anything can fail: no list holds a nil
		into.Set(reflect.New(into.Type().Elem()))
		d.value(p, into.Elem(), words)
		return
	}
	if def, ok := addr.(defaulter); ok {
		def.defaults()
	}
	switch p.node.(type) {
	case *ast.AnchorNode, *ast.AliasNode, *ast.TagNode:
		d.fail(p, "", noAliases)
		return
	case *ast.NullNode:
		d.fail(p, "", "has no value")
		return
	}
	switch kind := into.Kind(); {
	case isText(addr):
		d.textual(p, addr.(encoding.TextUnmarshaler))
	case kind == reflect.Struct:
		d.structure(p, into)
	case kind == reflect.Slice:
		d.list(p, into, words)
	case kind == reflect.Map:
		d.texts(p, into)
	default:
		d.scalar(p, into, words)
	}
}

func isText(addr any) bool { _, ok := addr.(encoding.TextUnmarshaler); return ok }

// structure decodes a mapping, or the short form of one.
func (d *decoder) structure(p *place, into reflect.Value) {
	if at := into.FieldByName("Pos"); at.IsValid() {
		at.Set(reflect.ValueOf(p.pos()))
	}
	m, ok := p.node.(*ast.MappingNode)
	short, hasShort := into.Addr().Interface().(shortForm)
	switch fields := d.fieldsOf(into.Type()); {
	case ok && len(fields) > 0:
		d.mapping(p, m, into)
	case hasShort && isScalar(p.node):
		short.decodeShort(d, p)
	case len(fields) == 0:
		d.fail(p, "", "is %s; a single value belongs here", describe(p.node))
	default:
		d.fail(p, "", "is %s; a mapping belongs here, with: %s", describe(p.node), keysOf(fields))
	}
}

func (d *decoder) mapping(p *place, m *ast.MappingNode, into reflect.Value) {
	fields := d.fieldsOf(into.Type())
	var given uint64 // bit i: fields[i] was seen in this mapping
	for _, kv := range m.Values {
		key, ok := keyText(kv.Key)
		at := &place{parent: p, key: key, file: p.file, node: kv.Key}
		if !ok {
			at.key = "?"
			d.fail(at, "", noAliases)
			continue
		}
		i := slices.IndexFunc(fields, func(f field) bool { return f.key == key })
		switch {
		case i < 0:
			d.unknownKey(at, into.Type().Name(), fields)
		case given&(1<<i) != 0:
			d.fail(at, "", "is given twice in one mapping")
		default:
			given |= 1 << i
			d.field(at, kv.Value, into.Field(fields[i].index), fields[i])
		}
	}
}

// field decodes one known key. at stands on the key until here.
func (d *decoder) field(at *place, value ast.Node, into reflect.Value, f field) {
	key := at.node
	if at.parent.parent == nil && !d.section(at, into) {
		return
	}
	at.node = value
	if _, null := value.(*ast.NullNode); null {
		at.node = key // a null that is not written has no place of its own
		d.places[into.Addr().Interface()] = at
		d.fail(at, "", "has no value")
		return
	}
	d.value(at, into, f.words)
}

// section says whether a top-level key may stand here: in a folder, lists of
// several files are joined, and version may be repeated; what else there is
// belongs in one file.
func (d *decoder) section(at *place, into reflect.Value) bool {
	first, again := d.top[at.key]
	if !again {
		d.top[at.key] = at
		return true
	}
	if into.Kind() == reflect.Slice || at.key == "version" {
		return true
	}
	d.fail(at, "", "is given already, at %s", first.pos())
	return false
}

func (d *decoder) unknownKey(at *place, where string, fields []field) {
	if module, ok := laterKeys[where][at.key]; ok {
		d.fail(at, "", "needs module %s", module)
		return
	}
	var keys []string
	for _, f := range fields {
		keys = append(keys, f.key)
	}
	d.fail(at, didYouMean(nearest(at.key, keys)), "unknown key %q; known here: %s", at.key, keysOf(fields))
}

// list decodes a sequence. Elements get their final address at once, because
// places are remembered by it.
func (d *decoder) list(p *place, into reflect.Value, words string) {
	s, ok := p.node.(*ast.SequenceNode)
	if !ok {
		d.fail(p, "", "is %s; a list belongs here", describe(p.node))
		return
	}
	list := reflect.MakeSlice(into.Type(), len(s.Values), len(s.Values))
	for i, n := range s.Values {
		d.value(&place{parent: p, index: i, file: p.file, node: n}, list.Index(i), words)
	}
	if p.parent.parent == nil {
		list = reflect.AppendSlice(into, list)
	}
	into.Set(list)
}

// texts decodes a mapping of free keys to text.
func (d *decoder) texts(p *place, into reflect.Value) {
	m, ok := p.node.(*ast.MappingNode)
	if !ok {
		d.fail(p, "", "is %s; a mapping of names to text belongs here", describe(p.node))
		return
	}
	into.Set(reflect.MakeMapWithSize(into.Type(), len(m.Values)))
	for _, kv := range m.Values {
		key, ok := keyText(kv.Key)
		at := &place{parent: p, key: key, file: p.file, node: kv.Value}
		text := reflect.New(into.Type().Elem()).Elem()
		switch {
		case !ok:
			d.fail(at, "", noAliases)
		case into.MapIndex(reflect.ValueOf(key)).IsValid():
			d.fail(at, "", "is given twice in one mapping")
		default:
			d.value(at, text, "")
			into.SetMapIndex(reflect.ValueOf(key), text)
		}
	}
}

// scalar decodes text, numbers and truth values.
func (d *decoder) scalar(p *place, into reflect.Value, words string) {
	text, quoted, ok := scalarText(p.node)
	switch kind := into.Kind(); {
	case kind == reflect.String && (!ok || p.node.Type() == ast.BoolType):
		d.fail(p, "", "is %s; text belongs here", describe(p.node))
	case kind == reflect.String:
		if words == "" || d.word(p, text, words) {
			into.SetString(text)
		}
	case kind == reflect.Bool:
		if p.node.Type() != ast.BoolType {
			d.fail(p, "", "is %s; true or false belongs here", describe(p.node))
			return
		}
		into.SetBool(strings.EqualFold(text, "true"))
	default:
		d.number(p, text, ok && !quoted, into)
	}
}

// word says whether text is one of the words allowed, and complains if not.
func (d *decoder) word(p *place, text, words string) bool {
	v := vocabularies[words]
	switch module, later := v.later[text]; {
	case v.has(text):
		return true
	case later:
		d.fail(p, "", "needs module %s", module)
	default:
		d.fail(p, didYouMean(nearest(text, v.built)), "%q is not one of: %s", text, strings.Join(v.built, ", "))
	}
	return false
}

// number decodes a whole number written in plain decimal digits, one of 32 bits
// also in hexadecimal ones (0x1f), as ip shows marks; 010 is refused because it
// means ten to some and eight to others.
func (d *decoder) number(p *place, text string, plain bool, into reflect.Value) {
	v, err := strconv.ParseInt(text, 10, 64)
	digits, hex := strings.CutPrefix(text, "0x")
	if hex = hex && into.Kind() == reflect.Uint32; hex {
		var bits uint64
		bits, err = strconv.ParseUint(digits, 16, 63)
		v = int64(bits)
	}
	switch {
	case !plain || err != nil:
		d.fail(p, "", "is %s; a whole number belongs here", describe(p.node))
		return
	case !hex && text != strconv.FormatInt(v, 10):
		d.fail(p, didYouMean(strconv.FormatInt(v, 10)), "is %s; write it in plain decimal digits", quote(text))
		return
	}
	switch into.Kind() {
	case reflect.Int:
		if v > math.MaxInt32 || v < math.MinInt32 {
			d.fail(p, "", "%d is too large", v)
			return
		}
		into.SetInt(v)
	default:
		if top := uint64(1)<<into.Type().Bits() - 1; v < 0 || uint64(v) > top {
			d.fail(p, "", "%d is out of range 0 to %d", v, top)
			return
		}
		into.SetUint(uint64(v))
	}
}
