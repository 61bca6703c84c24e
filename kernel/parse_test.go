package kernel

import (
	"net/netip"
	"slices"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// shrink makes the buffer of a socket as small as it gets.
func shrink(t *testing.T, raw syscall.RawConn) {
	t.Helper()
	var failed error
	err := raw.Control(func(fd uintptr) { failed = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUF, 1) })
	if err != nil || failed != nil {
		t.Fatal(err, failed)
	}
}

// route is a message of a default route.
func route(family, table uint8, attributes ...[]byte) []byte {
	b := []byte{family, 0, 0, 0, table, unix.RTPROT_STATIC, 0, unix.RTN_UNICAST, 0, 0, 0, 0}
	return append(b, slices.Concat(attributes...)...)
}

func v4(s string) []byte { return netip.MustParseAddr(s).AsSlice() }

func way(index uint32, flags byte, attributes []byte) []byte {
	b := native.AppendUint16(nil, uint16(unix.SizeofRtNexthop+len(attributes)))
	b = append(b, flags, 0)
	return append(native.AppendUint32(b, index), attributes...)
}

func TestParseRoute(t *testing.T) {
	gateway := attribute(unix.RTA_GATEWAY, v4("192.0.2.1"))
	device := attribute32(unix.RTA_OIF, 7)
	for name, c := range map[string]struct {
		message []byte
		want    []hop
	}{
		"one way":     {route(unix.AF_INET, 254, device, gateway), []hop{{7, netip.MustParseAddr("192.0.2.1")}}},
		"no gateway":  {route(unix.AF_INET, 254, device), []hop{{7, netip.Addr{}}}},
		"no device":   {route(unix.AF_INET, 254, gateway), nil},
		"other kinds": {route(unix.AF_MPLS, 254, device, gateway), nil},
		"two ways, one dead": {route(unix.AF_INET, 254, attribute(unix.RTA_MULTIPATH, slices.Concat(
			way(8, 0, attribute(unix.RTA_GATEWAY, v4("192.0.2.8"))), way(9, unix.RTNH_F_DEAD, gateway), way(10, 0, nil)))),
			[]hop{{8, netip.MustParseAddr("192.0.2.8")}, {10, netip.Addr{}}}},
		"a way that says it is longer than it is": {route(unix.AF_INET, 254, attribute(unix.RTA_MULTIPATH, append(way(8, 0, nil), 255, 0, 0, 0, 9, 0, 0, 0))), []hop{{8, netip.Addr{}}}},
	} {
		m, ok := parseRoute(c.message)
		if ok != (c.want != nil) || !slices.Equal(m.hops, c.want) {
			t.Errorf("%s: got %v %v, want %v", name, m.hops, ok, c.want)
		}
	}
	for name, change := range map[string]func(b []byte){
		"a network":   func(b []byte) { b[1] = 8 },
		"a TOS":       func(b []byte) { b[3] = 0x10 },
		"unreachable": func(b []byte) { b[7] = unix.RTN_UNREACHABLE },
		"cloned":      func(b []byte) { native.PutUint32(b[8:], unix.RTM_F_CLONED) },
		"dead":        func(b []byte) { native.PutUint32(b[8:], unix.RTNH_F_DEAD) },
	} {
		b := route(unix.AF_INET, 254, device, gateway)
		change(b)
		if m, ok := parseRoute(b); ok {
			t.Errorf("%s: got %v", name, m)
		}
	}
}

// A table of more than 8 bits stands in an attribute.
func TestRanked(t *testing.T) {
	message := func(table, metric uint32, index uint32) routeMessage {
		m, ok := parseRoute(route(unix.AF_INET, unix.RT_TABLE_COMPAT, attribute32(unix.RTA_TABLE, table), attribute32(unix.RTA_PRIORITY, metric), attribute32(unix.RTA_OIF, index)))
		if !ok {
			t.Fatal("no route")
		}
		return m
	}
	var got []int
	for _, h := range ranked([]routeMessage{message(100000, 0, 1), message(254, 500, 2), message(254, 100, 3), message(254, 100, 4), message(7, 5, 5)}) {
		got = append(got, h.index)
	}
	if want := []int{3, 4, 2, 1, 5}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestDown(t *testing.T) {
	const on, runs = unix.IFF_UP, unix.IFF_UP | unix.IFF_RUNNING
	for _, c := range []struct {
		flags uint32
		state uint8
		want  string
	}{
		{runs, 6, ""}, {runs, 0, ""},
		{0, 2, "it is switched off (ip link set eth1 up)"},
		{unix.IFF_RUNNING, 6, "it is switched off (ip link set eth1 up)"},
		{on, 2, "no carrier"}, {on, 0, "no carrier"},
		{on, operLowerLayerDown, "the interface below it is down"},
		{on, operDormant, "it waits for an event outside, such as 802.1X"},
		{on, operTesting, "it is in a test"}, {on, operNotPresent, "the device is not present"},
	} {
		m := linkMessage{name: "eth1", flags: c.flags, state: c.state}
		if got := m.down(); got != c.want {
			t.Errorf("flags %x, state %d: got %q, want %q", c.flags, c.state, got, c.want)
		}
	}
}

// What the kernel might send, whole or cut short, makes nobody panic; what
// cannot be read makes a watcher look.
func FuzzMessages(f *testing.F) {
	link := append(make([]byte, unix.SizeofIfInfomsg), attribute(unix.IFLA_IFNAME, []byte("eth1\x00"))...)
	native.PutUint32(link[4:], 7)
	f.Add(uint16(unix.RTM_NEWLINK), append(link, attribute(unix.IFLA_STATS64, make([]byte, 200))...))
	f.Add(uint16(unix.RTM_NEWADDR), append([]byte{2, 24, 0, 0, 7, 0, 0, 0}, attribute(unix.IFA_LOCAL, v4("192.0.2.1"))...))
	f.Add(uint16(unix.RTM_NEWROUTE), route(unix.AF_INET, 254, attribute(unix.RTA_VIA, []byte{10, 0, 1, 2, 3, 4}), attribute(unix.RTA_MULTIPATH, way(8, 0, attribute(unix.RTA_GATEWAY, v4("2001:db8::1"))))))
	f.Add(uint16(unix.RTM_NEWSTATS), append(make([]byte, sizeofStatsMessage), attribute(unix.IFLA_STATS_LINK_64, make([]byte, 200))...))
	f.Add(uint16(0), append(make([]byte, sizeofGeneric), attribute(unix.ETHTOOL_A_LINKMODES_HEADER|unix.NLA_F_NESTED, attribute32(unix.ETHTOOL_A_HEADER_DEV_INDEX, 7))...))
	f.Fuzz(func(t *testing.T, kind uint16, b []byte) {
		if m, ok := parseLink(b); ok && (m.index <= 0 || m.name == "") {
			t.Errorf("link %+v", m)
		} else {
			m.down()
			octets(m.stats)
		}
		if m, ok := parseAddress(b); ok && (m.index <= 0 || !m.prefix.IsValid()) {
			t.Errorf("address %+v", m)
		}
		if m, ok := parseRoute(b); ok {
			if !isDefault(b) || len(m.hops) == 0 && m.object == 0 || len(m.hops) > len(b) {
				t.Errorf("route %+v", m)
			}
			for _, h := range ranked([]routeMessage{m}) {
				if h.index <= 0 {
					t.Errorf("hop %+v", h)
				}
				h.leadsTo("eth1", []netip.Addr{netip.MustParseAddr("192.0.2.1")})
			}
		}
		if to, way, ok := parseBeyond(b); ok && (!to.IsValid() || to.Bits() == 0 || way.index <= 0 || !way.gateway.IsValid()) {
			t.Errorf("%v by %+v", to, way)
		}
		if index, _, ok := parseStats(b); ok && index <= 0 {
			t.Errorf("stats of %d", index)
		}
		if index, speed, ok := parseSpeed(b); ok && (index <= 0 || speed == 0) {
			t.Errorf("speed %d of %d", speed, index)
		}
		if m, ok := parseObject(b); ok && (m.id == 0 || len(hopsOf(map[uint32]objectMessage{m.id: m}, m.id)) > 1+len(m.group)) {
			t.Errorf("object %+v", m)
		}
		parseFamily(b)
		head := native.AppendUint32(nil, uint32(unix.SizeofNlMsghdr+len(b)))
		head = append(native.AppendUint16(head, kind), make([]byte, unix.SizeofNlMsghdr-6)...)
		if whole := append(head, b...); anyMatters(whole) != matters(kind, b) {
			t.Error("a datagram of one message and the message differ")
		} else if len(b) > 0 && !anyMatters(whole[:len(whole)-1]) {
			t.Error("who cannot read a message has to look")
		}
		anyMatters(b)
	})
}
