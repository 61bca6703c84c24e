package proximity

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/portolan-lb/portolan/config"
	"github.com/portolan-lb/portolan/probe"
	"github.com/portolan-lb/portolan/status"
)

// proberBench is a prober whose methods send nothing, on a clock of its own.
type proberBench struct {
	*Prober
	board  *status.Board
	cancel context.CancelFunc
	done   chan struct{}

	mu      sync.Mutex
	pins    map[string]probe.Pin
	calls   []call
	packets []time.Time
	results []Result
	answer  func(method string, p Path, target netip.Addr) (packets int, took time.Duration, err error)
}

type call struct {
	at           time.Time
	method, link string
	target       netip.Addr
	pin          probe.Pin
}

// newProberBench runs a prober with links one and two, which are ours, and three,
// which is not. Each method spends one packet and answers after 10 ms, unless
// answer says otherwise.
func newProberBench(c *config.Proximity) *proberBench {
	b := &proberBench{board: status.NewBoard(10), done: make(chan struct{}), pins: map[string]probe.Pin{"one": {Device: "wan0"}, "two": {Device: "wan1"}}}
	b.answer = func(string, Path, netip.Addr) (int, time.Duration, error) { return 1, 10 * time.Millisecond, nil }
	fakes := map[string]Method{}
	for name := range methods {
		fakes[name] = func(ctx context.Context, p Path, target netip.Addr) (Sample, error) {
			return b.fake(ctx, name, p, target)
		}
	}
	b.Prober = NewProber(Options{
		Board: b.board, Methods: fakes, Log: slog.New(slog.NewTextHandler(io.Discard, nil)),
		Pin: func(link string) (probe.Pin, bool) {
			b.mu.Lock()
			defer b.mu.Unlock()
			pin, ok := b.pins[link]
			return pin, ok
		},
		Own:     func(a netip.Addr) bool { return a == netip.MustParseAddr("198.51.100.1") },
		Deliver: func(r Result) { b.mu.Lock(); defer b.mu.Unlock(); b.results = append(b.results, r) },
	})
	b.Use(c)
	ctx, cancel := context.WithCancel(context.Background())
	b.cancel = cancel
	go func() { defer close(b.done); b.Run(ctx) }()
	return b
}

func (b *proberBench) fake(ctx context.Context, name string, p Path, target netip.Addr) (Sample, error) {
	b.mu.Lock()
	b.calls = append(b.calls, call{time.Now(), name, p.Link, target, p.Pin})
	answer := b.answer
	b.mu.Unlock()
	n, took, err := answer(name, p, target)
	for range n {
		if err := p.Spend(ctx, 1); err != nil {
			return Sample{}, err
		}
		b.mu.Lock()
		b.packets = append(b.packets, time.Now())
		b.mu.Unlock()
	}
	if err := pause(ctx, took); err != nil {
		return Sample{}, err
	}
	return Sample{RTT: took, Via: target}, err
}

func (b *proberBench) stop() { b.cancel(); <-b.done }

// take gives what was delivered since it was last called.
func (b *proberBench) take() (results []Result) {
	b.mu.Lock()
	defer b.mu.Unlock()
	results, b.results = b.results, nil
	return results
}

func (b *proberBench) takeCalls() (calls []call) {
	b.mu.Lock()
	defer b.mu.Unlock()
	calls, b.calls = b.calls, nil
	return calls
}

// conf is a configuration by the defaults that matter here.
func conf(methods ...string) *config.Proximity {
	return &config.Proximity{Enabled: true, Methods: methods, Port: 53, ProbesPerSecond: 200, PerTarget: config.Duration(30 * time.Second)}
}

// client makes a want of one host's network.
func client(host string, links ...string) Want {
	a := netip.MustParseAddr(host)
	return Want{Prefix: networkOf(a), Target: a, Links: links}
}

func ask(t *testing.T, b *proberBench, w Want, want error) {
	t.Helper()
	if err := b.Ask(w); !errors.Is(err, want) || (err == nil) != (want == nil) {
		t.Errorf("%s: %v, want %v", w.Target, err, want)
	}
}
