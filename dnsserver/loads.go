package dnsserver

import (
	"hash/maphash"
	"math/rand/v2"
	"net/netip"
	"sync/atomic"
	"time"
)

// loads remembers how much was sent to each of very many prefixes lately, in
// memory that never grows. What it forgets, it forgets from the light ones.
//
// A load is kept as the moment at which it will have drained: a prefix that
// may have r replies a second is at its limit when that moment lies burst/r
// ahead, and at rest when it lies behind. So draining costs nothing and has no
// steps, and an entry is one word, which a compare-and-swap changes:
//
//	63      40 39                    0
//	+---------+-----------------------+
//	|   tag   |  drained at, in ticks |
//	+---------+-----------------------+
//
// A bucket is one cache line of eight entries. A prefix that has no entry takes
// one that has drained, which any clock tick makes more of: a source that asks
// once is forgotten after 1/r seconds, so random sources of n queries a second
// occupy n/r entries. Only when all eight are loaded must a newcomer try to
// replace the lightest, and the heavier that is, the less often it succeeds:
// with probability own/(own+lightest). It starts with its own load only. An
// innocent never inherits what others did, and a heavy one, once in, is never
// the lightest of eight for long.
//
// Where a prefix goes depends on a key that is drawn anew for each process, so
// that nobody can choose who shares a bucket with whom. Two prefixes of one
// bucket share an entry if their tags agree: once in 2^24 pairs.
type loads struct {
	seed    maphash.Seed
	start   time.Time // tick 0
	buckets []loadBucket
}

const (
	loadWays  = 8
	loadBytes = 8 // of an entry
	stampBits = 40
	stampMask = 1<<stampBits - 1

	// tick is the unit of load stamps. They repeat after 4.9 hours, so entries
	// that have drained must be swept away before that.
	tick = 16 * time.Nanosecond

	// loadHorizon bounds how far ahead an entry may drain.
	loadHorizon = 2 * time.Minute
)

type loadBucket [loadWays]atomic.Uint64

// newLoads makes a table for at least so many entries, in at most twice the
// room.
func newLoads(entries int, now time.Time) *loads {
	return &loads{seed: maphash.MakeSeed(), start: now, buckets: make([]loadBucket, loadBuckets(entries))}
}

// loadBuckets gives how many buckets hold so many entries: a power of two.
func loadBuckets(entries int) int {
	n := 1
	for n*loadWays < entries {
		n *= 2
	}
	return n
}

// size gives the entries that a table has.
func (l *loads) size() int { return len(l.buckets) * loadWays }

// loadKey is a prefix. The family is in bits, or a /24 of IPv4 could be an IPv6
// prefix.
type loadKey struct{ high, low, bits uint64 }

// keyOf gives the key of the first bits of an unmapped address.
func keyOf(a netip.Addr, bits int) loadKey {
	if a.Is4() {
		b := a.As4()
		v := uint64(b[0])<<24 | uint64(b[1])<<16 | uint64(b[2])<<8 | uint64(b[3])
		return loadKey{low: v >> (32 - bits), bits: uint64(bits)}
	}
	b := a.As16()
	var high, low uint64
	for i := range 8 {
		high, low = high<<8|uint64(b[i]), low<<8|uint64(b[8+i])
	}
	if bits <= 64 {
		return loadKey{high: high >> (64 - bits), bits: 1000 + uint64(bits)} // a shift by 64 gives 0
	}
	return loadKey{high: high, low: low >> (128 - bits), bits: 1000 + uint64(bits)}
}

func (l *loads) hash(k loadKey) uint64 { return maphash.Comparable(l.seed, k) }

func (l *loads) bucket(hash uint64) *loadBucket {
	return &l.buckets[hash&uint64(len(l.buckets)-1)]
}

// ticks gives the moment as stamps count it, not yet cut to their bits.
func (l *loads) ticks(now time.Time) uint64 { return uint64(now.Sub(l.start) / tick) }

// ahead gives how many ticks after now an entry will have drained; 0: it has,
// or was never used.
func ahead(entry, now uint64) uint64 {
	d := (entry - now) & stampMask
	if entry == 0 || d > uint64(loadHorizon/tick) {
		return 0
	}
	return d
}

// load gives the load of a prefix in ticks until it has drained.
func (l *loads) load(hash, now uint64) uint64 {
	b := l.bucket(hash)
	for i := range b {
		if e := b[i].Load(); e>>stampBits == hash>>stampBits {
			if d := ahead(e, now); d > 0 {
				return d
			}
		}
	}
	return 0
}

// add puts ticks onto the load of a prefix. It may be called by any number of
// goroutines. If others keep changing the same entry, or the bucket is full of
// heavier ones, this one addition is forgotten.
func (l *loads) add(hash, now, cost uint64) {
	const tries = 4
	b := l.bucket(hash)
	for range tries {
		way, entry, left := b.place(hash, now)
		if left > 0 && entry>>stampBits != hash>>stampBits {
			if rand.Uint64N(left+cost) >= cost {
				return // the lightest stays
			}
			left = 0
		}
		if b[way].CompareAndSwap(entry, hash&^stampMask|(now+left+cost)&stampMask) {
			return
		}
	}
}

// place finds the entry of a prefix, else one that has drained, else the
// lightest; and its load.
func (b *loadBucket) place(hash, now uint64) (way int, entry, left uint64) {
	left = ^uint64(0)
	for i := range b {
		e := b[i].Load()
		d := ahead(e, now)
		if d > 0 && e>>stampBits == hash>>stampBits {
			return i, e, d
		}
		if d < left {
			way, entry, left = i, e, d
		}
	}
	return way, entry, left
}

// sweep empties the entries that have drained. It is called more often than
// stamps repeat, or an old entry would be taken for a load of today.
func (l *loads) sweep(now time.Time) {
	t := l.ticks(now)
	for i := range l.buckets {
		for w := range l.buckets[i] {
			e := &l.buckets[i][w]
			if old := e.Load(); old != 0 && ahead(old, t) == 0 {
				e.CompareAndSwap(old, 0)
			}
		}
	}
}

// live counts the entries that have not drained.
func (l *loads) live(now time.Time) (n int) {
	t := l.ticks(now)
	for i := range l.buckets {
		for w := range l.buckets[i] {
			if ahead(l.buckets[i][w].Load(), t) > 0 {
				n++
			}
		}
	}
	return n
}
