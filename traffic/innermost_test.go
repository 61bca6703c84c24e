package traffic

import (
	"net/netip"
	"testing"

	"pgregory.net/rapid"
)

// Twin: for random prefixes each address is in one region, which is of the
// longest prefix that holds it, and the regions are in order.
func TestInnermost_Twin(t *testing.T) {
	for _, ends := range [][2]netip.Addr{{address("0.0.0.0"), address("255.255.255.255")}, {address("::"), address("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff")}} {
		point := rapid.Custom(func(t *rapid.T) netip.Addr {
			a := ends[rapid.IntRange(0, 1).Draw(t, "end")].AsSlice()
			for _, i := range []int{0, 1, len(a) - 1} {
				a[i] = byte(rapid.SampledFrom([]int{0, 1, 2, 127, 128, 254, 255}).Draw(t, "octet"))
			}
			out, _ := netip.AddrFromSlice(a)
			return out
		})
		prefix := rapid.Custom(func(t *rapid.T) netip.Prefix {
			p := point.Draw(t, "at")
			return netip.PrefixFrom(p, rapid.SampledFrom([]int{0, 1, 7, 8, 9, 15, 16, p.BitLen() - 1, p.BitLen()}).Draw(t, "bits"))
		})
		rapid.Check(t, func(rt *rapid.T) {
			list := rapid.SliceOfN(prefix, 0, 8).Draw(rt, "prefixes")
			regions := Innermost(list)
			for i, r := range regions {
				if r.To.Less(r.From) || i > 0 && !regions[i-1].To.Less(r.From) || !r.Inside.Contains(r.From) || !r.Inside.Contains(r.To) {
					rt.Fatalf("region %d of %v", i, regions)
				}
			}
			points := append(rapid.SliceOfN(point, 1, 20).Draw(rt, "points"), ends[0], ends[1])
			for _, p := range list {
				points = append(points, p.Masked().Addr(), LastOf(p.Masked()))
			}
			for _, p := range points {
				var want, got netip.Prefix
				for _, one := range list {
					if one.Contains(p) && (!want.IsValid() || one.Bits() > want.Bits()) {
						want = one.Masked()
					}
				}
				for _, r := range regions {
					if !p.Less(r.From) && !r.To.Less(p) {
						got = r.Inside
					}
				}
				if got != want {
					rt.Fatalf("%s is in %v, want %v", p, got, want)
				}
			}
		})
	}
}
