package kernel

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// op is one message of a transaction.
type op struct {
	kind  uint16 // NFT_MSG_...
	flags uint16
	body  []byte
	of    object        // what it is about
	tell  func() string // the same for people
	done  func(handle uint64)
	list  []Element // that it puts or removes
}

// object tells apart what a table has.
type object struct {
	kind string // table, chain, rule, set, elements, object
	name string
	sum  uint64 // of a rule
}

// set gives the name of the set whose elements it is about; empty: of none.
func (o object) set() string {
	if o.kind != "elements" && o.kind != "element" {
		return ""
	}
	name, _, _ := strings.Cut(o.name, "\x00")
	return name
}

// opError is what the kernel says of one message of a transaction.
type opError struct {
	op  *op
	err error
}

func (e opError) Error() string { return fmt.Sprintf("%s: %v", e.op.tell(), e.err) }
func (e opError) Unwrap() error { return e.err }

// errLost is a transaction of which it is not known whether it was made.
var errLost = errors.New("the kernel's answer was lost")

// transact makes changes in one transaction: all of them or none. The errors are
// those of single messages, or one for the whole of it.
//
// The kernel works on a batch within the call that sends it, and puts its
// answers into our queue before that call returns: so what is not there then
// was lost.
func transact(s *socket, ops []*op, fail func([]string) error) (bad []opError, err error) {
	if fail != nil {
		if err := failed(ops, fail); err != nil {
			return nil, err
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	first := s.seq + 1
	batch := s.batch(ops)
	if err := s.send(batch); err != nil {
		return nil, err
	}
	answered := false
	for {
		n, from, err := receiveNow(s)
		if errors.Is(err, unix.EAGAIN) {
			break
		}
		if err != nil {
			return nil, cmp.Or(err, errLost)
		}
		if from != 0 {
			continue
		}
		for m := range messages(s.buf[:n]) {
			at := int(m.seq) - int(first) - 1 // the first is that of the batch
			switch {
			case at < -1 || at >= len(ops):
			case m.kind == unix.NLMSG_ERROR:
				answered = true
				if err := verdict(m.body, m.flags); err != nil && at >= 0 {
					bad = append(bad, opError{ops[at], err})
				} else if err != nil {
					return nil, err
				}
			case m.kind == nft16(unix.NFT_MSG_NEWRULE) && at >= 0 && ops[at].done != nil:
				ops[at].done(bigNumber(attributesOf(m.body)[unix.NFTA_RULE_HANDLE]))
			}
		}
	}
	if !answered {
		return nil, errLost
	}
	return bad, nil
}

func failed(ops []*op, fail func([]string) error) error {
	lines := make([]string, len(ops))
	for i, o := range ops {
		lines[i] = o.tell()
	}
	return fail(lines)
}

// batch writes a transaction. The last message asks for an answer.
func (s *socket) batch(ops []*op) []byte {
	size := 64
	for _, o := range ops {
		size += unix.SizeofNlMsghdr + len(o.body) + 4
	}
	b := make([]byte, 0, size)
	add := func(kind, flags uint16, body []byte) {
		s.seq++
		b = native.AppendUint32(b, uint32(unix.SizeofNlMsghdr+len(body)))
		b = native.AppendUint16(b, kind)
		b = native.AppendUint16(b, flags|unix.NLM_F_REQUEST)
		b = native.AppendUint32(b, s.seq)
		b = native.AppendUint32(b, 0)
		b = append(b, body...)
		for len(b)%unix.NLMSG_ALIGNTO != 0 {
			b = append(b, 0)
		}
	}
	ends := binary.BigEndian.AppendUint16([]byte{0, unix.NFNETLINK_V0}, unix.NFNL_SUBSYS_NFTABLES)
	add(unix.NFNL_MSG_BATCH_BEGIN, 0, ends)
	for i, o := range ops {
		flags := o.flags
		if i == len(ops)-1 {
			flags |= unix.NLM_F_ACK
		}
		add(nft16(o.kind), flags, o.body)
	}
	add(unix.NFNL_MSG_BATCH_END, 0, ends)
	return b
}

// receiveNow reads a datagram that is there already, or says EAGAIN.
func receiveNow(s *socket) (n int, from uint32, err error) {
	var inner error
	err = s.conn.Control(func(fd uintptr) {
		var sender unix.Sockaddr
		n, sender, inner = unix.Recvfrom(int(fd), s.buf, unix.MSG_DONTWAIT)
		if a, ok := sender.(*unix.SockaddrNetlink); ok {
			from = a.Pid
		}
	})
	return n, from, cmp.Or(err, inner)
}

// sendRoom is the largest transaction: the kernel takes one as a whole.
const sendRoom = 64 << 20

// forceSendRoom makes room for large transactions.
func (s *socket) forceSendRoom() error {
	var inner error
	err := s.conn.Control(func(fd uintptr) {
		if inner = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_SNDBUFFORCE, sendRoom); inner != nil {
			inner = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_SNDBUF, sendRoom) // what the machine allows
		}
	})
	return cmp.Or(err, os.NewSyscallError("setsockopt", inner))
}

// port gives the number by which the kernel names us in notifications.
func (s *socket) port() (port uint32, err error) {
	var inner error
	err = s.conn.Control(func(fd uintptr) {
		var a unix.Sockaddr
		if a, inner = unix.Getsockname(int(fd)); inner == nil {
			if n, ok := a.(*unix.SockaddrNetlink); ok {
				port = n.Pid
			}
		}
	})
	return port, cmp.Or(err, inner)
}
