package kernel

// The bits of the marks, one registry for the whole product (DESIGN 3). A
// conntrack mark is a connection's for its life, a packet mark a packet's on
// its way through this machine. Whoever writes one writes its own bits alone.
//
//	bits    conntrack mark                       packet mark
//	0-9     link, 1 to 1023; 0: not balanced     the same: the only part that routing looks at
//	10-25   virtual server of slb                10-25: types of service wished, until the connection is placed
//	26      came in by a link: keep last hop     -
//	27      placed by persistence                -
//	28      its group ends it if the link fails  for the DNS proxy (TPROXY)
//	29-31   the administrator's                  the administrator's
const (
	LinkMask    uint32 = 0x000003ff
	ServerMask  uint32 = 0x03fffc00
	Inbound     uint32 = 1 << 26
	Placed      uint32 = 1 << 27
	Intercepted uint32 = 1 << 28 // of packets
	EndsWith    uint32 = 1 << 28 // of connections
	OthersMask  uint32 = 0xe0000000

	MaxLink = 1023 // the highest number of a link

	WishedMask       uint32 = 0x0003fc00 // of the packet mark: what the action wishes ([Wished])
	ServerWishedMask uint32 = 0x03fc0000 // what its virtual server wishes
)

// The bits of the conntrack label, 128 of them. They are a connection's for its
// life: they can be set, never cleared.
//
//	0-119    the administrator's
//	120-127  type of service that its packets get: 120 says that there is one,
//	         122-127 are the six bits of the DS field (RFC 2474 section 3)
//
// Numbered so on machines that have the least octet first.
const labelWidth = 16

// ServiceLabel gives the label of a connection whose packets get a type of
// service.
func ServiceLabel(tos uint8) []byte {
	label := make([]byte, labelWidth)
	label[labelWidth-1] = Wished(tos)
	return label
}

// ServiceMask is the bits of a label that [ServiceLabel] owns.
func ServiceMask() []byte {
	mask := make([]byte, labelWidth)
	mask[labelWidth-1] = 0xff
	return mask
}

// Wished tells a type of service from none at all: its last two bits are those
// of ECN, of which the lowest is ours.
func Wished(tos uint8) uint8 { return tos | 1 }
