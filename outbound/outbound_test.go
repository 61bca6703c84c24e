package outbound

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/portolan-lb/portolan/kernel"
	"github.com/portolan-lb/portolan/proximity"
	"github.com/portolan-lb/portolan/status"
)

// bench is an Outbound over a kernel that only takes notes.
type bench struct {
	*Outbound
	t     *testing.T
	board *status.Board
	notes []string // what the kernel and conntrack were told, in order

	asked     map[string][]kernel.Element // what packets wrote
	fails     error                       // of conntrack
	unwritten error                       // of the kernel
	live      int                         // sessions that conntrack has of any link

	told     uint64 // of the board, the last event that was looked at
	counters map[string]kernel.Counted
	nics     []kernel.Interface
	routers  []kernel.Neighbour
	blind    error                   // of reading them
	counts   map[uint32]kernel.Tally // nil: nobody counts
	wished   *kernel.Wishes
}

func (b *bench) Want(_ string, w *kernel.Wishes) {
	b.wished = w
	if w == nil {
		b.notes = append(b.notes, "want nothing")
	} else {
		b.notes = append(b.notes, "want")
	}
}
func (b *bench) Changed(string, ...*kernel.Elements) { b.notes = append(b.notes, "changed "+b.dead()) }
func (b *bench) Sync(context.Context, string) error {
	b.notes = append(b.notes, "sync")
	return errors.Join(b.unwritten, errors.New("the route over eth1 does not stand: the interface is down"))
}
func (b *bench) Elements(_, set string) ([]kernel.Element, error) { return b.asked[set], nil }
func (b *bench) Delete(_, set string, keys ...[]byte) error {
	b.notes = append(b.notes, fmt.Sprintf("forget %d of %s", len(keys), set))
	b.asked[set] = nil
	return nil
}
func (b *bench) Ask(...uint32) error                              { return nil }
func (b *bench) Counts(string) (map[string]kernel.Counted, error) { return b.counters, nil }
func (b *bench) Sessions(_ context.Context, _ kernel.SessionFilter, yield func(kernel.Session) bool) error {
	b.free("sessions are listed")
	for range b.live {
		yield(kernel.Session{})
	}
	return nil
}
func (b *bench) DeleteByMark(mark, mask uint32, family uint8) error {
	b.notes = append(b.notes, fmt.Sprintf("end %d/%x family %d", mark&kernel.LinkMask, mask&^kernel.LinkMask&mark, family))
	return b.fails
}

func (b *bench) Element(_, set string, key []byte) (kernel.Element, bool, error) {
	b.free("an entry is looked up")
	for _, el := range b.asked[set] {
		if bytes.Equal(el.Key, key) {
			return el, true, nil
		}
	}
	return kernel.Element{}, false, nil
}
func (b *bench) Find(kernel.Tuple) (kernel.Session, bool, error) {
	b.free("a session is looked up")
	return kernel.Session{}, false, nil
}

// free fails if ticks have to wait while something happens.
func (b *bench) free(what string) {
	b.t.Helper()
	if !b.mu.TryLock() {
		b.t.Errorf("%s: ticks wait for it", what)
		return
	}
	b.mu.Unlock()
}

func (b *bench) dead() string {
	if b.plan == nil {
		return ""
	}
	list := []string{}
	for id := range uint32(4) {
		if _, ok := b.plan.dead.Get(kernel.Number(id | kernel.EndsWith)); ok {
			list = append(list, fmt.Sprint("dead ", id))
		}
	}
	return strings.Join(list, " ")
}

type tally struct{ b *bench }

func (c tally) Counts(into map[uint32]kernel.Tally) uint64 {
	for mark, t := range c.b.counts {
		into[mark] = t
	}
	return 0
}
func (c tally) Run(ctx context.Context) error { <-ctx.Done(); return nil }
func (c tally) Close()                        {}

// newBench gives one that balances by a configuration. It is used in a bubble.
func newBench(t *testing.T, text string) *bench {
	t.Helper()
	b := &bench{t: t, board: status.NewBoard(1000), asked: map[string][]kernel.Element{}, nics: usual().Interfaces}
	b.Outbound = New(Options{Board: b.board, Kernel: b, Sessions: b,
		Neighbours: func() ([]kernel.Neighbour, error) { return b.routers, b.blind },
		Interfaces: func() ([]kernel.Interface, error) { return b.nics, nil },
		Count:      func() (Counter, error) { return tally{b}, nil }})
	b.board.Prepare(b.Prepare)
	b.use(text)
	return b
}

// again gives one that finds the rows of a board as they are.
func (b *bench) again(text string) *bench {
	b.t.Helper()
	opts := b.Outbound.opts
	b.Outbound = New(opts)
	b.board.Prepare(b.Prepare)
	b.plan, b.notes = nil, nil
	b.use(text)
	return b
}

func (b *bench) use(text string) {
	b.t.Helper()
	p := compile(b.t, text, b.plan)
	b.Use(p, proximity.Compile(p.model))
}

// sets the health of links, and looks.
func (b *bench) say(health status.Health, links ...string) {
	b.t.Helper()
	for _, l := range links {
		b.board.Update(status.Row{ID: status.MakeID(status.KindLink, l), Health: health})
	}
	b.notes = nil
	b.look1()
}

// look1 is one turn.
func (b *bench) look1() time.Duration { return b.turn(b.t.Context()) }

func (b *bench) slotsOf(group string) map[uint16]int {
	m := map[uint16]int{}
	for slot := range uint32(SlotCount) {
		if el, ok := b.plan.byName[group].slots.Get(kernel.Number(slot)); ok {
			m[uint16(binary.NativeEndian.Uint32(el.Data))]++
		}
	}
	return m
}

const failing = threeLinks + `
linkGroups:
  - {name: all, members: [one, two], onFailure: %s}
outbound:
  interfaces: [lan0]
  virtualServers:
    - {name: everything, linkGroup: all}
`

// What a link that fails carried is dealt with after slots and sets stand, and
// not while it would have nowhere to go (T38, outbound.md trap 13).
func TestFailure_T38(t *testing.T) {
	const ended = "end 1/10000000 family 2, end 1/10000000 family 10"
	for _, c := range []struct{ how, atOnce, later, gone string }{
		{"keep", "changed ", "changed ", "changed "},
		{"reschedule", "changed , sync, " + ended, "changed ", "changed "},
		{"reset", "changed dead 1", "changed dead 1, sync, " + ended, "changed dead 1"},
	} {
		t.Run(c.how, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBench(t, fmt.Sprintf(failing, c.how))
				b.say(status.Up, "one", "two")
				turn := func(when, want string) {
					t.Helper()
					if got := strings.Join(b.notes, ", "); got != want {
						t.Errorf("%s: %q, want %q", when, got, want)
					}
					b.notes = nil
				}
				b.say(status.Down, "one")
				turn("at once", c.atOnce)
				time.Sleep(resetFor)
				b.look1()
				turn("later", c.later)
				time.Sleep(resetFor)
				b.look1()
				turn("and then no more", c.gone)
				b.say(status.Up, "one")
				turn("when it is back", "changed ")
			})
		})
	}
}

func TestFailureOfAll_T38(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, fmt.Sprintf(failing, "reschedule"))
		b.say(status.Up, "one", "two")
		b.say(status.Down, "one", "two")
		if got := strings.Join(b.notes, ", "); strings.Contains(got, "end") {
			t.Errorf("with nobody alive: %s", got)
		}
		b.say(status.Up, "two") // now there is somewhere to go
		if got := strings.Join(b.notes, ", "); !strings.HasSuffix(got, "sync, end 1/10000000 family 2, end 1/10000000 family 10") {
			t.Errorf("when another came back: %s", got)
		}
	})
}

// A failure of conntrack is not the end of it.
func TestFailureAgain_T38(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, fmt.Sprintf(failing, "reschedule"))
		b.say(status.Up, "one", "two")
		b.fails = errors.New("no")
		b.say(status.Down, "one")
		b.fails, b.notes = nil, nil
		b.look1()
		if got := strings.Join(b.notes, ", "); !strings.Contains(got, "end 1") {
			t.Errorf("it is not tried again: %s", got)
		}
	})
}

// A link that died while nobody looked, be it that its interface is gone, is dealt with
// when the first verdict after a start says so; not by what was kept of it.
func TestDiedBeforeStart_T38(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		text := fmt.Sprintf(failing, "reschedule")
		b := newBench(t, text)
		ended := func(rows ...status.Row) bool {
			b.notes = nil
			b.board.Update(rows...)
			b.look1()
			return strings.Contains(strings.Join(b.notes, ", "), "end 1/10000000")
		}
		kept := status.Row{ID: "link/one", Health: status.Down, By: status.WarmStart}
		b.board.Update(kept)
		b.again(text)
		if ended() {
			t.Error("it is ended by what was kept")
		}
		if !ended(status.Row{ID: "link/one", Health: status.Down, By: "probe"}) {
			t.Error("it is not ended by the first verdict")
		}
		b.board.Update(status.Row{ID: "interface/eth1", Health: status.Down}, status.Row{ID: "link/one", Health: status.Unknown})
		b.again(text)
		if !ended() {
			t.Error("its interface is down, and it is not ended")
		}
		b.board.Update(status.Row{ID: "interface/eth1", Health: status.Up}, kept)
		b.again(text)
		if ended(status.Row{ID: "link/one", Health: status.Up, By: "probe"}) {
			t.Error("it is ended, and lives")
		}
	})
}

// Nothing is ended before what the tick said stands in Linux: it would come back to
// the dead link. That other things do not stand, as in the rest of these tests, does not
// matter.
func TestFailureUnwritten_T38(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, fmt.Sprintf(failing, "reschedule"))
		b.say(status.Up, "one", "two")
		b.unwritten = kernel.ErrUnwritten
		b.say(status.Down, "one")
		b.look1()
		if got := strings.Join(b.notes, ", "); strings.Contains(got, "end 1") {
			t.Errorf("it was ended before the slots stand: %s", got)
		}
		b.unwritten, b.notes = nil, nil
		b.look1()
		if got := strings.Join(b.notes, ", "); !strings.Contains(got, "end 1") {
			t.Errorf("it is not tried again: %s", got)
		}
	})
}

// Groups that share a link may differ: one that keeps its connections is no
// reason not to end those of the other, unless nobody of that one is alive.
// Between reset and reschedule the milder counts.
func TestFailureOfSeveralGroups_T38(t *testing.T) {
	for _, c := range []struct {
		other, down, want string
	}{
		{"keep", "one", "changed dead 1"},
		{"reschedule", "one", "changed , sync, end 1/10000000 family 2, end 1/10000000 family 10"},
		{"keep", "two one", "changed , want"}, // three is alive, but in the group that keeps
	} {
		synctest.Test(t, func(t *testing.T) {
			b := newBench(t, strings.Replace(fmt.Sprintf(failing, "reset"), "outbound:\n", "  - {name: other, members: [one, three], onFailure: "+c.other+"}\noutbound:\n", 1)+
				"    - {name: other, destinations: [198.51.100.0/24], linkGroup: other}\n")
			b.say(status.Up, "one", "two", "three")
			b.say(status.Down, strings.Fields(c.down)...)
			if got := strings.Join(b.notes, ", "); got != c.want {
				t.Errorf("the other says %s, %s is down: %q, want %q", c.other, c.down, got, c.want)
			}
		})
	}
}

// A link that an operator takes out of one group is alive in the other: what it
// carries for that one stays, in whatever order the groups are told. It has
// failed when no group that ends connections has it alive.
func TestFailureIsOfTheLink_T38(t *testing.T) {
	const first, second = "  - {name: a, members: [one, two], onFailure: reschedule}\n", "  - {name: b, members: [one, three], onFailure: reschedule}\n"
	for _, groups := range []string{first + second, second + first} {
		synctest.Test(t, func(t *testing.T) {
			b := newBench(t, threeLinks+"linkGroups:\n"+groups+`
outbound:
  interfaces: [lan0]
  virtualServers:
    - {name: everything, linkGroup: a}
    - {name: other, destinations: [198.51.100.0/24], linkGroup: b}
`)
			b.say(status.Up, "one", "two", "three")
			b.notes = nil
			if err := b.board.Hold("linkGroup/b/one", status.Hold{State: status.HoldDown, Reason: "a test"}); err != nil {
				t.Fatal(err)
			}
			b.look1()
			b.look1()
			if got := strings.Join(b.notes, ", "); strings.Contains(got, "end") {
				t.Errorf("held down in b alone: %s", got)
			}
			b.say(status.Down, "one")
			if got := strings.Join(b.notes, ", "); !strings.HasSuffix(got, "sync, end 1/10000000 family 2, end 1/10000000 family 10") {
				t.Errorf("when it failed: %s", got)
			}
		})
	}
}

// A group that falls below its thresholds says so in its row, and its backup is
// told to the kernel (T30); wishes are restated for that and for nothing less.
func TestRowAndBackup_T30(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, threeLinks+`
linkGroups:
  - {name: main, members: [one, two], activate: 100%}
  - {name: spare, members: [three]}
outbound:
  interfaces: [lan0]
  virtualServers:
    - {name: everything, linkGroup: main, backup: spare}
`)
		b.say(status.Up, "one", "two", "three")
		if slices.Contains(b.notes, "want") {
			t.Errorf("links that came up changed what is wished: %v", b.notes)
		}
		row := func(want status.Health) {
			t.Helper()
			if r := b.board.Table().Row("linkGroup/main"); r.Health != want || r.Why == "" {
				t.Errorf("row of main: %v, want %v", r, want)
			}
		}
		row(status.Up)
		b.say(status.Down, "two")
		row(status.Down)
		if !slices.Contains(b.notes, "want") {
			t.Errorf("the backup is not wished for: %v", b.notes)
		}
		b.say(status.Up, "two")
		row(status.Up)
		b.use(simple)
		if _, there := b.board.Table().Lookup("linkGroup/main"); there {
			t.Error("the row of a group that is no more is still there")
		}
	})
}

// Interfaces that moved, and classes that begin by the clock, change what is
// wished; nothing else does.
func TestRestated(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, simple+"    - {name: evening, destinations: [198.51.100.0/24], policy: p}\n  classes: [{name: late, times: [{from: \"18:00\", to: \"19:00\", zone: UTC}]}]\n  policies: [{name: p, rules: [{class: late, action: drop}], default: {linkGroup: all}}]\n")
		b.look1()
		b.notes = nil
		b.look1()
		if slices.Contains(b.notes, "want") {
			t.Errorf("nothing moved: %v", b.notes)
		}
		b.Moved()
		b.look1()
		if slices.Contains(b.notes, "want") {
			t.Errorf("nothing moved, whatever was said: %v", b.notes)
		}
		b.nics = append(slices.Clone(b.nics), nic("lan1", "10.1.0.1/24"))
		b.Moved()
		b.look1()
		if !slices.Contains(b.notes, "want") {
			t.Errorf("interfaces moved: %v", b.notes)
		}
		b.notes = nil
		time.Sleep(18*time.Hour + time.Second) // a bubble begins at midnight UTC
		b.look1()
		if !slices.Contains(b.notes, "want") {
			t.Errorf("a class begins: %v", b.notes)
		}
	})
}

// Routers that share a segment are known as soon as Linux knows them, and stay
// known when they cannot be read.
func TestRoutersOfASegment(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, strings.Replace(simple, "eth2, nextHop: 198.51.100.1", "eth1, nextHop: 203.0.113.9", 1))
		b.nics = slices.Clone(b.nics)
		for i := range b.nics {
			b.nics[i].Index = i + 1 // eth1 is 2
		}
		hops := func() int {
			for _, s := range b.wished.Tables[0].Sets {
				if s.Name == "last_hop" && s.Elements != nil {
					return s.Elements.Len()
				}
			}
			return 0
		}
		b.look1()
		if n := hops(); n != 0 {
			t.Fatalf("%d routers are known before Linux knows any", n)
		}
		b.routers = []kernel.Neighbour{
			{Index: 2, Addr: netip.MustParseAddr("203.0.113.1"), Ether: [6]byte{2, 0, 0, 0, 0, 1}},
			{Index: 2, Addr: netip.MustParseAddr("203.0.113.9"), Ether: [6]byte{2, 0, 0, 0, 0, 9}},
			{Index: 77, Addr: netip.MustParseAddr("203.0.113.8"), Ether: [6]byte{2, 0, 0, 0, 0, 8}},
		}
		b.look1() // no time has passed
		if n := hops(); n != 2 {
			t.Errorf("%d routers are known, not 2", n)
		}
		b.routers, b.blind = nil, errors.New("no")
		time.Sleep(2 * lookShared)
		b.look1()
		if n := hops(); n != 2 {
			t.Errorf("%d routers are known after a reading that failed", n)
		}
	})
}

// Without a configuration that balances all is taken back.
func TestTakenBack(t *testing.T) {
	left := &bench{}
	left.Outbound = New(Options{Kernel: left})
	left.Use(nil, nil)
	left.Use(nil, nil)
	if got := strings.Join(left.notes, ", "); got != "want nothing" {
		t.Errorf("what a run before left: %q", got)
	}
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, simple)
		b.notes = nil
		b.Use(nil, nil)
		b.Use(nil, nil)
		if got := strings.Join(b.notes, ", "); got != "want nothing" {
			t.Errorf("taken back: %q", got)
		}
		if _, there := b.board.Table().Lookup("linkGroup/all"); there {
			t.Error("the row of the group is still there")
		}
		b.look1()
	})
}

// What is known of links goes on over a reload (T60).
func TestReload_T60(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, simple)
		b.say(status.Up, "one", "two", "three")
		b.say(status.Down, "two")
		before := b.slotsOf("all")
		b.use(simple)
		if after := b.slotsOf("all"); fmt.Sprint(before) != fmt.Sprint(after) || after[2] != 0 {
			t.Errorf("slots %v became %v", before, after)
		}
	})
}

// Connections are counted while somebody wants to know, and the fewest get more.
func TestCounted_1_1_15(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, strings.Replace(simple, "members: [one, two, three]", "algorithm: least-connections, members: [one, two, three]", 1))
		b.counts = map[uint32]kernel.Tally{1: {Live: 500, Opened: 500}, 2: {Live: 10, Opened: 10}, 3: {Live: 10, Opened: 10}}
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error)
		go func() { ended <- b.Run(ctx) }()
		time.Sleep(3 * time.Second)
		synctest.Wait()
		if s := b.slotsOf("all"); s[1] != 0 || s[2] == 0 || s[3] == 0 {
			t.Errorf("slots: %v", s)
		}
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}

// What a link that joins a group has carried before is not what now comes (T28).
func TestArrivalsOverReload_T60(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		text := strings.Replace(simple, "members: [one, two, three]", "algorithm: least-connections, members: [one, two]", 1)
		b := newBench(t, text)
		b.counts = map[uint32]kernel.Tally{1: {Opened: 500}, 2: {Opened: 500}, 3: {Opened: 1000000}}
		b.count.Run(t.Context(), b.opts.Count, b.opts.Log)
		for range 3 {
			b.look1()
			time.Sleep(time.Second)
			b.counts[1] = kernel.Tally{Opened: b.counts[1].Opened + 10}
		}
		b.use(strings.Replace(text, "[one, two]", "[one, two, three]", 1))
		for range 3 {
			if a := b.groups[0].load.Arrivals; !a.Known || a.Last > 10 || a.Mean > 10 || a.Mean < 1 {
				t.Errorf("%+v", a)
			}
			time.Sleep(time.Second)
			b.look1()
		}
		b.count.End()
	})
}

// A row that changed is answered at once, not with the next tick.
func TestAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, simple)
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		go func() { _ = b.Run(ctx) }()
		time.Sleep(10*time.Second + tickEvery/2)
		b.board.Update(status.Row{ID: "link/two", Health: status.Down})
		synctest.Wait()
		if s := b.slotsOf("all"); s[2] != 0 {
			t.Errorf("slots: %v", s)
		}
	})
}
