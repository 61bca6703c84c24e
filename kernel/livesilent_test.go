package kernel

import (
	"net/netip"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/portolan-lb/portolan/nettest"
)

// A connection counts as unanswered when nothing has come back for so long, once:
// not one that was answered meanwhile, none of UDP, none of nobody's, and not again
// when it ends.
func TestLiveSilent(t *testing.T) {
	l := newLive(ServerMask, true)
	l.await.Store(int64(3 * time.Second))
	session := func(id uint32, protocol uint8, mark, status uint32) Session {
		c := counted{id: id, mark: mark, ends: [2]Tuple{{Protocol: protocol, Source: port("10.0.0.5:40000"), Destination: port("192.0.2.1:443")}, {Protocol: protocol, Source: port("10.1.0.1:80"), Destination: port("10.0.0.5:40000")}}}
		s, ok := parseSession(c.message(attribute(ctaStatus, big32(status))))
		if !ok {
			t.Fatal("no session")
		}
		return s
	}
	const tcp, udp, web = unix.IPPROTO_TCP, unix.IPPROTO_UDP, 1 << 10
	come := func(s Session) Session { l.come(&s); return s }
	silent, slow, other, nobodys := come(session(1, tcp, web, 0)), come(session(2, tcp, web, 0)), come(session(3, udp, web, 0)), come(session(4, tcp, 0, 0))
	late := session(5, tcp, web, 0) // its event comes after the reading
	start := time.Now()
	reading := func(after time.Duration, list ...Session) {
		waits := map[uint64]time.Time{}
		for i := range list {
			l.wait(waits, &list[i], start.Add(after))
		}
		l.waits = waits
	}
	want := func(what string, unanswered uint64) {
		t.Helper()
		if n := l.counts[web].Unanswered; n != unanswered {
			t.Errorf("%s: %d unanswered, want %d", what, n, unanswered)
		}
	}
	reading(0, silent, slow, other, nobodys, late)
	come(late)
	reading(time.Second, silent, slow, other, nobodys, late)
	reading(2900*time.Millisecond, silent, slow, other, nobodys, late)
	want("too soon", 0)
	answered := session(2, tcp, web, StatusSeenReply)
	reading(3*time.Second, silent, answered, other, nobodys, late) // an old kernel gives those that were answered too
	want("after 3 s", 1)
	reading(4*time.Second, silent, other, nobodys, late)
	want("one that was seen first after 1 s", 2)
	reading(9*time.Second, silent, slow, other, nobodys, late)
	want("each once, and what was seen again begins anew", 2)
	found := map[uint64]known{}
	for _, s := range []Session{silent, slow, other, late} {
		l.find(found, &s)
	}
	l.replace(found)
	reading(10*time.Second, silent, late)
	want("after the table was read", 2)
	l.gone(silent.key(), true)
	l.gone(late.key(), true)
	want("they ended", 2)
	l.gone(slow.key(), true)
	want("one that was not counted ended", 3)
}

// knock has n connections begun that nobody waits for.
func knock(t *testing.T, s *nettest.Space, to netip.AddrPort, n int) {
	t.Helper()
	family := unix.AF_INET6
	var address unix.Sockaddr = &unix.SockaddrInet6{Port: int(to.Port()), Addr: to.Addr().As16()}
	if to.Addr().Is4() {
		family, address = unix.AF_INET, &unix.SockaddrInet4{Port: int(to.Port()), Addr: to.Addr().As4()}
	}
	s.Do(func() {
		for range n {
			fd, err := unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = unix.Close(fd) })
			if err := unix.Connect(fd, address); err != unix.EINPROGRESS && err != nil {
				t.Fatalf("to %s: %v", to, err)
			}
		}
	})
}

// A server that answers nothing is seen long before Linux gives its connections up
// (nf_conntrack_tcp_timeout_syn_sent is 120 s); one that answers is not, nor is
// UDP.
func TestLiveSilent_Root(t *testing.T) {
	s := served(t)
	mustNFT(t, s, `table inet deaf { chain input { type filter hook input priority 0; ip daddr 127.0.1.2 tcp dport 8080 drop; ip6 daddr fd01::2 tcp dport 8080 drop; }; }`, "-f", "-")
	l := startLive(t, s, ServerMask, true, liveBuffer)
	accept(t, s, "127.0.1.1:8080")
	connect(t, s, address4(1), 20)
	flows(t, s, at(address4(2), 20000), 10)
	knock(t, s, at(address4(1), 40000), 7)
	knock(t, s, at(address6(3), 40000), 5)
	tally := func(mark uint32, server string, protocol uint8) (n Tally) {
		l.Servers(func(of Served, is Tally) {
			if of == (Served{serverMark(mark), port(server), protocol}) {
				n = is
			}
		})
		return n
	}
	silent4 := func() Tally { return tally(1, "127.0.1.2:8080", unix.IPPROTO_TCP) }
	until(t, "the events are counted", longEnough, func() bool { return silent4().Live == 7 })
	if n := silent4(); n.Unanswered != 0 {
		t.Errorf("nobody asked: %v", n)
	}
	start := time.Now()
	l.Await(time.Second)
	until(t, "the silent server is seen", longEnough, func() bool { return silent4().Unanswered == 7 })
	until(t, "and by IPv6", longEnough, func() bool { return tally(3, "[fd01::2]:8080", unix.IPPROTO_TCP).Unanswered == 5 })
	t.Logf("seen after %v", time.Since(start).Round(time.Millisecond))
	if n := silent4(); n != (Tally{Live: 7, Opened: 7, Unanswered: 7}) {
		t.Errorf("%+v", n)
	}
	if n := tally(1, "127.0.1.1:8080", unix.IPPROTO_TCP); n != (Tally{Live: 20, Opened: 20}) {
		t.Errorf("the server that answers: %+v", n)
	}
	if n := tally(2, "127.0.1.1:8080", unix.IPPROTO_UDP); n.Unanswered != 0 {
		t.Errorf("UDP: %+v", n)
	}
	l.Await(0)
	knock(t, s, at(address4(2), 40000), 3)
	until(t, "the events are counted", longEnough, func() bool { return tally(2, "127.0.1.2:8080", unix.IPPROTO_TCP).Live == 3 })
	l.Await(time.Millisecond)
	until(t, "they are seen when somebody asks again", longEnough, func() bool { return tally(2, "127.0.1.2:8080", unix.IPPROTO_TCP).Unanswered == 3 })
}
