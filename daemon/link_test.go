package daemon

import (
	"bufio"
	"context"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/portolan-lb/portolan/api/client"
	"github.com/portolan-lb/portolan/nettest"
	"github.com/portolan-lb/portolan/probe"
	"github.com/portolan-lb/portolan/status"
)

const linksConfig = `version: 1
dns:
  listeners:
    - {address: "127.0.0.1:53", protocols: [udp]}
zones:
  - name: example.com
    file: example.com.zone
    names:
      - {name: www, pool: web, ttl: 1s}
pools:
  - name: web
    preferred: first
    members:
      - {virtualServer: web-a}
      - {virtualServer: web-b}
virtualServers:
  - {name: web-a, address: 203.0.113.1, link: a}
  - {name: web-b, address: 203.0.113.2, link: b}
links:
  - {name: a, interface: eth1, probes: [gateway, far]}
  - {name: b, interface: eth2, probes: [gateway, far]}
probes:
  - {name: gateway, kind: icmp, interval: 200ms, timeout: 150ms, rise: 1, fall: 2}
  - {name: far, kind: icmp, target: 203.0.113.99, interval: 200ms, timeout: 150ms, rise: 1, fall: 2}
`

// lines is a server in a namespace with two lines, eth1 and eth2, each with a
// router beyond which 203.0.113.99 is found.
type lines struct {
	t        *testing.T
	here     *nettest.Space
	routers  [3]*nettest.Space // of eth1 and eth2
	socket   string
	api      *client.Client
	patience time.Duration
}

func newLines(t *testing.T) *lines {
	l := &lines{t: t, here: nettest.New(t), socket: filepath.Join(t.TempDir(), "socket"), patience: 20 * time.Second}
	for i, network := range []string{"", "192.0.2", "198.51.100"} {
		if i == 0 {
			continue
		}
		r := nettest.New(t)
		name := fmt.Sprintf("eth%d", i)
		l.here.Cable(name, r, "wan")
		l.here.IP("addr add " + network + ".1/24 dev " + name)
		r.IP("addr add " + network + ".2/24 dev wan")
		r.IP("addr add 203.0.113.99/32 dev lo")
		l.here.IP(fmt.Sprintf("route add default via %s.2 dev %s metric %d", network, name, 10*i))
		l.routers[i] = r
	}
	l.serve()
	l.api = client.New(l.socket)
	return l
}

// writeLinks puts linksConfig into a folder and gives its path.
func writeLinks(t *testing.T) (path string) {
	t.Helper()
	dir := t.TempDir()
	for name, text := range map[string]string{"portolan.yaml": linksConfig, "example.com.zone": zoneText} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return filepath.Join(dir, "portolan.yaml")
}

// An interface may be taken as down in a question, offline too.
func TestExplainInterfaceDown(t *testing.T) {
	src, err := SourceOf(writeLinks(t))
	if err != nil {
		t.Fatal(err)
	}
	b, errs := Build(src, nil, nil)
	if errs.Failed() {
		t.Fatal(errs)
	}
	for down, want := range map[status.ID]string{"interface/eth1": "203.0.113.2", "interface/eth2": "203.0.113.1"} {
		e, err := b.Explain(b.Rows(), nil, Query{Name: "www.example.com.", Type: "A", Client: netip.MustParseAddr("192.0.2.7"), Down: []status.ID{down}})
		if err != nil {
			t.Fatal(err)
		}
		var text strings.Builder
		if err := e.WriteText(&text, time.Now()); err != nil {
			t.Fatal(err)
		}
		if !regexp.MustCompile(`\sA\s+` + regexp.QuoteMeta(want) + `\s`).MatchString(text.String()) {
			t.Errorf("%s is down: want %s:\n%s", down, want, text.String())
		}
	}
	if _, err := b.Explain(b.Rows(), nil, Query{Name: "www.example.com.", Type: "A", Down: []status.ID{"interface/eth9"}}); err == nil {
		t.Error("an interface that no link has was taken as down")
	}
}

// serve starts the server as a process of its own in the namespace.
func (l *lines) serve() {
	l.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	cmd := exec.CommandContext(ctx, os.Args[0], "-test.run=^"+l.t.Name()+"$")
	cmd.Env = append(os.Environ(), "PORTOLAN_TEST_LINKS="+writeLinks(l.t), "PORTOLAN_TEST_SOCKET="+l.socket)
	out, err := cmd.StdoutPipe()
	if err != nil {
		l.t.Fatal(err)
	}
	l.here.Do(func() { err = cmd.Start() })
	if err != nil {
		l.t.Fatal(err)
	}
	l.t.Cleanup(func() { cancel(); _ = cmd.Wait() }) // it was killed
	words := bufio.NewScanner(out)
	for words.Scan() {
		if words.Text() == "serving" {
			return
		}
	}
	l.t.Fatalf("the server did not start: %q", words.Text())
}

func (l *lines) until(what string, ok func() bool) {
	l.t.Helper()
	poll := time.NewTicker(20 * time.Millisecond)
	defer poll.Stop()
	for late := time.Now().Add(l.patience); !ok(); <-poll.C {
		if time.Now().After(late) {
			links, err := l.api.Links(l.t.Context())
			l.t.Fatalf("%s: not seen: %+v %v", what, links, err)
		}
	}
}

// link waits for the health of a link.
func (l *lines) link(what, name string, want status.Health) {
	l.t.Helper()
	l.until(what, func() bool {
		links, err := l.api.Links(l.t.Context())
		if err != nil {
			return false
		}
		for _, k := range links {
			if k.Name == name {
				return k.Row.Health == want
			}
		}
		return false
	})
}

// answer waits for the address of www.
func (l *lines) answer(what, want string) {
	l.t.Helper()
	l.until(what, func() (ok bool) {
		l.here.Do(func() {
			m := new(dns.Msg)
			m.SetQuestion("www.example.com.", dns.TypeA)
			r, _, err := new(dns.Client).Exchange(m, "127.0.0.1:53")
			if err == nil && len(r.Answer) == 1 {
				a, isA := r.Answer[0].(*dns.A)
				ok = isA && a.A.String() == want
			}
		})
		return ok
	})
}

// A link is alive on evidence that was gathered over it (T52): what is reached
// over another line, which the routing table prefers, says nothing. Its probes
// follow the default route over its interface, and its servers leave the answers
// with its cable.
func TestLinks_T52_Root(t *testing.T) {
	if path := os.Getenv("PORTOLAN_TEST_LINKS"); path != "" {
		c := &churn{t: t, opts: Options{Config: path, Socket: os.Getenv("PORTOLAN_TEST_SOCKET")}}
		defer c.serve()()
		fmt.Println("serving")
		select {} // until it is killed
	}
	l := newLines(t)
	l.link("both are up", "a", status.Up)
	l.link("both are up", "b", status.Up)
	l.answer("the first", "203.0.113.1")

	l.routers[2].IP("addr del 203.0.113.99/32 dev lo")
	l.link("dead beyond its router, though alive beyond the other's", "b", status.Down)
	l.routers[2].IP("addr add 203.0.113.99/32 dev lo")
	l.link("alive again", "b", status.Up)
	l.link("never touched", "a", status.Up)

	l.here.IP("route replace default via 192.0.2.3 dev eth1 metric 10") // nobody is there
	l.link("another next hop", "a", status.Down)
	l.answer("the second", "203.0.113.2")
	l.until("the new next hop is probed", func() bool {
		probes, err := l.api.Probes(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return slices.ContainsFunc(probes, func(p probe.History) bool {
			return p.ID == "probe/192.0.2.3@a/gateway" && p.Interface == "eth1"
		})
	})
	l.here.IP("route replace default via 192.0.2.2 dev eth1 metric 10")
	l.link("the old next hop", "a", status.Up)
	l.answer("the first again", "203.0.113.1")

	l.here.IP("link set eth1 down")
	l.answer("without its cable", "203.0.113.2")
	l.here.IP("link set eth1 up")
	l.here.IP("route replace default via 192.0.2.2 dev eth1 metric 10")
	l.answer("with it", "203.0.113.1")
}
