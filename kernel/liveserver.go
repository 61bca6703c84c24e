package kernel

import (
	"net/netip"
)

// Served is a real server as the sessions of one virtual server tell it: where
// they are answered from.
type Served struct {
	Mark     uint32         // masked
	Server   netip.AddrPort // of protocols without ports: port 0
	Protocol uint8          // IANA's number
}

// Lent is an address that sessions towards one server were given by SNAT: of
// each such pair there are as many ports as the pool has.
type Lent struct {
	Address  netip.Addr
	Server   netip.AddrPort
	Protocol uint8
}

// OpenLiveServers is [OpenLive] that counts by servers and lent addresses too.
func OpenLiveServers(mask uint32) (*Live, error) { return openLive(mask, true, liveBuffer) }

// liveRow is what sessions share that are counted alike. All of it but the
// counts stays as it is.
type liveRow struct {
	key    rowKey
	live   int // see Tally
	kept   int // those in the table, with those that are over
	mark   *Tally
	server *servedTally // nil: servers are not counted
	lent   *int         // kept ones; nil: they have their own address
}

// rowKey tells rows apart; without servers by the mark alone.
type rowKey struct {
	mark     uint32
	protocol uint8
	server   netip.AddrPort
	lent     netip.Addr // zero: their own address
}

func (k *rowKey) served() Served { return Served{k.mark, k.server, k.protocol} }
func (k *rowKey) loan() Lent     { return Lent{k.lent, k.server, k.protocol} }

// servedTally are the counts of a server.
type servedTally struct {
	of Served
	Tally
	moved bool // it is in [Live.moved]
}

// rowsMost is how many rows are kept at least. Of a virtual server for all ports
// there may be a row for each port that anybody asked for; so if there are more,
// those without a session are forgotten when the table is read.
const rowsMost = 1 << 18

// keyOf gives the row of a session.
func (l *Live) keyOf(s *Session) rowKey {
	k := rowKey{mark: s.Mark & l.mask, protocol: s.Original.Protocol, server: s.Reply.Source}
	if to := s.Reply.Destination.Addr(); to != s.Original.Source.Addr() {
		k.lent = to
	}
	return k
}

// rowOf finds the row of a session; ok is false if there is none yet.
func (l *Live) rowOf(s *Session) (at uint32, ok bool) {
	if l.byServer == nil {
		at, ok = l.byMark[s.Mark&l.mask]
	} else {
		at, ok = l.byServer[l.keyOf(s)]
	}
	return at, ok
}

// newRow makes the row of a session. Who calls it holds l.mu.
func (l *Live) newRow(s *Session) (at uint32) {
	key := rowKey{mark: s.Mark & l.mask}
	if l.byServer != nil {
		key = l.keyOf(s)
	}
	return l.addRow(key)
}

func (l *Live) addRow(key rowKey) (at uint32) {
	at = uint32(len(l.rows))
	r := liveRow{key: key, mark: l.counts[key.mark]}
	if r.mark == nil {
		r.mark = &Tally{}
		l.counts[key.mark] = r.mark
	}
	if l.byServer == nil {
		l.byMark[key.mark] = at
		l.rows = append(l.rows, r)
		return at
	}
	if r.server = l.servers[key.served()]; r.server == nil {
		r.server = &servedTally{of: key.served()}
		l.servers[r.server.of] = r.server
	}
	if key.lent.IsValid() {
		if r.lent = l.loans[key.loan()]; r.lent == nil {
			r.lent = new(int)
			l.loans[key.loan()] = r.lent
		}
	}
	l.byServer[key] = at
	l.rows = append(l.rows, r)
	return at
}

// change is what becomes different about a row.
type change struct {
	live, kept         int
	opened, unanswered uint64
}

// count adds to a row. Who calls it holds l.mu.
func (l *Live) count(at uint32, c change) {
	r := &l.rows[at]
	r.live += c.live
	r.kept += c.kept
	r.mark.add(c.live, c.opened, c.unanswered)
	if r.server == nil {
		return
	}
	r.server.add(c.live, c.opened, c.unanswered)
	if r.lent != nil {
		*r.lent += c.kept
	}
	if !r.server.moved {
		r.server.moved = true
		l.moved = append(l.moved, r.server)
	}
}

func (t *Tally) add(live int, opened, unanswered uint64) {
	t.Live += live
	t.Opened += opened
	t.Unanswered += unanswered
}

// forget drops rows without sessions if there are too many, and gives the new
// places of those that stay; nil: all stay where they are. Who calls it holds
// l.mu.
func (l *Live) forget() (places []uint32) {
	if l.byServer == nil || len(l.rows) <= l.most {
		return nil
	}
	old := l.rows
	l.rows = nil
	clear(l.byServer)
	clear(l.loans)
	servers := l.servers
	l.servers = map[Served]*servedTally{}
	places = make([]uint32, len(old))
	for at := range old {
		r := &old[at]
		if r.kept == 0 {
			continue
		}
		l.servers[r.server.of] = servers[r.server.of]
		places[at] = l.addRow(r.key)
		made := &l.rows[places[at]]
		if made.live, made.kept = r.live, r.kept; made.lent != nil {
			*made.lent += r.kept
		}
	}
	return places
}

// Servers gives the counts of all servers that have had a session, in no order;
// nothing if servers are not counted. Those of a server without sessions are
// forgotten if there are very many, and begin anew. f must not call l's methods.
func (l *Live) Servers(f func(Served, Tally)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for of, s := range l.servers {
		f(of, s.Tally)
	}
}

// Moved gives the counts of those servers of which one has changed since it was
// called last, so that many servers that rest cost nothing. It is for one caller;
// f must not call l's methods.
func (l *Live) Moved(f func(Served, Tally)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, s := range l.moved {
		s.moved = false
		f(s.of, s.Tally)
	}
	clear(l.moved)
	l.moved = l.moved[:0]
}

// Loans gives how many sessions have a lent address towards a server, with those
// that are over and keep their ports, in no order; none are left out but those
// with none. f must not call l's methods.
func (l *Live) Loans(f func(Lent, int)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for of, n := range l.loans {
		if *n > 0 {
			f(of, *n)
		}
	}
}
