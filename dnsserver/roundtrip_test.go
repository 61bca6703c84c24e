package dnsserver

import (
	"context"
	"encoding/binary"
	"log/slog"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/miekg/dns"
	"golang.org/x/sys/unix"

	"github.com/portolan-lb/portolan/config"
	"github.com/portolan-lb/portolan/nettest"
	"github.com/portolan-lb/portolan/status"
)

// What of the kernel's shortest round trip is a distance.
func TestCredible(t *testing.T) {
	for _, test := range []struct {
		name   string
		micros uint32
		rtt    time.Duration
		what   sight
	}{
		{"a neighbour", 1, time.Microsecond, sightTaken},
		{"across the world", 310_457, 310_457 * time.Microsecond, sightTaken},
		{"never measured", ^uint32(0), 0, sightUnknown},
		{"zero", 0, 0, sightUnknown},
		{"by timestamps, behind a SYN cookie", 59_000, 0, sightUnsure},
		{"a tick and a bit", 59_001, 59_001 * time.Microsecond, sightTaken},
		{"from the moon and back", 2_999_999, 2_999_999 * time.Microsecond, sightTaken},
		{"beyond belief", 3_000_001, 0, sightUnknown},
	} {
		if rtt, what := credible(test.micros); rtt != test.rtt || what != test.what {
			t.Errorf("%s: %v, %s; want %v, %s", test.name, rtt, sightNames[what], test.rtt, sightNames[test.what])
		}
	}
}

// far is two hosts and two lines between them, the one long and the other
// short. The server's host has an address of its own, on neither line.
type far struct {
	here, there *nettest.Space
	index       map[string]int // of the server's interfaces
}

const (
	longWay  = 20 * time.Millisecond // each way
	shortWay = 5 * time.Millisecond
)

func newFar(t *testing.T) *far {
	f := &far{here: nettest.New(t), there: nettest.New(t), index: map[string]int{}}
	f.here.Tunnel("long", f.there, "tolong", longWay)
	f.here.Tunnel("short", f.there, "toshort", shortWay)
	for _, words := range []string{
		"addr add 192.0.2.1/32 peer 192.0.2.2 dev long", "addr add 198.51.100.1/32 peer 198.51.100.2 dev short",
		"addr add 2001:db8:1::1/128 peer 2001:db8:1::2 dev long nodad", "addr add 2001:db8:2::1/128 peer 2001:db8:2::2 dev short nodad",
		"addr add 203.0.113.53/32 dev lo", "addr add 2001:db8:53::53/128 dev lo",
	} {
		f.here.IP(words)
	}
	for _, words := range []string{
		"addr add 192.0.2.2/32 peer 192.0.2.1 dev tolong", "addr add 198.51.100.2/32 peer 198.51.100.1 dev toshort",
		"addr add 2001:db8:1::2/128 peer 2001:db8:1::1 dev tolong nodad", "addr add 2001:db8:2::2/128 peer 2001:db8:2::1 dev toshort nodad",
		"route add 203.0.113.53/32 dev toshort", "route add 2001:db8:53::53/128 dev toshort",
	} {
		f.there.IP(words)
	}
	f.here.Do(func() {
		all, err := net.Interfaces()
		if err != nil {
			t.Error(err)
		}
		for _, i := range all {
			f.index[i.Name] = i.Index
		}
	})
	return f
}

// serve runs a server on all addresses of the server's host.
func (f *far) serve(t *testing.T, o Options, table *Table) *Server {
	o.Listeners = []*config.Listener{{Address: netip.MustParseAddrPort("0.0.0.0:53")}, {Address: netip.MustParseAddrPort("[::]:53")}}
	o.Rows, o.Sockets, o.Log = status.NewBoard(1).Table, 1, slog.New(slog.DiscardHandler)
	s := New(o)
	s.Use(table)
	f.here.Do(func() {
		if err := s.Listen(); err != nil {
			t.Error(err)
		}
	})
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	t.Cleanup(func() { cancel(); <-ended })
	return s
}

// ask asks over a new connection, with a client library of others.
func (f *far) ask(t *testing.T, network, from, to, name string) (r *dns.Msg) {
	f.there.Do(func() {
		d := net.Dialer{Timeout: patience}
		if from != "" {
			if network == "tcp" {
				d.LocalAddr = net.TCPAddrFromAddrPort(netip.AddrPortFrom(netip.MustParseAddr(from), 0))
			} else {
				d.LocalAddr = net.UDPAddrFromAddrPort(netip.AddrPortFrom(netip.MustParseAddr(from), 0))
			}
		}
		c := dns.Client{Net: network, Dialer: &d, Timeout: patience}
		var err error
		if r, _, err = c.ExchangeContext(t.Context(), asking(name, dns.TypeA), net.JoinHostPort(to, "53")); err != nil {
			t.Error(err)
		}
	})
	return r
}

// A connection tells the time of its way there and back, the interface that it
// came in by whatever address it went to, and the hops that its packets have
// left.
func TestObserve_Root(t *testing.T) {
	f := newFar(t)
	seen := make(chan Observation, 10)
	s := f.serve(t, Options{Observe: func(o Observation) { seen <- o }}, limitedTable(t, func(*config.RRL) {}))
	asked, untold := uint64(0), uint64(0)
	for _, test := range []struct {
		from, to, by string
		least        time.Duration
	}{
		{"192.0.2.2", "192.0.2.1", "long", 2 * longWay},
		{"198.51.100.2", "198.51.100.1", "short", 2 * shortWay},
		{"198.51.100.2", "203.0.113.53", "short", 2 * shortWay}, // an address of the host, not of the line
		{"2001:db8:1::2", "2001:db8:1::1", "long", 2 * longWay},
		{"2001:db8:2::2", "2001:db8:2::1", "short", 2 * shortWay},
		{"2001:db8:2::2", "2001:db8:53::53", "short", 2 * shortWay},
	} {
		var o Observation
		for try := 0; try < 20; try++ { // a busy machine is late now and then
			if r := f.ask(t, "tcp", test.from, test.to, "ns.example.com."); r == nil || len(r.Answer) != 1 {
				t.Fatalf("no answer to %s: %v", test.from, r)
			}
			select {
			case o = <-seen: // was told before the answer was sent
				asked++
			default: // a time of whole milliseconds, or a handshake that had to be repeated, tells nothing
				untold++
				continue
			}
			want := Observation{netip.MustParseAddr(test.from), netip.MustParseAddr(test.to), f.index[test.by], o.RTT, 64}
			if o != want {
				t.Errorf("%s to %s: %+v, want %+v", test.from, test.to, o, want)
			}
			if o.RTT <= test.least*3/2+10*time.Millisecond {
				break
			}
		}
		if o.RTT < test.least || o.RTT > test.least*3/2+10*time.Millisecond {
			t.Errorf("%s to %s takes %v, want %v", test.from, test.to, o.RTT, test.least)
		}
	}
	if got := s.Sighted(); got["taken"] != asked || got["unsure"]+got["unknown"] != untold || got["near"] != 0 {
		t.Errorf("counted %v", got)
	}
}

// Behind SYN cookies the kernel's time is made of timestamps whose low bits say
// something else. It is not taken.
func TestObserve_SYNCookies_Root(t *testing.T) {
	f := newFar(t)
	f.here.Set("ipv4/tcp_syncookies", "2") // always
	s := f.serve(t, Options{Observe: func(o Observation) { t.Errorf("told of %+v", o) }}, limitedTable(t, func(*config.RRL) {}))
	for range 3 {
		f.ask(t, "tcp", "198.51.100.2", "198.51.100.1", "ns.example.com.")
	}
	if got := s.Sighted(); got["unsure"] != 3 {
		t.Errorf("counted %v", got)
	}
}

// What comes from this host is no distance, nor is a connection without a reply.
func TestObserve_Near_Root(t *testing.T) {
	f := newFar(t)
	s := f.serve(t, Options{Observe: func(o Observation) { t.Errorf("told of %+v", o) }}, limitedTable(t, func(*config.RRL) {}))
	remote := f.there
	f.there = f.here
	f.ask(t, "tcp", "127.0.0.1", "127.0.0.1", "ns.example.com.")
	f.ask(t, "tcp", "198.51.100.1", "203.0.113.53", "ns.example.com.")
	f.ask(t, "tcp", "203.0.113.53", "203.0.113.53", "ns.example.com.")
	remote.Do(func() {
		c, err := net.Dial("tcp", "198.51.100.1:53")
		if err != nil {
			t.Error(err)
			return
		}
		c.Close()
	})
	if got := s.Sighted(); got["near"] != 3 || got["taken"] != 0 {
		t.Errorf("counted %v", got)
	}
}

// control makes one control message.
func control(level, kind int, data ...byte) []byte {
	b := make([]byte, unix.CmsgSpace(len(data)))
	if unix.SizeofCmsghdr == 16 {
		binary.NativeEndian.PutUint64(b, uint64(unix.CmsgLen(len(data))))
	} else {
		binary.NativeEndian.PutUint32(b, uint32(unix.CmsgLen(len(data))))
	}
	binary.NativeEndian.PutUint32(b[unix.SizeofCmsghdr-8:], uint32(level))
	binary.NativeEndian.PutUint32(b[unix.SizeofCmsghdr-4:], uint32(kind))
	copy(b[unix.SizeofCmsghdr:], data)
	return b
}

// Whatever the kernel may say is read without harm; what x/sys reads of it too
// comes out the same.
func FuzzArrival(f *testing.F) {
	number := binary.NativeEndian.AppendUint32
	f.Add(append(control(unix.IPPROTO_IP, unix.IP_PKTINFO, append(number(nil, 7), 1, 2, 3, 4, 5, 6, 7, 8)...), control(unix.IPPROTO_IP, unix.IP_TTL, number(nil, 64)...)...))
	f.Fuzz(func(t *testing.T, b []byte) {
		a := parseArrival(b)
		if a.ttl < 0 || a.ttl > 255 {
			t.Errorf("%x: %+v", b, a)
		}
		messages, err := unix.ParseSocketControlMessage(b)
		if err != nil {
			return
		}
		var want arrived
		for _, m := range messages {
			if m.Header.Level == unix.IPPROTO_IP && m.Header.Type == unix.IP_PKTINFO && len(m.Data) >= 12 {
				want.index = int(binary.NativeEndian.Uint32(m.Data))
			}
			if m.Header.Level == unix.IPPROTO_IPV6 && m.Header.Type == unix.IPV6_PKTINFO && len(m.Data) >= 20 {
				want.index = int(binary.NativeEndian.Uint32(m.Data[16:]))
			}
		}
		if a.index != want.index {
			t.Errorf("%x: interface %d, want %d", b, a.index, want.index)
		}
	})
}

// BenchmarkObserve is what looking at a connection costs.
func BenchmarkObserve(b *testing.B) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	defer l.Close()
	c, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		b.Fatal(err)
	}
	defer c.Close()
	conn, err := l.Accept()
	if err != nil {
		b.Fatal(err)
	}
	defer conn.Close()
	server := New(Options{Observe: func(Observation) {}})
	s := &stream{connection: &connection{conn: conn, source: netip.MustParseAddrPort("192.0.2.1:1024")}, l: &tcpListener{server: server}}
	b.ReportAllocs()
	for b.Loop() {
		s.look()
	}
	if got := server.Sighted(); got["near"] == 0 { // it came by loopback, which is found out last
		b.Fatal(got)
	}
}

// Nobody looks where no pool asks for distances, or passive measuring is off.
func TestObserve_OnlyIfAsked(t *testing.T) {
	for _, test := range []struct {
		algorithm string
		set       func(*config.Proximity)
		want      uint64
	}{
		{"proximity", func(*config.Proximity) {}, 1},
		{"round-robin", func(*config.Proximity) {}, 0},
		{"proximity", func(p *config.Proximity) { p.Enabled = false }, 0},
		{"proximity", func(p *config.Proximity) { p.Methods = nil }, 0},
		{"proximity", func(p *config.Proximity) { p.Passive.Enabled = false }, 0},
	} {
		m := pooled(&config.Pool{Name: "web", Preferred: config.Slot{Algorithm: test.algorithm}, Members: servers("a")})
		m.Links = []*config.Link{{Name: "link-a"}}
		m.Proximity = config.Proximity{Enabled: true, Methods: []string{"icmp"}, Mask: config.Mask{V4: 24, V6: 56}, Passive: config.Passive{Enabled: true}}
		test.set(&m.Proximity)
		server := New(Options{Observe: func(Observation) {}})
		server.Use(newWorld(t, m).table)
		here, there := net.Pipe()
		s := &stream{connection: &connection{conn: here, source: netip.MustParseAddrPort("192.0.2.1:1024")}, l: &tcpListener{server: server}}
		s.look()
		if got := server.Sighted()["unknown"]; got != test.want { // a pipe has no address
			t.Errorf("%s, %+v: looked %d times", test.algorithm, m.Proximity, got)
		}
		here.Close()
		there.Close()
	}
}
