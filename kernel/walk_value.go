package kernel

import (
	"encoding/binary"
	"math/bits"
)

// value gives the octets of a value; ok is false if there are none: the rule ends.
func (k *walker) value(v Value) (b []byte, ok bool) {
	switch v := v.(type) {
	case Field:
		b, ok = k.trace.Packet.field(v, k.world.addrType())
		if !ok {
			k.stop("it has no %s", valueText(v))
		}
		return b, ok
	case Const:
		return v, true
	case Masked:
		return k.masked(v)
	case Shifted:
		b, ok = k.number(v.Of)
		if !ok {
			return nil, false
		}
		return Number(native.Uint32(b) >> v.Bits), true
	case Join:
		return k.join(v)
	case Hash:
		b, ok = k.value(v.Of)
		if !ok {
			return nil, false
		}
		return Number(reciprocal(jhash(b, v.Seed), v.Mod)), true
	case Lookup:
		l := k.find(v.Key, v.Map)
		if l == nil {
			return nil, false
		}
		return l.Data, true
	case Turn:
		return k.draw(v.Of, nil)
	case Lot:
		return k.draw(v.Of, nil)
	}
	return nil, k.fail("a value %T is not known", v)
}

func (k *walker) masked(v Masked) ([]byte, bool) {
	b, ok := k.value(v.Of)
	if !ok {
		return nil, false
	}
	if len(b) != len(v.Mask) {
		return nil, k.fail("%d octets are masked by %d", len(b), len(v.Mask))
	}
	out := make([]byte, len(b))
	for i := range b {
		out[i] = b[i] & v.Mask[i]
	}
	return out, true
}

func (k *walker) number(v Value) ([]byte, bool) {
	b, ok := k.value(v)
	if ok && len(b) != 4 {
		return nil, k.fail("a number has 4 octets, not %d", len(b))
	}
	return b, ok
}

func (k *walker) join(j Join) ([]byte, bool) {
	parts := make([][]byte, len(j))
	for i, v := range j {
		b, ok := k.value(v)
		if !ok {
			return nil, false
		}
		parts[i] = b
	}
	if len(parts) == 1 {
		return parts[0], true
	}
	return Key(parts...), true
}

// find looks a value up in a map; nil: the rule ends.
func (k *walker) find(key Value, name string) *liveElement {
	set := k.set(name)
	if set == nil {
		return nil
	}
	b, ok := k.key(key, set)
	if !ok {
		return nil
	}
	l := k.look(set, key, b)
	if l == nil && k.err == nil {
		k.stop("%s has nothing for %s, which is %s", name, valueText(key), tellOctets(key, b))
	}
	if l == nil || !k.above(set, b, l) {
		return nil
	}
	return l
}

// key gives a value that is to be looked up in a set. Draws that lead to the
// same element are one to whoever wants to know all outcomes, be they the key or
// its last part.
func (k *walker) key(v Value, set *liveSet) ([]byte, bool) {
	parts, joined := v.(Join)
	if !joined {
		parts = Join{v}
	}
	of, draws := uint32(0), false
	if len(parts) > 0 {
		of, draws = drawn(parts[len(parts)-1])
	}
	if !draws {
		return k.value(v)
	}
	made := make([][]byte, len(parts))
	for i, part := range parts[:len(parts)-1] {
		b, ok := k.value(part)
		if !ok {
			return nil, false
		}
		made[i] = b
	}
	whole := func(n []byte) []byte {
		if made[len(made)-1] = n; len(made) == 1 {
			return n
		}
		return Key(made...)
	}
	n, ok := k.draw(of, func(n uint32) string {
		l, err := k.world.get(k.table, set, whole(Number(n)))
		switch {
		case err != nil || l == nil: // the look that follows errs, too
			return ""
		case l.Verdict != nil:
			return "verdict " + Tell(l.Verdict)
		}
		return "data " + string(l.Data)
	})
	if !ok {
		return nil, false
	}
	return whole(n), true
}

// drawn says whether a value is drawn, and of how many.
func drawn(v Value) (of uint32, is bool) {
	switch v := v.(type) {
	case Turn:
		return v.Of, true
	case Lot:
		return v.Of, true
	}
	return 0, false
}

// draw gives a number, 0 to of-1. Same tells which numbers come to the same.
func (k *walker) draw(of uint32, same func(n uint32) string) ([]byte, bool) {
	if of == 0 {
		return nil, k.fail("a number below 0 is wanted")
	}
	if k.world.outcomes != nil {
		n, err := k.world.outcomes.draw(of, same)
		if err != nil {
			return nil, k.fail("%w", err)
		}
		return Number(n), true
	}
	if k.world.Draw == nil {
		return Number(0), true
	}
	return Number(k.world.Draw(k.visit.Place, of) % of), true
}

// reciprocal maps a 32-bit number to 0 to mod-1, as the kernel does
// (reciprocal_scale).
func reciprocal(h, mod uint32) uint32 {
	hi, _ := bits.Mul32(h, mod)
	return hi
}

// jhash is Bob Jenkins' hash "lookup3" of octets (hashlittle), by which nftables
// spreads: http://burtleburtle.net/bob/c/lookup3.c, which is in the public
// domain. As the kernel does, it reads whole blocks in the machine's order.
func jhash(key []byte, seed uint32) uint32 {
	const golden = 0xdeadbeef
	a := golden + uint32(len(key)) + seed
	b, c := a, a
	for ; len(key) > 12; key = key[12:] {
		a += native.Uint32(key)
		b += native.Uint32(key[4:])
		c += native.Uint32(key[8:])
		a, b, c = jhashMix(a, b, c)
	}
	if len(key) == 0 {
		return c
	}
	var tail [12]byte
	copy(tail[:], key)
	a += binary.LittleEndian.Uint32(tail[:])
	b += binary.LittleEndian.Uint32(tail[4:])
	c += binary.LittleEndian.Uint32(tail[8:])
	return jhashFinal(a, b, c)
}

func jhashMix(a, b, c uint32) (uint32, uint32, uint32) {
	rol := bits.RotateLeft32
	a, c = (a-c)^rol(c, 4), c+b
	b, a = (b-a)^rol(a, 6), a+c
	c, b = (c-b)^rol(b, 8), b+a
	a, c = (a-c)^rol(c, 16), c+b
	b, a = (b-a)^rol(a, 19), a+c
	c, b = (c-b)^rol(b, 4), b+a
	return a, b, c
}

func jhashFinal(a, b, c uint32) uint32 {
	rol := bits.RotateLeft32
	c = (c ^ b) - rol(b, 14)
	a = (a ^ c) - rol(c, 11)
	b = (b ^ a) - rol(a, 25)
	c = (c ^ b) - rol(b, 16)
	a = (a ^ c) - rol(c, 4)
	b = (b ^ a) - rol(a, 14)
	return (c ^ b) - rol(b, 24)
}
