package config

import (
	"net/netip"
	"slices"
)

// View is what some clients see. A query is answered from the first view, in
// the order of the file, whose clients and listeners take it, and if there is
// none from the zones that belong to no view.
//
// Zones that belong to a view are seen there alone. All others are seen in
// every view, unless the view has a zone of the same name.
type View struct {
	Name      string           `yaml:"name" json:"name"`                     // zones refer to it
	Clients   []netip.Prefix   `yaml:"clients" json:"clients,omitempty"`     // by the packet's source, never by Client Subnet (default all)
	Listeners []netip.AddrPort `yaml:"listeners" json:"listeners,omitempty"` // by the address that dns.listeners gives (default all)
	ACL       *ACL             `yaml:"acl" json:"acl,omitempty"`             // who of them may ask
	Pos       Pos              `yaml:"-" json:"-"`
}

func (v *View) check(c *checker) {
	c.empty(&v.Clients, len(v.Clients))
	c.empty(&v.Listeners, len(v.Listeners))
	distinct(c, v.Clients)
	distinct(c, v.Listeners)
	for i, a := range v.Listeners {
		if !slices.ContainsFunc(c.m.DNS.Listeners, func(l *Listener) bool { return l.Address == a }) {
			c.bad(&v.Listeners[i], "dns.listeners has no %s", a)
		}
	}
	v.ACL.check(c)
	c.hidden(v)
}

// hidden warns about a view that never takes a query, since one before it takes
// them all. It notes the view for those that follow.
func (c *checker) hidden(v *View) {
	clients := v.takes()
	for _, before := range c.viewsAround(clients[0]) {
		if before.takesAll(v, c.viewClients[before]) {
			c.warn(v, "is never used: the view %q before it takes its clients", before.Name)
			break
		}
	}
	if c.viewClients == nil {
		c.viewClients, c.viewsAt = map[*View]map[netip.Prefix]bool{}, map[netip.Prefix][]*View{}
	}
	c.viewClients[v] = prefixSet(clients)
	for _, p := range clients {
		c.viewsAt[p] = append(c.viewsAt[p], v)
	}
}

// takes gives the prefixes of a view's clients.
func (v *View) takes() []netip.Prefix {
	if len(v.Clients) > 0 {
		return v.Clients
	}
	return []netip.Prefix{netip.PrefixFrom(netip.IPv4Unspecified(), 0), netip.PrefixFrom(netip.IPv6Unspecified(), 0)}
}

// viewsAround gives the views so far that take a prefix, or one around it.
func (c *checker) viewsAround(p netip.Prefix) (views []*View) {
	for bits := p.Bits(); bits >= 0; bits-- {
		around, _ := p.Addr().Prefix(bits)
		views = append(views, c.viewsAt[around]...)
	}
	return views
}

// takesAll says whether every query that another view would take is taken by
// this one, whose clients are given as a set too. It may say no where several
// prefixes together do.
func (v *View) takesAll(o *View, clients map[netip.Prefix]bool) bool {
	for _, a := range o.Listeners {
		if len(v.Listeners) > 0 && !slices.Contains(v.Listeners, a) {
			return false
		}
	}
	if len(o.Listeners) == 0 && len(v.Listeners) > 0 {
		return false
	}
	for _, p := range o.takes() {
		if outer, _ := around(p, clients, nil); !clients[p] && !outer.IsValid() {
			return false
		}
	}
	return true
}

// zoneView is a zone as one view has it.
type zoneView struct{ view, zone string }

// seen gives the zones that a view sees, by name.
func (m *Model) seen(view string) map[string]*Zone {
	zones := map[string]*Zone{}
	for _, z := range m.Zones {
		switch had := zones[z.Name]; {
		case had == nil && z.View == "", z.View == view && (had == nil || had.View != view):
			zones[z.Name] = z // of several versions the first: the others are refused
		}
	}
	return zones
}
