package dnsserver

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"
)

// protocolTypes gives types 0 to 300, the edges of the ranges of RFC 6895 3.1
// and some hundreds between.
func protocolTypes() (types []uint16) {
	for t := range uint16(301) {
		types = append(types, t)
	}
	types = append(types, 666, 1000, 32767, 32768, 32769, 61439, 61440, 65279, 65280, 65534, 65535)
	draw := rand.New(rand.NewPCG(6895, 31))
	for range 300 {
		types = append(types, uint16(301+draw.IntN(65535-301)))
	}
	return types
}

// TestProtocol_Types: no type is met with silence, and one that we know nothing
// of, or that no zone can hold, is a type without data (RFC 8906 3.1.2, 8.1.2;
// RFC 3597 section 3). NSD, Knot and PowerDNS say the same of the types from
// 128 to 250, of OPT, TSIG and TKEY too; BIND says FORMERR or NOTIMP.
func TestProtocol_Types(t *testing.T) {
	r := protocolServer(t, protocolZone+"odd TYPE65280 \\# 2 abcd\nodd TYPE666 \\# 0\n")
	names := []struct {
		name, other string
		own         map[uint16]string
	}{
		{"proto.test", "NOERROR aa q 0/1/0", map[uint16]string{
			2: "NOERROR aa q 1/0/1", 6: "NOERROR aa q 1/0/0", 15: "NOERROR aa q 1/0/1", 16: "NOERROR aa q 1/0/0"}},
		{"www.proto.test", "NOERROR aa q 0/1/0", map[uint16]string{1: answered}},
		{"odd.proto.test", "NOERROR aa q 0/1/0", map[uint16]string{65280: answered, 666: answered}},
		{"b.ent.proto.test", "NOERROR aa q 0/1/0", nil},
		{"none.proto.test", "NXDOMAIN aa q 0/1/0", nil},
		{"x.y.wild.proto.test", "NOERROR aa q 0/1/0", map[uint16]string{1: answered}},
		{"alias.proto.test", "NOERROR aa q 1/1/0", map[uint16]string{1: "NOERROR aa q 2/0/0", 5: answered}},
		{"child.proto.test", "NOERROR q 0/1/1", map[uint16]string{43: "NOERROR aa q 0/1/0"}}, // DS is the parent's (RFC 4035 3.1.4.1)
		{"www.child.proto.test", "NOERROR q 0/1/1", nil},
		{"www.elsewhere.test", "REFUSED q 0/0/0", nil},
	}
	for _, p := range []*peer{udpPeer(t, r), tcpPeer(t, r)} {
		for _, n := range names {
			for _, qtype := range protocolTypes() {
				want := n.other
				if own, ok := n.own[qtype]; ok {
					want = own
				}
				if qtype == typeAXFR || qtype == typeIXFR || qtype == typeANY {
					continue // [transferRows]
				}
				if got := p.ask(wireQuery(n.name, qtype), true); got != want {
					t.Errorf("type %d of %s (UDP: %v):\n got %s\nwant %s", qtype, n.name, p.udp, got, want)
				}
			}
		}
	}
}

// TestProtocol_Case: names in the answer are spelled as the question was, and
// what is below them as in the zone (RFC 4343 4.1; 0x20).
func TestProtocol_Case(t *testing.T) {
	r := protocolServer(t, protocolZone)
	tests := []struct {
		name   string
		owners []string
	}{
		{"wWw.PrOtO.tEsT", []string{"wWw.PrOtO.tEsT."}},
		{"aLiAs.PrOtO.tEsT", []string{"aLiAs.PrOtO.tEsT.", "www.proto.test."}},
		{"X.wIlD.proto.TEST", []string{"X.wIlD.proto.TEST."}},
		{"nOnE.pRoTo.test", []string{"proto.test."}},
		{"wWw.cHiLd.pRoTo.test", []string{"child.proto.test.", "ns.child.proto.test."}},
	}
	for _, p := range []*peer{udpPeer(t, r), tcpPeer(t, r)} {
		for _, test := range tests {
			p.ask(wireQuery(test.name, typeA), true)
			var owners []string
			for _, rr := range p.last.records {
				owners = append(owners, rr.owner)
			}
			if fmt.Sprint(owners) != fmt.Sprint(test.owners) {
				t.Errorf("%s: owners %q, want %q", test.name, owners, test.owners)
			}
		}
	}
}

// TestProtocol_BadKey: the record that tells a client that its key is not known
// (RFC 8945 4.2, 5.3.2).
func TestProtocol_BadKey(t *testing.T) {
	r := protocolServer(t, protocolZone)
	p := udpPeer(t, r)
	before := time.Now().Unix()
	p.ask(good.opt(1232, 0, 0, "").tsig("A.Key", classANY, 32, "abcd 0000 0000"), true)
	rr := p.last.records[len(p.last.records)-1]
	if rr.owner != "A.Key." || rr.rtype != typeTSIG || rr.class != classANY || rr.ttl != 0 {
		t.Errorf("%+v", rr)
	}
	name, rest := rr.data[:13], rr.data[13:]
	if !bytes.Equal(name, wire{}.name("hmac-sha256")) || len(rest) != 16 {
		t.Fatalf("%x", rr.data)
	}
	signed := int64(binary.BigEndian.Uint64(append([]byte{0, 0}, rest[:6]...)))
	if signed < before || signed > time.Now().Unix() {
		t.Errorf("signed at %d", signed)
	}
	// fudge, no MAC, the id as it was signed, BADKEY, no other data
	if want := (wire{}).u16(300, 0, 0xabcd, 17, 0); !bytes.Equal(rest[6:], want) {
		t.Errorf("got %x, want %x", rest[6:], want)
	}
}
