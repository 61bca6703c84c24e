package kernel

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// number makes a value that is one of four octets, in the first register.
func (e *encoder) number(what string, v Value) error {
	width, err := e.load(v, 0)
	if err == nil && width != 4 {
		err = fmt.Errorf("a %s has 4 octets, not %d", what, width)
	}
	return err
}

// widthAddr is how many octets an address of a family has.
func widthAddr(v6 bool) int {
	if v6 {
		return 16
	}
	return 4
}

// dnat has the new destination in registers before it clears the priority, by
// which the destination may have been found.
func (e *encoder) dnat(s DNAT) error {
	width, err := e.load(s.To, 0)
	if err != nil {
		return err
	}
	want, what := widthAddr(s.IPv6), "an address"
	if s.Port {
		want, what = want+4, "an address and a port"
	}
	if width != want {
		return fmt.Errorf("%s of %s has %d octets, this has %d", what, familyText(s.IPv6), want, width)
	}
	e.constant(Number(0), width/4)
	e.storeFrom("meta", unix.NFT_META_PRIORITY, width/4)
	w := &e.w
	w.expr("nat", func() {
		w.u32(unix.NFTA_NAT_TYPE, unix.NFT_NAT_DNAT)
		w.u32(unix.NFTA_NAT_FAMILY, uint32(familyOf(s.IPv6)))
		w.u32(unix.NFTA_NAT_REG_ADDR_MIN, reg(0))
		if s.Port {
			w.u32(unix.NFTA_NAT_REG_PROTO_MIN, reg(widthAddr(s.IPv6)/4))
		}
	})
	return nil
}

// snatTo has what it loads go through the mark: nft 1.0.6 ends with a fault, and
// with it "nft list ruleset", where a look-up fills the first of several registers
// of a translation, and complains of the others if nothing stood there before. Of
// an IPv6 address the first four octets are enough.
func (e *encoder) snatTo(s SNATTo) error {
	one := widthAddr(s.IPv6)
	want, what := 2*one, "a first and a last address"
	places := []int{0, one / 4}
	if s.Ports {
		want, what = want+8, "two addresses and two ports"
		places = append(places, one/2, one/2+1)
	}
	for _, at := range places[1:] {
		_, _ = e.field(Mark, at) // never fails
	}
	width, err := e.load(s.To, 0)
	if err != nil {
		return err
	}
	if width != want && (s.Ports || width != want+8) {
		return fmt.Errorf("%s of %s have %d octets, this has %d", what, familyText(s.IPv6), want, width)
	}
	for _, at := range places {
		e.throughMark(at, width/4)
	}
	w := &e.w
	w.expr("nat", func() {
		w.u32(unix.NFTA_NAT_TYPE, unix.NFT_NAT_SNAT)
		w.u32(unix.NFTA_NAT_FAMILY, uint32(familyOf(s.IPv6)))
		w.u32(unix.NFTA_NAT_REG_ADDR_MIN, reg(0))
		w.u32(unix.NFTA_NAT_REG_ADDR_MAX, reg(one/4))
		if s.Ports {
			w.u32(unix.NFTA_NAT_REG_PROTO_MIN, reg(one/2))
			w.u32(unix.NFTA_NAT_REG_PROTO_MAX, reg(one/2+1))
		}
		w.u32(unix.NFTA_NAT_FLAGS, natPersistent)
	})
	return nil
}
