package kernel

import (
	"maps"
	"net"
	"testing"

	"golang.org/x/sys/unix"
)

// A TCP connection counts until both ends have closed it, or one has reset it, not
// until Linux forgets it: at the server, by the mark, from events and from the
// table. A lent address keeps its port. Of other changes nothing is heard.
func TestLiveOver_Root(t *testing.T) {
	s := served(t)
	s.Set("netfilter/nf_conntrack_tcp_timeout_time_wait", "600")
	s.Set("netfilter/nf_conntrack_tcp_timeout_close", "600")
	l := startLive(t, s, ServerMask, true, liveBuffer)
	var listener net.Listener
	var err error
	s.Do(func() { listener, err = net.Listen("tcp", "127.0.1.2:8080") })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	var ends []net.Conn // of each connection the server's and the client's
	for i := range 9 {
		c := connect(t, s, at(address4(3), 40000+uint16(i)), 1)
		a, err := listener.Accept()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = a.Close() })
		ends = append(ends, a, c[0])
	}
	counts := func(what string, live, ports int) {
		t.Helper()
		until(t, what, longEnough, func() bool {
			byMark, byServer, loans := map[uint32]Tally{}, map[Served]Tally{}, 0
			l.Counts(byMark)
			l.Servers(func(s Served, n Tally) { byServer[s] = n })
			l.Loans(func(_ Lent, n int) { loans += n })
			want := Tally{Live: live, Opened: 9}
			return loans == ports && maps.Equal(byMark, map[uint32]Tally{serverMark(3): want}) &&
				maps.Equal(byServer, map[Served]Tally{{serverMark(3), port("127.0.1.2:8080"), unix.IPPROTO_TCP}: want})
		})
	}
	counts("opened", 9, 9)
	_ = ends[0].Close() // the client goes on
	for _, c := range ends[2:6] {
		_ = c.Close()
	}
	_ = ends[6].(*net.TCPConn).SetLinger(0)
	_ = ends[6].Close()
	counts("two closed, one reset, one closed by half", 6, 9)

	c := openConntrack(t, s)
	before := l.Recounted()
	late := startLive(t, s, ServerMask, true, liveBuffer) // what the table says
	byMark := map[uint32]Tally{}
	if late.Counts(byMark); byMark[serverMark(3)].Live != 6 {
		t.Errorf("read from the table: %v, want 6", byMark)
	}
	if l.Recounted() != before {
		t.Error("the table was read meanwhile: what events tell was not tested")
	}
	if _, err := c.End(t.Context(), SessionFilter{Mark: serverMark(3), Mask: ServerMask}); err != nil {
		t.Fatal(err)
	}
	counts("all ended", 0, 0)
}
