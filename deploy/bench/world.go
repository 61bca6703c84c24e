package main

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
)

const (
	zoneName   = "example.com"
	downMember = 2 // of every region: nothing listens there, so probes must find it down
)

var (
	regions = [...]string{"east", "north", "south", "west"}
	weights = [...]int{40, 30, 20, 10}
)

// world is what every server is given to serve, in its own words: static names
// s0, s1, ... with an address each, and dynamic names d0, d1, ... with a pool
// each. A pool has four members in each of four regions; a client gets one of
// its own region, by weight, among those that are up.
type world struct {
	names int
	nets  map[netip.Prefix]int // client networks to index of regions; the longest counts
	list  []netip.Prefix       // the same, sorted
}

// newWorld makes a map of nested networks, as long as those of the Internet
// are, always the same.
func newWorld(names, nets int) *world {
	w := &world{names: names, nets: map[netip.Prefix]int{netip.MustParsePrefix("127.0.0.0/8"): 0}}
	r := rand.New(rand.NewPCG(1, 2))
	lengths := [...]int{12, 16, 18, 19, 20, 21, 22, 22, 23, 23, 24, 24, 24, 24, 24, 24, 24, 24, 24}
	for len(w.nets) <= nets {
		first := byte(1 + r.IntN(223))
		if first == 127 {
			continue
		}
		addr := netip.AddrFrom4([4]byte{first, byte(r.Uint32()), byte(r.Uint32()), 0})
		w.nets[netip.PrefixFrom(addr, lengths[r.IntN(len(lengths))]).Masked()] = r.IntN(len(regions))
	}
	w.list = slices.SortedFunc(maps.Keys(w.nets), func(a, b netip.Prefix) int {
		if a.Bits() != b.Bits() {
			return a.Bits() - b.Bits()
		}
		return a.Addr().Compare(b.Addr())
	})
	return w
}

// region gives the region of a client: that of the longest network around it,
// or -1. It is slow and plain, as the servers are held against it.
func (w *world) region(client netip.Addr) int {
	for bits := client.BitLen(); bits >= 0; bits-- {
		p, _ := client.Prefix(bits)
		if region, ok := w.nets[p]; ok {
			return region
		}
	}
	return -1
}

// client gives a /24 inside one of the networks.
func (w *world) client(r *rand.Rand) netip.Prefix {
	net := w.list[r.IntN(len(w.list))]
	a := net.Addr().As4()
	host := r.Uint32() >> net.Bits()
	a[1], a[2] = a[1]|byte(host>>16), a[2]|byte(host>>8)
	return netip.PrefixFrom(netip.AddrFrom4(a), 24).Masked()
}

// member is the address of a virtual server. Its bytes say which one it is.
func member(region, i int) netip.Addr {
	return netip.AddrFrom4([4]byte{127, 1, byte(region + 1), byte(i + 1)})
}

// whose is the reverse of member.
func whose(a netip.Addr) (region, i int) {
	b := a.As4()
	return int(b[2]) - 1, int(b[3]) - 1
}

func (w *world) static(i int) string  { return fmt.Sprintf("s%d", i%w.names) }
func (w *world) dynamic(i int) string { return fmt.Sprintf("d%d", i%w.names) }

// zone is the master file. dynamic gives the line of a dynamic name, for the
// server that has them in the zone file.
func (w *world) zone(dynamic func(i int) string) string {
	var b strings.Builder
	b.WriteString("$TTL 300\n@ SOA ns hostmaster 1 3600 600 86400 60\n@ NS ns\nns A 127.0.0.1\n")
	for i := range w.names {
		fmt.Fprintf(&b, "%s A 10.0.%d.%d\n", w.static(i), i>>8&255, i&255)
		if dynamic != nil {
			b.WriteString(dynamic(i) + "\n")
		}
	}
	return b.String()
}

// order gives the regions with the client's own first: where a client goes if
// its own is down.
func order(region int) string {
	var names []string
	for i := range regions {
		names = append(names, regions[(region+i)%len(regions)])
	}
	return strings.Join(names, ", ")
}
