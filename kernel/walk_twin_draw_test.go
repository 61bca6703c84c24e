package kernel

import (
	"bytes"
	"fmt"
	"slices"
	"time"

	"golang.org/x/sys/unix"
	"pgregory.net/rapid"
)

// twinChains are those that are jumped to; each leads to later ones alone.
const twinChains = 4

// drawTable makes a table that Linux takes. Its number makes every rule new, so
// that the counters of turns begin anew.
func drawTable(t *rapid.T, n int) Table {
	table := Table{Name: fmt.Sprintf("portolan_twin%d", n), Sets: drawSets(t)}
	for i, prio := range []int32{-150, -140} {
		table.Chains = append(table.Chains, Chain{Name: fmt.Sprintf("base%d", i), Hook: &Hook{"filter", "prerouting", prio}, Rules: drawRules(t, &table, -1)})
	}
	table.Chains = append(table.Chains, serverChains(t, &table)...)
	for i := range twinChains {
		table.Chains = append(table.Chains, Chain{Name: chainName(i), Rules: drawRules(t, &table, i)})
	}
	return table
}

func chainName(i int) string { return fmt.Sprintf("chain%d", i) }

// drawSets makes one set of each kind, with elements that packets may have.
func drawSets(t *rapid.T) []Set {
	chance := func() bool { return rapid.Bool().Draw(t, "there") }
	number := []Type{TypeNumber}
	sets := append(serverSets(t), []Set{
		{Name: "ports", Key: []Type{TypePort}, Interval: true, Elements: NewElements(Element{Key: Port(0), End: Port(53)}, Element{Key: Port(443), End: Port(443)}, Element{Key: Port(60001), End: Port(65535)})},
		{Name: "services", Key: []Type{TypeProto, TypePort}, Elements: NewElements(Element{Key: Key([]byte{6}, Port(443))}, Element{Key: Key([]byte{17}, Port(53))})},
		{Name: "names", Key: []Type{TypeName}, Elements: NewElements(Element{Key: Name("lan1")})},
		{Name: "routers", Key: []Type{TypeName, TypeEther}, Verdicts: true, Elements: NewElements(Element{Key: Key(Name("lan0"), twinMAC[:]), Verdict: Jump{chainName(twinChains - 1)}})},
		{Name: "slots", Key: number, Data: number, Elements: NewElements()},
		{Name: "avail", Key: number, Verdicts: true, Elements: NewElements()},
	}...)
	slots, avail := sets[len(sets)-2].Elements, sets[len(sets)-1].Elements
	for i := range uint32(8) {
		if chance() {
			slots.Put(Element{Key: Number(i), Data: Number(rapid.Uint32Range(0, 3).Draw(t, "link"))})
		}
		if v := rapid.SampledFrom(verdicts(twinChains-2)).Draw(t, "verdict"); i < 4 && chance() {
			avail.Put(Element{Key: Number(i), Verdict: v})
		}
	}
	for i, digit := range []string{"4", "6"} {
		key := []Type{TypeAddr4 + Type(i)}
		hosts, links, nets := NewElements(), NewElements(), NewElements()
		for _, a := range twinHosts[i] {
			if chance() {
				hosts.Put(Element{Key: Addr(a)})
			}
			if chance() {
				links.Put(Element{Key: Addr(a), Data: Number(rapid.Uint32Range(0, 1<<12).Draw(t, "ranks"))})
			}
			if chance() {
				end := a.AsSlice()
				end[len(end)-1] |= rapid.SampledFrom([]byte{0, 2, 255}).Draw(t, "end")
				if !overlaps(nets, Addr(a), end) {
					nets.Put(Element{Key: Addr(a), End: end})
				}
			}
		}
		sets = append(sets, Set{Name: "hosts" + digit, Key: key, Elements: hosts}, Set{Name: "links" + digit, Key: key, Data: number, Elements: links},
			Set{Name: "nets" + digit, Key: key, Interval: true, Elements: nets},
			Set{Name: "learnt" + digit, Key: key, Data: number, Dynamic: true, Timeout: time.Hour, Size: 2},
			Set{Name: "pairs" + digit, Key: append(key, key...), Data: number, Dynamic: true, Timeout: time.Hour, Size: 100},
			Set{Name: "seen" + digit, Key: append(key, TypePort), Dynamic: true, Timeout: time.Hour, Size: 3})
	}
	return sets
}

// overlaps says whether a range has something in common with one that is there.
func overlaps(e *Elements, from, to []byte) bool {
	return slices.ContainsFunc(e.list(), func(el Element) bool {
		end := el.End
		if len(end) == 0 {
			end = el.Key
		}
		return bytes.Compare(from, end) <= 0 && bytes.Compare(el.Key, to) <= 0
	})
}

// verdicts are those that a rule of a chain may have: it leads to later ones.
func verdicts(chain int) []Step {
	all := []Step{Accept{}, Drop{}, Return{}, Return{}}
	for i := chain + 1; i < twinChains; i++ {
		all = append(all, Jump{chainName(i)}, Jump{chainName(i)}, Goto{chainName(i)})
	}
	return all
}

func drawRules(t *rapid.T, table *Table, chain int) (list []Rule) {
	for i := range rapid.IntRange(1, 7).Draw(t, "rules") {
		list = append(list, Rule{Tell: fmt.Sprintf("%s %d %d", table.Name, chain, i), Do: drawSteps(t, chain)})
	}
	return list
}

// drawSteps makes the steps of a rule, again if they contradict each other.
func drawSteps(t *rapid.T, chain int) []Step {
	for {
		family := rapid.IntRange(0, 1).Draw(t, "family")
		steps := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) Step { return drawMatch(t, family) }), 0, 2).Draw(t, "matches")
		steps = append(steps, drawEffect(t, family, chain)...)
		if _, err := lower(steps); err == nil {
			return steps
		}
	}
}

// drawEffect makes what a rule does. It is one draw of a number at most in each
// rule, which [Place] tells apart.
func drawEffect(t *rapid.T, family, chain int) []Step {
	kind := rapid.IntRange(0, 15).Draw(t, "effect")
	last := chain >= twinChains-1
	switch {
	case kind < 2:
		return []Step{drawChange(t, family)}
	case kind < 4:
		return []Step{rapid.SampledFrom(verdicts(chain)).Draw(t, "verdict")}
	case kind == 4 && !last:
		return []Step{Choose{Lookup{Turn{8}, "slots"}, "avail"}}
	case kind == 5 && !last:
		return []Step{Choose{Masked{Shifted{Lookup{fieldsOf(family).dest, "links" + fieldsOf(family).digit}, 10}, Number(3)}, "avail"}}
	case kind == 6 && !last:
		return []Step{Choose{Lookup{Hash{Join{fieldsOf(family).source, DestPort}, 8, 7}, "slots"}, "avail"}}
	case kind == 7 && !last:
		return []Step{Choose{Join{InName, EtherSource}, "routers"}}
	case kind == 9:
		return []Step{CopyMark{Lookup{fieldsOf(family).source, "learnt" + fieldsOf(family).digit}}}
	case kind == 8:
		return []Step{Reject{rapid.SampledFrom([]RejectWith{AdminProhibited, TCPReset}).Draw(t, "answer")}}
	}
	at := rapid.IntRange(0, twinMarkBits-1).Draw(t, "bit")
	bit := uint32(1) << at
	if kind > 12 {
		of := rapid.SampledFrom([]Value{Lookup{Join{Protocol, DestPort}, "portmap"}, Const(Number(bit)), Masked{Mark, Number(63)}, Masked{Priority, Number(^bit)}, Masked{Lookup{fieldsOf(family).dest, "links" + fieldsOf(family).digit}, Number(63)}}).Draw(t, "from")
		choices := 4
		if last {
			choices = 3
		}
		return []Step{rapid.SampledFrom([]Step{SetPriority{of}, SetPriority{of}, CopyCtMark{of}, Choose{Masked{Priority, Number(3)}, "avail"}}[:choices]).Draw(t, "number")}
	}
	value := bit * rapid.Uint32Range(0, 1).Draw(t, "value")
	return []Step{rapid.SampledFrom([]Step{SetMark{bit, bit}, SetMark{bit, value}, SetCtMark{bit, value}, SetCtMark{bit, bit}, SetCtLabel{twinLabel(at)}}).Draw(t, "mark")}
}

// twinFields are what differs between the families.
type twinFields struct {
	digit        string
	source, dest Field
	net          []byte // of 24 or 48 bits
}

func fieldsOf(family int) twinFields {
	net := make([]byte, 4+12*family)
	for i := range 3 + 3*family {
		net[i] = 0xff
	}
	return [...]twinFields{{"4", Source4, Dest4, net}, {"6", Source6, Dest6, net}}[family]
}

// drawMatch makes a step that goes on or not.
func drawMatch(t *rapid.T, family int) Step {
	f := fieldsOf(family)
	host := rapid.SampledFrom(twinHosts[family]).Draw(t, "host")
	masked := Addr(host)
	for i := range masked {
		masked[i] &= f.net[i]
	}
	op := rapid.SampledFrom([]Op{Equal, NotEqual, Less, Greater, AtMost, AtLeast}).Draw(t, "op")
	not := rapid.Bool().Draw(t, "not")
	which := op % 2 // equal or not
	port := rapid.SampledFrom(twinPorts).Draw(t, "port")
	at := rapid.IntRange(0, twinMarkBits-1).Draw(t, "bit")
	bit, label := uint32(1)<<at, twinLabel(at)
	typ := rapid.SampledFrom([]uint32{AddrUnicast, AddrLocal, AddrBroadcast, AddrMulticast}).Draw(t, "type")
	return rapid.SampledFrom([]Step{
		Is{f.source, op, Addr(host)}, Is{f.dest, op, Addr(host)}, Is{Masked{f.dest, f.net}, which, masked},
		Is{DestPort, op, Port(port)}, Within{DestPort, Port(53), Port(port | 80)}, Within{SourcePort, Port(1000), Port(1000 + port%50000)},
		Is{Protocol, which, []byte{unix.IPPROTO_UDP}}, Is{Protocol, which, []byte{unix.IPPROTO_TCP}}, Is{Family, which, []byte{unix.NFPROTO_IPV6}},
		Is{Masked{TCPFlags, []byte{2}}, which, []byte{2}}, Is{Masked{DNSFlags, []byte{0x78}}, which, []byte{0}}, Is{InName, which, Name("lan1")}, Is{OutName, which, Name("")}, Is{EtherSource, which, twinMAC[:]},
		Is{Masked{Mark, Number(bit)}, which, Number(bit)}, Is{Masked{CtMark, Number(bit)}, which, Number(0)}, Is{Shifted{Mark, 2}, which, Number(3)},
		Is{Masked{CtLabel, label}, which, label}, Is{Masked{CtLabel, label}, which, make([]byte, labelWidth)},
		Is{Masked{CtState, Number(CtNew | CtRelated)}, which, Number(0)}, Is{CtDirection, which, []byte{1}}, Is{CtStatus, which, Number(0)},
		Is{DestType, which, Number(typ)}, Is{SourceType, which, Number(typ)},
		In{f.source, "hosts" + f.digit, not}, In{f.dest, "hosts" + f.digit, not}, In{f.dest, "nets" + f.digit, not}, In{f.source, "nets" + f.digit, not}, In{DestPort, "ports", not},
		In{Join{Protocol, DestPort}, "services", not}, In{InName, "names", not}, In{f.source, "learnt" + f.digit, not}, In{f.source, "links" + f.digit, not},
		In{Join{f.dest, DestPort}, "boxes" + f.digit, not}, In{Join{Protocol, DestPort}, "portmap", not},
		Is{Masked{Priority, Number(bit)}, which, Number(0)}, Is{Lookup{Join{Protocol, DestPort}, "portmap"}, which, Number(bit)},
		In{Join{f.source, f.dest}, "pairs" + f.digit, not}, In{Masked{Lookup{f.source, "links" + f.digit}, Number(7)}, "slots", not},
		Is{Masked{Lookup{f.dest, "links" + f.digit}, Number(LinkMask)}, which, Number(1)}, Is{Lookup{f.source, "learnt" + f.digit}, which, Number(bit)},
		Is{Hash{f.dest, 5, bit}, which, Number(bit % 5)}, Is{Hash{Join{f.source, SourcePort}, 3, 1}, which, Number(1)},
	}).Draw(t, "match")
}

// drawChange makes a step that writes a set.
func drawChange(t *rapid.T, family int) Step {
	f := fieldsOf(family)
	how := rapid.SampledFrom([]How{Put, Put, Add, Remove}).Draw(t, "how")
	data := rapid.SampledFrom([]Value{Masked{Mark, Number(63)}, Masked{Lookup{f.dest, "links" + f.digit}, Number(63)}, Const(Number(1))}).Draw(t, "data")
	return rapid.SampledFrom([]Step{
		Change{How: how, Set: "learnt" + f.digit, Key: f.source, Data: data}, Change{How: how, Set: "learnt" + f.digit, Key: f.dest, Data: data, Timeout: time.Minute},
		Change{How: how, Set: "pairs" + f.digit, Key: Join{f.source, f.dest}, Data: data}, Change{How: how, Set: "seen" + f.digit, Key: Join{f.dest, DestPort}},
	}).Draw(t, "change")
}
