package slb

import (
	"time"

	"github.com/portolan-lb/portolan/config"
	"github.com/portolan-lb/portolan/flow"
	"github.com/portolan-lb/portolan/kernel"
	"github.com/portolan-lb/portolan/pick"
	"github.com/portolan-lb/portolan/slb/l4"
	"github.com/portolan-lb/portolan/slots"
	"github.com/portolan-lb/portolan/status"
	"github.com/portolan-lb/portolan/traffic"
)

// Reader reads what explains connections; a [kernel.Kernel] is one.
type Reader interface {
	Element(table, set string, key []byte) (kernel.Element, bool, error)
	Counts(table string) (map[string]kernel.Counted, error)
}

// Part gives what explains connections: the wishes that the kernel was given, and
// what the farms were told last; nil if nothing is served. It keeps no tick
// waiting: the elements of maps are looked up as packets look them up, one by one.
// Counters are read by from; nil: they are not.
func (s *SLB) Part(from Reader) *flow.Part {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.plan == nil {
		return nil
	}
	in := slots.Input{Table: s.opts.Board.Table(), Gauges: s.opts.Board.Gauges(), Now: time.Now(), Every: tickEvery}
	return s.part(s.plan, s.wished, in, from)
}

// part is Part for a plan, with what ticks look at.
func (s *SLB) part(p *l4.Plan, wished *kernel.Wishes, in slots.Input, from Reader) *flow.Part {
	names := p.Names(counts(p, from))
	names.Farm = func(name string) *flow.Group {
		s.mu.Lock()
		defer s.mu.Unlock()
		return s.farms[name].explain(in)
	}
	return &flow.Part{Wishes: wished, Names: names, Serves: p.Serves}
}

// counts gives who reads counters: named ones all at once when the first is asked
// for. It is for one goroutine.
func counts(p *l4.Plan, from Reader) func(traffic.Counted) (uint64, bool) {
	if from == nil {
		return nil
	}
	var named map[string]kernel.Counted
	return func(c traffic.Counted) (uint64, bool) {
		if c.Set != "" {
			n, any := uint64(0), false
			for _, at := range p.Places(c.Set) {
				el, found, err := from.Element(at.Table, at.Set, []byte(c.Key))
				if found && err == nil {
					n, any = n+el.Packets, true
				}
			}
			return n, any
		}
		if named == nil {
			var err error
			if named, err = from.Counts(l4.Table); err != nil { // what cannot be read is not told
				named = map[string]kernel.Counted{}
			}
		}
		n, found := named[c.Counter]
		return n.Packets, found
	}
}

// explain tells how the farm stands; nil of none.
func (f *farm) explain(in slots.Input) *flow.Group {
	if f == nil {
		return nil
	}
	_, who := f.group.Explain(in, f.load, f.state)
	for _, m := range f.off {
		who.Members = append(who.Members, pick.MemberTrace{Member: m.Name, Why: "it is switched off"})
	}
	g := traffic.GroupOf(f.Name, f.group, &f.last, who)
	g.Kind, g.Size = flow.ServerFarm, f.Slots
	for i := range f.last.Members {
		if m := &f.last.Members[i]; m.Slots > 0 {
			g.Slots = append(g.Slots, flow.Slots{Member: m.Name, Slots: m.Slots})
		}
	}
	return g
}

// Offline gives what explains connections with a plan that nobody runs: the farms
// have the servers that they would have with the rows as they stand. Interfaces may
// be empty: neighbours of servers are not known then. The plan must not be used
// afterwards.
func Offline(p *l4.Plan, m *config.Model, n l4.Numbers, rows *status.Table, interfaces []kernel.Interface, now time.Time) (*flow.Part, error) {
	s, in, err := filled(p, m, n, rows, now)
	if err != nil {
		return nil, err
	}
	return s.part(p, p.Wishes(l4.Facts{Interfaces: interfaces, Now: now}), in, nil), nil
}
