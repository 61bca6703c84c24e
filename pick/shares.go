package pick

import (
	"math/bits"
	"slices"
	"time"
)

// Share is a member's part of the answers, in proportion to the other shares
// of its distribution.
type Share struct {
	Member *Member
	Weight uint64 // more than 0
}

// Mode says how draws follow from shares.
type Mode uint8

// The modes.
const (
	Smooth  Mode = iota // each run of total-weight draws gives every member exactly its weight, evenly spread
	Scatter             // each draw is on its own
	Ordered             // the first always, the others only as further answers
)

// Distribution is who would get how much. Two clients with equal
// distributions cannot be told apart by their answers.
type Distribution struct {
	Shares []Share
	Mode   Mode
	Width  int  // it holds for all clients of this Class whose addresses agree in so many leading bits
	Slot   int  // which slot of the chain it comes from
	Lapsed bool // busy protection lapsed, here or in a nested group
	Panic  bool // health was ignored, here or in a nested group

	// Next is when what this rests on is known to change, such as the end of a
	// warm-up (T6); zero: not known.
	Next time.Time
	// Wants says that an algorithm looked for what is measured of this client's
	// network: the owner has it measured, or kept fresh, once it has answered.
	Wants bool
}

// heed takes over what an algorithm that is not the last word rests on: one
// that declined might choose for a neighbour, or a moment later.
func (d *Distribution) heed(o Distribution) {
	d.Width, d.Wants = max(d.Width, o.Width), d.Wants || o.Wants
	if d.Next.IsZero() || !o.Next.IsZero() && o.Next.Before(d.Next) {
		d.Next = o.Next
	}
}

// Equal says whether two distributions give the same answers. Shares must be
// of the same groups.
func (d Distribution) Equal(o Distribution) bool {
	if len(d.Shares) != len(o.Shares) || len(d.Shares) > 1 && d.Mode != o.Mode {
		return false
	}
	for i, s := range d.Shares {
		if s.Member != o.Shares[i].Member || len(d.Shares) > 1 && s.Weight != o.Shares[i].Weight {
			return false
		}
	}
	return true
}

// Shares gives who would get how much of the answers, appending to into. Only
// leaves appear: the share of a nested group is split by its own shares.
func (g *Group) Shares(in Input, into []Share, tr *Trace) (Distribution, Reason) {
	a := g.activeFor(&in)
	if tr != nil {
		a = g.evaluate(in.Table, a.busy, in.Own, tr)
	}
	declined := Distribution{Shares: into, Width: a.width(in.Client.Addr)}
	if a.reason != Chosen {
		return tr.ended(declined, a.reason)
	}
	in.scratch = scratches.Get().(*scratch)
	defer scratches.Put(in.scratch)
	members, inner := a.members, []Distribution(nil)
	if g.nested {
		members, inner = willing(in, members, &declined, tr)
	}
	for i, slot := range g.chain {
		in.trace = tr.slot(slot.Name)
		d, ok := slot.Shares(in, members, into)
		if !ok {
			in.trace.declined()
			declined.heed(d)
			continue
		}
		if g.nested {
			d = open(d, members, inner, in.answers())
		}
		d.heed(declined)
		d.Slot, d.Lapsed, d.Panic = i, d.Lapsed || a.lapsed, d.Panic || a.panicked
		d.reduce()
		in.trace.took(d)
		return tr.ended(d, Chosen)
	}
	return tr.ended(declined, Declined)
}

// willing leaves out nested groups whose own slots decline this client, and has
// declined heed them. It gives each member's own shares beside it; a leaf has
// none.
func willing(in Input, members []*Member, declined *Distribution, tr *Trace) (kept []*Member, inner []Distribution) {
	for _, m := range members {
		var d Distribution
		if m.Group != nil {
			var reason Reason
			if d, reason = m.Group.Shares(in, nil, tr.nest()); reason != Chosen {
				declined.heed(d)
				continue
			}
		}
		kept, inner = append(kept, m), append(inner, d)
	}
	return kept, inner
}

// open replaces each nested group by its own shares, scaled so that all stay
// whole numbers. A group that is given everything draws as it does by itself.
func open(d Distribution, members []*Member, inner []Distribution, answers int) Distribution {
	of := func(m *Member) *Distribution { return &inner[slices.Index(members, m)] }
	if first := d.Shares[0].Member; d.Mode == Ordered && first.Group != nil && len(of(first).Shares) >= answers {
		whole := *of(first)
		whole.heed(d)
		return whole
	}
	scale := uint64(1)
	for _, s := range d.Shares {
		if s.Member.Group != nil {
			in := of(s.Member)
			d.heed(*in)
			d.Lapsed, d.Panic = d.Lapsed || in.Lapsed, d.Panic || in.Panic
			scale = lcm(scale, total(in.Shares))
		}
	}
	flat := make([]Share, 0, len(d.Shares)*2)
	for _, s := range d.Shares {
		if s.Member.Group == nil {
			flat = addShare(flat, s.Member, s.Weight*scale)
			continue
		}
		in := of(s.Member)
		sum := total(in.Shares)
		for _, leaf := range in.Shares { // where the scale is bounded, sum does not divide it
			hi, lo := bits.Mul64(s.Weight*scale, leaf.Weight)
			part, _ := bits.Div64(hi, lo, sum)
			flat = addShare(flat, leaf.Member, max(part, 1))
		}
	}
	d.Shares = flat
	return d
}

// addShare adds to a leaf's share; the same leaf can be reached twice.
func addShare(shares []Share, m *Member, w uint64) []Share {
	for i := range shares {
		if shares[i].Member == m {
			shares[i].Weight += w
			return shares
		}
	}
	return append(shares, Share{m, w})
}

func total(shares []Share) (sum uint64) {
	for _, s := range shares {
		sum += s.Weight
	}
	return sum
}

// reduce divides the weights by what they have in common, so that equal
// distributions have equal numbers, and rounds what nesting made too large for
// drawSmooth to tell apart.
func (d Distribution) reduce() { d.reduceTo(stepBits) }

// reduceTo is reduce to at most so many bits.
func (d Distribution) reduceTo(n int) {
	common, largest := uint64(0), uint64(0)
	for _, s := range d.Shares {
		common, largest = gcd(common, s.Weight), max(largest, s.Weight)
	}
	shift := max(bits.Len64(largest/max(common, 1))-n, 0)
	if common > 1 || shift > 0 {
		for i, s := range d.Shares {
			d.Shares[i].Weight = max(s.Weight/common>>shift, 1)
		}
	}
}

func gcd(a, b uint64) uint64 {
	for b != 0 {
		a, b = b, a%b
	}
	return a
}

// maxScale bounds the numbers that nesting multiplies up; beyond it shares are
// rounded to one part in a million of the nested group's.
const maxScale = 1 << 20

func lcm(a, b uint64) uint64 {
	if b == 0 {
		return a
	}
	return min(a/gcd(a, b)*b, maxScale)
}

// Draw appends in.Answers distinct members for in.Draw. It uses up d.Shares.
func (d Distribution) Draw(in Input, into []*Member) []*Member {
	return d.draw(in.Draw, in.answers(), into)
}

func (d Distribution) draw(draw uint64, n int, into []*Member) []*Member {
	shares := d.Shares
	for i := 0; i < n && len(shares) > 0; i++ {
		at := 0
		switch {
		case d.Mode == Scatter:
			at = drawRandom(shares, mix(draw^mix(uint64(i))))
		case d.Mode == Smooth:
			at = drawSmooth(shares, draw)
		}
		into = append(into, shares[at].Member)
		shares = append(shares[:at], shares[at+1:]...)
		if d.Mode == Smooth && equal(shares) {
			draw = uint64(at) // rotation goes on with the next one
		}
	}
	return into
}
