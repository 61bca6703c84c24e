package dnsproxy

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/portolan-lb/portolan/config"
	"github.com/portolan-lb/portolan/status"
)

// A server that takes its time: what is stale is given after 1.8 s, once, and
// what the server says later is kept (RFC 8767 5).
func TestStaleTimer_RFC8767(t *testing.T) {
	t.Parallel()
	f, free := newFake(t), make(chan struct{})
	w := cached(t, f, config.DNSCache{Stale: config.Duration(time.Hour)})
	w.model.DNSProxy.Timeout = config.Duration(10 * time.Second)
	w.use()
	w.ask("udp", question("www.example.com.", dns.TypeA))
	w.age(400)
	f.over(func(w func([]byte), q *dns.Msg, raw []byte) { go func() { <-free; goodAnswer(w, q, raw) }() }, nil)
	began := time.Now()
	r := w.ask("udp", question("www.example.com.", dns.TypeA))
	if took := time.Since(began); took < staleWait-50*time.Millisecond || took > staleWait+3*time.Second {
		t.Errorf("given after %s, want %s", took, staleWait)
	}
	if address(r) != "192.0.2.1" || r.Answer[0].Header().Ttl != staleTTL {
		t.Fatalf("%s", r)
	}
	if r := w.ask("udp", question("www.example.com.", dns.TypeA)); r.Answer[0].Header().Ttl != staleTTL {
		t.Errorf("while it is being renewed: %s", r)
	}
	close(free)
	until(func() bool { return w.proxy.Stats().Outstanding == 0 })
	if r := w.ask("udp", question("www.example.com.", dns.TypeA)); r.Answer[0].Header().Ttl < 290 {
		t.Errorf("what came late was not kept: %s", r)
	}
	if s := w.proxy.Stats(); f.asks.Load() != 2 || s.Hits != 3 || s.Stale != 2 || s.Failed != 0 {
		t.Errorf("%d queries, %+v", f.asks.Load(), s)
	}
}

// A server that never answers: the client has its one stale reply after 1.8 s,
// and it is one hit, though the query fails later.
func TestStaleThenFailed_RFC8767(t *testing.T) {
	t.Parallel()
	f := newFake(t)
	w := cached(t, f, config.DNSCache{Stale: config.Duration(time.Hour)})
	w.model.DNSProxy.Timeout, w.model.DNSProxy.Retries = config.Duration(2500*time.Millisecond), 0
	w.use()
	w.ask("udp", question("www.example.com.", dns.TypeA))
	w.age(400)
	f.over(nil, nil)
	w.ask("udp", question("www.example.com.", dns.TypeA))
	until(func() bool { return w.proxy.Stats().Failed == 1 })
	if s := w.proxy.Stats(); s.Hits != 1 || s.Stale != 1 || s.Replies["NOERROR"] != 2 {
		t.Errorf("%+v", s)
	}
}

// A server that holds its answers and gives a thousand of them at once makes a
// pulse of no more than one client may have outstanding (DNSBomb, reliability
// 2.1): the others were dropped as they came, unasked.
func TestPulse_DNSBomb(t *testing.T) {
	const asked, most = 1000, 200
	f, free := newFake(t), make(chan struct{})
	f.over(func(w func([]byte), q *dns.Msg, _ []byte) {
		go func() {
			<-free
			m := good(q)
			for range 20 {
				m.Answer = append(m.Answer, m.Answer[0])
			}
			w(pack(m))
		}()
	}, nil)
	w := newWorld(t, []*fake{f}, func(m *config.Model) {
		m.DNSProxy.Limits.OutstandingPerClient, m.DNSProxy.Timeout = most, config.Duration(10*time.Second)
	})
	c, err := net.Dial("udp", w.at())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.(*net.UDPConn).SetReadBuffer(1 << 20); err != nil { // all of them have room, whoever is slow
		t.Fatal(err)
	}
	var replies, octets atomic.Int64
	var wg sync.WaitGroup
	wg.Go(func() {
		buf := make([]byte, 65535)
		for n, err := c.Read(buf); err == nil; n, err = c.Read(buf) {
			replies.Add(1)
			octets.Add(int64(n))
		}
	})
	for i := range asked {
		if _, err := c.Write(pack(question(fmt.Sprintf("n%d.example.com.", i), dns.TypeA))); err != nil {
			t.Fatal(err)
		}
		if i%100 == 99 { // so that nothing is lost on the way
			until(func() bool { return w.proxy.Stats().UDP == uint64(i+1) })
		}
	}
	until(func() bool { return f.asks.Load() >= most })
	close(free)
	until(func() bool { return w.proxy.Stats().Outstanding == 0 && replies.Load() >= most })
	_ = c.SetReadDeadline(time.Now().Add(300 * time.Millisecond)) // for more
	wg.Wait()
	if s := w.proxy.Stats(); f.asks.Load() != most || replies.Load() != most || octets.Load() > most*plainSize || s.Dropped["client-outstanding"] != asked-most {
		t.Errorf("%d queries went out, %d replies of %d octets, %+v", f.asks.Load(), replies.Load(), octets.Load(), s)
	}
}

// A client that takes no replies is let go, and holds nobody up.
func TestSlowReader(t *testing.T) {
	t.Parallel()
	f := newFake(t)
	f.over(nil, func(w func([]byte), q *dns.Msg, raw []byte) {
		m := good(q)
		for range 45 {
			m.Answer = append(m.Answer, &dns.TXT{Hdr: dns.RR_Header{Name: q.Question[0].Name, Rrtype: dns.TypeTXT, Class: dns.ClassINET, Ttl: 60}, Txt: []string{strings.Repeat("x", 250)}})
		}
		w(pack(m))
	})
	w := newWorld(t, []*fake{f}, func(m *config.Model) { m.DNSServers[0].Protocol = config.DNSOverTCP })
	c, err := net.Dial("tcp", w.at())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_ = c.(*net.TCPConn).SetReadBuffer(4096)
	var wg sync.WaitGroup
	wg.Go(func() { // until the proxy has closed it
		_ = c.SetWriteDeadline(time.Now().Add(30 * time.Second))
		for i := 0; ; i++ {
			msg := pack(question(fmt.Sprintf("n%d.example.com.", i), dns.TypeTXT))
			if _, err := c.Write(append([]byte{0, byte(len(msg))}, msg...)); err != nil {
				return
			}
		}
	})
	gone := func() bool { return w.proxy.Stats().Dropped["socket"] > 0 }
	served := 0
	for !gone() && served < 100_000 {
		if r := w.ask("udp", question("www.example.com.", dns.TypeA)); r.Rcode != dns.RcodeSuccess {
			t.Fatalf("%s", r)
		}
		served++
	}
	wg.Wait()
	if !until(func() bool { s := w.proxy.Stats(); return s.Connections == 0 && s.Outstanding == 0 }) || !gone() || served < 10 {
		t.Errorf("%d others were served; %+v", served, w.proxy.Stats())
	}
}

// Use opens another port, and closes the old one once those that wait have their
// replies; one that cannot be had leaves the old one open and is told of.
func TestPortChange(t *testing.T) {
	f, free := newFake(t), make(chan struct{})
	f.over(func(w func([]byte), q *dns.Msg, raw []byte) {
		if q.Question[0].Qtype == dns.TypeTXT {
			go func() { <-free; goodAnswer(w, q, raw) }()
			return
		}
		goodAnswer(w, q, raw)
	}, nil)
	w := newWorld(t, []*fake{f}, func(m *config.Model) { m.DNSProxy.Timeout = config.Duration(5 * time.Second) })
	old := w.at()
	waits, err := dns.Dial("udp", old)
	if err != nil {
		t.Fatal(err)
	}
	defer waits.Close()
	if err := waits.WriteMsg(question("www.example.com.", dns.TypeTXT)); err != nil {
		t.Fatal(err)
	}
	until(func() bool { return f.asks.Load() == 1 })

	taken := newFake(t)
	w.model.DNSProxy.Port = taken.addr.Port()
	w.use()
	until(func() bool { return w.proxy.Listening().Why != "" })
	if l := w.proxy.Listening(); !strings.Contains(l.Why, "another program has this port") || w.at() != old {
		t.Fatalf("%+v", l)
	}
	w.ask("udp", question("www.example.com.", dns.TypeA))
	taken.tcp.Close()
	taken.udp.Close()
	if !until(func() bool { l := w.proxy.Listening(); return l.Port == taken.addr.Port() && l.Why == "" }) {
		t.Fatalf("%+v", w.proxy.Listening())
	}
	for _, network := range []string{"udp", "tcp"} {
		if r := w.ask(network, question("www.example.com.", dns.TypeA)); address(r) != "192.0.2.1" {
			t.Errorf("%s: %s", network, r)
		}
	}
	close(free)
	_ = waits.SetReadDeadline(time.Now().Add(20 * time.Second))
	if _, err := waits.ReadMsg(); err != nil {
		t.Errorf("who waited over the old port: %v", err)
	}
	again := dns.Client{Timeout: 200 * time.Millisecond}
	if !until(func() bool {
		_, _, err := again.Exchange(question("www.example.com.", dns.TypeA), old)
		return err != nil
	}) {
		t.Error("the old port is still served")
	}
}

// A DNS server that has its addresses from its link is asked where it is now;
// while it has none another is, at once (T42).
func TestAutoAddresses_T42(t *testing.T) {
	fakes := []*fake{newFake(t), newFake(t)}
	w := newWorld(t, fakes, func(m *config.Model) {
		s := m.DNSServers[0]
		s.Auto, s.Addresses = true, nil
		m.DNSProxy.Timeout = config.Duration(5 * time.Second)
	})
	count := func() (a, b int64) {
		began := time.Now()
		for i := range 10 {
			w.ask("udp", question(fmt.Sprintf("n%d.example.com.", i), dns.TypeA))
		}
		if took := time.Since(began); took > 3*time.Second {
			t.Errorf("10 queries took %s", took)
		}
		return fakes[0].asks.Swap(0), fakes[1].asks.Swap(0)
	}
	for _, c := range []struct {
		what      string
		addresses []netip.Addr
		a, b      int64
	}{{"none yet", nil, 0, 10}, {"given", []netip.Addr{netip.MustParseAddr("127.0.0.1")}, 5, 5}, {"withdrawn", nil, 0, 10}} {
		w.auto.Store(&c.addresses)
		if a, b := count(); a != c.a || b != c.b {
			t.Errorf("%s: %d %d, want %d %d", c.what, a, b, c.a, c.b)
		}
	}
	if n := w.server("s1").Failures["no-way"]; n != 10 {
		t.Errorf("%d times without a way, want 10", n)
	}
}

// C2, 1.2.8: an entry of persistence whose server is busy or at a limit is
// honoured only where its overrides say so; that of a dead one never.
func TestPersistenceOverrides_C2(t *testing.T) {
	for _, c := range []struct {
		overBusy, overLimit bool
		is                  string
		stays               bool
	}{
		{false, false, "busy", false}, {true, false, "busy", true}, {false, true, "busy", true},
		{false, false, "full", false}, {true, false, "full", false}, {false, true, "full", true},
		{true, true, "down", false}, {false, false, "well", true},
	} {
		t.Run(fmt.Sprint(c.is, c.overBusy, c.overLimit), func(t *testing.T) {
			t.Parallel()
			fakes := []*fake{newFake(t), newFake(t)}
			w := newWorld(t, fakes, func(m *config.Model) {
				p := &config.Persistence{Name: "same", By: "source", Mask: config.Mask{V4: 32, V6: 128}, Timeout: config.Duration(time.Minute), MaxEntries: 256, OverrideBusy: c.overBusy, OverrideLimit: c.overLimit}
				m.Persistence, m.DNSProxy.Persistence = []*config.Persistence{p}, "same"
				m.DNSServerPools[0].BusyProtection = true
			})
			w.ask("udp", question("www.example.com.", dns.TypeA))
			kept := 0
			if fakes[1].asks.Load() > 0 {
				kept = 1
			}
			link := status.MakeID(status.KindLink, fmt.Sprintf("l%d", kept+1))
			switch c.is {
			case "down":
				w.board.Update(status.Row{ID: link, Health: status.Down, Why: "test"})
			case "busy", "full":
				w.board.Mark(map[status.ID]status.Load{link: {Busy: c.is == "busy", Full: c.is == "full", Why: "test"}})
			}
			fakes[kept].asks.Store(0)
			for i := range 6 {
				w.ask("udp", question(fmt.Sprintf("n%d.example.com.", i), dns.TypeA))
			}
			if got, want := fakes[kept].asks.Load(), map[bool]int64{true: 6}[c.stays]; got != want {
				t.Errorf("%d of 6 went to the server that it had, want %d", got, want)
			}
		})
	}
}

// Servers that clients may ask themselves are as many as clients like: what waits
// for another query to them is closed within its time, too.
func TestPassingSockets(t *testing.T) {
	const servers = 50
	w := newWorld(t, []*fake{newFake(t)}, func(m *config.Model) { m.DNSProxy.Pool = "" })
	idle := func() (n int) {
		passing := w.proxy.Plan().passing
		passing.mu.Lock()
		defer passing.mu.Unlock()
		for _, s := range passing.of {
			s.mu.Lock()
			for _, list := range s.idle {
				n += len(list)
			}
			s.mu.Unlock()
		}
		return n
	}
	for range servers {
		f := newFake(t)
		j := &job{p: w.proxy, plan: w.proxy.Plan(), now: time.Now(), answer: func(*query, []byte) {}}
		j.q = &query{client: netip.MustParseAddrPort("127.0.0.1:4000"), asked: f.addr}
		j.q.parse(pack(question("www.example.com.", dns.TypeA)))
		j.at = w.proxy.Plan().match(j.q, 0)
		j.run()
	}
	if idle() == 0 {
		t.Fatal("no socket waits: the test shows nothing")
	}
	if !until(func() bool { return idle() == 0 }) {
		t.Errorf("%d sockets wait for ever", idle())
	}
}

// Without descriptors queries fail at once, nothing spins, and all is well again
// when there are some (EMFILE).
func TestDescriptors(t *testing.T) {
	t.Parallel()
	f := newFake(t)
	var mute atomic.Bool
	mute.Store(true)
	f.over(func(w func([]byte), q *dns.Msg, raw []byte) {
		if !mute.Load() {
			goodAnswer(w, q, raw)
		}
	}, nil)
	plain := newWorld(t, []*fake{f}, func(m *config.Model) {
		m.DNSProxy.Timeout, m.DNSProxy.Retries, m.DNSProxy.Limits.ConnectionsPerClient = config.Duration(time.Second), 0, 100
	})
	at, end := elsewhere(t, &inSpace{Model: plain.model, Direct: true, Files: 48})
	var open []net.Conn
	for range 60 { // more than there are descriptors
		c, err := net.Dial("tcp", at)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		open = append(open, c)
	}
	var failed atomic.Int64
	var wg sync.WaitGroup
	for i := range 100 {
		wg.Go(func() {
			c := dns.Client{Timeout: 5 * time.Second}
			if r, _, err := c.Exchange(question(fmt.Sprintf("n%d.example.com.", i), dns.TypeA), at); err == nil && r.Rcode == dns.RcodeServerFailure {
				failed.Add(1)
			}
		})
	}
	wg.Wait()
	if failed.Load() != 100 {
		t.Errorf("%d of 100 were told that they failed", failed.Load())
	}
	mute.Store(false)
	for _, c := range open {
		c.Close()
	}
	for _, network := range []string{"udp", "tcp"} {
		c := dns.Client{Net: network, Timeout: time.Second}
		if !until(func() bool {
			r, _, err := c.Exchange(question("www.example.com.", dns.TypeA), at)
			return err == nil && address(r) == "192.0.2.1"
		}) {
			t.Errorf("%s: not well again", network)
		}
	}
	s, used := end()
	if s.Panics != 0 || len(s.Servers) != 1 || s.Servers[0].Failures["network"] == 0 || used > 3*time.Second {
		t.Errorf("%s of processor time, %+v", used, s)
	}
}

// elsewhere runs a proxy in a process of its own. end ends it, and gives what it
// counted and the processor time that it used.
func elsewhere(t *testing.T, is *inSpace) (at string, end func() (Stats, time.Duration)) {
	t.Helper()
	text, err := json.Marshal(is)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(os.Args[0])
	cmd.Env, cmd.Stderr = append(os.Environ(), inSpaceEnv+"="+string(text)), os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := false
	read := bufio.NewReader(out)
	end = func() (s Stats, used time.Duration) {
		if ended {
			return s, used
		}
		ended = true
		in.Close()
		text, _ := io.ReadAll(read)
		if err := cmd.Wait(); err != nil {
			t.Errorf("the proxy ended with %v", err)
		}
		if err := json.Unmarshal(text, &s); err != nil {
			t.Errorf("%v: %s", err, text)
		}
		return s, cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
	}
	t.Cleanup(func() { end() })
	line, err := read.ReadString('\n')
	port := ""
	if _, scan := fmt.Sscanf(line, "ready %s", &port); err != nil || scan != nil {
		t.Fatalf("the proxy said %q, %v", line, err)
	}
	return net.JoinHostPort("127.0.0.1", port), end
}
