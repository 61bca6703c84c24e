package kernel

import (
	"errors"
	"fmt"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// How a rate is kept:
//
//	out  eth1 root: HTB, one class        in  eth1 ingress: u32, all of it
//	                                            → portolan7 (an ifb; 7: eth1's index)
//	                                              root: HTB, one class
//
// What is ours is told by the handle of HTB and the priority of the filter, both
// the owner's [handleOf], and by the alias of the ifb. The queue of an
// administrator is never replaced: only the one that Linux put there by
// itself, which has the handle 0 and comes back when ours goes.

// ifbAlias is what the interface for what comes in says of itself.
func ifbAlias(owner, name string) string {
	return "portolan " + owner + ": what comes in by " + name
}

const ifbPrefix = "portolan"

func ifbName(index int) string { return fmt.Sprintf("%s%d", ifbPrefix, index) }

// isMirror says whether an interface is one of an owner's for what comes in.
func isMirror(link netlink.Link, owner string) bool {
	return link.Type() == "ifb" && strings.HasPrefix(link.Attrs().Alias, "portolan "+owner+": ")
}

// least is the lowest rate that can be kept, in bits a second: with less, one
// packet would take seconds.
const leastRate = 8000

// queues are the queues of all interfaces, by index.
type queues struct {
	root    map[int]netlink.Qdisc
	ingress map[int]netlink.Qdisc // or clsact
	leaf    map[leaf]string       // its kind
}

// leaf is the queue of a class.
type leaf struct {
	index int
	class uint32
}

func (n *routing) queues() (q queues, err error) {
	var all []netlink.Qdisc
	for try := 0; ; try++ {
		all, err = n.tc.QdiscList(nil)
		if !errors.Is(err, netlink.ErrDumpInterrupted) || try == routingMost {
			break
		}
	}
	if err != nil {
		return q, fmt.Errorf("reading queues: %w", err)
	}
	q = queues{map[int]netlink.Qdisc{}, map[int]netlink.Qdisc{}, map[leaf]string{}}
	for _, d := range all {
		switch a := d.Attrs(); a.Parent {
		case netlink.HANDLE_ROOT:
			q.root[a.LinkIndex] = d
		case netlink.HANDLE_INGRESS:
			q.ingress[a.LinkIndex] = d
		default:
			q.leaf[leaf{a.LinkIndex, a.Parent}] = d.Type()
		}
	}
	return q, nil
}

// shapers makes the shapers of an owner as he wishes.
func (n *routing) shapers(owner string, protocol uint8, wishes []Shaper, ports map[string]device) (problems []string) {
	major := handleOf(protocol)
	q, err := n.queues()
	if err != nil {
		return []string{err.Error()}
	}
	fail := func(w Shaper, direction string, err error) {
		if err != nil {
			problems = append(problems, fmt.Sprintf("shaper of %s %s: %v", w.Interface, direction, err))
		}
	}
	out, in := map[int]bool{}, map[int]bool{}
	for _, w := range wishes {
		d, there := ports[w.Interface]
		if !there {
			fail(w, "of either direction", d.missing(w.Interface))
			continue
		}
		if w.Out > 0 {
			out[d.index] = true
			fail(w, "out", n.shape(d.index, major, w.Out, q))
		}
		if w.In > 0 {
			in[d.index] = true
			fail(w, "in", n.shapeIn(owner, w, d.index, major, q, ports))
		}
	}
	return append(problems, n.unshape(owner, major, q, ports, out, in)...)
}

// shape gives an interface the rate for what it sends, in bits a second.
func (n *routing) shape(index int, major uint16, rate uint64, q queues) error {
	if rate < leastRate {
		return fmt.Errorf("%d bit/s is less than can be kept (%d)", rate, leastRate)
	}
	root, handle := q.root[index], netlink.MakeHandle(major, 0)
	if root == nil || !(root.Attrs().Handle == handle && root.Type() == "htb") {
		if root != nil && root.Attrs().Handle != 0 {
			return fmt.Errorf("its queue is %s %s, which is not ours and stays", root.Type(), netlink.HandleStr(root.Attrs().Handle))
		}
		htb := netlink.NewHtb(netlink.QdiscAttrs{LinkIndex: index, Handle: handle, Parent: netlink.HANDLE_ROOT})
		htb.Defcls = 1
		if err := n.tc.QdiscAdd(htb); err != nil {
			return fmt.Errorf("its queue: %w", err)
		}
	}
	class := netlink.NewHtbClass(
		netlink.ClassAttrs{LinkIndex: index, Handle: netlink.MakeHandle(major, 1), Parent: handle},
		netlink.HtbClassAttrs{Rate: rate, Ceil: rate, Quantum: quantum(rate), Buffer: burst(rate), Cbuffer: burst(rate)})
	same, err := n.shaped(class)
	kind := q.leaf[leaf{index, class.Handle}]
	if err != nil || same && kind != "" {
		return err
	}
	if err := n.tc.ClassReplace(class); err != nil {
		return fmt.Errorf("its rate: %w", err)
	}
	return n.wait(index, class.Handle, netlink.MakeHandle(leafOf(major), 0), rate, kind)
}

// leafOf is the major number of the queue in the class: 0x5150 for 0x5050.
func leafOf(major uint16) uint16 { return major + 0x100 }

// wait gives a class the queue in which its packets wait: several connections
// share fq_codel fairly, and none waits long. Where the kernel has none it is one
// queue of a tenth of a second; the one that HTB takes by itself is of a thousand
// packets, at 20 Mbit/s more than half a second.
func (n *routing) wait(index int, class, handle uint32, rate uint64, now string) (err error) {
	if now != "bfifo" {
		err = n.tc.QdiscReplace(netlink.NewFqCodel(netlink.QdiscAttrs{LinkIndex: index, Handle: handle, Parent: class}))
	}
	if now == "bfifo" || errors.Is(err, unix.ENOENT) || errors.Is(err, unix.EOPNOTSUPP) {
		b := make([]byte, 4, sizeofTC)
		for _, word := range []uint32{uint32(index), handle, class, 0} {
			b = native.AppendUint32(b, word)
		}
		b = append(b, attribute(unix.TCA_KIND, []byte("bfifo\x00"))...)
		b = append(b, attribute32(unix.TCA_OPTIONS, backlog(rate))...)
		err = n.change(unix.RTM_NEWQDISC, unix.NLM_F_CREATE|unix.NLM_F_REPLACE, b)
	}
	if err != nil {
		return fmt.Errorf("the queue in its class: %w", err)
	}
	return nil
}

const sizeofTC = 20 // struct tcmsg

// backlog is how many octets wait at most: what goes in a tenth of a second, and
// ten packets at least.
func backlog(rate uint64) uint32 { return uint32(min(max(rate/8/10, 15140), 64<<20)) }

// shaped says whether the class is there with its rate.
func (n *routing) shaped(want *netlink.HtbClass) (bool, error) {
	link := &netlink.GenericLink{LinkAttrs: netlink.LinkAttrs{Index: want.LinkIndex}}
	all, err := n.tc.ClassList(link, netlink.HANDLE_NONE)
	if err != nil {
		return false, fmt.Errorf("reading classes: %w", err)
	}
	for _, c := range all {
		if h, ok := c.(*netlink.HtbClass); ok && h.Handle == want.Handle {
			return h.Rate == want.Rate && h.Ceil == want.Ceil, nil
		}
	}
	return false, nil
}

// burst is how many octets may go at once: two milliseconds' worth, and two
// packets at least.
func burst(rate uint64) uint32 { return uint32(min(max(rate/8/500, 3200), 4<<20)) }

// quantum is of no matter with one class; the kernel complains of what it would
// make of high rates.
func quantum(rate uint64) uint32 { return uint32(min(max(rate/80, 1600), 60000)) }

// shapeIn gives an interface the rate for what it receives.
func (n *routing) shapeIn(owner string, w Shaper, index int, major uint16, q queues, ports map[string]device) error {
	mirror, err := n.mirror(ifbName(index), ifbAlias(owner, w.Interface), ports)
	if err != nil {
		return err
	}
	if err := n.shape(mirror, major, w.In, q); err != nil {
		return err
	}
	switch old := q.ingress[index]; {
	case old != nil && old.Type() != "ingress":
		return fmt.Errorf("its queue for what comes in is %s, which is not ours and stays", old.Type())
	case old == nil:
		err := n.tc.QdiscAdd(&netlink.Ingress{QdiscAttrs: netlink.QdiscAttrs{LinkIndex: index, Handle: netlink.MakeHandle(0xffff, 0), Parent: netlink.HANDLE_INGRESS}})
		if err != nil {
			return fmt.Errorf("its ingress: %w", err)
		}
	}
	ours, others, err := n.redirects(index, major)
	switch {
	case err != nil:
		return err
	case others > 0:
		return fmt.Errorf("%d filters that are not ours take what comes in; they stay", others)
	case len(ours) == 1 && ours[0].RedirIndex == mirror:
		return nil
	}
	for _, f := range ours {
		if err := n.tc.FilterDel(f); err != nil {
			return fmt.Errorf("its filter: %w", err)
		}
	}
	err = n.tc.FilterAdd(&netlink.U32{
		FilterAttrs: netlink.FilterAttrs{LinkIndex: index, Parent: netlink.MakeHandle(0xffff, 0), Priority: major, Protocol: unix.ETH_P_ALL},
		RedirIndex:  mirror,
	})
	if err != nil {
		return fmt.Errorf("its filter: %w", err)
	}
	return nil
}

// mirror gives the interface that what comes in is sent through.
func (n *routing) mirror(name, alias string, ports map[string]device) (index int, err error) {
	if _, there := ports[name]; !there {
		ifb := &netlink.Ifb{LinkAttrs: netlink.NewLinkAttrs()}
		ifb.Name = name
		switch err := n.tc.LinkAdd(ifb); {
		case errors.Is(err, unix.EOPNOTSUPP):
			return 0, errors.New("this kernel has no ifb (modprobe ifb)")
		case err != nil && !errors.Is(err, unix.EEXIST):
			return 0, fmt.Errorf("interface %s: %w", name, err)
		case err == nil:
			if err := n.tc.LinkSetAlias(ifb, alias); err != nil {
				return 0, fmt.Errorf("interface %s: %w", name, err)
			}
		}
	}
	link, err := n.tc.LinkByName(name)
	if err != nil {
		return 0, fmt.Errorf("interface %s: %w", name, err)
	}
	if a := link.Attrs(); link.Type() != "ifb" || a.Alias != alias {
		return 0, fmt.Errorf("there is an interface %s that is not ours", name)
	}
	if err := n.tc.LinkSetUp(link); err != nil {
		return 0, fmt.Errorf("interface %s: %w", name, err)
	}
	return link.Attrs().Index, nil
}

// redirects gives our filters of what comes in by an interface, and how many
// others there are.
func (n *routing) redirects(index int, major uint16) (ours []*netlink.U32, others int, err error) {
	link := &netlink.GenericLink{LinkAttrs: netlink.LinkAttrs{Index: index}}
	all, err := n.tc.FilterList(link, netlink.MakeHandle(0xffff, 0))
	if err != nil {
		return nil, 0, fmt.Errorf("reading filters: %w", err)
	}
	for _, f := range all {
		u, ok := f.(*netlink.U32)
		switch {
		case ok && u.Priority == major && (u.RedirIndex > 0 || len(u.Actions) > 0):
			ours = append(ours, u)
		case ok && u.Priority == major: // the hash table that u32 makes for itself
		default:
			others++
		}
	}
	return ours, others, nil
}

// unshape takes away the shapers of an owner but those that he wishes.
func (n *routing) unshape(owner string, major uint16, q queues, ports map[string]device, out, in map[int]bool) (problems []string) {
	note := func(what string, err error) {
		if err != nil && !errors.Is(err, unix.ENOENT) && !errors.Is(err, unix.ENODEV) {
			problems = append(problems, fmt.Sprintf("removing %s: %v", what, err))
		}
	}
	for name, d := range ports {
		mirror := strings.HasPrefix(name, ifbPrefix)
		if root := q.root[d.index]; !out[d.index] && !mirror && root != nil && root.Type() == "htb" && root.Attrs().Handle == netlink.MakeHandle(major, 0) {
			note("the shaper of "+name, n.tc.QdiscDel(root))
		}
		if ingress := q.ingress[d.index]; !in[d.index] && ingress != nil {
			note("the shaper of what comes in by "+name, n.unshapeIn(d.index, major, ingress))
		}
	}
	for name := range ports {
		if !strings.HasPrefix(name, ifbPrefix) {
			continue
		}
		link, err := n.tc.LinkByName(name)
		if err != nil || !isMirror(link, owner) {
			continue // it is gone, or somebody else's
		}
		wished := false
		for of, d := range ports {
			wished = wished || in[d.index] && name == ifbName(d.index) && link.Attrs().Alias == ifbAlias(owner, of)
		}
		if !wished {
			note("interface "+name, n.tc.LinkDel(link))
		}
	}
	return problems
}

// unshapeIn takes our filter away, and the ingress queue if nobody else uses it.
func (n *routing) unshapeIn(index int, major uint16, ingress netlink.Qdisc) error {
	if ingress.Type() != "ingress" {
		return nil
	}
	ours, others, err := n.redirects(index, major)
	if err != nil || len(ours) == 0 {
		return err
	}
	for _, f := range ours {
		if err := n.tc.FilterDel(f); err != nil {
			return err
		}
	}
	if others > 0 {
		return nil
	}
	return n.tc.QdiscDel(ingress)
}
