package outbound

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/portolan-lb/portolan/config"
	"github.com/portolan-lb/portolan/kernel"
)

// Twin: for random virtual servers and packets the rules find the one that a
// scan of the configuration finds.
func TestServers_Twin(t *testing.T) {
	base := newGateway(t, simple)
	prefix := rapid.Custom(func(t *rapid.T) netip.Prefix {
		a := netip.AddrFrom4([4]byte{byte(rapid.SampledFrom([]int{8, 9, 255}).Draw(t, "a")), byte(rapid.IntRange(0, 3).Draw(t, "b") * 85), 255, 255})
		return netip.PrefixFrom(a, rapid.SampledFrom([]int{0, 1, 7, 8, 9, 10, 16, 24, 31, 32}).Draw(t, "bits")).Masked()
	})
	ports := rapid.Custom(func(t *rapid.T) config.PortRange {
		from := uint16(rapid.IntRange(1, 6).Draw(t, "from"))
		return config.PortRange{From: from, To: from + uint16(rapid.SampledFrom([]int{0, 1, 600}).Draw(t, "more"))}
	})
	server := rapid.Custom(func(t *rapid.T) *config.OutboundVirtualServer {
		v := &config.OutboundVirtualServer{Enabled: rapid.IntRange(0, 9).Draw(t, "on") > 0, LinkGroup: "all",
			Destinations: rapid.SliceOfN(prefix, 1, 3).Draw(t, "to"),
			Protocol:     rapid.SampledFrom([]config.IPProtocol{config.ProtocolAny, config.ProtocolTCP, config.ProtocolUDP, config.ProtocolICMP}).Draw(t, "protocol")}
		if v.Protocol != config.ProtocolICMP {
			v.Ports = rapid.SliceOfN(ports, 0, 2).Draw(t, "ports")
		}
		return v
	})
	rapid.Check(t, func(rt *rapid.T) {
		o := *base.conf
		o.VirtualServers = rapid.SliceOfN(server, 1, 6).Draw(rt, "servers")
		for i, v := range o.VirtualServers {
			v.Name = fmt.Sprint("v", i)
		}
		m := *base.model
		m.Outbound = &o
		p, errs := Compile(Inputs{Model: &m, IDs: map[string]uint16{"one": 1, "two": 2, "three": 3}})
		if errs.Failed() {
			rt.Fatal(errs)
		}
		g := &gateway{t: t, Plan: p, facts: usual()}
		g.restate()
		for range 30 {
			packet := kernel.Packet{In: "lan0", Source: addr("10.0.0.5"), Dest: prefix.Draw(rt, "at").Addr(), Ct: kernel.CtInfo{State: kernel.CtNew},
				Protocol: rapid.SampledFrom([]uint8{1, 6, 17}).Draw(rt, "proto"), DestPort: uint16(rapid.IntRange(1, 9).Draw(rt, "port"))}
			if slices.ContainsFunc(notOutside(), func(p netip.Prefix) bool { return p.Contains(packet.Dest) }) {
				continue
			}
			if got, want := countedFor(g.walk("prerouting", packet)), scan(o.VirtualServers, packet); got != want {
				rt.Fatalf("%s protocol %d port %d: %q, want %q", packet.Dest, packet.Protocol, packet.DestPort, got, want)
			}
		}
	})
}

// countedFor gives the virtual server that a packet was counted for.
func countedFor(trace *kernel.Trace) (name string) {
	for _, v := range trace.Visits {
		for _, s := range v.Did {
			if c, ok := s.(kernel.Count); ok {
				if server, ok := strings.CutPrefix(c.Name, "virtualServer/"); ok {
					name += server
				}
			}
		}
	}
	return name
}

// scan is the slow twin: all virtual servers are compared, two by two.
func scan(list []*config.OutboundVirtualServer, p kernel.Packet) (best string) {
	var at [4]int
	for i, v := range list {
		bits := -1
		for _, d := range v.Destinations {
			if d.Contains(p.Dest) {
				bits = max(bits, d.Bits())
			}
		}
		number, ok := v.Protocol.Number(false)
		if !v.Enabled || bits < 0 || ok && number != p.Protocol {
			continue
		}
		if len(v.Ports) > 0 && (p.Protocol == 1 || !slices.ContainsFunc(v.Ports, func(r config.PortRange) bool { return r.Has(p.DestPort) })) {
			continue
		}
		is := [4]int{bits, 0, 0, -i}
		if ok {
			is[1] = 1
		}
		if len(v.Ports) > 0 {
			is[2] = 1
		}
		if best == "" || slices.Compare(is[:], at[:]) > 0 {
			best, at = v.Name, is
		}
	}
	return best
}
