package convert

import (
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/portolan-lb/portolan/config"
)

// Limits of one configuration. They keep a mistake or a hostile file from
// taking the memory of the process; the largest real files are lists of nets.
const (
	maxVscfBytes   = 256 << 20 // of all files together
	maxVscfDepth   = 64        // values inside each other
	maxVscfFiles   = 1000
	maxVscfInclude = 16 // files inside each other
)

// kind is a type of vscf value.
type kind uint8

const (
	scalar kind = iota
	array
	hash
)

var kindNames = [...]string{"a value", "an array", "a hash"}

// node is a value of a vscf file, with its place.
type node struct {
	pos   config.Pos
	kind  kind
	text  string  // of a scalar
	items []*node // of an array
	pairs []*pair // of a hash, in the order of the file
	index map[string]*pair
}

// pair is an entry of a hash.
type pair struct {
	key   string
	pos   config.Pos
	value *node
}

// vscf reads gdnsd's configuration language: hashes { key => value },
// arrays [ value value ] and strings, with comments by # and ; and
// $include{path}.
type vscf struct {
	src   config.Source
	left  int      // bytes that may still be read
	files int      // read so far
	open  []string // files that are being read, outermost first
}

func newVscf(src config.Source) *vscf { return &vscf{src: src, left: maxVscfBytes} }

// read reads a file, which holds a hash without braces, or one array.
func (v *vscf) read(ref string) (*node, error) {
	switch {
	case slices.Contains(v.open, ref):
		return nil, fmt.Errorf("%s: the file includes itself (%s)", v.src.Show(ref), strings.Join(append(v.open, ref), " -> "))
	case len(v.open) == maxVscfInclude:
		return nil, fmt.Errorf("%s: more than %d files inside each other", v.src.Show(ref), maxVscfInclude)
	case v.files == maxVscfFiles:
		return nil, fmt.Errorf("%s: more than %d files in one configuration", v.src.Show(ref), maxVscfFiles)
	}
	text, err := v.src.ReadFile(ref)
	if err != nil {
		return nil, fmt.Errorf("%s: cannot read it: %w", v.src.Show(ref), reason(err))
	}
	if v.left -= len(text); v.left < 0 {
		return nil, fmt.Errorf("%s: the configuration is larger than %d MiB", v.src.Show(ref), maxVscfBytes>>20)
	}
	v.files++
	v.open = append(v.open, ref)
	defer func() { v.open = v.open[:len(v.open)-1] }()
	p := &vscfParser{vscf: v, ref: ref, shown: v.src.Show(ref), text: text, line: 1}
	return p.file()
}

// reason is a file error without the name that the message has already.
func reason(err error) error {
	if at, ok := err.(*fs.PathError); ok {
		return at.Err
	}
	return err
}

// vscfParser reads one file.
type vscfParser struct {
	*vscf
	ref, shown string
	text       []byte
	off        int
	line       int // of text[off], from 1
	start      int // offset of that line
	depth      int
}

func (p *vscfParser) here() config.Pos {
	return config.Pos{File: p.shown, Line: p.line, Col: utf8.RuneCount(p.text[p.start:p.off]) + 1}
}

func (p *vscfParser) failAt(at config.Pos, format string, args ...any) error {
	return &config.Error{Pos: at, Text: fmt.Sprintf(format, args...)}
}

func (p *vscfParser) fail(format string, args ...any) error {
	return p.failAt(p.here(), format, args...)
}

// next moves past one octet.
func (p *vscfParser) next() {
	if p.text[p.off] == '\n' {
		p.line, p.start = p.line+1, p.off+1
	}
	p.off++
}

// skip moves past blanks and comments, and gives the octet there, 0 at the end.
func (p *vscfParser) skip() byte {
	for p.off < len(p.text) {
		switch c := p.text[p.off]; {
		case c == '#' || c == ';':
			for p.off < len(p.text) && p.text[p.off] != '\n' {
				p.off++
			}
		case isSpace(c):
			p.next()
		default:
			return c
		}
	}
	return 0
}

func isSpace(c byte) bool { return c == ' ' || c == '\t' || c == '\n' || c == '\r' }

func (p *vscfParser) done() bool { return p.off >= len(p.text) }

func (p *vscfParser) file() (*node, error) {
	if p.skip() == '[' {
		n, err := p.value()
		if err == nil && (p.skip() != 0 || !p.done()) {
			err = p.fail("there is more after the array that is this file")
		}
		return n, err
	}
	n := &node{pos: p.here(), kind: hash}
	return n, p.pairs(n, 0)
}

// value reads one value. p.skip() has been called.
func (p *vscfParser) value() (*node, error) {
	if p.depth++; p.depth > maxVscfDepth {
		return nil, p.fail("values are nested more than %d deep", maxVscfDepth)
	}
	defer func() { p.depth-- }()
	n := &node{pos: p.here()}
	switch c := p.skip(); {
	case c == '{':
		p.next()
		n.kind = hash
		return n, p.pairs(n, '}')
	case c == '[':
		p.next()
		n.kind = array
		return n, p.items(n)
	case c == '$':
		return p.includeValue()
	}
	var err error
	n.text, err = p.scalar()
	return n, err
}

// items reads the values of an array up to its bracket.
func (p *vscfParser) items(n *node) error {
	for {
		switch c := p.skip(); {
		case p.done():
			return p.failAt(n.pos, "this array is not closed: a ] is missing")
		case c == ']':
			p.next()
			return nil
		}
		item, err := p.value()
		if err != nil {
			return err
		}
		n.items = append(n.items, item)
		p.comma()
	}
}

func (p *vscfParser) comma() {
	if p.skip() == ',' {
		p.next()
	}
}

// pairs reads the entries of a hash up to its end, a brace or 0 for the end of
// the file.
func (p *vscfParser) pairs(n *node, end byte) error {
	for {
		switch c := p.skip(); {
		case p.done() && end == 0:
			return nil
		case p.done():
			return p.failAt(n.pos, "this hash is not closed: a } is missing")
		case c == end && end != 0:
			p.next()
			return nil
		case c == '$':
			if err := p.includePairs(n); err != nil {
				return err
			}
			p.comma()
			continue
		}
		if err := p.pair(n); err != nil {
			return err
		}
		p.comma()
	}
}

func (p *vscfParser) pair(n *node) error {
	at := p.here()
	key, err := p.scalar()
	if err != nil {
		return err
	}
	if p.skip() != '=' {
		return p.fail("= or => is missing after the key %s", quoted(key))
	}
	p.next()
	if !p.done() && p.text[p.off] == '>' {
		p.next()
	}
	if p.skip(); p.done() {
		return p.failAt(at, "the key %s has no value", quoted(key))
	}
	value, err := p.value()
	if err != nil {
		return err
	}
	return p.put(n, &pair{key, at, value})
}

// put adds an entry; a key stands in a hash once.
func (p *vscfParser) put(n *node, e *pair) error {
	if n.index == nil {
		n.index = map[string]*pair{}
	}
	if other := n.index[e.key]; other != nil {
		return p.failAt(e.pos, "the key %s stands here already, at %s", quoted(e.key), other.pos)
	}
	n.index[e.key] = e
	n.pairs = append(n.pairs, e)
	return nil
}

// scalar reads a string, in quotes or not. Both know the escapes of zone
// files: \ddd is an octet, \c is c.
func (p *vscfParser) scalar() (string, error) {
	at := p.here()
	inQuotes := p.text[p.off] == '"'
	if inQuotes {
		p.next()
	}
	var out []byte
	for !p.done() {
		c := p.text[p.off]
		switch {
		case c == '\\':
			octet, err := p.escape()
			if err != nil {
				return "", err
			}
			out = append(out, octet)
			continue
		case c == '"' && inQuotes:
			p.next()
			return string(out), nil
		case !inQuotes && (isSpace(c) || strings.IndexByte(`][}{;#,"=`, c) >= 0):
			if len(out) == 0 && p.here() == at {
				return "", p.fail("%q has no place here; a key or a value belongs here", c)
			}
			return string(out), nil
		}
		out = append(out, c)
		p.next()
	}
	if inQuotes {
		return "", p.failAt(at, "a quoted string is not closed")
	}
	return string(out), nil
}

func (p *vscfParser) escape() (byte, error) {
	at := p.here()
	p.next()
	if p.done() {
		return 0, p.failAt(at, "a \\ is the last of the file")
	}
	c := p.text[p.off]
	if c < '0' || c > '9' {
		p.next()
		return c, nil
	}
	number := 0
	for range 3 {
		if p.done() || p.text[p.off] < '0' || p.text[p.off] > '9' {
			return 0, p.failAt(at, "after a \\ that a digit follows three digits belong, such as \\009")
		}
		number = number*10 + int(p.text[p.off]-'0')
		p.next()
	}
	if number > 255 {
		return 0, p.failAt(at, "\\%d is no octet; 255 is the largest", number)
	}
	return byte(number), nil
}

// includePath reads $include{path}.
func (p *vscfParser) includePath() (string, config.Pos, error) {
	at := p.here()
	const word = "$include{"
	if !strings.HasPrefix(string(p.text[p.off:min(p.off+len(word), len(p.text))]), word) {
		return "", at, p.fail("a $ starts $include{file} and nothing else; in a string write \\$")
	}
	p.off += len(word)
	if p.skip(); p.done() {
		return "", at, p.failAt(at, "this $include is not closed: a } is missing")
	}
	name, err := p.scalar()
	if err != nil {
		return "", at, err
	}
	if p.skip() != '}' {
		return "", at, p.failAt(at, "this $include is not closed: a } is missing")
	}
	p.next()
	if name == "" {
		return "", at, p.failAt(at, "this $include names no file")
	}
	if !path.IsAbs(name) {
		name = path.Join(path.Dir(p.ref), name)
	}
	return name, at, nil
}

// matches gives the files that an include means: those that a pattern matches,
// or those of a folder. Hidden ones are left out, as the shell does.
func (p *vscfParser) matches(ref string, at config.Pos) ([]string, error) {
	if info, err := fs.Stat(p.src.FS, p.src.Path(ref)); err == nil && !info.IsDir() {
		return []string{ref}, nil
	} else if err == nil {
		files, err := p.glob(path.Join(ref, "*"), at)
		return files, err
	}
	files, err := p.glob(ref, at)
	if err == nil && len(files) == 0 {
		err = p.failAt(at, "$include{%s}: no such file", p.src.Show(ref))
	}
	return files, err
}

func (p *vscfParser) glob(pattern string, at config.Pos) ([]string, error) {
	found, err := fs.Glob(p.src.FS, p.src.Path(pattern))
	if err != nil {
		return nil, p.failAt(at, "$include{%s}: %v", p.src.Show(pattern), err)
	}
	var files []string
	for _, f := range found {
		if !strings.HasPrefix(path.Base(f), ".") {
			files = append(files, path.Join(path.Dir(pattern), path.Base(f)))
		}
	}
	return files, nil
}

func (p *vscfParser) includeValue() (*node, error) {
	ref, at, err := p.includePath()
	if err != nil {
		return nil, err
	}
	files, err := p.matches(ref, at)
	switch {
	case err != nil:
		return nil, err
	case len(files) != 1:
		return nil, p.failAt(at, "$include{%s} names %d files; as a value it names one", p.src.Show(ref), len(files))
	}
	return p.include(files[0], at)
}

func (p *vscfParser) include(ref string, at config.Pos) (*node, error) {
	n, err := p.read(ref)
	if _, told := err.(*config.Error); err != nil && !told {
		return nil, p.failAt(at, "$include: %v", err)
	}
	return n, err
}

// includePairs merges the entries of files into a hash.
func (p *vscfParser) includePairs(n *node) error {
	ref, at, err := p.includePath()
	if err != nil {
		return err
	}
	files, err := p.matches(ref, at)
	if err != nil {
		return err
	}
	for _, f := range files {
		inner, err := p.include(f, at)
		if err != nil {
			return err
		}
		if inner.kind != hash {
			return p.failAt(at, "$include{%s} is an array; its entries are merged here, so it has to be a hash", p.src.Show(f))
		}
		for _, e := range inner.pairs {
			if err := p.put(n, e); err != nil {
				return err
			}
		}
	}
	return nil
}

// quoted quotes text for a message, and cuts it where it would flood a
// terminal.
func quoted(text string) string {
	const most = 60
	if len(text) > most {
		text = text[:most] + "..."
	}
	return fmt.Sprintf("%q", text)
}
