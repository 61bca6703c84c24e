package dnsserver

import (
	"encoding/binary"
	"sort"

	"github.com/miekg/dns"
)

// pack puts a reply into buf, within the size that the client takes, and gives
// the part of buf used. Buf must have room for q.limit octets.
func (q *query) pack(buf []byte) ([]byte, error) {
	out, err := q.packPlain(buf)
	if err == nil && q.pads() {
		q.pad(len(out))
		out, err = q.reply.PackBuffer(buf)
	}
	return out, err
}

func (q *query) packPlain(buf []byte) ([]byte, error) {
	// Nearly every reply fits: to pack it is how to find out at least cost.
	if out, err := q.reply.PackBuffer(buf); err == nil && len(out) <= q.limit {
		return out, nil
	}
	q.fit()
	out, err := q.reply.PackBuffer(buf)
	if err == nil && len(out) > q.limit {
		err = errTooLarge
	}
	return out, err
}

const errTooLarge = constError("reply is larger than the client takes")

type constError string

func (e constError) Error() string { return string(e) }

// room says whether a set may yet fit into the reply, and takes its place.
func (q *query) room(set *rrset) bool {
	q.least += int(set.least)
	return q.least <= q.limit
}

// fit makes the reply as small as q.limit demands:
//
//	what is over                     what happens
//	the extended error               it goes, TC (RFC 8914 3)
//	addresses that only help         the last ones go, no TC (RFC 2181 9)
//	the zone's servers in an answer  they go with their addresses, no TC
//	glue in the zone delegated       the last ones go, TC (RFC 9471 3.1)
//	the answer itself                everything goes, TC: ask over TCP
func (q *query) fit() {
	m := q.reply
	if m.Len() <= q.limit {
		return
	}
	if q.dropError(); m.Len() <= q.limit {
		return
	}
	extra, opt := q.splitExtra()
	keep := q.howMany(extra, opt)
	if keep < 0 && q.servers > 0 {
		m.Ns, extra = nil, extra[:q.spare]
		keep = q.howMany(extra, opt)
	}
	switch {
	case keep >= q.glue && keep >= 0:
	case keep >= 0:
		m.Truncated = true
	default:
		m.Truncated = true
		m.Answer, m.Ns, keep = nil, nil, 0
	}
	m.Extra = append(extra[:keep:keep], opt...)
}

// splitExtra takes the OPT record from the end of the additional section.
func (q *query) splitExtra() (extra, opt []dns.RR) {
	extra = q.reply.Extra
	if q.edns.present {
		return extra[:len(extra)-1], extra[len(extra)-1:]
	}
	return extra, nil
}

// howMany gives how many of the additional records fit, whole sets only, or -1
// if not even none does.
func (q *query) howMany(extra, opt []dns.RR) int {
	size := func(n int) int {
		q.reply.Extra = append(extra[:n:n], opt...)
		return q.reply.Len()
	}
	fits := sort.Search(len(extra)+1, func(n int) bool { return size(n) > q.limit }) - 1
	for fits > 0 && fits < len(extra) && sameSet(extra[fits-1], extra[fits]) {
		fits--
	}
	return fits
}

func sameSet(a, b dns.RR) bool {
	return a.Header().Rrtype == b.Header().Rrtype && a.Header().Name == b.Header().Name
}

// shorten cuts a packed reply down to what says "ask over TCP": header,
// question and OPT. It works within reply, and gives the part of it used.
func shorten(reply []byte) []byte {
	off := headerSize
	if binary.BigEndian.Uint16(reply[4:]) == 1 {
		off = skipName(reply, off) + 4
	}
	records := 0
	for at := 6; at < headerSize; at += 2 {
		records += int(binary.BigEndian.Uint16(reply[at:]))
	}
	out := reply[:off]
	clear(reply[6:headerSize])
	reply[2] |= 0x02 // TC
	for range records {
		r, ok := cutRecord(reply, off)
		if !ok {
			break
		}
		if r.isOPT() { // its owner is the root: nothing in it points elsewhere
			reply[11] = 1
			return append(out, reply[off:r.end]...)
		}
		off = r.end
	}
	return out
}

// lastWord makes a bare reply to a message from the network: its header and,
// if it can be found, its question. It is what is left when making a real
// reply went wrong, so it uses nothing that may have gone wrong. The message
// has a header, and buf has room for 512 octets.
func lastWord(msg, buf []byte, rcode int) []byte {
	out := buf[:headerSize]
	clear(out)
	copy(out, msg[:2])
	out[2] = 0x80 | msg[2]&0x79 // QR; opcode and RD of the query
	out[3] = byte(rcode & 0xf)
	if binary.BigEndian.Uint16(msg[4:]) != 1 {
		return out
	}
	end := headerSize
	for end < len(msg) && msg[end] > 0 && msg[end] < 64 && end < headerSize+maxName {
		end += 1 + int(msg[end])
	}
	if end += 5; end <= len(msg) && msg[end-5] == 0 {
		out[5] = 1
		out = append(out, msg[headerSize:end]...)
	}
	return out
}
