package proximity

import (
	"bytes"
	"context"
	"errors"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/net/dns/dnsmessage"
	"golang.org/x/net/icmp"
	"golang.org/x/net/ipv4"
	"golang.org/x/sys/unix"

	"github.com/portolan-lb/portolan/config"
	"github.com/portolan-lb/portolan/probe"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// generous is for what must answer, hasty for what will not.
const (
	generous = 5 * time.Second
	hasty    = 60 * time.Millisecond
)

// The methods that there are are the words that a configuration may use.
func TestMethodsAreWords(t *testing.T) {
	names := slices.Sorted(maps.Keys(methods))
	for _, name := range append(names, "bogus") {
		_, errs := config.LoadBytes([]byte("version: 1\nproximity: {methods: ["+name+"]}\n"), config.Source{FS: fstest.MapFS{}, Dir: ".", Name: "portolan.yaml"})
		var text string
		for _, err := range errs {
			text += err.Text
		}
		if good := !strings.Contains(text, "is not one of"); good != (name != "bogus") {
			t.Errorf("%s: %v", name, errs)
		}
		_, list, _ := strings.Cut(text, "is not one of: ")
		words := strings.FieldsFunc(list, func(r rune) bool { return r == ',' || r == ' ' })
		if slices.Sort(words); name == "bogus" && !slices.Equal(words, names) {
			t.Errorf("the words are %v, the methods %v", words, names)
		}
	}
}

func TestHopsOf(t *testing.T) {
	for ttl, want := range map[int]int{0: 0, 64: 1, 63: 2, 50: 15, 128: 1, 117: 12, 255: 1, 129: 127, 1: 64} {
		if got := hopsOf(ttl); got != want {
			t.Errorf("TTL %d: %d hops, want %d", ttl, got, want)
		}
	}
}

// answering is a target that answers each method.
var answering = map[string][]host{
	"icmp": {{echo: true}},
	"tcp":  {{tcp: flagSYNACK}, {tcp: flagRST}},
	"dns":  {{dns: refusal}},
	"udp":  {{unreachable: true}},
}

// refusal answers a query by REFUSED.
func refusal(query []byte) []byte {
	var m dnsmessage.Message
	if m.Unpack(query) != nil {
		return nil
	}
	m.Response, m.RCode = true, dnsmessage.RCodeRefused
	b, err := m.Pack()
	if err != nil {
		panic(err)
	}
	return b
}

// Each method measures the round trip time and the hops, in both families, over
// the link that it is told and no other (T52), with few packets. Of two targets
// the farther one measures farther.
func TestMethods_T52_Root(t *testing.T) {
	b := newBench(t)
	most := map[string]int{"icmp": 1, "tcp": 3, "dns": 1, "udp": 1} // packets, when the first is answered
	asked, sent := 0, 0
	for name, run := range methods {
		for _, target := range both {
			for _, h := range answering[name] {
				for _, delay := range []time.Duration{5 * time.Millisecond, 80 * time.Millisecond} {
					b.links[1].set(func(n *internet) { n.host, n.delay, n.routers = h, delay, routersTo(target, 6) })
					s, n, err := b.run(run, target, generous)
					asked += n
					// On a busy machine the played internet may be late.
					for try := 0; try < 5 && err == nil && s.RTT > delay+20*time.Millisecond; try++ {
						s, n, err = b.run(run, target, generous)
						asked += n
					}
					if err != nil || s.RTT < delay || s.RTT > delay+20*time.Millisecond || s.Hops != 7 || s.Via != target {
						t.Errorf("%s, %s, %+v: want %s and 7 hops, got %+v, %v", name, target, h, delay, s, err)
					}
					if n > most[name] {
						t.Errorf("%s: %d packets were asked for", name, n)
					}
					// All together, for what ends a connection is seen later.
					if sent += len(b.links[1].sent(target)); sent == 0 || sent > asked {
						t.Errorf("%s: %d packets were sent, %d asked for", name, sent, asked)
					}
					if astray := len(b.links[0].sent(target)); astray != 0 {
						t.Errorf("%s: %d packets left by the other link", name, astray)
					}
				}
			}
		}
	}
}

// A silent target costs a bounded number of packets, at most 12 a method.
func TestSilence_Root(t *testing.T) {
	b := newBench(t)
	for name, run := range methods {
		for _, target := range both {
			b.links[1].set(func(n *internet) { n.host, n.routers = host{}, make([]netip.Addr, 9) })
			s, asked, err := b.run(run, target, hasty)
			if err == nil {
				t.Errorf("%s: measured %+v", name, s)
			}
			if sent := len(b.links[1].sent(target)); sent == 0 || sent > asked || asked > 12 {
				t.Errorf("%s: %d packets were sent, %d asked for", name, sent, asked)
			}
		}
	}
}

// Where the target is silent the router before it, in the client network, is
// near enough; one in another network is not.
func TestNearestRouter_Root(t *testing.T) {
	b := newBench(t)
	for _, target := range both {
		for _, n := range []int{1, 3, 4, 10, 28, 31} {
			routers := routersTo(target, n)
			b.links[1].set(func(w *internet) { w.host, w.routers, w.delay = host{}, routers, 10*time.Millisecond })
			s, asked, err := b.run(measureUDP, target, 200*time.Millisecond)
			for try := 0; try < 3 && err != nil; try++ { // a busy machine
				s, asked, err = b.run(measureUDP, target, time.Second)
			}
			if err != nil || s.Via != routers[n-1] || s.Hops != n || s.RTT < 10*time.Millisecond {
				t.Errorf("%s behind %d routers: %+v, %v", target, n, s, err)
			}
			if asked > 12 {
				t.Errorf("%d packets", asked)
			}
			if n < 3 {
				continue
			}
			b.links[1].set(func(w *internet) { w.routers[n-1] = w.routers[0] })
			if s, _, err := b.run(measureUDP, target, hasty); err == nil {
				t.Errorf("%s: a router elsewhere counts: %+v", target, s)
			}
		}
	}
}

// "Port unreachable" from somebody else, a firewall on the way, is the target's
// distance only if it stands in its network.
func TestRejectedOnTheWay_Root(t *testing.T) {
	b := newBench(t)
	for _, target := range both {
		routers := routersTo(target, 4)
		for _, c := range []struct {
			by   netip.Addr
			good bool
		}{{routers[3], true}, {routers[1], false}} {
			b.links[1].set(func(w *internet) { w.host, w.routers = host{unreachable: true, by: c.by}, routers })
			s, asked, err := b.run(measureUDP, target, generous)
			if (err == nil) != c.good || c.good && s.Via != c.by {
				t.Errorf("%s: %+v, %v", c.by, s, err)
			}
			if asked != 1 {
				t.Errorf("%d packets though the first was answered", asked)
			}
		}
	}
}

// Answers that are not to our packets are dropped without a word: a silent
// target stays silent though others' answers come from its very address (1.2.7,
// T53). One forgery a run, for an error would hide what comes after it.
func TestForeignAnswers_T53_Root(t *testing.T) {
	b := newBench(t)
	for name, forgeries := range map[string][]forgery{
		"icmp": {{host{echo: true}, 5}, {host{echo: true}, 7}, {host{echo: true}, 8}, {host{echo: true}, 31}}, // id, sequence, nonce, the rest
		"tcp":  {{host{tcp: flagRST}, 1}, {host{tcp: flagSYNACK}, 1}, {host{tcp: flagRST}, 3}, {host{tcp: flagSYNACK}, 3}, {host{tcp: flagRST}, 7}},
		"dns":  {{host{dns: refusal}, 1}, {host{dns: refusal}, 8}, {host{dns: refusal}, 9}}, // port, id
		"udp":  {{host{unreachable: true}, 1}, {host{unreachable: true}, 2}, {host{unreachable: true}, 8}, {host{unreachable: true}, 23}},
	} {
		for _, f := range forgeries {
			for _, target := range both {
				b.links[1].set(func(n *internet) {
					n.host, n.routers = host{}, make([]netip.Addr, 5)
					n.replay = func(p packet) [][]byte { return f.answer(n, p) }
				})
				if s, _, err := b.run(methods[name], target, hasty/2); err == nil {
					t.Errorf("%s: an answer to what differs in octet %d counts: %+v", name, f.octet, s)
				}
				if got := len(b.links[1].sent(target)); got == 0 {
					t.Errorf("%s sent nothing", name)
				}
			}
		}
	}
}

// forgery is what a host answers to a packet that differs in one octet of its
// payload.
type forgery struct {
	host
	octet int
}

func (f forgery) answer(n *internet, p packet) [][]byte {
	p.raw = bytes.Clone(p.raw)
	p.payload = p.raw[len(p.raw)-len(p.payload):]
	if f.octet >= len(p.payload) {
		return nil
	}
	p.payload[f.octet] ^= 1
	was := n.host
	defer func() { n.host = was }()
	n.host = f.host
	if r := n.hostReply(p); r != nil {
		return [][]byte{r}
	}
	return nil
}

// "Connection refused" that a router's ICMP message leads to is not the
// target's RST.
func TestRefusedByRouter_T53_Root(t *testing.T) {
	b := newBench(t)
	b.links[1].set(func(n *internet) {
		n.routers = routersTo(bench4, 3)
		n.replay = func(p packet) [][]byte {
			m := icmp.Message{Type: ipv4.ICMPTypeDestinationUnreachable, Code: 3, Body: &icmp.DstUnreach{Data: p.raw}}
			return [][]byte{n.pack(n.routers[1], p.src, 2, 1, marshal(&m, n.routers[1], p.src))}
		}
	})
	s, _, err := b.run(measureTCP, bench4, generous)
	if err == nil || !strings.Contains(err.Error(), "not by the target") {
		t.Errorf("%+v, %v", s, err)
	}
}

// Without CAP_NET_RAW a distance is measured all the same: icmp by a ping
// socket, tcp without hops.
func TestWithoutCapability_Root(t *testing.T) {
	b := newBench(t)
	b.Set("ipv4/ping_group_range", "0 0")
	b.Do(func() {
		header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
		var data [2]unix.CapUserData
		if err := unix.Capget(&header, &data[0]); err != nil {
			t.Error(err)
		}
		data[0].Effective &^= 1 << unix.CAP_NET_RAW
		if err := unix.Capset(&header, &data[0]); err != nil {
			t.Error(err)
		}
	})
	for name, run := range methods {
		for _, target := range both {
			for _, h := range answering[name] {
				b.links[1].set(func(n *internet) { n.host, n.routers = h, routersTo(target, 6) })
				s, _, err := b.run(run, target, generous)
				hops := 7
				if name == "tcp" {
					hops = 0
				}
				if err != nil || s.RTT <= 0 || s.Hops != hops {
					t.Errorf("%s, %s, %+v: %+v, %v", name, target, h, s, err)
				}
			}
		}
	}
}

// A method ends when its context does, whatever it waits for.
func TestStopInTime_Root(t *testing.T) {
	b := newBench(t)
	b.links[1].set(func(n *internet) { n.routers = make([]netip.Addr, 5) })
	for name, run := range methods {
		ctx, cancel := context.WithCancel(t.Context())
		p := Path{Pin: probe.Pin{Device: "wan1"}, Prefix: networkOf(bench4), Port: 53, Wait: time.Minute, Spend: func(ctx context.Context, _ int) error { return ctx.Err() }}
		time.AfterFunc(20*time.Millisecond, cancel)
		start := time.Now()
		b.Do(func() {
			if s, err := run(ctx, p, bench4); err == nil {
				t.Errorf("%s: %+v", name, s)
			}
		})
		if d := time.Since(start); d > 5*time.Second {
			t.Errorf("%s took %s to stop", name, d)
		}
	}
}

// A link whose interface or source address is gone yields nothing, and it is not
// taken for another's answer.
func TestLinkGone_T52_Root(t *testing.T) {
	b := newBench(t)
	for _, n := range b.links {
		n.set(func(n *internet) { n.host = host{echo: true, unreachable: true, tcp: flagSYNACK, dns: refusal} })
	}
	for name, run := range methods {
		for _, pin := range []probe.Pin{{Device: "wan7"}, {Source: netip.MustParseAddr("198.51.100.66")}, {Device: "wan0", Source: netip.MustParseAddr("198.51.100.66")}} {
			p := Path{Pin: pin, Prefix: networkOf(bench4), Port: 53, Wait: generous, Spend: func(ctx context.Context, _ int) error { return ctx.Err() }}
			b.Do(func() {
				if s, err := run(t.Context(), p, bench4); err == nil || isTimeout(err) || errors.Is(err, errSilent) {
					t.Errorf("%s by %+v: %+v, %v", name, pin, s, err)
				}
			})
		}
	}
	for i, n := range b.links {
		if sent := n.sent(bench4); len(sent) != 0 {
			t.Errorf("%d packets left by link %d", len(sent), i)
		}
	}
}
