package dnsserver

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"

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
	slices.SortFunc(l.zone.doubts, func(a, b doubt) int {
		return cmp.Or(cmp.Compare(a.pos.File, b.pos.File), cmp.Compare(a.pos.Line, b.pos.Line), cmp.Compare(a.target, b.target))
	})
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
	if strings.HasPrefix(name, "*.") && (n.cut || n.dname) {
		l.warnf(l.pos(&n.sets[0]), "%s is a wildcard that owns NS or DNAME: servers differ on what it means (RFC 4592 4.2, 4.4)", name)
	}
	if set := n.get(dns.TypeHTTPS); set != nil {
		l.checkServices(name, set)
	}
	if set := n.get(dns.TypeSVCB); set != nil {
		l.checkServices(name, set)
	}
	l.checkTargets(name, n)
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
func (l *loader) checkTargets(name string, n *node) {
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
			l.doubt(name, set, target)
			if isAddress(strings.TrimSuffix(target, l.zone.apex)) {
				l.warnf(l.pos(set), "%s record points to %s: an address where a name belongs (RFC 1035 3.3)", dns.Type(set.rtype), target)
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
		if above.dname && l.serves(name) {
			l.errorf(l.pos(&n.sets[0]), "name server %s is below the DNAME of %s: nobody finds its address (RFC 6672 2.4)", name, up)
			return
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

// serves says whether a name is a server of the zone.
func (l *loader) serves(name string) bool {
	apex := l.zone.nodes[l.zone.apex]
	if apex == nil {
		return false
	}
	set := apex.get(dns.TypeNS)
	return set != nil && slices.ContainsFunc(set.rrs, func(rr dns.RR) bool { return canonical(targetOf(rr)) == name })
}

// isAddress says whether a name is meant to be an IPv4 address.
func isAddress(name string) bool {
	_, err := netip.ParseAddr(strings.TrimSuffix(name, "."))
	return err == nil
}

// checkServices refuses a service that demands what it does not have (RFC 9460
// section 8): its clients may not use it.
func (l *loader) checkServices(name string, set *rrset) {
	for _, rr := range set.rrs {
		has, demands := map[dns.SVCBKey]bool{}, []dns.SVCBKey(nil)
		for _, v := range service(rr).Value {
			has[v.Key()] = true
			if m, ok := v.(*dns.SVCBMandatory); ok {
				demands = m.Code
			}
		}
		for _, key := range demands {
			if !has[key] {
				l.errorf(l.pos(set), "%s %s: %s is mandatory, and not there (RFC 9460 section 8)", name, dns.Type(set.rtype), key)
			}
		}
	}
}

func glueOnly(n *node) bool {
	return !slices.ContainsFunc(n.sets, func(s rrset) bool {
		return s.rtype != dns.TypeA && s.rtype != dns.TypeAAAA
	})
}

// doubt notes a server that is in the zone and has no static address: a pool may
// give it one, so [Zone.checkDoubts] asks again when names are bound. What is
// below a cut is for checkGlue to say.
func (l *loader) doubt(owner string, set *rrset, target string) {
	if target == "." || !dns.IsSubDomain(l.zone.apex, target) || len(l.zone.doubts) >= maxZoneErrors {
		return
	}
	if n := l.zone.nodes[target]; n != nil && (n.get(dns.TypeA) != nil || n.get(dns.TypeAAAA) != nil || n.get(dns.TypeCNAME) != nil) {
		return
	}
	l.zone.doubts = append(l.zone.doubts, doubt{owner: owner, rtype: set.rtype, target: target, pos: l.pos(set)})
}

// doubt is a record whose target may have no address.
type doubt struct {
	owner, target string
	rtype         uint16
	pos           config.Pos
}

// checkDoubts warns about servers that are in the zone and have no address,
// static or dynamic. Where names could not be bound, only those of the zone
// itself are told: the others may be what is missing.
func (z *Zone) checkDoubts(bound bool) config.Errors {
	var errs config.Errors
	for _, d := range z.doubts {
		own := d.rtype == dns.TypeNS && d.owner == z.apex
		if z.walk(d.target, dns.TypeA).hasAddress() || !bound && !own {
			continue
		}
		text := fmt.Sprintf("%s record of %s points to %s, which has no A or AAAA record", dns.Type(d.rtype), d.owner, d.target)
		if own {
			text = fmt.Sprintf("name server %s of zone %s has no A or AAAA record", d.target, z.apex)
		}
		errs = append(errs, &config.Error{Pos: d.pos, Warning: true, Text: text})
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
	return n != nil && (n.bound != nil || n.get(dns.TypeCNAME) != nil || n.get(dns.TypeA) != nil || n.get(dns.TypeAAAA) != nil)
}
