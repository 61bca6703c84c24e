package dnsproxy

import (
	"slices"
	"sync/atomic"

	"github.com/portolan-lb/portolan/busy"
	"github.com/portolan-lb/portolan/config"
	"github.com/portolan-lb/portolan/pick"
	"github.com/portolan-lb/portolan/status"
)

// pool is a DNS server pool, compiled.
type pool struct {
	name    string
	view    uint32 // what its answers are kept under: changes with its servers
	group   *pick.Group
	members []*pick.Member
	servers []*server      // by pick.Member.Index
	draws   *atomic.Uint64 // goes on over reloads
}

// newPool makes a pool. A DNS server is usable when its own row, its link's and
// the interface's of its link are (semantics B.7).
func newPool(conf *config.DNSServerPool, servers map[string]*server, links map[string]*config.Link) *pool {
	p := &pool{name: conf.Name}
	for i, m := range conf.Members {
		s := servers[m.Server]
		made := &pick.Member{Index: i, Name: m.Server, Weight: m.Weight, Priority: m.Priority, Self: status.MakeID(status.KindDNSServer, m.Server)}
		made.Needs = append(made.Needs, made.Self)
		if s.link != "" {
			made.Link = status.MakeID(status.KindLink, s.link)
			made.Needs = append(made.Needs, made.Link)
		}
		if l := links[s.link]; l != nil && l.Interface != "" {
			made.Needs = append(made.Needs, status.MakeID(status.KindInterface, l.Interface))
		}
		p.members, p.servers = append(p.members, made), append(p.servers, s)
	}
	rules := pick.Rules{Name: conf.Name, Min: conf.Min, Max: conf.Max, BusyProtection: conf.BusyProtection}
	for _, s := range conf.Spill {
		rules.Spill |= map[config.Spill]pick.Spill{config.SpillDown: pick.SpillDown, config.SpillBusy: pick.SpillBusy, config.SpillFull: pick.SpillFull}[s]
	}
	// The second slot has its turn where nothing is known of any link's bandwidth.
	p.group = pick.NewGroup(p.members, rules, pick.Slot{Name: conf.Algorithm, Algorithm: algorithm(conf)},
		pick.Slot{Name: "else round-robin", Algorithm: pick.RoundRobin(true)})
	return p
}

// algorithm is the algorithm that a pool names (FAQ 1.1.15: weights count in
// round-robin and bandwidth).
func algorithm(conf *config.DNSServerPool) pick.Algorithm {
	direction := map[string]busy.Direction{"in": busy.In, "out": busy.Out}[conf.Direction] // else total
	switch conf.Algorithm {
	case "random":
		return pick.Random(false)
	case "source-hash":
		return pick.SourceHash(false, conf.Mask.V4, conf.Mask.V6)
	case "bandwidth":
		return pick.Bandwidth(direction, true)
	case "max-bandwidth":
		return pick.MaxBandwidth(direction, 0)
	}
	return pick.RoundRobin(true)
}

// choice is the choosing of servers for one query: the first, and others when
// it fails.
type choice struct {
	pool   *pool
	in     pick.Input
	tried  []*server
	usable bool // somebody is; if not, those that nobody holds are asked all the same
	sticky bool // persistence chose the first
	first  *pick.Member
	reason pick.Reason
}

// choose begins. kept is the server that persistence has for the client; it is
// taken if it takes part now, or if only busy protection or a limit keeps it out
// and persistence overrides that (C2).
func (p *pool) choose(in pick.Input, kept string, overBusy, overFull bool, tr *pick.Trace) *choice {
	c := &choice{pool: p, in: in, usable: true}
	if m := p.stick(in, kept, overBusy, overFull); m != nil {
		c.first, c.sticky = m, true
		return c
	}
	var room [1]*pick.Member
	got, reason := p.group.Pick(in, room[:0], tr)
	c.reason = reason
	if reason == pick.Chosen {
		c.first = got.Members[0]
		return c
	}
	// Nobody is usable. Probes may be wrong, and asking in vain is no worse than
	// not asking: only what an operator holds is left alone.
	c.usable = false
	if free := pick.Among(in, p.group.Free(in.Table), room[:0]); len(free) > 0 {
		c.first = free[0]
	}
	return c
}

// stick gives the member of an entry of persistence if it is honoured.
func (p *pool) stick(in pick.Input, kept string, overBusy, overFull bool) *pick.Member {
	if kept == "" {
		return nil
	}
	i := slices.IndexFunc(p.members, func(m *pick.Member) bool { return m.Name == kept })
	if i < 0 {
		return nil
	}
	m := p.members[i]
	if slices.Contains(p.group.ActiveFor(in), m) {
		return m
	}
	full := slices.ContainsFunc(m.Needs, func(id status.ID) bool { return in.Table.Row(id).Full })
	if overBusy && (!full || overFull) && slices.Contains(p.group.Usable(in.Table), m) {
		return m
	}
	return nil
}

// next gives the server to ask now: the chosen one, then others, those of other
// links first, of those that take part, then of those that are usable; and
// again the last one if there is no other. nil: there is none.
func (c *choice) next(again bool) *server {
	if c.first == nil {
		return nil
	}
	m := c.first
	if len(c.tried) > 0 {
		m = c.other(c.pool.group.ActiveFor(c.in))
		if m == nil {
			m = c.other(c.pool.group.Usable(c.in.Table))
		}
		if m == nil && !c.usable {
			m = c.other(c.pool.group.Free(c.in.Table))
		}
		if m == nil && again {
			return c.tried[len(c.tried)-1]
		}
		if m == nil {
			return nil
		}
	}
	s := c.pool.servers[m.Index]
	c.tried = append(c.tried, s)
	return s
}

// other gives one of the members that were not tried.
func (c *choice) other(members []*pick.Member) *pick.Member {
	var fresh, elsewhere []*pick.Member
	for _, m := range members {
		s := c.pool.servers[m.Index]
		if slices.Contains(c.tried, s) {
			continue
		}
		fresh = append(fresh, m)
		if !slices.ContainsFunc(c.tried, func(t *server) bool { return t.link == s.link }) {
			elsewhere = append(elsewhere, m)
		}
	}
	if len(elsewhere) > 0 {
		fresh = elsewhere
	}
	if got := pick.Among(c.in, fresh, nil); len(got) > 0 {
		return got[0]
	}
	return nil
}
