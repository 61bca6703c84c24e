package dnsserver

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/miekg/dns"
)

// flood sends n queries at even times within the second that begins now and
// counts the replies by what they say.
func (b *bench) flood(packet []byte, n int) map[string]int {
	got := map[string]int{}
	end := time.Now().Truncate(time.Second).Add(time.Second)
	step := time.Until(end) / time.Duration(n+1)
	for range n {
		time.Sleep(step)
		switch m := b.unpack(b.send(packet)); {
		case m.Truncated && len(m.Answer) == 0:
			got["tc"]++
		case m.Rcode == dns.RcodeBadCookie && cookieIn(m) != "" && len(m.Answer) == 0:
			got["badcookie"]++
		case m.Rcode == dns.RcodeSuccess && len(m.Answer) == 1:
			got["answer"]++
		default:
			got["else"]++
		}
	}
	time.Sleep(time.Until(end))
	return got
}

// RFC 7873 5.2.3: above the demand no source is answered at length without a
// proof. Who speaks cookies is told to come with one; of the others as many are
// answered as may be, and the rest is sent to TCP. Whoever has a valid cookie
// notices nothing.
func TestDemand_RFC7873_5_2_3(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		time.Sleep(time.Until(time.Now().Truncate(time.Second).Add(time.Second)))
		table := cookieTable(t, testSecret)
		table.demandAbove = 100
		b, tcp := newBench(t, table, false), newBench(t, table, true)
		plain, _ := asking("mail.example.com.", dns.TypeA).Pack()
		client, valid := cookieQuery(t, aClient), cookieQuery(t, b.learn())
		bad := cookieQuery(t, "00"+b.learn()[2:])
		time.Sleep(10 * time.Second)

		for i, test := range []struct {
			name   string
			b      *bench
			packet []byte
			n      int
			what   string
			low    int
			high   int
		}{
			{"under the demand", b, client, 100, "answer", 100, 100},
			{"under the demand", b, plain, 100, "answer", 100, 100},
			{"the flood begins: as many as may, and a few until the rate is known", b, plain, 400, "answer", 100, 250},
			{"the flood goes on", b, plain, 400, "answer", 99, 101},
			{"the rest is sent to TCP", b, plain, 400, "tc", 299, 301},
			{"a client cookie in the flood", b, client, 400, "badcookie", 400, 400},
			{"a bad cookie in the flood", b, bad, 400, "badcookie", 400, 400},
			{"a valid cookie in the flood", b, valid, 400, "answer", 400, 400},
			{"TCP in the flood", tcp, client, 400, "answer", 400, 400},
			{"the flood has ended", b, client, 100, "answer", 100, 100},
		} {
			if got := test.b.flood(test.packet, test.n); got[test.what] < test.low || got[test.what] > test.high || got["else"] > 0 {
				t.Errorf("%d %s: %v", i, test.name, got)
			}
		}
		st := CookieStats{}
		b.h.server.demand.addTo(&st)
		if st.DemandedCookie != 800 || st.DemandedTCP < 700 {
			t.Errorf("counted %+v", st)
		}
	})
}

// The demand is that of the server: sockets that each have little add up.
func TestDemand_OverAllSockets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var d demand
		meters := []*demandMeter{d.meter(), d.meter(), d.meter()}
		passed := 0
		for second := range 10 {
			for range 60 {
				for _, m := range meters[:2] { // the third socket gets nothing
					if rate := m.add(time.Now()); rate <= 80 || m.passes(rate, 80) {
						passed += second / 2 / 4 // in the last two
					}
				}
			}
			time.Sleep(time.Second)
		}
		if passed < 158 || passed > 162 {
			t.Errorf("%d a second pass, want 80", passed/2)
		}
	})
}

// Above the demand and above the rate limit, what asks for a proof is no longer
// than the query, but for the 16 octets of the server cookie that it must carry:
// there is no NSID (RFC 5001) in it, however long ours is, and what is echoed
// (RFC 7871) is as long as it was.
func TestDemand_NoAmplification(t *testing.T) {
	const nsid, ecs = "0003 0000", "0008 0007 0001 18 00 c00002"
	limiting := rrl()
	limiting.Rate, limiting.Burst, limiting.Slip = 1, 1, 1
	for name, set := range map[string]func(*Table){
		"demand": func(table *Table) { table.demandAbove = 1 },
		"rrl":    func(table *Table) { table.limiter = newLimiter(&limiting, nil, time.Now()) },
	} {
		run := func(t *testing.T) {
			table := cookieTable(t, testSecret)
			table.nsid, table.ecs = strings.Repeat("6e", 128), true
			set(table)
			b := newBench(t, table, false)
			plain, _ := asking("mail.example.com.", dns.TypeA).Pack()
			for range 10 {
				b.send(plain)
			}
			for i, test := range []struct {
				packet []byte
				more   int // octets
			}{
				{plain, 0},
				{optQuery(t, "mail.example.com.", ""), 0},
				{optQuery(t, "mail.example.com.", nsid), 0},
				{optQuery(t, "mail.example.com.", nsid+ecs), 0},
				{cookieQuery(t, aClient), 16},
				{optQuery(t, "mail.example.com.", nsid+ecs+"000a 0008"+aClient), 16},
			} {
				reply := b.send(test.packet)
				m := b.unpack(reply)
				if asks := m.Truncated || m.Rcode == dns.RcodeBadCookie; !asks || (m.Rcode == dns.RcodeBadCookie) != (test.more > 0) {
					t.Errorf("%d: %v", i, m)
				}
				if len(reply) > len(test.packet)+test.more {
					t.Errorf("%d: %d octets for %d", i, len(reply), len(test.packet))
				}
			}
		}
		t.Run(name, func(t *testing.T) { synctest.Test(t, run) })
	}
}
