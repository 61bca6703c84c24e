package config

import (
	"fmt"
	"math/big"
	"net/netip"
	"strconv"
	"strings"
)

// IPProtocol is a protocol above IP.
type IPProtocol string

// The protocols that can be told apart.
const (
	ProtocolAny     IPProtocol = "any"     // every protocol
	ProtocolTCP     IPProtocol = "tcp"     // has ports
	ProtocolUDP     IPProtocol = "udp"     // has ports; QUIC is UDP
	ProtocolICMP    IPProtocol = "icmp"    // ICMP over IPv4, ICMPv6 over IPv6
	ProtocolSCTP    IPProtocol = "sctp"    // has ports
	ProtocolDCCP    IPProtocol = "dccp"    // has ports
	ProtocolUDPLite IPProtocol = "udplite" // has ports
	ProtocolGRE     IPProtocol = "gre"     // tunnels, PPTP
	ProtocolESP     IPProtocol = "esp"     // IPsec
	ProtocolAH      IPProtocol = "ah"      // IPsec without secrecy
)

// Number gives the protocol's number in a packet (RFC 5237) of IPv6 or IPv4;
// ok is false for any.
func (p IPProtocol) Number(v6 bool) (number uint8, ok bool) {
	if p == ProtocolICMP && v6 {
		return 58, true
	}
	number, ok = map[IPProtocol]uint8{ProtocolICMP: 1, ProtocolTCP: 6, ProtocolUDP: 17, ProtocolDCCP: 33, ProtocolGRE: 47,
		ProtocolESP: 50, ProtocolAH: 51, ProtocolSCTP: 132, ProtocolUDPLite: 136}[p]
	return number, ok
}

// HasPorts says whether packets of the protocol carry ports.
func (p IPProtocol) HasPorts() bool {
	switch p {
	case ProtocolTCP, ProtocolUDP, ProtocolSCTP, ProtocolDCCP, ProtocolUDPLite:
		return true
	}
	return false
}

// PortRange is a port, or several in a row: 443, or "8000-8100" with both ends
// in it. 1 to 65535.
type PortRange struct {
	From uint16 `json:"from"`
	To   uint16 `json:"to"` // at least From
}

// String writes 443 or 8000-8100.
func (p PortRange) String() string {
	if p.From == p.To {
		return strconv.Itoa(int(p.From))
	}
	return fmt.Sprintf("%d-%d", p.From, p.To)
}

// MarshalText writes what String does.
func (p PortRange) MarshalText() ([]byte, error) { return []byte(p.String()), nil }

// Has says whether a port is one of them.
func (p PortRange) Has(port uint16) bool { return p.From <= port && port <= p.To }

func parsePorts(text string) (PortRange, bool) {
	low, high, isRange := strings.Cut(text, "-")
	from, err := strconv.ParseUint(low, 10, 16)
	to := from
	if err == nil && isRange {
		to, err = strconv.ParseUint(high, 10, 16)
	}
	return PortRange{uint16(from), uint16(to)}, err == nil && 1 <= from && from <= to
}

// UnmarshalText reads what String writes.
func (p *PortRange) UnmarshalText(text []byte) error {
	ports, ok := parsePorts(string(text))
	if !ok {
		return fmt.Errorf("%s is no port such as 443, nor a range such as 8000-8100, of 1 to 65535", quote(string(text)))
	}
	*p = ports
	return nil
}

// Service is a protocol with or without ports: "tcp/443", "udp/8000-8100",
// "443" (over tcp and udp), or a protocol alone, such as "icmp".
type Service struct {
	Protocol IPProtocol `json:"protocol,omitempty"` // any: tcp and udp
	Ports    PortRange  `json:"ports,omitzero"`     // zero: all, and protocols without any
}

// String writes it as the configuration does.
func (s Service) String() string {
	switch {
	case s.Ports == PortRange{}:
		return string(s.Protocol)
	case s.Protocol == ProtocolAny:
		return s.Ports.String()
	default:
		return string(s.Protocol) + "/" + s.Ports.String()
	}
}

// MarshalText writes what String does.
func (s Service) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// Has says whether a packet of a protocol to a port is of the service. port
// does not count for protocols without ports.
func (s Service) Has(protocol IPProtocol, port uint16) bool {
	if s.Ports == (PortRange{}) {
		return s.Protocol == protocol
	}
	mine := s.Protocol == protocol || s.Protocol == ProtocolAny && (protocol == ProtocolTCP || protocol == ProtocolUDP)
	return mine && s.Ports.Has(port)
}

// UnmarshalText reads what String writes.
func (s *Service) UnmarshalText(text []byte) error {
	if ports, ok := parsePorts(string(text)); ok {
		*s = Service{ProtocolAny, ports}
		return nil
	}
	word, digits, hasPorts := strings.Cut(string(text), "/")
	protocol := IPProtocol(word)
	ports, ok := parsePorts(digits)
	switch {
	case protocol == ProtocolAny || !vocabularies["ipProtocol"].has(word):
		return fmt.Errorf("%s is no service such as tcp/443, udp/8000-8100, 443 or icmp", quote(string(text)))
	case hasPorts && !protocol.HasPorts():
		return fmt.Errorf("%s is no service: %s has no ports", quote(string(text)), word)
	case hasPorts && !ok:
		return fmt.Errorf("%s is no port such as 443, nor a range such as 8000-8100, of 1 to 65535", quote(digits))
	}
	*s = Service{protocol, ports}
	return nil
}

// TOS is the type of service of packets, the traffic class of IPv6: a number
// of 0 to 252 as in 184 or 0xb8, or the name of a code point (RFC 2474): ef,
// af11 to af43, cs0 to cs7, be. The lowest two bits belong to congestion
// notification (RFC 3168) and are left as they are.
type TOS uint8

// String writes the number in hexadecimal, as Linux shows it.
func (t TOS) String() string { return fmt.Sprintf("%#02x", uint8(t)) }

// MarshalText writes what String does.
func (t TOS) MarshalText() ([]byte, error) { return []byte(t.String()), nil }

// UnmarshalText reads a number or the name of a code point.
func (t *TOS) UnmarshalText(text []byte) error {
	word := strings.ToLower(string(text))
	if v, ok := codePoint(word); ok {
		*t = v << 2
		return nil
	}
	digits, base := word, 10
	if hex, ok := strings.CutPrefix(word, "0x"); ok {
		digits, base = hex, 16
	}
	v, err := strconv.ParseUint(digits, base, 8)
	switch {
	case err != nil:
		return fmt.Errorf("%s is no type of service such as 184, 0xb8, ef, af41 or cs1", quote(string(text)))
	case v&3 != 0:
		return fmt.Errorf("%s sets the lowest two bits, which belong to congestion notification (RFC 3168)", quote(string(text)))
	}
	*t = TOS(v)
	return nil
}

// codePoint gives a differentiated services code point by its name (RFC 2474,
// 2597, 3246).
func codePoint(word string) (TOS, bool) {
	switch word {
	case "ef":
		return 46, true
	case "be":
		return 0, true
	}
	if len(word) == 3 && word[:2] == "cs" && '0' <= word[2] && word[2] <= '7' {
		return TOS(word[2]-'0') << 3, true
	}
	if len(word) == 4 && word[:2] == "af" && '1' <= word[2] && word[2] <= '4' && '1' <= word[3] && word[3] <= '3' {
		return TOS(word[2]-'0')<<3 | TOS(word[3]-'0')<<1, true
	}
	return 0, false
}

// AddressRange is an address, or several in a row with both ends in it:
// 203.0.113.5, 203.0.113.8-203.0.113.15, or the prefix 203.0.113.8/29, all of
// which count.
type AddressRange struct {
	From netip.Addr `json:"from"`
	To   netip.Addr `json:"to"` // at least From, of its family
}

// String writes an address or two with a dash.
func (r AddressRange) String() string {
	if r.From == r.To {
		return r.From.String()
	}
	return r.From.String() + "-" + r.To.String()
}

// MarshalText writes what String does.
func (r AddressRange) MarshalText() ([]byte, error) { return []byte(r.String()), nil }

// Has says whether an address is one of them.
func (r AddressRange) Has(a netip.Addr) bool {
	return a.Is4() == r.From.Is4() && r.From.Compare(a) <= 0 && a.Compare(r.To) <= 0
}

// Size counts the addresses; what is more than 1<<32 is 1<<32.
func (r AddressRange) Size() uint64 {
	from, to := r.From.As16(), r.To.As16()
	n := new(big.Int).Sub(new(big.Int).SetBytes(to[:]), new(big.Int).SetBytes(from[:]))
	if n.BitLen() > 32 {
		return 1 << 32
	}
	return n.Uint64() + 1
}

// UnmarshalText reads what String writes, and prefixes.
func (r *AddressRange) UnmarshalText(text []byte) error {
	low, high, isRange := strings.Cut(string(text), "-")
	if p, err := netip.ParsePrefix(low); err == nil && !isRange {
		if p != p.Masked() {
			return fmt.Errorf("%s has bits set beyond its length; write %s", quote(low), p.Masked())
		}
		*r = AddressRange{p.Addr(), lastOf(p)}
		return plainRange(text, *r)
	}
	from, err := netip.ParseAddr(low)
	to := from
	if isRange && err == nil {
		to, err = netip.ParseAddr(high)
	}
	switch {
	case err != nil:
		return fmt.Errorf("%s is no address, nor a range such as 203.0.113.8-203.0.113.15 or 203.0.113.8/29", quote(string(text)))
	case from.BitLen() != to.BitLen():
		return fmt.Errorf("%s and %s are of different families", from, to)
	case to.Less(from):
		return fmt.Errorf("%s ends before it begins", quote(string(text)))
	}
	*r = AddressRange{from, to}
	return plainRange(text, *r)
}

// plainRange refuses addresses that mean different things in different places.
func plainRange(text []byte, r AddressRange) error {
	for _, a := range []netip.Addr{r.From, r.To} {
		if a.Zone() != "" || a.Is4In6() {
			return fmt.Errorf("%s has a zone, or is an IPv4 address in IPv6 clothes", quote(string(text)))
		}
	}
	return nil
}

// lastOf gives the last address of a prefix.
func lastOf(p netip.Prefix) netip.Addr {
	a := p.Addr().AsSlice()
	for bit := p.Bits(); bit < len(a)*8; bit++ {
		a[bit/8] |= 1 << (7 - bit%8)
	}
	last, _ := netip.AddrFromSlice(a)
	return last
}
