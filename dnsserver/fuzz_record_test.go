package dnsserver

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"testing"

	"github.com/miekg/dns"

	"github.com/portolan-lb/portolan/config"
)

// FuzzRecord takes a record of any of the 65,536 types through a zone file and
// an answer: what is loaded from RFC 3597's form comes back with the same data
// on the wire, or is refused with a place.
func FuzzRecord(f *testing.F) {
	for rtype := range dns.TypeToString {
		f.Add(rtype, []byte{})
		f.Add(rtype, []byte{192, 0, 2, 1})
		f.Add(rtype, []byte("\x00\x01\x03abc\x07example\x00"))
	}
	f.Add(uint16(65280), bytes.Repeat([]byte{0xff}, 300))
	kept(f)
	f.Fuzz(func(t *testing.T, rtype uint16, data []byte) {
		if len(data) > 4000 {
			return
		}
		got := throughZone(t, rtype, fmt.Sprintf("TYPE%d \\# %d %x", rtype, len(data), data))
		if got == nil {
			return // refused: not what the type looks like, or no data at all
		}
		back := dataOf(t, got)
		if !sameData(data, back) {
			t.Fatalf("type %d: loaded %x, served %x", rtype, data, back)
		}
	})
}

// throughZone loads a record, asks for it and reads the reply. It gives nil if
// the record is refused.
func throughZone(t *testing.T, rtype uint16, text string) dns.RR {
	owner := "rr.example.com."
	if rtype == dns.TypeSOA {
		return nil // one a zone, at the apex
	}
	z, errs := parseText("example.com.", zoneHead+owner+" 300 IN "+text+"\n")
	if z == nil {
		for _, e := range errs {
			if e.Pos.File != "zone" || e.Pos.Line < 1 {
				t.Fatalf("an error without a place: %v", e)
			}
		}
		return nil
	}
	if len(z.nodes["rr.example.com."].sets) == 0 {
		t.Fatalf("neither a record nor an error: %s", text)
	}
	q := newQuery(owner, rtype, question{})
	m := answer(newTable(&config.DNS{}, z), q)
	if rtype == dns.TypeNS {
		m.Answer = m.Ns // a cut
	}
	if len(m.Answer) != 1 {
		t.Fatalf("asked for type %d of %s: %v", rtype, text, m)
	}
	packed, err := q.pack(make([]byte, tcpSize))
	if err != nil {
		t.Fatal(err)
	}
	read := new(dns.Msg)
	if err := read.Unpack(packed); err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	if rtype == dns.TypeNS {
		return read.Ns[0]
	}
	return read.Answer[0]
}

// dataOf gives a record's data without compression.
func dataOf(t *testing.T, rr dns.RR) []byte {
	wire := make([]byte, tcpSize+512)
	n, err := dns.PackRR(rr, wire, 0, nil, false)
	if err != nil {
		t.Fatal(err)
	}
	at := skipName(wire, 0) + 8
	if int(binary.BigEndian.Uint16(wire[at:])) != n-at-2 {
		t.Fatalf("data of %d octets says %d", n-at-2, binary.BigEndian.Uint16(wire[at:]))
	}
	return wire[at+2 : n]
}

// sameData compares data but for the case of letters, which a name in it may
// change by compression.
func sameData(a, b []byte) bool { return bytes.Equal(bytes.ToLower(a), bytes.ToLower(b)) }
