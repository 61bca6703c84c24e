package convert

import (
	"fmt"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/portolan-lb/portolan/config"
)

// source is a file system of files in etc/gdnsd.
func source(files map[string]string) config.Source {
	all := fstest.MapFS{}
	for name, text := range files {
		all["etc/gdnsd/"+name] = &fstest.MapFile{Data: []byte(text)}
	}
	return config.Source{FS: all, Dir: "etc/gdnsd", Name: ".", Shown: "/etc/gdnsd"}
}

// print writes a value in a form of its own, to compare.
func (n *node) print() string {
	var parts []string
	switch n.kind {
	case scalar:
		return fmt.Sprintf("%q", n.text)
	case array:
		for _, v := range n.items {
			parts = append(parts, v.print())
		}
		return "[" + strings.Join(parts, " ") + "]"
	default:
		for _, p := range n.pairs {
			parts = append(parts, fmt.Sprintf("%q=", p.key)+p.value.print())
		}
		return "{" + strings.Join(parts, " ") + "}"
	}
}

// The manual's own examples of what is equal (gdnsd.config(5), low-level
// syntax), and the corners that it describes in words.
func TestVscf(t *testing.T) {
	for _, c := range []struct{ text, want string }{
		{`options = { listen = [ 192.0.2.1, 192.0.2.2 ], }`, `{"options"={"listen"=["192.0.2.1" "192.0.2.2"]}}`},
		{`"options" => { listen => [ 192.0.2.1 192.0.2.2 ] }`, `{"options"={"listen"=["192.0.2.1" "192.0.2.2"]}}`},
		{`options={listen=[192.0.2.1 192.0.2.2]}`, `{"options"={"listen"=["192.0.2.1" "192.0.2.2"]}}`},
		{`[example "example" ex\097mpl\e "ex\097mpl\e"]`, `["example" "example" "example" "example"]`},
		{`[internal\"doublequote "internal\"doublequote"]`, `["internal\"doublequote" "internal\"doublequote"]`},
		{`[white\ space "white space"]`, `["white space" "white space"]`},
		{`["braces{every[where]oh}my" braces\{every\[where\]oh\}my]`, `["braces{every[where]oh}my" "braces{every[where]oh}my"]`},
		{`["\\===" "\092===" "\092\=\=\=" \\\=\=\= \092\=\=\=]`, `["\\===" "\\===" "\\===" "\\===" "\\==="]`},
		{"", "{}"},
		{"# only\n; comments\n", "{}"},
		{"a = 1 # one\nb => ; two\n 2\n", `{"a"="1" "b"="2"}`},
		{"2001:db8::/32 => x", `{"2001:db8::/32"="x"}`},
		{"a => {} b => []", `{"a"={} "b"=[]}`},
		{"a => \"\"", `{"a"=""}`},
		{"a => x$y", `{"a"="x$y"}`},
		{"a=b\r\nc=d\r\n", `{"a"="b" "c"="d"}`},
		{"[]", "[]"},
		{`a => "` + "two\nlines" + `"`, `{"a"="two\nlines"}`},
	} {
		n, err := newVscf(source(map[string]string{"config": c.text})).read("config")
		if err != nil {
			t.Errorf("%q: %v", c.text, err)
		} else if got := n.print(); got != c.want {
			t.Errorf("%q: got %s, want %s", c.text, got, c.want)
		}
	}
}

// Places are those of the file that a word stands in, in characters.
func TestVscfPlaces(t *testing.T) {
	n, err := newVscf(source(map[string]string{
		"config":  "größe => 1, b => {\n\t c => $include{ inner } }",
		"inner":   "x => 1\n $include{more/*}",
		"more/b":  "\n\nz => 1",
		"more/a":  "y => 1",
		"more/.h": "syntax error",
	})).read("config")
	if err != nil {
		t.Fatal(err)
	}
	inner := n.get("b").get("c")
	for _, c := range []struct {
		pos  config.Pos
		want string
	}{
		{n.pairs[0].value.pos, "/etc/gdnsd/config:1:10"},
		{n.pairs[1].pos, "/etc/gdnsd/config:1:13"},
		{n.get("b").pairs[0].pos, "/etc/gdnsd/config:2:3"},
		{inner.pairs[0].pos, "/etc/gdnsd/inner:1:1"},
		{inner.pairs[1].pos, "/etc/gdnsd/more/a:1:1"},
		{inner.pairs[2].pos, "/etc/gdnsd/more/b:3:1"},
	} {
		if c.pos.String() != c.want {
			t.Errorf("got %s, want %s", c.pos, c.want)
		}
	}
}

// What cannot be read is one error with its place.
func TestBad(t *testing.T) {
	deep := strings.Repeat("[", 70)
	zone := "@ SOA ns1 hm 1 2 3 4 5\n@ NS ns1\n"
	for _, c := range []struct {
		name  string
		files map[string]string
		want  string
	}{
		{"no configuration", map[string]string{"other": ""}, "/etc/gdnsd: holds neither config nor zones/: it is not a configuration of gdnsd"},
		{"array", map[string]string{"config": "[ a ]"}, "/etc/gdnsd/config:1:1: is an array; the keys options, service_types and plugins belong here"},
		{"no value", map[string]string{"config": "a =>\n"}, `/etc/gdnsd/config:1:1: the key "a" has no value`},
		{"no equals", map[string]string{"config": "options {\n}"}, `/etc/gdnsd/config:1:9: = or => is missing after the key "options"`},
		{"open hash", map[string]string{"config": "options => {\n a => b\n"}, "/etc/gdnsd/config:1:12: this hash is not closed: a } is missing"},
		{"open array", map[string]string{"config": "a => [ b"}, "/etc/gdnsd/config:1:6: this array is not closed: a ] is missing"},
		{"stray brace", map[string]string{"config": "a => b }"}, `/etc/gdnsd/config:1:8: '}' has no place here; a key or a value belongs here`},
		{"stray comma", map[string]string{"config": "a => b,, c => d"}, `/etc/gdnsd/config:1:8: ',' has no place here; a key or a value belongs here`},
		{"open quote", map[string]string{"config": "a => \"b\n"}, "/etc/gdnsd/config:1:6: a quoted string is not closed"},
		{"twice", map[string]string{"config": "a => b\na => c"}, `/etc/gdnsd/config:2:1: the key "a" stands here already, at /etc/gdnsd/config:1:1`},
		{"escape", map[string]string{"config": `a => \1x`}, `/etc/gdnsd/config:1:6: after a \ that a digit follows three digits belong, such as \009`},
		{"octet", map[string]string{"config": `a => \256`}, `/etc/gdnsd/config:1:6: \256 is no octet; 255 is the largest`},
		{"last escape", map[string]string{"config": `a => b\`}, `/etc/gdnsd/config:1:7: a \ is the last of the file`},
		{"depth", map[string]string{"config": "a => " + deep}, "/etc/gdnsd/config:1:70: values are nested more than 64 deep"},
		{"dollar", map[string]string{"config": "a => $b"}, `/etc/gdnsd/config:1:6: a $ starts $include{file} and nothing else; in a string write \$`},
		{"include", map[string]string{"config": "a => $include{nowhere}"}, "/etc/gdnsd/config:1:6: $include{/etc/gdnsd/nowhere}: no such file"},
		{"include many", map[string]string{"config": "a => $include{d}", "d/a": "", "d/b": ""}, "/etc/gdnsd/config:1:6: $include{/etc/gdnsd/d} names 2 files; as a value it names one"},
		{"include array", map[string]string{"config": "$include{b}", "b": "[]"}, "/etc/gdnsd/config:1:1: $include{/etc/gdnsd/b} is an array; its entries are merged here, so it has to be a hash"},
		{"include loop", map[string]string{"config": "a => $include{b}", "b": "c => $include{b}"}, "/etc/gdnsd/b:1:6: $include: /etc/gdnsd/b: the file includes itself (config -> b -> b)"},
		{"include error", map[string]string{"config": "a => $include{b}", "b": "c"}, `/etc/gdnsd/b:1:2: = or => is missing after the key "c"`},
		{"include open", map[string]string{"config": "a => $include{b"}, "/etc/gdnsd/config:1:6: this $include is not closed: a } is missing"},
		{"after array", map[string]string{"config": "a => $include{b}", "b": "[] c"}, "/etc/gdnsd/b:1:4: there is more after the array that is this file"},
		{"zone parenthesis", map[string]string{"zones/example.com": zone + "a TXT ( b\n"}, "/etc/gdnsd/zones/example.com:3: a parenthesis is not closed before the end of the file"},
		{"zone stray", map[string]string{"zones/example.com": zone + "a TXT b )\n"}, "/etc/gdnsd/zones/example.com:3:9: a closing parenthesis without its opening one"},
		{"zone quote", map[string]string{"zones/example.com": zone + "a TXT \"b\n"}, "/etc/gdnsd/zones/example.com:3:7: a quoted string is not closed"},
		{"zone include", map[string]string{"zones/example.com": zone + "$INCLUDE nowhere\n"}, "/etc/gdnsd/zones/example.com:3:10: cannot read /etc/gdnsd/zones/nowhere: file does not exist"},
		{"zone loop", map[string]string{"zones/example.com": zone + "$INCLUDE example.com\n"}, "/etc/gdnsd/zones/example.com:3:10: $INCLUDE /etc/gdnsd/zones/example.com: files include each other without end"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r, err := GDNSD(source(c.files))
			if err == nil {
				t.Fatalf("it was read:\n%s", r.Config)
			}
			if err.Error() != c.want {
				t.Errorf("got  %s\nwant %s", err, c.want)
			}
		})
	}
}

// Whatever a configuration holds, it ends with a result or with one error that
// has a place; and what was read is read again as the same.
func FuzzVscf(f *testing.F) {
	f.Add(`options => { listen = [ 192.0.2.1, "::1" ] } # comment`)
	f.Add(`a => "b\"\\\009" ; c` + "\n" + `$include{x} d = [ {} [ ] ]`)
	f.Add("plugins => { geoip => { maps => { m => { datacenters => [ a ], nets => { 10.0.0.0/8 => a } } } } }")
	f.Fuzz(func(t *testing.T, text string) {
		n, err := newVscf(source(map[string]string{"config": text, "x": "e => f"})).read("config")
		if err != nil {
			if !strings.HasPrefix(err.Error(), "/etc/gdnsd/") {
				t.Errorf("an error without a place: %v", err)
			}
			return
		}
		again, err := newVscf(source(map[string]string{"config": n.format()})).read("config")
		if err != nil || again.print() != n.print() {
			t.Errorf("%q is read again as %v (%v)", n.format(), again, err)
		}
	})
}

// format writes a file that reads as the value.
func (n *node) format() string {
	text := n.formatValue()
	if n.kind == hash {
		return text[1 : len(text)-1]
	}
	return text
}

func (n *node) formatValue() string {
	quote := func(s string) string {
		return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(s) + `"`
	}
	var parts []string
	switch n.kind {
	case scalar:
		return quote(n.text)
	case array:
		for _, v := range n.items {
			parts = append(parts, v.formatValue())
		}
		return "[" + strings.Join(parts, " ") + "]"
	default:
		for _, p := range n.pairs {
			parts = append(parts, quote(p.key)+"="+p.value.formatValue())
		}
		return "{" + strings.Join(parts, " ") + "}"
	}
}

// Any configuration and zone file that can be read becomes something, without
// a panic, in bounded time; and YAML that is read again.
func FuzzConvert(f *testing.F) {
	for _, text := range []string{
		"plugins => { multifo => { a => [ 192.0.2.1 ] } }",
		"plugins => { metafo => { resources => { r => { datacenters => [ a, b ], dcmap => { a => !x, b => %geoip!g/q } } } } }",
		"plugins => { geoip => { maps => { m => { datacenters => [ a, b ], nets => { 10.0.0.0/8 => a, 10.1.0.0/16 => [] } } }, resources => { g => { map => m, dcmap => { a => 192.0.2.1, b => x.example. } } } } }",
		"service_types => { x => { plugin => extmon, cmd => [ a, %%ITEM%% ] } } plugins => { weighted => { multi => true, w => { g => { a => [ 192.0.2.1, 3 ] }, h => { b => [ x.org., 4 ] } } } }",
	} {
		f.Add(text, "@ 300/3 DYNC geoip!g/a\n\tDYNA metafo!r ( ) ; x\n$ORIGIN @F\nx.@Z 5 NS \"a b\"\n")
	}
	f.Fuzz(func(t *testing.T, conf, zone string) {
		src := source(map[string]string{"config": conf, "zones/example.com": zone})
		r, err := GDNSD(src)
		if err != nil {
			return
		}
		all := src.FS.(fstest.MapFS)
		_, errs := checked(all, r)
		for _, e := range errs {
			if strings.Contains(e.Text, "did not find expected") || e.Unread {
				t.Errorf("not YAML: %v\n%s", e, r.Config)
			}
		}
	})
}
