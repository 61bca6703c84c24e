package dnsserver

import (
	"encoding/binary"
	"net/netip"

	"github.com/miekg/dns"
)

// edns is what a query's OPT record says (RFC 6891).
type edns struct {
	present bool
	size    int // octets that the client takes over UDP
	version uint8
	do      bool
	nsid    bool
	padding bool
	cookie  cookieOption
	subnet  subnet
	keepalive
}

// subnet is a Client Subnet option (RFC 7871 section 6).
type subnet struct {
	present bool
	bad     bool // breaks section 6: FORMERR where the option is used
	addr    netip.Addr
	bits    int
	within  int    // bits before addr in the option: 96 for an IPv4 address written as IPv6
	raw     []byte // the option as sent, for the echo
}

// parse reads an OPT record: its fixed part from the type on, and its options.
// It says whether the options are well formed.
func (e *edns) parse(fixed, options []byte) bool {
	e.present = true
	e.size = int(binary.BigEndian.Uint16(fixed[2:]))
	e.version = fixed[5]
	e.do = fixed[6]&0x80 != 0
	for len(options) > 0 {
		if len(options) < 4 {
			return false
		}
		code, n := binary.BigEndian.Uint16(options), int(binary.BigEndian.Uint16(options[2:]))
		if len(options) < 4+n {
			return false
		}
		e.option(code, options[4:4+n])
		options = options[4+n:]
	}
	return true
}

func (e *edns) option(code uint16, data []byte) {
	switch code {
	case dns.EDNS0NSID:
		e.nsid = true // whatever it holds: a query should send it empty (RFC 5001 2.1)
	case dns.EDNS0PADDING:
		e.padding = true
	case dns.EDNS0TCPKEEPALIVE:
		e.keepalive.asked, e.keepalive.bad = true, e.keepalive.bad || len(data) > 0
	case dns.EDNS0COOKIE:
		if e.cookie.state == cookieNone { // of several the first counts (RFC 7873 5.2)
			e.cookie = parseCookie(data)
		}
	case dns.EDNS0SUBNET:
		if e.subnet.present {
			e.subnet.bad = true // two of them: which one is meant?
			return
		}
		e.subnet = parseSubnet(data)
	}
}

// mappedBits is what stands before an IPv4 address in ::ffff:a.b.c.d.
const mappedBits = 96

// parseSubnet reads a Client Subnet option. A bad one is kept as such, since
// only a listener that uses the option may refuse it.
//
// RFC 7871 has no word on ::ffff:a.b.c.d in family 2, which dual-stack programs
// send. It is the IPv4 client a.b.c.d and decided for as such, like a source
// address written so; the echo is in the family and the bits that were asked.
//
// Family 0 has no addresses, so it can only ask not to be told apart, as some
// stubs do: without address bits the family is irrelevant (7.1.2).
func parseSubnet(data []byte) subnet {
	s := subnet{present: true, bad: true}
	if len(data) < 4 {
		return s
	}
	family := binary.BigEndian.Uint16(data)
	octets := familyOctets(family)
	bits, scope, sent := int(data[2]), data[3], data[4:]
	if family == 0 && bits == 0 && scope == 0 && len(sent) == 0 {
		return subnet{present: true, raw: append([]byte(nil), data...)}
	}
	if octets == 0 || bits > octets*8 || scope != 0 || len(sent) != (bits+7)/8 {
		return s
	}
	var full [16]byte
	copy(full[:], sent)
	addr, _ := netip.AddrFromSlice(full[:octets])
	if prefix, err := addr.Prefix(bits); err != nil || prefix.Addr() != addr {
		return s
	}
	s = subnet{present: true, addr: addr, bits: bits, raw: append([]byte(nil), data...)}
	if addr.Is4In6() && bits >= mappedBits {
		s.addr, s.bits, s.within = addr.Unmap(), bits-mappedBits, mappedBits
	}
	return s
}

// opt makes the reply's OPT record.
func (q *query) opt(t *Table) *dns.OPT {
	opt := &dns.OPT{Hdr: dns.RR_Header{Name: ".", Rrtype: dns.TypeOPT}}
	opt.SetUDPSize(uint16(t.udpSize))
	opt.SetDo(q.edns.do) // RFC 3225 section 3
	if q.edns.version > 0 {
		return opt // BADVERS says only which version we speak
	}
	asks := q.ruling == truncated || q.ruling == wantCookie // for a proof, and must not be longer than the query
	if q.edns.nsid && t.nsid != "" && !asks {
		opt.Option = append(opt.Option, &dns.EDNS0_NSID{Code: dns.EDNS0NSID, Nsid: t.nsid})
	}
	if sub := q.edns.subnet; t.ecs && sub.present && !sub.bad {
		opt.Option = append(opt.Option, &dns.EDNS0_LOCAL{Code: dns.EDNS0SUBNET, Data: sub.echo(q.scope)})
	}
	if o := q.cookieReply(t); o != nil {
		opt.Option = append(opt.Option, o)
	}
	if o := q.edns.keepalive.option(); o != nil {
		opt.Option = append(opt.Option, o)
	}
	if (q.ede != 0 || q.edeText != "") && !asks {
		opt.Option = append(opt.Option, &dns.EDNS0_EDE{InfoCode: q.ede, ExtraText: q.edeText})
	}
	return opt
}

// echo gives the option back with its scope (RFC 7871 7.2.1). Source prefix
// length 0 asks not to be told apart, and gets scope 0.
func (s subnet) echo(scope int) []byte {
	data := append([]byte(nil), s.raw...)
	if s.bits > 0 {
		data[3] = uint8(min(max(scope, 0), s.addr.BitLen()))
	}
	data[3] += uint8(s.within) // an answer for IPv4 says nothing of IPv6
	return data
}

// familyOctets gives the octets of an address of a family (RFC 7871 section 6),
// or 0 for a family that has none here.
func familyOctets(family uint16) int {
	switch family {
	case 1:
		return 4
	case 2:
		return 16
	}
	return 0
}
