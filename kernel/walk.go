package kernel

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"slices"
)

// End is what becomes of a packet at a hook.
type End uint8

// The ends.
const (
	Passed  End = iota // accepted, or by the policy of the last chain
	Dropped            //
	Refused            // dropped and answered
)

// String gives the word.
func (e End) String() string { return [...]string{"passed", "dropped", "refused"}[e] }

// Trace tells how a packet went through the chains of a hook.
type Trace struct {
	End    End
	Packet Packet          // as it left, with the marks that were set
	NAT    *NAT            // the source address that its connection is given; nil: as it is
	To     *netip.AddrPort // the destination that its connection is given, port 0: with its own port; nil: as it is
	Socket *TProxy         // the transparent socket that it is for
	Helper string          // the conntrack helper that its connection is given
	Copies []netip.Addr    // where copies of it were sent to, by neighbour or next hop towards it
	Visits []Visit         // the rules that it came to, in order
	Open   []Limit         // those taken as not reached, as nobody knows ([World.Over])

}

// NAT is a decision about source addresses.
type NAT struct {
	Masquerade bool // the address of the interface that it leaves by
	From, To   netip.Addr

	FirstPort, LastPort uint16 // the ports that it may get; 0: its own unless that is taken
}

// Visit is one rule that a packet came to.
type Visit struct {
	Place
	Tell  string
	Depth int    // jumps that led here
	Looks []Look // what was looked up in sets, in order
	Did   []Step // steps with an effect, in order: marks, counters, changes of sets
	Then  Step   // where the rule said to go on; nil: to the next rule
	Why   string // why it ended before its last step; empty: it did not
}

// Look is one look into a set or map.
type Look struct {
	Set   string
	Key   []byte
	Text  string   // the key as people write it
	Found *Element // nil: there is none. Expires is what it has left
}

// jumpStack is how deep jumps may go (NFT_JUMP_STACK_SIZE).
const jumpStack = 16

// tooLong is more rules than any packet should meet: there is a loop, which
// Linux would not have taken.
const tooLong = 1 << 16

// Walk sends a packet through all base chains of a hook (prerouting, input,
// forward, output, postrouting) as Linux would, and tells what happened. It
// errs if the tables make no sense, so that Linux would not have taken them, or
// a set cannot be read.
//
// Chains of equal priority are taken in the order of the tables; Linux promises
// none. Chains of type nat see only the first packet of a connection, and
// no further one once an address is chosen. A packet of a connection whose
// destination was translated ([CtInfo.To]) gets it where these chains are; how
// answers and sources are translated, behind the last chain, is not followed.
func (w *World) Walk(point string, p Packet) (*Trace, error) {
	if !w.Remember {
		w.written, w.removed = nil, nil
	}
	if p.Source.Is6() != p.Dest.Is6() || !p.Dest.IsValid() {
		return nil, fmt.Errorf("a packet from %s to %s cannot be", p.Source, p.Dest)
	}
	k := &walker{world: w, trace: &Trace{Packet: p}}
	natAt, done := natOf(point)
	for _, b := range w.bases(point) {
		if !b.table.sees(p.family()) {
			continue
		}
		if b.at() > natAt || b.nat() {
			k.translateAt(point)
		}
		if b.nat() {
			if p.Ct.State&(CtNew|CtRelated) == 0 || p.Ct.Status&statusConfirmed != 0 || k.trace.NAT != nil || k.trace.To != nil {
				continue
			}
			k.settles |= done
		} else {
			k.trace.Packet.Ct.Status |= k.settles
		}
		k.table = b.table
		if err := k.enterBase(b.chain); err != nil {
			return nil, fmt.Errorf("table %s: %w", b.table.ID(), err)
		}
		if k.trace.End != Passed {
			return k.trace, nil
		}
	}
	k.translateAt(point)
	k.trace.Packet.Ct.Status |= k.settles
	return k.trace, nil
}

// base is a base chain of a hook.
type base struct {
	table *Table
	chain *Chain
}

func (b base) nat() bool { return b.chain.Hook.Type == "nat" }

// at is where the kernel enters it. All chains of type nat stand where NAT is
// done, whatever their priority, which orders them among each other.
func (b base) at() int32 {
	if !b.nat() {
		return b.chain.Hook.Priority
	}
	if p := b.chain.Hook.Point; p == "prerouting" || p == "output" {
		return -100
	}
	return 100
}

func (w *World) bases(point string) (list []base) {
	for i := range w.Tables {
		t := &w.Tables[i]
		for j := range t.Chains {
			if c := &t.Chains[j]; c.Hook != nil && c.Hook.Point == point {
				list = append(list, base{t, c})
			}
		}
	}
	slices.SortStableFunc(list, func(a, b base) int {
		return cmp.Or(cmp.Compare(a.at(), b.at()), cmp.Compare(a.chain.Hook.Priority, b.chain.Hook.Priority))
	})
	return list
}

// walker is a packet on its way.
type walker struct {
	world *World
	trace *Trace
	table *Table
	visit *Visit
	err   error

	settles uint32 // bits of the status that chains of type nat leave behind
}

// frame is where a jump comes back to.
type frame struct {
	chain *Chain
	next  int
}

// enterBase goes through a base chain. Before connections are tracked none is
// known, which is what invalid ones look like; one that is exempt stays so.
func (k *walker) enterBase(c *Chain) error {
	known := k.trace.Packet.Ct
	if !c.Hook.untracked() || known.State&^ctUntracked == 0 {
		return k.base(c)
	}
	k.trace.Packet.Ct = CtInfo{State: CtInvalid}
	err := k.base(c)
	if k.trace.Packet.Ct.State != ctUntracked {
		k.trace.Packet.Ct = known
	}
	return err
}

// base goes through a base chain, and sets the trace's end.
func (k *walker) base(c *Chain) error {
	var stack []frame
	for at := (frame{c, 0}); ; {
		if at.next == len(at.chain.Rules) {
			if len(stack) == 0 {
				return nil // the policy: accept
			}
			at, stack = stack[len(stack)-1], stack[:len(stack)-1]
			continue
		}
		verdict := k.rule(at, len(stack))
		if k.err != nil {
			return fmt.Errorf("chain %s: rule %d: %w", at.chain.Name, at.next, k.err)
		}
		at.next++
		to := ""
		switch v := verdict.(type) {
		case Accept:
			return nil
		case Drop:
			k.trace.End = Dropped
			return nil
		case Reject:
			k.trace.End = Refused
			return nil
		case Return:
			at.next = len(at.chain.Rules)
		case Jump:
			stack, to = append(stack, at), v.Chain
		case Goto:
			to = v.Chain
		}
		if to == "" {
			continue
		}
		next, err := k.enter(to, len(stack))
		if err != nil {
			return err
		}
		at = frame{next, 0}
	}
}

func (k *walker) enter(name string, depth int) (*Chain, error) {
	if depth >= jumpStack {
		return nil, fmt.Errorf("chain %s is reached by more than %d jumps", name, jumpStack-1)
	}
	if len(k.trace.Visits) > tooLong {
		return nil, errors.New("the rules go round in circles")
	}
	for i := range k.table.Chains {
		if c := &k.table.Chains[i]; c.Name == name {
			if c.Hook != nil {
				return nil, fmt.Errorf("chain %s has a hook: nobody can jump there", name)
			}
			return c, nil
		}
	}
	return nil, fmt.Errorf("there is no chain %q", name)
}

// rule does the steps of a rule until one does not match. It gives where to
// go on; nil: to the next rule.
func (k *walker) rule(at frame, depth int) Step {
	r := &at.chain.Rules[at.next]
	k.trace.Visits = append(k.trace.Visits, Visit{
		Place: Place{k.table.ID(), at.chain.Name, at.next},
		Tell:  r.Tell, Depth: depth,
	})
	k.visit = &k.trace.Visits[len(k.trace.Visits)-1]
	for _, s := range r.Do {
		verdict, ok := k.step(s)
		if k.err != nil || !ok {
			return nil
		}
		if verdict != nil {
			k.visit.Then = verdict
			return verdict
		}
	}
	return nil
}

// stop ends the rule.
func (k *walker) stop(format string, args ...any) bool {
	k.visit.Why = fmt.Sprintf(format, args...)
	return false
}

// fail says that Linux would not take such a rule.
func (k *walker) fail(format string, args ...any) bool {
	k.err = fmt.Errorf(format, args...)
	return false
}

func (k *walker) set(name string) *liveSet {
	s, err := k.world.set(k.table, name)
	if err != nil {
		k.err = err
	}
	return s
}

// look looks a key up and notes it.
func (k *walker) look(s *liveSet, v Value, key []byte) *liveElement {
	if want := widthOf(s.Key); len(key) != want {
		k.fail("set %s has keys of %d octets, not of %d", s.Name, want, len(key))
		return nil
	}
	l, err := k.world.get(k.table, s, key)
	if err != nil {
		k.err = err
		return nil
	}
	note := Look{Set: s.Name, Key: key, Text: tellOctets(v, key)}
	if l != nil {
		el := l.Element
		if !l.until.IsZero() {
			el.Expires = l.until.Sub(k.world.now())
		}
		note.Found = &el
	}
	k.visit.Looks = append(k.visit.Looks, note)
	return l
}
