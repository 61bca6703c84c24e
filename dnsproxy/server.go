package dnsproxy

import (
	"crypto/rand"
	"crypto/x509"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/portolan-lb/portolan/config"
	"github.com/portolan-lb/portolan/probe"
)

// server is a DNS server as one configuration has it.
type server struct {
	name      string
	addresses []netip.AddrPort
	auto      bool // its addresses come with the link
	port      uint16
	link      string         // that its queries leave by; empty: by the routing table
	device    string         // the link's interface; empty: it has none here
	protocol  string         // one of config's words
	tlsName   string         // whom its certificate has to be of
	path      string         // of https
	roots     *x509.CertPool // nil: the system's
	identity  string         // what makes it another one

	*learnt
}

// learnt is what was found out about a server. It outlives configurations, as
// long as the server's name, addresses and protocol are the same.
type learnt struct {
	stats    serverCounters
	spelling atomic.Int32 // see [spelling]
	misses   atomic.Int32 // exchanges in a row that failed with only letters of the wrong case
	plain    atomic.Int64 // when EDNS is tried again, in Unix seconds; 0: it understands EDNS

	client [8]byte // our half of the cookie (RFC 7873): of this server alone
	cookie atomic.Pointer[[]byte]

	mu      sync.Mutex
	streams map[way]*streams
	https   map[way]*httpsClient
	idle    map[way][]*udpConn
}

func newLearnt() *learnt {
	l := &learnt{streams: map[way]*streams{}, https: map[way]*httpsClient{}, idle: map[way][]*udpConn{}}
	_, _ = rand.Read(l.client[:]) // never fails
	return l
}

// way is how a server is reached.
type way struct {
	pin probe.Pin
	to  netip.AddrPort
}

// spelling is what is known of a server's way with the letters of a question.
//
//	unknown ── an answer in our letters ──────────────────────────── echoes
//	   │                                                               │
//	   ├─ an answer in others: asked over TCP, which nobody forges:    │ only answers in
//	   │     in ours there ── echoes       in others there ── folds    │ others, three
//	   └─ TCP fails, three times: ──────────────────────────── folds   │ times in a row
//	   ▲                                                               │
//	   └───────────────────────────────────────────────────────────────┘
//
// A server that folds is asked in lower case, and not asked in vain.
const (
	spellingUnknown = iota
	spellingEchoes
	spellingFolds
)

// maxMisses is how many exchanges that end in the wrong letters change what is
// thought of a server.
const maxMisses = 3

func (l *learnt) letters() letters { return l.spelling.Load() != spellingFolds }

// echoed notes an answer in our letters.
func (l *learnt) echoed() {
	if l.misses.Load() != 0 {
		l.misses.Store(0)
	}
	if l.spelling.Load() == spellingUnknown {
		l.spelling.Store(spellingEchoes)
	}
}

// missed notes an exchange over UDP that brought only answers in other letters.
func (l *learnt) missed() {
	if l.misses.Add(1) < maxMisses {
		return
	}
	l.misses.Store(0)
	if !l.spelling.CompareAndSwap(spellingEchoes, spellingUnknown) {
		l.spelling.Store(spellingFolds)
	}
}

// ednsAgain is how long a server that does not understand EDNS is spared it.
const ednsAgain = 10 * time.Minute

func (l *learnt) edns(now time.Time) bool { return now.Unix() >= l.plain.Load() }

// cookieFor gives the cookie to send: our half, and the server's if it gave one.
func (l *learnt) cookieFor() []byte {
	if c := l.cookie.Load(); c != nil {
		return *c
	}
	return l.client[:]
}

// learnCookie looks at the cookie of an answer, and says whether the answer is
// good: one with a client half that is not ours is not meant for us (RFC 7873
// 5.3). An answer without a cookie is good: of an address that many servers
// share, some may not know cookies.
func (l *learnt) learnCookie(cookie []byte) bool {
	if len(cookie) == 0 {
		return true
	}
	if len(cookie) < 8 || [8]byte(cookie) != l.client {
		return false
	}
	if len(cookie) >= 16 && len(cookie) <= 40 {
		if old := l.cookie.Load(); old == nil || !slices.Equal(*old, cookie) {
			l.cookie.Store(&cookie)
		}
	}
	return true
}

// encrypted says whether nobody on the way can read or forge.
func (s *server) encrypted() bool {
	return s.protocol == config.DNSOverTLS || s.protocol == config.DNSOverHTTPS
}

// reachable gives the n-th of the addresses that a pinned socket can reach,
// counted round.
func reachable(addresses []netip.AddrPort, pin probe.Pin, n int) (netip.AddrPort, bool) {
	fits := slices.DeleteFunc(slices.Clone(addresses), func(a netip.AddrPort) bool {
		return pin.Source.IsValid() && pin.Source.Is4() != a.Addr().Is4()
	})
	if len(fits) == 0 {
		return netip.AddrPort{}, false
	}
	return fits[n%len(fits)], true
}
