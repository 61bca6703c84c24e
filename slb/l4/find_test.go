package l4

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/portolan-lb/portolan/config"
	"github.com/portolan-lb/portolan/kernel"
)

// twin finds the virtual server of a packet the slow way: of all that it fits,
// by the order that [config.Serve] documents (FAQ 1.1.9, T47).
func twin(m *config.Model, p kernel.Packet) string {
	type fit struct {
		bits, kind, size, order int
		name                    string
	}
	var fits []fit
	for i, v := range m.VirtualServers {
		for _, net := range v.ServedPrefixes() {
			if !net.Contains(p.Dest) {
				continue
			}
			protocol, one := v.Serve.Type.Protocol().Number(false)
			if one && protocol != p.Protocol {
				continue
			}
			switch ports := v.ServedPorts(); {
			case !one:
				fits = append(fits, fit{-net.Bits(), 3, 0, i, v.Name})
			case len(ports) == 0:
				fits = append(fits, fit{-net.Bits(), 2, 0, i, v.Name})
			default:
				for _, r := range ports {
					if r.Has(p.DestPort) {
						fits = append(fits, fit{-net.Bits(), 1, int(r.To) - int(r.From), i, v.Name})
					}
				}
			}
		}
	}
	if len(fits) == 0 {
		return ""
	}
	return slices.MinFunc(fits, func(a, b fit) int {
		return cmp.Or(cmp.Compare(a.bits, b.bits), cmp.Compare(a.kind, b.kind), cmp.Compare(a.size, b.size), cmp.Compare(a.order, b.order))
	}).name
}

// randomServers gives virtual servers that lie in and across each other.
func randomServers(r *rand.Rand, n int) *config.Model {
	m := &config.Model{SLB: &config.SLB{Enabled: true}}
	seen := map[string]bool{}
	for i := range n {
		s := &config.Serve{Enabled: true, Type: []config.ServeType{config.ServeTCP, config.ServeUDP, config.ServeIP}[r.IntN(3)],
			Mask: config.Mask{V4: []int{32, 32, 30, 28, 24}[r.IntN(5)], V6: []int{128, 128, 126, 120}[r.IntN(4)]}}
		if s.Type != config.ServeIP && r.IntN(4) > 0 {
			for range 1 + r.IntN(2) {
				from := uint16(1 + r.IntN(12))
				s.Ports = append(s.Ports, config.PortRange{From: from, To: from + uint16(r.IntN(3)*r.IntN(3))})
			}
		}
		v := &config.VirtualServer{Name: fmt.Sprint("n", i), Serve: s}
		v.Addresses = []netip.Addr{netip.AddrFrom4([4]byte{192, 0, 2, byte(r.IntN(32))})}
		if r.IntN(2) == 0 {
			v.Addresses = append(v.Addresses, netip.MustParseAddr(fmt.Sprintf("2001:db8::%x", r.IntN(16))))
		}
		m.VirtualServers = append(m.VirtualServers, v)
		for _, net := range v.ServedPrefixes() { // one of two that want the same is refused
			for _, ports := range append(v.ServedPorts(), config.PortRange{}) {
				key := fmt.Sprint(s.Type, net.Masked(), ports)
				if seen[key] && (len(v.ServedPorts()) == 0 || ports != config.PortRange{}) {
					m.VirtualServers = m.VirtualServers[:len(m.VirtualServers)-1]
					break
				}
				if len(v.ServedPorts()) == 0 || ports != (config.PortRange{}) {
					seen[key] = true
				}
			}
			if len(m.VirtualServers) == 0 || m.VirtualServers[len(m.VirtualServers)-1] != v {
				break
			}
		}
	}
	return m
}

// What the kernel looks up is what the documented order says, whatever lies in or
// across what (T47); data of intervals never overlap.
func TestFind_Twin(t *testing.T) {
	for seed := range uint64(60) {
		r := rand.New(rand.NewPCG(seed, 1))
		m := randomServers(r, 1+r.IntN(14))
		numbers, err := Number(m, Numbers{}, nil)
		if err != nil {
			t.Fatal(err)
		}
		p, errs := Compile(Inputs{Model: m, Numbers: numbers})
		if errs.Failed() {
			if !strings.Contains(errs.Error(), "never reached") {
				t.Fatal(errs)
			}
			continue
		}
		apart(t, p)
		world := kernel.NewWorld(p.Wishes(usual()))
		for range 300 {
			pkt := kernel.Packet{Protocol: []uint8{6, 17, 1}[r.IntN(3)], TCPFlags: syn, SourcePort: 9, DestPort: uint16(1 + r.IntN(16)), Ct: kernel.CtInfo{State: kernel.CtNew},
				Source: addr("198.51.100.1"), Dest: netip.AddrFrom4([4]byte{192, 0, 2, byte(r.IntN(40))})}
			if r.IntN(2) == 0 {
				pkt.Source, pkt.Dest = addr("2001:db8:1::1"), netip.MustParseAddr(fmt.Sprintf("2001:db8::%x", r.IntN(300)))
			}
			if pkt.Protocol == 1 {
				pkt.DestPort, pkt.SourcePort = 0, 0
			}
			trace, err := world.Walk("prerouting", pkt)
			if err != nil {
				t.Fatal(err)
			}
			if got, want := p.VirtualServerOf(trace.Packet.Ct.Mark), twin(m, pkt); got != want {
				t.Fatalf("seed %d: %s:%d protocol %d is of %q, want %q", seed, pkt.Dest, pkt.DestPort, pkt.Protocol, got, want)
			}
		}
	}
}

// apart checks that boxes of ports have no point in common.
func apart(t *testing.T, p *Plan) {
	t.Helper()
	f, _ := p.claims()
	list := f.ports
	for i, a := range list {
		for _, b := range list[:i] {
			if slices.Equal(a.Key[:8], b.Key[:8]) && slices.Compare(a.Key[8:10], endOf(b)[8:10]) <= 0 && slices.Compare(b.Key[8:10], endOf(a)[8:10]) <= 0 {
				t.Fatalf("%x-%x overlaps %x-%x", a.Key, a.End, b.Key, b.End)
			}
		}
	}
}

func endOf(el kernel.Element) []byte {
	if el.End == nil {
		return el.Key
	}
	return el.End
}

// A virtual server that others leave nothing of is refused with their name
// (FAQ 1.1.9).
func TestFind_NeverReached(t *testing.T) {
	m := &config.Model{SLB: &config.SLB{Enabled: true}}
	for i, r := range []config.PortRange{{From: 80, To: 80}, {From: 81, To: 82}, {From: 80, To: 82}} {
		m.VirtualServers = append(m.VirtualServers, &config.VirtualServer{Name: fmt.Sprint("n", i), Addresses: []netip.Addr{addr("192.0.2.1")},
			Serve: &config.Serve{Type: config.ServeTCP, Enabled: true, Mask: config.Mask{V4: 32, V6: 128}, Ports: []config.PortRange{r}}})
	}
	numbers, err := Number(m, Numbers{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, errs := Compile(Inputs{Model: m, Numbers: numbers}); !errs.Failed() || !strings.Contains(errs.Error(), `never reached: virtual server "n0"`) || !strings.Contains(errs.Error(), "virtualServers[2]") {
		t.Errorf("%v", errs)
	}
	m.VirtualServers[2].Serve.Ports[0].To = 83
	if _, errs := Compile(Inputs{Model: m, Numbers: numbers}); errs.Failed() {
		t.Errorf("%v", errs)
	}
}

// Numbers are stable: what is there keeps its own, what is gone keeps it while
// connections hold it, what is new gets the lowest that is free.
func TestNumber(t *testing.T) {
	m := func(names ...string) *config.Model {
		m := &config.Model{}
		for _, n := range names {
			m.VirtualServers = append(m.VirtualServers, &config.VirtualServer{Name: n, Serve: &config.Serve{Enabled: true}})
		}
		return m
	}
	kept, err := Number(m("a", "b", "c"), Numbers{}, nil)
	if err != nil || fmt.Sprint(kept.VirtualServers) != "map[a:1 b:2 c:3]" {
		t.Fatal(kept, err)
	}
	live := func(k Kind, n uint32) bool { return k == OfVirtualServer && n == 2 }
	next, err := Number(m("d", "c", "a", "e"), kept, live)
	if err != nil || fmt.Sprint(next.VirtualServers) != "map[a:1 b:2 c:3 d:4 e:5]" {
		t.Fatal(next, err)
	}
	next, err = Number(m("d", "c", "a", "e"), next, nil)
	if err != nil || fmt.Sprint(next.VirtualServers) != "map[a:1 c:3 d:4 e:5]" {
		t.Fatal(next, err)
	}
	if next, err = Number(m("b", "a"), next, func(Kind, uint32) bool { return false }); err != nil || fmt.Sprint(next.VirtualServers) != "map[a:1 b:2]" {
		t.Fatal(next, err)
	}
	// What the kernel counted for the one that goes is not counted for the one that comes.
	if next, err = Number(m("c", "a"), next, nil); err != nil || fmt.Sprint(next.VirtualServers) != "map[a:1 c:3]" {
		t.Fatal(next, err)
	}
	if next, err = Number(m("d", "a"), next, nil); err != nil || fmt.Sprint(next.VirtualServers) != "map[a:1 d:2]" {
		t.Fatal(next, err)
	}
	var lots []string
	for i := range MaxServers {
		lots = append(lots, fmt.Sprint(i))
	}
	full, err := Number(m(lots...), Numbers{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	last := full.VirtualServers[lots[MaxServers-1]]
	lots[MaxServers-1] = "new" // when no other is left
	if full, err = Number(m(lots...), full, nil); err != nil || full.VirtualServers["new"] != last {
		t.Fatal(full.VirtualServers["new"], err)
	}
	lots = nil
	for i := range MaxServers + 1 {
		lots = append(lots, fmt.Sprint(i))
	}
	if _, err := Number(m(lots...), Numbers{}, nil); err == nil || !strings.Contains(err.Error(), "at most 65535") {
		t.Error(err)
	}
}
