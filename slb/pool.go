package slb

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"

	"github.com/portolan-lb/portolan/config"
	"github.com/portolan-lb/portolan/kernel"
	"github.com/portolan-lb/portolan/status"
)

// pool is a SNAT pool at run time. The kernel gives a client one address of it by
// a hash, and then a port that is free towards the server: so it is exhausted as
// soon as one address has no port left towards one server.
type pool struct {
	*config.SNATPool
	row  status.ID
	used int // farms that use it

	tightest lease // of which least is left
	lent     int   // ports of that one
	full     bool
	failed   uint64 // connections that conntrack could not insert while it was nearly or quite full
}

// lease is an address of a pool towards a server.
type lease = kernel.Lent

// gatherPools makes the pools that farms use.
func (s *SLB) gatherPools() {
	for _, c := range s.model.SNATPools {
		p := &pool{SNATPool: c, row: status.MakeID(status.KindSNATPool, c.Name)}
		for _, f := range s.list {
			if f.SNATPool == c.Name {
				p.used++
			}
		}
		if p.used == 0 {
			continue
		}
		if old := s.lentBefore[c.Name]; old != nil {
			p.full, p.failed = old.full, old.failed
		}
		s.pools = append(s.pools, p)
	}
	s.lentBefore = map[string]*pool{}
	for _, p := range s.pools {
		s.lentBefore[p.Name] = p
	}
}

// ports is how many a single address has towards one server.
func (p *pool) ports() int { return int(p.Ports.To) - int(p.Ports.From) + 1 }

// has says whether an address is of the pool.
func (p *pool) has(a netip.Addr) bool {
	return slices.ContainsFunc(p.Addresses, func(r config.AddressRange) bool { return r.Has(a) })
}

// readLoans gives how many ports are lent of each address towards each server, and
// how many connections conntrack could not insert since the machine started; nil:
// it is not known.
func (s *SLB) readLoans() (all map[lease]int, failed uint64) {
	known := s.count.With(func(c Counter, _ uint64) {
		all = map[lease]int{}
		c.Loans(func(l kernel.Lent, n int) {
			if kernel.HasPorts(l.Protocol) { // others share an address without any bound of ours
				all[l] = n
			}
		})
	})
	if !known {
		return nil, 0
	}
	t, err := s.opts.Sessions.Stats()
	if err != nil { // what is not known is no 0: all of them would be news the next time
		s.opts.Log.Debug("the statistics of connection tracking cannot be read", "err", err)
		return nil, 0
	}
	return all, t.InsertFailed
}

// A pool is full when one address has so many of its ports in use, for the kernel
// looks for a free one only so long; or fewer, if connections could not be inserted
// meanwhile. It is free again below the lower bound.
const (
	poolFull  = 0.99
	poolTight = 0.90
)

// lend takes a reading of what pools have lent.
func (s *SLB) lend(lent map[lease]int, failed uint64) {
	more := uint64(0)
	if s.refusedKnown && failed > s.refused {
		more = failed - s.refused
	}
	s.refused, s.refusedKnown = failed, true
	for _, p := range s.pools {
		p.lent, p.tightest = 0, lease{}
	}
	for l, n := range lent {
		for _, p := range s.pools {
			if p.has(l.Address) && (n > p.lent || n == p.lent && lessLease(&l, &p.tightest)) {
				p.lent, p.tightest = n, l
			}
		}
	}
	marks, rows := map[status.ID]status.Load{}, make([]status.Row, 0, len(s.pools))
	for _, p := range s.pools {
		use := float64(p.lent) / float64(p.ports())
		was := p.full
		switch {
		case use >= poolFull || use >= poolTight && more > 0:
			p.full = true
		case use < poolTight:
			p.full = false
		}
		if use >= poolTight {
			p.failed += more
		}
		rows = append(rows, status.Row{ID: p.row, Health: status.Up, Why: fmt.Sprintf("%d ports of an address towards each server", p.ports()), By: Owner})
		if p.full != was {
			why := p.text()
			if p.full {
				why += fmt.Sprintf(": new connections find no port; conntrack could not insert %d lately", more)
			}
			marks[p.row] = status.Load{Full: p.full, Why: why, By: Owner}
		}
	}
	s.opts.Board.Update(rows...)
	if len(marks) > 0 {
		s.opts.Board.Mark(marks)
	}
}

func lessLease(a, b *lease) bool {
	return cmp.Or(a.Address.Compare(b.Address), a.Server.Compare(b.Server), cmp.Compare(a.Protocol, b.Protocol)) < 0
}

// text says how much of the pool is in use where it is tightest.
func (p *pool) text() string {
	if p.lent == 0 {
		return fmt.Sprintf("none of %d ports an address is in use", p.ports())
	}
	return fmt.Sprintf("%d of %d ports of %s are in use towards %s (%s)", p.lent, p.ports(), p.tightest.Address, p.tightest.Server, kernel.ProtocolName(p.tightest.Protocol))
}
