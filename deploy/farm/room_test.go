package farm

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
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
// So it is without the program, only later.
func TestB04_RoomAgain_Root(t *testing.T) {
	t.Parallel()
	b := before(t, farm(t, nettest.FarmLayout{}))
	const each, patience = 5, 30 * time.Second
	b.use(setup{Farm: b.Farm, farm: ", algorithm: random", server: map[int]string{0: fmt.Sprintf(", maxConnections: %d", each)}})
	b.takes(time.Second, b.to4(1, 80), 1, 2, 3)
	c, next := crowd{open: map[int][]*nettest.Talk{}, most: each}, 0
	fill := func(what string, route nettest.Route) {
		t.Helper()
		took := b.Until(patience, func() error {
			for c.String() != "5 5 5" {
				next++
				from, to := route(next)
				talk, err := nettest.Call(b.Clients, from, to, 500*time.Millisecond)
				if err != nil {
					return fmt.Errorf("%s: refused at %s: %w", what, &c, err)
				}
				c.enters(talk)
			}
			return nil
		})
		t.Logf("%s: all are full after %s", what, took)
	}
	full := func(what string, route nettest.Route) {
		t.Helper()
		if s := b.Connect(3, route); s.OK() > 0 {
			t.Errorf("%s: all are full, and take %v", what, s)
		}
	}
	end := func(host int) {
		for _, talk := range slices.Clone(c.open[host]) {
			c.leaves(talk)
			_ = talk.Close()
		}
	}
	for name, route := range b.twins(1, 80) {
		fill(name, route)
		for host := 1; host <= 3; host++ {
			end(host)
			fill(fmt.Sprintf("%s, those of host %d have ended", name, host), route)
		}
		full(name, route)
		end(2)
	}
	fill("as before", b.to4(1, 80))
	b.Kill()
	end(2)
	fill("without the program", b.to4(1, 80))
	full("without the program", b.to4(1, 80))
	for host := range 3 {
		end(host + 1)
	}
	if len(c.wrong) > 0 {
		t.Error(c.wrong)
	}
}

// The same under churn, of TCP and UDP and both families at once, with connections
// that live for a moment and such that stay: while there is room somewhere whoever
// comes is taken, and nobody ever has more than he may.
func TestB04_RoomChurn_Root(t *testing.T) {
	t.Parallel()
	b := before(t, farm(t, nettest.FarmLayout{}))
	const each, streams, flows = 5, 8, 4 // 12 at once, where 15 may be
	b.Set("netfilter/nf_conntrack_udp_timeout", "3")
	b.Set("netfilter/nf_conntrack_udp_timeout_stream", "3")
	b.use(setup{Farm: b.Farm, farm: ", algorithm: random", server: map[int]string{0: fmt.Sprintf(", maxConnections: %d", each)}})
	b.takes(time.Second, b.to4(1, 80), 1, 2, 3)
	c := crowd{open: map[int][]*nettest.Talk{}, most: each}
	end := time.Now().Add(8 * time.Second)
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
		for began := time.Now(); time.Since(began) < 30*time.Second; {
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
			}, 3500*time.Millisecond) // Linux takes a flow for alive three seconds more, as set above
		})
	}
	wg.Wait()
	t.Logf("%d connections, %d refused before, the longest wait %s", count.Load(), refused.Load(), time.Duration(longest.Load()))
	if len(c.wrong) > 0 {
		t.Errorf("%d times: %v", len(c.wrong), c.wrong[0])
	}
}
