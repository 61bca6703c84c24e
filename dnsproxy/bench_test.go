package dnsproxy

import (
	"fmt"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/miekg/dns"
	"golang.org/x/sys/unix"

	"github.com/portolan-lb/portolan/config"
	"github.com/portolan-lb/portolan/nettest"
)

// A hit out of the cache, from the client's octets to the reply's, allocates
// nothing but what own answers need: nothing.
func TestCacheHitAllocatesNothing(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates")
	}
	p, s, msg := warm(t)
	if n := testing.AllocsPerRun(1000, func() { p.handle(s, msg, func(*query, []byte) {}, nil) }); n != 0 {
		t.Errorf("%.1f allocations", n)
	}
	if p.count.hits.Load() < 1000 {
		t.Error("these are no hits")
	}
}

// warm makes a proxy that has one answer, and the query for it.
func warm(t testing.TB) (*Proxy, *scratch, []byte) {
	p := New(Options{Direct: true})
	m := &config.Model{DNSProxy: &config.DNSProxy{Enabled: true, Pool: "all", Cache: config.DNSCache{Size: 1 << 20, MaxTTL: config.Duration(time.Hour)}},
		DNSServers:     []*config.DNSServer{{Name: "s1", Addresses: []netip.Addr{netip.MustParseAddr("192.0.2.1")}, Protocol: "udp"}},
		DNSServerPools: []*config.DNSServerPool{{Name: "all", Algorithm: "round-robin", Members: []*config.DNSServerMember{{Server: "s1", Weight: 1}}}}}
	plan, err := Compile(m, config.Source{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	p.Use(plan)
	a, ans := kept(t, "www.example.com", 3000)
	plan.cache.put(a.key(plan.pools["all"].view), ans, time.Now())
	s := newScratch()
	s.query.client, s.query.asked = netip.MustParseAddrPort("10.0.0.9:4000"), netip.MustParseAddrPort("8.8.8.8:53")
	return p, s, pack(question("www.example.com.", dns.TypeA))
}

func BenchmarkCacheHit(b *testing.B) {
	p, s, msg := warm(b)
	b.ReportAllocs()
	for b.Loop() {
		p.handle(s, msg, func(*query, []byte) {}, nil)
	}
}

func BenchmarkRebuild(b *testing.B) {
	a := &asking{name: string(wireName("www.example.com")), qtype: dns.TypeA, rd: true}
	msg := pack(good(question("www.example.com.", dns.TypeA)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := rebuild(msg, a); err != nil {
			b.Fatal(err)
		}
	}
}

// echo answers every query at once, as cheaply as can be: the other side of the
// benchmarks of the whole way.
func echo(b *testing.B) netip.AddrPort {
	conn, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		b.Fatal(err)
	}
	done := make(chan struct{})
	b.Cleanup(func() { conn.Close(); <-done })
	go func() {
		defer close(done)
		buf := make([]byte, 1500)
		for {
			n, from, err := conn.ReadFromUDPAddrPort(buf)
			if err != nil {
				return
			}
			end := nameEnd(buf[:n], headerSize) + 4
			reply := append(buf[:end:end], 0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 192, 0, 2, 1)
			reply[2], reply[3], reply[7], reply[11] = 0x81, 0x80, 1, 0
			_, _ = conn.WriteToUDPAddrPort(reply, from)
		}
	}()
	return conn.LocalAddr().(*net.UDPAddr).AddrPort()
}

// BenchmarkForward is the whole way over sockets of loopback: client, proxy, a
// socket to the server and back. Clients and server share the cores.
func BenchmarkForward(b *testing.B) {
	for _, clients := range []int{1, 16} {
		b.Run(fmt.Sprint("clients=", clients), func(b *testing.B) {
			at := echo(b)
			w := newWorld(b, []*fake{{addr: at}}, nil)
			var left atomic.Int64
			left.Store(int64(b.N))
			b.ResetTimer()
			before := cpuTime(b)
			var wg sync.WaitGroup
			for c := range clients {
				conn, err := net.Dial("udp", w.at())
				if err != nil {
					b.Fatal(err)
				}
				defer conn.Close()
				wg.Go(func() {
					buf := make([]byte, 1500)
					msg := pack(question(fmt.Sprintf("n%d.example.com.", c), dns.TypeA))
					for left.Add(-1) >= 0 {
						_ = conn.SetDeadline(time.Now().Add(3 * time.Second))
						if _, err := conn.Write(msg); err != nil {
							b.Error(err)
							return
						}
						if _, err := conn.Read(buf); err != nil {
							b.Error(err)
							return
						}
					}
				})
			}
			wg.Wait()
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "q/s")
			b.ReportMetric(float64((cpuTime(b)-before).Microseconds())/float64(b.N), "cpu-us/q")
		})
	}
}

// cpuTime is what this process used of the processors: on a machine with other
// work it says more than the clock.
func cpuTime(b *testing.B) time.Duration {
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkReply_Root compares ways to send a reply from the asked address.
func BenchmarkReply_Root(b *testing.B) {
	s := nettest.New(b)
	s.Batch("addr add 10.0.0.1/24 dev lo")
	q := &query{client: netip.MustParseAddrPort("10.0.0.1:4000"), asked: netip.MustParseAddrPort("8.8.8.8:53")}
	msg := make([]byte, 100)
	var r *replier
	var err error
	s.Do(func() { r, err = newReplier() })
	if err != nil {
		b.Fatal(err)
	}
	defer r.close()
	b.Run("raw", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if err := r.send(q, msg); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("socket", func(b *testing.B) {
		s.Do(func() {
			for b.Loop() {
				fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
				if err != nil {
					b.Error(err)
					return
				}
				_ = unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_TRANSPARENT, 1)
				_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1)
				_ = unix.BindToDevice(fd, "lo")
				if err := unix.Bind(fd, &unix.SockaddrInet4{Port: 53, Addr: q.asked.Addr().As4()}); err != nil {
					b.Error(err)
				}
				if err := unix.Sendto(fd, msg, 0, &unix.SockaddrInet4{Port: 4000, Addr: q.client.Addr().As4()}); err != nil {
					b.Error(err)
				}
				unix.Close(fd)
			}
		})
	})
}

func BenchmarkDial(b *testing.B) {
	at := echo(b)
	for b.Loop() {
		f, err := dialUDP(way{to: at})
		if err != nil {
			b.Fatal(err)
		}
		f.Close()
	}
}
