package probe

import (
	"net"
	"testing"

	"github.com/portolan-lb/portolan/config"
)

// udpServer answers each datagram with what reply makes of it.
func udpServer(t *testing.T, reply func([]byte) [][]byte) string {
	t.Helper()
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		buf := make([]byte, 2048)
		for {
			n, from, err := conn.ReadFrom(buf)
			if err != nil {
				return
			}
			for _, r := range reply(buf[:n]) {
				conn.WriteTo(r, from)
			}
		}
	}()
	t.Cleanup(func() { conn.Close(); <-done })
	return conn.LocalAddr().String()
}

func TestUDP(t *testing.T) {
	echo := udpServer(t, func(b []byte) [][]byte { return [][]byte{[]byte("stray"), b} })
	mute := udpServer(t, func([]byte) [][]byte { return nil })
	for _, c := range []struct {
		name, target string
		def          config.Probe
		outcome      Outcome
		saw          string
	}{
		{"expected reply after a stray one", echo, config.Probe{Send: `a\x01`, Expect: "a\x01"}, Pass, `reply of 2 bytes in .*`},
		{"any reply", echo, config.Probe{Send: "ping"}, Pass, `reply of 5 bytes in .*`},
		{"other reply", echo, config.Probe{Send: "a", Expect: "b", Timeout: 50 * ms}, Fail, `expected "b", got "a"`},
		{"silence proves nothing", mute, config.Probe{Timeout: 50 * ms}, Pass, `no ICMP error within 50ms; silence proves nothing`},
		{"silence with expect", mute, config.Probe{Expect: "x", Timeout: 50 * ms}, Fail, `no reply within 50ms`},
		{"port unreachable", closedPort(t), config.Probe{}, Fail, "connection refused"},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.def.Kind = "udp"
			want(t, probeOnce(t, c.target, c.def), c.outcome, c.saw)
		})
	}
}
