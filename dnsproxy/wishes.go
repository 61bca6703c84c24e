package dnsproxy

import (
	"net/netip"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/portolan-lb/portolan/config"
	"github.com/portolan-lb/portolan/kernel"
)

// Owner is who wishes what a [Plan] says, and Table the table of nftables that
// is wholly its own.
const (
	Owner = "dnsproxy"
	Table = "portolan_dnsproxy"
)

// Where packets with the mark [kernel.Intercepted] are routed: to this machine.
const (
	interceptPriority = 500 // of the ip rule, before those of links
	interceptTable    = 99
)

// beforeLinks is the priority of our chain: queries that are ours are not
// balanced over links, whose chain comes at -150.
const beforeLinks = -155

// dnsPort is where clients ask (RFC 1035 4.2).
const dnsPort = 53

// Wishes gives what Linux is to be like so that queries come to the proxy; nil
// without a proxy. interfaces are those that there are: settings are wished for
// of these alone.
func (p *Plan) Wishes(interfaces []kernel.Interface) *kernel.Wishes {
	if !p.Enabled() {
		return nil
	}
	b := &interception{conf: p.conf, out: kernel.Table{Name: Table}}
	b.table()
	w := &kernel.Wishes{Tables: []kernel.Table{b.out}}
	for _, everything := range []netip.Prefix{netip.PrefixFrom(netip.IPv4Unspecified(), 0), netip.PrefixFrom(netip.IPv6Unspecified(), 0)} {
		w.Rules = append(w.Rules, kernel.PolicyRule{Priority: interceptPriority, IPv6: everything.Addr().Is6(), Mark: kernel.Intercepted, Mask: kernel.Intercepted, Table: interceptTable})
		w.Routes = append(w.Routes, kernel.Route{Table: interceptTable, To: everything, Interface: "lo", Kind: kernel.Local})
	}
	w.Sysctls = p.sysctls(interfaces)
	return w
}

// interception writes the table: which packets come to the proxy.
//
//	prerouting   not from the inside, or no query ──────────────── accept
//	             UDP: no query by its flags ────────────────────── accept
//	             to port 53, UDP ───────────────────────────────── queries
//	             to port 53, TCP ───────────────────────────────── connections
//	connections  of TCP, that is on a link already ─────────────── accept
//	queries      of a client that is excluded ──────────────────── accept
//	             to an address that is given with all its bits ─── take
//	             to another address of this machine (1.3.1) ────── accept
//	             to one of the other networks given ────────────── take
//	take         the proxy's socket, then the mark, accept
//
// The socket comes before the mark: without a proxy the packet goes on unmarked,
// as if we were not there.
type interception struct {
	conf *config.DNSProxy
	out  kernel.Table
}

// of is one family of addresses.
type of struct {
	six          bool
	digit        string
	kind         kernel.Type
	source, dest kernel.Field
	number       byte // as the kernel calls it
}

func bothFamilies() []of {
	return []of{{false, "4", kernel.TypeAddr4, kernel.Source4, kernel.Dest4, unix.NFPROTO_IPV4}, {true, "6", kernel.TypeAddr6, kernel.Source6, kernel.Dest6, unix.NFPROTO_IPV6}}
}

func (b *interception) table() {
	inside := kernel.NewElements()
	for _, name := range b.conf.Interfaces {
		inside.Put(kernel.Element{Key: kernel.Name(name)})
	}
	b.out.Sets = append(b.out.Sets, kernel.Set{Name: "inside", Key: []kernel.Type{kernel.TypeName}, Elements: inside})
	b.out.Counters = []string{"taken"}
	udp := kernel.Is{Of: kernel.Protocol, To: []byte{unix.IPPROTO_UDP}}
	b.chain("prerouting", &kernel.Hook{Type: "filter", Point: "prerouting", Priority: beforeLinks},
		tells("only what comes from the inside", kernel.In{Key: kernel.InName, Set: "inside", Not: true}, kernel.Accept{}),
		tells("updates, notifies, responses: what is no query goes on as it is", udp, toPort53(), kernel.Is{Of: kernel.Masked{Of: kernel.DNSFlags, Mask: []byte{(flagQR | opcodeMask) >> 8}}, Op: kernel.NotEqual, To: []byte{0}}, kernel.Accept{}),
		tells("queries over UDP", udp, toPort53(), kernel.Goto{Chain: "queries"}),
		tells("queries over TCP", kernel.Is{Of: kernel.Protocol, To: []byte{unix.IPPROTO_TCP}}, toPort53(), kernel.Goto{Chain: "connections"}))
	b.chain("connections", nil,
		tells("a TCP connection that went over a link already stays there", kernel.Is{Of: kernel.Masked{Of: kernel.CtMark, Mask: kernel.Number(kernel.LinkMask)}, Op: kernel.NotEqual, To: kernel.Number(0)}, kernel.Accept{}),
		tells("", kernel.Goto{Chain: "queries"}))
	b.chain("queries", nil, b.queries()...)
	var take []kernel.Rule
	for _, f := range bothFamilies() {
		for _, protocol := range []byte{unix.IPPROTO_UDP, unix.IPPROTO_TCP} { // nft wants to see it beside tproxy
			take = append(take, tells("to the DNS proxy; without it the query goes on as it is", kernel.Is{Of: kernel.Family, To: []byte{f.number}}, kernel.Is{Of: kernel.Protocol, To: []byte{protocol}},
				kernel.TProxy{IPv6: f.six, Port: b.conf.Port}, kernel.SetMark{Mask: kernel.Intercepted, Bits: kernel.Intercepted}, kernel.Count{Name: "taken"}, kernel.Accept{}))
		}
	}
	b.chain("take", nil, take...)
}

func tells(tell string, do ...kernel.Step) kernel.Rule { return kernel.Rule{Tell: tell, Do: do} }

func toPort53() kernel.Step { return kernel.Is{Of: kernel.DestPort, To: kernel.Port(dnsPort)} }

func (b *interception) chain(name string, hook *kernel.Hook, rules ...kernel.Rule) {
	b.out.Chains = append(b.out.Chains, kernel.Chain{Name: name, Hook: hook, Rules: rules})
}

// queries decides by who asks whom.
func (b *interception) queries() []kernel.Rule {
	reply := []byte{1}
	rules := []kernel.Rule{tells("replies of DNS servers of the inside to others that ask from port 53", kernel.Is{Of: kernel.CtDirection, To: reply}, kernel.Accept{})}
	var own, other []netip.Prefix
	for _, p := range b.conf.Addresses {
		if p.IsSingleIP() {
			own = append(own, p)
		} else {
			other = append(other, p)
		}
	}
	for _, f := range bothFamilies() {
		if set := b.ranges("exclude"+f.digit, f, b.conf.Exclude); set != "" {
			rules = append(rules, tells("clients that are excluded", kernel.In{Key: f.source, Set: set}, kernel.Accept{}))
		}
	}
	for _, f := range bothFamilies() {
		if set := b.ranges("given"+f.digit, f, own); set != "" {
			rules = append(rules, tells("an address that is given with all its bits, be it our own (FAQ 1.3.1)", kernel.In{Key: f.dest, Set: set}, kernel.Goto{Chain: "take"}))
		}
	}
	for _, t := range []struct {
		kind uint32
		tell string
	}{{kernel.AddrLocal, "queries to the gateway itself are its own (FAQ 1.3.1)"}, {kernel.AddrBroadcast, "no DNS server is meant"}, {kernel.AddrMulticast, "no DNS server is meant"}} {
		rules = append(rules, tells(t.tell, kernel.Is{Of: kernel.DestType, To: kernel.Number(t.kind)}, kernel.Accept{}))
	}
	for _, f := range bothFamilies() {
		if slices.ContainsFunc(other, func(p netip.Prefix) bool { return p.Bits() == 0 && p.Addr().Is6() == f.six }) {
			rules = append(rules, tells("whoever is asked", kernel.Is{Of: kernel.Family, To: []byte{f.number}}, kernel.Goto{Chain: "take"}))
		} else if set := b.ranges("asked"+f.digit, f, other); set != "" {
			rules = append(rules, tells("DNS servers of these networks", kernel.In{Key: f.dest, Set: set}, kernel.Goto{Chain: "take"}))
		}
	}
	return rules
}

// ranges makes a set of the prefixes of a family; "": there is none. Prefixes
// within others are left out, for ranges must not overlap.
func (b *interception) ranges(name string, f of, prefixes []netip.Prefix) string {
	elements := kernel.NewElements()
	for _, p := range prefixes {
		if p.Addr().Is6() != f.six || slices.ContainsFunc(prefixes, func(o netip.Prefix) bool { return o.Bits() < p.Bits() && o.Overlaps(p) }) {
			continue
		}
		p = p.Masked()
		elements.Put(kernel.Element{Key: kernel.Addr(p.Addr()), End: lastOf(p)})
	}
	if elements.Len() == 0 {
		return ""
	}
	b.out.Sets = append(b.out.Sets, kernel.Set{Name: name, Key: []kernel.Type{f.kind}, Interval: true, Elements: elements})
	return name
}

// lastOf gives the last address of a masked prefix.
func lastOf(p netip.Prefix) []byte {
	last := p.Addr().AsSlice()
	for bit := p.Bits(); bit < len(last)*8; bit++ {
		last[bit/8] |= 0x80 >> (bit % 8)
	}
	return last
}

// sysctls names the settings that break interception (outbound.md 5), and those
// that drop answers of DNS servers that come in by another interface than the
// routing table says.
func (p *Plan) sysctls(interfaces []kernel.Interface) (list []kernel.Sysctl) {
	add := func(name, why string, values ...string) {
		list = append(list, kernel.Sysctl{Name: name, Values: values, Why: why, Repair: p.conf.RepairSysctls})
	}
	add("ipv4/tcp_fwmark_accept", "answers of the DNS proxy over TCP would loop", "0")
	add("ipv4/fwmark_reflect", "resets to clients of the DNS proxy would loop", "0")
	add("ipv6/fwmark_reflect", "resets to clients of the DNS proxy would loop", "0")
	for _, name := range append([]string{"all"}, p.Touched(interfaces)...) {
		add("ipv4/conf/"+name+"/src_valid_mark", "queries for the DNS proxy would be dropped as martians", "0")
		add("ipv4/conf/"+name+"/rp_filter", "answers of DNS servers that come back by another link than the routing table says would be dropped", "2", "0")
	}
	return list
}

// Touched gives the interfaces that queries come in and leave by, of those that
// there are: wishes are others when these are.
func (p *Plan) Touched(interfaces []kernel.Interface) (names []string) {
	if !p.Enabled() {
		return nil
	}
	wanted := slices.Clone(p.conf.Interfaces)
	for _, s := range p.servers {
		wanted = append(wanted, s.device)
	}
	for _, name := range wanted {
		there := slices.ContainsFunc(interfaces, func(i kernel.Interface) bool { return i.Name == name })
		if there && !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	return names
}
