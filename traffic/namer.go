package traffic

import "hash/fnv"

// Namer gives names numbers that depend on nothing but the names, so that a reload
// changes no more than it has to; but for two names of one hash. It is for one
// goroutine.
type Namer struct {
	most uint32
	used map[uint32]bool
}

// NewNamer gives one whose numbers are 1 to most, which is a power of two less one.
func NewNamer(most uint32) *Namer { return &Namer{most, map[uint32]bool{0: true}} }

// Of gives a name its number. Each name is asked for once.
func (n *Namer) Of(name string) uint32 {
	h := fnv.New32a()
	h.Write([]byte(name)) // never fails
	at := h.Sum32() & n.most
	for n.used[at] {
		at = (at + 1) & n.most
	}
	n.used[at] = true
	return at
}
