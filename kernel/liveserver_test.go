package kernel

import (
	"errors"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	"pgregory.net/rapid"

	"github.com/portolan-lb/portolan/nettest"
)

// counted is a session as the slow twin keeps it.
type counted struct {
	id   uint32
	ends [2]Tuple
	mark uint32

	noted bool // it was told of, or read
	over  bool // closed by both, or reset, and still in the table
}

// slowLive counts by looking at all there are.
type slowLive struct {
	there  map[uint32]*counted
	opened map[rowKey]uint64
	failed map[rowKey]uint64
}

func (c counted) key() rowKey {
	k := rowKey{mark: c.mark & ServerMask, protocol: c.ends[0].Protocol, server: c.ends[1].Source}
	if c.ends[1].Destination.Addr() != c.ends[0].Source.Addr() {
		k.lent = c.ends[1].Destination.Addr()
	}
	return k
}

func (c counted) message(more ...[]byte) []byte {
	if c.over {
		more = append(more, stateOf(byte(tcpTimeWait+c.id%2)))
	}
	return sessionMessage(c.ends[0], c.ends[1], append(more, attribute(ctaID, big32(c.id)), attribute(ctaMark, big32(c.mark)))...)
}

// stateOf is the attribute with a state of TCP.
func stateOf(n byte) []byte {
	return nested(ctaProtocolInfo, nested(ctaProtocolInfoTCP, attribute(ctaTCPState, []byte{n})))
}

// told is an event, of the kernel's own or one that somebody caused.
func (c counted) told(kind uint16, answered, ended bool) []byte {
	status := uint32(0)
	if answered {
		status = StatusSeenReply
	}
	b := message(kind, 0, 0, c.message(attribute(ctaStatus, big32(status))))
	if ended {
		native.PutUint32(b[12:], 4711)
	}
	return b
}

// sums gives what a [Live] must tell, by marks, servers and lent addresses.
func (w *slowLive) sums() (marks map[uint32]Tally, servers map[Served]Tally, loans map[Lent]int) {
	marks, servers, loans = map[uint32]Tally{}, map[Served]Tally{}, map[Lent]int{}
	add := func(k rowKey, live, kept int, opened, failed uint64) {
		m, s := marks[k.mark], servers[k.served()]
		m.add(live, opened, failed)
		s.add(live, opened, failed)
		marks[k.mark], servers[k.served()] = m, s
		if k.lent.IsValid() && kept > 0 {
			loans[k.loan()] += kept
		}
	}
	for _, c := range w.there {
		if c.mark&ServerMask != 0 {
			live := 1
			if c.over {
				live = 0
			}
			add(c.key(), live, 1, 0, 0)
		}
	}
	for k, n := range w.opened {
		add(k, 0, 0, n, 0)
	}
	for k, n := range w.failed {
		add(k, 0, 0, 0, n)
	}
	return marks, servers, loans
}

func drawSession(t *rapid.T, id uint32) counted {
	client := netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, 0, byte(rapid.IntRange(1, 3).Draw(t, "client"))}), uint16(id))
	server := netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 1, 0, byte(rapid.IntRange(1, 3).Draw(t, "server"))}), uint16(rapid.IntRange(80, 81).Draw(t, "port")))
	back := client
	if rapid.Bool().Draw(t, "lent") {
		back = netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 2, 0, byte(rapid.IntRange(1, 2).Draw(t, "pool"))}), client.Port())
	}
	protocol := rapid.SampledFrom([]uint8{unix.IPPROTO_TCP, unix.IPPROTO_UDP}).Draw(t, "protocol")
	return counted{id: id, mark: rapid.SampledFrom([]uint32{0, 3, 1 << 10, 2<<10 | 5, 1<<10 | 1<<28}).Draw(t, "mark"),
		ends: [2]Tuple{{Protocol: protocol, Source: client, Destination: port("192.0.2.1:443")}, {Protocol: protocol, Source: server, Destination: back}}}
}

// Random sessions come, go, and go unseen until the table is read; the counts
// are those of the slow twin whenever nothing is unseen. What Moved tells adds
// up to the same.
func TestLiveServersTwin(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		l := newLive(ServerMask, true)
		twin := &slowLive{there: map[uint32]*counted{}, opened: map[rowKey]uint64{}, failed: map[rowKey]uint64{}}
		followed := map[Served]Tally{}
		lost, next := false, uint32(0)
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			seen := rapid.IntRange(0, 9).Draw(t, "seen") > 0
			lost = lost || !seen
			switch rapid.IntRange(0, 5).Draw(t, "step") {
			case 0, 1:
				next++
				c := drawSession(t, next)
				twin.there[c.id] = &c
				if seen {
					l.take(c.told(ctNew, false, false))
					twin.note(&c, true)
				}
			case 2, 3:
				if len(twin.there) == 0 {
					continue
				}
				id := rapid.SampledFrom(slices.Sorted(maps.Keys(twin.there))).Draw(t, "goes")
				answered, ended := rapid.Bool().Draw(t, "answered"), rapid.Bool().Draw(t, "ended")
				if c := twin.there[id]; seen {
					l.take(c.told(ctDelete, answered, ended))
					if c.noted && !answered && !ended {
						twin.failed[c.key()]++
					}
				}
				delete(twin.there, id)
			case 4:
				found := map[uint64]known{}
				for _, c := range twin.there {
					if s, ok := parseSession(c.message()); ok && s.Mark&ServerMask != 0 {
						l.find(found, &s)
					}
					twin.note(c, l.recounts > 0) // what the first reading finds is old
				}
				l.replace(found)
				lost = false
			case 5:
				if len(twin.there) == 0 {
					continue
				}
				c := twin.there[rapid.SampledFrom(slices.Sorted(maps.Keys(twin.there))).Draw(t, "is over")]
				if c.over = c.ends[0].Protocol == unix.IPPROTO_TCP; c.over && seen { // once or twice
					l.take(c.told(ctNew, true, false))
				}
			}
			if !lost {
				twin.agrees(t, l, followed)
			}
		}
	})
}

// note says that a session is known from now on, as one that has come or that
// was there.
func (w *slowLive) note(c *counted, came bool) {
	if came && !c.noted && c.mark&ServerMask != 0 {
		w.opened[c.key()]++
	}
	c.noted = c.mark&ServerMask != 0
}

func (w *slowLive) agrees(t *rapid.T, l *Live, followed map[Served]Tally) {
	marks, servers, loans := w.sums()
	got, gotServers, gotLoans := map[uint32]Tally{}, map[Served]Tally{}, map[Lent]int{}
	l.Counts(got)
	l.Servers(func(s Served, n Tally) { gotServers[s] = n })
	l.Loans(func(of Lent, n int) { gotLoans[of] = n })
	l.Moved(func(s Served, n Tally) { followed[s] = n })
	for _, m := range []map[uint32]Tally{got, marks} {
		maps.DeleteFunc(m, func(_ uint32, n Tally) bool { return n == Tally{} }) // there when we began, and gone or over
	}
	for _, m := range []map[Served]Tally{gotServers, followed, servers} {
		maps.DeleteFunc(m, func(_ Served, n Tally) bool { return n == Tally{} })
	}
	if !maps.Equal(got, marks) {
		t.Fatalf("by mark: %v, want %v", got, marks)
	}
	if !maps.Equal(gotServers, servers) || !maps.Equal(followed, servers) {
		t.Fatalf("by server: %v, by what moved %v, want %v", gotServers, followed, servers)
	}
	if !maps.Equal(gotLoans, loans) {
		t.Fatalf("lent: %v, want %v", gotLoans, loans)
	}
	l.Moved(func(s Served, _ Tally) { t.Fatalf("%v moved, and nothing happened", s) })
}

// Rows without a session are forgotten when there are very many, and nothing
// else changes: those that have one keep what they have counted.
func TestLiveForgets(t *testing.T) {
	l := newLive(ServerMask, true)
	l.most = 100
	one := func(n int) counted {
		client, server := netip.AddrPortFrom(netip.MustParseAddr("10.0.0.1"), uint16(n)), netip.AddrPortFrom(netip.MustParseAddr("10.1.0.1"), uint16(n))
		lent := netip.AddrPortFrom(netip.MustParseAddr("10.2.0.1"), uint16(n))
		return counted{id: uint32(n), mark: 1 << 10, ends: [2]Tuple{{Protocol: 6, Source: client, Destination: server}, {Protocol: 6, Source: server, Destination: lent}}}
	}
	reread := func(list ...int) {
		found := map[uint64]known{}
		for _, n := range list {
			s, _ := parseSession(one(n).message())
			l.find(found, &s)
		}
		l.replace(found)
	}
	reread()
	for n := 1; n <= 1000; n++ {
		l.take(one(n).told(ctNew, false, false))
		if n%10 != 0 {
			l.take(one(n).told(ctDelete, false, false))
		}
	}
	var living []int
	for n := 10; n <= 1000; n += 10 {
		living = append(living, n)
	}
	reread(living...)
	counts := map[uint32]Tally{}
	l.Counts(counts)
	if want := (Tally{Live: 100, Opened: 1000, Unanswered: 900}); counts[1<<10] != want || len(l.rows) != 100 || len(l.known) != 100 {
		t.Errorf("counts %v, want %v; %d rows", counts, want, len(l.rows))
	}
	n, lent := 0, 0
	l.Servers(func(s Served, tally Tally) {
		if n++; tally != (Tally{Live: 1, Opened: 1}) || s.Server.Port()%10 != 0 {
			t.Errorf("%v: %v", s, tally)
		}
	})
	l.Loans(func(_ Lent, n int) { lent += n })
	if n != 100 || lent != 100 {
		t.Errorf("%d servers, %d lent", n, lent)
	}
	for _, n := range living {
		l.take(one(n).told(ctDelete, true, false))
	}
	if l.Counts(counts); counts[1<<10].Live != 0 {
		t.Errorf("after all have gone: %v", counts)
	}
	l.Servers(func(s Served, tally Tally) {
		if tally.Live != 0 {
			t.Errorf("%v: %v", s, tally)
		}
	})
}

// Sessions are counted by the server that answers them, as they come and go;
// those that were never answered are told from those that were, and from those
// that somebody ended; lent addresses are counted by server. When events are
// lost all of it is right again within two ticks of a second, but for what went
// meanwhile.
func TestLiveServers_Root(t *testing.T) {
	s := served(t)
	c := openConntrack(t, s)
	l := startLive(t, s, ServerMask, true, liveBuffer)
	to := func(mark uint32, server string, protocol uint8) Served {
		return Served{serverMark(mark), port(server), protocol}
	}
	right := func(what string, want map[Served]Tally, loans map[Lent]int) {
		t.Helper()
		var got map[Served]Tally
		var lent map[Lent]int
		for deadline := time.Now().Add(longEnough); time.Now().Before(deadline); {
			got, lent = map[Served]Tally{}, map[Lent]int{}
			l.Servers(func(s Served, n Tally) { got[s] = n })
			l.Loans(func(of Lent, n int) { lent[of] = n })
			if maps.Equal(got, want) && maps.Equal(lent, loans) {
				return
			}
			sessions(t, c, SessionFilter{}) // Linux drops what has expired when it comes by
		}
		t.Fatalf("%s: %v lent %v, want %v and %v", what, got, lent, want, loans)
	}
	udp, tcp := uint8(unix.IPPROTO_UDP), uint8(unix.IPPROTO_TCP)
	first := flowsOpen(t, s, address4(1), 100)
	flows(t, s, address6(2), 50)
	third := flowsOpen(t, s, at(address4(3), 40000), 30)
	loans := map[Lent]int{{netip.MustParseAddr("127.0.2.1"), port("127.0.1.2:8080"), udp}: 30}
	if _, err := c.End(t.Context(), SessionFilter{Mark: serverMark(2), Mask: ServerMask}); err != nil {
		t.Fatal(err)
	}
	right("they came, and some were ended", map[Served]Tally{
		to(1, "127.0.1.1:8080", udp): {Live: 100, Opened: 100}, to(2, "[fd01::1]:8080", udp): {Opened: 50}, to(3, "127.0.1.2:8080", udp): {Live: 30, Opened: 30},
	}, loans)
	s.Set("netfilter/nf_conntrack_udp_timeout", "1") // of what is sent from now on
	first()
	third()
	want := map[Served]Tally{
		to(1, "127.0.1.1:8080", udp): {Opened: 100, Unanswered: 100}, to(2, "[fd01::1]:8080", udp): {Opened: 50}, to(3, "127.0.1.2:8080", udp): {Opened: 30, Unanswered: 30},
	}
	right("nobody answered in time", want, map[Lent]int{})
	refused(t, s, at(address4(1), 40000), 20)
	want[to(1, "127.0.1.2:8080", tcp)] = Tally{Opened: 20, Unanswered: 20}
	right("refused connections", want, map[Lent]int{})
	accepted := accept(t, s, "127.0.1.2:8080")
	held := connect(t, s, at(address4(1), 40000), 10)
	want[to(1, "127.0.1.2:8080", tcp)] = Tally{Live: 10, Opened: 30, Unanswered: 20}
	right("connections", want, map[Lent]int{})
	s.Set("netfilter/nf_conntrack_tcp_timeout_time_wait", "1")
	s.Set("netfilter/nf_conntrack_tcp_timeout_close", "1")
	for _, h := range held {
		_ = h.(*net.TCPConn).SetLinger(0) // what is left of it goes at once
		_ = h.Close()
	}
	want[to(1, "127.0.1.2:8080", tcp)] = Tally{Opened: 30, Unanswered: 20}
	right("they ended, answered", want, map[Lent]int{})
	if n := accepted(); n != 10 {
		t.Errorf("%d connections were accepted", n)
	}
}

// accept takes connections at an address, and tells how many there were.
func accept(t *testing.T, s *nettest.Space, at string) func() int {
	t.Helper()
	var ln net.Listener
	var err error
	s.Do(func() { ln, err = net.Listen("tcp", at) })
	if err != nil {
		t.Fatal(err)
	}
	n, done := 0, make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			n++
			defer func() { _ = c.Close() }()
		}
	}()
	end := func() int { _ = ln.Close(); <-done; return n }
	t.Cleanup(func() { end() })
	return end
}

func connect(t *testing.T, s *nettest.Space, to netip.AddrPort, n int) (list []net.Conn) {
	t.Helper()
	for i := range n {
		var c net.Conn
		var err error
		s.Do(func() { c, err = net.Dial("tcp", at(to, to.Port()+uint16(i)).String()) })
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Close() })
		list = append(list, c)
	}
	return list
}

func refused(t *testing.T, s *nettest.Space, to netip.AddrPort, n int) {
	t.Helper()
	for i := range n {
		var c net.Conn
		var err error
		s.Do(func() { c, err = net.Dial("tcp", at(to, to.Port()+uint16(i)).String()) })
		if !errors.Is(err, unix.ECONNREFUSED) {
			t.Fatalf("%v %v, want it refused", c, err)
		}
	}
}

// Acceptance 19 for servers: exact again after events were lost.
func TestLiveServersOverrun_Root(t *testing.T) {
	s := served(t)
	c := openConntrack(t, s)
	l := startLive(t, s, ServerMask, true, 1) // the smallest there is: a dozen events
	right := func(what string, one, two int) {
		t.Helper()
		until(t, what, promised, func() bool {
			got := map[Served]int{}
			l.Servers(func(s Served, n Tally) { got[s] = n.Live })
			return got[Served{serverMark(1), port("127.0.1.1:8080"), 17}] == one && got[Served{serverMark(3), port("127.0.1.2:8080"), 17}] == two
		})
	}
	flows(t, s, address4(1), 10000)
	right("come", 10000, 0)
	flows(t, s, at(address4(3), 40000), 5000)
	if _, err := c.End(t.Context(), SessionFilter{Server: server1}); err != nil {
		t.Fatal(err)
	}
	right("gone", 0, 5000)
	if lost := l.Counts(map[uint32]Tally{}); lost == 0 {
		t.Error("no event was lost: the test tests nothing")
	}
	lent := 0
	l.Loans(func(_ Lent, n int) { lent += n })
	if lent != 5000 {
		t.Errorf("%d lent, want 5000", lent)
	}
}

func BenchmarkLiveServerEvent(b *testing.B) {
	for _, servers := range []int{1, 100000} {
		b.Run(fmt.Sprint(servers, " servers"), func(b *testing.B) {
			l := newLive(ServerMask, true)
			var come, leave [][]byte
			for i := range servers {
				server := netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 1, byte(i >> 8), byte(i)}), uint16(80+i>>16))
				c := counted{id: uint32(i), mark: uint32(i/10%10000+1) << 10, ends: [2]Tuple{{Protocol: 6, Source: port("10.0.0.5:40000"), Destination: port("192.0.2.1:443")}, {Protocol: 6, Source: server, Destination: port("10.0.0.5:40000")}}}
				come, leave = append(come, c.told(ctNew, false, false)), append(leave, c.told(ctDelete, true, false))
			}
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				l.take(come[i%servers])
				l.take(leave[i%servers])
			}
		})
	}
}
