package dnsproxy

import (
	"encoding/binary"

	"github.com/miekg/dns"
)

// maxUDPReply bounds replies to clients whose OPT says that they take more.
const maxUDPReply = 4096

// served says how an answer is given: fresh, or out of the cache.
type served struct {
	age   uint32 // seconds that it was kept
	stale bool   // its time is over (RFC 8767)
	hit   bool   // it comes out of the cache
}

// staleTTL is the TTL of what is given after its time (RFC 8767 4).
const staleTTL = 30

// Extended errors that the proxy itself tells of (RFC 8914 4).
const (
	edeStale    = 3
	edeProhibit = 18
	edeNoReach  = 22
)

// appendReply makes the reply to a client out of an answer: what was packed,
// with the client's id, its letters of the question, its flags, TTLs by age,
// and our own OPT if it sent one. What does not fit is cut at the end of a
// record: addresses that nobody asked for first, and then it is truncated
// (RFC 2181 9). It allocates only if into has no room.
func (q *query) appendReply(into []byte, a *answer, how served) []byte {
	base := len(into)
	errs := a.errs
	if how.stale {
		errs = []extended{{code: edeStale}}
	}
	overhead := 0
	if q.edns {
		overhead = 11
		for _, e := range errs {
			overhead += 6 + len(e.text)
		}
		if overhead > 11 && headerSize+len(q.name)+4+overhead > q.room() {
			errs, overhead = nil, 11
		}
	}
	end, kept, cut := a.fit(q.room()-overhead, headerSize+len(q.name)+4)
	into = append(into, a.wire[:end]...)
	msg := into[base:]
	q.patchHeader(msg, a, how, cut)
	copy(msg[headerSize:], q.name)
	counts := [3]uint16{}
	for _, r := range a.records[:kept] {
		counts[r.section]++
		if how.hit {
			left := uint32(staleTTL)
			if !how.stale {
				left = binary.BigEndian.Uint32(msg[r.ttl:])
				left -= min(left, how.age)
			}
			binary.BigEndian.PutUint32(msg[r.ttl:], left)
		}
	}
	for i, n := range counts {
		binary.BigEndian.PutUint16(msg[6+2*i:], n)
	}
	if q.edns {
		binary.BigEndian.PutUint16(msg[10:], counts[2]+1)
		into = q.appendOPT(into, a.rcode&rcodeMask, errs)
	}
	return into
}

func (q *query) patchHeader(msg []byte, a *answer, how served, cut bool) {
	binary.BigEndian.PutUint16(msg, q.id)
	flags := binary.BigEndian.Uint16(msg[2:])&(flagAA|flagRA|flagAD) | flagQR | q.flags&(flagRD|flagCD)
	if a.rcode <= rcodeMask {
		flags |= uint16(a.rcode)
	} else {
		flags |= dns.RcodeServerFailure // an extended rcode was between the server and us
	}
	if how.hit {
		flags &^= flagAA
	}
	if !q.wantsAD() {
		flags &^= flagAD
	}
	if cut {
		flags |= flagTC
	}
	binary.BigEndian.PutUint16(msg[2:], flags)
}

// fit gives how much of the answer goes into room, how many of its records
// that is, and whether any that the client asked for is not among them.
func (a *answer) fit(room, question int) (end, kept int, cut bool) {
	if len(a.wire) <= room {
		return len(a.wire), len(a.records), false
	}
	end = question
	for i, r := range a.records {
		if r.end > room {
			return end, i, r.section < 2
		}
		end = r.end
	}
	return end, len(a.records), false
}
