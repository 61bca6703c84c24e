package config

import (
	"testing"

	"pgregory.net/rapid"
)

// A virtual server's ports are taken by another's exactly if each port is.
func TestPortsWithin(t *testing.T) {
	ranges := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) PortRange {
		from := rapid.Uint16Range(1, 30).Draw(t, "from")
		return PortRange{from, rapid.Uint16Range(from, min(from+6, 31)).Draw(t, "to")}
	}), 1, 6)
	has := func(list []PortRange, port uint16) bool {
		for _, p := range list {
			if p.Has(port) {
				return true
			}
		}
		return false
	}
	rapid.Check(t, func(t *rapid.T) {
		mine, others := ranges.Draw(t, "mine"), ranges.Draw(t, "others")
		want := true
		for port := range uint16(40) {
			want = want && (has(others, port) || !has(mine, port))
		}
		if got := within(joined(mine), joined(others)); got != want {
			t.Fatalf("%v within %v: %t", mine, others, got)
		}
	})
}
