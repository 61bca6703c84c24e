package dnsproxy

import (
	"bytes"
	"crypto/rand"
	"encoding/binary"

	"github.com/miekg/dns"
)

// upstreamSize is what we say that we take over UDP: what crosses any network
// in one piece, for a forged second fragment needs neither id nor port.
const upstreamSize = 1232

// sent is one query as it went out: what an answer has to match.
type sent struct {
	id       uint16
	question []byte // name in the letters that were sent, type and class
}

// letters says how the name of a question is spelled.
type letters bool

// How a name is spelled: in letters whose case is random, which an answer from
// nowhere would have to guess too (0x20), or in lower case.
const (
	randomLetters letters = true
	lowerLetters  letters = false
)

// appendQuery makes a query: our own id, letters and OPT. Of the client's there
// is the question, RD, CD and DO. AD is always set, so that what comes can be
// kept for those who want to know (RFC 6840 5.7). pad fills it up to a multiple
// of so many octets (RFC 8467); 0: no padding.
func (a *asking) appendQuery(into []byte, spell letters, edns bool, cookie []byte, pad int) ([]byte, sent) {
	var random [2 + maxName/8 + 1]byte
	_, _ = rand.Read(random[:]) // never fails (crypto/rand)
	base := len(into)
	flags := uint16(flagAD)
	if a.rd {
		flags |= flagRD
	}
	if a.cd {
		flags |= flagCD
	}
	into = append(into, random[0], random[1])
	into = binary.BigEndian.AppendUint16(into, flags)
	into = append(into, 0, 1, 0, 0, 0, 0, 0, 0)
	into = append(into, a.name...)
	if name := into[base+headerSize:]; spell == randomLetters {
		for i, c := range name {
			if 'a' <= c && c <= 'z' && random[2+i/8]>>(i%8)&1 != 0 {
				name[i] = c &^ 0x20
			}
		}
	}
	into = binary.BigEndian.AppendUint16(into, a.qtype)
	into = binary.BigEndian.AppendUint16(into, dns.ClassINET)
	question := into[base+headerSize:]
	if edns {
		into[base+11] = 1
		into = a.appendOPT(into, base, cookie, pad)
	}
	return into, sent{binary.BigEndian.Uint16(random[:]), question[:len(a.name)+4]}
}

func (a *asking) appendOPT(into []byte, base int, cookie []byte, pad int) []byte {
	do := byte(0)
	if a.do {
		do = 0x80
	}
	into = append(into, 0, 0, byte(dns.TypeOPT), upstreamSize>>8, upstreamSize&0xff, 0, 0, do, 0)
	at := len(into)
	into = append(into, 0, 0)
	option := func(code uint16, data string) {
		into = binary.BigEndian.AppendUint16(into, code)
		into = binary.BigEndian.AppendUint16(into, uint16(len(data)))
		into = append(into, data...)
	}
	if a.ecs != "" {
		option(dns.EDNS0SUBNET, a.ecs)
	}
	if len(cookie) > 0 {
		option(dns.EDNS0COOKIE, string(cookie))
	}
	if pad > 0 {
		short := (pad - (len(into)-base+4)%pad) % pad
		option(dns.EDNS0PADDING, string(make([]byte, short)))
	}
	binary.BigEndian.PutUint16(into[at:], uint16(len(into)-at-2))
	return into
}

// match is how far an answer answers what was sent.
type match int

// Matches. Only exact is an answer; the others are somebody's try, or of a
// server that does not keep the letters.
const (
	stray     match = iota // another id or question, or no response at all
	headless               // the right id, an error, and no question
	otherCase              // right but for the case of letters
	exact
)

// matches compares a message that is plausible with what was sent.
func (s *sent) matches(msg []byte) match {
	flags := binary.BigEndian.Uint16(msg[2:])
	if binary.BigEndian.Uint16(msg) != s.id || flags&flagQR == 0 || flags&opcodeMask != 0 {
		return stray
	}
	switch binary.BigEndian.Uint16(msg[4:]) {
	case 0:
		if flags&rcodeMask != 0 && len(msg) == headerSize {
			return headless
		}
		return stray
	case 1:
	default:
		return stray
	}
	n := len(s.question)
	if len(msg) < headerSize+n {
		return stray
	}
	got := msg[headerSize : headerSize+n]
	switch {
	case bytes.Equal(got, s.question):
		return exact
	case bytes.Equal(got[n-4:], s.question[n-4:]) && equalFold(got[:n-4], s.question[:n-4]):
		return otherCase
	}
	return stray
}

// equalFold compares two names on the wire, of one length, without case.
func equalFold(a, b []byte) bool {
	for i, c := range a {
		if d := b[i]; c != d && (c|0x20 != d|0x20 || c|0x20 < 'a' || c|0x20 > 'z') {
			return false
		}
	}
	return true
}
