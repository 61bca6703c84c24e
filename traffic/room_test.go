package traffic

import (
	"context"
	"encoding/binary"
	"errors"
	"log/slog"
	"maps"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/portolan-lb/portolan/kernel"
)

var rooms = Room{Name: "it", Tag: 0x11, Full: kernel.NewElements(), Last: kernel.NewElements()}

// passing is a world where a connection tries 1, 2 and 3, which have so much room
// each, and has whom it finds as its priority.
type passing struct {
	*kernel.World
	now  time.Time
	next int
	full map[string]map[int]time.Time // by set and number: whom its list has, and until when if it never came to be
	live map[int]int                  // connections, and whose they are
}

func newPassing(most int) *passing {
	r := rooms
	r.Full, r.Last = kernel.NewElements(), kernel.NewElements()
	b := NewBuilder("t", NewFixed())
	number := func(n uint32) kernel.Value { return kernel.Const(kernel.Number(n)) }
	found := func(n uint32) kernel.Rule { return Rule("", kernel.SetPriority{From: number(n)}, kernel.Accept{}) }
	for n := range uint32(3) {
		full, last := RoomFor(n+1, most)
		r.Full.Put(full)
		r.Last.Put(last)
	}
	b.Base("in", kernel.Hook{Type: "filter", Point: "prerouting"}, func() (rules []kernel.Rule) {
		for n := range uint32(3) {
			n++
			chain := b.Chain("try_"+string('0'+rune(n)), func() []kernel.Rule {
				rules := []kernel.Rule{Rule("", r.Shut(b, number(n)), kernel.Return{})}
				rules = append(rules, r.Enter(b, "try_"+string('0'+rune(n)), "full", number(n))...)
				return append(rules, found(n))
			})
			rules = append(rules, Rule("", kernel.Jump{Chain: chain}))
		}
		rules = append(rules, r.Again(b, number(3), kernel.Drop{})...)
		return append(rules, found(3))
	})
	r.Ask(b)
	table, _ := b.Done()
	p := &passing{World: kernel.NewWorld(&kernel.Wishes{Tables: []kernel.Table{table}}), now: time.Unix(1e9, 0), full: map[string]map[int]time.Time{}, live: map[int]int{}}
	p.Now = func() time.Time { return p.now }
	p.Remember = true
	return p
}

// send sends a packet as the kernel counts it, and gives where it went; 0: it was
// dropped. What it is counted in stays until it ends, or is forgotten if it never
// came to be.
func (p *passing) send(t *testing.T, point string, packet kernel.Packet) (at int, in []string) {
	t.Helper()
	p.next++
	p.Over = func(l kernel.Limit) bool {
		list := l.Set + string('0'+rune(binary.NativeEndian.Uint32(l.Key)))
		if p.full[list] == nil {
			p.full[list] = map[int]time.Time{}
		}
		for id, until := range p.full[list] {
			if !until.IsZero() && !p.now.Before(until) {
				delete(p.full[list], id)
			}
		}
		p.full[list][p.next] = time.Time{}
		in = append(in, list)
		return len(p.full[list]) > int(l.Element.Over)
	}
	trace, err := p.Walk(point, packet)
	if err != nil {
		t.Fatal(err)
	}
	if trace.End != kernel.Dropped {
		return int(trace.Packet.Priority), in
	}
	for _, list := range in {
		p.full[list][p.next] = p.now.Add(20 * time.Millisecond)
	}
	return 0, in
}

func (p *passing) open(t *testing.T) int {
	t.Helper()
	at, in := p.send(t, "prerouting", kernel.Packet{Source: address("10.0.0.5"), Dest: address("10.0.0.6"), Protocol: 6, SourcePort: 1, DestPort: 80, Ct: kernel.CtInfo{State: kernel.CtNew}})
	if at > 0 {
		p.live[p.next] = at
	}
	for _, list := range in {
		if at > 0 && list[len(list)-1] != byte('0'+at) {
			t.Fatalf("it is with %d, and counted in %s for as long as it lives", at, list)
		}
	}
	return at
}

func (p *passing) ask(t *testing.T) {
	t.Helper()
	to := kernel.AskedAt()
	for n := range uint32(3) {
		packet := kernel.Packet{Source: to.Addr(), Dest: to.Addr(), Protocol: 17, SourcePort: 1000, DestPort: to.Port(), Out: "lo", Priority: rooms.question(n + 1)}
		if at, _ := p.send(t, "output", packet); at != 0 {
			t.Fatal("a question goes its way")
		}
	}
}

func (p *passing) end(id int) {
	delete(p.live, id)
	for _, list := range p.full {
		delete(list, id)
	}
}

func (p *passing) by() (by [4]int) {
	for _, at := range p.live {
		by[at]++
	}
	return by
}

// Whatever comes and goes: nobody has more than he may, a connection is counted
// where it is and nowhere else, and who has had room for a moment takes new ones
// (ADR 24). Now and then nobody asks for a while, as without a daemon.
func TestRoom_Random(t *testing.T) {
	for seed := range uint64(20) {
		r := rand.New(rand.NewPCG(seed, 1))
		most := 1 + r.IntN(4)
		p := newPassing(most)
		asks := true
		for range 1500 {
			switch r.IntN(10) {
			case 0, 1, 2, 3:
				p.open(t)
			case 4, 5, 6:
				if ids := slices.Sorted(maps.Keys(p.live)); len(ids) > 0 {
					p.end(ids[r.IntN(len(ids))])
				}
			case 7, 8:
				p.now = p.now.Add(time.Duration(r.IntN(40)) * time.Millisecond)
				if asks {
					p.ask(t)
				}
			case 9:
				asks = r.IntN(3) > 0
				if !asks && r.IntN(3) == 0 {
					p.now = p.now.Add(shutFor)
				}
			}
			if by := p.by(); slices.Max(by[:]) > most {
				t.Fatalf("seed %d: %v at a limit of %d", seed, by, most)
			}
		}
		p.now = p.now.Add(shutSoon)
		p.ask(t)
		p.now = p.now.Add(shutSoon)
		for len(p.live) < 3*most {
			if p.open(t) == 0 {
				t.Fatalf("seed %d: refused, with %v at limits of %d", seed, p.by(), most)
			}
		}
		if at := p.open(t); at != 0 {
			t.Fatalf("seed %d: %d takes one more", seed, at)
		}
	}
}

// Of two that come at once to the last place one has it, and the other one is
// dropped rather than counted where it never is.
func TestRoom_AtOnce(t *testing.T) {
	p := newPassing(1)
	if at := p.open(t); at != 1 {
		t.Fatal(at)
	}
	p.now = p.now.Add(shutFor) // the mark is not there yet
	if at := p.open(t); at != 0 {
		t.Errorf("the second one goes to %d", at)
	}
	if at := p.open(t); at != 2 {
		t.Errorf("it comes again, and goes to %d", at)
	}
}

// asked is a kernel with marks.
type asked struct {
	mu    sync.Mutex
	shut  []kernel.Element
	asked []uint32
	looks int
	took  time.Duration // by a question
	err   error
}

func (a *asked) Elements(table, set string) ([]kernel.Element, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.looks++
	if table != "t" || set != "it_shut" {
		return nil, errors.New("there is no such set")
	}
	return slices.Clone(a.shut), a.err
}

func (a *asked) Ask(numbers ...uint32) error {
	time.Sleep(time.Duration(len(numbers)) * a.took)
	a.mu.Lock()
	defer a.mu.Unlock()
	a.asked = append(a.asked, numbers...)
	return nil
}

// after lets time pass and gives what was asked, and how often it was looked.
func (a *asked) after(d time.Duration, shut ...kernel.Element) (questions []uint32, looks int) {
	a.mu.Lock()
	a.shut, a.asked, a.looks = shut, nil, 0
	a.mu.Unlock()
	time.Sleep(d)
	synctest.Wait()
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.asked, a.looks
}

// While nobody is full it is looked a few times a second, where nobody can be not at
// all; who is full is asked about 50 times a second, but not who is about to open.
func TestRoom_Run(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, wanted := &asked{}, true
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() {
			rooms.Run(ctx, a, "t", func() bool { a.mu.Lock(); defer a.mu.Unlock(); return wanted }, slog.Default())
			close(done)
		}()
		if q, looks := a.after(2 * time.Second); len(q) > 0 || looks < 9 || looks > 12 {
			t.Errorf("nobody is full: %v, %d looks", q, looks)
		}
		mark := func(n uint32, left time.Duration) kernel.Element {
			return kernel.Element{Key: kernel.Number(n), Expires: left}
		}
		q, _ := a.after(time.Second, mark(7, shutFor), mark(8, shutSoon))
		if len(q) < 35 || len(q) > 51 || slices.Max(q) != 0x11000007 || slices.Min(q) != 0x11000007 {
			t.Errorf("%d questions: %#x to %#x", len(q), slices.Min(q), slices.Max(q))
		}
		many := make([]kernel.Element, 3000)
		for i := range many {
			many[i] = mark(uint32(i+1), shutFor)
		}
		a.after(time.Second, many...)
		if q, looks := a.after(time.Second, many...); len(q) != 3000*looks || looks == 0 {
			t.Errorf("%d questions in %d looks", len(q), looks)
		}
		a.took = 10 * time.Microsecond // 30 ms for all, of 600
		a.after(2*time.Second, many...)
		if _, looks := a.after(10*time.Second, many...); looks < 14 || looks > 17 {
			t.Errorf("%d looks of 30 ms in 10 s", looks)
		}
		a.took = time.Millisecond // 3 s, and marks go by themselves after ten
		a.after(20*time.Second, many...)
		if _, looks := a.after(80*time.Second, many...); looks < 9 || looks > 11 {
			t.Errorf("%d looks of 3 s in 80 s", looks)
		}
		a.took = 0
		a.after(10 * time.Second)
		a.err = errors.New("the table is not there yet")
		if q, _ := a.after(3 * time.Second); len(q) > 0 {
			t.Errorf("%v", q)
		}
		a.mu.Lock()
		wanted = false
		a.mu.Unlock()
		if _, looks := a.after(10 * time.Second); looks > 1 {
			t.Errorf("nobody has a limit: %d looks", looks)
		}
		stop()
		<-done
	})
}

// Linux itself: who is full is passed over until some have ended and it was asked;
// the questions themselves go nowhere, and count for nothing.
func TestRoom_Root(t *testing.T) {
	space, k := linux(t)
	const port, most = 8003, 2
	r := Room{Name: "it", Tag: 0x11, Full: kernel.NewElements(), Last: kernel.NewElements()}
	full, last := RoomFor(7, most)
	r.Full.Put(full)
	r.Last.Put(last)
	b := NewBuilder("portolan_traffic", NewFixed())
	seven := kernel.Const(kernel.Number(7))
	b.Base("out", kernel.Hook{Type: "filter", Point: "output"}, func() []kernel.Rule {
		rules := []kernel.Rule{
			Rule("", kernel.Is{Of: kernel.Protocol, Op: kernel.NotEqual, To: []byte{6}}, kernel.Accept{}),
			Rule("", kernel.Is{Of: kernel.DestPort, Op: kernel.NotEqual, To: kernel.Port(port)}, kernel.Accept{}),
			Rule("", NoBit(kernel.CtState, kernel.CtNew), kernel.Accept{}),
			Rule("", r.Shut(b, seven), kernel.Reject{With: kernel.TCPReset}),
		}
		return append(rules, r.Enter(b, "it", "full", seven)...)
	})
	r.Ask(b)
	table, _ := b.Done()
	stands(t, k, table)
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		r.Run(ctx, k, table.Name, func() bool { return true }, slog.Default())
	}()
	t.Cleanup(func() { stop(); <-done })
	at := netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), port)
	var l net.Listener
	var err error
	space.Do(func() { l, err = net.Listen("tcp", at.String()) })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	dial := func() (c net.Conn, err error) {
		space.Do(func() { c, err = net.Dial("tcp", at.String()) })
		if err == nil {
			err = c.(*net.TCPConn).SetLinger(0)
		}
		return c, err
	}
	var open []net.Conn
	for round := range 3 {
		for late := time.Now().Add(30 * time.Second); len(open) < most; {
			c, err := dial()
			if err == nil {
				open = append(open, c)
			} else if time.Now().After(late) {
				t.Fatalf("round %d: with %d of %d: %v", round, len(open), most, err)
			}
		}
		for range 50 {
			if c, err := dial(); err == nil {
				t.Fatalf("round %d: one more than %d: %v", round, most, c.LocalAddr())
			}
		}
		for _, c := range open {
			_ = c.Close()
		}
		open = nil
	}
}
