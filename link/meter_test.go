package link

import (
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/portolan-lb/portolan/busy"
)

var start = time.Now()

// at gives a moment so many seconds after the start.
func at(seconds float64) time.Time { return start.Add(time.Duration(seconds * float64(time.Second))) }

// tick is a sample of an interface's counters, in octets.
func tick(seconds float64, in, out uint64) Sample {
	return Sample{At: at(seconds), Every: time.Second, In: in, Out: out, Bits: 64, Series: 7}
}

func wantRates(t *testing.T, what string, got busy.Rates, in, out float64) {
	t.Helper()
	for d, want := range map[busy.Direction]float64{busy.Total: in + out, busy.In: in, busy.Out: out} {
		if math.IsNaN(want) != math.IsNaN(got[d]) || math.Abs(got[d]-want) > 1e-6*want {
			t.Errorf("%s: %v is %v, want %v", what, d, got[d], want)
		}
	}
}

var nan = math.NaN()

// A rate is known from the second sample on, and is not 0 before (T28).
func TestMeterStart_T28(t *testing.T) {
	m := meter{window: time.Second}
	wantRates(t, "nothing", m.rates(at(0)), nan, nan)
	m.count(tick(0, 5000, 9000))
	wantRates(t, "one sample", m.rates(at(0)), nan, nan)
	m.count(tick(1, 6000, 9500))
	wantRates(t, "two samples", m.rates(at(1)), 8000, 4000)
	m.count(tick(2, 6000, 9500))
	wantRates(t, "silence", m.rates(at(2)), 0, 0)
}

// After a gap nothing is known, not what it was and not a mean over the gap.
func TestMeterGap_T28(t *testing.T) {
	m := meter{window: time.Second}
	m.count(tick(0, 0, 0))
	m.count(tick(1, 1000, 0))
	wantRates(t, "3 s later", m.rates(at(4)), 8000, 0)
	wantRates(t, "3.1 s later", m.rates(at(4.1)), nan, nan)
	m.count(tick(4.1, 1e6, 0))
	wantRates(t, "the first after the gap", m.rates(at(4.1)), nan, nan)
	m.count(tick(5.1, 1e6+2000, 0))
	wantRates(t, "the second", m.rates(at(5.1)), 16000, 0)

	m = meter{window: time.Second}
	m.count(tick(0, 0, 0))
	m.count(tick(3, 3000, 0))
	wantRates(t, "two missed ticks are no gap", m.rates(at(3)), 8000, 0)
}

// Counters of another interface, or of one that was made anew, are not compared.
func TestMeterSeries_T28(t *testing.T) {
	m := meter{window: time.Second, capacity: 1e15}
	m.count(tick(0, 1000, 1000))
	m.count(tick(1, 2000, 2000))
	for i, in := range []uint64{9e9, 9e9 + 1000} {
		s := tick(2+float64(i), in, 1000)
		s.Series = 8
		m.count(s)
		wantRates(t, "another series", m.rates(s.At), []float64{nan, 8000}[i], []float64{nan, 0}[i])
	}
}

func TestMeterWrap(t *testing.T) {
	const top32, top64 = 1<<32 - 500, math.MaxUint64 - 499 // 500 octets below the wrap
	for _, c := range []struct {
		name     string
		was, is  uint64
		bits     int
		capacity float64
		speed    uint64
		want     float64 // bits a second
	}{
		{"64 bits", top64, 500, 64, 1e9, 0, 8000},
		{"32 bits", top32, 500, 32, 1e9, 0, 8000},
		{"32 bits in a field of 64", top32, 500, 0, 1e9, 0, 8000},
		{"64 bits in a field of 64", top64, 500, 0, 1e9, 0, 8000},
		{"64 bits for certain", top32, 500, 64, 1e9, 0, nan},
		{"the driver knows the speed", top32, 500, 0, 0, 1e9, 8000},
		{"more than the line carries", 1 << 31, 500, 0, 1e9, 0, nan},
		{"as much as the line carries", 1 << 31, 500, 0, 18e9, 0, 8 * (1<<31 + 500)},
		{"nobody knows what the line carries", top32, 500, 0, 0, 0, nan},
		{"set back", 1 << 40, 500, 64, 1e9, 0, nan},
		{"a 32-bit counter beyond 32 bits", 1 << 40, 500, 32, 1e15, 0, nan},
	} {
		for _, direction := range []string{"in", "out"} {
			m := meter{window: time.Second, capacity: c.capacity}
			before, after := tick(0, c.was, 1000), tick(1, c.is, 2000)
			wantIn, wantOut := c.want, 8000.0
			if direction == "out" {
				before.In, before.Out, after.In, after.Out = before.Out, before.In, after.Out, after.In
				wantIn, wantOut = wantOut, wantIn
			}
			if math.IsNaN(c.want) { // both directions were set back together
				wantIn, wantOut = nan, nan
			}
			before.Bits, after.Bits = c.bits, c.bits
			after.Speed = c.speed
			m.count(before)
			m.count(after)
			wantRates(t, c.name+" "+direction, m.rates(after.At), wantIn, wantOut)
		}
	}
}

// What went before tells whether a wrap is plausible where no capacity does.
func TestMeterWrap_ByRate(t *testing.T) {
	m := meter{window: 10 * time.Second}
	from := uint64(1<<32 - 2500)
	for i := range uint64(6) {
		s := tick(float64(i), (from+1000*i)%size32, 10*i)
		s.Bits = 0
		m.count(s)
		if i > 0 {
			wantRates(t, "through the wrap", m.rates(at(float64(i))), 8000, 80)
		}
	}
	back := tick(6, 0, 60)
	back.Bits = 0
	m.count(back) // a jump back of 2,500 octets is no wrap: that would be 4 GiB
	wantRates(t, "set back", m.rates(at(6)), nan, nan)
}

// The window is a sliding mean; an early or late tick does not double it.
func TestMeterWindow(t *testing.T) {
	m := meter{window: 10 * time.Second}
	var octets uint64
	for i := range 40 {
		m.count(tick(float64(i), octets, 0))
		if i < 20 {
			octets += 1000
		}
		switch {
		case i == 5:
			wantRates(t, "a window not yet full", m.rates(at(5)), 8000, 0)
		case i == 25:
			wantRates(t, "half of the window", m.rates(at(25)), 4000, 0)
		case i >= 30:
			wantRates(t, "after the window", m.rates(at(float64(i))), 0, 0)
		}
		if len(m.ring) > 11 {
			t.Fatalf("%d samples are kept for 10 s", len(m.ring))
		}
	}
	m = meter{window: time.Second}
	for i, s := range []float64{0, 0.97, 2.03, 2.99, 4.01} {
		m.count(tick(s, uint64(i)*1000, 0))
		if len(m.ring) > 2 {
			t.Errorf("at %v the window of 1 s has %d samples", s, len(m.ring))
		}
	}
}

// A tick that came late is followed by one that is on time: the few octets between
// them are no rate.
func TestMeterLateTick(t *testing.T) {
	m := meter{window: time.Second}
	m.count(tick(0, 0, 0))
	m.count(tick(1, 1000, 0))
	m.count(tick(2.99, 2990, 0))
	m.count(tick(3, 4000, 0)) // a burst of 1,010 octets in 10 ms
	wantRates(t, "late", m.rates(at(3)), 8*3000/2.0, 0)
	m.count(tick(4, 5000, 0))
	wantRates(t, "on time", m.rates(at(4)), 8*1000, 0)
}

// A source that is asked less often than the window is long gives the mean
// since it was asked last, and its gap is three questions without an answer.
func TestMeterSlowSource_T28(t *testing.T) {
	m := meter{window: time.Second}
	for i, octets := range []uint64{0, 5000, 15000} {
		s := tick(5*float64(i), octets, 0)
		s.Every = 5 * time.Second
		m.count(s)
	}
	wantRates(t, "every 5 s", m.rates(at(14)), 16000, 0)
	wantRates(t, "15 s later", m.rates(at(25)), 16000, 0)
	wantRates(t, "more than 15 s later", m.rates(at(25.1)), nan, nan)
}

// A pushed value counts until it is too old, a single direction may be unknown.
func TestMeterPush_T28(t *testing.T) {
	m := meter{window: time.Second}
	m.push(busy.Rates{nan, 5e6, nan}, at(0), 30*time.Second)
	if r := m.rates(at(30)); r[busy.In] != 5e6 || !math.IsNaN(r[busy.Out]) || !math.IsNaN(r[busy.Total]) {
		t.Errorf("got %v", r)
	}
	wantRates(t, "too old", m.rates(at(30.1)), nan, nan)
}

// The slow twin keeps every sample of the series and walks back through them.
func TestMeterTwin(t *testing.T) {
	for seed := range uint64(300) {
		rnd := rand.New(rand.NewPCG(seed, 1))
		window := time.Duration(1+rnd.IntN(20)) * time.Second
		m := meter{window: window, capacity: 1e9}
		var all []Sample
		var now float64
		var in, out uint64
		for range 200 {
			switch {
			case rnd.IntN(50) == 0:
				now += 3.5 // a gap
				all = nil
			case rnd.IntN(50) == 0:
				in, out, all = 1<<40+uint64(rnd.IntN(1000)), 1<<40, nil // set back, or far ahead in a new series
				now++
				m.ring = nil
			default:
				now += 0.9 + 0.2*rnd.Float64()
			}
			in, out = in+uint64(rnd.IntN(1e6)), out+uint64(rnd.IntN(1e6))
			s := tick(now, in, out)
			m.count(s)
			all = append(all, s)
			best := 0
			for i := range all[:len(all)-1] {
				if 2*s.At.Sub(all[i].At) >= window && off(s.At.Sub(all[i].At), window) <= off(s.At.Sub(all[best].At), window) {
					best = i
				}
			}
			if len(all) == 1 {
				wantRates(t, "twin", m.rates(s.At), nan, nan)
				continue
			}
			took := s.At.Sub(all[best].At).Seconds()
			wantRates(t, "twin", m.rates(s.At), 8*float64(in-all[best].In)/took, 8*float64(out-all[best].Out)/took)
			if t.Failed() {
				t.Fatalf("seed %d at %v", seed, now)
			}
		}
	}
}
