package kernel

import (
	"fmt"
	"net/netip"
	"testing"

	"github.com/portolan-lb/portolan/nettest"
)

// BenchmarkReconcile_Root is a comparison of ten links of both families that
// finds all as wished.
func BenchmarkReconcile_Root(b *testing.B) {
	s, isp := nettest.New(b), nettest.New(b)
	w := &Wishes{}
	for i := 1; i <= 10; i++ {
		name := fmt.Sprintf("eth%d", i)
		s.Cable(name, isp, fmt.Sprintf("far%d", i))
		for _, to := range []netip.Prefix{everywhere4, everywhere6} {
			w.Routes = append(w.Routes, Route{Table: 1000 + i, To: to, Interface: name}, Route{Table: 1000 + i, To: to, Metric: 1 << 30, Kind: Unreachable})
			w.Rules = append(w.Rules, PolicyRule{Priority: 1000 + i, Mark: uint32(i), Mask: LinkMask, Table: 1000 + i, IPv6: to.Addr().Is6()})
		}
		w.Shapers = append(w.Shapers, Shaper{Interface: name, Out: 1e9})
	}
	var n *routing
	var err error
	s.Do(func() { n, err = newRouting(Options{}, nil) })
	if err != nil {
		b.Fatal(err)
	}
	defer n.close()
	if problems := n.reconcile("outbound", w); len(problems) > 0 {
		b.Fatal(problems)
	}
	for b.Loop() {
		if problems := n.reconcile("outbound", w); len(problems) > 0 {
			b.Fatal(problems)
		}
	}
}
