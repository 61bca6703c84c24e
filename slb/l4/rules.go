package l4

import (
	"net/netip"
	"slices"
	"time"

	"github.com/portolan-lb/portolan/flow"
	"github.com/portolan-lb/portolan/kernel"
	"github.com/portolan-lb/portolan/traffic"
)

// A packet's way through the rules. Only the first packet of a connection goes
// further than the first rule of early and serve.
//
//	early    which: virtual server of the destination -> conntrack mark; no SYN: reset; helper
//	serve    counted; what the virtual server leads to ──┐
//	           policy ── action ──→ target               │
//	             └─ default ──────→ target               ├─ only a farm: draw ──┐
//	target   ←───────────────────── what else there is ──┘                      │
//	         persistence of the target ── keep: it has a server ────────────────┤
//	         limits of the virtual server, limit policy                         │
//	         draw: the farm, or its backup; a slot; room, else the next server  │
//	         persistence learns the server ─────────────────────────────────────┴→ give: counted, DNAT
//	forward  the dead, limits of bandwidth, type of service, counters; the same for what
//	         this machine sends and gets itself
//	source   pools of source addresses, hairpin
//
// From serve to give the packet's priority (skb->priority) holds what is known so
// far: a target, then a farm, then a real server ([isTarget], [isFarm]). It is 0
// before and after. Packet marks, by which outbound routes, are never written.

// The hooks. Early stands before whoever looks at connections of the inside, such
// as outbound; serve before other destination NAT, source before others' source
// NAT: whoever translates first has it.
const (
	earlyPriority   = -152
	servePriority   = -101
	forwardPriority = -5
	sourcePriority  = 99
)

// writer writes the table of one [Plan.Wishes].
type writer struct {
	*traffic.Builder
	*Plan
	facts    Facts
	families []traffic.Family // that come to the table
}

// Wishes says what Linux is to be like. Elements are in it as they stand, and
// stay the plan's: they are changed by its other methods.
func (p *Plan) Wishes(f Facts) *kernel.Wishes {
	p.mu.Lock()
	defer p.mu.Unlock()
	families := traffic.Families()
	w := &writer{traffic.NewBuilder(Table, p.fixed), p, f, families[:]}
	w.table()
	table, roles := w.Done()
	wishes := &kernel.Wishes{Tables: []kernel.Table{table}}
	said := &stated{map[string]*traffic.Roles{table.ID(): roles}, f.Interfaces}
	for _, fam := range families {
		if !p.has.copied[fam.Index] {
			continue
		}
		c := &writer{traffic.NewBuilder(CopyTable, p.copied[fam.Index]), p, f, []traffic.Family{fam}}
		c.copies(fam)
		table, roles := c.Done()
		table.Family = [2]kernel.TableFamily{kernel.IPv4, kernel.IPv6}[fam.Index]
		wishes.Tables, said.roles[table.ID()] = append(wishes.Tables, table), roles
	}
	p.stated.Store(said)
	w.addresses(wishes)
	w.sysctls(wishes)
	return wishes
}

// Next gives the moment after now when a class begins or ceases to match by its
// times, so that wishes are to be made anew; the zero Time: never.
func (p *Plan) Next(now time.Time) time.Time { return traffic.NextChange(p.conf.Classes, now) }

func (w *writer) table() {
	hook := func(kind, point string, priority int32) kernel.Hook {
		return kernel.Hook{Type: kind, Point: point, Priority: priority}
	}
	w.Base("early", hook("filter", "prerouting", earlyPriority), w.early)
	w.Base("serve", hook("nat", "prerouting", servePriority), w.serve)
	if w.conf.Local {
		w.Base("early_own", hook("filter", "output", earlyPriority), w.early)
		w.Base("serve_own", hook("nat", "output", servePriority), w.serve)
	}
	w.forward()
	if w.has.full {
		w.room().Ask(w.Builder)
	}
	w.Base("source", hook("nat", "postrouting", sourcePriority), w.source)
}

// set puts a set of ours into the table, and gives its name.
func (w *writer) set(name string) string {
	s := w.data.shapes[name]
	s.Elements = w.elements(name)
	return w.SetFor(setRoles[name], "", s)
}

// lookup is what a map of ours has for a key.
func (w *writer) lookup(name string, key ...kernel.Value) kernel.Value {
	return kernel.Lookup{Key: join(key), Map: w.set(name)}
}

// in goes on if a set of ours has a key.
func (w *writer) in(name string, key ...kernel.Value) kernel.In {
	return kernel.In{Key: join(key), Set: w.set(name)}
}

func join(key []kernel.Value) kernel.Value {
	if len(key) == 1 {
		return key[0]
	}
	return kernel.Join(key)
}

// now is what is known so far: target, farm or server.
const now = kernel.Priority

// become makes it another.
func become(v kernel.Value) kernel.Step { return kernel.SetPriority{From: v} }

// served is the virtual server of a connection, in its mark.
func served() kernel.Value {
	return kernel.Masked{Of: kernel.CtMark, Mask: kernel.Number(kernel.ServerMask)}
}

func number(n uint32) kernel.Value { return kernel.Const(kernel.Number(n)) }

// Flags of TCP that say what a packet is of a connection.
const fin, syn, rst, ack = 1, 2, 4, 16

// early finds the virtual server of a new connection. It is the same for what
// comes in and for what this machine begins itself.
func (w *writer) early() []kernel.Rule {
	return []kernel.Rule{traffic.Rule("which virtual server is a new connection for", traffic.IsNew(),
		kernel.Goto{Chain: w.ChainFor(flow.VirtualServer, "", "which_at_once", w.atOnce)})}
}

// atOnce is for what nearly all connections are: they have no mark yet, so that it
// may be written whole, and are for a virtual server of this very address.
func (w *writer) atOnce() (rules []kernel.Rule) {
	hit := kernel.Goto{Chain: w.Chain("hit_at_once", func() []kernel.Rule { return append([]kernel.Rule{w.stray()}, w.assist()...) })}
	unmarked := kernel.Is{Of: kernel.CtMark, To: kernel.Number(0)}
	for _, f := range w.families {
		rules = append(rules, exact(unmarked, kernel.CopyCtMark{From: w.exactly(f)}, hit))
	}
	if w.has.nested > 0 {
		rules = append(rules, traffic.Rule("", unmarked, kernel.Goto{Chain: w.networks("hit", w.hit)}))
	}
	unmarked.Op = kernel.NotEqual
	return append(rules, traffic.Rule("the same beside the administrator's bits", unmarked, traffic.NoBit(kernel.CtMark, kernel.ServerMask),
		kernel.Goto{Chain: w.Chain("which", func() []kernel.Rule { return w.which("hit", w.hit) })}))
}

// exactly is the virtual server of a packet's very address, protocol and port.
func (w *writer) exactly(f traffic.Family) kernel.Value {
	return w.lookup("exact"+f.Digit, f.Dest, kernel.Protocol, kernel.DestPort)
}

// exact is a rule that looks for it.
func exact(do ...kernel.Step) kernel.Rule {
	r := traffic.Rule("a virtual server of this very address and port", do...)
	r.Ported = true // the protocol is in the key
	return r
}

// What explain looks for among the sentences of rules.
const (
	tellNone   = "none"
	tellPlaced = "placed by persistence"
	tellNoFarm = "it has no farm: dropped"
	tellBy     = "algorithm: the server of a slot, by " // with the algorithm
)

// which finds the virtual server of a packet, which a chain then knows.
func (w *writer) which(then string, known func() []kernel.Rule) (rules []kernel.Rule) {
	hit := kernel.Goto{Chain: w.Chain(then, known)}
	for _, f := range w.families {
		rules = append(rules, exact(become(w.exactly(f)), hit))
	}
	if w.has.nested > 0 {
		rules = append(rules, traffic.Rule("", kernel.Goto{Chain: w.networks(then, known)}))
	}
	return rules
}

// networks finds the virtual server by the networks that the address is in.
func (w *writer) networks(then string, known func() []kernel.Rule) string {
	return w.Chain("which_network", func() []kernel.Rule {
		hit := kernel.Goto{Chain: w.Chain(then, known)}
		inside := kernel.Jump{Chain: w.Chain("which_of_class", func() []kernel.Rule {
			return []kernel.Rule{
				traffic.Rule("one of a range of ports", become(w.lookup("ports", now, kernel.Protocol, kernel.DestPort)), hit),
				traffic.Rule("one of every port", become(w.lookup("protos", now, kernel.Protocol)), hit),
				traffic.Rule("one of every protocol", become(w.lookup("any", now)), hit),
			}
		})}
		around := kernel.Goto{Chain: w.Chain("which_around", func() []kernel.Rule {
			list := []kernel.Rule{traffic.Rule("", inside)}
			for range w.has.nested - 1 {
				list = append(list, traffic.Rule("the next larger network", become(w.lookup("parent", now)), inside))
			}
			return append(list, traffic.Rule(tellNone, become(number(0))))
		})}
		var rules []kernel.Rule
		for _, f := range w.families { // what is in none keeps the priority that it came with: it is not ours to read or write
			rules = append(rules, traffic.Rule("the network that the address is in", become(w.lookup("nets"+f.Digit, f.Dest)), around))
		}
		return rules
	})
}

// hit is for a connection whose virtual server is known. A packet in the midst of
// a connection that is not known would be balanced anew, so TCP begins with SYN.
//
// The door of takeover: while sessions of another node are still coming in, such
// packets are to be dropped here instead of being answered.
func (w *writer) hit() []kernel.Rule {
	marked := kernel.Goto{Chain: w.Chain("marked", w.marked)}
	rules := []kernel.Rule{w.stray(), traffic.Rule("the connection has its virtual server", kernel.Is{Of: kernel.CtMark, To: kernel.Number(0)}, kernel.CopyCtMark{From: now}, marked)}
	for bit := uint32(1) << markShift; bit&kernel.ServerMask != 0; bit <<= 1 {
		rules = append(rules, traffic.Rule("beside the administrator's bits: one by one", traffic.AnyBit(now, bit), kernel.SetCtMark{Mask: bit, Bits: bit}))
	}
	return append(rules, traffic.Rule("", marked))
}

// stray answers what is in the midst of no connection.
func (w *writer) stray() kernel.Rule {
	return traffic.Rule("TCP that does not begin with SYN is of no connection", kernel.Is{Of: kernel.Masked{Of: kernel.TCPFlags, Mask: []byte{fin | syn | rst | ack}},
		Op: kernel.NotEqual, To: []byte{syn}}, w.Count("stray"), kernel.Reject{With: kernel.TCPReset})
}

func (w *writer) marked() []kernel.Rule {
	rules := []kernel.Rule{traffic.Rule("", become(number(0)))}
	return append(rules, w.assist()...)
}

// connected gives the networks of an interface: not those of a single address,
// nor link-local ones.
func connected(n *kernel.Interface) (list []netip.Prefix) {
	for _, p := range n.Addresses {
		if !p.IsSingleIP() && !p.Addr().IsLinkLocalUnicast() {
			list = append(list, p.Masked())
		}
	}
	return list
}

// choice is a verdict map of few chains, reached by a data map of many elements:
// a map of many verdicts would have the kernel check all chains again at every
// change.
func (w *writer) choice(tell, data, verdicts string, key kernel.Value, list []chosen) []kernel.Rule {
	if len(list) == 0 {
		return nil
	}
	slices.SortFunc(list, func(a, b chosen) int { return int(int64(a.number) - int64(b.number)) })
	elements := make([]kernel.Element, len(list))
	for i, c := range list {
		elements[i] = kernel.Element{Key: kernel.Number(c.number), Verdict: c.to}
	}
	w.Fix(kernel.Set{Name: verdicts, Key: []kernel.Type{kernel.TypeNumber}, Verdicts: true}, elements)
	return []kernel.Rule{traffic.Rule(tell, kernel.Choose{Key: w.lookup(data, key), Map: verdicts})}
}

type chosen struct {
	number uint32
	to     kernel.Step
}
