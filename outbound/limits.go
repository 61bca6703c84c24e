package outbound

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/portolan-lb/portolan/config"
	"github.com/portolan-lb/portolan/flow"
	"github.com/portolan-lb/portolan/kernel"
	"github.com/portolan-lb/portolan/traffic"
)

func limited(v *config.OutboundVirtualServer) bool {
	return v.MaxConnections > 0 || v.NewConnections > 0 || v.LimitPolicy != ""
}

// limits writes the chain of a virtual server's limits: its own, then those of
// the limit policy, and both must admit (FAQ 1.2.9).
func (b *builder) limits(v *config.OutboundVirtualServer) string {
	name := traffic.Word(v.Name)
	return b.ChainFor(flow.VirtualServer, v.Name, "limits_"+name, func() (rules []kernel.Rule) {
		refuse := []kernel.Step{b.Count("limited/" + name), kernel.Drop{}}
		if v.MaxConnections > 0 {
			rules = append(rules, b.own(v, refuse)...)
		}
		if v.NewConnections > 0 {
			rules = append(rules, traffic.Rule(fmt.Sprintf("virtual server %s takes %d new connections a second", v.Name, v.NewConnections),
				append([]kernel.Step{traffic.RateOver(v.NewConnections)}, refuse...)...))
		}
		if p := b.plan.limits[v.LimitPolicy]; p != nil {
			rules = append(rules, traffic.Rule("limit policy "+p.Name, kernel.Jump{Chain: b.limitPolicy(p, v)}))
		}
		return rules
	})
}

// own writes the bound of a virtual server's connections. Up to [traffic.CountedMost]
// the kernel counts them exactly. More are counted in parts by a hash of the
// connection, each up to its part of the bound: never more than the bound, while
// from nine tenths of it on a few are refused whose part is full.
func (b *builder) own(v *config.OutboundVirtualServer, refuse []kernel.Step) (rules []kernel.Rule) {
	tell := fmt.Sprintf("virtual server %s is full at %d connections", v.Name, v.MaxConnections)
	if traffic.InKernel(v.MaxConnections) {
		return []kernel.Rule{traffic.Rule(tell, append([]kernel.Step{kernel.CountOver{Connections: uint32(v.MaxConnections)}}, refuse...)...)}
	}
	parts, most := traffic.Divided(v.MaxConnections)
	for _, f := range traffic.Families() {
		set := b.Set(kernel.Set{Name: "count" + f.Digit + "_" + traffic.Word(v.Name), Key: []kernel.Type{kernel.TypeNumber}, Dynamic: true, Size: parts})
		key := kernel.Hash{Of: kernel.Join{f.Source, f.Dest, kernel.SourcePort, kernel.DestPort}, Mod: uint32(parts)}
		rules = append(rules, traffic.Rule(tell, append([]kernel.Step{kernel.Change{How: kernel.Add, Set: set, Key: key, Over: uint32(most)}}, refuse...)...))
	}
	return rules
}

// limitPolicy writes the chain of a limit policy: the first rule that a
// connection matches decides. What is counted is counted for each virtual server
// by itself.
func (b *builder) limitPolicy(p *config.LimitPolicy, v *config.OutboundVirtualServer) string {
	name := "limit_" + traffic.Word(p.Name) + "_" + traffic.Word(v.Name)
	return b.Chain(name, func() (rules []kernel.Rule) {
		for i, r := range p.Rules {
			for _, f := range traffic.Families() {
				set := fmt.Sprintf("limit_%s_%d_", traffic.Word(p.Name), i+1)
				when := all(b.some(f.Source, set+"from"+f.Digit, f, r.Sources), b.some(f.Dest, set+"to"+f.Digit, f, r.Destinations))
				if when == condition(never) {
					continue
				}
				tell := fmt.Sprintf("limit policy %s rule %d", p.Name, i+1)
				to := b.limitRule(fmt.Sprintf("%s_%d_v%s", name, i+1, f.Digit), tell, r, f, v)
				for _, made := range b.when(when, name+"_match", tell, kernel.Goto{Chain: to}) {
					if !ofFamily(made.Do) {
						made.Do = append([]kernel.Step{f.Only()}, made.Do...)
					}
					rules = append(rules, made)
				}
			}
		}
		return rules
	})
}

// limitRule writes the chain of one bound. There are two counts of the same
// connections, for a count is bound to its limit. At upper the key is shut, and
// stays so until it is below lower (T29):
//
//	over upper  ──────────────→ shut the key, refuse
//	over lower, key shut ─────→ refuse
//	not over lower ───────────→ open the key, admit
func (b *builder) limitRule(name, tell string, r *config.LimitRule, f traffic.Family, v *config.OutboundVirtualServer) string {
	const keysMost = 65536
	key, types := limitKey(r, f)
	upper, lower := r.Upper, r.Lower
	if parts, most := traffic.Divided(upper); !traffic.InKernel(upper) {
		key = append(key, kernel.Hash{Of: kernel.Join{f.Source, f.Dest, kernel.SourcePort, kernel.DestPort}, Mod: uint32(parts)})
		types = append(types, kernel.TypeNumber)
		upper, lower = most, max(1, lower/parts)
	}
	value := kernel.Value(key)
	if len(key) == 1 {
		value = key[0]
	}
	set := func(suffix string) string {
		return b.Set(kernel.Set{Name: name + suffix, Key: types, Dynamic: true, Size: keysMost})
	}
	over := func(suffix string, most int) kernel.Step {
		return kernel.Change{How: kernel.Add, Set: set(suffix), Key: value, Over: uint32(most)}
	}
	refuse := []kernel.Step{b.Count("limited/" + traffic.Word(v.Name)), kernel.Drop{}}
	return b.Chain(name, func() []kernel.Rule {
		full := fmt.Sprintf("%s: full at %d", tell, r.Upper)
		if lower == upper {
			return []kernel.Rule{traffic.Rule(full, append([]kernel.Step{over("_upper", upper)}, refuse...)...)}
		}
		shut := set("_shut")
		return []kernel.Rule{
			traffic.Rule(full, over("_upper", upper), kernel.Goto{Chain: b.Chain(name+"_full", func() []kernel.Rule {
				return []kernel.Rule{traffic.Rule("it is shut", kernel.Change{How: kernel.Put, Set: shut, Key: value}), traffic.Rule("", refuse...)}
			})}),
			traffic.Rule(fmt.Sprintf("%s: not below %d", tell, r.Lower), over("_lower", lower), kernel.Goto{Chain: b.Chain(name+"_between", func() []kernel.Rule {
				return []kernel.Rule{traffic.Rule("still shut", append([]kernel.Step{kernel.In{Key: value, Set: shut}}, refuse...)...)}
			})}),
			traffic.Rule("it is open", kernel.Change{How: kernel.Remove, Set: shut, Key: value}),
		}
	})
}

// limitKey gives what is counted for itself.
func limitKey(r *config.LimitRule, f traffic.Family) (key kernel.Join, types []kernel.Type) {
	if slices.Contains(r.Per, config.LimitPerSource) {
		key, types = append(key, f.Source), append(types, f.Addr)
	}
	if slices.Contains(r.Per, config.LimitPerDestination) {
		key, types = append(key, f.Dest), append(types, f.Addr)
	}
	if slices.Contains(r.Per, config.LimitPerService) {
		key, types = append(key, kernel.Protocol, kernel.DestPort), append(types, kernel.TypeProto, kernel.TypePort)
	}
	if len(key) == 0 { // all together: one key, the family
		key, types = append(key, kernel.Family), append(types, kernel.TypeProto)
	}
	return key, types
}

// some asks whether an address is in one of the prefixes; none are all.
func (b *builder) some(of kernel.Field, set string, f traffic.Family, prefixes []netip.Prefix) condition {
	if len(prefixes) == 0 {
		return always
	}
	return b.inside(of, set, f, traffic.RangesOf(f, prefixes...))
}
