package config

import "net/netip"

// ACL says which sources may ask. The longest prefix of both lists that a
// source is in decides; of two that are equal, deny does. A source in none may
// ask if there is no allow list. It is judged by the packet's source, never by
// Client Subnet.
//
// There may be one for the whole server, for a listener, for a view and for a
// zone. All of them must allow a query.
type ACL struct {
	Allow  []netip.Prefix `yaml:"allow" json:"allow,omitempty"`                  // who may ask; with such a list, nobody else
	Deny   []netip.Prefix `yaml:"deny" json:"deny,omitempty"`                    // who may not
	Action string         `yaml:"action" json:"action,omitempty" words:"action"` // what the others get (default refuse)
	Pos    Pos            `yaml:"-" json:"-"`
}

// The actions of an ACL.
const (
	ACLRefuse = "refuse"
	ACLDrop   = "drop"
)

func (a *ACL) defaults() { a.Action = ACLRefuse }

// Given says whether there is anything to judge by.
func (a *ACL) Given() bool { return a != nil && len(a.Allow)+len(a.Deny) > 0 }

func (a *ACL) check(c *checker) {
	if a == nil {
		return
	}
	c.empty(&a.Allow, len(a.Allow))
	c.empty(&a.Deny, len(a.Deny))
	if !c.given(&a.Allow) && !c.given(&a.Deny) {
		c.bad(a, "has neither allow nor deny")
	}
	distinct(c, a.Allow)
	distinct(c, a.Deny)
	denied := prefixSet(a.Deny)
	for i, p := range a.Allow {
		if denied[p] {
			c.warn(&a.Allow[i], "%v is denied too, and deny wins: this does nothing", p)
		}
	}
	a.checkEffect(c)
}

// checkEffect warns about rules that change nothing: what they say holds
// without them.
func (a *ACL) checkEffect(c *checker) {
	allowed, denied := prefixSet(a.Allow), prefixSet(a.Deny)
	for i, p := range a.Allow {
		if around, deny := around(p, allowed, denied); around.IsValid() && !deny && !denied[p] {
			c.warn(&a.Allow[i], "%v is in %v, which is allowed already", p, around)
		}
	}
	for i, p := range a.Deny {
		switch around, deny := around(p, allowed, denied); {
		case around.IsValid() && deny:
			c.warn(&a.Deny[i], "%v is in %v, which is denied already", p, around)
		case !around.IsValid() && len(a.Allow) > 0 && !allowed[p]:
			c.warn(&a.Deny[i], "%v is in no prefix that is allowed, and denied already by the allow list", p)
		}
	}
}

func prefixSet(list []netip.Prefix) map[netip.Prefix]bool {
	set := make(map[netip.Prefix]bool, len(list))
	for _, p := range list {
		set[p] = true
	}
	return set
}

// around finds the rule that a prefix is an exception from: the next wider one.
func around(p netip.Prefix, allowed, denied map[netip.Prefix]bool) (outer netip.Prefix, deny bool) {
	for bits := p.Bits() - 1; bits >= 0; bits-- {
		outer, _ = p.Addr().Prefix(bits)
		if allowed[outer] || denied[outer] {
			return outer, denied[outer]
		}
	}
	return netip.Prefix{}, false
}
