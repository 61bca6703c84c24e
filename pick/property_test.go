package pick

import (
	"cmp"
	"math"
	"net/netip"
	"slices"
	"testing"

	"github.com/portolan-lb/portolan/status"
	"pgregory.net/rapid"
)

// drawMembers makes random members and a table of random states for them.
func drawMembers(t *rapid.T) ([]*Member, *status.Table) {
	b := status.NewBoard(1)
	n := rapid.IntRange(1, 8).Draw(t, "members")
	members := make([]*Member, n)
	for i := range members {
		name := string(rune('a' + i))
		members[i] = &Member{Index: i, Name: name, Needs: []status.ID{vs(name)},
			Weight: rapid.IntRange(0, 4).Draw(t, "weight"), Priority: rapid.IntRange(0, 2).Draw(t, "priority")}
		if rapid.IntRange(0, 5).Draw(t, "hold") == 0 {
			_ = b.Hold(vs(name), status.Hold{State: status.HoldState(rapid.IntRange(0, 2).Draw(t, "held"))})
		}
		b.Update(status.Row{ID: vs(name), Health: status.Health(rapid.IntRange(0, 2).Draw(t, "health"))})
		b.Mark(map[status.ID]status.Load{vs(name): {Full: rapid.IntRange(0, 4).Draw(t, "full") == 0,
			Busy: rapid.IntRange(0, 2).Draw(t, "busy") == 0, Shed: rapid.SampledFrom([]uint16{0, 0, 60, 200, 256}).Draw(t, "shed")}})
	}
	return members, b.Table()
}

// twin says who takes part, written from semantics.md as plainly as possible:
// one pass a rule, nothing shared with evaluate but the hash of a client.
func twin(members []*Member, r Rules, t *status.Table, client netip.Addr) ([]*Member, Reason, bool) {
	row := func(m *Member) *status.Row { return t.Row(m.Needs[0]) }
	held := func(m *Member) bool { h := row(m).Hold; return h != nil && h.State != status.HoldUp }
	forced := func(m *Member) bool { h := row(m).Hold; return h != nil && h.State == status.HoldUp }
	up := func(m *Member) bool { return !held(m) && (forced(m) || row(m).Health != status.Down) }

	free, usable := 0, 0
	for _, m := range members {
		if !held(m) {
			free++
		}
		if up(m) {
			usable++
		}
	}
	alive := up
	if r.Panic > 0 && free > 0 && usable*100 < r.Panic*free {
		alive = func(m *Member) bool { return !held(m) }
	}
	if r.Quorum > 0 && usable*100 < r.Quorum*free && (r.Panic == 0 || usable*100 >= r.Panic*free) {
		alive = func(*Member) bool { return false }
	}
	only := func(ms []*Member, f func(*Member) bool) (out []*Member) {
		for _, m := range ms {
			if f(m) {
				out = append(out, m)
			}
		}
		return out
	}
	regular := only(members, func(m *Member) bool { return m.Weight > 0 })
	reserve := only(members, func(m *Member) bool { return m.Weight == 0 })
	who := regular
	if len(only(regular, alive)) == 0 && len(only(reserve, alive)) > 0 {
		who = reserve
	}
	level := who
	if r.Spill&SpillDown != 0 {
		level = only(level, alive)
	}
	full := func(m *Member) bool { return row(m).Full }
	busy := func(m *Member) bool { return r.BusyProtection && (row(m).Busy || shedTwin(row(m), client)) }
	if r.Spill&SpillFull != 0 {
		level = only(level, func(m *Member) bool { return !full(m) })
	}
	if r.Spill&SpillBusy != 0 {
		idle := only(level, func(m *Member) bool { return !busy(m) || !alive(m) })
		if len(only(idle, func(m *Member) bool { return alive(m) && !full(m) })) > 0 {
			level = idle
		}
	}
	if len(level) == 0 {
		level = only(who, alive) // full ones, if any
	}
	var part []*Member
	for p := 255; p >= 0 && len(part) < max(r.Min, 1); p-- {
		part = append(part, only(level, func(m *Member) bool { return m.Priority == p })...)
	}
	if r.Max > 0 && len(part) > r.Max {
		part = part[:r.Max]
	}
	ready := only(part, func(m *Member) bool { return alive(m) && !full(m) })
	if idle := only(ready, func(m *Member) bool { return !busy(m) }); len(idle) > 0 {
		return idle, Chosen, false
	}
	switch {
	case len(ready) > 0:
		return ready, Chosen, true
	case len(only(part, func(m *Member) bool { return alive(m) && full(m) })) > 0:
		return nil, Full, false
	case len(only(members, held)) == len(members):
		return nil, Held, false
	default:
		return nil, Down, false
	}
}

func TestTwinAgreesOnWhoTakesPart(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		members, table := drawMembers(t)
		rules := Rules{Min: rapid.IntRange(0, 4).Draw(t, "min"), Max: rapid.IntRange(0, 4).Draw(t, "max"),
			Spill: Spill(rapid.IntRange(0, 7).Draw(t, "spill")), BusyProtection: rapid.Bool().Draw(t, "busyProtection"),
			Panic:  rapid.SampledFrom([]int{0, 0, 30, 50, 100}).Draw(t, "panic"),
			Quorum: rapid.SampledFrom([]int{0, 0, 30, 50, 100}).Draw(t, "quorum")}
		client := drawAddr(t)
		want, reason, lapsed := twin(members, rules, table, client)
		got := NewGroup(members, rules, Slot{"s", RoundRobin(true)}).activeFor(&Input{Table: table, Client: Client{Addr: client}})
		if names(got.members) != names(want) || got.reason != reason || got.lapsed != lapsed {
			t.Fatalf("%+v: got %q %s lapsed %v, want %q %s lapsed %v", rules,
				names(got.members), got.reason, got.lapsed, names(want), reason, lapsed)
		}
	})
}

// Every run of total-weight draws gives each member exactly its weight, in the
// order that a plain sort of all turns gives.
func TestSmoothOrderIsExact(t *testing.T) {
	type turn struct {
		at     float64
		member int
	}
	rapid.Check(t, func(t *rapid.T) {
		weights := rapid.SliceOfN(rapid.IntRange(1, 40), 1, 12).Draw(t, "weights")
		var shares []Share
		var turns []turn
		for i, w := range weights {
			shares = append(shares, Share{&Member{Index: i}, uint64(w)})
			for j := range w {
				turns = append(turns, turn{float64(2*j+1) / float64(2*w), i})
			}
		}
		slices.SortStableFunc(turns, func(a, b turn) int {
			if math.Abs(a.at-b.at) < 1e-12 {
				return a.member - b.member
			}
			return cmp.Compare(a.at, b.at)
		})
		if equal(shares) {
			return // a plain rotation, which TestRoundRobinIsSmooth proves
		}
		for place, want := range turns {
			if got := drawSmooth(shares, uint64(place+len(turns)*3)); got != want.member {
				t.Fatalf("weights %v place %d: got member %d, want %d", weights, place, got, want.member)
			}
		}
	})
}

func TestARoundGivesEveryWeightExactly(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var shares []Share
		for i, w := range rapid.SliceOfN(rapid.Uint64Range(1, 5000), 2, 6).Draw(t, "weights") {
			shares = append(shares, Share{&Member{Index: i}, w})
		}
		counts := make([]uint64, len(shares))
		for place := range total(shares) {
			counts[drawSmooth(shares, place)]++
		}
		for i, s := range shares {
			if counts[i] != s.Weight {
				t.Fatalf("member %d of %v got %d turns", i, shares, counts[i])
			}
		}
	})
}

// Nesting multiplies weights; they stay within what drawSmooth can tell apart,
// in proportion within 1 %.
func TestReduceKeepsProportions(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		weights := rapid.SliceOfN(rapid.Uint64Range(1, 1<<50), 2, 6).Draw(t, "weights")
		var d Distribution
		for i, w := range weights {
			d.Shares = append(d.Shares, Share{&Member{Index: i}, w})
		}
		was := float64(total(d.Shares))
		d.reduce()
		for i, s := range d.Shares {
			if s.Weight == 0 || s.Weight > steps {
				t.Fatalf("%v became %d", weights, s.Weight)
			}
			if diff := float64(s.Weight)/float64(total(d.Shares)) - float64(weights[i])/was; math.Abs(diff) > 0.01 {
				t.Fatalf("%v became %v", weights, d.Shares)
			}
		}
	})
}

func TestLosingAMemberMovesOnlyItsOwnClients_T32(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		weighted := rapid.Bool().Draw(t, "weighted")
		all := group(Rules{Spill: SpillDown}, []Slot{{"s", SourceHash(weighted, 32, 128)}}, "a 3", "b 1", "c 2", "d 5")
		lost := rapid.SampledFrom([]string{"a", "b", "c", "d"}).Draw(t, "lost")
		before, after := rows(""), rows(lost+":down")
		for range 200 {
			addr := netip.AddrFrom16([16]byte(rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "addr")))
			in := Input{Table: before, Client: Client{Addr: addr}}
			was, _ := all.Pick(in, nil, nil)
			in.Table = after
			is, _ := all.Pick(in, nil, nil)
			if was.Members[0].Name != lost && was.Members[0] != is.Members[0] {
				t.Fatalf("%s moved from %s to %s although %s was lost", addr, was.Members[0].Name, is.Members[0].Name, lost)
			}
		}
	})
}

func TestMaskDecidesWhoHashesAlike_T32(t *testing.T) {
	g := group(Rules{}, []Slot{{"s", SourceHash(false, 24, 56)}}, "a", "b", "c", "d", "e")
	pick := func(addr string) *Member {
		c, _ := g.Pick(Input{Table: rowsUp, Client: Client{Addr: netip.MustParseAddr(addr)}}, nil, nil)
		return c.Members[0]
	}
	moved := 0
	for i := range 100 {
		base := netip.AddrFrom4([4]byte{10, byte(i), 7, 0})
		if pick(base.String()) != pick(netip.AddrFrom4([4]byte{10, byte(i), 7, 200}).String()) {
			t.Fatalf("two hosts of %s/24 differ", base)
		}
		if pick(base.String()) != pick(netip.AddrFrom4([4]byte{10, byte(i), 8, 0}).String()) {
			moved++
		}
	}
	if moved < 50 {
		t.Errorf("only %d of 100 neighbouring networks differ", moved)
	}
	if pick("2001:db8:0:12::1") != pick("2001:db8:0:34::1") {
		t.Error("two hosts of one /56 differ")
	}
}

// What is picked is what Shares gives, and tracing changes nothing.
func TestPickIsADrawFromShares(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		members, table := drawMembers(t)
		algorithms := []Algorithm{RoundRobin(true), Random(true), First(), SourceHash(true, 24, 56), Best(topo, Random(false))}
		chain := []Slot{{"p", rapid.SampledFrom(algorithms).Draw(t, "preferred")}, {"f", rapid.SampledFrom(algorithms).Draw(t, "fallback")}}
		g := NewGroup(members, Rules{Spill: SpillDown, BusyProtection: true}, chain...)
		in := Input{Table: table, Client: rapid.SampledFrom([]Client{classA, classB}).Draw(t, "client"),
			Draw: rapid.Uint64().Draw(t, "draw"), Answers: rapid.IntRange(1, 3).Draw(t, "answers")}
		plain, reason := g.Pick(in, nil, nil)
		var tr Trace
		traced, reason2 := g.Pick(in, nil, &tr)
		if reason != reason2 || names(plain.Members) != names(traced.Members) || tr.Reason != reason.String() {
			t.Fatalf("traced %q %s, plain %q %s", names(traced.Members), reason2, names(plain.Members), reason)
		}
		d, _ := g.Shares(in, nil, nil)
		for _, m := range plain.Members {
			if !has(d.Shares, m) {
				t.Fatalf("picked %s without a share", m.Name)
			}
		}
	})
}
