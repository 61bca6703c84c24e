package link

import (
	"context"
	"log/slog"
	"math"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/fstest"
	"testing/synctest"
	"time"

	"github.com/portolan-lb/portolan/config"
	"github.com/portolan-lb/portolan/kernel"
	"github.com/portolan-lb/portolan/status"
)

// machine is a pretend kernel.
type machine struct {
	mu         sync.Mutex
	interfaces []kernel.Interface
	totals     map[int]kernel.Counter
	flow       map[int]kernel.Counter // octets a second, by which counters grow
	grown      time.Time
	err        error
	changed    func()
	looks      atomic.Int32
	slow       atomic.Int64 // what a look takes
}

func (m *machine) Interfaces() ([]kernel.Interface, error) {
	time.Sleep(time.Duration(m.slow.Load())) // fake time
	m.mu.Lock()
	defer m.mu.Unlock()
	m.looks.Add(1)
	return slices.Clone(m.interfaces), m.err
}

func (m *machine) Counters(into map[int]kernel.Counter) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.err != nil {
		return m.err
	}
	ticks := uint64(math.Round(float64(time.Since(m.grown)) / float64(every)))
	m.grown = m.grown.Add(time.Duration(ticks) * every)
	a := uint64(sec / every) // of a second
	clear(into)
	for _, i := range m.interfaces {
		c := m.totals[i.Index]
		c.In += ticks * m.flow[i.Index].In / a
		c.Out += ticks * m.flow[i.Index].Out / a
		m.totals[i.Index] = c
		into[i.Index] = c
	}
	return nil
}

func (m *machine) Watch(ctx context.Context, changed func()) error {
	m.mu.Lock()
	m.changed = changed
	m.mu.Unlock()
	<-ctx.Done()
	return nil
}

// now changes the machine, and tells.
func (m *machine) now(change func()) {
	m.mu.Lock()
	change()
	changed := m.changed
	m.mu.Unlock()
	if changed != nil {
		changed()
	}
}

// flows sets what goes through an interface, in bits a second.
func (m *machine) flows(index int, in, out uint64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.flow[index] = kernel.Counter{In: in / 8, Out: out / 8}
}

func eth(index int, name string, more ...func(*kernel.Interface)) kernel.Interface {
	i := kernel.Interface{Index: index, Name: name, Up: true}
	for _, f := range more {
		f(&i)
	}
	return i
}

func hop4(a string) func(*kernel.Interface) {
	return func(i *kernel.Interface) { i.NextHop4 = netip.MustParseAddr(a) }
}

func hop6(a string) func(*kernel.Interface) {
	return func(i *kernel.Interface) { i.NextHop6 = netip.MustParseAddr(a) }
}

func addresses(list ...string) func(*kernel.Interface) {
	return func(i *kernel.Interface) {
		for _, a := range list {
			i.Addresses = append(i.Addresses, netip.MustParsePrefix(a))
		}
	}
}

// specs reads links as an operator writes them.
func specs(t testing.TB, yaml string) []*config.Link {
	t.Helper()
	text := "version: 1\nlinks:\n" + yaml
	m, errs := config.LoadBytes([]byte(text), config.Source{FS: fstest.MapFS{}, Dir: ".", Name: "portolan.yaml"})
	if errs.Failed() {
		t.Fatal(errs)
	}
	return m.Links
}

// bench is links on a pretend machine, in a bubble of fake time.
type bench struct {
	*Links
	*machine
	t     *testing.T
	moved atomic.Int32
}

// inBubble runs a test with links that are wanted and running. Between its steps
// it sleeps, which is fake time.
func inBubble(t *testing.T, yaml string, f func(b *bench), opts ...func(*bench, *Options)) {
	synctest.Test(t, func(t *testing.T) {
		b := &bench{t: t, machine: &machine{grown: time.Now(), totals: map[int]kernel.Counter{}, flow: map[int]kernel.Counter{}}}
		b.interfaces = []kernel.Interface{eth(1, "lo"), eth(7, "eth1", hop4("192.0.2.1")), eth(8, "eth2")}
		o := Options{Kernel: b.machine, Log: slog.New(slog.DiscardHandler), Moved: func() { b.moved.Add(1) }}
		for _, f := range opts {
			f(b, &o)
		}
		b.Links = New(status.NewBoard(100), o)
		b.Want(specs(t, yaml))
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- b.Run(ctx) }()
		time.Sleep(every / 2) // between two ticks
		f(b)
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

func (b *bench) rates(what string, in, out float64) {
	b.t.Helper()
	g, ok := b.board.Gauges().Get("link/a")
	if !ok {
		b.t.Errorf("%s: there is no gauge", what)
	}
	wantRates(b.t, what, g.Rate, in, out)
	wantRates(b.t, what+" (state)", b.States()[0].Rates, in, out)
}

func (b *bench) isBusy(what string, want bool, why string) {
	b.t.Helper()
	if r := b.board.Table().Row("link/a"); r.Busy != want || r.LoadWhy != why {
		b.t.Errorf("%s: busy is %v: %q, want %v: %q", what, r.Busy, r.LoadWhy, want, why)
	}
}

func (b *bench) row(id status.ID, health status.Health, why string) {
	b.t.Helper()
	r, ok := b.board.Table().Lookup(id)
	if !ok || r.Health != health || r.Why != why {
		b.t.Errorf("row %s is %+v, want %v: %q", id, r, health, why)
	}
}

func (b *bench) events() (list []string) {
	for _, e := range b.board.Events(0) {
		if e.ID.Kind() == status.KindLink {
			list = append(list, e.Old+" -> "+e.New+": "+e.Why)
		}
	}
	return list
}

const sec = time.Second

func (b *bench) mu2(change func()) {
	b.machine.mu.Lock()
	defer b.machine.mu.Unlock()
	change()
}
