package kernel

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"

	"golang.org/x/sys/unix"
)

// road is a route as the kernel has it.
type road struct {
	at       place
	protocol uint8
	kind     uint8 // RTN_...
	index    int   // of the interface
	via      netip.Addr
	source   netip.Addr
	onlink   bool
	several  bool // several ways, or a next hop object: never ours
}

// place is what the kernel tells routes apart by.
type place struct {
	v6     bool
	table  uint32
	to     netip.Prefix
	metric uint32
}

// metric6 is what the kernel makes of an IPv6 route without a metric.
const metric6 = 1024

func (r *Route) place() place {
	p := place{v6: r.To.Addr().Is6(), table: uint32(r.Table), to: r.To.Masked(), metric: uint32(r.Metric)}
	if p.v6 && p.metric == 0 {
		p.metric = metric6
	}
	return p
}

var routeKinds = [...]uint8{Unicast: unix.RTN_UNICAST, Local: unix.RTN_LOCAL, Unreachable: unix.RTN_UNREACHABLE}

// check says what is wrong with a wish, which no kernel would take.
func (r *Route) check() error {
	switch {
	case !r.To.IsValid() || r.Table <= 0 || r.Metric < 0 || uint64(r.Metric) > 0xffffffff:
		return errors.New("it has no destination, no table, or a metric below 0")
	case int(r.Kind) >= len(routeKinds):
		return errors.New("unknown kind")
	case r.Kind != Unreachable && r.Interface == "":
		return errors.New("it has no interface")
	case r.Via.IsValid() && r.Via.Is4() && r.To.Addr().Is6():
		return errors.New("an IPv6 route has an IPv4 next hop")
	}
	return nil
}

// parseRoad reads a struct rtmsg and its attributes. It is not ok with routes
// that are made for each packet, and other families.
func parseRoad(b []byte) (r road, ok bool) {
	if len(b) >= unix.SizeofRtMsg && native.Uint32(b[8:])&unix.RTM_F_CLONED != 0 {
		return r, false
	}
	return parseAnyRoad(b)
}

// parseAnyRoad is parseRoad for routes that are made for a packet, too.
func parseAnyRoad(b []byte) (r road, ok bool) {
	if len(b) < unix.SizeofRtMsg || b[0] != unix.AF_INET && b[0] != unix.AF_INET6 {
		return r, false
	}
	r.at = place{v6: b[0] == unix.AF_INET6, table: uint32(b[4])}
	r.protocol, r.kind, r.onlink = b[5], b[7], native.Uint32(b[8:])&unix.RTNH_F_ONLINK != 0
	to := netip.IPv4Unspecified()
	if r.at.v6 {
		to = netip.IPv6Unspecified()
	}
	for kind, v := range attributes(b[unix.SizeofRtMsg:]) {
		switch kind {
		case unix.RTA_DST:
			to = address(v)
		case unix.RTA_TABLE:
			r.at.table = uint32(number(v))
		case unix.RTA_PRIORITY:
			r.at.metric = uint32(number(v))
		case unix.RTA_OIF:
			r.index = int(int32(number(v)))
		case unix.RTA_GATEWAY:
			r.via = address(v)
		case unix.RTA_VIA:
			r.via = via(v)
		case unix.RTA_PREFSRC:
			r.source = address(v)
		case unix.RTA_MULTIPATH, rtaObject:
			r.several = true
		}
	}
	r.at.to = netip.PrefixFrom(to, int(b[1]))
	return r, r.at.to.IsValid() && to.Is6() == r.at.v6
}

// serves says whether a route of ours is what is wished for.
func (r *road) serves(w *Route, index int) bool {
	if r.kind != routeKinds[w.Kind] || r.several {
		return false
	}
	if w.Kind == Unreachable {
		return true
	}
	return r.index == index && r.via == w.Via.WithZone("") && r.source == w.Source && r.onlink == w.OnLink
}

// bytes writes a route for RTM_NEWROUTE and RTM_DELROUTE.
func (r *road) bytes() []byte {
	family, scope := byte(unix.AF_INET), byte(unix.RT_SCOPE_UNIVERSE)
	switch {
	case r.at.v6:
		family = unix.AF_INET6
	case r.kind == unix.RTN_LOCAL:
		scope = unix.RT_SCOPE_HOST
	case r.kind == unix.RTN_UNICAST && !r.via.IsValid():
		scope = unix.RT_SCOPE_LINK
	}
	b := []byte{family, byte(r.at.to.Bits()), 0, 0, unix.RT_TABLE_UNSPEC, r.protocol, scope, r.kind, 0, 0, 0, 0}
	if r.onlink {
		native.PutUint32(b[8:], unix.RTNH_F_ONLINK)
	}
	b = append(b, attribute32(unix.RTA_TABLE, r.at.table)...)
	if r.at.to.Bits() > 0 {
		b = append(b, attribute(unix.RTA_DST, r.at.to.Addr().AsSlice())...)
	}
	if r.at.metric > 0 {
		b = append(b, attribute32(unix.RTA_PRIORITY, r.at.metric)...)
	}
	if r.index > 0 {
		b = append(b, attribute32(unix.RTA_OIF, uint32(r.index))...)
	}
	switch {
	case !r.via.IsValid():
	case r.via.Is4() || r.at.v6:
		b = append(b, attribute(unix.RTA_GATEWAY, r.via.AsSlice())...)
	default: // RFC 8950
		b = append(b, attribute(unix.RTA_VIA, append(native.AppendUint16(nil, unix.AF_INET6), r.via.AsSlice()...))...)
	}
	if r.source.IsValid() {
		b = append(b, attribute(unix.RTA_PREFSRC, r.source.AsSlice())...)
	}
	return b
}

// wished makes of a wish what the kernel shall have.
func (r *Route) wished(protocol uint8, index int) road {
	w := road{at: r.place(), protocol: protocol, kind: routeKinds[r.Kind]}
	if r.Kind != Unreachable {
		w.index, w.via, w.source, w.onlink = index, r.Via.WithZone(""), r.Source, r.OnLink
	}
	return w
}

// String is a route as the ip program takes it, without "ip route add".
func (r *Route) String() string {
	text := r.To.Masked().String()
	if r.To.Bits() == 0 {
		text = "default"
	}
	switch r.Kind {
	case Local:
		text = "local " + text
	case Unreachable:
		text = "unreachable " + text
	}
	if r.Kind != Unreachable {
		text += r.way()
	}
	text += " table " + strconv.Itoa(r.Table)
	if r.Metric > 0 {
		text += " metric " + strconv.Itoa(r.Metric)
	}
	return text
}

// way is where a route leads.
func (r *Route) way() (text string) {
	switch {
	case !r.Via.IsValid():
	case r.Via.Is6() && r.To.Addr().Is4():
		text = " via inet6 " + r.Via.WithZone("").String()
	default:
		text = " via " + r.Via.WithZone("").String()
	}
	text += " dev " + r.Interface
	if r.OnLink {
		text += " onlink"
	}
	if r.Source.IsValid() {
		text += " src " + r.Source.String()
	}
	return text
}

// roads reads the routes of a protocol number, of all tables.
func (n *routing) roads(protocol uint8) (list []road, err error) {
	for _, family := range []byte{unix.AF_INET, unix.AF_INET6} {
		header := []byte{family, 0, 0, 0, 0, protocol, 0, 0, 0, 0, 0, 0} // the kernel selects, since 4.20
		before := len(list)
		err := n.dump(unix.RTM_GETROUTE, header, unix.RTM_NEWROUTE, func() func([]byte) {
			list = list[:before]
			return func(b []byte) {
				if r, ok := parseRoad(b); ok && r.protocol == protocol {
					list = append(list, r)
				}
			}
		})
		if err != nil {
			return nil, fmt.Errorf("reading routes: %w", err)
		}
	}
	return list, nil
}

// routes makes the routes of an owner as he wishes: what is missing is added and
// what differs replaced. What nobody wishes any more is given back, to be
// removed when no rule leads to it.
func (n *routing) routes(protocol uint8, wishes []Route, ports map[string]device) (old []road, problems []string) {
	have, err := n.roads(protocol)
	if err != nil {
		return nil, []string{err.Error()}
	}
	at := make(map[place][]road, len(have))
	for _, r := range have {
		at[r.at] = append(at[r.at], r)
	}
	for i := range wishes {
		w := &wishes[i]
		p := w.place()
		if err := n.route(protocol, w, at[p], ports); err != nil {
			problems = append(problems, fmt.Sprintf("route %s: %v", w, err))
		}
		delete(at, p)
	}
	for _, r := range have { // in the kernel's order
		if slices.Contains(at[r.at], r) {
			old = append(old, r)
		}
	}
	return old, problems
}

// route makes one route so; have are ours in its place.
func (n *routing) route(protocol uint8, w *Route, have []road, ports map[string]device) error {
	if err := w.check(); err != nil {
		return err
	}
	d, there := ports[w.Interface]
	var remove, keep []road
	for _, r := range have {
		if there || w.Kind == Unreachable {
			if len(keep) == 0 && r.serves(w, d.index) {
				keep = append(keep, r)
				continue
			}
		}
		remove = append(remove, r)
	}
	if len(keep) > 0 && len(remove) == 0 {
		return nil
	}
	if w.Kind != Unreachable && (!there || !d.up) {
		// Routes over what is there no more are of no use to anybody.
		return errors.Join(d.missing(w.Interface), n.removeRoutes(remove))
	}
	wished := w.wished(protocol, d.index)
	if len(keep) == 0 && len(remove) == 1 && !n.shared(&wished) {
		// In one step, so that no packet finds none.
		return n.change(unix.RTM_NEWROUTE, unix.NLM_F_CREATE|unix.NLM_F_REPLACE, wished.bytes())
	}
	if err := n.removeRoutes(remove); err != nil || len(keep) > 0 {
		return err
	}
	err := n.change(unix.RTM_NEWROUTE, unix.NLM_F_CREATE|unix.NLM_F_EXCL, wished.bytes())
	if errors.Is(err, unix.EEXIST) {
		return errors.New("there is another in its place that is not ours, which stays")
	}
	return err
}

// shared says whether somebody else has a route in the same place, which a
// replacement might hit.
func (n *routing) shared(w *road) bool {
	family := byte(unix.AF_INET)
	if w.at.v6 {
		family = unix.AF_INET6
	}
	found := false
	header := append([]byte{family, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}, attribute32(unix.RTA_TABLE, w.at.table)...)
	err := n.dump(unix.RTM_GETROUTE, header, unix.RTM_NEWROUTE, func() func([]byte) {
		return func(b []byte) {
			r, ok := parseRoad(b)
			found = found || ok && r.at == w.at && r.protocol != w.protocol
		}
	})
	return found || err != nil && !errors.Is(err, unix.ENOENT)
}

func (n *routing) removeRoutes(list []road) error {
	var all []error
	for i := range list {
		err := n.change(unix.RTM_DELROUTE, 0, list[i].bytes())
		if err != nil && !errors.Is(err, unix.ESRCH) && !errors.Is(err, unix.ENOENT) {
			all = append(all, fmt.Errorf("removing the route to %s in table %d: %w", list[i].at.to, list[i].at.table, err))
		}
	}
	return errors.Join(all...)
}
