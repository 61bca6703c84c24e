package dnsproxy

import (
	"net/netip"
	"slices"
	"strings"
)

// Bounds of what others write for us to read.
const (
	maxLearntFile = 64 << 10 // octets of a file that are looked at
	maxLearnt     = 8        // addresses of a link; resolvers themselves take 3
)

// keyed reads files of lines KEY=VALUE VALUE, as systemd keeps leases (DNS) and
// the servers of an interface (DNS, SERVERS).
func keyed(text, key string) (list []netip.Addr) {
	for line := range strings.Lines(text) {
		if name, values, ok := strings.Cut(line, "="); ok && strings.TrimSpace(name) == key {
			list = append(list, listed(strings.Trim(strings.TrimSpace(values), `"`))...)
		}
	}
	return list
}

// nameservers reads files of the form of resolv.conf(5).
func nameservers(text string) (list []netip.Addr) {
	for line := range strings.Lines(text) {
		if words := strings.Fields(line); len(words) > 1 && words[0] == "nameserver" {
			list = append(list, listed(words[1])...)
		}
	}
	return list
}

// plain reads files of addresses between white space, and comments from # to the
// end of the line: what hooks write.
func plain(text string) (list []netip.Addr) {
	for line := range strings.Lines(text) {
		line, _, _ = strings.Cut(line, "#")
		list = append(list, listed(line)...)
	}
	return list
}

// listed reads addresses between white space. What is none is passed over, as
// is one with another port than that of DNS: the port is the configuration's to
// say. Zones are numbers of interfaces or their names; the link knows its own.
func listed(words string) (list []netip.Addr) {
	for word := range strings.FieldsSeq(words) {
		if len(list) >= 4*maxLearnt {
			break
		}
		word, _, _ = strings.Cut(word, "#") // 192.0.2.53#dns.example: a name for its certificate
		a, err := netip.ParseAddr(word)
		if err != nil {
			at, err := netip.ParseAddrPort(word)
			if err != nil || at.Port() != dnsPort {
				continue
			}
			a = at.Addr()
		}
		list = append(list, a.Unmap().WithZone(""))
	}
	return list
}

// canBeAsked says whether an address can be that of a DNS server beyond a link.
// One of our own would ask us: a stub that listens on this machine is in many of
// these files.
func canBeAsked(a netip.Addr, own func(netip.Addr) bool) bool {
	switch {
	case a.IsUnspecified(), a.IsLoopback(), a.IsMulticast(), a.Is4() && a.As4()[0] == 0, a.Is4() && a.As4()[0] >= 240:
		return false
	}
	return own == nil || !own(a)
}

// ofInterface says whether the name of a file of resolvconf is of an interface:
// IFACE or IFACE.PROGRAM. eth0.100 is an interface itself, not a program of eth0.
func ofInterface(file, iface string) bool {
	rest, ok := strings.CutPrefix(file, iface)
	if !ok || rest == "" {
		return ok
	}
	program, ok := strings.CutPrefix(rest, ".")
	return ok && program != "" && !strings.Contains(program, ".") && strings.Trim(program, "0123456789") != ""
}

// heard is an address, and who told it.
type heard struct {
	Addr   netip.Addr
	Source string
}

// merge gives the addresses of a link. The first source that has any of a family
// is the one for that family: a lower one may be of another time, as a lease
// that nobody renews any more.
func merge(sources []sourced, iface string, own func(netip.Addr) bool) (list []heard) {
	for _, six := range []bool{false, true} {
		for _, s := range sources {
			n := len(list)
			for _, a := range s.list {
				if a.Is6() != six || !canBeAsked(a, own) {
					continue
				}
				if a.IsLinkLocalUnicast() && six {
					a = a.WithZone(iface)
				}
				if len(list)-n < maxLearnt/2 && !slices.ContainsFunc(list, func(f heard) bool { return f.Addr == a }) {
					list = append(list, heard{a, s.from})
				}
			}
			if len(list) > n {
				break
			}
		}
	}
	return list
}

// sourced is what one source has.
type sourced struct {
	from string
	list []netip.Addr
}
