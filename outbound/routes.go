package outbound

import (
	"net/netip"
	"slices"
	"strconv"
	"time"

	"github.com/portolan-lb/portolan/config"
	"github.com/portolan-lb/portolan/kernel"
	"github.com/portolan-lb/portolan/traffic"
)

// Tables of routes and priorities of the rules that lead to them, below those of
// the administrator (10000 and more) and after that of the DNS proxy (500).
//
//	 900    -> table 900      networks of the inside, those behind a router too: what carries a mark by
//	                          mistake reaches them, and so do replies from an address of a link
//	1000+N  mark N -> 1000+N  the link's only way
//	2000+N  from its address  the gateway's own replies and sockets bound to it
const (
	insideTable = 900
	linkTable   = 1000
	fromRule    = 2000

	lastMetric = 1<<31 - 1 // of what answers when there is no other route
)

// TableOf gives the routing table of a link, by its number.
func TableOf(id uint16) int { return linkTable + int(id) }

func everywhere(f traffic.Family) netip.Prefix {
	if f.Index == 1 {
		return netip.PrefixFrom(netip.IPv6Unspecified(), 0)
	}
	return netip.PrefixFrom(netip.IPv4Unspecified(), 0)
}

// routes writes the routes and the rules that lead to them. A link that fails
// its probes keeps its routes: the probes go by them.
func (b *builder) routes(w *kernel.Wishes) {
	for _, f := range traffic.Families() {
		w.Rules = append(w.Rules, kernel.PolicyRule{Priority: insideTable, IPv6: f.Index == 1, Table: insideTable})
	}
	seen := map[string]bool{}
	for _, name := range b.plan.conf.Interfaces {
		if n := b.nics[name]; n != nil {
			b.connected(w, n, insideTable, seen)
			for _, r := range n.Beyond {
				w.Routes = append(w.Routes, kernel.Route{Table: insideTable, To: r.To, Interface: name, Via: r.Via})
			}
		}
	}
	own := map[netip.Addr]bool{}
	for _, l := range b.plan.links {
		table := TableOf(l.id)
		for _, f := range traffic.Families() {
			w.Rules = append(w.Rules, kernel.PolicyRule{Priority: table, IPv6: f.Index == 1, Mark: uint32(l.id), Mask: kernel.LinkMask, Table: table})
			if r, ok := b.way(l, f); ok {
				w.Routes = append(w.Routes, r)
			}
			w.Routes = append(w.Routes, kernel.Route{Table: table, To: everywhere(f), Metric: lastMetric, Kind: kernel.Unreachable})
		}
		n := b.nics[l.Interface]
		if n == nil {
			continue
		}
		b.connected(w, n, table, map[string]bool{})
		for _, p := range n.Addresses {
			a := p.Addr().WithZone("")
			if own[a] || a.IsLinkLocalUnicast() { // of links with the same address the first has it
				continue
			}
			own[a] = true
			w.Rules = append(w.Rules, kernel.PolicyRule{Priority: fromRule + int(l.id), IPv6: a.Is6(), From: netip.PrefixFrom(a, a.BitLen()), Table: table})
		}
	}
}

// connected writes the networks of an interface into a table.
func (b *builder) connected(w *kernel.Wishes, n *kernel.Interface, table int, seen map[string]bool) {
	for _, p := range connected(n) {
		if key := p.String(); !seen[key] {
			seen[key] = true
			w.Routes = append(w.Routes, kernel.Route{Table: table, To: p, Interface: n.Name})
		}
	}
}

// way gives the default route over a link.
func (b *builder) way(l *planLink, f traffic.Family) (r kernel.Route, ok bool) {
	hop, known := b.hop(l, f)
	if !known {
		return r, false
	}
	r = kernel.Route{Table: TableOf(l.id), To: everywhere(f), Interface: l.Interface, Via: hop, OnLink: hop.IsValid()}
	if n := b.nics[l.Interface]; n != nil && f.Has(l.Source) {
		for _, p := range n.Addresses {
			if p.Addr() == l.Source { // the kernel refuses a source that is not there
				r.Source = l.Source
			}
		}
	}
	return r, true
}

// hop gives the next hop of a link: the configured one, else the one that its
// interface has learnt. On a line with nothing but two ends there is none, and
// none is needed.
func (b *builder) hop(l *planLink, f traffic.Family) (hop netip.Addr, known bool) {
	for _, a := range []netip.Addr{l.NextHop, l.NextHop6} {
		if f.Has(a) {
			return a, true
		}
	}
	n := b.nics[l.Interface]
	if n == nil {
		return hop, false
	}
	if hop = [2]netip.Addr{n.NextHop4, n.NextHop6}[f.Index]; hop.IsValid() {
		return hop, true
	}
	for _, p := range n.Addresses {
		if f.Has(p.Addr()) && p.IsSingleIP() && !p.Addr().IsLinkLocalUnicast() {
			return netip.Addr{}, true
		}
	}
	return hop, false
}

// serves says whether connections of a family can leave by a link: there is a
// way, and an address for them. A link whose interface is not known is taken at
// its word: it serves the family of its next hop, and IPv4 if it has none.
func (b *builder) serves(l *planLink, f traffic.Family) bool {
	n := b.nics[l.Interface]
	if n == nil || len(n.Addresses) == 0 {
		if f.Index == 1 {
			return l.NextHop.Is6() || l.NextHop6.IsValid()
		}
		return !l.NextHop.Is6()
	}
	if _, known := b.hop(l, f); !known {
		return false
	}
	for _, r := range l.SNAT.Addresses {
		if f.Has(r.From) {
			return true
		}
	}
	return l.SNAT.Mode == config.SNATNone || addressOf(n, f).IsValid()
}

// shapers bounds links that say so. What is bounded in total alone is bounded so
// in each direction.
func (b *builder) shapers(w *kernel.Wishes) {
	seen := map[string]bool{}
	for _, l := range b.plan.links {
		r := l.RateLimit
		if !l.Shape || seen[l.Interface] || r == (config.Bandwidths{}) {
			continue
		}
		seen[l.Interface] = true
		bound := func(d config.Bandwidth) uint64 {
			if d == 0 || r.Total > 0 && r.Total < d {
				d = r.Total
			}
			return uint64(d)
		}
		w.Shapers = append(w.Shapers, kernel.Shaper{Interface: l.Interface, In: bound(r.In), Out: bound(r.Out)})
	}
}

// sysctls names the settings that break balancing (outbound.md 5), and those of
// connection tracking that are configured, which are always set.
func (b *builder) sysctls(w *kernel.Wishes) {
	repair := b.plan.conf.RepairSysctls
	add := func(name, why string, values ...string) {
		w.Sysctls = append(w.Sysctls, kernel.Sysctl{Name: name, Values: values, Why: why, Repair: repair})
	}
	add("ipv4/ip_forward", "without it nothing is forwarded", "1")
	add("ipv4/fwmark_reflect", "the gateway's own ICMP errors and resets to clients would leave by a link: path MTU discovery and traceroute break", "0")
	add("ipv6/fwmark_reflect", "the gateway's own ICMP errors and resets to clients would leave by a link: path MTU discovery and traceroute break", "0")
	add("ipv4/tcp_fwmark_accept", "answers of the DNS proxy over TCP would loop", "0")
	add("netfilter/nf_conntrack_tcp_loose", "sessions that are moved to another link would hang instead of being reset", "1")
	names := append([]string{"all"}, b.plan.conf.Interfaces...)
	for _, l := range b.plan.links {
		names = append(names, l.Interface)
	}
	seen := map[string]bool{}
	for _, name := range names {
		if seen[name] || name != "all" && b.nics[name] == nil {
			continue
		}
		seen[name] = true
		add("ipv4/conf/"+name+"/rp_filter", "replies that come back by another link than the routing table says would be dropped", "2", "0")
		add("ipv4/conf/"+name+"/src_valid_mark", "packets for the DNS proxy would be dropped as martians", "0")
	}
	if b.insideHasIPv6() {
		repair = false // it would stop the host from learning its IPv6 routes
		add("ipv6/conf/all/forwarding", "without it no IPv6 is forwarded", "1")
		repair = true
	}
	ct := b.plan.conf.ConnectionTracking
	if ct.Max > 0 {
		add("netfilter/nf_conntrack_max", "outbound.connectionTracking.max", strconv.Itoa(ct.Max))
	}
	for _, t := range []struct {
		name string
		time config.Duration
	}{{"time_wait", ct.TimeWait}, {"close", ct.Close}} {
		if t.time > 0 {
			add("netfilter/nf_conntrack_tcp_timeout_"+t.name, "outbound.connectionTracking", strconv.Itoa(int(time.Duration(t.time).Seconds())))
		}
	}
}

// insideHasIPv6 says whether somebody of the inside may send IPv6 through us.
func (b *builder) insideHasIPv6() bool {
	for _, name := range b.plan.conf.Interfaces {
		if n := b.nics[name]; n != nil && slices.ContainsFunc(n.Addresses, func(p netip.Prefix) bool {
			return p.Addr().Is6() && !p.Addr().IsLinkLocalUnicast()
		}) {
			return true
		}
	}
	return false
}
