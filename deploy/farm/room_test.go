package farm

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/portolan-lb/portolan/nettest"
)

// crowd is connections that are open, by host.
type crowd struct {
	mu    sync.Mutex
	open  map[int][]*nettest.Talk
	most  int
	wrong []string
}

// enters notes a connection that is open.
func (c *crowd) enters(t *nettest.Talk) {
	c.mu.Lock()
	defer c.mu.Unlock()
	at := t.First.Host
	c.open[at] = append(c.open[at], t)
	if n := len(c.open[at]); n > c.most {
		c.wrong = append(c.wrong, fmt.Sprintf("host %d has %d, and may have %d", at, n, c.most))
	}
}

// leaves notes that a connection is about to end.
func (c *crowd) leaves(t *nettest.Talk) {
	c.mu.Lock()
	defer c.mu.Unlock()
	list := c.open[t.First.Host]
	for i := range list {
		if list[i] == t {
			c.open[t.First.Host] = append(list[:i:i], list[i+1:]...)
			return
		}
	}
}

func (c *crowd) String() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return fmt.Sprintf("%d %d %d", len(c.open[1]), len(c.open[2]), len(c.open[3]))
}

// A server whose connections have ended takes new ones up to its limit, whoever it
// passed on before and wherever those are now; and no server has more, ever (ADR 24).
func TestB04_RoomAgain_Root(t *testing.T) {
	t.Parallel()
	b := before(t, farm(t, nettest.FarmLayout{}))
	const each = 5
	limit := setup{Farm: b.Farm, farm: ", algorithm: random", server: map[int]string{0: fmt.Sprintf(", maxConnections: %d", each)}}
	b.use(limit)
	b.takes(time.Second, b.to4(1, 80), 1, 2, 3)
	for name, route := range b.twins(1, 80) {
		c := crowd{open: map[int][]*nettest.Talk{}, most: each}
		next := 0
		fill := func(n int) {
			t.Helper()
			for range n {
				next++
				from, to := route(next)
				talk, err := nettest.Call(b.Clients, from, to, nettest.Patience)
				if err != nil {
					t.Fatalf("%s: refused at %s: %v", name, &c, err)
				}
				c.enters(talk)
			}
		}
		b.Until(late+nettest.Patience, func() error { // none of those before is left
			if s := b.Connect(9, route); s.Failed > 0 {
				return s.Err
			}
			return nil
		})
		fill(3 * each)
		for host := range 3 {
			for range 3 {
				ended := append([]*nettest.Talk(nil), c.open[host+1]...)
				for _, talk := range ended {
					c.leaves(talk)
					_ = talk.Close()
				}
				began := time.Now()
				fill(each)
				t.Logf("%s: host %d has room again and is full after %s", name, host+1, time.Since(began))
				if got := c.String(); got != "5 5 5" {
					t.Fatalf("%s: after those of host %d ended and as many came: %s", name, host+1, got)
				}
			}
		}
		if s := b.Connect(3, route); s.OK() > 0 {
			t.Errorf("%s: all are full, and take %v", name, s)
		}
		for _, list := range c.open {
			for _, talk := range list {
				_ = talk.Close()
			}
		}
		if len(c.wrong) > 0 {
			t.Errorf("%s: %v", name, c.wrong)
		}
	}
}

// The same under churn, of TCP and UDP and both families at once, with connections
// that live for a moment and such that stay: while there is room somewhere whoever
// comes is taken, and nobody ever has more than he may.
func TestB04_RoomChurn_Root(t *testing.T) {
	t.Parallel()
	b := before(t, farm(t, nettest.FarmLayout{}))
	const each, streams, flows = 5, 8, 4 // 12 at once, where 15 may be
	b.Set("netfilter/nf_conntrack_udp_timeout", "1")
	b.Set("netfilter/nf_conntrack_udp_timeout_stream", "1")
	b.use(setup{Farm: b.Farm, farm: ", algorithm: random", server: map[int]string{0: fmt.Sprintf(", maxConnections: %d", each)}})
	b.takes(time.Second, b.to4(1, 80), 1, 2, 3)
	b.Until(late+nettest.Patience, func() error { // those have ended
		held, opened := b.Hold(3*each, 0, b.to4(1, 80))
		held.Close()
		if opened.Failed > 0 {
			return opened.Err
		}
		return nil
	})
	c := crowd{open: map[int][]*nettest.Talk{}, most: each}
	end := time.Now().Add(6 * time.Second)
	var wg sync.WaitGroup
	var count, longest, refused atomic.Int64
	life := func(r *rand.Rand) time.Duration {
		if r.IntN(8) == 0 {
			return time.Duration(r.IntN(2000)) * time.Millisecond
		}
		return time.Duration(r.IntN(60)) * time.Millisecond
	}
	churn := func(i int, open func(r *rand.Rand) (*nettest.Talk, error), stay func(*nettest.Talk, time.Duration) error, after time.Duration) {
		r := rand.New(rand.NewPCG(uint64(i), 1))
		for time.Now().Before(end) {
			began := time.Now()
			talk, err := open(r)
			if err != nil {
				t.Errorf("refused after %s at %s, where 15 may be: %v", time.Since(began), &c, err)
				return
			}
			count.Add(1)
			longest.Store(max(longest.Load(), int64(time.Since(began))))
			c.enters(talk)
			err = stay(talk, life(r))
			c.leaves(talk)
			if err := errors.Join(err, talk.Close()); err != nil {
				t.Error(err)
			}
			b.Pause(after)
		}
	}
	// Who comes in the moment after another one went may be refused, and comes again,
	// sooner than TCP itself would.
	again := func(try func() (*nettest.Talk, error)) (talk *nettest.Talk, err error) {
		for began := time.Now(); time.Since(began) < 10*time.Second; {
			if talk, err = try(); err == nil {
				return talk, nil
			}
			refused.Add(1)
		}
		return nil, err
	}
	wait := func(_ *nettest.Talk, d time.Duration) error { b.Pause(d); return nil }
	route := func(r *rand.Rand) nettest.Route {
		if r.IntN(2) == 0 {
			return b.to4(1, 80)
		}
		return b.to6(1, 80)
	}
	for i := range streams {
		wg.Go(func() {
			churn(i, func(r *rand.Rand) (*nettest.Talk, error) {
				from, to := route(r)(r.IntN(clients))
				return again(func() (*nettest.Talk, error) { return nettest.Call(b.Clients, from, to, 500*time.Millisecond) })
			}, wait, 0)
		})
	}
	for i := range flows {
		wg.Go(func() {
			churn(streams+i, func(r *rand.Rand) (*nettest.Talk, error) {
				from, to := route(r)(r.IntN(clients))
				talk, err := b.UDP(from, to)
				if err != nil {
					return nil, err
				}
				return again(func() (*nettest.Talk, error) {
					_, err := talk.SayWithin("hello", 500*time.Millisecond)
					return talk, err
				})
			}, func(talk *nettest.Talk, d time.Duration) (err error) {
				for ; d > 0 && err == nil; d -= 200 * time.Millisecond {
					_, err = talk.Say("again")
					b.Pause(min(d, 200*time.Millisecond))
				}
				return err
			}, 1500*time.Millisecond) // Linux takes a flow for alive a second more, as set above
		})
	}
	wg.Wait()
	t.Logf("%d connections, %d refused before, the longest wait %s", count.Load(), refused.Load(), time.Duration(longest.Load()))
	if len(c.wrong) > 0 {
		t.Errorf("%d times: %v", len(c.wrong), c.wrong[0])
	}
}
