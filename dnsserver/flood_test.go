package dnsserver

import (
	"encoding/binary"
	"fmt"
	"io"
	"math"
	"net"
	"net/netip"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/portolan-lb/portolan/config"
)

// heapNow gives the octets that are in use after a collection.
func heapNow() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapInuse + m.StackInuse
}

// A million queries on one connection, none of them waited for, cost no more
// memory than a thousand (reliability 2.2).
func TestPipelineDepth(t *testing.T) {
	queries := 1_000_000
	if testing.Short() || raceEnabled {
		queries = 50_000
	}
	table, _ := slowTable(t, func(*config.Limits) {})
	r := run(t, "127.0.0.1:0", table, Options{})
	conn := dialed(t, "tcp", r.tcp)
	const chunk = 1000
	one := framed("ns.example.com.", 1)
	stream := []byte(strings.Repeat(string(one), chunk))
	if _, err := conn.Write(one); err != nil {
		t.Fatal(err)
	}
	head := make([]byte, 2)
	if _, err := io.ReadFull(conn, head); err != nil {
		t.Fatal(err)
	}
	size := 2 + int(binary.BigEndian.Uint16(head))
	replies := make([]byte, size*chunk)
	if _, err := io.ReadFull(conn, replies[:size-2]); err != nil {
		t.Fatal(err)
	}
	before, start := heapNow(), time.Now()
	var client sync.WaitGroup
	client.Go(func() {
		for range queries / chunk {
			if _, err := conn.Write(stream); err != nil {
				t.Error(err)
				return
			}
		}
	})
	var most [2]uint64              // in the first and the second half
	least := uint64(math.MaxUint64) // in the second: what is there without the garbage of the moment
	_ = conn.SetReadDeadline(time.Now().Add(2 * time.Minute))
	for i := range queries / chunk {
		if _, err := io.ReadFull(conn, replies); err != nil {
			t.Fatalf("after %d replies: %v", i*chunk, err)
		}
		if half := i * 2 * chunk / queries; i%10 == 5 {
			now := heapNow()
			most[half] = max(most[half], now)
			if half == 1 {
				least = min(least, now)
			}
		}
	}
	took := time.Since(start)
	client.Wait()
	if got := r.Stats().Responses["NOERROR"]; got != uint64(queries)+1 {
		t.Errorf("%d answers", got)
	}
	t.Logf("%d queries on one connection in %v, %.0f/s; memory %d kB before, at most %d kB in the first half, %d kB in the second", queries, took.Round(time.Millisecond),
		float64(queries)/took.Seconds(), before>>10, most[0]>>10, most[1]>>10)
	if least > most[0]+4<<20 || most[1] > before+16<<20 {
		t.Errorf("memory grew from %d kB to %d kB and %d kB", before>>10, most[0]>>10, most[1]>>10)
	}
}

// A thousand clients that ask for ever and read nothing have their connections
// closed after the write time; until then memory is bounded, and others are
// served (reliability 2.2).
func TestNeverReads(t *testing.T) {
	clients := 1000
	if testing.Short() || raceEnabled {
		clients = 100
	}
	table, _ := slowTable(t, func(l *config.Limits) {
		l.Connections, l.ConnectionsPerClient, l.WriteTimeout = 2*clients, clients, config.Duration(2*time.Second)
		l.ConnectionBuffer = 16 << 10
	})
	r := run(t, "127.0.0.1:0", table, Options{})
	before := heapNow()
	stream := []byte(strings.Repeat(string(framed("ns.example.com.", 1)), 1000))
	var all sync.WaitGroup
	cut := make(chan error, clients)
	for i := range clients {
		conn := dialFrom(t, netip.AddrFrom4([4]byte{127, 0, 1, byte(i % 250)}), r.tcp)
		all.Go(func() {
			defer conn.Close()
			_ = conn.SetWriteDeadline(time.Now().Add(time.Minute))
			var err error
			for err == nil {
				_, err = conn.Write(stream)
			}
			cut <- err
		})
	}
	udp, worst, asked := dialed(t, "udp", r.udp), time.Duration(0), 0
	most := before
	for len(cut) < clients {
		start := time.Now()
		exchange(t, udp, asking("ns.example.com.", 1))
		worst = max(worst, time.Since(start))
		if asked++; asked%100 == 0 {
			most = max(most, heapNow())
		}
		pause(t.Context(), time.Millisecond)
	}
	all.Wait()
	close(cut)
	for err := range cut {
		if isTimeout(err) {
			t.Error("a client that does not read was never cut off")
		}
	}
	n := r.Stats().Limits["writeTimeout"].Reached
	t.Logf("%d clients; memory %d kB before, %d kB at most, %d kB each; worst of %d UDP answers %v; %d cut off",
		clients, before>>10, most>>10, (most-before)>>10/uint64(clients), asked, worst, n)
	if n != uint64(clients) {
		t.Errorf("%d of %d clients were cut off", n, clients)
	}
	if each := (most - before) / uint64(clients); each > 512<<10 {
		t.Errorf("%d kB are held for each client", each>>10)
	}
}

// dialFrom connects from an address, for those who would be one client else,
// with little room for what comes.
func dialFrom(t testing.TB, from netip.Addr, to netip.AddrPort) net.Conn {
	t.Helper()
	d := net.Dialer{LocalAddr: net.TCPAddrFromAddrPort(netip.AddrPortFrom(from, 0)), Timeout: patience,
		Control: func(_, _ string, raw syscall.RawConn) error {
			return raw.Control(func(fd uintptr) { _ = syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_RCVBUF, 4096) })
		}}
	conn, err := d.Dial("tcp", to.String())
	if err != nil {
		t.Fatal(fmt.Errorf("from %v: %w", from, err))
	}
	return conn
}
