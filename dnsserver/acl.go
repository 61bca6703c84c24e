package dnsserver

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/miekg/dns"

	"github.com/portolan-lb/portolan/config"
)

// acl says which sources may ask, as [config.ACL] describes it. A nil one lets
// everybody.
type acl struct {
	rules *prefixMap
	list  []netip.Prefix // by index of rules: those that are allowed, then those that are denied
	allow int            // how many are allowed
	drop  bool
	where string // "dns.acl (portolan.yaml:3:8)"
}

// newACL compiles an ACL that stands somewhere, or gives nil if there is none.
func newACL(c *config.ACL, where string) *acl {
	if !c.Given() {
		return nil
	}
	a := &acl{list: slices.Concat(c.Allow, c.Deny), allow: len(c.Allow), drop: c.Action == config.ACLDrop, where: where}
	if c.Pos.Line > 0 {
		a.where += fmt.Sprintf(" (%s)", c.Pos)
	}
	a.rules = newPrefixMap(a.list) // of two that are equal, the one that is denied comes later
	return a
}

// setACLs compiles the ACLs that do not depend on views and zones. A listener
// that the configuration has no longer is served until a restart, and keeps the
// ACL that it had.
func (t *Table) setACLs(d *config.DNS, before *Table) {
	t.acl = newACL(d.ACL, "dns.acl")
	for _, l := range d.Listeners {
		if a := newACL(l.ACL, fmt.Sprintf("the acl of listener %s", l.Address)); a != nil {
			t.listenerACLs = append(t.listenerACLs, listenerACL{l.Address, a})
		}
	}
	if before == nil || before.model == nil {
		return
	}
	for _, old := range before.listenerACLs {
		is := func(l *config.Listener) bool { return l.Address == old.address }
		if !slices.ContainsFunc(d.Listeners, is) {
			t.listenerACLs = append(t.listenerACLs, old)
		}
	}
}

// listenerACL is the ACL of one listener.
type listenerACL struct {
	address netip.AddrPort // as configured
	acl     *acl
}

// judge says whether a source, an unmapped address, may ask, and by which rule;
// none: no prefix holds it.
func (a *acl) judge(source netip.Addr) (rule int, allowed bool) {
	rule = a.rules.find(source)
	return rule, rule < a.allow && (rule != none || a.allow == 0)
}

// lets says whether a query may pass an ACL.
func (q *query) lets(a *acl) bool {
	if a == nil {
		return true
	}
	rule, allowed := a.judge(q.question.client.source)
	if tr := q.question.trace; tr != nil {
		tr.note("%s", a.sentence(rule, allowed, q.question.client.source))
	}
	return allowed
}

// sentence says why an ACL judges as it does.
func (a *acl) sentence(rule int, allowed bool, source netip.Addr) string {
	verdict, why := "denies", "it is in no prefix of the allow list"
	if allowed {
		verdict, why = "allows", "no prefix denies it"
	}
	switch {
	case rule >= a.allow:
		why = "deny " + a.list[rule].String()
	case rule != none:
		why = "allow " + a.list[rule].String()
	}
	return fmt.Sprintf("%s %s %s: %s", a.where, verdict, source, why)
}

// forbid is what an ACL does to a query that it does not let pass.
func (a *acl) forbid() ruling {
	if a.drop {
		return dropped
	}
	return refused
}

// passesACLs asks the ACLs that stand before any zone. The first that forbids
// rules on the query.
func (q *query) passesACLs(t *Table) bool {
	for _, a := range [...]*acl{t.acl, t.listenerACL(q.listener), q.seen.acl} {
		if !q.lets(a) {
			q.ruling, q.why = a.forbid(), dropACL
			return false
		}
	}
	return true
}

// listenerACL gives the ACL of a listener, or nil.
func (t *Table) listenerACL(address netip.AddrPort) *acl {
	for i := range t.listenerACLs {
		if t.listenerACLs[i].address == address {
			return t.listenerACLs[i].acl
		}
	}
	return nil
}

// barred ends at a name whose zone does not answer this source. As the target
// of an alias it is left to the resolver, like a name of others.
func (q *query) barred(at *served) state {
	switch {
	case len(q.chain) > 0:
		return partial
	case at.acl.drop:
		q.dropped, q.why = true, dropACL
	default:
		q.refuse()
	}
	return failed
}

// refuse makes the reply of an ACL: REFUSED, with Prohibited (RFC 8914 4.19) for
// those who speak EDNS.
func (q *query) refuse() {
	q.reply.Rcode = dns.RcodeRefused
	q.ede, q.edeText = dns.ExtendedErrorCodeProhibited, ""
}
