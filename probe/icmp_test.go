package probe

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/icmp"
	"golang.org/x/net/ipv4"

	"github.com/portolan-lb/portolan/config"
	"github.com/portolan-lb/portolan/status"
)

func TestICMP_Root(t *testing.T) {
	needRaw(t)
	want(t, probeOnce(t, "127.0.0.1", config.Probe{Kind: "icmp"}), Pass, `reply in [0-9.]+ ms`)
	want(t, probeOnce(t, "::1", config.Probe{Kind: "icmp", Size: 1400}), Pass, `reply in [0-9.]+ ms`)
	want(t, probeOnce(t, "127.0.0.9", config.Probe{Kind: "icmp", Source: netip.MustParseAddr("127.0.0.8")}), Pass, `reply in .*`)
	want(t, probeOnce(t, "127.0.0.9", config.Probe{Kind: "icmp", Source: netip.MustParseAddr("203.0.113.9")}), Fail, `source 203.0.113.9 is not .*`)
}

// Two probers and a stranger that floods both with replies from the very
// addresses they probe: each is credited its own replies only, and nothing is
// logged (1.2.7, T53).
func TestForeignReplies_T53_Root(t *testing.T) {
	needRaw(t)
	const targets = 100
	m := &config.Model{Probes: []*config.Probe{{Name: "ping", Kind: "icmp", Interval: sec, Timeout: 900 * ms, Rise: 1, Fall: 1}}}
	for i := range targets {
		m.VirtualServers = append(m.VirtualServers, &config.VirtualServer{
			Name: fmt.Sprint(i), Addresses: []netip.Addr{netip.AddrFrom4([4]byte{127, 0, 1, byte(i + 1)})}, Probes: []string{"ping"},
		})
	}
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	var log bytes.Buffer
	results := make(chan Result, 10*targets)
	keep := func(ctx context.Context, task *Task) Result {
		r := probeICMP(ctx, task)
		results <- r
		return r
	}
	wg.Go(func() { flood(ctx, t, "127.0.1.1") })
	for range 2 {
		p := New(status.NewBoard(1), Options{Kinds: map[string]Func{"icmp": keep}, Log: slog.New(slog.NewTextHandler(&log, nil))})
		p.Want(Compile(m))
		wg.Go(func() { p.Run(ctx) })
	}
	for range 2 * targets {
		want(t, <-results, Pass, "reply in .*")
	}
	cancel()
	wg.Wait()
	if log.Len() > 0 {
		t.Errorf("logged: %s", log.String())
	}
}

// flood sends echo replies that nobody asked for, a few thousand a second. More
// than a buffer holds is for TestSieveICMP_T53_Root.
func flood(ctx context.Context, t *testing.T, from string) {
	conn, err := net.DialIP("ip4:icmp", &net.IPAddr{IP: net.ParseIP(from)}, &net.IPAddr{IP: net.ParseIP("127.0.0.1")})
	if err != nil {
		t.Error(err)
		return
	}
	defer conn.Close()
	tick := time.NewTicker(time.Millisecond / 2)
	defer tick.Stop()
	for i := 0; ctx.Err() == nil; i++ {
		<-tick.C
		m := icmp.Message{Type: ipv4.ICMPTypeEchoReply, Body: &icmp.Echo{ID: i & 0xffff, Seq: i & 0xff, Data: make([]byte, 56)}}
		b, err := m.Marshal(nil)
		if err != nil {
			t.Error(err)
			return
		}
		conn.Write(b)
	}
}

// A target that is silent is not saved by a stranger's replies from its
// address: id and sequence agree, the nonce does not.
func TestForgedReply_T53(t *testing.T) {
	e := newEcho(netip.MustParseAddr("192.0.2.1"), 56)
	reply := func(id, seq int, data []byte) []byte {
		m := icmp.Message{Type: ipv4.ICMPTypeEchoReply, Body: &icmp.Echo{ID: id, Seq: seq, Data: data}}
		b, _ := m.Marshal(nil)
		return b
	}
	id, seq := int(e.id), int(e.seq)
	nonce := bytes.Clone(e.payload)
	nonce[0]++
	for name, c := range map[string]struct {
		packet []byte
		peer   string
		want   bool
	}{
		"ours":           {reply(id, seq, e.payload), "192.0.2.1", true},
		"other id":       {reply(id^1, seq, e.payload), "192.0.2.1", false},
		"other sequence": {reply(id, seq^1, e.payload), "192.0.2.1", false},
		"other nonce":    {reply(id, seq, nonce), "192.0.2.1", false},
		"cut short":      {reply(id, seq, e.payload[:40]), "192.0.2.1", false},
		"other peer":     {reply(id, seq, e.payload), "192.0.2.2", false},
		"our request":    {e.request(), "192.0.2.1", false},
		"empty":          {nil, "192.0.2.1", false},
	} {
		if got := e.matches(c.packet, netip.MustParseAddr(c.peer)); got != c.want {
			t.Errorf("%s: %v", name, got)
		}
	}
	e.anyID = true
	if !e.matches(reply(id^1, seq, e.payload), e.peer) {
		t.Error("a ping socket's reply carries the kernel's id")
	}
}

func FuzzEchoMatch(f *testing.F) {
	four, six := newEcho(netip.MustParseAddr("192.0.2.1"), 24), newEcho(netip.MustParseAddr("2001:db8::1"), 24)
	f.Add(four.request(), true)
	f.Add(six.request(), false)
	f.Add([]byte{0, 0, 0, 0, 0, 0, 0, 0}, true)
	f.Fuzz(func(t *testing.T, packet []byte, v4 bool) {
		e := six
		if v4 {
			e = four
		}
		// The nonce is random, so no made-up packet may match.
		if e.matches(packet, e.peer) && !bytes.Contains(packet, e.payload) {
			t.Errorf("matched %x", packet)
		}
	})
}
