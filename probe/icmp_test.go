package probe

import (
	"bytes"
	"context"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"testing"

	"golang.org/x/net/icmp"
	"golang.org/x/net/ipv4"

	"github.com/portolan-lb/portolan/config"
	"github.com/portolan-lb/portolan/status"
)

func TestICMP(t *testing.T) {
	needRaw(t)
	want(t, probeOnce(t, "127.0.0.1", config.Probe{Kind: "icmp"}), Pass, `reply in [0-9.]+ ms`)
	want(t, probeOnce(t, "::1", config.Probe{Kind: "icmp", Size: 1400}), Pass, `reply in [0-9.]+ ms`)
	want(t, probeOnce(t, "127.0.0.9", config.Probe{Kind: "icmp", Source: netip.MustParseAddr("127.0.0.8")}), Pass, `reply in .*`)
	want(t, probeOnce(t, "127.0.0.9", config.Probe{Kind: "icmp", Source: netip.MustParseAddr("203.0.113.9")}), Fail, `source 203.0.113.9 is not .*`)
}

// Two probers and a stranger that floods both with replies of other ids, other
// nonces and from other peers: each is credited its own replies only, and
// nothing is logged (1.2.7, T53). 100 targets each answer; the last is silent.
func TestForeignReplies_T53(t *testing.T) {
	needRaw(t)
	var log bytes.Buffer
	m := &config.Model{Probes: []*config.Probe{{Name: "ping", Kind: "icmp", Interval: sec, Timeout: 300 * ms, Rise: 1, Fall: 1}}}
	for i := range 100 {
		m.VirtualServers = append(m.VirtualServers, &config.VirtualServer{
			Name: "v" + string(rune('A'+i)), Addresses: []netip.Addr{netip.AddrFrom4([4]byte{127, 0, 1, byte(i + 1)})}, Probes: []string{"ping"},
		})
	}
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	wg.Go(func() { flood(ctx, t, "127.0.1.1") })
	for range 2 {
		first := make(chan struct{}, 1000)
		counted := func(ctx context.Context, task *Task) Result {
			defer func() { first <- struct{}{} }()
			return probeICMP(ctx, task)
		}
		p := New(status.NewBoard(1), Options{Kinds: map[string]Func{"icmp": counted}, Log: slog.New(slog.NewTextHandler(&log, nil))})
		p.Want(Compile(m))
		wg.Go(func() { p.Run(ctx) })
		defer func() {
			for range 100 {
				<-first
			}
			if n := p.Stats().Results["icmp"]; n.Fail > 0 || n.Void > 0 || n.Pass < 99 {
				t.Errorf("results %+v; log %s", n, log.String())
			}
		}()
	}
}

// flood sends echo replies that nobody asked for to 127.0.0.1.
func flood(ctx context.Context, t *testing.T, from string) {
	conn, err := net.Dial("ip4:icmp", "127.0.0.1")
	if err != nil {
		t.Error(err)
		return
	}
	defer conn.Close()
	for i := 0; ctx.Err() == nil; i++ {
		m := icmp.Message{Type: ipv4.ICMPTypeEchoReply, Body: &icmp.Echo{ID: i & 0xffff, Seq: i & 0xff, Data: make([]byte, 56)}}
		b, _ := m.Marshal(nil)
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

// Silence lasts until the timeout, whatever else arrives.
func TestICMPSilence(t *testing.T) {
	needRaw(t)
	// A packet to a raw socket's own blackhole: 240.0.0.0/4 is never answered.
	r := probeOnce(t, "240.0.0.1", config.Probe{Kind: "icmp", Timeout: 50 * ms})
	if r.Outcome != Fail {
		t.Errorf("got %s %q", r.Outcome, r.Saw)
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

