package dnsserver

import (
	"slices"

	"github.com/miekg/dns"
)

// What extended errors say beyond their code (RFC 8914). The whole world reads
// them and each octet is an octet of amplification, so they name no pool, member
// or zone and are short; explain tells the operator the rest. Only code 0 has a
// text: without one it says nothing.
const (
	noServerUp   = "no server is up"
	noServerHere = "no server for this client"
	serversFull  = "all servers are full"
	outOfService = "out of service"
)

// refusalError gives the extended error of an rcode of refusal, or 0:
//
//	NOTIMP, another class           21 Not Supported
//	NOTAUTH, outside of our zones   20 Not Authoritative
//	REFUSED by ACL, transfers       18 Prohibited
func (q *query) refusalError(rcode int) uint16 {
	switch {
	case rcode == dns.RcodeNotImplemented, rcode == dns.RcodeRefused && q.qclass != dns.ClassINET:
		return dns.ExtendedErrorCodeNotSupported
	case rcode == dns.RcodeNotAuth && q.tsig == nil:
		return dns.ExtendedErrorCodeNotAuthoritative
	case rcode == dns.RcodeRefused:
		return dns.ExtendedErrorCodeProhibited
	}
	return 0
}

// dropError takes the extended error out of a reply that is too large: it goes
// before any data does, and TC tells that it was there (RFC 8914 section 3).
func (q *query) dropError() {
	if opt := q.reply.IsEdns0(); opt != nil {
		had := len(opt.Option)
		opt.Option = slices.DeleteFunc(opt.Option, func(o dns.EDNS0) bool { return o.Option() == dns.EDNS0EDE })
		q.reply.Truncated = q.reply.Truncated || len(opt.Option) < had
	}
}
