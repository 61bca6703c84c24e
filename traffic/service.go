package traffic

import (
	"fmt"
	"slices"

	"github.com/portolan-lb/portolan/config"
	"github.com/portolan-lb/portolan/kernel"
)

// Services asks for protocols and ports of the destination; one of the list must
// be met. name begins the names of the sets that it needs.
func (b *Builder) Services(name string, list []config.Service, f Family) Condition {
	var protocols []kernel.Element
	var order []byte // protocols with ports
	ports, count := map[byte][]config.PortRange{}, 0
	for _, s := range list {
		for _, number := range ProtocolsOf(s, f) {
			if s.Ports == (config.PortRange{}) {
				protocols = append(protocols, kernel.Element{Key: []byte{number}})
				continue
			}
			if ports[number] == nil {
				order = append(order, number)
			}
			ports[number] = append(ports[number], s.Ports)
			count += int(s.Ports.To) - int(s.Ports.From) + 1
		}
	}
	ways := b.protocols(name, Distinct(protocols), f)
	if count > maxSinglePorts {
		return Some(append(ways, b.portRanges(name, order, ports)...)...)
	}
	return Some(append(ways, b.singlePorts(name, order, ports))...)
}

// singlePorts asks for ports one by one.
func (b *Builder) singlePorts(name string, order []byte, ports map[byte][]config.PortRange) Condition {
	var single []kernel.Element
	for _, number := range order {
		for _, r := range MergedPorts(ports[number]) {
			for p := int(r.From); p <= int(r.To); p++ {
				single = append(single, kernel.Element{Key: kernel.Key([]byte{number}, kernel.Port(uint16(p)))})
			}
		}
	}
	switch len(single) {
	case 0:
		return Never
	case 1:
		return Test{kernel.Is{Of: kernel.Protocol, To: single[0].Key[:1]}, kernel.Is{Of: kernel.DestPort, To: single[0].Key[4:6]}}
	}
	set := b.Fix(kernel.Set{Name: name + "_ports", Key: []kernel.Type{kernel.TypeProto, kernel.TypePort}}, single)
	return Test{kernel.In{Key: kernel.Join{kernel.Protocol, kernel.DestPort}, Set: set}}
}

// maxSinglePorts is up to how many ports are looked up singly, all protocols in
// one set; more are ranges, in a set for each protocol.
const maxSinglePorts = 512

func (b *Builder) portRanges(name string, order []byte, ports map[byte][]config.PortRange) (ways []Condition) {
	for _, number := range order {
		var list []kernel.Element
		for _, r := range MergedPorts(ports[number]) {
			list = append(list, kernel.Element{Key: kernel.Port(r.From), End: kernel.Port(r.To)})
		}
		set := b.Fix(kernel.Set{Name: fmt.Sprintf("%s_ports_%d", name, number), Key: []kernel.Type{kernel.TypePort}, Interval: true}, list)
		ways = append(ways, Test{kernel.Is{Of: kernel.Protocol, To: []byte{number}}, kernel.In{Key: kernel.DestPort, Set: set}})
	}
	return ways
}

// MergedPorts joins ranges of ports that overlap or touch, and gives them in
// order.
func MergedPorts(list []config.PortRange) (out []config.PortRange) {
	list = slices.Clone(list)
	slices.SortFunc(list, func(a, b config.PortRange) int { return int(a.From) - int(b.From) })
	for _, r := range list {
		if n := len(out); n > 0 && int(r.From) <= int(out[n-1].To)+1 {
			out[n-1].To = max(out[n-1].To, r.To)
			continue
		}
		out = append(out, r)
	}
	return out
}

// protocols asks for protocols alone.
func (b *Builder) protocols(name string, list []kernel.Element, f Family) []Condition {
	switch len(list) {
	case 0:
		return nil
	case 1:
		return []Condition{Test{kernel.Is{Of: kernel.Protocol, To: list[0].Key}}}
	}
	set := b.Fix(kernel.Set{Name: name + "_protocols" + f.Digit, Key: []kernel.Type{kernel.TypeProto}}, list)
	return []Condition{Test{kernel.In{Key: kernel.Protocol, Set: set}}}
}

// ProtocolsOf gives the numbers of a service's protocols: of ports without a
// protocol TCP and UDP.
func ProtocolsOf(s config.Service, f Family) []byte {
	list := []config.IPProtocol{s.Protocol}
	if s.Protocol == config.ProtocolAny {
		list = []config.IPProtocol{config.ProtocolTCP, config.ProtocolUDP}
	}
	var out []byte
	for _, p := range list {
		if number, ok := p.Number(f.Index == 1); ok {
			out = append(out, number)
		}
	}
	return out
}
