package slb

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/portolan-lb/portolan/config"
	"github.com/portolan-lb/portolan/kernel"
	"github.com/portolan-lb/portolan/slb/l4"
	"github.com/portolan-lb/portolan/slots"
	"github.com/portolan-lb/portolan/status"
)

// What becomes of the connections of a server that fails (T38, FAQ 1.1.16):
//
//	keep        nothing: their own timers end them, or the server comes back
//	reschedule  slots and sets are committed ── conntrack forgets the server's
//	            connections ── the next packet of each is a first one again; of TCP
//	            it is none, and is answered by a reset
//	reset       slots, sets and the server in the set of dead ones are committed ──
//	            the next packet is answered by a reset or by ICMP ── forgotten after
//	            [resetFor]
//
// Nothing is done while no other server of the farm lives: there would be nowhere
// to go. A server that an operator holds down is cut off at once, whatever its farm
// says and whoever else lives: that is what tells down from drain. One that is
// switched off (enabled: false) in a farm with slowOffline keeps what it has.

// ending is a server whose connections are to end, or those to an address that it
// had.
type ending struct {
	farm, server string
	id           l4.ID // 0: it is not the server that failed, but an address that went
	how          config.ServerFailure
	why          string
	forced       bool // though no other lives
	quiet        bool // it is told only if there were any
	targets      []netip.AddrPort
	from         time.Time // since when it is to be; zero: there is nowhere else to go
	again        time.Time // when it is tried again after it failed
}

// resetFor is for how long packets of a dead server's connections are answered by
// a reset before conntrack forgets them, and endAgain how long after a failure
// that is tried again.
const (
	resetFor = 10 * time.Second
	endAgain = time.Second
)

// at is when conntrack is to forget the connections.
func (e *ending) at() time.Time {
	at := e.from
	if e.how == config.ServerReset {
		at = at.Add(resetFor)
	}
	if e.again.After(at) {
		at = e.again
	}
	return at
}

// mourn has connections from before the start end of servers that are found not to live.
func (s *SLB) mourn() {
	for _, f := range s.list {
		f.alive = f.group.Everyone()
		f.before = f.alive
	}
}

// notice finds out whose connections are to end with a tick of a farm, and who came
// back. The lock is held.
func (s *SLB) notice(f *farm, in *slots.Input) {
	alive := f.last.Alive
	s.endings = slices.DeleteFunc(s.endings, func(e *ending) bool { return e.farm == f.Name && e.id != 0 && alive.Has(e.id) })
	var unseen slots.IDs
	for _, id := range f.alive {
		m := f.memberOf(id)
		if m == nil || alive.Has(id) || s.ending(f.Name, id) { // who is gone from the configuration keeps what it has
			continue
		}
		if f.group.Unseen(id, in.Table) {
			unseen = append(unseen, id)
			continue
		}
		if e := f.ends(m, in.Table); e != nil {
			e.quiet = f.before.Has(id) // it may have been dealt with before the start
			s.endings = append(s.endings, e)
		}
	}
	f.alive, f.before = alive, unseen
	if len(unseen) > 0 {
		f.alive = slices.Concat(alive, unseen)
		slices.Sort(f.alive)
	}
	s.endings = append(s.endings, s.cutOff(f, in.Table)...)
	f.dead = nil
	for _, e := range s.endings {
		if e.farm != f.Name {
			continue
		}
		if e.from.IsZero() && (e.forced || f.elsewhere(e.id)) {
			e.from = in.Now
			poke(s.ends)
		}
		if e.id != 0 && e.how == config.ServerReset && !e.from.IsZero() {
			f.dead = append(f.dead, e.id)
		}
	}
	slices.Sort(f.dead)
}

// cutOff gives the endings of servers that are switched off and did not live when we
// looked last: since before we ran, or in a farm that left them what they had until
// now.
func (s *SLB) cutOff(f *farm, rows *status.Table) (list []*ending) {
	if f.SlowOffline || f.OnFailure == config.ServerKeep {
		f.cut = nil
		return nil
	}
	before := f.cut
	f.cut = nil
	for _, m := range f.off {
		f.cut = append(f.cut, m.id)
		if before.Has(m.id) || s.ending(f.Name, m.id) {
			continue
		}
		if e := f.ends(m, rows); e != nil {
			e.quiet = true
			list = append(list, e)
		}
	}
	slices.Sort(f.cut)
	return list
}

// ending says whether the connections of a server are to end already.
func (s *SLB) ending(farm string, id l4.ID) bool {
	return slices.ContainsFunc(s.endings, func(e *ending) bool { return e.farm == farm && e.id == id })
}

// ends says what becomes of the connections of a server that lives no more; nil:
// they stay.
func (f *farm) ends(m *member, rows *status.Table) *ending {
	e := &ending{farm: f.Name, server: m.Name, id: m.id, how: f.OnFailure, targets: m.places(),
		why: fmt.Sprintf("the server failed, and its farm says %s", f.OnFailure)}
	held := func(id status.ID) bool {
		h := rows.Row(id).Hold
		return h != nil && h.State == status.HoldDown
	}
	switch {
	case !m.Enabled && f.SlowOffline:
		return nil
	case !m.Enabled:
		e.why = fmt.Sprintf("the server was switched off, and its farm says %s", f.OnFailure)
	case held(m.row) || held(m.own):
		e.forced, e.why = true, "an operator holds the server down"
		if e.how == config.ServerKeep {
			e.how = config.ServerReschedule
		}
	}
	if e.how == config.ServerKeep {
		return nil
	}
	return e
}

// places gives where the server's connections are answered from; port 0: every one.
func (m *member) places() (list []netip.AddrPort) {
	for _, a := range m.addrs {
		if a.IsValid() {
			list = append(list, netip.AddrPortFrom(a, m.Port))
		}
	}
	return list
}

// elsewhere says whether another server of the farm lives.
func (f *farm) elsewhere(id l4.ID) bool {
	return slices.ContainsFunc(f.last.Alive, func(other l4.ID) bool { return other != id })
}

// endAll ends connections as they are due, until ctx ends. It is apart from the
// turns: who looks through a million connections must keep nobody waiting.
func (s *SLB) endAll(ctx context.Context) {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-s.ends:
		case <-timer.C:
		}
		timer.Reset(s.endDue(ctx))
	}
}

// endDue ends what is due, and says when the next is.
func (s *SLB) endDue(ctx context.Context) time.Duration {
	due, _ := s.dueEndings(time.Now())
	if len(due) > 0 {
		s.settle(ctx, due)
	}
	_, wait := s.dueEndings(time.Now())
	return max(wait, time.Millisecond)
}

func (s *SLB) dueEndings(now time.Time) (due []*ending, wait time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	wait = time.Hour
	for _, e := range s.endings {
		switch {
		case e.from.IsZero():
		case now.Before(e.at()):
			wait = min(wait, e.at().Sub(now))
		default:
			due, wait = append(due, e), 0
		}
	}
	return due, wait
}

// settle ends the connections of failed servers, after what the last tick said
// stands in the kernel: sooner they would come back to the dead one.
func (s *SLB) settle(ctx context.Context, due []*ending) {
	// That something else does not stand, such as an address on an interface that is
	// not there, is no reason to leave connections where they are.
	err := s.opts.Kernel.Sync(ctx, Owner)
	if err != nil && ctx.Err() != nil {
		return
	}
	var ended map[*ending]int
	if !errors.Is(err, kernel.ErrUnwritten) {
		ended, err = s.forget(ctx, due)
	}
	now := time.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	if err != nil {
		if ctx.Err() == nil {
			s.opts.Log.Warn("connections of failed servers cannot be ended; trying again", "servers", len(due), "err", err)
		}
		for _, e := range due {
			e.again = now.Add(endAgain)
		}
		return
	}
	s.endings = slices.DeleteFunc(s.endings, func(e *ending) bool { return slices.Contains(due, e) })
	for _, e := range due {
		s.revive(e)
		if e.quiet && ended[e] == 0 {
			continue
		}
		s.opts.Board.Record(status.Event{ID: status.MakeID(status.KindRealServer, e.farm, e.server), New: "connections ended",
			Why: fmt.Sprintf("%s: %s", e.why, sessionsText(ended[e])), By: Owner})
	}
}

// revive takes a server whose connections have ended out of those that are reset.
func (s *SLB) revive(e *ending) {
	f := s.farms[e.farm]
	if f == nil || s.plan == nil || !slices.Contains(f.dead, e.id) {
		return
	}
	f.dead = slices.DeleteFunc(slices.Clone(f.dead), func(id l4.ID) bool { return id == e.id })
	s.opts.Kernel.Changed(Owner, s.plan.SetDead(f.Name, f.dead)...)
}

func sessionsText(n int) string {
	if n == 1 {
		return "1 session"
	}
	return fmt.Sprintf("%d sessions", n)
}

// forget has conntrack forget the connections, and counts them. One pass over the
// table serves all.
func (s *SLB) forget(ctx context.Context, due []*ending) (ended map[*ending]int, err error) {
	at := map[netip.AddrPort][]*ending{}
	for _, e := range due {
		for _, t := range e.targets {
			at[t] = append(at[t], e)
		}
	}
	s.mu.Lock()
	byMark := s.byMark // it is not changed: a reload makes another
	s.mu.Unlock()
	f := kernel.SessionFilter{}
	if len(at) == 1 {
		for t := range at {
			f.Server, f.ServerPort = t.Addr(), t.Port()
		}
	}
	ended = map[*ending]int{}
	var found []kernel.Session
	of := map[int]*ending{}
	err = s.opts.Sessions.Sessions(ctx, f, func(c kernel.Session) bool {
		v := byMark[c.Mark&kernel.ServerMask]
		if v == nil {
			return true
		}
		for _, place := range [...]netip.AddrPort{c.Reply.Source, netip.AddrPortFrom(c.Reply.Source.Addr(), 0)} {
			for _, e := range at[place] {
				if v.leadsTo(e.farm) {
					of[len(found)] = e
					found = append(found, c)
					return true
				}
			}
		}
		return true
	})
	for i := range found {
		if err != nil || ctx.Err() != nil {
			break
		}
		was := false
		if was, err = s.opts.Sessions.Delete(&found[i]); was {
			ended[of[i]]++
		}
	}
	return ended, err
}

// leadsTo says whether the virtual server may send connections to a farm.
func (v *virtual) leadsTo(name string) bool {
	return slices.ContainsFunc(v.farms, func(f *farm) bool { return f.Name == name })
}
