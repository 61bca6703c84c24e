package farm

import (
	"bufio"
	"context"
	"fmt"
	"net/netip"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/portolan-lb/portolan/nettest"
)

// The program is killed under ten thousand live connections of both families,
// and started again: all go on, octet for octet, new ones are balanced the
// while, and persistence is kept.
func TestB15_Killed_Root(t *testing.T) {
	f := nettest.NewFarm(t, nettest.FarmLayout{Hosts: 3})
	f.ServeApart(80)
	b := before(t, f)
	b.use(setup{Farm: f, serve: ", persistence: same", virtual: virtual("alt", f, 2, "80", "farm: web"), rest: "persistence: [{name: same}]\n"})
	b.takes(time.Second, b.to4(1, 80), 1, 2, 3)
	b.takes(time.Second, b.to6(2, 80), 1, 2, 3)
	homes := b.homes(t, b.to4(1, 80), 1)
	many := func(i int) (netip.Addr, netip.AddrPort) {
		if i%2 == 0 {
			return b.Client4(i % 1500), netip.AddrPortFrom(b.Virtual4(2), 80)
		}
		return b.Client6(i % 1500), netip.AddrPortFrom(b.Virtual6(2), 80)
	}
	const live = 10000
	held, opened := b.Hold(live, 2*time.Second, many)
	if opened.Failed > 0 {
		t.Fatal(opened)
	}
	for range 2 {
		b.Kill()
		b.Pause(300 * time.Millisecond)
		if err := only(b.Connect(60, b.to4(2, 80)), 1, 2, 3); err != nil {
			t.Errorf("without the program: %v", err)
		}
		b.Start()
		said := held.Fate().Said
		b.Until(late, func() error { // they go on
			if now := held.Fate().Said; now < said+live {
				return fmt.Errorf("%d connections have said %d things, and then %d", live, said, now)
			}
			return nil
		})
	}
	fate := held.Stop()
	t.Logf("%d connections said %d things, the longest wait was %s", live, fate.Said, fate.Gap.Round(time.Millisecond))
	if fate.Lost+fate.Wrong > 0 {
		t.Errorf("of %d connections: %+v", live, fate)
	}
	for c, h := range b.homes(t, b.to4(1, 80), 1) {
		if homes[c] != h {
			t.Errorf("client %s had host %d and has host %d", c, homes[c], h)
		}
	}
}

// monitor collects what nft monitor says in a namespace.
type monitor struct {
	mu    sync.Mutex
	lines []string
}

func (b *balancer) monitor() *monitor {
	b.T.Helper()
	m := &monitor{}
	ctx, cancel := context.WithCancel(context.Background())
	cmd := exec.CommandContext(ctx, "nft", "monitor")
	out, err := cmd.StdoutPipe()
	if err == nil {
		b.Do(func() { err = cmd.Start() })
	}
	if err != nil {
		cancel()
		b.T.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		for in := bufio.NewScanner(out); in.Scan(); {
			m.mu.Lock()
			m.lines = append(m.lines, in.Text())
			m.mu.Unlock()
		}
		_ = cmd.Wait() // it was ended
	})
	b.T.Cleanup(func() { cancel(); wg.Wait() })
	b.Until(late, func() error { // it listens
		b.Must("add table inet sign\ndelete table inet sign\n", "nft", "-f", "-")
		m.mu.Lock()
		defer m.mu.Unlock()
		if len(m.lines) == 0 {
			return fmt.Errorf("nft monitor says nothing")
		}
		return nil
	})
	return m
}

// said gives what was said since, of our tables, when nothing has been for a
// second.
func (b *balancer) said(m *monitor) (ours []string) {
	for quiet := false; !quiet; {
		b.Pause(time.Second)
		m.mu.Lock()
		quiet = len(m.lines) == 0
		for _, line := range m.lines {
			if strings.Contains(line, "portolan") {
				ours = append(ours, line)
			}
		}
		m.lines = nil
		m.mu.Unlock()
	}
	return ours
}

// A start that finds the kernel as it should be writes nothing; a change writes
// what it changes and nothing else (T60).
func TestB15_Writes_Root(t *testing.T) {
	t.Parallel()
	b := before(t, farm(t, nettest.FarmLayout{}))
	others := ""
	for n := 3; n <= 40; n++ {
		others += virtual(fmt.Sprint("vs", n), b.Farm, n, "80", "farm: web")
	}
	b.use(setup{Farm: b.Farm, virtual: others, serve: ", persistence: same", rest: "persistence: [{name: same}]\n"})
	b.takes(time.Second, b.to4(1, 80), 1, 2, 3)
	m := b.monitor()
	b.said(m)
	b.Pause(1500 * time.Millisecond)
	if said := b.said(m); len(said) > 0 {
		t.Errorf("with nothing to do it writes %d lines:\n%s", len(said), strings.Join(said[:min(20, len(said))], "\n"))
	}
	b.Kill()
	b.Start()
	b.Pause(1500 * time.Millisecond)
	if said := b.said(m); len(said) > 0 {
		t.Errorf("a restart writes %d lines:\n%s", len(said), strings.Join(said[:min(20, len(said))], "\n"))
	}
	b.use(setup{Farm: b.Farm, virtual: others + virtual("new", b.Farm, 50, "80", "farm: web"), serve: ", persistence: same", rest: "persistence: [{name: same}]\n"})
	b.Until(late, func() error { return only(b.Connect(6, b.to4(50, 80)), 1, 2, 3) })
	if said := b.said(m); len(said) == 0 || len(said) > 40 {
		t.Errorf("one more virtual server writes %d lines:\n%s", len(said), strings.Join(said[:min(20, len(said))], "\n"))
	}
	b.lose(1, true)
	b.takes(detected+interval, b.to4(1, 80), 2, 3)
	const slots = 86 // of 256, the most that one of three servers has
	if said := b.said(m); len(said) == 0 || len(said) > 2*slots+10 {
		t.Errorf("a server that goes writes %d lines:\n%s", len(said), strings.Join(said[:min(20, len(said))], "\n"))
	}
}

// What others take away is there again; a change of the configuration under
// load fails nobody.
func TestB15_Repair_Root(t *testing.T) {
	t.Parallel()
	b := before(t, farm(t, nettest.FarmLayout{}))
	b.use(setup{Farm: b.Farm})
	b.takes(time.Second, b.to4(1, 80), 1, 2, 3)
	held, opened := b.Hold(200, 200*time.Millisecond, b.to4(1, 80))
	if opened.Failed > 0 {
		t.Fatal(opened)
	}
	// As long as somebody asks for the state of connections and translates addresses
	// Linux goes on with connections whose rules are gone. Where nobody else does, an
	// answer that passes before the rules are back reaches the client as the server
	// sent it, and is reset.
	b.Must(`table inet admin {
	chain pre { type nat hook prerouting priority -90; }
	chain see { type filter hook forward priority 10; ct state new counter; }
	chain post { type nat hook postrouting priority 110; }
}
`, "nft", "-f", "-")
	for _, take := range []string{"flush table inet portolan_slb\n", "delete table inet portolan_slb\n"} {
		b.Must(take, "nft", "-f", "-")
		b.takes(2*time.Second, b.to4(1, 80), 1, 2, 3)
	}
	for round := range 20 {
		s := setup{Farm: b.Farm, server: map[int]string{1: fmt.Sprintf(", weight: %d", 1+round%3)}}
		if round%2 == 1 {
			s.virtual = virtual("other", b.Farm, 5+round, "80", "farm: web")
		}
		b.Applies(s.String())
		if s := b.Connect(30, b.to4(1, 80)); s.Failed > 0 {
			t.Errorf("round %d: %v", round, s)
		}
	}
	if fate := held.Stop(); fate.Lost+fate.Wrong > 0 || fate.Said < 1000 {
		t.Errorf("connections of before: %+v", fate)
	}
}
