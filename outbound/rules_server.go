package outbound

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"

	"github.com/portolan-lb/portolan/config"
	"github.com/portolan-lb/portolan/flow"
	"github.com/portolan-lb/portolan/kernel"
	"github.com/portolan-lb/portolan/traffic"
)

// candidate is a virtual server for some destinations.
type candidate struct {
	server *config.OutboundVirtualServer
	bits   int // of the longest of its networks around them
	order  int // in the file
}

// all says whether it takes everything, so that none after it is asked.
func (c candidate) all() bool {
	return c.server.Protocol == config.ProtocolAny && len(c.server.Ports) == 0
}

// region is destinations with the same candidates, the most specific first.
type region struct {
	config.AddressRange
	list []candidate
}

// servers writes the rules that find the virtual server of a connection: by the
// destination in one look-up, then by protocol and ports. What is for every
// destination needs no look-up.
func (b *builder) servers() []kernel.Rule {
	var rules []kernel.Rule
	var general [2][]candidate
	for _, f := range traffic.Families() {
		regions, rest := b.plan.regions(f)
		general[f.Index] = rest
		if len(regions) == 0 {
			continue
		}
		var elements []kernel.Element
		chains := map[string]string{}
		for _, r := range regions {
			text := textOf(r.list)
			if chains[text] == "" {
				chains[text] = b.ChainFor(flow.VirtualServer, "", fmt.Sprintf("servers%s_%d", f.Digit, len(chains)+1), func() []kernel.Rule { return b.choose(r.list, f) })
			}
			elements = append(elements, kernel.Element{Key: kernel.Addr(r.From), End: kernel.Addr(r.To), Verdict: kernel.Goto{Chain: chains[text]}})
		}
		set := b.Fix(kernel.Set{Name: "servers" + f.Digit, Key: []kernel.Type{f.Addr}, Verdicts: true, Interval: true}, elements)
		rules = append(rules, traffic.Rule("virtual servers of the destination", kernel.Choose{Key: f.Dest, Map: set}))
	}
	if textOf(general[0]) == textOf(general[1]) && !slices.ContainsFunc(general[0], func(c candidate) bool { return c.server.Protocol == config.ProtocolICMP }) {
		return append(rules, b.choose(general[0], traffic.Families()[0])...)
	}
	for _, f := range traffic.Families() {
		for _, r := range b.choose(general[f.Index], f) {
			r.Do = append([]kernel.Step{f.Only()}, r.Do...)
			rules = append(rules, r)
		}
	}
	return rules
}

func textOf(list []candidate) (text string) {
	for _, c := range list {
		text += fmt.Sprint(c.order, " ")
	}
	return text
}

// regions divides the destinations of a family by their candidates; rest are
// those of all destinations that are in no region.
func (p *Plan) regions(f traffic.Family) (regions []region, rest []candidate) {
	var prefixes []netip.Prefix
	for _, v := range p.conf.VirtualServers {
		for _, d := range v.Destinations {
			if v.Enabled && f.Has(d.Addr()) && d.Bits() > 0 {
				prefixes = append(prefixes, d.Masked())
			}
		}
	}
	for _, r := range traffic.Innermost(prefixes) {
		list := p.candidates(f, r.Inside)
		if i := len(regions) - 1; i >= 0 && regions[i].To.Next() == r.From && textOf(regions[i].list) == textOf(list) {
			regions[i].To = r.To
			continue
		}
		regions = append(regions, region{r.AddressRange, list})
	}
	return regions, p.candidates(f, netip.Prefix{})
}

// candidates gives the virtual servers that have a network around a prefix, the
// most specific first, up to one that takes all; of the zero Prefix those for
// all destinations.
func (p *Plan) candidates(f traffic.Family, around netip.Prefix) (list []candidate) {
	for i, v := range p.conf.VirtualServers {
		best := -1
		for _, d := range v.Destinations {
			inside := around.IsValid() && d.Overlaps(around) && d.Bits() <= around.Bits()
			if v.Enabled && f.Has(d.Addr()) && (d.Bits() == 0 || inside) {
				best = max(best, d.Bits())
			}
		}
		if best >= 0 {
			list = append(list, candidate{v, best, i})
		}
	}
	slices.SortStableFunc(list, func(a, b candidate) int {
		return cmp.Or(cmp.Compare(b.bits, a.bits), cmp.Compare(general(a.server.Protocol == config.ProtocolAny), general(b.server.Protocol == config.ProtocolAny)),
			cmp.Compare(general(len(a.server.Ports) == 0), general(len(b.server.Ports) == 0)), cmp.Compare(a.order, b.order))
	})
	if i := slices.IndexFunc(list, candidate.all); i >= 0 {
		list = list[:i+1]
	}
	return list
}

// general orders what is for everything after what is not.
func general(all bool) int {
	if all {
		return 1
	}
	return 0
}

// choose writes the rules that take the first candidate that a packet matches.
func (b *builder) choose(list []candidate, f traffic.Family) (rules []kernel.Rule) {
	for _, c := range list {
		v := c.server
		var services []config.Service
		if v.Protocol != config.ProtocolAny && len(v.Ports) == 0 {
			services = []config.Service{{Protocol: v.Protocol}}
		}
		for _, ports := range v.Ports {
			services = append(services, config.Service{Protocol: v.Protocol, Ports: ports})
		}
		when := traffic.Condition(traffic.Always)
		if len(services) > 0 {
			when = b.Services("server_"+traffic.Word(v.Name), services, f)
		}
		to := kernel.Goto{Chain: b.server(v)}
		rules = append(rules, b.When(when, "which_"+traffic.Word(v.Name)+"_"+f.Digit, "virtual server "+v.Name, to)...)
	}
	return rules
}

// server writes the chain of a virtual server.
func (b *builder) server(v *config.OutboundVirtualServer) string {
	return b.ChainFor(flow.VirtualServer, v.Name, "server_"+traffic.Word(v.Name), func() []kernel.Rule {
		rules := []kernel.Rule{traffic.Rule("virtual server "+v.Name, b.Count("virtualServer/"+traffic.Word(v.Name)))}
		rules = append(rules, wish(v.TOS, kernel.ServerWishedMask)...)
		policy := b.plan.policies[v.Policy]
		at := site{server: v, late: b.plan.overrides(v)}
		if !at.late && limited(v) {
			rules = append(rules, traffic.Rule("limits of virtual server "+v.Name, kernel.Jump{Chain: b.limits(v)}))
		}
		at.name = "virtual server " + v.Name
		if policy != nil {
			rules = append(rules, traffic.Rule("policy "+policy.Name, kernel.Jump{Chain: b.policy(policy, at)}))
			if policy.Default != nil {
				at.name = "policy " + policy.Name + " default"
				rules = append(rules, traffic.Rule("", b.Count("rule/"+traffic.Word(policy.Name)+"/default")))
				rules = append(rules, wish(policy.Default.TOS, kernel.WishedMask)...)
			}
		}
		a := v.Default(policy)
		a.OnFailure = config.FailureDrop // there is no further rule
		rules = append(rules, b.action(&a, at)...)
		if a.OnBusy == config.BusyContinue {
			rules = append(rules, traffic.Rule("what only busy links could take is dropped", b.Count("dropped/"+traffic.Word(v.Name)), kernel.Drop{}))
		}
		return rules
	})
}
