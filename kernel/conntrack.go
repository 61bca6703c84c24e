package kernel

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/netip"

	"golang.org/x/sys/unix"
)

// Conntrack asks for the sessions of the network namespace of the thread that
// opened it, and ends them. Its methods may be called from any goroutine; they
// need CAP_NET_ADMIN.
type Conntrack struct{ socket *socket }

// Messages of the subsystem ctnetlink.
const (
	ctNew      = unix.NFNL_SUBSYS_CTNETLINK << 8
	ctGet      = unix.NFNL_SUBSYS_CTNETLINK<<8 | 1
	ctDelete   = unix.NFNL_SUBSYS_CTNETLINK<<8 | 2
	ctStatsCPU = unix.NFNL_SUBSYS_CTNETLINK<<8 | 4
	ctStats    = unix.NFNL_SUBSYS_CTNETLINK<<8 | 5
)

// OpenConntrack opens the table of sessions. The caller closes it.
func OpenConntrack() (*Conntrack, error) {
	s, err := openSocket(unix.NETLINK_NETFILTER, 0, 1<<20)
	if err != nil {
		return nil, fmt.Errorf("netlink socket: %w", err)
	}
	return &Conntrack{s}, nil
}

// Close ends it. What still uses it gets errors.
func (c *Conntrack) Close() { c.socket.close() }

// SessionFilter says which sessions are meant. What is left out matches all.
type SessionFilter struct {
	Mark, Mask          uint32       // sessions with Mark in the bits of Mask; Mask 0: any mark
	Family              uint8        // unix.AF_INET or AF_INET6; 0: both
	Source, Destination netip.Prefix // of the original direction
	Protocol            uint8        // IANA's number; 0: any
	Port                uint16       // destination's, of the original direction; 0: any

	// Of the reply direction: the server that answers, whatever address it was
	// asked by, and where to, which is the client or the address that SNAT gave it.
	Server     netip.Addr
	ServerPort uint16 // 0: any
	AnswersTo  netip.Addr

	Limit int // at most so many; 0: no bound
}

// everything says whether it means all sessions, or all of a family: nothing in it
// tells one from another.
func (f *SessionFilter) everything() bool {
	return f.Mask == 0 && f.Protocol == 0 && f.Port == 0 && f.ServerPort == 0 && f.Source.Bits() <= 0 && f.Destination.Bits() <= 0 &&
		!f.Server.IsValid() && !f.AnswersTo.IsValid()
}

// matches looks again at what the kernel has looked at already: an old kernel
// gives more than it was asked for.
func (f *SessionFilter) matches(s *Session) bool {
	source, destination := s.Original.Source.Addr(), s.Original.Destination.Addr()
	return s.Mark&f.Mask == f.Mark&f.Mask &&
		(f.Family == 0 || (f.Family == unix.AF_INET6) == source.Is6()) &&
		(!f.Source.IsValid() || f.Source.Contains(source)) &&
		(!f.Destination.IsValid() || f.Destination.Contains(destination)) &&
		(f.Protocol == 0 || f.Protocol == s.Original.Protocol) &&
		(f.Port == 0 || f.Port == s.Original.Destination.Port()) &&
		(!f.Server.IsValid() || f.Server == s.Reply.Source.Addr()) &&
		(f.ServerPort == 0 || f.ServerPort == s.Reply.Source.Port()) &&
		(!f.AnswersTo.IsValid() || f.AnswersTo == s.Reply.Destination.Addr())
}

// header is a struct nfgenmsg with the marks of a filter. Its version is 1: with
// 0 the kernel deletes in all families, whichever is named.
func (f *SessionFilter) header() []byte {
	b := []byte{f.family(), 1, 0, 0}
	if f.Mask != 0 {
		b = append(b, attribute(ctaMark, big32(f.Mark&f.Mask))...)
		b = append(b, attribute(ctaMarkMask, big32(f.Mask))...)
	}
	original, flags := f.original()
	reply, replyFlags := f.reply()
	if flags|replyFlags == 0 {
		return b
	}
	if flags != 0 {
		b = append(b, nested(ctaTupleOriginal, original)...)
	}
	if replyFlags != 0 {
		b = append(b, nested(ctaTupleReply, reply)...)
	}
	return append(b, nested(ctaFilter, append(attribute32(ctaFilterOriginal, flags), attribute32(ctaFilterReply, replyFlags)...))...)
}

// family is the one that is told, or that of the addresses.
func (f *SessionFilter) family() uint8 {
	for _, a := range []netip.Addr{f.Source.Addr(), f.Destination.Addr(), f.Server, f.AnswersTo} {
		if f.Family == 0 && a.IsValid() {
			return familyNumber(a)
		}
	}
	return f.Family
}

// original is what the kernel goes by of the original direction.
//
// Its comparison of IPv6 addresses is the wrong way round: seen up to Linux
// 6.18. So it is not asked for these.
func (f *SessionFilter) original() (tuple []byte, flags uint32) {
	var ip []byte
	if f.family() != unix.AF_INET {
		return nil, 0
	}
	if f.Source.IsSingleIP() && f.Source.Addr().Is4() {
		ip, flags = append(ip, attribute(ctaIP4Source, f.Source.Addr().AsSlice())...), flags|ctaFilterSource
	}
	if f.Destination.IsSingleIP() && f.Destination.Addr().Is4() {
		ip, flags = append(ip, attribute(ctaIP4Destination, f.Destination.Addr().AsSlice())...), flags|ctaFilterDestination
	}
	return nested(ctaTupleIP, ip), flags
}

// reply is the same of the reply direction. Ports go with a protocol that has
// them.
func (f *SessionFilter) reply() (tuple []byte, flags uint32) {
	var ip []byte
	if f.family() == unix.AF_INET && f.Server.Is4() {
		ip, flags = append(ip, attribute(ctaIP4Source, f.Server.AsSlice())...), flags|ctaFilterSource
	}
	if f.family() == unix.AF_INET && f.AnswersTo.Is4() {
		ip, flags = append(ip, attribute(ctaIP4Destination, f.AnswersTo.AsSlice())...), flags|ctaFilterDestination
	}
	if ip != nil {
		tuple = nested(ctaTupleIP, ip)
	}
	if f.ServerPort != 0 && HasPorts(f.Protocol) && f.family() != 0 {
		protocol := append(attribute(ctaProtocolNumber, []byte{f.Protocol}), attribute(ctaSourcePort, big16(f.ServerPort))...)
		tuple, flags = append(tuple, nested(ctaTupleProtocol, protocol)...), flags|ctaFilterProtocol|ctaFilterSourcePort
	}
	return tuple, flags
}

// Sessions gives each session that the filter means to yield, as they are read,
// until yield says false. The kernel sends those of the filter's mark and
// family alone, and (since Linux 5.8) of its addresses that are whole IPv4 ones,
// and of its server's port if the protocol is told. New ones and those that end meanwhile may be among them or not.
// yield must not call c's methods.
func (c *Conntrack) Sessions(ctx context.Context, f SessionFilter, yield func(Session) bool) error {
	n := 0
	return c.read(ctx, f.header(), func(s *Session) bool {
		if !f.matches(s) {
			return true
		}
		s.tupleRaw = nil // it is of the buffer
		n++
		return yield(*s) && n != f.Limit
	})
}

// read gives each session that the kernel sends to a question, until yield says
// false. Its raw tuple is valid in yield alone.
func (c *Conntrack) read(ctx context.Context, question []byte, yield func(*Session) bool) error {
	enough := false
	err := c.socket.ask(ctGet, unix.NLM_F_DUMP, question, func(kind uint16, b []byte) {
		if enough = enough || ctx.Err() != nil; enough || kind != ctNew {
			return
		}
		s, ok := parseSession(b)
		if !ok || s.Status&statusDying != 0 {
			return
		}
		enough = !yield(&s)
	})
	if errors.Is(err, errInterrupted) {
		err = nil
	}
	return wrapped("the table of sessions", cmp.Or(err, ctx.Err()))
}

// Find gives the session that a packet belongs to, by the addresses, protocol
// and ports (of ICMP kind, code and id) that it has when it comes in, in either
// direction. It asks for that one alone, in the default zone.
func (c *Conntrack) Find(t Tuple) (s Session, found bool, err error) {
	f := SessionFilter{Family: familyNumber(t.Source.Addr())}
	question := append(f.header(), nested(ctaTupleOriginal, t.bytes())...)
	err = c.socket.ask(ctGet, unix.NLM_F_ACK, question, func(kind uint16, b []byte) {
		if kind == ctNew && !found {
			s, found = parseSession(b)
			s.tupleRaw = nil // it is of the buffer
		}
	})
	switch {
	case errors.Is(err, unix.ENOENT):
		return Session{}, false, nil
	case err != nil:
		return Session{}, false, fmt.Errorf("session %s to %s: %w", t.Source, t.Destination, err)
	}
	return s, found && s.Status&statusDying == 0, nil
}

func familyNumber(a netip.Addr) uint8 {
	if a.Is6() {
		return unix.AF_INET6
	}
	return unix.AF_INET
}

// DeleteByMark ends the sessions that have mark in the bits of mask, of one
// family or (0) of both, in one question for all of them. It refuses a mask of
// 0, which would mean every session of the machine.
func (c *Conntrack) DeleteByMark(mark, mask uint32, family uint8) error {
	if mask == 0 {
		return errors.New("deleting sessions by mark: a mask of 0 means all of them")
	}
	f := SessionFilter{Mark: mark, Mask: mask, Family: family}
	err := c.socket.ask(ctDelete, unix.NLM_F_ACK, f.header(), func(uint16, []byte) {})
	if err != nil {
		return fmt.Errorf("deleting sessions of mark %#x/%#x: %w", mark, mask, err)
	}
	return nil
}

// Delete ends one session, and only that: if another has taken its place since
// it was read nothing is done. It tells whether there was one to end.
func (c *Conntrack) Delete(s *Session) (bool, error) {
	err := c.socket.ask(ctDelete, unix.NLM_F_ACK, s.ending(s.Original.bytes()), func(uint16, []byte) {})
	switch {
	case errors.Is(err, unix.ENOENT):
		return false, nil
	case err != nil:
		return false, fmt.Errorf("deleting session %s to %s: %w", s.Original.Source, s.Original.Destination, err)
	}
	return true, nil
}

// Tracking is how connection tracking itself is doing.
type Tracking struct {
	Entries, Max uint32 // sessions there are, of this namespace, and how many there may be

	// Since the machine started: entries that could not be inserted, packets
	// dropped for want of room, and sessions thrown out to make room.
	InsertFailed, Drop, EarlyDrop uint64
}

// Attributes of the statistics.
const (
	ctaStatsInsertFailed = 9
	ctaStatsDrop         = 10
	ctaStatsEarlyDrop    = 11

	ctaStatsEntries    = 1
	ctaStatsMaxEntries = 2
)

// Stats reads how connection tracking is doing.
func (c *Conntrack) Stats() (t Tracking, err error) {
	header := []byte{unix.AF_UNSPEC, 0, 0, 0}
	err = c.socket.ask(ctStats, unix.NLM_F_ACK, header, func(_ uint16, b []byte) { t.global(b) })
	if err == nil {
		err = c.socket.ask(ctStatsCPU, unix.NLM_F_DUMP, header, func(_ uint16, b []byte) { t.processor(b) })
	}
	return t, wrapped("the statistics of sessions", err)
}

func (t *Tracking) global(b []byte) {
	for kind, v := range attributes(b[min(sizeofNetfilter, len(b)):]) {
		switch kind {
		case ctaStatsEntries:
			t.Entries = uint32(bigNumber(v))
		case ctaStatsMaxEntries:
			t.Max = uint32(bigNumber(v))
		}
	}
}

// processor adds what one processor has counted.
func (t *Tracking) processor(b []byte) {
	for kind, v := range attributes(b[min(sizeofNetfilter, len(b)):]) {
		switch kind {
		case ctaStatsInsertFailed:
			t.InsertFailed += bigNumber(v)
		case ctaStatsDrop:
			t.Drop += bigNumber(v)
		case ctaStatsEarlyDrop:
			t.EarlyDrop += bigNumber(v)
		}
	}
}

// key tells sessions apart: the kernel's number, and a sum of the
// original tuple for the case that two have the same number.
func (s *Session) key() uint64 {
	sum := uint32(2166136261) // FNV-1a
	for _, c := range s.tupleRaw {
		sum = (sum ^ uint32(c)) * 16777619
	}
	return uint64(s.ID)<<32 | uint64(sum)
}
