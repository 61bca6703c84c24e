package kernel

import (
	"bytes"
	"encoding/binary"
	"net/netip"
)

// Bits of the status of a connection (IPS_...).
const (
	statusConfirmed   = 1 << 3
	statusDestNAT     = 1 << 5
	statusSourceKnown = 1 << 7 // whether its source is translated is settled
	statusDestKnown   = 1 << 8
)

// natOf is where Linux translates at a hook: what all chains of type nat there
// together decide, and the bit that tells that they did.
func natOf(point string) (at int32, done uint32) {
	if point == "prerouting" || point == "output" {
		return -100, statusDestKnown
	}
	return 100, statusSourceKnown
}

// translateAt gives a packet of a known connection the destination that this was
// given, once the chains before have seen it.
func (k *walker) translateAt(point string) {
	p := &k.trace.Packet
	if to := p.Ct.To; to.IsValid() && !p.Ct.Reply && k.trace.To == nil && (point == "prerouting" || point == "output") {
		k.aim(to)
	}
}

// aim gives the packet another destination.
func (k *walker) aim(to netip.AddrPort) {
	p := &k.trace.Packet
	if to.Addr() != p.Dest || to.Port() != 0 && to.Port() != p.DestPort {
		p.Ct.Status |= statusDestNAT
	}
	p.Dest = to.Addr()
	if to.Port() != 0 {
		p.DestPort = to.Port()
	}
	p.Ct.Status |= statusDestKnown
	k.trace.To = &to
}

// natValue gives the octets of a value that addresses and ports are taken from, of
// one width or another.
func (k *walker) natValue(v6, port bool, to Value, width, or int) ([]byte, bool) {
	p := &k.trace.Packet
	switch {
	case v6 != p.IPv6():
		return nil, k.wrongFamily()
	case port && !p.hasPorts():
		return nil, k.stop("its protocol has no ports")
	}
	b, ok := k.value(to)
	if ok && len(b) != width && len(b) != or {
		return nil, k.fail("a translation has %d octets, not %d", width, len(b))
	}
	return b, ok
}

// dnat gives the connection another destination. No port, and port 0, leave that
// of the packet.
func (k *walker) dnat(s DNAT) bool {
	n := widthAddr(s.IPv6)
	width := n
	if s.Port {
		width += 4
	}
	b, ok := k.natValue(s.IPv6, s.Port, s.To, width, width)
	if !ok {
		return false
	}
	k.trace.Packet.Priority = 0
	port := uint16(0)
	if s.Port {
		port = binary.BigEndian.Uint16(b[n:])
	}
	k.aim(netip.AddrPortFrom(address(b[:n]), port))
	return k.did(s)
}

func (k *walker) snatTo(s SNATTo) bool {
	n := widthAddr(s.IPv6)
	width := 2 * n
	if s.Ports {
		width += 8
	}
	b, ok := k.natValue(s.IPv6, s.Ports, s.To, width, 2*n+8)
	if !ok {
		return false
	}
	nat := &NAT{From: address(b[:n]), To: address(b[n : 2*n])}
	if s.Ports {
		nat.FirstPort, nat.LastPort = binary.BigEndian.Uint16(b[2*n:]), binary.BigEndian.Uint16(b[2*n+4:])
	}
	k.trace.NAT = nat
	return k.did(s)
}

// above says whether what found an element is above its limit, if it has one.
func (k *walker) above(set *liveSet, key []byte, l *liveElement) bool {
	if !l.limited() {
		return true
	}
	el := l.Element
	return k.reached(Limit{Place: k.visit.Place, Key: key, Set: set.Name, Element: &el})
}

// inBox says whether a key is in a range of keys of several parts.
func (s *Set) inBox(el *Element, key []byte) bool {
	at, last := 0, el.last()
	for _, t := range s.Key {
		end := at + types[t].width
		if bytes.Compare(key[at:end], el.Key[at:end]) < 0 || bytes.Compare(key[at:end], last[at:end]) > 0 {
			return false
		}
		at += padded(types[t].width)
	}
	return true
}

// forwarded is the priority that Linux gives an IPv4 packet which it forwards, by its
// TOS (rt_tos2priority): nothing that was written before routing is left.
func forwarded(tos uint8) uint32 {
	return [...]uint32{0, 2, 6, 4}[tos>>3&3] // best effort, bulk, interactive, interactive bulk
}
