package topology

import (
	"encoding/binary"
	"math/bits"
	"net/netip"
)

// key is an address as a 128-bit number. IPv4 stands in the top 32 bits, so
// that prefix lengths count from the top in both families.
type key struct{ hi, lo uint64 }

func keyOf(a netip.Addr) key {
	if a.Is4() {
		b := a.As4()
		return key{hi: uint64(binary.BigEndian.Uint32(b[:])) << 32}
	}
	b := a.As16()
	return key{binary.BigEndian.Uint64(b[:8]), binary.BigEndian.Uint64(b[8:])}
}

// addr is the inverse of keyOf.
func (k key) addr(v4 bool) netip.Addr {
	if v4 {
		return netip.AddrFrom4([4]byte(binary.BigEndian.AppendUint32(nil, uint32(k.hi>>32))))
	}
	b := binary.BigEndian.AppendUint64(nil, k.hi)
	return netip.AddrFrom16([16]byte(binary.BigEndian.AppendUint64(b, k.lo)))
}

func (k key) less(o key) bool { return k.hi < o.hi || k.hi == o.hi && k.lo < o.lo }

// prev is the number before k; the one before zero is the largest.
func (k key) prev() key {
	lo, borrow := bits.Sub64(k.lo, 1, 0)
	return key{k.hi - borrow, lo}
}

// next is the number after k; the one after the largest is zero.
func (k key) next() key {
	lo, carry := bits.Add64(k.lo, 1, 0)
	return key{k.hi + carry, lo}
}

// hostMask has a one in every bit after the first n, 0 <= n <= 128.
func hostMask(n int) key {
	if n >= 64 {
		return key{0, ^uint64(0) >> (n - 64)}
	}
	return key{^uint64(0) >> n, ^uint64(0)}
}

// last is the highest number that shares its first n bits with k.
func (k key) last(n int) key {
	m := hostMask(n)
	return key{k.hi | m.hi, k.lo | m.lo}
}

// middle is where the network of k's first n bits splits in two, 0 <= n < 128.
func (k key) middle(n int) key {
	m := hostMask(n)
	half := hostMask(n + 1)
	return key{k.hi&^m.hi | m.hi&^half.hi, k.lo&^m.lo | m.lo&^half.lo}
}

// common counts the leading bits that a and b share, 0 to 128.
func common(a, b key) int {
	if x := a.hi ^ b.hi; x != 0 {
		return bits.LeadingZeros64(x)
	}
	return 64 + bits.LeadingZeros64(a.lo^b.lo)
}

// layer cuts the address space of one family into runs: ids[i] holds from
// starts[i] up to the next start. Neighbours differ, and the first run starts
// at zero.
type layer struct {
	starts []key
	ids    []uint32
}

// newLayer is a layer that says 0 everywhere.
func newLayer() layer { return layer{starts: []key{{}}, ids: []uint32{0}} }

// put says that id holds from at on. Calls must come in ascending order of at;
// a later call for the same place replaces the earlier.
func (l *layer) put(at key, id uint32) {
	n := len(l.starts)
	if n > 0 && l.starts[n-1] == at {
		n--
		l.starts, l.ids = l.starts[:n], l.ids[:n]
	}
	if n > 0 && l.ids[n-1] == id {
		return
	}
	l.starts, l.ids = append(l.starts, at), append(l.ids, id)
}

// cover says that id holds in the network of start's first n bits, and 0
// after it.
func (l *layer) cover(start key, n int, id uint32) {
	l.put(start, id)
	if after := start.last(n).next(); after != (key{}) {
		l.put(after, 0)
	}
}

// at gives the id that holds at k.
func (l *layer) at(k key) uint32 {
	i, j := 0, len(l.starts)-1
	for i < j {
		if m := (i + j + 1) / 2; k.less(l.starts[m]) {
			j = m - 1
		} else {
			i = m
		}
	}
	return l.ids[i]
}

// overlay lays b over a: where a says x and b says y the result says
// join(x, y).
func overlay(a, b layer, join func(x, y uint32) uint32) layer {
	var out layer
	i, j := 0, 0
	for at := (key{}); ; {
		out.put(at, join(a.ids[i], b.ids[j]))
		nextA, nextB := i+1 < len(a.starts), j+1 < len(b.starts)
		switch {
		case !nextA && !nextB:
			return out
		case !nextB || nextA && a.starts[i+1].less(b.starts[j+1]):
			i++
			at = a.starts[i]
		case nextA && a.starts[i+1] == b.starts[j+1]:
			i++
			j++
			at = a.starts[i]
		default:
			j++
			at = b.starts[j]
		}
	}
}
