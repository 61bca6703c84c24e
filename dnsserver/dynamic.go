package dnsserver

import (
	"net"
	"net/netip"

	"github.com/miekg/dns"
)

// decide gives the decision of a dynamic name, once a query: A, AAAA, hints
// and additional addresses are all views of it.
func (q *query) decide(by decider) *decision {
	for _, m := range q.decisions {
		if m.by == by {
			return m.got
		}
	}
	d := by.decide(&q.question, q.qtype)
	q.decisions = append(q.decisions, made{by: by, got: d})
	q.scope = max(q.scope, d.scope)
	return d
}

// solveDynamic answers for a name that is bound to a pool. Such a name exists,
// whatever its members do: never NXDOMAIN (T5).
//
//	qtype          | addresses     cname   rcode   drop
//	A, AAAA, ANY   | them, NODATA  follow  rcode   drop
//	static here    | the static set; hints from the decision
//	any other      | NODATA        follow  NODATA  NODATA
func (q *query) solveDynamic(by decider) state {
	n := q.place.node
	if set := n.get(q.qtype); set != nil {
		q.addSet(set)
		return hit
	}
	d := q.decide(by)
	q.cap = min(q.cap, d.ttl)
	addresses := q.qtype == dns.TypeA || q.qtype == dns.TypeAAAA || q.qtype == dns.TypeANY
	switch {
	case d.drop && addresses:
		q.dropped = true
		return failed
	case d.rcode != dns.RcodeSuccess && addresses:
		return q.fail(d)
	case d.cname != "":
		q.note(d)
		q.reply.Answer = append(q.reply.Answer, &dns.CNAME{Hdr: header(q.owner, dns.TypeCNAME, d.ttl), Target: d.cname})
		if q.qtype == dns.TypeCNAME || q.qtype == dns.TypeANY {
			return hit
		}
		return q.followTo(d.cname)
	case addresses:
		return q.solveAddresses(d)
	}
	return nodata
}

// fail ends with the rcode of a decision. NXDOMAIN would deny the name itself
// and is not said of one that lives (T5).
func (q *query) fail(d *decision) state {
	q.note(d)
	q.reply.Answer = nil
	if d.rcode == dns.RcodeNameError {
		return nodata
	}
	q.reply.Rcode, q.reply.Authoritative = d.rcode, false
	return failed
}

// solveAddresses adds the decision's addresses of the family asked for. ANY
// gets one set, the first family that there is, and over TCP both and all that
// is static here (RFC 8482 4.1, 4.4).
func (q *query) solveAddresses(d *decision) state {
	q.note(d)
	every, static, before := q.qtype == dns.TypeANY, q.place.node.sets, len(q.reply.Answer)
	var found []dns.RR
	if q.qtype != dns.TypeAAAA {
		found = addressRecords(q.owner, d.v4, d.ttl)
	}
	if q.qtype == dns.TypeAAAA || every && (q.tcp || len(found) == 0) {
		found = append(found, addressRecords(q.owner, d.v6, d.ttl)...)
	}
	q.reply.Answer = append(q.reply.Answer, found...)
	switch {
	case every && q.tcp:
		q.addSets(static, len(found)*maxName)
	case every && len(found) == 0 && len(static) > 0:
		return q.solveANY()
	}
	if len(q.reply.Answer) == before {
		return nodata
	}
	return hit
}

// note keeps a decision's own words for the reply.
func (q *query) note(d *decision) {
	if d.ede != 0 || d.text != "" {
		q.ede, q.edeText = d.ede, d.text
	}
}

// addressRecords makes A or AAAA records, by the family of each address.
func addressRecords(owner string, addrs []netip.Addr, ttl uint32) []dns.RR {
	rrs := make([]dns.RR, 0, len(addrs))
	for _, a := range addrs {
		if a.Is4() {
			rrs = append(rrs, &dns.A{Hdr: header(owner, dns.TypeA, ttl), A: net.IP(a.AsSlice())})
		} else {
			rrs = append(rrs, &dns.AAAA{Hdr: header(owner, dns.TypeAAAA, ttl), AAAA: net.IP(a.AsSlice())})
		}
	}
	return rrs
}
