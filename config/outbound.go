package config

import "net/netip"

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
// connection tracking tells from what the first one says. It is looked for on
// its well-known port, in what comes in by the inside and by links.
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
	TimeWait Duration `yaml:"timeWait" json:"timeWait,omitempty"` // for which one that has ended still counts, 1s to 10m; 15s to 30s keeps counts of connections near the truth (nf_conntrack_tcp_timeout_time_wait)
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
	a := PolicyAction{OnFailure: FailureDrop, OnBusy: BusyLapse}
	if v.LinkGroup == "" {
		a.Do = ActionDrop
		return a
	}
	a.LinkGroup, a.Backup, a.Persistence = v.LinkGroup, v.Backup, v.Persistence
	return a
}

func (o *Outbound) defaults() {
	*o = Outbound{Enabled: true, KeepLastHop: true, Helpers: []Helper{HelperFTP}}
}

func (v *OutboundVirtualServer) defaults() {
	*v = OutboundVirtualServer{Enabled: true, Protocol: ProtocolAny, Destinations: everywhere()}
}
