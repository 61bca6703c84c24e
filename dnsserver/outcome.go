package dnsserver

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/portolan-lb/portolan/config"
	"github.com/portolan-lb/portolan/pick"
	"github.com/portolan-lb/portolan/status"
)

// end is how asking a pool ends.
type end uint8

const (
	ended    end = iota // members were chosen
	waits               // a first result is still to come: no guess
	declines            // no slot chose, or all are full: onDecline
	held                // an operator holds all: NODATA, as he wants it
	fallsTo             // nobody is usable: a rung of onDown
	lost                // nobody is usable, and no rung is left
)

// outcome is how a pool answers a client: everything but the draw. Clients
// with equal outcomes cannot be told apart by their answers, which is what the
// ECS scope rests on; the answer itself is one draw from it.
type outcome struct {
	end    end
	reason pick.Reason
	rung   *rung             // of fallsTo
	pool   *pool             // whose members
	shares pick.Distribution // of pool, for this client
	among  []*pick.Member    // of pool: instead of shares

	// leaves are who takes part for this client, where that matters beside
	// shares and may differ from client to client; else nil.
	leaves []*pick.Member
}

// width is how many leading address bits count beyond the class; 0: the class
// decides alone.
func (o outcome) width() int { return o.shares.Width }

// equal holds for outcomes of one pool and one status table.
func (o outcome) equal(p outcome) bool {
	return o.end == p.end && o.reason == p.reason && o.rung == p.rung && o.pool == p.pool && o.shares.Equal(p.shares) &&
		slices.Equal(o.among, p.among) && slices.Equal(o.leaves, p.leaves)
}

// chosen is an outcome with members of a pool. A family that they lack is served
// by others that take part, which with shedding links are not the same for every
// client.
func (p *pool) chosen(o outcome, in pick.Input) outcome {
	o.pool = p
	if (p.has4 && p.lack4 || p.has6 && p.lack6) && p.group.Sheds(in.Table) {
		o.leaves = p.group.LeavesFor(in)
	}
	return o
}

// degraded says whether the pool would answer otherwise if all were well.
func (o outcome) degraded() bool {
	return o.end != ended || o.shares.Lapsed || o.shares.Panic
}

// outcome asks the pool, and if nobody is usable goes down its onDown ladder:
// the first rung that yields something ends it.
func (p *pool) outcome(in pick.Input, tr *DecisionTrace) outcome {
	if _, waiting := p.group.State(in.Table); waiting {
		tr.note("a first probe result of pool %s is still to come", p.Name)
		return outcome{end: waits}
	}
	in.Answers = p.Answers
	d, reason := p.group.Shares(in, nil, tr.pick())
	switch reason {
	case pick.Chosen:
		return p.chosen(outcome{end: ended, shares: d}, in)
	case pick.Held:
		return outcome{end: held, reason: reason}
	case pick.Down:
		return p.fall(in, d.Width, tr)
	}
	tr.note("onDecline: %s", p.OnDecline)
	o := outcome{end: declines, reason: reason, shares: d}
	if p.OnDecline == config.DeclineAny && reason == pick.Declined {
		o.pool, o.among = p, p.group.LeavesFor(in)
	}
	return o
}

// fall goes down the ladder. That nobody is usable may hold for clients alone
// who agree in width leading bits, and so may what a rung that yields nothing
// says.
func (p *pool) fall(in pick.Input, width int, tr *DecisionTrace) outcome {
	for i := range p.ladder {
		o, ok := p.tryRung(&p.ladder[i], in, tr)
		width = max(width, o.shares.Width)
		o.shares.Width = width
		if ok {
			tr.note("onDown: %s", o.rung)
			return o
		}
		tr.note("onDown: %s yields nothing", o.rung)
	}
	tr.note("onDown: no rung is left")
	return outcome{end: lost, reason: pick.Down, shares: pick.Distribution{Width: width}}
}

func (p *pool) tryRung(r *rung, in pick.Input, tr *DecisionTrace) (outcome, bool) {
	o := outcome{end: fallsTo, reason: pick.Down, rung: r}
	switch {
	case r.pool != nil:
		if _, waiting := r.pool.group.State(in.Table); waiting {
			return o, false
		}
		in.Answers = r.pool.Answers
		d, reason := r.pool.group.Shares(in, nil, tr.pick())
		o.shares = d
		return r.pool.chosen(o, in), reason == pick.Chosen
	case r.action == config.RungLastGood || r.action == config.RungAll:
		o.pool, o.among = p, p.fallen(r, in.Table)
		return o, len(o.among) > 0
	}
	return o, true
}

// fallen gives the members of a rung: those that nobody holds, of all or of
// the last good ones.
func (p *pool) fallen(r *rung, t *status.Table) []*pick.Member {
	free := p.group.Free(t)
	if r.action == config.RungAll {
		return free
	}
	good := p.state.lastGood.Load()
	if good == nil {
		return nil
	}
	return slices.DeleteFunc(free, func(m *pick.Member) bool { return !slices.Contains(*good, m.Name) })
}

// members draws from the outcome.
func (o outcome) members(in pick.Input) []*pick.Member {
	in.Answers = o.pool.Answers
	if o.among != nil {
		return pick.Among(in, o.among, nil)
	}
	d := o.shares
	d.Shares = slices.Clone(d.Shares) // Draw uses them up, and the scope needs them
	return d.Draw(in, nil)
}

// rung is one step of a pool's onDown ladder, compiled.
type rung struct {
	action    config.RungAction
	addresses []netip.Addr
	cname     string
	pool      *pool
}

func (c *poolCompiler) rungs(ladder []config.Rung) []rung {
	rungs := make([]rung, len(ladder))
	for i, r := range ladder {
		rungs[i] = rung{action: r.Action, addresses: r.Addresses, cname: r.CNAME, pool: c.pools.byName[r.Pool]}
	}
	return rungs
}

func (r *rung) String() string {
	switch {
	case r.pool != nil:
		return "pool " + r.pool.Name
	case r.cname != "":
		return "cname " + r.cname
	case len(r.addresses) > 0:
		return fmt.Sprintf("addresses %v", r.addresses)
	default:
		return string(r.action)
	}
}

// asks lists the pools whose members an outcome may hold: p and those of its
// ladder. Their own ladders are not asked.
func (p *pool) asks() []*pool {
	pools := []*pool{p}
	for _, r := range p.ladder {
		if r.pool != nil && !slices.Contains(pools, r.pool) {
			pools = append(pools, r.pool)
		}
	}
	return pools
}
