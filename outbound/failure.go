package outbound

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/portolan-lb/portolan/config"
	"github.com/portolan-lb/portolan/kernel"
	"github.com/portolan-lb/portolan/slots"
	"github.com/portolan-lb/portolan/status"
)

// What becomes of the connections of a link that fails (T38):
//
//	keep        nothing: their own timers end them, or the link comes back
//	reschedule  slots and sets are committed ── conntrack forgets the link's
//	            connections ── the next packet of each is a first one again
//	reset       slots, sets and the link in the set of dead ones are committed ──
//	            the next packet is answered by a reset ── forgotten later
//
// A connection of a group that does not say keep has a bit of its own in its
// mark ([kernel.EndsWith]), so that groups which share a link may differ. Between
// reschedule and reset it does not tell: where a link has both, reschedule
// counts, the milder one. Nothing is done while no other link of these groups
// lives: there would be nowhere to go. Connections that came in by the link stay:
// they are not ours to move.

// ended is a link that failed.
type ended struct {
	link    string
	how     config.LinkFailure
	at      time.Time
	settled bool // conntrack has been told
	before  bool // it may have failed, and been dealt with, before we started
}

// resetFor is for how long the packets of a dead link's connections are answered
// by a reset before conntrack forgets them.
const resetFor = 10 * time.Second

// mourn has connections from before the start end of links that are found not to
// live.
func (o *Outbound) mourn() {
	o.alive = map[slots.ID]bool{}
	for _, r := range o.groups {
		if severs(r.Group) {
			for _, id := range r.group.Everyone() {
				o.alive[id] = true
			}
		}
	}
	o.before = maps.Clone(o.alive)
}

// notice finds out which links failed or came back with a tick of the groups. Who
// is alive in any group that ends connections has not failed, though an operator
// has taken it out of another: marks do not tell whose the connections are. The
// lock is held.
func (o *Outbound) notice(now time.Time, rows *status.Table) {
	alive := map[slots.ID]bool{}
	for _, r := range o.groups {
		if severs(r.Group) {
			for _, id := range r.last.Alive {
				alive[id] = true
				delete(o.before, id)
			}
		}
	}
	for id := range o.alive {
		if !alive[id] && slices.ContainsFunc(o.groups, func(r *running) bool { return r.group.Unseen(id, rows) }) {
			alive[id] = true
		}
	}
	maps.DeleteFunc(o.gone, func(id slots.ID, _ ended) bool { return alive[id] || o.howFails(id) == config.FailureKeep })
	for id := range o.alive {
		if how := o.howFails(id); !alive[id] && how != config.FailureKeep {
			o.gone[id] = ended{link: o.plan.LinkOf(uint32(id)), how: how, at: now, before: o.before[id]}
		}
	}
	o.alive = alive
}

// severs says whether a group ends connections of links that fail.
func severs(g *config.LinkGroup) bool { return g.OnFailure != config.FailureKeep }

// howFails gives what becomes of the connections of a link that are not kept;
// keep if there are none.
func (o *Outbound) howFails(id slots.ID) config.LinkFailure {
	how := config.FailureKeep
	for _, r := range o.groups {
		if r.has(id) && severs(r.Group) && how != config.FailureReschedule {
			how = r.Group.OnFailure
		}
	}
	return how
}

// elsewhere says whether another link lives of the groups that end connections
// of a link.
func (o *Outbound) elsewhere(id slots.ID) bool {
	return slices.ContainsFunc(o.groups, func(r *running) bool {
		return r.has(id) && severs(r.Group) && slices.ContainsFunc(r.last.Alive, func(other slots.ID) bool { return other != id })
	})
}

// dead gives the links whose connections are reset now; ok says whether there is
// anything to say of them.
func (o *Outbound) dead() (ids slots.IDs, ok bool) {
	if !o.plan.resets() {
		return nil, false
	}
	for id, e := range o.gone {
		if e.how == config.FailureReset && o.elsewhere(id) {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	return ids, true
}

// failed gives the links whose connections are to be dealt with now. The lock is
// held.
func (o *Outbound) failed(now time.Time) map[slots.ID]ended {
	due := map[slots.ID]ended{}
	for id, e := range o.gone {
		if e.settled || !o.elsewhere(id) {
			continue
		}
		if e.how == config.FailureReset && now.Sub(e.at) < resetFor {
			continue
		}
		due[id] = e
	}
	return due
}

// settle ends the connections of failed links, after what the last tick said
// stands in the kernel: sooner they would come back to the dead link.
func (o *Outbound) settle(ctx context.Context, due map[slots.ID]ended) {
	// That something else does not stand, such as a route over an interface that
	// is down, is no reason to leave connections where they are.
	if err := o.opts.Kernel.Sync(ctx, Owner); err != nil && ctx.Err() != nil || errors.Is(err, kernel.ErrUnwritten) {
		return // the next tick tries again
	}
	for id, e := range due {
		sessions := o.sessionsOf(ctx, id)
		if err := o.forget(id); err != nil {
			o.opts.Log.Warn("connections of a failed link cannot be ended; trying again", "link", e.link, "err", err)
			continue
		}
		o.mu.Lock()
		if now, still := o.gone[id]; still && now.at.Equal(e.at) {
			now.settled = true
			o.gone[id] = now
		}
		o.mu.Unlock()
		if e.before && sessions == noSessions {
			continue // it is no news
		}
		o.opts.Board.Record(status.Event{ID: status.MakeID(status.KindLink, e.link), New: "connections ended",
			Why: fmt.Sprintf("the link failed, and a group of it says %s: %s", e.how, sessions), By: Owner})
	}
}

// endedBits are those of a mark by which connections are chosen that end with
// their link.
const endedBits = kernel.LinkMask | kernel.Inbound | kernel.EndsWith

// sessionsOf counts what ends with a link, for the event: what conntrack
// forgets in one question it does not count.
func (o *Outbound) sessionsOf(ctx context.Context, id slots.ID) string {
	n := 0
	f := kernel.SessionFilter{Mark: uint32(id) | kernel.EndsWith, Mask: endedBits}
	if err := o.opts.Sessions.Sessions(ctx, f, func(kernel.Session) bool { n++; return true }); err != nil {
		return "it is not known how many"
	}
	if n == 1 {
		return "1 session"
	}
	return fmt.Sprintf("%d sessions", n)
}

// noSessions is what sessionsOf says of a link that carries nothing.
const noSessions = "0 sessions"

// forget has conntrack forget what ends with a link.
func (o *Outbound) forget(id slots.ID) error {
	for _, family := range []uint8{unix.AF_INET, unix.AF_INET6} {
		if err := o.opts.Sessions.DeleteByMark(uint32(id)|kernel.EndsWith, endedBits, family); err != nil {
			return err
		}
	}
	return nil
}
