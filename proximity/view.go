package proximity

import (
	"fmt"
	"net/netip"
	"time"
)

// State is what the table has for a client, and why it may have nothing to say
// (T15).
type State uint8

// The states.
const (
	Off       State = iota // proximity is switched off: entries do not count (FAQ 1.2.23)
	Unasked                // no pool has a slot for proximity, nor a link group proximity (FAQ 1.2.23)
	NoMethods              // nothing measures, so there are no entries (FAQ 1.1.6)
	Offline                // no running server's table: nothing is known
	Absent                 // no entry: the next query makes one
	Warming                // the entry does not count yet (FAQ 1.4.5)
	Ready                  // the entry counts
)

var stateNames = [...]string{"off", "unasked", "no-methods", "offline", "absent", "warming", "ready"}

func (s State) String() string { return stateNames[s] }

// View is the table as one client sees it at one moment.
type View struct {
	State State
	Width int       // leading bits of the client's address that it rests on; 0: on none
	Next  time.Time // when it is known to change: the end of a warm-up; zero: not known
	Wants bool      // the entry is to be made, or kept fresh, after the answer

	plan   *Plan
	in     *inUse
	static int // link that is configured for the client, or noLink
	entry  *entry
	now    stamp
}

// Look gives what is known of a client's network. It waits for nobody and
// changes nothing.
func (p *Plan) Look(client netip.Addr, now time.Time) (v View) {
	v.plan, v.in, v.static = p, p.inUse.Load(), noLink
	switch {
	case !p.Config.Enabled:
		v.State = Off
		return v
	case !p.asked:
		v.State = Unasked
		return v
	}
	k, ok := keyOf(client, p.Config.Mask)
	if !ok {
		v.State = Absent
		return v
	}
	width := p.Config.Mask.V4
	if !client.Is4() {
		width = p.Config.Mask.V6
	}
	if len(p.static.links) > 0 {
		v.static = p.static.of(client)
		v.Width = max(width, p.static.finer[p.network(client)])
	}
	if !p.Measures() {
		v.State = NoMethods
		return v
	}
	v.Width = max(v.Width, width)
	if v.in == nil {
		v.State = Offline
		return v
	}
	v.Wants = true
	v.in.table.look(&v, k, now)
	return v
}

// look finds the entry of a network.
func (t *Table) look(v *View, k key, now time.Time) {
	s := t.shards.Load()
	nano := t.clock.nano(now)
	v.now = t.clock.ofNano(nano)
	v.State = Absent
	if s.mask == v.plan.Config.Mask { // else another plan is just coming into force
		if e := s.find(k); e != nil && !e.aged(v.now, v.plan.timeout) {
			v.entry = e
		}
	}
	warmUp := int64(v.plan.Config.WarmUp)
	switch {
	case v.entry == nil:
		v.Next = t.clock.time(nano + warmUp)
	case nano < v.entry.made+warmUp:
		v.State, v.Next = Warming, t.clock.time(v.entry.made+warmUp)
	default:
		v.State = Ready
	}
}

// aged says whether nobody has asked for an entry for so many seconds: then it
// is as good as gone.
func (e *entry) aged(now stamp, timeout uint32) bool { return age(e.asked.Load(), now) > timeout }

// Chooses says whether there may be a best link for the client.
func (v *View) Chooses() bool {
	return v.State == Ready || v.static != noLink
}

// Why says in a sentence what state the client's network is in (T15).
func (v *View) Why(now time.Time) string {
	switch v.State {
	case Off:
		return "proximity is not enabled: entries do not count"
	case Unasked:
		return "no pool has a slot for proximity, and no link group goes by it"
	case NoMethods:
		return "proximity has no methods: nothing is ever measured"
	case Offline:
		return "what is measured is known to a running server only"
	case Warming:
		return fmt.Sprintf("measured since %s, counts in %s", v.in.table.clock.time(v.entry.made).UTC().Format(time.TimeOnly), v.Next.Sub(now).Truncate(100*time.Millisecond))
	case Absent:
		return "no entry: " + v.absence(now)
	default:
		return "measured"
	}
}

// absence says what keeps an entry from being made.
func (v *View) absence(now time.Time) string {
	if v.in == nil {
		return "the client has no address"
	}
	t := v.in.table
	switch n := t.shards.Load().count.Load(); {
	case n >= int64(v.plan.Config.MaxEntries):
		return fmt.Sprintf("the table is full with %d", n)
	case !t.fresh.has(now):
		return fmt.Sprintf("no more than %d are made a second", v.plan.Config.NewPerSecond)
	}
	return "the next query makes it"
}
