package kernel

import (
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/portolan-lb/portolan/nettest"
)

// paths is what packets are looked up by in the table of a test, as virtual servers
// have it: the entry (an address, or a range of them) gives a thing, which has a mode;
// a mode is a chain by a map of verdicts, and says in which map the thing's result
// is.
type paths struct{ entry, mode, early, late, modes *Elements }

func newPath() paths {
	return paths{NewElements(), NewElements(), NewElements(), NewElements(), NewElements()}
}

// lead has addresses from one to another lead to a thing, and that to a result by
// a mode, 1 or 2.
func (w paths) lead(from, to, thing, mode, result uint32) {
	w.entry.Put(Element{Key: big32(from), End: big32(to), Data: Number(thing)})
	w.mode.Put(Element{Key: Number(thing), Data: Number(mode)})
	w.modes.Put(Element{Key: Number(mode), Verdict: Goto{fmt.Sprint("mode_", mode)}})
	of := w.early
	if mode == 2 {
		of = w.late
	}
	of.Put(Element{Key: Number(thing), Data: Number(result)})
}

func (w paths) table() Table {
	one := []Type{TypeNumber}
	t := Table{Name: "portolan_test", Sets: []Set{
		{Name: "entry", Key: []Type{TypeAddr4}, Data: one, Interval: true, Elements: w.entry},
		{Name: "mode", Key: one, Data: one, Elements: w.mode},
		{Name: "early", Key: one, Data: one, Elements: w.early},
		{Name: "late", Key: one, Data: one, Elements: w.late},
		{Name: "modes", Key: one, Verdicts: true, Elements: w.modes},
	}, Chains: []Chain{{Name: "base", Hook: &Hook{"filter", "prerouting", 0}, Rules: []Rule{
		{Do: []Step{SetPriority{Lookup{Dest4, "entry"}}}}, {Do: []Step{Choose{Lookup{Priority, "mode"}, "modes"}}}}}}}
	for i, set := range []string{"early", "late"} {
		if mode := uint32(i + 1); slices.ContainsFunc(w.modes.list(), func(el Element) bool { return showNumber(el.Key) == fmt.Sprintf("0x%x", mode) }) {
			t.Chains = append(t.Chains, Chain{Name: fmt.Sprint("mode_", mode), Rules: []Rule{{Do: []Step{SetPriority{Lookup{Priority, set}}, Accept{}}}}})
		}
	}
	return t
}

// find follows the way of an address through what a table has; 0: it ends.
func (h *tableHave) find(address uint32) uint32 {
	look := func(set string, key []byte) uint32 {
		if h.sets[set] != nil {
			if p, ok := h.sets[set].elements.get(string(key)); ok {
				return binary.NativeEndian.Uint32(p.element().Data)
			}
		}
		return 0
	}
	var thing uint32
	if set := h.sets["entry"]; set != nil {
		for p := range set.elements.each() {
			if el := p.element(); string(el.Key) <= string(big32(address)) && string(big32(address)) <= string(el.last()) {
				thing = binary.NativeEndian.Uint32(el.Data)
			}
		}
	}
	if h.chains["base"] == nil {
		return 0
	}
	mode := look("mode", Number(thing))
	if h.sets["modes"] == nil || h.chains[fmt.Sprint("mode_", mode)] == nil {
		return 0
	}
	if _, ok := h.sets["modes"].elements.get(string(Number(mode))); !ok {
		return 0
	}
	return look([]string{"", "early", "late"}[mode], Number(thing))
}

// become makes what is there as wished, part by part, and looks after each.
func (h *tableHave) become(t testing.TB, table Table, room int, look func(parts int)) (parts int) {
	w := wishOf(&table)
	pl := &planner{table: table.ID(), want: w, have: h, pending: map[string]*pending{}, room: room,
		bad: func(p string) { t.Error(p) }, carry: func(*setHave, *Set) []Element { return nil }}
	for name := range w.sets {
		pl.pending[name] = &pending{all: true}
	}
	for {
		p := pl.makePlan(false)
		if len(p.ops()) == 0 {
			return parts
		}
		handle := uint64(1)
		for _, o := range p.ops() {
			if o.done != nil {
				o.done(handle)
			}
			handle++
		}
		for _, f := range p.commit {
			f()
		}
		parts++
		look(parts)
		if parts > 10_000 {
			t.Fatal("it never ends")
		}
	}
}

// While a table becomes another in parts, what is in both is found after each of
// them: as it was, until it is as it will be. What is new is found whole, and what
// goes is found as it was or not at all; if it leads to what was there before, or stays,
// then also as that was, or is. That holds for ranges that are cut anew, and for
// what is found by another chain and map from then on.
func TestChangeInPartsBreaksNothing(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		some := func(what string, from, to int) uint32 {
			return uint32(rapid.IntRange(from, to).Draw(rt, what))
		}
		was, is := newPath(), newPath()
		results, things, of := [2]map[uint32]uint32{{}, {}}, [2]map[uint32]uint32{{}, {}}, [2]map[uint32]uint32{{}, {}}
		n := some("things", 1, 40)
		for at, w := range []paths{was, is} {
			next := uint32(1)
			for i := range n {
				thing := i + 1
				if some("gone", 0, 2) == 0 {
					next += some("gap", 0, 8)
					continue
				}
				if at == 1 && some("another", 0, 9) == 0 {
					thing += 1000
				}
				width := some("width", 1, 6)
				mode, result := some("mode", 1, 2), some("result", 1, 3)
				w.lead(next, next+width-1, thing, mode, result)
				of[at][thing] = result
				for a := next; a < next+width; a++ {
					results[at][a], things[at][a] = result, thing
				}
				next += width
			}
		}
		have := noTable()
		have.become(t, was.table(), 0, func(int) {})
		check := func(parts int) {
			for a := range uint32(400) {
				got, before, after := have.find(a), results[0][a], results[1][a]
				by := before == 0 && got == of[0][things[1][a]] || after == 0 && got == of[1][things[0][a]]
				if got != before && got != after && !by {
					rt.Fatalf("part %d: %d leads to %d, was %d, will be %d", parts, a, got, before, after)
				}
			}
		}
		check(0)
		have.become(t, is.table(), int(some("room", 6000, 9000)), check)
		for a := range uint32(400) {
			if got := have.find(a); got != results[1][a] {
				rt.Fatalf("in the end %d leads to %d, not %d", a, got, results[1][a])
			}
		}
	})
}

// Thousands of things that go or come do not touch those that stay, which change how
// they are found: they do so at once, before anything of the others goes, and the
// parts are many.
func TestThousandsGo(t *testing.T) {
	const n = 4000
	made := func(from uint32) paths {
		w := newPath()
		for i := from; i < n; i++ {
			mode := uint32(1)
			if i < from+256 {
				mode = 2
			}
			w.lead(2*i, 2*i, i+1, mode, i+1)
		}
		return w
	}
	for _, c := range []struct{ was, is uint32 }{{0, n / 2}, {n / 2, 0}} {
		have, seen := noTable(), map[uint32]bool{}
		have.become(t, made(c.was).table(), 0, func(int) {})
		parts := have.become(t, made(c.is).table(), 16<<10, func(parts int) {
			for i := uint32(n / 2); i < n; i += 97 {
				if got := have.find(2 * i); got != i+1 {
					t.Fatalf("part %d: %d leads to %d", parts, i, got)
				}
			}
			for i := uint32(0); i < n/2; i += 97 {
				switch got := have.find(2 * i); {
				case got != i+1 && got != 0:
					t.Fatalf("part %d: %d leads to %d", parts, i, got)
				case got == 0 && c.was > 0 && seen[i]:
					t.Fatalf("part %d: %d was there and is not", parts, i)
				default:
					seen[i] = got != 0
				}
			}
		})
		if parts < 10 {
			t.Errorf("%d parts", parts)
		}
	}
}

// What goes with what of ranges, as a twin that compares each with each has it.
func TestCrossing(t *testing.T) {
	set := &Set{Name: "s", Key: []Type{TypeNumber, TypeProto, TypePort}, Interval: true}
	rapid.Check(t, func(rt *rapid.T) {
		var list []Element
		for range rapid.IntRange(0, 30).Draw(rt, "n") {
			from := uint16(rapid.IntRange(0, 20).Draw(rt, "from"))
			to := from + uint16(rapid.IntRange(0, 5).Draw(rt, "width"))
			class, protocol := Number(uint32(rapid.IntRange(0, 2).Draw(rt, "class"))), []byte{6}
			list = append(list, Element{Key: Key(class, protocol, Port(from)), End: Key(class, protocol, Port(to))})
		}
		n := rapid.IntRange(0, len(list)).Draw(rt, "first")
		boxes := boxesOf(set, list)
		got := crossing(boxes, n)
		for i := range boxes {
			want := false
			for o := range boxes {
				want = want || (o < n) != (i < n) && boxes[o].point == boxes[i].point && boxes[i].meets(&boxes[o])
			}
			if got[i] != want {
				rt.Fatalf("%d of %d: %v", i, len(list), got[i])
			}
		}
	})
}

// A change that takes more transactions than a go has attempts comes to its end
// within this one go.
func TestManyParts_Root(t *testing.T) {
	k := standWith(t, nettest.New(t), Options{Part: 1 << 10})
	w := newPath()
	for i := range uint32(2000) {
		w.lead(2*i, 2*i, i+1, 1, i+1)
	}
	transactions := 0
	k.setFail(func([]string) error { transactions++; return nil })
	table := w.table()
	k.Want("test", &Wishes{Tables: []Table{table}})
	k.synced("test")
	if transactions <= attempts {
		t.Errorf("%d transactions", transactions)
	}
	asRead(t, k, &table)
	w = newPath()
	w.lead(0, 5000, 1, 2, 1)
	table, transactions = w.table(), 0
	k.Want("test", &Wishes{Tables: []Table{table}})
	k.synced("test")
	if transactions <= attempts {
		t.Errorf("%d transactions", transactions)
	}
	asRead(t, k, &table)
}

// What is added in several transactions is found by packets when the whole of it is
// there: what they come to first is in the last of them.
func TestLargeChangeIsFoundWhole_Root(t *testing.T) {
	k := stand(t, nettest.New(t))
	entry, bulk := NewElements(), NewElements()
	one := []Type{TypeNumber}
	table := Table{Name: "portolan_test", Sets: []Set{{Name: "entry", Key: one, Data: one, Elements: entry}, {Name: "bulk", Key: one, Data: one, Elements: bulk}},
		Chains: []Chain{{Name: "c", Rules: []Rule{{Do: []Step{Accept{}}}}}}}
	put := func(from, to uint32) {
		for i := from; i < to; i++ {
			entry.Put(Element{Key: Number(i), Data: Number(i)})
			for j := range uint32(64) {
				bulk.Put(Element{Key: Number(i<<8 | j), Data: Number(j)})
			}
		}
	}
	put(0, 1)
	k.Want("test", &Wishes{Tables: []Table{table}})
	k.synced("test")
	put(1, 3000)
	var first []int // of each transaction
	k.setFail(func(messages []string) error {
		first = append(first, slices.IndexFunc(messages, func(line string) bool { return strings.Contains(line, " entry ") }))
		return nil
	})
	k.Want("test", &Wishes{Tables: []Table{table}})
	k.synced("test")
	if len(first) < 2 || first[len(first)-1] < 0 || slices.ContainsFunc(first[:len(first)-1], func(at int) bool { return at >= 0 }) {
		t.Errorf("what packets come to is in the transactions %v", first)
	}
}
