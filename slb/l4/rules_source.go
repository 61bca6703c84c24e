package l4

import (
	"net/netip"

	"github.com/portolan-lb/portolan/config"
	"github.com/portolan-lb/portolan/flow"
	"github.com/portolan-lb/portolan/kernel"
	"github.com/portolan-lb/portolan/traffic"
)

// source translates the source of first packets.
func (w *writer) source() []kernel.Rule {
	return []kernel.Rule{traffic.Rule("a new connection of a virtual server", traffic.AnyBit(kernel.CtMark, kernel.ServerMask),
		kernel.Goto{Chain: w.ChainFor(flow.VirtualServer, "", "sources", w.sources)})}
}

func (w *writer) sources() (rules []kernel.Rule) {
	if len(w.pools) > 0 {
		for _, f := range traffic.Families() {
			slot := kernel.Hash{Of: f.Source, Mod: poolSlots}
			from := func(pool kernel.Value, ports bool) kernel.Step {
				return kernel.SNATTo{IPv6: f.IPv6(), To: w.lookup("pools"+f.Digit, pool, slot), Ports: ports}
			}
			isNot := func(protocol uint8) kernel.Step {
				return kernel.Is{Of: kernel.Protocol, Op: kernel.NotEqual, To: []byte{protocol}}
			}
			host := func() kernel.Value { return w.lookup("snat_host"+f.Digit, f.Dest) }
			rules = append(rules,
				traffic.Rule("an address of the farm's pool", f.Only(), from(w.lookup("snat"+f.Digit, f.Dest, kernel.DestPort), true)),
				traffic.Rule("an address of the farm's pool", f.Only(), from(host(), true)),
				traffic.Rule("the same for a protocol without ports", f.Only(), isNot(tcp), isNot(udp), from(host(), false)))
		}
	}
	if w.masquerades() {
		rules = append(rules, w.at("the address of the interface towards the server", "masquerade", false, kernel.Masquerade{})...)
	}
	return append(rules, w.hairpin()...)
}

// masquerades says whether servers of some farm see this machine's own address.
func (p *Plan) masquerades() bool {
	for _, f := range p.farms {
		if mode, pool := f.Snat(); pool == "" && mode == config.SNATMasquerade {
			return true
		}
	}
	return false
}

// hairpin has a neighbour of a server that asks the virtual server see answers
// of the virtual server: the server would answer it directly.
func (w *writer) hairpin() []kernel.Rule {
	var same []kernel.Element
	var near [2][]netip.Prefix
	for i := range w.facts.Interfaces {
		n := &w.facts.Interfaces[i]
		networks := connected(n)
		if n.Name == "lo" || len(networks) == 0 {
			continue
		}
		same = append(same, kernel.Element{Key: kernel.Key(kernel.Name(n.Name), kernel.Name(n.Name))})
		for _, p := range networks {
			at := traffic.FamilyOf(p.Addr())
			near[at] = append(near[at], p)
		}
	}
	w.Fix(w.data.shapes["same"], same)
	return []kernel.Rule{traffic.Rule("it goes back where it came from", kernel.In{Key: kernel.Join{kernel.InName, kernel.OutName}, Set: "same"},
		kernel.Goto{Chain: w.Chain("hairpin", func() (rules []kernel.Rule) {
			for i, f := range traffic.Families() {
				set := w.Ranges("near"+f.Digit, f, traffic.RangesOf(f, near[i]...))
				rules = append(rules, traffic.Rule("hairpin: a neighbour of the server", kernel.In{Key: f.Source, Set: set}, kernel.Masquerade{}))
			}
			return rules
		})})}
}

// assist gives connections of protocols that open further ones the helper of
// the kernel that finds those, so that they follow their parent to its server.
func (w *writer) assist() []kernel.Rule {
	var list []chosen
	seen := map[config.Helper]bool{}
	for _, s := range w.servers {
		h := s.Serve.Helper
		if h == "" || seen[h] {
			continue
		}
		seen[h] = true
		list = append(list, chosen{helperNumber(h), kernel.Goto{Chain: w.Chain("helper_"+string(h), func() (rules []kernel.Rule) {
			protocols, _ := traffic.HelperProtocols(h)
			for _, protocol := range protocols {
				rules = append(rules, traffic.Rule("children of "+string(h)+" follow their parent", traffic.OfProtocol(protocol), w.Assist(h, protocol)))
			}
			return rules
		})}})
	}
	return w.choice("helper", "helper", "helpers", served(), list)
}

func helperNumber(h config.Helper) uint32 {
	for i, k := range []config.Helper{config.HelperFTP, config.HelperSIP, config.HelperTFTP} {
		if k == h {
			return uint32(i + 1)
		}
	}
	return 0
}

// addresses wishes the addresses that are ours to put on interfaces.
func (w *writer) addresses(to *kernel.Wishes) {
	for _, s := range w.servers {
		if s.Serve.Interface == "" {
			continue
		}
		for _, a := range s.Addresses {
			to.Addresses = append(to.Addresses, kernel.Address{Prefix: netip.PrefixFrom(a, a.BitLen()), Interface: s.Serve.Interface})
		}
	}
	for _, s := range w.model.SNATPools {
		if w.pools[s.Name] == nil || s.Interface == "" {
			continue
		}
		for _, r := range s.Addresses {
			for a := r.From; a.IsValid() && a.Compare(r.To) <= 0; a = a.Next() {
				to.Addresses = append(to.Addresses, kernel.Address{Prefix: netip.PrefixFrom(a, a.BitLen()), Interface: s.Interface})
			}
		}
	}
}

// sysctls wishes what the kernel must be told for anything to be forwarded.
func (w *writer) sysctls(to *kernel.Wishes) {
	add := func(name, why string, repair bool, values ...string) {
		to.Sysctls = append(to.Sysctls, kernel.Sysctl{Name: name, Values: values, Why: why, Repair: repair})
	}
	if w.answersHere() {
		add("ipv4/conf/all/accept_local", "without it answers of routed servers, which have an address of this machine as source, are dropped", w.conf.RepairSysctls, "1")
	}
	add("ipv4/ip_forward", "without it nothing is forwarded to servers", w.conf.RepairSysctls, "1")
	for _, s := range w.servers {
		for _, a := range s.Addresses {
			if a.Is6() {
				add("ipv6/conf/all/forwarding", "without it no IPv6 is forwarded to servers", false, "1") // setting it would stop the host from learning its IPv6 routes
				return
			}
		}
	}
}
