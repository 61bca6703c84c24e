package kernel

import (
	"encoding/binary"
	"net/netip"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// Session is one connection that Linux tracks.
type Session struct {
	ID   uint32 // made by the kernel; not free of collisions
	Zone uint16

	// Original is the direction of the first packet, before translation of
	// addresses; Reply is what answers look like when they come in.
	Original, Reply Tuple

	Mark     uint32
	Label    [labelWidth]byte
	Status   uint32        // IPS_... bits
	Timeout  time.Duration // until it ends if nothing comes; 0: not told
	State    string        // of TCP, in the words of the conntrack program; "": another protocol
	Traffic  [2]Traffic    // original and reply; nothing without nf_conntrack_acct
	Child    bool          // made for another, as FTP's data connections are
	Helper   string        // the kernel's helper that reads it along, such as "ftp"; "": none
	tupleRaw []byte        // the original tuple as it came; valid while the message is
}

// Tuple is one direction of a session.
type Tuple struct {
	Protocol            uint8 // IANA's number
	Source, Destination netip.AddrPort
	// Kind, Code and ID are of ICMP, which has no ports.
	Kind, Code uint8
	ID         uint16
}

// Traffic is what went in one direction of a session.
type Traffic struct{ Packets, Octets uint64 }

// Bits of a session's status (enum ip_conntrack_status).
const (
	StatusSeenReply = 1 << 1
	StatusAssured   = 1 << 2 // not dropped early when the table is full
	statusDying     = 1 << 9
)

// Attributes of a session that nl does not name, or not all of one kind
// (linux/netfilter/nfnetlink_conntrack.h).
const (
	ctaTupleOriginal  = 1
	ctaTupleReply     = 2
	ctaStatus         = 3
	ctaProtocolInfo   = 4
	ctaHelp           = 5
	ctaTimeout        = 7
	ctaMark           = 8
	ctaCountersOrigin = 9
	ctaCountersReply  = 10
	ctaID             = 12
	ctaTupleMaster    = 14
	ctaZone           = 18
	ctaMarkMask       = 21
	ctaLabels         = 22
	ctaFilter         = 25
	ctaStatusMask     = 26

	ctaTupleIP       = 1
	ctaTupleProtocol = 2
	ctaTupleZone     = 3

	ctaFilterOriginal    = 1 // bits of what a filter goes by, in each direction
	ctaFilterReply       = 2
	ctaFilterSource      = 1 << 0
	ctaFilterDestination = 1 << 1
	ctaFilterProtocol    = 1 << 3
	ctaFilterSourcePort  = 1 << 4

	ctaIP4Source      = 1
	ctaIP4Destination = 2
	ctaIP6Source      = 3
	ctaIP6Destination = 4

	ctaProtocolNumber   = 1
	ctaSourcePort       = 2
	ctaDestinationPort  = 3
	ctaICMPID           = 4
	ctaICMPKind         = 5
	ctaICMPCode         = 6
	ctaICMP6ID          = 7
	ctaICMP6Kind        = 8
	ctaICMP6Code        = 9
	ctaProtocolInfoTCP  = 1
	ctaTCPState         = 1
	ctaHelpName         = 1
	ctaCountersPackets  = 1
	ctaCountersOctets   = 2
	ctaCounters32Packet = 3
	ctaCounters32Octet  = 4
)

const sizeofNetfilter = 4 // struct nfgenmsg

// tcpStates are the states of TCP by the kernel's numbers.
var tcpStates = [...]string{"NONE", "SYN_SENT", "SYN_RECV", "ESTABLISHED", "FIN_WAIT", "CLOSE_WAIT", "LAST_ACK", "TIME_WAIT", "CLOSE", "SYN_SENT2"}

// bigNumber reads a value in network order of 1, 2, 4 or 8 octets; any other is 0.
func bigNumber(v []byte) uint64 {
	switch len(v) {
	case 1:
		return uint64(v[0])
	case 2:
		return uint64(binary.BigEndian.Uint16(v))
	case 4:
		return uint64(binary.BigEndian.Uint32(v))
	case 8:
		return binary.BigEndian.Uint64(v)
	}
	return 0
}

// parseSession reads a session from a message of the subsystem ctnetlink. It is
// not ok without an original tuple.
func parseSession(b []byte) (s Session, ok bool) {
	if len(b) < sizeofNetfilter {
		return s, false
	}
	for kind, v := range attributes(b[sizeofNetfilter:]) {
		switch kind {
		case ctaTupleOriginal:
			s.tupleRaw = v
			var zone uint16
			if s.Original, zone, ok = parseTuple(v); zone != 0 {
				s.Zone = zone
			}
		case ctaTupleReply:
			s.Reply, _, _ = parseTuple(v)
		case ctaStatus:
			s.Status = uint32(bigNumber(v))
		case ctaTimeout:
			s.Timeout = time.Duration(bigNumber(v)&0xffffffff) * time.Second
		case ctaMark:
			s.Mark = uint32(bigNumber(v))
		case ctaLabels:
			copy(s.Label[:], v)
		case ctaID:
			s.ID = uint32(bigNumber(v))
		case ctaZone:
			s.Zone = uint16(bigNumber(v))
		case ctaCountersOrigin:
			s.Traffic[0] = parseTraffic(v)
		case ctaCountersReply:
			s.Traffic[1] = parseTraffic(v)
		case ctaProtocolInfo:
			s.State = parseState(v)
		case ctaTupleMaster:
			s.Child = true
		case ctaHelp:
			s.Helper = textOf(v, ctaHelpName)
		}
	}
	return s, ok
}

// textOf gives the text of one attribute among others.
func textOf(b []byte, wanted uint16) string {
	for kind, v := range attributes(b) {
		if kind == wanted {
			return text(v)
		}
	}
	return ""
}

// parseTuple reads one direction. It is ok if both addresses are there, of one
// family.
func parseTuple(b []byte) (t Tuple, zone uint16, ok bool) {
	var source, destination netip.Addr
	var ports [2]uint16
	for kind, v := range attributes(b) {
		switch kind {
		case ctaTupleIP:
			for kind, v := range attributes(v) {
				switch kind {
				case ctaIP4Source, ctaIP6Source:
					source = address(v)
				case ctaIP4Destination, ctaIP6Destination:
					destination = address(v)
				}
			}
		case ctaTupleProtocol:
			ports = t.protocol(v)
		case ctaTupleZone:
			zone = uint16(bigNumber(v))
		}
	}
	t.Source, t.Destination = netip.AddrPortFrom(source, ports[0]), netip.AddrPortFrom(destination, ports[1])
	return t, zone, source.IsValid() && destination.IsValid() && source.Is4() == destination.Is4()
}

// protocol reads what of a tuple is above IP.
func (t *Tuple) protocol(b []byte) (ports [2]uint16) {
	for kind, v := range attributes(b) {
		n := bigNumber(v)
		switch kind {
		case ctaProtocolNumber:
			t.Protocol = uint8(n)
		case ctaSourcePort:
			ports[0] = uint16(n)
		case ctaDestinationPort:
			ports[1] = uint16(n)
		case ctaICMPID, ctaICMP6ID:
			t.ID = uint16(n)
		case ctaICMPKind, ctaICMP6Kind:
			t.Kind = uint8(n)
		case ctaICMPCode, ctaICMP6Code:
			t.Code = uint8(n)
		}
	}
	return ports
}

func parseTraffic(b []byte) (c Traffic) {
	for kind, v := range attributes(b) {
		switch kind {
		case ctaCountersPackets, ctaCounters32Packet:
			c.Packets = bigNumber(v)
		case ctaCountersOctets, ctaCounters32Octet:
			c.Octets = bigNumber(v)
		}
	}
	return c
}

func parseState(b []byte) string {
	for kind, v := range attributes(b) {
		if kind != ctaProtocolInfoTCP {
			continue
		}
		for kind, v := range attributes(v) {
			if n := bigNumber(v); kind == ctaTCPState && n < uint64(len(tcpStates)) {
				return tcpStates[n]
			}
		}
	}
	return ""
}

// ip writes the addresses of a tuple.
func (t *Tuple) ip() []byte {
	source, destination := uint16(ctaIP4Source), uint16(ctaIP4Destination)
	if t.Source.Addr().Is6() {
		source, destination = ctaIP6Source, ctaIP6Destination
	}
	return append(attribute(source, t.Source.Addr().AsSlice()), attribute(destination, t.Destination.Addr().AsSlice())...)
}

// bytes writes a tuple as the kernel wants it to find a session.
func (t *Tuple) bytes() []byte {
	protocol := attribute(ctaProtocolNumber, []byte{t.Protocol})
	switch t.Protocol {
	case unix.IPPROTO_ICMP:
		protocol = t.icmp(protocol, ctaICMPID, ctaICMPKind, ctaICMPCode)
	case unix.IPPROTO_ICMPV6:
		protocol = t.icmp(protocol, ctaICMP6ID, ctaICMP6Kind, ctaICMP6Code)
	default:
		protocol = append(protocol, attribute(ctaSourcePort, big16(t.Source.Port()))...)
		protocol = append(protocol, attribute(ctaDestinationPort, big16(t.Destination.Port()))...)
	}
	return append(nested(ctaTupleIP, t.ip()), nested(ctaTupleProtocol, protocol)...)
}

func (t *Tuple) icmp(b []byte, id, kind, code uint16) []byte {
	b = append(b, attribute(id, big16(t.ID))...)
	b = append(b, attribute(kind, []byte{t.Kind})...)
	return append(b, attribute(code, []byte{t.Code})...)
}

func nested(kind uint16, value []byte) []byte { return attribute(kind|unix.NLA_F_NESTED, value) }

func big16(n uint16) []byte { return binary.BigEndian.AppendUint16(nil, n) }
func big32(n uint32) []byte { return binary.BigEndian.AppendUint32(nil, n) }

// ProtocolName gives the name of an IP protocol as the conntrack program has
// it; others are numbers.
func ProtocolName(number uint8) string {
	switch number {
	case unix.IPPROTO_TCP:
		return "tcp"
	case unix.IPPROTO_UDP:
		return "udp"
	case unix.IPPROTO_ICMP:
		return "icmp"
	case unix.IPPROTO_ICMPV6:
		return "icmpv6"
	case unix.IPPROTO_SCTP:
		return "sctp"
	case unix.IPPROTO_DCCP:
		return "dccp"
	case unix.IPPROTO_GRE:
		return "gre"
	case unix.IPPROTO_UDPLITE:
		return "udplite"
	case unix.IPPROTO_ESP:
		return "esp"
	}
	return strconv.Itoa(int(number))
}
