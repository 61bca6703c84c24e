package kernel

import (
	"errors"
	"fmt"
	"net/netip"

	"golang.org/x/sys/unix"
)

// Numbers of linux/rtnetlink.h that package unix does not name.
const (
	rtaProtocol   = 27
	rtaSourcePort = 28
	rtaDestPort   = 29
)

// Lookup asks Linux by which route a packet goes, as ip route get does: by its
// addresses, protocol and ports, mark, and the interface that it comes in by
// (none: it is this machine's own). Rules and routes of everybody count. What
// has no route, or one that refuses, gives one of kind [Unreachable]. It errs
// if the packet would be dropped before it is routed, as a martian for example.
func (r *Reader) Lookup(p Packet) (Route, error) {
	names, err := r.links()
	if err != nil {
		return Route{}, wrapped("interfaces", err)
	}
	question, err := p.lookup(names)
	if err != nil {
		return Route{}, err
	}
	found, ok := Route{}, false
	err = ask(r.sockets, unix.NETLINK_ROUTE, unix.RTM_GETROUTE, 0, question, unix.RTM_NEWROUTE, func(b []byte) {
		if m, is := parseAnyRoad(b); is {
			found, ok = m.route(names), true
		}
	})
	switch {
	case errors.Is(err, unix.ENETUNREACH), errors.Is(err, unix.EHOSTUNREACH), errors.Is(err, unix.EACCES):
		return Route{To: netip.PrefixFrom(p.Dest, p.Dest.BitLen()), Kind: Unreachable}, nil
	case err != nil:
		return Route{}, fmt.Errorf("the route from %s to %s: %w", p.Source, p.Dest, err)
	case !ok:
		return Route{}, fmt.Errorf("the route from %s to %s: no answer", p.Source, p.Dest)
	}
	return found, nil
}

// lookup writes the question.
func (p *Packet) lookup(names map[int]*Interface) ([]byte, error) {
	bits := byte(p.Dest.BitLen())
	b := []byte{familyNumber(p.Dest), bits, bits, 0, 0, 0, 0, 0, 0, 0, 0, 0}
	native.PutUint32(b[8:], unix.RTM_F_LOOKUP_TABLE)
	b = append(b, attribute(unix.RTA_DST, p.Dest.AsSlice())...)
	b = append(b, attribute(unix.RTA_SRC, p.Source.AsSlice())...)
	b = append(b, attribute32(unix.RTA_MARK, p.Mark)...)
	switch p.Protocol { // others are refused
	case unix.IPPROTO_TCP, unix.IPPROTO_UDP:
		b = append(b, attribute(rtaProtocol, []byte{p.Protocol})...)
		b = append(b, attribute(rtaSourcePort, Port(p.SourcePort))...)
		b = append(b, attribute(rtaDestPort, Port(p.DestPort))...)
	case unix.IPPROTO_ICMP, unix.IPPROTO_ICMPV6:
		b = append(b, attribute(rtaProtocol, []byte{p.Protocol})...)
	}
	if p.In == "" {
		return b, nil
	}
	for _, n := range names {
		if n.Name == p.In {
			return append(b, attribute32(unix.RTA_IIF, uint32(n.Index))...), nil
		}
	}
	return nil, fmt.Errorf("there is no interface %s", p.In)
}

// route gives a route as we write them.
func (r *road) route(names map[int]*Interface) Route {
	out := Route{Table: int(r.at.table), To: r.at.to, Metric: int(r.at.metric), Via: r.via, Source: r.source, OnLink: r.onlink}
	if n := names[r.index]; n != nil {
		out.Interface = n.Name
	}
	switch r.kind {
	case unix.RTN_UNICAST:
	case unix.RTN_UNREACHABLE, unix.RTN_PROHIBIT, unix.RTN_BLACKHOLE, unix.RTN_THROW:
		out.Kind, out.Interface = Unreachable, ""
	default: // local, broadcast, multicast, anycast
		out.Kind = Local
	}
	return out
}
