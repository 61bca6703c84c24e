package config

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"strings"
	"testing"
)

// drawn is a virtual server of the twin.
type drawn struct {
	name  string
	kind  ServeType
	addr  string
	bits  int
	ports []PortRange
}

func (d drawn) yaml() string {
	var ports []string
	for _, p := range d.ports {
		ports = append(ports, p.String())
	}
	list := ""
	if len(ports) > 0 {
		list = ", ports: [" + strings.Join(ports, ", ") + "]"
	}
	return fmt.Sprintf("  - {name: %s, address: %s, serve: {type: %s, mask: %d%s}}\n", d.name, d.addr, d.kind, d.bits, list)
}

// claims gives the claims of the twin, all ports as one.
func (d drawn) claims() []PortRange {
	if len(d.ports) == 0 {
		return []PortRange{{1, 65535}}
	}
	return d.ports
}

// owner finds out port by port who has what comes to a network: the twin of
// rank, by the order that [Serve] documents.
func owner(all []drawn, kind ServeType, prefix netip.Prefix, port uint16) (first string) {
	best := -1
	var size int
	for i, d := range all {
		p, _ := netip.MustParseAddr(d.addr).Prefix(d.bits)
		if d.kind != kind || p != prefix {
			continue
		}
		for _, r := range d.claims() {
			s := int(r.To) - int(r.From)
			if r.Has(port) && (best < 0 || s < size) {
				best, size = i, s
			}
		}
	}
	if best < 0 {
		return ""
	}
	return all[best].name
}

// A virtual server is refused if it is the same as another one, or if not one
// port of one of its networks is left to it (FAQ 1.1.9, T47), and otherwise not.
func TestIdentities_Twin(t *testing.T) {
	random := rand.New(rand.NewPCG(6, 9))
	refused, kept := 0, 0
	for range 400 {
		all := drawServers(random)
		var text strings.Builder
		text.WriteString("version: 1\nvirtualServers:\n")
		for _, d := range all {
			text.WriteString(d.yaml())
		}
		_, errs := Load(on(text.String()))
		bad := map[string]bool{}
		for _, e := range errs {
			var i int
			if _, err := fmt.Sscanf(e.Path, "virtualServers[%d]", &i); err == nil && !e.Warning {
				bad[all[i].name] = true
			}
		}
		for i, d := range all {
			want := same(all[:i], d) || !owns(all, d)
			if bad[d.name] != want {
				t.Fatalf("%s: refused %v, want %v\n%s\n%s", d.name, bad[d.name], want, text.String(), errs.Error())
			}
			if want {
				refused++
			} else {
				kept++
			}
		}
	}
	if refused < 100 || kept < 100 {
		t.Errorf("%d refused, %d kept: nothing is proven", refused, kept)
	}
}

// same says whether one before claims the very same.
func same(before []drawn, d drawn) bool {
	for _, o := range before {
		if o.kind != d.kind || o.addr != d.addr || o.bits != d.bits {
			continue
		}
		for _, a := range o.claims() {
			for _, b := range d.claims() {
				if a == b {
					return true
				}
			}
		}
	}
	return false
}

func owns(all []drawn, d drawn) bool {
	p, _ := netip.MustParseAddr(d.addr).Prefix(d.bits)
	for _, r := range d.claims() {
		for port := int(r.From); port <= int(r.To); port++ {
			if owner(all, d.kind, p, uint16(port)) == d.name {
				return true
			}
			if r == (PortRange{1, 65535}) && port > 40 {
				return true // nobody else claims so high
			}
		}
	}
	return false
}

// drawServers draws virtual servers that get in each other's way: of few
// addresses, and ports 1 to 20.
func drawServers(random *rand.Rand) (all []drawn) {
	for i := range 2 + random.IntN(7) {
		d := drawn{name: fmt.Sprintf("v%d", i), kind: []ServeType{ServeTCP, ServeTCP, ServeUDP, ServeIP}[random.IntN(4)],
			addr: []string{"192.0.2.0", "192.0.2.0", "198.51.100.0"}[random.IntN(3)], bits: []int{24, 32, 32}[random.IntN(3)]}
		if d.kind != ServeIP {
			low := uint16(1)
			for range random.IntN(3) {
				from := low + uint16(random.IntN(4))
				to := from + uint16(random.IntN(4))
				d.ports, low = append(d.ports, PortRange{from, to}), to+1
			}
		}
		all = append(all, d)
	}
	return all
}

// The ports of a set are those that were added.
func TestPortSet(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	var set portSet
	twin := map[uint16]bool{}
	for range 300 {
		from := uint16(1 + random.IntN(65535))
		to := uint16(min(65535, int(from)+random.IntN(1+random.IntN(300))))
		news := false
		for p := int(from); p <= int(to); p++ {
			news = news || !twin[uint16(p)]
			twin[uint16(p)] = true
		}
		if got := set.add(PortRange{from, to}); got != news {
			t.Fatalf("%d-%d: news %v, want %v", from, to, got, news)
		}
	}
	if set.add(PortRange{1, 65535}) != true || set.add(PortRange{65535, 65535}) || set.add(PortRange{1, 1}) {
		t.Error("the ends are not in it")
	}
}
