package proximity

import (
	"fmt"
	"hash/fnv"
	"net/netip"
	"slices"
	"sync/atomic"
	"time"

	"github.com/portolan-lb/portolan/config"
	"github.com/portolan-lb/portolan/status"
)

// Plan is what a configuration says of proximity. It is not changed; readers
// share it without locks.
type Plan struct {
	Config *config.Proximity
	Links  []*config.Link // those that are measured: a pool with a slot for proximity, or a link group with it, may choose among them, in the order of the file

	others  []*config.Link // the rest
	asked   bool           // some pool has a slot for proximity, or some link group goes by it
	flows   bool           // some link group does
	index   map[string]int
	rows    []status.ID // of Links
	static  statics
	weights [Factors]float64
	margin  float64  // 0 to 1
	maxAge  uint32   // seconds for which a measurement counts
	timeout uint32   // seconds for which an entry that nobody asks for stays
	seed    uint64   // names weights and margin
	names   []uint64 // of Links

	inUse atomic.Pointer[inUse] // nil: was never in force
}

// inUse ties a plan to the table that it came into force in.
type inUse struct {
	table *Table
	ids   []uint16          // of Links; 0: there are too many links
	of    map[string]uint16 // the same by name
}

// Compile makes the plan of a validated model. It has no effect.
func Compile(m *config.Model) *Plan {
	c := &m.Proximity
	p := &Plan{Config: c, index: map[string]int{}, margin: float64(c.Margin) / 100, timeout: secondsOf(time.Duration(c.Timeout))}
	// As long as the entry itself at least: who asks seldom would else never find
	// it measured. What is older than refresh is measured again as it is asked for.
	p.maxAge = max(p.timeout, secondsOf(2*time.Duration(c.Refresh)))
	for f, w := range [Factors]int{RTT: c.Weights.RTT, TTL: c.Weights.TTL, Cost: c.Weights.Cost, In: c.Weights.In, Out: c.Weights.Out} {
		p.weights[f] = float64(w)
	}
	p.seed = hashOf(p.weights, p.margin)
	reached := reachedLinks(m)
	p.flows = len(nearGroups(m)) > 0
	p.asked = p.flows || slices.ContainsFunc(m.Pools, asks)
	for _, l := range m.Links {
		if !reached[l.Name] {
			p.others = append(p.others, l)
			continue
		}
		p.index[l.Name] = len(p.Links)
		p.Links = append(p.Links, l)
		p.names = append(p.names, hashOf("link ", l.Name))
		p.rows = append(p.rows, status.MakeID(status.KindLink, l.Name))
	}
	p.setStatics(c.Static)
	return p
}

// Measures says whether distances are measured: there is a method, and a pool
// or a link group that asks for them (FAQ 1.1.6, 1.2.21, 1.2.23).
func (p *Plan) Measures() bool { return p.asked && p.Config.Measures() }

// refresh is proximity.refresh in seconds.
func (p *Plan) refresh() uint32 { return secondsOf(time.Duration(p.Config.Refresh)) }

// Link gives the number of a link in this plan, for [View.Rank] and
// [Chosen].
func (p *Plan) Link(name string) (number int, ok bool) {
	number, ok = p.index[name]
	return number, ok
}

// asks says whether a pool has a slot for proximity.
func asks(p *config.Pool) bool {
	return slices.ContainsFunc([]config.Slot{p.Preferred, p.Alternate, p.Fallback}, func(s config.Slot) bool { return s.Algorithm == "proximity" })
}

// nearGroups gives the link groups that go by proximity, where there is
// anything that sends to them.
func nearGroups(m *config.Model) (groups []*config.LinkGroup) {
	for _, g := range m.LinkGroups {
		if g.Proximity && m.Balances() {
			groups = append(groups, g)
		}
	}
	return groups
}

// reachedLinks gives the links that a slot for proximity, or a link group, may
// choose among, those of nested pools included.
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
	for _, g := range nearGroups(m) {
		for _, member := range g.Members {
			links[member.Link] = true
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

// circle names links that are chosen among, in whatever order, and how they are
// weighed: who was the best among others, or by other weights, has no margin.
func (p *Plan) circle(links []int) uint16 {
	sum := p.seed
	for _, l := range links {
		sum += p.names[l]
	}
	return folded(sum)
}

func folded(h uint64) uint16 { return uint16(h ^ h>>16 ^ h>>32 ^ h>>48) }

func hashOf(what ...any) uint64 {
	h := fnv.New64a()
	_, _ = fmt.Fprint(h, what...)
	return h.Sum64()
}
