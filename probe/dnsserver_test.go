package probe

import (
	"crypto/tls"
	"encoding/pem"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/miekg/dns"

	"github.com/portolan-lb/portolan/config"
	"github.com/portolan-lb/portolan/status"
)

// DNS servers are probed at each address that their link reaches, pinned to it
// (T52), by the protocol that they are asked by; addresses that are learnt come
// and go (T42).
func TestCompileDNSServers_T42_T52(t *testing.T) {
	m := &config.Model{
		Probes: []*config.Probe{{Name: "resolve", Kind: "dns", QueryName: "example.com"}, {Name: "ping", Kind: "icmp"}},
		Links: []*config.Link{
			{Name: "a", Interface: "eth1", Mark: 8},
			{Name: "b", Interface: "eth2", Source: netip.MustParseAddr("192.0.2.7")},
		},
		DNSServers: []*config.DNSServer{
			{Name: "plain", Addresses: addrs("198.51.100.1", "2001:db8::1"), Port: 53, Protocol: "udp", Link: "a", Probes: []string{"resolve", "ping"}},
			{Name: "four", Addresses: addrs("198.51.100.1", "2001:db8::1"), Port: 53, Protocol: "udp", Link: "b", Probes: []string{"resolve"}},
			{Name: "secure", Addresses: addrs("9.9.9.9"), Port: 853, Protocol: "tls", ServerName: "dns.example", Probes: []string{"resolve"}},
			{Name: "given", Auto: true, Port: 53, Protocol: "udp", Link: "a", Probes: []string{"resolve"}},
			{Name: "nothing", Auto: true, Port: 53, Protocol: "udp", Link: "b", Probes: []string{"resolve"}},
			{Name: "unprobed", Addresses: addrs("192.0.2.1"), Port: 53, Protocol: "udp"},
		},
	}
	learnt := map[string][]netip.Addr{"given": addrs("198.51.100.53", "fe80::1%eth1")}
	plan := CompileOver(m, Learnt{DNSServer: func(name string) []netip.Addr { return learnt[name] }})
	want := strings.ReplaceAll(strings.TrimLeft(`
	probe/198.51.100.1:53@a/resolve to 198.51.100.1:53 by eth1 marked 8
	probe/[2001:db8::1]:53@a/resolve to [2001:db8::1]:53 by eth1 marked 8
	probe/198.51.100.1@a/ping to 198.51.100.1:0 by eth1 marked 8
	probe/2001:db8::1@a/ping to [2001:db8::1]:0 by eth1 marked 8
	probe/198.51.100.1:53@b/resolve to 198.51.100.1:53 from 192.0.2.7 by eth2
	probe/tls:9.9.9.9:853/resolve to 9.9.9.9:853
	probe/198.51.100.53:53@a/resolve to 198.51.100.53:53 by eth1 marked 8
	probe/[fe80::1%eth1]:53@a/resolve to [fe80::1%eth1]:53 by eth1 marked 8
	link/a: not probed
	link/b: not probed
	dnsServer/plain: resolve[probe/198.51.100.1:53@a/resolve probe/[2001:db8::1]:53@a/resolve] ping[probe/198.51.100.1@a/ping probe/2001:db8::1@a/ping]
	dnsServer/four: resolve[probe/198.51.100.1:53@b/resolve]
	dnsServer/secure: resolve[probe/tls:9.9.9.9:853/resolve]
	dnsServer/given: resolve[probe/198.51.100.53:53@a/resolve probe/[fe80::1%eth1]:53@a/resolve]
	dnsServer/nothing: link b has been given no address of a DNS server
	dnsServer/unprobed: not probed
	`, "\n"), "\t", "")
	if got := render(plan); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	evidence := plan.Servers()["plain"][netip.MustParseAddr("2001:db8::1")]
	if len(evidence) != 2 || evidence[1] != "probe/2001:db8::1@a/ping" {
		t.Errorf("%v", evidence)
	}
	for i := range plan.Verdicts {
		v := &plan.Verdicts[i]
		for _, n := range v.Probes {
			if !n.Any {
				t.Errorf("%s needs all of its addresses", v.ID)
			}
		}
		row := judge(v, func(status.ID) finding { return finding{} })
		if down := v.ID == "dnsServer/nothing"; (row.Health == status.Down) != down {
			t.Errorf("%s is %s: %s", v.ID, row.Health, row.Why)
		}
	}
}

// One address of a DNS server that answers is enough, and it is its evidence
// that is told; others than it are told when none does.
func TestJudgeAny(t *testing.T) {
	v := &Verdict{ID: "dnsServer/x", Probes: []Need{{Probe: "resolve", Checks: []status.ID{"probe/1/p", "probe/2/p", "probe/3/p"}, Any: true}}}
	for _, c := range []struct {
		health [3]status.Health
		want   status.Health
		why    string
	}{
		{[3]status.Health{status.Down, status.Up, status.Unknown}, status.Up, "probe/2/p: saw up"},
		{[3]status.Health{status.Down, status.Down, status.Unknown}, status.Unknown, "probe/1/p: saw down; 1 more fail"},
		{[3]status.Health{status.Down, status.Down, status.Down}, status.Down, "probe/1/p: saw down; 2 more fail"},
		{[3]status.Health{status.Up, status.Up, status.Up}, status.Up, "probe/1/p: saw up"},
	} {
		row := judge(v, func(id status.ID) finding {
			h := c.health[int(id[6]-'1')]
			return finding{health: h, saw: "saw " + h.String()}
		})
		if row.Health != c.want || row.Why != c.why {
			t.Errorf("%v: %s, %q", c.health, row.Health, row.Why)
		}
	}
}

// resolverOver runs a server of a transport, and gives its address and the file
// of its certificate, which is that of example.com.
func resolverOver(t *testing.T, protocol string) (target, ca string) {
	t.Helper()
	https := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		q := new(dns.Msg)
		switch {
		case r.URL.Path != "/dns-query":
			http.NotFound(w, r)
		case err != nil || q.Unpack(body) != nil || q.Id != 0 || r.Header.Get("Content-Type") != "application/dns-message":
			http.Error(w, "no question", http.StatusBadRequest)
		case q.Question[0].Name == "junk.example.com.":
			_, _ = w.Write([]byte("junk"))
		default:
			answer(httpWriter{w}, q)
		}
	}))
	https.EnableHTTP2, https.Config.ErrorLog = true, quiet
	https.StartTLS()
	t.Cleanup(https.Close)
	ca = filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: https.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	if protocol == config.DNSOverHTTPS {
		return https.Listener.Addr().String(), ca
	}
	l, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: https.TLS.Certificates})
	if err != nil {
		t.Fatal(err)
	}
	s := &dns.Server{Listener: l, Handler: dns.HandlerFunc(answer)}
	started, done := make(chan struct{}), make(chan struct{})
	s.NotifyStartedFunc = func() { close(started) }
	go func() { defer close(done); _ = s.ActivateAndServe() }()
	<-started
	t.Cleanup(func() { _ = s.Shutdown(); <-done })
	return l.Addr().String(), ca
}

// httpWriter answers a query that came over HTTPS.
type httpWriter struct{ http.ResponseWriter }

func (w httpWriter) WriteMsg(m *dns.Msg) error {
	text, err := m.Pack()
	if err == nil {
		w.Header().Set("Content-Type", "application/dns-message")
		_, err = w.ResponseWriter.Write(text)
	}
	return err
}
func (w httpWriter) LocalAddr() net.Addr  { return &net.TCPAddr{} }
func (w httpWriter) RemoteAddr() net.Addr { return &net.TCPAddr{} }
func (w httpWriter) Close() error         { return nil }
func (w httpWriter) TsigStatus() error    { return nil }
func (w httpWriter) TsigTimersOnly(bool)  {}
func (w httpWriter) Hijack()              {}

// A DNS server is probed by the protocol that it is asked by, and its certificate
// must be its own (RFC 7858, RFC 8484).
func TestDNSTransports(t *testing.T) {
	for _, protocol := range []string{config.DNSOverTLS, config.DNSOverHTTPS} {
		t.Run(protocol, func(t *testing.T) {
			target, ca := resolverOver(t, protocol)
			good := Transport{Protocol: protocol, ServerName: "example.com", Path: "/dns-query", CAFile: ca}
			stranger, untrusted, elsewhere := good, good, good
			stranger.ServerName, untrusted.CAFile, elsewhere.Path = "example.net", "", "/other"
			run := func(name string, over Transport) Result {
				return runTask(t, &Task{Target: addrPort(target), Transport: over, readFile: os.ReadFile, Probe: &config.Probe{Kind: "dns", QueryName: name}})
			}
			want(t, run("www.example.com", good), Pass, `NOERROR with 2 answers in [0-9.]+ ms`)
			want(t, run("no.example.com", good), Fail, `NXDOMAIN with 0 answers in .*, expected NOERROR`)
			want(t, run("www.example.com", stranger), Fail, `certificate not accepted: .*example.net.*`)
			want(t, run("www.example.com", untrusted), Fail, `certificate not accepted: .*`)
			if protocol == config.DNSOverHTTPS {
				want(t, run("www.example.com", elsewhere), Fail, `HTTP 404 Not Found`)
				want(t, run("junk.example.com", good), Fail, `no DNS message: .*`)
			}
		})
	}
	target := dnsServer(t)
	over := Transport{Protocol: config.DNSOverTCP}
	want(t, runTask(t, &Task{Target: addrPort(target), Transport: over, Probe: &config.Probe{Kind: "dns", QueryName: "big.example.com", Answer: netip.MustParseAddr("192.0.2.9")}}), Pass, `NOERROR with 1 answers .*`)
}
