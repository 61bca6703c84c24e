package kernel

import (
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"sync"

	"golang.org/x/sys/unix"
)

// lost remembers the IPv6 addresses that Linux took from an interface because
// it was switched off, which nothing puts back when it is switched on again
// (IPv4 addresses stay). Only addresses that somebody gave for ever: those of
// router advertisements come back by themselves. What is removed while the
// interface is on was meant so, and is not remembered.
type lost struct {
	mu   sync.Mutex
	off  map[int]bool
	gone map[int]map[netip.Prefix]lostAddress
}

// lostAddress is what else there was to an address.
type lostAddress struct {
	peer  netip.Addr
	flags uint32
}

func newLost() *lost { return &lost{off: map[int]bool{}, gone: map[int]map[netip.Prefix]lostAddress{}} }

// Flags of addresses that are kept, and those that must be or not be there.
const (
	keptFlags     = unix.IFA_F_NODAD | unix.IFA_F_NOPREFIXROUTE | unix.IFA_F_HOMEADDRESS
	temporaryFlag = unix.IFA_F_TEMPORARY | unix.IFA_F_MANAGETEMPADDR | unix.IFA_F_STABLE_PRIVACY
)

// heard takes note of an event. Linux tells that an interface is off before it
// tells which addresses went.
func (l *lost) heard(kind uint16, b []byte) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch kind {
	case unix.RTM_NEWLINK:
		if m, ok := parseLink(b); ok && m.family != unix.AF_BRIDGE {
			l.off[m.index] = m.flags&unix.IFF_UP == 0
		}
	case unix.RTM_DELLINK:
		if m, ok := parseLink(b); ok && m.family != unix.AF_BRIDGE {
			delete(l.off, m.index)
			delete(l.gone, m.index)
		}
	case unix.RTM_NEWADDR:
		if index, p, _, ok := parseGiven(b); ok {
			delete(l.gone[index], p)
		}
	case unix.RTM_DELADDR:
		index, p, a, ok := parseGiven(b)
		if !ok || !l.off[index] {
			return
		}
		if l.gone[index] == nil {
			l.gone[index] = map[netip.Prefix]lostAddress{}
		}
		l.gone[index][p] = a
	}
}

// parseGiven reads an IPv6 address that somebody gave for ever, from a struct
// ifaddrmsg and its attributes.
func parseGiven(b []byte) (index int, p netip.Prefix, a lostAddress, ok bool) {
	if len(b) < unix.SizeofIfAddrmsg || b[0] != unix.AF_INET6 || b[3] != unix.RT_SCOPE_UNIVERSE {
		return 0, p, a, false
	}
	index, a.flags = int(int32(native.Uint32(b[4:]))), uint32(b[2])
	var local, other netip.Addr
	ours := false
	for kind, v := range attributes(b[unix.SizeofIfAddrmsg:]) {
		switch kind {
		case unix.IFA_LOCAL:
			local = address(v)
		case unix.IFA_ADDRESS:
			other = address(v)
		case unix.IFA_FLAGS:
			a.flags = uint32(number(v))
		case ifaProto: // addresses that are wished come back by themselves
			ours = ownerOf(uint8(number(v))) != ""
		}
	}
	if local.IsValid() {
		a.peer = other
	} else {
		local = other
	}
	p = netip.PrefixFrom(local, int(b[1]))
	return index, p, a, !ours && index > 0 && p.IsValid() && local.Is6() && a.flags&unix.IFA_F_PERMANENT != 0 && a.flags&temporaryFlag == 0
}

// bytes writes an address for RTM_NEWADDR.
func (a lostAddress) bytes(index int, p netip.Prefix) []byte {
	b := []byte{unix.AF_INET6, byte(p.Bits()), byte(a.flags & keptFlags), unix.RT_SCOPE_UNIVERSE}
	b = native.AppendUint32(b, uint32(index))
	b = append(b, attribute(unix.IFA_LOCAL, p.Addr().AsSlice())...)
	far := p.Addr()
	if a.peer.IsValid() {
		far = a.peer
	}
	b = append(b, attribute(unix.IFA_ADDRESS, far.AsSlice())...)
	return append(b, attribute32(unix.IFA_FLAGS, a.flags&keptFlags)...)
}

// of gives what an interface has lost.
func (l *lost) of(index int) map[netip.Prefix]lostAddress {
	l.mu.Lock()
	defer l.mu.Unlock()
	return maps.Clone(l.gone[index])
}

func (l *lost) found(index int, p netip.Prefix) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.gone[index], p)
}

// restore puts back the addresses that interfaces of an owner's routes lost
// when they were switched off, once they are on.
func (n *routing) restore(w *Wishes, ports map[string]device) (problems []string) {
	seen := map[string]bool{}
	for i := range w.Routes {
		name := w.Routes[i].Interface
		d := ports[name]
		if seen[name] || !d.up {
			continue
		}
		seen[name] = true
		gone := n.lost.of(d.index)
		for _, p := range slices.SortedFunc(maps.Keys(gone), netip.Prefix.Compare) {
			err := n.change(unix.RTM_NEWADDR, unix.NLM_F_CREATE|unix.NLM_F_EXCL, gone[p].bytes(d.index, p))
			if err != nil && !errors.Is(err, unix.EEXIST) {
				problems = append(problems, fmt.Sprintf("putting address %s back on %s: %v", p, name, err))
				continue
			}
			n.lost.found(d.index, p)
			n.log.Info("put back an address that went when its interface was switched off", "interface", name, "address", p)
		}
	}
	return problems
}
