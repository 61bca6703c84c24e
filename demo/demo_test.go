package demo

import (
	"context"
	"log/slog"
	"net"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"
)

// output collects what the demo prints and tells when it prints first.
type output struct {
	mu    sync.Mutex
	text  strings.Builder
	ready chan struct{}
	once  sync.Once
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	defer o.once.Do(func() { close(o.ready) })
	return o.text.Write(p)
}

// The demo as a newcomer runs it: answers by client, a site stopped, the
// answers moved.
func TestDemo(t *testing.T) {
	const server = "127.0.0.1:5300"
	l, err := net.Listen("tcp", server)
	if err != nil {
		t.Skipf("the demo's port is taken, by another demo? %v", err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	out, done := &output{ready: make(chan struct{})}, make(chan error, 1)
	go func() { done <- Run(ctx, out, slog.New(slog.DiscardHandler)) }()
	defer func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("run: %v", err)
		}
	}()
	select {
	case <-out.ready:
	case err := <-done:
		done <- nil
		t.Fatalf("did not start: %v", err)
	}
	becomes := func(subnet, want string) {
		t.Helper()
		got := ""
		tick := time.NewTicker(20 * time.Millisecond)
		defer tick.Stop()
		for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); <-tick.C {
			if got = ask(t, server, subnet); strings.Contains(want, got) {
				return
			}
		}
		t.Errorf("a client of %s gets %s, want %s", subnet, got, want)
	}
	becomes("203.0.113.0", "127.0.0.12")
	becomes("198.51.100.0", "127.0.0.11")
	if _, err := Switch(ctx, "west", true); err != nil {
		t.Fatal(err)
	}
	becomes("203.0.113.0", "127.0.0.11 127.0.0.13")
	if _, err := Switch(ctx, "west", false); err != nil {
		t.Fatal(err)
	}
	becomes("203.0.113.0", "127.0.0.12")
	if _, err := Switch(ctx, "south", true); err == nil {
		t.Error("there is no site south")
	}
}

// ask gives the address of www for a client subnet, or the rcode.
func ask(t *testing.T, server, subnet string) string {
	m := new(dns.Msg).SetQuestion("www.example.com.", dns.TypeA)
	m.SetEdns0(1232, false)
	m.IsEdns0().Option = []dns.EDNS0{&dns.EDNS0_SUBNET{Code: dns.EDNS0SUBNET, Family: 1, SourceNetmask: 24, Address: net.ParseIP(subnet).To4()}}
	reply, err := dns.Exchange(m, server)
	if err != nil {
		t.Fatal(err)
	}
	if len(reply.Answer) == 0 {
		return dns.RcodeToString[reply.Rcode]
	}
	return reply.Answer[0].(*dns.A).A.String()
}

func TestSiteTellsItsHealth(t *testing.T) {
	s := sites()[0]
	for _, step := range []struct {
		method, path string
		want         int
	}{{"GET", "/healthz", 200}, {"POST", "/stop", 200}, {"GET", "/healthz", 503}, {"GET", "/", 200}, {"POST", "/start", 200}, {"GET", "/healthz", 200}} {
		w := httptest.NewRecorder()
		s.handler().ServeHTTP(w, httptest.NewRequest(step.method, step.path, nil))
		if w.Code != step.want {
			t.Errorf("%s %s: %d, want %d", step.method, step.path, w.Code, step.want)
		}
	}
}
