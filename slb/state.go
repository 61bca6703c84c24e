package slb

import (
	"net/netip"
	"slices"
	"time"

	"github.com/portolan-lb/portolan/config"
	"github.com/portolan-lb/portolan/slots"
	"github.com/portolan-lb/portolan/status"
)

// FarmState is how a server farm stands.
type FarmState struct {
	Config  *config.ServerFarm
	Row     status.ID
	Used    bool          // some virtual server may send it connections
	Result  slots.Result  // with Why, as things are now: its row has the words of when it became so
	Servers []ServerState // in the order of the configuration
}

// ServerState is how a real server stands in its farm.
type ServerState struct {
	Config      *config.RealServer
	Row         status.ID // that probes write
	Addresses   []netip.Addr
	Standing    slots.Standing // of one that is switched off: that it drains, or is out
	Out         string         // why it is out for a reason of ours: shut down by itself, no address; "": it is not
	Until       time.Time      // of one that is shut down by itself: when it is tried again; zero: when an operator says so
	Connections *int           // of this farm; nil: nobody has to count them
	Gauge       status.Gauge   // what flows, and what remains of its limits
}

// Farms gives how farms stand, in the order of the configuration.
func (s *SLB) Farms() []FarmState {
	s.mu.Lock()
	defer s.mu.Unlock()
	gauges := s.opts.Board.Gauges()
	list := make([]FarmState, 0, len(s.list))
	for _, f := range s.list {
		state := FarmState{Config: f.ServerFarm, Row: f.row, Used: len(f.users) > 0, Result: f.last, Servers: make([]ServerState, 0, len(f.Servers))}
		off, on := 0, 0
		for _, c := range f.Servers {
			r := ServerState{Config: c, Row: status.MakeID(status.KindRealServer, f.Name, c.Name), Gauge: status.NoGauge()}
			var m *member
			switch {
			case off < len(f.off) && f.off[off].RealServer == c:
				m = f.off[off]
				off++
				r.Standing = slots.Standing{Name: c.Name, ID: m.id, Phase: slots.Out}
				if f.SlowOffline {
					r.Standing.Phase = slots.Draining
				}
			case on < len(f.members) && f.members[on].RealServer == c:
				m = f.members[on]
				if on < len(f.last.Members) {
					r.Standing = f.last.Members[on]
				}
				on++
			default:
				continue // it has no number
			}
			s.describe(m, &r, gauges)
			state.Servers = append(state.Servers, r)
		}
		list = append(list, state)
	}
	return list
}

// describe fills in what is known of a server beside how it stands.
func (s *SLB) describe(m *member, r *ServerState, gauges *status.Gauges) {
	for _, a := range m.addrs {
		if a.IsValid() {
			r.Addresses = append(r.Addresses, a)
		}
	}
	if row, out := m.ownRow(); out {
		r.Out = row.Why
		if m.watch != nil {
			r.Until = m.watch.until
		}
	}
	if s.book.series != 0 {
		n := m.live
		r.Connections = &n
	}
	if g, measured := gauges.Get(m.row); measured {
		r.Gauge = g
	}
}

// VirtualState is how a virtual server stands that is served.
type VirtualState struct {
	Config      *config.VirtualServer
	Row         status.ID
	Why         string   // it is up or down, as things are now: its row has the words of when it became so
	Farms       []string // that it may send connections to
	Mark        uint32   // of its connections, in the bits of [kernel.ServerMask]
	Shut        bool     // nobody new gets in: it is at a limit, or held down
	Connections *int     // nil: nobody has to count them
}

// VirtualServers gives how what is served stands, in the order of the configuration.
func (s *SLB) VirtualServers() []VirtualState {
	s.mu.Lock()
	defer s.mu.Unlock()
	var list []VirtualState
	if s.plan == nil {
		return nil
	}
	for _, c := range s.model.VirtualServers {
		v := s.virtuals[c.Name]
		if v == nil {
			continue
		}
		state := VirtualState{Config: c, Row: v.row, Why: v.rowNow().Why, Mark: v.mark, Shut: v.shut}
		for _, f := range v.farms {
			state.Farms = append(state.Farms, f.Name)
		}
		if s.book.series != 0 {
			n := v.live
			state.Connections = &n
		}
		list = append(list, state)
	}
	return list
}

// PoolState is how a SNAT pool stands.
type PoolState struct {
	Config  *config.SNATPool
	Row     status.ID
	Ports   int // of each address towards each server
	Lent    int // of them, where it is tightest
	Address netip.Addr
	Server  netip.AddrPort
	Full    bool
	Failed  uint64 // connections that conntrack could not insert while it was nearly or quite full
}

// Pools gives how the SNAT pools stand that farms use.
func (s *SLB) Pools() (list []PoolState) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, p := range s.pools {
		list = append(list, PoolState{Config: p.SNATPool, Row: p.row, Ports: p.ports(), Lent: p.lent,
			Address: p.tightest.Address, Server: p.tightest.Server, Full: p.full, Failed: p.failed})
	}
	return list
}

// at gives the server that answers from a place to connections of the virtual
// server; nil: none that it may send to does.
func (v *virtual) at(place netip.AddrPort) *member {
	for _, f := range v.farms {
		for _, list := range [...][]*member{f.members, f.off} {
			for _, m := range list {
				if slices.Contains(m.addrs[:], place.Addr()) && (m.Port == 0 || m.Port == place.Port()) {
					return m
				}
			}
		}
	}
	return nil
}
