package dnsserver

import (
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/portolan-lb/portolan/config"
)

// amplified asks questions over UDP and holds each reply to what may be sent
// to a source that nobody has proven.
type amplified struct {
	t     *testing.T
	door  *door
	on    bool
	limit config.Amplification
	wide  worst // of the replies with the switch off, to who sends EDNS
	plain worst // without EDNS
	asked int
	over  int // replies that the switch made TC
}

// worst is the largest reply for its query.
type worst struct {
	factor       float64
	query, reply int
	what         string
}

func (w *worst) note(query, reply int, m *dns.Msg) {
	if f := float64(reply) / float64(query); f > w.factor {
		*w = worst{f, query, reply, m.Question[0].String()}
	}
}

// form is how a question is asked.
type form struct {
	size   uint16 // of EDNS; 0: none
	do     bool
	cookie string // "", "client" or "valid"
}

func forms() (all []form) {
	all = []form{{}}
	for _, size := range []uint16{1, 512, 1232, 4096, 65535} {
		for _, do := range []bool{false, true} {
			for _, cookie := range []string{"", "client", "valid"} {
				all = append(all, form{size, do, cookie})
			}
		}
	}
	return all
}

func (a *amplified) ask(m *dns.Msg, f form) {
	a.t.Helper()
	m.Extra = nil
	if f.size > 0 {
		m.SetEdns0(f.size, f.do)
	}
	if f.cookie != "" {
		cookie := [cookieSize]byte{1, 2, 3}
		n := clientCookieSize
		if f.cookie == "valid" {
			a.door.Table().cookies.at(time.Now()).sign(&cookie, benchSource.Addr(), time.Now())
			n = cookieSize
		}
		m.IsEdns0().Option = append(m.IsEdns0().Option, &dns.EDNS0_LOCAL{Code: dns.EDNS0COOKIE, Data: cookie[:n]})
	}
	packet, err := m.Pack()
	if err != nil {
		a.t.Fatal(err)
	}
	a.asked++
	reply := a.door.udp.handle(packet, benchSource, make([]byte, udpReplySize))
	if reply != nil {
		a.check(m, f, packet, reply)
	}
}

func (a *amplified) check(m *dns.Msg, f form, packet, reply []byte) {
	a.t.Helper()
	r := new(dns.Msg)
	if err := r.Unpack(reply); err != nil {
		a.t.Fatalf("%v: %v", m.Question, err)
	}
	most := min(max(int(f.size), plainSize), 1232)
	if a.on && f.cookie != "valid" {
		most = min(most, max(a.limit.Exempt, a.limit.Limit*len(packet)))
		if r.Truncated {
			a.over++
		}
	}
	if len(reply) > most {
		a.t.Fatalf("%v with %+v, switch %v: %d octets for a query of %d, at most %d:\n%v", m.Question, f, a.on, len(reply), len(packet), most, r)
	}
	switch r.Rcode {
	case dns.RcodeRefused, dns.RcodeFormatError, dns.RcodeNotImplemented, dns.RcodeBadVers, dns.RcodeNotAuth:
		a.checkError(m, f, packet, reply, r)
	}
	if m.Question[0].Qtype == dns.TypeANY && len(r.Answer) > 0 && !oneSet(r.Answer) {
		a.t.Fatalf("RFC 8482: %v", r)
	}
	switch {
	case a.on:
	case f.size > 0:
		a.wide.note(len(packet), len(reply), m)
	default:
		a.plain.note(len(packet), len(reply), m)
	}
}

// checkError holds an error to its bound: no record but OPT, and that carries a
// server cookie (16 octets) to who speaks cookies and an extended error without
// text (6) at most. So REFUSED, FORMERR, NOTIMP and BADVERS are no larger than
// the query without EDNS, and at most 22 octets larger with it.
func (a *amplified) checkError(m *dns.Msg, f form, packet, reply []byte, r *dns.Msg) {
	a.t.Helper()
	most := len(packet)
	if f.size > 0 {
		most += 6
	}
	if f.cookie == "client" {
		most += 16
	}
	if len(reply) > most || len(r.Answer)+len(r.Ns) > 0 || len(withoutOPT(r.Extra)) > 0 {
		a.t.Fatalf("%v with %+v: an error of %d octets for a query of %d:\n%v", m.Question, f, len(reply), len(packet), r)
	}
}

// oneSet says whether an answer is one set behind aliases.
func oneSet(rrs []dns.RR) bool {
	last := rrs[len(rrs)-1].Header()
	for _, rr := range rrs {
		h := rr.Header()
		if h.Rrtype != last.Rrtype && h.Rrtype != dns.TypeCNAME && h.Rrtype != dns.TypeDNAME {
			return false
		}
	}
	return true
}

// zone asks for all names of a zone, names beside and below them, and all types
// that it has or that are special.
func (a *amplified) zone(z *Zone, limits config.Amplification, pick func(forms []form) []form) {
	a.t.Helper()
	for _, on := range []bool{false, true} {
		d := &config.DNS{ECS: true}
		if a.on = on; on {
			d.Amplification = limits
			a.limit = limits
		}
		a.door = newDoor(a.t, withCookies(newTable(d, z)))
		all := forms()
		for _, name := range namesOf(z) {
			for _, qtype := range typesOf(z) {
				for _, f := range pick(all) {
					a.ask(&dns.Msg{Question: []dns.Question{{Name: name, Qtype: qtype, Qclass: dns.ClassINET}}}, f)
				}
			}
		}
	}
}

func withCookies(t *Table) *Table {
	t.cookies = randomSecrets(24*time.Hour, time.Now())
	return t
}

func namesOf(z *Zone) (names []string) {
	for _, nodes := range []map[string]*node{z.nodes, z.over} {
		for name := range nodes {
			below := "zz." + strings.TrimPrefix(name, ".")
			for _, n := range []string{name, below} {
				if _, ok := dns.IsDomainName(n); ok && wireLen(n) <= maxName {
					names = append(names, n)
				}
			}
		}
	}
	names = append(names, "elsewhere.test.", ".")
	slices.Sort(names)
	return slices.Compact(names)
}

func typesOf(z *Zone) []uint16 {
	types := []uint16{0, dns.TypeA, dns.TypeAAAA, dns.TypeNS, dns.TypeSOA, dns.TypeMX, dns.TypeTXT, dns.TypeDS, dns.TypeDNSKEY, dns.TypeCNAME,
		dns.TypeHTTPS, dns.TypeANY, dns.TypeAXFR, dns.TypeIXFR, dns.TypeOPT, dns.TypeRRSIG, 65280}
	for _, n := range z.nodes {
		for i := range n.sets {
			types = append(types, n.sets[i].rtype)
		}
	}
	slices.Sort(types)
	return slices.Compact(types)
}

// Over UDP no reply has more than 1232 octets, nor more than the client takes.
// With dns.amplification none to an unproven source has more than the larger of
// exempt and limit times the query. Errors are hardly larger than their query,
// and ANY gets one set (RFC 8482 4.1). For all names and types of the test zones
// in every form, and for those of the Ferret zones each in a random one.
func TestAmplification(t *testing.T) {
	www := &fixed{decision: decision{v4: addrs("192.0.2.10", "192.0.2.11"), v6: addrs("2001:db8::10"), ttl: 30, scope: 24}}
	down := &fixed{decision: decision{rcode: dns.RcodeServerFailure, ede: 14, text: "first probe results of pool " + strings.Repeat("x", 63) + " are still to come", ttl: 5}}
	a := &amplified{t: t}
	every := func(all []form) []form { return all }
	for _, z := range []*Zone{
		mustZone(t, "example.com.", answerZone, nil),
		mustZone(t, "example.com.", dynamicZone, map[string]decider{"www": www, "down": down, "*.dyn": www}),
		mustZone(t, "example.com.", largeZone(), nil),
	} {
		a.zone(z, config.Amplification{Limit: 4, Exempt: 512}, every)
		a.zone(z, config.Amplification{Limit: 1, Exempt: 512}, every)
	}
	r := rand.New(rand.NewPCG(8, 4))
	one := func(all []form) []form { return all[r.IntN(len(all)):][:1] }
	for i, c := range ferretCases(t) {
		if i%40 == 0 || i%3 == 0 && !testing.Short() && !raceEnabled {
			a.zone(c.load(t), config.Amplification{Limit: 1 + r.IntN(8), Exempt: 512 + 80*r.IntN(10)}, one)
		}
	}
	t.Logf("%d questions; the switch answered %d of them TC", a.asked, a.over)
	for name, w := range map[string]worst{"with EDNS": a.wide, "without EDNS": a.plain} {
		t.Logf("largest amplification at the defaults, %s: %.1f (%d octets for %d) %s", name, w.factor, w.reply, w.query, w.what)
	}
	if a.over == 0 || a.plain.factor < 5 {
		t.Error("nothing was near its bound: the test shows nothing")
	}
}

// What no question is: each error keeps its bound.
func TestAmplification_Errors(t *testing.T) {
	a := &amplified{t: t, door: newDoor(t, withCookies(newTable(&config.DNS{ECS: true}, mustZone(t, "example.com.", answerZone, nil))))}
	for opcode := range 16 {
		for _, class := range []uint16{0, dns.ClassINET, dns.ClassCHAOS, dns.ClassNONE, dns.ClassANY} {
			for version := range 2 {
				for _, f := range forms() {
					m := &dns.Msg{Question: []dns.Question{{Name: "example.com.", Qtype: dns.TypeTXT, Qclass: class}}}
					m.Opcode = opcode
					if a.ask(m, f); f.size > 0 && version > 0 {
						a.version(m, f)
					}
				}
			}
		}
	}
	for _, extra := range []string{"truncated", "trailing"} {
		m := asking("example.com.", dns.TypeTXT)
		packet, _ := m.Pack()
		if extra == "truncated" {
			packet = packet[:len(packet)-3]
		} else {
			packet = append(packet, 0, 0, 0)
		}
		if reply := a.door.udp.handle(packet, benchSource, make([]byte, udpReplySize)); len(reply) > len(packet) {
			t.Errorf("%s: %d octets for %d", extra, len(reply), len(packet))
		}
	}
	if a.asked < 1000 {
		t.Errorf("only %d questions", a.asked)
	}
}

// version asks in a version of EDNS that nobody speaks.
func (a *amplified) version(m *dns.Msg, f form) {
	a.t.Helper()
	m.Extra = nil
	m.SetEdns0(f.size, f.do)
	m.IsEdns0().SetVersion(1)
	packet, err := m.Pack()
	if err != nil {
		a.t.Fatal(err)
	}
	reply := a.door.udp.handle(packet, benchSource, make([]byte, udpReplySize))
	r := new(dns.Msg)
	if err := r.Unpack(reply); err != nil || r.Rcode != dns.RcodeBadVers {
		a.t.Fatalf("%v: %v, %v", m, r, err)
	}
	a.check(m, form{size: f.size}, packet, reply)
}
