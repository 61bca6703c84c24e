package gateway

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/portolan-lb/portolan/nettest"
	"github.com/portolan-lb/portolan/status"
)

// resolver is a DNS server that says who it is and which source it sees:
// who.test TXT. big.test TXT has 3 kB, and is truncated where that is too much.
type resolver struct {
	name    string
	ours    func(netip.Addr) bool // whom it serves; others are refused
	mute    atomic.Bool
	queries atomic.Int64
}

// resolve runs a resolver on addresses of a namespace until the test ends.
func resolve(t *testing.T, s *nettest.Space, r *resolver, addresses ...netip.Addr) *resolver {
	t.Helper()
	for _, a := range addresses {
		at := netip.AddrPortFrom(a, 53).String()
		var u net.PacketConn
		var l net.Listener
		var err error
		s.Do(func() {
			var second error
			u, err = net.ListenPacket("udp", at)
			l, second = net.Listen("tcp", at)
			err = errors.Join(err, second)
		})
		if err != nil {
			t.Fatal(err)
		}
		for _, server := range []*dns.Server{{PacketConn: u, Handler: r}, {Listener: l, Handler: r}} {
			ready := make(chan struct{})
			server.NotifyStartedFunc = func() { close(ready) }
			var wg sync.WaitGroup
			wg.Go(func() {
				if err := server.ActivateAndServe(); err != nil {
					t.Error(err)
				}
			})
			<-ready
			t.Cleanup(func() { _ = server.Shutdown(); wg.Wait() })
		}
	}
	return r
}

func (r *resolver) ServeDNS(w dns.ResponseWriter, q *dns.Msg) {
	r.queries.Add(1)
	if r.mute.Load() {
		return
	}
	source, err := netip.ParseAddrPort(w.RemoteAddr().String())
	m := new(dns.Msg)
	m.SetReply(q)
	m.RecursionAvailable = true
	name := q.Question[0].Name
	switch {
	case err != nil || !r.ours(source.Addr().Unmap()):
		m.Rcode = dns.RcodeRefused
	case strings.HasPrefix(strings.ToLower(name), "big."):
		for range 13 {
			m.Answer = append(m.Answer, &dns.TXT{Hdr: header(name, dns.TypeTXT), Txt: []string{strings.Repeat("x", 240)}})
		}
	case q.Question[0].Qtype == dns.TypeA:
		m.Answer = append(m.Answer, &dns.A{Hdr: header(name, dns.TypeA), A: net.IPv4(192, 0, 2, 1)})
	default:
		m.Answer = append(m.Answer, &dns.TXT{Hdr: header(name, dns.TypeTXT), Txt: []string{r.name + " " + source.Addr().Unmap().String()}})
	}
	if opt := q.IsEdns0(); opt != nil {
		m.SetEdns0(4096, false)
	}
	if _, udp := w.RemoteAddr().(*net.UDPAddr); udp {
		most := 512
		if opt := q.IsEdns0(); opt != nil {
			most = int(opt.UDPSize())
		}
		m.Truncate(most)
	}
	_ = w.WriteMsg(m) // whoever asked may have gone
}

func header(name string, t uint16) dns.RR_Header {
	return dns.RR_Header{Name: name, Rrtype: t, Class: dns.ClassINET, Ttl: 60}
}

// query is a question of a client, over a connected socket: an answer from
// another address than the asked one is none.
type query struct {
	s    *nettest.Space // default the LAN
	from netip.Addr     // not valid: the kernel's choice
	to   netip.Addr
	zone string // of a link-local address
	tcp  bool
	name string // default who.test.
	size uint16 // of EDNS; 0: none
	port uint16 // of the client; 0: any
}

func ask(g *nettest.Gateway, q query) (*dns.Msg, error) {
	if q.s == nil {
		q.s = g.LAN
	}
	if q.name == "" {
		q.name = "who.test."
	}
	m := new(dns.Msg)
	m.SetQuestion(q.name, dns.TypeTXT)
	if q.size > 0 {
		m.SetEdns0(q.size, false)
	}
	d := net.Dialer{Timeout: nettest.Patience}
	network := "udp"
	if q.tcp {
		network = "tcp"
	}
	switch {
	case q.from.IsValid() && q.tcp:
		d.LocalAddr = net.TCPAddrFromAddrPort(netip.AddrPortFrom(q.from, q.port))
	case q.from.IsValid():
		d.LocalAddr = net.UDPAddrFromAddrPort(netip.AddrPortFrom(q.from, q.port))
	}
	to := q.to
	if q.zone != "" {
		to = to.WithZone(q.zone)
	}
	var c net.Conn
	var err error
	q.s.Do(func() { c, err = d.Dial(network, netip.AddrPortFrom(to, 53).String()) })
	if err != nil {
		return nil, err
	}
	defer c.Close()
	client := dns.Client{Net: network, Timeout: nettest.Patience, UDPSize: max(q.size, 512)}
	answer, _, err := client.ExchangeWithConn(m, &dns.Conn{Conn: c, UDPSize: max(q.size, 512)})
	return answer, err
}

// who asks who.test and gives the name of who answered and the source that it saw.
func who(g *nettest.Gateway, q query) (name string, source netip.Addr, err error) {
	m, err := ask(g, q)
	if err != nil {
		return "", source, err
	}
	if m.Rcode != dns.RcodeSuccess || len(m.Answer) != 1 {
		return dns.RcodeToString[m.Rcode], source, nil
	}
	txt, ok := m.Answer[0].(*dns.TXT)
	if !ok {
		return "", source, fmt.Errorf("%v", m.Answer)
	}
	name, text, _ := strings.Cut(txt.Txt[0], " ")
	source, err = netip.ParseAddr(text)
	return name, source, err
}

// resolvers gives each ISP a resolver for its own clients only, at .53 of its
// network and ::53, and the internet one for everybody at every address.
func resolvers(t *testing.T, g *nettest.Gateway) (of []*resolver) {
	t.Helper()
	for _, i := range g.ISPs {
		four, six := at53(i)
		i.Batch(fmt.Sprintf("addr add %s/24 dev gw", four), fmt.Sprintf("addr add %s/64 dev gw nodad", six))
		r := &resolver{name: fmt.Sprintf("isp%d", i.N), ours: func(a netip.Addr) bool { return i.Net4.Contains(a) || i.Net6.Contains(a) }}
		of = append(of, resolve(t, i.Space, r, four, six))
	}
	anybody := func(netip.Addr) bool { return true }
	resolve(t, g.Internet, &resolver{name: "internet", ours: anybody}, nettest.Server4(100, 8), nettest.Server6(100, 8))
	return of
}

func at53(i *nettest.ISP) (four, six netip.Addr) {
	a, b := i.Router4.As4(), i.Router6.As16()
	a[3], b[15] = 53, 0x53
	return netip.AddrFrom4(a), netip.AddrFrom16(b)
}

// proxied is a gateway whose DNS proxy has a server of each ISP. pool and proxy
// are further keys.
func proxied(g *nettest.Gateway, link map[int]string, pool, proxy, rest string) string {
	var b strings.Builder
	b.WriteString(equal("", "", rest))
	b.WriteString("dnsServers:\n")
	var members []string
	for _, i := range g.ISPs {
		four, _ := at53(i)
		fmt.Fprintf(&b, "  - {name: r%d, address: %s, link: isp%d}\n", i.N, four, i.N)
		members = append(members, fmt.Sprintf("{server: r%d, weight: %d}", i.N, 4-i.N))
	}
	fmt.Fprintf(&b, "dnsServerPools: [{name: all, members: [%s]%s}]\n", strings.Join(members, ", "), pool)
	fmt.Fprintf(&b, "dnsProxy: {interfaces: [lan0], pool: all%s}\n", proxy)
	return setup{Gateway: g, link: link, rest: b.String()}.String()
}

const zoneFile = "$TTL 1h\n@ IN SOA ns hostmaster 1 1h 10m 1w 10s\n@ IN NS ns\nns IN A 198.18.1.100\nwho IN TXT \"ours 127.0.0.1\"\n"

// linkLocal gives the address of an interface for its own segment.
func linkLocal(t *testing.T, s *nettest.Space, dev string) netip.Addr {
	t.Helper()
	found := regexp.MustCompile(`inet6 (fe80:\S+)/`).FindStringSubmatch(s.Must("", "ip", "-6", "addr", "show", "dev", dev, "scope", "link"))
	if found == nil {
		t.Fatalf("%s has no link-local address", dev)
	}
	return netip.MustParseAddr(found[1])
}

// Queries of the inside that cross the gateway are answered by the DNS server of
// a link, over UDP and TCP, of both families, from the address that was asked,
// which need not exist; the server sees the address of its own link (T41).
// Those to the gateway itself only where its address is given with all its bits
// (1.3.1, T40); excluded clients are left alone; and when the proxy is gone
// queries cross as they are.
func TestA21_DNSProxy_Root(t *testing.T) {
	t.Parallel()
	g := three(t)
	resolvers(t, g)
	anybody := func(netip.Addr) bool { return true }
	resolve(t, g.Space, &resolver{name: "gateway", ours: anybody}, nettest.Gate4, nettest.Gate6)
	dns := fmt.Sprintf("dns: {listeners: [{address: \"%s:53\"}, {address: \"[%s]:53\"}]}\nzones: [{name: test, file: test.zone}]\n", g.ISPs[0].Gate4, g.ISPs[0].Gate6)
	own := fmt.Sprintf(", addresses: [0.0.0.0/0, \"::/0\", %s/32, \"%s/128\", %s/32, \"%s/128\", \"%s/128\"]",
		nettest.Gate4, nettest.Gate6, g.ISPs[0].Gate4, g.ISPs[0].Gate6, linkLocal(t, g.Space, "lan0"))
	exclude := fmt.Sprintf(", exclude: [%s/32, \"%s/128\"]", nettest.Client4(40), nettest.Client6(40))
	p := startWith(t, g, map[string]string{"test.zone": zoneFile}, proxied(g, nil, "", exclude, dns))
	p.up("isp1", "isp2", "isp3")

	nobody := []netip.Addr{netip.MustParseAddr("8.8.8.8"), netip.MustParseAddr("114.114.114.114"), netip.MustParseAddr("2001:db8:53::53")}
	outside := append(nobody, nettest.Server4(100, 8), nettest.Server6(100, 8))
	inside := []netip.Addr{nettest.Gate4, nettest.Gate6}
	wan := []netip.Addr{g.ISPs[0].Gate4, g.ISPs[0].Gate6}
	local := query{to: linkLocal(t, g.Space, "lan0"), zone: "eth0"}
	is := func(t *testing.T, want string, q query) {
		t.Helper()
		for _, q.tcp = range []bool{false, true} {
			name, source, err := who(g, q)
			isp := regexp.MustCompile(`^isp(\d)$`).FindStringSubmatch(name)
			switch {
			case err != nil:
				t.Errorf("%s asked by %s, TCP %v: %v", q.to, q.from, q.tcp, err)
			case want == "a link" && (isp == nil || fmt.Sprint(g.ISPOf(source)) != isp[1]):
				t.Errorf("%s asked by %s, TCP %v: answered by %s, which saw %s", q.to, q.from, q.tcp, name, source)
			case want != "a link" && name != want:
				t.Errorf("%s asked by %s, TCP %v: answered by %s, want %s", q.to, q.from, q.tcp, name, want)
			}
		}
	}
	client := func(to netip.Addr, n int) query {
		if to.Is6() {
			return query{from: nettest.Client6(n), to: to}
		}
		return query{from: nettest.Client4(n), to: to}
	}
	all := func(t *testing.T, want string, n int, addresses ...netip.Addr) {
		t.Helper()
		for _, a := range addresses {
			is(t, want, client(a, n))
		}
	}
	t.Run("transit", func(t *testing.T) { all(t, "a link", 1, outside...) })
	t.Run("to the gateway", func(t *testing.T) {
		all(t, "gateway", 1, inside...)
		all(t, "ours", 1, wan...)
	})
	t.Run("excluded", func(t *testing.T) {
		all(t, "internet", 40, nettest.Server4(100, 8), nettest.Server6(100, 8))
	})
	t.Run("from another inside interface", func(t *testing.T) {
		is(t, "internet", query{s: g.DMZ, from: nettest.Host4, to: nettest.Server4(100, 8)})
	})
	t.Run("size", func(t *testing.T) { testDNSSize(t, g) })
	p.Apply(proxied(g, nil, "", exclude+own, dns))
	t.Run("own addresses given", func(t *testing.T) {
		all(t, "a link", 1, append(append(append([]netip.Addr{}, inside...), wan...), outside...)...)
		is(t, "a link", local)
	})
	t.Run("our own server for the internet, meanwhile", func(t *testing.T) {
		for n, to := range wan {
			from := []netip.Addr{nettest.Server4(30, 9), nettest.Server6(30, 9)}[n]
			is(t, "ours", query{s: g.Internet, from: from, to: to})
		}
	})
	t.Run("gone", func(t *testing.T) {
		p.Kill()
		all(t, "internet", 1, nettest.Server4(100, 8), nettest.Server6(100, 8))
		p.Start()
		p.up("isp1", "isp2", "isp3")
		all(t, "a link", 1, outside...)
	})
	clean(t, g)
}

// testDNSSize: an answer of 3 kB comes whole where the client takes as much, and
// truncated, and then whole over TCP, where it does not.
func testDNSSize(t *testing.T, g *nettest.Gateway) {
	for _, c := range []struct {
		to, from netip.Addr
	}{{nettest.Server4(100, 8), nettest.Client4(1)}, {nettest.Server6(100, 8), nettest.Client6(1)}} {
		for _, q := range []query{{size: 4096}, {size: 1232}, {size: 0}, {tcp: true}} {
			q.from, q.to, q.name = c.from, c.to, "big.test."
			m, err := ask(g, q)
			whole := q.tcp || q.size > 3500
			if err != nil || m.Truncated == whole || whole && len(m.Answer) != 13 {
				t.Errorf("%s, EDNS %d, TCP %v: %v, %v", q.to, q.size, q.tcp, m, err)
			}
		}
		if out, err := g.LAN.Run("", "dig", "-b", c.from.String(), "@"+c.to.String(), "big.test", "TXT", "+bufsize=1232", "+tries=1", "+time=2"); err != nil || !strings.Contains(out, "ANSWER: 13") {
			t.Errorf("dig, which asks again over TCP: %v\n%s", err, out)
		}
	}
}

// startWith is start with further files beside the configuration.
func startWith(t *testing.T, g *nettest.Gateway, files map[string]string, configuration string) *portolan {
	t.Helper()
	p := prepare(t, g)
	for name, text := range files {
		if err := os.WriteFile(p.File(name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	p.Begin(configuration)
	return p
}

// The DNS server is chosen by the pool's algorithm; those of a dead link and of a
// busy one are skipped; a client keeps its server by persistence; and a query
// that a dead server has is asked again by another link.
func TestA22_DNSServers_Root(t *testing.T) {
	t.Parallel()
	g := three(t)
	of := resolvers(t, g)
	const quick = ", timeout: 1s, retries: 2"
	p := start(t, g, proxied(g, nil, "", quick, ""))
	p.up("isp1", "isp2", "isp3")
	ask := func(n int, client func(i int) netip.Addr) nettest.Tally {
		return g.Many(n, func(i int) (netip.Addr, error) {
			_, source, err := who(g, query{from: client(i), to: netip.MustParseAddr("8.8.8.8")})
			if err == nil && !source.IsValid() {
				err = errors.New("no such answer")
			}
			return source, err
		})
	}
	several := func(i int) netip.Addr { return nettest.Client4(i % 59) }
	shared(t, "3:2:1", ask(600, several), 0.02, 3, 2, 1)
	t.Run("dead link", func(t *testing.T) {
		g.ISPs[0].Silence(true)
		began := time.Now()
		if tally := ask(30, several); tally.Failed > 0 || tally.By[1] > 0 {
			t.Errorf("while nobody knows yet that it is dead: %v", tally)
		}
		p.row("isp1", longEnough, "down", func(r status.Row) bool { return r.Health == status.Down })
		t.Logf("down after %s", time.Since(began).Round(time.Millisecond))
		asked := g.Watch("asked", "postrouting priority 400", `oifname "wan1" udp dport 53`)
		shared(t, "without isp1", ask(300, several), 0.02, 0, 2, 1)
		if n := asked.Packets(); n > 0 {
			t.Errorf("the dead link's server is still asked: %d times", n)
		}
		g.ISPs[0].Silence(false)
		p.up("isp1")
	})
	t.Run("dead server", func(t *testing.T) {
		of[1].mute.Store(true)
		tally := ask(60, several)
		if tally.Failed > 0 || tally.By[2] > 0 || of[1].queries.Load() == 0 {
			t.Errorf("while isp2's server is mute: %v", tally)
		}
		of[1].mute.Store(false)
	})
	t.Run("busy", func(t *testing.T) {
		p.Apply(proxied(g, map[int]string{1: ", maxBandwidth: {out: 8Mbps}, busy: {rate: 50%, recovery: 40%}"}, ", busyProtection: true", quick, ""))
		f := fill(t, g, 1, 7_000_000)
		defer f.stop()
		p.row("isp1", longEnough, "busy", func(r status.Row) bool { return r.Busy })
		shared(t, "isp1 is busy", ask(300, several), 0.02, 0, 2, 1)
	})
	t.Run("persistence", func(t *testing.T) {
		p.Apply(proxied(g, nil, "", quick+", persistence: same", "persistence: [{name: same}]\n"))
		w := newWhose(g)
		g.Many(590, func(i int) (netip.Addr, error) {
			from := several(i)
			_, source, err := who(g, query{from: from, to: netip.MustParseAddr("8.8.8.8")})
			if err != nil {
				t.Error(err)
				return source, err
			}
			w.saw(from.String(), source)
			return source, nil
		})
		by := w.spread()
		if len(w.split) > 0 || by[0] > 0 || by[1]*by[2]*by[3] == 0 {
			t.Errorf("%d clients, %d of them with two servers; by ISP %v", len(w.isp), len(w.split), by[1:])
		}
	})
	clean(t, g)
}
