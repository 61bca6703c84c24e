package kernel

import (
	"fmt"

	"golang.org/x/sys/unix"
)

func (e *encoder) step(s Step) error {
	w := &e.w
	switch s := s.(type) {
	case Is:
		return e.is(s)
	case Within:
		return e.within(s)
	case In:
		return e.in(s)
	case Choose:
		return e.choose(s)
	case SetMark:
		return e.setMark("meta", unix.NFT_META_MARK, s.Mask, s.Bits)
	case SetCtMark:
		return e.setMark("ct", unix.NFT_CT_MARK, s.Mask, s.Bits)
	case SetCtLabel:
		if len(s.Bits) != labelWidth {
			return fmt.Errorf("a label has %d octets, not %d", labelWidth, len(s.Bits))
		}
		e.constant(s.Bits, 0)
		e.store("ct", unix.NFT_CT_LABELS)
	case CopyMark:
		err := e.number("mark", s.From)
		e.store("meta", unix.NFT_META_MARK)
		return err
	case CopyCtMark:
		err := e.number("mark", s.From)
		e.store("ct", unix.NFT_CT_MARK)
		return err
	case SetPriority:
		err := e.number("priority", s.From)
		e.store("meta", unix.NFT_META_PRIORITY)
		return err
	case Change:
		return e.change(s)
	case CountOver:
		w.expr("connlimit", func() { w.connlimit(s.Connections) })
	case RateOver:
		return e.rate(s)
	case Count:
		e.object(unix.NFT_OBJECT_COUNTER, s.Name)
	case Assist:
		e.object(unix.NFT_OBJECT_CT_HELPER, s.Helper)
	case Jump, Goto, Accept, Drop, Return:
		e.verdict(s)
	case Reject:
		return e.reject(s)
	case TProxy:
		e.tproxy(s)
	case Masquerade:
		w.expr("masq", func() {})
	case SNAT:
		return e.snat(s)
	case SNATTo:
		return e.snatTo(s)
	case DNAT:
		return e.dnat(s)
	case SetTOS:
		return e.tos(s)
	case Dup:
		return e.dup(s)
	case NoTrack:
		w.expr("notrack", func() {})
	default:
		return fmt.Errorf("there is no such step")
	}
	return nil
}

// in asks a map for its value too, and throws it away: Linux before 6.8 does not
// take a map for a set.
func (e *encoder) in(s In) error {
	set, err := e.key(s.Key, s.Set, 0)
	if err != nil {
		return err
	}
	e.lookedUp(s.Set, 0, reg(0), len(set.Data) > 0 && !s.Not, s.Not)
	return nil
}

func (e *encoder) choose(s Choose) error {
	set, err := e.key(s.Key, s.Map, 0)
	if err == nil && !set.Verdicts {
		err = fmt.Errorf("%s is no map of verdicts", s.Map)
	}
	e.lookedUp(s.Map, 0, unix.NFT_REG_VERDICT, true, false)
	return err
}

// setMark writes some bits of a mark and leaves the others.
func (e *encoder) setMark(from string, key, mask, bits uint32) error {
	if bits&^mask != 0 {
		return fmt.Errorf("bits %#x outside of mask %#x", bits, mask)
	}
	if mask == ^uint32(0) {
		e.constant(Number(bits), 0)
	} else {
		if _, err := e.load(map[string]Field{"meta": Mark, "ct": CtMark}[from], 0); err != nil {
			return err
		}
		e.bitwise(0, Number(^mask), Number(bits))
	}
	e.store(from, key)
	return nil
}

// store writes the first register to a mark or label.
func (e *encoder) store(to string, key uint32) { e.storeFrom(to, key, 0) }

func (e *encoder) storeFrom(to string, key uint32, at int) {
	w := &e.w
	w.expr(to, func() {
		if to == "ct" {
			w.u32(unix.NFTA_CT_KEY, key)
			w.u32(unix.NFTA_CT_SREG, reg(at))
			return
		}
		w.u32(unix.NFTA_META_KEY, key)
		w.u32(unix.NFTA_META_SREG, reg(at))
	})
}

func (e *encoder) change(s Change) error {
	set, err := e.key(s.Key, s.Set, 0)
	if err != nil {
		return err
	}
	data := padded(widthOf(set.Key)) / 4
	switch {
	case !set.Dynamic:
		return fmt.Errorf("set %s is not dynamic", s.Set)
	case len(set.Data) == 0 && s.Data != nil, set.Verdicts:
		return fmt.Errorf("set %s holds no data", s.Set)
	case set.counts && s.Timeout > 0:
		return fmt.Errorf("set %s counts connections: it takes no timeouts", s.Set)
	case len(set.Data) > 0 && s.Over > 0:
		return fmt.Errorf("%s is a map: connections are counted in sets", s.Set)
	case len(set.Data) > 0:
		if s.Data == nil && s.How == Remove {
			s.Data = Const(make([]byte, widthOf(set.Data))) // the kernel wants a register and does not look
		}
		e.keys++ // see nftLooksAway
		width, err := e.load(s.Data, data)
		e.keys--
		if err == nil && width != widthOf(set.Data) {
			err = fmt.Errorf("map %s has data of %d octets, this is %d", s.Set, widthOf(set.Data), width)
		}
		if err != nil {
			return err
		}
	}
	e.dynset(s, reg(data), len(set.Data) > 0)
	return nil
}

var changeOps = [...]uint32{Put: unix.NFT_DYNSET_OP_UPDATE, Add: unix.NFT_DYNSET_OP_ADD, Remove: nftDynsetDelete}

func (e *encoder) dynset(s Change, data uint32, isMap bool) {
	w := &e.w
	w.expr("dynset", func() {
		w.text(unix.NFTA_DYNSET_SET_NAME, s.Set)
		w.u32(unix.NFTA_DYNSET_OP, changeOps[s.How])
		w.u32(unix.NFTA_DYNSET_SREG_KEY, reg(0))
		if isMap {
			w.u32(unix.NFTA_DYNSET_SREG_DATA, data)
		}
		if s.Timeout > 0 && s.How != Remove {
			w.u64(unix.NFTA_DYNSET_TIMEOUT, uint64(s.Timeout.Milliseconds()))
		}
		if s.Over > 0 {
			at := w.open(unix.NFTA_DYNSET_EXPR)
			w.exprBody("connlimit", func() { w.connlimit(s.Over) })
			w.end(at)
		}
	})
}

func (e *encoder) rate(s RateOver) error {
	r := Rate{PerSecond: s.PerSecond, Burst: s.Burst}
	e.w.expr("limit", func() { e.w.rate(r) })
	return r.check()
}

// object calls a counter or a helper of the table by its name.
func (e *encoder) object(kind uint32, name string) {
	w := &e.w
	w.expr("objref", func() {
		w.u32(unix.NFTA_OBJREF_IMM_TYPE, kind)
		w.text(unix.NFTA_OBJREF_IMM_NAME, name)
	})
	e.refs = append(e.refs, objectRef(kind, name))
}

// objectRef tells objects from sets, whose names they may share.
func objectRef(kind uint32, name string) string { return fmt.Sprintf("%d:%s", kind, name) }

func (e *encoder) reject(s Reject) error {
	kind, code := uint32(unix.NFT_REJECT_ICMPX_UNREACH), uint8(unix.NFT_REJECT_ICMPX_ADMIN_PROHIBITED)
	switch s.With {
	case AdminProhibited:
	case TCPReset:
		kind, code = unix.NFT_REJECT_TCP_RST, 0
	case HostUnreachable:
		code = unix.NFT_REJECT_ICMPX_HOST_UNREACH
	case PortUnreachable:
		code = unix.NFT_REJECT_ICMPX_PORT_UNREACH
	default:
		return fmt.Errorf("there is no answer %d", s.With)
	}
	w := &e.w
	w.expr("reject", func() {
		w.u32(unix.NFTA_REJECT_TYPE, kind)
		w.u8(unix.NFTA_REJECT_ICMP_CODE, code)
	})
	return nil
}

func (e *encoder) tproxy(s TProxy) {
	e.constant(Port(s.Port), 0)
	w := &e.w
	w.expr("tproxy", func() {
		w.u32(nftaTProxyFamily, uint32(familyOf(s.IPv6)))
		w.u32(nftaTProxyRegPort, reg(0))
	})
}

func (e *encoder) snat(s SNAT) error {
	from, to := s.From.Unmap(), s.To.Unmap()
	if !to.IsValid() {
		to = from
	}
	if !from.IsValid() || from.Is4() != to.Is4() || to.Less(from) {
		return fmt.Errorf("%v to %v is no range of addresses", s.From, s.To)
	}
	e.constant(from.AsSlice(), 0)
	last := 0
	if to != from {
		last = 4
		e.constant(to.AsSlice(), last)
	}
	w := &e.w
	w.expr("nat", func() {
		w.u32(unix.NFTA_NAT_TYPE, unix.NFT_NAT_SNAT)
		w.u32(unix.NFTA_NAT_FAMILY, uint32(familyOf(!from.Is4())))
		w.u32(unix.NFTA_NAT_REG_ADDR_MIN, reg(0))
		w.u32(unix.NFTA_NAT_REG_ADDR_MAX, reg(last))
		if last > 0 {
			w.u32(unix.NFTA_NAT_FLAGS, natPersistent)
		}
	})
	return nil
}

// tos writes the six bits of the DS field and leaves the two of ECN as they are
// (RFC 2474 section 3, RFC 3168 section 5).
func (e *encoder) tos(s SetTOS) error {
	if s.TOS&3 != 0 {
		return fmt.Errorf("TOS %#x: the last two bits are those of ECN and cannot be set", s.TOS)
	}
	mask, xor := []byte{0xff, 0x03}, []byte{0, s.TOS}
	if s.IPv6 { // version, 8 bits of traffic class, flow label
		mask, xor = []byte{0xf0, 0x3f}, []byte{s.TOS >> 4, s.TOS << 4}
	}
	w := &e.w
	place := func() {
		w.u32(unix.NFTA_PAYLOAD_BASE, unix.NFT_PAYLOAD_NETWORK_HEADER)
		w.u32(unix.NFTA_PAYLOAD_OFFSET, 0)
		w.u32(unix.NFTA_PAYLOAD_LEN, 2)
	}
	w.expr("payload", func() { w.u32(unix.NFTA_PAYLOAD_DREG, reg(0)); place() })
	e.bitwise(0, mask, xor)
	w.expr("payload", func() {
		w.u32(unix.NFTA_PAYLOAD_SREG, reg(0))
		place()
		if !s.IPv6 { // the checksum of its header
			w.u32(unix.NFTA_PAYLOAD_CSUM_TYPE, unix.NFT_PAYLOAD_CSUM_INET)
			w.u32(unix.NFTA_PAYLOAD_CSUM_OFFSET, 10)
		}
	})
	return nil
}
