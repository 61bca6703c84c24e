package traffic

import (
	"cmp"
	"net/netip"
	"slices"

	"github.com/portolan-lb/portolan/config"
)

// RangesOf gives the addresses of prefixes of one family as ranges in order,
// which neither overlap nor touch: what the kernel takes as a set of ranges.
func RangesOf(f Family, prefixes ...netip.Prefix) []config.AddressRange {
	var list []config.AddressRange
	for _, p := range prefixes {
		if p.IsValid() && f.Has(p.Addr()) {
			p = p.Masked()
			list = append(list, config.AddressRange{From: p.Addr().WithZone(""), To: LastOf(p)})
		}
	}
	return merged(list)
}

// merged joins ranges that overlap or touch.
func merged(list []config.AddressRange) []config.AddressRange {
	slices.SortFunc(list, func(a, b config.AddressRange) int { return cmp.Or(a.From.Compare(b.From), a.To.Compare(b.To)) })
	var out []config.AddressRange
	for _, r := range list {
		if n := len(out); n > 0 && (r.From.Compare(out[n-1].To) <= 0 || r.From == out[n-1].To.Next()) {
			if r.To.Compare(out[n-1].To) > 0 {
				out[n-1].To = r.To
			}
			continue
		}
		out = append(out, r)
	}
	return out
}

// LastOf gives the last address of a prefix.
func LastOf(p netip.Prefix) netip.Addr {
	a := p.Addr().AsSlice()
	for bit := p.Bits(); bit < len(a)*8; bit++ {
		a[bit/8] |= 1 << (7 - bit%8)
	}
	last, _ := netip.AddrFromSlice(a)
	return last
}

// whole says whether ranges are all addresses of the family.
func whole(f Family, list []config.AddressRange) bool {
	return len(list) == 1 && list[0] == RangesOf(f, netip.PrefixFrom(netip.IPv4Unspecified(), 0), netip.PrefixFrom(netip.IPv6Unspecified(), 0))[0]
}
