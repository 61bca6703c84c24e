package dnsserver

import (
	"encoding/binary"
	"math"
	"time"

	"github.com/miekg/dns"
)

// keepalive is the edns-tcp-keepalive option of a query (RFC 7828).
type keepalive struct {
	asked bool
	bad   bool          // with data, which no client may send (3.2.1): FORMERR over TCP
	idle  time.Duration // what there is to say: the idle time of this connection, as it is now
}

// keep notes the idle time for a query over TCP that asks for it. Over UDP the
// option is ignored (RFC 7828 3.3.1).
func (h *handler) keep(q *query) {
	k := &q.edns.keepalive
	if !h.tcp {
		*k = keepalive{}
	}
	if k.asked {
		k.idle = h.server.conns.patience(h.server.limits())
	}
}

// option gives the option for the reply, or nil: the time in tenths of a
// second (RFC 7828 3.1, 3.4).
func (k *keepalive) option() dns.EDNS0 {
	if !k.asked || k.bad {
		return nil
	}
	tenths := min(k.idle/(100*time.Millisecond), math.MaxUint16)
	return &dns.EDNS0_LOCAL{Code: dns.EDNS0TCPKEEPALIVE, Data: binary.BigEndian.AppendUint16(nil, uint16(tenths))}
}
