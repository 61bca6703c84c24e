package kernel

// Value is something of a packet or made from it. The types of this file are
// all there are: each is written as text (golden tests, portolan kernel show),
// loaded into registers of nftables, and evaluated by the interpreter.
type Value interface{ value() }

// Field is a part of a packet, or what Linux knows of it.
type Field uint8

// The fields. Those of one family or protocol do not match packets of another.
const (
	Source4     Field = iota + 1 // ip saddr
	Dest4                        // ip daddr
	Source6                      // ip6 saddr
	Dest6                        // ip6 daddr
	SourcePort                   // th sport: TCP, UDP, SCTP, DCCP, UDP-Lite
	DestPort                     // th dport
	EtherSource                  // ether saddr
	Protocol                     // meta l4proto, 1 octet
	Family                       // meta nfproto, 1 octet: 2 IPv4, 10 IPv6
	InName                       // iifname
	OutName                      // oifname
	Mark                         // the packet mark
	CtMark                       // the conntrack mark
	CtState                      // bits: CtInvalid, CtEstablished, CtRelated, CtNew
	CtDirection                  // 1 octet: 0 original, 1 reply
	CtStatus                     // bits: 1 expected ...
	DestType                     // fib daddr type: 1 unicast, 2 local, 3 broadcast, 5 multicast
	SourceType                   // fib saddr type
	TCPFlags                     // 1 octet
	CtLabel                      // the conntrack label, 16 octets
	DNSFlags                     // of a DNS message over UDP: its third octet, 1 octet: QR, opcode, AA, TC, RD
	Priority                     // meta priority: skb->priority, a number that goes with the packet from rule to rule ([SetPriority])
	Hops4                        // ip ttl: how many more machines may forward the packet, and this one
	Hops6                        // ip6 hoplimit
)

// Bits of CtState, and values of other fields.
const (
	CtInvalid     uint32 = 1
	CtEstablished uint32 = 2
	CtRelated     uint32 = 4
	CtNew         uint32 = 8

	AddrUnicast   uint32 = 1
	AddrLocal     uint32 = 2
	AddrBroadcast uint32 = 3
	AddrMulticast uint32 = 5
)

// Masked is a value and a mask of its length.
type Masked struct {
	Of   Value
	Mask []byte
}

// Shifted is a number shifted to the right.
type Shifted struct {
	Of   Value
	Bits uint32
}

// Join is a concatenation: the key of a set with several types.
type Join []Value

// Turn is the next number, 0 to Of-1, of a counter of the rule's own.
type Turn struct{ Of uint32 }

// Lot is a random number, 0 to Of-1.
type Lot struct{ Of uint32 }

// Hash is a hash of a value, 0 to Mod-1.
type Hash struct {
	Of   Value
	Mod  uint32
	Seed uint32
}

// Lookup is what a map has for a key. Without an element the rule ends.
type Lookup struct {
	Key Value
	Map string
}

// Const is octets as they are, in the order of their type.
type Const []byte

func (Field) value()   {}
func (Masked) value()  {}
func (Shifted) value() {}
func (Join) value()    {}
func (Turn) value()    {}
func (Lot) value()     {}
func (Hash) value()    {}
func (Lookup) value()  {}
func (Const) value()   {}
