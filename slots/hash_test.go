package slots

import (
	"cmp"
	"fmt"
	"slices"
	"sync"
	"testing"

	"pgregory.net/rapid"
)

var tenNames = []string{"telecom", "unicom", "mobile", "cable", "dsl", "fibre", "lte", "sat", "wimax", "isdn"}

func named(names ...string) (members []Member) {
	for _, n := range names {
		members = append(members, Member{Name: n})
	}
	return members
}

// row gives who has each slot of size.
func (p *preferences) row(size int, active []bool) []int {
	row := make([]int, size)
	p.assign(row, func(int) []bool { return active })
	return row
}

// shares gives how many slots each has.
func shares(row []int, n int) []int {
	c := make([]int, n)
	for _, i := range row {
		c[i]++
	}
	return c
}

// T32: whoever is active, the table is shared evenly; a lost member moves only
// its own slots, and takes back only these. For all sizes.
func TestPreferences_T32(t *testing.T) {
	for _, size := range Sizes {
		for n := 1; n <= len(tenNames); n++ {
			p := preferencesOf(named(tenNames[:n]...))
			active := slices.Repeat([]bool{true}, n)
			before := p.row(size, active)
			if all := shares(before, n); slices.Max(all)-slices.Min(all) > 1 {
				t.Errorf("%d of %d share %v", n, size, all)
			}
			for lost := range n {
				if n == 1 {
					continue
				}
				active[lost] = false
				now := p.row(size, active)
				for slot := range now {
					if now[slot] != before[slot] && before[slot] != lost {
						t.Fatalf("%d of %d: slot %d moved from %d to %d, lost is %d", n, size, slot, before[slot], now[slot], lost)
					}
				}
				if c := slices.Delete(shares(now, n), lost, lost+1); slices.Max(c)-slices.Min(c) > 3 {
					t.Errorf("%d of %d without %d share %v", n, size, lost, c)
				}
				active[lost] = true
			}
		}
	}
}

// eagerly is preferences by their definition, all at once: the slots that had the
// same members so far, by falling score.
func eagerly(names []string, size int) [][]int {
	p := preferencesOf(named(names...))
	lists := make([][]int, size)
	var give func(slots []int, members []int)
	give = func(slots, members []int) {
		type claim struct {
			score        uint64
			slot, member int
		}
		var claims []claim
		for _, s := range slots {
			for _, m := range members {
				rank := slices.Index(p.place, uint16(m))
				claims = append(claims, claim{p.score(s, uint16(rank)), s, m})
			}
		}
		slices.SortFunc(claims, func(a, b claim) int { return cmp.Compare(b.score, a.score) })
		won := map[int][]int{}
		more := 0
		if len(members) > 0 {
			more = len(slots) % len(members)
		}
		for _, c := range claims {
			each := len(slots) / len(members)
			n := len(won[c.member])
			taken := slices.ContainsFunc(members, func(m int) bool { return slices.Contains(won[m], c.slot) })
			if len(slots) == 1 {
				lists[c.slot] = append(lists[c.slot], c.member)
				continue
			}
			if taken || n > each || n == each && more == 0 {
				continue
			}
			if n == each {
				more--
			}
			won[c.member] = append(won[c.member], c.slot)
			lists[c.slot] = append(lists[c.slot], c.member)
		}
		for m, s := range won {
			give(s, slices.DeleteFunc(slices.Clone(members), func(o int) bool { return o == m }))
		}
	}
	all, members := make([]int, size), make([]int, len(names))
	for i := range all {
		all[i] = i
	}
	for i := range members {
		members[i] = i
	}
	give(all, members)
	return lists
}

// Preferences that are found when they are looked for are those that are found
// at once, in whatever order members fail.
func TestPreferencesAsTwin(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n, size := rapid.IntRange(1, len(tenNames)).Draw(t, "members"), rapid.SampledFrom(Sizes[:3]).Draw(t, "size")
		names := rapid.Permutation(tenNames).Draw(t, "names")[:n]
		twin, p := eagerly(names, size), preferencesOf(named(names...))
		for range rapid.IntRange(1, 8).Draw(t, "ticks") {
			active := rapid.SliceOfN(rapid.Bool(), n, n).Draw(t, "active")
			row := p.row(size, active)
			for slot, list := range twin {
				want := -1
				if k := slices.IndexFunc(list, func(m int) bool { return active[m] }); k >= 0 {
					want = list[k]
				}
				if got := row[slot]; got != want {
					t.Fatalf("slot %d has %d, want %d of %v", slot, got, want, list)
				}
				if len(list) != n {
					t.Fatalf("slot %d prefers %v", slot, list)
				}
			}
		}
	})
}

// The order of the file does not matter to who has a slot, and a member that is
// added to the configuration takes little more than its own part, for all sizes.
func TestPreferencesGrow_T32(t *testing.T) {
	all := slices.Repeat([]bool{true}, len(tenNames))
	for _, size := range Sizes {
		for n := 1; n < len(tenNames); n++ {
			turned := slices.Clone(tenNames[:n])
			slices.Reverse(turned)
			p, q, grown := preferencesOf(named(tenNames[:n]...)), preferencesOf(named(turned...)), preferencesOf(named(tenNames[:n+1]...))
			moved, first, second, third := 0, p.row(size, all), q.row(size, all), grown.row(size, all)
			for slot := range size {
				was := tenNames[first[slot]]
				if now := turned[second[slot]]; now != was {
					t.Fatalf("slot %d has %s, with the file turned %s", slot, was, now)
				}
				if tenNames[third[slot]] != was {
					moved++
				}
			}
			least := size / (n + 1)
			t.Logf("%d of %d and one more: %d slots move, %d at least", n, size, moved, least)
			if moved > 2*least+8 {
				t.Errorf("%d of %d and one more: %d slots move, where %d have to", n, size, moved, least)
			}
		}
	}
}

// moment spreads the turns of any few neighbours over the whole.
func TestMoment(t *testing.T) {
	for _, size := range Sizes {
		var all []float64
		for slot := range size {
			all = append(all, moment(slot, size))
		}
		if all[1]-all[0] != .5 {
			t.Errorf("of %d, neighbours are %v apart", size, all[1]-all[0])
		}
		slices.SortFunc(all, cmp.Compare)
		for i, m := range all {
			if m != (float64(i)+.5)/float64(size) {
				t.Fatalf("moment %d of %d is %v", i, size, m)
			}
		}
	}
}

// To give each slot its first member, as each group by a hash has to when it is
// made, and the next one when one of them is lost.
func BenchmarkPreferences(b *testing.B) {
	for _, c := range [][2]int{{64, 10}, {256, 64}, {1024, 500}} {
		b.Run(fmt.Sprintf("%d slots %d members", c[0], c[1]), func(b *testing.B) {
			var names []string
			for i := range c[1] {
				names = append(names, fmt.Sprintf("server%03d", i))
			}
			members, active := named(names...), slices.Repeat([]bool{true}, c[1])
			b.ReportAllocs()
			for b.Loop() {
				p := preferencesOf(members)
				active[0] = true
				p.row(c[0], active)
				active[0] = false
				p.row(c[0], active)
			}
		})
	}
}

// A group may be ticked and explained at once.
func TestHashAtOnce(t *testing.T) {
	w := newWorld(t, SourceHash, func(g *Spec) { g.Size = 64 }, "a", "b", "c", "d")
	w.say("b:down c:down")
	in := w.input()
	_, want := newWorld(t, SourceHash, func(g *Spec) { g.Size = 64 }, "a", "b", "c", "d").group.Tick(in, Load{}, State{})
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			if _, r := w.group.Tick(in, Load{}, State{}); !r.Slots.Equal(want.Slots) {
				t.Error("a tick beside others gives other slots")
			}
		})
	}
	all.Wait()
}
