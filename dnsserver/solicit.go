package dnsserver

import (
	"net/netip"
	"slices"
	"time"

	"github.com/miekg/dns"

	"github.com/portolan-lb/portolan/config"
)

// Arrival is where a UDP query of a client came in.
type Arrival struct {
	Client    netip.Addr // the packet's source, which is who the answer is made for
	Local     netip.Addr // where it was sent to
	Interface int        // index of the interface it came in by; 0: not known
	At        time.Time
}

// solicit turns an answer over UDP into nothing but TC, if Options.Solicit says
// that the client is to come over TCP, where the way to it shows
// ([stream.look]). It says so of answers alone that
//
//   - a slot for proximity had a word in, and that are answers: who is refused
//     would not come;
//   - are made for the source of the packet: of another network, told by Client
//     Subnet, a connection of the resolver shows nothing;
//   - have somewhere to come: the listener serves TCP too, and has room for
//     connections and for this client's.
//
// All that was ruled before stands: rate limiting and cookies saw the query, and
// the reply is no longer than the query was, but for its options.
func (h *handler) solicit(q *query) {
	ask := h.server.opts.Solicit
	if ask == nil || h.tcp || !h.gate.alsoTCP || q.question.client.ecs || q.reply.Rcode != dns.RcodeSuccess || q.reply.Truncated || len(q.reply.Answer) == 0 || !q.wants() {
		return
	}
	conns, limits := &h.server.conns, h.server.limits()
	if conns.load.Load()*2 >= int64(conns.bound(limits)) {
		return // nobody is sent to a door at which others may have to wait
	}
	a := Arrival{Client: q.question.client.source, At: q.question.now}
	if a.Local, a.Interface = h.arrival(); !a.Local.IsValid() || !ask(a) || !conns.admits(a.Client, limits) {
		return
	}
	q.dropError()
	_, opt := q.splitExtra()
	q.reply.Answer, q.reply.Ns, q.reply.Extra, q.reply.Truncated = nil, nil, opt, true
}

// wants says whether a slot looked for measurements of the client's network.
func (q *query) wants() bool {
	return slices.ContainsFunc(q.decisions, func(m made) bool { return m.got.wants })
}

// arrival tells where the packet at hand was sent to: on a socket for all
// addresses the kernel says so, beside the packet.
func (h *handler) arrival() (local netip.Addr, index int) {
	if local := h.gate.listener.Addr().Unmap(); !local.IsUnspecified() {
		return local, 0
	}
	a := parseArrival(h.control)
	return a.local, a.index
}

// admits says whether a client may have one connection more.
func (c *connections) admits(addr netip.Addr, l *config.Limits) bool {
	client, site := clientPrefixes(addr)
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.clients[client] < l.ConnectionsPerClient && c.clients[site] < l.ConnectionsPerClient*netFactor
}

// servesTCP says whether an address is listened on for TCP too.
func servesTCP(listeners []*config.Listener, address netip.AddrPort) bool {
	return slices.ContainsFunc(listeners, func(l *config.Listener) bool {
		return l.Address == address && (len(l.Protocols) == 0 || slices.Contains(l.Protocols, "tcp"))
	})
}
