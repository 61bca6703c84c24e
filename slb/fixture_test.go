package slb

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"math"
	"net"
	"net/netip"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/portolan-lb/portolan/config"
	"github.com/portolan-lb/portolan/kernel"
	"github.com/portolan-lb/portolan/slb/l4"
	"github.com/portolan-lb/portolan/status"
)

// bench is an SLB over a kernel that only takes notes. It is used in a bubble.
type bench struct {
	*SLB
	t      testing.TB
	fake   sync.Mutex // of what tests write and the SLB is given: who waits lets go of it before
	board  *status.Board
	notes  []string // what the kernel and conntrack were told, in order
	plan   *l4.Plan
	number l4.Numbers
	told   uint64 // of the board, the last event that was looked at

	elements  map[string][]kernel.Element // what rules counted and packets wrote
	counters  map[string]kernel.Counted
	sessions  []kernel.Session
	fails     error // of conntrack
	unwritten error // of the kernel
	stats     kernel.Tracking

	counter *counter
	answers map[string][]string // of the DNS, by name
	lookups int
	latency map[status.ID]float64
	moved   int // how often addresses of names changed
}

func (b *bench) note(what string) {
	b.fake.Lock()
	defer b.fake.Unlock()
	b.notes = append(b.notes, what)
}

func (b *bench) Want(_ string, w *kernel.Wishes) {
	if w == nil {
		b.note("want nothing")
		return
	}
	b.note("want")
}

func (b *bench) Changed(_ string, sets ...*kernel.Elements) {
	b.note("changed")
}

func (b *bench) Sync(context.Context, string) error {
	b.free("it waits for the kernel")
	b.note("sync")
	b.fake.Lock()
	defer b.fake.Unlock()
	return errors.Join(b.unwritten, errors.New("an address does not stand: eth1 is not there"))
}
func (b *bench) Elements(_, set string) ([]kernel.Element, error) {
	b.free("elements are read")
	b.fake.Lock()
	defer b.fake.Unlock()
	return slices.Clone(b.elements[set]), nil
}
func (b *bench) Element(_, set string, key []byte) (kernel.Element, bool, error) {
	b.free("an element is looked up")
	b.fake.Lock()
	defer b.fake.Unlock()
	for _, el := range b.elements[set] {
		if bytes.Equal(el.Key, key) {
			return el, true, nil
		}
	}
	return kernel.Element{}, false, nil
}
func (b *bench) Delete(_, set string, keys ...[]byte) error {
	b.note(fmt.Sprintf("forget %d of %s", len(keys), set))
	b.elements[set] = nil
	return nil
}
func (b *bench) Ask(numbers ...uint32) error {
	b.note(fmt.Sprintf("ask %#x", numbers))
	return nil
}
func (b *bench) Counts(string) (map[string]kernel.Counted, error) {
	b.free("counters are read")
	b.fake.Lock()
	defer b.fake.Unlock()
	return b.counters, nil
}

func (b *bench) Sessions(_ context.Context, f kernel.SessionFilter, yield func(kernel.Session) bool) error {
	b.free("sessions are listed")
	b.fake.Lock()
	all := slices.Clone(b.sessions)
	defer b.fake.Unlock()
	if b.fails != nil {
		return b.fails
	}
	for _, s := range all {
		if (f.Mask == 0 || s.Mark&f.Mask == f.Mark) && (!f.Server.IsValid() || f.Server == s.Reply.Source.Addr()) && !yield(s) {
			break
		}
	}
	return nil
}

// conntrack is what the bench is to an SLB as [Sessions].
type conntrack struct{ *bench }

func (b conntrack) Sessions(ctx context.Context, f kernel.SessionFilter, yield func(kernel.Session) bool) error {
	return b.bench.Sessions(ctx, f, yield)
}

func (b conntrack) Delete(s *kernel.Session) (bool, error) {
	b.note("end " + s.Reply.Source.String())
	b.fake.Lock()
	defer b.fake.Unlock()
	n := len(b.sessions)
	b.sessions = slices.DeleteFunc(b.sessions, func(o kernel.Session) bool { return o.ID == s.ID })
	return len(b.sessions) < n, nil
}

func (b conntrack) Stats() (kernel.Tracking, error) {
	b.fake.Lock()
	defer b.fake.Unlock()
	return b.stats, nil
}

// free fails if who calls it keeps turns waiting. Others may hold the lock for a
// moment.
func (b *bench) free(what string) {
	b.t.Helper()
	for range 100000 {
		if b.mu.TryLock() {
			b.mu.Unlock()
			return
		}
		runtime.Gosched()
	}
	b.t.Errorf("%s: turns wait for it", what)
}

// LookupNetIP implements [Resolver].
func (b *bench) LookupNetIP(_ context.Context, network, host string) (list []netip.Addr, err error) {
	b.fake.Lock()
	defer b.fake.Unlock()
	b.lookups++
	all, known := b.answers[strings.TrimSuffix(host, ".")]
	if !known {
		return nil, &net.DNSError{Err: "server misbehaving", Name: host, IsTemporary: true}
	}
	for _, text := range all {
		if a := netip.MustParseAddr(text); a.Is6() == (network == "ip6") {
			list = append(list, a)
		}
	}
	if len(list) == 0 {
		return nil, &net.DNSError{Err: "no such host", Name: host, IsNotFound: true}
	}
	return list, nil
}

// counter is a counter that tests write.
type counter struct {
	fake  *sync.Mutex
	now   map[kernel.Served]kernel.Tally
	moved map[kernel.Served]bool
	lent  map[kernel.Lent]int
	await time.Duration
}

func (c *counter) Moved(f func(kernel.Served, kernel.Tally)) {
	c.fake.Lock()
	defer c.fake.Unlock()
	for s := range c.moved {
		f(s, c.now[s])
	}
	clear(c.moved)
}
func (c *counter) Servers(f func(kernel.Served, kernel.Tally)) {
	c.fake.Lock()
	defer c.fake.Unlock()
	for s, t := range c.now {
		f(s, t)
	}
}
func (c *counter) Loans(f func(kernel.Lent, int)) {
	c.fake.Lock()
	defer c.fake.Unlock()
	for l, n := range c.lent {
		f(l, n)
	}
}
func (c *counter) Await(after time.Duration) {
	c.fake.Lock()
	defer c.fake.Unlock()
	c.await = after
}
func (c *counter) Run(ctx context.Context) error { <-ctx.Done(); return nil }
func (c *counter) Close()                        {}

// has says how many connections a virtual server has at a server.
func (b *bench) has(virtual, server string, live int) {
	s := kernel.Served{Mark: b.number.VirtualServers[virtual] << 10, Server: netip.MustParseAddrPort(server), Protocol: 6}
	t := b.counter.now[s]
	if live > t.Live {
		t.Opened += uint64(live - t.Live)
	}
	t.Live = live
	b.counter.now[s], b.counter.moved[s] = t, true
}

// unanswered notes connections of a protocol that a server never answered.
func (b *bench) unanswered(virtual, server string, protocol uint8, n uint64) {
	s := kernel.Served{Mark: b.number.VirtualServers[virtual] << 10, Server: netip.MustParseAddrPort(server), Protocol: protocol}
	t := b.counter.now[s]
	t.Unanswered += n
	b.counter.now[s], b.counter.moved[s] = t, true
}

// session enters a connection of a virtual server that a server answers.
func (b *bench) session(virtual, server string) {
	b.sessions = append(b.sessions, kernel.Session{ID: uint32(len(b.sessions) + 1), Mark: b.number.VirtualServers[virtual] << 10,
		Original: kernel.Tuple{Protocol: 6, Source: netip.MustParseAddrPort("198.51.100.1:4000"), Destination: netip.MustParseAddrPort("203.0.113.10:80")},
		Reply:    kernel.Tuple{Protocol: 6, Source: netip.MustParseAddrPort(server), Destination: netip.MustParseAddrPort("198.51.100.1:4000")}})
}

func load(t testing.TB, text string) *config.Model {
	t.Helper()
	m, errs := config.LoadBytes([]byte(text), config.Source{})
	if errs.Failed() {
		t.Fatalf("%v", errs)
	}
	return m
}

// newBench gives one that serves a configuration, and runs until the test ends.
func newBench(t testing.TB, text string, left ...kernel.Element) *bench {
	t.Helper()
	b := &bench{t: t, board: status.NewBoard(1000), elements: map[string][]kernel.Element{}, answers: map[string][]string{}, latency: map[status.ID]float64{},
		counter: &counter{now: map[kernel.Served]kernel.Tally{}, moved: map[kernel.Served]bool{}, lent: map[kernel.Lent]int{}}}
	b.counter.fake = &b.fake
	b.elements[(&l4.Plan{}).SlotSets()[l4.Table][0]] = left // by a run before
	b.begin(text)
	return b
}

// begin has an SLB use a configuration that knows nothing but what is kept: numbers.
func (b *bench) begin(text string) {
	b.t.Helper()
	b.SLB = New(Options{Board: b.board, Kernel: b, Sessions: conntrack{b}, Resolver: b, Log: slog.New(slog.NewTextHandler(io.Discard, nil)),
		Interfaces: func() ([]kernel.Interface, error) { return nil, nil },
		Count:      func() (Counter, error) { return b.counter, nil },
		Latency: func(id status.ID) float64 {
			b.fake.Lock()
			defer b.fake.Unlock()
			if l, ok := b.latency[id]; ok {
				return l
			}
			return math.NaN()
		},
		Renamed: func() { b.fake.Lock(); b.moved++; b.fake.Unlock() }})
	cancel := b.board.Prepare(b.Prepare)
	b.t.Cleanup(cancel)
	b.plan = nil
	b.use(text)
}

// run has it run until the test ends.
func (b *bench) run(t *testing.T) *bench {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- b.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	synctest.Wait()
	b.notes = nil
	return b
}

func (b *bench) use(text string) {
	b.t.Helper()
	m := load(b.t, text)
	numbers, err := l4.Number(m, b.number, nil)
	if err != nil {
		b.t.Fatal(err)
	}
	if !m.Serves() {
		b.number, b.plan = numbers, nil
		b.Use(nil, m, numbers)
		return
	}
	p, errs := l4.Compile(l4.Inputs{Model: m, Numbers: numbers, Before: b.plan})
	if errs.Failed() {
		b.t.Fatalf("%v", errs)
	}
	b.number, b.plan = numbers, p
	b.Use(p, m, numbers)
}

// say sets the health of servers, FARM/NAME each, and waits for what follows.
func (b *bench) say(health status.Health, servers ...string) {
	b.t.Helper()
	var rows []status.Row
	for _, s := range servers {
		rows = append(rows, status.Row{ID: status.ID(status.KindRealServer + "/" + s), Health: health})
	}
	b.fake.Lock()
	b.notes = nil
	b.fake.Unlock()
	b.board.Update(rows...)
	synctest.Wait()
}

func (b *bench) wait(d time.Duration) {
	b.fake.Lock()
	b.notes = nil
	b.fake.Unlock()
	time.Sleep(d)
	synctest.Wait()
}

// row says how a row stands, in a few words.
func (b *bench) row(id status.ID) string {
	r, there := b.board.Table().Lookup(id)
	if !there {
		return "none"
	}
	return r.Health.String() + ": " + r.Why
}

func (b *bench) want(what, got, want string) {
	b.t.Helper()
	if got != want {
		b.t.Errorf("%s: %q, want %q", what, got, want)
	}
}

// slots tells how many slots each server of a farm has, as "a:3 b:5".
func (b *bench) slots(farm string) string {
	b.SLB.mu.Lock()
	defer b.SLB.mu.Unlock()
	counts := map[string]int{}
	for _, id := range b.farms[farm].state.Slots {
		if m := b.farms[farm].memberOf(id); m != nil {
			counts[m.Name]++
		}
	}
	var list []string
	for _, name := range slices.Sorted(maps.Keys(counts)) {
		list = append(list, fmt.Sprintf("%s:%d", name, counts[name]))
	}
	return strings.Join(list, " ")
}

// events tells what the board has recorded since it was asked last.
func (b *bench) events() (list []string) {
	for _, e := range b.board.Events(b.told) {
		b.told = e.Seq
		list = append(list, fmt.Sprintf("%s: %s -> %s (%s)", e.ID, e.Old, e.New, e.Why))
	}
	return list
}

func (b *bench) heard(what string) bool {
	return slices.ContainsFunc(b.events(), func(e string) bool { return strings.Contains(e, what) })
}

// web is a virtual server over a farm of three; "%s" is more of the farm.
const web = `
version: 1
virtualServers:
  - {name: web, address: 203.0.113.10, port: 80, serve: {farm: web}}
serverFarms:
  - name: web
    %s
    servers: [{name: a, address: 10.1.0.1, port: 8080}, {name: b, address: 10.1.0.2, port: 8080}, {name: c, address: 10.1.0.3, port: 8080}]
`

func addr(s string) netip.Addr         { return netip.MustParseAddr(s) }
func addrPort(s string) netip.AddrPort { return netip.MustParseAddrPort(s) }

func (b *bench) poolText() string {
	b.SLB.mu.Lock()
	defer b.SLB.mu.Unlock()
	return b.pools[0].text()
}

func prefix(s string) netip.Prefix { return netip.MustParsePrefix(s) }
