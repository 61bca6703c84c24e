package slb

import (
	"maps"
	"math"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"

	"github.com/portolan-lb/portolan/kernel"
	"github.com/portolan-lb/portolan/slots"
	"github.com/portolan-lb/portolan/traffic"
)

// A connection carries the number of its virtual server and is answered by a real
// server, which conntrack tells by the address and port that answers come from. So
// it is of that membership of a farm to which the virtual server may send it. Where
// it may send to several farms that have the server in common, it counts for each:
// nothing tells them apart.

// book is what is counted. It is filled by what changed alone.
type book struct {
	series  uint64 // of the counter; 0: nobody counts, so that nothing is known
	tallies map[kernel.Served]kernel.Tally
	targets map[netip.AddrPort]*target
	touched map[*farm]bool
	warm    map[*farm]bool    // to which connections have come of late
	purged  bool              // tallies have been forgotten, so one that is not there may have been
	moved   []*virtual        // whose connections have changed
	bounded bool              // some virtual server has a limit that the kernel does not count itself
	near    map[*virtual]bool // of those, which have more than half of it, and are not at it
}

// target is a real server by its address and port, in whatever farm. Port 0 is
// every port: of servers that keep the one that the client asked for.
type target struct {
	live    int
	members []*member
}

// counts says whether something goes by numbers of connections that the kernel
// does not count by itself.
func (s *SLB) counts() bool {
	if len(s.fast) > 0 || len(s.pools) > 0 || s.awaits() > 0 {
		return true
	}
	for _, v := range s.virtuals {
		if v.Serve.MaxConnections > traffic.CountedMost {
			return true
		}
	}
	return false
}

// index makes the book anew, for what is served has changed, or where a server
// answers from.
func (s *SLB) index() {
	s.book = book{touched: map[*farm]bool{}, warm: map[*farm]bool{}, near: map[*virtual]bool{}}
	if !s.count.Wanted() {
		return
	}
	s.book.tallies, s.book.targets = map[kernel.Served]kernel.Tally{}, map[netip.AddrPort]*target{}
	for _, f := range s.list {
		f.load = slots.Load{Arrivals: f.load.Arrivals}
		f.load.Arrivals.At = time.Time{} // its counter begins anew
		for _, list := range [...][]*member{f.members, f.off} {
			for _, m := range list {
				s.book.enter(m)
			}
		}
	}
	for _, v := range s.virtuals {
		v.live, v.moved = 0, false
		if v.over || v.Serve.MaxConnections > traffic.CountedMost {
			s.book.bounded = true
			s.book.move(v)
		}
	}
}

// enter has a server's connections counted.
func (b *book) enter(m *member) {
	m.live, m.targets = 0, nil
	for _, a := range m.addrs {
		if !a.IsValid() {
			continue
		}
		at := netip.AddrPortFrom(a, m.Port)
		t := b.targets[at]
		if t == nil {
			t = &target{}
			b.targets[at] = t
		}
		t.members, m.targets = append(t.members, m), append(m.targets, t)
	}
}

func (b *book) move(v *virtual) {
	if !v.moved {
		v.moved = true
		b.moved = append(b.moved, v)
	}
}

// recount takes in what has been counted since the last time, and gives the farms
// that have to be ticked for it.
func (s *SLB) recount(now time.Time) (touched map[*farm]bool) {
	if !s.count.Wanted() {
		return nil
	}
	b := &s.book
	known := s.count.With(func(c Counter, series uint64) {
		if b.series == series {
			c.Moved(func(sv kernel.Served, t kernel.Tally) { s.take(sv, t, false) })
			return
		}
		s.index()
		b.series = series
		c.Await(s.awaits())
		c.Moved(func(kernel.Served, kernel.Tally) {}) // from here on
		c.Servers(func(sv kernel.Served, t kernel.Tally) { s.take(sv, t, true) })
		for _, f := range s.list {
			b.touched[f] = true
		}
	})
	if !known && b.series != 0 { // it has ended
		s.index()
		for _, f := range s.fast {
			b.touched[f] = true
		}
	}
	b.purge(talliesMost)
	return s.weigh(now)
}

// talliesMost is how many tallies are kept, of servers that have no connections
// too: where the client chooses the port there may be one for each that anybody
// asked for.
const talliesMost = 1 << 18

func (b *book) purge(most int) {
	if len(b.tallies) <= most {
		return
	}
	b.purged = true
	maps.DeleteFunc(b.tallies, func(_ kernel.Served, t kernel.Tally) bool { return t.Live == 0 })
}

// take takes in how many connections one server has from one virtual server. base
// says that they are where the count begins.
func (s *SLB) take(sv kernel.Served, t kernel.Tally, base bool) {
	b := &s.book
	v := s.byMark[sv.Mark]
	if v == nil {
		return
	}
	was, known := b.tallies[sv]
	if base || !known && b.purged {
		was = kernel.Tally{Opened: t.Opened, Unanswered: t.Unanswered}
	}
	b.tallies[sv] = t
	more := t.Live - was.Live
	v.live += more
	b.move(v)
	places := append(make([]netip.AddrPort, 0, 2), sv.Server)
	if sv.Server.Port() != 0 {
		places = append(places, netip.AddrPortFrom(sv.Server.Addr(), 0))
	}
	for _, at := range places {
		target := b.targets[at]
		if target == nil {
			continue
		}
		target.live += more
		for _, m := range target.members {
			b.touched[m.farm] = true
			if v.leads(m.farm) {
				m.live += more
				m.opened += grown(was.Opened, t.Opened)
				if sv.Protocol == unix.IPPROTO_TCP { // of others many are questions that want no answer
					m.unanswered += grown(was.Unanswered, t.Unanswered)
				}
			}
		}
	}
}

// grown is by how much a counter grew, which may have begun anew.
func grown(was, is uint64) uint64 {
	if is < was {
		return is
	}
	return is - was
}

// leads says whether the virtual server may send connections to a farm.
func (v *virtual) leads(f *farm) bool {
	for _, o := range v.farms {
		if o == f {
			return true
		}
	}
	return false
}

// weigh fills in the loads of farms that go by them, and gives those for which
// they make a difference.
func (s *SLB) weigh(now time.Time) map[*farm]bool {
	b := &s.book
	differ := map[*farm]bool{}
	for f := range b.warm {
		b.touched[f] = true
	}
	for f := range b.touched {
		if f.group.Pace() != slots.Fast {
			continue
		}
		f.weigh(b.series != 0, now)
		if f.warm {
			b.warm[f] = true
		} else {
			delete(b.warm, f)
		}
		if !f.group.Same(f.given, f.load, tickFast) {
			differ[f] = true
		}
	}
	clear(b.touched)
	return differ
}

// coldBelow is how many connections a second are none: below, what the mean
// forgets further makes no slot differ.
const coldBelow = 0.01

func (f *farm) weigh(known bool, now time.Time) {
	if !known {
		f.load, f.warm = slots.Load{Arrivals: f.load.Arrivals}, false
		return
	}
	n := len(f.members)
	if len(f.load.Members) != n {
		f.load.Members, f.load.Everywhere = make([]float64, n), make([]float64, n)
	}
	opened := uint64(0)
	for i, m := range f.members {
		opened += m.opened
		f.load.Members[i] = float64(m.live)
		everywhere := 0
		for _, t := range m.targets {
			everywhere += t.live
		}
		f.load.Everywhere[i] = float64(everywhere)
	}
	f.load.Arrivals = f.load.Arrivals.Read(opened, now)
	f.warm = f.load.Arrivals.Expect(time.Second) > coldBelow
	if !f.warm {
		f.load.Arrivals.Mean, f.load.Arrivals.Last = 0, 0
	}
}

// connections gives how many a server has, of its farm; NaN: nobody counts.
func (s *SLB) connections(m *member) float64 {
	if s.book.series == 0 {
		return math.NaN()
	}
	return float64(m.live)
}
