package config

import (
	"cmp"
	"maps"
	"reflect"
	"regexp"
	"slices"
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

const referenceHead = `# Configuration

Every word that a configuration may hold. This page is written from the code
that reads it (` + "`go test ./config -run Reference -update`" + `): change the comments
in ` + "`config`" + `, not this file.

A configuration is one YAML file, or a folder whose ` + "`*.yaml` and `*.yml`" + ` files are read in the
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
	for _, form := range []string{"Duration", "Percent", "Size", "TimeOfDay", "TOS"} {
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

// spaced turns VirtualServer into "Virtual server", DNSServer into "DNS server",
// and leaves DNS alone.
func spaced(name string) string {
	var b strings.Builder
	for i, r := range name {
		begins := i > 0 && unicode.IsUpper(r) && (unicode.IsLower(rune(name[i-1])) || i+1 < len(name) && unicode.IsLower(rune(name[i+1])))
		if begins {
			b.WriteString(" " + string(unicode.ToLower(r)))
			continue
		}
		b.WriteRune(r)
	}
	return b.String()
}

func anchor(heading string) string { return strings.ToLower(strings.ReplaceAll(heading, " ", "-")) }

func upFirst(s string) string { return strings.ToUpper(s[:1]) + s[1:] }
