package kernel

import "golang.org/x/sys/unix"

// fieldInfo is how Linux gives a field.
type fieldInfo struct {
	text  string
	width int    // octets
	order bool   // octets are in the network's order, so more and less mean something
	show  format // of a constant beside it

	from   string // the expression: meta, ct, payload, fib
	key    uint32 // of meta, ct; the base of payload; the flag of fib
	offset uint32 // of payload

	family uint8 // only packets of this family have it; 0: all
	layer4 need  // only packets with this have it
}

// need is what must be known of a packet before a field of it means something.
type need uint8

const (
	nothing need = iota
	ports        // a protocol with ports
	tcp
	udp
	ether // came in over Ethernet
)

// linkType is the kind of the inbound interface: a match that others need.
const linkType Field = 200

// Families (NFPROTO_...).
const (
	family4 = 2
	family6 = 10
)

const arphrdEther = 1

var fields = map[Field]fieldInfo{
	Source4:     {text: "ip saddr", width: 4, order: true, show: showAddr, from: "payload", key: unix.NFT_PAYLOAD_NETWORK_HEADER, offset: 12, family: family4},
	Dest4:       {text: "ip daddr", width: 4, order: true, show: showAddr, from: "payload", key: unix.NFT_PAYLOAD_NETWORK_HEADER, offset: 16, family: family4},
	Source6:     {text: "ip6 saddr", width: 16, order: true, show: showAddr, from: "payload", key: unix.NFT_PAYLOAD_NETWORK_HEADER, offset: 8, family: family6},
	Dest6:       {text: "ip6 daddr", width: 16, order: true, show: showAddr, from: "payload", key: unix.NFT_PAYLOAD_NETWORK_HEADER, offset: 24, family: family6},
	SourcePort:  {text: "th sport", width: 2, order: true, show: showPort, from: "payload", key: unix.NFT_PAYLOAD_TRANSPORT_HEADER, offset: 0, layer4: ports},
	DestPort:    {text: "th dport", width: 2, order: true, show: showPort, from: "payload", key: unix.NFT_PAYLOAD_TRANSPORT_HEADER, offset: 2, layer4: ports},
	EtherSource: {text: "ether saddr", width: 6, order: true, show: showEther, from: "payload", key: unix.NFT_PAYLOAD_LL_HEADER, offset: 6, layer4: ether},
	Protocol:    {text: "meta l4proto", width: 1, order: true, show: showProtocol, from: "meta", key: unix.NFT_META_L4PROTO},
	Family:      {text: "meta nfproto", width: 1, order: true, show: showFamily, from: "meta", key: unix.NFT_META_NFPROTO},
	InName:      {text: "iifname", width: 16, show: showName, from: "meta", key: unix.NFT_META_IIFNAME},
	OutName:     {text: "oifname", width: 16, show: showName, from: "meta", key: unix.NFT_META_OIFNAME},
	Mark:        {text: "meta mark", width: 4, show: showNumber, from: "meta", key: unix.NFT_META_MARK},
	CtMark:      {text: "ct mark", width: 4, show: showNumber, from: "ct", key: unix.NFT_CT_MARK},
	CtState:     {text: "ct state", width: 4, show: showState, from: "ct", key: unix.NFT_CT_STATE},
	CtDirection: {text: "ct direction", width: 1, show: showDirection, from: "ct", key: unix.NFT_CT_DIRECTION},
	CtStatus:    {text: "ct status", width: 4, show: showStatus, from: "ct", key: unix.NFT_CT_STATUS},
	DestType:    {text: "fib daddr type", width: 4, show: showAddrType, from: "fib", key: unix.NFTA_FIB_F_DADDR},
	SourceType:  {text: "fib saddr type", width: 4, show: showAddrType, from: "fib", key: unix.NFTA_FIB_F_SADDR},
	TCPFlags:    {text: "tcp flags", width: 1, show: showFlags, from: "payload", key: unix.NFT_PAYLOAD_TRANSPORT_HEADER, offset: 13, layer4: tcp},
	DNSFlags:    {text: "@th,80,8", width: 1, show: showFlags, from: "payload", key: unix.NFT_PAYLOAD_TRANSPORT_HEADER, offset: 10, layer4: udp},
	CtLabel:     {text: "ct label", width: labelWidth, show: showLabel, from: "ct", key: unix.NFT_CT_LABELS},
	Priority:    {text: "meta priority", width: 4, show: showPriority, from: "meta", key: unix.NFT_META_PRIORITY},
	Hops4:       {text: "ip ttl", width: 1, order: true, show: showCount, from: "payload", key: unix.NFT_PAYLOAD_NETWORK_HEADER, offset: 8, family: family4},
	Hops6:       {text: "ip6 hoplimit", width: 1, order: true, show: showCount, from: "payload", key: unix.NFT_PAYLOAD_NETWORK_HEADER, offset: 7, family: family6},
	linkType:    {text: "meta iiftype", width: 2, show: showLinkType, from: "meta", key: unix.NFT_META_IIFTYPE},
}

// typeInfo is what the kernel and nft know of a type.
type typeInfo struct {
	text  string
	width int
	nft   uint32 // nft's number of it, for listings
	order bool
	show  format
}

var types = map[Type]typeInfo{
	TypeAddr4:  {"ipv4_addr", 4, 7, true, showAddr},
	TypeAddr6:  {"ipv6_addr", 16, 8, true, showAddr},
	TypePort:   {"inet_service", 2, 13, true, showPort},
	TypeProto:  {"inet_proto", 1, 12, true, showProtocol},
	TypeNumber: {"mark", 4, 19, false, showNumber},
	TypeName:   {"ifname", 16, 41, false, showName},
	TypeEther:  {"ether_addr", 6, 9, true, showEther},
}

// padded is how much room so many octets take in registers and keys.
func padded(n int) int { return (n + 3) &^ 3 }

// widthOf is the length of a key or of data of these types: as it is if there is
// one, padded if there are several.
func widthOf(list []Type) (n int) {
	if len(list) == 1 {
		return types[list[0]].width
	}
	for _, t := range list {
		n += padded(types[t].width)
	}
	return n
}

// numberOf is nft's number of a concatenation: six bits each.
func numberOf(list []Type) (n uint32) {
	for _, t := range list {
		n = n<<6 | types[t].nft
	}
	return n
}

// typesOf is the other way round; what is no type of ours is left out.
func typesOf(n uint32) (list []Type) {
	for shift := 24; shift >= 0; shift -= 6 {
		for t, info := range types {
			if info.nft == n>>shift&0x3f {
				list = append(list, t)
			}
		}
	}
	return list
}
