package dnsproxy

import (
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/miekg/dns"
)

// What an answer from outside may be at most, looked at before it is unpacked:
// unpacking costs in proportion to records times the length of names.
const (
	maxRecords      = 500      // of all sections together
	maxUDPAnswer    = 4096     // octets
	maxStreamAnswer = 16 << 10 // octets, over TCP, TLS and HTTPS
	maxChain        = 16       // CNAMEs and DNAMEs that are followed within one answer
	maxTTL          = 7 * 24 * 3600
	maxErrors       = 4
	maxText         = 200 // octets of the text of an extended error
)

// asking is a question as it is put to DNS servers. It is not changed.
type asking struct {
	name  string // on the wire, in lower case
	qtype uint16
	rd    bool
	do    bool
	cd    bool
	ecs   string // client subnet option to send, without code and length; empty: none
}

// answer is what a DNS server answered: rebuilt, and ready to be given to any
// client that asks the same. It is not changed.
type answer struct {
	wire    []byte   // header, the question in lower case, records; no OPT
	records []record // in the order of wire
	counts  [3]uint16
	rcode   int
	errs    []extended
	cookie  []byte // that came with it

	ttl      uint32 // seconds that all of it may be kept; 0: not at all
	negative bool   // it does not say what was asked for
}

// record says where a record of a packed answer is.
type record struct {
	ttl     int // where its TTL is
	end     int // where it ends
	section int // 0 answer, 1 authority, 2 additional
}

// extended is an extended error (RFC 8914).
type extended struct {
	code uint16
	text string
}

// errOversized and its like say what was wrong with an answer.
var (
	errShort     = errors.New("shorter than a header")
	errOversized = errors.New("too large")
	errRecords   = errors.New("more records than are taken")
	errCounts    = errors.New("the counts of its header cannot be")
)

// plausible looks at the size of an answer and the counts of its header, before
// anything is unpacked.
func plausible(msg []byte, most int) error {
	switch {
	case len(msg) < headerSize:
		return errShort
	case len(msg) > most:
		return errOversized
	}
	records := 0
	for at := 6; at < headerSize; at += 2 {
		records += int(binary.BigEndian.Uint16(msg[at:]))
	}
	switch {
	case records > maxRecords:
		return errRecords
	case records*11 > len(msg)-headerSize: // root, type, class, TTL, length
		return errCounts
	}
	return nil
}

// rebuild takes an answer apart and packs what belongs to the question anew.
// Header and question were compared before; size and counts are plausible.
func rebuild(msg []byte, a *asking) (*answer, error) {
	var m dns.Msg
	if err := m.Unpack(msg); err != nil {
		return nil, fmt.Errorf("unpack: %w", err)
	}
	if m.Truncated {
		return nil, errors.New("truncated")
	}
	s := newScrub(a)
	out := &dns.Msg{}
	out.Response, out.RecursionDesired = true, a.rd
	out.Authoritative, out.RecursionAvailable, out.AuthenticatedData = m.Authoritative, m.RecursionAvailable, m.AuthenticatedData
	out.CheckingDisabled = a.cd
	out.Rcode = m.Rcode & rcodeMask
	out.Question = []dns.Question{{Name: s.qname, Qtype: a.qtype, Qclass: dns.ClassINET}}
	out.Answer = s.answers(m.Answer)
	out.Ns = s.authority(m.Ns)
	out.Extra = s.additional(m.Extra, out.Answer, out.Ns)
	r := &answer{rcode: m.Rcode}
	r.options(&m)
	r.ttl, r.negative = s.lifetime(out)
	out.Compress = true
	wire, err := out.Pack()
	if err != nil {
		return nil, fmt.Errorf("pack: %w", err)
	}
	if !says(wire, out) {
		return nil, errors.New("it has a record that is not whole")
	}
	r.wire, r.counts = wire, [3]uint16{uint16(len(out.Answer)), uint16(len(out.Ns)), uint16(len(out.Extra))}
	return r, r.locate()
}

// says checks that what was packed reads as what it was packed from. A record
// whose data ends early is let in by miekg/dns with empty fields, and a field
// like that packs to nothing, which shifts all that comes after it.
func says(wire []byte, m *dns.Msg) bool {
	var again dns.Msg
	if again.Unpack(wire) != nil {
		return false
	}
	for _, s := range [][2][]dns.RR{{m.Answer, again.Answer}, {m.Ns, again.Ns}, {m.Extra, again.Extra}} {
		if !slices.EqualFunc(s[0], s[1], dns.IsDuplicate) {
			return false
		}
	}
	return true
}

// locate finds the records in what was packed.
func (r *answer) locate() error {
	at := nameEnd(r.wire, headerSize) + 4
	r.records = make([]record, 0, int(r.counts[0]+r.counts[1]+r.counts[2]))
	for section, n := range r.counts {
		for range n {
			for at < len(r.wire) && r.wire[at] != 0 && r.wire[at]&0xc0 == 0 {
				at += 1 + int(r.wire[at])
			}
			if at+11 > len(r.wire) {
				return errCounts
			}
			at++
			if r.wire[at-1] != 0 { // a pointer
				at++
			}
			ttl := at + 4
			at = ttl + 6 + int(binary.BigEndian.Uint16(r.wire[ttl+4:]))
			r.records = append(r.records, record{ttl: ttl, end: at, section: section})
		}
	}
	if at != len(r.wire) {
		return errCounts
	}
	return nil
}

// options reads what is of use in the OPT of an answer: extended errors, and
// the cookie.
func (r *answer) options(m *dns.Msg) {
	opt := m.IsEdns0()
	if opt == nil {
		return
	}
	for _, o := range opt.Option {
		switch o := o.(type) {
		case *dns.EDNS0_EDE:
			if len(r.errs) < maxErrors {
				r.errs = append(r.errs, extended{o.InfoCode, strings.ToValidUTF8(o.ExtraText[:min(len(o.ExtraText), maxText)], "")})
			}
		case *dns.EDNS0_COOKIE:
			r.cookie, _ = hex.DecodeString(o.Cookie) // miekg/dns made it hexadecimal
		}
	}
}

// scrub leaves out of an answer what the question does not call for.
type scrub struct {
	a     *asking
	qname string
	chain []string // names that the answer is about: the question's, then where CNAMEs lead
}

func newScrub(a *asking) *scrub {
	name := nameText([]byte(a.name))
	return &scrub{a: a, qname: name, chain: []string{name}}
}

// takes says whether a record may be in a reply at all.
func (s *scrub) takes(rr dns.RR) bool {
	h := rr.Header()
	switch h.Rrtype {
	case dns.TypeOPT, dns.TypeTSIG, dns.TypeTKEY, 0:
		return false
	case dns.TypeRRSIG, dns.TypeNSEC, dns.TypeNSEC3: // RFC 4035 3.2.1
		if !s.a.do && s.a.qtype != h.Rrtype && s.a.qtype != dns.TypeANY {
			return false
		}
	}
	if h.Rrtype >= 128 && h.Rrtype <= 255 && h.Rrtype != dns.TypeURI && h.Rrtype != dns.TypeCAA { // meta types (RFC 6895 3.1)
		return false
	}
	return h.Class == dns.ClassINET
}

// tidy makes a record ours: its TTL within bounds (RFC 2181 8, RFC 8767 4), and
// of its names what they share with the question in the question's letters,
// which are lower case here; we asked in random ones.
func (s *scrub) tidy(rr dns.RR) dns.RR {
	h := rr.Header()
	if h.Ttl > 1<<31-1 {
		h.Ttl = 0
	}
	h.Ttl = min(h.Ttl, maxTTL)
	s.letters(&h.Name)
	switch r := rr.(type) {
	case *dns.CNAME:
		s.letters(&r.Target)
	case *dns.DNAME:
		s.letters(&r.Target)
	case *dns.NS:
		s.letters(&r.Ns)
	case *dns.PTR:
		s.letters(&r.Ptr)
	case *dns.MX:
		s.letters(&r.Mx)
	case *dns.SRV:
		s.letters(&r.Target)
	case *dns.SOA:
		s.letters(&r.Ns)
		s.letters(&r.Mbox)
	}
	return rr
}

// letters puts the labels that a name ends in as the question does into the
// question's letters.
func (s *scrub) letters(name *string) {
	n := dns.CompareDomainName(*name, s.qname)
	if n == 0 {
		return
	}
	from, _ := dns.PrevLabel(*name, n)
	tail, _ := dns.PrevLabel(s.qname, n)
	if (*name)[from:] != s.qname[tail:] {
		*name = (*name)[:from] + s.qname[tail:]
	}
}

// answers keeps the records of the names that the answer is about: those of the
// question's name, and where CNAMEs and DNAMEs lead from there. Records of
// other names are nobody's answer.
func (s *scrub) answers(rrs []dns.RR) (kept []dns.RR) {
	var pending []dns.RR
	for _, rr := range rrs {
		if s.takes(rr) {
			pending = append(pending, s.tidy(rr))
		}
	}
	// Servers may send a chain in any order, so each name is looked for anew.
	for i := 0; i < len(s.chain); i++ {
		for _, rr := range pending {
			if c, ok := rr.(*dns.CNAME); ok && same(c.Hdr.Name, s.chain[i]) {
				s.follow(c.Target)
			}
		}
	}
	for _, rr := range pending {
		if s.about(rr) {
			kept = append(kept, rr)
		}
	}
	return kept
}

func (s *scrub) follow(target string) {
	if len(s.chain) < maxChain && !slices.ContainsFunc(s.chain, func(n string) bool { return same(n, target) }) {
		s.chain = append(s.chain, target)
	}
}

// about says whether a record of the answer section is of a name of the chain,
// or a DNAME above one, or its signature.
func (s *scrub) about(rr dns.RR) bool {
	h := rr.Header()
	above := h.Rrtype == dns.TypeDNAME
	if sig, ok := rr.(*dns.RRSIG); ok {
		above = sig.TypeCovered == dns.TypeDNAME
	}
	return slices.ContainsFunc(s.chain, func(n string) bool {
		return same(h.Name, n) || above && dns.IsSubDomain(h.Name, n)
	})
}

// authority keeps what speaks for a zone that a name of the chain is in.
func (s *scrub) authority(rrs []dns.RR) (kept []dns.RR) {
	for _, rr := range rrs {
		if !s.takes(rr) {
			continue
		}
		switch rr.Header().Rrtype {
		case dns.TypeSOA, dns.TypeNS, dns.TypeDS:
			if !slices.ContainsFunc(s.chain, func(n string) bool { return dns.IsSubDomain(rr.Header().Name, n) }) {
				continue
			}
		case dns.TypeNSEC, dns.TypeNSEC3, dns.TypeRRSIG:
		default:
			continue
		}
		kept = append(kept, s.tidy(rr))
	}
	return kept
}

// additional keeps addresses of names that the other sections speak of.
func (s *scrub) additional(rrs []dns.RR, sections ...[]dns.RR) (kept []dns.RR) {
	var named []string
	for _, section := range sections {
		for _, rr := range section {
			if t := target(rr); t != "" && len(named) < maxRecords {
				named = append(named, dns.CanonicalName(t))
			}
		}
	}
	if len(named) == 0 {
		return nil
	}
	slices.Sort(named)
	for _, rr := range rrs {
		switch rr.Header().Rrtype {
		case dns.TypeA, dns.TypeAAAA, dns.TypeRRSIG:
			_, is := slices.BinarySearch(named, dns.CanonicalName(rr.Header().Name))
			if is && s.takes(rr) {
				kept = append(kept, s.tidy(rr))
			}
		}
	}
	return kept
}

// target is the host that a record names; empty if it names none.
func target(rr dns.RR) string {
	switch r := rr.(type) {
	case *dns.NS:
		return r.Ns
	case *dns.MX:
		return r.Mx
	case *dns.SRV:
		return r.Target
	case *dns.SVCB:
		return r.Target
	case *dns.HTTPS:
		return r.Target
	}
	return ""
}

// lifetime gives how long an answer may be kept, in seconds, and whether it is
// negative (RFC 2308 5): without an SOA a negative answer is not kept. It sets
// the SOA's TTL to how long it is negative.
func (s *scrub) lifetime(m *dns.Msg) (ttl uint32, negative bool) {
	if m.Rcode != dns.RcodeSuccess && m.Rcode != dns.RcodeNameError {
		return 0, true
	}
	ttl, found := uint32(maxTTL), false
	for _, rr := range m.Answer {
		ttl = min(ttl, rr.Header().Ttl)
		found = found || rr.Header().Rrtype == s.a.qtype || s.a.qtype == dns.TypeANY
	}
	if found && m.Rcode == dns.RcodeSuccess {
		return ttl, false
	}
	for _, rr := range m.Ns {
		if soa, ok := rr.(*dns.SOA); ok {
			soa.Hdr.Ttl = min(soa.Hdr.Ttl, soa.Minttl)
			return min(ttl, soa.Hdr.Ttl), true
		}
	}
	return 0, true
}

// same says whether two names are the same whatever their letters' case.
func same(a, b string) bool { return len(a) == len(b) && strings.EqualFold(a, b) }
