package traffic

import (
	"testing"

	"pgregory.net/rapid"

	"github.com/portolan-lb/portolan/kernel"
)

// tree is a condition as a slow twin has it: a bit of the packet mark, or
// several of them.
type tree struct {
	bit  uint32
	all  bool
	list []tree
}

func (t tree) holds(mark uint32) bool {
	if t.list == nil {
		return mark&t.bit != 0 || t.bit == ^uint32(0)
	}
	for _, one := range t.list {
		if one.holds(mark) != t.all {
			return !t.all
		}
	}
	return t.all
}

func (t tree) condition() Condition {
	if t.list == nil {
		switch t.bit {
		case 0:
			return Never
		case ^uint32(0):
			return Always
		}
		return Test{AnyBit(kernel.Mark, t.bit)}
	}
	var list []Condition
	for _, one := range t.list {
		list = append(list, one.condition())
	}
	if t.all {
		return All(list...)
	}
	return Some(list...)
}

func trees(depth int) *rapid.Generator[tree] {
	leaf := rapid.Map(rapid.SampledFrom([]uint32{0, 1, 2, 4, 8, 16, 1, 2, 4, 8, 16, ^uint32(0)}), func(bit uint32) tree { return tree{bit: bit} })
	if depth == 0 {
		return leaf
	}
	return rapid.OneOf(leaf, rapid.Custom(func(t *rapid.T) tree {
		return tree{all: rapid.Bool().Draw(t, "all"), list: rapid.SliceOfN(trees(depth-1), 1, 3).Draw(t, "list")}
	}))
}

// conjunction is several alternatives that must hold at once, which take a chain
// each.
func conjunction() *rapid.Generator[tree] {
	either := rapid.Map(rapid.SliceOfNDistinct(rapid.SampledFrom([]uint32{1, 2, 4, 8, 16}), 2, 3, rapid.ID), func(bits []uint32) (t tree) {
		for _, bit := range bits {
			t.list = append(t.list, tree{bit: bit})
		}
		return t
	})
	return rapid.Map(rapid.SliceOfN(either, 2, 4), func(list []tree) tree { return tree{all: true, list: list} })
}

// Twin: for random conditions and packets the rules lead to the chain exactly
// where the condition holds, and once only, whether they go or jump there.
func TestWhen_Twin(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		drawn := rapid.OneOf(trees(3), conjunction())
		four, six := drawn.Draw(rt, "four"), drawn.Draw(rt, "six")
		if rapid.Bool().Draw(rt, "alike") {
			six = four
		}
		b := NewBuilder("t", NewFixed())
		b.Base("in", kernel.Hook{Type: "filter", Point: "prerouting"}, func() []kernel.Rule {
			to := b.Chain("to", func() []kernel.Rule { return []kernel.Rule{Rule("", b.Count("to"))} })
			rules := b.JumpWhen(func(f Family) Condition { return [2]tree{four, six}[f.Index].condition() }, "match", "", to)
			rules = append(rules, Rule("", b.Count("back")))
			return append(rules, b.When(four.condition(), "further", "", kernel.Goto{Chain: to})...)
		})
		table, _ := b.Done()
		world := kernel.NewWorld(&kernel.Wishes{Tables: []kernel.Table{table}})
		for mark := range uint32(32) {
			for i, from := range []string{"10.0.0.1", "2001:db8::1"} {
				trace, err := world.Walk("prerouting", kernel.Packet{Source: address(from), Dest: address(from), Mark: mark})
				if err != nil {
					rt.Fatal(err)
				}
				want := map[string]int{"back": 1}
				if [2]tree{four, six}[i].holds(mark) {
					want["to"]++
				}
				if four.holds(mark) {
					want["to"]++
				}
				if got := counted(trace); got["to"] != want["to"] || got["back"] != 1 {
					rt.Fatalf("mark %05b from %s: %v, want %v\n%s", mark, from, got, want, table.Text())
				}
			}
		}
	})
}

func counted(trace *kernel.Trace) map[string]int {
	n := map[string]int{}
	for _, v := range trace.Visits {
		for _, s := range v.Did {
			if c, ok := s.(kernel.Count); ok {
				n[c.Name]++
			}
		}
	}
	return n
}
