package config

import (
	"net/netip"
	"slices"
	"time"
)

// Outbound is the gateway's half: each new connection of the inside that a
// virtual server takes leaves by a well-chosen link, and stays on it. What no
// virtual server takes goes by the routing table (FAQ 1.2.1).
type Outbound struct {
	Enabled     bool           `yaml:"enabled" json:"enabled"`                 // false: nothing of this section is told to the kernel, and what was is taken back (default true)
	Interfaces  []string       `yaml:"interfaces" json:"interfaces,omitempty"` // network interfaces of the inside: what comes in by them is balanced
	Exempt      []netip.Prefix `yaml:"exempt" json:"exempt,omitempty"`         // destinations that are never balanced; those of the inside interfaces themselves need not be told
	KeepLastHop bool           `yaml:"keepLastHop" json:"keepLastHop"`         // replies to what came in by a link leave by it, to the very router that sent it, whatever policy routes and static routes say (default true)
	Helpers     []Helper       `yaml:"helpers" json:"helpers" words:"helper"`  // protocols whose further connections follow the first one's link (default [ftp])
	Local       bool           `yaml:"local" json:"local"`                     // the gateway's own new connections are balanced too (default false)

	ConnectionTracking ConnectionTracking `yaml:"connectionTracking" json:"connectionTracking,omitzero"`
	RepairSysctls      bool               `yaml:"repairSysctls" json:"repairSysctls"` // set kernel settings that break balancing or the DNS proxy, such as net.ipv4.conf.all.src_valid_mark; without, they are only reported (default false)

	VirtualServers []*OutboundVirtualServer `yaml:"virtualServers" json:"virtualServers"` // what is balanced, at least one
	Policies       []*Policy                `yaml:"policies" json:"policies,omitempty"`
	Classes        []*Class                 `yaml:"classes" json:"classes,omitempty"`
	LimitPolicies  []*LimitPolicy           `yaml:"limitPolicies" json:"limitPolicies,omitempty"`
	Pos            Pos                      `yaml:"-" json:"-"`
}

// Helper is a protocol that opens further connections, which the kernel's
// connection tracking tells from what the first one says. In outbound it is
// looked for on its well-known port, in what comes in by the inside and by links;
// in serve on the ports of the virtual server.
type Helper string

// The protocols whose children are known (FAQ 1.2.24).
const (
	HelperFTP  Helper = "ftp"  // TCP port 21
	HelperSIP  Helper = "sip"  // UDP and TCP port 5060
	HelperTFTP Helper = "tftp" // UDP port 69
)

// ConnectionTracking holds settings of the kernel's connection tracking. What
// is not given is left as it is.
type ConnectionTracking struct {
	Max      int      `yaml:"max" json:"max,omitempty"`           // connections that the kernel follows at once, of everything on this host, 1024 to 100000000 (nf_conntrack_max)
	TimeWait Duration `yaml:"timeWait" json:"timeWait,omitempty"` // for which one that has ended keeps its place in the table, and its port of a SNAT pool, 1s to 10m (nf_conntrack_tcp_timeout_time_wait)
	Close    Duration `yaml:"close" json:"close,omitempty"`       // for which one that was reset still counts, 1s to 10m (nf_conntrack_tcp_timeout_close)
}

// OutboundVirtualServer says which traffic is balanced, and how. Of several
// that match, the most specific has it: the longest prefix of the destination,
// then a protocol before any, then ports before all, then the order of the
// file.
type OutboundVirtualServer struct {
	Name         string         `yaml:"name" json:"name"`
	Enabled      bool           `yaml:"enabled" json:"enabled"`                                // false: as if it were not there, so what it takes may fall to a less specific one (default true)
	Destinations []netip.Prefix `yaml:"destinations" json:"destinations"`                      // networks that the traffic goes to (default all: 0.0.0.0/0 and ::/0)
	Protocol     IPProtocol     `yaml:"protocol" json:"protocol,omitempty" words:"ipProtocol"` // of the traffic (default any)
	Ports        []PortRange    `yaml:"ports" json:"ports,omitempty"`                          // that it goes to, such as 443 or 8000-8100; for protocols that have ports, and any: then tcp and udp (default all)

	Policy      string `yaml:"policy" json:"policy,omitempty"`           // decides by class
	LinkGroup   string `yaml:"linkGroup" json:"linkGroup,omitempty"`     // of what no rule of the policy took and the policy has no default for; without a policy, of all
	Backup      string `yaml:"backup" json:"backup,omitempty"`           // the link group while linkGroup is not available
	Persistence string `yaml:"persistence" json:"persistence,omitempty"` // which clients keep the link that they have, in linkGroup and backup; actions of a policy have their own

	MaxConnections int    `yaml:"maxConnections" json:"maxConnections,omitempty"` // at once; more are dropped, 1 to 2000000000; 0: no bound. The first of two filters (FAQ 1.2.9)
	NewConnections int    `yaml:"newConnections" json:"newConnections,omitempty"` // a second; more are dropped, 1 to 10000000; 0: no bound
	LimitPolicy    string `yaml:"limitPolicy" json:"limitPolicy,omitempty"`       // limits by source, destination or service: the second filter (FAQ 1.2.9)
	BusyProtection bool   `yaml:"busyProtection" json:"busyProtection,omitempty"` // busy links get none of its new connections, whatever their groups say
	TOS            *TOS   `yaml:"tos" json:"tos,omitempty"`                       // set in what it sends out, unless an action sets another
	Pos            Pos    `yaml:"-" json:"-"`
}

// Balances says whether this node balances outbound traffic.
func (m *Model) Balances() bool { return m.Outbound != nil && m.Outbound.Enabled }

// Default gives the action of what no rule takes: the policy's default if it
// has one, else the link group of the virtual server, else drop. policy is the
// one that v.Policy names, nil if it names none.
func (v *OutboundVirtualServer) Default(policy *Policy) PolicyAction {
	if policy != nil && policy.Default != nil {
		return *policy.Default
	}
	if v.LinkGroup == "" {
		return PolicyAction{Do: ActionDrop}
	}
	return PolicyAction{LinkGroup: v.LinkGroup, Backup: v.Backup, Persistence: v.Persistence,
		OnFailure: FailureDrop, OnBusy: BusyLapse}
}

func (o *Outbound) defaults() {
	*o = Outbound{Enabled: true, KeepLastHop: true, Helpers: []Helper{HelperFTP}}
}

func (v *OutboundVirtualServer) defaults() {
	*v = OutboundVirtualServer{Enabled: true, Protocol: ProtocolAny, Destinations: everywhere()}
}

const (
	maxNewConnections  = 10_000_000 // a second
	maxVirtualServers  = 1000       // the kernel tries those of one prefix one after another
	maxBalancedLinks   = 1023       // which ten bits of a mark can tell apart
	maxTrackedSessions = 100_000_000
)

func (o *Outbound) check(c *checker) {
	if !o.Local {
		c.need(&o.Interfaces, "interfaces")
	}
	c.empty(&o.Interfaces, len(o.Interfaces))
	c.inside(o.Interfaces)
	c.empty(&o.Exempt, len(o.Exempt))
	distinct(c, o.Exempt)
	distinct(c, o.Helpers)
	o.ConnectionTracking.check(c)
	if c.need(&o.VirtualServers, "virtualServers") {
		c.empty(&o.VirtualServers, len(o.VirtualServers))
	}
	if n := len(o.VirtualServers); n > maxVirtualServers {
		c.bad(&o.VirtualServers, "%d virtual servers are more than %d", n, maxVirtualServers)
	}
	if n := len(c.gateway.balanced); n > maxBalancedLinks {
		c.bad(o, "%d links stand in link groups, more than %d", n, maxBalancedLinks)
	}
	taken := map[specific][]taker{}
	each(c, o.VirtualServers, func(v *OutboundVirtualServer, c *checker) {
		sound := c.sound(func() { v.check(c) })
		if v.Enabled && sound && len(o.VirtualServers) <= maxVirtualServers {
			v.reached(c, taken)
		}
	})
	each(c, o.Policies, (*Policy).check)
	c.checkClasses(o.Classes)
	each(c, o.LimitPolicies, (*LimitPolicy).check)
	c.of(o)
}

func (t *ConnectionTracking) check(c *checker) {
	if c.given(&t.Max) {
		between(c, &t.Max, 1024, maxTrackedSessions)
	}
	for _, d := range []*Duration{&t.TimeWait, &t.Close} {
		switch {
		case !c.given(d):
		case *d%Duration(time.Second) != 0:
			c.bad(d, "%v is not a whole number of seconds", *d)
		default:
			between(c, d, Duration(time.Second), Duration(10*time.Minute))
		}
	}
}

func (v *OutboundVirtualServer) check(c *checker) {
	c.empty(&v.Destinations, len(v.Destinations))
	distinct(c, v.Destinations)
	c.portRanges(&v.Ports)
	if len(v.Ports) > 0 && !v.Protocol.HasPorts() && v.Protocol != ProtocolAny && v.Protocol != "" {
		c.bad(&v.Ports, "%s has no ports", v.Protocol)
	}
	v.checkGroups(c)
	if c.given(&v.MaxConnections) {
		between(c, &v.MaxConnections, 1, maxConnections)
	}
	if c.given(&v.NewConnections) {
		between(c, &v.NewConnections, 1, maxNewConnections)
	}
	if c.given(&v.LimitPolicy) {
		c.refer("limit policy", &v.LimitPolicy)
	}
}

// maxPortRanges bounds the ranges of ports of a virtual server.
const maxPortRanges = 64

// checkGroups checks where a virtual server sends to.
func (v *OutboundVirtualServer) checkGroups(c *checker) {
	if !c.given(&v.Policy) && !c.given(&v.LinkGroup) {
		c.bad(v, "at least one of linkGroup, policy belongs here")
	}
	if c.given(&v.Policy) {
		c.refer("policy", &v.Policy)
	}
	if c.given(&v.LinkGroup) {
		c.refer("link group", &v.LinkGroup)
	}
	if c.given(&v.Backup) {
		c.refer("link group", &v.Backup)
	}
	if c.given(&v.Persistence) && c.refer("persistence", &v.Persistence) {
		c.keepsLink(&v.Persistence)
	}
	if v.LinkGroup != "" && v.LinkGroup == v.Backup {
		c.bad(&v.Backup, "%q is the link group itself", v.Backup)
	}
	for _, field := range []*string{&v.Backup, &v.Persistence} {
		if c.given(field) && !c.given(&v.LinkGroup) {
			c.bad(field, "belongs to a linkGroup, which is not given; actions of a policy have their own")
		}
	}
	if p := c.gateway.policies[v.Policy]; p != nil && p.Default != nil && v.LinkGroup != "" {
		c.warn(&v.LinkGroup, "has no effect: policy %q has a default of its own", v.Policy)
	}
	if v.BusyProtection && !c.broken {
		if !slices.ContainsFunc(append([]string{v.LinkGroup, v.Backup}, c.gateway.sends[v.Policy]...), func(name string) bool {
			g := c.gateway.groups[name]
			return g != nil && slices.ContainsFunc(g.linksOf(c), canBeBusy)
		}) {
			c.warn(&v.BusyProtection, "has no effect: no link that it may use has a maxBandwidth, so none is ever busy")
		}
	}
}

// specific is what decides which of several virtual servers has a connection.
type specific struct {
	prefix   netip.Prefix
	protocol IPProtocol
	ports    bool
}

// taker is a virtual server and its ports, in order and joined.
type taker struct {
	v     *OutboundVirtualServer
	ports []PortRange
}

// reached refuses a virtual server that takes nothing from those before it of
// which it is no more specific: two identical ones among others.
func (v *OutboundVirtualServer) reached(c *checker, taken map[specific][]taker) {
	var by *OutboundVirtualServer
	reached, seen := false, map[netip.Prefix]bool{}
	ports := joined(v.Ports)
	all := map[*OutboundVirtualServer]bool{} // those that were compared: they have all ports of v
	for _, p := range v.Destinations {
		if seen[p] || !p.IsValid() {
			continue // told already
		}
		seen[p] = true
		at := specific{p, v.Protocol, len(v.Ports) > 0}
		other := slices.IndexFunc(taken[at], func(o taker) bool {
			has, known := all[o.v]
			if !known {
				has = within(ports, o.ports)
				all[o.v] = has
			}
			return has
		})
		if other < 0 {
			reached = true
			taken[at] = append(taken[at], taker{v, ports})
		} else {
			by = taken[at][other].v
		}
	}
	if by != nil && !reached {
		c.bad(v, "is never reached: virtual server %q takes all of it before it", by.Name)
	}
}

// joined puts ranges in order and makes one of those that touch.
func joined(ports []PortRange) (list []PortRange) {
	for _, p := range slices.SortedFunc(slices.Values(ports), func(a, b PortRange) int { return int(a.From) - int(b.From) }) {
		if n := len(list); n > 0 && int(p.From) <= int(list[n-1].To)+1 {
			list[n-1].To = max(list[n-1].To, p.To)
		} else {
			list = append(list, p)
		}
	}
	return list
}

// within says whether all ports of a list are in another. Both are joined.
func within(ports, all []PortRange) bool {
	i := 0
	for _, p := range ports {
		for i < len(all) && all[i].To < p.From {
			i++
		}
		if i == len(all) || p.From < all[i].From || all[i].To < p.To {
			return false
		}
	}
	return true
}
