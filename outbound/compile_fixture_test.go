package outbound

import (
	"net/netip"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/portolan-lb/portolan/config"
	"github.com/portolan-lb/portolan/kernel"
	"github.com/portolan-lb/portolan/slots"
	"github.com/portolan-lb/portolan/topology"
)

// threeLinks is what the gateways of these tests begin with.
const threeLinks = `
version: 1
links:
  - {name: one, interface: eth1, nextHop: 203.0.113.1, nextHop6: "2001:db8:1::1"}
  - {name: two, interface: eth2, nextHop: 198.51.100.1, nextHop6: "2001:db8:2::1"}
  - {name: three, interface: eth3, nextHop: 192.0.2.1, nextHop6: "2001:db8:3::1"}
`

// simple is a group of them and everything sent there.
const simple = threeLinks + `
linkGroups:
  - {name: all, members: [one, two, three]}
outbound:
  interfaces: [lan0]
  virtualServers:
    - {name: everything, linkGroup: all}
`

// gateway is a plan in a world, in which packets can be sent.
type gateway struct {
	t *testing.T
	*Plan
	facts   Facts
	world   *kernel.World
	written map[string][]kernel.Element // what packets wrote before, by set
}

func nic(name string, addresses ...string) kernel.Interface {
	n := kernel.Interface{Name: name, Up: true}
	for _, a := range addresses {
		n.Addresses = append(n.Addresses, netip.MustParsePrefix(a))
	}
	return n
}

// usual is facts of a gateway whose interfaces have addresses of both families.
// It is Wednesday noon.
func usual() Facts {
	return Facts{
		Now: time.Date(2026, 11, 18, 12, 0, 0, 0, time.UTC),
		Interfaces: []kernel.Interface{
			nic("lan0", "10.0.0.1/24", "fd10::1/64", "fe80::1/64"),
			nic("eth1", "203.0.113.2/24", "2001:db8:1::2/64", "fe80::1:2/64"),
			nic("eth2", "198.51.100.2/24", "2001:db8:2::2/64"),
			nic("eth3", "192.0.2.2/24", "2001:db8:3::2/64"),
		},
	}
}

func load(t testing.TB, text string) *config.Model {
	t.Helper()
	m, errs := config.LoadBytes([]byte(text), config.Source{})
	if errs.Failed() {
		t.Fatalf("%v", errs)
	}
	return m
}

func compile(t testing.TB, text string, before *Plan) *Plan {
	t.Helper()
	m := load(t, text)
	topo, errs := topology.Compile(m, config.Source{})
	if errs.Failed() {
		t.Fatalf("%v", errs)
	}
	var names []string
	for _, l := range m.Links {
		names = append(names, l.Name)
	}
	ids, err := Number(names, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	p, errs := Compile(Inputs{Model: m, Topology: topo, IDs: ids, Before: before})
	if errs.Failed() {
		t.Fatalf("%v", errs)
	}
	return p
}

// newGateway gives a gateway all of whose links are well and have the same share.
func newGateway(t *testing.T, text string) *gateway {
	t.Helper()
	g := &gateway{t: t, Plan: compile(t, text, nil), facts: usual()}
	for _, v := range g.Variants() {
		g.give(v, g.members(v)...)
	}
	return g.restate()
}

func (g *gateway) members(v *Variant) (ids slots.IDs) {
	for _, m := range v.Group.Members {
		ids = append(ids, slots.ID(g.byLink[m.Link].id))
	}
	return ids
}

// give has the links share a variant's slots.
func (g *gateway) give(v *Variant, ids ...slots.ID) {
	r := slots.Result{Slots: make(slots.Slots, SlotCount), Alive: ids, Available: ids, AvailableOrBusy: ids}
	for i := range r.Slots {
		if len(ids) > 0 {
			r.Slots[i] = ids[i%len(ids)]
		}
	}
	v.Set(&r)
}

// restate has the kernel hear of new facts.
func (g *gateway) restate() *gateway {
	g.t.Helper()
	w := g.Wishes(g.facts)
	checkSound(g.t, g.Plan, w)
	var own []netip.Prefix
	for _, n := range g.facts.Interfaces {
		own = append(own, n.Addresses...)
	}
	now := g.facts.Now
	over := (func(kernel.Limit) bool)(nil)
	if g.world != nil {
		over = g.world.Over
	}
	g.world = kernel.NewWorld(w)
	g.world.AddressType = kernel.AddressTypes(own...)
	g.world.Over = over
	g.world.Now = func() time.Time { return now }
	g.world.Remember = true
	g.world.Read = func(_, set string) ([]kernel.Element, error) { return g.written[set], nil }
	return g
}

// packetOf gives the first packet of a connection: "10.0.0.5:1000 > 8.8.8.8:443/tcp".
func packetOf(t *testing.T, text string) kernel.Packet {
	t.Helper()
	from, to, _ := strings.Cut(text, " > ")
	to, protocol, _ := strings.Cut(to, "/")
	p := kernel.Packet{In: "lan0", EtherSource: [6]byte{2}, Ct: kernel.CtInfo{State: kernel.CtNew}}
	switch protocol {
	case "tcp":
		p.Protocol = 6
	case "udp":
		p.Protocol = 17
	case "icmp":
		p.Protocol = 1
	case "icmp6":
		p.Protocol = 58
	case "gre":
		p.Protocol = 47
	}
	parse := func(s string) (a netip.Addr, port uint16) {
		if ap, err := netip.ParseAddrPort(s); err == nil {
			return ap.Addr(), ap.Port()
		}
		a, err := netip.ParseAddr(strings.Trim(s, "[]"))
		if err != nil {
			t.Fatalf("%q: %v", s, err)
		}
		return a, 0
	}
	p.Source, p.SourcePort = parse(from)
	p.Dest, p.DestPort = parse(to)
	return p
}

// walk sends a packet through a hook, and remembers what it wrote.
func (g *gateway) walk(point string, p kernel.Packet) *kernel.Trace {
	g.t.Helper()
	trace, err := g.world.Walk(point, p)
	if err != nil {
		g.t.Fatal(err)
	}
	return trace
}

// send sends the first packet of a connection and says what became of it: the
// link's name, "forward" or "drop".
func (g *gateway) send(text string) string {
	g.t.Helper()
	return g.verdict(g.walk("prerouting", packetOf(g.t, text)))
}

func (g *gateway) verdict(trace *kernel.Trace) string {
	g.t.Helper()
	id := trace.Packet.Mark & kernel.LinkMask
	if ct := trace.Packet.Ct.Mark & kernel.LinkMask; trace.End == kernel.Passed && trace.Packet.Ct.State&kernel.CtNew != 0 && ct != id {
		g.t.Errorf("the packet has link %d, its connection %d", id, ct)
	}
	switch {
	case trace.End == kernel.Dropped:
		return "drop"
	case trace.End == kernel.Refused:
		return "refused"
	case id == 0:
		return "forward"
	}
	for _, l := range g.links {
		if uint32(l.id) == id {
			return l.Name
		}
	}
	return "nobody's link"
}

// shares sends a packet by all draws and gives each end its share.
func (g *gateway) shares(text string) map[string]float64 {
	g.t.Helper()
	outcomes, err := g.world.Outcomes("prerouting", packetOf(g.t, text))
	if err != nil {
		g.t.Fatal(err)
	}
	out := map[string]float64{}
	for _, o := range outcomes {
		out[g.verdict(o.Trace)] += o.Share
	}
	return out
}

// named is what nftables takes as the name of a chain, a set or a counter.
var named = regexp.MustCompile(`^[a-zA-Z][a-zA-Z0-9._/-]*$`)

// checkSound checks what the kernel would refuse, whatever the configuration.
func checkSound(t *testing.T, p *Plan, w *kernel.Wishes) {
	t.Helper()
	table := w.Tables[0]
	chains, sets, counters := map[string]int{}, map[string]int{}, map[string]int{}
	for _, c := range table.Chains {
		chains[c.Name]++
	}
	for _, s := range table.Sets {
		sets[s.Name]++
	}
	for _, c := range table.Counters {
		counters[c]++
	}
	for _, all := range []map[string]int{chains, sets, counters} {
		for name, n := range all {
			if n != 1 || len(name) > 250 || !named.MatchString(name) {
				t.Errorf("%q stands there %d times", name, n)
			}
		}
	}
	lead := func(from, to string) {
		if chains[to] == 0 {
			t.Errorf("%s leads to chain %q, which is not there", from, to)
		}
	}
	for name := range sets {
		chains, _ := p.fixed.Leads(name)
		for _, c := range chains {
			lead("set "+name, c)
		}
	}
	for _, v := range p.variants {
		for id, to := range v.verdicts {
			lead("group "+v.Name, to.(kernel.Jump).Chain)
			lead("group "+v.Name, markChain(uint16(id)))
		}
	}
	for _, c := range table.Chains {
		for _, r := range c.Rules {
			if len(r.Tell) > 120 {
				t.Errorf("chain %s: %q is too long for a comment", c.Name, r.Tell)
			}
			for _, s := range r.Do {
				switch s := s.(type) {
				case kernel.Jump:
					lead(c.Name, s.Chain)
				case kernel.Goto:
					lead(c.Name, s.Chain)
				case kernel.Count:
					if counters[s.Name] == 0 {
						t.Errorf("%s counts by %q, which is not there", c.Name, s.Name)
					}
				case kernel.In:
					if sets[s.Set] == 0 {
						t.Errorf("%s looks into %q, which is not there", c.Name, s.Set)
					}
				case kernel.Choose:
					if sets[s.Map] == 0 {
						t.Errorf("%s looks into %q, which is not there", c.Name, s.Map)
					}
				case kernel.Change:
					if sets[s.Set] == 0 {
						t.Errorf("%s changes %q, which is not there", c.Name, s.Set)
					}
				}
			}
		}
	}
}
