package l4

import (
	"fmt"
	"net/netip"

	"github.com/portolan-lb/portolan/config"
	"github.com/portolan-lb/portolan/kernel"
	"github.com/portolan-lb/portolan/traffic"
)

// pool is a pool of source addresses that some farm uses.
type pool struct {
	*config.SNATPool
	number uint32
}

// poolSlots are the places that the ranges of a pool share by their sizes. A hash
// of the client says which one: so a client always has the same address.
const poolSlots = 64

// findPools finds the pools that are used. The kernel tells the servers of a
// pool by address and port, so two farms that share a server must agree.
func (p *Plan) findPools() (errs config.Errors) {
	numbers := traffic.NewNamer(1<<32 - 1)
	for _, s := range p.model.SNATPools {
		used := false
		for _, f := range p.farms {
			used = used || f.SNATPool == s.Name
		}
		if used {
			p.pools[s.Name] = &pool{s, numbers.Of(s.Name)}
		}
	}
	type treatment struct {
		mode  config.SNATMode
		pool  string
		limit config.Bandwidths
	}
	first := map[netip.AddrPort]*member{}
	how := func(m *member) treatment {
		mode, pool := m.farm.Snat()
		return treatment{mode, pool, m.RateLimit}
	}
	for _, f := range p.farms {
		for _, m := range f.members {
			for _, a := range m.Addresses {
				other := first[m.socket(a)]
				if other == nil {
					first[m.socket(a)] = m
				} else if how(other) != how(m) {
					errs = append(errs, &config.Error{Pos: m.Pos, Path: "serverFarms",
						Text: fmt.Sprintf("server %s is server %s of farm %s too, with another snat or rateLimit: the kernel tells their packets by address and port alone", m.Name, other.Name, other.farm.Name)})
				}
			}
		}
	}
	return errs
}

// ofPools adds the ranges of pools.
func (p *Plan) ofPools() {
	for _, s := range p.model.SNATPools {
		pool := p.pools[s.Name]
		if pool == nil {
			continue
		}
		for _, f := range traffic.Families() {
			for i, r := range shared(pool.For(f.IPv6())) {
				p.data.add("pools"+f.Digit, kernel.Element{Key: slotKey(pool.number, i),
					Data: kernel.Key(kernel.Addr(r.From), kernel.Addr(r.To), kernel.Port(pool.Ports.From), kernel.Port(pool.Ports.To))})
			}
		}
	}
}

// shared gives the slots of a pool to its ranges, by their sizes; none if there
// are no ranges.
func shared(ranges []config.AddressRange) (out []config.AddressRange) {
	if len(ranges) == 0 {
		return nil
	}
	var all, before float64
	for _, r := range ranges {
		all += float64(r.Size())
	}
	at := 0
	for i := range poolSlots {
		middle := (float64(i) + 0.5) / poolSlots * all
		for at < len(ranges)-1 && middle >= before+float64(ranges[at].Size()) {
			before += float64(ranges[at].Size())
			at++
		}
		out = append(out, ranges[at])
	}
	return out
}
