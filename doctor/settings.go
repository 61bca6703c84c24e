package doctor

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/portolan-lb/portolan/config"
	"github.com/portolan-lb/portolan/kernel"
)

// is says whether a sysctl is there and has a value.
func (f *Facts) is(name, value string) bool { return f.Sysctls[name] == value && value != "" }

// number gives a sysctl's number.
func (f *Facts) number(name string) (n uint64, known bool) {
	n, err := strconv.ParseUint(f.Sysctls[name], 10, 64)
	return n, err == nil
}

func (f *Facts) seen(names ...string) string {
	var all []string
	for _, name := range names {
		if v, ok := f.Sysctls[name]; ok {
			all = append(all, kernel.SysctlName(name)+" = "+v)
		}
	}
	return strings.Join(all, ", ")
}

// setting is a finding that one value repairs.
func (f *Facts) setting(id string, level Level, name, value, breaks string) Finding {
	return Finding{ID: id, Level: level, What: fmt.Sprintf("%s is %s", kernel.SysctlName(name), f.Sysctls[name]), Breaks: breaks,
		Evidence: f.seen(name), Repair: []string{command(name, value)}}
}

// command sets a value.
func command(name, value string) string {
	return "sysctl -w " + shell(kernel.SysctlName(name)+"="+value)
}

func conf(v, name, key string) string { return v + "/conf/" + name + "/" + key }

// interfaces tells of those that are not there, or carry nothing.
func interfaces(f *Facts) (list []Finding) {
	seen := map[string]bool{}
	look := func(name, of, breaks string) {
		n := f.nic(name)
		if n != nil && n.Up || seen[name] {
			return
		}
		seen[name] = true
		if n == nil {
			list = append(list, Finding{ID: "interface-missing", Level: Problem, What: fmt.Sprintf("there is no interface %s, %s", name, of),
				Breaks: breaks, Evidence: "there are " + f.names(), Repair: []string{"ip link show"}})
			return
		}
		found := Finding{ID: "interface-down", Level: Problem, What: fmt.Sprintf("interface %s, %s, is down", name, of),
			Breaks: breaks, Evidence: n.Why, Repair: []string{"ip link set " + shell(name) + " up"}}
		if !strings.Contains(n.Why, "switched off") { // no setting is wrong: serve tells of it, and goes by it
			found.Level, found.Repair = Hint, []string{"ethtool " + shell(name)}
		}
		list = append(list, found)
	}
	for _, name := range f.Inside {
		look(name, "of the inside", "nothing of its clients is balanced")
	}
	for _, l := range f.Links {
		look(l.Interface, "of link "+l.Name, "nothing leaves by this link")
	}
	return list
}

func (f *Facts) names() string {
	var all []string
	for _, n := range f.Interfaces {
		all = append(all, n.Name)
	}
	return strings.Join(all, ", ")
}

// srcValidMark: each interface has the larger of all's value and its own
// (outbound.md 5, trap 1).
func srcValidMark(f *Facts) (list []Finding) {
	if !f.gateway() {
		return nil
	}
	for _, name := range append([]string{"all"}, f.touched()...) {
		if at := conf("ipv4", name, "src_valid_mark"); f.is(at, "1") {
			found := f.setting("src-valid-mark", Problem, at, "0", "IPv4 packets for the DNS proxy and replies over other links than the main table's become martians and are dropped, silently")
			if f.tailscaleRuns() {
				found.Evidence += "; Tailscale, which runs here, sets it from its version 1.98 on, and does so again"
			}
			list = append(list, found)
		}
	}
	return list
}

func fwmarkReflect(f *Facts) (list []Finding) {
	for _, at := range []string{"ipv4/fwmark_reflect", "ipv6/fwmark_reflect"} {
		if f.gateway() && f.is(at, "1") {
			list = append(list, f.setting("fwmark-reflect", Problem, at, "0", "the gateway's own ICMP errors and resets to clients leave by a link: path MTU discovery, traceroute and refused connections hang"))
		}
	}
	return list
}

func tcpFwmarkAccept(f *Facts) []Finding {
	if !f.gateway() || !f.is("ipv4/tcp_fwmark_accept", "1") {
		return nil
	}
	return []Finding{f.setting("tcp-fwmark-accept", Problem, "ipv4/tcp_fwmark_accept", "0", "answers of the DNS proxy over TCP loop instead of reaching clients; TCP to the gateway itself answers by the wrong link")}
}

// rpFilter: an interface filters by the larger of all's value and its own; 1 is
// strict, and 2, which is larger, is loose (RFC 3704).
func rpFilter(f *Facts) (list []Finding) {
	if !f.gateway() {
		return nil
	}
	all, _ := f.number(conf("ipv4", "all", "rp_filter"))
	for _, name := range f.touched() {
		at := conf("ipv4", name, "rp_filter")
		own, known := f.number(at)
		if !known || max(all, own) != 1 {
			continue
		}
		found := f.setting("rp-filter", Problem, at, "2", "what comes in by "+name+" while the main table has the way back elsewhere is dropped: replies over all links but one")
		found.What = fmt.Sprintf("interface %s drops by strict reverse path (%s is 1 in effect)", name, kernel.SysctlName(at))
		found.Evidence = f.seen(conf("ipv4", "all", "rp_filter"), at) + "; the larger counts"
		list = append(list, found)
	}
	return list
}

// forwarding is of the whole machine or of single interfaces.
func forwarding(f *Facts) (list []Finding) {
	if !f.Balances {
		return nil
	}
	const breaks4, breaks6 = "no IPv4 of the inside gets through this machine", "no IPv6 of the inside gets through this machine"
	if f.is("ipv4/ip_forward", "0") {
		list = append(list, f.setting("forwarding", Problem, "ipv4/ip_forward", "1", breaks4))
	} else {
		for _, name := range f.touched() {
			if at := conf("ipv4", name, "forwarding"); f.is(at, "0") {
				list = append(list, f.setting("forwarding", Problem, at, "1", "no IPv4 that comes in by "+name+" gets through this machine"))
			}
		}
	}
	if !f.insideIPv6() {
		return list
	}
	if at := conf("ipv6", "all", "forwarding"); f.is(at, "0") {
		found := f.setting("forwarding", Problem, at, "1", breaks6)
		// Forwarding would end the learning of routes where it is now.
		for _, l := range f.Links {
			if ra := conf("ipv6", l.Interface, "accept_ra"); f.is(ra, "1") && !l.NextHop6 {
				found.Repair = append([]string{command(ra, "2")}, found.Repair...)
			}
		}
		return append(list, found)
	}
	for _, name := range f.touched() {
		if at := conf("ipv6", name, "forwarding"); f.is(at, "0") && f.hasIPv6(name) {
			list = append(list, f.setting("forwarding", Problem, at, "1", "no IPv6 that comes in by "+name+" gets through this machine"))
		}
	}
	return list
}

// acceptRA: with forwarding, 1 means that router advertisements are ignored
// (linux/Documentation/networking/ip-sysctl); 0 leaves them to a program.
func acceptRA(f *Facts) (list []Finding) {
	for _, l := range f.Links {
		at := conf("ipv6", l.Interface, "accept_ra")
		if l.NextHop6 || f.nic(l.Interface) == nil || !f.is(at, "1") || !f.is(conf("ipv6", l.Interface, "forwarding"), "1") || f.is(conf("ipv6", l.Interface, "disable_ipv6"), "1") {
			continue
		}
		found := f.setting("accept-ra", Hint, at, "2", "link "+l.Name+" learns neither addresses nor next hop of IPv6 from its router: a host that forwards ignores router advertisements unless this is 2")
		if f.insideIPv6() {
			found.Level = Problem
		}
		found.Evidence = f.seen(at, conf("ipv6", l.Interface, "forwarding")) + "; no nextHop6 is configured"
		list = append(list, found)
	}
	return list
}

func disabledIPv6(f *Facts) (list []Finding) {
	for _, l := range f.Links {
		if at := conf("ipv6", l.Interface, "disable_ipv6"); (l.NextHop6 || f.insideIPv6()) && f.nic(l.Interface) != nil && f.is(at, "1") {
			list = append(list, f.setting("ipv6-disabled", Problem, at, "0", "no IPv6 leaves by link "+l.Name))
		}
	}
	return list
}

// addressesOnDown: serve puts addresses back, but who puts them back while it
// does not run (outbound.md 5, trap 7)?
func addressesOnDown(f *Facts) (list []Finding) {
	if !f.Balances || f.is(conf("ipv6", "all", "keep_addr_on_down"), "1") {
		return nil
	}
	for _, name := range f.touched() {
		if at := conf("ipv6", name, "keep_addr_on_down"); f.is(at, "0") && f.hasIPv6(name) {
			list = append(list, f.setting("addresses-on-down", Hint, at, "1", "IPv6 addresses of "+name+" that are set by hand are gone when it has been down, unless serve runs then and puts them back"))
		}
	}
	return list
}

// Bounds of the table of connections.
const (
	smallTable = 65536
	goodTable  = 262144
	nearlyFull = 75 // percent
)

// tracking tells of the table of connections: how full, how large, what it lost.
func tracking(f *Facts) (list []Finding) {
	t := f.Tracking
	if !f.gateway() || t.Max == 0 {
		return nil
	}
	const name = "netfilter/nf_conntrack_max"
	larger := strconv.Itoa(max(goodTable, 2*int(t.Max)))
	repair := []string{command(name, larger)}
	evidence := fmt.Sprintf("%d of %d connections", t.Entries, t.Max)
	switch {
	case uint64(t.Entries)*100 >= uint64(t.Max)*nearlyFull:
		list = append(list, Finding{ID: "conntrack-full", Level: Problem, What: fmt.Sprintf("the table of connections is %d %% full", uint64(t.Entries)*100/uint64(t.Max)),
			Breaks: "when it is full new connections are dropped, and before that UDP of others is thrown out", Evidence: evidence, Repair: repair})
	case t.Max < smallTable:
		list = append(list, Finding{ID: "conntrack-small", Level: Hint, What: fmt.Sprintf("the table of connections holds %d", t.Max),
			Breaks: "a gateway of a few hundred clients fills it", Evidence: evidence, Repair: repair})
	}
	if lost := t.Drop + t.EarlyDrop; lost > 0 {
		list = append(list, Finding{ID: "conntrack-lost", Level: Hint, What: "connections were lost for want of room since this machine started",
			Breaks: "new connections were dropped, or others thrown out for them", Evidence: fmt.Sprintf("dropped %d, thrown out %d; now %s", t.Drop, t.EarlyDrop, evidence), Repair: repair})
	}
	if buckets, known := f.number("netfilter/nf_conntrack_buckets"); known && buckets > 0 && uint64(t.Max) > 8*buckets {
		list = append(list, Finding{ID: "conntrack-buckets", Level: Hint, What: fmt.Sprintf("%d connections share %d buckets", t.Max, buckets),
			Breaks: "each packet looks through long chains when the table fills", Evidence: f.seen("netfilter/nf_conntrack_buckets"),
			Repair: []string{command("netfilter/nf_conntrack_buckets", strconv.Itoa(int(t.Max)))}})
	}
	return list
}

func tcpLoose(f *Facts) []Finding {
	if !f.Balances || !f.is("netfilter/nf_conntrack_tcp_loose", "0") {
		return nil
	}
	return []Finding{f.setting("tcp-loose", Problem, "netfilter/nf_conntrack_tcp_loose", "1", "sessions that are moved to another link (onFailure: reschedule) hang instead of being reset, and so do all that stand when the table is lost")}
}

// judged are sysctls that other checks judge.
func judged(name string) bool {
	for _, end := range []string{"rp_filter", "src_valid_mark", "fwmark_reflect", "tcp_fwmark_accept", "ip_forward", "all/forwarding", "tcp_loose"} {
		if strings.HasSuffix(name, end) {
			return true
		}
	}
	return false
}

// wished tells of what owners wish beside: what the configuration sets.
func wished(f *Facts) (list []Finding) {
	seen := map[string]bool{}
	for _, s := range f.Wanted.Sysctls {
		now, there := f.Sysctls[s.Name]
		if judged(s.Name) || seen[s.Name] || !there || slices.Contains(s.Values, now) || len(s.Values) == 0 {
			continue
		}
		seen[s.Name] = true
		list = append(list, f.setting("setting", Problem, s.Name, s.Values[0], "it is not as wished: "+s.Why))
	}
	return list
}

// modules are those that a helper of connection tracking needs.
var modules = map[config.Helper][]string{
	config.HelperFTP:  {"nf_conntrack_ftp", "nf_nat_ftp"},
	config.HelperSIP:  {"nf_conntrack_sip", "nf_nat_sip"},
	config.HelperTFTP: {"nf_conntrack_tftp", "nf_nat_tftp"},
}

func helpers(f *Facts) (list []Finding) {
	for _, h := range f.Wanted.Helpers {
		module := modules[h]
		if there, known := f.Helpers[string(h)]; !f.Balances || !known || there || len(module) == 0 {
			continue
		}
		list = append(list, Finding{ID: "helper-missing", Level: Problem, What: fmt.Sprintf("this kernel has no helper for %s loaded, nor a module of it", h),
			Breaks: "connections that " + string(h) + " opens follow no parent: they may take another link", Evidence: "no " + module[0] + " in /sys/module or among the modules of this kernel",
			Repair: []string{"modprobe -a " + strings.Join(module, " ")}})
	}
	if f.Balances && f.is("netfilter/nf_conntrack_helper", "1") {
		list = append(list, f.setting("helper-automatic", Hint, "netfilter/nf_conntrack_helper", "0", "helpers are given to connections by port alone, whoever opens them: a client may open ports of the inside. outbound.helpers are given by rules and need it not"))
	}
	return list
}

// within says whether a prefix lies within one of a list.
func within(p netip.Prefix, list []netip.Prefix) bool {
	return slices.ContainsFunc(list, func(o netip.Prefix) bool { return o.Bits() <= p.Bits() && o.Overlaps(p) })
}
