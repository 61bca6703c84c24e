package slb

import (
	"context"
	"math"
	"slices"
	"time"

	"github.com/portolan-lb/portolan/config"
	"github.com/portolan-lb/portolan/kernel"
	"github.com/portolan-lb/portolan/slb/l4"
	"github.com/portolan-lb/portolan/status"
	"github.com/portolan-lb/portolan/traffic"
)

// readAll reads what the kernel counts, each second, until ctx ends. It is apart
// from the turns, which a server that fails must not wait for. What nobody needs
// is not read.
func (s *SLB) readAll(ctx context.Context) {
	tick := time.NewTicker(tickEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			s.read(time.Now())
		}
	}
}

// alarmsEvery is how often it is looked whether limits are reached.
const alarmsEvery = 5 * time.Second

// read is one reading of all that is needed.
func (s *SLB) read(now time.Time) {
	s.mu.Lock()
	plan, metered, watched, pools := s.plan, len(s.metered) > 0, len(s.watched) > 0, len(s.pools) > 0
	var alarms []traffic.Hit
	if !now.Before(s.looks) {
		s.looks, alarms = now.Add(alarmsEvery), s.alarms
	}
	s.mu.Unlock()
	if plan == nil {
		return
	}
	var octets map[l4.ID][2]uint64
	var refusals map[l4.ID]uint64
	if metered {
		octets = s.readOctets(plan)
	}
	if watched {
		refusals = s.readRefusals(plan)
	}
	var lent map[lease]int
	var failed uint64
	if pools {
		lent, failed = s.readLoans()
	}
	if len(alarms) > 0 {
		if err := s.readings.Read(counters{s.opts.Kernel, plan}, l4.Table, alarms, now); err != nil {
			s.opts.Log.Debug("counters cannot be read", "err", err)
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.plan != plan {
		return // what was read is of another
	}
	if metered {
		s.meter(now, octets)
	}
	if watched {
		s.watch(now, refusals)
	}
	if pools && lent != nil {
		s.lend(lent, failed)
	}
	if len(alarms) > 0 {
		s.alarm(now)
	}
}

// readOctets gives what went to servers and came from them, by server.
func (s *SLB) readOctets(p *l4.Plan) map[l4.ID][2]uint64 {
	all := map[l4.ID][2]uint64{}
	s.readCounts(p.Octets(), func(c *l4.Count, id l4.ID, el *kernel.Element) {
		n := all[id]
		if c.Out {
			n[1] += el.Octets
		} else {
			n[0] += el.Octets
		}
		all[id] = n
	})
	return all
}

// readRefusals gives how many connections servers have reset.
func (s *SLB) readRefusals(p *l4.Plan) map[l4.ID]uint64 {
	all := map[l4.ID]uint64{}
	s.readCounts(p.Refusals(), func(_ *l4.Count, id l4.ID, el *kernel.Element) { all[id] += el.Packets })
	return all
}

func (s *SLB) readCounts(sets []l4.Count, take func(*l4.Count, l4.ID, *kernel.Element)) {
	for i := range sets {
		list, err := s.opts.Kernel.Elements(l4.Table, sets[i].Set)
		if err != nil {
			s.opts.Log.Debug("counters cannot be read", "set", sets[i].Set, "err", err)
			continue
		}
		for k := range list {
			for _, id := range sets[i].Of(list[k].Key) {
				take(&sets[i], id, &list[k])
			}
		}
	}
}

// measures says whether somebody looks at what flows to servers of the farm, or at
// how soon they answer.
func (f *farm) measures() bool {
	return f.Algorithm == config.FarmLeastTime || slices.ContainsFunc(f.members, func(m *member) bool { return m.meter != nil })
}

// meter takes a reading of what flows: gauges, who is busy, and the farms for
// which that makes a difference.
func (s *SLB) meter(now time.Time, octets map[l4.ID][2]uint64) {
	gauges, marks := map[status.ID]status.Gauge{}, map[status.ID]status.Load{}
	news := false
	for _, f := range s.metered {
		differs := false
		for _, m := range f.members {
			g := status.NoGauge()
			g.At, g.Connections = now, s.connections(m)
			if f.Algorithm == config.FarmLeastTime && s.opts.Latency != nil {
				g.Latency = s.opts.Latency(m.row)
			}
			if m.meter != nil {
				if n, counted := octets[m.id]; counted {
					m.meter.count(now, n)
				}
				m.meter.gauge(now, &g)
				if load, changed := m.meter.judge(g.Rate); changed {
					marks[m.row] = load
				}
			}
			was, _ := s.opts.Board.Gauges().Get(m.row)
			differs = differs || !sameGauge(&was, &g)
			gauges[m.row] = g
		}
		if differs {
			s.asked.measured(f)
			news = true
		}
	}
	s.opts.Board.Measure(gauges)
	if len(marks) > 0 {
		s.opts.Board.Mark(marks)
	}
	if news {
		s.poke()
	}
}

// unmeter takes back what was said of servers whose rates were looked at, and are
// no more: who was busy would be so for good.
func (s *SLB) unmeter(before map[string]*farm) {
	var marked, measured []status.ID
	for _, old := range before {
		f := s.farms[old.Name]
		for _, was := range old.members {
			var m *member
			if f != nil {
				m = f.memberOf(was.id)
			}
			if was.meter != nil && was.meter.busy && (m == nil || m.meter == nil || m.row != was.row) {
				marked = append(marked, was.row)
			}
			if old.measures() && (m == nil || m.row != was.row || !f.measures()) {
				measured = append(measured, was.row)
			}
		}
	}
	if len(marked) > 0 {
		s.opts.Board.Unmark(Owner, marked...)
	}
	if len(measured) > 0 {
		s.opts.Board.Unmeasure(measured...)
	}
}

// sameGauge says whether a tick could not tell two gauges apart.
func sameGauge(a, b *status.Gauge) bool {
	same := func(x, y float64) bool { return x == y || math.IsNaN(x) && math.IsNaN(y) }
	for d := range a.Rate {
		if !same(a.Rate[d], b.Rate[d]) || !same(a.Remaining[d], b.Remaining[d]) {
			return false
		}
	}
	return same(a.Latency, b.Latency)
}

// alarmsOf gives the counters whose moving is to be told.
func alarmsOf(hits []traffic.Hit) (list []traffic.Hit) {
	for _, h := range hits {
		if h.What == traffic.Limited || h.What == traffic.Full || h.What == traffic.None || h.What == traffic.Waiting {
			list = append(list, h)
		}
	}
	return list
}

// alarm tells of limits that are reached, and of farms that have nobody for
// somebody.
func (s *SLB) alarm(now time.Time) {
	grew := s.readings.Grew()
	for _, h := range s.alarms {
		n := grew[h.From]
		if n == 0 {
			continue
		}
		sp := traffic.Spell{Tried: n, What: "limit reached", Over: "below its limit", Whom: "new connections were refused"}
		switch {
		case h.Kind == traffic.HitServer && h.What == traffic.Limited:
			sp.ID = status.MakeID(status.KindVirtualServer, h.Name)
		case h.Kind == l4.HitServer && h.What == traffic.Full:
			sp.ID, sp.Whom = status.MakeID(status.KindRealServer, h.Name), "times a new connection had to try another server"
		case h.Kind == l4.HitFarm && h.What == traffic.Waiting:
			sp.ID, sp.What, sp.Over, sp.Whom = status.MakeID(status.KindServerFarm, h.Name), "all servers full", "servers again", "new connections found every server at a limit"
		case h.Kind == l4.HitFarm && h.What == traffic.None:
			sp.ID, sp.What, sp.Over, sp.Whom = status.MakeID(status.KindServerFarm, h.Name), "no server", "servers again", "new connections found no server that could take them"
		default:
			continue
		}
		s.spells.Seen(sp, Owner, now, s.opts.Board.Record)
	}
	s.spells.End(Owner, now, s.opts.Board.Record)
}
