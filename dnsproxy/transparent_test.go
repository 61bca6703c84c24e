package dnsproxy

import (
	"bufio"
	"encoding/json"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/portolan-lb/portolan/config"
	"github.com/portolan-lb/portolan/nettest"
	"github.com/portolan-lb/portolan/probe"
)

// What package kernel is going to set: queries of the LAN to the proxy, its
// socket first and then the mark, so that without a socket they pass.
const intercept = `table inet test_dnsproxy {
	chain prerouting {
		type filter hook prerouting priority -155;
		iifname lan0 meta l4proto { tcp, udp } th dport 53 tproxy to :5300 meta mark set 0x10000000 accept
	}
}
`

// gate is a gateway between a LAN and an ISP with a DNS server.
type gate struct {
	*nettest.Space
	lan, isp *nettest.Space
	server   *fake
	stats    func() Stats // ends the proxy
}

func newGate(t testing.TB, change func(is *inSpace)) *gate {
	g := &gate{Space: nettest.New(t), lan: nettest.New(t), isp: nettest.New(t)}
	g.Cable("lan0", g.lan, "eth0")
	g.Cable("wan1", g.isp, "eth0")
	for _, s := range []*nettest.Space{g.Space, g.lan, g.isp} {
		for _, name := range []string{"ipv4/ip_forward", "ipv6/conf/all/forwarding"} {
			s.Set(name, "1")
		}
		for _, name := range []string{"ipv4/conf/all/rp_filter", "ipv4/conf/default/rp_filter"} {
			s.Set(name, "0")
		}
	}
	g.Batch("addr add 10.1.0.1/24 dev lan0", "addr add fd10::1/64 dev lan0 nodad", "addr add fe80::1/64 dev lan0 nodad",
		"addr add 198.51.100.2/24 dev wan1", "addr add 2001:db8:1::2/64 dev wan1 nodad",
		"rule add pref 500 fwmark 0x10000000/0x10000000 lookup 99", "-6 rule add pref 500 fwmark 0x10000000/0x10000000 lookup 99",
		"route add local default dev lo table 99", "-6 route add local default dev lo table 99")
	g.lan.Batch("addr add 10.1.0.9/24 dev eth0", "addr add fd10::9/64 dev eth0 nodad", "addr add fe80::9/64 dev eth0 nodad",
		"route add default via 10.1.0.1", "-6 route add default via fd10::1")
	g.isp.Batch("addr add 198.51.100.1/24 dev eth0", "addr add 2001:db8:1::1/64 dev eth0 nodad")
	g.Must(intercept, "nft", "-f", "-")
	g.server = newFakeAt(t, netip.MustParseAddrPort("198.51.100.1:53"), g.isp.Do)
	is := &inSpace{Pins: map[string]probe.Pin{"telecom": {Device: "wan1", Mark: 1}}, Model: &config.Model{
		Links:          []*config.Link{{Name: "telecom", Interface: "wan1"}},
		DNSServers:     []*config.DNSServer{{Name: "isp", Addresses: []netip.Addr{netip.MustParseAddr("198.51.100.1")}, Link: "telecom", Protocol: "udp"}},
		DNSServerPools: []*config.DNSServerPool{{Name: "all", Algorithm: "round-robin", Members: []*config.DNSServerMember{{Server: "isp", Weight: 1}}}},
		DNSProxy: &config.DNSProxy{Enabled: true, Port: 5300, Pool: "all", Retries: 1, Timeout: config.Duration(time.Second),
			Limits: config.DNSProxyLimits{Outstanding: 10000, OutstandingPerClient: 10000, Connections: 100, ConnectionsPerClient: 50, QueriesPerConnection: 16, IdleTimeout: config.Duration(5 * time.Second)}},
	}}
	if change != nil {
		change(is)
	}
	g.start(t, is)
	return g
}

// start runs the proxy in the gateway.
func (g *gate) start(t testing.TB, is *inSpace) {
	t.Helper()
	text, err := json.Marshal(is)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), inSpaceEnv+"="+string(text))
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	g.Do(func() { err = cmd.Start() })
	if err != nil {
		t.Fatal(err)
	}
	read := bufio.NewReader(out)
	if line, err := read.ReadString('\n'); err != nil || strings.TrimSpace(line) != "ready" {
		t.Fatalf("the proxy said %q, %v", line, err)
	}
	ended := false
	g.stats = func() (s Stats) {
		if ended {
			return s
		}
		ended = true
		in.Close()
		text, _ := io.ReadAll(read)
		if err := cmd.Wait(); err != nil {
			t.Errorf("the proxy ended with %v", err)
		}
		_ = json.Unmarshal(text, &s)
		return s
	}
	t.Cleanup(func() { g.stats() })
}

// dig asks from the LAN. It takes an answer only from the address and port that
// it asked.
func (g *gate) dig(t *testing.T, args string) string {
	t.Helper()
	out, err := g.lan.Run("", "dig", append(strings.Fields(args), "+tries=1", "+timeout=4", "www.example.com", "A")...)
	if err != nil {
		t.Errorf("dig %s: %v\n%s", args, err, out)
	}
	return out
}

// Outbound 4(k): the reply comes from the asked address in every case.
func TestTransparent_4k_Root(t *testing.T) {
	g := newGate(t, nil)
	for _, c := range []struct{ name, args string }{
		{"a server that is far away", "@8.8.8.8"},
		{"another", "@114.114.114.114"},
		{"one that does not exist", "@9.9.9.9"},
		{"over TCP", "@8.8.8.8 +tcp"},
		{"the gateway on the LAN", "@10.1.0.1"},
		{"the gateway on the LAN, TCP", "@10.1.0.1 +tcp"},
		{"the gateway's WAN address", "@198.51.100.2"},
		{"IPv6", "@2001:db8:53::53"},
		{"IPv6 over TCP", "@2001:db8:53::53 +tcp"},
		{"the gateway by IPv6", "@fd10::1"},
		{"the gateway by IPv6, TCP", "@fd10::1 +tcp"},
		{"link-local", "@fe80::1%eth0"},
		{"link-local over TCP", "@fe80::1%eth0 +tcp"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if out := g.dig(t, "+short "+c.args); strings.TrimSpace(out) != "192.0.2.1" {
				t.Errorf("dig %s: %q", c.args, out)
			}
		})
	}
	if s := g.stats(); s.Dropped["socket"] != 0 || s.UDP != 8 || s.TCP != 5 {
		t.Errorf("%+v", s)
	}
}

// A large answer arrives whole over UDP where the client takes it, and is
// retried over TCP where not (outbound 4(k), test 21).
func TestLargeAnswers_21_Root(t *testing.T) {
	g := newGate(t, nil)
	big := func(w func([]byte), q *dns.Msg, raw []byte) {
		m := good(q)
		for i := range 195 {
			rr := good(q).Answer[0].(*dns.A)
			rr.A[14] = byte(i)
			m.Answer = append(m.Answer, rr)
		}
		w(pack(m))
	}
	g.server.over(func(w func([]byte), q *dns.Msg, _ []byte) {
		m := good(q)
		m.Answer, m.Truncated = nil, true
		w(pack(m))
	}, big)
	for _, server := range []string{"@8.8.8.8", "@2001:db8:53::53"} {
		out := g.dig(t, server+" +bufsize=4096 +noignore")
		if n := strings.Count(out, "IN\tA\t192.0."); n != 196 || strings.Contains(out, "Truncated") || !strings.Contains(out, "MSG SIZE  rcvd: 31") {
			t.Errorf("%s: %d addresses\n%s", server, n, out)
		}
		out = g.dig(t, server+" +bufsize=1232")
		if n := strings.Count(out, "IN\tA\t192.0."); n != 196 || !strings.Contains(out, "retrying in TCP mode") {
			t.Errorf("%s: %d addresses after truncation\n%s", server, n, out)
		}
	}
}

// Another DNS server of the gateway keeps the queries that are its own: nothing
// of the proxy's is bound to the asked address (outbound 4(k): stolen queries).
func TestStealsNothing_4k_Root(t *testing.T) {
	g := newGate(t, nil)
	own := newFakeAt(t, netip.MustParseAddrPort("198.51.100.2:53"), g.Do)
	own.over(func(w func([]byte), q *dns.Msg, _ []byte) { w(pack(bad(q))) }, nil)
	for range 20 {
		if out := g.dig(t, "+short @198.51.100.2"); strings.TrimSpace(out) != "192.0.2.1" {
			t.Errorf("from the LAN: %q", out)
		}
		out, err := g.isp.Run("", "dig", "+short", "+tries=1", "+timeout=2", "@198.51.100.2", "www.example.com", "A")
		if err != nil || strings.TrimSpace(out) != "6.6.6.6" {
			t.Errorf("from the WAN: %q, %v", out, err)
		}
	}
}

// Who sends to the proxy's own port was intercepted by nobody: an open resolver
// is not what this is.
func TestOwnPort_Root(t *testing.T) {
	g := newGate(t, nil)
	for _, args := range []string{"@198.51.100.2", "@198.51.100.2 +tcp", "@2001:db8:1::2"} {
		out, err := g.isp.Run("", "dig", append(strings.Fields(args), "-p", "5300", "+tries=1", "+timeout=1", "www.example.com", "A")...)
		if err == nil {
			t.Errorf("%s: answered\n%s", args, out)
		}
	}
	if s := g.stats(); s.Dropped["direct"] < 3 {
		t.Errorf("%+v", s.Dropped)
	}
}

// Without a proxy queries cross as they are (the interception fails open).
func TestFailsOpen_21_Root(t *testing.T) {
	g := newGate(t, nil)
	g.isp.Batch("addr add 8.8.8.8/32 dev lo", "route add 10.1.0.0/24 via 198.51.100.2")
	g.Batch("route add default via 198.51.100.1")
	own := newFakeAt(t, netip.MustParseAddrPort("8.8.8.8:53"), g.isp.Do)
	own.over(func(w func([]byte), q *dns.Msg, _ []byte) { w(pack(bad(q))) }, nil)
	if out := g.dig(t, "+short @8.8.8.8"); strings.TrimSpace(out) != "192.0.2.1" {
		t.Fatalf("with the proxy: %q", out)
	}
	g.stats()
	if out := g.dig(t, "+short @8.8.8.8"); strings.TrimSpace(out) != "6.6.6.6" {
		t.Errorf("without it: %q", out)
	}
}
