package probe

import (
	"net"
	"net/netip"
	"strconv"
	"testing"

	"github.com/miekg/dns"

	"github.com/portolan-lb/portolan/config"
)

// dnsServer answers a few names, over UDP and over TCP on the same port.
func dnsServer(t *testing.T) string {
	t.Helper()
	udp, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	tcp, err := net.Listen("tcp", udp.LocalAddr().String())
	if err != nil {
		t.Skipf("the TCP port is taken: %v", err)
	}
	for _, s := range []*dns.Server{{PacketConn: udp, Handler: dns.HandlerFunc(answer)}, {Listener: tcp, Handler: dns.HandlerFunc(answer)}} {
		started, done := make(chan struct{}), make(chan struct{})
		s.NotifyStartedFunc = func() { close(started) }
		go func() { defer close(done); s.ActivateAndServe() }()
		<-started
		t.Cleanup(func() { s.Shutdown(); <-done })
	}
	return udp.LocalAddr().String()
}

func answer(w dns.ResponseWriter, q *dns.Msg) {
	m := new(dns.Msg).SetReply(q)
	name := q.Question[0].Name
	_, overTCP := w.RemoteAddr().(*net.TCPAddr)
	rr := func(data string) dns.RR { r, _ := dns.NewRR(name + " 60 IN " + data); return r }
	switch name {
	case "www.example.com.":
		m.Answer = []dns.RR{rr("A 192.0.2.1"), rr("A 192.0.2.2")}
		if q.Question[0].Qtype == dns.TypeAAAA {
			m.Answer = []dns.RR{rr("AAAA 2001:db8::1")}
		}
	case "big.example.com.":
		m.Truncated = !overTCP
		if overTCP {
			m.Answer = []dns.RR{rr("A 192.0.2.9")}
		}
	case "mute.example.com.":
		return
	case "stray.example.com.":
		m.Id++
		w.WriteMsg(m)
		m.Id--
		m.Answer = []dns.RR{rr("A 192.0.2.1")}
	default:
		m.Rcode = dns.RcodeNameError
	}
	w.WriteMsg(m)
}

func TestDNS(t *testing.T) {
	target := dnsServer(t)
	ip := netip.MustParseAddr
	for i, c := range []struct {
		def     config.Probe
		outcome Outcome
		saw     string
	}{
		{config.Probe{QueryName: "www.example.com"}, Pass, `NOERROR with 2 answers in [0-9.]+ ms`},
		{config.Probe{QueryName: "www.example.com.", Answer: ip("192.0.2.2")}, Pass, `NOERROR .*`},
		{config.Probe{QueryName: "www.example.com", Answer: ip("192.0.2.3")}, Fail, `NOERROR with 2 answers in .*, none of them 192.0.2.3`},
		{config.Probe{QueryName: "www.example.com", QueryType: "AAAA", Answer: ip("2001:db8::1")}, Pass, `NOERROR .*`},
		{config.Probe{QueryName: "no.example.com"}, Fail, `NXDOMAIN with 0 answers in .*, expected NOERROR`},
		{config.Probe{QueryName: "no.example.com", Rcode: "NXDOMAIN"}, Pass, `NXDOMAIN .*`},
		{config.Probe{QueryName: "big.example.com", Answer: ip("192.0.2.9")}, Pass, `NOERROR with 1 answers .*`},
		{config.Probe{QueryName: "stray.example.com", Answer: ip("192.0.2.1")}, Pass, `NOERROR .*`},
		{config.Probe{QueryName: "mute.example.com", Timeout: 100 * ms}, Fail, `no reply within 100ms`},
		{config.Probe{QueryName: "x", QueryType: "BOGUS"}, Void, `query type "BOGUS" is unknown`},
		{config.Probe{QueryName: "x", Rcode: "BOGUS"}, Void, `rcode "BOGUS" is unknown`},
	} {
		t.Run(strconv.Itoa(i)+c.def.QueryName, func(t *testing.T) {
			c.def.Kind = "dns"
			want(t, probeOnce(t, target, c.def), c.outcome, c.saw)
		})
	}
	want(t, probeOnce(t, closedPort(t), config.Probe{Kind: "dns", QueryName: "x"}), Fail, "connection refused")
}
