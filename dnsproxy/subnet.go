package dnsproxy

import (
	"encoding/binary"
	"net/netip"
)

// subnetOf gives the client subnet option to send for one that a client sent:
// the same network and nothing else, or nothing if it is not well formed (RFC
// 7871 6).
func subnetOf(option []byte) string {
	if len(option) < 4 {
		return ""
	}
	family, bits, octets := binary.BigEndian.Uint16(option), int(option[2]), option[4:]
	size := map[uint16]int{1: 4, 2: 16}[family]
	if size == 0 || option[3] != 0 || bits > 8*size || len(octets) != (bits+7)/8 {
		return ""
	}
	full := append(append(make([]byte, 0, 16), octets...), make([]byte, size-len(octets))...)
	addr, _ := netip.AddrFromSlice(full) // cannot fail: 4 or 16 octets
	prefix, err := addr.Prefix(bits)
	if err != nil || prefix.Addr() != addr {
		return ""
	}
	return string(option[:4]) + string(octets)
}
