package kernel

import (
	"bytes"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"
)

// step does one step. Ok is false if it does not match: the rule ends. A
// verdict says where to go on; the rule ends too.
func (k *walker) step(s Step) (verdict Step, ok bool) {
	switch s := s.(type) {
	case Jump, Goto, Accept, Drop, Return:
		return s, true
	case Reject:
		return s, k.mayReset(s)
	case Choose:
		return k.choose(s)
	case Is:
		return nil, k.is(s)
	case Within:
		return nil, k.within(s)
	case In:
		return nil, k.in(s)
	case CountOver, RateOver:
		return nil, k.over(s, nil)
	case Change:
		return nil, k.change(s)
	case TProxy:
		return nil, k.tproxy(s)
	case Dup:
		return nil, k.dup(s)
	case Masquerade:
		k.trace.NAT = &NAT{Masquerade: true}
		k.did(s)
		return Accept{}, true
	case SNAT:
		return Accept{}, k.snat(s)
	case SNATTo:
		return Accept{}, k.snatTo(s)
	case DNAT:
		return Accept{}, k.dnat(s)
	default:
		return nil, k.effect(s)
	}
}

func (k *walker) did(s Step) bool {
	k.visit.Did = append(k.visit.Did, s)
	return true
}

// effect does a step that changes the packet or its connection.
func (k *walker) effect(s Step) bool {
	p := &k.trace.Packet
	switch s := s.(type) {
	case SetMark:
		p.Mark = p.Mark&^s.Mask | s.Bits&s.Mask
	case SetCtMark:
		if !p.tracked() { // a part cannot be written without a look at the rest
			return s.Mask == ^uint32(0) || k.stop("conntrack does not track it")
		}
		p.Ct.Mark = p.Ct.Mark&^s.Mask | s.Bits&s.Mask
	case SetCtLabel:
		if len(s.Bits) != labelWidth {
			return k.fail("a label has %d octets, not %d", labelWidth, len(s.Bits))
		}
		for i, b := range s.Bits {
			if p.tracked() {
				p.Ct.Label[i] |= b
			}
		}
	case CopyMark:
		b, ok := k.value(s.From)
		if !ok {
			return false
		}
		if len(b) != 4 {
			return k.fail("a mark has 4 octets, not %d", len(b))
		}
		p.Mark = native.Uint32(b)
	case CopyCtMark:
		b, ok := k.number(s.From)
		if !ok {
			return false
		}
		if p.tracked() {
			p.Ct.Mark = native.Uint32(b)
		}
	case SetPriority:
		b, ok := k.number(s.From)
		if !ok {
			return false
		}
		p.Priority = native.Uint32(b)
	case Count:
	case NoTrack:
		if !p.tracked() {
			p.Ct = CtInfo{State: ctUntracked}
		}
	case Assist:
		if !k.helps(s) {
			return false
		}
	case SetTOS:
		if s.IPv6 != p.IPv6() {
			return k.wrongFamily()
		}
		p.TOS = p.TOS&3 | s.TOS // the bits of ECN stay (RFC 3168 section 5)
	default:
		return k.fail("a step %T is not known", s)
	}
	return k.did(s)
}

// helps gives a new connection of the helper's protocol its helper. One that has
// begun, or is of another, goes on as it is.
func (k *walker) helps(s Assist) bool {
	for _, h := range k.table.Helpers {
		if h.Name != s.Helper {
			continue
		}
		if p := &k.trace.Packet; p.Ct.State == CtNew && p.Protocol == h.Protocol {
			k.trace.Helper = s.Helper
		}
		return true
	}
	return k.fail("table %s has no helper %q", k.table.Name, s.Helper)
}

func (k *walker) wrongFamily() bool {
	if k.trace.Packet.IPv6() {
		return k.stop("it is IPv6")
	}
	return k.stop("it is IPv4")
}

func (k *walker) mayReset(s Reject) bool {
	if s.With == TCPReset && k.trace.Packet.Protocol != unix.IPPROTO_TCP {
		return k.stop("it is not TCP")
	}
	return k.did(s)
}

func (k *walker) choose(s Choose) (Step, bool) {
	l := k.find(s.Key, s.Map)
	if l == nil {
		return nil, false
	}
	if l.Verdict == nil {
		return nil, k.fail("map %s has an element without a verdict", s.Map)
	}
	return l.Verdict, true
}

func (k *walker) is(s Is) bool {
	b, ok := k.value(s.Of)
	if !ok {
		return false
	}
	if len(b) != len(s.To) {
		return k.fail("%d octets are compared with %d", len(b), len(s.To))
	}
	c := bytes.Compare(b, s.To)
	holds := [...]bool{Equal: c == 0, NotEqual: c != 0, Less: c < 0, Greater: c > 0, AtMost: c <= 0, AtLeast: c >= 0}
	if int(s.Op) >= len(holds) {
		return k.fail("a comparison %d is not known", s.Op)
	}
	if !holds[s.Op] {
		return k.stop("%s is %s, not %s%s", valueText(s.Of), tellOctets(s.Of, b), tellOps[s.Op], tellOctets(s.Of, s.To))
	}
	return true
}

var tellOps = [...]string{Equal: "", NotEqual: "other than ", Less: "below ", Greater: "above ", AtMost: "at most ", AtLeast: "at least "}

func (k *walker) within(s Within) bool {
	b, ok := k.value(s.Of)
	if !ok {
		return false
	}
	if len(b) != len(s.From) || len(b) != len(s.To) {
		return k.fail("%d octets are compared with a range of %d to %d", len(b), len(s.From), len(s.To))
	}
	if bytes.Compare(b, s.From) < 0 || bytes.Compare(b, s.To) > 0 {
		return k.stop("%s is %s, not %s to %s", valueText(s.Of), tellOctets(s.Of, b), tellOctets(s.Of, s.From), tellOctets(s.Of, s.To))
	}
	return true
}

func (k *walker) in(s In) bool {
	set := k.set(s.Set)
	if set == nil {
		return false
	}
	b, ok := k.key(s.Key, set)
	if !ok {
		return false
	}
	l := k.look(set, s.Key, b)
	if k.err != nil {
		return false
	}
	if l == nil && set.Dynamic && k.world.Shut != nil && k.world.Shut(Limit{Place: k.visit.Place, Key: b, Set: s.Set}) {
		l = &liveElement{Element: Element{Key: b}}
	}
	found := l != nil
	if found == s.Not {
		return k.stop("%s %s is %sin %s", valueText(s.Key), tellOctets(s.Key, b), notUnless(found), s.Set)
	}
	return s.Not || k.above(set, b, l)
}

func notUnless(found bool) string {
	if found {
		return ""
	}
	return "not "
}

// over goes on if a limit is exceeded.
func (k *walker) over(s Step, key []byte) bool {
	return k.reached(Limit{Place: k.visit.Place, Step: s, Key: key}) && k.did(s)
}

func (k *walker) reached(l Limit) bool {
	if w := k.world; w.Over == nil {
		k.trace.Open = append(k.trace.Open, l)
	} else if w.Over(l) {
		return true
	}
	return k.stop("the limit is not reached")
}

func (k *walker) change(s Change) bool {
	set := k.set(s.Set)
	if set == nil {
		return false
	}
	key, ok := k.key(s.Key, set)
	if !ok {
		return false
	}
	var data []byte
	if s.Data != nil {
		if data, ok = k.value(s.Data); !ok {
			return false
		}
	}
	if !set.Dynamic {
		return k.fail("set %s is not one that packets write", s.Set)
	}
	old := k.look(set, s.Key, key)
	if k.err != nil {
		return false
	}
	if s.How == Remove {
		if old != nil {
			k.world.remove(k.table, set, key)
		}
		return k.did(s)
	}
	life := s.Timeout
	if life == 0 {
		life = set.Timeout
	}
	if !k.put(set, s.How, old, Element{Key: key, Data: data, Timeout: life}) {
		return false
	}
	if s.Over > 0 {
		return k.over(s, key)
	}
	return k.did(s)
}

// put adds an element or renews the time of the one that is there, which keeps
// its data.
func (k *walker) put(set *liveSet, how How, old *liveElement, el Element) bool {
	var until time.Time
	if el.Timeout > 0 {
		until = k.world.now().Add(el.Timeout)
	}
	switch {
	case old == nil && k.world.full(k.table, set):
		return k.stop("%s is full", set.Name)
	case old == nil:
		k.world.write(k.table, set, el.Key, &liveElement{el, until})
	case how == Put && !old.until.IsZero() && !until.IsZero():
		k.world.write(k.table, set, el.Key, &liveElement{old.Element, until})
	}
	return true
}

func (k *walker) tproxy(s TProxy) bool {
	p := &k.trace.Packet
	switch {
	case s.IPv6 != p.IPv6():
		return k.wrongFamily()
	case p.Protocol != unix.IPPROTO_TCP && p.Protocol != unix.IPPROTO_UDP:
		return k.stop("it is neither TCP nor UDP")
	case k.world.Listens != nil && !k.world.Listens(p, s):
		return k.stop("nobody listens on port %d", s.Port)
	}
	k.trace.Socket = &s
	return k.did(s)
}

func (k *walker) dup(s Dup) bool {
	p := &k.trace.Packet
	if s.IPv6 != p.IPv6() {
		return k.wrongFamily()
	}
	b, ok := k.value(s.To)
	if !ok {
		return false
	}
	to, is := netip.AddrFromSlice(b)
	if !is || to.Is6() != s.IPv6 {
		return k.fail("a copy goes to an address, not to %d octets", len(b))
	}
	k.trace.Copies = append(k.trace.Copies, to)
	return k.did(s)
}

func (k *walker) snat(s SNAT) bool {
	if s.From.Is6() != k.trace.Packet.IPv6() {
		return k.wrongFamily()
	}
	k.trace.NAT = &NAT{From: s.From, To: s.To}
	return k.did(s)
}
