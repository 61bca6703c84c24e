package dnsserver

import (
	"slices"

	"github.com/miekg/dns"
)

// addServers adds the NS of the zone that the answer comes from to a full
// response, unless they are the answer or have no room. RFC 1034 4.3.2 step 3a
// does not ask for them: they help, so they never truncate.
//
// An alias that is not followed to its end gets none: whose servers would they
// be? So BIND and NSD have it.
func (q *query) addServers() {
	set := q.zone.find(q.zone.apex).get(dns.TypeNS)
	if set == nil || q.over || q.qtype == dns.TypeANY { // ANY is kept small (RFC 8482)
		return
	}
	answers := func(rr dns.RR) bool { return dns.IsDuplicate(rr, set.rrs[0]) }
	if slices.ContainsFunc(q.reply.Answer, answers) || !q.room(set) {
		return
	}
	q.servers = len(set.rrs)
	q.reply.Ns = append(q.reply.Ns, set.rrs...)
}
