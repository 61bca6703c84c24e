package dnsproxy

import (
	"context"
	"encoding/binary"
	"io"
	"net"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/portolan-lb/portolan/config"
	"github.com/portolan-lb/portolan/status"
)

// fake is a DNS server on loopback whose answers a test writes octet by octet.
type fake struct {
	t    testing.TB
	addr netip.AddrPort
	udp  *net.UDPConn
	tcp  *net.TCPListener
	asks atomic.Int64 // over UDP
	tcps atomic.Int64

	mu     sync.Mutex
	overU  func(w func([]byte), q *dns.Msg, raw []byte)
	overT  func(w func([]byte), q *dns.Msg, raw []byte)
	recent []*dns.Msg
	from   netip.AddrPort // whom the last query over UDP came from
}

// lastFrom gives whom the query came from that is being answered over UDP.
func (f *fake) lastFrom() (netip.AddrPort, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.from, f.from.IsValid()
}

// newFake starts a server that answers well over both protocols.
func newFake(t testing.TB) *fake {
	t.Helper()
	return newFakeAt(t, netip.MustParseAddrPort("127.0.0.1:0"), func(job func()) { job() })
}

// newFakeAt starts a server at an address, whose sockets are opened by do: in a
// namespace.
func newFakeAt(t testing.TB, at netip.AddrPort, do func(job func())) *fake {
	t.Helper()
	f := &fake{t: t, overU: goodAnswer, overT: goodAnswer}
	var err error
	do(func() {
		for range 20 { // until a port is free for both
			if f.udp, err = net.ListenUDP("udp", net.UDPAddrFromAddrPort(at)); err != nil {
				return
			}
			f.addr = f.udp.LocalAddr().(*net.UDPAddr).AddrPort()
			if f.tcp, err = net.ListenTCP("tcp", net.TCPAddrFromAddrPort(f.addr)); err == nil {
				return
			}
			f.udp.Close()
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(f.serveUDP)
	wg.Go(func() { f.serveTCP(&wg) })
	t.Cleanup(func() { f.udp.Close(); f.tcp.Close(); wg.Wait() })
	return f
}

// over sets what is answered: over UDP, over TCP. nil: nothing.
func (f *fake) over(udp, tcp func(w func([]byte), q *dns.Msg, raw []byte)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.overU, f.overT = udp, tcp
}

func (f *fake) serveUDP() {
	buf := make([]byte, 65535)
	for {
		n, from, err := f.udp.ReadFromUDPAddrPort(buf)
		if err != nil {
			return
		}
		f.asks.Add(1)
		f.mu.Lock()
		f.from = from
		f.mu.Unlock()
		f.take(buf[:n], false, func(m []byte) { _, _ = f.udp.WriteToUDPAddrPort(m, from) })
	}
}

func (f *fake) take(raw []byte, tcp bool, w func([]byte)) {
	q := new(dns.Msg)
	if q.Unpack(raw) != nil {
		return
	}
	f.mu.Lock()
	answer := f.overU
	if tcp {
		answer = f.overT
	}
	f.recent = append(f.recent, q)
	f.mu.Unlock()
	if answer != nil {
		answer(w, q, append([]byte(nil), raw...))
	}
}

func (f *fake) serveTCP(wg *sync.WaitGroup) {
	for {
		conn, err := f.tcp.Accept()
		if err != nil {
			return
		}
		wg.Go(func() {
			defer conn.Close()
			stop := context.AfterFunc(f.t.Context(), func() { conn.Close() })
			defer stop()
			for {
				var length [2]byte
				if _, err := io.ReadFull(conn, length[:]); err != nil {
					return
				}
				raw := make([]byte, binary.BigEndian.Uint16(length[:]))
				if _, err := io.ReadFull(conn, raw); err != nil {
					return
				}
				f.tcps.Add(1)
				f.take(raw, true, func(m []byte) {
					_, _ = conn.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(m))), m...))
				})
			}
		})
	}
}

// last gives the query that came last.
func (f *fake) last() *dns.Msg {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.recent[len(f.recent)-1]
}

// goodAnswer answers every A question with 192.0.2.1.
func goodAnswer(w func([]byte), q *dns.Msg, _ []byte) { w(pack(good(q))) }

func good(q *dns.Msg) *dns.Msg {
	m := new(dns.Msg)
	m.SetReply(q)
	m.RecursionAvailable, m.Compress = true, true
	if q.Question[0].Qtype == dns.TypeA {
		m.Answer = []dns.RR{&dns.A{Hdr: dns.RR_Header{Name: q.Question[0].Name, Rrtype: dns.TypeA, Class: dns.ClassINET, Ttl: 300}, A: net.IPv4(192, 0, 2, 1)}}
	}
	if q.IsEdns0() != nil {
		m.SetEdns0(1232, false)
	}
	return m
}

func pack(m *dns.Msg) []byte {
	b, err := m.Pack()
	if err != nil {
		panic(err)
	}
	return b
}

// world is a proxy on loopback with its configuration.
type world struct {
	t     testing.TB
	model *config.Model
	proxy *Proxy
	board *status.Board
	auto  atomic.Pointer[[]netip.Addr] // of the servers that have their addresses from their links
}

// newWorld makes a proxy whose pool has a server for each fake, named s1, s2,
// ... on links l1, l2, ...; change may change the model before it runs.
func newWorld(t testing.TB, fakes []*fake, change func(m *config.Model)) *world {
	t.Helper()
	m := &config.Model{DNSProxy: &config.DNSProxy{Enabled: true, Pool: "all", Retries: 1, Timeout: config.Duration(500 * time.Millisecond),
		Limits: config.DNSProxyLimits{Outstanding: 10000, OutstandingPerClient: 10000, Connections: 100, ConnectionsPerClient: 50, QueriesPerConnection: 16, IdleTimeout: config.Duration(2 * time.Second)}}}
	pool := &config.DNSServerPool{Name: "all", Algorithm: "round-robin", Spill: []config.Spill{config.SpillDown}}
	for i, f := range fakes {
		n := string(rune('1' + i))
		m.Links = append(m.Links, &config.Link{Name: "l" + n})
		m.DNSServers = append(m.DNSServers, &config.DNSServer{Name: "s" + n, Addresses: []netip.Addr{f.addr.Addr()}, Port: f.addr.Port(), Link: "l" + n, Protocol: "udp"})
		pool.Members = append(pool.Members, &config.DNSServerMember{Server: "s" + n, Weight: 1})
	}
	m.DNSServerPools = []*config.DNSServerPool{pool}
	if change != nil {
		change(m)
	}
	w := &world{t: t, model: m, board: status.NewBoard(100)}
	w.proxy = New(Options{Rows: w.board.Table, Gauges: w.board.Gauges, Direct: true, Sockets: 1,
		Addresses: func(string) []netip.Addr {
			if a := w.auto.Load(); a != nil {
				return *a
			}
			return nil
		}})
	w.board.Prepare(w.proxy.Prepare)
	w.use()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); _ = w.proxy.Run(ctx) }()
	t.Cleanup(func() { cancel(); <-done })
	if waitListening(w.proxy); w.proxy.Listening().Port == 0 {
		t.Fatalf("does not listen: %s", w.proxy.Listening().Why)
	}
	return w
}

// waitListening waits until a proxy listens or says why it cannot.
func waitListening(p *Proxy) {
	until(func() bool { return p.Listening() != Listening{} })
}

// until looks each millisecond whether something is so, for 10 seconds: of real
// sockets there is nothing to wait on.
func until(ok func() bool) bool {
	tick, end := time.NewTicker(time.Millisecond), time.Now().Add(10*time.Second)
	defer tick.Stop()
	for !ok() {
		if time.Now().After(end) {
			return false
		}
		<-tick.C
	}
	return true
}

// use compiles the model as it is now.
func (w *world) use() {
	w.t.Helper()
	plan, err := Compile(w.model, config.Source{FS: os.DirFS("testdata"), Dir: "."}, w.proxy.Plan())
	if err != nil {
		w.t.Fatal(err)
	}
	w.proxy.Use(plan)
}

func (w *world) at() string {
	return netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), w.proxy.Listening().Port).String()
}

// question makes a query of a client.
func question(name string, qtype uint16) *dns.Msg {
	m := new(dns.Msg)
	m.SetQuestion(name, qtype)
	return m
}

// ask asks the proxy over udp or tcp, and fails without an answer.
func (w *world) ask(network string, q *dns.Msg) *dns.Msg {
	w.t.Helper()
	c := dns.Client{Net: network, Timeout: 10 * time.Second, UDPSize: 65535}
	r, _, err := c.Exchange(q, w.at())
	if err != nil {
		w.t.Fatalf("%s: %v", q.Question[0].Name, err)
	}
	return r
}

// address gives the first address of an answer; "" if there is none.
func address(m *dns.Msg) string {
	for _, rr := range m.Answer {
		if a, ok := rr.(*dns.A); ok {
			return a.A.String()
		}
	}
	return ""
}

func (w *world) server(name string) ServerStats {
	for _, s := range w.proxy.Stats().Servers {
		if s.Name == name {
			return s
		}
	}
	w.t.Fatalf("no server %s", name)
	return ServerStats{}
}

// waits counts who waits for an exchange of somebody else.
func (f *flights) waits() (n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, in := range f.of {
		n += in.waiting
	}
	return n
}
