package dnsserver

import (
	"cmp"
	"fmt"

	"github.com/portolan-lb/portolan/busy"
	"github.com/portolan-lb/portolan/config"
	"github.com/portolan-lb/portolan/pick"
	"github.com/portolan-lb/portolan/status"
)

// liveAlgorithm makes the algorithms that look at links and at live numbers, or
// nil. Weights count in bandwidth and weighted-least-connections, its tie
// included, and in no other unless the slot says so (FAQ 1.1.15).
func (c *poolCompiler) liveAlgorithm(s config.Slot) pick.Algorithm {
	switch s.Algorithm {
	case "bandwidth":
		return pick.Bandwidth(directionOf(s), s.Weighted == nil || *s.Weighted)
	case "max-bandwidth":
		return pick.MaxBandwidth(directionOf(s), float64(s.Debit))
	case "least-connections":
		return pick.LeastConnections(false, c.tie(s, false))
	case "weighted-least-connections":
		return pick.LeastConnections(true, c.tie(s, true))
	case "least-time":
		return pick.LeastTime(c.tie(s, false))
	case "cost":
		return pick.BestSaid(c.costScore, c.costText, c.tie(s, false))
	}
	return nil
}

// tie makes the algorithm that shares out among members that a slot rates
// alike. One that may decline has round-robin behind it: the slot has found its
// members, and one of them answers.
func (c *poolCompiler) tie(s config.Slot, weighted bool) pick.Algorithm {
	t := config.Slot{Algorithm: cmp.Or(s.Tie, "round-robin"), Weighted: s.Weighted, Mask: s.Mask, Direction: s.Direction, Debit: s.Debit}
	if t.Algorithm == "round-robin" && t.Weighted == nil {
		t.Weighted = &weighted
	}
	if last := c.liveAlgorithm(t); last != nil {
		return pick.Else(last, pick.RoundRobin(weighted))
	}
	return c.algorithm(t)
}

func directionOf(s config.Slot) busy.Direction {
	switch s.Direction {
	case "in":
		return busy.In
	case "out":
		return busy.Out
	}
	return busy.Total
}

// costScore is a member's link, cheapest first. A nested pool is as cheap as
// the cheapest of its leaves that take part.
func (c *poolCompiler) costScore(in pick.Input, m *pick.Member) (best int64, found bool) {
	if m.Group == nil {
		if l := c.targets[m.Index].link; l != nil {
			return -int64(l.Cost), true
		}
		return 0, false
	}
	for _, inner := range m.Group.ActiveFor(in) {
		if s, ok := c.costScore(in, inner); ok && (!found || s > best) {
			best, found = s, true
		}
	}
	return best, found
}

func (c *poolCompiler) costText(in pick.Input, m *pick.Member) string {
	score, ok := c.costScore(in, m)
	switch {
	case !ok:
		return "no link"
	case m.Group != nil:
		return fmt.Sprintf("its cheapest link costs %d", -score)
	}
	return fmt.Sprintf("%s costs %d", m.Link, -score)
}

// linkID is the row and gauge of the link that a virtual server is reached by.
func linkID(v *config.VirtualServer) status.ID {
	if v.Link == "" {
		return ""
	}
	return status.MakeID(status.KindLink, v.Link)
}
