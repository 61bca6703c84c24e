package convert

import (
	"bytes"
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/portolan-lb/portolan/config"
)

// Zone files keep their text: comments, layout and order. What only gdnsd
// understands is edited in place: DYNA and DYNC entries leave for the
// configuration, @Z and @F become names, and TTLs are brought within the bounds
// that gdnsd would bring them into.

// maxZoneIncludes is how many files may be inside each other.
const maxZoneIncludes = 8

// scope is what directives set for the lines after them.
type scope struct {
	origin     string
	fileOrigin string // of @F
	ttl        int
}

// zoneFile is one file of a zone.
type zoneFile struct {
	*zone
	ref   string // in what is read
	out   string // in what is written
	shown string
	text  []byte
	off   int
	line  int
	scope scope
	open  []string // files around it, and itself

	owner string // of the last entry that has one, absolute
	gone  bool   // that entry was taken out, so the next has to name its owner
	dirty bytes.Buffer
	first bool // no entry has been read
}

// token is a word of an entry.
type token struct {
	start, end int // in the file
	text       string
	quoted     bool
	pos        config.Pos
}

// file converts a file and what it includes, and gives its text.
func (z *zone) file(ref, out string, from config.Pos, in scope, open []string) ([]byte, error) {
	if z.files++; z.files > 1000 || len(open) > maxZoneIncludes || slices.Contains(open, ref) {
		return nil, &config.Error{Pos: from, Text: fmt.Sprintf("$INCLUDE %s: files include each other without end", z.src.Show(ref))}
	}
	text, err := z.src.ReadFile(ref)
	if err != nil {
		return nil, &config.Error{Pos: from, Text: fmt.Sprintf("cannot read %s: %v", z.src.Show(ref), reason(err))}
	}
	f := &zoneFile{zone: z, ref: ref, out: out, shown: z.src.Show(ref), text: text, line: 1, scope: in,
		open: append(slices.Clip(open), ref), owner: in.origin, first: len(open) == 0}
	for {
		start := f.off
		tokens, blank, err := f.entry()
		if err != nil {
			return nil, err
		}
		if len(tokens) == 0 {
			f.dirty.Write(f.text[start:f.off])
			if f.off == len(f.text) {
				return f.dirty.Bytes(), nil
			}
			continue
		}
		edited, err := f.edit(start, tokens, blank)
		if err != nil {
			return nil, err
		}
		f.dirty.WriteString(edited)
	}
}

// entry cuts the next entry, with all lines that its parentheses span. blank
// says that it starts with a blank, so that it has no owner of its own.
func (f *zoneFile) entry() (tokens []token, blank bool, err error) {
	lineStart, depth := f.off, 0
	begin := config.Pos{File: f.shown, Line: f.line}
	blank = f.off < len(f.text) && (f.text[f.off] == ' ' || f.text[f.off] == '\t')
	for f.off < len(f.text) {
		at := config.Pos{File: f.shown, Line: f.line, Col: f.off - lineStart + 1}
		switch c := f.text[f.off]; c {
		case '\n':
			f.off++
			f.line++
			lineStart = f.off
			if depth == 0 {
				return tokens, blank, nil
			}
		case ' ', '\t', '\r':
			f.off++
		case ';':
			for f.off < len(f.text) && f.text[f.off] != '\n' {
				f.off++
			}
		case '(':
			f.off++
			depth++
		case ')':
			f.off++
			if depth--; depth < 0 {
				return nil, false, &config.Error{Pos: at, Text: "a closing parenthesis without its opening one"}
			}
		default:
			t := token{start: f.off, pos: at, quoted: c == '"'}
			if !f.word(&t) {
				return nil, false, &config.Error{Pos: at, Text: "a quoted string is not closed"}
			}
			tokens = append(tokens, t)
		}
	}
	if depth > 0 {
		return nil, false, &config.Error{Pos: begin, Text: "a parenthesis is not closed before the end of the file"}
	}
	return tokens, blank, nil
}

// word reads one word, in quotes or not.
func (f *zoneFile) word(t *token) bool {
	if t.quoted {
		f.off++
	}
	for f.off < len(f.text) {
		c := f.text[f.off]
		switch {
		case c == '\\' && f.off+1 < len(f.text):
			f.off++
			if f.text[f.off] == '\n' {
				f.line++
			}
		case t.quoted && c == '"':
			f.off++
			t.end = f.off
			t.text = string(f.text[t.start+1 : f.off-1])
			return true
		case t.quoted && c == '\n':
			f.line++
		case !t.quoted && strings.IndexByte(" \t\r\n;()", c) >= 0:
			t.end, t.text = f.off, string(f.text[t.start:f.off])
			return true
		}
		f.off++
	}
	f.off = min(f.off, len(f.text))
	t.end, t.text = f.off, string(f.text[t.start:f.off])
	return !t.quoted
}

// change is an edit of an entry.
type change struct {
	start, end int
	text       string
}

// edit carries out what an entry says and gives its new text.
func (f *zoneFile) edit(start int, tokens []token, blank bool) (string, error) {
	var changes []change
	head := ""
	word := strings.ToUpper(tokens[0].text)
	if f.first && word != "$TTL" {
		head = fmt.Sprintf("$TTL %d\n", f.opts.defaultTTL)
	}
	f.first = false
	if strings.HasPrefix(tokens[0].text, "$") && !blank {
		text, err := f.directive(start, word, tokens)
		return head + text, err
	}
	owner := f.owner
	if !blank {
		owner = f.absolute(tokens[0].text)
		changes = f.rename(changes, tokens[0])
		f.owner, f.gone, tokens = owner, false, tokens[1:]
	}
	ttl, kind, data := split(tokens)
	switch {
	case kind == nil:
		return head + f.apply(start, changes), nil // whatever it is, it is for the reader of zone files to say
	case strings.EqualFold(kind.text, "DYNA") || strings.EqualFold(kind.text, "DYNC"):
		text := f.dynamic(start, owner, ttl, kind, data)
		f.gone = true
		return head + text, nil
	case !under(owner, f.apex):
		f.lost(kind.pos, owner+" "+kind.text, "it is not in the zone, and records outside of it are not served", "put it into the zone that it belongs to")
		f.gone = true
		return head + f.takeOut(start), nil
	case blank && f.gone:
		changes = append(changes, change{start, start, owner})
		f.gone = false
	}
	if ttl != nil {
		changes = f.clamp(changes, *ttl, f.opts.maxTTL, owner+" "+kind.text)
	}
	return head + f.apply(start, f.data(changes, owner, kind, data)), nil
}

// split finds TTL, type and data of an entry after its owner.
func split(tokens []token) (ttl, kind *token, data []token) {
	for i := range tokens {
		t := &tokens[i]
		switch {
		case strings.EqualFold(t.text, "IN"):
		case t.text != "" && t.text[0] >= '0' && t.text[0] <= '9' && ttl == nil:
			ttl = t
		default:
			return ttl, t, tokens[i+1:]
		}
	}
	return ttl, nil, nil
}

// nameFields are the places of names in the data of each type.
var nameFields = map[string][]int{
	"NS": {0}, "PTR": {0}, "CNAME": {0}, "DNAME": {0}, "MX": {1}, "SRV": {3}, "SOA": {0, 1}, "NAPTR": {5},
}

// data edits the data of a record.
func (f *zoneFile) data(changes []change, owner string, kind *token, data []token) []change {
	for _, i := range nameFields[strings.ToUpper(kind.text)] {
		if i < len(data) {
			changes = f.rename(changes, data[i])
		}
	}
	if strings.EqualFold(kind.text, "SOA") && len(data) == 7 {
		changes = f.clamp(changes, data[6], f.opts.maxNegative, owner+" SOA minimum")
	}
	return changes
}

// clamp brings a TTL within gdnsd's bounds.
func (f *zoneFile) clamp(changes []change, t token, high int, what string) []change {
	ttl, ok := parseSeconds(t.text)
	bounded := min(max(ttl, f.opts.minTTL), high)
	if !ok || bounded == ttl {
		return changes
	}
	f.note(t.pos, what, fmt.Sprintf("the TTL is %d instead of %s, as gdnsd serves it (min_ttl, max_ttl, max_ncache_ttl)", bounded, t.text), "")
	return append(changes, change{t.start, t.end, fmt.Sprint(bounded)})
}

// rename replaces @Z and @F.
func (f *zoneFile) rename(changes []change, t token) []change {
	if name, ok := f.special(t.text); ok {
		return append(changes, change{t.start, t.end, name})
	}
	return changes
}

// special gives the name that a word with @Z or @F means.
func (f *zoneFile) special(word string) (string, bool) {
	for suffix, name := range map[string]string{"@Z": f.apex, "@F": f.scope.fileOrigin} {
		switch {
		case word == suffix:
			return name, true
		case strings.HasSuffix(word, "."+suffix):
			return strings.TrimSuffix(strings.TrimSuffix(word, suffix)+strings.TrimPrefix(name, "."), ".") + ".", true
		}
	}
	return "", false
}

// absolute gives the name that a word means, in lower case.
func (f *zoneFile) absolute(word string) string {
	if name, ok := f.special(word); ok {
		return strings.ToLower(name)
	}
	switch {
	case word == "@":
		return f.scope.origin
	case strings.HasSuffix(word, ".") && !strings.HasSuffix(word, "\\."):
		return strings.ToLower(word)
	case f.scope.origin == ".":
		return strings.ToLower(word) + "."
	default:
		return strings.ToLower(word) + "." + f.scope.origin
	}
}

func under(name, apex string) bool {
	return apex == "." || name == apex || strings.HasSuffix(name, "."+apex)
}

// apply gives an entry's text with its edits.
func (f *zoneFile) apply(start int, changes []change) string {
	slices.SortStableFunc(changes, func(a, b change) int { return a.start - b.start })
	var b strings.Builder
	for _, c := range changes {
		b.Write(f.text[start:c.start])
		b.WriteString(c.text)
		start = c.end
	}
	b.Write(f.text[start:f.off])
	return b.String()
}

// takeOut makes an entry a comment.
func (f *zoneFile) takeOut(start int) string {
	text := strings.TrimSuffix(string(f.text[start:f.off]), "\n")
	return "; " + strings.ReplaceAll(text, "\n", "\n; ") + "\n"
}

// dynamic binds a name and gives what takes the place of its entry.
func (f *zoneFile) dynamic(start int, owner string, ttl, kind *token, data []token) string {
	d := &dynamic{owner: owner, kind: strings.ToUpper(kind.text), pos: kind.pos, refPos: kind.pos}
	if ttl != nil {
		d.ttl = ttl.text
	}
	text := f.takeOut(start)
	if len(data) != 1 {
		f.lost(kind.pos, owner+" "+d.kind, "one plugin!resource belongs here", "")
		return text
	}
	d.ref, d.refPos = strings.ReplaceAll(data[0].text, "\\", ""), data[0].pos
	if !under(owner, f.apex) {
		f.lost(kind.pos, d.what(), "it is not in the zone", "")
		return text
	}
	for _, r := range f.bind(d, f.scope.ttl) {
		text += r + "\n"
	}
	return text
}

// directive carries out a line that starts with a dollar sign.
func (f *zoneFile) directive(start int, word string, tokens []token) (string, error) {
	var changes []change
	switch {
	case word == "$TTL" && len(tokens) == 2:
		if ttl, ok := parseSeconds(tokens[1].text); ok {
			f.scope.ttl = min(max(ttl, f.opts.minTTL), f.opts.maxTTL)
		}
		changes = f.clamp(changes, tokens[1], f.opts.maxTTL, "$TTL")
	case word == "$ORIGIN" && len(tokens) == 2:
		changes = f.rename(changes, tokens[1])
		f.scope.origin = f.absolute(tokens[1].text)
	case word == "$INCLUDE" && (len(tokens) == 2 || len(tokens) == 3):
		return f.include(start, tokens)
	case strings.HasPrefix(word, "$ADDR_LIMIT"):
		f.lost(tokens[0].pos, tokens[0].text, "a set of static addresses is always answered whole; gdnsd 3 itself has no such limit any more", "put the addresses into a pool with answers: N")
		return f.takeOut(start), nil
	}
	return f.apply(start, changes), nil
}

// include converts another file, and gives the line with its new place.
func (f *zoneFile) include(start int, tokens []token) (string, error) {
	name := tokens[1].text
	ref := name
	if !path.IsAbs(ref) {
		ref = path.Join(path.Dir(f.ref), name)
	}
	in := f.scope
	var changes []change
	if len(tokens) == 3 {
		changes = f.rename(changes, tokens[2])
		in.origin = f.absolute(tokens[2].text)
	}
	in.fileOrigin = in.origin
	out := path.Clean(ref)
	if !strings.HasPrefix(out, "zones/") {
		out = path.Join("zones/include", path.Base(ref))
	}
	text, err := f.file(ref, out, tokens[1].pos, in, f.open)
	if err != nil {
		return "", err
	}
	out = f.outFor(out, text)
	return f.apply(start, append(changes, change{tokens[1].start, tokens[1].end, relativeTo(path.Dir(f.out), out)})), nil
}

// outFor finds a file name for an included file: its own, unless another zone
// includes it with another outcome.
func (f *zoneFile) outFor(out string, text []byte) string {
	want := out
	for n := 1; ; n++ {
		if there, taken := f.gdnsd.files[out]; !taken || bytes.Equal(there, text) {
			f.gdnsd.files[out] = text
			return out
		}
		out = want + "." + strings.ReplaceAll(strings.TrimSuffix(f.apex, "."), "/", "@")
		if n > 1 {
			out = fmt.Sprintf("%s.%d", out, n)
		}
	}
}

// relativeTo gives a path relative to a folder; both are below zones.
func relativeTo(folder, file string) string {
	up := ""
	for folder != "." && !strings.HasPrefix(file, folder+"/") {
		folder, up = path.Dir(folder), up+"../"
	}
	return up + strings.TrimPrefix(strings.TrimPrefix(file, folder), "/")
}
