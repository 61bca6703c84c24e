package kernel

import (
	"bytes"
	"encoding/binary"
	"iter"
	"net/netip"

	"golang.org/x/sys/unix"
)

var native = binary.NativeEndian

// attributes yields type and value of each attribute in b, and ends at the
// first that is cut short. Flags in the type are taken off.
func attributes(b []byte) iter.Seq2[uint16, []byte] {
	return func(yield func(uint16, []byte) bool) {
		for len(b) >= unix.SizeofRtAttr {
			size := int(native.Uint16(b))
			if size < unix.SizeofRtAttr || size > len(b) {
				return
			}
			if !yield(native.Uint16(b[2:])&^(unix.NLA_F_NESTED|unix.NLA_F_NET_BYTEORDER), b[unix.SizeofRtAttr:size]) {
				return
			}
			b = b[min((size+unix.RTA_ALIGNTO-1)&^(unix.RTA_ALIGNTO-1), len(b)):]
		}
	}
}

// number reads a value of 1, 2, 4 or 8 octets; any other is 0.
func number(v []byte) uint64 {
	switch len(v) {
	case 1:
		return uint64(v[0])
	case 2:
		return uint64(native.Uint16(v))
	case 4:
		return uint64(native.Uint32(v))
	case 8:
		return native.Uint64(v)
	}
	return 0
}

// text reads a string that ends with a zero.
func text(v []byte) string {
	s, _, _ := bytes.Cut(v, []byte{0})
	return string(s)
}

// address reads an IP address of 4 or 16 octets; any other is the zero Addr.
func address(v []byte) netip.Addr {
	a, _ := netip.AddrFromSlice(v)
	return a
}

// linkMessage is what we use of a struct ifinfomsg and its attributes.
type linkMessage struct {
	family uint8
	index  int
	flags  uint32
	name   string
	state  uint8 // RFC 2863 ifOperStatus, in Linux' numbers
	stats  []byte
}

func parseLink(b []byte) (m linkMessage, ok bool) {
	if len(b) < unix.SizeofIfInfomsg {
		return m, false
	}
	m.family, m.index, m.flags = b[0], int(int32(native.Uint32(b[4:]))), native.Uint32(b[8:])
	for kind, v := range attributes(b[unix.SizeofIfInfomsg:]) {
		switch kind {
		case unix.IFLA_IFNAME:
			m.name = text(v)
		case unix.IFLA_OPERSTATE:
			m.state = uint8(number(v))
		case unix.IFLA_STATS64:
			m.stats = v
		}
	}
	return m, m.index > 0 && m.name != ""
}

// Linux' numbers of the states of an interface (IF_OPER_...).
const (
	operNotPresent     = 1
	operLowerLayerDown = 3
	operTesting        = 4
	operDormant        = 5
)

// down says why an interface carries nothing; empty: it does. As in the kernel
// an interface that does not tell its state, such as a tunnel, counts as up.
func (m *linkMessage) down() string {
	switch {
	case m.flags&unix.IFF_UP == 0:
		return "it is switched off (ip link set " + m.name + " up)"
	case m.flags&unix.IFF_RUNNING != 0:
		return ""
	case m.state == operNotPresent:
		return "the device is not present"
	case m.state == operLowerLayerDown:
		return "the interface below it is down"
	case m.state == operTesting:
		return "it is in a test"
	case m.state == operDormant:
		return "it waits for an event outside, such as 802.1X"
	}
	return "no carrier"
}

// addressMessage is what we use of a struct ifaddrmsg and its attributes.
type addressMessage struct {
	index  int
	prefix netip.Prefix // the address itself, with the length of its network
	peer   netip.Addr   // the other end of a point-to-point interface
}

// parseAddress is not ok with addresses that cannot be used: IPv6 ones that are
// still checked for duplicates, or are duplicates (RFC 4862 5.4).
func parseAddress(b []byte) (m addressMessage, ok bool) {
	if len(b) < unix.SizeofIfAddrmsg {
		return m, false
	}
	bits, flags := int(b[1]), b[2] // of more flags than eight, those that matter are here
	m.index = int(int32(native.Uint32(b[4:])))
	var local, other netip.Addr
	for kind, v := range attributes(b[unix.SizeofIfAddrmsg:]) {
		switch kind {
		case unix.IFA_LOCAL:
			local = address(v)
		case unix.IFA_ADDRESS:
			other = address(v)
		}
	}
	switch {
	case !local.IsValid():
		local = other // IPv6 without a peer
	case other != local:
		m.peer = other
	}
	m.prefix = netip.PrefixFrom(local, bits)
	unusable := flags&unix.IFA_F_DADFAILED != 0 || flags&unix.IFA_F_TENTATIVE != 0 && flags&unix.IFA_F_OPTIMISTIC == 0
	return m, m.index > 0 && m.prefix.IsValid() && !unusable
}

// rtaObject is the attribute RTA_NH_ID of a route, which x/sys does not name.
const rtaObject = 30

// hop is one way out of a default route.
type hop struct {
	index   int        // of the interface
	gateway netip.Addr // zero: a route without one
}

// routeMessage is what we use of a struct rtmsg and its attributes.
type routeMessage struct {
	v6     bool
	table  uint32
	metric uint32
	hops   []hop  // the ways that are not dead
	object uint32 // the next hop object that holds them instead; 0: none
}

// isDefault says, by the header alone, whether a message is of a default route:
// a router may have a million others.
func isDefault(b []byte) bool {
	return len(b) >= unix.SizeofRtMsg && (b[0] == unix.AF_INET || b[0] == unix.AF_INET6) && b[1] == 0 && b[3] == 0 && b[7] == unix.RTN_UNICAST && native.Uint32(b[8:])&unix.RTM_F_CLONED == 0
}

// parseRoute is not ok with routes other than default ones.
func parseRoute(b []byte) (m routeMessage, ok bool) {
	if !isDefault(b) {
		return m, false
	}
	m.v6, m.table = b[0] == unix.AF_INET6, uint32(b[4])
	one, dead := hop{}, native.Uint32(b[8:])&unix.RTNH_F_DEAD != 0
	var several []byte
	for kind, v := range attributes(b[unix.SizeofRtMsg:]) {
		switch kind {
		case unix.RTA_OIF:
			one.index = int(int32(number(v)))
		case unix.RTA_GATEWAY:
			one.gateway = address(v)
		case unix.RTA_VIA:
			one.gateway = via(v)
		case unix.RTA_PRIORITY:
			m.metric = uint32(number(v))
		case unix.RTA_TABLE:
			m.table = uint32(number(v))
		case unix.RTA_MULTIPATH:
			several = v
		case rtaObject:
			m.object = uint32(number(v))
		}
	}
	if one.index > 0 && !dead {
		m.hops = append(m.hops, one)
	}
	m.hops = append(m.hops, parseHops(several)...)
	return m, len(m.hops) > 0 || m.object != 0 && !dead
}

// parseBeyond reads a route of table main to a network behind a router; of
// several ways the first.
func parseBeyond(b []byte) (to netip.Prefix, way hop, ok bool) {
	if len(b) < unix.SizeofRtMsg || b[0] != unix.AF_INET && b[0] != unix.AF_INET6 || b[1] == 0 || b[3] != 0 || b[4] != unix.RT_TABLE_MAIN ||
		b[7] != unix.RTN_UNICAST || native.Uint32(b[8:])&(unix.RTM_F_CLONED|unix.RTNH_F_DEAD) != 0 {
		return to, way, false
	}
	for kind, v := range attributes(b[unix.SizeofRtMsg:]) {
		switch kind {
		case unix.RTA_DST:
			to = netip.PrefixFrom(address(v), int(b[1]))
		case unix.RTA_OIF:
			way.index = int(int32(number(v)))
		case unix.RTA_GATEWAY:
			way.gateway = address(v)
		case unix.RTA_VIA:
			way.gateway = via(v)
		case unix.RTA_MULTIPATH:
			if hops := parseHops(v); len(hops) > 0 {
				way = hops[0]
			}
		}
	}
	return to, way, to.IsValid() && way.index > 0 && way.gateway.IsValid()
}

// objectMessage is what we use of a struct nhmsg and its attributes: a next hop
// object is one way, or a group of others.
type objectMessage struct {
	id    uint32
	way   hop
	group []uint32
}

func parseObject(b []byte) (m objectMessage, ok bool) {
	if len(b) < unix.SizeofNhmsg || native.Uint32(b[4:])&unix.RTNH_F_DEAD != 0 {
		return m, false
	}
	for kind, v := range attributes(b[unix.SizeofNhmsg:]) {
		switch kind {
		case unix.NHA_ID:
			m.id = uint32(number(v))
		case unix.NHA_OIF:
			m.way.index = int(int32(number(v)))
		case unix.NHA_GATEWAY:
			m.way.gateway = address(v)
		case unix.NHA_GROUP:
			for ; len(v) >= unix.SizeofNexthopGrp; v = v[unix.SizeofNexthopGrp:] {
				m.group = append(m.group, native.Uint32(v))
			}
		}
	}
	return m, m.id != 0 && (m.way.index > 0 || len(m.group) > 0)
}

// hopsOf gives the ways of an object. Groups do not hold groups.
func hopsOf(objects map[uint32]objectMessage, id uint32) (hops []hop) {
	for _, id := range append([]uint32{id}, objects[id].group...) {
		if way := objects[id].way; way.index > 0 {
			hops = append(hops, way)
		}
	}
	return hops
}

// parseHops reads the ways of a multipath route, a struct rtnexthop each.
func parseHops(b []byte) (hops []hop) {
	for len(b) >= unix.SizeofRtNexthop {
		size := int(native.Uint16(b))
		if size < unix.SizeofRtNexthop || size > len(b) {
			return hops
		}
		h := hop{index: int(int32(native.Uint32(b[4:])))}
		for kind, v := range attributes(b[unix.SizeofRtNexthop:size]) {
			switch kind {
			case unix.RTA_GATEWAY:
				h.gateway = address(v)
			case unix.RTA_VIA:
				h.gateway = via(v)
			}
		}
		if h.index > 0 && b[2]&unix.RTNH_F_DEAD == 0 {
			hops = append(hops, h)
		}
		b = b[min((size+unix.RTA_ALIGNTO-1)&^(unix.RTA_ALIGNTO-1), len(b)):]
	}
	return hops
}

// via reads the next hop of an IPv4 route that is an IPv6 address (RFC 8950): a
// family and the address.
func via(v []byte) netip.Addr {
	if len(v) < 2 {
		return netip.Addr{}
	}
	return address(v[2:])
}

// Sizes of structures that x/sys does not name.
const (
	sizeofStatsMessage = 12 // struct if_stats_msg
	sizeofGeneric      = 4  // struct genlmsghdr
)

// parseStats reads an answer to RTM_GETSTATS.
func parseStats(b []byte) (index int, c Counter, ok bool) {
	if len(b) < sizeofStatsMessage {
		return 0, c, false
	}
	index = int(int32(native.Uint32(b[4:])))
	for kind, v := range attributes(b[sizeofStatsMessage:]) {
		if kind == unix.IFLA_STATS_LINK_64 {
			c, ok = octets(v)
		}
	}
	return index, c, ok && index > 0
}

// octets reads a struct rtnl_link_stats64: packets in and out, octets in and
// out, and much that we do not use.
func octets(v []byte) (c Counter, ok bool) {
	if len(v) < 4*8 {
		return c, false
	}
	return Counter{In: native.Uint64(v[16:]), Out: native.Uint64(v[24:])}, true
}

// speedUnknown is what drivers say that do not know.
const speedUnknown = 0xffffffff

// parseSpeed reads the speed in bits a second from an answer of ethtool's
// ETHTOOL_MSG_LINKMODES_GET.
func parseSpeed(b []byte) (index int, speed uint64, ok bool) {
	if len(b) < sizeofGeneric {
		return 0, 0, false
	}
	for kind, v := range attributes(b[sizeofGeneric:]) {
		switch kind {
		case unix.ETHTOOL_A_LINKMODES_HEADER:
			for kind, v := range attributes(v) {
				if kind == unix.ETHTOOL_A_HEADER_DEV_INDEX {
					index = int(int32(number(v)))
				}
			}
		case unix.ETHTOOL_A_LINKMODES_SPEED:
			speed = number(v)
		}
	}
	return index, speed * 1e6, index > 0 && speed > 0 && speed < speedUnknown
}

// parseFamily reads the number of a family of generic netlink.
func parseFamily(b []byte) (id uint16) {
	if len(b) < sizeofGeneric {
		return 0
	}
	for kind, v := range attributes(b[sizeofGeneric:]) {
		if kind == unix.CTRL_ATTR_FAMILY_ID {
			id = uint16(number(v))
		}
	}
	return id
}

// matters says whether a notification is of something that [Reader.Interfaces]
// tells.
func matters(kind uint16, b []byte) bool {
	switch kind {
	case unix.RTM_NEWLINK, unix.RTM_DELLINK:
		return len(b) > 0 && b[0] != unix.AF_BRIDGE // those are of a port's place in a bridge
	case unix.RTM_NEWADDR, unix.RTM_DELADDR, unix.RTM_NEWNEXTHOP, unix.RTM_DELNEXTHOP:
		return true
	case unix.RTM_NEWROUTE, unix.RTM_DELROUTE:
		return isDefault(b)
	}
	return false
}

// anyMatters says whether any of the notifications in a datagram matters.
func anyMatters(b []byte) bool {
	for len(b) >= unix.SizeofNlMsghdr {
		size := int(native.Uint32(b))
		if size < unix.SizeofNlMsghdr || size > len(b) {
			return true // who cannot read it has to look
		}
		if matters(native.Uint16(b[4:]), b[unix.SizeofNlMsghdr:size]) {
			return true
		}
		b = b[min((size+unix.NLMSG_ALIGNTO-1)&^(unix.NLMSG_ALIGNTO-1), len(b)):]
	}
	return false
}
