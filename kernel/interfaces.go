package kernel

import (
	"cmp"
	"maps"
	"net/netip"
	"slices"

	"golang.org/x/sys/unix"
)

// Interface is a network interface as it stands.
type Interface struct {
	Index int // never used twice while the machine runs, as good as
	Name  string
	Up    bool   // it is switched on and has a carrier
	Why   string // why it is not up
	Speed uint64 // bits a second, as the driver says; 0: not known

	// Addresses are the usable ones, each with the length of its network,
	// link-local ones too (without a zone).
	Addresses []netip.Prefix

	// NextHop4 and NextHop6 are where the interface's default routes lead, of
	// several the one with the lowest metric; routes of table main go before
	// those of other tables, in which hosts with several lines keep one each.
	// A link-local address has the interface's name as its zone, and may be the
	// next hop of IPv4 too (RFC 8950). A default route without a gateway leads to
	// the other end of a point-to-point interface. The zero Addr: none.
	NextHop4, NextHop6 netip.Addr

	// Beyond is where table main leads over the interface through a router, by
	// routes other than the default one; at most [mostBeyond].
	Beyond []Beyond
}

// Beyond is a network behind a router.
type Beyond struct {
	To  netip.Prefix
	Via netip.Addr
}

// mostBeyond bounds what is told of an interface: a table of the whole Internet
// says nothing of who lives behind it.
const mostBeyond = 4096

// extMaskSkipStats has a list of interfaces without their counters.
const extMaskSkipStats = 1 << 3

// Interfaces gives all interfaces, in the order of their index.
func (r *Reader) Interfaces() ([]Interface, error) {
	found, err := r.links()
	if err != nil {
		return nil, wrapped("interfaces", err)
	}
	peers, err := r.addresses(found)
	if err != nil {
		return nil, wrapped("addresses", err)
	}
	if err := r.nextHops(found, peers); err != nil {
		return nil, wrapped("routes", err)
	}
	r.speeds(found)
	list := make([]Interface, 0, len(found))
	for _, i := range slices.Sorted(maps.Keys(found)) {
		list = append(list, *found[i])
	}
	return list, nil
}

func (r *Reader) links() (found map[int]*Interface, err error) {
	body := append(make([]byte, unix.SizeofIfInfomsg), attribute32(unix.IFLA_EXT_MASK, extMaskSkipStats)...)
	err = dump(r.sockets, unix.NETLINK_ROUTE, unix.RTM_GETLINK, body, unix.RTM_NEWLINK, func() { found = map[int]*Interface{} }, func(b []byte) {
		if m, ok := parseLink(b); ok {
			why := m.down()
			found[m.index] = &Interface{Index: m.index, Name: m.name, Up: why == "", Why: why}
		}
	})
	return found, err
}

// addresses adds the addresses of interfaces and gives the other ends of those
// that are point-to-point.
func (r *Reader) addresses(found map[int]*Interface) (peers map[int][]netip.Addr, err error) {
	start := func() {
		peers = map[int][]netip.Addr{}
		for _, i := range found {
			i.Addresses = nil
		}
	}
	body := make([]byte, unix.SizeofIfAddrmsg)
	err = dump(r.sockets, unix.NETLINK_ROUTE, unix.RTM_GETADDR, body, unix.RTM_NEWADDR, start, func(b []byte) {
		m, ok := parseAddress(b)
		if i := found[m.index]; ok && i != nil {
			i.Addresses = append(i.Addresses, m.prefix)
			if m.peer.IsValid() {
				peers[m.index] = append(peers[m.index], m.peer)
			}
		}
	})
	return peers, err
}

// nextHops adds the next hops of default routes.
func (r *Reader) nextHops(found map[int]*Interface, peers map[int][]netip.Addr) error {
	var routes []routeMessage
	start := func() {
		routes = nil
		for _, i := range found {
			i.Beyond = nil
		}
	}
	err := dump(r.sockets, unix.NETLINK_ROUTE, unix.RTM_GETROUTE, make([]byte, unix.SizeofRtMsg), unix.RTM_NEWROUTE, start, func(b []byte) {
		if m, ok := parseRoute(b); ok {
			routes = append(routes, m)
		} else if to, way, ok := parseBeyond(b); ok {
			if i := found[way.index]; i != nil && len(i.Beyond) < mostBeyond {
				i.Beyond = append(i.Beyond, Beyond{to, way.gateway})
			}
		}
	})
	if err != nil {
		return err
	}
	if err := r.resolve(routes); err != nil {
		return err
	}
	for _, h := range ranked(routes) {
		i := found[h.index]
		if i == nil {
			continue
		}
		to := &i.NextHop4
		if h.v6 {
			to = &i.NextHop6
		}
		if !to.IsValid() {
			*to = h.leadsTo(i.Name, peers[h.index])
		}
	}
	return nil
}

// resolve fills in the ways of routes that tell only which object holds them, as
// is so with net.ipv4.nexthop_compat_mode=0.
func (r *Reader) resolve(routes []routeMessage) error {
	if !slices.ContainsFunc(routes, func(m routeMessage) bool { return len(m.hops) == 0 }) {
		return nil
	}
	var objects map[uint32]objectMessage
	start := func() { objects = map[uint32]objectMessage{} }
	err := dump(r.sockets, unix.NETLINK_ROUTE, unix.RTM_GETNEXTHOP, make([]byte, unix.SizeofNhmsg), unix.RTM_NEWNEXTHOP, start, func(b []byte) {
		if m, ok := parseObject(b); ok {
			objects[m.id] = m
		}
	})
	for i := range routes {
		if m := &routes[i]; len(m.hops) == 0 {
			m.hops = hopsOf(objects, m.object)
		}
	}
	return err
}

// rankedHop is one way out, in the order in which they count.
type rankedHop struct {
	hop
	v6 bool
}

// ranked gives all ways of all default routes, the best first: table main before
// others, then by metric; equal ones stay as the kernel has them.
func ranked(routes []routeMessage) (hops []rankedHop) {
	other := func(m routeMessage) int {
		if m.table == unix.RT_TABLE_MAIN {
			return 0
		}
		return 1
	}
	slices.SortStableFunc(routes, func(a, b routeMessage) int {
		return cmp.Or(cmp.Compare(other(a), other(b)), cmp.Compare(a.metric, b.metric))
	})
	for _, m := range routes {
		for _, h := range m.hops {
			hops = append(hops, rankedHop{h, m.v6})
		}
	}
	return hops
}

// leadsTo gives the address at the other end of a way.
func (h *rankedHop) leadsTo(name string, peers []netip.Addr) netip.Addr {
	gateway := h.gateway
	if !gateway.IsValid() {
		for _, p := range peers {
			if p.Is6() == h.v6 {
				gateway = p
				break
			}
		}
	}
	if gateway.IsLinkLocalUnicast() && gateway.Is6() {
		gateway = gateway.WithZone(name)
	}
	return gateway
}

// speeds adds the speeds of those interfaces whose driver tells one. It is no
// error if none can be had.
func (r *Reader) speeds(found map[int]*Interface) {
	r.asking.Lock()
	defer r.asking.Unlock()
	if r.noSpeeds {
		return
	}
	if r.ethtool == 0 {
		name := append([]byte("ethtool"), 0)
		body := append([]byte{unix.CTRL_CMD_GETFAMILY, 1, 0, 0}, attribute(unix.CTRL_ATTR_FAMILY_NAME, name)...)
		err := ask(r.sockets, unix.NETLINK_GENERIC, unix.GENL_ID_CTRL, 0, body, unix.GENL_ID_CTRL, func(b []byte) { r.ethtool = parseFamily(b) })
		if err != nil || r.ethtool == 0 { // before Linux 5.6, or built without it
			r.noSpeeds = true
			return
		}
	}
	header := attribute(unix.ETHTOOL_A_LINKMODES_HEADER|unix.NLA_F_NESTED, attribute32(unix.ETHTOOL_A_HEADER_FLAGS, unix.ETHTOOL_FLAG_COMPACT_BITSETS))
	body := append([]byte{unix.ETHTOOL_MSG_LINKMODES_GET, 1, 0, 0}, header...)
	// An error leaves the rest without a speed, which is what unknown looks like.
	_ = dump(r.sockets, unix.NETLINK_GENERIC, int(r.ethtool), body, r.ethtool, func() {}, func(b []byte) {
		if index, speed, ok := parseSpeed(b); ok && found[index] != nil {
			found[index].Speed = speed
		}
	})
}
