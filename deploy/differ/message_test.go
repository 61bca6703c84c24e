package main

import (
	"bytes"
	"slices"
	"strings"
	"testing"

	"github.com/miekg/dns"
)

func TestNames(t *testing.T) {
	n := parseName("www.Example.com.")
	if n != "\x03www\x07Example\x03com\x00" || n.String() != "www.Example.com." || n.labels() != 3 {
		t.Errorf("got %q, %s", string(n), n)
	}
	if !n.lower().in(parseName("example.com.")) || n.lower().in(parseName("ample.com.")) || !n.in(root) || n.lower().below(n.lower()) {
		t.Error("in or below is wrong")
	}
	if root.parent() != root || n.parent().parent() != parseName("com.") {
		t.Error("parent is wrong")
	}
	if _, ok := n.child(strings.Repeat("x", 64)); ok {
		t.Error("a label of 64 octets")
	}
	long := root
	for ok := true; ok; {
		long, ok = long.child("x")
	}
	if len(long) != maxName {
		t.Errorf("the longest name has %d octets", len(long))
	}
	odd, _ := root.child("a.b \\\"\x00\xff;$@(")
	if odd.String() != `a\.b\032\\\"\000\255\;\$\@\(.` {
		t.Errorf("got %s", odd)
	}
	again, ok := dns.IsDomainName(odd.String())
	if again != 1 || !ok {
		t.Errorf("%s is not a name of one label to another reader", odd)
	}
}

// packed makes a reply by another writer, which compresses names.
func packed(t *testing.T, set func(m *dns.Msg)) []byte {
	t.Helper()
	m := &dns.Msg{Compress: true}
	m.SetQuestion("Www.Example.com.", dns.TypeMX)
	m.Response, m.Authoritative = true, true
	set(m)
	msg, err := m.Pack()
	if err != nil {
		t.Fatal(err)
	}
	return msg
}

func rr(t *testing.T, text string) dns.RR {
	t.Helper()
	r, err := dns.NewRR(text)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// The canonical form: names in lower case and not compressed, sections as
// sets, OPT apart and the rcode with its upper bits.
func TestCanonicalForm(t *testing.T) {
	one := packed(t, func(m *dns.Msg) {
		m.Answer = []dns.RR{rr(t, "WWW.example.com. 60 MX 10 Mail.Example.com."), rr(t, "www.example.com. 60 MX 20 mail2.example.com.")}
		m.Extra = []dns.RR{rr(t, "mail.example.com. 60 A 192.0.2.1")}
	})
	two := packed(t, func(m *dns.Msg) {
		m.Compress = false
		m.Answer = []dns.RR{rr(t, "www.example.com. 60 MX 20 mail2.example.com."), rr(t, "www.example.com. 60 MX 10 mail.example.com."),
			rr(t, "www.example.com. 60 MX 10 mail.example.com.")}
		m.Extra = []dns.RR{rr(t, "MAIL.example.com. 60 A 192.0.2.1")}
	})
	a, err := parseReply(one)
	if err != nil {
		t.Fatal(err)
	}
	b, err := parseReply(two)
	if err != nil {
		t.Fatal(err)
	}
	for i := range a.sections {
		if !slices.Equal(a.sections[i], b.sections[i]) {
			t.Errorf("section %d: %v and %v", i, a.sections[i], b.sections[i])
		}
	}
	if f := differ(&heard{first: a, full: a, whole: a}, &heard{first: b, full: b, whole: b}); f != 0 {
		t.Errorf("they differ in %s", f)
	}
	if got := a.sections[answerSection][0].String(); got != "www.example.com. 60 MX 10 mail.example.com." {
		t.Errorf("got %s", got)
	}
	if !strings.HasPrefix(a.question, "\x03Www\x07Example") {
		t.Errorf("the question lost its case: %q", a.question)
	}
}

func TestOPT(t *testing.T) {
	msg := packed(t, func(m *dns.Msg) {
		m.SetEdns0(1232, true)
		m.Rcode = dns.RcodeBadVers
		o := m.IsEdns0()
		o.Option = []dns.EDNS0{&dns.EDNS0_EDE{InfoCode: 20}, &dns.EDNS0_NSID{Code: 3, Nsid: "aa"}}
	})
	r, err := parseReply(msg)
	if err != nil {
		t.Fatal(err)
	}
	if r.rcode != rcodeBadVers || r.opt == nil || r.opt.size != 1232 || !r.opt.do || !slices.Equal(r.opt.options, []uint16{3, 15}) ||
		len(r.sections[additionalSection]) != 0 {
		t.Errorf("got %+v, %+v", r, r.opt)
	}
}

// What cannot be read is an error, and never a panic or a loop, wherever a
// message is cut and whatever octet of it is changed.
func TestBrokenReplies(t *testing.T) {
	msg := packed(t, func(m *dns.Msg) {
		m.Answer = []dns.RR{rr(t, "www.example.com. 60 MX 10 mail.example.com."), rr(t, `www.example.com. 60 NAPTR 1 2 "s" "x" "" a.example.com.`)}
		m.SetEdns0(1232, true)
	})
	if _, err := parseReply(msg); err != nil {
		t.Fatal(err)
	}
	for i := range msg {
		if _, err := parseReply(msg[:i]); err == nil {
			t.Errorf("%d octets of %d are read without an error", i, len(msg))
		}
		for _, c := range []byte{0, 1, 0x3f, 0x40, 0xc0, 0xff} {
			changed := bytes.Clone(msg)
			changed[i] = c
			_, _ = parseReply(changed) // it must come back
		}
	}
	if _, err := parseReply(append(msg, 0)); err == nil {
		t.Error("an octet after the message is read over")
	}
	loop := append(bytes.Clone(msg[:headerSize]), 0xc0, headerSize, 0, 1, 0, 1)
	if _, err := parseReply(loop); err == nil {
		t.Error("a pointer to itself is a name")
	}
}

func FuzzParseReply(f *testing.F) {
	q := &query{name: parseName("a.example."), rtype: typeMX, class: classIN, edns: &ednsQuery{size: 1232, option: optionCookie}}
	f.Add(q.message(1))
	f.Fuzz(func(t *testing.T, msg []byte) {
		r, err := parseReply(msg)
		if err != nil {
			return
		}
		for _, section := range r.sections {
			for _, rr := range section {
				_ = rr.String()
			}
		}
		r.chain(q)
	})
}

// The queries are read by another reader as what they mean.
func TestQueryMessage(t *testing.T) {
	a := newAsker(generate(2))
	for range 3000 {
		q := a.query()
		var m dns.Msg
		if err := m.Unpack(q.message(7)); err != nil {
			t.Fatalf("%s: %v", q, err)
		}
		if m.Id != 7 || m.Opcode != q.opcode || len(m.Question) != 1 || m.Question[0].Qtype != q.rtype || m.Question[0].Qclass != q.class ||
			m.RecursionDesired != (q.flags&flagRD != 0) || m.Response {
			t.Fatalf("%s was read as %s", q, &m)
		}
		o := m.IsEdns0()
		if (o != nil) != (q.edns != nil) {
			t.Fatalf("%s was read as %s", q, &m)
		}
		if o != nil && (o.UDPSize() != q.edns.size || o.Version() != q.edns.version || o.Do() != q.edns.do || (len(o.Option) == 1) != (q.edns.option != 0)) {
			t.Fatalf("%s was read as %s", q, &m)
		}
	}
}
