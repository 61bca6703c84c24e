package kernel

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"slices"

	"golang.org/x/sys/unix"
)

// truth is whether a packet goes on past an expression.
type truth byte

const (
	surely truth = iota
	maybe
	never
)

func truthOf(b bool) truth {
	if b {
		return surely
	}
	return never
}

// sight goes through one rule with what is known of a packet.
type sight struct {
	w      *meeting
	chain  *foreignChain
	handle uint64
	regs   words16
	sure   bool // it comes here for sure
}

// words16 are the registers of a rule: 16 words.
type words16 [16]cell

// cell is what is known of a word: its octets, or which of its bits are those
// of a mark as the packet came, and which are 0.
type cell struct {
	known            bool
	octets           [4]byte
	packet, conn, no uint32
}

// wordOf16 gives the first word of a register: 1 to 4 have four words, 8 to 23 one.
func wordOf16(register uint32) int {
	switch {
	case register >= 1 && register <= 4:
		return int(register-1) * 4
	case register >= 8 && register < 24:
		return int(register - 8)
	}
	return -1
}

// words gives the words of a register for so many octets; nil: there are none.
func (r *words16) words(register uint32, width int) []cell {
	at := wordOf16(register)
	n := (width + 3) / 4
	if at < 0 || n <= 0 || at+n > len(r) {
		return nil
	}
	return r[at : at+n]
}

func (r *words16) read(register uint32, width int) (b []byte, known bool) {
	words := r.words(register, width)
	for i := range words {
		if !words[i].known {
			return nil, false
		}
		b = append(b, words[i].octets[:]...)
	}
	return b[:min(width, len(b))], words != nil
}

func (r *words16) write(register uint32, b []byte) {
	for i := range r.words(register, len(b)) {
		c := &r.words(register, len(b))[i]
		*c = cell{known: true}
		copy(c.octets[:], b[4*i:])
		c.no = ^native.Uint32(c.octets[:])
	}
}

// forget makes what a register holds unknown. How wide it is we do not know.
func (r *words16) forget(register uint32) {
	if at := wordOf16(register); at >= 0 {
		clear(r[at:min(at+4, len(r))])
	}
}

// step carries out an expression as far as it is known.
func (s *sight) step(e *expression) truth {
	switch e.name {
	case "meta", "ct":
		s.metaOrConn(e)
	case "payload":
		s.load(e.to, s.w.packet.header(e))
	case "immediate":
		if !e.verdict {
			s.load(e.to, e.value)
		}
	case "bitwise":
		s.bitwise(e)
	case "cmp":
		return s.compare(e)
	case "range":
		return s.within(e)
	case "lookup":
		return s.look(e)
	case "match":
		return s.match(e)
	case "counter", "log", "reject", "dynset", "objref", "dup", "notrack", "nat", "masq", "redir", "queue", "flow_offload", "target", "tproxy", "last":
		s.deed(e)
	default: // it loads something, or lets only some pass
		s.regs = words16{}
		return maybe
	}
	return surely
}

// deed notes what an expression does that concerns us.
func (s *sight) deed(e *expression) {
	switch {
	case e.name == "nat" && e.key == unix.NFT_NAT_SNAT, e.target == "SNAT", e.target == "NETMAP":
		s.done(DeedNAT, 0)
	case e.name == "masq", e.target == "MASQUERADE":
		s.done(DeedMasq, 0)
	case e.name == "nat", e.name == "redir", e.target == "DNAT", e.target == "REDIRECT":
		s.done(DeedDest, 0)
	case e.name == "flow_offload", e.target == "FLOWOFFLOAD":
		s.done(DeedOffload, 0)
	case e.name == "notrack", e.target == "NOTRACK":
		s.done(DeedUntrack, 0)
	case e.name == "queue", e.target == "NFQUEUE":
		s.done(DeedQueue, 0)
	case e.name == "tproxy", e.target == "TPROXY":
		s.done(DeedTProxy, 0)
	}
	if e.name != "target" {
		return
	}
	packet, conn := e.writes()
	if packet != 0 {
		s.done(DeedMark, packet)
	}
	if conn != 0 {
		s.done(DeedConn, conn)
	}
}

// load puts octets into a register; nil: they are not known.
func (s *sight) load(register uint32, b []byte) {
	s.regs.forget(register)
	if b != nil {
		s.regs.write(register, b)
	}
}

// metaOrConn reads a property of the packet or its connection, or writes a mark.
func (s *sight) metaOrConn(e *expression) {
	mark := e.name == "meta" && e.key == unix.NFT_META_MARK || e.name == "ct" && e.key == unix.NFT_CT_MARK
	if e.from != 0 {
		if !mark {
			return
		}
		var c cell
		if words := s.regs.words(e.from, 4); words != nil {
			c = words[0]
		}
		if e.name == "meta" && ^c.packet != 0 {
			s.done(DeedMark, ^c.packet)
		} else if e.name == "ct" && ^c.conn != 0 {
			s.done(DeedConn, ^c.conn)
		}
		return
	}
	if !mark {
		s.load(e.to, s.w.packet.property(e))
		return
	}
	s.regs.forget(e.to)
	if words := s.regs.words(e.to, 4); words != nil && e.name == "meta" {
		words[0].packet = 0xffffffff
	} else if words != nil {
		words[0].conn = 0xffffffff
	}
}

// bitwise masks and turns bits, or joins two words16.
func (s *sight) bitwise(e *expression) {
	width := int(min(e.width, 64))
	from := slices.Clone(s.regs.words(e.from, width))
	second := slices.Clone(s.regs.words(e.second, width))
	to := s.regs.words(e.to, width)
	for i := range to {
		to[i] = cell{}
		switch {
		case i >= len(from):
		case e.op == bitwiseMaskXor && len(e.mask) >= 4*i+4 && len(e.value) >= 4*i+4:
			to[i] = from[i].turn(native.Uint32(e.mask[4*i:]), native.Uint32(e.value[4*i:]))
		case e.op == bitwiseMaskXor && len(e.mask) == width && len(e.value) == width: // the last word is cut short
			var mask, value [4]byte
			copy(mask[:], e.mask[4*i:])
			copy(value[:], e.value[4*i:])
			to[i] = from[i].turn(native.Uint32(mask[:]), native.Uint32(value[:]))
		case e.op == bitwiseOr && i < len(second):
			to[i] = from[i].join(second[i])
		}
	}
}

// turn is (c & mask) ^ value.
func (c cell) turn(mask, value uint32) cell {
	n := cell{known: c.known, packet: c.packet & mask &^ value, conn: c.conn & mask &^ value, no: (c.no | ^mask) &^ value}
	if c.known {
		native.PutUint32(n.octets[:], native.Uint32(c.octets[:])&mask^value)
	} else if mask == 0 {
		n.known = true
		native.PutUint32(n.octets[:], value)
	}
	return n
}

// join is c | d.
func (c cell) join(d cell) cell {
	n := cell{known: c.known && d.known, packet: c.packet&d.no | d.packet&c.no, conn: c.conn&d.no | d.conn&c.no, no: c.no & d.no}
	if n.known {
		native.PutUint32(n.octets[:], native.Uint32(c.octets[:])|native.Uint32(d.octets[:]))
	}
	return n
}

// compare compares a register; the numbers of less and more are those of
// octets in their order.
func (s *sight) compare(e *expression) truth {
	have, known := s.regs.read(e.from, len(e.value))
	if !known || len(e.value) == 0 {
		return maybe
	}
	order := bytes.Compare(have, e.value)
	switch e.op {
	case unix.NFT_CMP_EQ:
		return truthOf(order == 0)
	case unix.NFT_CMP_NEQ:
		return truthOf(order != 0)
	case unix.NFT_CMP_LT:
		return truthOf(order < 0)
	case unix.NFT_CMP_LTE:
		return truthOf(order <= 0)
	case unix.NFT_CMP_GT:
		return truthOf(order > 0)
	case unix.NFT_CMP_GTE:
		return truthOf(order >= 0)
	}
	return maybe
}

func (s *sight) within(e *expression) truth {
	have, known := s.regs.read(e.from, len(e.value))
	if !known || len(e.value) == 0 || len(e.mask) != len(e.value) {
		return maybe
	}
	in := bytes.Compare(e.mask, have) <= 0 && bytes.Compare(have, e.value) <= 0
	return truthOf(in == (e.op == unix.NFT_RANGE_EQ))
}

// has says whether an element holds a key.
func (el *Element) has(key []byte) bool {
	if el.End != nil {
		return bytes.Compare(el.Key, key) <= 0 && bytes.Compare(key, el.End) <= 0
	}
	return bytes.Equal(el.Key, key)
}

// look looks something up in a set or map.
func (s *sight) look(e *expression) truth {
	set := s.w.rules.sets[setKey{s.chain.tableKey, e.set}]
	if set == nil || !set.read {
		s.regs.forget(e.to)
		return maybe
	}
	key, known := s.regs.read(e.from, set.width)
	s.regs.forget(e.to)
	if len(set.list) == 0 {
		return truthOf(e.inverted)
	}
	if !known {
		return maybe
	}
	found := slices.ContainsFunc(set.list, func(el Element) bool { return el.has(key) })
	if !found && set.interval {
		// The kernel writes a set of concatenated ranges otherwise.
		if len(set.list[0].Key) != len(key) || set.width > 16 {
			return maybe
		}
	}
	return truthOf(found != e.inverted)
}

// match is a match of xtables: of most we do not know.
func (s *sight) match(e *expression) truth {
	if e.target == "comment" {
		return surely
	}
	if states, inverted, ok := e.conntrackStates(); ok {
		return truthOf((states&s.w.packet.state() != 0) != inverted)
	}
	return maybe
}

// Bits of the state of a connection, as rules see it.
const (
	stateEstablished = 1 << 1
	stateNew         = 1 << 3
)

func (p *Passing) state() uint32 {
	if p.New {
		return stateNew
	}
	return stateEstablished
}

// property gives what meta and ct load, if it is known.
func (p *Passing) property(e *expression) []byte {
	name := func(s string) []byte { return append([]byte(s), make([]byte, max(16-len(s), 0))...)[:16] }
	number := func(n uint32, known bool) []byte {
		if !known {
			return nil
		}
		return native.AppendUint32(nil, n)
	}
	if e.name == "ct" {
		switch {
		case e.key == unix.NFT_CT_STATE:
			return number(p.state(), true)
		case e.key == unix.NFT_CT_STATUS && p.New:
			return number(0, true)
		}
		return nil
	}
	switch e.key {
	case unix.NFT_META_IIFNAME:
		return name(p.In)
	case unix.NFT_META_OIFNAME:
		return name(p.Out)
	case unix.NFT_META_IIF:
		return number(uint32(p.InIndex), p.InIndex > 0 || p.In == "")
	case unix.NFT_META_OIF:
		return number(uint32(p.OutIndex), p.OutIndex > 0 || p.Out == "")
	case unix.NFT_META_NFPROTO:
		if p.IPv6 {
			return []byte{unix.NFPROTO_IPV6}
		}
		return []byte{unix.NFPROTO_IPV4}
	case unix.NFT_META_PROTOCOL:
		if p.IPv6 {
			return []byte{0x86, 0xdd}
		}
		return []byte{0x08, 0x00}
	case unix.NFT_META_L4PROTO:
		return []byte{p.Protocol}
	}
	return nil
}

// header gives octets of the packet, if they are known.
func (p *Passing) header(e *expression) []byte {
	type field struct{ base, offset, width uint32 }
	address := func(a netip.Addr) []byte {
		if !a.IsValid() || a.Is6() != p.IPv6 {
			return nil
		}
		return a.AsSlice()
	}
	at := field{e.base, e.offset, e.width}
	if at == (field{unix.NFT_PAYLOAD_TRANSPORT_HEADER, 2, 2}) && p.DestPort != 0 && p.New {
		return binary.BigEndian.AppendUint16(nil, p.DestPort)
	}
	protocol, source, dest, width := uint32(9), uint32(12), uint32(16), uint32(4)
	if p.IPv6 {
		protocol, source, dest, width = 6, 8, 24, 16
	}
	switch {
	case at == (field{unix.NFT_PAYLOAD_NETWORK_HEADER, protocol, 1}):
		return []byte{p.Protocol}
	case at.base == unix.NFT_PAYLOAD_NETWORK_HEADER && at.offset == source && at.width <= width && address(p.Source) != nil:
		return address(p.Source)[:at.width]
	case at.base == unix.NFT_PAYLOAD_NETWORK_HEADER && at.offset == dest && at.width <= width && address(p.Dest) != nil:
		return address(p.Dest)[:at.width]
	}
	return nil
}
