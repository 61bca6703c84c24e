package dnsserver

import (
	"bufio"
	"encoding/binary"
	"io"
	"net"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/miekg/dns"

	"github.com/portolan-lb/portolan/config"
)

// gated is a dynamic name that is decided when the gate is opened.
type gated struct {
	decision
	gate    chan struct{}
	waiting atomic.Int64
}

func (g *gated) decide(*question, uint16) *decision {
	g.waiting.Add(1)
	defer g.waiting.Add(-1)
	<-g.gate
	return &g.decision
}

// slowTable has the names ns, static, and slow, which waits for the gate.
func slowTable(t testing.TB, set func(*config.Limits)) (*Table, *gated) {
	g := &gated{decision: decision{v4: addrs("192.0.2.10"), ttl: 30}, gate: make(chan struct{})}
	return limited(newTable(&config.DNS{}, mustZone(t, "example.com.", zoneHead, map[string]decider{"slow": g})), set), g
}

// piped is a client of a stream without sockets, for tests in a bubble.
type piped struct {
	t testing.TB
	net.Conn
	server *Server
	stream *stream
	done   sync.WaitGroup
}

// connect opens a stream. It has ended when the bubble's test has.
func connect(t testing.TB, table *Table) *piped {
	p := joined(t, table)
	p.done.Go(p.stream.run)
	return p
}

// joined is connect before the first lane runs.
func joined(t testing.TB, table *Table) *piped {
	p := &piped{t: t, server: New(Options{})}
	p.server.Use(table)
	l := newTCPListener(p.server, nil)
	l.parallel = 2 // on every machine
	here, there := net.Pipe()
	p.Conn = there
	c := p.server.conns.open(here, netip.MustParseAddrPort("192.0.2.1:1234"), p.server.limits())
	p.stream = newStream(l, c, &p.done)
	t.Cleanup(func() { there.Close() })
	return p
}

// framed is a query behind its length.
func framed(name string, id uint16) []byte {
	m := asking(name, dns.TypeA)
	m.Id = id
	packet, _ := m.Pack()
	return append(binary.BigEndian.AppendUint16(nil, uint16(len(packet))), packet...)
}

// ask sends queries of the names in one segment; their numbers are their ids.
func (p *piped) ask(names ...string) {
	p.t.Helper()
	var segment []byte
	for i, name := range names {
		segment = append(segment, framed(name+".example.com.", uint16(i))...)
	}
	if _, err := p.Write(segment); err != nil {
		p.t.Fatal(err)
	}
}

// hear gives the ids of the next replies, as long as they come within a second.
func (p *piped) hear() (ids []int) {
	p.t.Helper()
	_ = p.SetReadDeadline(time.Now().Add(time.Second))
	for in := bufio.NewReader(p.Conn); ; {
		var head [14]byte
		_, err := io.ReadFull(in, head[:])
		if err != nil {
			return ids
		}
		ids = append(ids, int(binary.BigEndian.Uint16(head[2:])))
		if _, err := in.Discard(int(binary.BigEndian.Uint16(head[:])) - 12); err != nil {
			p.t.Fatal(err)
		}
	}
}

func (p *piped) reached(l limit) uint64 { return p.server.reached[l].Load() }

// RFC 7766 6.2.1.1 and 7: an answer that takes long holds up neither those that
// came with it nor those that come later, nor the ones before it.
func TestStream_OutOfOrder(t *testing.T) {
	for _, test := range []struct {
		name  string
		asked []string
		first []int
	}{
		{"alone, and others later", []string{"slow"}, nil},
		{"first of a burst", []string{"slow", "ns", "ns"}, []int{1, 2}},
		{"last of a burst", []string{"ns", "ns", "slow"}, []int{0, 1}},
		{"more slow ones than cores", []string{"slow", "ns", "slow", "slow", "ns", "slow"}, []int{1, 4}},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				table, g := slowTable(t, func(*config.Limits) {})
				p := connect(t, table)
				p.ask(test.asked...)
				got := p.hear()
				if slices.Sort(got); !slices.Equal(got, test.first) {
					t.Errorf("at first %v, want %v", got, test.first)
				}
				p.ask("ns")
				if got := p.hear(); len(got) != 1 {
					t.Errorf("a later query: %v", got)
				}
				close(g.gate)
				if got := p.hear(); len(got) != len(test.asked)-len(test.first) {
					t.Errorf("at last %v", got)
				}
				p.Close()
				p.done.Wait()
			})
		})
	}
}

// No more queries of a connection than its limit are answered at once. What is
// ready is sent all the same, and the next ones wait where they are.
func TestStream_QueriesPerConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		table, g := slowTable(t, func(l *config.Limits) { l.QueriesPerConnection = 3 })
		p := connect(t, table)
		p.ask("ns", "slow", "ns", "slow", "ns", "slow", "ns")
		if got := p.hear(); !slices.Equal(got, []int{0, 2, 4}) {
			t.Errorf("before the third slow one: %v", got)
		}
		if n := p.reached(limitQueriesPerConnection); n != 1 {
			t.Errorf("reached %d times", n)
		}
		g.gate <- struct{}{}
		if got := p.hear(); len(got) != 2 || !slices.Contains(got, 6) {
			t.Errorf("with one of them answered: %v", got)
		}
		close(g.gate)
		if got := p.hear(); len(got) != 2 {
			t.Errorf("at last: %v", got)
		}
		p.Close()
		p.done.Wait()
	})
}

// A burst of queries gets several lanes at once, so that one client can use
// several cores; more come only when answers prove slow.
func TestStream_Parallel(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		table, g := slowTable(t, func(*config.Limits) {})
		p := connect(t, table)
		p.ask("slow", "slow", "slow", "slow")
		synctest.Wait()
		if n := g.waiting.Load(); n != 2 {
			t.Errorf("%d queries are answered at once, want 2", n)
		}
		time.Sleep(slowAnswer)
		synctest.Wait()
		if n := g.waiting.Load(); n < 3 {
			t.Errorf("%d queries are answered after a while", n)
		}
		close(g.gate)
		if got := p.hear(); len(got) != 4 {
			t.Error(got)
		}
		p.Close()
		p.done.Wait()
	})
}

// RFC 7766 6.2.4: who has said all and closed its half still gets its answers.
func TestStream_HalfClosed(t *testing.T) {
	table, g := slowTable(t, func(*config.Limits) {})
	r := run(t, "127.0.0.1:0", table, Options{})
	conn := dialed(t, "tcp", r.tcp)
	for i, name := range []string{"slow.example.com.", "ns.example.com.", "slow.example.com."} {
		if _, err := conn.Write(framed(name, uint16(i))); err != nil {
			t.Fatal(err)
		}
	}
	if err := conn.(*net.TCPConn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if got := receiveTCP(t, conn); got == nil || got.Id != 1 {
		t.Fatalf("first %v", got)
	}
	close(g.gate)
	if a, b := receiveTCP(t, conn), receiveTCP(t, conn); a == nil || b == nil || a.Id+b.Id != 2 {
		t.Errorf("then %v and %v", a, b)
	}
	if got := receiveTCP(t, conn); got != nil {
		t.Errorf("after the last answer: %v", got)
	}
}

// ended says when the server closed a pipe, after how long.
func (p *piped) ended(start time.Time) time.Duration {
	p.done.Wait()
	return time.Since(start)
}

// A client has the idle time for one whole query. Octets that come one by one
// do not renew it, answers in the making do, and pressure shortens it (RFC 7766
// 6.2.3).
func TestStream_IdleTimeout(t *testing.T) {
	idle := func(l *config.Limits) { l.IdleTimeout = config.Duration(10 * time.Second) }
	t.Run("nothing", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			table, _ := slowTable(t, idle)
			p, start := connect(t, table), time.Now()
			if got := p.ended(start); got != 10*time.Second || p.reached(limitIdleTimeout) != 1 {
				t.Errorf("closed after %v, counted %d", got, p.reached(limitIdleTimeout))
			}
		})
	})
	for name, from := range map[string]int{"an octet a second": 0, "an octet a second after a query": 1} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				table, _ := slowTable(t, idle)
				p := connect(t, table)
				if from == 1 {
					p.ask("ns")
					p.hear()
				}
				start := time.Now().Add(-time.Duration(from) * time.Second) // hear waited
				stream := framed("ns.example.com.", 1)
				closed := make(chan error, 1)
				go func() {
					for _, c := range stream {
						if _, err := p.Write([]byte{c}); err != nil {
							closed <- err
							return
						}
						time.Sleep(time.Second)
					}
					closed <- nil
				}()
				if got := p.ended(start); got != 10*time.Second {
					t.Errorf("closed after %v", got)
				}
				if err := <-closed; err == nil {
					t.Error("the whole query could be sent")
				}
			})
		})
	}
	t.Run("an answer that takes longer", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			table, g := slowTable(t, idle)
			p := connect(t, table)
			p.ask("slow")
			time.Sleep(25 * time.Second)
			close(g.gate)
			if got := p.hear(); len(got) != 1 {
				t.Errorf("the slow answer: %v", got)
			}
			p.ask("ns")
			if got := p.hear(); len(got) != 1 {
				t.Errorf("the connection was idle while we were slow: %v", got)
			}
			p.Close()
			p.done.Wait()
		})
	})
	t.Run("under pressure", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			table, _ := slowTable(t, func(l *config.Limits) { idle(l); l.Connections = 1 })
			p, start := connect(t, table), time.Now()
			if got := p.ended(start); got != time.Second {
				t.Errorf("closed after %v, want a tenth", got)
			}
		})
	})
}

// A client that does not read its answers is given up after the write time,
// with all that is held for it.
func TestStream_WriteTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		table, _ := slowTable(t, func(l *config.Limits) { l.WriteTimeout = config.Duration(4 * time.Second) })
		p, start := connect(t, table), time.Now()
		p.ask("ns", "ns")
		if got := p.ended(start); got < 4*time.Second || got > 5*time.Second {
			t.Errorf("given up after %v, want 4 s and at most a quarter more", got)
		}
		if n := p.reached(limitWriteTimeout); n != 1 || p.reached(limitIdleTimeout) != 0 {
			t.Errorf("reached %d times", n)
		}
	})
}

// However much a client asks without reading, the replies that wait for it have
// a bound: 64 kB and one message.
func TestStream_HeldReplies(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := New(Options{})
		l := newTCPListener(server, nil)
		here, there := net.Pipe()
		var done sync.WaitGroup
		s := newStream(l, server.conns.open(here, benchSource, server.limits()), &done)
		const size, givers, heldReplies = 1000, 3, 64 << 10
		for range givers {
			done.Go(func() {
				for range 200 {
					s.give(make([]byte, size))
				}
			})
		}
		synctest.Wait() // all stand still: one writes, others wait for room
		s.mu.Lock()
		held, stuck := s.writing+len(s.out), s.stuck
		s.mu.Unlock()
		if held < heldReplies || held > heldReplies+size+2 || stuck != givers-1 {
			t.Errorf("%d octets held, %d wait", held, stuck)
		}
		if n := server.reached[limitConnectionBuffer].Load(); n != givers-1 {
			t.Errorf("reached %d times", n)
		}
		_ = there.SetReadDeadline(time.Now().Add(time.Second))
		if n, _ := io.Copy(io.Discard, there); n != 200*givers*(size+2) {
			t.Errorf("%d octets came", n)
		}
		done.Wait()
		server.conns.close(s.connection)
	})
}

// Nor does such a client get more lanes than any other, or all of its queries
// answered: they wait where they are.
func TestStream_NeverReads(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		table, _ := slowTable(t, func(*config.Limits) {})
		p := connect(t, table)
		go func() {
			for err := error(nil); err == nil; _, err = p.Write(framed("ns.example.com.", 1)) {
			}
		}()
		time.Sleep(time.Second)
		synctest.Wait()
		p.stream.mu.Lock()
		lanes, held, taken := p.stream.lanes, p.stream.writing+len(p.stream.out), p.stream.taken
		p.stream.mu.Unlock()
		if lanes > 2 || held > 64<<10+100 || held < 32<<10 {
			t.Errorf("%d lanes, %d octets held of %d answers", lanes, held, taken)
		}
		p.done.Wait() // for the write time
	})
}

// Bounds on what one connection may have in all: it is closed in good order
// (RFC 7766 6.2.4), with every query that was taken answered.
func TestStream_ConnectionQueries(t *testing.T) {
	table, _ := slowTable(t, func(l *config.Limits) { l.ConnectionQueries = 3 })
	r := run(t, "127.0.0.1:0", table, Options{})
	conn := dialed(t, "tcp", r.tcp)
	var stream []byte
	for i := range 500 { // most of it is unread when the server closes
		stream = append(stream, framed("ns.example.com.", uint16(i))...)
	}
	if _, err := conn.Write(stream); err != nil {
		t.Fatal(err)
	}
	answers := 0
	for ; ; answers++ {
		var length [2]byte
		if _, err := io.ReadFull(conn, length[:]); err != nil {
			if err != io.EOF { // ECONNRESET may take answers with it
				t.Errorf("not closed in good order: %v", err)
			}
			break
		}
		if _, err := io.CopyN(io.Discard, conn, int64(binary.BigEndian.Uint16(length[:]))); err != nil {
			t.Fatal(err)
		}
	}
	if n := r.Stats().Limits["connectionQueries"].Reached; answers != 3 || n != 1 {
		t.Errorf("%d answers, reached %d times", answers, n)
	}
}

func TestStream_ConnectionTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		table, _ := slowTable(t, func(l *config.Limits) { l.ConnectionTime = config.Duration(25 * time.Second) })
		p, start := connect(t, table), time.Now()
		for range 5 { // busy all the time
			p.ask("ns")
			if got := p.hear(); len(got) != 1 {
				t.Fatal(got)
			}
			time.Sleep(3 * time.Second) // hear took one
		}
		time.Sleep(4 * time.Second)
		p.ask("ns")
		p.hear()
		if got := p.ended(start); got != 25*time.Second || p.reached(limitConnectionTime) != 1 {
			t.Errorf("closed after %v, counted %d", got, p.reached(limitConnectionTime))
		}
	})
}

// A client that never stops asking does not hold up a stop.
func TestStream_StopsWhileBusy(t *testing.T) {
	table, _ := slowTable(t, func(*config.Limits) {})
	r := run(t, "127.0.0.1:0", table, Options{})
	conn := dialed(t, "tcp", r.tcp)
	var stream []byte
	for i := range 100 {
		stream = append(stream, framed("ns.example.com.", uint16(i))...)
	}
	var client sync.WaitGroup
	client.Go(func() {
		for err := error(nil); err == nil; _, err = conn.Write(stream) {
		}
	})
	started := make(chan struct{})
	client.Go(func() {
		_, _ = conn.Read(make([]byte, 1))
		close(started)
		_, _ = io.Copy(io.Discard, conn)
	})
	<-started
	start := time.Now()
	r.stop()
	if took := time.Since(start); took > patience {
		t.Errorf("stopping took %v", took)
	}
	conn.Close()
	client.Wait()
}

// Whatever octets come, in whatever pieces, a stream ends when its client does,
// and says no more often something than it was asked.
func FuzzStream(f *testing.F) {
	query := framed("ns.example.com.", 1)
	f.Add(query, 1)
	f.Add(append(slices.Repeat(query, 50), 0, 200, 1), 7)
	f.Add([]byte{0, 0}, 1)
	f.Add(append([]byte{0xff, 0xff}, make([]byte, 5000)...), 900)
	f.Add(append([]byte{0, 3, 1, 2, 3}, query...), 2)
	table, _ := slowTable(f, func(*config.Limits) {})
	f.Fuzz(func(t *testing.T, data []byte, step int) {
		if step < 1 || len(data)/step > 10_000 {
			return
		}
		p := connect(t, table)
		heard := make(chan int, 1)
		go func() {
			n, _ := io.Copy(io.Discard, p)
			heard <- int(n)
		}()
		for at := 0; at < len(data); at += step {
			if _, err := p.Write(data[at:min(at+step, len(data))]); err != nil {
				break // it ended the connection, as it may
			}
		}
		p.Close()
		p.done.Wait()
		asked := 0
		for rest := data; len(rest) >= 2 && len(rest) >= 2+int(binary.BigEndian.Uint16(rest)); asked++ {
			rest = rest[2+int(binary.BigEndian.Uint16(rest)):]
		}
		if p.server.conns.count() != 0 || p.server.Stats().Panics > 0 {
			t.Errorf("%d connections left, %d panics", p.server.conns.count(), p.server.Stats().Panics)
		}
		replies := uint64(0)
		for _, n := range p.server.Stats().Responses {
			replies += n
		}
		if n := <-heard; replies > uint64(asked) || n > 0 && asked == 0 {
			t.Errorf("%d octets in %d replies to %d messages", n, replies, asked)
		}
	})
}
