package probe

import (
	"bytes"
	"net"
	"testing"

	"golang.org/x/net/icmp"
	"golang.org/x/net/ipv4"
	"golang.org/x/sys/unix"

	"github.com/portolan-lb/portolan/config"
	"github.com/portolan-lb/portolan/nettest"
)

// dropRaw takes CAP_NET_RAW away from this thread.
func dropRaw(t *testing.T) { drop(t, unix.CAP_NET_RAW) }

// drop takes a capability (0 to 31) away from this thread.
func drop(t *testing.T, capability int) {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&header, &data[0]); err != nil {
		t.Error(err)
	}
	data[0].Effective &^= 1 << capability
	if err := unix.Capset(&header, &data[0]); err != nil {
		t.Error(err)
	}
}

// inEmptyNetwork runs f in a network that has nothing but loopback, with the
// given values under net.ipv4.
func inEmptyNetwork(t *testing.T, sysctls map[string]string, f func()) {
	t.Helper()
	n := nettest.New(t)
	for name, value := range sysctls {
		n.Set("ipv4/"+name, value)
	}
	n.Do(f)
}

// Values of net.ipv4.ping_group_range.
const (
	nobodyPings = "1 0"
	rootPings   = "0 0"
)

// Without the capability the evidence names it, and it is not held against the
// target.
func TestWithoutCapability_Root(t *testing.T) {
	inEmptyNetwork(t, map[string]string{"ping_group_range": nobodyPings}, func() {
		dropRaw(t)
		want(t, probeOnce(t, "127.0.0.1:80", config.Probe{Kind: "tcp-half-open"}), Void, "tcp-half-open needs the capability CAP_NET_RAW")
		want(t, probeOnce(t, "127.0.0.1", config.Probe{Kind: "icmp"}), Void, "icmp needs the capability CAP_NET_RAW, .*")
	})
}

// Where ping sockets are allowed, icmp needs no capability.
func TestPingSocket_Root(t *testing.T) {
	inEmptyNetwork(t, map[string]string{"ping_group_range": rootPings}, func() {
		dropRaw(t)
		want(t, probeOnce(t, "127.0.0.1", config.Probe{Kind: "icmp"}), Pass, "reply in .*")
		want(t, probeOnce(t, "::1", config.Probe{Kind: "icmp"}), Pass, "reply in .*")
		def := config.Probe{Kind: "icmp", Source: addrPort("127.0.0.7").Addr()}
		want(t, probeOnce(t, "127.0.0.8", def), Pass, "reply in .*")
		def.Source = addrPort("203.0.113.9").Addr()
		want(t, probeOnce(t, "127.0.0.8", def), Fail, "source 203.0.113.9 is not an address of this machine")
	})
}

// A silent target stays silent though a stranger answers for it, from its
// address and with the id and sequence of the request: the nonce is not in the
// reply (1.2.7, T53). Through both kinds of sockets.
func TestSilentTarget_T53_Root(t *testing.T) {
	inEmptyNetwork(t, map[string]string{"ping_group_range": rootPings, "icmp_echo_ignore_all": "1"}, func() {
		stranger, err := net.ListenPacket("ip4:icmp", "127.0.0.1")
		if err != nil {
			t.Error(err)
			return
		}
		replies := make(chan int)
		go func() { replies <- forge(stranger) }()
		def := config.Probe{Kind: "icmp", Timeout: 100 * ms}
		want(t, probeOnce(t, "127.0.0.1", def), Fail, "no reply within 100ms")
		dropRaw(t)
		want(t, probeOnce(t, "127.0.0.1", def), Fail, "no reply within 100ms")
		stranger.Close()
		if n := <-replies; n != 2 {
			t.Errorf("the stranger sent %d replies, want 2", n)
		}
	})
}

// forge answers each echo request that it sees with other data, until conn is
// closed, and counts them.
func forge(conn net.PacketConn) (replies int) {
	for buf := make([]byte, 2048); ; {
		n, from, err := conn.ReadFrom(buf)
		if err != nil {
			return replies
		}
		m, err := icmp.ParseMessage(protoICMP, buf[:n])
		if err != nil || m.Type != ipv4.ICMPTypeEcho {
			continue
		}
		body := m.Body.(*icmp.Echo)
		m.Type, body.Data = ipv4.ICMPTypeEchoReply, bytes.Repeat([]byte{7}, len(body.Data))
		if b, err := m.Marshal(nil); err == nil {
			conn.WriteTo(b, from)
			replies++
		}
	}
}

// An address that no route leads to is a failure with the kernel's words.
func TestNoRoute_Root(t *testing.T) {
	inEmptyNetwork(t, nil, func() {
		want(t, probeOnce(t, "192.0.2.1:80", config.Probe{Kind: "tcp"}), Fail, "network is unreachable")
		want(t, probeOnce(t, "192.0.2.1", config.Probe{Kind: "icmp"}), Fail, "network is unreachable")
	})
}
