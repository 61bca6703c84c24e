package outbound

import (
	"slices"

	"github.com/portolan-lb/portolan/config"
	"github.com/portolan-lb/portolan/kernel"
	"github.com/portolan-lb/portolan/traffic"
)

// The type of service of a connection (FAQ 1.1.5) is decided with its link, but
// every packet of the original direction has to carry it:
//
//	virtual server, action ── wish: bits of the packet mark, so that an action
//	                          that goes on to the next rule takes its wish back
//	place, forward         ── serve: the wish becomes the connection's label
//	every packet           ── services: the label says what is written into it
//
// Labels can be added to but not changed, so the first one stays.
const (
	serveChain    = "serve"
	servicesChain = "services"
)

// services gives the types of service that the configuration has, each once.
func (p *Plan) services() (list []config.TOS) {
	add := func(t *config.TOS) {
		if t != nil && !slices.Contains(list, *t) {
			list = append(list, *t)
		}
	}
	for _, v := range p.conf.VirtualServers {
		add(v.TOS)
		if policy := p.policies[v.Policy]; policy != nil {
			for _, r := range policy.Rules {
				add(r.Action.TOS)
			}
			if policy.Default != nil {
				add(policy.Default.TOS)
			}
		}
	}
	slices.Sort(list)
	return list
}

// wishes is the bits of the packet mark in which wishes stand: 0 if there are
// none, so that nothing of it is written.
func (b *builder) wishes() uint32 {
	if len(b.plan.services()) == 0 {
		return 0
	}
	return kernel.WishedMask | kernel.ServerWishedMask
}

// wished is a type of service as bits of a mask.
func wished(t config.TOS, mask uint32) uint32 {
	return uint32(kernel.Wished(uint8(t))) * (mask & -mask)
}

// wish notes the type of service of a virtual server or an action.
func wish(t *config.TOS, mask uint32) []kernel.Rule {
	if t == nil {
		return nil
	}
	return []kernel.Rule{traffic.Rule("type of service "+t.String(), kernel.SetMark{Mask: mask, Bits: wished(*t, mask)})}
}

// unwish takes back what an action wished that goes on to the next rule.
func unwish(a *config.PolicyAction) []kernel.Rule {
	if a.TOS == nil || a.OnFailure != config.FailureContinue && a.OnBusy != config.BusyContinue {
		return nil
	}
	return []kernel.Rule{traffic.Rule("", kernel.SetMark{Mask: kernel.WishedMask})}
}

// serve has a connection that is placed get what was wished: by its action
// before its virtual server.
func (b *builder) serve() []kernel.Rule {
	list := b.plan.services()
	if len(list) == 0 {
		return nil
	}
	serve := b.Chain(serveChain, func() []kernel.Rule {
		rules := []kernel.Rule{traffic.Rule("a connection has its type of service for life", traffic.Labelled(), kernel.Return{})}
		for _, mask := range []uint32{kernel.WishedMask, kernel.ServerWishedMask} {
			for _, t := range list {
				is := kernel.Is{Of: kernel.Masked{Of: kernel.Mark, Mask: kernel.Number(mask)}, To: kernel.Number(wished(t, mask))}
				rules = append(rules, traffic.Rule("the connection has type of service "+t.String(), is, kernel.SetCtLabel{Bits: kernel.ServiceLabel(uint8(t))}, kernel.Return{}))
			}
		}
		return rules
	})
	return []kernel.Rule{traffic.Rule("", traffic.AnyBit(kernel.Mark, b.wishes()), kernel.Jump{Chain: serve}), traffic.Rule("", traffic.Labelled(), kernel.Jump{Chain: b.write()})}
}

// served writes the type of service of a session into a packet of its. One that
// no configuration has any more is not written.
func (b *builder) served() []kernel.Rule {
	if len(b.plan.services()) == 0 {
		return nil
	}
	return []kernel.Rule{traffic.Rule("an existing session keeps its type of service", traffic.Labelled(), kernel.Is{Of: kernel.CtDirection, To: []byte{0}}, kernel.Jump{Chain: b.write()})}
}

// write writes what the label says.
func (b *builder) write() string { return b.LabelledServices(servicesChain, b.plan.services()) }
