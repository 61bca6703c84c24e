package kernel

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"net/netip"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// ifaProto is the attribute IFA_PROTO (since Linux 5.18), which x/sys does not
// name: who gave the address, by the number of protocolNumbers. Older kernels
// do not keep it. There an address is known for ours as long as we run, and
// is one of others afterwards: it is used, and never removed.
const ifaProto = 11

// given is an address that an interface has.
type given struct {
	givenAt
	proto uint8 // 0: nobody said
}

// givenAt tells addresses apart.
type givenAt struct {
	index  int
	prefix netip.Prefix
}

// parseGivenTo reads an address from a struct ifaddrmsg and its attributes,
// usable or not.
func parseGivenTo(b []byte) (g given, ok bool) {
	if len(b) < unix.SizeofIfAddrmsg {
		return g, false
	}
	g.index = int(int32(native.Uint32(b[4:])))
	var local, other netip.Addr
	for kind, v := range attributes(b[unix.SizeofIfAddrmsg:]) {
		switch kind {
		case unix.IFA_LOCAL:
			local = address(v)
		case unix.IFA_ADDRESS:
			other = address(v)
		case ifaProto:
			g.proto = uint8(number(v))
		}
	}
	if !local.IsValid() {
		local = other
	}
	g.prefix = netip.PrefixFrom(local, int(b[1]))
	return g, g.index > 0 && g.prefix.IsValid()
}

// bytes writes an address for RTM_NEWADDR and RTM_DELADDR. A single one is a
// service's: it needs no route to a network of its own, and nobody is asked
// whether he has it too, for that would take it a second or two. Of IPv6 it is
// deprecated from the beginning (RFC 4862 section 5.5.4), so that what this machine
// sends by itself, and what is masqueraded, has it for a source only if there is no
// other (RFC 6724 section 5, rule 3): of IPv4 one of a network of its own is taken.
func (g given) bytes() []byte {
	family, flags := byte(unix.AF_INET), uint32(0)
	if g.prefix.Addr().Is6() {
		family, flags = unix.AF_INET6, unix.IFA_F_NODAD
	}
	if g.prefix.IsSingleIP() {
		flags |= unix.IFA_F_NOPREFIXROUTE
	}
	b := []byte{family, byte(g.prefix.Bits()), byte(flags), unix.RT_SCOPE_UNIVERSE}
	b = native.AppendUint32(b, uint32(g.index))
	b = append(b, attribute(unix.IFA_LOCAL, g.prefix.Addr().AsSlice())...)
	b = append(b, attribute(unix.IFA_ADDRESS, g.prefix.Addr().AsSlice())...)
	b = append(b, attribute32(unix.IFA_FLAGS, flags)...)
	if flags&unix.IFA_F_NOPREFIXROUTE != 0 && g.prefix.Addr().Is6() {
		b = append(b, attribute(unix.IFA_CACHEINFO, deprecated())...)
	}
	if g.proto != 0 {
		b = append(b, attribute(ifaProto, []byte{g.proto})...)
	}
	return b
}

// deprecated is a struct ifa_cacheinfo: preferred for no time, valid for ever.
func deprecated() []byte {
	b := native.AppendUint32(nil, 0)
	b = native.AppendUint32(b, math.MaxUint32)
	return append(b, make([]byte, 8)...) // when it was made and changed is the kernel's
}

// check says what is wrong with a wish, which no kernel would take.
func (a *Address) check() error {
	switch {
	case !a.Prefix.IsValid() || a.Prefix.Addr().Is4In6():
		return fmt.Errorf("address %s on %s: it is none", a.Prefix, a.Interface)
	case a.Interface == "":
		return fmt.Errorf("address %s: it has no interface", a.Prefix)
	}
	return nil
}

// String is the address as the ip program takes it, without flags.
func (a *Address) String() string { return fmt.Sprintf("%s dev %s", a.Prefix, a.Interface) }

// flags are those of [given.bytes] as the ip program takes them.
func (a *Address) flags() (text string) {
	if a.Prefix.IsSingleIP() {
		text += " noprefixroute"
	}
	if a.Prefix.Addr().Is6() {
		text += " nodad"
		if a.Prefix.IsSingleIP() {
			text += " preferred_lft 0"
		}
	}
	return text
}

// givens reads all addresses.
func (n *routing) givens() (all []given, err error) {
	err = n.dump(unix.RTM_GETADDR, make([]byte, unix.SizeofIfAddrmsg), unix.RTM_NEWADDR, func() func([]byte) {
		all = nil
		return func(b []byte) {
			if g, ok := parseGivenTo(b); ok {
				all = append(all, g)
			}
		}
	})
	if err != nil {
		err = fmt.Errorf("reading addresses: %w", err)
	}
	return all, err
}

// addressPlan is what has to be done so that interfaces have the addresses that
// an owner wishes.
type addressPlan struct {
	first []given // of ours, that are in the way of others
	add   []given
	over  []given                   // of ours, that are wished no more
	wait  map[string][]netip.Prefix // for an interface, by its name
	wrong []string
}

// planAddresses compares. ours says what of those there are is the owner's own.
func planAddresses(protocol uint8, wishes []Address, ports map[string]device, there []given, ours func(given) bool) (p addressPlan) {
	old := map[givenAt]given{}
	alone := func(at givenAt) givenAt { return givenAt{at.index, netip.PrefixFrom(at.prefix.Addr(), 0)} }
	others, adding := map[givenAt]bool{}, map[givenAt]bool{} // by address alone, whatever their networks
	for _, g := range there {
		if ours(g) {
			old[g.givenAt] = g
		} else {
			others[alone(g.givenAt)] = true
		}
	}
	seen := map[givenAt]netip.Prefix{} // the first of several with different networks counts
	for i := range wishes {
		a := &wishes[i]
		if err := a.check(); err != nil {
			p.wrong = append(p.wrong, err.Error())
			continue
		}
		d := ports[a.Interface]
		if !d.up {
			put(&p.wait, a.Interface, append(p.wait[a.Interface], a.Prefix))
		}
		at := givenAt{d.index, a.Prefix}
		if !d.known {
			continue
		}
		first, again := seen[alone(at)]
		if again && first != a.Prefix {
			p.wrong = append(p.wrong, fmt.Sprintf("address %s on %s: it is wished as %s too", a.Prefix, a.Interface, first))
		}
		if again {
			continue
		}
		seen[alone(at)] = a.Prefix
		if _, is := old[at]; !is && d.up && !others[alone(at)] {
			p.add = append(p.add, given{at, protocol})
			adding[alone(at)] = true
		}
	}
	for at, g := range old {
		switch {
		case seen[alone(at)] == at.prefix:
		case g.prefix.Addr().Is6() && adding[alone(at)]:
			p.first = append(p.first, g) // Linux takes no IPv6 address twice, whatever its network
		default:
			p.over = append(p.over, g)
		}
	}
	slices.SortFunc(p.over, func(a, b given) int { return a.prefix.Compare(b.prefix) })
	return p
}

// addresses gives interfaces the addresses that are missing, and returns those
// of ours that are over.
func (n *routing) addresses(owner string, protocol uint8, wishes []Address, ports map[string]device) (over []given, problems []string) {
	there, err := n.givens()
	if err != nil {
		return nil, []string{err.Error()}
	}
	mine := n.stillMine(owner, there)
	p := planAddresses(protocol, wishes, ports, there, func(g given) bool { return g.proto == protocol || mine[g.givenAt] })
	problems = append(p.wrong, n.removeAddresses(p.first)...)
	var added []given
	for _, g := range p.add {
		if n.unmarking {
			g.proto = 0
		}
		if err := n.change(unix.RTM_NEWADDR, unix.NLM_F_CREATE|unix.NLM_F_EXCL, g.bytes()); err != nil && !errors.Is(err, unix.EEXIST) {
			problems = append(problems, fmt.Sprintf("address %s on %s: %v", g.prefix, nameOf(ports, g.index), err))
			continue
		}
		added = append(added, g)
	}
	if err := n.noteUnmarked(owner, added); err != nil {
		problems = append(problems, err.Error())
	}
	for _, name := range slices.Sorted(maps.Keys(p.wait)) {
		d := ports[name]
		problems = append(problems, fmt.Sprintf("%v: %s", d.missing(name), waiting(p.wait[name])))
	}
	return p.over, shorten(problems)
}

// stillMine forgets those unmarked ones that somebody has removed: they may come
// back as another's.
func (n *routing) stillMine(owner string, there []given) map[givenAt]bool {
	if mine := n.unmarked[owner]; mine != nil {
		left := map[givenAt]bool{}
		for _, g := range there {
			if mine[g.givenAt] {
				left[g.givenAt] = true
			}
		}
		n.unmarked[owner] = left
	}
	return n.unmarked[owner]
}

// waiting tells which addresses wait, if they are many the first few.
func waiting(list []netip.Prefix) string {
	const most = 3
	var texts []string
	for _, p := range list[:min(len(list), most)] {
		texts = append(texts, p.String())
	}
	text := "address " + strings.Join(texts, ", ")
	if len(list) > most {
		text += fmt.Sprintf(" and %d more", len(list)-most)
	}
	return text + " cannot be there"
}

func nameOf(ports map[string]device, index int) string {
	for name, d := range ports {
		if d.index == index {
			return name
		}
	}
	return fmt.Sprintf("if%d", index)
}

// noteUnmarked remembers those that this kernel has not marked.
func (n *routing) noteUnmarked(owner string, added []given) error {
	if n.marking || len(added) == 0 {
		return nil
	}
	there, err := n.givens()
	if err != nil {
		return err
	}
	fresh := map[givenAt]bool{}
	for _, g := range added {
		fresh[g.givenAt] = true
	}
	for _, g := range there {
		switch {
		case !fresh[g.givenAt]:
		case g.proto != 0:
			n.marking = true
		default:
			if n.unmarked[owner] == nil {
				put(&n.unmarked, owner, map[givenAt]bool{})
				n.log.Warn("this kernel cannot mark addresses as ours (Linux 5.18 can): after a restart they are taken for those of others, stay when they are wished no more, and kernel clean does not know them", "owner", owner)
			}
			n.unmarked[owner][g.givenAt] = true
		}
	}
	return nil
}

// removeAddresses takes away those of ours that are over.
func (n *routing) removeAddresses(over []given) (problems []string) {
	for _, g := range over {
		err := n.change(unix.RTM_DELADDR, 0, g.bytes())
		if err != nil && !errors.Is(err, unix.EADDRNOTAVAIL) {
			problems = append(problems, fmt.Sprintf("removing address %s: %v", g.prefix, err))
		}
	}
	return shorten(problems)
}
