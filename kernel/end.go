package kernel

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

// endsMost is how many sessions are ended by one datagram. For each of them that
// is gone already the kernel answers, and its answers have to find room.
const endsMost = 256

// End ends the sessions that any of the filters means, and tells how many there
// were. Each is ended by its tuple and number, so one that has taken the place of
// another meanwhile lives on. Sessions that begin while it works may be among
// them or not. A filter that means everything is refused before anything is
// done; a session that the kernel does not let go keeps none of the others. All
// sessions of one mark go faster with [Conntrack.DeleteByMark], which does not
// count them.
//
// Filters that the kernel cannot tell apart cost one reading of the table for
// all of them.
func (c *Conntrack) End(ctx context.Context, filters ...SessionFilter) (n int, err error) {
	for _, f := range filters {
		if f.everything() {
			return 0, errors.New("ending sessions: the filter means all of them")
		}
	}
	for len(filters) > 0 {
		var same, rest []SessionFilter
		question := filters[0].header()
		for _, f := range filters {
			if bytes.Equal(f.header(), question) {
				same = append(same, f)
			} else {
				rest = append(rest, f)
			}
		}
		filters = rest
		bodies, failed := c.bodies(ctx, question, same)
		if failed != nil {
			return n, failed
		}
		for len(bodies) > 0 {
			part := bodies[:min(len(bodies), endsMost)]
			bodies = bodies[len(part):]
			ended, failed := c.endAll(part)
			n += ended
			if err = cmp.Or(err, failed); ctx.Err() != nil {
				return n, fmt.Errorf("ending sessions: %w", ctx.Err())
			}
		}
	}
	if err != nil {
		err = fmt.Errorf("ending sessions: %w", err)
	}
	return n, err
}

// bodies reads the table once, and gives a message for the end of each session
// that any of the filters means.
func (c *Conntrack) bodies(ctx context.Context, question []byte, filters []SessionFilter) (list [][]byte, err error) {
	left := make([]int, len(filters))
	for i, f := range filters {
		left[i] = f.Limit
	}
	err = c.read(ctx, question, func(s *Session) bool {
		for i := range filters {
			if f := &filters[i]; f.Limit > 0 && left[i] == 0 || !f.matches(s) {
				continue
			}
			left[i]--
			list = append(list, s.ending(s.tupleRaw))
			break
		}
		return true
	})
	return list, err
}

// ending writes the message that ends a session with an original tuple, and
// only that. It never goes without a tuple, which would mean all sessions.
func (s *Session) ending(tuple []byte) []byte {
	if s.Zone != 0 {
		tuple = s.Original.bytes() // a raw one may have the zone in it, which is told once
	}
	w := wire{b: make([]byte, sizeofNetfilter, len(tuple)+32)}
	w.b[0], w.b[1] = familyNumber(s.Original.Source.Addr()), 1
	w.put(ctaTupleOriginal|unix.NLA_F_NESTED, tuple)
	if s.Zone != 0 {
		w.put(ctaZone, big16(s.Zone))
	}
	if s.ID != 0 {
		w.u32(ctaID, s.ID)
	}
	return w.b
}

// endAll sends messages at once and tells how many of them ended a session, and
// what became of the first that the kernel did not take. It answers those that
// fail, and the last one.
func (c *Conntrack) endAll(bodies [][]byte) (n int, err error) {
	s := c.socket
	s.mu.Lock()
	defer s.mu.Unlock()
	first := s.seq + 1
	b := make([]byte, 0, len(bodies)*(unix.SizeofNlMsghdr+len(bodies[0])+8))
	for i, body := range bodies {
		flags := uint16(unix.NLM_F_REQUEST)
		if i == len(bodies)-1 {
			flags |= unix.NLM_F_ACK
		}
		s.seq++
		b = append(b, message(ctDelete, flags, s.seq, body)...)
	}
	if err := s.send(b); err != nil {
		return 0, err
	}
	n = len(bodies)
	for {
		if err := s.file.SetReadDeadline(time.Now().Add(patience * time.Second)); err != nil {
			return 0, err
		}
		size, from, lost := receive(s.conn.Read, s.buf)
		if lost != nil {
			return 0, lost
		}
		if from != 0 {
			continue // not from the kernel
		}
		for m := range messages(s.buf[:size]) {
			if m.kind != unix.NLMSG_ERROR || m.seq-first >= uint32(len(bodies)) {
				continue // of a question that was given up
			}
			failed := verdict(m.body, m.flags)
			if failed != nil {
				n--
			}
			if !errors.Is(failed, unix.ENOENT) {
				err = cmp.Or(err, failed)
			}
			if m.seq == s.seq {
				return n, err
			}
		}
	}
}
