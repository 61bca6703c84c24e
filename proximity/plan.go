package proximity

import (
	"encoding/binary"
	"hash/fnv"
	"net/netip"
	"slices"

	"github.com/portolan-lb/portolan/config"
)

// Plan is what a configuration says of proximity. It is not changed; readers
// share it without locks.
type Plan struct {
	Config *config.Proximity
	Links  []*config.Link // those that are measured: a pool with a slot for proximity may choose among them, in the order of the file

	asked   bool // some pool has a slot for proximity
	index   map[string]int
	static  statics
	weights uint64 // names weights and margin

}

// Compile makes the plan of a validated model. It has no effect.
func Compile(m *config.Model) *Plan {
	p := &Plan{Config: &m.Proximity, index: map[string]int{}}
	w := m.Proximity.Weights
	p.weights = hashOf(w.RTT, w.TTL, w.Cost, w.In, w.Out, int(m.Proximity.Margin))
	reached := reachedLinks(m)
	for _, pool := range m.Pools {
		p.asked = p.asked || asks(pool)
	}
	for _, l := range m.Links {
		if reached[l.Name] {
			p.index[l.Name] = len(p.Links)
			p.Links = append(p.Links, l)
		}
	}
	p.setStatics(m.Proximity.Static)
	return p
}

// Measures says whether distances are measured: there is a method, and a pool
// that asks for them (FAQ 1.1.6, 1.2.23).
func (p *Plan) Measures() bool { return p.asked && p.Config.Measures() }

// Link gives the number of a link in this plan, for [Ranking.Rank].
func (p *Plan) Link(name string) (number int, ok bool) {
	number, ok = p.index[name]
	return number, ok
}

// asks says whether a pool has a slot for proximity.
func asks(p *config.Pool) bool {
	return slices.ContainsFunc([]config.Slot{p.Preferred, p.Alternate, p.Fallback}, func(s config.Slot) bool { return s.Algorithm == "proximity" })
}

// reachedLinks gives the links that a slot for proximity may choose among,
// those of nested pools included.
func reachedLinks(m *config.Model) map[string]bool {
	pools := map[string]*config.Pool{}
	for _, p := range m.Pools {
		pools[p.Name] = p
	}
	of := map[string]string{}
	for _, v := range m.VirtualServers {
		of[v.Name] = v.Link
	}
	links, seen := map[string]bool{}, map[string]bool{}
	var visit func(p *config.Pool)
	visit = func(p *config.Pool) {
		if p == nil || seen[p.Name] {
			return
		}
		seen[p.Name] = true
		for _, member := range p.Members {
			if member.Pool != "" {
				visit(pools[member.Pool])
			}
			if link := of[member.VirtualServer]; link != "" {
				links[link] = true
			}
		}
	}
	for _, p := range m.Pools {
		if asks(p) {
			visit(p)
		}
	}
	return links
}

// network gives the network that shares an entry with a client. It is not
// valid for an address that is none.
func (p *Plan) network(client netip.Addr) netip.Prefix {
	bits := p.Config.Mask.V4
	if client.Is6() {
		bits = p.Config.Mask.V6
	}
	n, err := client.Prefix(bits)
	if err != nil {
		return netip.Prefix{}
	}
	return n
}

// statics are the networks whose best link is configured.
type statics struct {
	lengths [2][]int // that there are, longest first; IPv4, IPv6
	links   map[netip.Prefix]int
	finer   map[netip.Prefix]int // networks of entries that have statics inside: the longest of those
}

// noLink is no link of the plan.
const noLink = -1

func (p *Plan) setStatics(list []*config.StaticProximity) {
	s := &p.static
	s.links, s.finer = map[netip.Prefix]int{}, map[netip.Prefix]int{}
	for _, e := range list {
		number, ok := p.index[e.Link]
		if !ok {
			number = noLink // no pool asks for it; yet a shorter prefix does not stand for it
		}
		s.links[e.Prefix] = number
		family := familyOf(e.Prefix.Addr())
		if !slices.Contains(s.lengths[family], e.Prefix.Bits()) {
			s.lengths[family] = append(s.lengths[family], e.Prefix.Bits())
		}
		if n := p.network(e.Prefix.Addr()); n.Bits() < e.Prefix.Bits() {
			s.finer[n] = max(s.finer[n], e.Prefix.Bits())
		}
	}
	for _, l := range s.lengths {
		slices.Sort(l)
		slices.Reverse(l)
	}
}

func familyOf(a netip.Addr) int {
	if a.Is6() {
		return 1
	}
	return 0
}

// of gives the configured link of a client by the longest prefix, or noLink.
func (s *statics) of(client netip.Addr) int {
	for _, length := range s.lengths[familyOf(client)] {
		if p, err := client.Prefix(length); err == nil {
			if link, ok := s.links[p]; ok {
				return link
			}
		}
	}
	return noLink
}

// hashOf names a few numbers.
func hashOf(numbers ...int) uint64 {
	h := fnv.New64a()
	var b [8]byte
	for _, n := range numbers {
		binary.BigEndian.PutUint64(b[:], uint64(n))
		_, _ = h.Write(b[:])
	}
	return h.Sum64()
}
