package l4

import (
	"fmt"

	"github.com/portolan-lb/portolan/config"
	"github.com/portolan-lb/portolan/kernel"
	"github.com/portolan-lb/portolan/traffic"
)

// draw finds a server of the target that is known, or drops. It comes back.
func (w *writer) draw() string {
	return w.ChainFor(RoleFarm, "", "draw", func() []kernel.Rule {
		rules := []kernel.Rule{traffic.Rule("the farm, or the backup that stands in for it", become(w.lookup("farm", now)))}
		rules = append(rules, w.common()...)
		rules = append(rules, w.rest(kernel.Goto{Chain: w.nobody()})...)
		if w.has.tries() {
			rules = append(rules, traffic.Rule("has the server room", kernel.Jump{Chain: w.test()}),
				traffic.Rule("", kernel.Goto{Chain: w.tries()}))
		}
		return rules
	})
}

// common draws a slot in the common ways, which the number of the farm tells; then
// is what lots do besides.
func (w *writer) common(then ...kernel.Step) (rules []kernel.Rule) {
	drawn := func(by uint32) kernel.Step {
		return kernel.Is{Of: kernel.Masked{Of: now, Mask: kernel.Number(kinds | drawBits)}, To: kernel.Number(isFarm | by)}
	}
	var turns []kernel.Element
	for _, m := range w.modes {
		switch by := m.drawn(); {
		case by == drawTurn:
			turns = append(turns, kernel.Element{Key: kernel.Number(m.turn.key), Verdict: kernel.Jump{Chain: w.mode(m)}})
		case by != 0:
			rules = append(rules, traffic.Rule(tellBy+"lot", append([]kernel.Step{drawn(by), become(w.lookup(m.slotSet(), now, kernel.Lot{Of: m.slots}))}, then...)...))
		}
	}
	if len(turns) > 0 {
		w.Fix(kernel.Set{Name: "turns", Key: []kernel.Type{kernel.TypeNumber}, Verdicts: true}, turns)
		rules = append(rules, traffic.Rule("the server whose turn it is", drawn(drawTurn), kernel.Choose{Key: now, Map: "turns"}))
	}
	return rules
}

// rest draws a slot in the ways that a farm is looked up for.
func (w *writer) rest(otherwise kernel.Step) []kernel.Rule {
	var list []chosen
	for _, m := range w.modes {
		if !m.copied && m.drawn() == 0 {
			list = append(list, chosen{m.number, kernel.Jump{Chain: w.mode(m)}})
		}
	}
	rules := w.choice("the server of a slot", "mode", "modes", now, list)
	return append(rules, traffic.Rule("nobody has it", traffic.AnyBit(now, kinds), otherwise))
}

// mode writes the chain that draws a slot.
func (w *writer) mode(m *mode) string {
	kind, of := RoleFarm, ""
	if m.turn != nil {
		of = m.turn.Name
	}
	return w.ChainFor(kind, of, m.name, func() (rules []kernel.Rule) {
		from := func(slot kernel.Value) kernel.Step { return become(w.lookup(m.slotSet(), now, slot)) }
		tell := tellBy + string(m.of)
		if m.turn != nil {
			return []kernel.Rule{traffic.Rule(tell, from(kernel.Turn{Of: m.slots}))}
		}
		for _, f := range traffic.Families() {
			source, dest := f.Masked(f.Source, f.MaskOf(m.mask)), f.Masked(f.Dest, f.MaskOf(m.mask))
			switch m.of {
			case config.FarmDestinationHash:
				rules = append(rules, traffic.Rule(tell, f.Only(), from(kernel.Hash{Of: dest, Mod: m.slots})))
				continue
			case config.FarmSourcePortHash: // what has no ports goes by the address
				rules = append(rules, traffic.Rule(tell, f.Only(), traffic.AnyBit(now, kinds), from(kernel.Hash{Of: kernel.Join{source, kernel.SourcePort}, Mod: m.slots})))
			}
			rules = append(rules, traffic.Rule(tell, f.Only(), traffic.AnyBit(now, kinds), from(kernel.Hash{Of: source, Mod: m.slots})))
		}
		return rules
	})
}

// nobody is for a farm whose slot nobody has: its busy action is data. With force
// one of those that live takes the connection over its limit.
func (w *writer) nobody() string {
	return w.ChainFor(RoleFarm, "", "nobody", func() []kernel.Rule {
		var list []chosen
		sizes := map[int]bool{}
		for _, f := range w.farms {
			if f.forces() && !sizes[f.Slots] {
				sizes[f.Slots] = true
				list = append(list, chosen{uint32(f.Slots), kernel.Jump{Chain: w.force(f.Slots)}})
			}
		}
		rules := w.choice("it is forced upon one", "force", "forces", now, list)
		if len(list) > 0 {
			rules = append(rules, traffic.Rule("", traffic.NoBit(now, kinds), kernel.Return{}))
		}
		return append(rules, traffic.Rule("", kernel.Goto{Chain: w.refused()}))
	})
}

func (w *writer) force(slots int) string {
	return w.Chain(fmt.Sprint("force_", slots), func() []kernel.Rule {
		rules := []kernel.Rule{traffic.Rule("whoever lives", become(w.lookup("forced", now, kernel.Lot{Of: uint32(slots)})))}
		if w.has.full {
			rules = append(rules, w.room().Force(w.Builder, now)...)
		}
		return rules
	})
}

// refused counts and drops what a farm has no server for. A client of TCP sends
// its SYN again, which is what a queue comes to here.
func (w *writer) refused() string {
	return w.Chain("refused_by_farm", func() []kernel.Rule {
		return []kernel.Rule{
			traffic.Rule("its servers are at their limits, or take nothing new", w.in("lives", scope(now)), w.in("waiting", scope(now))),
			traffic.Rule("none of its servers lives", notIn(w.in("lives", scope(now))), w.in("none", scope(now))),
			traffic.Rule("nobody takes it", kernel.Drop{}),
		}
	})
}

// tested is how many servers are asked in turn whether they have room.
const tested = 9

// test asks whether a server takes a connection; if not, the next one is known
// afterwards, with [isMoved]. Each server is asked once: what asks counts. Who is
// counted as a connection stays so, see [traffic.Room]; so that is asked last.
func (w *writer) test() string {
	return w.ChainFor(RoleServer, "", "test", func() (rules []kernel.Rule) {
		move := kernel.Goto{Chain: w.Chain("move", func() []kernel.Rule {
			var list []kernel.Rule
			for _, f := range traffic.Families() {
				list = append(list, traffic.Rule("the next server of the farm", f.Only(), become(w.lookup("next"+f.Digit, now)), kernel.Return{}))
			}
			return append(list, traffic.Rule("", kernel.Goto{Chain: w.busy()}))
		})}
		for i, f := range traffic.Families() {
			if w.has.mixed[i] {
				rules = append(rules, traffic.Rule("it has no address of the family", f.Only(), notIn(w.in("server"+f.Digit, now)), notIn(w.in("host"+f.Digit, now)), move))
			}
		}
		if !w.has.full && !w.has.fast {
			return rules
		}
		full := kernel.Goto{Chain: w.Chain("move_from_full", func() []kernel.Rule {
			return []kernel.Rule{traffic.Rule("the server is full", w.in("full", now)), traffic.Rule("", move)}
		})}
		if w.has.full {
			rules = append(rules, traffic.Rule("it has as many connections as it may", w.room().Shut(w.Builder, now), full))
		}
		if w.has.fast {
			rules = append(rules, traffic.Rule("more new connections a second than it may have", w.in("srv_fast", now), full))
		}
		if w.has.full {
			rules = append(rules, w.enter()...)
		}
		return rules
	})
}

// roomTag is for the questions whether a server has room again.
const roomTag = 0x52

// Rooms are the bounds of connections of real servers, in [Table]. They are the same
// of all plans, but for their elements.
func Rooms() *traffic.Room { return &traffic.Room{Name: "srv", Kind: RoleServer, Tag: roomTag} }

// Roomed says whether some server has a bound that the kernel counts.
func (p *Plan) Roomed() bool { return p.has.full }

func (p *Plan) room() *traffic.Room {
	r := Rooms()
	r.Full, r.Last = p.elements("srv_full"), p.elements("srv_last")
	return r
}

func (w *writer) enter() []kernel.Rule {
	return w.room().Enter(w.Builder, "srv", "it has more connections than it may", now)
}

func notIn(s kernel.In) kernel.Step { s.Not = true; return s }

// tries asks further servers while the one before has no room.
func (w *writer) tries() string {
	return w.ChainFor(RoleServer, "", "tries", func() (rules []kernel.Rule) {
		stop := traffic.Rule("", traffic.NoBit(now, isMoved), kernel.Return{})
		clear := traffic.Rule("", become(kernel.Masked{Of: now, Mask: kernel.Number(^isMoved)}))
		for range tested - 1 {
			rules = append(rules, stop, clear, traffic.Rule("has the next server room", kernel.Jump{Chain: w.test()}))
		}
		return append(rules, stop, clear, traffic.Rule("", kernel.Goto{Chain: w.busy()}))
	})
}

// busy is for a connection for which no server of the farm had room: with force
// the one that is known takes it; else it may if it has room again that nobody has
// asked about yet.
func (w *writer) busy() string {
	return w.ChainFor(RoleServer, "", "busy", func() (rules []kernel.Rule) {
		gone := kernel.Goto{Chain: w.Chain("busy_all", func() []kernel.Rule {
			return []kernel.Rule{
				traffic.Rule("the farm of the last one", become(w.lookup("home", now))),
				traffic.Rule("", kernel.Goto{Chain: w.refused()}),
			}
		})}
		if !w.has.full {
			return []kernel.Rule{traffic.Rule("it is forced upon one", w.in("forcible", now), kernel.Return{}), traffic.Rule("", gone)}
		}
		room := w.room()
		rules = append(rules,
			traffic.Rule("it is forced upon one", w.in("forcible", now), kernel.Goto{Chain: w.Chain("count", func() []kernel.Rule { return room.Force(w.Builder, now) })}),
			traffic.Rule("the last one does not lack room", room.NotShut(w.Builder, now), gone))
		if w.has.fast {
			rules = append(rules, traffic.Rule("more new connections a second than it may have", w.in("srv_fast", now), gone))
		}
		return append(rules, room.Again(w.Builder, now, gone)...)
	})
}
