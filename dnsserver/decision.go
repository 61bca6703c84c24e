package dnsserver

import (
	"net/netip"
	"time"

	"github.com/portolan-lb/portolan/pick"
	"github.com/portolan-lb/portolan/status"
)

// client is who a query is answered for: the ECS prefix if the listener uses
// it, else the source address (T7).
type client struct {
	addr   netip.Addr // unmapped; the network address where ecs is true
	bits   int        // how many leading bits of addr are known
	ecs    bool       // addr comes from EDNS Client Subnet
	source netip.Addr // the packet's source, unmapped
}

// question is what one decision may depend on, apart from the compiled tables.
type question struct {
	client client
	rows   *status.Table
	gauges *status.Gauges // nil: no live numbers
	notes  pick.Notes     // of choices that are served
	now    time.Time
	peek   bool   // explain: do not advance the draw number
	trace  *Trace // nil when nobody asks why
}

// decision is what a name answers to one client at one moment. A, AAAA, hints
// and additional addresses are all views of the same decision.
type decision struct {
	rcode int          // dns.RcodeSuccess, or what onDecline or onDown says
	drop  bool         // do not answer at all
	cname string       // canonical target when a CNAME member was chosen; else empty
	v4    []netip.Addr // addresses by family, in answer order
	v6    []netip.Addr
	ttl   uint32 // seconds, also the bound for negative answers
	scope int    // ECS scope in bits for which this distribution holds
	ede   uint16 // extended error code; with text "" and code 0: none
	text  string
	wants bool // the client's network is to be measured, or kept fresh, after the answer
}
