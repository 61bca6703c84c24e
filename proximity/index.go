package proximity

import (
	"encoding/binary"
	"hash/maphash"
	"net/netip"
	"sync"
	"sync/atomic"

	"github.com/portolan-lb/portolan/config"
)

// key is a client network: its address in 16 bytes, the bits beyond the mask
// zero. The mask is the same for all of a family, so it is not part of it.
type key struct{ hi, lo uint64 }

// keyOf gives the key of the network that an address is in, or false for what
// is no address.
func keyOf(a netip.Addr, mask config.Mask) (key, bool) {
	bits := mask.V6
	switch {
	case a.Is4():
		bits = 96 + mask.V4
	case !a.Is6():
		return key{}, false
	}
	b := a.As16()
	k := key{binary.BigEndian.Uint64(b[:8]), binary.BigEndian.Uint64(b[8:])}
	if bits < 64 {
		return key{k.hi &^ (1<<(64-bits) - 1), 0}, true
	}
	return key{k.hi, k.lo &^ (1<<(128-bits) - 1)}, true
}

// prefix is the network of a key.
func (k key) prefix(mask config.Mask) netip.Prefix {
	var b [16]byte
	binary.BigEndian.PutUint64(b[:8], k.hi)
	binary.BigEndian.PutUint64(b[8:], k.lo)
	a := netip.AddrFrom16(b)
	if a.Is4In6() {
		return netip.PrefixFrom(a.Unmap(), mask.V4)
	}
	return netip.PrefixFrom(a, mask.V6)
}

// shards is the entries of the table, by key. Readers wait for nobody: they
// follow atomic pointers and see an entry from before or after a change, never
// half of one. Writers of one shard take turns.
//
// To forget all, the table takes another shards.
type shards struct {
	mask  config.Mask // of its keys
	era   uint64      // tells results that were asked for by an earlier one
	seed  maphash.Seed
	count atomic.Int64 // entries
	all   [numShards]shard
}

// numShards bounds the work of growing one of them: at 5,000,000 entries it
// moves 20,000 pointers.
const numShards = 256

type shard struct {
	slots atomic.Pointer[slots]

	mu   sync.Mutex // writers
	live int        // entries
	dead int        // slots that had one
	_    [24]byte   // a cache line to itself
}

// slots is a hash table with open addressing and linear probing. Its length is
// a power of two and one slot at least is empty, so that a search ends. A tag
// spares the look at entries of other keys.
type slots []slot

// slot is a quarter of a cache line, so that a search that finds its tag has the
// entry at hand.
type slot struct {
	entry atomic.Pointer[entry]
	tag   atomic.Uint32
}

// What a tag says besides part of a hash.
const (
	tagEmpty = 0
	tagDead  = 1
)

const minSlots = 8

func newShards(mask config.Mask, era uint64) *shards {
	s := &shards{mask: mask, era: era, seed: maphash.MakeSeed()}
	for i := range s.all {
		s.all[i].slots.Store(newSlots(minSlots))
	}
	return s
}

func newSlots(n int) *slots {
	t := make(slots, n)
	return &t
}

// hash is seeded, so that nobody can aim at one chain.
func (s *shards) hash(k key) uint64 { return maphash.Comparable(s.seed, k) }

func tagOf(hash uint64) uint32 { return uint32(hash>>32) | 2 }

func (s *shards) shard(hash uint64) *shard { return &s.all[hash%numShards] }

// find gives the entry of a key, or nil.
func (s *shards) find(k key) *entry {
	hash := s.hash(k)
	e, _ := s.shard(hash).slots.Load().find(hash, k)
	return e
}

func (t slots) find(hash uint64, k key) (e *entry, slot int) {
	tag, mask := tagOf(hash), len(t)-1
	for i := int(hash/numShards) & mask; ; i = (i + 1) & mask {
		switch t[i].tag.Load() {
		case tag:
			if e := t[i].entry.Load(); e != nil && e.key == k {
				return e, i
			}
		case tagEmpty:
			return nil, i
		}
	}
}

// insert adds an entry, or gives the one that is there already. Of more than
// most entries one has to give way of which aged says that it may; if there is
// none nearby nothing is added, and there is nil.
func (s *shards) insert(e *entry, most int, aged func(*entry) bool) (there *entry, added bool) {
	hash := s.hash(e.key)
	sh := s.shard(hash)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	if there, _ := sh.slots.Load().find(hash, e.key); there != nil {
		return there, false
	}
	if s.count.Add(1) > int64(most) && !s.evict(sh, hash, aged) {
		s.count.Add(-1)
		return nil, false
	}
	sh.reserve(s)
	t := *sh.slots.Load()
	_, i := t.find(hash, e.key)
	t.put(i, hash, e)
	sh.live++
	return e, true
}

// put fills a slot: the tag last, for it is what readers go by.
func (t slots) put(i int, hash uint64, e *entry) {
	t[i].entry.Store(e)
	t[i].tag.Store(tagOf(hash))
}

// maxEvict bounds how many slots are searched for an entry to give way.
const maxEvict = 64

func (s *shards) evict(sh *shard, hash uint64, may func(*entry) bool) bool {
	t := *sh.slots.Load()
	for n := range min(maxEvict, len(t)) {
		i := (int(hash/numShards) + n) & (len(t) - 1)
		if e := t[i].entry.Load(); e != nil && may(e) {
			s.drop(sh, t, i)
			return true
		}
	}
	return false
}

// drop empties a slot. The caller holds sh.mu.
func (s *shards) drop(sh *shard, t slots, i int) {
	t[i].tag.Store(tagDead)
	t[i].entry.Store(nil)
	sh.live--
	sh.dead++
	s.count.Add(-1)
}

// reserve makes room for one more, so that at most three slots of four are in
// use. The caller holds sh.mu.
func (sh *shard) reserve(s *shards) {
	t := *sh.slots.Load()
	if n := len(t); 4*(sh.live+sh.dead+1) > 3*n {
		if 2*(sh.live+1) > n {
			n *= 2
		}
		sh.rebuild(s, n)
	}
}

// rebuild moves the entries into n slots. Readers go on with the old ones,
// which miss nothing but what comes from now on.
func (sh *shard) rebuild(s *shards, n int) {
	old, next := *sh.slots.Load(), newSlots(n)
	for i := range old {
		if e := old[i].entry.Load(); e != nil {
			hash := s.hash(e.key)
			_, j := next.find(hash, e.key)
			next.put(j, hash, e)
		}
	}
	sh.dead = 0
	sh.slots.Store(next)
}

// remove takes an entry out, if it is there and may says so.
func (s *shards) remove(k key, may func(*entry) bool) bool {
	hash := s.hash(k)
	sh := s.shard(hash)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	t := *sh.slots.Load()
	e, i := t.find(hash, k)
	if e == nil || !may(e) {
		return false
	}
	s.drop(sh, t, i)
	return true
}

// change has f change the entry of a key, alone; nothing happens if there is
// none.
func (s *shards) change(k key, f func(e *entry)) bool {
	sh := s.shard(s.hash(k))
	sh.mu.Lock()
	defer sh.mu.Unlock()
	e := s.find(k)
	if e != nil {
		f(e)
	}
	return e != nil
}

// sweep visits some slots of a shard from one on, each entry for visit to say
// whether it goes, and gives the next slot; 0 when the shard is through. A
// shard that has become much too large is made smaller then.
func (s *shards) sweep(number, from, n int, visit func(*entry) (drop bool)) (next int) {
	sh := &s.all[number]
	sh.mu.Lock()
	defer sh.mu.Unlock()
	t := *sh.slots.Load()
	end := min(from+n, len(t))
	for i := from; i < end; i++ {
		if e := t[i].entry.Load(); e != nil && visit(e) {
			s.drop(sh, t, i)
		}
	}
	if end < len(t) {
		return end
	}
	if size := len(t); size > minSlots && 8*sh.live < size {
		sh.rebuild(s, max(size/4, minSlots))
	}
	return 0
}
