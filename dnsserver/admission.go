package dnsserver

import (
	"net/netip"
	"sync/atomic"
)

// ruling is what becomes of a query before anything is looked up.
type ruling uint8

const (
	admitted   ruling = iota
	refused           // REFUSED
	dropped           // no reply
	truncated         // nothing but TC: ask over TCP, which proves the source
	wantCookie        // BADCOOKIE: ask again with the cookie of this reply (RFC 7873 5.2.3)
	cookieOnly        // NOERROR without a question: it asked for a cookie alone (RFC 7873 5.4)
)

// admit is the one door that the queries of every transport go through (R9).
// What each step finds is kept in the query:
//
//	may this source ask at all?      ACL of the server, the listener, the view
//	is the source proven?            TCP, or a cookie of ours
//	if not: how much has it asked?   amplification, response rate limiting
//
// An ACL of a zone is asked when the zone has been found ([query.zoneOf],
// [query.solveAnswer]). For an explanation, which comes through no socket, the
// gate is nil.
func (q *query) admit(t *Table, g *gate) {
	if g != nil {
		q.listener = g.listener
	}
	q.seen = t.viewOf(q)
	q.question.trace.view(t, q)
	if !q.passesACLs(t) && q.ruling == dropped {
		return
	}
	q.checkCookie(t)
	if g == nil || q.proven() {
		return
	}
	q.limit = min(q.limit, t.amplified(q.size))
	if l := t.limiter; l != nil {
		q.ration(l, g) // REFUSED too is a reply that somebody may get who never asked
	}
	if q.ruling == admitted {
		q.demandProof(t, g)
	}
}

// gate is what admission knows of a transport and of the queries before.
type gate struct {
	demand   *demandMeter   // nil where the transport proves the source
	listener netip.AddrPort // as configured
	alsoTCP  bool           // the listener serves TCP too
	limited  *limitedLog
	outcomes *[rationKinds]atomic.Uint64 // of rate limiting
}

// ration is what rate limiting made of a query that it looked at.
type ration uint8

const (
	rationPassed ration = iota
	rationSlipped
	rationBadCookie
	rationDropped
	rationDry // over the limit, and answered all the same
	rationKinds
)

var rationNames = [rationKinds]string{"passed", "slipped", "badcookie", "dropped", "dry"}

// ration asks the limiter, and does what it says.
func (q *query) ration(l *limiter, g *gate) {
	over, limited := l.limit(q.question.client.source, q.question.now)
	made := rationPassed
	if limited {
		g.limited.note(over)
		made = q.slip(l)
	}
	g.outcomes[made].Add(1)
}

// slip rules on a query over the limit.
func (q *query) slip(l *limiter) ration {
	switch {
	case l.dry:
		return rationDry
	case !l.slips():
		q.ruling, q.why = dropped, dropLimit
		return rationDropped
	case q.mayDemand():
		q.ruling = wantCookie
		return rationBadCookie
	}
	q.ruling = truncated
	return rationSlipped
}

// amplified gives how many octets a reply to an unproven source may have, for a
// query of so many.
func (t *Table) amplified(query int) int {
	if t.amplification.Limit == 0 {
		return tcpSize
	}
	return max(t.amplification.Exempt, t.amplification.Limit*query)
}
