package dnsserver

import (
	"context"
	"log/slog"
	"math/bits"
	"net/netip"
	"runtime"
	"runtime/debug"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/miekg/dns"

	"github.com/portolan-lb/portolan/config"
	"github.com/portolan-lb/portolan/status"
)

// Options is what a [Server] is made of. Only Listeners and Rows are needed.
type Options struct {
	Listeners []*config.Listener
	Rows      func() *status.Table  // the states of now; called once a query
	Gauges    func() *status.Gauges // the live numbers of now, called once a query; may be nil
	Log       *slog.Logger          // default: slog.Default()

	Sockets int        // UDP sockets an address (default: one a CPU)
	Others  func() int // descriptors that other parts of the process need at worst; may be nil

	// Observe is told the round trip times of clients' TCP connections, by the
	// goroutine that answers them: it must not wait. May be nil.
	Observe func(Observation)

	// Solicit says whether a UDP query is answered by nothing but TC, so that its
	// client comes over TCP and is observed. It must not wait. May be nil.
	Solicit func(Arrival) bool

	// Record is told of what operators should know, beside the log; may be nil.
	Record func(status.Event)
}

func (o *Options) fill() {
	o.Sockets = socketsFor(o.Sockets)
	if o.Log == nil {
		o.Log = slog.Default()
	}
}

// Server answers DNS over UDP and TCP from a [Table].
//
// Use may be called at any time from any goroutine. Listen comes before Run,
// and each is called once.
type Server struct {
	opts  Options
	table atomic.Pointer[Table]

	udp      []*udpSocket
	tcp      []*tcpListener
	conns    connections
	lost     overload
	counters []*counters
	reached  [limits]atomic.Uint64 // how often
	short    bool                  // of descriptors, as the log was told; watch's own
	alarms   atomic.Uint64         // so far, to log ever fewer of them
	limited  limitedLog
	demand   demand
	sighted  sighted
	opening  netip.AddrPort // the listener that is being opened, as configured
}

// New makes a server that answers REFUSED to everything until Use.
func New(o Options) *Server {
	o.fill()
	s := &Server{opts: o}
	s.conns.init(s.reach)
	s.limited.init()
	s.table.Store(newTable(&config.DNS{}))
	return s
}

// Use answers from another table from the next query on. Queries that are
// being answered finish with the table they began with.
func (s *Server) Use(t *Table) {
	s.table.Store(t)
	for l, n := range t.met {
		s.reached[l].Add(n)
	}
}

// Table gives the table in use.
func (s *Server) Table() *Table { return s.table.Load() }

// SameListeners says whether the server listens as these say. Sockets are
// opened once: other listeners need a restart.
func (s *Server) SameListeners(ls []*config.Listener) bool {
	return slices.EqualFunc(s.opts.Listeners, ls, func(a, b *config.Listener) bool {
		return a.Address == b.Address && slices.Equal(a.Protocols, b.Protocols)
	})
}

// SameSockets says whether the server has so many UDP sockets an address, 0
// meaning one a CPU.
func (s *Server) SameSockets(n int) bool { return s.opts.Sockets == socketsFor(n) }

func socketsFor(n int) int {
	if n == 0 {
		return runtime.NumCPU()
	}
	return n
}

// Run serves until ctx is done, then stops: what is being answered is
// finished, connections are closed, and every goroutine has ended when Run
// returns. Listen has opened the sockets before.
func (s *Server) Run(ctx context.Context) error {
	var wg sync.WaitGroup
	for _, u := range s.udp {
		wg.Go(func() { u.serve(ctx) })
	}
	for _, l := range s.tcp {
		wg.Go(func() { l.serve(ctx, &wg) })
	}
	wg.Go(func() { s.watch(ctx) })
	wg.Go(func() { s.tellLimited(ctx) })
	<-ctx.Done()
	for _, u := range s.udp {
		u.stop()
	}
	for _, l := range s.tcp {
		l.stop()
	}
	s.conns.stop()
	wg.Wait()
	s.close()
	return nil
}

// handler answers messages on behalf of one goroutine.
type handler struct {
	server *Server
	count  *counters
	shard  int // of zone counters
	tcp    bool
	gate   *gate

	control []byte // that came with the packet at hand, over UDP
}

func (s *Server) newHandler(tcp bool) *handler {
	h := &handler{server: s, count: &counters{tcp: tcp}, shard: len(s.counters), tcp: tcp}
	h.gate = &gate{listener: s.opening, alsoTCP: servesTCP(s.opts.Listeners, s.opening), limited: &s.limited, outcomes: &h.count.rations}
	if !tcp {
		h.gate.demand = s.demand.meter()
	}
	s.counters = append(s.counters, h.count)
	return h
}

// handle makes the reply to one message, in buf or anew if buf is too short.
// It gives nil when there is to be none. It never panics (bad input).
func (h *handler) handle(msg []byte, source netip.AddrPort, buf []byte) (reply []byte) {
	start := time.Now()
	if len(msg) < headerSize || !h.tcp && noClient(source.Port()) {
		h.count.drop(dropMalformed)
		return nil
	}
	defer func() {
		if p := recover(); p != nil {
			h.alarm(p, string(debug.Stack()))
			h.count.rcode(dns.RcodeServerFailure)
			reply = lastWord(msg, buf, dns.RcodeServerFailure)
		}
	}()
	reply = h.reply(msg, source.Addr(), buf, start)
	h.count.took(time.Since(start))
	return reply
}

func (h *handler) reply(msg []byte, source netip.Addr, buf []byte, now time.Time) []byte {
	t := h.server.table.Load()
	q := parseQuery(msg, source, t, h.tcp)
	if q == nil {
		h.count.drop(dropResponse)
		return nil
	}
	h.count.request(source, q.qtype)
	h.keep(q)
	q.question.gauges = h.gauges()
	q.at(now, h.rows()).admit(t, h.gate)
	h.count.cookie(q.cookie)
	if q.ruling == dropped {
		h.count.drop(q.why)
		return nil
	}
	answered := answer(t, q) != nil
	q.want()
	for met := q.reached; met != 0; met &= met - 1 {
		h.server.reach(limit(bits.TrailingZeros32(met)))
	}
	if !answered {
		h.count.drop(q.why)
		return nil
	}
	h.solicit(q)
	out, err := q.pack(buf)
	if err != nil {
		h.alarm(err, "")
		out, q.reply.Rcode = lastWord(msg, buf, dns.RcodeServerFailure), dns.RcodeServerFailure
	}
	h.count.rcode(q.reply.Rcode)
	if q.first != nil {
		q.first.count.add(h.shard, q.reply.Rcode)
	}
	return out
}

func (h *handler) rows() *status.Table {
	if h.server.opts.Rows == nil {
		return nil
	}
	return h.server.opts.Rows()
}

func (h *handler) gauges() *status.Gauges {
	if h.server.opts.Gauges == nil {
		return nil
	}
	return h.server.opts.Gauges()
}

// alarm counts what must not happen, and logs the 1st, 2nd, 4th, 8th, ... of
// it: whoever found the way to it must not fill the disk too.
func (h *handler) alarm(what any, stack string) {
	h.count.panics.Add(1)
	if n := h.server.alarms.Add(1); bits.OnesCount64(n) == 1 {
		h.server.opts.Log.Error("cannot answer a query", "panic", what, "count", n, "stack", stack)
	}
}
