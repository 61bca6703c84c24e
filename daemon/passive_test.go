package daemon

import (
	"bufio"
	"context"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/portolan-lb/portolan/api/client"
	"github.com/portolan-lb/portolan/nettest"
	"github.com/portolan-lb/portolan/proximity"
)

// passiveConfig measures nothing by itself: all is excluded.
const passiveConfig = `version: 1
dns: {listeners: [{address: "0.0.0.0:53"}]}
zones: [{name: example.com, file: example.com.zone, names: [{name: www, pool: web, ttl: 30s}]}]
pools:
  - {name: web, preferred: proximity, fallback: first, members: [{virtualServer: far}, {virtualServer: near}, {virtualServer: twin}]}
virtualServers:
  - {name: far, address: 203.0.113.1, link: far}
  - {name: near, address: 203.0.113.2, link: near}
  - {name: twin, address: 203.0.113.3, link: twin}
links:
  - {name: far, interface: long, source: 192.0.2.1}
  - {name: near, interface: short}
  - {name: twin, interface: long, source: 192.0.2.9}
proximity:
  warmUp: 1s
  methods: [icmp]
  exclude: [0.0.0.0/0, "::/0"]
`

// Clients that come by TCP show how far they are over the link that they came
// by, whatever address they went to; nothing is sent. What may have come by
// either of two links says nothing. When the warm-up is over the nearest answers.
func TestPassive_Root(t *testing.T) {
	if path := os.Getenv("PORTOLAN_TEST_PASSIVE"); path != "" {
		c := &churn{t: t, opts: Options{Config: path, Socket: os.Getenv("PORTOLAN_TEST_SOCKET")}}
		defer c.serve()()
		os.Stdout.WriteString("serving\n")
		select {} // until it is killed
	}
	here, there := nettest.New(t), nettest.New(t)
	here.Tunnel("long", there, "tolong", 200*time.Millisecond) // much, so that a busy machine does not make the other as long
	here.Tunnel("short", there, "toshort", 5*time.Millisecond)
	for _, words := range []string{
		"addr add 192.0.2.1/32 peer 192.0.2.2 dev long", "addr add 192.0.2.9/32 dev long", "addr add 198.51.100.1/32 peer 198.51.100.2 dev short",
		"addr add 203.0.113.53/32 dev lo", "route add 198.18.0.0/24 dev short",
	} {
		here.IP(words)
	}
	for _, words := range []string{
		"addr add 192.0.2.2/32 peer 192.0.2.1 dev tolong", "addr add 198.51.100.2/32 peer 198.51.100.1 dev toshort",
		"addr add 198.18.0.7/32 dev lo", "route add 203.0.113.53/32 dev toshort", "route add 192.0.2.9/32 dev tolong",
	} {
		there.IP(words)
	}
	c := servePassive(t, here)
	ask := func(network, to string) (answer string) {
		there.Do(func() {
			d := net.Dialer{Timeout: 5 * time.Second, LocalAddr: &net.UDPAddr{IP: net.IPv4(198, 18, 0, 7)}}
			if network == "tcp" {
				d.LocalAddr = &net.TCPAddr{IP: net.IPv4(198, 18, 0, 7)}
			}
			m := new(dns.Msg).SetQuestion("www.example.com.", dns.TypeA)
			r, _, err := (&dns.Client{Net: network, Dialer: &d, Timeout: 5 * time.Second}).ExchangeContext(t.Context(), m, to+":53")
			if err != nil {
				t.Error(err)
				return
			}
			if len(r.Answer) == 1 {
				answer = r.Answer[0].(*dns.A).A.String()
			}
		})
		return answer
	}
	made := time.Now()
	if got := ask("udp", "203.0.113.53"); got != "203.0.113.1" {
		t.Errorf("without an entry: %s", got)
	}
	ask("tcp", "203.0.113.53") // by near, at an address of neither line
	ask("tcp", "192.0.2.1")    // by far, told from its twin by the address; back by near
	there.IP("route replace 203.0.113.53/32 dev tolong")
	ask("tcp", "203.0.113.53") // by far or its twin
	l, err := c.Proximity(t.Context(), proximity.Query{Client: netip.MustParseAddr("198.18.0.200")})
	if err != nil || len(l.Entries) != 1 {
		t.Fatalf("%+v, %v", l, err)
	}
	for _, d := range l.Entries[0].Links {
		least := map[string]time.Duration{"near": 10 * time.Millisecond, "far": 205 * time.Millisecond, "twin": 0}[d.Link]
		most := map[string]time.Duration{"near": 200 * time.Millisecond, "far": time.Second, "twin": 0}[d.Link]
		if d.Heard != min(int(least), 1) || d.RTT < least || d.RTT > most || d.Active != 0 {
			t.Errorf("%s: %+v", d.Link, d)
		}
	}
	st, err := c.ProximityStats(t.Context())
	if err != nil || st.Passive.Unowned != 1 || st.Table.Heard != 2 || st.Connections["taken"] != 3 || st.Probes.Methods["icmp"].Packets != 0 {
		t.Errorf("%+v, %v", st, err)
	}
	poll := time.NewTicker(20 * time.Millisecond)
	defer poll.Stop()
	for ask("udp", "198.51.100.1") != "203.0.113.2" && !t.Failed() {
		if <-poll.C; time.Since(made) > 20*time.Second {
			t.Fatal("the server of the near link never answered")
		}
	}
	if took := time.Since(made); took < time.Second {
		t.Errorf("%v after the first query, which is before the warm-up is over", took)
	}
}

// servePassive starts the server as a process of its own in a namespace.
func servePassive(t *testing.T, here *nettest.Space) *client.Client {
	t.Helper()
	dir := t.TempDir()
	for name, text := range map[string]string{"portolan.yaml": passiveConfig, "example.com.zone": zoneText} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	socket := filepath.Join(dir, "socket")
	ctx, cancel := context.WithCancel(context.Background())
	cmd := exec.CommandContext(ctx, os.Args[0], "-test.run=^"+t.Name()+"$")
	cmd.Env = append(os.Environ(), "PORTOLAN_TEST_PASSIVE="+filepath.Join(dir, "portolan.yaml"), "PORTOLAN_TEST_SOCKET="+socket)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	here.Do(func() { err = cmd.Start() })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cancel(); _ = cmd.Wait() }) // it was killed
	words := bufio.NewScanner(out)
	for words.Scan() {
		if words.Text() == "serving" {
			return client.New(socket)
		}
	}
	t.Fatalf("the server did not start: %q", words.Text())
	return nil
}
