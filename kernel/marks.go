package kernel

// The bits of the marks, one registry for the whole product (DESIGN 3). A
// conntrack mark is a connection's for its life, a packet mark a packet's on
// its way through this machine. Whoever writes one writes its own bits alone.
//
//	bits    conntrack mark                       packet mark
//	0-9     link, 1 to 1023; 0: not balanced     the same: the only part that routing looks at
//	10-25   virtual server of slb                -
//	26      came in by a link: keep last hop     -
//	27      placed by persistence                -
//	28      -                                    for the DNS proxy (TPROXY)
//	29-31   the administrator's                  the administrator's
const (
	LinkMask    uint32 = 0x000003ff
	ServerMask  uint32 = 0x03fffc00
	Inbound     uint32 = 1 << 26
	Placed      uint32 = 1 << 27
	Intercepted uint32 = 1 << 28
	OthersMask  uint32 = 0xe0000000

	MaxLink = 1023 // the highest number of a link
)
