package kernel

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// socket is a netlink socket of our own, for what has many messages: it reads
// them where they arrive, without a copy for each.
type socket struct {
	file *os.File
	conn syscall.RawConn

	mu  sync.Mutex // one question at a time
	seq uint32
	buf []byte
}

// socketBuffer holds the largest datagram that the kernel makes of a dump.
const socketBuffer = 1 << 16

// openSocket opens a netlink socket in the calling thread's namespace that hears
// groups (a bit each) and has room for about so many octets, forced if we may.
func openSocket(protocol int, groups uint32, room int) (*socket, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, protocol)
	if err != nil {
		return nil, err
	}
	if unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, room) != nil {
		_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, room) // what the machine allows
	}
	// The kernel's own words beside the number of an error, since Linux 4.12.
	_ = unix.SetsockoptInt(fd, unix.SOL_NETLINK, unix.NETLINK_EXT_ACK, 1)
	_ = unix.SetsockoptInt(fd, unix.SOL_NETLINK, unix.NETLINK_CAP_ACK, 1)
	if err := unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Groups: groups}); err != nil {
		_ = unix.Close(fd) // the other error is told
		return nil, err
	}
	s := &socket{file: os.NewFile(uintptr(fd), "netlink"), buf: make([]byte, socketBuffer)}
	if s.conn, err = s.file.SyscallConn(); err != nil {
		s.close()
		return nil, err
	}
	return s, nil
}

func (s *socket) close() { _ = s.file.Close() } // nothing is buffered

// errInterrupted is what a dump says that changed while it was made.
var errInterrupted = errors.New("the list changed while it was read")

// ask sends one question and gives each answer to f, to the last one: a dump
// that is left in the middle would have the next refused.
func (s *socket) ask(kind uint16, flags uint16, body []byte, f func(kind uint16, body []byte)) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.seq++
	if err := s.send(message(kind, flags|unix.NLM_F_REQUEST, s.seq, body)); err != nil {
		return err
	}
	return s.await(f)
}

// await reads the answers to the last question.
func (s *socket) await(f func(kind uint16, body []byte)) error {
	for interrupted := false; ; {
		if err := s.file.SetReadDeadline(time.Now().Add(patience * time.Second)); err != nil {
			return err
		}
		n, from, err := receive(s.conn.Read, s.buf)
		if err != nil {
			return err
		}
		if from != 0 {
			continue // not from the kernel
		}
		done, cut, err := s.answers(s.buf[:n], f)
		if interrupted = interrupted || cut; done {
			if err == nil && interrupted {
				err = errInterrupted
			}
			return err
		}
	}
}

// answers reads one datagram of answers to the last question.
func (s *socket) answers(b []byte, f func(kind uint16, body []byte)) (done, interrupted bool, err error) {
	for m := range messages(b) {
		if m.seq != s.seq {
			continue // of a question that was given up
		}
		interrupted = interrupted || m.flags&unix.NLM_F_DUMP_INTR != 0
		switch m.kind {
		case unix.NLMSG_DONE, unix.NLMSG_ERROR:
			return true, interrupted, verdict(m.body, m.flags)
		case unix.NLMSG_OVERRUN:
			return true, interrupted, unix.ENOBUFS
		}
		f(m.kind, m.body)
	}
	return false, interrupted, nil
}

func (s *socket) send(b []byte) error {
	var inner error
	err := s.conn.Write(func(fd uintptr) bool {
		inner = unix.Sendto(int(fd), b, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK})
		return inner != unix.EAGAIN
	})
	return cmp.Or(err, inner)
}

// message writes a netlink message.
func message(kind, flags uint16, seq uint32, body []byte) []byte {
	b := make([]byte, unix.SizeofNlMsghdr, unix.SizeofNlMsghdr+len(body))
	native.PutUint32(b, uint32(unix.SizeofNlMsghdr+len(body)))
	native.PutUint16(b[4:], kind)
	native.PutUint16(b[6:], flags)
	native.PutUint32(b[8:], seq)
	return append(b, body...)
}

// received is one netlink message.
type received struct {
	kind, flags uint16
	seq, port   uint32 // port: of whom it answers or tells
	body        []byte
}

// messages yields the messages of a datagram, and ends at the first that is cut
// short.
func messages(b []byte) func(yield func(received) bool) {
	return func(yield func(received) bool) {
		for len(b) >= unix.SizeofNlMsghdr {
			size := int(native.Uint32(b))
			if size < unix.SizeofNlMsghdr || size > len(b) {
				return
			}
			m := received{kind: native.Uint16(b[4:]), flags: native.Uint16(b[6:]), seq: native.Uint32(b[8:]), port: native.Uint32(b[12:]), body: b[unix.SizeofNlMsghdr:size]}
			if !yield(m) {
				return
			}
			b = b[min((size+unix.NLMSG_ALIGNTO-1)&^(unix.NLMSG_ALIGNTO-1), len(b)):]
		}
	}
}

// nlmsgerrMessage is the attribute NLMSGERR_ATTR_MSG: the kernel's own words.
const nlmsgerrMessage = 1

// verdict reads how a question ended: nil, or the error with what the kernel
// says of it.
func verdict(b []byte, flags uint16) error {
	if len(b) < 4 {
		return nil // NLMSG_DONE may have nothing in it
	}
	number := int32(native.Uint32(b))
	if number == 0 {
		return nil
	}
	err := error(unix.Errno(-number))
	if flags&unix.NLM_F_ACK_TLVS == 0 {
		return err
	}
	rest := b[4:]
	if len(rest) >= unix.SizeofNlMsghdr { // the question, or its header alone
		size := unix.SizeofNlMsghdr
		if flags&unix.NLM_F_CAPPED == 0 {
			size = int(native.Uint32(rest))
		}
		rest = rest[min(max(size, unix.SizeofNlMsghdr), len(rest)):]
	}
	for kind, v := range attributes(rest) {
		if kind == nlmsgerrMessage && text(v) != "" {
			return fmt.Errorf("%w (%s)", err, text(v))
		}
	}
	return err
}
