package link

import (
	"strings"
	"testing"
	"time"

	"github.com/portolan-lb/portolan/kernel"
)

func TestNextHop(t *testing.T) {
	const both = "192.0.2.1 2001:db8::1"
	for name, c := range map[string]struct {
		link   string
		routes string
		want   string
		learnt bool
	}{
		"fixed":                     {"interface: eth1, nextHop: 198.51.100.1", both, "198.51.100.1", false},
		"learnt":                    {"interface: eth1", "192.0.2.1", "192.0.2.1", true},
		"IPv4 goes before IPv6":     {"interface: eth1", both, "192.0.2.1", true},
		"IPv6 alone":                {"interface: eth1", "2001:db8::1", "2001:db8::1", true},
		"of the source's family, 6": {"interface: eth1, source: 2001:db8::9", both, "2001:db8::1", true},
		"of the source's family, 4": {"interface: eth1, source: 192.0.2.9", "2001:db8::1", "invalid IP", false},
		"no route":                  {"interface: eth1", "", "invalid IP", false},
		"no interface":              {"source: 192.0.2.9", both, "invalid IP", false},
		"not there":                 {"interface: eth5", both, "invalid IP", false},
	} {
		inBubble(t, "  - {name: a, "+c.link+"}\n", func(b *bench) {
			if w, ok := b.Way("a"); !ok || w.NextHop.String() != c.want || w.Learnt != c.learnt || w.Lost {
				t.Errorf("%s: got %+v, want %s", name, w, c.want)
			}
		}, func(b *bench, o *Options) {
			i := eth(7, "eth1")
			for _, r := range strings.Fields(c.routes) {
				if strings.Contains(r, ":") {
					hop6(r)(&i)
				} else {
					hop4(r)(&i)
				}
			}
			b.interfaces[1] = i
		})
	}
}

// A next hop that was learnt stays when its route goes, also where a route of
// IPv6 is left: its router would go on answering for a line that lost IPv4. It
// goes when the link has a source address of the other family.
func TestNextHopFamily(t *testing.T) {
	inBubble(t, "  - {name: a, interface: eth1}\n", func(b *bench) {
		way := func(what, hop string, lost bool) {
			t.Helper()
			if w, _ := b.Way("a"); w.NextHop.String() != hop || w.Lost != lost {
				t.Errorf("%s: %+v, want %s, lost %v", what, w, hop, lost)
			}
		}
		routes := func(hops ...func(*kernel.Interface)) {
			b.now(func() { b.interfaces[1] = eth(7, "eth1", hops...) })
			time.Sleep(2 * sec)
		}
		way("IPv6 alone", "2001:db8::1", false)
		routes(hop4("192.0.2.1"), hop6("2001:db8::1"))
		way("both", "192.0.2.1", false)
		routes(hop6("2001:db8::1"))
		way("IPv4 went", "192.0.2.1", true)
		routes(hop4("192.0.2.2"), hop6("2001:db8::1"))
		way("IPv4 is back", "192.0.2.2", false)
		b.Want(specs(t, "  - {name: a, interface: eth1, source: 2001:db8::9}\n"))
		way("source of IPv6", "2001:db8::1", false)
		routes(hop4("192.0.2.2"))
		way("IPv6 went", "2001:db8::1", true)
		b.Want(specs(t, "  - {name: a, interface: eth1, source: 192.0.2.9}\n"))
		routes()
		way("source of IPv4", "192.0.2.2", true)
		b.Want(specs(t, "  - {name: a, interface: eth1, source: 2001:db8::9}\n"))
		way("source of IPv6 without a route", "invalid IP", false)
	}, func(b *bench, o *Options) {
		b.interfaces[1] = eth(7, "eth1", hop6("2001:db8::1"))
	})
}
