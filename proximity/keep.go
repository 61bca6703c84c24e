package proximity

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/portolan-lb/portolan/config"
)

// The kept form of the table, whose version is KeptVersion: numbers as varints,
// times as ages in seconds, of all relative to the moment of saving.
//
//	saved, mask, what the entries rest on, how many parts
//	the links by name and what their distances rest on
//	each entry: network, ages, who was best, the distance of each link
//
// Checksums, generations and the refusal of other versions are the store's.

// KeptVersion is the version of the kept form.
const KeptVersion = 1

// Bounds of what is kept.
const (
	maxParts = 16
	perPart  = 62_500 // entries; beyond maxParts*perPart some are not kept
)

// Parts is how many parts the table is kept in now, so that none is large.
func (t *Table) Parts() int {
	n := int(t.shards.Load().count.Load())
	return min(max((n+perPart-1)/perPart, 1), maxParts)
}

// Keep gives one part of the table in its kept form, 0 to parts-1, and how many
// entries it holds. Nobody waits for it.
func (t *Table) Keep(part, parts int, now time.Time) (body []byte, n int) {
	p, s := t.plan.Load(), t.shards.Load()
	if p == nil {
		return nil, 0
	}
	in := p.inUse.Load()
	w := writer{now: t.clock.stamp(now)}
	w.number(uint64(now.Unix()))
	w.number(uint64(s.mask.V4))
	w.number(uint64(s.mask.V6))
	w.number(p.basis())
	w.number(uint64(parts))
	w.number(uint64(len(p.Links)))
	places := map[uint16]uint64{}
	for i, l := range p.Links {
		w.text(l.Name)
		w.number(basisOf(l))
		w.number(uint64(l.Cost))
		places[in.ids[i]] = uint64(i)
	}
	for i := part; i < numShards; i += parts {
		for _, e := range s.all[i].entries() {
			if n == perPart {
				return w.b, n
			}
			w.entry(e, t.clock, now, places)
			n++
		}
	}
	return w.b, n
}

// basis names what all entries rest on: another basis is another table (T10).
func (p *Plan) basis() uint64 { return hashOf(p.Config.Methods, p.Config.Port) }

// basisOf names what the distances of one link rest on. It goes to the disk, so it
// rests on texts: fmt prints an address in an unexported field by its innards, of
// which one is a pointer, another in each process.
func basisOf(l *config.Link) uint64 {
	w := wayOf(l)
	return hashOf(fmt.Sprintf("%q %q %s %s %d", w.name, w.device, w.source, w.nextHop, w.mark))
}

type writer struct {
	b   []byte
	now stamp
}

func (w *writer) number(n uint64) { w.b = binary.AppendUvarint(w.b, n) }
func (w *writer) age(at stamp)    { w.number(uint64(age(at, w.now))) }

func (w *writer) text(s string) {
	w.number(uint64(len(s)))
	w.b = append(w.b, s...)
}

func (w *writer) entry(e *entry, c clock, now time.Time, places map[uint16]uint64) {
	w.b = binary.BigEndian.AppendUint64(w.b, e.key.hi)
	w.b = binary.BigEndian.AppendUint64(w.b, e.key.lo)
	w.number(uint64(max(c.nano(now)-e.made, 0)))
	w.age(e.asked.Load())
	for i := range e.best {
		word := e.best[i].Load()
		place, ok := places[uint16(word)]
		if word == 0 || !ok {
			w.number(0)
			continue
		}
		w.number(place + 1)
		w.number(uint64(word >> 16))
	}
	found := e.distances()
	known := 0
	for i := range found {
		if _, ok := places[found[i].link]; ok {
			known++
		}
	}
	w.number(uint64(known))
	for i := range found {
		if place, ok := places[found[i].link]; ok {
			w.distance(&found[i], place)
		}
	}
}

func (w *writer) distance(d *distance, place uint64) {
	w.number(place)
	w.b = append(w.b, d.method, d.hops, d.missed)
	w.number(uint64(d.heard))
	w.age(d.triedAt)
	for _, t := range []*trail{&d.active, &d.passive} {
		for _, n := range t.least {
			w.number(uint64(n))
		}
		w.age(t.since)
	}
	w.b = append(w.b, d.via[:]...)
}

// errKept says that a kept part is not one that Keep wrote.
var errKept = errors.New("not a kept part of the table of distances")

// Restore puts the entries of a kept part back that still count, with their
// ages, those that warm up with what is left of it. A plan must be in force.
// Entries that are there stay, and no more come than maxEntries. It gives how
// many came and in how many parts the table was kept. What was measured in
// another way, by other methods or over links that changed, is left out.
func (t *Table) Restore(body []byte, now time.Time) (n, parts int, err error) {
	p, s := t.plan.Load(), t.shards.Load()
	if p == nil {
		return 0, 0, errors.New("no configuration is in force")
	}
	r := reader{b: body, clock: t.clock}
	saved, mask := r.number(math.MaxInt64), config.Mask{V4: int(r.number(32)), V6: int(r.number(128))}
	basis, count := r.number(math.MaxUint64), r.number(maxParts)
	ids := r.links(p)
	if r.bad || count == 0 {
		return 0, 0, errKept
	}
	// Time went on while we were away; a clock that was set back makes nothing younger.
	r.now = now.Add(-max(now.Sub(time.Unix(int64(saved), 0)), 0))
	if mask != p.Config.Mask || basis != p.basis() || r.cleared {
		return 0, int(count), nil
	}
	at := t.clock.stamp(now)
	aged := func(e *entry) bool { return e.aged(at, p.timeout) }
	for len(r.b) > 0 {
		e := r.entry(ids, p.refresh())
		if r.bad {
			return n, int(count), fmt.Errorf("%w: damaged after %d entries", errKept, n)
		}
		if k, ok := keyOf(e.key.prefix(mask).Addr(), mask); !ok || k != e.key {
			return n, int(count), fmt.Errorf("%w: %v is no network", errKept, e.key)
		}
		if !aged(e) {
			if _, added := s.insert(e, p.Config.MaxEntries, aged); added {
				n++
			}
		}
	}
	t.counts.restored.Add(uint64(n))
	return n, int(count), nil
}

// reader reads what writer wrote. After anything else bad is set, and what it
// gives is zero.
type reader struct {
	b     []byte
	bad   bool
	clock clock

	cleared bool      // a link's cost is another one now: that clears the table (FAQ 1.2.5)
	now     time.Time // the moment of saving, by our clock
}

func (r *reader) number(most uint64) uint64 {
	n, size := binary.Uvarint(r.b)
	if size <= 0 || n > most || r.bad {
		r.bad = true
		return 0
	}
	r.b = r.b[size:]
	return n
}

func (r *reader) bytes(n int) []byte {
	if len(r.b) < n || r.bad {
		r.bad = true
		return make([]byte, n)
	}
	got := r.b[:n]
	r.b = r.b[n:]
	return got
}

// maxAway bounds ages: before the table's start stamps cannot tell more.
const maxAway = before / 4

// at reads an age as a stamp.
func (r *reader) at() stamp {
	seconds := r.number(math.MaxUint32)
	return r.clock.stamp(r.now.Add(-time.Duration(min(seconds, maxAway)) * time.Second))
}

// links gives our number of each link that is the same as then; 0: it is not.
func (r *reader) links(p *Plan) (ids []uint16) {
	in := p.inUse.Load()
	for range r.number(maxLinks) {
		size := r.number(1 << 10)
		if r.bad {
			return nil
		}
		name, basis, cost := r.bytes(int(size)), r.number(math.MaxUint64), r.number(math.MaxInt32)
		id := uint16(0)
		if i, ok := p.index[string(name)]; ok {
			r.cleared = r.cleared || int(cost) != p.Links[i].Cost
			if basisOf(p.Links[i]) == basis {
				id = in.ids[i]
			}
		}
		ids = append(ids, id)
	}
	return ids
}

func (r *reader) entry(ids []uint16, half uint32) *entry {
	b := r.bytes(16)
	e := &entry{key: key{binary.BigEndian.Uint64(b), binary.BigEndian.Uint64(b[8:])}}
	old := min(r.number(math.MaxInt64), uint64(maxAway)*uint64(time.Second))
	e.made = r.clock.nano(r.now) - int64(old)
	e.asked.Store(r.at())
	for range e.best {
		place := r.number(uint64(len(ids)))
		if place == 0 {
			continue
		}
		if circle := r.number(math.MaxUint16); ids[place-1] != 0 {
			e.settle(uint16(circle), ids[place-1])
		}
	}
	var found []distance
	for range r.number(maxLinks) {
		d, place := r.distance(half)
		if r.bad || place >= uint64(len(ids)) {
			r.bad = true
			return e
		}
		if d.link = ids[place]; d.link != 0 {
			found = append(found, d)
		}
	}
	if found != nil {
		e.found.Store(&found)
	}
	return e
}

func (r *reader) distance(half uint32) (d distance, place uint64) {
	place = r.number(maxLinks)
	b := r.bytes(3)
	d.method, d.hops, d.missed = b[0], b[1], b[2]
	if int(d.method) >= len(methodNames) {
		r.bad = true
	}
	d.heard, d.triedAt = uint16(r.number(math.MaxUint16)), r.at()
	for _, t := range []*trail{&d.active, &d.passive} {
		for i := range t.least {
			t.least[i] = uint32(r.number(math.MaxUint32))
		}
		t.since = r.at()
	}
	copy(d.via[:], r.bytes(len(d.via)))
	d.rtt = merge(&d.active, &d.passive, half)
	return d, place
}
