package dnsserver

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/miekg/dns"

	"github.com/portolan-lb/portolan/config"
)

// check reports everything about a zone as a whole that is wrong or odd.
func (l *loader) check() {
	apex := l.zone.nodes[l.zone.apex]
	if apex == nil || apex.get(dns.TypeSOA) == nil {
		l.errorf(l.top(), "zone %s has no SOA record", l.zone.apex)
	}
	if apex == nil || apex.get(dns.TypeNS) == nil {
		l.errorf(l.top(), "zone %s has no NS record at its apex", l.zone.apex)
	}
	for name, n := range l.zone.nodes {
		l.checkNode(name, n)
	}
	slices.SortStableFunc(l.errs, func(a, b *config.Error) int {
		return cmp.Or(cmp.Compare(a.Pos.File, b.Pos.File), cmp.Compare(a.Pos.Line, b.Pos.Line),
			cmp.Compare(a.Text, b.Text))
	})
}

func (l *loader) checkNode(name string, n *node) {
	if set := n.get(dns.TypeCNAME); set != nil {
		l.checkAlias(name, n, set)
	}
	if set := n.get(dns.TypeDNAME); set != nil && len(set.rrs) > 1 {
		l.errorf(l.pos(set), "%s has %d DNAME records; one is allowed (RFC 6672)", name, len(set.rrs))
	}
	if set := n.get(dns.TypeSOA); set != nil {
		l.checkSOA(name, set)
	}
	if n.cut {
		l.checkGlue(name, n.get(dns.TypeNS))
	}
	l.checkTargets(n)
	l.checkAbove(name, n)
}

func (l *loader) checkAlias(name string, n *node, set *rrset) {
	if len(set.rrs) > 1 {
		l.errorf(l.pos(set), "%s has %d CNAME records; one is allowed (RFC 2181 10.1)", name, len(set.rrs))
	}
	if other := n.besideCNAME(); other != nil {
		l.errorf(l.pos(set), "%s has a CNAME and other data (%s, line %d); a CNAME stands alone (RFC 2181 10.1)",
			name, dns.Type(other.rtype), other.line)
	}
}

func (l *loader) checkSOA(name string, set *rrset) {
	if name != l.zone.apex {
		l.errorf(l.pos(set), "SOA record at %s, which is not the apex %s", name, l.zone.apex)
	} else if len(set.rrs) > 1 {
		l.errorf(l.pos(set), "zone %s has %d SOA records; one is allowed", name, len(set.rrs))
	}
}

// checkGlue warns about a delegation whose name servers lie below it and
// cannot be found (RFC 9471 2.1), and about one that sends resolvers to so many
// that others pay for it (NXNSAttack).
func (l *loader) checkGlue(cut string, set *rrset) {
	if n := len(set.rrs); n > l.limits.NameServers {
		l.exceeds(limitZoneNameServers)
		l.warnf(l.pos(set), "delegation of %s: %d name servers; more than %d help nobody", cut, n, l.limits.NameServers)
	}
	for _, rr := range set.rrs {
		target := canonical(rr.(*dns.NS).Ns)
		if !dns.IsSubDomain(cut, target) {
			continue
		}
		glue := l.zone.nodes[target]
		if glue == nil || (glue.get(dns.TypeA) == nil && glue.get(dns.TypeAAAA) == nil) {
			l.warnf(l.pos(set), "delegation of %s: name server %s has no A or AAAA record (glue)", cut, target)
		}
	}
}

// checkTargets warns about names of servers that are aliases (RFC 2181 10.3).
func (l *loader) checkTargets(n *node) {
	for i := range n.sets {
		set := &n.sets[i]
		if set.rtype != dns.TypeNS && set.rtype != dns.TypeMX && set.rtype != dns.TypeSRV {
			continue
		}
		for _, rr := range set.rrs {
			target := canonical(targetOf(rr))
			if at := l.zone.nodes[target]; at != nil && at.get(dns.TypeCNAME) != nil {
				l.warnf(l.pos(set), "%s record points to %s, which is a CNAME (RFC 2181 10.3)", dns.Type(set.rtype), target)
			}
		}
	}
}

// checkAbove looks for what hides a name: a DNAME or a delegation above it.
// Addresses below a delegation may be glue and are left alone.
func (l *loader) checkAbove(name string, n *node) {
	if len(n.sets) == 0 {
		return
	}
	for up := name; up != l.zone.apex; {
		up = parent(up)
		above := l.zone.nodes[up]
		if above == nil {
			return // a name out of the zone: reported when it was read
		}
		if above.dname {
			l.warnf(l.pos(&n.sets[0]), "%s is below the DNAME of %s and is never answered (RFC 6672 2.4)", name, up)
			return
		}
		if above.cut && !glueOnly(n) {
			l.warnf(l.pos(&n.sets[0]), "%s is below the delegation of %s and is never answered", name, up)
			return
		}
	}
}

func glueOnly(n *node) bool {
	return !slices.ContainsFunc(n.sets, func(s rrset) bool {
		return s.rtype != dns.TypeA && s.rtype != dns.TypeAAAA
	})
}

// checkNameServers warns about name servers of the zone that are in it and
// have no address, static or dynamic.
func (z *Zone) checkNameServers() config.Errors {
	var errs config.Errors
	set := z.find(z.apex).get(dns.TypeNS)
	if set == nil {
		return nil
	}
	for _, rr := range set.rrs {
		target := canonical(rr.(*dns.NS).Ns)
		if !dns.IsSubDomain(z.apex, target) {
			continue
		}
		if !z.walk(target, dns.TypeA).hasAddress() {
			errs = append(errs, &config.Error{
				Pos: config.Pos{File: z.files[set.file].shown, Line: int(set.line)}, Warning: true,
				Text: fmt.Sprintf("name server %s of zone %s has no A or AAAA record", target, z.apex),
			})
		}
	}
	return errs
}

// hasAddress says whether addresses can be found at a place; below a cut that
// is for checkGlue to say.
func (p place) hasAddress() bool {
	if p.stopped != stopNone {
		return true
	}
	n := p.node
	return n != nil && (n.bound != nil || n.get(dns.TypeA) != nil || n.get(dns.TypeAAAA) != nil)
}
