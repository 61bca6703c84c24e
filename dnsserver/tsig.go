package dnsserver

import (
	"encoding/binary"
	"time"

	"github.com/miekg/dns"
)

// tsig is what the reply to a signed query needs of its TSIG record (RFC 8945
// 4.2).
type tsig struct {
	key, algorithm string
	id             uint16 // that the message had when it was signed
}

const (
	tsigTimes = 10 // octets between the algorithm and the MAC: time, fudge, length
	tsigRest  = 6  // octets behind the MAC without other data: id, error, length
	tsigFudge = 300
)

// parseTSIG reads the TSIG record at an offset and says whether it is well
// formed. The MAC is passed over: we have no keys to prove it with.
func (q *query) parseTSIG(msg []byte, off int, r rawRecord) bool {
	key, _, err := dns.UnpackDomainName(msg, off)
	if err != nil || binary.BigEndian.Uint16(r.fixed[2:]) != dns.ClassANY {
		return false
	}
	whole := msg[:r.end]
	algorithm, at, err := dns.UnpackDomainName(whole, r.end-len(r.data))
	if err != nil || len(whole) < at+tsigTimes+tsigRest {
		return false
	}
	at += tsigTimes + int(binary.BigEndian.Uint16(whole[at+tsigTimes-2:]))
	if len(whole) < at+tsigRest || len(whole) != at+tsigRest+int(binary.BigEndian.Uint16(whole[at+4:])) {
		return false
	}
	q.tsig = &tsig{key: key, algorithm: algorithm, id: binary.BigEndian.Uint16(whole[at:])}
	return true
}

// badKey makes the TSIG record of a reply to who signs with a key that we do
// not have, and we have none: it is not signed (RFC 8945 5.2.1, 5.3.2).
func (k *tsig) badKey(now time.Time) *dns.TSIG {
	return &dns.TSIG{
		Hdr:       dns.RR_Header{Name: k.key, Rrtype: dns.TypeTSIG, Class: dns.ClassANY},
		Algorithm: k.algorithm, TimeSigned: uint64(now.Unix()), Fudge: tsigFudge,
		OrigId: k.id, Error: dns.RcodeBadKey,
	}
}

// addBadKey ends the additional section with it, where it has to stand, unless
// names longer than any key has make it too much for the client.
func (q *query) addBadKey() {
	rr := q.tsig.badKey(q.question.now)
	if q.reply.Len()+dns.Len(rr) <= q.limit {
		q.reply.Extra = append(q.reply.Extra, rr)
	}
}
