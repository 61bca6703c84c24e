package kernel

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/portolan-lb/portolan/nettest"
	"github.com/portolan-lb/portolan/status"
)

var (
	vip4 = netip.MustParseAddr("10.0.0.100")
	vip6 = netip.MustParseAddr("fd00::100")
)

// directTable copies packets for a virtual address to one of some servers, by
// the source address and port, and drops them.
func directTable(v6 bool, servers ...netip.Addr) Table {
	t := Table{Name: "portolan_slb_direct", Family: IPv4}
	vip, source, dest, addr := vip4, Source4, Dest4, TypeAddr4
	if v6 {
		t.Family, vip, source, dest, addr = IPv6, vip6, Source6, Dest6, TypeAddr6
	}
	slots := NewElements()
	for i, s := range servers {
		slots.Put(Element{Key: Number(uint32(i)), Data: Addr(s)})
	}
	t.Counters = []string{"copied"}
	t.Sets = []Set{
		{Name: "slots", Key: []Type{TypeNumber}, Data: []Type{addr}, Elements: slots},
		{Name: "served", Key: []Type{addr, TypeProto, TypePort}, Elements: NewElements(Element{Key: Key(Addr(vip), []byte{17}, Port(80))})},
	}
	chosen := Lookup{Hash{Of: Join{source, SourcePort}, Mod: uint32(len(servers)), Seed: 7}, "slots"}
	t.Chains = []Chain{{Name: "direct", Hook: &Hook{"filter", "prerouting", -300}, Rules: []Rule{
		{Tell: "to a server", Do: []Step{In{Key: Join{dest, Protocol, DestPort}, Set: "served"}, NoTrack{}, Count{"copied"}, Dup{v6, chosen}, Drop{}}},
	}}}
	return t
}

// Tables of family ip and ip6 with one name stand side by side and beside one of
// family inet, are read back as wished, repaired, and removed with their owner.
func TestFamilies_Root(t *testing.T) {
	at := nettest.New(t)
	k := stand(t, at)
	four, six := directTable(false, netip.MustParseAddr("10.0.0.3")), directTable(true, netip.MustParseAddr("fd00::3"))
	inet := Table{Name: "portolan_slb_direct", Sets: []Set{{Name: "slots", Key: []Type{TypePort}}}}
	golden(t, "families.txt", (&Wishes{Tables: []Table{four, six, inet}}).Text())
	if out, err := nftIn(t, at, four.Text()+six.Text()+inet.Text(), "-c", "-f", "-"); err != nil {
		t.Errorf("nft: %v\n%s", err, out)
	}
	mustNFT(t, at, "table ip portolan_slb_old { chain c { }; }\ntable ip portolan_slb { chain c { }; }\n", "-f", "-")
	k.Want("slb", &Wishes{Tables: []Table{four, six, inet}})
	k.synced("slb")
	if r := k.row("slb"); r.Health != status.Up {
		t.Errorf("row %+v", r)
	}
	for _, table := range []*Table{&four, &six, &inet} {
		asRead(t, k, table)
	}
	got := strings.Fields(strings.ReplaceAll(mustNFT(t, at, "", "list", "tables"), "table ", ""))
	want := []string{"ip", "portolan_slb", "inet", "portolan_slb_direct", "ip", "portolan_slb_direct", "ip6", "portolan_slb_direct"}
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("tables %v, want those wished and that of others: %v", got, want)
	}
	list, err := k.Elements(six.ID(), "slots")
	if err != nil || len(list) != 1 || netip.AddrFrom16([16]byte(list[0].Data)) != netip.MustParseAddr("fd00::3") {
		t.Errorf("elements of %s: %v %v", six.ID(), list, err)
	}
	if counts, err := k.Counts(four.ID()); err != nil || len(counts) != 1 {
		t.Errorf("counters of %s: %v %v", four.ID(), counts, err)
	}
	mustNFT(t, at, "", "flush", "chain", "ip6", "portolan_slb_direct", "direct")
	until(t, "a chain that others flushed", longEnough, func() bool {
		return strings.Contains(mustNFT(t, at, "", "list", "chain", "ip6", "portolan_slb_direct", "direct"), "dup to")
	})
	k.Want("slb", nil)
	k.synced("slb")
	if got := mustNFT(t, at, "", "list", "tables"); got != "table ip portolan_slb\n" {
		t.Errorf("left is %q", got)
	}
}

// What makes no sense in a table of a family is told and left out.
func TestFamiliesRefuse(t *testing.T) {
	rule := func(s ...Step) []Chain { return []Chain{{Name: "c", Rules: []Rule{{Do: s}}}} }
	for name, c := range map[string]struct {
		table Table
		want  string
	}{
		"a copy in family inet":   {Table{Name: "portolan_x", Chains: rule(Dup{false, Const(addr("10.0.0.1"))})}, "copies are sent by tables of family ip and ip6 alone"},
		"the other family":        {Table{Name: "portolan_x_y", Family: IPv4, Chains: rule(Is{Of: Dest6, To: addr("::1")})}, "IPv4 and IPv6"},
		"a copy of the other":     {Table{Name: "portolan_x_y", Family: IPv6, Chains: rule(Dup{false, Const(addr("10.0.0.1"))})}, "IPv4 and IPv6"},
		"no address":              {Table{Name: "portolan_x_y", Family: IPv6, Chains: rule(Dup{true, Const(addr("10.0.0.1"))})}, "an address of 16 octets, this has 4"},
		"ICMP of either family":   {Table{Name: "portolan_x_y", Family: IPv4, Chains: rule(Reject{})}, "no answer but a TCP reset"},
		"too late not to track":   {Table{Name: "portolan_x", Chains: []Chain{{Name: "c", Hook: &Hook{"filter", "prerouting", -200}, Rules: []Rule{{Do: []Step{NoTrack{}}}}}}}, "connections are tracked before it"},
		"the wrong hook for that": {Table{Name: "portolan_x", Chains: []Chain{{Name: "c", Hook: &Hook{"filter", "forward", -300}, Rules: []Rule{{Do: []Step{NoTrack{}}}}}}}, "connections are tracked before it"},
	} {
		if got := strings.Join(wishOf(&c.table).problems, "; "); !strings.Contains(got, c.want) {
			t.Errorf("%s: got %q, want %q", name, got, c.want)
		}
	}
	for id, ok := range map[string]bool{"portolan_x": true, "ip portolan_x_y": true, "ip portolan_x": false, "ip6 other_x_y": false, "arp portolan_x_y": false} {
		if err := checkName(id); (err == nil) != ok {
			t.Errorf("%s: %v", id, err)
		}
	}
}

// The interpreter knows families, copies, and what is not tracked yet.
func TestWalkFamilies(t *testing.T) {
	servers4 := []netip.Addr{netip.MustParseAddr("10.0.0.3"), netip.MustParseAddr("10.0.0.4")}
	four, six := directTable(false, servers4...), directTable(true, netip.MustParseAddr("fd00::3"))
	w := &World{Tables: []Table{four, six}}
	udp4 := Packet{Source: netip.MustParseAddr("10.0.0.2"), Dest: vip4, Protocol: 17, SourcePort: 5000, DestPort: 80, Ct: CtInfo{State: CtNew}}
	trace := walked(t, w, udp4)
	if trace.End != Dropped || len(trace.Copies) != 1 || !slices.Contains(servers4, trace.Copies[0]) || len(trace.Visits) != 1 || trace.Visits[0].Table != "ip portolan_slb_direct" {
		t.Errorf("a packet for the virtual address: %+v", trace)
	}
	six4 := like(udp4, func(p *Packet) { p.Source, p.Dest = netip.MustParseAddr("fd00::2"), vip6 })
	if trace := walked(t, w, six4); !slices.Equal(trace.Copies, []netip.Addr{netip.MustParseAddr("fd00::3")}) || len(trace.Visits) != 1 {
		t.Errorf("IPv6: %+v", trace)
	}
	if trace := walked(t, w, like(udp4, func(p *Packet) { p.DestPort = 81 })); trace.End != Passed || len(trace.Copies) != 0 || trace.Packet.Ct.State != CtNew {
		t.Errorf("another port: %+v", trace)
	}
	early := func(steps ...Step) *World {
		return &World{Tables: []Table{{Name: "t", Chains: []Chain{
			{Name: "early", Hook: &Hook{"filter", "prerouting", -300}, Rules: []Rule{{Do: steps}}},
			{Name: "late", Hook: &Hook{"filter", "prerouting", -150}, Rules: []Rule{marks(0, Is{Of: CtState, To: Number(CtNew)}), marks(1, Is{Of: CtState, To: Number(ctUntracked)})}},
		}}}}
	}
	for name, c := range map[string]struct {
		w    *World
		want uint32
	}{
		"not tracked":           {early(NoTrack{}), 0x2000_0002},
		"no state yet":          {early(Is{Of: CtState, To: Number(CtNew)}, NoTrack{}), 0x2000_0001},
		"what it looks like":    {early(Is{Of: CtState, To: Number(CtInvalid)}, NoTrack{}), 0x2000_0002},
		"no mark to be written": {early(SetCtMark{1, 1}, NoTrack{}), 0x2000_0001},
	} {
		if got := walked(t, c.w, like(tcp4, func(p *Packet) { p.Ct.State = CtNew })); got.Packet.Mark != c.want {
			t.Errorf("%s: mark %#x, want %#x", name, got.Packet.Mark, c.want)
		}
	}
}
