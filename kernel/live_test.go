package kernel

import (
	"context"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/portolan-lb/portolan/nettest"
)

// startLive counts in a space, by servers too or not, from the first reading of the
// table until the test ends.
func startLive(t *testing.T, s *nettest.Space, mask uint32, servers bool, buffer int) *Live {
	t.Helper()
	var l *Live
	var err error
	s.Do(func() { l, err = openLive(mask, servers, buffer) })
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- l.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		l.Close()
	})
	until(t, "the table was read", longEnough, func() bool { return l.Recounted() > 0 })
	return l
}

// agrees waits until the counts are those wanted, of mark 1 and of mark 2.
func agrees(t *testing.T, l *Live, what string, one, two int) (counts map[uint32]Tally, lost uint64) {
	t.Helper()
	counts = map[uint32]Tally{}
	tick, late := time.NewTicker(5*time.Millisecond), time.After(longEnough)
	defer tick.Stop()
	for {
		lost = l.Counts(counts)
		if counts[1].Live == one && counts[2].Live == two {
			return counts, lost
		}
		select {
		case <-tick.C:
		case <-late:
			t.Fatalf("%s: counts %v, want %d and %d", what, counts, one, two)
		}
	}
}

// Sessions are counted by link from those that there are already, as they come
// and as they go, and those of no link not at all.
func TestLive_Root(t *testing.T) {
	s := tracked(t)
	c := openConntrack(t, s)
	flows(t, s, port("127.0.0.1:10000"), 300) // before anybody listens
	l := startLive(t, s, LinkMask, false, liveBuffer)
	agrees(t, l, "from before", 300, 0)
	flows(t, s, port("127.0.0.1:10000"), 20000)
	flows(t, s, port("127.0.0.1:30000"), 20000)
	flows(t, s, port("127.0.0.1:500"), 100)
	counts, lost := agrees(t, l, "20,000 flows", 20300, 20000)
	if lost != 0 || counts[1].Opened != 20000 || counts[2].Opened != 20000 || len(counts) != 2 {
		t.Errorf("counts %v, %d losses", counts, lost)
	}
	if err := c.DeleteByMark(1, LinkMask, 0); err != nil {
		t.Fatal(err)
	}
	agrees(t, l, "all of a link ended", 0, 20000) // those from before too, whose end is not told
	if _, err := c.End(t.Context(), SessionFilter{Port: 30001}); err != nil {
		t.Fatal(err)
	}
	agrees(t, l, "one ended", 0, 19999)
}

// Acceptance 19: when events are lost the counts are right again within two
// ticks of a second.
func TestLiveOverrun_Root(t *testing.T) {
	s := tracked(t)
	c := openConntrack(t, s)
	l := startLive(t, s, LinkMask, false, 1) // the smallest there is: a dozen events
	agrees(t, l, "none", 0, 0)
	right := func(what string, one, two int) {
		t.Helper()
		start := time.Now()
		agrees(t, l, what, one, two)
		if took := time.Since(start); took > promised {
			t.Errorf("%s: right again after %v", what, took)
		}
	}
	flows(t, s, port("127.0.0.1:10000"), 20000)
	right("come", 20000, 0)
	flows(t, s, port("127.0.0.1:30000"), 10000)
	if err := c.DeleteByMark(1, LinkMask, 0); err != nil {
		t.Fatal(err)
	}
	right("gone", 0, 10000)
	counts := map[uint32]Tally{}
	if lost := l.Counts(counts); lost == 0 {
		t.Error("no event was lost: the test tests nothing")
	}
}

// The order of what the table says and what is told of the same session does
// not matter (the chart at readTable).
func TestLiveOrder(t *testing.T) {
	tuple := Tuple{Protocol: unix.IPPROTO_UDP, Source: port("10.0.0.5:40000"), Destination: port("8.8.8.8:53")}
	told := func(kind uint16, id uint32) []byte {
		return message(kind, 0, 0, sessionMessage(tuple, tuple, attribute(ctaID, big32(id)), attribute(ctaMark, big32(3))))
	}
	for name, c := range map[string]struct {
		before [][]byte
		table  []uint32
		after  [][]byte
		want   int
		untold int
	}{
		"told after the table has it":   {nil, []uint32{1}, [][]byte{told(ctNew, 1)}, 1, 0},
		"told before and in the table":  {[][]byte{told(ctNew, 1)}, []uint32{1}, nil, 1, 0},
		"ended after the table had it":  {nil, []uint32{1, 2}, [][]byte{told(ctDelete, 1)}, 1, 1},
		"came and went around it":       {nil, nil, [][]byte{told(ctNew, 1), told(ctDelete, 1)}, 0, 0},
		"its end was lost":              {[][]byte{told(ctNew, 1), told(ctNew, 2)}, []uint32{2}, nil, 1, 0},
		"its end is told twice":         {[][]byte{told(ctNew, 1), told(ctDelete, 1)}, nil, [][]byte{told(ctDelete, 1)}, 0, 0},
		"the same number, other tuples": {nil, []uint32{1}, [][]byte{told(ctNew, 1), message(ctNew, 0, 0, sessionMessage(Tuple{Protocol: 6, Source: tuple.Source, Destination: tuple.Source}, tuple, attribute(ctaID, big32(1)), attribute(ctaMark, big32(3))))}, 2, 0},
	} {
		l := newLive(LinkMask, false)
		for _, b := range c.before {
			l.take(b)
		}
		found := map[uint64]known{}
		for _, id := range c.table {
			s, _ := parseSession(sessionMessage(tuple, tuple, attribute(ctaID, big32(id)), attribute(ctaMark, big32(3))))
			l.find(found, &s)
		}
		l.replace(found)
		for _, b := range c.after {
			l.take(b)
		}
		if got := l.counts[3].Live; got != c.want {
			t.Errorf("%s: %d sessions, want %d", name, got, c.want)
		}
		untold := 0 // of these the table is read again soon
		for _, k := range l.known {
			if !k.told {
				untold++
			}
		}
		if l.untold != untold || untold != c.untold {
			t.Errorf("%s: %d sessions that nobody told of, counted as %d, want %d", name, untold, l.untold, c.untold)
		}
	}
}

func BenchmarkLiveEvent(b *testing.B) {
	l := newLive(LinkMask, false)
	tuple := Tuple{Protocol: unix.IPPROTO_UDP, Source: port("10.0.0.5:40000"), Destination: port("8.8.8.8:53")}
	come := message(ctNew, 0, 0, sessionMessage(tuple, tuple, attribute(ctaID, big32(1)), attribute(ctaMark, big32(3))))
	leave := message(ctDelete, 0, 0, sessionMessage(tuple, tuple, attribute(ctaID, big32(1)), attribute(ctaMark, big32(3))))
	b.ReportAllocs()
	for b.Loop() {
		l.take(come)
		l.take(leave)
	}
}
