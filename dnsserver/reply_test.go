package dnsserver

import (
	"fmt"
	"runtime"
	"strings"
	"testing"

	"github.com/miekg/dns"

	"github.com/portolan-lb/portolan/config"
)

// largeZone has replies of every size: an MX set with addresses, a delegation
// with glue of two kinds, and a set of TXT.
func largeZone() string {
	var b strings.Builder
	b.WriteString(zoneHead)
	for i := range 12 {
		fmt.Fprintf(&b, "mx MX %d a-rather-long-mail-host-name-%d\n", i, i)
		fmt.Fprintf(&b, "a-rather-long-mail-host-name-%d A 192.0.2.%d\n A 198.51.100.1\n", i, i)
		fmt.Fprintf(&b, "a-rather-long-mail-host-name-%d AAAA 2001:db8::%d\n", i, i)
		fmt.Fprintf(&b, "cut NS in-domain-name-server-%d.cut\nin-domain-name-server-%d.cut A 192.0.2.%d\n", i, i, i)
		fmt.Fprintf(&b, "half NS ns.half\nns.half A 192.0.2.1\nhalf NS sibling-name-server-%d.other\nsibling-name-server-%d.other AAAA 2001:db8::%d\n", i, i, i)
	}
	b.WriteString("other NS ns\n")
	for i := range 20 {
		fmt.Fprintf(&b, "txt TXT \"%d %s\"\n", i, strings.Repeat("x", 100))
	}
	return b.String()
}

// TestFit puts each reply to clients that take any size: no reply is larger,
// whole sets go, and TC says whether something needed is missing.
func TestFit(t *testing.T) {
	zone := mustZone(t, "example.com.", largeZone(), nil)
	table := newTable(&config.DNS{UDPSize: 4096}, zone)
	udp, tcp := newBench(t, table, false), newBench(t, table, true)
	full := func(name string, qtype uint16) *dns.Msg {
		m := asking(name, qtype)
		m.SetEdns0(1232, false)
		return tcp.ask(m)
	}
	tests := []struct {
		name    string
		qtype   uint16
		needed  int // records of the additional section that must not be missing without TC
		partial bool
	}{
		{"mx.example.com.", dns.TypeMX, 0, true},
		{"www.cut.example.com.", dns.TypeA, 12, false},
		{"www.half.example.com.", dns.TypeA, 1, true},
		{"txt.example.com.", dns.TypeTXT, 0, false},
	}
	for _, test := range tests {
		whole := full(test.name, test.qtype)
		if whole.Truncated {
			t.Errorf("%s over TCP is truncated", test.name)
		}
		partial := false
		for size := 512; size <= 4096; size += 7 {
			m := asking(test.name, test.qtype)
			m.SetEdns0(uint16(size), false)
			packet, _ := m.Pack()
			raw := udp.send(packet)
			r := udp.unpack(raw)
			extra := len(withoutOPT(r.Extra))
			lacks := extra < test.needed || len(r.Answer) < len(whole.Answer) || len(r.Ns) < len(whole.Ns)
			if len(raw) > size || r.Truncated != lacks || r.IsEdns0() == nil {
				t.Fatalf("%s in %d octets: %d octets, TC %v, %s", test.name, size, len(raw), r.Truncated, shown(r))
			}
			if r.Truncated && len(r.Answer) > 0 {
				t.Fatalf("%s in %d octets: half an answer: %s", test.name, size, shown(r))
			}
			partial = partial || !r.Truncated && extra < len(withoutOPT(whole.Extra))
			if set := withoutOPT(whole.Extra); extra > 0 && extra < len(set) && sameSet(set[extra-1], set[extra]) {
				t.Fatalf("%s in %d octets: half a set of addresses: %s", test.name, size, shown(r))
			}
		}
		if partial != test.partial {
			t.Errorf("%s: additional records dropped without TC: %v", test.name, partial)
		}
	}
}

// A set that cannot fit is found out from its size, at the cost of a small
// answer: asking for it over UDP is no way to keep the server busy.
func TestFit_CostsNothing(t *testing.T) {
	var text strings.Builder
	text.WriteString(zoneHead + "m MX 1 huge\nto CNAME huge\ncut NS ns.cut\n")
	for i := range 1000 {
		addr := fmt.Sprintf("10.1.%d.%d", i/250, i%250)
		fmt.Fprintf(&text, "huge A %s\nns.cut A %s\nmany NS ns%d.many\nns%d.many A %s\n", addr, addr, i, i, addr)
	}
	b := newBench(t, newTable(&config.DNS{}, mustZone(t, "example.com.", text.String(), nil)), false)
	tests := []struct {
		name  string
		qtype uint16
		tc    bool
		rest  int // records that are there all the same
	}{
		{"huge", dns.TypeA, true, 0},
		{"to", dns.TypeA, true, 0},
		{"x.many", dns.TypeA, true, 0},
		{"x.cut", dns.TypeA, true, 1},
		{"m", dns.TypeMX, false, 1},
	}
	for _, test := range tests {
		packet, _ := asking(test.name+".example.com.", test.qtype).Pack()
		r := b.unpack(b.send(packet))
		if n := len(r.Answer) + len(r.Ns) + len(r.Extra); r.Truncated != test.tc || n != test.rest {
			t.Errorf("%s: TC %v with %d records, want %v with %d", test.name, r.Truncated, n, test.tc, test.rest)
		}
		const runs = 50
		var before, after runtime.MemStats
		out := make([]byte, udpReplySize)
		runtime.ReadMemStats(&before)
		for range runs {
			b.h.handle(packet, benchSource, out)
		}
		runtime.ReadMemStats(&after)
		if bytes := (after.TotalAlloc - before.TotalAlloc) / runs; bytes > 8192 {
			t.Errorf("%s: %d octets allocated for a query", test.name, bytes)
		}
	}
}

func TestFit_WithoutEDNS(t *testing.T) {
	b := newBench(t, newTable(&config.DNS{}, mustZone(t, "example.com.", largeZone(), nil)), false)
	packet, _ := asking("txt.example.com.", dns.TypeTXT).Pack()
	raw := b.send(packet)
	if r := b.unpack(raw); len(raw) > plainSize || !r.Truncated || len(r.Answer) > 0 {
		t.Errorf("RFC 1035 4.2.1: %d octets: %s", len(raw), shown(r))
	}
	m := asking("txt.example.com.", dns.TypeTXT)
	m.SetEdns0(65535, false)
	packet, _ = m.Pack()
	if raw := b.send(packet); len(raw) > defaultUDPSize {
		t.Errorf("%d octets to a client that takes anything, the server's bound is %d", len(raw), defaultUDPSize)
	}
}
