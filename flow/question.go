package flow

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/portolan-lb/portolan/kernel"
)

// Question is the first packet of a connection, or one further packet of its
// client. It is JSON as it is text, such as "10.0.0.5:40000".
type Question struct {
	From     netip.AddrPort `json:"from"` // port 0: none, or none told
	To       netip.AddrPort `json:"to"`
	Protocol uint8          `json:"protocol"`          // IANA's number
	In       string         `json:"in"`                // the interface that it comes in by; empty: not told, and for Explain this machine's own
	Assumed  bool           `json:"assumed,omitempty"` // the client's port was not told
}

// assumedPort is the client's port if none is told.
const assumedPort = 49152

// Parse reads a question as people write it: from and to are addresses, with a
// port or without ([2001:db8::1]:443), and to may end in a protocol (/tcp,
// /udp, /icmp, /47). Without a protocol it is tcp if to has a port, else
// icmp. Both must be of one family.
func Parse(from, to, in string) (q Question, err error) {
	address, protocol, told := strings.Cut(to, "/")
	if q.To, err = parseEnd(address); err != nil {
		return q, fmt.Errorf("to %q: %w", to, err)
	}
	if q.From, err = parseEnd(from); err != nil {
		return q, fmt.Errorf("from %q: %w", from, err)
	}
	if q.From.Addr().Is4() != q.To.Addr().Is4() {
		return q, fmt.Errorf("from %s and to %s are of two families", q.From.Addr(), q.To.Addr())
	}
	switch {
	case told:
	case q.To.Port() != 0:
		protocol = "tcp"
	default:
		protocol = "icmp"
	}
	if q.Protocol, err = parseProtocol(protocol, q.To.Addr().Is6()); err != nil {
		return q, fmt.Errorf("to %q: %w", to, err)
	}
	if err := q.checkPorts(); err != nil {
		return q, err
	}
	if len(in) >= unix.IFNAMSIZ || strings.ContainsAny(in, "/ \t\n") {
		return q, fmt.Errorf("in %q is not the name of an interface", in)
	}
	q.In = in
	return q, nil
}

// checkPorts wants a port where the protocol has one, and none elsewhere.
func (q *Question) checkPorts() error {
	name := kernel.ProtocolName(q.Protocol)
	if !kernel.HasPorts(q.Protocol) {
		if q.From.Port() != 0 || q.To.Port() != 0 {
			return fmt.Errorf("%s has no ports", name)
		}
		return nil
	}
	if q.To.Port() == 0 {
		return fmt.Errorf("%s needs a port: --to %s/%s", name, netip.AddrPortFrom(q.To.Addr(), 443), name)
	}
	if q.From.Port() == 0 {
		q.From, q.Assumed = netip.AddrPortFrom(q.From.Addr(), assumedPort), true
	}
	return nil
}

// parseEnd reads an address with or without a port.
func parseEnd(text string) (netip.AddrPort, error) {
	if a, err := netip.ParseAddr(strings.TrimSuffix(strings.TrimPrefix(text, "["), "]")); err == nil {
		return plain(netip.AddrPortFrom(a, 0))
	}
	ap, err := netip.ParseAddrPort(text)
	if err != nil {
		return ap, fmt.Errorf("not an address such as 10.0.0.5, 10.0.0.5:443 or [2001:db8::1]:443")
	}
	return plain(ap)
}

func plain(ap netip.AddrPort) (netip.AddrPort, error) {
	a := ap.Addr().Unmap()
	if a.Zone() != "" {
		return ap, fmt.Errorf("an address with a zone does not leave its network")
	}
	return netip.AddrPortFrom(a, ap.Port()), nil
}

func parseProtocol(text string, v6 bool) (uint8, error) {
	text = strings.ToLower(text)
	if text == "icmp" && v6 {
		text = "icmpv6"
	}
	if n, err := strconv.ParseUint(text, 10, 8); err == nil {
		return uint8(n), nil
	}
	for n := range 256 {
		if kernel.ProtocolName(uint8(n)) == text {
			return uint8(n), nil
		}
	}
	return 0, fmt.Errorf("%q is not a protocol such as tcp, udp, icmp or 47", text)
}

// Packet is the question as rules see it, as the first packet of a connection.
func (q Question) Packet() kernel.Packet {
	p := kernel.Packet{
		Source: q.From.Addr(), SourcePort: q.From.Port(),
		Dest: q.To.Addr(), DestPort: q.To.Port(),
		Protocol: q.Protocol, In: q.In,
		Ct: kernel.CtInfo{State: kernel.CtNew},
	}
	if q.Protocol == unix.IPPROTO_TCP {
		p.TCPFlags = 2 // SYN
	}
	if q.In != "" {
		p.EtherSource = [6]byte{2, 0, 0, 0, 0, 1} // somebody's: what is keyed by it has no entry
	}
	return p
}

// Sessions is the filter of the sessions between the two that the client began,
// whichever port it has.
func (q Question) Sessions() kernel.SessionFilter {
	f := kernel.SessionFilter{
		Family: unix.AF_INET, Protocol: q.Protocol, Port: q.To.Port(),
		Source: netip.PrefixFrom(q.From.Addr(), q.From.Addr().BitLen()), Destination: netip.PrefixFrom(q.To.Addr(), q.To.Addr().BitLen()),
	}
	if q.To.Addr().Is6() {
		f.Family = unix.AF_INET6
	}
	return f
}

// FromText and ToText write the ends as [Parse] reads them.
func (q Question) FromText() string {
	if q.Assumed || q.From.Port() == 0 {
		return q.From.Addr().String()
	}
	return q.From.String()
}

// ToText is described at FromText.
func (q Question) ToText() string {
	to := q.To.String()
	if q.To.Port() == 0 {
		to = q.To.Addr().String()
	}
	return to + "/" + strconv.Itoa(int(q.Protocol))
}

// String writes the question in one line.
func (q Question) String() string {
	from, to := q.From.String(), q.To.String()
	if !kernel.HasPorts(q.Protocol) {
		from, to = q.From.Addr().String(), q.To.Addr().String()
	}
	by := "of this machine itself"
	if q.In != "" {
		by = "in by " + q.In
	}
	return fmt.Sprintf("%s %s -> %s, %s", kernel.ProtocolName(q.Protocol), from, to, by)
}
