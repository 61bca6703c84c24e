package kernel

import (
	"bytes"
	"fmt"

	"golang.org/x/sys/unix"
)

// Attributes and numbers of nf_tables.h that package unix does not name.
const (
	nftaBitwiseOp   = 6
	nftaBitwiseData = 7
	nftBitwiseRight = 2 // NFT_BITWISE_RSHIFT

	nftaConnlimitCount = 1
	nftaConnlimitFlags = 2
	nftConnlimitInvert = 1

	nftaTProxyFamily  = 1
	nftaTProxyRegPort = 3

	nftDynsetDelete = 2

	natPersistent = 1 << 3 // NF_NAT_RANGE_PERSISTENT: the destination does not count
)

// words is how many registers of four octets a rule has. They are numbered from
// NFT_REG32_00. A value is made where it is wanted: what it is made from, such
// as the key of a look-up, stands in the same place before.
const registers = 16

// encoder writes the expressions of one rule.
type encoder struct {
	w    wire
	sets map[string]*Set
	refs []string // sets and objects that the rule names
	keys int      // how deep we are in keys of sets
}

func reg(at int) uint32 { return uint32(unix.NFT_REG32_00 + at) }

// encode gives the expressions of a rule whose steps were lowered, and the sets
// and objects that it names.
func encode(steps []Step, sets map[string]*Set) (exprs []byte, refs []string, err error) {
	e := &encoder{sets: sets}
	for i, s := range steps {
		if err := e.step(s); err != nil {
			return nil, nil, fmt.Errorf("step %d (%T): %w", i+1, s, err)
		}
	}
	return e.w.b, e.refs, nil
}

// room says whether a value of so many octets fits at a register.
func room(at, width int) error {
	if at+padded(width)/4 > registers {
		return fmt.Errorf("it needs more than the %d registers that a rule has", registers)
	}
	return nil
}

// load makes a value at a register and gives its width in octets.
func (e *encoder) load(v Value, at int) (width int, err error) {
	switch v := v.(type) {
	case Field:
		width, err = e.field(v, at)
	case Const:
		e.constant(v, at)
		width = len(v)
	case Masked:
		return e.masked(v, at)
	case Shifted:
		return e.shifted(v, at)
	case Join:
		return e.join(v, at)
	case Turn:
		e.numgen(unix.NFT_NG_INCREMENTAL, v.Of, at)
		return 4, modulus(v.Of)
	case Lot:
		e.numgen(unix.NFT_NG_RANDOM, v.Of, at)
		return 4, modulus(v.Of)
	case Hash:
		return e.hash(v, at)
	case Lookup:
		return e.lookup(v, at)
	default:
		return 0, fmt.Errorf("there is no value %T", v)
	}
	if err == nil {
		err = room(at, width)
	}
	return width, err
}

func modulus(n uint32) error {
	if n == 0 {
		return fmt.Errorf("one of 0 numbers")
	}
	return nil
}

func (e *encoder) field(v Field, at int) (int, error) {
	f, ok := fields[v]
	if !ok {
		return 0, fmt.Errorf("there is no field %d", v)
	}
	w := &e.w
	w.expr(f.from, func() {
		switch f.from {
		case "meta":
			w.u32(unix.NFTA_META_DREG, reg(at))
			w.u32(unix.NFTA_META_KEY, f.key)
		case "ct":
			w.u32(unix.NFTA_CT_DREG, reg(at))
			w.u32(unix.NFTA_CT_KEY, f.key)
		case "payload":
			w.u32(unix.NFTA_PAYLOAD_DREG, reg(at))
			w.u32(unix.NFTA_PAYLOAD_BASE, f.key)
			w.u32(unix.NFTA_PAYLOAD_OFFSET, f.offset)
			w.u32(unix.NFTA_PAYLOAD_LEN, uint32(f.width))
		case "fib":
			w.u32(unix.NFTA_FIB_DREG, reg(at))
			w.u32(unix.NFTA_FIB_RESULT, unix.NFT_FIB_RESULT_ADDRTYPE)
			w.u32(unix.NFTA_FIB_FLAGS, f.key)
		}
	})
	return f.width, nil
}

func (e *encoder) constant(v []byte, at int) {
	w := &e.w
	w.expr("immediate", func() {
		w.u32(unix.NFTA_IMMEDIATE_DREG, reg(at))
		w.value(unix.NFTA_IMMEDIATE_DATA, v)
	})
}

func (e *encoder) verdict(s Step) {
	w := &e.w
	w.expr("immediate", func() {
		w.u32(unix.NFTA_IMMEDIATE_DREG, unix.NFT_REG_VERDICT)
		w.verdict(unix.NFTA_IMMEDIATE_DATA, s)
	})
}

func (e *encoder) masked(v Masked, at int) (int, error) {
	width, err := e.load(v.Of, at)
	if err == nil && width != len(v.Mask) {
		err = fmt.Errorf("a mask of %d octets on %d", len(v.Mask), width)
	}
	e.bitwise(at, v.Mask, make([]byte, len(v.Mask)))
	return width, err
}

// bitwise makes a register (it & mask) ^ xor.
func (e *encoder) bitwise(at int, mask, xor []byte) {
	w := &e.w
	w.expr("bitwise", func() {
		w.u32(unix.NFTA_BITWISE_SREG, reg(at))
		w.u32(unix.NFTA_BITWISE_DREG, reg(at))
		w.u32(unix.NFTA_BITWISE_LEN, uint32(len(mask)))
		w.value(unix.NFTA_BITWISE_MASK, mask)
		w.value(unix.NFTA_BITWISE_XOR, xor)
	})
}

func (e *encoder) shifted(v Shifted, at int) (int, error) {
	width, err := e.load(v.Of, at)
	if err == nil && (width != 4 || v.Bits == 0 || v.Bits > 31) {
		err = fmt.Errorf("only numbers are shifted, by 1 to 31 bits")
	}
	w := &e.w
	w.expr("bitwise", func() {
		w.u32(unix.NFTA_BITWISE_SREG, reg(at))
		w.u32(unix.NFTA_BITWISE_DREG, reg(at))
		w.u32(unix.NFTA_BITWISE_LEN, uint32(width))
		w.u32(nftaBitwiseOp, nftBitwiseRight)
		w.value(nftaBitwiseData, Number(v.Bits))
	})
	return width, err
}

func (e *encoder) join(v Join, at int) (width int, err error) {
	for _, part := range v {
		n, err := e.load(part, at+width/4)
		if err != nil {
			return 0, err
		}
		if len(v) == 1 {
			return n, nil
		}
		width += padded(n)
	}
	if width == 0 {
		return 0, fmt.Errorf("nothing is joined")
	}
	return width, nil
}

func (e *encoder) numgen(kind, of uint32, at int) {
	w := &e.w
	w.expr("numgen", func() {
		w.u32(unix.NFTA_NG_DREG, reg(at))
		w.u32(unix.NFTA_NG_MODULUS, of)
		w.u32(unix.NFTA_NG_TYPE, kind)
		w.u32(unix.NFTA_NG_OFFSET, 0)
	})
}

// hash writes its seed even if it is 0: without one the kernel takes any.
func (e *encoder) hash(v Hash, at int) (int, error) {
	width, err := e.load(v.Of, at)
	if err == nil {
		err = modulus(v.Mod)
	}
	w := &e.w
	w.expr("hash", func() {
		w.u32(unix.NFTA_HASH_SREG, reg(at))
		w.u32(unix.NFTA_HASH_DREG, reg(at))
		w.u32(unix.NFTA_HASH_LEN, uint32(width))
		w.u32(unix.NFTA_HASH_MODULUS, v.Mod)
		w.u32(unix.NFTA_HASH_SEED, v.Seed)
		w.u32(unix.NFTA_HASH_OFFSET, 0)
		w.u32(unix.NFTA_HASH_TYPE, unix.NFT_HASH_JENKINS)
	})
	return 4, err
}

func (e *encoder) lookup(v Lookup, at int) (int, error) {
	s, err := e.key(v.Key, v.Map, at)
	if err != nil {
		return 0, err
	}
	if len(s.Data) == 0 {
		return 0, fmt.Errorf("%s is no map of values", v.Map)
	}
	width := widthOf(s.Data)
	e.lookedUp(v.Map, at, reg(at), true, false)
	if e.keys > 0 && width == 4 {
		e.nftLooksAway(at)
		return width, room(at, 2*width)
	}
	return width, room(at, width)
}

// nftLooksAway has a value that came from a map stand for a moment in the packet
// mark, whose own value waits in the next register and comes back at once. The
// value stays what it is, and so does the mark. But the program nft before 1.1.0
// does not know the length of what comes from a map, and aborts if that is a key
// again: "nft list ruleset" would end so on the whole machine.
func (e *encoder) nftLooksAway(at int) { e.throughMark(at, at+1) }

// throughMark has four octets stand in the packet mark, which a spare register
// keeps meanwhile: to the program nft they are of known origin then.
func (e *encoder) throughMark(at, spare int) {
	w := &e.w
	meta := func(attribute uint16, register int) {
		w.expr("meta", func() {
			w.u32(unix.NFTA_META_KEY, unix.NFT_META_MARK)
			w.u32(attribute, reg(register))
		})
	}
	meta(unix.NFTA_META_DREG, spare)
	meta(unix.NFTA_META_SREG, at)
	meta(unix.NFTA_META_DREG, at)
	meta(unix.NFTA_META_SREG, spare)
}

// key loads the key of a set and gives the set.
func (e *encoder) key(v Value, set string, at int) (*Set, error) {
	s := e.sets[set]
	if s == nil {
		return nil, fmt.Errorf("the table has no set %q", set)
	}
	e.keys++
	width, err := e.load(v, at)
	e.keys--
	if err != nil {
		return nil, err
	}
	if width != widthOf(s.Key) {
		return nil, fmt.Errorf("set %s has keys of %d octets, this is one of %d", set, widthOf(s.Key), width)
	}
	e.refs = append(e.refs, set)
	return s, nil
}

func (e *encoder) lookedUp(set string, at int, to uint32, isMap, invert bool) {
	w := &e.w
	w.expr("lookup", func() {
		w.text(unix.NFTA_LOOKUP_SET, set)
		w.u32(unix.NFTA_LOOKUP_SREG, reg(at))
		if isMap {
			w.u32(unix.NFTA_LOOKUP_DREG, to)
		}
		if invert {
			w.u32(unix.NFTA_LOOKUP_FLAGS, unix.NFT_LOOKUP_F_INV)
		}
	})
}

// compare ends the rule unless a register compares so with octets.
func (e *encoder) compare(at int, op Op, to []byte) {
	w := &e.w
	w.expr("cmp", func() {
		w.u32(unix.NFTA_CMP_SREG, reg(at))
		w.u32(unix.NFTA_CMP_OP, compareOps[op])
		w.value(unix.NFTA_CMP_DATA, to)
	})
}

var compareOps = [...]uint32{Equal: unix.NFT_CMP_EQ, NotEqual: unix.NFT_CMP_NEQ, Less: unix.NFT_CMP_LT, Greater: unix.NFT_CMP_GT, AtMost: unix.NFT_CMP_LTE, AtLeast: unix.NFT_CMP_GTE}

// ordered says whether more and less mean something for a value's octets.
func ordered(v Value, sets map[string]*Set) bool {
	switch v := v.(type) {
	case Field:
		return fields[v].order
	case Masked:
		return ordered(v.Of, sets)
	case Lookup:
		s := sets[v.Map]
		return s != nil && len(s.Data) == 1 && types[s.Data[0]].order
	}
	return false
}

func (e *encoder) is(s Is) error {
	width, err := e.load(s.Of, 0)
	switch {
	case err != nil:
		return err
	case width != len(s.To):
		return fmt.Errorf("%d octets are compared with %d", width, len(s.To))
	case int(s.Op) >= len(compareOps):
		return fmt.Errorf("there is no comparison %d", s.Op)
	case s.Op > NotEqual && !ordered(s.Of, e.sets):
		return fmt.Errorf("more and less mean nothing for what is not in the network's order")
	}
	e.compare(0, s.Op, s.To)
	return nil
}

func (e *encoder) within(s Within) error {
	width, err := e.load(s.Of, 0)
	switch {
	case err != nil:
		return err
	case width != len(s.From) || width != len(s.To):
		return fmt.Errorf("%d octets are compared with %d and %d", width, len(s.From), len(s.To))
	case !ordered(s.Of, e.sets):
		return fmt.Errorf("more and less mean nothing for what is not in the network's order")
	case bytes.Compare(s.From, s.To) > 0:
		return fmt.Errorf("the range ends before it begins")
	}
	e.compare(0, AtLeast, s.From)
	e.compare(0, AtMost, s.To)
	return nil
}
