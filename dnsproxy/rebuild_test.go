package dnsproxy

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"
)

// randomAnswer makes an answer in which all belongs to the question.
func randomAnswer(r *rand.Rand, name string, qtype uint16) *dns.Msg {
	m := new(dns.Msg)
	m.SetReply(question(name, qtype))
	m.RecursionAvailable, m.AuthenticatedData, m.Authoritative = r.IntN(2) == 0, r.IntN(2) == 0, r.IntN(2) == 0
	head := func(name string, t uint16) dns.RR_Header {
		return dns.RR_Header{Name: name, Rrtype: t, Class: dns.ClassINET, Ttl: uint32(1 + r.IntN(maxTTL))}
	}
	owner := name
	for range r.IntN(4) {
		next := fmt.Sprintf("h%d.%s", r.IntN(1000), dns.Fqdn("target.example"))
		m.Answer = append(m.Answer, &dns.CNAME{Hdr: head(owner, dns.TypeCNAME), Target: next})
		owner = next
	}
	for range r.IntN(8) {
		switch r.IntN(4) {
		case 0:
			m.Answer = append(m.Answer, &dns.A{Hdr: head(owner, dns.TypeA), A: net.IPv4(192, 0, 2, byte(r.IntN(256)))})
		case 1:
			m.Answer = append(m.Answer, &dns.TXT{Hdr: head(owner, dns.TypeTXT), Txt: []string{strings.Repeat("t", r.IntN(200))}})
		case 2:
			mx := fmt.Sprintf("mx%d.example.net.", r.IntN(9))
			m.Answer = append(m.Answer, &dns.MX{Hdr: head(owner, dns.TypeMX), Mx: mx})
			m.Extra = append(m.Extra, &dns.A{Hdr: head(mx, dns.TypeA), A: net.IPv4(192, 0, 2, 3)})
		case 3:
			m.Answer = append(m.Answer, &dns.RFC3597{Hdr: head(owner, 65280), Rdata: "0102030405"})
		}
	}
	if len(m.Answer) == 0 || r.IntN(3) == 0 {
		m.Ns = append(m.Ns, &dns.SOA{Hdr: head("example.", dns.TypeSOA), Ns: "ns.example.", Mbox: "hm.example.", Minttl: 1 << 30})
	}
	return m
}

// rows are the records of a section as text, names in lower case.
func rows(rrs []dns.RR) (out []string) {
	for _, rr := range rrs {
		if rr.Header().Rrtype != dns.TypeOPT {
			out = append(out, strings.ToLower(rr.String()))
		}
	}
	return out
}

// Property: what is rebuilt out of an answer in which all belongs to the
// question says the same as the answer.
func TestRebuiltIsParsed(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 7))
	for i := range 5000 {
		name := fmt.Sprintf("wWw%d.eXample.", i)
		qtype := []uint16{dns.TypeA, dns.TypeMX, dns.TypeTXT, dns.TypeANY}[r.IntN(4)]
		m := randomAnswer(r, name, qtype)
		a := &asking{name: string(wireName(name)), qtype: qtype, rd: true}
		ans, err := rebuild(pack(m), a)
		if err != nil {
			t.Fatal(err)
		}
		q := &query{tcp: true}
		client := question(strings.ToUpper(name), qtype)
		client.AuthenticatedData = true
		q.parse(pack(client))
		got := new(dns.Msg)
		if err := got.Unpack(q.appendReply(nil, ans, served{})); err != nil {
			t.Fatal(err)
		}
		if got.Id != client.Id || got.Question[0] != client.Question[0] || got.RecursionAvailable != m.RecursionAvailable || got.AuthenticatedData != m.AuthenticatedData || got.Authoritative != m.Authoritative {
			t.Fatalf("%s\n%s", m, got)
		}
		if !slices.Equal(rows(m.Answer), rows(got.Answer)) || !slices.Equal(rows(m.Ns), rows(got.Ns)) || !slices.Equal(rows(m.Extra), rows(got.Extra)) {
			t.Fatalf("%s\n%s", m, got)
		}
	}
}

// What does not belong to the question does not reach a client.
func TestScrub(t *testing.T) {
	parse := func(text string) dns.RR {
		rr, err := dns.NewRR(text)
		if err != nil {
			t.Fatal(err)
		}
		return rr
	}
	m := good(question("www.example.com.", dns.TypeA))
	m.Answer = []dns.RR{parse("alias.example.net. 60 A 192.0.2.2"), parse("www.example.com. 60 CNAME alias.example.net."), parse("bank.example. 60 A 6.6.6.6"),
		parse("www.example.com. 60 CH A 6.6.6.6"), parse("alias.example.net. 60 RRSIG A 13 3 60 20300101000000 20200101000000 1 example.net. AAAA")}
	m.Ns = []dns.RR{parse("bank.example. 60 NS ns.evil.example."), parse("example.net. 60 NS ns.example.net."), parse("example.com. 60 A 6.6.6.6")}
	m.Extra = []dns.RR{parse("bank.example. 60 A 6.6.6.6"), parse("ns.example.net. 60 A 192.0.2.53"), parse("ns.evil.example. 60 A 6.6.6.6")}
	ans, err := rebuild(pack(m), &asking{name: string(wireName("www.example.com.")), qtype: dns.TypeA, rd: true})
	if err != nil {
		t.Fatal(err)
	}
	got := new(dns.Msg)
	if err := got.Unpack(ans.wire); err != nil {
		t.Fatal(err)
	}
	if strings.Contains(got.String(), "6.6.6.6") || strings.Contains(got.String(), "evil") || len(got.Answer) != 2 || len(got.Ns) != 1 || len(got.Extra) != 1 {
		t.Errorf("%s", got)
	}
}

// A reply that does not fit is cut at the end of a record, and says so; it is
// never larger than the client takes.
func TestFits_RFC2181_9(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 3))
	for range 2000 {
		name := "www.example."
		m := randomAnswer(r, name, dns.TypeANY)
		for range r.IntN(60) {
			m.Answer = append(m.Answer, &dns.A{Hdr: dns.RR_Header{Name: name, Rrtype: dns.TypeA, Class: dns.ClassINET, Ttl: 60}, A: net.IPv4(192, 0, 2, 1)})
		}
		ans, err := rebuild(pack(m), &asking{name: string(wireName(name)), qtype: dns.TypeANY, rd: true})
		if err != nil {
			t.Fatal(err)
		}
		ans.errs = []extended{{code: 1, text: "text"}}
		q := &query{}
		client := question(name, dns.TypeANY)
		if r.IntN(2) == 0 {
			client.SetEdns0(uint16(r.IntN(3000)), false)
		}
		q.parse(pack(client))
		reply := q.appendReply(nil, ans, served{})
		got := new(dns.Msg)
		if err := got.Unpack(reply); err != nil {
			t.Fatal(err)
		}
		whole := len(rows(got.Answer)) == int(ans.counts[0]) && len(rows(got.Ns)) == int(ans.counts[1])
		if len(reply) > q.room() || got.Truncated == whole || (got.IsEdns0() != nil) != q.edns {
			t.Fatalf("%d octets in %d, truncated %v, whole %v\n%s", len(reply), q.room(), got.Truncated, whole, got)
		}
	}
}

// FuzzRebuild: whatever a server says, there is no panic, and what comes of it is
// a message that says nothing that the server did not say.
func FuzzRebuild(f *testing.F) {
	r := rand.New(rand.NewPCG(1, 1))
	for range 20 {
		f.Add(pack(randomAnswer(r, "www.example.", dns.TypeANY)), uint16(dns.TypeANY), true)
	}
	f.Add(pack(good(question("www.example.", dns.TypeA))), uint16(dns.TypeA), false)
	f.Fuzz(func(t *testing.T, msg []byte, qtype uint16, do bool) {
		if plausible(msg, maxStreamAnswer) != nil {
			return
		}
		a := &asking{name: string(wireName("www.example.")), qtype: qtype, rd: true, do: do}
		ans, err := rebuild(msg, a)
		if err != nil {
			return
		}
		in, out := new(dns.Msg), new(dns.Msg)
		if err := in.Unpack(msg); err != nil {
			t.Fatal(err)
		}
		q := &query{tcp: true}
		client := question("WwW.eXample.", dns.TypeA)
		client.SetEdns0(4096, do)
		wire := pack(client)
		binary.BigEndian.PutUint16(wire[headerSize+len(a.name):], qtype)
		if q.parse(wire) != isQuery {
			return
		}
		reply := q.appendReply(nil, ans, served{})
		if err := out.Unpack(reply); err != nil {
			t.Fatalf("%v\n%x", err, reply)
		}
		if out.Id != client.Id || !bytes.Equal(reply[headerSize:headerSize+len(q.name)], q.name) {
			t.Fatalf("not for the client: %s", out)
		}
		for i, sections := range [][2][]dns.RR{{in.Answer, out.Answer}, {in.Ns, out.Ns}, {in.Extra, out.Extra}} {
			said := map[string]bool{}
			for _, rr := range sections[0] {
				said[said1(rr)] = true
			}
			for _, rr := range sections[1] {
				if rr.Header().Rrtype != dns.TypeOPT && !said[said1(rr)] {
					t.Fatalf("section %d: nobody said %s\n%s", i, rr, in)
				}
			}
		}
		small := &query{}
		if small.parse(pack(question("www.example.", dns.TypeA))) == isQuery {
			if n := len(small.appendReply(nil, ans, served{hit: true, age: 5})); n > plainSize {
				t.Fatalf("%d octets", n)
			}
		}
	})
}

// said1 is what a record says, but for its TTL.
func said1(rr dns.RR) string {
	c := dns.Copy(rr)
	c.Header().Ttl, c.Header().Rdlength = 0, 0
	return strings.ToLower(c.String())
}

// FuzzQuery: whatever a client sends, there is no panic and no read beyond it,
// and what is a query to us is one to miekg/dns.
func FuzzQuery(f *testing.F) {
	m := question("www.example.", dns.TypeA)
	f.Add(pack(m))
	m.SetEdns0(4096, true)
	m.IsEdns0().Option = []dns.EDNS0{&dns.EDNS0_SUBNET{Code: dns.EDNS0SUBNET, Family: 1, SourceNetmask: 24, Address: []byte{10, 0, 0, 0}}}
	f.Add(pack(m))
	f.Fuzz(func(t *testing.T, msg []byte) {
		q := &query{client: netip.MustParseAddrPort("192.0.2.1:1")}
		v := q.parse(msg)
		if v >= 0 {
			const opt, ede = 11, 4 + 2 + 64 // an OPT, and in it an extended error with a sentence
			if reply := q.appendRcode(nil, int(v)); len(reply) < headerSize || len(reply) > len(msg)+opt+ede {
				t.Fatalf("%d octets for %d", len(reply), len(msg))
			}
		}
		if v != isQuery {
			return
		}
		other := new(dns.Msg)
		if err := other.Unpack(msg); err != nil {
			return // an option that only miekg/dns looks into
		}
		if got := nameText(q.name); got != other.Question[0].Name || q.qtype != other.Question[0].Qtype || q.edns != (other.IsEdns0() != nil) || q.id != other.Id {
			t.Fatalf("%s %d %v\n%s", got, q.qtype, q.edns, other)
		}
		if s := subnetOf(q.ecs); s != "" && len(s) > 4+16 {
			t.Fatalf("%x", s)
		}
	})
}

// TestUnpackCost: the worst message that is let through is taken apart within
// bounds (reliability 2.1: compression).
func TestUnpackCost(t *testing.T) {
	name := strings.Repeat("abcdefghijklmnopqrstuvwxyz0123456789abcdefghijklmnopqrstuv.", 4)
	m := good(question("www.example.", dns.TypeNS))
	m.Compress = true
	for range maxRecords - 2 {
		m.Answer = append(m.Answer, &dns.NS{Hdr: dns.RR_Header{Name: name, Rrtype: dns.TypeNS, Class: dns.ClassINET, Ttl: 60}, Ns: name})
	}
	wire := pack(m)
	if err := plausible(wire, maxStreamAnswer); err != nil {
		t.Fatal(err)
	}
	a := &asking{name: string(wireName("www.example.")), qtype: dns.TypeNS, rd: true}
	best := time.Hour
	for range 5 {
		began := time.Now()
		if _, err := rebuild(wire, a); err != nil {
			t.Fatal(err)
		}
		best = min(best, time.Since(began))
	}
	allocated := testing.Benchmark(func(b *testing.B) {
		for b.Loop() {
			_, _ = rebuild(wire, a)
		}
	}).AllocedBytesPerOp()
	t.Logf("%d octets, %d records: %v, %d octets of memory", len(wire), len(m.Answer), best, allocated)
	most := 20 * time.Millisecond
	if raceEnabled { // which slows all of it down
		most *= 10
	}
	if best > most || allocated > 2<<20 {
		t.Errorf("%v, %d octets", best, allocated)
	}
}
