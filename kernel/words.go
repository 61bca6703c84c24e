package kernel

import (
	"net/netip"
	"time"
)

// Wishes is what an owner wants Linux to be like. It is not changed after
// [Kernel.Want], except for the elements of sets, which are changed by their
// owner at any time ([Elements]).
type Wishes struct {
	Tables    []Table
	Rules     []PolicyRule
	Routes    []Route
	Shapers   []Shaper
	Sysctls   []Sysctl
	Addresses []Address
}

// Address is an address that an interface of this machine shall have: a /32 or
// /128 that a virtual server is reached by, one of a pool for source addresses.
// One that is there already and not of ours is left as it is, and never removed.
type Address struct {
	Prefix    netip.Prefix
	Interface string // by name: it may come and go
}

// Table is an nftables table, wholly ours. Two of one name in different families
// are two tables; see [Table.ID].
type Table struct {
	Name     string
	Family   TableFamily // default: Inet
	Chains   []Chain
	Sets     []Set
	Counters []string // named counters: they outlive the rules that count by them
	Helpers  []Helper // conntrack helpers
}

// TableFamily is the family of a table: which packets come to it.
type TableFamily uint8

// The families. [Dup] is of IPv4 and IPv6 alone.
const (
	Inet TableFamily = iota // IPv4 and IPv6
	IPv4
	IPv6
)

// ID is what this package calls a table by in its functions and messages: the
// name of one of family inet, else "ip NAME" or "ip6 NAME" as nft has it.
func (t *Table) ID() string {
	if t.Family == Inet {
		return t.Name
	}
	return t.Family.String() + " " + t.Name
}

// String gives nft's word.
func (f TableFamily) String() string { return [...]string{"inet", "ip", "ip6"}[f] }

// Helper is a conntrack helper, whose children follow their parent (FAQ 1.2.24).
type Helper struct {
	Name     string // of the object
	Kind     string // the kernel's: ftp, sip, tftp
	Protocol uint8  // IPPROTO_TCP or IPPROTO_UDP
}

// Chain is a list of rules. One without a hook is jumped to.
type Chain struct {
	Name  string
	Hook  *Hook
	Rules []Rule
}

// Hook is where the kernel enters a chain. Its policy is always accept: what we
// do not know is not ours to drop.
type Hook struct {
	Type     string // filter, nat, route
	Point    string // prerouting, input, forward, output, postrouting
	Priority int32
}

// Rule is a list of steps, done in order until one does not match. Looking up
// what is not there and changing a full set end a rule too, not its chain.
type Rule struct {
	Tell string // one sentence for the operator; listed as the rule's comment (at most 120 octets), told by explain
	Do   []Step

	// Ported says that a look at ports needs no look at the protocol before: only
	// packets with ports come here, or the protocol is a part of the key too.
	Ported bool
}

// Type is what a part of a key, or the data of a map, is made of.
type Type uint8

// The types. A number is four octets in the machine's order, as marks are; all
// others are in the network's.
const (
	TypeAddr4  Type = iota + 1 // 4 octets
	TypeAddr6                  // 16
	TypePort                   // 2
	TypeProto                  // 1
	TypeNumber                 // 4: a mark, the number of a link, a slot
	TypeName                   // 16: name of an interface, padded with zeroes
	TypeEther                  // 6
)

// Set is a set or, with Data or Verdicts, a map.
type Set struct {
	Name     string
	Key      []Type        // several: a concatenation
	Data     []Type        // of a map; a concatenation where the kernel takes it
	Verdicts bool          // the data is where to go on: [Element.Verdict]
	Interval bool          // keys are ranges that do not overlap; of several types each part is one ([Element.End])
	Counted  bool          // each element counts the packets that find it ([Element.Packets]); not of Dynamic
	Dynamic  bool          // packets write it. Want never flushes it, and knows its elements only as it put them
	Timeout  time.Duration // of Dynamic: how long what packets put lives by default; 0: for ever
	Size     int           // at most so many elements; 0: no bound but the kernel's
	Elements *Elements     // nil: none of ours

	counts bool // rules count connections by its keys, so it has no timeouts
}

// Element of a set or map. Keys of several parts are the octets of the parts,
// each padded with zeroes to a multiple of four ([Key]).
//
// The ranges of a set with keys of several types are boxes: each part of a key
// is from that of Key to that of End. Two that have a point in common are an
// error of the caller's: the kernel does not see all of them, and which of the
// two a packet finds is not said. The later one is left out and told.
//
// An element with a limit, Over or Rate, is found ([In], [Choose], [Lookup])
// only by what is above the limit; for what is not the rule ends, as if the key
// were not there. An In with Not looks at the key alone, and counts nothing. A
// limit that changes is another element: it begins to count anew.
type Element struct {
	Key     []byte
	End     []byte        // of an Interval: the last key of the range, inclusive
	Data    []byte        // of a map
	Verdict Step          // of a verdict map: Jump, Goto, Accept, Drop or Return
	Timeout time.Duration // 0: for ever, or the set's default
	Expires time.Duration // as read: how long it has left
	Over    uint32        // more live connections than so many found it (ct count over); 0: no limit. Its cost grows with them: at most 2000
	Rate    *Rate         // more a second than this found it; nil: no limit. It is not changed afterwards

	// Of a Counted set, as read: what found the element since it is there, or since
	// its key is there if its data has changed.
	Packets, Octets uint64
}

// Rate is how much a second an element lets be: what is above goes on.
type Rate struct {
	PerSecond uint64 // above 0: packets, or new connections where only their first packets come by; or octets of the network layer
	Burst     uint32 // so much at once besides; 0: of packets 5, of octets none (one second's are always)
	Octets    bool
}

// PolicyRule is an entry of the routing policy database, as ip rule shows it.
// Every field but Table may be left out.
type PolicyRule struct {
	Priority int
	IPv6     bool
	Mark     uint32
	Mask     uint32 // of Mark; 0: the mark is not looked at
	From     netip.Prefix
	To       netip.Prefix
	In       string // inbound interface
	Table    int
}

// Route is a route in a table of our own.
type Route struct {
	Table     int
	To        netip.Prefix // 0.0.0.0/0 or ::/0: the default route
	Interface string       // by name: it may come and go
	Via       netip.Addr   // zero: directly
	OnLink    bool
	Source    netip.Addr // preferred
	Metric    int
	Kind      RouteKind
}

// RouteKind is what a route does with packets.
type RouteKind uint8

// The kinds of routes.
const (
	Unicast     RouteKind = iota
	Local                 // to this machine, over loopback
	Unreachable           // answered with an ICMP error
)

// Shaper bounds what flows over an interface, in bits a second.
type Shaper struct {
	Interface string
	In, Out   uint64 // 0: not bounded
}

// Sysctl is a value under /proc/sys/net, named with slashes or dots as
// ipv4/conf/all/rp_filter. It is set only if Repair says so; else that it
// differs is reported.
type Sysctl struct {
	Name   string
	Values []string // any of these will do; the first is set
	Why    string   // what breaks otherwise
	Repair bool
}
