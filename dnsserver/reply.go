package dnsserver

import (
	"encoding/binary"
	"sort"

	"github.com/miekg/dns"
)

// pack puts a reply into buf, within the size that the client takes, and gives
// the part of buf used. Buf must have room for q.limit octets.
func (q *query) pack(buf []byte) ([]byte, error) {
	q.fit()
	out, err := q.reply.PackBuffer(buf)
	if err == nil && len(out) > q.limit {
		err = errTooLarge
	}
	return out, err
}

const errTooLarge = constError("reply is larger than the client takes")

type constError string

func (e constError) Error() string { return string(e) }

// fit makes the reply as small as q.limit demands:
//
//	what is over                     what happens
//	addresses that only help         the last ones go, no TC (RFC 2181 9)
//	glue in the zone delegated       the last ones go, TC (RFC 9471 3.1)
//	the answer itself                everything goes, TC: ask over TCP
func (q *query) fit() {
	m := q.reply
	if m.Len() <= q.limit {
		return
	}
	extra, opt := q.splitExtra()
	keep := q.howMany(extra, opt)
	switch {
	case keep >= q.glue && keep >= 0:
	case keep >= 0:
		m.Truncated = true
	default:
		m.Truncated = true
		m.Answer, m.Ns, keep = nil, nil, 0
	}
	m.Extra = append(extra[:keep:keep], opt...)
}

// splitExtra takes the OPT record from the end of the additional section.
func (q *query) splitExtra() (extra, opt []dns.RR) {
	extra = q.reply.Extra
	if q.edns.present {
		return extra[:len(extra)-1], extra[len(extra)-1:]
	}
	return extra, nil
}

// howMany gives how many of the additional records fit, whole sets only, or -1
// if not even none does.
func (q *query) howMany(extra, opt []dns.RR) int {
	size := func(n int) int {
		q.reply.Extra = append(extra[:n:n], opt...)
		return q.reply.Len()
	}
	fits := sort.Search(len(extra)+1, func(n int) bool { return size(n) > q.limit }) - 1
	for fits > 0 && fits < len(extra) && sameSet(extra[fits-1], extra[fits]) {
		fits--
	}
	return fits
}

func sameSet(a, b dns.RR) bool {
	return a.Header().Rrtype == b.Header().Rrtype && a.Header().Name == b.Header().Name
}

// lastWord turns a message from the network into a bare reply in place: the
// header and, if it can be found, nothing else. It is what is left when making
// a real reply went wrong, and must not go wrong itself.
func lastWord(msg, buf []byte, rcode int) []byte {
	out := buf[:headerSize]
	clear(out)
	copy(out, msg[:2])
	out[2] = 0x80 | msg[2]&0x79 // QR, and of the query opcode and RD
	out[3] = byte(rcode & 0xf)
	binary.BigEndian.PutUint16(out[4:], 0)
	return out
}
