package kernel

import (
	"net/netip"
	"time"
)

// Step is one thing that a rule does. The types of this file are all there are.
type Step interface{ step() }

// Is goes on if a value compares so with constant octets.
type Is struct {
	Of Value
	Op Op // default Equal
	To []byte
}

// Op is a comparison.
type Op uint8

// The comparisons. Those of order are of octets, so of network order.
const (
	Equal Op = iota
	NotEqual
	Less
	Greater
	AtMost
	AtLeast
)

// Within goes on if a value is From to To, both included; octets are compared.
type Within struct {
	Of       Value
	From, To []byte
}

// In goes on if a set has the value, or with Not if it has not. A Key of a map
// may be asked for too.
type In struct {
	Key Value
	Set string
	Not bool
}

// Choose goes on where a verdict map says. Without an element the rule ends.
type Choose struct {
	Key Value
	Map string
}

// SetMark writes the bits of Mask of the packet mark, SetCtMark of the
// conntrack mark; other bits stay.
type (
	SetMark   struct{ Mask, Bits uint32 }
	SetCtMark struct{ Mask, Bits uint32 }
)

// SetCtLabel adds bits to the conntrack label, 16 octets: none can be taken away
// again. A connection that began before any rule of the machine did so has no
// label, and gets none.
type SetCtLabel struct{ Bits []byte }

// CopyMark makes the packet mark a value, whole: only where it is known to be 0.
type CopyMark struct{ From Value }

// SetPriority makes the priority of the packet (skb->priority, the class of
// queueing disciplines) a number, whole. It is the one place for a number
// between two rules that is no mark of anybody's; it holds within one hook, as Linux
// writes it anew when it forwards an IPv4 packet. Who uses it so writes 0 before the
// packet goes its way; [DNAT] does.
type SetPriority struct{ From Value }

// CopyCtMark makes the conntrack mark a value, whole: only where it is known to
// be 0. A packet that conntrack does not track goes on.
type CopyCtMark struct{ From Value }

// Change writes a set or map from the packet path. Put leaves what is there
// but renews its time; so a stale value must be removed first. In a full set
// the rule ends.
type Change struct {
	How     How
	Set     string
	Key     Value
	Data    Value         // of a map
	Timeout time.Duration // 0: the set's
	Over    uint32        // of a set: go on only if more connections than so many share the key (ct count over)
}

// How a set is changed.
type How uint8

// The changes.
const (
	Put How = iota // update
	Add            // add: does not renew
	Remove
)

// CountOver goes on if more than so many connections that came to this rule
// live. Its cost grows with them: for small limits only (at most 2000).
type CountOver struct{ Connections uint32 }

// RateOver goes on for what is above a rate of packets, or new connections if
// it stands behind a match of CtNew.
type RateOver struct {
	PerSecond uint64
	Burst     uint32
}

// Count counts packets and octets in a named counter of the table.
type Count struct{ Name string }

// Where to go on. Jump comes back where its chain ends or says Return.
type (
	Jump   struct{ Chain string }
	Goto   struct{ Chain string }
	Accept struct{}
	Drop   struct{}
	Return struct{}
)

// Reject answers and drops.
type Reject struct{ With RejectWith }

// RejectWith is an answer.
type RejectWith uint8

// The answers.
const (
	AdminProhibited RejectWith = iota // ICMP or ICMPv6, by family
	TCPReset
	HostUnreachable
	PortUnreachable // nobody is there
)

// TProxy gives the packet to a transparent socket of this machine on a port. If
// there is none the rule ends, so that a dead proxy is a way through.
type TProxy struct {
	IPv6 bool
	Port uint16
}

// Masquerade gives the connection the address of the interface it leaves by.
type Masquerade struct{}

// SNAT gives the connection a source address, one of From to To: of a range a
// client has always the same.
type SNAT struct{ From, To netip.Addr }

// DNAT gives the connection another destination, and ends the rule with accept:
// in chains of type nat with hook prerouting or output. To is an address, with
// Port an address and a port ([Join], or the data of a map of both). The rule
// writes priority 0 to the packet ([SetPriority]) after To is known and
// before the address is written, so that To may come by the priority and
// nothing of it is left.
type DNAT struct {
	IPv6 bool
	To   Value
	Port bool
}

// SNATTo gives the connection a source address as [SNAT] does, by a value: the
// first and the last address of a range, and with Ports the first and the last
// port; without Ports it is of any protocol. A client has always the same address of a
// range.
type SNATTo struct {
	IPv6  bool
	To    Value // address . address, or address . address . port . port
	Ports bool  // of To are used; else they are passed over
}

// Assist gives a new connection a conntrack helper of the table.
type Assist struct{ Helper string }

// SetTOS writes the DS field of the packet's header (FAQ 1.1.5).
type SetTOS struct {
	IPv6 bool
	TOS  uint8
}

// Dup sends a copy of the packet to the neighbour that an address belongs to, or
// the next hop towards it; the packet itself goes on, so [Drop] stands behind
// it. Addresses and ports stay: only the Ethernet address is another, the hop
// limit is one less, and IPv4 gets DF set; its priority is 0 ([DNAT]). The copy is
// not tracked and meets the hooks output and postrouting. It is for tables of
// family IPv4 and IPv6 alone.
//
// A packet of several fragments is put together before, and taken apart again,
// if anything in the namespace tracks connections; if nothing does only its
// first fragment has ports.
type Dup struct {
	IPv6 bool
	To   Value // an address
}

// NoTrack keeps the packet out of connection tracking. It is for chains before
// it: hooks prerouting and output, with a priority below -200.
type NoTrack struct{}

func (Dup) step()         {}
func (NoTrack) step()     {}
func (Is) step()          {}
func (Within) step()      {}
func (In) step()          {}
func (Choose) step()      {}
func (SetMark) step()     {}
func (SetCtMark) step()   {}
func (SetCtLabel) step()  {}
func (CopyMark) step()    {}
func (SetPriority) step() {}
func (CopyCtMark) step()  {}
func (DNAT) step()        {}
func (SNATTo) step()      {}
func (Change) step()      {}
func (CountOver) step()   {}
func (RateOver) step()    {}
func (Count) step()       {}
func (Jump) step()        {}
func (Goto) step()        {}
func (Accept) step()      {}
func (Drop) step()        {}
func (Return) step()      {}
func (Reject) step()      {}
func (TProxy) step()      {}
func (Masquerade) step()  {}
func (SNAT) step()        {}
func (Assist) step()      {}
func (SetTOS) step()      {}
