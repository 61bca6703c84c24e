package dnsproxy

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/binary"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"testing/fstest"
	"time"

	"github.com/miekg/dns"

	"github.com/portolan-lb/portolan/config"
)

// certificate makes one of our own for a name.
func certificate(t *testing.T, name string) (cert tls.Certificate, ca []byte) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature}
	der, err := x509.CreateCertificate(rand.Reader, c, c, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

// over makes a world whose only server is asked over a protocol, with a
// certificate that it trusts.
func over(t *testing.T, protocol string, at netip.AddrPort, serverName string, ca []byte) *world {
	t.Helper()
	f := newFake(t)
	w := newWorld(t, []*fake{f}, func(m *config.Model) { m.DNSProxy.Timeout = config.Duration(2 * time.Second) })
	w.model.DNSServers[0] = &config.DNSServer{Name: "s1", Addresses: []netip.Addr{at.Addr()}, Port: at.Port(), Protocol: protocol, ServerName: serverName, Path: "/dns-query", CAFile: "ca.pem"}
	plan, err := Compile(w.model, config.Source{FS: fstest.MapFS{"ca.pem": {Data: ca}}, Dir: "."}, nil)
	if err != nil {
		t.Fatal(err)
	}
	w.proxy.Use(plan)
	return w
}

// DNS over TLS: the certificate is checked, a connection carries many queries,
// which are padded; answers come in whatever order.
func TestTLS_RFC7858(t *testing.T) {
	cert, ca := certificate(t, "dns.example")
	l, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{cert}})
	if err != nil {
		t.Fatal(err)
	}
	var conns, unpadded atomic.Int64
	var wg sync.WaitGroup
	t.Cleanup(func() { l.Close(); wg.Wait() })
	wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			conns.Add(1)
			wg.Go(func() {
				defer c.Close()
				var held []byte
				for {
					msg, err := readFramed(c, 65535)
					if err != nil {
						return
					}
					if len(msg)%padding != 0 {
						unpadded.Add(1)
					}
					q := new(dns.Msg)
					if q.Unpack(msg) != nil {
						return
					}
					reply := pack(good(q))
					framed := append(binary.BigEndian.AppendUint16(nil, uint16(len(reply))), reply...)
					if q.Question[0].Name == "first.example.com." { // waits for the next
						held = framed
						continue
					}
					_, _ = c.Write(append(framed, held...))
					held = nil
				}
			})
		}
	})
	at := l.Addr().(*net.TCPAddr).AddrPort()
	w := over(t, config.DNSOverTLS, at, "dns.example", ca)
	var both sync.WaitGroup
	both.Go(func() { w.check(t, "first.example.com.") })
	until(func() bool { return w.server("s1").Queries > 0 })
	w.check(t, "second.example.com.")
	both.Wait()
	for i := range 20 {
		both.Go(func() { w.check(t, fmt.Sprintf("n%d.example.com.", i)) })
	}
	both.Wait()
	if n := conns.Load(); n != 1 || unpadded.Load() != 0 {
		t.Errorf("%d connections for 22 queries, %d not padded", n, unpadded.Load())
	}
	for _, bad := range []struct {
		name string
		ca   []byte
	}{{"other.example", ca}, {"dns.example", func() []byte { _, o := certificate(t, "dns.example"); return o }()}} {
		w := over(t, config.DNSOverTLS, at, bad.name, bad.ca)
		if r := w.ask("udp", question("www.example.com.", dns.TypeA)); r.Rcode != dns.RcodeServerFailure {
			t.Errorf("a server that proves nothing was believed: %s", r)
		}
	}
}

// check asks and wants the good answer; it may be called by any goroutine.
func (w *world) check(t *testing.T, name string) {
	c := dns.Client{Timeout: 10 * time.Second}
	if r, _, err := c.Exchange(question(name, dns.TypeA), w.at()); err != nil || address(r) != "192.0.2.1" {
		t.Errorf("%s: %v %v", name, err, r)
	}
}

// DNS over HTTPS: POST, HTTP/2, id 0, no redirects, no answers without bound.
func TestHTTPS_RFC8484(t *testing.T) {
	var mode atomic.Value
	mode.Store("good")
	var bad atomic.Value
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		q := new(dns.Msg)
		if err := q.Unpack(body); err != nil || r.Method != "POST" || r.ProtoMajor != 2 || r.URL.Path != "/dns-query" || r.Header.Get("Content-Type") != dnsMessage || q.Id != 0 || len(body)%padding != 0 {
			bad.Store(fmt.Sprint(err, r.Method, r.Proto, r.URL, r.Header, q.Id, len(body)))
		}
		w.Header().Set("Content-Type", dnsMessage)
		switch mode.Load() {
		case "redirect":
			http.Redirect(w, r, "/elsewhere", http.StatusTemporaryRedirect)
		case "text":
			w.Header().Set("Content-Type", "text/html")
			_, _ = w.Write(pack(good(q)))
		case "endless":
			for range 100 {
				_, _ = w.Write(make([]byte, 64<<10))
			}
		case "other":
			q.Question[0].Name = "other.example."
			_, _ = w.Write(pack(bad6(q)))
		default:
			_, _ = w.Write(pack(good(q)))
		}
	}))
	cert, ca := certificate(t, "dns.example")
	s.TLS = &tls.Config{Certificates: []tls.Certificate{cert}}
	s.EnableHTTP2 = true
	s.StartTLS()
	t.Cleanup(s.Close)
	w := over(t, config.DNSOverHTTPS, netip.MustParseAddrPort(s.Listener.Addr().String()), "dns.example", ca)
	for i := range 10 {
		w.check(t, fmt.Sprintf("n%d.example.com.", i))
	}
	for _, m := range []string{"redirect", "text", "endless", "other"} {
		mode.Store(m)
		if r := w.ask("udp", question("www.example.com.", dns.TypeA)); r.Rcode != dns.RcodeServerFailure {
			t.Errorf("%s: %s", m, r)
		}
	}
	if b := bad.Load(); b != nil {
		t.Errorf("a request as it should not be: %s", b)
	}
}

func bad6(q *dns.Msg) *dns.Msg { return bad(q) }

// Upstream over TCP: one connection for many; one that the server closes while
// it is idle is replaced without the client seeing it (RFC 7766 6.2.4).
func TestTCPUpstream_RFC7766(t *testing.T) {
	f := newFake(t)
	var n atomic.Int64
	w := newWorld(t, []*fake{f}, func(m *config.Model) { m.DNSServers[0].Protocol = config.DNSOverTCP })
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	t.Cleanup(func() { l.Close(); wg.Wait() })
	wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			n.Add(1)
			wg.Go(func() { // answers one and closes
				defer c.Close()
				msg, err := readFramed(c, 65535)
				q := new(dns.Msg)
				if err != nil || q.Unpack(msg) != nil {
					return
				}
				reply := pack(good(q))
				_, _ = c.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(reply))), reply...))
			})
		}
	})
	for i := range 10 {
		w.check(t, fmt.Sprintf("n%d.example.com.", i))
	}
	if f.tcps.Load() != 10 || f.asks.Load() != 0 {
		t.Errorf("%d over TCP, %d over UDP", f.tcps.Load(), f.asks.Load())
	}
	at := l.Addr().(*net.TCPAddr).AddrPort()
	w.model.DNSServers[0].Port = at.Port()
	w.use()
	for i := range 10 {
		w.check(t, fmt.Sprintf("m%d.example.com.", i))
	}
	if n.Load() < 10 {
		t.Errorf("%d connections", n.Load())
	}
}

// Clients over TCP: queries are answered side by side; connections and queries
// are bounded; one that says nothing is let go.
func TestTCPClients_RFC7766(t *testing.T) {
	f := newFake(t)
	slow := make(chan struct{})
	f.over(func(w func([]byte), q *dns.Msg, raw []byte) {
		if q.Question[0].Qtype == dns.TypeTXT {
			go func() { <-slow; goodAnswer(w, q, raw) }()
			return
		}
		goodAnswer(w, q, raw)
	}, nil)
	w := newWorld(t, []*fake{f}, func(m *config.Model) {
		m.DNSProxy.Limits.ConnectionsPerClient, m.DNSProxy.Limits.IdleTimeout = 3, config.Duration(500*time.Millisecond)
		m.DNSProxy.Timeout = config.Duration(5 * time.Second)
	})
	c, err := dns.Dial("tcp", w.at())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for i, qtype := range []uint16{dns.TypeTXT, dns.TypeA, dns.TypeA} {
		q := question("www.example.com.", qtype)
		q.Id = uint16(i + 1)
		if err := c.WriteMsg(q); err != nil {
			t.Fatal(err)
		}
	}
	_ = c.SetReadDeadline(time.Now().Add(20 * time.Second))
	for range 2 {
		if r, err := c.ReadMsg(); err != nil || r.Id == 1 {
			t.Fatalf("held up by the slow one: %v %v", r, err)
		}
	}
	close(slow)
	if r, err := c.ReadMsg(); err != nil || r.Id != 1 {
		t.Fatalf("%v %v", r, err)
	}
	var open []net.Conn
	for range 10 {
		o, err := net.Dial("tcp", w.at())
		if err != nil {
			t.Fatal(err)
		}
		defer o.Close()
		open = append(open, o)
	}
	for _, o := range open { // refused at once, or after the idle time: all end
		_ = o.SetReadDeadline(time.Now().Add(20 * time.Second))
		if _, err := o.Read(make([]byte, 1)); err != io.EOF {
			if ne, ok := err.(net.Error); ok && ne.Timeout() {
				t.Errorf("still open: %v", err)
			}
		}
	}
	if s := w.proxy.Stats(); s.Refused < 7 {
		t.Errorf("%d refused", s.Refused)
	}
}
