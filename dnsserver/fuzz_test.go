package dnsserver

import (
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/portolan-lb/portolan/config"
)

// FuzzAnswer holds every packet to: no panic, bounded work, a reply that is no larger than
// allowed and sound to a reader that is not the library's, and the same question
// as miekg/dns reads.
func FuzzAnswer(f *testing.F) {
	names := map[string]decider{
		"www":   &fixed{decision: decision{v4: addrs("192.0.2.10"), v6: addrs("2001:db8::10"), ttl: 30, scope: 24}},
		"*.dyn": &fixed{decision: decision{cname: "www.example.com.", ttl: 30}},
	}
	zone := answerZone + dynamicZone[strings.Index(dynamicZone, "www "):]
	table := newTable(&config.DNS{ECS: true, NSID: "gw1"}, mustZone(f, "example.com.", zone, names), mustZone(f, "example.net.", otherZone, nil))
	for _, name := range []string{"www", "svc", "mx", "x.dyn", "many", "ring1", "a.sub", "a.child", "nothing", "x.wild"} {
		for _, qtype := range []uint16{dns.TypeA, dns.TypeHTTPS, dns.TypeMX, dns.TypeANY} {
			m := asking(name+".example.com.", qtype)
			packet, _ := m.Pack()
			f.Add(packet)
		}
	}
	f.Add(optQuery(f, "www.example.com.", "0008 0007 0001 18 00 cb0071 0003 0000"))
	for _, row := range protocolRows() {
		f.Add([]byte(row.msg))
	}
	udp, tcp := newBench(f, table, false), newBench(f, table, true)
	kept(f)
	f.Fuzz(func(t *testing.T, packet []byte) {
		for _, b := range []*bench{udp, tcp} {
			reply := b.send(packet)
			if took := quickest(func() { b.send(packet) }); took > 20*time.Millisecond {
				t.Fatalf("%v to answer %d octets", took, len(packet))
			}
			if n := b.h.count.panics.Load(); n > 0 {
				t.Fatalf("%d panics", n)
			}
			if reply == nil {
				continue
			}
			read, err := readReply(reply)
			if err != nil {
				t.Fatalf("%v: %x", err, reply)
			}
			if text := unsound(packet, read, !b.h.tcp); text != "" {
				t.Fatalf("%s: %x", text, reply)
			}
			got := new(dns.Msg)
			if err := got.Unpack(reply); err != nil || !got.Response || reply[0] != packet[0] || reply[1] != packet[1] {
				t.Fatalf("%v: %x", err, reply)
			}
			asked := new(dns.Msg)
			if asked.Unpack(packet) == nil && got.Rcode != dns.RcodeFormatError && got.Rcode != dns.RcodeNotImplemented && got.Rcode != dns.RcodeBadVers &&
				(len(got.Question) != 1 || len(asked.Question) != 1 || got.Question[0] != asked.Question[0]) {
				t.Fatalf("asked %v, answered %v", asked.Question, got.Question)
			}
		}
	})
}

// quickest gives how long something takes where nothing else gets in between:
// once, or the least of ten times if that was long.
func quickest(do func()) time.Duration {
	least := time.Hour
	for range 10 {
		start := time.Now()
		do()
		if least = min(least, time.Since(start)); least < time.Millisecond {
			break
		}
	}
	return least
}

// FuzzZoneFile holds every master file to: no panic, and a zone that answers
// for each of its names, or errors that each have a place.
func FuzzZoneFile(f *testing.F) {
	for _, text := range []string{zoneHead, answerZone, dynamicZone, "$TTL 1h\n$GENERATE 1-3 a$ A 192.0.2.$\n$INCLUDE zone\n",
		"( ) ; \" \n\\", "$ORIGIN .\n* 5 IN TYPE999 \\# 3 abc def\n", "@ 1 SOA . . 1 1 1 1 1\n\tNS @ ; (\n"} {
		f.Add(text)
	}
	kept(f)
	f.Fuzz(func(t *testing.T, text string) {
		if strings.Count(strings.ToUpper(text), "$GENERATE") > 1 {
			t.Skip("a thousand of them are slow, not interesting")
		}
		z, errs := parseText("example.com.", text)
		for _, e := range errs {
			if e.Pos.File != "zone" || e.Pos.Line < 1 || e.Pos.Line > strings.Count(text, "\n")+1 || e.Pos.Col < 1 || strings.Contains(e.Text, "\n") {
				t.Fatalf("an error without a place: %q at %+v", e.Text, e.Pos)
			}
		}
		if (z == nil) != errs.Failed() {
			t.Fatal("neither a zone nor errors", errs)
		}
		if z == nil || len(z.nodes) > 1000 {
			return
		}
		table := newTable(&config.DNS{}, z)
		for name := range z.nodes {
			q := newQuery(name, dns.TypeANY, question{})
			if answer(table, q) == nil || q.reply.Rcode == dns.RcodeNameError {
				t.Fatalf("%s: %v", name, q.reply)
			}
			if _, err := q.pack(make([]byte, udpReplySize)); err != nil {
				t.Fatalf("%s: %v", name, err)
			}
		}
	})
}
