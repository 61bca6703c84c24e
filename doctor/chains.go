package doctor

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/portolan-lb/portolan/kernel"
)

// journey is a packet at a hook.
type journey struct {
	hook string
	kernel.Passing
}

const (
	tcp = 6
	udp = 17
)

// journeys gives the packets that we have to do with at some hooks: new ones of
// the inside by each link, their replies, and what comes in by links.
func (f *Facts) journeys(hooks ...string) (list []journey) {
	for _, v6 := range f.families() {
		for _, inside := range f.Inside {
			in := f.nic(inside)
			if in == nil {
				continue
			}
			list = append(list, f.crossing(in, v6)...)
		}
		for _, l := range f.Links {
			if n := f.nic(l.Interface); n != nil {
				p := kernel.Passing{IPv6: v6, In: n.Name, InIndex: n.Index, Protocol: tcp}
				list = append(list, journey{"prerouting", p})
				p.New, p.DestPort = true, 443
				list = append(list, journey{"prerouting", p})
				p.In, p.InIndex, p.Out, p.OutIndex = "", 0, n.Name, n.Index
				list = append(list, journey{"output", p})
			}
		}
	}
	return slices.DeleteFunc(list, func(j journey) bool { return !slices.Contains(hooks, j.hook) })
}

// crossing gives the packets of a client's connection over each link.
func (f *Facts) crossing(in *kernel.Interface, v6 bool) (list []journey) {
	out := kernel.Passing{IPv6: v6, In: in.Name, InIndex: in.Index, Protocol: tcp, Source: client(in, v6)}
	first := out
	first.New, first.DestPort = true, 443
	list = append(list, journey{"prerouting", first}, journey{"prerouting", out})
	for _, l := range f.Links {
		n := f.nic(l.Interface)
		if n == nil {
			continue
		}
		for _, p := range []kernel.Passing{first, out} {
			p.Out, p.OutIndex = n.Name, n.Index
			list = append(list, journey{"forward", p}, journey{"postrouting", p})
		}
		back := kernel.Passing{IPv6: v6, In: n.Name, InIndex: n.Index, Out: in.Name, OutIndex: in.Index, Protocol: tcp}
		list = append(list, journey{"forward", back})
	}
	return list
}

func (f *Facts) families() []bool {
	if f.insideIPv6() {
		return []bool{false, true}
	}
	return []bool{false}
}

// client gives an address of the inside that is not this machine's; the zero
// Addr: it could be any.
func client(n *kernel.Interface, v6 bool) netip.Addr {
	for _, p := range n.Addresses {
		if p.Addr().Is6() != v6 || p.Addr().IsLinkLocalUnicast() || p.IsSingleIP() {
			continue
		}
		for _, a := range []netip.Addr{p.Addr().Next(), p.Addr().Prev()} {
			if p.Contains(a) {
				return a
			}
		}
	}
	return netip.Addr{}
}

// deeds gives what chains of others do to our packets, each rule and what it does
// once.
func (f *Facts) deeds(do func(j journey, d kernel.Deed) bool, hooks ...string) (list []kernel.Deed) {
	if f.Meet == nil || !f.gateway() {
		return nil
	}
	for _, j := range f.journeys(hooks...) {
		for _, d := range f.Meet(j.hook, j.Passing).Deeds {
			same := func(o kernel.Deed) bool { return o.What == d.What && o.Chain == d.Chain && o.Handle == d.Handle }
			if do(j, d) && !slices.ContainsFunc(list, same) {
				list = append(list, d)
			}
		}
	}
	return list
}

// removes is the command that removes a rule, or ends the program that makes it.
func removes(d kernel.Deed) []string {
	if d.Program == "mwan3" {
		return endsMwan3
	}
	return []string{nft("delete rule %s handle %d", d.Chain, d.Handle)}
}

func ruleAt(d kernel.Deed) string {
	s := fmt.Sprintf("rule %d of chain %s %s", d.Handle, d.Chain, d.What)
	if d.Program != "" {
		s += " (" + d.Program + ")"
	}
	return s
}

// foreignMarks tells of rules that write bits of ours. What is written to packets
// after they were routed changes nothing.
func foreignMarks(f *Facts) (list []Finding) {
	ours := func(d kernel.Deed) uint32 {
		switch d.What {
		case kernel.DeedMark:
			return d.Bits & packetBits
		case kernel.DeedConn:
			return d.Bits & connectionBits
		}
		return 0
	}
	found := f.deeds(func(j journey, d kernel.Deed) bool {
		return ours(d) != 0 && (d.What == kernel.DeedConn || j.hook == "prerouting" || j.hook == "output")
	}, "prerouting", "forward", "output", "postrouting")
	for _, d := range found {
		list = append(list, Finding{ID: "marks", Level: Problem,
			What:     fmt.Sprintf("a rule of chain %s writes bits %s, which are ours", d.Chain, bits(ours(d))),
			Breaks:   "connections change their link in the middle, or packets from a link are sent back to it; of conntrack marks bits 0-9, 26 and 27 are ours, of packet marks 0-9 and 28, and 29-31 are free for others",
			Evidence: fmt.Sprintf("%s, bits %#08x", ruleAt(d), d.Bits), Repair: removes(d)})
	}
	return list
}

// dropsForwarded tells of chains that let nothing through from the inside to a
// link, or nothing back.
func dropsForwarded(f *Facts) (list []Finding) {
	if f.Meet == nil || !f.Balances {
		return nil
	}
	seen := map[string]bool{}
	for _, j := range f.journeys("forward") {
		m := f.Meet(j.hook, j.Passing)
		if key := m.Chain + j.In + j.Out; m.Passes || seen[key] || seen[m.Chain+j.Out+j.In] {
			continue
		} else {
			seen[key] = true
		}
		inside, link := j.In, j.Out
		if !slices.Contains(f.Inside, inside) {
			inside, link = link, inside
		}
		list = append(list, Finding{ID: "forward-dropped", Level: Problem,
			What:     fmt.Sprintf("nothing that comes in by %s is forwarded to %s", j.In, j.Out),
			Breaks:   "connections of the inside over this link hang",
			Evidence: stoppedBy(&m), Repair: letsThrough(&m, inside, link, j.IPv6)})
	}
	return list
}

func stoppedBy(m *kernel.Meeting) string {
	s := m.Stopped + " drops it"
	if m.Program != "" {
		s += " (" + m.Program + ")"
	}
	return s
}

// letsThrough gives the commands that let connections through by the means of the
// program whose chain it is.
func letsThrough(m *kernel.Meeting, inside, link string, v6 bool) []string {
	switch m.Program {
	case "docker", "kubernetes":
		chain, iptables := "DOCKER-USER", "iptables"
		if m.Program == "kubernetes" {
			chain = "FORWARD"
		}
		if v6 {
			iptables = "ip6tables"
		}
		return []string{fmt.Sprintf("%s -I %s -i %s -o %s -j ACCEPT", iptables, chain, shell(inside), shell(link)),
			fmt.Sprintf("%s -I %s -i %s -o %s -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT", iptables, chain, shell(link), shell(inside))}
	case "ufw":
		return []string{fmt.Sprintf("ufw route allow in on %s out on %s", shell(inside), shell(link))}
	case "firewalld":
		policy := "firewall-cmd --permanent --policy portolan"
		return []string{"firewall-cmd --permanent --new-policy portolan",
			fmt.Sprintf("%s --add-ingress-zone $(firewall-cmd --get-zone-of-interface %s)", policy, shell(inside)),
			fmt.Sprintf("%s --add-egress-zone $(firewall-cmd --get-zone-of-interface %s)", policy, shell(link)),
			policy + " --set-target ACCEPT", "firewall-cmd --reload"}
	}
	return []string{nft(`insert rule %s iifname "%s" oifname "%s" accept`, m.Chain, inside, link),
		nft(`insert rule %s iifname "%s" oifname "%s" ct state established,related accept`, m.Chain, link, inside)}
}

// dropsQueries tells of chains that keep queries from the DNS proxy: they come to
// this host, but bear the address and port that the client asked.
func dropsQueries(f *Facts) (list []Finding) {
	if f.Meet == nil || !f.Proxies {
		return nil
	}
	seen := map[string]bool{}
	for _, v6 := range f.families() {
		for _, inside := range f.Inside {
			n := f.nic(inside)
			if n == nil {
				continue
			}
			for _, protocol := range []uint8{udp, tcp} {
				m := f.Meet("input", kernel.Passing{IPv6: v6, In: n.Name, InIndex: n.Index, Protocol: protocol, DestPort: 53, Source: client(n, v6), New: true})
				if m.Passes || seen[m.Chain+inside] {
					continue
				}
				seen[m.Chain+inside] = true
				repair := nft(`insert rule %s iifname "%s" meta l4proto { tcp, udp } th dport 53 accept`, m.Chain, inside)
				switch m.Program {
				case "ufw":
					repair = "ufw allow in on " + shell(inside) + " to any port 53"
				case "firewalld":
					repair = fmt.Sprintf("firewall-cmd --zone $(firewall-cmd --get-zone-of-interface %s) --add-service dns", shell(inside))
				}
				list = append(list, Finding{ID: "queries-dropped", Level: Problem, What: "queries of " + inside + " that are brought to the DNS proxy are dropped",
					Breaks: "clients get no answer from any DNS server outside", Evidence: stoppedBy(&m), Repair: []string{repair}})
			}
		}
	}
	return list
}

// ourNAT is the priority of our chain that chooses source addresses. Of two of
// one priority the first that was made goes first.
const ourNAT = 100

// rewritesSource tells of rules that give our connections a source address before
// we do. Masquerading is what we do ourselves, unless the link says otherwise.
func rewritesSource(f *Facts) (list []Finding) {
	if !f.Balances {
		return nil
	}
	keeps := map[string]bool{}
	for _, l := range f.Links {
		keeps[l.Interface] = keeps[l.Interface] || l.KeepsSource
	}
	found := f.deeds(func(j journey, d kernel.Deed) bool {
		return d.Priority <= ourNAT && (d.What == kernel.DeedNAT || d.What == kernel.DeedMasq && keeps[j.Out])
	}, "postrouting")
	for _, d := range found {
		list = append(list, Finding{ID: "source-rewritten", Level: Problem, What: fmt.Sprintf("a rule of chain %s gives connections their source address before snat of links does", d.Chain),
			Breaks: "they leave with an address that is not the one configured for the link, and the provider drops them or replies come back elsewhere", Evidence: ruleAt(d), Repair: removes(d)})
	}
	return list
}

// untracks tells of rules that keep our packets from connection tracking.
func untracks(f *Facts) (list []Finding) {
	for _, d := range f.deeds(func(_ journey, d kernel.Deed) bool { return d.What == kernel.DeedUntrack }, "prerouting", "output") {
		list = append(list, Finding{ID: "untracked", Level: Problem, What: fmt.Sprintf("a rule of chain %s may take packets from connection tracking", d.Chain),
			Breaks: "they have no mark: they are not balanced, keep no link and get no source address", Evidence: ruleAt(d), Repair: removes(d)})
	}
	return list
}

// offloads tells of flowtables: what is in one passes by our chains.
func offloads(f *Facts) (list []Finding) {
	for _, d := range f.deeds(func(_ journey, d kernel.Deed) bool { return d.What == kernel.DeedOffload }, "forward") {
		list = append(list, Finding{ID: "offloaded", Level: Hint, What: fmt.Sprintf("a rule of chain %s offloads connections to a flowtable", d.Chain),
			Breaks: "they pass by all chains: onFailure: reset does not end them, and counters and limits of their packets see only the first ones", Evidence: ruleAt(d), Repair: removes(d)})
	}
	return list
}

// takesQueries tells of other transparent proxies that take DNS of the inside.
func takesQueries(f *Facts) (list []Finding) {
	if f.Meet == nil || !f.Proxies {
		return nil
	}
	seen := map[string]bool{}
	for _, inside := range f.Inside {
		n := f.nic(inside)
		if n == nil {
			continue
		}
		p := kernel.Passing{In: n.Name, InIndex: n.Index, Protocol: udp, DestPort: 53, Source: client(n, false), New: true}
		for _, d := range f.Meet("prerouting", p).Deeds {
			at := fmt.Sprint(d.Chain, d.Handle)
			if seen[at] || d.What != kernel.DeedTProxy && d.What != kernel.DeedDest {
				continue
			}
			seen[at] = true
			level, breaks := Problem, "the other program gets the queries, or neither does"
			if d.What == kernel.DeedDest {
				level, breaks = Hint, "what dnsProxy lets pass goes where that rule says; what it takes is rewritten after it"
			}
			list = append(list, Finding{ID: "queries-taken", Level: level, What: fmt.Sprintf("a rule of chain %s may take DNS queries of %s", d.Chain, inside), Breaks: breaks,
				Evidence: ruleAt(d), Repair: removes(d)})
		}
	}
	return list
}

// legacyTables tells of the old iptables, which nftables does not show.
func legacyTables(f *Facts) []Finding {
	if !f.gateway() || len(f.Legacy) == 0 {
		return nil
	}
	return []Finding{{ID: "iptables-legacy", Level: Hint, What: "there are tables of the old iptables: " + strings.Join(f.Legacy, ", "),
		Breaks: "nothing, if they are empty; what rules they have is not judged here", Evidence: "/proc/net/ip_tables_names",
		Repair: []string{"iptables-legacy-save", "iptables-legacy-save | iptables-nft-restore"}}}
}
