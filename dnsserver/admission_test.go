package dnsserver

import (
	"bytes"
	"context"
	"log/slog"
	"net/netip"
	"regexp"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/miekg/dns"

	"github.com/portolan-lb/portolan/config"
	"github.com/portolan-lb/portolan/status"
)

// door is a server without sockets, with a handler for each transport.
type door struct {
	*Server
	t        testing.TB
	log      lockedText
	udp, tcp *handler
}

// lockedText is what several goroutines write and read.
type lockedText struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedText) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedText) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func newDoor(t testing.TB, table *Table) *door {
	d := &door{t: t}
	d.Server = New(Options{Rows: status.NewBoard(1).Table, Log: slog.New(slog.NewTextHandler(&d.log, nil))})
	d.Use(table)
	d.udp, d.tcp = d.newHandler(false), d.newHandler(true)
	return d
}

// limitedTable answers as answerTable, behind rate limiting.
func limitedTable(t testing.TB, change func(*config.RRL)) *Table {
	c := rrl()
	if change != nil {
		change(&c)
	}
	table := answerTable(t)
	table.limiter = newLimiter(&c, nil, time.Now())
	return table
}

// ask gives the reply to a message of a client, nil if there is none.
func (d *door) ask(h *handler, m *dns.Msg, from string) *dns.Msg {
	d.t.Helper()
	packet, err := m.Pack()
	if err != nil {
		d.t.Fatal(err)
	}
	out := h.handle(packet, netip.AddrPortFrom(netip.MustParseAddr(from), 4242), make([]byte, tcpSize))
	if out == nil {
		return nil
	}
	reply := new(dns.Msg)
	if err := reply.Unpack(out); err != nil {
		d.t.Fatal(err)
	}
	return reply
}

// Over the limit, one reply in slip says TC and nothing else; the others are
// not sent. TCP and loopback are not limited, another /24 neither.
func TestAdmission_Slip(t *testing.T) {
	for slip, share := range map[int]float64{0: 0, 1: 1, 2: .5, 5: .2} {
		synctest.Test(t, func(t *testing.T) { slips(t, slip, share) })
	}
}

func slips(t *testing.T, slip int, share float64) {
	d := newDoor(t, limitedTable(t, func(c *config.RRL) { c.Slip, c.Burst, c.Rate = slip, 10, 1 }))
	query := asking("mail.example.com.", dns.TypeA)
	for i := range 10 {
		if r := d.ask(d.udp, query, "192.0.2.1"); r == nil || len(r.Answer) != 1 {
			t.Fatalf("query %d within the burst: %v", i, r)
		}
	}
	const asked = 2000
	slipped := 0
	for range asked {
		r := d.ask(d.udp, query, "192.0.2.2")
		if r == nil {
			continue
		}
		slipped++
		if !r.Truncated || len(r.Answer)+len(r.Ns)+len(r.Extra) != 0 || r.Rcode != dns.RcodeSuccess || r.Question[0] != query.Question[0] || r.Id != query.Id {
			t.Fatalf("a slipped reply is %v", r)
		}
	}
	if got := float64(slipped) / asked; got < share-.05 || got > share+.05 {
		t.Errorf("slip %d: %.2f of the replies slip, want %.2f", slip, got, share)
	}
	for _, ok := range []struct {
		h    *handler
		from string
	}{{d.tcp, "192.0.2.1"}, {d.udp, "127.0.0.1"}, {d.udp, "::1"}, {d.udp, "192.0.3.1"}, {d.udp, "::ffff:192.0.4.1"}} {
		if r := d.ask(ok.h, query, ok.from); r == nil || len(r.Answer) != 1 {
			t.Errorf("slip %d, %s, tcp %v: %v", slip, ok.from, ok.h.tcp, r)
		}
	}
	if r := d.ask(d.udp, query, "::ffff:192.0.2.9"); r != nil && !r.Truncated {
		t.Errorf("a mapped address is not its IPv4 client: %v", r)
	}
	st := d.Stats()
	dropped := uint64(asked - slipped)
	if got := st.RRL; got["passed"] != 14 || got["slipped"] < uint64(slipped) || got["dropped"] < dropped || got["dry"]+got["badcookie"] != 0 {
		t.Errorf("slip %d: counted %v", slip, got)
	}
	if st.Dropped["rrl"] != st.RRL["dropped"] {
		t.Errorf("slip %d: %d dropped, %d by the limiter", slip, st.Dropped["rrl"], st.RRL["dropped"])
	}
}

// Over the limit, a client that speaks cookies is told so (BADCOOKIE, RFC 7873
// 5.2.3), and with the cookie of that reply it is not limited. A forged cookie
// helps nobody.
func TestAdmission_Cookie(t *testing.T) { synctest.Test(t, demandsCookie) }

func demandsCookie(t *testing.T) {
	d := newDoor(t, limitedTable(t, func(c *config.RRL) { c.Slip, c.Burst, c.Rate = 1, 1, 1 }))
	d.Table().cookies = randomSecrets(24*time.Hour, time.Now())
	ask := func(cookie, from string) *dns.Msg {
		m := asking("mail.example.com.", dns.TypeA)
		m.SetEdns0(1232, false)
		m.IsEdns0().Option = append(m.IsEdns0().Option, &dns.EDNS0_COOKIE{Code: dns.EDNS0COOKIE, Cookie: cookie})
		return d.ask(d.udp, m, from)
	}
	const client = "0123456789abcdef"
	ask(client, "192.0.2.1")
	r := ask(client, "192.0.2.1")
	if r == nil || r.Rcode != dns.RcodeBadCookie || len(r.Answer) != 0 || r.Truncated {
		t.Fatalf("over the limit with a client cookie: %v", r)
	}
	given := r.IsEdns0().Option[0].(*dns.EDNS0_COOKIE).Cookie
	if r := ask(given, "192.0.2.1"); r == nil || r.Rcode != dns.RcodeSuccess || len(r.Answer) != 1 {
		t.Errorf("with a valid cookie: %v", r)
	}
	if r := ask(given, "192.0.2.2"); r == nil || r.Rcode != dns.RcodeBadCookie {
		t.Errorf("with the cookie of another address: %v", r)
	}
	if got := d.Stats().RRL; got["badcookie"] != 2 || got["passed"] != 1 || got["slipped"] != 0 {
		t.Errorf("counted %v", got)
	}
}

// A dry run answers everything, and counts and logs what it would not have.
func TestAdmission_DryRun(t *testing.T) { synctest.Test(t, dryRun) }

func dryRun(t *testing.T) {
	d := newDoor(t, limitedTable(t, func(c *config.RRL) { c.DryRun, c.Burst = true, 10 }))
	for i := range 100 {
		if r := d.ask(d.udp, asking("mail.example.com.", dns.TypeA), "192.0.2.1"); r == nil || len(r.Answer) != 1 {
			t.Fatalf("query %d: %v", i, r)
		}
	}
	if got := d.Stats().RRL; got["dry"] < 85 || got["passed"]+got["dry"] != 100 {
		t.Errorf("counted %v", got)
	}
	if total, most := d.limited.take(); total < 85 || most.prefix != netip.MustParsePrefix("192.0.2.0/24") {
		t.Errorf("noted %d, most of them %v", total, most)
	}
}

// The log names who is limited most: a second after it begins, and at most once
// a minute.
func TestAdmission_Log(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDoor(t, limitedTable(t, func(c *config.RRL) { c.Burst, c.Rate = 1, 1 }))
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { d.tellLimited(ctx); close(done) }()
		defer func() { cancel(); <-done }()
		lines := func() int { synctest.Wait(); return strings.Count(d.log.String(), "\n") }
		flood := func(d *door, length time.Duration) {
			for end := time.Now().Add(length); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
				d.ask(d.udp, asking("mail.example.com.", dns.TypeA), "192.0.2.1")
				d.ask(d.udp, asking("mail.example.com.", dns.TypeA), "198.51.100.1")
				d.ask(d.udp, asking("mail.example.com.", dns.TypeA), "198.51.100.2")
			}
		}
		time.Sleep(3 * time.Hour)
		if lines() != 0 {
			t.Fatalf("a line about nothing: %s", d.log.String())
		}
		flood(d, 900*time.Millisecond)
		if n := lines(); n != 0 {
			t.Errorf("%d lines before a second is over", n)
		}
		flood(d, 5*time.Minute)
		n := lines()
		text := d.log.String()
		if n != 5 {
			t.Errorf("%d lines in five minutes:\n%s", n, text)
		}
		first, _, _ := strings.Cut(text, "\n")
		if !regexp.MustCompile(`limited_per_second=29[789] most=198.51.100.0/24 most_per_second=(199|200) window=1s dry_run=false`).MatchString(first) {
			t.Errorf("the first line is %s", first)
		}
		time.Sleep(10 * time.Minute)
		before := lines() // one about the rest of the flood's last minute
		if before > 6 {
			t.Errorf("%d lines after the flood", before)
		}
		flood(d, 2*time.Second)
		if n := lines(); n != before+1 {
			t.Errorf("%d lines about a new flood", n-before)
		}
	})
}

// A reply has no room for more than dns.amplification allows, unless the source
// is proven.
func TestAdmission_Amplification(t *testing.T) {
	table := answerTable(t)
	for _, tt := range []struct {
		c     config.Amplification
		query int
		want  int
	}{
		{config.Amplification{Exempt: 512}, 40, tcpSize},
		{config.Amplification{Limit: 4, Exempt: 512}, 40, 512},
		{config.Amplification{Limit: 4, Exempt: 512}, 200, 800},
		{config.Amplification{Limit: 1, Exempt: 1232}, 1200, 1232},
	} {
		table.amplification = tt.c
		if got := table.amplified(tt.query); got != tt.want {
			t.Errorf("%+v, query of %d: %d, want %d", tt.c, tt.query, got, tt.want)
		}
	}
}

// What an ACL refuses is limited too: the refusals of forged sources must not
// be sent to whoever owns the address.
func TestAdmission_RefusedIsLimited(t *testing.T) { synctest.Test(t, refusedIsLimited) }

func refusedIsLimited(t *testing.T) {
	table := limitedTable(t, func(c *config.RRL) { c.Slip, c.Burst, c.Rate = 1, 10, 1 })
	table.acl = newACL(&config.ACL{Deny: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}, Action: config.ACLRefuse}, "dns.acl")
	d := newDoor(t, table)
	for i := range 20 {
		r := d.ask(d.udp, asking("mail.example.com.", dns.TypeA), "192.0.2.1")
		if want := i >= 10; r == nil || r.Truncated != want || (r.Rcode == dns.RcodeRefused) == want {
			t.Fatalf("query %d: %v", i, r)
		}
	}
	if r := d.ask(d.tcp, asking("mail.example.com.", dns.TypeA), "192.0.2.1"); r.Rcode != dns.RcodeRefused {
		t.Errorf("over TCP: %v", r)
	}
}
