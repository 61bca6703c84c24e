package probe

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os/exec"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/portolan-lb/portolan/config"
)

// twoLinks has f run in a network with two veth pairs, and routes to
// 192.0.2.0/24 and 2001:db8:c::/48 by wan0, worse ones by wan1; packets of mark 7
// go by wan1. f is given what counts the IP packets to a target that left by an interface.
func twoLinks(t *testing.T, f func(left func(device string, to netip.Addr) int)) {
	t.Helper()
	inEmptyNetwork(t, nil, func() {
		for _, args := range []string{
			"link add pwan0 type veth peer name wan0", "link add pwan1 type veth peer name wan1",
			"link set pwan0 up", "link set wan0 up", "link set pwan1 up", "link set wan1 up",
			"addr add 198.51.100.1/30 dev wan0", "addr add 203.0.113.1/30 dev wan1",
			"addr add 2001:db8:a::1/64 dev wan0 nodad", "addr add 2001:db8:b::1/64 dev wan1 nodad",
			"neigh add 198.51.100.2 lladdr 02:00:00:00:00:01 dev wan0", "neigh add 203.0.113.2 lladdr 02:00:00:00:00:01 dev wan1",
			"neigh add 2001:db8:a::2 lladdr 02:00:00:00:00:01 dev wan0", "neigh add 2001:db8:b::2 lladdr 02:00:00:00:00:01 dev wan1",
			"route add 192.0.2.0/24 via 198.51.100.2", "route add 192.0.2.0/24 via 203.0.113.2 metric 9",
			"route add 2001:db8:c::/48 via 2001:db8:a::2", "route add 2001:db8:c::/48 via 2001:db8:b::2 metric 2000",
			"route add 192.0.2.0/24 via 203.0.113.2 table 7", "rule add fwmark 7 lookup 7",
			"-6 route add 2001:db8:c::/48 via 2001:db8:b::2 table 7", "-6 rule add fwmark 7 lookup 7",
		} {
			if out, err := exec.Command("ip", strings.Fields(args)...).CombinedOutput(); err != nil {
				t.Errorf("ip %s: %v: %s", args, err, out)
				return
			}
		}
		for _, name := range []string{"wan0", "wan1"} {
			carrier(t, name)
		}
		taps := map[string]int{"wan0": tap(t, "wan0"), "wan1": tap(t, "wan1")}
		f(func(device string, to netip.Addr) int { return packetsTo(taps[device], to) })
		for _, fd := range taps {
			unix.Close(fd)
		}
	})
}

// tap opens a socket that sees every packet of an interface.
func tap(t *testing.T, device string) int {
	const all = unix.ETH_P_ALL<<8&0xff00 | unix.ETH_P_ALL>>8 // in network byte order
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, all)
	if err != nil {
		t.Error(err)
		return -1
	}
	var req *unix.Ifreq
	if req, err = unix.NewIfreq(device); err == nil {
		err = unix.IoctlIfreq(fd, unix.SIOCGIFINDEX, req)
	}
	if err == nil {
		err = unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: all, Ifindex: int(req.Uint32())})
	}
	if err != nil {
		t.Errorf("tap on %s: %v", device, err)
	}
	return fd
}

// packetsTo takes what a tap has and counts the packets to an address.
func packetsTo(fd int, to netip.Addr) (count int) {
	for b := make([]byte, 2048); ; {
		n, _, err := unix.Recvfrom(fd, b, 0)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return count
		}
		p := b[:n]
		switch {
		case n >= 20 && p[0]>>4 == 4 && to.Is4() && binary.BigEndian.Uint32(p[16:]) == binary.BigEndian.Uint32(to.AsSlice()):
			count++
		case n >= 40 && p[0]>>4 == 6 && to.Is6() && netip.AddrFrom16([16]byte(p[24:40])) == to:
			count++
		}
	}
}

// Packets of a probe leave by the link it is pinned to, though the routing table
// prefers the other, whatever its kind and by device and by mark alike (T52).
func TestPin_T52_Root(t *testing.T) {
	needRaw(t)
	kindsThatSend := map[string]config.Probe{
		"icmp": {}, "tcp": {}, "tcp-half-open": {}, "udp": {Send: "x"}, "http": {}, "https": {}, "tls": {}, "dns": {QueryName: "x."},
	}
	for _, kind := range Kinds() {
		if _, ok := kindsThatSend[kind]; !ok && kind != "exec" {
			t.Errorf("kind %s is not tested", kind)
		}
	}
	twoLinks(t, func(left func(string, netip.Addr) int) {
		host := byte(0)
		for kind, def := range kindsThatSend {
			for _, c := range []struct {
				pin  Pin
				want string // the interface
			}{
				{Pin{}, "wan0"}, {Pin{Device: "wan1"}, "wan1"}, {Pin{Mark: 7}, "wan1"}, {Pin{Device: "wan0", Mark: 7}, "wan0"},
				{Pin{Device: "wan1", Source: netip.MustParseAddr("203.0.113.1")}, "wan1"},
			} {
				host++
				def.Kind, def.Timeout = kind, 30*ms
				task := &Task{Pin: c.pin, Probe: &def}
				task.Target = netip.AddrPortFrom(netip.AddrFrom4([4]byte{192, 0, 2, host}), 80)
				checkLeft(t, left, fmt.Sprintf("%s %+v", kind, c.pin), c.want, task)
				if c.pin.Source.IsValid() {
					continue
				}
				task.Target = netip.AddrPortFrom(netip.AddrFrom16([16]byte{0x20, 1, 0xd, 0xb8, 0, 0xc, 15: host}), 80)
				checkLeft(t, left, fmt.Sprintf("%s %+v", kind, c.pin), c.want, task)
			}
		}
	})
}

// carrier waits until an interface of this thread's namespace sends.
func carrier(t *testing.T, name string) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); {
		if nic, err := net.InterfaceByName(name); err == nil && nic.Flags&net.FlagRunning != 0 {
			return
		}
	}
	t.Errorf("%s has no carrier", name)
}

// checkLeft probes, and looks where it left. Nobody answers, so it has little time,
// and on a busy machine may have none.
func checkLeft(t *testing.T, left func(string, netip.Addr) int, what, want string, task *Task) {
	t.Helper()
	a, b, to := 0, 0, task.Target.Addr()
	for try := 0; a+b == 0 && try < 50; try++ {
		runTask(t, task)
		a, b = a+left("wan0", to), b+left("wan1", to)
	}
	if (a > 0) != (want == "wan0") || (b > 0) != (want == "wan1") {
		t.Errorf("%s to %s: %d packets left by wan0, %d by wan1; want all by %s", what, to, a, b, want)
	}
}

// An interface that is gone counts against the link, a capability that we lack
// does not.
func TestPinRefused_T52_Root(t *testing.T) {
	inEmptyNetwork(t, map[string]string{"ping_group_range": rootPings}, func() {
		for _, kind := range []string{"icmp", "tcp", "udp"} {
			for _, name := range []string{"wan7", "a-name-that-is-too-long", "lo-but-only-after-15"} {
				task := &Task{Target: addrPort("127.0.0.1:9"), Pin: Pin{Device: name}, Probe: &config.Probe{Kind: kind}}
				want(t, runTask(t, task), Fail, "interface "+name+" is not there")
			}
		}
		dropNet(t)
		for _, kind := range []string{"icmp", "tcp", "udp"} {
			task := &Task{Target: addrPort("127.0.0.1:9"), Pin: Pin{Mark: 7}, Probe: &config.Probe{Kind: kind}}
			want(t, runTask(t, task), Void, "mark 7 needs the capability CAP_NET_RAW .*")
		}
	})
}

// dropNet takes CAP_NET_RAW and CAP_NET_ADMIN away from this thread.
func dropNet(t *testing.T) {
	dropRaw(t)
	drop(t, unix.CAP_NET_ADMIN)
}

// Echo gives the time and the TTL that the reply came with, by both kinds of
// sockets and in both families.
func TestEcho_Root(t *testing.T) {
	inEmptyNetwork(t, map[string]string{"ping_group_range": rootPings}, func() {
		for _, ping := range []bool{false, true} {
			if ping {
				dropRaw(t)
			}
			for _, target := range []string{"127.0.0.1", "::1"} {
				r, err := Pin{}.Echo(t.Context(), netip.MustParseAddr(target))
				if err != nil || r.TTL != 64 || r.RTT <= 0 || r.RTT > 5*time.Second {
					t.Errorf("ping socket %v, %s: %+v, %v", ping, target, r, err)
				}
			}
		}
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
		defer cancel()
		_, err := Pin{}.Echo(ctx, netip.MustParseAddr("192.0.2.1"))
		if err == nil || Ours(err) || !errors.Is(err, unix.ENETUNREACH) {
			t.Errorf("without a route: %v", err)
		}
	})
}
