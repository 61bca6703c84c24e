package config

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"

	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
	yaml "go.yaml.in/yaml/v4"
	"go.yaml.in/yaml/v4/plugin/loaderlimits"
)

// Limits on what is parsed at all. The deepest sensible configuration is a
// region with some matchers inside each other.
const (
	maxBytes = 16 << 20 // all configuration files of a run together
	maxDepth = 100      // lists and mappings inside each other
	maxKeys  = 1000     // in one mapping

	maxMissing = 1000 // values that are not there
)

// file is one configuration file: its text for snippets and its tree.
type file struct {
	ref   string // as Model.Files lists it
	shown string // as messages print it
	order int    // its place among the files of the run
	text  string // "\n" ends each line, no byte order mark
	lines []int  // offset of the start of each line, made by the first snippet
	root  ast.Node
}

// newFile brings text into the form that positions count in: an editor's
// byte order mark and CRLF line ends are neither errors nor columns.
func newFile(ref, shown string, order int, text []byte) *file {
	plain := strings.ReplaceAll(strings.TrimPrefix(string(text), "\xef\xbb\xbf"), "\r\n", "\n")
	return &file{ref: ref, shown: shown, order: order, text: plain}
}

// parse makes the tree. Two parsers read the text: the first bounds depth and
// refuses bad syntax, for it cannot be driven into the ground; the second
// knows the place of every word.
func (f *file) parse(log *journal) {
	if err := f.bounce(); err != nil {
		log.add(f, err)
		return
	}
	tree, err := parser.ParseBytes([]byte(f.text), 0, parser.AllowDuplicateMapKey())
	if err != nil {
		log.add(f, f.narrated(err))
		return
	}
	for _, doc := range tree.Docs {
		if doc.Body != nil && doc.Body.Type() != ast.NullType {
			f.root = doc.Body
		}
	}
	if f.root == nil {
		log.add(f, &Error{Text: "is empty; a configuration starts with version: 1"})
	}
}

// bounce reads all documents with the bounded parser.
func (f *file) bounce() *Error {
	if err := f.octets(); err != nil {
		return err
	}
	in, err := yaml.NewLoader(strings.NewReader(f.text), yaml.WithV4Defaults(),
		yaml.WithPlugin(loaderlimits.New(loaderlimits.DepthValue(maxDepth))))
	if err != nil {
		return &Error{Text: err.Error()}
	}
	for docs := 0; ; docs++ {
		var doc yaml.Node
		switch err := in.Load(&doc); {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return f.syntax(err)
		case docs == 1:
			return &Error{Pos: Pos{Line: doc.Line, Col: 1},
				Text: "a file holds one document; to split a configuration, put files into a folder"}
		}
		var c censor
		if e := c.node(&doc); e != nil {
			return e
		}
	}
}

// censor looks for what takes the second parser time that grows with its
// square; no configuration needs it.
type censor struct{ missing int }

func (c *censor) node(n *yaml.Node) *Error {
	at := Pos{Line: n.Line, Col: n.Column}
	switch {
	case n.Kind == yaml.MappingNode && len(n.Content) > 2*maxKeys:
		return &Error{Pos: at, Text: fmt.Sprintf("a mapping has more than %d keys", maxKeys)}
	case n.Kind == yaml.ScalarNode && n.Tag == "!!null":
		if c.missing++; c.missing > maxMissing {
			return &Error{Pos: at, Text: fmt.Sprintf("more than %d keys and list entries have no value", maxMissing)}
		}
	}
	for _, inner := range n.Content {
		if e := c.node(inner); e != nil {
			return e
		}
	}
	return nil
}

// octets finds what is no text: bad UTF-8 and control characters, which the
// parsers report without a place.
func (f *file) octets() *Error {
	line, start := 1, 0
	for i := 0; i < len(f.text); {
		r, size := utf8.DecodeRuneInString(f.text[i:])
		text := ""
		switch {
		case r == utf8.RuneError && size == 1:
			text = fmt.Sprintf("the octet 0x%02x is not UTF-8; is the file in another encoding?", f.text[i])
		case r < ' ' && r != '\t' && r != '\n' && r != '\r', r == 0x7f:
			text = fmt.Sprintf("the control character 0x%02x is not text", r)
		}
		if text != "" {
			return &Error{Pos: Pos{Line: line, Col: utf8.RuneCountInString(f.text[start:i]) + 1}, Text: text}
		}
		i += size
		if r == '\n' {
			line, start = line+1, i
		}
	}
	return nil
}

// syntax puts the bounded parser's error into our form.
func (f *file) syntax(err error) *Error {
	var le *yaml.LoadError
	if !errors.As(err, &le) {
		return &Error{Text: err.Error()}
	}
	e := &Error{Pos: Pos{Line: le.Mark.Line, Col: le.Mark.Column}, Text: le.Message}
	if le.ContextMsg != "" {
		e.Text += " " + le.ContextMsg
		switch at := le.ContextMark; {
		case at.Line == 0 || at.Line == e.Pos.Line:
		case strings.Contains(le.Message, "end of stream"):
			e.Pos = Pos{Line: at.Line, Col: at.Column} // where it began says more than the end of the file
		default:
			e.Text += fmt.Sprintf(" that begins at %d:%d", at.Line, at.Column)
		}
	}
	switch c := f.byteAt(e.Pos); {
	case strings.Contains(le.Message, "unknown anchor"):
		e.Text = noAliases
	case strings.Contains(le.Message, "exceeded max depth"):
		e.Text = fmt.Sprintf("is nested more than %d deep", maxDepth)
	case c == '\t':
		e.Hint = "indent with spaces, not tabs"
	case strings.Contains(le.Message, "cannot start"):
		e.Hint = "put the text in quotes"
	}
	return e
}

// narrated puts the second parser's error into our form.
func (f *file) narrated(err error) *Error {
	e := &Error{Text: strings.SplitN(err.Error(), "\n", 2)[0]}
	var line, col int
	if n, _ := fmt.Sscanf(e.Text, "[%d:%d]", &line, &col); n == 2 {
		e.Pos = Pos{Line: line, Col: col}
		_, e.Text, _ = strings.Cut(e.Text, "] ")
	}
	return e
}

// line gives the text of a line, counted from 1.
func (f *file) line(n int) string {
	if f.lines == nil {
		f.lines = []int{0}
		for i := range len(f.text) {
			if f.text[i] == '\n' {
				f.lines = append(f.lines, i+1)
			}
		}
	}
	if n < 1 || n > len(f.lines) {
		return ""
	}
	end := len(f.text)
	if n < len(f.lines) {
		end = f.lines[n] - 1
	}
	return f.text[f.lines[n-1]:end]
}

func (f *file) byteAt(p Pos) byte {
	if l := f.line(p.Line); p.Col >= 1 && p.Col <= len(l) {
		return l[p.Col-1]
	}
	return 0
}
