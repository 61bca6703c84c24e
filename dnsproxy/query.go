package dnsproxy

import (
	"encoding/binary"
	"net/netip"

	"github.com/miekg/dns"
)

const (
	headerSize = 12
	maxName    = 255  // octets of a name on the wire (RFC 1035 3.1)
	maxQuery   = 4096 // octets of a query: a question, an OPT and its padding
	plainSize  = 512  // octets of a UDP reply to a client that says nothing of EDNS
)

// The bits of the third and fourth octet of a header, as one number.
const (
	flagQR     = 1 << 15
	flagAA     = 1 << 10
	flagTC     = 1 << 9
	flagRD     = 1 << 8
	flagRA     = 1 << 7
	flagAD     = 1 << 5
	flagCD     = 1 << 4
	opcodeMask = 0xf << 11
	rcodeMask  = 0xf
)

// query is what a client asked, taken apart. Its slices are the reader's until
// the query is kept (see [query.keep]).
type query struct {
	client netip.AddrPort
	asked  netip.AddrPort // where the client sent it: where the reply comes from
	device int            // index of the interface that it came in by; 0: not known
	tcp    bool

	id     uint16
	flags  uint16 // of the header
	name   []byte // on the wire, in the client's case
	folded []byte // the same in lower case
	qtype  uint16

	edns bool
	size uint16 // of UDP replies that the client takes, by its OPT
	do   bool   // it wants DNSSEC records
	ecs  []byte // the client subnet option it sent, without code and length

	foldBuf [maxName]byte
}

func (q *query) cd() bool { return q.flags&flagCD != 0 }

// wantsAD says whether the client understands AD (RFC 6840 5.7).
func (q *query) wantsAD() bool { return q.do || q.flags&flagAD != 0 }

// keep makes the query independent of the buffer that it was read from.
func (q *query) keep() { q.name, q.ecs = append([]byte(nil), q.name...), append([]byte(nil), q.ecs...) }

// room is how large a reply may be.
func (q *query) room() int {
	switch {
	case q.tcp:
		return dns.MaxMsgSize
	case q.edns:
		return min(max(int(q.size), plainSize), maxUDPReply)
	}
	return plainSize
}

// verdict is what becomes of a message of a client before it is a query: it is
// one, or it is dropped, or it is answered by an rcode alone.
type verdict int

// Verdicts below zero; others are rcodes to answer.
const (
	isQuery verdict = -1
	isWaste verdict = -2 // no answer: too short, or a response
)

// parse takes a message of a client apart. It allocates nothing. What is not a
// plain question of class IN is answered by its rcode (RFC 1035 4.1.1):
//
//	shorter than a header, QR set          dropped: answering could make a loop
//	another opcode                         NOTIMP
//	not one question, records where none   FORMERR
//	belong, two OPTs, a name that is none
//	another EDNS version                   BADVERS (RFC 6891 6.1.3)
//	class not IN; a transfer; signed by    REFUSED: what is packed anew bears no
//	TSIG or SIG(0)                         signature
func (q *query) parse(msg []byte) verdict {
	if len(msg) < headerSize {
		return isWaste
	}
	q.id, q.flags = binary.BigEndian.Uint16(msg), binary.BigEndian.Uint16(msg[2:])
	q.name, q.folded, q.qtype, q.ecs = nil, nil, 0, nil
	q.edns, q.do, q.size = false, false, 0
	if q.flags&flagQR != 0 {
		return isWaste
	}
	if q.flags&opcodeMask != 0 {
		return verdict(dns.RcodeNotImplemented)
	}
	questions, others := binary.BigEndian.Uint16(msg[4:]), binary.BigEndian.Uint32(msg[6:])
	extra := int(binary.BigEndian.Uint16(msg[10:]))
	if questions != 1 || others != 0 || extra > 2 || len(msg) > maxQuery {
		return verdict(dns.RcodeFormatError)
	}
	end := nameEnd(msg, headerSize)
	if end < 0 || end+4 > len(msg) {
		return verdict(dns.RcodeFormatError)
	}
	q.name = msg[headerSize:end]
	q.folded = appendFolded(q.foldBuf[:0], q.name)
	q.qtype = binary.BigEndian.Uint16(msg[end:])
	class := binary.BigEndian.Uint16(msg[end+2:])
	if v := q.parseExtra(msg, end+4, extra); v != isQuery {
		return v
	}
	return q.servable(class)
}

// servable refuses questions that no resolver would be asked.
func (q *query) servable(class uint16) verdict {
	switch {
	case q.qtype == 0 || q.qtype == dns.TypeOPT:
		return verdict(dns.RcodeFormatError)
	case class != dns.ClassINET:
		return verdict(dns.RcodeRefused)
	}
	switch q.qtype {
	case dns.TypeAXFR, dns.TypeIXFR, dns.TypeMAILA, dns.TypeMAILB, dns.TypeTSIG, dns.TypeTKEY:
		return verdict(dns.RcodeRefused)
	}
	return isQuery
}

// parseExtra reads the additional section, in which only an OPT matters.
func (q *query) parseExtra(msg []byte, at, count int) verdict {
	for range count {
		end := nameEnd(msg, at)
		if end < 0 || end+10 > len(msg) {
			return verdict(dns.RcodeFormatError)
		}
		length := int(binary.BigEndian.Uint16(msg[end+8:]))
		next := end + 10 + length
		if next > len(msg) {
			return verdict(dns.RcodeFormatError)
		}
		switch binary.BigEndian.Uint16(msg[end:]) {
		case dns.TypeOPT:
			if q.edns || msg[at] != 0 || !q.parseOptions(msg[end+10:next]) {
				return verdict(dns.RcodeFormatError)
			}
			q.edns, q.size = true, binary.BigEndian.Uint16(msg[end+2:])
			q.do = msg[end+6]&0x80 != 0
			if msg[end+5] != 0 {
				return verdict(dns.RcodeBadVers)
			}
		case dns.TypeTSIG, dns.TypeSIG:
			return verdict(dns.RcodeRefused)
		}
		at = next
	}
	if at != len(msg) {
		return verdict(dns.RcodeFormatError)
	}
	return isQuery
}

// parseOptions reads the options of an OPT and says whether they are well
// formed. All but the client subnet end here.
func (q *query) parseOptions(data []byte) bool {
	for len(data) > 0 {
		if len(data) < 4 {
			return false
		}
		code, length := binary.BigEndian.Uint16(data), int(binary.BigEndian.Uint16(data[2:]))
		if 4+length > len(data) {
			return false
		}
		if code == dns.EDNS0SUBNET && q.ecs == nil {
			q.ecs = data[4 : 4+length]
		}
		data = data[4+length:]
	}
	return true
}

// nameEnd gives where a name ends that is not compressed, -1 if it is none.
func nameEnd(msg []byte, at int) int {
	start := at
	for at < len(msg) {
		switch n := int(msg[at]); {
		case n == 0:
			return at + 1
		case n > 63 || at+1+n-start >= maxName:
			return -1
		default:
			at += 1 + n
		}
	}
	return -1
}

// appendFolded appends a name in lower case. Length octets are under 64, so no
// letters are among them.
func appendFolded(into, name []byte) []byte {
	for _, c := range name {
		if 'A' <= c && c <= 'Z' {
			c |= 0x20
		}
		into = append(into, c)
	}
	return into
}

// nameText gives a name on the wire as text, fully qualified.
func nameText(wire []byte) string {
	s, _, err := dns.UnpackDomainName(wire, 0)
	if err != nil {
		return "." // nameEnd has seen it: it does not fail
	}
	return s
}

// appendRcode makes a reply of nothing but a header, the question if there is
// one, and an OPT if the client sent one.
func (q *query) appendRcode(into []byte, rcode int) []byte {
	into = binary.BigEndian.AppendUint16(into, q.id)
	flags := uint16(flagQR|flagRA) | q.flags&(flagRD|flagCD|opcodeMask) | uint16(rcode&rcodeMask)
	into = binary.BigEndian.AppendUint16(into, flags)
	questions, extra := uint16(0), uint16(0)
	if q.name != nil {
		questions = 1
	}
	if q.edns {
		extra = 1
	}
	into = binary.BigEndian.AppendUint16(into, questions)
	into = binary.BigEndian.AppendUint32(into, 0)
	into = binary.BigEndian.AppendUint16(into, extra)
	if q.name != nil {
		into = append(into, q.name...)
		into = binary.BigEndian.AppendUint16(into, q.qtype)
		into = binary.BigEndian.AppendUint16(into, dns.ClassINET)
	}
	if q.edns {
		var errs []extended
		if rcode == dns.RcodeRefused { // it was not the server that the client knows
			errs = []extended{{edeProhibit, "a DNS proxy on the way takes no transfers and nothing signed"}}
		}
		into = q.appendOPT(into, rcode, errs)
	}
	return into
}

// appendOPT appends our own OPT for the client, with extended errors if there
// are any (RFC 8914).
func (q *query) appendOPT(into []byte, rcode int, errs []extended) []byte {
	into = append(into, 0)
	into = binary.BigEndian.AppendUint16(into, dns.TypeOPT)
	into = binary.BigEndian.AppendUint16(into, upstreamSize)
	do := byte(0)
	if q.do {
		do = 0x80
	}
	into = append(into, byte(rcode>>4), 0, do, 0)
	at := len(into)
	into = append(into, 0, 0)
	for _, e := range errs {
		into = binary.BigEndian.AppendUint16(into, dns.EDNS0EDE)
		into = binary.BigEndian.AppendUint16(into, uint16(2+len(e.text)))
		into = binary.BigEndian.AppendUint16(into, e.code)
		into = append(into, e.text...)
	}
	binary.BigEndian.PutUint16(into[at:], uint16(len(into)-at-2))
	return into
}
