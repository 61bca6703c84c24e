package doctor

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/portolan-lb/portolan/kernel"
)

// need is a socket that serve opens.
type need struct {
	Listener
	of string
}

func (f *Facts) needs() (list []need) {
	for _, l := range f.Listeners {
		list = append(list, need{l, "the DNS listener on " + l.Address.String()})
	}
	if f.Proxies {
		for _, a := range []netip.Addr{netip.IPv4Unspecified(), netip.IPv6Unspecified()} {
			list = append(list, need{Listener{netip.AddrPortFrom(a, f.ProxyPort), true, true}, "the DNS proxy"})
		}
	}
	return list
}

// collides says whether two sockets cannot both be there. One on [::] takes IPv4
// too, unless it says otherwise (bindv6only), which is not seen; then its program
// has another for IPv4.
func collides(a, b netip.AddrPort) bool {
	if a.Port() != b.Port() || a.Port() == 0 {
		return false
	}
	x, y := a.Addr().Unmap().WithZone(""), b.Addr().Unmap().WithZone("")
	every := func(one, other netip.Addr) bool {
		return one.IsUnspecified() && (one.Is6() || other.Is4())
	}
	return x == y || every(x, y) || every(y, x)
}

const ourName = "portolan"

// ports tells of sockets of others where serve opens its own.
func ports(f *Facts) (list []Finding) {
	type who struct {
		holder  kernel.Holder
		address netip.AddrPort
		tcp     bool
	}
	seen := map[who]bool{}
	for _, n := range f.needs() {
		for _, s := range f.Sockets {
			if w := (who{s.Holder, s.Address, s.TCP}); !collides(n.Address, s.Address) || s.TCP && !n.TCP || !s.TCP && !n.UDP || s.Holder.Name == ourName || seen[w] || f.mayBeOurs(s) {
				continue
			} else {
				seen[w] = true
			}
			i := slices.IndexFunc(list, func(o Finding) bool { return o.What == portTaken(s) })
			if i >= 0 {
				list[i].Evidence += ", " + socketText(s)
				continue
			}
			list = append(list, Finding{ID: "port-taken", Level: Problem, What: portTaken(s), Breaks: n.of + " cannot be opened",
				Evidence: socketText(s), Repair: freesPort(s)})
		}
	}
	return list
}

// mayBeOurs: without root it is not seen who has a socket; with a server running
// it is likely the one.
func (f *Facts) mayBeOurs(s kernel.Listening) bool { return f.Serving && s.Holder == (kernel.Holder{}) }

func portTaken(s kernel.Listening) string {
	by := "another program"
	if s.Holder.Name != "" {
		by = fmt.Sprintf("%s (process %d)", s.Holder.Name, s.Holder.PID)
	}
	return fmt.Sprintf("port %d is taken by %s", s.Address.Port(), by)
}

func socketText(s kernel.Listening) string {
	if s.TCP {
		return s.Address.String() + "/tcp"
	}
	return s.Address.String() + "/udp"
}

// freesPort gives the commands that make a program give a port up.
func freesPort(s kernel.Listening) []string {
	h := s.Holder
	switch {
	case h.Name == "systemd-resolve": // of 15 characters
		return []string{"mkdir -p /etc/systemd/resolved.conf.d", `printf '[Resolve]\nDNSStubListener=no\n' > /etc/systemd/resolved.conf.d/portolan.conf`,
			"ln -sf /run/systemd/resolve/resolv.conf /etc/resolv.conf", "systemctl restart systemd-resolved"}
	case h.Unit != "":
		return []string{"systemctl disable --now " + shell(h.Unit)}
	case h.PID > 0:
		return []string{fmt.Sprintf("kill %d", h.PID)}
	}
	return []string{fmt.Sprintf("ss -lnptu 'sport = :%d' # as root, to see who it is", s.Address.Port())}
}

// capabilities tells of a server that runs and may not do what it has to.
func capabilities(f *Facts) (list []Finding) {
	seen := map[int]bool{}
	for _, s := range f.Sockets {
		h := s.Holder
		if h.Name != ourName || h.Missing == 0 || seen[h.PID] || !f.gateway() {
			continue
		}
		seen[h.PID] = true
		repair := []string{fmt.Sprintf("kill %d # and start it as root, or with these capabilities", h.PID)}
		if h.Unit != "" {
			repair = []string{fmt.Sprintf(`mkdir -p /etc/systemd/system/%s.d`, h.Unit),
				fmt.Sprintf(`printf '[Service]\nAmbientCapabilities=CAP_NET_ADMIN CAP_NET_RAW CAP_NET_BIND_SERVICE\nCapabilityBoundingSet=CAP_NET_ADMIN CAP_NET_RAW CAP_NET_BIND_SERVICE\n' > /etc/systemd/system/%s.d/gateway.conf`, h.Unit),
				"systemctl daemon-reload", "systemctl restart " + h.Unit}
		}
		list = append(list, Finding{ID: "capabilities", Level: Problem, What: fmt.Sprintf("portolan (process %d) may not change Linux' networking", h.PID),
			Breaks: "nothing is balanced, and no query comes to the DNS proxy", Evidence: fmt.Sprintf("of CAP_NET_ADMIN (bit 12) and CAP_NET_RAW (13) it lacks bits %s", bits(uint32(h.Missing))), Repair: repair})
	}
	return list
}
