package farm

import (
	"errors"
	"fmt"
	"math"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/portolan-lb/portolan/api"
	"github.com/portolan-lb/portolan/nettest"
)

// stream is datagrams of one client, with what was sent and what came back, in
// octets of IP packets.
type stream struct {
	sent, back atomic.Int64
	payload    int // of each
	began      time.Time
	stop       func()
}

// packet is how long each of them is, as IP packets.
const packet = 1200

// stream sends so many bits a second, or what the machine is able to, until the
// test ends or it is stopped. Servers answer, or only count.
func (b *balancer) stream(from netip.Addr, to netip.AddrPort, bits int, answered bool) *stream {
	b.T.Helper()
	talk, err := b.UDP(from, to)
	if err != nil {
		b.T.Fatal(err)
	}
	headers := 28
	if from.Is6() {
		headers = 48
	}
	payload := make([]byte, packet-headers)
	s := &stream{payload: len(payload), began: time.Now()}
	if !answered {
		payload[0] = '!'
	}
	done := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		tick := time.NewTicker(5 * time.Millisecond)
		defer tick.Stop()
		due, last := 0., s.began
		for {
			select {
			case <-done:
				return
			case now := <-tick.C:
				due = min(due+now.Sub(last).Seconds()*float64(bits)/8, float64(bits)/80) // what a slow machine did not do is not made up for
				last = now
			}
			for ; due >= packet; due -= packet {
				if _, err := talk.Write(payload); err == nil { // an error is an ICMP message about one before
					s.sent.Add(packet)
				}
			}
		}
	})
	wg.Go(func() {
		for buf := make([]byte, 2048); ; {
			n, err := talk.Read(buf)
			switch {
			case err == nil:
				s.back.Add(int64(n + headers))
			case errors.Is(err, net.ErrClosed):
				return
			}
		}
	})
	s.stop = sync.OnceFunc(func() { close(done); talk.Close(); wg.Wait() })
	b.T.Cleanup(s.stop)
	return s
}

// Those that go by what is measured: how soon probes are answered, and what
// remains of rateLimit (T26, T27). Who is slow, or carries much, gets less.
func TestB02_Measured_Root(t *testing.T) {
	t.Parallel()
	b := before(t, farm(t, nettest.FarmLayout{}))
	// Each server has a farm of its own, too, for a stream of datagrams that it carries.
	limits := map[int]string{1: ", rateLimit: {in: 20Mbps}", 2: ", rateLimit: {in: 18Mbps}", 3: ", weight: 2, rateLimit: {in: 16Mbps}"}
	with := func(algorithm string, limits map[int]string) setup {
		s := setup{Farm: b.Farm, farm: ", algorithm: " + algorithm, server: limits, probe: "kind: tcp, expect: \":80 \", interval: 500ms, timeout: 450ms, rise: 2, fall: 10"}
		for n, h := range b.Hosts {
			s.virtual += virtual(fmt.Sprint("only", n+1), b.Farm, 11+n, "80", fmt.Sprint("type: udp, farm: only", n+1))
			s.farms += fmt.Sprintf("  - {name: only%d, servers: [{name: h, addresses: [%s, \"%s\"], port: 80%s}]}\n", n+1, h.Addr4, h.Addr6, limits[n+1])
		}
		return s
	}
	load := func(host int) *stream {
		_, to := b.to(10+host, 80)(0)
		return b.stream(b.client(host), to, 12_000_000, false)
	}
	// shares gives what servers should have by weight and by what remains of their
	// limits, once they have it.
	shares := func(loaded int) (list []float64, err error) {
		sum := 0.
		var have [3]float64
		for n := range have {
			s, err := b.server("web", fmt.Sprint("h", n+1))
			if err != nil {
				return nil, err
			}
			if s.Load.In == nil || s.Load.In.Remaining == nil || s.Load.In.Rate == nil {
				return nil, fmt.Errorf("what remains of h%d is not known", n+1)
			}
			if carries := *s.Load.In.Rate > 6e6; carries != (n+1 == loaded) {
				return nil, fmt.Errorf("%.0f bits a second flow to h%d, and host %d carries a stream", *s.Load.In.Rate, n+1, loaded)
			}
			list, have[n] = append(list, float64(s.Weight)**s.Load.In.Remaining), s.Share
			sum += list[n]
		}
		for n := range have {
			if due := 100 * list[n] / sum; math.Abs(have[n]-due) > 4 {
				return nil, fmt.Errorf("h%d has %.1f %% of the slots, want %.1f", n+1, have[n], due)
			}
		}
		return list, nil
	}
	b.use(with("least-time", nil))
	for _, slow := range []int{1, 2} {
		b.Hosts[slow-1].Slow(200 * time.Millisecond)
		b.becomes("web", fmt.Sprint("h", slow), "slow", func(s api.RealServer) bool { return s.Latency != nil && *s.Latency > 0.19 && s.Share == 0 })
		b.Until(late, func() error {
			s := b.InTurn(60, b.to(1, 80))
			if s.Failed > 0 || s.By[slow] > 0 {
				return fmt.Errorf("host %d is slow, and connections go %v", slow, s)
			}
			return nil
		})
		b.Hosts[slow-1].Slow(0)
		b.becomes("web", fmt.Sprint("h", slow), "quick", func(s api.RealServer) bool { return s.Latency != nil && *s.Latency < 0.1 })
	}
	b.use(with("bandwidth, direction: in", limits))
	for _, loaded := range []int{0, 1} {
		if loaded > 0 {
			defer load(loaded).stop()
		}
		b.Until(late, func() error {
			due, err := shares(loaded)
			if err != nil {
				return err
			}
			return uneven(b.InTurn(128, b.to(1, 80)), 0.06, due...)
		})
	}
	// Host 1 has most of 20, but for the stream; then host 2 has; then who is left.
	b.use(with("max-bandwidth, direction: in", limits))
	b.takes(time.Second, b.to(1, 80), 2)
	b.hold("h2", true)
	b.takes(time.Second, b.to(1, 80), 3)
}
