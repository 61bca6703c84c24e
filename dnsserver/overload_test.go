package dnsserver

import (
	"encoding/binary"
	"log/slog"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/portolan-lb/portolan/config"
	"github.com/portolan-lb/portolan/status"
)

// slowly is a dynamic name that takes its time.
type slowly struct {
	decision
	takes time.Duration
}

func (s *slowly) decide(*question, uint16) *decision {
	<-time.After(s.takes)
	return &s.decision
}

// flooder sends queries from one socket and notes how long each answer takes.
type flooder struct {
	conn   net.Conn
	sent   [1 << 16]atomic.Int64 // when, ns, by id
	took   []time.Duration
	heard  atomic.Int64
	packet []byte
}

func (a *flooder) send(id uint16) error {
	binary.BigEndian.PutUint16(a.packet, id)
	a.sent[id].Store(time.Now().UnixNano())
	_, err := a.conn.Write(a.packet)
	return err
}

// listen reads answers until the socket is closed.
func (a *flooder) listen() {
	buf := make([]byte, 512)
	for {
		n, err := a.conn.Read(buf)
		if err != nil {
			return
		}
		if at := a.sent[binary.BigEndian.Uint16(buf[:n])].Swap(0); at != 0 {
			a.took = append(a.took, time.Duration(time.Now().UnixNano()-at))
			a.heard.Add(1)
		}
	}
}

// At three times of what can be answered memory stays flat, every query is
// either answered or counted as dropped, whoever is answered does not wait
// longer than a full buffer takes, and the log says so once.
func TestOverload(t *testing.T) {
	const clients, seconds, buffer = 16, 3, 32 << 10
	slow := &slowly{decision: decision{v4: addrs("192.0.2.10"), ttl: 30}, takes: 500 * time.Microsecond}
	table := limited(newTable(&config.DNS{}, mustZone(t, "example.com.", zoneHead, map[string]decider{"slow": slow})),
		func(l *config.Limits) { l.UDPBuffer = buffer })
	var mu sync.Mutex
	var events []status.Event
	r := run(t, "127.0.0.1:0", table, Options{Record: func(e status.Event) { mu.Lock(); events = append(events, e); mu.Unlock() }})

	var flooders []*flooder
	var listening sync.WaitGroup
	for range clients {
		a := &flooder{conn: dialed(t, "udp", r.udp)}
		_ = a.conn.(*net.UDPConn).SetReadBuffer(1 << 20)
		a.packet, _ = asking("slow.example.com.", dns.TypeA).Pack()
		flooders = append(flooders, a)
		listening.Go(a.listen)
	}
	heard := func() (n int64) {
		for _, a := range flooders {
			n += a.heard.Load()
		}
		return n
	}

	// What it can do: so many at a time that some always wait, and few enough
	// that none is lost.
	start := time.Now()
	var measuring sync.WaitGroup
	for _, a := range flooders {
		measuring.Go(func() {
			for id := uint16(0); time.Since(start) < time.Second; id++ {
				if a.send(id) != nil {
					return
				}
				for deadline := time.Now().Add(time.Second); a.heard.Load() <= int64(id) && time.Now().Before(deadline); {
					<-time.After(100 * time.Microsecond)
				}
			}
		})
	}
	measuring.Wait()
	capacity := float64(heard()) / time.Since(start).Seconds()
	if before := r.Stats().Dropped["overload"]; before > 0 || capacity < 100 {
		t.Fatalf("%d dropped while measuring, %.0f queries/s", before, capacity)
	}

	known, before := heard(), heapNow()
	sent, most := flood(t, flooders, 3*capacity, seconds*time.Second)
	var dropped, missed uint64
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); pause(t.Context(), 10*time.Millisecond) {
		dropped, missed = r.Stats().Dropped["overload"], 0
		for _, a := range flooders {
			n, _ := sockopt(a.conn, drops32)
			missed += uint64(n) // answers that the test itself was too slow for
		}
		if uint64(heard()-known)+dropped+missed >= uint64(sent) {
			break
		}
	}
	answered := heard() - known
	pause(t.Context(), time.Second+100*time.Millisecond) // a beat of watch
	r.stop()
	for _, a := range flooders {
		a.conn.Close()
	}
	listening.Wait()
	var took []time.Duration
	for _, a := range flooders {
		took = append(took, a.took...)
	}
	slices.Sort(took)
	p99 := took[len(took)*99/100]
	t.Logf("capacity %.0f queries/s; %d sent in %d s (%.1f times that), %d answered, %d counted as dropped, %d answers not read; p99 %v, worst %v; memory %d kB before, %d kB at most",
		capacity, sent, seconds, float64(sent)/seconds/capacity, answered, dropped, missed, p99, took[len(took)-1], before>>10, most>>10)
	if uint64(answered)+dropped+missed != uint64(sent) {
		t.Errorf("%d queries are neither answered nor counted", int64(sent)-answered-int64(dropped+missed))
	}
	if float64(sent) < 2*float64(answered) || dropped == 0 {
		t.Error("that was no overload")
	}
	if most > before+2<<20 {
		t.Errorf("memory grew from %d kB to %d kB", before>>10, most>>10)
	}
	if full := time.Duration(buffer/256) * time.Second / time.Duration(capacity/2); p99 > max(4*full, 100*time.Millisecond) {
		t.Errorf("p99 %v; a full buffer is worked off in %v at most", p99, full)
	}
	mu.Lock()
	defer mu.Unlock()
	if n := strings.Count(r.log.String(), "overload"); n != 1 || len(events) != 1 || !strings.Contains(events[0].Why, "the kernel dropped") {
		t.Errorf("told %d times, events %v:\n%s", n, events, r.log)
	}
}

// flood sends at a rate, and gives how many, and the most memory that was used.
func flood(t *testing.T, flooders []*flooder, rate float64, during time.Duration) (sent int, most uint64) {
	start := time.Now()
	for beat := 0; ; beat++ {
		elapsed := time.Since(start)
		if elapsed >= during {
			return sent, most
		}
		for ; float64(sent) < rate*elapsed.Seconds(); sent++ {
			a := flooders[sent%len(flooders)]
			if err := a.send(uint16(sent / len(flooders))); err != nil {
				t.Fatal(err)
			}
		}
		if beat%500 == 100 {
			most = max(most, heapNow())
		}
		pause(t.Context(), 500*time.Microsecond)
	}
}

// An overload that goes on is told of once a minute, with what came since.
func TestOverload_Told(t *testing.T) {
	var told []string
	s := New(Options{Log: slog.New(slog.DiscardHandler), Record: func(e status.Event) { told = append(told, e.Why) }})
	begin := time.Now()
	s.lost.when = begin.Add(-time.Hour)
	for second := range 150 {
		if second != 100 {
			s.lost.sum += 10
		}
		s.tellLost(begin.Add(time.Duration(second) * time.Second))
	}
	want := []string{"the kernel dropped 10 queries within 1m0s", "the kernel dropped 600 queries within 1m0s", "the kernel dropped 590 queries within 1m0s"}
	if len(told) != len(want) {
		t.Fatal(told)
	}
	for i := range want {
		if !strings.HasPrefix(told[i], want[i]) {
			t.Errorf("%d: %s, want %s", i, told[i], want[i])
		}
	}
	s.tellLost(begin.Add(time.Hour))
	if s.tellLost(begin.Add(2 * time.Hour)); len(told) != 4 {
		t.Errorf("with nothing new: %v", told)
	}
}
