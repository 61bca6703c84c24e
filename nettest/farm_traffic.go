package nettest

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// Spread is what became of many connections or flows, as the servers saw them.
type Spread struct {
	By     []int                  // by host; 0: by none of the farm
	At     map[netip.AddrPort]int // by the server's address
	Source map[netip.Addr]int     // by the client's, as the server sees it
	Failed int
	Err    error         // of one that failed
	Median time.Duration // of how long they took that did not fail
	P99    time.Duration
}

// OK says how many did not fail.
func (s Spread) OK() (n int) {
	for _, by := range s.By {
		n += by
	}
	return n
}

func (s Spread) String() string {
	if s.Failed > 0 {
		return fmt.Sprintf("%v, %d failed (%v)", s.By[1:], s.Failed, s.Err)
	}
	return fmt.Sprint(s.By[1:])
}

// Many calls one n times, from so many goroutines, and counts who answered.
func (f *Farm) Many(n, side int, one func(i int) (Seen, error)) Spread {
	s := Spread{By: make([]int, len(f.Hosts)+1), At: map[netip.AddrPort]int{}, Source: map[netip.Addr]int{}}
	var took []time.Duration
	var mu sync.Mutex
	var next atomic.Int64
	var wg sync.WaitGroup
	for range min(n, side) {
		wg.Go(func() {
			for {
				i := int(next.Add(1)) - 1
				if i >= n {
					return
				}
				began := time.Now()
				seen, err := one(i)
				mu.Lock()
				if err != nil {
					s.Failed++
					s.Err = err
				} else {
					s.add(seen)
					took = append(took, time.Since(began))
				}
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	if len(took) > 0 {
		slices.Sort(took)
		s.Median, s.P99 = took[len(took)/2], took[len(took)*99/100]
	}
	return s
}

func (s *Spread) add(seen Seen) {
	s.By[seen.Host]++
	s.At[seen.At]++
	s.Source[seen.Source.Addr()]++
}

// Connect makes n TCP connections of clients, one exchange each.
func (f *Farm) Connect(n int, route Route) Spread {
	return f.Many(n, workers, func(i int) (Seen, error) {
		from, to := route(i)
		return f.visit(from, to)
	})
}

// InTurn is Connect, one after the other.
func (f *Farm) InTurn(n int, route Route) Spread {
	return f.Many(n, 1, func(i int) (Seen, error) {
		from, to := route(i)
		return f.visit(from, to)
	})
}

// Burst is Connect, all at once.
func (f *Farm) Burst(n int, route Route) Spread {
	return f.Many(n, n, func(i int) (Seen, error) {
		from, to := route(i)
		return f.visit(from, to)
	})
}

func (f *Farm) visit(from netip.Addr, to netip.AddrPort) (Seen, error) {
	t, err := f.TCP(from, to)
	if err != nil {
		return Seen{}, err
	}
	return t.First, t.Close()
}

// Flows makes n UDP flows of clients, with so many exchanges each. One whose
// server changes has failed.
func (f *Farm) Flows(n, exchanges int, route Route) Spread {
	return f.Many(n, workers, func(i int) (Seen, error) {
		from, to := route(i)
		t, err := f.UDP(from, to)
		if err != nil {
			return Seen{}, err
		}
		defer t.Close()
		for k := range exchanges {
			now, err := t.Say(fmt.Sprintf("hello %d", k))
			if err != nil {
				return now, err
			}
			if now != t.First {
				return now, fmt.Errorf("%s to %s: %v, then %v", from, to, t.First, now)
			}
		}
		return t.First, nil
	})
}

// Held are connections that stay open, each with numbered messages to and fro
// that are compared octet by octet.
type Held struct {
	f     *Farm
	Talks []*Talk // nil where one did not open
	By    []int   // by host, as they opened
	every time.Duration
	stop  chan struct{}
	wg    sync.WaitGroup
	ended sync.Once

	mu   sync.Mutex
	said int
	gap  time.Duration
	lost []error
	bad  []error
}

// Hold opens n TCP connections that stay open. With a pause, each says
// something as often, from now on; 0: nobody does. They are closed with the
// test.
func (f *Farm) Hold(n int, every time.Duration, route Route) (*Held, Spread) {
	f.t.Helper()
	moreFiles(f.t, n+2000)
	h := &Held{f: f, Talks: make([]*Talk, n), every: every, stop: make(chan struct{})}
	opened := f.Many(n, workers, func(i int) (Seen, error) {
		from, to := route(i)
		t, err := f.TCP(from, to)
		if err != nil {
			return Seen{}, err
		}
		h.Talks[i] = t
		return t.First, nil
	})
	h.By = opened.By
	f.t.Cleanup(func() {
		h.Stop()
		for _, t := range h.Talks {
			if t != nil {
				_ = t.Close()
			}
		}
	})
	if every > 0 {
		for i, t := range h.Talks {
			if t != nil {
				h.wg.Go(func() { h.converse(i, t) })
			}
		}
	}
	return h, opened
}

// moreFiles lets this process open so many files.
func moreFiles(t testing.TB, n int) {
	t.Helper()
	var was unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &was); err != nil {
		t.Fatal(err)
	}
	if was.Cur >= uint64(n) {
		return
	}
	more := unix.Rlimit{Cur: uint64(n), Max: max(was.Max, uint64(n))}
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &more); err != nil {
		Missing(t, "needs %d open files: %v", n, err)
	}
}

// converse keeps one connection talking.
func (h *Held) converse(i int, t *Talk) {
	first := time.NewTimer(time.Duration(rand.Int64N(int64(h.every))))
	defer first.Stop()
	select {
	case <-h.stop:
		return
	case <-first.C:
	}
	tick := time.NewTicker(h.every)
	defer tick.Stop()
	for n := 1; ; n++ {
		began := time.Now()
		seen, err := t.SayWithin(message(i, n), 20*time.Second)
		if err == nil && seen != t.First {
			err = fmt.Errorf("%w: by %v, then by %v", errWrong, t.First, seen)
		}
		h.note(time.Since(began), err)
		if err != nil {
			return
		}
		select {
		case <-h.stop:
			return
		case <-tick.C:
		}
	}
}

// message is what connection i says the n-th time.
func message(i, n int) string {
	r := rand.New(rand.NewPCG(uint64(i), uint64(n)))
	return fmt.Sprintf("%d.%d %x", i, n, r.Uint64()) + strings.Repeat("x", r.IntN(40))
}

func (h *Held) note(took time.Duration, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.gap = max(h.gap, took)
	switch {
	case err == nil:
		h.said++
	case errors.Is(err, errWrong):
		h.bad = append(h.bad, err)
	default:
		h.lost = append(h.lost, err)
	}
}

// Fate is what became of connections that were held.
type Fate struct {
	Said        int // messages that came back
	Lost, Wrong int // connections
	Err         error
	Gap         time.Duration // the longest that one waited for an answer
}

// Stop ends the talk, not the connections, and says what became of them.
func (h *Held) Stop() Fate {
	h.ended.Do(func() { close(h.stop) })
	h.wg.Wait()
	return h.Fate()
}

// Fate says what has become of them so far.
func (h *Held) Fate() Fate {
	h.mu.Lock()
	defer h.mu.Unlock()
	f := Fate{Said: h.said, Lost: len(h.lost), Wrong: len(h.bad), Gap: h.gap}
	for _, err := range append(h.lost[:len(h.lost):len(h.lost)], h.bad...) {
		f.Err = err
	}
	return f
}

// Ask has every connection that was held without a pause say something now,
// and says what became of that.
func (h *Held) Ask() Fate {
	var next atomic.Int64
	var wg sync.WaitGroup
	for range 8 * workers {
		wg.Go(func() {
			for {
				i := int(next.Add(1)) - 1
				if i >= len(h.Talks) {
					return
				}
				t := h.Talks[i]
				if t == nil {
					continue
				}
				began := time.Now()
				seen, err := t.Say(message(i, int(began.UnixNano())))
				if err == nil && seen != t.First {
					err = fmt.Errorf("%w: by %v, then by %v", errWrong, t.First, seen)
				}
				h.note(time.Since(began), err)
			}
		})
	}
	wg.Wait()
	return h.Fate()
}

// Close closes the connections.
func (h *Held) Close() {
	h.Stop()
	for i, t := range h.Talks {
		if t != nil {
			_ = t.Close()
			h.Talks[i] = nil
		}
	}
}

// Ping sends an ICMP echo request of a client and waits for its reply.
func (f *Farm) Ping(from, to netip.Addr, id uint16) error { return Ping(f.Clients, from, to, id) }
