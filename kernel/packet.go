package kernel

import (
	"cmp"
	"net/netip"
	"slices"

	"golang.org/x/sys/unix"
)

// Packet is what rules see of a packet, for [World.Walk].
type Packet struct {
	Source, Dest         netip.Addr // both IPv4 or both IPv6
	Protocol             uint8      // IPPROTO_
	SourcePort, DestPort uint16     // of TCP, UDP, SCTP, DCCP and UDP-Lite
	TCPFlags             uint8
	DNSFlags             uint8 // of UDP: the third octet of its data
	TOS                  uint8 // the DS field with the two bits of ECN
	Hops                 uint8 // the hop limit; 0: 64, with which most packets begin
	EtherSource          [6]byte
	In, Out              string // interfaces by name; empty where there is none, or none yet
	Mark                 uint32
	Priority             uint32 // skb->priority: 0 of what comes in
	Ct                   CtInfo
}

// CtInfo is what conntrack knows of a packet. The zero CtInfo: it does not
// track the packet.
type CtInfo struct {
	State  uint32 // one of CtInvalid, CtEstablished, CtRelated, CtNew
	Reply  bool   // the packet goes the other way than the first one
	Mark   uint32
	Label  [labelWidth]byte
	Status uint32 // bits of IPS_: 1 expected, 8 confirmed: not its first packet, 16 source NAT, 32 destination NAT

	// To is the destination that the connection was given in place of the one that
	// its packets have; port 0: that of the packets. The zero one: none.
	To netip.AddrPort
}

// ctUntracked is the state of a packet that conntrack left alone.
const ctUntracked uint32 = 64

// IPv6 is whether the packet is one of IPv6.
func (p *Packet) IPv6() bool { return p.Dest.Is6() && !p.Dest.Is4In6() }

func (p *Packet) family() byte {
	if p.IPv6() {
		return unix.NFPROTO_IPV6
	}
	return unix.NFPROTO_IPV4
}

func (p *Packet) hasPorts() bool { return HasPorts(p.Protocol) }

// HasPorts says whether a protocol has ports where fields of ports look:
// TCP, UDP, SCTP, DCCP and UDP-Lite.
func HasPorts(protocol uint8) bool {
	return slices.Contains(protocolsWithPorts, protocol)
}

// tracked is whether conntrack has an entry of it. There is none of an invalid one.
func (p *Packet) tracked() bool { return p.Ct.State&^(CtInvalid|ctUntracked) != 0 }

// field gives the octets of a field; ok is false if the packet has none such.
func (p *Packet) field(f Field, addrType func(netip.Addr) uint32) (b []byte, ok bool) {
	switch f {
	case Source4, Dest4, Source6, Dest6:
		return p.address(f)
	case SourcePort:
		return Port(p.SourcePort), p.hasPorts()
	case DestPort:
		return Port(p.DestPort), p.hasPorts()
	case EtherSource:
		return p.EtherSource[:], p.EtherSource != [6]byte{}
	case Protocol:
		return []byte{p.Protocol}, true
	case Family:
		return []byte{p.family()}, true
	case InName:
		return Name(p.In), true
	case OutName:
		return Name(p.Out), true
	case Mark:
		return Number(p.Mark), true
	case Priority:
		return Number(p.Priority), true
	case CtMark, CtState, CtDirection, CtStatus, CtLabel:
		return p.session(f)
	case Hops4, Hops6:
		return []byte{cmp.Or(p.Hops, 64)}, (f == Hops6) == p.IPv6()
	case DestType:
		return Number(addrType(p.Dest)), true
	case SourceType:
		return Number(addrType(p.Source)), true
	case TCPFlags:
		return []byte{p.TCPFlags}, p.Protocol == unix.IPPROTO_TCP
	case DNSFlags:
		return []byte{p.DNSFlags}, p.Protocol == unix.IPPROTO_UDP
	}
	return nil, false
}

func (p *Packet) address(f Field) (b []byte, ok bool) {
	six := f == Source6 || f == Dest6
	a := p.Source
	if f == Dest4 || f == Dest6 {
		a = p.Dest
	}
	return Addr(a), six == p.IPv6()
}

func (p *Packet) session(f Field) (b []byte, ok bool) {
	switch f {
	case CtState:
		if p.Ct.State == 0 {
			return Number(ctUntracked), true
		}
		return Number(p.Ct.State), true
	case CtMark:
		return Number(p.Ct.Mark), p.tracked()
	case CtLabel:
		return p.Ct.Label[:], p.tracked()
	case CtStatus:
		return Number(p.Ct.Status), p.tracked()
	default: // CtDirection
		if p.Ct.Reply {
			return []byte{1}, p.tracked()
		}
		return []byte{0}, p.tracked()
	}
}

// typeByLooks tells the type of an address by itself: nothing is local but
// loopback, and nothing broadcast but 255.255.255.255.
func typeByLooks(a netip.Addr) uint32 {
	switch {
	case a.IsMulticast():
		return AddrMulticast
	case a.IsLoopback():
		return AddrLocal
	case a == netip.AddrFrom4([4]byte{255, 255, 255, 255}):
		return AddrBroadcast
	}
	return AddrUnicast
}

// AddressTypes gives a function for [World.AddressType]: the addresses of these
// interfaces' own are local, and the highest ones of their IPv4 networks are
// broadcast.
func AddressTypes(own ...netip.Prefix) func(netip.Addr) uint32 {
	types := make(map[netip.Addr]uint32, 2*len(own))
	for _, p := range own {
		if p.Addr().Is4() && p.Bits() < 31 {
			types[highest(p)] = AddrBroadcast
		}
	}
	for _, p := range own {
		types[p.Addr().WithZone("")] = AddrLocal
	}
	return func(a netip.Addr) uint32 {
		if t, ok := types[a.WithZone("")]; ok {
			return t
		}
		return typeByLooks(a)
	}
}

// highest is the highest address of a prefix.
func highest(p netip.Prefix) netip.Addr {
	b := p.Addr().AsSlice()
	for i := p.Bits(); i < len(b)*8; i++ {
		b[i/8] |= 1 << (7 - i%8)
	}
	a, _ := netip.AddrFromSlice(b)
	return a
}
