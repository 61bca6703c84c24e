package main

import (
	"math/rand/v2"
	"os"
	"strings"
	"testing"
)

// example is a small world: a zone with a delegation and aliases, and a zone
// above it.
func example() *world {
	g := &generator{Rand: rand.New(rand.NewPCG(1, 1))}
	z := g.zone("example.", 0, parseName("ns.example."))
	z.hosts("www")
	z.mail("mx", "www")
	z.alias("one", "two")
	z.alias("two", "one")
	z.alias("out", "www.other.")
	z.point(typeDNAME, "old", "www")
	z.add(z.at("naptr"), typeNAPTR, u16(1)+u16(1)+str("s")+str("")+str("")+string(z.at("www")))
	z.point(typeNS, "cut", "ns.cut")
	z.hosts("ns.cut")
	return newWorld(1, []*zone{z.zone, g.zone("other.", 0, parseName("ns.other.")).zone})
}

// scene is a query, and what the world says to it.
type scene struct {
	*world
	t *testing.T
	q *query
}

func (s scene) set(owner string, rtype uint16) []record {
	n := parseName(owner)
	set := s.world.set(s.zoneOf(n), n, rtype)
	if len(set) == 0 {
		s.t.Fatalf("the world has no %s %s", owner, typeName(rtype))
	}
	return set
}

// reply makes a reply with an answer; change makes it another one.
func (s scene) reply(flags uint16, rcode int, change ...func(r *reply)) *heard {
	r := &reply{flags: flags, rcode: rcode, question: s.q.question(), size: 100}
	if s.q.edns != nil {
		r.opt = &opt{size: udpSize, do: s.q.edns.do}
	}
	for _, f := range change {
		f(r)
	}
	for i := range r.sections {
		r.sections[i] = canonicalSet(r.sections[i])
	}
	return &heard{first: r, full: r, whole: r}
}

func with(section int, sets ...[]record) func(r *reply) {
	return func(r *reply) {
		for _, set := range sets {
			r.sections[section] = append(r.sections[section], set...)
		}
	}
}

// TestClasses holds each rule to account from both sides: a difference that it
// explains, and one close by that it must not.
func TestClasses(t *testing.T) {
	w := example()
	ask := func(text string, rtype uint16) scene {
		return scene{w, t, &query{name: parseName(text), rtype: rtype, class: classIN, edns: &ednsQuery{size: 1232}}}
	}
	for _, c := range []struct {
		name   string
		server string
		scene  scene
		change func(q *query)
		ours   func(s scene) *heard
		theirs func(s scene) *heard
		want   string // classes, or the facets left after a "!"
	}{
		{name: "equal", scene: ask("www.example.", typeA), ours: plainA, theirs: plainA, want: ""},
		{name: "CD copied", scene: ask("www.example.", typeA), change: func(q *query) { q.flags = flagCD }, ours: plainA, theirs: withFlag(flagCD), want: "CD copied"},
		{name: "CD unasked", scene: ask("www.example.", typeA), ours: plainA, theirs: withFlag(flagCD), want: "!cd"},
		{name: "we copy CD", scene: ask("www.example.", typeA), change: func(q *query) { q.flags = flagCD }, ours: withFlag(flagCD), theirs: plainA, want: "!cd"},
		{name: "RA", scene: ask("www.example.", typeA), ours: withFlag(flagRA), theirs: plainA, want: "!ra"},
		{name: "AD", scene: ask("www.example.", typeA), change: func(q *query) { q.flags = flagAD }, ours: plainA, theirs: withFlag(flagAD), want: "!ad"},
		{name: "AA missing", scene: ask("www.example.", typeA), ours: func(s scene) *heard { return s.reply(0, 0, with(0, s.set("www.example.", typeA))) }, theirs: plainA, want: "!aa"},
		{name: "no data", scene: ask("www.example.", typeA), ours: noData, theirs: plainA, want: "!answer, authority"},
		{name: "denied", scene: ask("x.example.", typeA), ours: noData, theirs: denied, want: "!rcode"},
		{name: "silent", scene: ask("www.example.", typeA), ours: plainA, theirs: silent, want: "!silence"},
		{name: "class", scene: ask("www.example.", typeA), change: func(q *query) { q.class = classCH }, ours: refused, theirs: silent, want: "class not IN"},
		{name: "we answer CH", scene: ask("www.example.", typeA), change: func(q *query) { q.class = classCH }, ours: plainA, theirs: refused, want: "!rcode, aa, answer"},
		{name: "opcode", scene: ask("www.example.", typeA), change: func(q *query) { q.opcode = 5 }, ours: refused, theirs: silent, want: "opcode not QUERY"},
		{name: "apex", server: "nsd", scene: ask("www.example.", typeA), ours: plainA, theirs: apexToo, want: "name servers of the zone added"},
		{name: "apex of ours", scene: ask("www.example.", typeA), ours: apexToo, theirs: plainA, want: "!authority"},
		{name: "more", scene: ask("mx.example.", typeMX), ours: mailAnd, theirs: mailOnly, want: "more addresses"},
		{name: "fewer", scene: ask("mx.example.", typeMX), ours: mailOnly, theirs: mailAnd, want: "!additional"},
		{name: "naptr", scene: ask("naptr.example.", typeNAPTR), ours: naptrOnly, theirs: naptrAnd, want: "types without addresses"},
		{name: "glue", scene: ask("x.cut.example.", typeA), ours: referral, theirs: referralGlue, want: "!additional"},
		{name: "glue of ours", scene: ask("x.cut.example.", typeA), ours: referralGlue, theirs: referral, want: "!additional"},
		{name: "circle", server: "bind", scene: ask("one.example.", typeA), ours: circle(0), theirs: circle(rcodeServFail), want: "circle or long chain is SERVFAIL"},
		{name: "our circle fails", server: "bind", scene: ask("one.example.", typeA), ours: circle(rcodeServFail), theirs: circle(0), want: "!rcode"},
		{name: "false SERVFAIL", server: "bind", scene: ask("out.example.", typeA), ours: aliasOut(0), theirs: aliasOut(rcodeServFail), want: "!rcode"},
		{name: "truncated, and fits", scene: ask("www.example.", typeA), ours: withFlag(flagTC), theirs: plainA, want: "!tc"},
		{name: "RRSIG", scene: ask("out.example.", typeRRSIG), ours: aliasOut(0), theirs: noData, want: "DNSSEC type at an alias"},
		{name: "otherwise by UDP", scene: ask("www.example.", typeA), ours: func(s scene) *heard {
			h := noData(s)
			h.full, h.whole = plainA(s).first, plainA(s).first
			return h
		}, theirs: plainA, want: "!by UDP"},
		{name: "A is no RRSIG", scene: ask("out.example.", typeA), ours: aliasOut(0), theirs: noData, want: "!answer, authority"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.change != nil {
				c.change(c.scene.q)
			}
			p := &pair{world: w, query: c.scene.q, server: c.server, holds: map[*zone]bool{}, ours: c.ours(c.scene), theirs: c.theirs(c.scene)}
			found, left := p.classify()
			var names []string
			for _, class := range found {
				names = append(names, class.name)
			}
			got := strings.Join(names, "; ")
			if left != 0 {
				got = "!" + left.String()
			}
			if got != c.want {
				t.Errorf("got %q, want %q\n%s", got, c.want, p)
			}
		})
	}
}

func plainA(s scene) *heard { return s.reply(flagAA, 0, with(0, s.set("www.example.", typeA))) }

func withFlag(flag uint16) func(scene) *heard {
	return func(s scene) *heard { return s.reply(flagAA|flag, 0, with(0, s.set("www.example.", typeA))) }
}

func silent(scene) *heard {
	r := &reply{silent: true}
	return &heard{first: r, full: r, whole: r}
}

func refused(s scene) *heard { return s.reply(0, rcodeRefused) }

func noData(s scene) *heard { return s.reply(flagAA, 0, with(1, s.set("example.", typeSOA))) }
func denied(s scene) *heard {
	return s.reply(flagAA, rcodeNXDomain, with(1, s.set("example.", typeSOA)))
}

func apexToo(s scene) *heard {
	return s.reply(flagAA, 0, with(0, s.set("www.example.", typeA)), with(1, s.set("example.", typeNS)))
}

func mailOnly(s scene) *heard { return s.reply(flagAA, 0, with(0, s.set("mx.example.", typeMX))) }

func mailAnd(s scene) *heard {
	return s.reply(flagAA, 0, with(0, s.set("mx.example.", typeMX)), with(2, s.addresses("www.example.")))
}

func (s scene) addresses(owner string) []record {
	n := parseName(owner)
	z := s.zoneOf(n)
	return append(s.world.set(z, n, typeA), s.world.set(z, n, typeAAAA)...)
}

func naptrOnly(s scene) *heard {
	return s.reply(flagAA, 0, with(0, s.set("naptr.example.", typeNAPTR)))
}

func naptrAnd(s scene) *heard {
	return s.reply(flagAA, 0, with(0, s.set("naptr.example.", typeNAPTR)), with(2, s.addresses("www.example.")))
}

func referral(s scene) *heard { return s.reply(0, 0, with(1, s.set("cut.example.", typeNS))) }

func referralGlue(s scene) *heard {
	return s.reply(0, 0, with(1, s.set("cut.example.", typeNS)), with(2, s.addresses("ns.cut.example.")))
}

func circle(rcode int) func(scene) *heard {
	return func(s scene) *heard {
		return s.reply(flagAA, rcode, with(0, s.set("one.example.", typeCNAME), s.set("two.example.", typeCNAME)))
	}
}

func aliasOut(rcode int) func(scene) *heard {
	return func(s scene) *heard { return s.reply(flagAA, rcode, with(0, s.set("out.example.", typeCNAME))) }
}

// A reply of ours is wrong whatever others say if it has what no zone has, is
// too long, or is truncated without need.
func TestFaults(t *testing.T) {
	w := example()
	s := scene{w, t, &query{name: parseName("www.example."), rtype: typeA, class: classIN}}
	if text := faultOf(w, s.q, plainA(s)); text != "" {
		t.Errorf("a good reply: %s", text)
	}
	invented := s.set("www.example.", typeA)[0]
	invented.data = "\x01\x02\x03\x04"
	made := record{owner: parseName("x.old.example."), rtype: typeCNAME, class: classIN, data: string(parseName("x.www.example."))}
	for want, h := range map[string]*heard{
		"no reply":                 silent(s),
		"octets, where":            s.reply(flagAA, 0, func(r *reply) { r.size = 513 }),
		"another question":         s.reply(flagAA, 0, func(r *reply) { r.question = strings.ToUpper(r.question) }),
		"EDNS to who":              s.reply(flagAA, 0, func(r *reply) { r.opt = &opt{} }),
		"record of no":             s.reply(flagAA, 0, with(0, []record{invented})),
		"record of no zone: x.old": s.reply(flagAA, 0, with(0, []record{made})),
	} {
		if text := faultOf(w, s.q, h); !strings.Contains(text, want) {
			t.Errorf("got %q, want %q", text, want)
		}
	}
	if text := faultOf(w, s.q, s.reply(flagAA, 0, with(0, s.set("old.example.", typeDNAME), []record{made}))); text != "" {
		t.Errorf("a CNAME that a DNAME makes: %s", text)
	}
	early := withFlag(flagTC)(s)
	early.full = plainA(s).first
	if text := faultOf(w, s.q, early); !strings.Contains(text, "would fit") {
		t.Errorf("truncated without need: got %q", text)
	}
}

// docs/differences.md has the reason of every class, in the words of the code.
func TestEveryClassIsInTheDocs(t *testing.T) {
	text, err := os.ReadFile("../../docs/differences.md")
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for _, c := range classes {
		if seen[c.name] {
			t.Errorf("two classes are called %q", c.name)
		}
		seen[c.name] = true
		if !strings.Contains(string(text), c.reason()) {
			t.Errorf("docs/differences.md lacks this line:\n%s", c.reason())
		}
	}
}
