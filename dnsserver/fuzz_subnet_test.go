package dnsserver

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net/netip"
	"testing"

	"github.com/miekg/dns"

	"github.com/portolan-lb/portolan/config"
)

// slowSubnet judges a Client Subnet option by RFC 7871 section 6, bit by bit.
// It gives the address octets padded with zeros, or what is wrong.
func slowSubnet(data []byte) (addr []byte, fault string) {
	if len(data) < 4 {
		return nil, "no family, source and scope"
	}
	size := map[[2]byte]int{{0, 1}: 4, {0, 2}: 16}[[2]byte{data[0], data[1]}]
	switch {
	case string(data) == "\x00\x00\x00\x00": // who asks not to be told apart needs no family (7.1.2)
		return nil, ""
	case size == 0:
		return nil, "a family other than 1 and 2"
	case int(data[2]) > 8*size:
		return nil, "a source prefix longer than the address"
	case data[3] != 0:
		return nil, "a scope in a query"
	}
	octets := 0
	for octets*8 < int(data[2]) {
		octets++
	}
	if len(data)-4 != octets {
		return nil, "not as many octets as the prefix needs"
	}
	addr = make([]byte, size)
	for bit := range octets * 8 {
		if data[4+bit/8]>>(7-bit%8)&1 == 0 {
			continue
		}
		if bit >= int(data[2]) {
			return nil, "a bit set behind the prefix"
		}
		addr[bit/8] |= 1 << (7 - bit%8)
	}
	return addr, ""
}

// seen is a dynamic name that notes whom it was asked for.
type seen struct {
	client client
	scope  int
}

func (s *seen) decide(q *question, _ uint16) *decision {
	s.client = q.client
	return &decision{v4: addrs("192.0.2.1"), ttl: 30, scope: s.scope}
}

// FuzzSubnet holds every Client Subnet option to RFC 7871: what section 6
// forbids is FORMERR and decides nothing; else the decision is for the address
// sent, in the family sent (one of ::ffff:0:0/96 is IPv4), and the reply has
// the option back with family, source and address untouched (7.2.1) and a
// scope within the family; 0 for a source of 0 (7.1.2). Options that the server
// does not use are ignored.
func FuzzSubnet(f *testing.F) {
	for _, data := range []string{"", "\x00\x01\x18", "\x00\x01\x18\x00\xcb\x00\x71", "\x00\x01\x17\x00\xcb\x00\x71", "\x00\x01\x00\x00",
		"\x00\x02\x38\x00\x20\x01\x0d\xb8\x00\x01\x00", "\x00\x02\x78\x00" + "\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\xff\xff\xcb\x00\x71",
		"\x00\x03\x08\x00\x01", "\x00\x00\x00\x00", "\x00\x00\x00\x00\x00", "\x00\x01\x21\x00\xcb\x00\x71\x00\x00", "\x00\x01\x18\x18\xcb\x00\x71"} {
		f.Add([]byte(data), uint8(20))
		f.Add([]byte(data), uint8(255))
	}
	who := &seen{}
	zone := mustZone(f, "example.com.", zoneHead, map[string]decider{"www": who})
	uses, ignores := newBench(f, newTable(&config.DNS{ECS: true}, zone), false), newBench(f, newTable(&config.DNS{}, zone), false)
	kept(f)
	f.Fuzz(func(t *testing.T, data []byte, scope uint8) {
		if len(data) > 400 {
			return
		}
		who.scope = int(scope)
		packet := optQuery(t, "www.example.com.", fmt.Sprintf("0008 %04x %x", len(data), data))
		who.client = client{}
		if m := replyOf(t, ignores, packet); m.Rcode != dns.RcodeSuccess || subnetOf(m) != nil || who.client.ecs {
			t.Fatalf("an option that is not used: %v", m)
		}
		who.client = client{}
		m := replyOf(t, uses, packet)
		addr, fault := slowSubnet(data)
		if fault != "" {
			if m.Rcode != dns.RcodeFormatError || len(m.Answer) > 0 || subnetOf(m) != nil || who.client.addr.IsValid() {
				t.Fatalf("%s: %v", fault, m)
			}
			return
		}
		checkDecided(t, who.client, addr, int(data[2]))
		checkEcho(t, subnetOf(m), data, addr, int(scope))
	})
}

// checkDecided compares the client of a decision with the option's octets.
func checkDecided(t *testing.T, got client, addr []byte, bits int) {
	want, _ := netip.AddrFromSlice(addr)
	if bits == 0 { // not to be told apart: the source decides
		if got.ecs || got.addr != benchSource.Addr() {
			t.Fatalf("source 0: decided for %+v", got)
		}
		return
	}
	if want.Is4In6() && bits >= 96 {
		want, bits = want.Unmap(), bits-96
	}
	if want.Is4() && bits == 0 && !got.ecs { // ::ffff:0:0/96: any IPv4 client
		return
	}
	if !got.ecs || got.addr != want || got.bits != bits {
		t.Fatalf("decided for %+v, want %s/%d", got, want, bits)
	}
}

// checkEcho compares the option of the reply with that of the query.
func checkEcho(t *testing.T, echo, data, addr []byte, scope int) {
	if len(echo) != len(data) || !bytes.Equal(echo[:3], data[:3]) || !bytes.Equal(echo[4:], data[4:]) {
		t.Fatalf("sent %x, came back %x", data, echo)
	}
	mapped := len(addr) == 16 && bytes.Equal(addr[:12], []byte{10: 0xff, 11: 0xff}) && data[2] >= 96
	want := min(scope, len(addr)*8)
	if mapped {
		want = 96 + min(scope, 32)
	}
	if data[2] == 0 {
		want = 0
	}
	if mapped && data[2] == 96 {
		return // all of IPv4: any scope from 96 on
	}
	if int(echo[3]) != want {
		t.Fatalf("scope %d of %x, want %d", echo[3], echo, want)
	}
}

// subnetOf gives the Client Subnet option of a reply, or nil.
func subnetOf(m *dns.Msg) []byte {
	opt := m.IsEdns0()
	if opt == nil {
		return nil
	}
	for _, o := range opt.Option {
		if sub, is := o.(*dns.EDNS0_SUBNET); is { // as it was on the wire: the library reads it strictly
			data := binary.BigEndian.AppendUint16(nil, sub.Family)
			data = append(data, sub.SourceNetmask, sub.SourceScope)
			octets := sub.Address.To16()
			if sub.Family == 1 {
				octets = sub.Address.To4()
			}
			return append(data, octets[:(int(sub.SourceNetmask)+7)/8]...)
		}
	}
	return nil
}

// replyOf sends a packet in a fuzz target, where the bench's own words are not
// allowed.
func replyOf(t *testing.T, b *bench, packet []byte) *dns.Msg {
	m := new(dns.Msg)
	if err := m.Unpack(b.send(packet)); err != nil {
		t.Fatal(err)
	}
	return m
}
