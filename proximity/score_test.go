package proximity

import (
	"fmt"
	"math"
	"math/rand/v2"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"github.com/portolan-lb/portolan/config"
	"github.com/portolan-lb/portolan/status"
)

// rank gives the best of what was measured: by link, its RTT and hops.
func rank(t *testing.T, m *config.Model, measured []Sample, gauges *status.Gauges) string {
	t.Helper()
	b := &desk{t: t}
	b.table = NewTable(TableOptions{Ask: b.ask})
	b.use(m)
	b.measured("203.0.113.7", measured)
	return b.best("203.0.113.7", gauges)
}

func (b *desk) measured(client string, samples []Sample) {
	b.want(client)
	w := b.asked()[0]
	for _, s := range samples {
		s.Method, s.At = "icmp", time.Now()
		b.table.Deliver(Result{Prefix: w.Prefix, Link: s.Link, Sample: s, Tag: w.Tag})
	}
	time.Sleep(10 * time.Second)
}

// FAQ 1.2.3, T9, its two cases exactly: TTL 3 and cost 99 against TTL 2 and cost
// 100.
func TestScore_1_2_3(t *testing.T) {
	for weights, want := range map[string]string{
		"{rtt: 0, ttl: 1, cost: 50, in: 0, out: 0}":   "telecom",
		"{rtt: 0, ttl: 100, cost: 50, in: 0, out: 0}": "unicom",
		"{rtt: 0, ttl: 0, cost: 50, in: 0, out: 0}":   "telecom", // 1.2.29: 0 removes a factor
		"{rtt: 100, ttl: 0, cost: 0, in: 0, out: 0}":  "unicom",
	} {
		synctest.Test(t, func(t *testing.T) {
			m := asking(t, "proximity: {methods: [icmp], weights: "+weights+"}\n")
			m.Links[0].Cost, m.Links[1].Cost = 99, 100
			got := rank(t, m, []Sample{{Link: "telecom", RTT: 20 * time.Millisecond, Hops: 3}, {Link: "unicom", RTT: 19 * time.Millisecond, Hops: 2}}, nil)
			if got != want {
				t.Errorf("weights %s: %s, want %s", weights, got, want)
			}
		})
	}
}

// gauge gives live numbers: what remains of telecom's and unicom's limits, of
// 100 Mbps each.
func gauge(remains map[string][3]float64) *status.Gauges {
	b := status.NewBoard(1)
	now := map[status.ID]status.Gauge{}
	for name, r := range remains {
		g := status.NoGauge()
		for d, remains := range r {
			g.Rate[d] = 100*mbps - remains
		}
		now[status.MakeID(status.KindLink, name)] = g
	}
	b.Measure(now)
	return b.Gauges()
}

const mbps = 1e6

// limited is two links alike, each of 100 Mbps.
func limited(t testing.TB, text string) *config.Model {
	m := asking(t, text)
	m.Links[0].Cost, m.Links[1].Cost = 0, 0
	m.Links[1].RateLimit = m.Links[0].RateLimit
	return m
}

var alike = []Sample{{Link: "telecom", RTT: 10 * time.Millisecond, Hops: 4}, {Link: "unicom", RTT: 10 * time.Millisecond, Hops: 4}}

// FAQ 1.2.19, T13, T28: at its limit a link is passed over for the second best;
// what is not known is not 0; if all are at their limits none is passed over.
func TestCapped_1_2_19(t *testing.T) {
	nan := math.NaN()
	better := []Sample{{Link: "telecom", RTT: 1 * time.Millisecond, Hops: 1}, {Link: "unicom", RTT: 90 * time.Millisecond, Hops: 20}}
	for name, c := range map[string]struct {
		remains map[string][3]float64
		want    string
	}{
		"free":               {map[string][3]float64{"telecom": {nan, 50 * mbps, 50 * mbps}, "unicom": {nan, 50 * mbps, 50 * mbps}}, "telecom"},
		"at its limit in":    {map[string][3]float64{"telecom": {nan, 0, 50 * mbps}, "unicom": {nan, 50 * mbps, 50 * mbps}}, "unicom"},
		"over its limit out": {map[string][3]float64{"telecom": {nan, 1, -5}, "unicom": {nan, 50 * mbps, 50 * mbps}}, "unicom"},
		"not known":          {map[string][3]float64{"telecom": {nan, nan, nan}, "unicom": {nan, 50 * mbps, 50 * mbps}}, "telecom"},
		"both":               {map[string][3]float64{"telecom": {nan, 0, 0}, "unicom": {nan, 0, 0}}, "telecom"},
		"no live numbers":    {nil, "telecom"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				if got := rank(t, limited(t, byICMP), better, gauge(c.remains)); got != c.want {
					t.Errorf("%s, want %s", got, c.want)
				}
			})
		})
	}
}

// T16: below a millisecond a difference counts as what it is, not as if it were
// the whole way; above, each is a share of the longest.
func TestShortWays_T16(t *testing.T) {
	for want, rtts := range map[[2]float64][2]time.Duration{
		{2.6, 5.2}: {26 * time.Microsecond, 52 * time.Microsecond},
		{50, 100}:  {time.Millisecond, 2 * time.Millisecond},
		{5, 100}:   {50 * time.Microsecond, time.Millisecond},
	} {
		synctest.Test(t, func(t *testing.T) {
			b := newDesk(t, byICMP)
			b.use(limited(t, byICMP))
			b.measured("203.0.113.7", []Sample{{Link: "telecom", RTT: rtts[0], Hops: 1}, {Link: "unicom", RTT: rtts[1], Hops: 1}})
			v := b.look("203.0.113.7")
			r := v.Rank([]int{0, 1}, nil, nil)
			for i := range want {
				if got := r.Rated[i].Parts[RTT]; math.Abs(got-want[i]) > 0.01 {
					t.Errorf("%v counts %.2f, want %.2f", rtts[i], got, want[i])
				}
			}
		})
	}
}

// FAQ 1.2.5: a change of rateLimit ranks by the new limit at once, though what
// the last tick of the meter says to remain is of the old one.
func TestLimitChanges_1_2_5(t *testing.T) {
	for limit, want := range map[config.Bandwidth]string{1000 * mbps: "telecom", 5 * mbps: "unicom"} {
		synctest.Test(t, func(t *testing.T) {
			m := limited(t, byICMP)
			m.Links[0].RateLimit = config.Bandwidths{Out: limit}
			b := status.NewBoard(1)
			g := status.NoGauge()
			g.Rate[2], g.Remaining[2] = 10*mbps, 90*mbps // of 100 Mbps until now
			b.Measure(map[status.ID]status.Gauge{"link/telecom": g, "link/unicom": g})
			if got := rank(t, m, alike, b.Gauges()); got != want {
				t.Errorf("limit %v: %s, want %s", limit, got, want)
			}
		})
	}
}

// FAQ 1.2.19: a link that falls under its limit is chosen again, also where the
// second best is within the margin, and had answered meanwhile.
func TestChosenAgain_1_2_19(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newDesk(t, "")
		b.use(limited(t, "proximity: {methods: [icmp], weights: {ttl: 0, in: 0, out: 0}}\n"))
		b.measured("203.0.113.7", []Sample{{Link: "telecom", RTT: 95 * time.Millisecond}, {Link: "unicom", RTT: 100 * time.Millisecond}})
		client := netip.MustParseAddr("203.0.113.7")
		free, capped := gauge(nil), gauge(map[string][3]float64{"telecom": {math.NaN(), 0, 0}})
		for i, c := range []struct {
			gauges *status.Gauges
			want   string
		}{{free, "telecom"}, {capped, "unicom"}, {capped, "unicom"}, {free, "telecom"}} {
			v := b.look("203.0.113.7")
			r := v.Rank([]int{0, 1}, c.gauges, nil)
			link := r.Rated[r.Best].Link
			if got := b.plan.Links[link].Name; got != c.want {
				t.Errorf("%d: %s, want %s", i, got, c.want)
			}
			b.plan.Want(Asked{Client: client, Target: client, Now: time.Now(), Chose: []Chosen{{r.Circle, link}}})
		}
	})
}

// FAQ 1.2.29, 1.2.5: load moves the best link, at the moment of choice; with
// weight 0 it does not.
func TestLoad_1_2_29(t *testing.T) {
	loaded := gauge(map[string][3]float64{"telecom": {math.NaN(), 20 * mbps, 20 * mbps}, "unicom": {math.NaN(), 95 * mbps, 95 * mbps}})
	for text, want := range map[string]string{byICMP: "unicom", "proximity: {methods: [icmp], weights: {in: 0, out: 0}}\n": "telecom"} {
		synctest.Test(t, func(t *testing.T) {
			if got := rank(t, limited(t, text), alike, loaded); got != want {
				t.Errorf("%s: %s, want %s", text, got, want)
			}
		})
	}
}

// T16: with noise on what remains, and on what is measured, the best link does
// not swing; with the weights 0 not at all; without a margin it would, so the
// noise is one that matters.
func TestNoOscillation_T16(t *testing.T) {
	switches := func(t *testing.T, text string) (n int) {
		synctest.Test(t, func(t *testing.T) {
			b := &desk{t: t}
			b.table = NewTable(TableOptions{Ask: b.ask})
			b.use(limited(t, text))
			b.measured("203.0.113.7", alike)
			random := rand.New(rand.NewPCG(1, 2))
			noise := func() float64 { return (50 + 6*random.Float64()) * mbps } // of 100 used
			client, last := netip.MustParseAddr("203.0.113.7"), -1
			for range 2000 {
				time.Sleep(time.Second)
				gauges := gauge(map[string][3]float64{"telecom": {math.NaN(), noise(), noise()}, "unicom": {math.NaN(), noise(), noise()}})
				v := b.plan.Look(client, time.Now())
				r := v.Rank([]int{0, 1}, gauges, nil)
				rated, best := r.Rated, r.Best
				if best < 0 {
					t.Fatal("none")
				}
				if last >= 0 && rated[best].Link != last {
					n++
				}
				last = rated[best].Link
				b.plan.Want(Asked{Client: client, Target: client, Now: time.Now(), Chose: []Chosen{{r.Circle, last}}})
				for _, w := range b.asked() {
					b.deliver(w, map[string]time.Duration{"telecom": time.Duration(9500+random.IntN(1000)) * time.Microsecond, "unicom": time.Duration(9500+random.IntN(1000)) * time.Microsecond})
				}
			}
		})
		return n
	}
	if n := switches(t, byICMP); n != 0 {
		t.Errorf("%d switches with the margin", n)
	}
	if n := switches(t, "proximity: {methods: [icmp], weights: {rtt: 0, in: 0, out: 0}}\n"); n != 0 {
		t.Errorf("%d switches with weight 0", n)
	}
	if n := switches(t, "proximity: {methods: [icmp], margin: 0%}\n"); n < 500 {
		t.Errorf("%d switches without a margin: this noise proves nothing", n)
	}
}

// FAQ 1.2.22: what is measured anew ranks an entry anew, in place, if it is more
// than the margin.
func TestRerank_1_2_22(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newDesk(t, "proximity: {methods: [icmp], weights: {ttl: 0, cost: 0, in: 0, out: 0}}\n")
		b.learn("203.0.113.7", map[string]time.Duration{"telecom": 20 * time.Millisecond, "unicom": 30 * time.Millisecond})
		circle := b.plan.circle([]int{0, 1})
		for _, c := range []struct {
			unicom time.Duration
			want   string
		}{{19 * time.Millisecond, "telecom"}, {18100 * time.Microsecond, "telecom"}, {17 * time.Millisecond, "unicom"}, {21 * time.Millisecond, "unicom"}, {23 * time.Millisecond, "telecom"}} {
			v := b.look("203.0.113.7")
			got := b.bestOf(&v, nil, circle)
			link, _ := b.plan.Link(got)
			b.plan.Want(Asked{Client: netip.MustParseAddr("203.0.113.7"), Now: time.Now(), Chose: []Chosen{{circle, link}}})
			for range 2 { // one alone may be an outlier: see trail
				b.table.Deliver(Result{Prefix: netip.MustParsePrefix("203.0.113.0/24"), Link: "unicom", Tag: v.in.table.shards.Load().era,
					Sample: Sample{RTT: c.unicom, Method: "icmp", At: time.Now()}})
			}
			v = b.look("203.0.113.7")
			if got := b.bestOf(&v, nil, circle); got != c.want {
				t.Errorf("20 ms against %v: %s, want %s", c.unicom, got, c.want)
			}
		}
		if b.table.Stats().Entries != 1 || b.table.Stats().Made != 1 {
			t.Errorf("%+v: not in place", b.table.Stats())
		}
	})
}

// What is not known of one counts as the mean of the others, never as the best
// (T28); what was not measured is not chosen beside what was.
func TestUnknown_T28(t *testing.T) {
	for name, c := range map[string]struct {
		measured []Sample
		want     string
	}{
		"hops of one are not known": {[]Sample{{Link: "telecom", RTT: 11 * time.Millisecond, Hops: 0}, {Link: "unicom", RTT: 10 * time.Millisecond, Hops: 9}}, "unicom"},
		"hops of none":              {[]Sample{{Link: "telecom", RTT: 10 * time.Millisecond}, {Link: "unicom", RTT: 12 * time.Millisecond}}, "telecom"},
		"one is not measured":       {[]Sample{{Link: "unicom", RTT: time.Second, Hops: 60}}, "unicom"},
		"none is":                   {nil, ""},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := limited(t, byICMP)
				if got := rank(t, m, c.measured, nil); got != c.want {
					t.Errorf("%q, want %q", got, c.want)
				}
			})
		})
	}
}

// Static entries outrank what is measured, also while an entry warms up; where
// the link is no candidate, or at its limit, the others are as measured.
func TestStaticOutranks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newDesk(t, "proximity: {methods: [icmp], static: [{prefix: 203.0.113.0/25, link: unicom}, {prefix: 198.51.100.0/24, link: telecom}]}\n")
		if got := b.best("203.0.113.7", nil); got != "unicom" {
			t.Errorf("without an entry: %q", got)
		}
		b.learn("203.0.113.7", toTelecom)
		if got, other := b.best("203.0.113.7", nil), b.best("203.0.113.200", nil); got != "unicom" || other != "telecom" {
			t.Errorf("inside %q, beside it %q", got, other)
		}
		if w := b.look("203.0.113.7").Width; w != 25 {
			t.Errorf("width %d, want 25: the other half of the network is answered otherwise", w)
		}
		v := b.look("203.0.113.7")
		if r := v.Rank([]int{0}, nil, nil); r.Best != 0 || r.Rated[0].Link != 0 {
			t.Errorf("without unicom: %+v", r)
		}
		full := gauge(map[string][3]float64{"telecom": {math.NaN(), 0, 0}})
		b.learn("198.51.100.7", toTelecom)
		if got := b.best("198.51.100.7", full); got != "unicom" {
			t.Errorf("configured, at its limit: %q", got)
		}
	})
}

// Slots with other candidates do not take each other's margin away.
func TestCirclesAreApart(t *testing.T) {
	e := &entry{}
	for n := range uint16(3) {
		e.settle(100+n, n+1)
	}
	for range 10 {
		e.settle(103, 9)
		e.settle(100, 1)
	}
	for n := range uint16(3) {
		if got := e.settled(100 + n); got != n+1 {
			t.Errorf("circle %d: %d", n, got)
		}
	}
	e.settle(101, 7)
	if e.settled(101) != 7 || e.settled(99) != 0 {
		t.Errorf("%d, %d", e.settled(101), e.settled(99))
	}
}

// Every standing has words of its own, with the figures (FAQ 1.2.28, 1.2.29).
func TestTexts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newDesk(t, byICMP)
		b.want("203.0.113.7")
		w := b.asked()[0]
		b.table.Deliver(Result{Prefix: w.Prefix, Link: "telecom", Tag: w.Tag, Err: ErrBusy})
		b.table.Deliver(Result{Prefix: w.Prefix, Link: "unicom", Tag: w.Tag, Err: errSilent})
		time.Sleep(10 * time.Second)
		v := b.look("203.0.113.7")
		rated := v.Rank([]int{0, 1}, nil, nil).Rated
		for i, want := range []string{"not measured: the link is busy", "nobody answered over it in the last round"} {
			if got := rated[i].Text(); got != want {
				t.Errorf("%s, want %s", got, want)
			}
		}
		b.deliver(w, map[string]time.Duration{"telecom": 10 * time.Millisecond, "unicom": 20 * time.Millisecond})
		v = b.look("203.0.113.7")
		rated = v.Rank([]int{0, 1}, nil, nil).Rated
		want := "score 200.0 = rtt 50.0 (10ms) + ttl 100.0 (5 hops) + cost 50.0 (10) + in 0.0 (not known) + out 0.0 (not known)"
		if got := fmt.Sprint(rated[0].Text()); got != want {
			t.Errorf("%s\nwant %s", got, want)
		}
	})
}
