package dnsserver

import (
	"net"
	"net/netip"
	"slices"

	"github.com/miekg/dns"
)

// solveHints gives HTTPS and SVCB records in the answer the addresses that
// this client's A and AAAA answers have, if their target is a dynamic name.
// All records of the set get the lowest TTL, as one set must (RFC 2181 5.2).
func (q *query) solveHints() {
	ttl := uint32(maxTTL)
	for i, rr := range q.reply.Answer {
		svcb := service(rr)
		if svcb == nil || svcb.Priority == 0 {
			continue
		}
		by := q.boundAt(serviceTarget(svcb))
		if by == nil {
			continue
		}
		d := q.decide(by)
		rr = dns.Copy(rr)
		setHints(service(rr), d)
		q.reply.Answer[i] = rr
		ttl = min(ttl, d.ttl, rr.Header().Ttl)
	}
	if ttl == maxTTL {
		return
	}
	for i, rr := range q.reply.Answer {
		if service(rr) != nil && rr.Header().Ttl > ttl {
			rr = dns.Copy(rr)
			rr.Header().Ttl = ttl
			q.reply.Answer[i] = rr
		}
	}
}

func service(rr dns.RR) *dns.SVCB {
	switch rr := rr.(type) {
	case *dns.HTTPS:
		return &rr.SVCB
	case *dns.SVCB:
		return rr
	}
	return nil
}

// boundAt gives the binding of a name of ours, or nil.
func (q *query) boundAt(name string) decider {
	key := canonical(name)
	z := q.zoneOf(key)
	if z == nil {
		return nil
	}
	if p := z.walk(key, dns.TypeA); p.stopped == stopNone && p.node != nil {
		return p.node.bound
	}
	return nil
}

// setHints puts a decision's addresses in the place of the hints. A family
// that the decision lacks has no hint, nor may the record demand one.
func setHints(rr *dns.SVCB, d *decision) {
	rr.Value = slices.DeleteFunc(rr.Value, func(v dns.SVCBKeyValue) bool {
		return v.Key() == dns.SVCB_IPV4HINT || v.Key() == dns.SVCB_IPV6HINT
	})
	has := map[dns.SVCBKey]bool{}
	if d.gives() && len(d.v4) > 0 {
		rr.Value = append(rr.Value, &dns.SVCBIPv4Hint{Hint: ips(d.v4)})
		has[dns.SVCB_IPV4HINT] = true
	}
	if d.gives() && len(d.v6) > 0 {
		rr.Value = append(rr.Value, &dns.SVCBIPv6Hint{Hint: ips(d.v6)})
		has[dns.SVCB_IPV6HINT] = true
	}
	dropMandatory(rr, has)
}

// dropMandatory takes hints that are not there from the list of mandatory
// keys, and the list when it is empty (RFC 9460 section 8).
func dropMandatory(rr *dns.SVCB, has map[dns.SVCBKey]bool) {
	rr.Value = slices.DeleteFunc(rr.Value, func(v dns.SVCBKeyValue) bool {
		m, ok := v.(*dns.SVCBMandatory)
		if !ok {
			return false
		}
		m.Code = slices.DeleteFunc(m.Code, func(k dns.SVCBKey) bool {
			return (k == dns.SVCB_IPV4HINT || k == dns.SVCB_IPV6HINT) && !has[k]
		})
		return len(m.Code) == 0
	})
}

func ips(addrs []netip.Addr) []net.IP {
	list := make([]net.IP, len(addrs))
	for i, a := range addrs {
		list[i] = net.IP(a.AsSlice())
	}
	return list
}
