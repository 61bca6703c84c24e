package dnsserver

import (
	"fmt"
	"net/netip"
	"slices"
	"sync/atomic"
	"time"

	"github.com/portolan-lb/portolan/config"
	"github.com/portolan-lb/portolan/pick"
	"github.com/portolan-lb/portolan/proximity"
	"github.com/portolan-lb/portolan/status"
	"github.com/portolan-lb/portolan/topology"
)

// target is what a pool member puts into an answer.
type target struct {
	name   string
	v4, v6 netip.Addr // zero: the member lacks that family
	cname  string     // canonical; then there are no addresses
	site   string
	link   *config.Link    // that its address is reached by; nil: none
	way    []int           // the number of link in the proximity plan; empty: none
	place  *topology.Place // what topology rules see in it; nil: what they see in its members
}

func (t *target) has(family int) bool { return t.addr(family).IsValid() }

func (t *target) addr(family int) netip.Addr {
	if family == 4 {
		return t.v4
	}
	return t.v6
}

// pool is a configured pool, compiled.
type pool struct {
	*config.Pool
	group    *pick.Group
	targets  []target // of all pools, by pick.Member.Index
	has4     bool     // some member, nested ones included, has an IPv4 address or a CNAME
	has6     bool
	lack4    bool // some member, nested ones included, has neither
	lack6    bool
	ladder   []rung
	topology *topology.Table
	state    *poolState
	schedule atomic.Pointer[schedule]
	scopes   [2]atomic.Pointer[scopeCache] // IPv4, IPv6
	depends  []*pool                       // pools that its ladder may end in, itself first
}

// poolState is what a pool keeps from one configuration to the next.
type poolState struct {
	lastGood atomic.Pointer[[]string] // names of the last members that took part
}

// pools is every pool of a configuration.
type pools struct {
	byName    map[string]*pool
	order     []*pool // nested ones before those that hold them
	needs     map[status.ID][]*pool
	memo      *memo
	counts    map[string]*atomic.Uint64   // the next draw number, by group of names
	bound     map[string]int              // names bound so far, by group
	dead      map[status.ID]time.Duration // dead times of links
	proximity *proximity.Plan
}

// poolCompiler makes pools of a validated model.
type poolCompiler struct {
	model    *config.Model
	topology *topology.Table
	targets  []target
	pools    *pools
	before   *pools // of the configuration that this one follows; may be nil
	servers  map[string]*config.VirtualServer
	links    map[string]*config.Link
	configs  map[string]*config.Pool
}

// compilePools makes every pool of a model. What runs on (draw numbers, last
// good members) is taken over from before, which may be nil.
func compilePools(m *config.Model, topo *topology.Table, before *pools) (*pools, error) {
	c := &poolCompiler{
		model: m, topology: topo, before: before,
		pools:   &pools{byName: map[string]*pool{}, needs: map[status.ID][]*pool{}, memo: newMemo(), counts: map[string]*atomic.Uint64{}, bound: map[string]int{}, proximity: proximity.Compile(m)},
		servers: map[string]*config.VirtualServer{}, links: map[string]*config.Link{},
		configs: map[string]*config.Pool{},
	}
	if before != nil {
		c.pools.memo = before.memo
	}
	for _, v := range m.VirtualServers {
		c.servers[v.Name] = v
	}
	for _, l := range m.Links {
		c.links[l.Name] = l
	}
	for _, p := range m.Pools {
		c.configs[p.Name] = p
	}
	for _, p := range m.Pools {
		if _, err := c.compile(p.Name, nil); err != nil {
			return nil, err
		}
	}
	if err := c.countNames(); err != nil {
		return nil, err
	}
	for _, p := range c.pools.order {
		p.targets = c.targets
		p.ladder = c.rungs(p.OnDown)
	}
	for _, p := range c.pools.order {
		p.depends = p.asks()
		for _, d := range p.depends {
			for _, id := range d.group.Needs() {
				c.pools.needs[id] = append(c.pools.needs[id], p)
			}
		}
	}
	c.pools.dead = c.pools.deadTimes(c.model)
	c.before = nil // the score functions keep c; they must not keep every configuration before it
	return c.pools, nil
}

// countNames gives each group of names its counter, the one that it had before
// if there is one.
func (c *poolCompiler) countNames() error {
	for _, z := range c.model.Zones {
		for _, n := range z.Names {
			if c.pools.byName[n.Pool] == nil {
				return fmt.Errorf("name %s: no pool %q", n.FQDN, n.Pool)
			}
			group := groupOf(z, n)
			if c.before != nil && c.before.counts[group] != nil {
				c.pools.counts[group] = c.before.counts[group]
			} else if c.pools.counts[group] == nil {
				c.pools.counts[group] = newCount(group)
			}
		}
	}
	return nil
}

// compile makes one pool, after those that it nests.
func (c *poolCompiler) compile(name string, above []string) (*pool, error) {
	if p := c.pools.byName[name]; p != nil {
		return p, nil
	}
	conf := c.configs[name]
	if conf == nil || slices.Contains(above, name) {
		return nil, fmt.Errorf("pool %s: %q is missing or holds itself", name, above)
	}
	p := &pool{Pool: conf, topology: c.topology, state: c.state(name)}
	members := make([]*pick.Member, 0, len(conf.Members))
	for _, m := range conf.Members {
		made, err := c.member(p, m, append(above, name))
		if err != nil {
			return nil, err
		}
		members = append(members, made)
	}
	var chain []pick.Slot
	for i, s := range []config.Slot{conf.Preferred, conf.Alternate, conf.Fallback} {
		if s.Algorithm == "" {
			continue
		}
		algorithm := c.algorithm(s)
		if algorithm == nil {
			return nil, fmt.Errorf("pool %s: no algorithm %q", name, s.Algorithm)
		}
		rank := [...]string{"preferred", "alternate", "fallback"}[i]
		chain = append(chain, pick.Slot{Name: rank + ": " + s.Algorithm, Algorithm: algorithm})
	}
	p.group = pick.NewGroup(members, rulesOf(conf), chain...)
	c.pools.byName[name] = p
	c.pools.order = append(c.pools.order, p)
	return p, nil
}

func (c *poolCompiler) state(name string) *poolState {
	if c.before != nil {
		if p := c.before.byName[name]; p != nil {
			return p.state
		}
	}
	return &poolState{}
}

func rulesOf(p *config.Pool) pick.Rules {
	r := pick.Rules{Name: p.Name, Min: p.Min, Max: p.Max, BusyProtection: p.BusyProtection, Panic: int(p.Panic), Quorum: int(p.Quorum)}
	for _, s := range p.Spill {
		switch s {
		case config.SpillDown:
			r.Spill |= pick.SpillDown
		case config.SpillBusy:
			r.Spill |= pick.SpillBusy
		case config.SpillFull:
			r.Spill |= pick.SpillFull
		}
	}
	return r
}

// member makes a member with its target and the rows it needs.
func (c *poolCompiler) member(p *pool, m *config.Member, above []string) (*pick.Member, error) {
	made := &pick.Member{Index: len(c.targets), Name: m.Target(), Weight: m.Weight, Priority: m.Priority}
	made.Self = status.MakeID(status.KindPool, p.Name, m.Target())
	c.targets = append(c.targets, target{name: m.Target()})
	// Its own row is there where the pool adds probes, and where an operator
	// holds it in this pool alone.
	made.Needs = append(made.Needs, made.Self)
	t := target{name: m.Target(), site: m.Site}
	if m.Site != "" {
		made.Needs = append(made.Needs, status.MakeID(status.KindSite, m.Site))
	}
	switch {
	case m.Pool != "":
		nested, err := c.compile(m.Pool, above)
		if err != nil {
			return nil, err
		}
		made.Group = nested.group
		if m.Site != "" {
			t.place = c.topology.Place("", m.Site, "", nil)
		}
		p.has4, p.has6 = p.has4 || nested.has4, p.has6 || nested.has6
		p.lack4, p.lack6 = p.lack4 || nested.lack4, p.lack6 || nested.lack6
	case m.VirtualServer != "":
		v := c.servers[m.VirtualServer]
		if v == nil {
			return nil, fmt.Errorf("pool %s: no virtual server %q", p.Name, m.VirtualServer)
		}
		made.Needs = append(made.Needs, needsOf(v, c.links[v.Link])...)
		made.Self, made.Link = status.MakeID(status.KindVirtualServer, v.Name), linkID(v)
		t.link = c.links[v.Link]
		if number, ok := c.pools.proximity.Link(v.Link); ok {
			t.way = []int{number}
		}
		t.site = v.Site
		t.setAddrs(v.Addresses)
		t.place = c.topology.Place(v.Name, v.Site, v.Link, v.Addresses)
	case m.CNAME != "":
		t.cname = m.CNAME
		t.place = c.topology.Place("", m.Site, "", nil)
	default:
		t.setAddrs([]netip.Addr{m.Address})
		t.place = c.topology.Place("", m.Site, "", []netip.Addr{m.Address})
	}
	p.has4 = p.has4 || t.v4.IsValid() || t.cname != ""
	p.has6 = p.has6 || t.v6.IsValid() || t.cname != ""
	if m.Pool == "" && t.cname == "" {
		p.lack4, p.lack6 = p.lack4 || !t.v4.IsValid(), p.lack6 || !t.v6.IsValid()
	}
	c.targets[made.Index] = t
	return made, nil
}

func (t *target) setAddrs(addrs []netip.Addr) {
	for _, a := range addrs {
		if a.Is4() {
			t.v4 = a
		} else {
			t.v6 = a
		}
	}
}

// needsOf is every row that must be usable for a virtual server to be chosen. l is
// its link, nil without one.
func needsOf(v *config.VirtualServer, l *config.Link) []status.ID {
	needs := []status.ID{status.MakeID(status.KindVirtualServer, v.Name)}
	if v.Link != "" {
		needs = append(needs, status.MakeID(status.KindLink, v.Link))
	}
	if l != nil && l.Interface != "" {
		needs = append(needs, status.MakeID(status.KindInterface, l.Interface))
	}
	if v.Site != "" {
		needs = append(needs, status.MakeID(status.KindSite, v.Site))
	}
	return needs
}

// algorithm makes the algorithm that a slot names, or nil if there is none. A
// new algorithm is one case here and one function in pick.
func (c *poolCompiler) algorithm(s config.Slot) pick.Algorithm {
	weighted := s.Algorithm == "round-robin" // FAQ 1.1.15
	if s.Weighted != nil {
		weighted = *s.Weighted
	}
	switch s.Algorithm {
	case "round-robin":
		return pick.RoundRobin(weighted)
	case "random":
		return pick.Random(weighted)
	case "first":
		return pick.First()
	case "source-hash":
		return pick.SourceHash(weighted, s.Mask.V4, s.Mask.V6)
	case "topology":
		return pick.Best(c.topologyScore, c.tie(s, true))
	case "proximity":
		return pick.Live(&proximitySlot{compiler: c, plan: c.pools.proximity, tie: c.tie(s, true)})
	}
	return c.liveAlgorithm(s)
}

// topologyScore ties topology to pick: the score of a member for the client's
// class. A nested pool is as good as its best leaf, unless it has a site.
func (c *poolCompiler) topologyScore(in pick.Input, m *pick.Member) (best int64, found bool) {
	if place := c.targets[m.Index].place; place != nil {
		s, ok := place.Score(topology.Class(in.Client.Class))
		return int64(s), ok
	}
	for _, inner := range m.Group.ActiveFor(in) {
		if s, ok := c.topologyScore(in, inner); ok && (!found || s > best) {
			best, found = s, true
		}
	}
	return best, found
}

// use makes the pools whose rows changed ready for a table, before queries see
// it. changed nil means all.
func (ps *pools) use(t *status.Table, changed []status.ID) {
	if changed == nil {
		for _, p := range ps.order {
			p.use(t)
		}
		return
	}
	done := map[*pool]bool{}
	for _, id := range changed {
		for _, p := range ps.needs[id] {
			if !done[p] {
				done[p] = true
				p.use(t)
			}
		}
	}
}

func (p *pool) use(t *status.Table) {
	p.group.Use(t)
	if _, waiting := p.group.State(t); waiting {
		return // what nobody has looked at yet is no good set
	}
	if leaves := p.group.Leaves(t); len(leaves) > 0 {
		names := make([]string, len(leaves))
		for i, m := range leaves {
			names[i] = m.Name
		}
		p.state.lastGood.Store(&names)
	}
}

// lastGood and setLastGood carry the last good members over a restart.
func (ps *pools) lastGood() map[string][]string {
	sets := map[string][]string{}
	for _, p := range ps.order {
		if good := p.state.lastGood.Load(); good != nil {
			sets[p.Name] = *good
		}
	}
	return sets
}

func (ps *pools) setLastGood(sets map[string][]string) {
	for _, p := range ps.order {
		if good, ok := sets[p.Name]; ok && p.state.lastGood.Load() == nil {
			p.state.lastGood.Store(&good)
		}
	}
}

// schedule is the next change of a pool that is known beforehand.
type schedule struct {
	table *status.Table
	next  time.Time // zero: none is known
	why   string
}

// scheduled gives when the next hold that bears on the pool ends.
func (p *pool) scheduled(t *status.Table) *schedule {
	if s := p.schedule.Load(); s != nil && s.table == t {
		return s
	}
	s := &schedule{table: t}
	for _, id := range p.group.Needs() {
		if h := t.Row(id).Hold; h != nil && !h.Until.IsZero() && (s.next.IsZero() || h.Until.Before(s.next)) {
			s.next, s.why = h.Until, fmt.Sprintf("the hold on %s ends at %s", id, h.Until.UTC().Format(time.RFC3339))
		}
	}
	p.schedule.Store(s)
	return s
}
