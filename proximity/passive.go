package proximity

import (
	"net/netip"
	"sync/atomic"
	"time"
)

// Passive learns distances from what clients do by themselves: it sends nothing
// (DESIGN 12, 8). Its methods may be called from any goroutine, and wait for
// nothing longer than a writer of one entry.
type Passive struct {
	table *Table

	// owner tells which link a connection came over, by the address that it went
	// to and the index of the interface that it came in by (0: not known); not ok
	// where that is none or may be several.
	owner func(local netip.Addr, index int) (link string, ok bool)

	solicitor
	unowned atomic.Uint64 // of no one link
	unasked atomic.Uint64 // of a network that has no entry
}

// NewPassive ties connections to the links of a table.
func NewPassive(t *Table, owner func(local netip.Addr, index int) (link string, ok bool)) *Passive {
	return &Passive{table: t, owner: owner}
}

// Observes says whether clients' connections are looked at.
func (p *Plan) Observes() bool { return p.Measures() && p.Config.Passive.Enabled }

// Trip is the way of one client's connection.
type Trip struct {
	Client netip.Addr    // the peer
	Local  netip.Addr    // where it went to
	Index  int           // of the interface that it came in by; 0: not known
	RTT    time.Duration // there and back; more than 0
	TTL    int           // that its packets had left; 0: not known
	At     time.Time
}

// Observe takes a connection's round trip. It counts for the network of the
// peer and the link that it came by; what cannot be told to be of one link is
// dropped, for it would be held for or against another.
func (p *Passive) Observe(t Trip) {
	plan := p.table.plan.Load()
	if plan == nil || !plan.Observes() {
		return
	}
	link, ok := p.owner(t.Local, t.Index)
	if !ok {
		p.unowned.Add(1)
		return
	}
	seen := Sample{Link: link, RTT: t.RTT, At: t.At, Via: t.Client, Passive: true}
	if t.TTL > 0 {
		seen.Hops = hopsOf(t.TTL)
	}
	if !p.table.Observe(t.Client, seen) {
		p.unasked.Add(1)
	}
}

// Solicit says whether a client that asked over UDP is to come over TCP, so that
// the way to it can be seen: its network is one of the few that are asked, and
// the link that it came by was not measured within proximity.refresh.
func (p *Passive) Solicit(client, local netip.Addr, index int, now time.Time) bool {
	plan := p.table.plan.Load()
	if plan == nil || !plan.Observes() || plan.Config.Passive.Solicit.Share == 0 {
		return false
	}
	network := plan.network(client)
	if !network.IsValid() || !inSlice(network, plan.Config) {
		return false
	}
	link, ok := p.owner(local, index)
	return ok && p.table.lacks(plan, network, link, now) && p.solicit(network, plan.Config, now)
}

// grace is how long methods may take to measure a new network before its clients
// are asked.
const grace = 3 * time.Second

// lacks says whether a network has an entry, so that what is seen can be kept,
// and in it no fresh distance over a link.
func (t *Table) lacks(p *Plan, network netip.Prefix, link string, now time.Time) bool {
	s, id := t.shards.Load(), p.inUse.Load().of[link]
	k, ok := keyOf(network.Addr(), s.mask)
	if !ok || id == 0 || s.mask != p.Config.Mask {
		return false
	}
	e := s.find(k)
	if e == nil || t.clock.nano(now) < e.made+int64(grace) {
		return false
	}
	at, refresh := t.clock.stamp(now), p.refresh()
	for _, d := range e.distances() {
		if d.link == id && d.rtt > 0 && age(d.at(), at) <= refresh {
			return false
		}
	}
	return true
}

// PassiveStats counts since the start.
type PassiveStats struct {
	Unowned   uint64 `json:"unowned"`   // connections that may be of no link or of several
	Unasked   uint64 `json:"unasked"`   // connections of networks that have no entry
	Solicited uint64 `json:"solicited"` // UDP queries answered by TC alone
	OverRate  uint64 `json:"overRate"`  // not solicited, for perSecond was reached
	Crowded   uint64 `json:"crowded"`   // not solicited, for another network had its place among those remembered
}

// Stats reads the counters.
func (p *Passive) Stats() PassiveStats {
	return PassiveStats{p.unowned.Load(), p.unasked.Load(), p.asked.Load(), p.over.Load(), p.crowded.Load()}
}
