package dnsproxy

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/portolan-lb/portolan/config"
	"github.com/portolan-lb/portolan/status"
)

// TestNeverRecurses: a server that gives nothing but referrals is asked once for
// each query of a client (NXNSAttack and its like, reliability 2.1).
func TestNeverRecurses(t *testing.T) {
	f := newFake(t)
	f.over(func(w func([]byte), q *dns.Msg, _ []byte) {
		m := good(q)
		m.Answer, m.RecursionAvailable = nil, false
		for i := range 13 {
			m.Ns = append(m.Ns, &dns.NS{Hdr: dns.RR_Header{Name: "example.com.", Rrtype: dns.TypeNS, Class: dns.ClassINET, Ttl: 60}, Ns: fmt.Sprintf("ns%d.victim.example.", i)})
		}
		w(pack(m))
	}, goodAnswer)
	w := newWorld(t, []*fake{f}, nil)
	const n = 50
	for i := range n {
		if r := w.ask("udp", question(fmt.Sprintf("n%d.example.com.", i), dns.TypeA)); len(r.Answer) != 0 || len(r.Ns) != 13 {
			t.Fatalf("%s", r)
		}
	}
	if got := f.asks.Load() + f.tcps.Load(); got != n {
		t.Errorf("%d queries went out for %d", got, n)
	}
}

// TestRatio: with every answer an error, as many queries go out as the
// configuration grants, and no more.
func TestRatio(t *testing.T) {
	for _, rcode := range []int{dns.RcodeServerFailure, dns.RcodeRefused, dns.RcodeFormatError, dns.RcodeNotImplemented, -1} {
		for _, retries := range []int{0, 1, 3} {
			t.Run(fmt.Sprint(rcode, retries), func(t *testing.T) {
				t.Parallel()
				fakes := []*fake{newFake(t), newFake(t)}
				for _, f := range fakes {
					f.over(func(w func([]byte), q *dns.Msg, _ []byte) {
						if rcode >= 0 {
							m := new(dns.Msg)
							w(pack(m.SetRcode(q, rcode)))
						}
					}, nil)
				}
				w := newWorld(t, fakes, func(m *config.Model) {
					m.DNSProxy.Retries, m.DNSProxy.Timeout = retries, config.Duration(400*time.Millisecond)
				})
				r := w.ask("udp", question("www.example.com.", dns.TypeA))
				want := rcode
				if rcode < 0 {
					want = dns.RcodeServerFailure
				}
				if r.Rcode != want {
					t.Errorf("rcode %s, want %s", dns.RcodeToString[r.Rcode], dns.RcodeToString[want])
				}
				if got := fakes[0].asks.Load() + fakes[1].asks.Load() + fakes[0].tcps.Load() + fakes[1].tcps.Load(); got > int64(1+retries) || got == 0 {
					t.Errorf("%d queries for one with %d retries", got, retries)
				}
			})
		}
	}
}

// A server that fails is made up for by one of another link (test 22).
func TestRetryOnAnotherLink_22(t *testing.T) {
	for _, how := range []string{"silent", "servfail", "refused", "closed"} {
		t.Run(how, func(t *testing.T) {
			t.Parallel()
			fakes := []*fake{newFake(t), newFake(t), newFake(t)}
			dead := func(w func([]byte), q *dns.Msg, _ []byte) {
				switch m := new(dns.Msg); how {
				case "servfail":
					w(pack(m.SetRcode(q, dns.RcodeServerFailure)))
				case "refused":
					w(pack(m.SetRcode(q, dns.RcodeRefused)))
				}
			}
			fakes[0].over(dead, nil)
			fakes[1].over(dead, nil)
			if how == "closed" {
				fakes[0].udp.Close()
				fakes[1].udp.Close()
			}
			w := newWorld(t, fakes, func(m *config.Model) {
				m.DNSProxy.Timeout = config.Duration(500 * time.Millisecond)
				m.DNSServers[1].Link = "l1" // the second is on the link of the first
			})
			for i := range 12 {
				if r := w.ask("udp", question(fmt.Sprintf("n%d.example.com.", i), dns.TypeA)); address(r) != "192.0.2.1" {
					t.Fatalf("%s", r)
				}
			}
			if w.proxy.Stats().Retries < 6 {
				t.Errorf("%d retries", w.proxy.Stats().Retries)
			}
		})
	}
}

// NXDOMAIN is an answer: nobody else is asked.
func TestNoRetryOfNXDOMAIN(t *testing.T) {
	fakes := []*fake{newFake(t), newFake(t)}
	for _, f := range fakes {
		f.over(func(w func([]byte), q *dns.Msg, _ []byte) { w(pack(new(dns.Msg).SetRcode(q, dns.RcodeNameError))) }, nil)
	}
	w := newWorld(t, fakes, nil)
	if r := w.ask("udp", question("www.example.com.", dns.TypeA)); r.Rcode != dns.RcodeNameError || fakes[0].asks.Load()+fakes[1].asks.Load() != 1 {
		t.Errorf("%s after %d queries", r, fakes[0].asks.Load()+fakes[1].asks.Load())
	}
}

// What goes out is our own: another id, the client's name in letters of chance,
// EDNS of 1232 with its DO, RD and CD, no client subnet, no cookie of the client's.
func TestQueryIsOurOwn(t *testing.T) {
	f := newFake(t)
	w := newWorld(t, []*fake{f}, nil)
	q := question("www.example.com.", dns.TypeA)
	q.CheckingDisabled = true
	q.SetEdns0(4096, true)
	opt := q.IsEdns0()
	opt.Option = append(opt.Option, &dns.EDNS0_SUBNET{Code: dns.EDNS0SUBNET, Family: 1, SourceNetmask: 24, Address: []byte{10, 0, 0, 0}},
		&dns.EDNS0_COOKIE{Code: dns.EDNS0COOKIE, Cookie: "aabbccddeeff0011"}, &dns.EDNS0_NSID{Code: dns.EDNS0NSID})
	spelled, ids := map[string]bool{}, map[uint16]bool{}
	for range 20 {
		w.ask("udp", q)
		got := f.last()
		o := got.IsEdns0()
		if o == nil || o.UDPSize() != 1232 || !o.Do() || !got.RecursionDesired || !got.CheckingDisabled {
			t.Fatalf("sent %s", got)
		}
		for _, x := range o.Option {
			if c, ok := x.(*dns.EDNS0_COOKIE); !ok || c.Cookie == "aabbccddeeff0011" {
				t.Errorf("sent the option %s", x)
			}
		}
		if !strings.EqualFold(got.Question[0].Name, "www.example.com.") {
			t.Errorf("asked for %s", got.Question[0].Name)
		}
		spelled[got.Question[0].Name], ids[got.Id] = true, true
	}
	if len(spelled) < 15 || len(ids) < 15 {
		t.Errorf("%d spellings, %d ids in 20 queries", len(spelled), len(ids))
	}
}

// A server that does not keep the letters is found out by TCP, and used.
func TestServerThatFoldsLetters(t *testing.T) {
	lower := func(w func([]byte), q *dns.Msg, raw []byte) {
		q.Question[0].Name = strings.ToLower(q.Question[0].Name)
		goodAnswer(w, q, raw)
	}
	for _, tcp := range []bool{true, false} {
		t.Run(fmt.Sprint("tcp ", tcp), func(t *testing.T) {
			f := newFake(t)
			f.over(lower, lower)
			if !tcp {
				f.tcp.Close()
			}
			w := newWorld(t, []*fake{f}, func(m *config.Model) { m.DNSProxy.Timeout = config.Duration(500 * time.Millisecond) })
			for i := range 8 {
				r := w.ask("udp", question(fmt.Sprintf("abcdefghijkl%d.example.com.", i), dns.TypeA))
				if (tcp || i > 3) && address(r) != "192.0.2.1" {
					t.Fatalf("query %d: %s", i, r)
				}
			}
			if s := w.server("s1"); s.Letters != "folds" || tcp && s.OverTCP != 1 {
				t.Errorf("%+v", s)
			}
		})
	}
}

// A server that knows no EDNS is asked without, at once the next time.
func TestServerWithoutEDNS(t *testing.T) {
	f := newFake(t)
	f.over(func(w func([]byte), q *dns.Msg, raw []byte) {
		if q.IsEdns0() != nil {
			w(pack(new(dns.Msg).SetRcode(q, dns.RcodeFormatError)))
			return
		}
		goodAnswer(w, q, raw)
	}, nil)
	w := newWorld(t, []*fake{f}, nil)
	for i := range 3 {
		if r := w.ask("udp", question(fmt.Sprintf("n%d.example.com.", i), dns.TypeA)); address(r) != "192.0.2.1" {
			t.Fatalf("%s", r)
		}
	}
	if n := f.asks.Load(); n != 4 {
		t.Errorf("%d queries, want 4: one in vain, then one each", n)
	}
}

func TestCookies_RFC7873(t *testing.T) {
	f := newFake(t)
	var mu sync.Mutex
	var got []string
	f.over(func(w func([]byte), q *dns.Msg, _ []byte) {
		m := good(q)
		for _, o := range q.IsEdns0().Option {
			if c, ok := o.(*dns.EDNS0_COOKIE); ok {
				mu.Lock()
				got = append(got, c.Cookie)
				mu.Unlock()
				m.IsEdns0().Option = []dns.EDNS0{&dns.EDNS0_COOKIE{Code: dns.EDNS0COOKIE, Cookie: c.Cookie[:16] + "00112233445566778899aabbccddeeff"}}
				if len(c.Cookie) == 16 {
					m.Rcode = dns.RcodeBadCookie
				}
			}
		}
		w(pack(m))
	}, nil)
	w := newWorld(t, []*fake{f}, nil)
	for range 3 {
		if r := w.ask("udp", question("www.example.com.", dns.TypeA)); address(r) != "192.0.2.1" {
			t.Fatalf("%s", r)
		}
	}
	mu.Lock()
	defer mu.Unlock()
	if len(got) != 4 || len(got[0]) != 16 || len(got[1]) != 48 || got[3] != got[1] {
		t.Errorf("cookies sent: %v", got)
	}
}

// Persistence by source (test 22): a client keeps its server; when that dies, it
// keeps the next.
func TestPersistence_22(t *testing.T) {
	fakes := []*fake{newFake(t), newFake(t), newFake(t)}
	w := newWorld(t, fakes, func(m *config.Model) {
		p := &config.Persistence{Name: "by-client", By: "source", Mask: config.Mask{V4: 32, V6: 128}, Timeout: config.Duration(time.Minute), MaxEntries: 256}
		m.Persistence, m.DNSProxy.Persistence = []*config.Persistence{p}, "by-client"
	})
	asked := func() (counts []int64) {
		for i := range 12 {
			w.ask("udp", question(fmt.Sprintf("n%d.example.com.", i), dns.TypeA))
		}
		for _, f := range fakes {
			counts = append(counts, f.asks.Swap(0))
		}
		return counts
	}
	first := asked()
	if slices.Max(first) != 12 {
		t.Fatalf("one client was spread: %v", first)
	}
	if again := asked(); !slices.Equal(again, first) {
		t.Errorf("%v, then %v", first, again)
	}
	dead := slices.Index(first, 12)
	w.board.Update(status.Row{ID: status.MakeID(status.KindLink, fmt.Sprintf("l%d", dead+1)), Health: status.Down, Why: "test"})
	if moved := asked(); moved[dead] != 0 || slices.Max(moved) != 12 {
		t.Errorf("after its link died: %v", moved)
	}
	w.board.Update(status.Row{ID: status.MakeID(status.KindLink, fmt.Sprintf("l%d", dead+1)), Health: status.Up})
	if stays := asked(); stays[dead] != 0 {
		t.Errorf("it went back: %v", stays)
	}
}

// Dead and busy links' servers are not asked; when nobody is usable all are.
func TestRows_22(t *testing.T) {
	fakes := []*fake{newFake(t), newFake(t)}
	w := newWorld(t, fakes, func(m *config.Model) { m.DNSServerPools[0].BusyProtection = true })
	count := func() (a, b int64) {
		for i := range 10 {
			if r := w.ask("udp", question(fmt.Sprintf("n%d.example.com.", i), dns.TypeA)); address(r) != "192.0.2.1" {
				t.Fatal(r)
			}
		}
		return fakes[0].asks.Swap(0), fakes[1].asks.Swap(0)
	}
	if a, b := count(); a != 5 || b != 5 {
		t.Errorf("round robin: %d %d", a, b)
	}
	w.board.Update(status.Row{ID: "dnsServer/s1", Health: status.Down, Why: "test"})
	if a, b := count(); a != 0 || b != 10 {
		t.Errorf("server down: %d %d", a, b)
	}
	w.board.Update(status.Row{ID: "link/l2", Health: status.Down, Why: "test"})
	if a, b := count(); a+b != 10 {
		t.Errorf("nobody usable: %d %d", a, b)
	}
	w.board.Update(status.Row{ID: "dnsServer/s1", Health: status.Up}, status.Row{ID: "link/l2", Health: status.Up})
	w.board.Mark(map[status.ID]status.Load{"link/l1": {Busy: true, Why: "test"}})
	if a, b := count(); a != 0 || b != 10 {
		t.Errorf("busy: %d %d", a, b)
	}
}

func TestPolicies(t *testing.T) {
	fakes := []*fake{newFake(t), newFake(t)}
	w := newWorld(t, fakes, func(m *config.Model) {
		m.DNSServerPools[0].Members = m.DNSServerPools[0].Members[:1]
		m.DNSServerPools = append(m.DNSServerPools, &config.DNSServerPool{Name: "inside", Algorithm: "random", Members: []*config.DNSServerMember{{Server: "s2", Weight: 1}}})
		m.DNSProxy.Policies = []*config.DNSPolicy{
			{Name: "elsewhere", Sources: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}, Action: config.DNSAction{Do: config.DNSDrop}},
			{Name: "intern", Domains: []string{"corp.example."}, Action: config.DNSAction{Pool: "inside", OnFailure: config.DNSFailureContinue}},
			{Name: "again", Domains: []string{"corp.example."}, Action: config.DNSAction{Answer: config.DNSAnswer{Code: "refused"}}},
			{Name: "blocked", Domains: []string{"ads.example.", "a.b.c.example."}, Action: config.DNSAction{Answer: config.DNSAnswer{Code: "nxdomain", TTL: config.Duration(time.Minute)}}},
			{Name: "captive", Domains: []string{"portal.example."}, Action: config.DNSAction{Answer: config.DNSAnswer{Addresses: []netip.Addr{netip.MustParseAddr("10.0.0.1")}, TTL: config.Duration(30 * time.Second)}}},
			{Name: "quiet", Domains: []string{"drop.example."}, Sources: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}, Action: config.DNSAction{Do: config.DNSDrop}},
		}
	})
	for _, c := range []struct {
		name  string
		qtype uint16
		want  string
	}{
		{"host.corp.example.", dns.TypeA, "s2"}, {"CORP.example.", dns.TypeA, "s2"}, {"xcorp.example.", dns.TypeA, "s1"}, {"example.", dns.TypeA, "s1"},
		{"x.ads.example.", dns.TypeA, "NXDOMAIN"}, {"ads.example.", dns.TypeTXT, "NXDOMAIN"}, {"b.c.example.", dns.TypeA, "s1"},
		{"portal.example.", dns.TypeA, "10.0.0.1"}, {"portal.example.", dns.TypeAAAA, "NODATA"}, {"drop.example.", dns.TypeA, "nothing"},
	} {
		for _, f := range fakes {
			f.asks.Store(0)
		}
		client := dns.Client{Timeout: 5 * time.Second}
		if c.want == "nothing" {
			client.Timeout = 300 * time.Millisecond
		}
		got := "nothing"
		if r, _, err := client.Exchange(question(c.name, c.qtype), w.at()); err == nil {
			switch {
			case fakes[0].asks.Load() > 0:
				got = "s1"
			case fakes[1].asks.Load() > 0:
				got = "s2"
			case r.Rcode != 0:
				got = dns.RcodeToString[r.Rcode]
			case len(r.Answer) == 0:
				got = "NODATA"
			default:
				got = address(r)
			}
		}
		if got != c.want {
			t.Errorf("%s %s: %s, want %s", c.name, dns.Type(c.qtype), got, c.want)
		}
	}
	w.board.Update(status.Row{ID: "dnsServer/s2", Health: status.Down, Why: "test"})
	if r := w.ask("udp", question("corp.example.", dns.TypeA)); r.Rcode != dns.RcodeRefused {
		t.Errorf("a rule that goes on: %s", r)
	}
	taken := map[string]uint64{}
	for _, p := range w.proxy.Stats().Policies {
		taken[p.Name] = p.Queries
	}
	if taken["intern"] != 3 || taken["again"] != 1 || taken["blocked"] != 2 || taken["elsewhere"] != 0 || taken["default"] != 3 {
		t.Errorf("%v", taken)
	}
}

// Pass asks whom the client asked.
func TestPass(t *testing.T) {
	f := newFake(t)
	w := newWorld(t, []*fake{f}, func(m *config.Model) { m.DNSProxy.Pool = "" })
	j := &job{p: w.proxy, plan: w.proxy.Plan(), now: time.Now(), answer: func(*query, []byte) {}}
	var got []byte
	j.answer = func(_ *query, m []byte) { got = slices.Clone(m) }
	j.q = &query{client: netip.MustParseAddrPort("127.0.0.1:4000"), asked: f.addr}
	if v := j.q.parse(pack(question("www.example.com.", dns.TypeA))); v != isQuery {
		t.Fatal(v)
	}
	j.run()
	m := new(dns.Msg)
	if err := m.Unpack(got); err != nil || address(m) != "192.0.2.1" || f.asks.Load() != 1 {
		t.Errorf("%v %s", err, m)
	}
}

// What waits is bounded, in all and of one client, and what is over is counted.
func TestAdmission(t *testing.T) {
	f := newFake(t)
	f.over(nil, nil)
	w := newWorld(t, []*fake{f}, func(m *config.Model) {
		m.DNSProxy.Limits.OutstandingPerClient, m.DNSProxy.Retries, m.DNSProxy.Timeout = 10, 0, config.Duration(time.Second)
	})
	c, err := dns.Dial("udp", w.at())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for i := range 50 {
		if err := c.WriteMsg(question(fmt.Sprintf("n%d.example.com.", i), dns.TypeA)); err != nil {
			t.Fatal(err)
		}
	}
	answers := 0
	for {
		_ = c.SetReadDeadline(time.Now().Add(2 * time.Second))
		if _, err := c.ReadMsg(); err != nil {
			break
		}
		answers++
	}
	if s := w.proxy.Stats(); answers != 10 || s.Dropped["client-outstanding"] != 40 || s.Outstanding != 0 || len(w.proxy.admitted.shards[0].of) != 0 {
		t.Errorf("%d answers, %+v", answers, s)
	}
}

// Equal questions that wait for one server are one query (the birthday attack).
func TestEqualQuestionsAreOne(t *testing.T) {
	f := newFake(t)
	free := make(chan struct{})
	f.over(func(w func([]byte), q *dns.Msg, raw []byte) { go func() { <-free; goodAnswer(w, q, raw) }() }, nil)
	w := newWorld(t, []*fake{f}, nil)
	var wg sync.WaitGroup
	for range 40 {
		wg.Go(func() {
			if r := w.ask("udp", question("www.example.com.", dns.TypeA)); address(r) != "192.0.2.1" {
				t.Errorf("%s", r)
			}
		})
	}
	until(func() bool { return w.proxy.flights.waits() == 39 })
	close(free)
	wg.Wait()
	if n := f.asks.Load(); n != 1 || w.proxy.Stats().Shared != 39 {
		t.Errorf("%d queries, %d shared", n, w.proxy.Stats().Shared)
	}
}

func TestExplainIsServed(t *testing.T) {
	fakes := []*fake{newFake(t), newFake(t), newFake(t)}
	w := newWorld(t, fakes, func(m *config.Model) {
		m.DNSServerPools[0].Members[0].Weight = 3
		m.DNSProxy.Policies = []*config.DNSPolicy{{Name: "blocked", Domains: []string{"ads.example."}, Action: config.DNSAction{Answer: config.DNSAnswer{Code: "nxdomain"}}}}
	})
	client := netip.MustParseAddr("127.0.0.1")
	for i := range 30 {
		name := fmt.Sprintf("n%d.example.com.", i)
		e, err := w.proxy.Explain(Ask{Client: client, Asked: netip.MustParseAddr("8.8.8.8"), Name: name, Type: dns.TypeA})
		if err != nil {
			t.Fatal(err)
		}
		if again, _ := w.proxy.Explain(Ask{Client: client, Asked: netip.MustParseAddr("8.8.8.8"), Name: name, Type: dns.TypeA}); again.Words != e.Words {
			t.Fatalf("explain changes what it explains:\n%s\n%s", e.Words, again.Words)
		}
		for _, f := range fakes {
			f.asks.Store(0)
		}
		w.ask("udp", question(name, dns.TypeA))
		said := int(e.Servers[0].Server[1] - '1')
		if fakes[said].asks.Load() != 1 {
			t.Fatalf("explain says %s, another was asked\n%s", e.Servers[0].Server, e.Words)
		}
	}
	e, err := w.proxy.Explain(Ask{Client: client, Name: "x.ads.example", Type: dns.TypeA})
	if err != nil || e.Policy != "blocked" || !strings.Contains(e.Words, "policy blocked: we answer nxdomain ourselves") {
		t.Errorf("%+v, %v", e, err)
	}
}

// The port that a query goes out from changes, at the latest after socketUses
// queries, and one that anything odd came by is not used again.
func TestPortsChange(t *testing.T) {
	f := newFake(t)
	ports := map[uint16]int{}
	w := newWorld(t, []*fake{f}, nil)
	for i := range 200 {
		if i == 100 {
			f.over(func(w func([]byte), q *dns.Msg, raw []byte) {
				m := bad(q)
				m.Id++
				w(pack(m))
				goodAnswer(w, q, raw)
			}, nil)
			clear(ports)
		}
		w.ask("udp", question(fmt.Sprintf("n%d.example.com.", i), dns.TypeA))
		from, _ := f.lastFrom()
		ports[from.Port()]++
		if most := ports[from.Port()]; most > socketUses || i > 110 && most > 2 {
			t.Fatalf("query %d: port %d for the %dth time", i, from.Port(), most)
		}
	}
	if len(ports) < 80 {
		t.Errorf("%d ports for 100 queries that odd answers came to", len(ports))
	}
}
