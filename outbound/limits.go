package outbound

import (
	"fmt"

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
			rules = append(rules, traffic.Rule("limit policy "+p.Name, kernel.Jump{Chain: b.LimitPolicy(p, traffic.Bounded{Name: name, Refuse: refuse})}))
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
