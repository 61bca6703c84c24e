package kernel

import (
	"bytes"
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
// them or not. A filter that means everything is refused, before anything is
// done. All sessions of one mark go faster with [Conntrack.DeleteByMark], which
// does not count them.
//
// Filters that the kernel cannot tell apart cost one reading of the table for
// all of them: so the servers of a farm are best ended together.
func (c *Conntrack) End(ctx context.Context, filters ...SessionFilter) (n int, err error) {
	for _, f := range filters {
		if f == (SessionFilter{Limit: f.Limit}) {
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
		bodies, err := c.bodies(ctx, question, same)
		if err != nil {
			return n, err
		}
		for len(bodies) > 0 {
			part := bodies[:min(len(bodies), endsMost)]
			bodies = bodies[len(part):]
			ended, err := c.endAll(part)
			if n += ended; err != nil {
				return n, fmt.Errorf("ending sessions: %w", err)
			}
			if ctx.Err() != nil {
				return n, fmt.Errorf("ending sessions: %w", ctx.Err())
			}
		}
	}
	return n, nil
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
			list = append(list, s.ending())
			break
		}
		return true
	})
	return list, err
}

// ending writes the message that ends a session, and only that.
func (s *Session) ending() []byte {
	b := append([]byte{familyNumber(s.Original.Source.Addr()), 1, 0, 0}, nested(ctaTupleOriginal, s.Original.bytes())...)
	if s.Zone != 0 {
		b = append(b, attribute(ctaZone, big16(s.Zone))...)
	}
	if s.ID != 0 {
		b = append(b, attribute(ctaID, big32(s.ID))...)
	}
	return b
}

// endAll sends messages at once and tells how many of them ended a session. The
// kernel answers those that fail, and the last one.
func (c *Conntrack) endAll(bodies [][]byte) (n int, err error) {
	s := c.socket
	s.mu.Lock()
	defer s.mu.Unlock()
	first := s.seq + 1
	var b []byte
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
		size, from, err := receive(s.conn.Read, s.buf)
		if err != nil {
			return 0, err
		}
		if from != 0 {
			continue // not from the kernel
		}
		for m := range messages(s.buf[:size]) {
			if m.kind != unix.NLMSG_ERROR || m.seq-first >= uint32(len(bodies)) {
				continue // of a question that was given up
			}
			switch failed := verdict(m.body, m.flags); {
			case errors.Is(failed, unix.ENOENT):
				n--
			case failed != nil:
				return n, failed
			}
			if m.seq == s.seq {
				return n, nil
			}
		}
	}
}
