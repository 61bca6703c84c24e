package traffic

import (
	"net/netip"

	"github.com/portolan-lb/portolan/config"
	"github.com/portolan-lb/portolan/kernel"
)

// Family is what differs between IPv4 and IPv6.
type Family struct {
	Index        int    // 0 of IPv4, 1 of IPv6
	Digit        string // 4, 6: the end of names of what there is of each
	Number       byte   // of meta nfproto
	Source, Dest kernel.Field
	Addr         kernel.Type
	Bits         int // of an address
}

// Families gives both, IPv4 first.
func Families() [2]Family {
	return [2]Family{
		{0, "4", 2, kernel.Source4, kernel.Dest4, kernel.TypeAddr4, 32},
		{1, "6", 10, kernel.Source6, kernel.Dest6, kernel.TypeAddr6, 128},
	}
}

// FamilyOf gives the index of an address's family. An IPv4 address in IPv6 form
// counts as IPv6.
func FamilyOf(a netip.Addr) int {
	if a.Is6() {
		return 1
	}
	return 0
}

// Has says whether an address is of the family.
func (f Family) Has(a netip.Addr) bool { return a.IsValid() && FamilyOf(a) == f.Index }

// End is one of the two ends of a connection.
type End int

// The ends of a connection.
const (
	Source      End = iota // who opened it
	Destination            // who it was opened to
)

// At gives the address of an end.
func (f Family) At(e End) kernel.Field {
	if e == Destination {
		return f.Dest
	}
	return f.Source
}

// IPv6 says which of the two it is.
func (f Family) IPv6() bool { return f.Index == 1 }

// Only goes on for packets of the family.
func (f Family) Only() kernel.Step { return kernel.Is{Of: kernel.Family, To: []byte{f.Number}} }

// Masked is the leading bits of an address; as many as it has, or more: the
// address itself.
func (f Family) Masked(of kernel.Value, bits int) kernel.Value {
	if bits >= f.Bits {
		return of
	}
	mask := make([]byte, f.Bits/8)
	for i := range bits {
		mask[i/8] |= 1 << (7 - i%8)
	}
	return kernel.Masked{Of: of, Mask: mask}
}

// MaskOf gives the length of a mask for the family.
func (f Family) MaskOf(m config.Mask) int {
	if f.IPv6() {
		return m.V6
	}
	return m.V4
}
