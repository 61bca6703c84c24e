package proximity

import (
	"bytes"
	"errors"
	"fmt"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"github.com/portolan-lb/portolan/config"
)

// R2: over a restart entries keep what they know and their ages, those that warm
// up what is left of it; the time away counts.
func TestKept_R2(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newDesk(t, "proximity: {methods: [icmp], timeout: 10m}\n")
		b.learn("198.51.100.7", toTelecom)
		time.Sleep(7 * time.Minute)
		b.learn("203.0.113.7", toTelecom)
		b.learn("2001:db8::7", toTelecom)
		b.want("192.0.2.7")
		time.Sleep(4 * time.Second)
		b.plan.Want(Asked{Client: netip.MustParseAddr("203.0.113.7"), Now: time.Now(), Chose: []Chosen{{77, 1}}})
		body, n := b.table.Keep(0, 1, time.Now())
		if n != 4 {
			t.Fatalf("kept %d", n)
		}
		time.Sleep(3 * time.Minute) // away

		again := newDesk(t, "proximity: {methods: [icmp], timeout: 10m}\n")
		n, parts, err := again.table.Restore(body, time.Now())
		if n != 3 || parts != 1 || err != nil {
			t.Fatalf("restored %d of %d parts, %v", n, parts, err)
		}
		for client, want := range map[string]State{"203.0.113.7": Ready, "2001:db8::9": Ready, "192.0.2.1": Ready, "198.51.100.7": Absent} {
			if got := again.look(client).State; got != want {
				t.Errorf("%s: %v, want %v", client, got, want)
			}
		}
		if got := again.best("203.0.113.7", nil); got != "telecom" {
			t.Errorf("best %q", got)
		}
		v := again.look("203.0.113.7")
		if got := again.bestOf(&v, nil, 77); got != "telecom" || v.entry.settled(77) == 0 {
			t.Errorf("best %q, the last best is %d", got, v.entry.settled(77))
		}
		was, _ := b.table.List(Query{Client: netip.MustParseAddr("203.0.113.7")}, nil, time.Now())
		is, _ := again.table.List(Query{Client: netip.MustParseAddr("203.0.113.7")}, nil, time.Now())
		if fmt.Sprintf("%+v", was) != fmt.Sprintf("%+v", is) {
			t.Errorf("was %+v\nis  %+v", was, is)
		}
	})
	synctest.Test(t, func(t *testing.T) {
		b := newDesk(t, byICMP)
		b.want("192.0.2.7")
		time.Sleep(4 * time.Second)
		body, _ := b.table.Keep(0, 1, time.Now())
		again := newDesk(t, byICMP)
		if _, _, err := again.table.Restore(body, time.Now()); err != nil {
			t.Fatal(err)
		}
		if v := again.look("192.0.2.7"); v.State != Warming || !v.Next.Equal(time.Now().Add(6*time.Second)) {
			t.Errorf("%v until %v", v.State, v.Next)
		}
	})
}

// What changed while we were away clears as it would have done before our eyes
// (T10).
func TestKeptOfAnotherConfiguration_T10(t *testing.T) {
	for name, c := range map[string]struct {
		text  string
		links func([]*config.Link)
		want  string
		n     int
	}{
		"the same":  {byICMP, nil, "telecom", 1},
		"method":    {"proximity: {methods: [tcp]}\n", nil, "", 0},
		"mask":      {"proximity: {methods: [icmp], mask: 20}\n", nil, "", 0},
		"cost":      {byICMP, func(l []*config.Link) { l[0].Cost++ }, "", 0},
		"rateLimit": {byICMP, func(l []*config.Link) { l[0].RateLimit.In++ }, "telecom", 1},
		"a way":     {byICMP, func(l []*config.Link) { l[0].Mark++ }, "unicom", 1},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newDesk(t, byICMP)
				b.learn("203.0.113.7", toTelecom)
				body, _ := b.table.Keep(0, 1, time.Now())
				m := asking(t, c.text)
				if c.links != nil {
					c.links(m.Links)
				}
				again := &desk{t: t, table: NewTable(TableOptions{Ask: b.ask})}
				again.use(m)
				n, _, err := again.table.Restore(body, time.Now())
				if n != c.n || err != nil || again.best("203.0.113.7", nil) != c.want {
					t.Errorf("%d entries, %v, best %q", n, err, again.best("203.0.113.7", nil))
				}
			})
		})
	}
}

// Parts hold every entry once, and no more come back than maxEntries.
func TestKeptInParts(t *testing.T) {
	table, p := filled(t, 2000)
	again := NewTable(TableOptions{Ask: func(Want) error { return nil }})
	again.Use(p)
	total := 0
	for part := range 3 {
		body, _ := table.Keep(part, 3, time.Now())
		n, parts, err := again.Restore(body, time.Now())
		if err != nil || parts != 3 {
			t.Fatal(parts, err)
		}
		total += n
	}
	if total != 2000 || again.Stats().Entries != 2000 {
		t.Errorf("%d entries", total)
	}
	m := asking(t, "proximity: {methods: [icmp], maxEntries: 100}\n")
	small := NewTable(TableOptions{})
	small.Use(Compile(m))
	body, _ := table.Keep(0, 1, time.Now())
	if _, _, err := small.Restore(body, time.Now()); err != nil || small.Stats().Entries > 100 {
		t.Errorf("%d entries, %v", small.Stats().Entries, err)
	}
}

// Whatever stands in a file, it is taken whole or refused, and never panics.
func FuzzRestore(f *testing.F) {
	m := asking(f, byICMP)
	table := NewTable(TableOptions{Ask: func(Want) error { return nil }})
	p := Compile(m)
	table.Use(p)
	fill(table, p, 20)
	body, _ := table.Keep(0, 1, time.Now())
	f.Add(body)
	f.Add(body[:len(body)-7])
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, body []byte) {
		again := NewTable(TableOptions{Ask: func(Want) error { return nil }})
		plan := Compile(m)
		again.Use(plan)
		n, _, err := again.Restore(body, time.Now())
		if err != nil && !errors.Is(err, errKept) {
			t.Error(err)
		}
		if got := again.Stats().Entries; got != n {
			t.Errorf("%d entries, said %d", got, n)
		}
		list, _ := again.List(Query{Limit: 1000}, nil, time.Now())
		if len(list) != n {
			t.Errorf("lists %d of %d", len(list), n)
		}
		once, _ := again.Keep(0, 1, time.Now())
		if n > 0 && bytes.Equal(once, nil) {
			t.Error("cannot be kept again")
		}
	})
}

// How long a part of a large table takes to be kept; nobody waits for it.
func BenchmarkKeepPart(b *testing.B) {
	table, _ := filled(b, perPart)
	b.ReportAllocs()
	for b.Loop() {
		body, n := table.Keep(0, 1, time.Now())
		b.SetBytes(int64(len(body)))
		b.ReportMetric(float64(len(body))/float64(n), "bytes/entry")
	}
}

// R2: what distances rest on has the same name in the next process. Within one
// process no test could tell a name made of pointers from a good one.
func TestBasisOutlivesTheProcess_R2(t *testing.T) {
	l := &config.Link{Name: "telecom", Interface: "eth1", Mark: 7, Source: netip.MustParseAddr("192.0.2.1"), NextHop: netip.MustParseAddr("2001:db8::1%eth1")}
	p := &Plan{Config: &config.Proximity{Methods: []string{"icmp", "udp"}, Port: 53}}
	if got, want := [2]uint64{basisOf(l), p.basis()}, [2]uint64{5834173588014123463, 1259185037362694993}; got != want {
		t.Errorf("%d, want %d", got, want)
	}
}
