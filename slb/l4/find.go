package l4

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"

	"github.com/portolan-lb/portolan/config"
	"github.com/portolan-lb/portolan/kernel"
	"github.com/portolan-lb/portolan/traffic"
)

// Which virtual server a packet is for is looked up in two steps at most.
//
//	exact   address . protocol . port  -> virtual server     hash
//	nets    address                    -> class of addresses  ranges that do not overlap
//	ports   class . protocol . ports   -> virtual server     boxes that do not overlap
//	protos  class . protocol           -> virtual server     every port
//	any     class                      -> virtual server     every protocol
//	parent  class                      -> class of the next larger network
//
// A class is the addresses of a network less those of smaller ones in it. So of
// several virtual servers that a packet fits the longest mask has it, then its
// very port, then the smaller range of ports, then every port of its protocol,
// then type ip (FAQ 1.1.9). What of a range another one has is cut out here.

// claim is what a virtual server wants of the packets to one network.
type claim struct {
	*server
	net      netip.Prefix
	protocol uint8            // 0: every one
	ports    config.PortRange // zero: all
}

const tcp, udp = 6, 17

// exact says whether it is one port of one address.
func (c claim) exact() bool {
	return c.net.IsSingleIP() && c.protocol != 0 && c.ports.From == c.ports.To && c.ports.From != 0
}

// rank orders claims to one network: the smaller goes first.
func (c claim) rank() int {
	switch {
	case c.protocol == 0:
		return 1 << 17
	case c.ports == config.PortRange{}:
		return 1 << 16
	}
	return int(c.ports.To) - int(c.ports.From)
}

// service is what one claim may have of a network.
type service struct {
	net      netip.Prefix
	protocol uint8
	ports    config.PortRange
}

// class is the addresses of a network less those of smaller ones in it.
type class struct {
	number uint32
	net    netip.Prefix
	claims []claim // the smaller rank first
}

// found is what is looked up, as elements.
type found struct {
	exact, nets   [2][]kernel.Element
	ports, protos []kernel.Element
	any, parent   []kernel.Element
	lost          map[*server]*server // what another one takes all of
	had           map[*server]bool
	nested        int
	classes       []*class
	ofNet         map[netip.Prefix]*class
	claimed       map[service]*server
	single        map[netip.Prefix][]claim // exact ones
}

// claims resolves what virtual servers want. That one is never reached, as
// others take all of it, is an error.
func (p *Plan) claims() (*found, config.Errors) {
	f := &found{lost: map[*server]*server{}, had: map[*server]bool{}, ofNet: map[netip.Prefix]*class{}, single: map[netip.Prefix][]claim{}, claimed: map[service]*server{}}
	for _, s := range p.servers {
		for _, c := range s.claims() {
			f.claim(c)
		}
	}
	f.place()
	for _, k := range f.classes {
		f.resolve(k)
	}
	p.has.nested = f.nested
	return f, f.errors(p)
}

// claims lists what a virtual server wants.
func (s *server) claims() (list []claim) {
	ports := s.ServedPorts()
	if len(ports) == 0 {
		ports = []config.PortRange{{}}
	}
	protocol, _ := s.Serve.Type.Protocol().Number(false)
	for _, net := range s.ServedPrefixes() {
		for _, r := range ports {
			list = append(list, claim{s, net.Masked(), protocol, r})
		}
	}
	return list
}

func (f *found) claim(c claim) {
	key := service{c.net, c.protocol, c.ports}
	if by := f.claimed[key]; by != nil {
		f.lose(c.server, by)
		return
	}
	f.claimed[key] = c.server
	if c.exact() {
		at := traffic.FamilyOf(c.net.Addr())
		f.had[c.server] = true
		f.single[c.net] = append(f.single[c.net], c)
		f.exact[at] = append(f.exact[at], kernel.Element{Key: kernel.Key(kernel.Addr(c.net.Addr()), []byte{c.protocol}, kernel.Port(c.ports.From)), Data: kernel.Number(c.mark)})
		return
	}
	k := f.ofNet[c.net]
	if k == nil {
		k = &class{net: c.net}
		f.ofNet[c.net], f.classes = k, append(f.classes, k)
	}
	k.claims = append(k.claims, c)
}

// lose notes that something of a virtual server is another's.
func (f *found) lose(s, to *server) {
	if s != to && f.lost[s] == nil {
		f.lost[s] = to
	}
}

// place numbers the classes and divides the addresses among them. Of one
// network's virtual servers the lowest number is the class's, with the family:
// so it does not change with what others do.
func (f *found) place() {
	slices.SortFunc(f.classes, func(a, b *class) int {
		return cmp.Or(a.net.Addr().Compare(b.net.Addr()), cmp.Compare(a.net.Bits(), b.net.Bits()))
	})
	var around []*class // each network that the one before it lies in
	var nets [2][]netip.Prefix
	for _, k := range f.classes {
		at := traffic.FamilyOf(k.net.Addr())
		slices.SortStableFunc(k.claims, func(a, b claim) int { return cmp.Compare(a.rank(), b.rank()) })
		k.number = k.claims[0].number
		for _, c := range k.claims {
			k.number = min(k.number, c.number)
		}
		k.number = k.number<<1 | uint32(at)
		for len(around) > 0 && !around[len(around)-1].net.Contains(k.net.Addr()) {
			around = around[:len(around)-1]
		}
		if len(around) > 0 {
			f.parent = append(f.parent, kernel.Element{Key: kernel.Number(k.number), Data: kernel.Number(around[len(around)-1].number)})
		}
		around = append(around, k)
		f.nested = max(f.nested, len(around))
		nets[at] = append(nets[at], k.net)
	}
	for at := range nets {
		for _, r := range traffic.Innermost(nets[at]) {
			f.nets[at] = append(f.nets[at], kernel.Element{Key: kernel.Addr(r.From), End: kernel.Addr(r.To), Data: kernel.Number(f.ofNet[r.Inside].number)})
		}
	}
}

// resolve divides the protocols and ports of a class.
func (f *found) resolve(k *class) {
	for _, protocol := range []uint8{tcp, udp} {
		var taken spans
		for _, c := range f.single[k.net] {
			if c.protocol == protocol {
				taken.cut(c.ports, c.server)
			}
		}
		for _, c := range k.claims {
			if c.protocol != protocol {
				continue
			}
			if c.ports == (config.PortRange{}) {
				f.had[c.server] = true
				f.protos = append(f.protos, kernel.Element{Key: kernel.Key(kernel.Number(k.number), []byte{protocol}), Data: kernel.Number(c.mark)})
				continue
			}
			free := taken.cut(c.ports, c.server)
			for _, r := range free {
				f.had[c.server] = true
				key := func(port uint16) []byte {
					return kernel.Key(kernel.Number(k.number), []byte{protocol}, kernel.Port(port))
				}
				f.ports = append(f.ports, kernel.Element{Key: key(r.From), End: key(r.To), Data: kernel.Number(c.mark)})
			}
			if len(free) == 0 {
				f.lose(c.server, taken.at(c.ports.From))
			}
		}
	}
	for _, c := range k.claims {
		if c.protocol == 0 {
			f.had[c.server] = true
			f.any = append(f.any, kernel.Element{Key: kernel.Number(k.number), Data: kernel.Number(c.mark)})
		}
	}
}

// spans are ranges of ports that do not overlap, in order.
type spans []span

type span struct {
	config.PortRange
	of *server
}

// after gives the place of the first span that ends at a port or behind it.
func (s spans) after(port uint16) int {
	i, _ := slices.BinarySearchFunc(s, port, func(r span, port uint16) int { return cmp.Compare(r.To, port) })
	return i
}

// at gives whose a port is; nil: nobody's.
func (s spans) at(port uint16) *server {
	if i := s.after(port); i < len(s) && s[i].From <= port {
		return s[i].of
	}
	return nil
}

// cut takes what is free of a range, and gives it.
func (s *spans) cut(want config.PortRange, of *server) (free []config.PortRange) {
	at := s.after(want.From)
	from, end := int(want.From), at
	for ; end < len(*s) && (*s)[end].From <= want.To; end++ {
		if r := (*s)[end]; from < int(r.From) {
			free = append(free, config.PortRange{From: uint16(from), To: r.From - 1})
		}
		from = int((*s)[end].To) + 1
	}
	if from <= int(want.To) {
		free = append(free, config.PortRange{From: uint16(from), To: want.To})
	}
	if len(free) == 0 {
		return nil
	}
	made := slices.Clone((*s)[at:end])
	for _, r := range free {
		made = append(made, span{r, of})
	}
	slices.SortFunc(made, func(a, b span) int { return cmp.Compare(a.From, b.From) })
	*s = slices.Replace(*s, at, end, made...)
	return free
}

// errors tells of virtual servers that are never reached.
func (f *found) errors(p *Plan) (errs config.Errors) {
	for i, v := range p.model.VirtualServers {
		s := p.byServer[v.Name]
		if s == nil || f.had[s] || f.lost[s] == nil {
			continue
		}
		errs = append(errs, &config.Error{Pos: v.Pos, Path: fmt.Sprintf("virtualServers[%d]", i),
			Text: fmt.Sprintf("it is never reached: virtual server %q takes all that is for it", f.lost[s].Name)})
	}
	return errs
}
