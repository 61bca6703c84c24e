package proximity

import (
	"cmp"
	"math"
	"net/netip"
	"slices"
	"time"

	"github.com/portolan-lb/portolan/status"
)

// Entry is an entry of the table, for those who look.
type Entry struct {
	Network netip.Prefix `json:"network"`
	State   string       `json:"state"`
	Made    time.Time    `json:"made"`
	Counts  time.Time    `json:"counts"` // from when on
	Asked   time.Time    `json:"asked"`  // last, to the second
	Static  string       `json:"static,omitempty"`
	Links   []Distance   `json:"links"` // in the order of the configuration
}

// Distance is what an entry knows of one link, and how the link ranks among all
// of the plan now. A pool chooses among its own links only.
type Distance struct {
	Link     string        `json:"link"`
	Best     bool          `json:"best,omitempty"` // of all links of the plan
	Text     string        `json:"text"`
	RTT      time.Duration `json:"rtt,omitempty"` // what counts; 0: not known
	Hops     int           `json:"hops,omitempty"`
	Method   string        `json:"method,omitempty"`
	Active   time.Duration `json:"active,omitempty"` // as Method found it
	ActiveAt time.Time     `json:"activeAt,omitzero"`
	Via      netip.Addr    `json:"via,omitzero"`

	Passive   time.Duration `json:"passive,omitempty"` // of clients' own connections
	PassiveAt time.Time     `json:"passiveAt,omitzero"`
	Heard     int           `json:"heard,omitempty"` // samples that Passive rests on, at most 65535

	Missed int                `json:"missed,omitempty"` // rounds in a row without an answer
	Score  float64            `json:"score,omitempty"`
	Raw    map[string]float64 `json:"raw,omitempty"`   // by factor: rtt in microseconds, ttl in hops, cost, in and out as used shares; those not known are not there
	Parts  map[string]float64 `json:"parts,omitempty"` // by factor: what it contributes to the score
}

// Query says which entries to list.
type Query struct {
	Client netip.Addr   // the entry of its network alone
	State  string       // those in that state; empty: any
	After  netip.Prefix // go on after this one, from an answer before
	Limit  int          // at most so many; 0: 100
}

// List gives entries in an order of its own, which stays the same until the table
// is cleared. next is for [Query.After], not valid after the last one. Nobody
// waits for it.
func (t *Table) List(q Query, gauges *status.Gauges, now time.Time) (entries []Entry, next netip.Prefix) {
	p, s := t.plan.Load(), t.shards.Load()
	if p == nil {
		return nil, next
	}
	if q.Client.IsValid() {
		k, _ := keyOf(q.Client, s.mask)
		if e := s.find(k); e != nil && (q.State == "" || e.state(p, t.clock.nano(now)).String() == q.State) {
			entries = append(entries, t.describe(p, s, e, gauges, now))
		}
		return entries, next
	}
	limit := cmp.Or(q.Limit, 100)
	for e := range s.after(q.After) {
		if q.State != "" && e.state(p, t.clock.nano(now)).String() != q.State {
			continue
		}
		if len(entries) == limit {
			return entries, entries[limit-1].Network
		}
		entries = append(entries, t.describe(p, s, e, gauges, now))
	}
	return entries, next
}

// after gives the entries that follow one, by shard and key.
func (s *shards) after(prefix netip.Prefix) func(yield func(*entry) bool) {
	first, last := 0, key{}
	if prefix.IsValid() {
		last, _ = keyOf(prefix.Addr(), s.mask)
		first = int(s.hash(last) % numShards)
	}
	return func(yield func(*entry) bool) {
		for i := first; i < numShards; i++ {
			list := s.all[i].entries()
			slices.SortFunc(list, func(a, b *entry) int { return compareKeys(a.key, b.key) })
			for _, e := range list {
				if prefix.IsValid() && i == first && compareKeys(e.key, last) <= 0 {
					continue
				}
				if !yield(e) {
					return
				}
			}
		}
	}
}

func compareKeys(a, b key) int { return cmp.Or(cmp.Compare(a.hi, b.hi), cmp.Compare(a.lo, b.lo)) }

// entries gives those of a shard as they stand. It waits for nobody.
func (sh *shard) entries() (list []*entry) {
	t := *sh.slots.Load()
	for i := range t {
		if e := t[i].entry.Load(); e != nil {
			list = append(list, e)
		}
	}
	return list
}

// describe tells what an entry knows, ranked as for a client in it.
func (t *Table) describe(p *Plan, s *shards, e *entry, gauges *status.Gauges, now time.Time) Entry {
	network := e.key.prefix(s.mask)
	in := p.inUse.Load()
	d := Entry{
		Network: network, State: e.state(p, t.clock.nano(now)).String(), Made: t.clock.time(e.made),
		Counts: t.clock.time(e.made + int64(p.Config.WarmUp)), Asked: t.clock.stampTime(e.asked.Load()), Links: []Distance{},
	}
	v := View{State: Ready, plan: p, in: in, static: p.static.of(network.Addr()), entry: e, now: t.clock.stamp(now)}
	if v.static != noLink {
		d.Static = p.Links[v.static].Name
	}
	numbers := make([]int, len(p.Links))
	for i := range numbers {
		numbers[i] = i
	}
	r := v.Rank(numbers, gauges, nil)
	for i := range r.Rated {
		l := t.distance(&v, &r.Rated[i])
		l.Best = i == r.Best
		d.Links = append(d.Links, l)
	}
	return d
}

func (t *Table) distance(v *View, r *Rated) Distance {
	d := Distance{Link: v.plan.Links[r.Link].Name, Text: r.Text(), Missed: int(r.missed), Score: r.Score, Raw: map[string]float64{}, Parts: map[string]float64{}}
	for f := range Factors {
		if r.Raw[f] == r.Raw[f] {
			d.Raw[f.String()] = r.Raw[f]
		}
		if r.Standing == Measured {
			d.Parts[f.String()] = r.Parts[f]
		}
	}
	found := v.entry.distances()
	for i := range found {
		if f := &found[i]; f.link == v.in.ids[r.Link] {
			d.RTT, d.Hops, d.Method, d.Via = time.Duration(f.rtt)*time.Microsecond, int(f.hops), methodNames[f.method], f.viaAddr()
			d.Active, d.Passive, d.Heard = time.Duration(f.active.micros())*time.Microsecond, time.Duration(f.passive.micros())*time.Microsecond, int(f.heard)
			if f.active.known() {
				d.ActiveAt = t.clock.stampTime(f.active.since)
			}
			if f.passive.known() {
				d.PassiveAt = t.clock.stampTime(f.passive.since)
			}
		}
	}
	return d
}

// Clear forgets the entries of the networks inside a prefix, or all with the
// zero Prefix, and says how many those were. who and why go into an event.
func (t *Table) Clear(prefix netip.Prefix, who, why string) (n int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	s, what := t.shards.Load(), "cleared"
	if prefix.IsValid() {
		n, what = s.clear(prefix.Masked()), "cleared "+prefix.Masked().String()
		t.opts.Forget(prefix.Masked())
	} else {
		n = int(s.count.Load())
		t.clear(s.mask)
	}
	t.counts.cleared.Add(uint64(n))
	t.opts.Record(status.Event{ID: eventID, Time: time.Now(), New: what, Why: why, By: who})
	return n
}

// clear drops the entries inside a prefix, and the one around it if the prefix
// is longer than an entry's network.
func (s *shards) clear(prefix netip.Prefix) (n int) {
	for i := range s.all {
		s.sweep(i, 0, math.MaxInt, func(e *entry) bool { // a shard at once: between parts of it entries might move
			if !e.key.prefix(s.mask).Overlaps(prefix) {
				return false
			}
			n++
			return true
		})
	}
	return n
}

// TableStats is a table's size and its counters since [NewTable].
type TableStats struct {
	Entries int            `json:"entries"`
	Max     int            `json:"max"`
	States  map[string]int `json:"states"` // entries by state; of large tables as they stood half a minute ago

	Made        uint64 `json:"made"`
	RefusedFull uint64 `json:"refusedFull"` // queries that found the table full
	RefusedRate uint64 `json:"refusedRate"` // queries beyond newPerSecond
	Aged        uint64 `json:"aged"`
	Cleared     uint64 `json:"cleared"`  // by command
	Late        uint64 `json:"late"`     // results from before the table was cleared
	Heard       uint64 `json:"heard"`    // samples of clients' own connections that were taken
	Restored    uint64 `json:"restored"` // entries of the run before
}

// maxCounted is up to how many entries Stats counts states itself.
const maxCounted = 20_000

// Stats reads the counters.
func (t *Table) Stats() TableStats {
	p, s, c := t.plan.Load(), t.shards.Load(), &t.counts
	st := TableStats{
		Entries: int(s.count.Load()), States: map[string]int{}, Made: c.made.Load(), RefusedFull: c.full.Load(), RefusedRate: c.rate.Load(),
		Aged: c.aged.Load(), Cleared: c.cleared.Load(), Late: c.late.Load(), Heard: c.heard.Load(), Restored: c.restored.Load(),
	}
	if p == nil {
		return st
	}
	st.Max = p.Config.MaxEntries
	t.mu.Lock()
	last, whole := t.lap.last, t.lap.whole
	t.mu.Unlock()
	if st.Entries > maxCounted && whole {
		for i, n := range last {
			if n > 0 {
				st.States[State(i).String()] = n
			}
		}
		return st
	}
	nano := t.clock.nano(time.Now())
	for i := range s.all {
		for _, e := range s.all[i].entries() {
			st.States[e.state(p, nano).String()]++
		}
	}
	return st
}
