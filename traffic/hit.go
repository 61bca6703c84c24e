package traffic

import "time"

// Hit is how often one thing of the configuration had a new connection (FAQ
// 1.1.2): which virtual server and which rule took it, and what became of it. The
// counters are the kernel's. They go on over restarts of this program, as long as
// the thing keeps its name, and begin at 0 when the machine starts.
type Hit struct {
	Kind string `json:"kind"`           // one of the kinds below, or the owner's own
	Name string `json:"name"`           // a rule's is POLICY/NUMBER, or POLICY/default
	What string `json:"what"`           // one of the outcomes below, or the owner's own
	Does string `json:"does,omitempty"` // what is configured for it, in a few words

	// Connections counts first packets: a connection once, one that is refused
	// each time that it is tried again. Octets are those of these packets.
	Connections uint64    `json:"connections"`
	Octets      uint64    `json:"octets"`
	Last        time.Time `json:"last,omitzero"` // when it was seen to move; zero: not since we started

	From Counted `json:"-"`
}

// Counted is where a hit is counted: a named counter, or an element of a counted
// set of the owner's table.
type Counted struct {
	Counter string
	Set     string // instead of Counter
	Key     string // of the element: its octets
}

// The kinds of hits that both owners have.
const (
	HitServer      = "virtualServer"
	HitRule        = "rule"
	HitPersistence = "persistence"
)

// What became of connections that were counted.
const (
	Taken   = "taken"   // it was the thing's turn
	Limited = "limited" // of a virtual server: refused by its limits or its limit policy
	Dropped = "dropped" // of a virtual server: an action said so, or nobody was found
	None    = "none"    // of a group: none of its members could take it
	Waiting = "busy"    // of a group: all its members were busy, or at a limit
	Full    = "full"    // of a member: it was at a limit; another one was tried
)
