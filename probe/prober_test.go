package probe

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/portolan-lb/portolan/config"
	"github.com/portolan-lb/portolan/status"
)

// rig is a prober under a fake clock whose one kind, tcp, is a fake too: a
// target answers at once unless it is in silent, which lasts to the timeout.
type rig struct {
	*Prober
	t     *testing.T
	board *status.Board
	begin time.Time

	mu     sync.Mutex
	silent map[string]bool            // by address
	starts map[string][]time.Duration // since begin, by address
	out    map[string]int             // probes out now, by address
}

func newRig(t *testing.T, opts Options) *rig {
	r := &rig{
		t: t, board: status.NewBoard(100), begin: time.Now(),
		silent: map[string]bool{}, starts: map[string][]time.Duration{}, out: map[string]int{},
	}
	if opts.Kinds == nil {
		opts.Kinds = map[string]Func{"tcp": r.probe}
	}
	opts.Log = slog.New(slog.NewTextHandler(io.Discard, nil))
	r.Prober = New(r.board, opts)
	return r
}

// run starts the prober; it ends with the test's bubble.
func (r *rig) run() (stop func()) {
	ctx, cancel := context.WithCancel(r.t.Context())
	done := make(chan error)
	go func() { done <- r.Run(ctx) }()
	synctest.Wait()
	return func() {
		cancel()
		if err := <-done; err != nil {
			r.t.Errorf("Run: %v", err)
		}
	}
}

func (r *rig) probe(ctx context.Context, t *Task) Result {
	who := t.Target.Addr().String()
	r.mu.Lock()
	r.starts[who] = append(r.starts[who], time.Since(r.begin))
	r.out[who]++
	if r.out[who] > 1 {
		r.t.Errorf("%s is probed twice at once", who)
	}
	silent := r.silent[who]
	r.mu.Unlock()
	defer func() { r.mu.Lock(); r.out[who]--; r.mu.Unlock() }()
	if silent {
		<-ctx.Done()
		return t.silent()
	}
	return t.pass("fine")
}

func (r *rig) silence(who string, on bool) {
	r.mu.Lock()
	r.silent[who] = on
	r.mu.Unlock()
}

func (r *rig) startsOf(who string) string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return fmt.Sprint(r.starts[who])
}

// at lets the clock run to d after the rig was made, and everything settle.
func (r *rig) at(d time.Duration) {
	<-time.After(time.Until(r.begin.Add(d)))
	synctest.Wait()
}

// row is "up", "down", "unknown" or "waiting".
func (r *rig) row(id status.ID) string {
	row, ok := r.board.Table().Lookup(id)
	switch {
	case !ok:
		return "no row"
	case row.Waiting:
		return "waiting"
	default:
		return row.Health.String()
	}
}

func (r *rig) wantRow(id status.ID, want string) {
	r.t.Helper()
	if got := r.row(id); got != want {
		r.t.Errorf("after %s %s is %s, want %s", time.Since(r.begin), id, got, want)
	}
}

// model has one probe "p" and a virtual server a, b, c... for each address.
func model(p config.Probe, addresses ...string) *config.Model {
	p.Name, p.Kind = "p", "tcp"
	m := &config.Model{Probes: []*config.Probe{&p}}
	for i, a := range addresses {
		m.VirtualServers = append(m.VirtualServers, &config.VirtualServer{
			Name: string(rune('a' + i)), Addresses: []netip.Addr{netip.MustParseAddr(a)}, Port: 80, Probes: []string{"p"},
		})
	}
	return m
}

func defaults() config.Probe {
	return config.Probe{Interval: 5 * sec, Timeout: 3 * sec, Rise: 3, Fall: 3}
}

const (
	checkA = status.ID("probe/10.0.0.1:80/p")
	vsA    = status.ID("virtualServer/a")
	vsB    = status.ID("virtualServer/b")
)

// A target that goes silent is down exactly (fall-1) x interval + timeout after
// the start of the first probe it does not answer; one that answers again is
// up within rise x interval (1.2.27, T51). The vendor's defaults give 13 s and
// 15 s.
func TestFailover_T51(t *testing.T) {
	for _, p := range []config.Probe{
		defaults(),
		{Interval: 5 * sec, Timeout: 3 * sec, Rise: 1, Fall: 1},
		{Interval: sec, Timeout: 900 * ms, Rise: 5, Fall: 2},
		{Interval: 200 * ms, Timeout: 100 * ms, Rise: 2, Fall: 10},
	} {
		synctest.Test(t, func(t *testing.T) {
			r := newRig(t, Options{})
			r.Want(Compile(model(p, "10.0.0.1")))
			defer r.run()()
			interval, timeout := time.Duration(p.Interval), time.Duration(p.Timeout)
			failover := time.Duration(p.Fall-1)*interval + timeout

			r.at(4*interval - 1)
			r.wantRow(vsA, "up")
			r.silence("10.0.0.1", true)
			r.at(4*interval + failover - 1)
			r.wantRow(vsA, "up")
			r.at(4*interval + failover)
			r.wantRow(vsA, "down")
			r.wantRow(checkA, "down")

			// It answers again one tick after a probe has gone out.
			from := 4*interval + time.Duration(p.Fall)*interval
			r.at(from + 1)
			r.silence("10.0.0.1", false)
			r.at(from + time.Duration(p.Rise)*interval - 1)
			r.wantRow(vsA, "down")
			r.at(from + time.Duration(p.Rise)*interval)
			r.wantRow(vsA, "up")
		})
	}
}

// A probe that outlives its interval blocks the next start; the probe after it
// is on the grid again (semantics B.9, T51).
func TestOverrunKeepsTheGrid_T51(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var r *rig
		slow := func(ctx context.Context, task *Task) Result {
			res := r.probe(ctx, task)
			if time.Since(r.begin) < 20*time.Second {
				<-time.After(7 * time.Second) // deaf to its timeout
			}
			return res
		}
		r = newRig(t, Options{Kinds: map[string]Func{"tcp": slow}})
		r.Want(Compile(model(defaults(), "10.0.0.1")))
		defer r.run()()
		r.at(31 * time.Second)
		if got, want := r.startsOf("10.0.0.1"), "[0s 10s 20s 25s 30s]"; got != want {
			t.Errorf("probes started at %s, want %s", got, want)
		}
		if n := r.Stats().Overruns; n != 2 {
			t.Errorf("%d overruns, want 2", n)
		}
	})
}

// At start every target's first probe goes out within a second, spread, and
// its result sets the state at once whatever rise is (DESIGN 3, Start; T56).
func TestStart_T56(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var addresses []string
		for i := range 20 {
			addresses = append(addresses, fmt.Sprintf("10.0.0.%d", i+1))
		}
		r := newRig(t, Options{})
		r.silence("10.0.0.1", true)
		r.Want(Compile(model(defaults(), addresses...)))
		r.wantRow(vsA, "waiting")
		r.wantRow(vsB, "waiting")
		defer r.run()()
		r.at(time.Second - 1)
		seen := map[string]bool{}
		for _, a := range addresses {
			seen[r.startsOf(a)] = true
		}
		if len(seen) != 20 || seen["[]"] {
			t.Errorf("first probes are not spread over the first second: %v", seen)
		}
		r.wantRow(vsA, "waiting")
		r.wantRow(vsB, "up")
		r.at(4 * time.Second)
		r.wantRow(vsA, "down")
	})
}

// After the first second the probes are spread over the interval, so that no
// part of it is idle; failover holds from the second probe on (R5, T51).
func TestSpread_T51(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const n = 1000
		r := newRig(t, Options{})
		plan := many(n, "tcp")
		r.Want(plan)
		defer r.run()()
		r.at(time.Second)
		dying := plan.Checks[n/2]
		r.silence(dying.Target.Addr().String(), true)
		h, _ := r.History(dying.ID)
		dead := h.Next.Sub(r.begin) + 13*time.Second
		r.at(dead - 1)
		r.wantRow(dying.ID, "up")
		r.at(dead)
		r.wantRow(dying.ID, "down")

		r.at(30*time.Second - 1)
		inSecond := map[int]int{}
		for who, starts := range r.starts {
			if gap := starts[1] - starts[0]; starts[0] >= time.Second || gap < 3*time.Second || gap >= 8*time.Second {
				t.Errorf("%s is probed at %s", who, starts)
			}
			for i, at := range starts {
				inSecond[int(at/time.Second)]++
				if i > 1 && at-starts[i-1] != 5*time.Second {
					t.Errorf("%s is probed at %s", who, starts)
				}
			}
		}
		for s := 10; s < 30; s++ {
			if inSecond[s] != n/5 {
				t.Errorf("%d probes in second %d, want %d", inSecond[s], s, n/5)
			}
		}
		if n := r.Stats().Overruns; n != 0 {
			t.Errorf("%d overruns", n)
		}
	})
}

// One target and probe is probed once, however many refer to it.
func TestProbedOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := model(defaults(), "10.0.0.1", "10.0.0.1", "10.0.0.1")
		for _, name := range []string{"one", "two"} {
			m.Pools = append(m.Pools, &config.Pool{Name: name, Probes: []string{"p"}, Members: []*config.Member{{VirtualServer: "a"}, {VirtualServer: "b"}}})
		}
		r := newRig(t, Options{})
		r.Want(Compile(m))
		defer r.run()()
		r.at(12 * time.Second)
		if got := r.startsOf("10.0.0.1"); got != "[0s 5s 10s]" {
			t.Errorf("probed at %s", got)
		}
		for _, id := range []status.ID{vsA, vsB, "virtualServer/c", "pool/one/a", "pool/two/b"} {
			r.wantRow(id, "up")
		}
	})
}

// What was never probed has a row that says so, and is usable (C1).
func TestNotProbed_C1(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, Options{})
		r.Want(Compile(&config.Model{Links: []*config.Link{{Name: "telecom"}}}))
		row, ok := r.board.Table().Lookup("link/telecom")
		if !ok || row.Health != status.Unknown || row.Waiting || !row.Usable() || row.Why != "not probed" {
			t.Errorf("row %+v", row)
		}
	})
}

// A probe that cannot be made ends the wait and says nothing about health.
func TestVoidEndsTheWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		void := func(_ context.Context, t *Task) Result { return t.void("needs the capability CAP_NET_RAW") }
		r := newRig(t, Options{Kinds: map[string]Func{"tcp": void}})
		r.Want(Compile(model(defaults(), "10.0.0.1")))
		defer r.run()()
		r.at(time.Second)
		r.wantRow(vsA, "unknown")
		if why := r.board.Table().Row(vsA).Why; why != "probe/10.0.0.1:80/p: needs the capability CAP_NET_RAW" {
			t.Errorf("why: %s", why)
		}
	})
}

func TestPanic(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var r *rig
		r = newRig(t, Options{Kinds: map[string]Func{"tcp": func(ctx context.Context, task *Task) Result {
			if time.Since(r.begin) > 4*time.Second {
				panic("nil map")
			}
			return r.probe(ctx, task)
		}}})
		r.Want(Compile(model(defaults(), "10.0.0.1")))
		defer r.run()()
		r.at(31 * time.Second)
		r.wantRow(vsA, "up")
		if s := r.Stats(); s.Panics != 6 || s.Results["tcp"] != (Results{Pass: 1, Void: 6}) {
			t.Errorf("stats %+v", s)
		}
		if h, _ := r.History(checkA); h.Last[6].Saw != "the probe itself failed: panic: nil map" {
			t.Errorf("saw %q", h.Last[6].Saw)
		}
	})
}

func TestMaxRunning(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, Options{MaxRunning: 1})
		r.silence("10.0.0.1", true)
		r.silence("10.0.0.2", true)
		r.Want(Compile(model(defaults(), "10.0.0.1", "10.0.0.2")))
		defer r.run()()
		r.at(2 * time.Second)
		if s := r.Stats(); s.Running != 1 || s.Waited != 1 {
			t.Errorf("stats %+v", s)
		}
		r.at(4 * time.Second)
		r.wantRow(vsA, "down")
		r.wantRow(vsB, "waiting") // its 3 s count from 3 s, when it got its turn
		r.at(6 * time.Second)
		r.wantRow(vsB, "down")
	})
}

// The last failures outlive any number of successes, and results that change
// no health make no new table.
func TestHistory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, Options{})
		r.silence("10.0.0.1", true)
		r.Want(Compile(model(defaults(), "10.0.0.1")))
		defer r.run()()
		r.at(4 * time.Second)
		r.silence("10.0.0.1", false)
		r.at(61 * time.Second)
		generation := r.board.Table().Generation()
		r.at(121 * time.Second)
		if g := r.board.Table().Generation(); g != generation {
			t.Errorf("%d new tables without a change", g-generation)
		}
		h, ok := r.History(checkA)
		if !ok || len(h.Last) != 10 || len(h.Failures) != 1 || h.Streak != 24 || h.Health != status.Up {
			t.Fatalf("history %+v", h)
		}
		if f := h.Failures[0]; f.Outcome != Fail || f.Saw != "no reply within 3s" || f.Took != 3*time.Second || !f.At.Equal(r.begin) {
			t.Errorf("failure %+v", f)
		}
		if next := h.Next.Sub(r.begin); next != 125*time.Second || !h.Since.Equal(r.begin.Add(15*time.Second)) {
			t.Errorf("next after %s, since %s", next, h.Since)
		}
		if list := r.Evidence(vsA); len(list) != 1 || list[0].ID != checkA || len(r.Checks()) != 1 || len(r.Evidence(checkA)) != 1 || r.Evidence("link/x") != nil {
			t.Errorf("evidence %+v", list)
		}
		if _, ok := r.History(vsA); ok {
			t.Error("a verdict has no history of its own")
		}
	})
}

// Stopping does not wait for timeouts, and a cut-off probe counts for nothing.
func TestStop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, Options{})
		r.silence("10.0.0.1", true)
		r.Want(Compile(model(defaults(), "10.0.0.1")))
		stop := r.run()
		r.at(time.Second)
		stop()
		if d := time.Since(r.begin); d != time.Second {
			t.Errorf("stopped after %s", d)
		}
		r.wantRow(vsA, "waiting")
		r.Want(Compile(model(defaults(), "10.0.0.2"))) // starts nothing now
		r.at(time.Minute)
		if got := r.startsOf("10.0.0.2"); got != "[]" {
			t.Errorf("probed at %s after the end", got)
		}
	})
}

// Reloads, readers and probes at once: for the race detector, and for rows
// that nobody owns any more.
func TestStorm(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, Options{MaxRunning: 3})
		p := config.Probe{Interval: 100 * ms, Timeout: 50 * ms, Rise: 1, Fall: 1}
		var addresses []string
		for i := range 24 {
			addresses = append(addresses, fmt.Sprintf("10.0.0.%d", i+1))
			r.silence(addresses[i], i%3 == 0)
		}
		r.Want(Compile(model(p, addresses...)))
		stop := r.run()
		var wg sync.WaitGroup
		for n := range 4 {
			wg.Go(func() {
				for i := range 50 {
					<-time.After(time.Duration(7+n) * time.Millisecond)
					q := p
					q.Rise = 1 + i%2
					r.Want(Compile(model(q, addresses[:1+(i*7+n)%24]...)))
					r.Checks()
					r.Stats()
					r.Snapshot()
				}
			})
		}
		wg.Wait()
		r.Want(Compile(model(p, addresses[:6]...)))
		<-time.After(time.Second)
		synctest.Wait()
		for i := range 6 {
			want := map[bool]string{true: "down", false: "up"}[i%3 == 0]
			r.wantRow(status.ID("virtualServer/"+string(rune('a'+i))), want)
		}
		n := 0
		for range r.board.Table().All() {
			n++
		}
		if n != 12 {
			t.Errorf("%d rows, want 6 checks and 6 virtual servers", n)
		}
		stop()
	})
}
