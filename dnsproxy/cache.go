package dnsproxy

import (
	"encoding/binary"
	"hash/maphash"
	"sync"
	"sync/atomic"
	"time"
)

const (
	cacheShards    = 16
	entryOverhead  = 256              // octets of an entry beside its key and its message: structures, map, lists
	recordOverhead = 24               // and of each record's place
	servfailTTL    = 5                // seconds that a failure is remembered (RFC 2308 7.1, RFC 9520 3.2)
	recheck        = 30 * time.Second // between tries to renew what is stale (RFC 8767 5)
	zoneShare      = 8                // one zone has at most one part in so many of the cache
	probationShare = 5                // and what was asked once, where it displaces what was asked again
)

// cacheRules say what is kept and for how long. All in seconds.
type cacheRules struct {
	bytes                         int64
	minTTL, maxTTL, negative, old uint32
}

// cache keeps answers under the question, the flags that change an answer, and
// whose servers were asked. It is bounded in octets. It is safe for concurrent
// use. A nil cache keeps nothing.
//
// Each shard has two lists, newest use first:
//
//	new ──> probation ── asked again ──> main
//	           │ leaves first while it is       │ leaves when probation is small
//	           │ more than a fifth              │
//	           ▼                                ▼
//
// so that names which are asked once only displace each other. And a zone that
// has more than an eighth of a shard displaces its own: names made up below it
// cost the others nothing (the random-subdomain attack).
type cache struct {
	rules  cacheRules
	seed   maphash.Seed
	shards [cacheShards]shard

	evicted, inserted atomic.Uint64
}

// CacheStats is how the cache stands.
type CacheStats struct {
	Entries  int    `json:"entries"`
	Bytes    int64  `json:"bytes"`
	Limit    int64  `json:"limit"`
	Inserted uint64 `json:"inserted"`
	Evicted  uint64 `json:"evicted"`
}

type shard struct {
	mu    sync.Mutex
	byKey map[string]*entry
	lists [2]list // probation, main
	zones map[string]*zoneUse
	bytes int64
}

// The lists of a shard.
const (
	probation = iota
	mainList
)

// zoneUse is what one zone has in a shard.
type zoneUse struct {
	list list // by use
}

// entry is an answer that is kept. Its links are the shard's.
type entry struct {
	key    string
	zone   *zoneUse
	zoneOf string
	size   int64
	in     int // which list

	answer  *answer
	stored  int64 // when, in Unix seconds
	ttl     uint32
	recheck int64 // not to be renewed before, in Unix seconds

	byUse, byZone links
}

type links struct{ prev, next *entry }

func newCache(r cacheRules) *cache {
	if r.bytes <= 0 {
		return nil
	}
	c := &cache{rules: r, seed: maphash.MakeSeed()}
	for i := range c.shards {
		c.shards[i].byKey, c.shards[i].zones = map[string]*entry{}, map[string]*zoneUse{}
	}
	return c
}

// cacheKey appends what an answer is kept under: view says whose servers were
// asked, so that policies do not mix.
func cacheKey(into []byte, view uint32, name []byte, qtype uint16, rd, do, cd bool) []byte {
	into = binary.BigEndian.AppendUint32(into, view)
	into = binary.BigEndian.AppendUint16(into, qtype)
	flags := byte(0)
	for i, f := range []bool{rd, do, cd} {
		if f {
			flags |= 1 << i
		}
	}
	into = append(into, flags)
	return append(into, name...)
}

func (c *cache) shard(key []byte) *shard {
	return &c.shards[maphash.Bytes(c.seed, key)%cacheShards]
}

// found is what the cache has to say of a question.
type found struct {
	answer *answer // nil: nothing
	age    uint32
	stale  bool // its time is over; it is given only if no server answers
	recent bool // it is stale, and to renew it was tried just now
}

// get looks a question up. It allocates nothing.
func (c *cache) get(key []byte, now time.Time) found {
	if c == nil {
		return found{}
	}
	s := c.shard(key)
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.byKey[string(key)]
	if e == nil {
		return found{}
	}
	age := uint32(max(now.Unix()-e.stored, 0))
	switch {
	case age < e.ttl:
	case age < e.ttl+c.rules.old && e.answer.rcode != servfail:
		return found{answer: e.answer, age: age, stale: true, recent: now.Unix() < e.recheck}
	default:
		s.remove(e)
		return found{}
	}
	s.touch(e)
	return found{answer: e.answer, age: age}
}

// servfail is the rcode of an answer that no server gave.
const servfail = 2

// lifetime gives how long an answer is kept, in seconds; 0: not at all.
func (c *cache) lifetime(a *answer) uint32 {
	switch {
	case a.rcode == servfail:
		return servfailTTL
	case a.negative && (a.ttl == 0 || c.rules.negative == 0): // without an SOA, or not wanted
		return 0
	case a.negative:
		return min(a.ttl, c.rules.negative)
	}
	return min(max(a.ttl, c.rules.minTTL), c.rules.maxTTL)
}

// put keeps an answer to the question that it was asked under. An answer that is
// stale is not displaced by a failure.
func (c *cache) put(key []byte, a *answer, now time.Time) {
	if c == nil {
		return
	}
	ttl := c.lifetime(a)
	if ttl == 0 {
		return
	}
	s := c.shard(key)
	limit := c.rules.bytes / cacheShards
	e := &entry{key: string(key), answer: a.within(ttl), stored: now.Unix(), ttl: ttl, zoneOf: zoneOf(key[7:])}
	e.size = int64(entryOverhead + len(e.key) + len(a.wire) + recordOverhead*len(a.records))
	if e.size > limit/zoneShare {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if old := s.byKey[e.key]; old != nil {
		if a.rcode == servfail && old.answer.rcode != servfail && e.stored < old.stored+int64(old.ttl)+int64(c.rules.old) {
			old.recheck = now.Add(recheck).Unix()
			return
		}
		e.in = old.in
		s.remove(old)
	}
	s.add(e)
	c.inserted.Add(1)
	c.evicted.Add(s.fit(e, limit))
}

// renewing notes that a stale answer is being renewed or that this failed: for
// a while it is given without asking.
func (c *cache) renewing(key []byte, now time.Time) {
	if c == nil {
		return
	}
	s := c.shard(key)
	s.mu.Lock()
	defer s.mu.Unlock()
	if e := s.byKey[string(key)]; e != nil {
		e.recheck = now.Add(recheck).Unix()
	}
}

// fit evicts until a shard, and the zone of the entry that was added, are within
// their bounds.
func (s *shard) fit(added *entry, limit int64) (evicted uint64) {
	for zone := added.zone; zone.list.bytes > limit/zoneShare; evicted++ {
		s.remove(zone.list.last)
	}
	for ; s.bytes > limit; evicted++ {
		p := &s.lists[probation]
		if p.last != nil && (p.bytes > limit/probationShare || s.lists[mainList].last == nil) {
			s.remove(p.last)
		} else {
			s.remove(s.lists[mainList].last)
		}
	}
	return evicted
}

func (s *shard) add(e *entry) {
	s.byKey[e.key] = e
	s.bytes += e.size
	z := s.zones[e.zoneOf]
	if z == nil {
		z = &zoneUse{}
		s.zones[e.zoneOf] = z
	}
	e.zone = z
	z.list.push(e, byZone)
	s.lists[e.in].push(e, byUse)
}

func (s *shard) remove(e *entry) {
	delete(s.byKey, e.key)
	s.bytes -= e.size
	s.lists[e.in].cut(e, byUse)
	e.zone.list.cut(e, byZone)
	if e.zone.list.first == nil {
		delete(s.zones, e.zoneOf)
	}
}

// touch notes that an entry was asked for again.
func (s *shard) touch(e *entry) {
	s.lists[e.in].cut(e, byUse)
	e.in = mainList
	s.lists[mainList].push(e, byUse)
	e.zone.list.cut(e, byZone)
	e.zone.list.push(e, byZone)
}

func (c *cache) stats() (st CacheStats) {
	if c == nil {
		return st
	}
	st = CacheStats{Limit: c.rules.bytes, Inserted: c.inserted.Load(), Evicted: c.evicted.Load()}
	for i := range c.shards {
		s := &c.shards[i]
		s.mu.Lock()
		st.Entries, st.Bytes = st.Entries+len(s.byKey), st.Bytes+s.bytes
		s.mu.Unlock()
	}
	return st
}

// list is a doubly linked list of entries, newest use first.
type list struct {
	first, last *entry
	bytes       int64
}

// byUse and byZone choose which of an entry's links a list is made of.
func byUse(e *entry) *links  { return &e.byUse }
func byZone(e *entry) *links { return &e.byZone }

func (l *list) push(e *entry, of func(*entry) *links) {
	*of(e) = links{next: l.first}
	if l.first != nil {
		of(l.first).prev = e
	} else {
		l.last = e
	}
	l.first = e
	l.bytes += e.size
}

func (l *list) cut(e *entry, of func(*entry) *links) {
	k := of(e)
	if k.prev != nil {
		of(k.prev).next = k.next
	} else {
		l.first = k.next
	}
	if k.next != nil {
		of(k.next).prev = k.prev
	} else {
		l.last = k.prev
	}
	*k = links{}
	l.bytes -= e.size
}

// zoneOf gives the part of a name that most likely is one owner's: its last two
// labels, or three below a country's second level such as co.uk. It is a guess
// that only says who displaces whom.
func zoneOf(name []byte) string {
	var starts [128]int
	n := 0
	for at := 0; at < len(name) && name[at] != 0 && n < len(starts); at += 1 + int(name[at]) {
		starts[n] = at
		n++
	}
	keep := 2
	if n >= 3 && name[starts[n-1]] == 2 && name[starts[n-2]] <= 3 {
		keep = 3
	}
	if n <= keep {
		return string(name)
	}
	return string(name[starts[n-keep]:])
}

// within gives an answer whose TTLs are within what it is kept for: what is
// kept longer than its servers say must not be told to be over already, and the
// other way about. The answer itself is not changed.
func (a *answer) within(ttl uint32) *answer {
	if a.ttl == ttl || len(a.records) == 0 {
		return a
	}
	b := *a
	b.wire = append([]byte(nil), a.wire...)
	for _, r := range b.records {
		old := binary.BigEndian.Uint32(b.wire[r.ttl:])
		if ttl > a.ttl {
			old = max(old, ttl)
		}
		if a.ttl > ttl {
			old = min(old, ttl)
		}
		binary.BigEndian.PutUint32(b.wire[r.ttl:], old)
	}
	return &b
}
