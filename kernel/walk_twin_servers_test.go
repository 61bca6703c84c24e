package kernel

import (
	"bytes"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"golang.org/x/sys/unix"
	"pgregory.net/rapid"
)

// serverSets are the sets that virtual servers need, with random elements.
func serverSets(t *rapid.T) []Set {
	number := []Type{TypeNumber}
	ports := NewElements() // disjoint ranges of ports, for each protocol
	for _, protocol := range []uint8{unix.IPPROTO_TCP, unix.IPPROTO_UDP} {
		from := rapid.IntRange(0, 100).Draw(t, "from")
		for range rapid.IntRange(0, 4).Draw(t, "ranges") {
			to := min(from+rapid.SampledFrom([]int{0, 30, 400, 65000}).Draw(t, "width"), 65535)
			if from > to {
				break
			}
			ports.Put(Element{Key: Key([]byte{protocol}, Port(uint16(from))), End: Key([]byte{protocol}, Port(uint16(to))), Data: Number(rapid.Uint32Range(0, 63).Draw(t, "data"))})
			from = to + 1 + rapid.IntRange(0, 60).Draw(t, "gap")
		}
	}
	sets := []Set{{Name: "portmap", Key: []Type{TypeProto, TypePort}, Data: number, Interval: true, Elements: ports}}
	for i, hosts := range twinHosts {
		digit, addr := fieldsOf(i).digit, TypeAddr4+Type(i)
		boxes, to, plain := NewElements(), NewElements(), NewElements()
		rate, octets, over := NewElements(), NewElements(), NewElements()
		for n := range uint32(4) {
			a := rapid.SampledFrom(hosts).Draw(t, "server")
			if rapid.Bool().Draw(t, "there") {
				to.Put(Element{Key: Number(n), Data: Key(Addr(a), Port(rapid.SampledFrom(twinPorts).Draw(t, "port")))})
			}
			if rapid.Bool().Draw(t, "there") {
				plain.Put(Element{Key: Number(n), Data: Addr(a)})
			}
		}
		for range rapid.IntRange(0, 4).Draw(t, "boxes") {
			putBox(t, boxes, hosts)
		}
		for _, a := range hosts {
			rate.Put(Element{Key: Addr(a), Rate: &Rate{PerSecond: 1, Burst: rapid.Uint32Range(0, 6).Draw(t, "burst")}})
			octets.Put(Element{Key: Addr(a), Rate: &Rate{PerSecond: 1, Burst: rapid.Uint32Range(0, 400).Draw(t, "burst"), Octets: true}})
			over.Put(Element{Key: Addr(a), Over: rapid.Uint32Range(1, 5).Draw(t, "over")})
		}
		sets = append(sets, Set{Name: "boxes" + digit, Key: []Type{addr, TypePort}, Interval: true, Elements: boxes},
			Set{Name: "to" + digit, Key: number, Data: []Type{addr, TypePort}, Elements: to},
			Set{Name: "plain" + digit, Key: number, Data: []Type{addr}, Counted: true, Elements: plain},
			Set{Name: "rate" + digit, Key: []Type{addr}, Elements: rate}, Set{Name: "octets" + digit, Key: []Type{addr}, Elements: octets},
			Set{Name: "over" + digit, Key: []Type{addr}, Elements: over})
	}
	return sets
}

// putBox puts a box around two destinations unless it overlaps others.
func putBox(t *rapid.T, boxes *Elements, hosts []netip.Addr) {
	a, b := Addr(rapid.SampledFrom(hosts).Draw(t, "first")), Addr(rapid.SampledFrom(hosts).Draw(t, "last"))
	if bytes.Compare(a, b) > 0 {
		a, b = b, a
	}
	p, q := rapid.SampledFrom(twinPorts).Draw(t, "first port"), rapid.SampledFrom(twinPorts).Draw(t, "last port")
	el := Element{Key: Key(a, Port(min(p, q))), End: Key(b, Port(max(p, q)))}
	n := len(a)
	meets := func(o Element) bool {
		end := o.last()
		return bytes.Compare(a, end[:n]) <= 0 && bytes.Compare(o.Key[:n], b) <= 0 &&
			bytes.Compare(el.Key[n:], end[n:]) <= 0 && bytes.Compare(o.Key[n:], el.End[n:]) <= 0
	}
	if !slices.ContainsFunc(boxes.list(), meets) {
		boxes.Put(el)
	}
}

// serverChains are a chain of limits before all others, each of which a packet comes
// to once, and one of type nat with one behind it that sees what it did.
func serverChains(t *rapid.T, table *Table) []Chain {
	var limits, nat []Rule
	for i := range twinHosts {
		f := fieldsOf(i)
		for bit, set := range []string{"rate", "octets", "over"} {
			do := []Step{Is{Of: CtStatus, To: Number(0)}, In{Key: f.dest, Set: set + f.digit}, SetMark{1 << bit, 1 << bit}}
			if set == "over" { // what others do not end: its connections live on
				do = slices.Insert(do, 1, Step(Is{Of: Protocol, To: []byte{unix.IPPROTO_UDP}}))
			}
			limits = append(limits, Rule{Tell: table.Name + set + f.digit, Do: do})
		}
	}
	for i := range rapid.IntRange(1, 6).Draw(t, "translations") {
		var do []Step
		for do == nil {
			family := rapid.IntRange(0, 1).Draw(t, "family")
			f := fieldsOf(family)
			of := rapid.SampledFrom([]Value{Masked{Priority, Number(3)}, Const(Number(1)), Masked{CtMark, Number(3)}}).Draw(t, "number")
			effect := rapid.SampledFrom([]Step{DNAT{family == 1, Lookup{of, "to" + f.digit}, true}, DNAT{family == 1, Lookup{of, "plain" + f.digit}, false},
				DNAT{family == 1, Join{f.source, Const(Port(80))}, true}, SetPriority{of}, Accept{}}).Draw(t, "effect")
			do = append(rapid.SliceOfN(rapid.Custom(func(t *rapid.T) Step { return drawMatch(t, family) }), 0, 1).Draw(t, "matches"), effect)
			if _, err := lower(do); err != nil {
				do = nil
			}
		}
		nat = append(nat, Rule{Tell: fmt.Sprintf("%s nat %d", table.Name, i), Do: do})
	}
	return []Chain{
		{Name: "limits", Hook: &Hook{"filter", "prerouting", -160}, Rules: limits},
		{Name: "nat", Hook: &Hook{"nat", "prerouting", -101}, Rules: nat},
		{Name: "behind", Hook: &Hook{"filter", "prerouting", -90}, Rules: drawRules(t, table, -1)},
	}
}

// twinLimits counts what the limits of elements count.
type twinLimits struct {
	began  time.Time
	packet Packet             // that comes to them now
	used   map[string]float64 // by set and key: packets or octets
	live   map[string]map[uint16]bool
	met    []string // where this packet was counted as a connection
	unsure bool     // the clock, or when Linux forgets a connection, decides
}

func newTwinLimits() *twinLimits {
	return &twinLimits{began: time.Now(), used: map[string]float64{}, live: map[string]map[uint16]bool{}}
}

func (l *twinLimits) over(at Limit) bool {
	if at.Element == nil {
		return false
	}
	id := at.Set + string(at.Key)
	if at.Element.Over > 0 {
		if l.live[id] == nil {
			l.live[id] = map[uint16]bool{}
		}
		l.live[id][l.packet.SourcePort] = true
		l.met = append(l.met, id)
		return len(l.live[id]) > int(at.Element.Over)
	}
	cost, most := 1.0, float64(at.Element.Rate.burst())
	if at.Element.Rate.Octets {
		cost, most = float64(len(twinFrame(l.packet, make([]byte, 6)))-14), most+float64(at.Element.Rate.PerSecond)
	}
	if l.used[id]+cost <= most {
		l.used[id] += cost
		return false
	}
	// What came back since the table was made is not known exactly.
	l.unsure = l.unsure || l.used[id]+cost <= most+time.Since(l.began).Seconds()+0.2
	return true
}

// passed notes whether the packet became a connection. Of one that did not, Linux
// forgets at some time that it counted it.
func (l *twinLimits) passed(passed bool) {
	if !passed && len(l.met) > 0 {
		l.unsure = true
	}
	l.met = nil
}
