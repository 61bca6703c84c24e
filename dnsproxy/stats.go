package dnsproxy

import (
	"sync/atomic"
	"time"
)

// serverCounters count what was seen of one server. They are never reset.
type serverCounters struct {
	queries     atomic.Uint64 // sent, all of them
	streams     atomic.Uint64 // sent over TCP because UDP would not do
	again       atomic.Uint64 // sent twice: a connection was closed as it was used again
	withoutEDNS atomic.Uint64 // sent again without EDNS
	answers     atomic.Uint64
	failed      [failures]atomic.Uint64

	strays    atomic.Uint64 // of another id, question or none
	mangled   atomic.Uint64 // in other letters than were sent
	oversized atomic.Uint64 // too large, or with more records than is taken
	malformed atomic.Uint64 // that could not be read
	cookies   atomic.Uint64 // with a cookie that is not ours
	truncated atomic.Uint64
	floods    atomic.Uint64 // exchanges with so many strays that they went over to TCP

	latency atomic.Int64 // of answers, smoothed, in nanoseconds; 0: none yet
}

// answered counts an answer. The latency moves by an eighth towards it.
func (c *serverCounters) answered(took time.Duration) {
	c.answers.Add(1)
	old := c.latency.Load()
	if old == 0 {
		c.latency.Store(int64(took))
		return
	}
	c.latency.Store(old + (int64(took)-old)/8) // a lost update costs a sample
}

// ServerStats is what was seen of one DNS server since the start.
type ServerStats struct {
	Name        string            `json:"name"`
	Link        string            `json:"link,omitempty"`
	Queries     uint64            `json:"queries"`           // sent
	OverTCP     uint64            `json:"overTCP"`           // sent again over TCP: truncated, or somebody guesses
	Twice       uint64            `json:"twice"`             // sent twice: a connection was closed as it was used again
	WithoutEDNS uint64            `json:"withoutEDNS"`       // sent again without EDNS
	Answers     uint64            `json:"answers"`           // good ones
	Failures    map[string]uint64 `json:"failures"`          // by kind: timeout, network, servfail, refused, formerr, no-way
	Ignored     map[string]uint64 `json:"ignored"`           // answers that were none, by why: stray, letters, oversized, malformed, cookie
	Truncated   uint64            `json:"truncated"`         // answers that said so
	Floods      uint64            `json:"floods"`            // queries that drew so many strays that they went over to TCP
	Latency     time.Duration     `json:"latency,omitempty"` // of answers, smoothed
	Letters     string            `json:"letters"`           // unknown, echoes or folds: what the server does with the case of a question
}

var spellingNames = [...]string{"unknown", "echoes", "folds"}

func (s *server) snapshot() ServerStats {
	c := &s.stats
	out := ServerStats{Name: s.name, Link: s.link, Queries: c.queries.Load() + c.streams.Load() + c.again.Load(), OverTCP: c.streams.Load(), Twice: c.again.Load(),
		WithoutEDNS: c.withoutEDNS.Load(), Answers: c.answers.Load(), Truncated: c.truncated.Load(), Floods: c.floods.Load(),
		Latency: time.Duration(c.latency.Load()), Letters: spellingNames[s.spelling.Load()], Failures: map[string]uint64{},
		Ignored: map[string]uint64{"stray": c.strays.Load(), "letters": c.mangled.Load(), "oversized": c.oversized.Load(),
			"malformed": c.malformed.Load(), "cookie": c.cookies.Load()}}
	for f, name := range failureNames {
		out.Failures[name] = c.failed[f].Load()
	}
	return out
}

// drop is why a query got no answer.
type drop int

// Drops.
const (
	dropMalformed   drop = iota // shorter than a header, or a response
	dropPort                    // from a port that no client asks from
	dropDirect                  // sent to the proxy's own port: nobody intercepted it
	dropPolicy                  // the operator's word
	dropOutstanding             // too many wait already
	dropClient                  // too many of this client wait already
	dropSocket                  // the kernel did not take the reply
	drops           = int(iota)
)

var dropNames = [drops]string{"malformed", "port", "direct", "policy", "outstanding", "client-outstanding", "socket"}

// counters count what the proxy did. They are never reset.
type counters struct {
	udp, tcp    atomic.Uint64 // messages that came
	drops       [drops]atomic.Uint64
	rcodes      [16]atomic.Uint64 // of replies
	cut         atomic.Uint64     // replies that did not fit
	hits        atomic.Uint64     // replies out of the cache
	stale       atomic.Uint64     // of them, after their time
	shared      atomic.Uint64     // questions that waited for the same one of another client
	retries     atomic.Uint64     // further servers that were asked
	failed      atomic.Uint64     // questions that no server answered
	panics      atomic.Uint64
	refused     atomic.Uint64 // TCP connections over a limit
	connections atomic.Int64
}

// Stats is what the proxy did since the start.
type Stats struct {
	UDP         uint64            `json:"udp"` // messages of clients
	TCP         uint64            `json:"tcp"`
	Dropped     map[string]uint64 `json:"dropped"` // by why: malformed, port, direct, policy, outstanding, client-outstanding, socket
	Replies     map[string]uint64 `json:"replies"` // by rcode
	Truncated   uint64            `json:"truncated"`
	Hits        uint64            `json:"hits"`  // replies out of the cache
	Stale       uint64            `json:"stale"` // of them, after their time
	Shared      uint64            `json:"shared"`
	Retries     uint64            `json:"retries"`
	Failed      uint64            `json:"failed"` // questions that no server answered
	Panics      uint64            `json:"panics"`
	Outstanding int64             `json:"outstanding"` // now
	Connections int64             `json:"connections"` // of clients, now
	Refused     uint64            `json:"refused"`     // connections over a limit
	Cache       CacheStats        `json:"cache"`
	Sticky      int               `json:"sticky"` // entries of persistence, now
	Servers     []ServerStats     `json:"servers"`
	Policies    []PolicyStats     `json:"policies"`
}

// PolicyStats counts the queries that a rule took. The last one is the default.
type PolicyStats struct {
	Name    string `json:"name"`
	Queries uint64 `json:"queries"`
}

// Stats gives the counters. It may be called at any time.
func (p *Proxy) Stats() Stats {
	c := &p.count
	s := Stats{UDP: c.udp.Load(), TCP: c.tcp.Load(), Dropped: map[string]uint64{}, Replies: map[string]uint64{}, Truncated: c.cut.Load(),
		Hits: c.hits.Load(), Stale: c.stale.Load(), Shared: c.shared.Load(), Retries: c.retries.Load(), Failed: c.failed.Load(), Panics: c.panics.Load(),
		Outstanding: p.admitted.total.Load(), Connections: c.connections.Load(), Refused: c.refused.Load()}
	for d, name := range dropNames {
		s.Dropped[name] = c.drops[d].Load()
	}
	for rcode := range c.rcodes {
		if n := c.rcodes[rcode].Load(); n > 0 {
			s.Replies[rcodeText(rcode)] = n
		}
	}
	plan := p.plan.Load()
	if plan == nil {
		return s
	}
	s.Cache, s.Sticky = plan.cache.stats(), plan.sticky.len()
	for _, srv := range plan.servers {
		s.Servers = append(s.Servers, srv.snapshot())
	}
	for _, r := range plan.rules {
		s.Policies = append(s.Policies, PolicyStats{r.name, r.taken.Load()})
	}
	return s
}
