package outbound

import (
	"fmt"
	"reflect"
	"slices"

	"github.com/portolan-lb/portolan/config"
	"github.com/portolan-lb/portolan/kernel"
	"github.com/portolan-lb/portolan/traffic"
)

// condition is what a packet must be like: never, always, a test, all of
// several or any of them.
type condition interface{}

// constant is a condition that depends on no packet.
type constant bool

const (
	never  constant = false
	always constant = true
)

// test is what one rule can ask.
type test []kernel.Step

type (
	allOf []condition // none of them constant, nor an allOf
	anyOf []condition // none of them constant, nor an anyOf
)

// all joins conditions that must all hold.
func all(list ...condition) condition {
	var out allOf
	for _, c := range list {
		switch c := c.(type) {
		case constant:
			if !c {
				return never
			}
		case allOf:
			out = append(out, c...)
		default:
			out = append(out, c)
		}
	}
	switch len(out) {
	case 0:
		return always
	case 1:
		return out[0]
	}
	return out
}

// some joins conditions of which one must hold.
func some(list ...condition) condition {
	var out anyOf
	for _, c := range list {
		switch c := c.(type) {
		case constant:
			if c {
				return always
			}
		case anyOf:
			out = append(out, c...)
		default:
			out = append(out, c)
		}
	}
	switch len(out) {
	case 0:
		return never
	case 1:
		return out[0]
	}
	return out
}

func alike(a, b condition) bool { return reflect.DeepEqual(a, b) }

// when writes the rules that go to a chain where a condition holds. Where
// several alternatives must hold at once, each but the last leads to a chain
// that asks for the next, so that there are as many rules as tests, and not as
// many as combinations.
func (b *builder) when(c condition, name, tell string, to kernel.Goto) []kernel.Rule {
	w := &ways{builder: b, name: name, tell: tell}
	return w.rules(nil, c, to)
}

type ways struct {
	*builder
	name, tell string
	chains     int
}

func (w *ways) rules(before test, c condition, to kernel.Goto) (rules []kernel.Rule) {
	add := func(t test) {
		rules = append(rules, traffic.Rule(w.tell, append(slices.Concat(before, t), to)...))
	}
	switch c := c.(type) {
	case constant:
		if c {
			add(nil)
		}
	case test:
		add(c)
	case anyOf:
		for _, one := range c {
			rules = append(rules, w.rules(before, one, to)...)
		}
	case allOf:
		tests := slices.Clone(before)
		var choices []condition
		for _, one := range c {
			if t, ok := one.(test); ok {
				tests = append(tests, t...)
			} else {
				choices = append(choices, one)
			}
		}
		if len(choices) == 0 {
			return append(rules, traffic.Rule(w.tell, append(tests, to)...))
		}
		if rest := choices[1:]; len(rest) > 0 {
			w.chains++
			next := fmt.Sprintf("%s_%d", w.name, w.chains)
			to = kernel.Goto{Chain: w.Chain(next, func() []kernel.Rule { return w.rules(nil, all(rest...), to) })}
		}
		rules = append(rules, w.rules(tests, choices[0], to)...)
	}
	return rules
}

// class gives the condition of a class for packets of one family. within is how
// many classes it stands in.
func (b *builder) class(k *config.Class, f traffic.Family, within int) condition {
	const loop = 64 // the configuration has none
	if k == nil || within > loop {
		return never
	}
	name := traffic.Word(k.Name)
	var lists []condition
	if len(k.Sources) > 0 {
		lists = append(lists, b.inside(f.Source, "class_"+name+"_from"+f.Digit, f, traffic.RangesOf(f, k.Sources...)))
	}
	if len(k.Destinations) > 0 {
		lists = append(lists, b.inside(f.Dest, "class_"+name+"_to"+f.Digit, f, traffic.RangesOf(f, k.Destinations...)))
	}
	lists = append(lists, b.places(k, f)...)
	if len(k.Services) > 0 {
		lists = append(lists, b.services("class_"+name, k.Services, f))
	}
	if len(k.Interfaces) > 0 {
		lists = append(lists, b.interfaces("class_"+name+"_in", k.Interfaces))
	}
	if len(k.Times) > 0 {
		lists = append(lists, constant(slices.ContainsFunc(k.Times, func(s *config.Schedule) bool { return s.Holds(b.facts.Now) })))
	}
	if len(k.Classes) > 0 {
		var inner []condition
		for _, other := range k.Classes {
			inner = append(inner, b.class(b.plan.classes[other], f, within+1))
		}
		lists = append(lists, some(inner...))
	}
	if k.Match == config.MatchAny {
		return some(lists...)
	}
	return all(lists...)
}

// places gives the conditions of ISPs, autonomous systems and countries, which
// share one set each, however many classes name them.
func (b *builder) places(k *config.Class, f traffic.Family) (lists []condition) {
	if b.plan.topo == nil {
		if len(k.ISPs)+len(k.ASNs)+len(k.Countries) > 0 {
			lists = append(lists, never) // nothing is known of them
		}
		return lists
	}
	add := func(n int, one func(i int) (string, []config.AddressRange, []config.AddressRange)) {
		var list []condition
		for i := range n {
			name, v4, v6 := one(i)
			ranges := [2][]config.AddressRange{v4, v6}[f.Index]
			list = append(list, b.inside(f.Dest, name+"_"+f.Digit, f, ranges))
		}
		if n > 0 {
			lists = append(lists, some(list...))
		}
	}
	add(len(k.ISPs), func(i int) (string, []config.AddressRange, []config.AddressRange) {
		v4, v6, _ := b.plan.topo.ISP(k.ISPs[i])
		return "isp_" + traffic.Word(k.ISPs[i]), v4, v6
	})
	add(len(k.ASNs), func(i int) (string, []config.AddressRange, []config.AddressRange) {
		v4, v6, _ := b.plan.topo.ASN(k.ASNs[i])
		return fmt.Sprint("asn_", k.ASNs[i]), v4, v6
	})
	add(len(k.Countries), func(i int) (string, []config.AddressRange, []config.AddressRange) {
		v4, v6, _ := b.plan.topo.Country(k.Countries[i])
		return "country_" + traffic.Word(k.Countries[i]), v4, v6
	})
	return lists
}

// inside asks whether an address is in one of the ranges.
func (b *builder) inside(of kernel.Field, set string, f traffic.Family, list []config.AddressRange) condition {
	switch {
	case len(list) == 0:
		return never
	case traffic.Whole(f, list):
		return always
	}
	return test{kernel.In{Key: of, Set: b.Ranges(set, f, list)}}
}

func (b *builder) interfaces(set string, names []string) condition {
	if len(names) == 1 {
		return test{kernel.Is{Of: kernel.InName, To: kernel.Name(names[0])}}
	}
	var list []kernel.Element
	for _, n := range names {
		list = append(list, kernel.Element{Key: kernel.Name(n)})
	}
	return test{kernel.In{Key: kernel.InName, Set: b.Fix(kernel.Set{Name: set, Key: []kernel.Type{kernel.TypeName}}, list)}}
}

// services asks for protocols and ports.
func (b *builder) services(name string, list []config.Service, f traffic.Family) condition {
	var protocols []kernel.Element
	var order []byte // protocols with ports
	ports, count := map[byte][]config.PortRange{}, 0
	for _, s := range list {
		for _, number := range protocolsOf(s, f) {
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
	ways := b.protocols(name, traffic.Distinct(protocols), f)
	if count > maxSinglePorts {
		return some(append(ways, b.portRanges(name, order, ports)...)...)
	}
	return some(append(ways, b.singlePorts(name, order, ports))...)
}

// singlePorts asks for ports one by one.
func (b *builder) singlePorts(name string, order []byte, ports map[byte][]config.PortRange) condition {
	var single []kernel.Element
	for _, number := range order {
		for _, r := range mergedPorts(ports[number]) {
			for p := int(r.From); p <= int(r.To); p++ {
				single = append(single, kernel.Element{Key: kernel.Key([]byte{number}, kernel.Port(uint16(p)))})
			}
		}
	}
	switch len(single) {
	case 0:
		return never
	case 1:
		return test{kernel.Is{Of: kernel.Protocol, To: single[0].Key[:1]}, kernel.Is{Of: kernel.DestPort, To: single[0].Key[4:6]}}
	}
	set := b.Fix(kernel.Set{Name: name + "_ports", Key: []kernel.Type{kernel.TypeProto, kernel.TypePort}}, single)
	return test{kernel.In{Key: kernel.Join{kernel.Protocol, kernel.DestPort}, Set: set}}
}

// maxSinglePorts is up to how many ports are looked up singly, all protocols in
// one set; more are ranges, in a set for each protocol.
const maxSinglePorts = 512

func (b *builder) portRanges(name string, order []byte, ports map[byte][]config.PortRange) (ways []condition) {
	for _, number := range order {
		var list []kernel.Element
		for _, r := range mergedPorts(ports[number]) {
			list = append(list, kernel.Element{Key: kernel.Port(r.From), End: kernel.Port(r.To)})
		}
		set := b.Fix(kernel.Set{Name: fmt.Sprintf("%s_ports_%d", name, number), Key: []kernel.Type{kernel.TypePort}, Interval: true}, list)
		ways = append(ways, test{kernel.Is{Of: kernel.Protocol, To: []byte{number}}, kernel.In{Key: kernel.DestPort, Set: set}})
	}
	return ways
}

func mergedPorts(list []config.PortRange) (out []config.PortRange) {
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
func (b *builder) protocols(name string, list []kernel.Element, f traffic.Family) []condition {
	switch len(list) {
	case 0:
		return nil
	case 1:
		return []condition{test{kernel.Is{Of: kernel.Protocol, To: list[0].Key}}}
	}
	set := b.Fix(kernel.Set{Name: name + "_protocols" + f.Digit, Key: []kernel.Type{kernel.TypeProto}}, list)
	return []condition{test{kernel.In{Key: kernel.Protocol, Set: set}}}
}

// protocolsOf gives the numbers of a service's protocols: of ports without a
// protocol TCP and UDP.
func protocolsOf(s config.Service, f traffic.Family) []byte {
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

// ofFamily says whether a rule asks for something that only packets of one
// family have.
func ofFamily(steps []kernel.Step) bool {
	return slices.ContainsFunc(steps, func(s kernel.Step) bool {
		in, ok := s.(kernel.In)
		if !ok {
			return false
		}
		switch in.Key {
		case kernel.Source4, kernel.Dest4, kernel.Source6, kernel.Dest6:
			return true
		}
		return false
	})
}
