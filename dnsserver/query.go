package dnsserver

import (
	"encoding/binary"
	"net/netip"
	"time"

	"github.com/miekg/dns"

	"github.com/portolan-lb/portolan/status"
)

const (
	headerSize = 12
	tcpSize    = 65535 // octets of a message over TCP
	plainSize  = 512   // octets of a UDP answer to a client without EDNS (RFC 1035 4.2.1)
)

// query is one question on its way to an answer. One goroutine owns it.
type query struct {
	id     uint16
	opcode int
	rd, cd bool
	name   string // as asked: its case is kept in the reply (0x20)
	qtype  uint16
	qclass uint16
	asked  bool // the message has a question that could be read
	edns   edns
	tsig   *tsig // of a signed query
	size   int   // octets of the message
	limit  int   // octets that the reply may have
	malady int   // rcode that the message itself earns; RcodeSuccess: none
	bare   bool  // the message has no question, nor anything before the additional section
	tcp    bool

	encrypted bool // nobody on the way can read the transport

	cookie cookieState // as admission found it
	ruling             // of admission
	why    drop        // for what reason there is no reply, if there is none

	listener netip.AddrPort // where it came in, as configured
	seen     *view          // what the client sees, as admission found it

	question question // what decisions may depend on
	work              // what answering has found
}

// work is the state of answering.
type work struct {
	table *Table
	reply *dns.Msg
	sname string   // canonical name that is being looked for (RFC 1034's SNAME)
	owner string   // sname as the reply writes it, spelled alike but for case
	chain []string // names that were followed, canonical
	view  *view    // where names are looked for
	first *served  // zone of the question, for the counters
	zone  *Zone    // zone of sname
	place place    // of sname in zone

	decisions []made
	cap       uint32 // bound on negative TTLs set by decisions
	scope     int    // widest ECS scope of the decisions used
	ede       uint16
	edeText   string
	dropped   bool // no reply at all

	// What cannot fit is not put into the reply to be taken out again.
	least int  // octets that the sets of the zone in it have at least
	over  bool // a set that must be there is not: nothing but TC is said
	lacks bool // a set that may help is not there, so none follows it

	// Addresses that only help are bounded: so many may yet be added, by that
	// limit, and whether some were not.
	budget  int
	bounded limit
	spent   bool
	reached uint32 // bit l: limit l

	// Of the additional section, this many records must be there or the
	// reply is truncated (RFC 9471).
	glue int

	// A full response names the zone's servers: so many NS, and their addresses
	// from this place in the additional section on. They may go.
	servers, spare int
}

// made is a decision of this query: a name is decided once.
type made struct {
	by  decider
	got *decision
}

// parseQuery reads a message from the network. It gives nil for what gets no
// reply: too short to be DNS, or a response itself (answering one makes a loop
// between two servers). Parsing costs no more than the message is long and
// keeps nothing of the buffer.
func parseQuery(msg []byte, source netip.Addr, t *Table, overTCP bool) *query {
	if len(msg) < headerSize || msg[2]&0x80 != 0 {
		return nil
	}
	q := &query{
		id:     binary.BigEndian.Uint16(msg),
		opcode: int(msg[2]>>3) & 0xf,
		rd:     msg[2]&1 != 0,
		cd:     msg[3]&0x10 != 0,
		size:   len(msg),
		why:    dropPolicy,
		limit:  plainSize,
		tcp:    overTCP,
	}
	q.malady = q.parseBody(msg)
	if q.edns.present && q.edns.size > plainSize {
		q.limit = min(q.edns.size, t.udpSize)
	}
	if overTCP {
		q.limit = tcpSize
	}
	q.question.client = q.client(source, t.ecs)
	return q
}

// parseBody reads the sections and gives the rcode that they earn. It looks for
// OPT before it judges: an error too is said in EDNS to who speaks it (RFC 6891
// 6.1.1), and with the question.
func (q *query) parseBody(msg []byte) int {
	count := func(i int) int { return int(binary.BigEndian.Uint16(msg[4+2*i:])) }
	off := headerSize
	if off = q.parseQuestions(msg, off, count(0)); off < 0 {
		return dns.RcodeFormatError
	}
	for range count(1) + count(2) {
		r, ok := cutRecord(msg, off)
		if !ok || r.isOPT() || r.isTSIG() {
			return dns.RcodeFormatError
		}
		off = r.end
	}
	for range count(3) {
		r, ok := cutRecord(msg, off)
		if !ok || !q.parseAdditional(msg, off, r) {
			return dns.RcodeFormatError
		}
		off = r.end
	}
	q.bare = off == len(msg) && count(0)+count(1)+count(2) == 0
	if off != len(msg) || !q.asked || count(1) != 0 || count(2) != 0 && q.qtype != dns.TypeIXFR {
		return dns.RcodeFormatError // but IXFR brings the SOA that the client has (RFC 1995 section 3)
	}
	return dns.RcodeSuccess
}

// parseQuestions reads the question and gives the offset after it, or -1. If
// there are more, which nobody may send (RFC 9619), it passes over them. A
// pointer in the question has no name before it to point to (RFC 1035 4.1.4).
func (q *query) parseQuestions(msg []byte, off, n int) int {
	if n != 1 {
		for ; n > 0 && off >= 0; n-- {
			if off = skipName(msg, off); off >= 0 {
				off += 4
			}
		}
		return off
	}
	if end := labelsEnd(msg, off); end < 0 || msg[end] != 0 {
		return -1
	}
	name, off, err := dns.UnpackDomainName(msg, off)
	if err != nil || len(msg) < off+4 {
		return -1
	}
	q.name, q.asked = name, true
	q.qtype = binary.BigEndian.Uint16(msg[off:])
	q.qclass = binary.BigEndian.Uint16(msg[off+2:])
	return off + 4
}

// parseAdditional reads one record and says whether it may be there. Only OPT
// and TSIG mean something to us; behind TSIG there is nothing (RFC 8945 5.1).
func (q *query) parseAdditional(msg []byte, off int, r rawRecord) bool {
	switch {
	case q.tsig != nil:
		return false
	case r.isTSIG():
		return q.parseTSIG(msg, off, r)
	case !r.isOPT():
		return true
	}
	if !r.root || q.edns.present { // which version does the message speak?
		q.edns = edns{present: true}
		return false
	}
	return q.edns.parse(r.fixed, r.data)
}

// rawRecord is a record in a message, not yet read.
type rawRecord struct {
	root  bool   // owned by the root, as OPT must be (RFC 6891 6.1.2)
	fixed []byte // type, class, TTL and length
	data  []byte
	end   int // where the next one starts
}

func (r *rawRecord) isOPT() bool { return binary.BigEndian.Uint16(r.fixed) == dns.TypeOPT }

func (r *rawRecord) isTSIG() bool { return binary.BigEndian.Uint16(r.fixed) == dns.TypeTSIG }

// cutRecord finds the parts of the record at an offset, and says whether it is
// whole.
func cutRecord(msg []byte, off int) (r rawRecord, ok bool) {
	at := skipName(msg, off)
	if at < 0 || len(msg) < at+10 {
		return r, false
	}
	start := at + 10
	r.root, r.fixed = msg[off] == 0, msg[at:start]
	r.end = start + int(binary.BigEndian.Uint16(r.fixed[8:]))
	if r.end > len(msg) {
		return r, false
	}
	r.data = msg[start:r.end]
	return r, true
}

// skipName gives the offset after a name, or -1. It does not follow pointers,
// so that its work is bounded by the octets that it passes.
func skipName(msg []byte, off int) int {
	end := labelsEnd(msg, off)
	switch {
	case end < 0:
		return -1
	case msg[end] == 0:
		return end + 1
	}
	return end + 2
}

// labelsEnd gives the offset of what ends the labels at an offset, the root or
// a pointer, or -1 if nothing does.
func labelsEnd(msg []byte, off int) int {
	for off < len(msg) {
		switch n := int(msg[off]); {
		case n == 0, n >= 0xc0:
			return off
		case n >= 0x40:
			return -1
		default:
			off += 1 + n
		}
	}
	return -1
}

// client is who the query is answered for (T7).
func (q *query) client(source netip.Addr, useECS bool) client {
	source = source.Unmap().WithZone("")
	c := client{addr: source, bits: source.BitLen(), source: source}
	if sub := q.edns.subnet; useECS && sub.present && sub.bits > 0 {
		c.addr, c.bits, c.ecs = sub.addr, sub.bits, true
	}
	return c
}

// at gives the query the moment and the states that it is answered by.
func (q *query) at(now time.Time, rows *status.Table) *query {
	q.question.now, q.question.rows = now, rows
	return q
}
