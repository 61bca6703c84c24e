package kernel

import (
	"net/netip"

	"golang.org/x/sys/unix"
)

// Neighbour is a host on a segment of ours whose Ethernet address is known.
type Neighbour struct {
	Index int // of the interface
	Addr  netip.Addr
	Ether [6]byte
}

// Neighbours gives those that Linux knows an Ethernet address of, whether it was
// used lately or not.
func (r *Reader) Neighbours() (list []Neighbour, err error) {
	err = dump(r.sockets, unix.NETLINK_ROUTE, unix.RTM_GETNEIGH, make([]byte, unix.SizeofNdMsg), unix.RTM_NEWNEIGH, func() { list = nil }, func(b []byte) {
		if n, ok := parseNeighbour(b); ok {
			list = append(list, n)
		}
	})
	return list, wrapped("neighbours", err)
}

// parseNeighbour reads a struct ndmsg and its attributes.
func parseNeighbour(b []byte) (n Neighbour, ok bool) {
	if len(b) < unix.SizeofNdMsg {
		return n, false
	}
	family, state := b[0], native.Uint16(b[8:])
	if family != unix.AF_INET && family != unix.AF_INET6 || state&(unix.NUD_INCOMPLETE|unix.NUD_FAILED|unix.NUD_NOARP) != 0 {
		return n, false
	}
	n.Index = int(int32(native.Uint32(b[4:])))
	ether := false
	for kind, v := range attributes(b[unix.SizeofNdMsg:]) {
		switch kind {
		case unix.NDA_DST:
			n.Addr = address(v)
		case unix.NDA_LLADDR:
			ether = copy(n.Ether[:], v) == len(n.Ether) && len(v) == len(n.Ether)
		}
	}
	return n, ether && n.Addr.IsValid()
}
