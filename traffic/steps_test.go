package traffic

import (
	"net/netip"
	"strings"
	"testing"
)

// Names of the configuration are safe in names of nftables, and stay apart.
func TestWord(t *testing.T) {
	seen := map[string]string{}
	for _, name := range []string{"a", "A.b-c_9", "Köln", "Köln2", "电信", "联通", "ä", "ö"} {
		w := Word(name)
		if other, ok := seen[w]; ok || strings.Trim(w, "abcdefghijklmnopqrstuvwxyzABC0123456789._-") != "" {
			t.Errorf("%q is %q, as %q", name, w, other)
		}
		seen[w] = name
	}
	// Names of nftables are made of several of them.
	for _, two := range [][2][2]string{{{"a_b", "c"}, {"a", "b_c"}}, {{"a__b", "c"}, {"a", "b__c"}}, {{"a_b_c", "d"}, {"a_b", "c_d"}}} {
		if x, y := Word(two[0][0])+"_"+Word(two[0][1]), Word(two[1][0])+"_"+Word(two[1][1]); x == y {
			t.Errorf("%q are both %s", two, x)
		}
	}
}

// Sets of ranges hold none that overlap or touch, up to the last address there is.
func TestRangesOf(t *testing.T) {
	f := Families()[0]
	list := []netip.Prefix{netip.MustParsePrefix("10.0.1.0/24"), netip.MustParsePrefix("10.0.0.0/24"), netip.MustParsePrefix("10.0.0.128/25"), netip.MustParsePrefix("255.255.255.255/32"), netip.MustParsePrefix("::/0")}
	if got := RangesOf(f, list...); len(got) != 2 || got[0].String() != "10.0.0.0-10.0.1.255" || got[1].String() != "255.255.255.255" {
		t.Errorf("%v", got)
	}
	if !whole(Families()[1], RangesOf(Families()[1], list...)) {
		t.Error("::/0 is not all")
	}
}

// Large bounds are counted in parts, which together are the bound, and small
// enough for the kernel.
func TestDivided(t *testing.T) {
	for _, bound := range []int{2001, 2500, 100_000, 1_999_999_999} {
		parts, most := Divided(bound)
		if parts*most > bound || float64(parts*most) < 0.999*float64(bound) || most > CountedMost {
			t.Errorf("%d: %d parts of %d", bound, parts, most)
		}
	}
}
