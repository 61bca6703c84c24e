package dnsproxy

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/miekg/dns"

	"github.com/portolan-lb/portolan/config"
)

// suffixes is the slow twin of Domains: name, and whether only what is below it.
type suffixes map[string]bool

func (s suffixes) match(name string) bool {
	whole := name
	for {
		if below, ok := s[name]; ok && (!below || name != whole) {
			return true
		}
		if name == "." {
			return false
		}
		if _, name, _ = strings.Cut(name, "."); name == "" {
			name = "."
		}
	}
}

// put has the name itself win over its wildcard, in whatever order they come.
func (s suffixes) put(line string) {
	name, below := strings.CutPrefix(line, "*.")
	if old, ok := s[name]; !ok || old {
		s[name] = below
	}
}

func onWire(t testing.TB, name string) []byte {
	t.Helper()
	var b [256]byte
	n, err := dns.PackDomainName(dns.CanonicalName(name), b[:], 0, nil, false)
	if err != nil {
		t.Fatal(err)
	}
	return b[:n]
}

// The set says of every name what the slow twin says, whatever is below what.
func TestDomains_Twin(t *testing.T) {
	label := func(r *rand.Rand) string { return string(rune('a' + r.IntN(4))) }
	name := func(r *rand.Rand) string {
		var parts []string
		for range 1 + r.IntN(4) {
			parts = append(parts, label(r))
		}
		return strings.Join(parts, ".") + "."
	}
	for seed := range uint64(400) {
		r := rand.New(rand.NewPCG(seed, 1))
		twin, lines := suffixes{}, []string{}
		for range r.IntN(30) {
			line := name(r)
			if r.IntN(3) == 0 {
				line = "*." + line
			}
			if r.IntN(200) == 0 {
				line = "."
			}
			twin.put(line)
			lines = append(lines, line)
		}
		d, err := newDomains(nil, []byte(strings.Join(lines, "\n")))
		if err != nil {
			t.Fatal(err)
		}
		for range 200 {
			q := name(r)
			if got, want := d.Match(onWire(t, q)), twin.match(q); got != want {
				t.Fatalf("seed %d: %s is %v, want %v, of %q", seed, q, got, want, lines)
			}
		}
		if got, want := d.Match([]byte{0}), twin.match("."); got != want {
			t.Errorf("seed %d: the root is %v", seed, got)
		}
	}
}

func TestDomains_File(t *testing.T) {
	d, err := newDomains([]string{`we\.ird.example.`}, []byte("\xef\xbb\xbf# a list\r\nExample.COM\r\n\r\n*.wild.example. # below it\n_dmarc.example.net"))
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]bool{
		"example.com.": true, "www.example.com.": true, "notexample.com.": false, "com.": false, ".": false,
		"wild.example.": false, "a.wild.example.": true, "b.a.wild.example.": true, "_dmarc.example.net.": true, `we\.ird.example.`: true, "we.ird.example.": false,
	} {
		if got := d.Match(onWire(t, name)); got != want {
			t.Errorf("%s is %v", name, got)
		}
	}
	if d.Len() != 4 {
		t.Errorf("%d names", d.Len())
	}
	deep := strings.Repeat("a.", 120) + "example.com." // of 122 labels
	if !d.Match(onWire(t, deep)) {
		t.Error("a name of 122 labels is not found")
	}
}

func TestDomains_BadFile(t *testing.T) {
	for text, want := range map[string]string{
		"a.example\nbücher.example\n":        `line 2: "bücher.example" is not in ASCII: write the name as DNS has it, xn--...`,
		"0.0.0.0 ads.example":                `line 1: "0.0.0.0 ads.example" is no domain name, for it has ' ': one name a line, and comments after #`,
		"||ads.example^":                     `line 1: "||ads.example^" is no domain name, for it has '|': one name a line, and comments after #`,
		"a..example":                         `line 1: "a..example" is no domain name: a label has 1 to 63 characters`,
		"a.*.example":                        `line 1: "a.*.example" is no domain name, for it has '*': one name a line, and comments after #`,
		"*.":                                 `line 1: "*." is no domain name`,
		strings.Repeat("a", 64) + ".example": `line 1: "` + strings.Repeat("a", 64) + `.example" is no domain name: a label has 1 to 63 characters`,
		strings.Repeat(strings.Repeat("a", 63)+".", 4) + "com": `line 1: "` + strings.Repeat(strings.Repeat("a", 63)+".", 4)[:80] + `..." is longer than a domain name can be`,
	} {
		if _, err := newDomains(nil, []byte(text)); err == nil || err.Error() != want {
			t.Errorf("%q: %v", text, err)
		}
	}
}

// A good line is found, and what is below it; nothing panics.
func FuzzDomainFile(f *testing.F) {
	for _, s := range []string{"example.com\n*.a.b # c\n", "\xef\xbb\xbf.\n", "a..b", strings.Repeat("a.", 200), "*.*.a"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		d, err := newDomains(nil, text)
		if err != nil {
			return
		}
		for line := range strings.Lines(strings.TrimPrefix(string(text), "\xef\xbb\xbf")) {
			line, _, _ = strings.Cut(line, "#")
			name, below := strings.CutPrefix(strings.TrimSpace(line), "*.")
			if name == "" {
				continue
			}
			wire := onWire(t, name)
			if !below && !d.Match(wire) {
				t.Fatalf("%q is not in the set of %q", name, text)
			}
			if len(wire) < 250 && !d.Match(append([]byte{1, 'x'}, wire...)) {
				t.Fatalf("what is below %q is not in the set of %q", name, text)
			}
		}
	})
}

// manyNames is a file of n names.
func manyNames(n int) []byte {
	r := rand.New(rand.NewPCG(1, 2))
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "host%d.%c%c.example%d.com\n", i, 'a'+r.IntN(26), 'a'+r.IntN(26), r.IntN(n))
	}
	return []byte(b.String())
}

func TestDomains_NoAllocation(t *testing.T) {
	d, err := newDomains(nil, manyNames(1000))
	if err != nil {
		t.Fatal(err)
	}
	hit, miss := onWire(t, "www."+strings.Fields(string(manyNames(1000)))[500]), onWire(t, "www.portolan.example.org")
	if !d.Match(hit) || d.Match(miss) {
		t.Fatal("the set is wrong")
	}
	if n := testing.AllocsPerRun(100, func() { d.Match(hit); d.Match(miss) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// A reload makes anew only the sets that have changed.
func TestDomains_TakenOver(t *testing.T) {
	m := &config.Model{DNSProxy: &config.DNSProxy{Enabled: true, Policies: []*config.DNSPolicy{
		{Name: "a", Domains: []string{"a.example."}, Action: config.DNSAction{Do: config.DNSDrop}},
		{Name: "b", Domains: []string{"b.example."}, Action: config.DNSAction{Do: config.DNSDrop}},
	}}}
	first, err := Compile(m, config.Source{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	m.DNSProxy.Policies[1].Domains = []string{"c.example."}
	second, err := Compile(m, config.Source{}, first)
	if err != nil {
		t.Fatal(err)
	}
	if first.rules[0].domains[0] != second.rules[0].domains[0] || first.rules[1].domains[0] == second.rules[1].domains[0] {
		t.Error("not the sets that have changed were made anew")
	}
}

func BenchmarkDomains(b *testing.B) {
	for _, n := range []int{100, 100_000} {
		text := manyNames(n)
		names := strings.Fields(string(text))
		b.Run(fmt.Sprintf("build/%d", n), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := newDomains(nil, text); err != nil {
					b.Fatal(err)
				}
			}
		})
		d, err := newDomains(nil, text)
		if err != nil {
			b.Fatal(err)
		}
		var hits, misses [1024][]byte
		r := rand.New(rand.NewPCG(3, 4))
		for i := range hits {
			hits[i] = onWire(b, "www."+names[r.IntN(len(names))])
			misses[i] = onWire(b, fmt.Sprintf("www.host%d.example%d.org", r.IntN(n), r.IntN(n)))
		}
		for what, of := range map[string]*[1024][]byte{"hit": &hits, "miss": &misses} {
			b.Run(fmt.Sprintf("%s/%d", what, n), func(b *testing.B) {
				b.ReportAllocs()
				i := 0
				for b.Loop() {
					if i++; d.Match(of[i%1024]) != (what == "hit") {
						b.Fatal(what)
					}
				}
			})
		}
		b.Logf("%d names: %d octets of names, %d slots", d.Len(), len(d.names), len(d.slots))
	}
}
