package link

import (
	"fmt"
	"math"
	"time"

	"github.com/portolan-lb/portolan/busy"
	"github.com/portolan-lb/portolan/config"
	"github.com/portolan-lb/portolan/status"
)

// judge says whether a link is busy, or how many of its clients are to leave it.
type judge struct {
	rule busy.Rule
	spec *config.Link

	changes uint64 // how often it said something else than before

	busy   bool
	by     busy.Direction // for which it became busy
	shed   busy.Shed
	slices int
	why    string    // of the last change
	known  time.Time // when all was last known that counts
	told   time.Time // when the rates were told that it has judged by
	stale  bool      // they are the same ones still

	marked marked // what the board was told
}

// marked is what pick reads of a judge.
type marked struct {
	busy   bool
	slices int
}

// ruleOf gives the bounds of a link: shares of its maxBandwidth (C8).
func ruleOf(spec *config.Link) busy.Rule {
	limit := func(b config.Bandwidth, rate, recovery config.Percent) busy.Limit {
		return busy.LimitOf(uint64(b), int(rate), int(recovery))
	}
	b := &spec.Busy
	return busy.Rule{
		busy.Total: limit(spec.MaxBandwidth.Total, b.Rate, b.Recovery),
		busy.In:    limit(spec.MaxBandwidth.In, b.In.Rate, b.In.Recovery),
		busy.Out:   limit(spec.MaxBandwidth.Out, b.Out.Rate, b.Out.Recovery),
	}
}

func (j *judge) sheds() bool { return j.spec.Busy.Shed == config.ShedSlices }

// succeed takes over how the link stood. Where the way has changed in which a
// link is relieved, it is judged afresh.
func (j *judge) succeed(old *judge) {
	j.marked, j.changes = old.marked, old.changes
	j.why = "busy.shed was changed: it is judged afresh"
	if j.sheds() == old.sheds() {
		j.busy, j.by, j.shed, j.slices, j.why, j.known = old.busy, old.by, old.shed, old.slices, old.why, old.known
	}
}

// longest is how long a link stays busy of which nothing is known: what nobody
// has measured for so long is no reason to send anyone elsewhere.
const longest = 5 * time.Minute

// next gives what is to be marked after a measurement, and whether it is
// something else than before. dead is asked for the dead time of caches.
func (j *judge) next(now time.Time, rates busy.Rates, dead func() time.Duration) (load status.Load, changed bool) {
	if j.measured(rates) {
		j.known = now
	}
	if (j.busy || j.slices > 0) && now.Sub(j.known) > longest {
		j.busy, j.shed, j.slices = false, busy.Shed{}, 0
		j.why = fmt.Sprintf("it was not measured for %v: whether it is busy is not known", config.Duration(longest))
	} else {
		j.decide(now, rates, dead)
	}
	was := j.marked
	j.marked = marked{j.busy, j.slices}
	return status.Load{Busy: j.busy, Shed: uint16(j.slices), Why: j.why, By: "link"}, j.marked != was
}

// measured says whether all is known that the rule judges by.
func (j *judge) measured(rates busy.Rates) bool {
	for d, limit := range j.rule {
		if limit.Threshold > 0 && math.IsNaN(rates[d]) {
			return false
		}
	}
	return true
}

// decide judges. A report is judged once by a rule that sheds: taken again while
// answers change it would say that they change nothing, and more and more were shed.
func (j *judge) decide(now time.Time, rates busy.Rates, dead func() time.Duration) {
	if j.sheds() && j.stale {
		return
	}
	if j.sheds() {
		var v busy.Verdict
		if j.shed, v = j.shed.Next(j.rule, rates, dead(), now); v.Changed {
			j.slices, j.why = v.Slices, v.Why
		}
		return
	}
	if c := j.rule.Next(j.busy, rates); c.Changed {
		j.busy, j.why = c.Busy, j.sentence(c, rates)
		j.by = c.Direction
	}
}

// sentence tells a change with the rate, the bound and the direction (1.2.12):
// "in 812Mbps is over 700Mbps (70% of 1Gbps)". A link that is free again is told
// by the direction for which it was busy, as long as that counts.
func (j *judge) sentence(c busy.Change, rates busy.Rates) string {
	if c.Bound == 0 {
		return "it has no maxBandwidth any more"
	}
	if bounds := j.rule[j.by]; !c.Busy && bounds.Threshold > 0 {
		c.Direction, c.Rate, c.Bound = j.by, rates[j.by], bounds.Recovery
	}
	of := map[busy.Direction]struct {
		config.Bandwidth
		config.BusyShares
	}{
		busy.Total: {j.spec.MaxBandwidth.Total, config.BusyShares{Rate: j.spec.Busy.Rate, Recovery: j.spec.Busy.Recovery}},
		busy.In:    {j.spec.MaxBandwidth.In, j.spec.Busy.In},
		busy.Out:   {j.spec.MaxBandwidth.Out, j.spec.Busy.Out},
	}[c.Direction]
	word, share := "over", of.Rate
	if !c.Busy {
		word, share = "under", of.Recovery
	}
	return fmt.Sprintf("%s %s is %s %s (%v of %v)", c.Direction, busy.Show(c.Rate), word, busy.Show(c.Bound), share, of.Bandwidth)
}
