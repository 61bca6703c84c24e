package dnsserver

import (
	"sync/atomic"
	"time"
)

// demand is how many UDP queries without a proof of their source come in, over
// all sockets of a server. Above what dns.cookies.demandAbove allows, a proof
// is asked for (RFC 7873 5.2.3):
//
//	who speaks cookies   BADCOOKIE with a fresh one: one more round trip, once
//	who does not         TC, for as many of them as are too many
//
// TC is no longer than the query, BADCOOKIE no longer than the query plus 16
// octets of cookie, for they bring no other option that the query does not have
// at the same length. Neither needs a lookup, so forged sources get nothing out
// of the server, wherever they point.
type demand struct{ meters []*demandMeter }

// demandMeter is the part of one socket. Its goroutine counts without regard to
// the others, and tells them once a second.
type demandMeter struct {
	all    *demand
	second int64 // that is being counted
	count  int   // in it, here
	before int   // in the second before, everywhere
	credit int   // towards the next query that may go without a proof

	told atomic.Uint64 // the second before and its count here, 32 bits each
	asks [2]atomic.Uint64

	_ [64]byte
}

// What was asked of clients without a proof.
const (
	askedCookie = iota
	askedTCP
)

// meter makes the meter of one more socket. All are made before the first
// query.
func (d *demand) meter() *demandMeter {
	m := &demandMeter{all: d}
	d.meters = append(d.meters, m)
	return m
}

// add counts one query without a proof and gives how many there are a second.
func (m *demandMeter) add(now time.Time) int {
	if second := now.Unix(); second != m.second {
		m.told.Store(uint64(m.second)<<32 | uint64(uint32(m.count)))
		m.second, m.count, m.credit = second, 0, 0
		m.before = m.all.sum(second)
	}
	m.count++
	return max(m.before, m.count)
}

// sum adds up the second before one, or the one before that where a socket has
// not told more yet. What is older says that nothing came.
func (d *demand) sum(second int64) int {
	sum := 0
	for _, m := range d.meters {
		told := m.told.Load()
		if age := uint32(second) - uint32(told>>32); age == 1 || age == 2 {
			sum += int(uint32(told))
		}
	}
	return sum
}

// passes says whether a query may go without a proof when there are rate of them
// a second and limit may: limit of rate do, evenly.
func (m *demandMeter) passes(rate, limit int) bool {
	m.credit += limit
	if m.credit < rate {
		return false
	}
	m.credit -= rate
	return true
}

// demandProof rules on a UDP query whose source is not proven, after rate
// limiting has let it pass. Whom rate limiting trusts is trusted here too.
func (q *query) demandProof(t *Table, g *gate) {
	source := q.question.client.source
	if g == nil || g.demand == nil || t.demandAbove == 0 || q.proven() ||
		source.IsLoopback() || t.limiter != nil && t.limiter.exempt.has(source) {
		return
	}
	rate := g.demand.add(q.question.now)
	switch {
	case rate <= t.demandAbove:
	case q.mayDemand():
		q.ruling = wantCookie
		g.demand.asks[askedCookie].Add(1)
	case !g.demand.passes(rate, t.demandAbove):
		q.ruling = truncated
		g.demand.asks[askedTCP].Add(1)
	}
}
