package dnsserver

import (
	"fmt"
	"net/netip"
	"testing"

	"github.com/portolan-lb/portolan/config"
)

// last gives which virtual server an answer holds, by its last letter or digit.
func last(answer string) byte { return answer[len(answer)-1] }

// A and AAAA agree for every name: no two types of a name share a place.
func TestTypesAgreeForEveryName(t *testing.T) {
	m := pooled(&config.Pool{Name: "www", Members: servers("a", "b")})
	names := m.Zones[0].Names[:0]
	for i := range 500 {
		n := *m.Zones[0].Names[0]
		n.Name = fmt.Sprintf("n%d", i)
		n.FQDN = n.Name + ".example.com."
		names = append(names, &n)
	}
	m.Zones[0].Names = names
	w := newWorld(t, m)
	for _, n := range names {
		if a, aaaa := short(w.ask(n.FQDN, "A", asker)), short(w.ask(n.FQDN, "AAAA", asker)); last(a) != last(aaaa) {
			t.Errorf("%s: A %q, AAAA %q", n.FQDN, a, aaaa)
		}
	}
}

// Two hosts of one network do not disturb each other's pairs.
func TestTwoHostsOfOneNetwork(t *testing.T) {
	w := newWorld(t, pooled(&config.Pool{Name: "www", Members: servers("a", "b")}))
	for range 4 {
		a1, a2 := short(w.ask("www.example.com", "A", "198.51.100.7")), short(w.ask("www.example.com", "A", "198.51.100.8"))
		b1, b2 := short(w.ask("www.example.com", "AAAA", "198.51.100.7")), short(w.ask("www.example.com", "AAAA", "198.51.100.8"))
		if last(a1) != last(b1) || last(a2) != last(b2) {
			t.Errorf("host 7: %q %q, host 8: %q %q", a1, b1, a2, b2)
		}
	}
}

// Names of one pool do not move each other on: clients that always ask one
// name and then another get both members of each.
func TestNamesDrawOnTheirOwn(t *testing.T) {
	m := pooled(&config.Pool{Name: "www", Members: servers("a", "b")})
	api := *m.Zones[0].Names[0]
	api.Name, api.FQDN = "api", "api.example.com."
	m.Zones[0].Names = append(m.Zones[0].Names, &api)
	w := newWorld(t, m)
	got := map[string]int{}
	for i := range 200 {
		client := netip.AddrFrom4([4]byte{10, 1, byte(i), 1}).String()
		for _, name := range []string{"www.example.com", "api.example.com"} {
			got[name+string(last(short(w.ask(name, "A", client))))]++
		}
	}
	for name, n := range got {
		if n != 100 {
			t.Errorf("%s: %d of 200 clients", name, n)
		}
	}
}

// Types that are not the decision itself move nothing on.
func TestOtherTypesDoNotDraw(t *testing.T) {
	w := newWorld(t, pooled(&config.Pool{Name: "www", Members: servers("a", "b")}))
	got := map[byte]int{}
	for i := range 100 {
		client := netip.AddrFrom4([4]byte{10, 1, byte(i), 1}).String()
		got[last(short(w.ask("www.example.com", "A", client)))]++
		for _, qtype := range []string{"NS", "TXT", "TYPE999"} {
			w.ask("www.example.com", qtype, "192.0.2.200")
		}
		w.ask("example.com", "MX", "192.0.2.200")
	}
	if got['1'] != 50 || got['2'] != 50 {
		t.Errorf("between other questions A gives %v", got)
	}
}

// What MX shows a new client is what A then answers it, and MX shows it still.
func TestAdditionalAgreesWithTheAnswer(t *testing.T) {
	w := newWorld(t, pooled(&config.Pool{Name: "www", Members: servers("a", "b", "c")}))
	for i := range 5 {
		client := netip.AddrFrom4([4]byte{10, 1, byte(i), 1}).String()
		before, a, after := w.ask("example.com", "MX", client), short(w.ask("www.example.com", "A", client)), w.ask("example.com", "MX", client)
		if last(before.Extra[0].String()) != last(a) || last(after.Extra[0].String()) != last(a) {
			t.Errorf("MX shows %s, A is %q, MX shows %s", before.Extra[0], a, after.Extra[0])
		}
	}
}

// The memo keeps thousands of clients apart.
func TestManyClientsAtOnce(t *testing.T) {
	w := newWorld(t, pooled(&config.Pool{Name: "www", Members: servers("a", "b")}))
	const n = 4096
	client := func(i int) string { return netip.AddrFrom4([4]byte{10, byte(i >> 8), byte(i), 1}).String() }
	var first [n]byte
	for i := range n {
		first[i] = last(short(w.ask("www.example.com", "A", client(i))))
	}
	apart := 0
	for i := range n {
		if last(short(w.ask("www.example.com", "AAAA", client(i)))) != first[i] {
			apart++
		}
	}
	if apart > n/100 {
		t.Errorf("%d of %d clients see another member for AAAA", apart, n)
	}
}

func TestFamilies(t *testing.T) {
	tests := []struct {
		what    string
		members []*config.Member
		only4   string // virtual servers without IPv6
		rows    []string
		want    string // AAAA
	}{
		{"the chosen one has it", servers("a", "b"), "", nil, "NOERROR 2001:db8::1"},
		{"another of the same site serves it", servers("a@9", "b@9", "c@9"), "a", nil, "NOERROR 2001:db8::3"},
		{"else any that takes part", servers("a", "b"), "a", nil, "NOERROR 2001:db8::2"},
		{"else any that is usable", servers("a@9", "b"), "a", nil, "NOERROR 2001:db8::2"},
		{"not one that is down", servers("a@9", "b"), "a", []string{"virtualServer/b:down"}, "NOERROR"},
		{"on a rung, one of that rung", servers("a", "b"), "a", []string{"virtualServer/b:down", "virtualServer/a:down"}, "NOERROR 2001:db8::2"},
		{"nobody has it", servers("a", "b"), "ab", nil, "NOERROR"},
	}
	for _, tt := range tests {
		t.Run(tt.what, func(t *testing.T) {
			m := pooled(&config.Pool{Name: "www", Preferred: config.Slot{Algorithm: "first"}, Members: tt.members,
				OnDown: []config.Rung{{Action: config.RungAll}}})
			for _, v := range m.VirtualServers {
				for _, name := range tt.only4 {
					if v.Name == string(name) {
						v.Addresses = v.Addresses[:1]
					}
				}
			}
			m.VirtualServers[2].Site = "site-a" // c stands at a's site
			w := newWorld(t, m)
			w.set(tt.rows...)
			if got := short(w.ask("www.example.com", "AAAA", asker)); got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}
