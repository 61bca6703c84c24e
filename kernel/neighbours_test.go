package kernel

import (
	"net/netip"
	"slices"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/portolan-lb/portolan/nettest"
)

func FuzzNeighbour(f *testing.F) {
	msg := append(make([]byte, unix.SizeofNdMsg), attribute(unix.NDA_DST, []byte{192, 0, 2, 1})...)
	msg[0] = unix.AF_INET
	f.Add(append(msg, attribute(unix.NDA_LLADDR, []byte{2, 0, 0, 0, 0, 1})...))
	f.Fuzz(func(t *testing.T, b []byte) {
		if n, ok := parseNeighbour(b); ok && !n.Addr.IsValid() {
			t.Errorf("%x: a neighbour without address: %+v", b, n)
		}
	})
}

func TestNeighbours_Root(t *testing.T) {
	here, there := nettest.New(t), nettest.New(t)
	here.Cable("eth0", there, "eth0")
	here.IP("addr add 192.0.2.1/24 dev eth0")
	here.IP("neigh replace 192.0.2.7 lladdr 02:00:00:00:00:07 dev eth0 nud permanent")
	here.IP("neigh replace 2001:db8::7 lladdr 02:00:00:00:06:07 dev eth0 nud stale")
	here.IP("neigh replace 192.0.2.9 dev eth0 nud failed")
	var list []Neighbour
	var err error
	here.Do(func() {
		r, e := Open()
		if err = e; e == nil {
			defer r.Close()
			list, err = r.Neighbours()
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []struct {
		addr  string
		ether [6]byte
	}{{"192.0.2.7", [6]byte{2, 0, 0, 0, 0, 7}}, {"2001:db8::7", [6]byte{2, 0, 0, 0, 6, 7}}} {
		if !slices.ContainsFunc(list, func(n Neighbour) bool {
			return n.Addr == netip.MustParseAddr(want.addr) && n.Ether == want.ether && n.Index > 0
		}) {
			t.Errorf("%s is not among %+v", want.addr, list)
		}
	}
	if slices.ContainsFunc(list, func(n Neighbour) bool { return n.Addr == netip.MustParseAddr("192.0.2.9") }) {
		t.Errorf("one whose Ethernet address is not known is told: %+v", list)
	}
}
