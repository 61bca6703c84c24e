package dnsserver

import (
	"slices"
	"strings"

	"github.com/miekg/dns"
)

// state is what one round of looking for a name came to.
type state uint8

const (
	hit        state = iota // the answer section is complete
	partial                 // an alias is not followed to its end: the answer so far
	miss                    // the name does not exist
	nodata                  // the name exists, the type does not
	delegation              // the name is in a zone that others serve
	follow                  // an alias: look for its target
	failed                  // the rcode says it all
)

// maxName bounds the octets of a name (RFC 1035 2.3.4).
const maxName = 255

// answer makes the reply to a query, without regard to its size. It gives nil
// if there is to be no reply. The recipe is RFC 1034 4.3.2 with RFC 2308, 4592,
// 6672 and 9471; one function a section:
//
//	FOLLOW --> answer section --+-- HIT, PARTIAL, FAILED ----> additional
//	   ^             |          +-- NODATA, MISS --> SOA ----> additional
//	   +-------------+          +-- DELEGATION ----> NS -----> glue
func answer(t *Table, q *query) *dns.Msg {
	q.begin(t)
	if q.ruled() {
		return q.finish()
	}
	if rcode := q.refusal(); rcode != dns.RcodeSuccess {
		q.reply.Rcode, q.ede = rcode, q.refusalError(rcode)
		return q.finish()
	}
	if q.qclass == dns.ClassCHAOS {
		return q.solveChaos()
	}
	at := follow
	for at == follow {
		at = q.solveAnswer()
	}
	q.solveAuthority(at)
	q.solveAdditional(at)
	return q.finish()
}

// begin starts the reply.
func (q *query) begin(t *Table) {
	q.work = work{table: t, view: q.seen, cap: maxTTL, least: headerSize, sname: canonical(q.name), owner: spelled(q.name)}
	if q.view == nil { // not admitted: a test
		q.view = t.viewOf(q)
	}
	q.reply = &dns.Msg{Compress: true}
	q.reply.Id, q.reply.Opcode = q.id, q.opcode
	q.reply.Response, q.reply.RecursionDesired = true, q.rd && q.opcode == dns.OpcodeQuery // only there RD means something
	if q.asked && q.opensWithQuestion() {
		q.reply.Question = []dns.Question{{Name: q.name, Qtype: q.qtype, Qclass: q.qclass}}
	}
}

// opensWithQuestion says whether the message is of a kind whose first section
// is known to be a question: UPDATE's zone is one too (RFC 2136 2.3). Of other
// kinds nothing but the header is understood, and nothing else comes back (RFC
// 8906 8.1.4).
func (q *query) opensWithQuestion() bool {
	return q.opcode == dns.OpcodeQuery || q.opcode == dns.OpcodeNotify || q.opcode == dns.OpcodeUpdate
}

// ruled makes the reply to a query that was not admitted, and says whether it
// was not.
func (q *query) ruled() bool {
	switch q.ruling {
	case admitted:
		return false
	case refused:
		q.refuse()
	case dropped:
		q.dropped = true
	case truncated:
		q.reply.Truncated = true
	case wantCookie:
		q.reply.Rcode = dns.RcodeBadCookie
	case cookieOnly: // the OPT record says it
	}
	return true
}

// refusal gives the rcode of a query that is not to be looked up. The version
// of EDNS comes first: what the rest says is for that version to tell (RFC 6891
// 6.1.3).
func (q *query) refusal() int {
	switch {
	case q.edns.version > 0:
		return dns.RcodeBadVers
	case q.opcode != dns.OpcodeQuery:
		return dns.RcodeNotImplemented
	case q.malady != dns.RcodeSuccess:
		return q.malady
	case q.cookie == cookieMalformed, q.edns.keepalive.bad, q.table.ecs && q.edns.subnet.bad:
		return dns.RcodeFormatError
	case q.tsig != nil:
		return dns.RcodeNotAuth // we know no keys (RFC 8945 5.2.1)
	case q.qclass != dns.ClassINET && !q.answersChaos():
		return dns.RcodeRefused
	case q.qtype == dns.TypeAXFR, q.qtype == dns.TypeIXFR:
		return q.noTransfer()
	}
	return dns.RcodeSuccess // types that no zone can hold are types without data (RFC 8906 3.1.2)
}

// noTransfer gives the rcode of a transfer, of which there are none: AXFR is
// not defined over UDP (RFC 5936 4.2), and who may not have a zone of ours is
// told something else than who asks for a zone that we do not have (2.2.1). A
// zone that is closed to the source is so first, to transfers as to all else.
func (q *query) noTransfer() int {
	at := q.view.lookup(q.sname)
	switch {
	case at != nil && !q.lets(at.acl):
		q.barred(at)
		return dns.RcodeRefused
	case q.qtype == dns.TypeAXFR && !q.tcp:
		return dns.RcodeNotImplemented
	case q.view.get(q.sname) != nil:
		return dns.RcodeRefused
	}
	return dns.RcodeNotAuth
}

// finish completes the reply with the OPT record.
func (q *query) finish() *dns.Msg {
	if q.dropped {
		return nil
	}
	if q.over {
		q.reply.Truncated = true
		q.reply.Answer, q.reply.Ns, q.reply.Extra = nil, nil, nil
	}
	if q.edns.present {
		q.reply.Extra = append(q.reply.Extra, q.opt(q.table))
	}
	if q.tsig != nil && q.reply.Rcode == dns.RcodeNotAuth {
		q.addBadKey()
	}
	return q.reply
}

// solveAnswer looks for sname once and adds what it finds to the answer
// section.
func (q *query) solveAnswer() state {
	at := q.view.lookupFor(q.sname, q.qtype)
	if at != nil && !q.lets(at.acl) {
		return q.barred(at)
	}
	if at == nil || at.zone == nil {
		return q.outside(at)
	}
	if q.first == nil {
		q.first = at
	}
	q.zone = at.zone
	q.place = q.zone.walk(q.sname, q.qtype)
	q.question.trace.place(q)
	if q.place.stopped == stopCut {
		return delegation
	}
	q.reply.Authoritative = true
	switch {
	case q.place.stopped == stopDNAME:
		return q.solveDNAME()
	case q.place.node == nil:
		return miss
	case q.place.node.bound != nil:
		return q.solveDynamic(q.place.node.bound)
	}
	return q.solveStatic()
}

// place records where the walk through a zone ended.
func (tr *Trace) place(q *query) {
	if tr == nil {
		return
	}
	found := "holds"
	switch p := q.place; {
	case p.stopped == stopCut:
		found = "delegates " + p.owner + " above"
	case p.stopped == stopDNAME:
		found = "has a DNAME at " + p.owner + " above"
	case p.node == nil:
		found = "has no name"
	case p.node.bound != nil && p.wildcard:
		found = "has the dynamic wildcard " + p.owner + " for"
	case p.node.bound != nil:
		found = "has the dynamic name"
	case p.wildcard:
		found = "has the wildcard " + p.owner + " for"
	}
	tr.note("zone %s %s %s", q.zone.apex, found, q.sname)
}

// outside ends at a name that no zone here can answer. As the target of an
// alias it is left to the resolver; as the question itself it is refused, or
// failed if the zone is ours and has no good version.
func (q *query) outside(at *served) state {
	if tr := q.question.trace; tr != nil { // the arguments alone would cost an allocation
		tr.note("%s is in no zone served here", q.sname)
	}
	switch {
	case len(q.chain) > 0:
		return partial
	case at != nil:
		q.reply.Rcode = dns.RcodeServerFailure
		q.ede = dns.ExtendedErrorCodeInvalidData
	default:
		q.reply.Rcode, q.ede = dns.RcodeRefused, dns.ExtendedErrorCodeNotAuthoritative // and no more, so that it is hardly longer than the query
	}
	return failed
}

// solveStatic answers from the records of a node.
func (q *query) solveStatic() state {
	n := q.place.node
	if q.qtype == dns.TypeANY {
		return q.solveANY()
	}
	if set := n.get(q.qtype); set != nil {
		q.addSet(set)
		return hit
	}
	if set := n.get(dns.TypeCNAME); set != nil {
		q.addSet(set)
		return q.followTo(set.rrs[0].(*dns.CNAME).Target)
	}
	return nodata
}

// solveANY answers with one set over UDP, which is allowed and small (RFC 8482
// 4.1), and with all that fit over TCP, where it is nobody's weapon (4.4).
func (q *query) solveANY() state {
	sets := q.place.node.sets
	if len(sets) == 0 {
		return nodata
	}
	if q.tcp {
		q.addSet(&sets[0])
		q.addSets(sets[1:], int(sets[0].size))
		return hit
	}
	q.addSet(&sets[max(0, slices.IndexFunc(sets, isData))])
	return hit
}

// isData tells the sets that mean something alone from those that sign or chain
// the others: RRSIG alone is large and of no use to who asks for ANY.
func isData(set rrset) bool { return set.rtype != dns.TypeRRSIG && set.rtype != dns.TypeNSEC }

// addSets adds sets to an answer that has some octets of records already, as
// long as they are sure to fit.
func (q *query) addSets(sets []rrset, octets int) {
	for i := range sets {
		if octets += int(sets[i].size); octets > tcpSize-largeHead {
			return
		}
		q.addSet(&sets[i])
	}
}

// largeHead is more octets than a reply has beside its records.
const largeHead = 1024

// addSet adds a static set to the answer, under the name that was looked for.
func (q *query) addSet(set *rrset) {
	if !q.room(set) {
		q.over = true
		return
	}
	for _, rr := range set.rrs {
		q.reply.Answer = append(q.reply.Answer, named(rr, q.owner))
	}
}

// named gives a record under another owner: the wildcard's records under the
// name asked, and any record in the case it was asked in. Records of a zone
// are shared and never changed.
func named(rr dns.RR, owner string) dns.RR {
	if rr.Header().Name == owner {
		return rr
	}
	rr = dns.Copy(rr)
	rr.Header().Name = owner
	return rr
}

// solveDNAME rewrites sname below a DNAME (RFC 6672 3.2). The CNAME that is
// made has the TTL of the DNAME. A DNAME that leads to itself or below never
// ends; the answer so far tells the resolver enough. Other loops meet the chain's limit.
func (q *query) solveDNAME() state {
	dname := q.place.node.get(dns.TypeDNAME).rrs[0].(*dns.DNAME)
	if !slices.Contains(q.reply.Answer, dns.RR(dname)) { // one that is met again is there already
		q.reply.Answer = append(q.reply.Answer, dname)
	}
	head := q.owner[:len(q.owner)-len(q.place.owner)] // both spelled alike: equal names are equally long
	if q.place.owner == "." {
		head = q.owner
	}
	target := head + strings.TrimPrefix(dname.Target, ".")
	if wireLen(target) > maxName {
		q.reply.Rcode = dns.RcodeYXDomain
		return failed
	}
	q.reply.Answer = append(q.reply.Answer, &dns.CNAME{Hdr: header(q.owner, dns.TypeCNAME, dname.Hdr.Ttl), Target: target})
	if q.qtype == dns.TypeCNAME || q.qtype == dns.TypeANY || dns.IsSubDomain(q.place.owner, dname.Target) {
		return partial
	}
	return q.followTo(target)
}

// wireLen gives the octets of a name on the wire, or more than maxName if it
// cannot be a name.
func wireLen(name string) int {
	var wire [maxName + 1]byte
	n, err := dns.PackDomainName(name, wire[:], 0, nil, false)
	if err != nil {
		return maxName + 1
	}
	return n
}

func header(owner string, rtype uint16, ttl uint32) dns.RR_Header {
	return dns.RR_Header{Name: owner, Rrtype: rtype, Class: dns.ClassINET, Ttl: ttl}
}

// followTo goes on to the target of an alias, unless it was there before or
// the chain is long enough: then what is found so far is the answer.
func (q *query) followTo(target string) state {
	q.chain = append(q.chain, q.sname)
	q.sname, q.owner = canonical(target), spelled(target)
	switch {
	case slices.Contains(q.chain, q.sname):
		return partial
	case len(q.chain) >= q.table.limits.CNAMEChain: // the resolver goes on from there (R8)
		q.reach(limitCNAMEChain)
		return partial
	}
	return follow
}

// solveAuthority adds what the state asks for: the SOA to a negative answer
// (RFC 2308), the NS of a delegation, and to a full response the zone's own NS.
func (q *query) solveAuthority(at state) {
	switch at {
	case hit:
		if q.table.full {
			q.addServers()
		}
	case miss:
		q.reply.Rcode = dns.RcodeNameError
		q.addSOA()
	case nodata:
		q.addSOA()
	case delegation:
		set := q.place.node.get(dns.TypeNS)
		if q.over = q.over || !q.room(set); !q.over {
			q.reply.Ns = append(q.reply.Ns, set.rrs...)
		}
	}
}

// addSOA adds the zone's SOA with the TTL of negative answers, which a decision
// may have made shorter (T5).
func (q *query) addSOA() {
	soa := *q.zone.soa
	soa.Hdr.Ttl = min(q.zone.negative, q.cap)
	q.reply.Ns = append(q.reply.Ns, &soa)
}
