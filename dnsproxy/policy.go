package dnsproxy

import (
	"net/netip"
	"slices"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/miekg/dns"

	"github.com/portolan-lb/portolan/config"
)

// action is what becomes of a query.
type action int

// Actions.
const (
	toPool action = iota
	toAsked
	toNobody
	toAnswer
)

// matcher says whether a name, on the wire and in lower case, is one of a set
// or below one of it.
type matcher interface{ Match(name []byte) bool }

// rule is a policy, compiled. The last rule of a plan is the default, which
// takes everything.
type rule struct {
	name    string
	domains []matcher      // one of them must match; nil: all names
	sources []netip.Prefix // nil: all clients
	action  action
	pool    *pool             // of toPool
	goesOn  bool              // the next rule has its turn when no server of the pool is usable
	answer  *config.DNSAnswer // of toAnswer
	taken   *atomic.Uint64    // queries
}

// matches says whether a query is the rule's.
func (r *rule) matches(q *query) bool {
	if r.sources != nil {
		client := q.client.Addr().WithZone("")
		if !slices.ContainsFunc(r.sources, func(p netip.Prefix) bool { return p.Contains(client) }) {
			return false
		}
	}
	return r.domains == nil || slices.ContainsFunc(r.domains, func(m matcher) bool { return m.Match(q.folded) })
}

// match gives the number of the first rule from one on that takes a query. The
// last one always does.
func (p *Plan) match(q *query, from int) int {
	for i := from; i < len(p.rules)-1; i++ {
		if p.rules[i].matches(q) {
			return i
		}
	}
	return len(p.rules) - 1
}

// own makes the operator's own answer to a query.
func own(a *asking, conf *config.DNSAnswer) (*answer, error) {
	name := nameText([]byte(a.name))
	ttl := uint32(time.Duration(conf.TTL) / time.Second)
	m := &dns.Msg{}
	m.Response, m.RecursionDesired, m.RecursionAvailable, m.CheckingDisabled, m.Compress = true, a.rd, true, a.cd, true
	m.Question = []dns.Question{{Name: name, Qtype: a.qtype, Qclass: dns.ClassINET}}
	for _, addr := range conf.Addresses {
		switch {
		case addr.Is4() && a.qtype == dns.TypeA:
			m.Answer = append(m.Answer, &dns.A{Hdr: dns.RR_Header{Name: name, Rrtype: dns.TypeA, Class: dns.ClassINET, Ttl: ttl}, A: addr.AsSlice()})
		case addr.Is6() && a.qtype == dns.TypeAAAA:
			m.Answer = append(m.Answer, &dns.AAAA{Hdr: dns.RR_Header{Name: name, Rrtype: dns.TypeAAAA, Class: dns.ClassINET, Ttl: ttl}, AAAA: addr.AsSlice()})
		}
	}
	var errs []extended
	switch conf.Code {
	case config.DNSAnswerNXDOMAIN:
		m.Rcode, errs = dns.RcodeNameError, []extended{{code: dns.ExtendedErrorCodeBlocked}}
	case config.DNSAnswerRefused:
		m.Rcode, errs = dns.RcodeRefused, []extended{{code: dns.ExtendedErrorCodeProhibited}}
	}
	if len(m.Answer) == 0 && m.Rcode != dns.RcodeRefused { // so that the client may keep it (RFC 2308 5)
		m.Ns = []dns.RR{&dns.SOA{Hdr: dns.RR_Header{Name: name, Rrtype: dns.TypeSOA, Class: dns.ClassINET, Ttl: ttl},
			Ns: "localhost.", Mbox: "nobody.invalid.", Serial: 1, Refresh: 3600, Retry: 600, Expire: 86400, Minttl: ttl}}
	}
	wire, err := m.Pack()
	if err != nil {
		return nil, err
	}
	r := &answer{wire: wire, rcode: m.Rcode, errs: errs, counts: [3]uint16{uint16(len(m.Answer)), uint16(len(m.Ns))}}
	return r, r.locate()
}

// bareAnswer is an answer of nothing but an rcode.
func bareAnswer(a *asking, rcode int, errs ...extended) *answer {
	wire := make([]byte, headerSize, headerSize+len(a.name)+4)
	wire[2], wire[3], wire[5] = flagQR>>8, byte(flagRA), 1
	wire = append(wire, a.name...)
	wire = append(wire, byte(a.qtype>>8), byte(a.qtype), 0, dns.ClassINET)
	return &answer{wire: wire, rcode: rcode, errs: errs}
}

// ruleName is how a policy is called: its name, else its number.
func ruleName(p *config.DNSPolicy, i int) string {
	if p.Name != "" {
		return p.Name
	}
	return strconv.Itoa(i + 1)
}
