package link

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/portolan-lb/portolan/kernel"
	"github.com/portolan-lb/portolan/probe"
	"github.com/portolan-lb/portolan/status"
)

// moving is the next hop of a link: the configured one, or the one that was
// learnt from the default route over its interface.
type moving struct {
	hop    netip.Addr // zero: none is known yet
	learnt bool
	four   bool // from a route of IPv4, whatever its own family (RFC 8950)
	lost   bool // the route is gone that it was learnt from
}

// saw takes what a look at the interfaces found. It reports whether what Way
// tells has changed. The caller holds l.mu.
func (l *Links) saw(list []kernel.Interface, err error) (moved bool) {
	rows := map[status.ID]status.Row{}
	for _, k := range l.links {
		before := k.moving
		if err == nil && l.opts.Kernel != nil {
			k.find(list)
		}
		k.learn()
		moved = moved || before.hop != k.hop
		if k.spec.Interface != "" {
			row := k.row(err, l.opts.Kernel == nil)
			rows[row.ID] = row
		}
	}
	l.write(rows)
	now := viewOf(l.links, list, l.opts.Mark)
	if err != nil {
		now.own = l.seen.Load().own
	}
	l.seen.Store(now)
	return moved
}

// find looks for the link's interface among those that there are.
func (k *link) find(list []kernel.Interface) {
	if k.spec.Interface == "" {
		return
	}
	k.gone = "there is no interface " + k.spec.Interface
	if k.nic.Index != 0 {
		k.gone = "interface " + k.spec.Interface + " is gone"
	}
	for _, i := range list {
		switch {
		case i.Name == k.spec.Interface:
			k.nic, k.gone = i, ""
			return
		case i.Index == k.nic.Index:
			k.gone = fmt.Sprintf("interface %s is gone (renamed to %s)", k.spec.Interface, i.Name)
		}
	}
}

// learn finds the next hop. One that was learnt stays when its route goes: it is
// what the link's probes ask, and that they fail then is what they are for. A
// next hop of IPv6 does not take the place of one of IPv4, for it would go on
// answering, whatever became of the clients' way. One of another family than the
// link's source address now has is nothing that probes could ask.
func (k *link) learn() {
	source := k.spec.Source
	if k.spec.NextHop.IsValid() {
		k.moving = moving{hop: k.spec.NextHop}
		return
	}
	if k.four && source.Is6() || !k.four && source.Is4() {
		k.moving = moving{} // of before the source was changed
	}
	var four, six netip.Addr
	if k.gone == "" {
		four, six = k.nic.NextHop4, k.nic.NextHop6
	}
	switch {
	case four.IsValid() && !source.Is6():
		k.moving = moving{hop: four, learnt: true, four: true}
	case six.IsValid() && !source.Is4() && !k.four:
		k.moving = moving{hop: six, learnt: true}
	case k.learnt:
		k.lost = true
	default:
		k.moving = moving{}
	}
}

// row is the row of the link's interface.
func (k *link) row(err error, blind bool) status.Row {
	r := status.Row{ID: status.MakeID(status.KindInterface, k.spec.Interface), By: "link", Seen: time.Now()}
	switch {
	case blind:
		r.Why = "this server cannot read interfaces"
	case err != nil:
		r.Why = err.Error()
	case k.gone != "":
		r.Health, r.Why = status.Down, k.gone
	case !k.nic.Up:
		r.Health, r.Why = status.Down, k.nic.Why
	default:
		r.Health, r.Why = status.Up, fmt.Sprintf("interface %d is up", k.nic.Index)
	}
	return r
}

// write puts the rows of interfaces on the board, and takes away those of
// interfaces that no link has any more. The board shows a row anew when its
// health changes; the sentence of one that stays down may change as well, so
// that its Since is then set.
func (l *Links) write(rows map[status.ID]status.Row) {
	table := l.board.Table()
	var list []status.Row
	for id, row := range rows {
		if old, ok := table.Lookup(id); ok && old.Health == row.Health && old.Why != row.Why {
			row.Since = row.Seen
		}
		list = append(list, row)
	}
	var gone []status.ID
	for id := range l.rows {
		if _, ok := rows[id]; !ok {
			gone = append(gone, id)
		}
	}
	clear(l.rows)
	for id := range rows {
		l.rows[id] = true
	}
	if len(list)+len(gone) > 0 {
		slices.SortFunc(list, func(a, b status.Row) int { return cmp.Compare(a.ID, b.ID) })
		l.board.Replace(list, gone)
	}
}

// Way is how this machine reaches over a link.
type Way struct {
	NextHop netip.Addr // zero: not known
	Learnt  bool       // from the interface's default route; else from the configuration
	Lost    bool       // that route is gone; the next hop is the last that was learnt
	Pin     probe.Pin  // ties sockets to the link
	Ours    bool       // this node owns the link: it knows its interface, source address or mark
}

// view is what is read of links without a lock. It is not changed.
type view struct {
	ways  map[string]Way
	bySrc map[netip.Addr][]string // links by their own source address
	byNIC map[int][]string        // by the index of their interface
	byIP  map[netip.Addr][]string // by the addresses of their interface
	own   map[netip.Addr]bool     // all addresses of this machine
}

func viewOf(links []*link, list []kernel.Interface, mark func(string) uint32) *view {
	v := &view{ways: map[string]Way{}, bySrc: map[netip.Addr][]string{}, byNIC: map[int][]string{}, byIP: map[netip.Addr][]string{}, own: map[netip.Addr]bool{}}
	for _, i := range list {
		for _, p := range i.Addresses {
			v.own[p.Addr()] = true
		}
	}
	for _, k := range links {
		name, spec := k.spec.Name, &k.spec
		pin := probe.Pin{Source: spec.Source, Device: spec.Interface, Mark: spec.Mark}
		if pin.Mark == 0 && mark != nil {
			pin.Mark = mark(name)
		}
		v.ways[name] = Way{NextHop: k.hop, Learnt: k.learnt, Lost: k.lost, Pin: pin, Ours: pin != probe.Pin{}}
		if spec.Source.IsValid() {
			v.bySrc[spec.Source] = append(v.bySrc[spec.Source], name)
		}
		if spec.Interface == "" || k.gone != "" || k.nic.Index == 0 {
			continue
		}
		v.byNIC[k.nic.Index] = append(v.byNIC[k.nic.Index], name)
		for _, p := range k.nic.Addresses {
			v.byIP[p.Addr()] = append(v.byIP[p.Addr()], name)
		}
	}
	return v
}

// Way tells how this machine reaches over a link; false: there is no such link.
func (l *Links) Way(name string) (Way, bool) {
	w, ok := l.seen.Load().ways[name]
	return w, ok
}

// Pin gives what ties sockets to a link, and whether this node owns it.
func (l *Links) Pin(name string) (probe.Pin, bool) {
	w := l.seen.Load().ways[name]
	return w.Pin, w.Ours
}

// Own says whether an address is one of this machine's interfaces.
func (l *Links) Own(a netip.Addr) bool { return l.seen.Load().own[a.WithZone("").Unmap()] }

// Owner tells over which link a connection came, from the address that it came
// to and the index of the interface it came in by (0: not known). It is not ok
// where that is no link's, or where it may be more than one's: what is measured
// of a connection must not be held for or against another link. A link with a
// source address of its own goes before those that share its interface.
func (l *Links) Owner(local netip.Addr, index int) (name string, ok bool) {
	v, local := l.seen.Load(), local.WithZone("").Unmap()
	at := v.byIP[local]
	if index > 0 {
		at = v.byNIC[index]
	}
	if src := v.bySrc[local]; len(src) > 0 {
		if index > 0 {
			src = common(src, at, v)
		}
		at = src
	}
	if len(at) != 1 {
		return "", false
	}
	return at[0], true
}

// common gives the links with a source address that came in by an interface of
// theirs, or that have none.
func common(src, at []string, v *view) (both []string) {
	for _, name := range src {
		if v.ways[name].Pin.Device == "" || slices.Contains(at, name) {
			both = append(both, name)
		}
	}
	return both
}
