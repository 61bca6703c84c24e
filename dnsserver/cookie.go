package dnsserver

import (
	"crypto/subtle"
	"encoding/binary"
	"net/netip"
	"time"

	"github.com/dchest/siphash"
	"github.com/miekg/dns"
)

// cookieState is what the COOKIE option of a query proves (RFC 7873 5.2).
type cookieState uint8

const (
	cookieNone      cookieState = iota // no option, or cookies are off
	cookieClient                       // a client cookie alone: it has none of ours yet (5.2.3)
	cookieBad                          // a server cookie that is not ours, or no longer (5.2.4)
	cookieValid                        // ours: the source address is not forged (5.2.5)
	cookieMalformed                    // of a length that no cookie has: FORMERR (5.2.2)
	cookieStates
)

const (
	clientCookieSize = 8
	cookieSize       = clientCookieSize + 16 // a server cookie of version 1 behind it
	minCookieSize    = clientCookieSize + 8  // with any server cookie
	maxCookieSize    = clientCookieSize + 32

	cookieVersion = 1
	cookieLife    = time.Hour        // RFC 9018 4.3
	cookieAhead   = 5 * time.Minute  // servers behind one address do not have quite the same time
	cookieRenewal = 30 * time.Minute // the age from which a client gets a new one
)

// cookieOption is the COOKIE option of a query (RFC 7873 section 4). Of octets
// only what a cookie of ours would have is kept.
type cookieOption struct {
	state  cookieState // before it is proved: cookieBad wherever there is a server cookie
	sent   int         // octets
	octets [cookieSize]byte
}

func parseCookie(data []byte) cookieOption {
	o := cookieOption{sent: len(data)}
	switch n := len(data); {
	case n == clientCookieSize:
		o.state = cookieClient
	case n >= minCookieSize && n <= maxCookieSize:
		o.state = cookieBad
	default:
		o.state = cookieMalformed
	}
	copy(o.octets[:], data)
	return o
}

// checkCookie finds out what the query's cookie proves, where cookies are used.
// In another version of EDNS the option may mean anything.
func (q *query) checkCookie(t *Table) {
	if t.cookies == nil || q.edns.version > 0 {
		return
	}
	o := &q.edns.cookie
	q.cookie = o.state
	if o.state == cookieBad && o.sent == cookieSize &&
		t.cookies.at(q.question.now).verify(&o.octets, q.question.client.source, q.question.now) {
		q.cookie = cookieValid
	}
	if q.bare && q.opcode == dns.OpcodeQuery && q.ruling == admitted {
		q.ruling = q.cookie.bareRuling()
	}
}

// bareRuling is for a query that has no question and so asks for a server
// cookie, or whether its own is still good (RFC 7873 5.4).
func (s cookieState) bareRuling() ruling {
	switch s {
	case cookieClient, cookieValid:
		return cookieOnly
	case cookieBad:
		return wantCookie
	}
	return admitted // and FORMERR, for want of a question
}

// proven says whether the source address of a query is known not to be forged.
func (q *query) proven() bool { return q.tcp || q.cookie == cookieValid }

// mayDemand says whether the client understands BADCOOKIE: it speaks cookies
// and has proved nothing.
func (q *query) mayDemand() bool { return q.cookie == cookieClient || q.cookie == cookieBad }

// cookieReply makes the COOKIE option of the reply, or nil where none belongs
// (RFC 7873 5.2). A valid cookie is given back as it is while it is young, any
// other client gets a fresh one.
func (q *query) cookieReply(t *Table) *dns.EDNS0_LOCAL {
	o, now := &q.edns.cookie, q.question.now
	switch q.cookie {
	case cookieNone, cookieMalformed:
		return nil
	case cookieValid:
		if !t.cookies.at(now).renews(&o.octets, q.question.client.source, now) {
			break
		}
		fallthrough
	default:
		t.cookies.at(now).sign(&o.octets, q.question.client.source, now)
	}
	return &dns.EDNS0_LOCAL{Code: dns.EDNS0COOKIE, Data: o.octets[:]}
}

// cookieKey is a server secret, 128 bits as SipHash takes them.
type cookieKey struct{ k0, k1 uint64 }

func makeCookieKey(secret [16]byte) cookieKey {
	return cookieKey{binary.LittleEndian.Uint64(secret[:8]), binary.LittleEndian.Uint64(secret[8:])}
}

// cookieKeys are the secrets of one moment. The first signs, all verify. They
// are immutable.
type cookieKeys []cookieKey

// sign puts a server cookie for a client address behind the client cookie
// (RFC 9018 section 4).
func (ks cookieKeys) sign(cookie *[cookieSize]byte, source netip.Addr, now time.Time) {
	binary.BigEndian.PutUint32(cookie[8:], cookieVersion<<24) // and reserved
	binary.BigEndian.PutUint32(cookie[12:], uint32(now.Unix()))
	hash := ks[0].hash(cookie, source)
	copy(cookie[16:], hash[:])
}

// verify says whether a cookie is one that these keys made for an address, no
// longer ago than it lives. The reserved octets are not ours to judge, only to
// hash (RFC 9018 4.2).
func (ks cookieKeys) verify(cookie *[cookieSize]byte, source netip.Addr, now time.Time) bool {
	age := cookieAge(cookie, now)
	if cookie[8] != cookieVersion || age > cookieLife || age < -cookieAhead {
		return false
	}
	found := 0
	for _, k := range ks {
		hash := k.hash(cookie, source)
		found |= subtle.ConstantTimeCompare(hash[:], cookie[16:])
	}
	return found == 1
}

// renews says whether a valid cookie should make room for a new one: it is old,
// or it was not made with the secret of today.
func (ks cookieKeys) renews(cookie *[cookieSize]byte, source netip.Addr, now time.Time) bool {
	hash := ks[0].hash(cookie, source)
	return cookieAge(cookie, now) > cookieRenewal || [8]byte(cookie[16:]) != hash
}

// cookieAge is serial number arithmetic (RFC 9018 4.3, RFC 1982): it is right
// in 2106 too.
func cookieAge(cookie *[cookieSize]byte, now time.Time) time.Duration {
	made := binary.BigEndian.Uint32(cookie[12:])
	return time.Duration(int32(uint32(now.Unix())-made)) * time.Second
}

// hash is SipHash-2-4 of everything before it in the cookie and the address of
// the client (RFC 9018 4.4).
func (k cookieKey) hash(cookie *[cookieSize]byte, source netip.Addr) (sum [8]byte) {
	var in [16 + 16]byte
	n := copy(in[:], cookie[:16])
	if source.Is4() {
		v4 := source.As4()
		n += copy(in[n:], v4[:])
	} else {
		v6 := source.As16()
		n += copy(in[n:], v6[:])
	}
	binary.LittleEndian.PutUint64(sum[:], siphash.Hash(k.k0, k.k1, in[:n]))
	return sum
}

// CookieStats counts queries by what their COOKIE option proved, and what was
// asked of those that proved nothing when there were too many of them.
type CookieStats struct {
	None      uint64 // no option, or cookies are off
	Client    uint64 // a client cookie alone
	Valid     uint64
	Bad       uint64 // not ours, of another client, or too old
	Malformed uint64 // answered FORMERR

	DemandedCookie uint64 // BADCOOKIE, above dns.cookies.demandAbove
	DemandedTCP    uint64 // TC, above dns.cookies.demandAbove
}

func (c *counters) cookie(s cookieState) { c.cookies[s].Add(1) }

func (c *counters) addCookies(st *CookieStats) {
	st.None += c.cookies[cookieNone].Load()
	st.Client += c.cookies[cookieClient].Load()
	st.Valid += c.cookies[cookieValid].Load()
	st.Bad += c.cookies[cookieBad].Load()
	st.Malformed += c.cookies[cookieMalformed].Load()
}

func (d *demand) addTo(st *CookieStats) {
	for _, m := range d.meters {
		st.DemandedCookie += m.asks[askedCookie].Load()
		st.DemandedTCP += m.asks[askedTCP].Load()
	}
}
