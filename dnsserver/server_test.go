package dnsserver

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/miekg/dns"
	"go.uber.org/goleak"

	"github.com/portolan-lb/portolan/config"
)

// running is a server on a port of its own.
type running struct {
	*Server
	t        testing.TB
	udp, tcp netip.AddrPort
	log      *bytes.Buffer
	stop     func()
}

// run starts a server on an address, with port 0, and stops it with the test.
// Then no goroutine of it may be left.
func run(t testing.TB, address string, table *Table, o Options) *running {
	t.Helper()
	if _, timed := t.(*testing.B); !timed { // a benchmark's own goroutines wait
		t.Cleanup(func() { goleak.VerifyNone(t) })
	}
	r := &running{t: t, log: &bytes.Buffer{}}
	o.Listeners = []*config.Listener{{Address: netip.MustParseAddrPort(address)}}
	o.Log = slog.New(slog.NewTextHandler(r.log, nil))
	o.Sockets = 2
	r.Server = New(o)
	r.Use(table)
	if err := r.Listen(); err != nil {
		t.Fatal(err)
	}
	udp, tcp := r.Addrs()
	if len(udp) != 1 || len(tcp) != 1 || udp[0].Port() != tcp[0].Port() {
		t.Fatalf("listening on %v and %v", udp, tcp)
	}
	r.udp, r.tcp = udp[0], tcp[0]
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- r.Run(ctx) }()
	r.stop = func() {
		if ctx.Err() == nil {
			cancel()
			if err := <-ended; err != nil {
				t.Error(err)
			}
		}
	}
	t.Cleanup(r.stop)
	return r
}

// limited gives a table other limits.
func limited(t *Table, set func(*config.Limits)) *Table {
	set(&t.limits)
	return t
}

const patience = 5 * time.Second // for the kernel; nothing waits that long when all is well

// exchange sends one packet over UDP and gives the reply.
func exchange(t testing.TB, conn net.Conn, m *dns.Msg) *dns.Msg {
	t.Helper()
	packet, err := m.Pack()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Write(packet); err != nil {
		t.Fatal(err)
	}
	return receive(t, conn, m.Id)
}

func receive(t testing.TB, conn net.Conn, id uint16) *dns.Msg {
	t.Helper()
	_ = conn.SetReadDeadline(time.Now().Add(patience))
	buf := make([]byte, 65535)
	n, err := conn.Read(buf)
	if err != nil {
		t.Fatal(err)
	}
	r := new(dns.Msg)
	if err := r.Unpack(buf[:n]); err != nil || r.Id != id {
		t.Fatalf("reply %v, %v", r, err)
	}
	return r
}

func dialed(t testing.TB, network string, to netip.AddrPort) net.Conn {
	t.Helper()
	conn, err := net.Dial(network, to.String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

func TestServer_UDP(t *testing.T) {
	r := run(t, "127.0.0.1:0", answerTable(t), Options{})
	for i := range 20 { // different ports meet different sockets
		conn := dialed(t, "udp", r.udp)
		if got := exchange(t, conn, asking("mail.example.com.", dns.TypeA)); len(got.Answer) != 1 {
			t.Fatalf("query %d: %v", i, got)
		}
		conn.Close()
	}
	if got := exchange(t, dialed(t, "udp", r.udp), asking("nothing.example.com.", dns.TypeMX)); got.Rcode != dns.RcodeNameError {
		t.Fatal(got)
	}
	r.stop()
	st := r.Stats()
	if st.Responses["NOERROR"] != 20 || st.Responses["NXDOMAIN"] != 1 || st.Zones["example.com."]["NOERROR"] != 20 {
		t.Errorf("%+v", st)
	}
	want := map[string]uint64{"udp 1 A": 20, "udp 1 MX": 1}
	for _, c := range st.Requests {
		if key := c.Proto + " " + c.Family + " " + c.Type; want[key] != c.Count {
			t.Errorf("%s: %d, want %d", key, c.Count, want[key])
		}
	}
}

func TestServer_IPv6(t *testing.T) {
	if l, err := net.Listen("tcp6", "[::1]:0"); err != nil {
		t.Skipf("no IPv6 here: %v", err)
	} else {
		l.Close()
	}
	for _, address := range []string{"[::1]:0", "[::]:0"} {
		r := run(t, address, answerTable(t), Options{})
		conn := dialed(t, "udp", netip.AddrPortFrom(netip.IPv6Loopback(), r.udp.Port()))
		if got := exchange(t, conn, asking("mail.example.com.", dns.TypeA)); len(got.Answer) != 1 {
			t.Errorf("%s: %v", address, got)
		}
		r.stop()
	}
}

// A socket on the wildcard address answers from the address that was asked: a
// connected client takes no other.
func TestServer_ReplySource(t *testing.T) {
	r := run(t, "0.0.0.0:0", answerTable(t), Options{})
	for _, asked := range []string{"127.0.0.1", "127.0.0.2", "127.0.0.3"} {
		conn := dialed(t, "udp", netip.AddrPortFrom(netip.MustParseAddr(asked), r.udp.Port()))
		if got := exchange(t, conn, asking("mail.example.com.", dns.TypeA)); len(got.Answer) != 1 {
			t.Errorf("%s: %v", asked, got)
		}
	}
}

func TestServer_TruncationAndTCP(t *testing.T) {
	r := run(t, "127.0.0.1:0", newTable(&config.DNS{}, mustZone(t, "example.com.", largeZone(), nil)), Options{})
	m := asking("txt.example.com.", dns.TypeTXT)
	if got := exchange(t, dialed(t, "udp", r.udp), m); !got.Truncated || len(got.Answer) != 0 {
		t.Fatalf("over UDP: %v", got)
	}
	got, _, err := (&dns.Client{Net: "tcp", Timeout: patience}).Exchange(m, r.tcp.String())
	if err != nil || got.Truncated || len(got.Answer) != 20 {
		t.Fatalf("over TCP: %v, %v", got, err)
	}
}

// RFC 7766 6.2.1.1: many queries in one segment, each answered once, in one
// connection; also when they come octet by octet.
func TestServer_Pipelining(t *testing.T) {
	r := run(t, "127.0.0.1:0", answerTable(t), Options{})
	const queries = 200
	var stream []byte
	for i := range queries {
		m := asking("mail.example.com.", dns.TypeA)
		m.Id = uint16(i)
		packet, _ := m.Pack()
		stream = append(binary.BigEndian.AppendUint16(stream, uint16(len(packet))), packet...)
	}
	for _, step := range []int{len(stream), 7} {
		conn := dialed(t, "tcp", r.tcp)
		sent := make(chan error, 1)
		go func() {
			for at := 0; at < len(stream); at += step {
				if _, err := conn.Write(stream[at:min(at+step, len(stream))]); err != nil {
					sent <- err
					return
				}
			}
			sent <- nil
		}()
		seen := map[uint16]bool{}
		for i := range queries {
			got := receiveTCP(t, conn)
			if got == nil || got.Id >= queries || seen[got.Id] || len(got.Answer) != 1 {
				t.Fatalf("answer %d: %v", i, got)
			}
			seen[got.Id] = true
		}
		if err := <-sent; err != nil {
			t.Fatal(err)
		}
		conn.Close()
	}
}

// receiveTCP reads one reply, or gives nil when the server closed.
func receiveTCP(t testing.TB, conn net.Conn) *dns.Msg {
	t.Helper()
	_ = conn.SetReadDeadline(time.Now().Add(patience))
	var length [2]byte
	if _, err := io.ReadFull(conn, length[:]); err != nil {
		var late net.Error
		if errors.As(err, &late) && late.Timeout() {
			t.Fatal("neither an answer nor the end of the connection")
		}
		return nil
	}
	msg := make([]byte, binary.BigEndian.Uint16(length[:]))
	if _, err := io.ReadFull(conn, msg); err != nil {
		t.Fatal(err)
	}
	r := new(dns.Msg)
	if err := r.Unpack(msg); err != nil {
		t.Fatal(err)
	}
	return r
}

func TestServer_TCPCloses(t *testing.T) {
	r := run(t, "127.0.0.1:0", limited(answerTable(t), func(l *config.Limits) { l.IdleTimeout = config.Duration(50 * time.Millisecond) }), Options{})
	tests := []struct{ name, send string }{
		{"idle", ""},
		{"half a length", "\x00"},
		{"half a message", "\x00\x20abc"},
		{"an empty message", "\x00\x00"},
		{"shorter than a header", "\x00\x04abcd"},
	}
	for _, test := range tests {
		conn := dialed(t, "tcp", r.tcp)
		if _, err := conn.Write([]byte(test.send)); err != nil {
			t.Fatal(err)
		}
		if got := receiveTCP(t, conn); got != nil {
			t.Errorf("%s: %v", test.name, got)
		}
	}
}

func TestServer_TCPLimits(t *testing.T) {
	r := run(t, "127.0.0.1:0", limited(answerTable(t), func(l *config.Limits) { l.ConnectionsPerClient = 2 }), Options{})
	ask := func(conn net.Conn) bool {
		packet, _ := asking("mail.example.com.", dns.TypeA).Pack()
		if _, err := conn.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(packet))), packet...)); err != nil {
			return false
		}
		return receiveTCP(t, conn) != nil
	}
	first, second, third := dialed(t, "tcp", r.tcp), dialed(t, "tcp", r.tcp), dialed(t, "tcp", r.tcp)
	if !ask(first) || !ask(second) {
		t.Error("the first two connections must be served")
	}
	if ask(third) {
		t.Error("the third connection of a client was served")
	}
	if st := r.Stats(); st.Conns.Open != 2 || st.Conns.Refused != 1 || st.Conns.Accepted != 2 {
		t.Errorf("%+v", st.Conns)
	}
}

// Connections that only stay open keep nobody out: the next client is served.
func TestServer_TCPFull(t *testing.T) {
	r := run(t, "127.0.0.1:0", limited(answerTable(t), func(l *config.Limits) { l.Connections, l.IdleTimeout = 4, config.Duration(time.Hour) }), Options{})
	for range 10 {
		conn := dialed(t, "tcp", r.tcp)
		got, _, err := (&dns.Client{Net: "tcp", Timeout: patience}).ExchangeWithConn(asking("mail.example.com.", dns.TypeA), &dns.Conn{Conn: conn})
		if err != nil || len(got.Answer) != 1 {
			t.Fatalf("%v, %v", got, err)
		}
	}
	if st := r.Stats(); st.Conns.Open != 4 || st.Conns.Displaced != 6 || st.Conns.Refused != 0 {
		t.Errorf("%+v", st.Conns)
	}
}

// Stopping does not wait for the idle time of open connections.
func TestServer_StopsWithOpenConnections(t *testing.T) {
	r := run(t, "127.0.0.1:0", limited(answerTable(t), func(l *config.Limits) { l.IdleTimeout = config.Duration(time.Hour) }), Options{})
	conn := dialed(t, "tcp", r.tcp)
	packet, _ := asking("mail.example.com.", dns.TypeA).Pack()
	if _, err := conn.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(packet))), packet...)); err != nil {
		t.Fatal(err)
	}
	if receiveTCP(t, conn) == nil {
		t.Fatal("not served")
	}
	start := time.Now()
	r.stop()
	if took := time.Since(start); took > patience {
		t.Errorf("stopping took %v", took)
	}
	if receiveTCP(t, conn) != nil {
		t.Error("an answer after the stop")
	}
}

// faulty is a dynamic name whose decision panics.
type faulty struct{}

func (faulty) decide(*question, uint16) *decision { panic("found by a test") }

func TestServer_Panic(t *testing.T) {
	table := newTable(&config.DNS{}, mustZone(t, "example.com.", answerZone, map[string]decider{"bad": faulty{}}))
	r := run(t, "127.0.0.1:0", table, Options{})
	conn := dialed(t, "udp", r.udp)
	for range 5 {
		got := exchange(t, conn, asking("bad.example.com.", dns.TypeA))
		if got.Rcode != dns.RcodeServerFailure || len(got.Question) != 1 || got.Question[0].Name != "bad.example.com." {
			t.Fatalf("want SERVFAIL to the question: %v", got)
		}
	}
	if got := exchange(t, conn, asking("mail.example.com.", dns.TypeA)); len(got.Answer) != 1 {
		t.Fatalf("after the panics: %v", got)
	}
	got, _, err := (&dns.Client{Net: "tcp", Timeout: patience}).Exchange(asking("bad.example.com.", dns.TypeA), r.tcp.String())
	if err != nil || got.Rcode != dns.RcodeServerFailure {
		t.Fatalf("over TCP: %v, %v", got, err)
	}
	r.stop()
	if st := r.Stats(); st.Panics != 6 || st.Responses["SERVFAIL"] != 6 {
		t.Errorf("%d panics counted, %v", st.Panics, st.Responses)
	}
	if n := strings.Count(r.log.String(), "found by a test"); n != 3 {
		t.Errorf("the 1st, 2nd and 4th are logged, not %d:\n%s", n, r.log)
	}
}

// A response is never answered, or two servers could talk for ever.
func TestServer_NoReplyToResponse(t *testing.T) {
	r := run(t, "127.0.0.1:0", answerTable(t), Options{})
	conn := dialed(t, "udp", r.udp)
	for opcode := range 16 {
		m := asking("mail.example.com.", dns.TypeA)
		m.Response, m.Opcode = true, opcode
		packet, _ := m.Pack()
		if _, err := conn.Write(packet); err != nil {
			t.Fatal(err)
		}
	}
	last := asking("ns.example.com.", dns.TypeA)
	if got := exchange(t, conn, last); got.Question[0].Name != "ns.example.com." { // one socket answers in order
		t.Errorf("a response was answered: %v", got)
	}
	r.stop()
	if st := r.Stats(); st.Dropped["response"] != 16 {
		t.Errorf("%v", st.Dropped)
	}
}

func TestServer_Use(t *testing.T) {
	r := run(t, "127.0.0.1:0", answerTable(t), Options{})
	conn := dialed(t, "udp", r.udp)
	ask := func() string { return shown(exchange(t, conn, asking("mail.example.com.", dns.TypeA))) }
	before := ask()
	next := *r.Table().zones.get("example.com.") // what Compile does with a zone that both tables have
	next.zone = mustZone(t, "example.com.", zoneHead+"mail A 192.0.2.99\n", nil)
	r.Use(newTable(&config.DNS{}).serve(zonesOf([]*served{&next})))
	if after := ask(); after == before || !strings.Contains(after, "192.0.2.99") {
		t.Errorf("before %s, after %s", before, after)
	}
	if st := r.Stats(); st.Zones["example.com."]["NOERROR"] != 2 {
		t.Errorf("counters of a zone go on: %v", st.Zones)
	}
	r.Use(newTable(&config.DNS{}))
	if got := ask(); got != "REFUSED" {
		t.Errorf("without zones: %s", got)
	}
}

func TestListen_Errors(t *testing.T) {
	defer goleak.VerifyNone(t)
	udp, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer udp.Close()
	taken := udp.LocalAddr().(*net.UDPAddr).AddrPort()
	away := netip.MustParseAddrPort("192.0.2.1:5300")
	s := New(Options{Listeners: []*config.Listener{{Address: taken, Protocols: []string{"udp"}}, {Address: away, Protocols: []string{"tcp"}},
		{Address: netip.MustParseAddrPort("127.0.0.1:0")}}})
	want := fmt.Sprintf("dns listener %s/udp: bind: address already in use; another program serves this address\n"+
		"dns listener %s/tcp: bind: cannot assign requested address; no interface has this address", taken, away)
	if err = s.Listen(); err == nil || err.Error() != want {
		t.Errorf("got  %v\nwant %s", err, want)
	}
}

// Another server of the same user must not share the port unseen.
func TestListen_Twice(t *testing.T) {
	r := run(t, "127.0.0.1:0", answerTable(t), Options{})
	second := New(Options{Listeners: []*config.Listener{{Address: r.udp, Protocols: []string{"udp"}}}})
	if err := second.Listen(); err == nil || !strings.Contains(err.Error(), "another program serves this address") {
		t.Errorf("got %v", err)
	}
}

func TestSameListeners(t *testing.T) {
	ls := func(addr string, protocols ...string) []*config.Listener {
		return []*config.Listener{{Address: netip.MustParseAddrPort(addr), Protocols: protocols}}
	}
	s := New(Options{Listeners: ls("127.0.0.1:53", "udp")})
	if !s.SameListeners(ls("127.0.0.1:53", "udp")) || s.SameListeners(ls("127.0.0.1:53")) || s.SameListeners(ls("127.0.0.2:53", "udp")) || s.SameListeners(nil) {
		t.Error("listeners are told apart by address and protocols")
	}
}

// Swapping tables under load loses no query and mixes no two tables.
func TestServer_UseUnderLoad(t *testing.T) {
	tables := make([]*Table, 2)
	for i := range tables {
		text := fmt.Sprintf("%salias CNAME mail\nmail A 192.0.2.%d\nmail A 192.0.2.%d\n", zoneHead, 10+i, 20+i)
		tables[i] = newTable(&config.DNS{}, mustZone(t, "example.com.", text, nil))
		tables[i].zones.get("example.com.").count = tables[0].zones.get("example.com.").count
	}
	r := run(t, "127.0.0.1:0", tables[0], Options{})
	var clients sync.WaitGroup
	for range 3 {
		conn := dialed(t, "udp", r.udp)
		clients.Go(func() {
			for range 300 {
				got := shown(exchange(t, conn, asking("alias.example.com.", dns.TypeA)))
				old := strings.Contains(got, "192.0.2.10,") && strings.Contains(got, "192.0.2.20")
				next := strings.Contains(got, "192.0.2.11,") && strings.Contains(got, "192.0.2.21")
				if old == next {
					t.Errorf("an answer from both tables or none: %s", got)
					return
				}
			}
		})
	}
	for i := range 300 {
		r.Use(tables[i%2])
	}
	clients.Wait()
	if st := r.Stats(); st.Zones["example.com."]["NOERROR"] != 900 {
		t.Errorf("%v", st.Zones)
	}
}

func TestExplainListen(t *testing.T) {
	err := explainListen("udp", netip.MustParseAddrPort("0.0.0.0:53"), &net.OpError{Op: "listen", Err: syscall.EACCES})
	if want := "dns listener 0.0.0.0:53/udp: permission denied; ports under 1024 need CAP_NET_BIND_SERVICE"; err.Error() != want {
		t.Errorf("got  %v\nwant %s", err, want)
	}
}
