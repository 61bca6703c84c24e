package pick

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/portolan-lb/portolan/busy"
	"github.com/portolan-lb/portolan/status"
	"pgregory.net/rapid"
)

// drawAddr gives a client of either family.
func drawAddr(t *rapid.T) netip.Addr {
	b := [16]byte(rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "address"))
	if rapid.Bool().Draw(t, "four") {
		return netip.AddrFrom4([4]byte(b[:4]))
	}
	b[0] = 0x20 // not a mapped address
	return netip.AddrFrom16(b)
}

// sliceTwin is the slice of a client for a row: the top byte of a hash of the
// octets of its /24 or /56 and the row's ID.
func sliceTwin(id status.ID, client netip.Addr) int {
	b := client.As16()
	kept := 7 // octets
	if client.Is4() {
		kept = 15 // of ::ffff:a.b.c.d
	}
	clear(b[kept:])
	return int(mix(hashAddr(netip.AddrFrom16(b))^hashString(string(id))) >> 56)
}

func shedTwin(r *status.Row, client netip.Addr) bool {
	return sliceTwin(r.ID, client) < int(r.Shed)
}

// sheds makes a table in which virtual servers shed slices.
func sheds(of map[string]uint16) *status.Table {
	b := status.NewBoard(1)
	for name, n := range of {
		b.Update(status.Row{ID: vs(name), Health: status.Up})
		b.Mark(map[status.ID]status.Load{vs(name): {Shed: n, Why: "test"}})
	}
	return b.Table()
}

// networks gives addresses of so many different /24 or /56.
func networks(n int, six bool) (clients []netip.Addr) {
	for i := range n {
		if six {
			clients = append(clients, netip.AddrFrom16([16]byte{0x20, 1, 0xd, 0xb8, byte(i >> 16), byte(i >> 8), byte(i), 1}))
		} else {
			clients = append(clients, netip.AddrFrom4([4]byte{10 + byte(i>>16), byte(i >> 8), byte(i), 1}))
		}
	}
	return clients
}

func TestSlices(t *testing.T) {
	if busy.Slices != status.Slices {
		t.Errorf("a controller sheds of %d, a row says of %d", busy.Slices, status.Slices)
	}
}

var protected = Rules{Spill: SpillDown, BusyProtection: true}

// With n slices shed, n/256 of the networks leave, in both families; those shed
// by n are shed by n+1; all of a network are treated alike.
func TestShed_FixedSlices(t *testing.T) {
	for _, six := range []bool{false, true} {
		gone := map[netip.Addr]bool{}
		for _, n := range []uint16{0, 1, 16, 17, 64, 128, 200, 255, 256} {
			g := group(protected, nil, "a", "b")
			table := sheds(map[string]uint16{"a": n, "b": 0})
			left := 0
			for _, c := range networks(8192, six) {
				in := Input{Table: table, Client: Client{Addr: c}}
				shed := names(g.ActiveFor(in)) == "b"
				if gone[c] && !shed {
					t.Fatalf("%s was shed with fewer than %d slices", c, n)
				}
				in.Client.Addr = c.Next()
				if shed != (names(g.ActiveFor(in)) == "b") {
					t.Fatalf("%s and its neighbour differ", c)
				}
				if gone[c] = shed; shed {
					left++
				}
			}
			want := 8192 * int(n) / 256
			if slack := want/8 + 24; left < want-slack || left > want+slack || n == 256 && left != 8192 {
				t.Errorf("%d slices: %d of 8192 networks leave, want about %d", n, left, want)
			}
		}
	}
}

// Two rows shed different clients: half and half is a quarter of all for whom
// both do, and for them protection lapses (1.2.26, T19).
func TestShed_LinksShedDifferentClients(t *testing.T) {
	g := group(protected, nil, "a", "b")
	table := sheds(map[string]uint16{"a": 128, "b": 128})
	count := map[string]int{}
	for _, c := range networks(4096, false) {
		in := Input{Table: table, Client: Client{Addr: c}}
		d, reason := g.Shares(in, nil, nil)
		if reason != Chosen || d.Width != shedBits4 {
			t.Fatalf("%s: %s, width %d", c, reason, d.Width)
		}
		var who []string
		for _, s := range d.Shares {
			who = append(who, s.Member.Name)
		}
		count[fmt.Sprint(who, d.Lapsed)]++
	}
	for _, who := range []string{"[a] false", "[b] false", "[a b] true", "[a b] false"} {
		if count[who] < 900 || count[who] > 1150 {
			t.Errorf("%v: want a quarter of 4096 for %s", count, who)
		}
	}
}

// Shed is busy for one client: it follows C3 and spill, counts with
// busyProtection alone, and all of 256 slices is busy for everybody.
func TestShed_IsBusyForAClient(t *testing.T) {
	var shed, other netip.Addr // by a, with 128 slices
	for _, c := range networks(64, true) {
		if sliceTwin(vs("a"), c) < 128 {
			shed = c
		} else {
			other = c
		}
	}
	for _, test := range []struct {
		rule         string
		rules        Rules
		members      []string
		a            uint16
		shed, other  string
		width        int
		lapsesForOne bool
	}{
		{"1.2.12 only with busyProtection", Rules{Spill: SpillDown}, []string{"a", "b"}, 128, "a b", "a b", 0, false},
		{"1.2.12 the member leaves for the client", protected, []string{"a", "b"}, 128, "b", "a b", 56, false},
		{"C3 no lower priority", protected, []string{"a 1 8", "b 1 4"}, 128, "a", "a", 56, true},
		{"C3 unless asked to", Rules{Spill: SpillDown | SpillBusy, BusyProtection: true}, []string{"a 1 8", "b 1 4"}, 128, "b", "a", 56, false},
		{"1.2.26 a lone member lapses", protected, []string{"a"}, 128, "a", "a", 56, true},
		{"256 slices are all", protected, []string{"a", "b"}, 256, "b", "b", 0, false},
	} {
		g := group(test.rules, nil, test.members...)
		table := sheds(map[string]uint16{"a": test.a, "b": 0})
		for client, want := range map[netip.Addr]string{shed: test.shed, other: test.other} {
			in := Input{Table: table, Client: Client{Addr: client}}
			d, _ := g.Shares(in, nil, nil)
			lapsed := test.lapsesForOne && client == shed
			if got := names(g.ActiveFor(in)); got != want || d.Width != test.width || d.Lapsed != lapsed {
				t.Errorf("%s, %s: %s take part, width %d, lapsed %v; want %s", test.rule, client, got, d.Width, d.Lapsed, want)
			}
		}
	}
}

// nest makes a group of the groups inner, whose only member is a, and spare.
func nest(outer, inner Rules) *Group {
	in := NewGroup([]*Member{{Name: "a", Weight: 1, Needs: []status.ID{vs("a")}}}, inner, Slot{"s", RoundRobin(true)})
	return NewGroup([]*Member{{Index: 1, Name: "inner", Weight: 1, Group: in}, {Index: 2, Name: "spare", Weight: 1, Needs: []status.ID{vs("spare")}}},
		outer, Slot{"s", RoundRobin(true)})
}

// A member of a nested group that sheds a client makes the group lapse for that
// client, and the group around it goes elsewhere, if it protects too.
func TestShed_Nested(t *testing.T) {
	table := sheds(map[string]uint16{"a": 128, "spare": 0})
	var without Rules
	for _, test := range []struct {
		outer, inner Rules
		shed         string
		width        int
	}{
		{protected, protected, "spare", 24},
		{without, protected, "a spare", 24},
		{protected, without, "a spare", 0},
	} {
		g := nest(test.outer, test.inner)
		for _, c := range networks(256, false) {
			want := "a spare"
			if sliceTwin(vs("a"), c) < 128 {
				want = test.shed
			}
			in := Input{Table: table, Client: Client{Addr: c}}
			d, _ := g.Shares(in, nil, nil)
			var got []*Member
			for _, s := range d.Shares {
				got = append(got, s.Member)
			}
			if names(got) != want || names(g.LeavesFor(in)) != want || d.Width != test.width {
				t.Fatalf("%+v: %s gets %s of %s, width %d; want %s", test, c, names(got), names(g.LeavesFor(in)), d.Width, want)
			}
		}
	}
}

// Explain says of each member for whom it is busy, with the figures.
func TestShed_Trace(t *testing.T) {
	g := group(protected, nil, "a", "b")
	table := sheds(map[string]uint16{"a": 255, "b": 0})
	for _, c := range networks(64, false) {
		if sliceTwin(vs("a"), c) == 255 {
			continue
		}
		var tr Trace
		if _, reason := g.Shares(Input{Table: table, Client: Client{Addr: c}}, nil, &tr); reason != Chosen {
			t.Fatal(reason)
		}
		if m := tr.Members[0]; m.Active || m.Why != "busy for this client's slice: virtualServer/a: test" || m.Rows[0].Shed != 255 {
			t.Fatalf("%+v", m)
		}
	}
}

// For one table and any client: the same set again is the same memory, and a
// choice allocates nothing, shed or not.
func TestShed_NoAllocation(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates")
	}
	g := group(protected, nil, "a", "b", "c", "d")
	table := sheds(map[string]uint16{"a": 128, "b": 128, "c": 128, "d": 0})
	g.Use(table)
	clients := networks(256, false)
	into := make([]*Member, 0, 1)
	pick := func() {
		for _, c := range clients {
			g.Pick(Input{Table: table, Client: Client{Addr: c}}, into, nil)
		}
	}
	pick()
	if n := testing.AllocsPerRun(100, pick); n > 0 {
		t.Errorf("256 choices make %v allocations", n)
	}
}

// More sets than are kept, more rows than are looked at, and clients without an
// address are bounded, and answered.
func TestShed_Bounds(t *testing.T) {
	var lines []string
	of := map[string]uint16{}
	for i := range maxShedding + 6 {
		name := fmt.Sprintf("m%02d", i)
		lines, of[name] = append(lines, name), 128
	}
	g := group(protected, nil, lines...)
	table := sheds(of)
	g.Use(table)
	for _, c := range networks(4*maxVariants, false) {
		in := Input{Table: table, Client: Client{Addr: c}}
		got := " " + names(g.ActiveFor(in)) + " "
		for i, name := range lines {
			if want := i >= maxShedding || sliceTwin(vs(name), c) >= 128; want != strings.Contains(got, " "+name+" ") {
				t.Fatalf("%s: %s is not as it should be in%s", c, name, got)
			}
		}
	}
	if n := len(*g.active(table).variants.Load()); n > maxVariants {
		t.Errorf("%d sets are kept", n)
	}
	if n := len(g.ActiveFor(Input{Table: table})); n != len(lines) {
		t.Errorf("without an address %d take part", n)
	}
}

func BenchmarkPickShed(b *testing.B) {
	g := group(protected, nil, "a", "b", "c", "d")
	table := sheds(map[string]uint16{"a": 100, "b": 30, "c": 0, "d": 0})
	g.Use(table)
	clients := networks(1024, false)
	into := make([]*Member, 0, 1)
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		g.Pick(Input{Table: table, Client: Client{Addr: clients[i%len(clients)]}, Draw: uint64(i)}, into, nil)
	}
}
