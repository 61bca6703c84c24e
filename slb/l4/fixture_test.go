package l4

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/portolan-lb/portolan/config"
	"github.com/portolan-lb/portolan/kernel"
	"github.com/portolan-lb/portolan/topology"
	"github.com/portolan-lb/portolan/traffic"
)

// simple is a virtual server of both families over a farm of three.
const simple = `
version: 1
virtualServers:
  - {name: web, addresses: [203.0.113.10, "2001:db8::10"], port: 80, serve: {farm: web}}
serverFarms:
  - name: web
    servers:
      - {name: one, addresses: [10.1.0.1, "fd01::1"], port: 8080}
      - {name: two, addresses: [10.1.0.2, "fd01::2"], port: 8080}
      - {name: three, addresses: [10.1.0.3, "fd01::3"], port: 8080}
`

// balancer is a plan in a world, in which packets can be sent.
type balancer struct {
	t *testing.T
	*Plan
	facts   Facts
	world   *kernel.World
	written map[string][]kernel.Element // what packets wrote before, by set
	learnt  map[string]map[string]ID    // what packets wrote to maps of persistence
}

func addr(s string) netip.Addr { return netip.MustParseAddr(s) }

func nic(name string, addresses ...string) kernel.Interface {
	n := kernel.Interface{Name: name, Up: true}
	for _, a := range addresses {
		n.Addresses = append(n.Addresses, netip.MustParsePrefix(a))
	}
	return n
}

// usual is facts of a balancer between clients and servers. It is Wednesday noon.
func usual() Facts {
	return Facts{
		Now: time.Date(2026, 11, 18, 12, 0, 0, 0, time.UTC),
		Interfaces: []kernel.Interface{
			nic("lo", "127.0.0.1/8"),
			nic("out0", "203.0.113.2/24", "2001:db8::2/64", "fe80::1/64"),
			nic("in0", "10.1.0.254/24", "fd01::fe/64"),
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

func inputs(t testing.TB, m *config.Model, before *Plan) Inputs {
	t.Helper()
	topo, errs := topology.Compile(m, config.Source{})
	if errs.Failed() {
		t.Fatalf("%v", errs)
	}
	kept := Numbers{}
	if before != nil {
		kept = before.num
	}
	numbers, err := Number(m, kept, nil)
	if err != nil {
		t.Fatal(err)
	}
	return Inputs{Model: m, Topology: topo, Numbers: numbers, Before: before}
}

func compile(t testing.TB, text string, before *Plan) *Plan {
	t.Helper()
	p, errs := Compile(inputs(t, load(t, text), before))
	if errs.Failed() {
		t.Fatalf("%v", errs)
	}
	return p
}

// newBalancer gives a balancer all of whose servers are well and have the same
// share.
func newBalancer(t *testing.T, text string) *balancer {
	t.Helper()
	b := &balancer{t: t, Plan: compile(t, text, nil), facts: usual(), learnt: map[string]map[string]ID{}}
	for _, f := range b.farms {
		b.share(f.Name)
	}
	return b.restate()
}

func (f *farm) ids() (ids []ID) {
	for _, m := range f.members {
		ids = append(ids, m.id)
	}
	return ids
}

// share has these servers of a farm share its slots, or all; "-" is none.
func (b *balancer) share(farm string, names ...string) {
	b.t.Helper()
	f := b.byFarm[farm]
	ids := f.ids()
	if len(names) > 0 {
		ids = nil
	}
	for _, n := range names {
		if n != "-" {
			ids = append(ids, b.IDOf(farm, n))
		}
	}
	b.SetSlots(farm, spread(f.Slots, ids))
	b.SetForced(farm, spread(f.Slots, f.ids()))
	b.SetServers(farm, evenly(ids))
	if b.world != nil {
		b.restate()
	}
}

func spread(size int, ids []ID) []ID {
	list := make([]ID, size)
	for i := range list {
		if len(ids) > 0 {
			list[i] = ids[i%len(ids)]
		}
	}
	return list
}

// restate has the kernel hear of new facts.
func (b *balancer) restate() *balancer {
	b.t.Helper()
	w := b.Wishes(b.facts)
	checkSound(b.t, b.Plan, w)
	now := b.facts.Now
	over, shut := (func(kernel.Limit) bool)(nil), (func(kernel.Limit) bool)(nil)
	if b.world != nil {
		over, shut = b.world.Over, b.world.Shut
	}
	b.world = kernel.NewWorld(w)
	b.world.Over, b.world.Shut = over, shut
	b.world.Now = func() time.Time { return now }
	b.world.Remember = true
	b.world.Read = func(_, set string) ([]kernel.Element, error) { return b.written[set], nil }
	return b
}

// packetOf gives the first packet of a connection: "192.0.2.5:1000 > 203.0.113.10:80/tcp".
func packetOf(t *testing.T, text string) kernel.Packet {
	t.Helper()
	from, to, _ := strings.Cut(text, " > ")
	to, protocol, _ := strings.Cut(to, "/")
	p := kernel.Packet{In: "out0", Ct: kernel.CtInfo{State: kernel.CtNew}}
	switch protocol {
	case "tcp", "":
		p.Protocol, p.TCPFlags = 6, syn
	case "udp":
		p.Protocol = 17
	case "icmp":
		p.Protocol = 1
	case "icmpv6":
		p.Protocol = 58
	case "gre":
		p.Protocol = 47
	default:
		t.Fatalf("%q: protocol", text)
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
func (b *balancer) walk(point string, p kernel.Packet) *kernel.Trace {
	b.t.Helper()
	trace, err := b.world.Walk(point, p)
	if err != nil {
		b.t.Fatal(err)
	}
	b.note(trace)
	if trace.Packet.Mark != p.Mark {
		b.t.Errorf("the packet mark is %#x, and was %#x: it is outbound's (DESIGN 3)", trace.Packet.Mark, p.Mark)
	}
	if trace.End == kernel.Passed && priorityOf(trace) != 0 {
		b.t.Errorf("a packet went its way with priority %#x", priorityOf(trace))
	}
	return trace
}

// send sends the first packet of a connection and says what became of it: the
// address that it goes to, "-" if that is as it was, "drop" or "refused".
func (b *balancer) send(text string) string {
	b.t.Helper()
	return verdict(packetOf(b.t, text), b.walk("prerouting", packetOf(b.t, text)))
}

func verdict(before kernel.Packet, trace *kernel.Trace) string {
	after := trace.Packet
	switch {
	case trace.End == kernel.Dropped:
		return "drop"
	case trace.End == kernel.Refused:
		return "refused"
	case before.Dest == after.Dest && before.DestPort == after.DestPort:
		return "-"
	case after.DestPort == before.DestPort:
		return after.Dest.String()
	}
	return netip.AddrPortFrom(after.Dest, after.DestPort).String()
}

// shares sends a packet by all draws and gives each end its share.
func (b *balancer) shares(text string) map[string]float64 {
	b.t.Helper()
	outcomes, err := b.world.Outcomes("prerouting", packetOf(b.t, text))
	if err != nil {
		b.t.Fatal(err)
	}
	out := map[string]float64{}
	for _, o := range outcomes {
		out[verdict(packetOf(b.t, text), o.Trace)] += o.Share
	}
	return out
}

// came says whether a packet came to a rule of a chain whose sentence begins so.
func came(trace *kernel.Trace, chain, tell string) bool {
	for _, v := range trace.Visits {
		if v.Chain == chain && strings.HasPrefix(v.Tell, tell) && v.Why == "" {
			return true
		}
	}
	return false
}

// checkSound checks what the kernel would refuse, whatever the configuration.
func checkSound(t *testing.T, p *Plan, w *kernel.Wishes) {
	t.Helper()
	table := w.Tables[0]
	chains, sets := map[string]int{}, map[string]*kernel.Set{}
	for _, c := range table.Chains {
		chains[c.Name]++
	}
	for i := range table.Sets {
		if s := &table.Sets[i]; sets[s.Name] != nil {
			t.Errorf("set %s stands there twice", s.Name)
		} else {
			sets[s.Name] = s
		}
	}
	for name, n := range chains {
		if n != 1 || len(name) > 120 {
			t.Errorf("%q stands there %d times", name, n)
		}
	}
	for _, c := range table.Chains {
		if len(c.Rules) == 0 {
			t.Errorf("chain %s is empty", c.Name)
		}
		for _, r := range c.Rules {
			if len(r.Tell) > 120 {
				t.Errorf("chain %s: %q is too long for a comment", c.Name, r.Tell)
			}
			for _, s := range r.Do {
				switch s := s.(type) {
				case kernel.SetMark, kernel.CopyMark:
					t.Errorf("chain %s writes the packet mark, which is outbound's (DESIGN 3)", c.Name)
				case kernel.SetCtMark:
					if s.Mask&^(kernel.ServerMask|kernel.Placed) != 0 {
						t.Errorf("chain %s writes %#x of the conntrack mark", c.Name, s.Mask)
					}
				case kernel.Jump:
					if chains[s.Chain] == 0 {
						t.Errorf("%s leads to %q, which is not there", c.Name, s.Chain)
					}
				case kernel.Goto:
					if chains[s.Chain] == 0 {
						t.Errorf("%s leads to %q, which is not there", c.Name, s.Chain)
					}
				}
			}
		}
	}
	if depth := p.fixed.Depth(table, 0); depth > traffic.MaxDepth {
		t.Errorf("chains lie %d deep", depth)
	}
}

// rules counts the rules of wishes.
func rules(w *kernel.Wishes) (n int) {
	for _, t := range w.Tables {
		for _, c := range t.Chains {
			n += len(c.Rules)
		}
	}
	return n
}

// priorityOf is the priority that a packet has after all rules.
func priorityOf(trace *kernel.Trace) uint32 { return trace.Packet.Priority }

// evenly has these servers live and take new connections.
func evenly(ids []ID) States { return States{Alive: ids, Loose: ids, Kept: ids, Available: ids} }
