package probe

import (
	"encoding/binary"
	"net"
	"net/netip"
	"testing"
	"time"

	"golang.org/x/net/icmp"
	"golang.org/x/net/ipv4"
	"golang.org/x/net/ipv6"

	"github.com/portolan-lb/portolan/config"
)

// flooded is more packets than a socket's buffer holds.
const flooded = 5000

// A flood of replies that are not ours, from the target's own address, takes no
// room from the one that is: it is the first thing the socket gives us (T53).
func TestSieveICMP_T53_Root(t *testing.T) {
	needRaw(t)
	for _, peer := range []string{"127.0.0.9", "::1"} {
		task := &Task{Target: addrPort(peer), Probe: &config.Probe{Kind: "icmp"}}
		e := newEcho(task.Target.Addr(), 56)
		conn, hangUp, err := task.openICMP(t.Context(), e)
		if err != nil {
			t.Fatal(err)
		}
		defer hangUp()
		m := icmp.Message{Type: ipv4.ICMPTypeEchoReply}
		if e.peer.Is6() {
			m.Type = ipv6.ICMPTypeEchoReply
		}
		stranger := strangerTo(t, task, "icmp", conn)
		for i := range flooded + 1 {
			body := icmp.Echo{ID: int(e.id) ^ 1, Seq: int(e.seq), Data: e.payload}
			if i == flooded {
				body.ID = int(e.id)
			}
			m.Body = &body
			b, err := m.Marshal(nil)
			if err != nil {
				t.Fatal(err)
			}
			send(t, stranger, b)
		}
		if b, from := firstRead(t, conn); !e.matches(b, from) {
			t.Errorf("%s: the first packet is another's: %x", peer, b)
		}
	}
}

func TestSieveReset_T54_Root(t *testing.T) {
	needRaw(t)
	for _, peer := range []string{"127.0.0.9:9", "[::1]:9"} {
		task := &Task{Target: addrPort(peer), Probe: &config.Probe{Kind: "tcp-half-open"}}
		conn, s, hangUp, err := task.openReset(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer hangUp()
		stranger := strangerTo(t, task, "raw-tcp", conn)
		reset := make([]byte, tcpHeader)
		binary.BigEndian.PutUint16(reset[0:], s.peer.Port())
		binary.BigEndian.PutUint16(reset[2:], s.local.Port())
		binary.BigEndian.PutUint32(reset[4:], s.ack-1)
		reset[12], reset[13] = tcpHeader/4<<4, flagRST
		for range flooded {
			send(t, stranger, reset)
		}
		binary.BigEndian.PutUint32(reset[4:], s.ack)
		send(t, stranger, reset)
		if b, from := firstRead(t, conn); !s.resetBy(b, from) {
			t.Errorf("%s: the first packet is another's: %x", peer, b)
		}
	}
}

// strangerTo opens a socket that sends from a task's target to its conn.
func strangerTo(t *testing.T, task *Task, network string, conn net.Conn) net.Conn {
	t.Helper()
	local := addrOf(conn.LocalAddr())
	back := &Task{Target: netip.AddrPortFrom(local, 1), Pin: Pin{Source: task.Target.Addr()}, Probe: task.Probe}
	stranger, hangUp, err := back.dial(t.Context(), network)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(hangUp)
	return stranger
}

func send(t *testing.T, conn net.Conn, b []byte) {
	t.Helper()
	if _, err := conn.Write(b); err != nil {
		t.Fatal(err)
	}
}

func firstRead(t *testing.T, conn net.Conn) ([]byte, netip.Addr) {
	t.Helper()
	conn.SetReadDeadline(time.Now().Add(5 * time.Second))
	b := make([]byte, 2048)
	n, from, err := conn.(net.PacketConn).ReadFrom(b)
	if err != nil {
		t.Fatal(err)
	}
	return b[:n], addrOf(from)
}
