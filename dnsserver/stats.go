package dnsserver

import (
	"maps"
	"math/bits"
	"net/netip"
	"slices"
	"sync/atomic"
	"time"

	"github.com/miekg/dns"
)

// countedTypes are the question types that are counted by name; the rest is
// "other". Nothing that a client makes up becomes a label.
var countedTypes = [...]uint16{
	dns.TypeA, dns.TypeAAAA, dns.TypeANY, dns.TypeCAA, dns.TypeCNAME, dns.TypeDNSKEY, dns.TypeDS, dns.TypeHTTPS,
	dns.TypeMX, dns.TypeNAPTR, dns.TypeNS, dns.TypePTR, dns.TypeSOA, dns.TypeSRV, dns.TypeSVCB, dns.TypeTXT,
}

const (
	rcodes       = 24 // up to BADCOOKIE
	zoneShards   = 8
	otherRcode   = rcodes
	countBuckets = 24 // bucket i: less than 2^i microseconds
)

// drop is why a message got no reply.
type drop uint8

const (
	dropMalformed drop = iota // shorter than a header, too long, or from a port that no client has
	dropResponse              // a response, which is never answered
	dropPolicy                // onDecline or onDown says drop
	dropSocket                // the socket failed
	dropLimit                 // over the limit of dns.rrl
	dropACL                   // forbidden, and the ACL says drop
	drops
)

var dropNames = [drops]string{"malformed", "response", "policy", "socket", "rrl", "acl"}

// counters belong to one listener goroutine, or to the connections of one TCP
// listener. They stand in cache lines of their own.
type counters struct {
	_        [64]byte
	tcp      bool
	requests [2][len(countedTypes) + 1]atomic.Uint64 // by family: IPv4, IPv6
	replies  [rcodes + 1]atomic.Uint64
	dropped  [drops]atomic.Uint64
	rations  [rationKinds]atomic.Uint64
	cookies  [cookieStates]atomic.Uint64
	panics   atomic.Uint64
	buckets  [countBuckets]atomic.Uint64
	nanos    atomic.Uint64
	_        [64]byte
}

func (c *counters) drop(why drop) { c.dropped[why].Add(1) }

func (c *counters) request(source netip.Addr, qtype uint16) {
	family := 0
	if source.Unmap().Is6() {
		family = 1
	}
	i := slices.Index(countedTypes[:], qtype)
	if i < 0 {
		i = len(countedTypes)
	}
	c.requests[family][i].Add(1)
}

func (c *counters) rcode(rcode int) { c.replies[min(rcode, otherRcode)].Add(1) }

func (c *counters) took(d time.Duration) {
	i := min(bits.Len64(uint64(d.Microseconds())), countBuckets-1)
	c.buckets[i].Add(1)
	c.nanos.Add(uint64(d))
}

// zoneCounters count the replies of one zone, spread so that goroutines seldom
// write to the same cache line.
type zoneCounters struct {
	shards [zoneShards]struct {
		noerror, nxdomain, servfail, refused, other atomic.Uint64
		_                                           [24]byte
	}
}

func (z *zoneCounters) add(shard, rcode int) {
	s := &z.shards[shard%zoneShards]
	switch rcode {
	case dns.RcodeSuccess:
		s.noerror.Add(1)
	case dns.RcodeNameError:
		s.nxdomain.Add(1)
	case dns.RcodeServerFailure:
		s.servfail.Add(1)
	case dns.RcodeRefused:
		s.refused.Add(1)
	default:
		s.other.Add(1)
	}
}

// Stats is what a server has done since it started. Names are bounded: types
// by a list, zones by the configuration.
type Stats struct {
	Requests  []RequestCount                 // only those that are not zero
	Responses map[string]uint64              // by rcode, "NOERROR"
	Zones     map[string]map[string]uint64   // responses by zone and rcode; of zones served now that belong to no view; none of more than MaxZoneCounts
	Views     map[ViewZone]map[string]uint64 // the same of zones that belong to a view
	Dropped   map[string]uint64              // messages without a reply, by reason
	RRL       map[string]uint64              // what rate limiting made of queries: passed, slipped, badcookie, dropped, dry
	Cookies   CookieStats                    // what COOKIE options proved
	Panics    uint64                         // recovered while answering, and replies that could not be packed
	Conns     ConnStats                      // TCP connections
	Limits    map[string]LimitCount          // by key below dns.limits
	Durations [countBuckets]DurationCount    // of answering, from the socket to the packed reply
	Total     time.Duration                  // sum of all durations
}

// ViewZone is a zone that belongs to a view.
type ViewZone struct{ View, Zone string }

// RequestCount counts questions.
type RequestCount struct {
	Proto  string // udp, tcp
	Family string // "1" IPv4, "2" IPv6, as CoreDNS labels them
	Type   string // "A"; "other" for types without a counter
	Count  uint64
}

// ConnStats counts TCP connections.
type ConnStats struct {
	Open      int
	Accepted  uint64
	Refused   uint64 // closed at once, over the limit of its client or without descriptors
	Displaced uint64 // closed as the longest idle when there were too many
	Failed    uint64 // accept failed: no descriptors
}

// DurationCount counts answers that took less than Below, and not less than
// the bucket before. The last bucket has no bound.
type DurationCount struct {
	Below time.Duration
	Count uint64
}

// Stats adds up the counters of all listeners. It may be called at any time.
func (s *Server) Stats() Stats {
	st := Stats{Responses: map[string]uint64{}, Dropped: map[string]uint64{}, RRL: map[string]uint64{}, Zones: map[string]map[string]uint64{}}
	st.Views = map[ViewZone]map[string]uint64{}
	requests := map[RequestCount]uint64{}
	for _, c := range s.counters {
		c.addTo(&st, requests)
	}
	s.demand.addTo(&st.Cookies)
	for r, n := range requests {
		r.Count = n
		st.Requests = append(st.Requests, r)
	}
	for z := range s.table.Load().counted() {
		sum := z.count.sum()
		switch {
		case sum == nil:
		case z.state.View == "":
			st.Zones[z.state.Name] = sum
		default:
			st.Views[ViewZone{z.state.View, z.state.Name}] = sum
		}
	}
	s.countLost()
	st.Dropped["overload"] = s.lost.total()
	st.Limits = s.limitCounts()
	st.Conns = ConnStats{
		Open: s.conns.count(), Accepted: s.conns.accepted.Load(),
		Refused: s.conns.refused.Load(), Displaced: s.conns.displaced.Load(), Failed: s.conns.failed.Load(),
	}
	return st
}

func (c *counters) addTo(st *Stats, requests map[RequestCount]uint64) {
	proto := "udp"
	if c.tcp {
		proto = "tcp"
	}
	for family := range c.requests {
		for i := range c.requests[family] {
			if n := c.requests[family][i].Load(); n > 0 {
				requests[RequestCount{Proto: proto, Family: [...]string{"1", "2"}[family], Type: countedName(i)}] += n
			}
		}
	}
	for rcode := range c.replies {
		if n := c.replies[rcode].Load(); n > 0 {
			st.Responses[rcodeName(rcode)] += n
		}
	}
	for why := range c.dropped {
		st.Dropped[dropNames[why]] += c.dropped[why].Load()
	}
	for i, name := range rationNames {
		st.RRL[name] += c.rations[i].Load()
	}
	for i := range c.buckets {
		st.Durations[i].Below = time.Microsecond << i
		st.Durations[i].Count += c.buckets[i].Load()
	}
	c.addCookies(&st.Cookies)
	st.Panics += c.panics.Load()
	st.Total += time.Duration(c.nanos.Load())
}

func countedName(i int) string {
	if i == len(countedTypes) {
		return "other"
	}
	return dns.TypeToString[countedTypes[i]]
}

func rcodeName(rcode int) string {
	if name, ok := dns.RcodeToString[rcode]; ok && rcode < rcodes {
		return name
	}
	return "other"
}

func (z *zoneCounters) sum() map[string]uint64 {
	sum := map[string]uint64{}
	for i := range z.shards {
		s := &z.shards[i]
		sum["NOERROR"] += s.noerror.Load()
		sum["NXDOMAIN"] += s.nxdomain.Load()
		sum["SERVFAIL"] += s.servfail.Load()
		sum["REFUSED"] += s.refused.Load()
		sum["other"] += s.other.Load()
	}
	maps.DeleteFunc(sum, func(_ string, n uint64) bool { return n == 0 })
	return sum
}
