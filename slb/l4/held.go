package l4

import (
	"encoding/binary"

	"github.com/portolan-lb/portolan/kernel"
)

// Mark gives the number of a virtual server as it stands in the conntrack mark.
func Mark(virtualServer uint32) uint32 { return virtualServer << markShift }

// Held is a number that an entry of persistence holds.
type Held struct {
	Kind   Kind
	Number uint32
}

// Holds gives the numbers that an entry of the map holds: who is given one of them
// anew is given its clients.
func (s *Stick) Holds(entry *kernel.Element) (list []Held) {
	c, ok := s.Similar.Read(s.Family, entry.Key)
	if !ok || len(entry.Data) < 4 {
		return nil
	}
	list = append(list, Held{OfServer, binary.NativeEndian.Uint32(entry.Data) &^ isMoved})
	if s.Shared {
		return append(list, Held{OfFarm, farmNumber(c.Scope)})
	}
	return append(list, Held{OfVirtualServer, c.Scope >> markShift})
}

// HeldBy gives what a connection holds, by its conntrack mark.
func HeldBy(mark uint32) Held {
	return Held{OfVirtualServer, mark & kernel.ServerMask >> markShift}
}

// All gives all numbers, as if each were held.
func (n Numbers) All() map[Held]bool {
	all := map[Held]bool{}
	for kind, numbers := range map[Kind]map[string]uint32{OfVirtualServer: n.VirtualServers, OfFarm: n.Farms, OfServer: n.Servers} {
		for _, number := range numbers {
			all[Held{kind, number}] = true
		}
	}
	return all
}
