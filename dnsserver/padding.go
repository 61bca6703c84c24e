package dnsserver

import (
	"github.com/miekg/dns"
)

// padBlock is what the size of an answer that nobody can read is a multiple of
// (RFC 8467 4.1).
const padBlock = 468

// pads says whether the reply is padded: the client asked for it (RFC 7830
// section 4) over a transport that hides all but sizes. Over any other it would
// hide nothing and only make the reply larger. No transport hides anything yet;
// one that does sets encrypted.
func (q *query) pads() bool { return q.encrypted && q.edns.padding && q.edns.version == 0 }

// pad makes a reply that packs to so many octets one of whole blocks, as far as
// the client takes it.
func (q *query) pad(octets int) {
	const head = 4 // of an option
	opt := q.reply.IsEdns0()
	whole := min((octets+head+padBlock-1)/padBlock*padBlock, q.limit)
	if opt == nil || whole < octets+head {
		return
	}
	opt.Option = append(opt.Option, &dns.EDNS0_PADDING{Padding: make([]byte, whole-octets-head)})
}
