package kernel

import (
	"errors"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"
)

var (
	from4 = netip.MustParseAddr("10.0.0.5")
	to4   = netip.MustParseAddr("8.8.8.8")
	from6 = netip.MustParseAddr("fd10::5")
	to6   = netip.MustParseAddr("2001:db8::8")

	tcp4 = Packet{Source: from4, Dest: to4, Protocol: 6, SourcePort: 40000, DestPort: 443, TCPFlags: 2, In: "lan0", Mark: 0x2000_0000,
		EtherSource: [6]byte{2, 0, 0, 0, 0, 1}, Ct: CtInfo{State: CtNew, Mark: 0x4000_0000}}
	tcp6  = like(tcp4, func(p *Packet) { p.Source, p.Dest = from6, to6 })
	ping4 = like(tcp4, func(p *Packet) { p.Protocol, p.SourcePort, p.DestPort, p.TCPFlags = 1, 0, 0, 0 })
)

func like(p Packet, change func(*Packet)) Packet {
	change(&p)
	return p
}

// worldOf gives a world of one base chain at prerouting, and further chains.
func worldOf(list []Rule, more ...Chain) *World {
	t := Table{Name: "t", Chains: append([]Chain{{Name: "base", Hook: &Hook{"filter", "prerouting", -150}, Rules: list}}, more...)}
	return &World{Tables: []Table{t}}
}

// marks is a rule that marks the packet with a bit if its steps match.
func marks(bit int, steps ...Step) Rule {
	return Rule{Do: append(steps, SetMark{1 << bit, 1 << bit})}
}

func walked(t *testing.T, w *World, p Packet) *Trace {
	t.Helper()
	trace, err := w.Walk("prerouting", p)
	if err != nil {
		t.Fatal(err)
	}
	return trace
}

// Each step that matches, and does not, on packets of each kind. A field of one
// family or protocol does not match a packet of another, not even "is not".
func TestWalkSteps(t *testing.T) {
	num := Number
	sets := []Set{
		{Name: "hosts4", Key: []Type{TypeAddr4}, Elements: NewElements(Element{Key: Addr(from4)})},
		{Name: "hosts6", Key: []Type{TypeAddr6}, Elements: NewElements(Element{Key: Addr(from6)})},
		{Name: "nets4", Key: []Type{TypeAddr4}, Interval: true, Elements: NewElements(
			Element{Key: []byte{8, 8, 8, 0}, End: []byte{8, 8, 8, 255}},
			Element{Key: []byte{10, 0, 0, 0}, End: []byte{10, 0, 0, 4}},
			Element{Key: []byte{255, 255, 255, 254}, End: []byte{255, 255, 255, 255}})},
		{Name: "pairs", Key: []Type{TypeProto, TypePort}, Elements: NewElements(Element{Key: Key([]byte{6}, Port(443))})},
		{Name: "nets6mask", Key: []Type{TypeAddr6}, Elements: NewElements(Element{Key: Addr(netip.MustParseAddr("2001:db8::"))})},
		{Name: "links", Key: []Type{TypeAddr4}, Data: []Type{TypeNumber}, Elements: NewElements(Element{Key: Addr(from4), Data: num(0x2003)})},
		{Name: "avail", Key: []Type{TypeNumber}, Elements: NewElements(Element{Key: num(3)}, Element{Key: num(8)})},
		{Name: "macs", Key: []Type{TypeName, TypeEther}, Elements: NewElements(Element{Key: Key(Name("lan0"), []byte{2, 0, 0, 0, 0, 1})})},
	}
	mask24 := []byte{255, 255, 255, 0}
	for _, c := range []struct {
		name              string
		do                Step
		tcp4, tcp6, ping4 bool
	}{
		{"family", Is{Of: Family, To: []byte{10}}, false, true, false},
		{"source", Is{Of: Source4, To: Addr(from4)}, true, false, true},
		{"source is not", Is{Of: Source4, Op: NotEqual, To: Addr(to4)}, true, false, true},
		{"source 6 is not", Is{Of: Source6, Op: NotEqual, To: Addr(to6)}, false, true, false},
		{"dest in 24", Is{Of: Masked{Dest4, mask24}, To: []byte{8, 8, 8, 0}}, true, false, true},
		{"dest in 24 of another", Is{Of: Masked{Dest4, mask24}, To: []byte{8, 8, 9, 0}}, false, false, false},
		{"port", Is{Of: DestPort, To: Port(443)}, true, true, false},
		{"port is not", Is{Of: DestPort, Op: NotEqual, To: Port(80)}, true, true, false},
		{"port below", Is{Of: DestPort, Op: Less, To: Port(443)}, false, false, false},
		{"hops", Is{Of: Hops4, Op: AtMost, To: []byte{64}}, true, false, true},
		{"hops 6", Is{Of: Hops6, Op: Less, To: []byte{64}}, false, false, false},
		{"port at most", Is{Of: DestPort, Op: AtMost, To: Port(443)}, true, true, false},
		{"port above", Is{Of: DestPort, Op: Greater, To: Port(442)}, true, true, false},
		{"port at least", Is{Of: DestPort, Op: AtLeast, To: Port(444)}, false, false, false},
		{"ports, upper end", Within{DestPort, Port(80), Port(443)}, true, true, false},
		{"ports, lower end", Within{DestPort, Port(443), Port(500)}, true, true, false},
		{"ports, not", Within{DestPort, Port(444), Port(500)}, false, false, false},
		{"flags", Is{Of: Masked{TCPFlags, []byte{2}}, To: []byte{2}}, true, true, false},
		{"flags of DNS, of TCP", Is{Of: DNSFlags, To: []byte{0}}, false, false, false},
		{"protocol", Is{Of: Protocol, To: []byte{1}}, false, false, true},
		{"interface", Is{Of: InName, To: Name("lan0")}, true, true, true},
		{"no interface yet", Is{Of: OutName, Op: NotEqual, To: Name("lan0")}, true, true, true},
		{"mark", Is{Of: Masked{Mark, num(OthersMask)}, To: num(0x2000_0000)}, true, true, true},
		{"shifted mark", Is{Of: Shifted{Mark, 28}, To: num(2)}, true, true, true},
		{"ct mark", Is{Of: CtMark, To: num(0x4000_0000)}, true, true, true},
		{"ct state", Is{Of: Masked{CtState, num(CtNew)}, Op: NotEqual, To: num(0)}, true, true, true},
		{"ct label", Is{Of: Masked{CtLabel, ServiceLabel(0)}, To: make([]byte, labelWidth)}, true, true, true},
		{"ct label is not", Is{Of: CtLabel, To: ServiceLabel(0xb8)}, false, false, false},
		{"ct direction", Is{Of: CtDirection, To: []byte{1}}, false, false, false},
		{"dest type", Is{Of: DestType, To: num(AddrUnicast)}, true, true, true},
		{"in", In{Key: Source4, Set: "hosts4"}, true, false, true},
		{"not in", In{Key: Dest4, Set: "hosts4", Not: true}, true, false, true},
		{"in 6", In{Key: Source6, Set: "hosts6"}, false, true, false},
		{"in an interval", In{Key: Dest4, Set: "nets4"}, true, false, true},
		{"just after an interval", In{Key: Source4, Set: "nets4"}, false, false, false},
		{"the last address", In{Key: Const{255, 255, 255, 255}, Set: "nets4"}, true, true, true},
		{"concatenation", In{Key: Join{Protocol, DestPort}, Set: "pairs"}, true, true, false},
		{"masked 6", In{Key: Masked{Dest6, Addr(netip.MustParseAddr("ffff:ffff:ffff::"))}, Set: "nets6mask"}, false, true, false},
		{"name and hardware address", In{Key: Join{InName, EtherSource}, Set: "macs"}, true, true, true},
		{"look-up", Is{Of: Masked{Lookup{Source4, "links"}, num(LinkMask)}, To: num(3)}, true, false, true},
		{"look-up shifted", In{Key: Shifted{Lookup{Source4, "links"}, 10}, Set: "avail"}, true, false, true},
		{"look-up misses", Is{Of: Lookup{Dest4, "links"}, Op: NotEqual, To: num(0)}, false, false, false},
		{"jump in a set is none", In{Key: Mark, Set: "avail", Not: true}, true, true, true},
		{"reject tcp", Reject{TCPReset}, true, true, false},
		{"tos 6", SetTOS{IPv6: true, TOS: 8}, false, true, false},
		{"snat 4", SNAT{from4, from4}, true, false, true},
		{"limit", CountOver{5}, false, false, false},
		{"rate", RateOver{5, 5}, false, false, false},
	} {
		for _, p := range []struct {
			name string
			p    Packet
			want bool
		}{{"tcp4", tcp4, c.tcp4}, {"tcp6", tcp6, c.tcp6}, {"ping4", ping4, c.ping4}} {
			w := worldOf([]Rule{marks(0, c.do)})
			w.Tables[0].Sets = sets
			trace := walked(t, w, p.p)
			v := trace.Visits[0]
			if got := v.Why == ""; got != p.want {
				t.Errorf("%s: %s: matched %v (%s)", c.name, p.name, got, v.Why)
			}
			if marked := trace.Packet.Mark&1 == 1; marked != (p.want && v.Then == nil) {
				t.Errorf("%s: %s: the step behind it was done: %v", c.name, p.name, marked)
			}
		}
	}
}

// The control flow of nft(8): jump comes back, goto does not, return in a base
// chain is its policy, and the end of a chain is a return.
func TestWalkControlFlow(t *testing.T) {
	for _, c := range []struct {
		name  string
		base  []Rule
		more  []Chain
		marks uint32
		end   End
	}{
		{"jump comes back", []Rule{marks(0, Count{}), {Do: []Step{Jump{"a"}}}, marks(1)}, []Chain{{Name: "a", Rules: []Rule{marks(2)}}}, 0b111, Passed},
		{"return comes back", []Rule{{Do: []Step{Jump{"a"}}}, marks(1)}, []Chain{{Name: "a", Rules: []Rule{{Do: []Step{Return{}}}, marks(2)}}}, 0b10, Passed},
		{"goto does not come back", []Rule{{Do: []Step{Goto{"a"}}}, marks(1)}, []Chain{{Name: "a", Rules: []Rule{marks(2)}}}, 0b100, Passed},
		{"goto goes back to the last jump", []Rule{{Do: []Step{Jump{"a"}}}, marks(0)},
			[]Chain{{Name: "a", Rules: []Rule{{Do: []Step{Goto{"b"}}}, marks(1)}}, {Name: "b", Rules: []Rule{marks(2)}}}, 0b101, Passed},
		{"return in a base chain", []Rule{{Do: []Step{Return{}}}, marks(1)}, nil, 0, Passed},
		{"accept deep down", []Rule{{Do: []Step{Jump{"a"}}}, marks(1)}, []Chain{{Name: "a", Rules: []Rule{{Do: []Step{Accept{}}}}}}, 0, Passed},
		{"drop deep down", []Rule{{Do: []Step{Jump{"a"}}}, marks(1)}, []Chain{{Name: "a", Rules: []Rule{{Do: []Step{Drop{}}}}}}, 0, Dropped},
		{"reject", []Rule{{Do: []Step{Reject{}}}, marks(1)}, nil, 0, Refused},
		{"a rule that ends is not its chain's end", []Rule{marks(0, Is{Of: DestPort, To: Port(1)}), marks(1)}, nil, 0b10, Passed},
		{"nat ends", []Rule{{Do: []Step{Masquerade{}}}, marks(1)}, nil, 0, Passed},
	} {
		w := worldOf(c.base, c.more...)
		trace := walked(t, w, like(tcp4, func(p *Packet) { p.Mark = 0 }))
		if trace.Packet.Mark != c.marks || trace.End != c.end {
			t.Errorf("%s: marks %b, %s; want %b, %s", c.name, trace.Packet.Mark, trace.End, c.marks, c.end)
		}
	}
}

// nft(8), verdict map: a missing element ends the rule; the element says where
// to go on.
func TestWalkChoose(t *testing.T) {
	w := worldOf([]Rule{
		{Do: []Step{Choose{Lookup{Source4, "learned"}, "avail"}}},
		{Do: []Step{Choose{Masked{CtMark, Number(LinkMask)}, "avail"}}}, marks(0),
	}, Chain{Name: "link_3", Rules: []Rule{{Do: []Step{SetMark{LinkMask, 3}, Accept{}}}}})
	w.Tables[0].Sets = []Set{
		{Name: "learned", Key: []Type{TypeAddr4}, Data: []Type{TypeNumber}, Elements: NewElements(Element{Key: Addr(from4), Data: Number(3)}, Element{Key: Addr(to4), Data: Number(4)})},
		{Name: "avail", Key: []Type{TypeNumber}, Verdicts: true, Elements: NewElements(Element{Key: Number(3), Verdict: Goto{"link_3"}}, Element{Key: Number(0), Verdict: Drop{}})},
	}
	if got := walked(t, w, tcp4); got.Packet.Mark != 0x2000_0003 || got.Packet.Ct.Mark != 0x4000_0000 {
		t.Errorf("a packet of a learned source has mark %#x, conntrack mark %#x", got.Packet.Mark, got.Packet.Ct.Mark)
	}
	stale := walked(t, w, like(tcp4, func(p *Packet) { p.Source = to4 }))
	if stale.End != Dropped || stale.Visits[0].Why != "avail has nothing for ip saddr map @learned, which is 0x4" {
		t.Errorf("a stale entry: %s, %q", stale.End, stale.Visits[0].Why)
	}
	if got := walked(t, w, tcp6); got.End != Dropped || got.Visits[0].Why != "it has no ip saddr" {
		t.Errorf("IPv6: %s, %q", got.End, got.Visits[0].Why)
	}
}

// Accept ends a base chain, not the hook: chains of a higher number go on,
// in all tables. Drop ends all.
func TestWalkHooks(t *testing.T) {
	chain := func(name, point string, prio int32, r ...Rule) Chain {
		return Chain{Name: name, Hook: &Hook{"filter", point, prio}, Rules: r}
	}
	w := &World{Tables: []Table{
		{Name: "b", Chains: []Chain{chain("late", "prerouting", -150, marks(1, Is{Of: Masked{Mark, Number(1)}, To: Number(1)})),
			chain("other", "forward", -150, marks(2))}},
		{Name: "a", Chains: []Chain{chain("early", "prerouting", -155, marks(0), Rule{Do: []Step{Accept{}}}, marks(3))}},
	}}
	if got := walked(t, w, tcp4).Packet.Mark; got != 0x2000_0003 {
		t.Errorf("mark %#x", got)
	}
	w.Tables[1].Chains[0].Rules[1].Do[0] = Drop{}
	if got := walked(t, w, tcp4); got.End != Dropped || got.Packet.Mark != 0x2000_0001 {
		t.Errorf("after a drop: %s, mark %#x", got.End, got.Packet.Mark)
	}
}

// Chains of type nat see the first packet of a connection alone, stand at the
// place of NAT, and the first address chosen stays.
func TestWalkNAT(t *testing.T) {
	nat := func(name string, prio int32, s Step) Chain {
		return Chain{Name: name, Hook: &Hook{"nat", "postrouting", prio}, Rules: []Rule{{Do: []Step{s}}}}
	}
	w := &World{Tables: []Table{{Name: "t", Chains: []Chain{
		{Name: "filter", Hook: &Hook{"filter", "postrouting", 50}, Rules: []Rule{marks(0)}},
		nat("b", 2, Masquerade{}), nat("a", 1, SNAT{to4, to4}), nat("c", 0, SNAT{to6, to6}),
	}}}}
	trace, err := w.Walk("postrouting", tcp4)
	if err != nil {
		t.Fatal(err)
	}
	if trace.NAT == nil || trace.NAT.From != to4 || trace.Visits[0].Chain != "filter" || len(trace.Visits) != 3 {
		t.Errorf("NAT %+v, visits %+v", trace.NAT, trace.Visits)
	}
	trace, err = w.Walk("postrouting", like(tcp4, func(p *Packet) { p.Ct.State = CtEstablished }))
	if err != nil || trace.NAT != nil || len(trace.Visits) != 1 {
		t.Errorf("an established session: %+v, %v", trace, err)
	}
}

// What conntrack does not know has no mark to read or to write; invalid is a
// state all the same.
func TestWalkUntracked(t *testing.T) {
	w := worldOf([]Rule{marks(0, Is{Of: CtMark, To: Number(0)}), marks(1, SetCtMark{1, 1}), marks(2, Is{Of: CtDirection, To: []byte{0}}), marks(3, Is{Of: CtState, To: Number(CtInvalid)})})
	if got := walked(t, w, like(tcp4, func(p *Packet) { p.Mark, p.Ct = 0, CtInfo{State: CtInvalid} })); got.Packet.Mark != 8 || got.Packet.Ct.Mark != 0 {
		t.Errorf("mark %b, conntrack mark %b", got.Packet.Mark, got.Packet.Ct.Mark)
	}
}

func learning(size int, wished ...Element) *World {
	w := worldOf([]Rule{
		marks(0, Change{Set: "seen", Key: Source4, Data: Const(Number(1)), Timeout: time.Minute}),
		marks(1, Is{Of: Lookup{Source4, "seen"}, To: Number(1)}),
		marks(2, Change{How: Remove, Set: "seen", Key: Dest4}),
		marks(3, Change{How: Add, Set: "seen", Key: Dest4, Data: Const(Number(2))}),
	})
	w.Tables[0].Sets = []Set{{Name: "seen", Key: []Type{TypeAddr4}, Data: []Type{TypeNumber}, Dynamic: true, Timeout: time.Hour, Size: size, Elements: NewElements(wished...)}}
	return w
}

// What a packet writes is seen by the rules behind, not by the world given, and
// by the next packet only in a simulation. A full set ends the rule alone.
func TestWalkChange(t *testing.T) {
	w := learning(2)
	for range 2 {
		if got := walked(t, w, tcp4).Packet.Mark &^ OthersMask; got != 0b1111 {
			t.Errorf("mark %b", got)
		}
	}
	if n := w.Tables[0].Sets[0].Elements.Len(); n != 0 {
		t.Errorf("the set given has %d elements", n)
	}
	if got := walked(t, learning(1), tcp4).Packet.Mark &^ OthersMask; got != 0b0111 {
		t.Errorf("mark %b with place for one", got)
	}
	// update renews and keeps the value: the learner has to read it again.
	old := learning(2, Element{Key: Addr(from4), Data: Number(9)}, Element{Key: Addr(to4), Data: Number(9)})
	// And what was removed takes its place until Linux sweeps.
	if got := walked(t, old, tcp4).Packet.Mark &^ OthersMask; got != 0b0101 {
		t.Errorf("mark %b where the source has another value", got)
	}
}

func TestWalkRemember(t *testing.T) {
	now := time.Unix(0, 0)
	w := learning(2)
	w.Now, w.Remember = func() time.Time { return now }, true
	expires := func() (all []time.Duration) {
		for _, v := range walked(t, w, tcp4).Visits {
			for _, l := range v.Looks {
				if l.Found != nil {
					all = append(all, l.Found.Expires)
				}
			}
		}
		return all
	}
	if got := expires(); !slices.Equal(got, []time.Duration{time.Minute}) {
		t.Errorf("at first %v", got)
	}
	now = now.Add(59 * time.Second)
	// Seen before, renewed, the other one, which lives an hour.
	if got := expires(); !slices.Equal(got, []time.Duration{time.Second, time.Minute, time.Hour - 59*time.Second}) {
		t.Errorf("after 59 s %v", got)
	}
	now = now.Add(2 * time.Hour)
	if got := expires(); !slices.Equal(got, []time.Duration{time.Minute}) {
		t.Errorf("when all have expired %v", got)
	}
}

// Dynamic sets are read as they are.
func TestWalkRead(t *testing.T) {
	w := learning(2)
	w.Read = func(table, set string) ([]Element, error) {
		if table != "t" || set != "seen" {
			t.Errorf("asked for %s %s", table, set)
		}
		return []Element{{Key: Addr(from4), Data: Number(7), Timeout: time.Hour, Expires: time.Minute}, {Key: Addr(netip.MustParseAddr("10.0.0.9"))}}, nil
	}
	trace := walked(t, w, tcp4)
	if got := trace.Packet.Mark &^ OthersMask; got != 0b0101 {
		t.Errorf("mark %b", got) // another value; and no place for the destination
	}
	w = learning(2)
	w.Read = func(string, string) ([]Element, error) { return nil, errors.New("no such table") }
	if _, err := w.Walk("prerouting", tcp4); err == nil || !strings.Contains(err.Error(), "no such table") {
		t.Errorf("error %v", err)
	}
}

// Limits are taken as not reached, and told, unless somebody knows.
func TestWalkLimits(t *testing.T) {
	w := worldOf([]Rule{{Do: []Step{CountOver{5}, Return{}}}, marks(0), marks(1, Change{Set: "per", Key: Source4, Over: 3})})
	w.Tables[0].Sets = []Set{{Name: "per", Key: []Type{TypeAddr4}, Dynamic: true}}
	trace := walked(t, w, tcp4)
	if len(trace.Open) != 2 || trace.Packet.Mark&^OthersMask != 1 {
		t.Errorf("mark %b, open %q", trace.Packet.Mark, trace.Open)
	}
	w.Over = func(l Limit) bool { return l.Rule == 2 && string(l.Key) == string(Addr(from4)) }
	trace = walked(t, w, tcp4)
	if len(trace.Open) != 0 || trace.Packet.Mark&^OthersMask != 3 {
		t.Errorf("mark %b, open %q", trace.Packet.Mark, trace.Open)
	}
}

// The shares of a slot table are told exactly, with what has no slot; a second
// draw behind a first multiplies.
func TestOutcomes(t *testing.T) {
	var slots []Element
	for n := range uint32(256) {
		if n < 6 {
			continue // nobody's
		}
		slots = append(slots, Element{Key: Number(n), Data: Number(1 + n%2)})
	}
	w := worldOf([]Rule{
		{Do: []Step{Choose{Lookup{Turn{256}, "slots"}, "avail"}}},
		marks(20, Is{Of: Lot{4}, To: Number(3)}),
	}, Chain{Name: "one", Rules: []Rule{{Do: []Step{SetMark{LinkMask, 1}, Accept{}}}}}, Chain{Name: "two", Rules: []Rule{{Do: []Step{SetMark{LinkMask, 2}, Return{}}}}})
	w.Tables[0].Sets = []Set{
		{Name: "slots", Key: []Type{TypeNumber}, Data: []Type{TypeNumber}, Elements: NewElements(slots...)},
		{Name: "avail", Key: []Type{TypeNumber}, Verdicts: true, Elements: NewElements(Element{Key: Number(1), Verdict: Goto{"one"}}, Element{Key: Number(2), Verdict: Jump{"two"}})},
	}
	list, err := w.Outcomes("prerouting", like(tcp4, func(p *Packet) { p.Mark = 0 }))
	if err != nil {
		t.Fatal(err)
	}
	shares := map[uint32]float64{}
	sum := 0.0
	for _, o := range list {
		shares[o.Trace.Packet.Mark] += o.Share
		sum += o.Share
	}
	want := map[uint32]float64{1: 125. / 256, 2: 125. / 256 * .75, 1<<20 | 2: 125. / 256 / 4, 0: 6. / 256 * .75, 1 << 20: 6. / 256 / 4}
	if len(shares) != len(want) || sum != 1 || len(list) != 9 {
		t.Errorf("%d ways, shares %v, sum %v", len(list), shares, sum)
	}
	for mark, share := range want {
		if shares[mark] != share {
			t.Errorf("mark %#x: share %v, want %v", mark, shares[mark], share)
		}
	}
}

// What Linux would not load is an error, not a verdict.
func TestWalkRefuses(t *testing.T) {
	long := []Chain{}
	for i := range 20 {
		long = append(long, Chain{Name: string(rune('a' + i)), Rules: []Rule{{Do: []Step{Jump{string(rune('b' + i))}}}}})
	}
	for want, w := range map[string]*World{
		`no chain "x"`:                 worldOf([]Rule{{Do: []Step{Jump{"x"}}}}),
		"has a hook":                   worldOf([]Rule{{Do: []Step{Jump{"base"}}}}),
		`no set "x"`:                   worldOf([]Rule{{Do: []Step{In{Key: Source4, Set: "x"}}}}),
		"4 octets are compared with 2": worldOf([]Rule{{Do: []Step{Is{Of: Source4, To: []byte{1, 2}}}}}),
		"round in circles":             worldOf([]Rule{{Do: []Step{Goto{"a"}}}}, Chain{Name: "a", Rules: []Rule{{Do: []Step{Goto{"a"}}}}}),
		"more than 15 jumps":           worldOf([]Rule{{Do: []Step{Jump{"a"}}}}, long...),
		"not one that packets write":   withSet(worldOf([]Rule{{Do: []Step{Change{Set: "s", Key: Source4}}}})),
		"keys of 4 octets, not of 2":   withSet(worldOf([]Rule{{Do: []Step{In{Key: DestPort, Set: "s"}}}})),
		"without a verdict":            withSet(worldOf([]Rule{{Do: []Step{Choose{Source4, "s"}}}})),
		`no helper "ftp"`:              worldOf([]Rule{{Do: []Step{Assist{"ftp"}}}}),
		"one of 5000 numbers is drawn": worldOf([]Rule{{Do: []Step{Is{Of: Lot{5000}, To: Number(1)}}}}),
		"a number below 0 is wanted":   worldOf([]Rule{{Do: []Step{Is{Of: Turn{}, To: Number(1)}}}}),
		"a mark has 4 octets, not 2":   worldOf([]Rule{{Do: []Step{CopyMark{DestPort}}}}),
		"2 octets are masked by 4":     worldOf([]Rule{{Do: []Step{Is{Of: Masked{DestPort, Number(1)}, To: Port(1)}}}}),
		"a number has 4 octets, not 2": worldOf([]Rule{{Do: []Step{Is{Of: Shifted{DestPort, 1}, To: Number(1)}}}}),
		"may go more than 4096 ways":   worldOf([]Rule{{Do: []Step{Is{Of: Lot{100}, Op: AtLeast, To: Number(0)}, Is{Of: Lot{100}, Op: AtLeast, To: Number(0)}}}}),
		"with a range of 2 to 4":       worldOf([]Rule{{Do: []Step{Within{DestPort, Port(1), Number(2)}}}}),
		"a comparison 9 is not known":  worldOf([]Rule{{Do: []Step{Is{Of: DestPort, Op: 9, To: Port(1)}}}}),
		"a step <nil> is not known":    worldOf([]Rule{{Do: []Step{nil}}}),
		"a value <nil> is not known":   worldOf([]Rule{{Do: []Step{CopyMark{}}}}),
	} {
		if _, err := w.Outcomes("prerouting", tcp4); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("want an error with %q, got %v", want, err)
		}
	}
}

func withSet(w *World) *World {
	w.Tables[0].Sets = []Set{{Name: "s", Key: []Type{TypeAddr4}, Elements: NewElements(Element{Key: Addr(from4)})}}
	return w
}

// The vectors of lookup3.c.
func TestJhash(t *testing.T) {
	const words = "Four score and seven years ago"
	for _, c := range []struct {
		key        string
		seed, want uint32
	}{{"", 0, 0xdeadbeef}, {"", 0xdeadbeef, 0xbd5b7dde}, {words, 0, 0x17770551}, {words, 1, 0xcd628161}} {
		if got := jhash([]byte(c.key), c.seed); got != c.want {
			t.Errorf("hash of %q with seed %#x: %#x, want %#x", c.key, c.seed, got, c.want)
		}
	}
}

func TestAddressTypes(t *testing.T) {
	typeOf := AddressTypes(netip.MustParsePrefix("10.0.0.1/24"), netip.MustParsePrefix("fe80::1/64"), netip.MustParsePrefix("192.0.2.1/32"))
	for a, want := range map[string]uint32{
		"10.0.0.1": AddrLocal, "10.0.0.255": AddrBroadcast, "10.0.0.2": AddrUnicast, "224.0.0.1": AddrMulticast, "ff02::1": AddrMulticast,
		"fe80::1%lan0": AddrLocal, "192.0.2.1": AddrLocal, "127.0.0.9": AddrLocal, "255.255.255.255": AddrBroadcast, "::1": AddrLocal,
	} {
		if got := typeOf(netip.MustParseAddr(a)); got != want {
			t.Errorf("%s has type %d, want %d", a, got, want)
		}
	}
}
