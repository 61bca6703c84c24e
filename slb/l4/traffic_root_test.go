package l4

import (
	"errors"
	"fmt"
	"net/netip"
	"syscall"
	"testing"

	"github.com/portolan-lb/portolan/kernel"
	"github.com/portolan-lb/portolan/nettest"
)

// farmed is a balancer in Linux, with clients before it and servers behind it.
type farmed struct {
	*balancer
	*inLinux
	farm *nettest.Farm
	t    *testing.T
}

// newFarmed has a plan of a configuration stand in Linux. Its farm has three
// hosts, whose servers listen on 80 and 8080.
func newFarmed(t *testing.T, text string) *farmed {
	t.Helper()
	nettest.NeedRoot(t)
	f := nettest.NewFarm(t, nettest.FarmLayout{Hosts: 3})
	f.Serve(80, 8080)
	b := newBalancer(t, text)
	b.facts.Interfaces = []kernel.Interface{nic("front0", "192.0.2.1/24", "2001:db8:2::1/64"), nic("back0", "10.30.0.1/16", "fd10:30::1/64")}
	out := &farmed{b, newLinux(t, f.Space), f, t}
	out.stands(b.Wishes(b.facts))
	return out
}

// web is a virtual server of both families on the three hosts; serve and farm are
// put into it.
func web(serve, farm, more string) string {
	return `
version: 1
virtualServers:
  - {name: web, addresses: [203.0.113.1, "2001:db8:113::1"], port: 80, serve: {farm: web` + serve + `}}
serverFarms:
  - name: web
    ` + farm + `
    servers:
      - {name: one, addresses: [10.30.0.11, "fd10:30::11"], port: 8080}
      - {name: two, addresses: [10.30.0.12, "fd10:30::12"], port: 8080}
      - {name: three, addresses: [10.30.0.13, "fd10:30::13"], port: 8080}
` + more
}

func (f *farmed) four(i int) (netip.Addr, netip.AddrPort) {
	return f.farm.Client4(i % 50), netip.AddrPortFrom(f.farm.Virtual4(1), 80)
}

func (f *farmed) six(i int) (netip.Addr, netip.AddrPort) {
	return f.farm.Client6(i % 50), netip.AddrPortFrom(f.farm.Virtual6(1), 80)
}

// set has servers share slots in Linux: three in turn by name.
func (f *farmed) set(farm string, slots []ID, states States) {
	f.t.Helper()
	f.changes(append(f.SetSlots(farm, slots), f.SetServers(farm, states)...)...)
}

// Connections of both families are spread by the slots, exactly in turn; servers
// see the client's own address, and no packet carries a mark of outbound's (DESIGN
// 3; acceptance tests 2, 7, 10).
func TestSplit_Root(t *testing.T) {
	f := newFarmed(t, web("", "slots: 64", ""))
	ids := f.byFarm["web"].ids()
	slots := spread(64, []ID{ids[0], ids[1], ids[2], ids[2]})
	f.set("web", slots, evenly(ids))
	marked := f.farm.Watch("marked", "postrouting priority 400", "meta l4proto tcp meta mark != 0") // what MLD reports has room that it keeps in the mark
	queued := f.farm.Watch("queued", "postrouting priority 401", "meta priority 0x1-0xffffffff ct state new")
	for name, s := range map[string]nettest.Spread{"IPv4": f.farm.InTurn(128, f.four), "IPv6": f.farm.InTurn(128, f.six)} {
		if got := fmt.Sprint(s.By); got != "[0 32 32 64]" || s.Failed > 0 {
			t.Errorf("%s: %s", name, s)
		}
	}
	if s := f.farm.InTurn(10, f.four); len(s.Source) != 10 {
		t.Errorf("servers saw %v", s.Source)
	}
	if n := marked.Packets(); n > 0 {
		t.Errorf("%d packets went out with a mark", n)
	}
	if n := queued.Packets(); n > 0 {
		t.Errorf("%d packets went out with a priority", n)
	}
	counts, err := f.Elements(Table, ServedSet)
	if err != nil || len(counts) != 1 || counts[0].Packets != 266 {
		t.Errorf("hits %+v, %v", counts, err)
	}
}

// A client keeps its server, and the update trap: a server that is gone moves
// only its clients, whose entries then hold the new one (T23; acceptance test 3).
func TestSticky_Root(t *testing.T) {
	f := newFarmed(t, web(", persistence: keep", "algorithm: random", "persistence: [{name: keep, timeout: 10m}]"))
	for _, route := range []nettest.Route{f.four, f.six} {
		first, again := map[int]int{}, map[int]int{}
		visit := func(into map[int]int) {
			for i := range 50 {
				from, to := route(i)
				talk, err := f.farm.TCP(from, to)
				if err != nil {
					t.Fatal(err)
				}
				into[i] = talk.First.Host
				talk.Close()
			}
		}
		all := f.byFarm["web"].ids()
		f.set("web", spread(f.byFarm["web"].Slots, all), evenly(all))
		visit(first)
		for range 3 {
			visit(again)
			for i := range first {
				if again[i] != first[i] {
					t.Fatalf("client %d: host %d, then %d", i, first[i], again[i])
				}
			}
		}
		f.set("web", spread(f.byFarm["web"].Slots, all[:2]), evenly(all[:2]))
		visit(again)
		moved := 0
		for i := range first {
			if first[i] == 3 {
				moved++
			}
			if first[i] != 3 && again[i] != first[i] || again[i] == 3 {
				t.Errorf("client %d: host %d, then %d", i, first[i], again[i])
			}
		}
		if moved == 0 {
			t.Error("host 3 had no client")
		}
		f.set("web", spread(f.byFarm["web"].Slots, all), evenly(all))
		once := map[int]int{}
		visit(once)
		for i := range again {
			if once[i] != again[i] {
				t.Errorf("client %d: the entry kept its old server: host %d, then %d", i, again[i], once[i])
			}
		}
	}
	for _, s := range f.Sticks() {
		entries, err := f.Elements(Table, s.Set)
		if err != nil || len(entries) != 50 {
			t.Fatalf("%s: %d entries, %v", s.Set, len(entries), err)
		}
		c, ok := s.Similar.Read(s.Family, entries[0].Key)
		farm, name := f.ServerOf(idOf(entries[0].Data))
		if !ok || f.VirtualServerOf(c.Scope) != "web" || farm != "web" || name == "" {
			t.Errorf("entry %+v of %s/%s", c, farm, name)
		}
	}
}

// A small limit of a server is exact, the next server is tried before anything is
// dropped, and force goes over it (acceptance test 4).
func TestFull_Root(t *testing.T) {
	limited := func(onBusy string) string {
		return `
version: 1
virtualServers:
  - {name: web, address: 203.0.113.1, port: 80, serve: {farm: web}}
serverFarms:
  - name: web
    onBusy: ` + onBusy + `
    servers:
      - {name: one, address: 10.30.0.11, port: 8080, maxConnections: 3}
      - {name: two, address: 10.30.0.12, port: 8080, maxConnections: 5}
      - {name: three, address: 10.30.0.13, port: 8080, maxConnections: 7}
`
	}
	for onBusy, want := range map[string]string{"drop": "[0 3 5 7]", "queue": "[0 3 5 7]", "force": "20"} {
		t.Run(onBusy, func(t *testing.T) {
			f := newFarmed(t, limited(onBusy))
			_, held := f.farm.Hold(20, 0, f.four)
			by := held.By
			got := fmt.Sprint(by)
			if onBusy == "force" {
				got = fmt.Sprint(by[1] + by[2] + by[3])
			}
			if got != want {
				t.Errorf("%v, want %s", by, want)
			}
			waiting, err := f.Elements(Table, "waiting")
			if err != nil || len(waiting) != 1 || (waiting[0].Packets > 0) != (onBusy != "force") {
				t.Errorf("waiting %+v, %v", waiting, err)
			}
		})
	}
}

// Servers see an address of the pool, which is counted; a server that asks its own
// virtual server sees answers of it (acceptance tests 5, 6).
func TestSource_Root(t *testing.T) {
	f := newFarmed(t, web("", "snatPool: inside", `
snatPools: [{name: inside, addresses: [10.30.9.1-10.30.9.4, "fd10:30::900-fd10:30::903"], ports: 20000-20099}]`))
	f.farm.Batch("addr add 10.30.9.1/16 dev back0", "addr add 10.30.9.2/16 dev back0", "addr add 10.30.9.3/16 dev back0", "addr add 10.30.9.4/16 dev back0",
		"addr add fd10:30::900/64 dev back0 nodad", "addr add fd10:30::901/64 dev back0 nodad", "addr add fd10:30::902/64 dev back0 nodad", "addr add fd10:30::903/64 dev back0 nodad")
	for name, route := range map[string]nettest.Route{"IPv4": f.four, "IPv6": f.six} {
		s := f.farm.InTurn(60, route)
		if s.Failed > 0 || len(s.Source) < 2 {
			t.Errorf("%s: %s from %v", name, s, s.Source)
		}
		for a := range s.Source {
			if a = a.Unmap(); a.Is4() && (a.Compare(addr("10.30.9.1")) < 0 || a.Compare(addr("10.30.9.4")) > 0) || a.Is6() && (a.Compare(addr("fd10:30::900")) < 0 || a.Compare(addr("fd10:30::903")) > 0) {
				t.Errorf("%s: a server saw %s", name, a)
			}
		}
	}
	used, err := f.Elements(Table, "pools4")
	var n uint64
	for _, el := range used {
		n += el.Packets
	}
	if err != nil || n != 60 {
		t.Errorf("the pool was used %d times, %v", n, err)
	}
}

func TestHairpin_Root(t *testing.T) {
	f := newFarmed(t, web("", "", ""))
	for _, route := range []nettest.Route{f.four, f.six} {
		for i := range 9 {
			_, to := route(i)
			from := f.farm.Hosts[0].Addr4
			if to.Addr().Is6() {
				from = f.farm.Hosts[0].Addr6
			}
			talk, err := nettest.Call(f.farm.Hosts[0].Space, from, to, nettest.Patience)
			if err != nil {
				t.Fatal(err)
			}
			if a := talk.First.Source.Addr().Unmap(); a != nettest.BackGate4 && a != nettest.BackGate6 {
				t.Errorf("the server saw %s", a)
			}
			talk.Close()
		}
	}
}

// TCP that does not begin with SYN is reset and not balanced; clients of a server
// that failed are reset with the right number (T38; acceptance test 9).
func TestReset_Root(t *testing.T) {
	f := newFarmed(t, web("", "onFailure: reset", ""))
	held, s := f.farm.Hold(30, 0, f.four)
	if s.Failed > 0 || fmt.Sprint(s.By) != "[0 10 10 10]" {
		t.Fatal(s)
	}
	defer held.Close()
	all := f.byFarm["web"].ids()
	f.set("web", spread(f.byFarm["web"].Slots, all[1:]), evenly(all[1:]))
	f.changes(f.SetDead("web", all[:1])...)
	if fate := held.Ask(); fate.Lost != 10 || fate.Wrong > 0 || !errors.Is(fate.Err, syscall.ECONNRESET) {
		t.Errorf("%+v", fate)
	}
	f.changes(f.SetDead("web", nil)...)
	f.farm.Must("", "conntrack", "-F")
	if fate := held.Ask(); fate.Lost != 10+30 || !errors.Is(fate.Err, syscall.ECONNRESET) {
		t.Errorf("connections that are not known: %+v", fate)
	}
}
