package dnsserver

import (
	"encoding/binary"
	"io"
	"net"
	"testing"
	"time"

	"github.com/miekg/dns"
	"golang.org/x/sys/unix"
)

// BenchmarkTCP measures a query over a connection of loopback: one at a time,
// and 100 at once.
func BenchmarkTCP(b *testing.B) {
	for _, size := range []int{1, 100} {
		b.Run(map[int]string{1: "one", 100: "pipelined"}[size], func(b *testing.B) {
			r := run(b, "127.0.0.1:0", answerTable(b), Options{})
			conn, err := net.Dial("tcp", r.tcp.String())
			if err != nil {
				b.Fatal(err)
			}
			defer conn.Close()
			packet, _ := asking("mail.example.com.", dns.TypeA).Pack()
			var stream []byte
			for range size {
				stream = append(binary.BigEndian.AppendUint16(stream, uint16(len(packet))), packet...)
			}
			replies := make([]byte, 0, 1<<16)
			b.ReportAllocs()
			want, before := 0, cpuTime(b)
			for n := 0; b.Loop(); n++ {
				if _, err := conn.Write(stream); err != nil {
					b.Fatal(err)
				}
				if want == 0 { // all replies are alike
					var length [2]byte
					if _, err := io.ReadFull(conn, length[:]); err != nil {
						b.Fatal(err)
					}
					want = 2 + int(binary.BigEndian.Uint16(length[:]))
					if _, err := io.ReadFull(conn, replies[:size*want-2]); err != nil {
						b.Fatal(err)
					}
					continue
				}
				if _, err := io.ReadFull(conn, replies[:size*want]); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(cpuTime(b)-before)/float64(b.N*size), "cpu-ns/query") // the client's too
		})
	}
}

// cpuTime gives the CPU time that this process has had.
func cpuTime(t testing.TB) time.Duration {
	t.Helper()
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		t.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
