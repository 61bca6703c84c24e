package traffic

import (
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/portolan-lb/portolan/config"
	"github.com/portolan-lb/portolan/kernel"
)

// Twin: for random lists of services, with few ports and with more than are
// looked up singly, a packet meets them just if a scan of the list finds it.
func TestServices_Twin(t *testing.T) {
	protocols := []config.IPProtocol{config.ProtocolAny, config.ProtocolTCP, config.ProtocolUDP, config.ProtocolICMP}
	service := rapid.Custom(func(t *rapid.T) config.Service {
		s := config.Service{Protocol: rapid.SampledFrom(protocols).Draw(t, "protocol")}
		if s.Protocol == config.ProtocolAny || s.Protocol != config.ProtocolICMP && rapid.Bool().Draw(t, "ports") {
			s.Ports.From = uint16(rapid.SampledFrom([]int{1, 2, 3, 5, 80, 65000, 65535}).Draw(t, "from"))
			s.Ports.To = s.Ports.From + uint16(min(rapid.SampledFrom([]int{0, 1, 2, 700}).Draw(t, "more"), 65535-int(s.Ports.From)))
		}
		return s
	})
	rapid.Check(t, func(rt *rapid.T) {
		list := rapid.SliceOfN(service, 1, 5).Draw(rt, "services")
		b := NewBuilder("t", NewFixed())
		b.Base("in", kernel.Hook{Type: "filter", Point: "prerouting"}, func() []kernel.Rule {
			to := b.Chain("to", func() []kernel.Rule { return []kernel.Rule{Rule("", b.Count("met"))} })
			return b.JumpWhen(func(f Family) Condition { return b.Services("s", list, f) }, "match", "", to)
		})
		table, _ := b.Done()
		world := kernel.NewWorld(&kernel.Wishes{Tables: []kernel.Table{table}})
		for _, from := range []string{"10.0.0.1", "2001:db8::1"} {
			for _, protocol := range []uint8{1, 6, 17, 47, 58} {
				for _, port := range []uint16{1, 2, 3, 4, 6, 80, 81, 82, 400, 701, 780, 781, 65000, 65534, 65535} {
					p := kernel.Packet{Source: address(from), Dest: address(from), Protocol: protocol}
					if kernel.HasPorts(protocol) {
						p.DestPort = port
					}
					trace, err := world.Walk("prerouting", p)
					if err != nil {
						rt.Fatal(err)
					}
					if got, want := counted(trace)["met"] == 1, meets(list, p); got != want {
						rt.Fatalf("protocol %d port %d from %s: %v, want %v of %v\n%s", protocol, port, from, got, want, list, table.Text())
					}
				}
			}
		}
	})
}

// meets is the slow twin.
func meets(list []config.Service, p kernel.Packet) bool {
	return slices.ContainsFunc(list, func(s config.Service) bool {
		number, ok := s.Protocol.Number(p.Source.Is6())
		switch {
		case s.Protocol == config.ProtocolAny:
			ok = p.Protocol == 6 || p.Protocol == 17
		case ok:
			ok = number == p.Protocol
		}
		return ok && (s.Ports == config.PortRange{} || s.Ports.Has(p.DestPort))
	})
}
