package config

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"strings"
	"testing"
)

// What [Model.Overlaps] says of two virtual servers is what a twin finds packet by
// packet, by the order that [Serve] documents (FAQ 1.1.9, T47).
func TestOverlaps_Twin(t *testing.T) {
	random := rand.New(rand.NewPCG(4, 7))
	seen := map[string]int{}
	for range 300 {
		all := drawServers(random)
		var text strings.Builder
		text.WriteString("version: 1\nvirtualServers:\n")
		for _, d := range all {
			text.WriteString(d.yaml())
		}
		m, errs := Load(on(text.String()))
		if errs.Failed() {
			continue
		}
		for i, v := range m.VirtualServers {
			list, more := m.Overlaps(v, 10_000)
			if more {
				t.Fatal("there is no end")
			}
			for j, o := range m.VirtualServers {
				if i != j {
					comparePair(t, list, all[i], all[j], o.Name, seen)
				}
			}
			if few, more := m.Overlaps(v, 1); len(list) > 1 && (len(few) != 1 || !more) {
				t.Errorf("at most 1: %d, %v", len(few), more)
			}
		}
	}
	for _, why := range []string{"the longer mask", "type ip comes last", "the smaller range of ports", "it comes first in the file", "apart"} {
		if seen[why] < 20 {
			t.Errorf("%q was tried %d times", why, seen[why])
		}
	}
}

// comparePair looks at packets that two might have: the corners of all that they
// claim.
func comparePair(t *testing.T, list []Overlap, v, o drawn, name string, seen map[string]int) {
	t.Helper()
	for _, addr := range []string{v.addr, o.addr} {
		for _, d := range [...]drawn{v, o} {
			for _, r := range d.claims() {
				for _, port := range [...]uint16{r.From, r.To} {
					for _, kind := range [...]ServeType{ServeTCP, ServeUDP, ServeIP} {
						want := between2(v, o, netip.MustParseAddr(addr), kind, port)
						got, why := "", "apart"
						for _, f := range list {
							if f.With == name && f.Network.Contains(netip.MustParseAddr(addr)) && f.Ports.Has(port) && (f.Protocol == kind.Protocol() || f.Protocol == ProtocolAny) {
								if got != "" {
									t.Fatalf("%s %s:%d is told twice: %+v", kind, addr, port, list)
								}
								got, why = f.Has, f.Why
							}
						}
						seen[why]++
						if got != want {
							t.Fatalf("%s %s:%d of %+v and %+v: %q, want %q\n%+v", kind, addr, port, v, o, got, want, list)
						}
					}
				}
			}
		}
	}
}

// between2 is who of two has a packet that both want; "": not both do.
func between2(v, o drawn, a netip.Addr, kind ServeType, port uint16) string {
	best := func(d drawn) (rank string, wants bool) {
		p, _ := netip.MustParseAddr(d.addr).Prefix(d.bits)
		if !p.Contains(a) || d.kind != kind && d.kind != ServeIP {
			return "", false
		}
		last := 0
		if d.kind == ServeIP {
			last = 1
		}
		for _, r := range d.claims() {
			if r.Has(port) {
				key := fmt.Sprintf("%03d %d %05d %s", 128-d.bits, last, r.To-r.From, d.name) // names rise in the order of the file
				if !wants || key < rank {
					rank, wants = key, true
				}
			}
		}
		return rank, wants
	}
	x, wants := best(v)
	y, wantsToo := best(o)
	switch {
	case !wants || !wantsToo:
		return ""
	case x < y:
		return v.name
	}
	return o.name
}
