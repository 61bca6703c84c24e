package dnsserver

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"strconv"
	"strings"

	"github.com/miekg/dns"

	"github.com/portolan-lb/portolan/config"
)

// masterFile reads one file of a zone, entry by entry. An entry is a record or
// directive with all the lines that its parentheses span.
//
// Entries are cut here and parsed by miekg's ZoneParser, which stops at its
// first error; a new parser then goes on with the next entry, so that one run
// reports all errors of a file. Directives are read here, because the parser
// would open includes by itself and does not tell what it has been told.
type masterFile struct {
	*loader
	ref    string
	file   uint16 // index into records.files
	data   []byte
	off    int
	line   int // of data[off], from 1
	scope  setting
	parser *dns.ZoneParser
	feed   feed
	ahead  []byte // directives for the parser to read before the next entry
	owner  []byte // as written by the last entry that wrote one
	lost   bool   // the last owner could not be read: entries without one mean nothing
}

// entry is one entry and its place.
type entry struct {
	text []byte // whole lines, with the last newline
	line int
	col  int // of the first token
}

func newReader(l *loader, ref string, file uint16, data []byte, in setting) *masterFile {
	f := &masterFile{loader: l, ref: l.src.Show(ref), file: file, data: data, line: 1, scope: in}
	f.restart()
	return f
}

// read reads the file to its end.
func (f *masterFile) read() {
	if bytes.HasPrefix(f.data, byteOrderMark) {
		f.errorf(config.Pos{File: f.ref, Line: 1, Col: 1}, "the file starts with a byte order mark; save it as plain UTF-8 or ASCII")
		f.off = len(byteOrderMark)
	}
	for {
		e, ok := f.next()
		switch {
		case !ok:
			return
		case e.text[0] == '$':
			f.directive(e)
		case f.lost && isBlank(e.text[0]):
		default:
			f.record(e)
		}
	}
}

// next cuts the next entry. Lines that hold only blanks and comments are none.
func (f *masterFile) next() (entry, bool) {
	for f.off < len(f.data) {
		start, e := f.off, entry{line: f.line}
		fault := f.skip(&e)
		e.text = f.data[start:f.off]
		if fault != "" {
			f.errorf(f.at(e), "%s", fault)
			f.restart()
			continue
		}
		if e.col == 0 {
			continue
		}
		if n := len(e.text); e.text[n-1] != '\n' {
			e.text = append(slices.Clip(e.text), '\n')
		}
		return e, true
	}
	return entry{}, false
}

// skip moves past one entry, counts its lines and notes its first column. It
// says what is wrong with it, if its end cannot be found where it should be.
func (f *masterFile) skip(e *entry) (fault string) {
	start, depth, quote, comment, escape := f.off, 0, false, false, ""
	for f.off < len(f.data) {
		c := f.data[f.off]
		f.off++
		if c == '\n' {
			f.line++
			comment = false
			if quote {
				return "a quoted string is not closed on its line"
			}
			if depth == 0 {
				return escape
			}
			continue
		}
		if comment || isBlank(c) {
			continue
		}
		if c == ';' && !quote {
			comment = true
			continue
		}
		if e.col == 0 {
			e.col = f.off - start
		}
		switch {
		case c == '"':
			quote = !quote
		case c == '\\' && f.off < len(f.data) && f.data[f.off] != '\n':
			escape = cmp.Or(escape, badEscape(f.data[f.off:]))
			f.off++
		case c == '(' && !quote:
			depth++
		case c == ')' && !quote && depth > 0:
			depth--
		}
		if f.off-start > int(f.limits.EntrySize) {
			f.off = len(f.data)
			f.exceeds(limitZoneEntrySize)
			return fmt.Sprintf("this entry is longer than %s; is a parenthesis open?", f.limits.EntrySize)
		}
	}
	switch {
	case quote:
		return "a quoted string is not closed on its line"
	case depth > 0:
		return "a parenthesis is not closed before the end of the file"
	}
	return escape
}

func isBlank(c byte) bool { return c == ' ' || c == '\t' || c == '\r' }

// record parses an entry that holds one record.
func (f *masterFile) record(e entry) {
	f.note(e)
	rr, ok := f.parse(e)
	if !ok && f.scope.ttl == noTTL {
		rr, ok = f.parseSOA(e)
	}
	if !ok {
		f.fail(e)
		return
	}
	if loc, ok := rr.(*dns.LOC); ok {
		exactSeconds(loc, e.text)
	}
	if text := unlike(rr, e.text); text != "" {
		f.errorf(f.at(e), "%s", text)
		return
	}
	if txt, ok := rr.(*dns.TXT); ok && splits(txt, e.text) {
		f.warnf(f.at(e), "%s TXT: a string of more than 255 octets is split (RFC 1035 3.3.14); other servers refuse it", rr.Header().Name)
	}
	f.add(rr, f.file, f.at(e))
}

// note remembers the owner as written.
func (f *masterFile) note(e entry) {
	if !isBlank(e.text[0]) {
		f.owner = e.text[:bytes.IndexAny(e.text, " \t\r\n;(")]
	}
}

// parse gives an entry to the parser, with the directives that stood before.
func (f *masterFile) parse(e entry) (dns.RR, bool) {
	text := e.text
	if len(f.ahead) > 0 {
		text = append(f.ahead, text...)
		f.ahead = nil
	}
	f.feed.from = f.feed.lines + bytes.Count(text[:len(text)-len(e.text)], newline)
	f.feed.text, f.feed.off = text, 0
	return f.parser.Next()
}

var newline = []byte{'\n'}

// fail reports what the parser says about an entry, and starts it anew.
func (f *masterFile) fail(e entry) {
	bad := parseFault{text: "not a record"}
	if err := f.parser.Err(); err != nil {
		bad = explainParse(err)
	}
	at := f.at(e)
	if bad.line -= f.feed.from + 1; bad.line >= 0 && bad.col > 0 {
		at.Line, at.Col = e.line+bad.line, bad.start(e.text)
	}
	f.errorf(at, "%s", bad.text)
	f.restart()
}

// restart makes a parser that knows what the one before was told.
func (f *masterFile) restart() {
	f.feed = feed{}
	f.parser = dns.NewZoneParser(&f.feed, f.scope.origin, "")
	f.ahead = nil
	if f.scope.ttl >= 0 {
		f.ahead = fmt.Appendf(nil, "$TTL %d\n", f.scope.ttl)
	}
	if f.owner == nil {
		return
	}
	// A record that is thrown away tells the parser the last owner.
	prime := fmt.Appendf(nil, "%s 0 IN TYPE65280 \\# 0\n", f.owner)
	if _, ok := f.parse(entry{text: prime}); ok {
		return
	}
	f.owner, f.lost = nil, true
	f.restart()
}

func (f *masterFile) at(e entry) config.Pos {
	return config.Pos{File: f.ref, Line: e.line, Col: max(e.col, 1)}
}

// directive carries out a line that starts with a dollar sign.
func (f *masterFile) directive(e entry) {
	plain, _, _ := strings.Cut(string(e.text), ";")
	words := strings.Fields(plain)
	var fault string
	switch word := strings.ToUpper(words[0]); {
	case word == "$TTL" && len(words) == 2:
		fault = f.setTTL(words[1], f.at(e))
	case word == "$ORIGIN" && len(words) == 2:
		fault = f.setOrigin(words[1])
	case word == "$INCLUDE" && (len(words) == 2 || len(words) == 3):
		fault = f.includeHere(words[1:], f.at(e))
	case word == "$GENERATE" && len(words) >= 5:
		f.generate(e, words)
	case word == "$TTL", word == "$ORIGIN", word == "$INCLUDE", word == "$GENERATE":
		fault = word + ": wrong number of words"
	default:
		fault = words[0] + ": unknown directive; $TTL, $ORIGIN, $INCLUDE and $GENERATE are known"
	}
	if fault != "" {
		f.errorf(f.at(e), "%s", fault)
	}
}

func (f *masterFile) setTTL(word string, at config.Pos) string {
	ttl, ok := ParseTTL(word)
	if !ok {
		return fmt.Sprintf("$TTL %s: not a TTL; write seconds or 1h30m, at most %d", word, maxTTL)
	}
	if ttl > maxTTL {
		f.warnf(at, "$TTL %d is larger than %d and means 0 (RFC 2181 section 8)", ttl, maxTTL)
		ttl = 0
	}
	f.scope.ttl = int64(ttl)
	f.ahead = fmt.Appendf(f.ahead, "$TTL %d\n", ttl)
	return ""
}

func (f *masterFile) setOrigin(word string) string {
	name, ok := absolute(word, f.scope.origin)
	if !ok {
		return fmt.Sprintf("$ORIGIN %s: not a domain name", word)
	}
	f.scope.origin = name
	f.ahead = fmt.Appendf(f.ahead, "$ORIGIN %s\n", name)
	return ""
}

// includeHere reads another file in this place. What it sets ends with it.
func (f *masterFile) includeHere(words []string, at config.Pos) string {
	inner := f.scope
	if len(words) == 2 {
		name, ok := absolute(words[1], f.scope.origin)
		if !ok {
			return fmt.Sprintf("$INCLUDE %s %s: the origin is not a domain name", words[0], words[1])
		}
		inner.origin = name
	}
	target, fault := f.mayInclude(strings.Trim(words[0], `"`))
	if fault == "" {
		f.include(target, at, inner)
	}
	return fault
}

// generate reads the records of a $GENERATE, with a parser of its own: it ends
// with the line. That parser gives them an hour whatever $TTL says, so the TTL
// in force is written into the line.
func (f *masterFile) generate(e entry, words []string) {
	_, own := ParseTTL(words[3])
	if _, second := ParseTTL(words[4]); second && strings.EqualFold(words[3], "IN") {
		own = true
	}
	text := e.text
	switch {
	case own:
	case f.scope.ttl == noTTL:
		f.errorf(f.at(e), "$GENERATE without a TTL: give it one or put $TTL before it")
		return
	default:
		head := fmt.Sprintf("%s %s %s %d ", words[0], words[1], words[2], f.scope.ttl)
		text = append([]byte(head), afterWords(e.text, 3)...)
	}
	parser := dns.NewZoneParser(&feed{text: text}, f.scope.origin, "")
	for rr, ok := parser.Next(); ok; rr, ok = parser.Next() {
		if f.made++; f.made > f.limits.GeneratedRecords {
			f.exceeds(limitZoneGeneratedRecords)
			f.errorf(f.at(e), "$GENERATE: more than %d records of this zone are generated", f.limits.GeneratedRecords)
			return
		}
		f.add(rr, f.file, f.at(e))
	}
	if err := parser.Err(); err != nil {
		f.errorf(f.at(e), "%s", explainParse(err).text)
	}
}

// afterWords gives the text after its first n words.
func afterWords(text []byte, n int) []byte {
	for range n {
		text = bytes.TrimLeft(text, " \t")
		text = text[bytes.IndexAny(text, " \t\r\n"):]
	}
	return text
}

// absolute completes a name with the origin.
func absolute(name, origin string) (string, bool) {
	switch {
	case name == "@":
		return origin, true
	case dns.IsFqdn(name):
	case origin == ".":
		name += "."
	default:
		name += "." + origin
	}
	_, ok := dns.IsDomainName(name)
	return name, ok
}

// feed is the parser's input: one entry at a time.
type feed struct {
	text  []byte
	off   int
	lines int // newlines given out
	from  int // lines before the entry that is being parsed
}

// ReadByte gives the next octet of the entry.
func (f *feed) ReadByte() (byte, error) {
	if f.off == len(f.text) {
		return 0, io.EOF
	}
	c := f.text[f.off]
	f.off++
	if c == '\n' {
		f.lines++
	}
	return c, nil
}

// Read is there for the signature of NewZoneParser, which reads by octets.
func (f *feed) Read(p []byte) (int, error) {
	n := copy(p, f.text[f.off:])
	f.off += n
	if n == 0 {
		return 0, io.EOF
	}
	return n, nil
}

// parseFault is a parser's error, taken apart.
type parseFault struct {
	text  string
	token string // that the parser stopped at
	line  int    // of what it was fed
	col   int    // where the token ends
}

// start gives the column where the token begins, in the entry's text.
func (p *parseFault) start(text []byte) int {
	for range p.line {
		_, text, _ = bytes.Cut(text, newline)
	}
	text, _, _ = bytes.Cut(text, newline)
	if i := bytes.LastIndex(text[:min(p.col, len(text))], []byte(p.token)); i >= 0 && p.token != "" {
		return i + 1
	}
	return p.col
}

// explainParse takes a parser's error apart, which gives its place only as
// text, and puts it into an operator's words.
func explainParse(err error) parseFault {
	var p parseFault
	what := strings.TrimPrefix(err.Error(), "dns: ")
	if i := strings.LastIndex(what, " at line: "); i >= 0 {
		line, col, _ := strings.Cut(what[i+len(" at line: "):], ":")
		p.line, _ = strconv.Atoi(line)
		p.col, _ = strconv.Atoi(col)
		what = what[:i]
	}
	what, quoted, _ := strings.Cut(what, `: "`)
	p.token, _ = strconv.Unquote(`"` + quoted)
	if p.token == "\n" {
		p.token = ""
	}
	p.text = operatorsWords(what, p.token)
	if p.token != "" && !strings.Contains(p.text, ": ") {
		p.text += fmt.Sprintf(": %q", p.token)
	}
	return p
}

// operatorsWords translates what the parser says.
func operatorsWords(what, token string) string {
	words := strings.Fields(what)
	switch {
	case token == "extra closing brace":
		return "syntax: a closing parenthesis without its opening one"
	case strings.HasPrefix(what, "missing TTL"):
		return "no TTL: give the record one or put $TTL before it"
	case what == "not a TTL":
		return "neither a TTL nor a class nor a known type"
	case len(words) == 3 && words[0] == "bad" && words[1] == words[2]:
		return fmt.Sprintf("bad address in %s record", words[1])
	case len(words) == 3 && words[0] == "bad" && dns.StringToType[words[1]] != 0:
		return fmt.Sprintf("bad %s in %s record", strings.ToLower(words[2]), words[1])
	}
	return what
}

// reason is a file error without the name that the message has already.
func reason(err error) error {
	var at *fs.PathError
	if errors.As(err, &at) {
		return at.Err
	}
	return err
}
