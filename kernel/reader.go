package kernel

import (
	"errors"
	"fmt"
	"os"
	"sync"
	"sync/atomic"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// Reader reads the network namespace of the thread that opened it, whichever
// thread uses it afterwards. Its methods may be called from any goroutine.
type Reader struct {
	sockets map[int]*nl.SocketHandle // for questions, by protocol
	counts  map[int]*nl.SocketHandle // for counters alone: a router's table of routes takes a second
	changes *os.File                 // notifications arrive here

	watching sync.Mutex

	noStats atomic.Bool // this kernel has no RTM_GETSTATS: links are asked instead

	asking   sync.Mutex // guards the rest
	ethtool  uint16     // its family of generic netlink; 0: not asked yet
	noSpeeds bool       // this kernel tells no speeds
}

// patience is how long the kernel may take for an answer.
const patience = 5 // seconds

// Open opens a reader of the calling thread's network namespace. Notifications
// are collected from here on, so whoever looks after Open and then watches
// misses nothing. It needs no privileges. The caller closes the reader.
func Open() (*Reader, error) {
	r := &Reader{sockets: map[int]*nl.SocketHandle{}, counts: map[int]*nl.SocketHandle{}}
	for _, s := range []struct {
		of       map[int]*nl.SocketHandle
		protocol int
	}{{r.sockets, unix.NETLINK_ROUTE}, {r.sockets, unix.NETLINK_GENERIC}, {r.counts, unix.NETLINK_ROUTE}} {
		handle, err := open(s.protocol)
		if err != nil {
			r.Close()
			return nil, fmt.Errorf("netlink socket: %w", err)
		}
		s.of[s.protocol] = handle
	}
	var err error
	if r.changes, err = subscribe(); err != nil {
		r.Close()
		return nil, fmt.Errorf("netlink notifications: %w", err)
	}
	return r, nil
}

// open opens a socket for questions.
func open(protocol int) (*nl.SocketHandle, error) {
	s, err := nl.Subscribe(protocol)
	if err != nil {
		return nil, err
	}
	limit := unix.Timeval{Sec: patience}
	_ = s.SetSendTimeout(&limit) // they only note the time and return no error
	_ = s.SetReceiveTimeout(&limit)
	return &nl.SocketHandle{Socket: s}, nil
}

// Close ends a reader. What still uses it gets errors.
func (r *Reader) Close() {
	for _, of := range []map[int]*nl.SocketHandle{r.sockets, r.counts} {
		for _, s := range of {
			s.Close()
		}
	}
	if r.changes != nil {
		_ = r.changes.Close() // nothing was written to it
	}
}

// tries is how often a dump is asked for that changes while it is made. What
// the last one says may be inconsistent, but then a notification is on its way.
const tries = 3

// dump asks for a list and gives each of its entries of type reply to f. Before
// each try it calls start.
func dump(sockets map[int]*nl.SocketHandle, protocol, kind int, body []byte, reply uint16, start func(), f func(b []byte)) error {
	for try := 1; ; try++ {
		start()
		err := ask(sockets, protocol, kind, unix.NLM_F_DUMP, body, reply, f)
		switch {
		case err == nil:
			return nil
		case !errors.Is(err, nl.ErrDumpInterrupted):
			return err
		case try == tries:
			return nil
		}
	}
}

// ask sends one question and gives each answer of type reply to f.
func ask(sockets map[int]*nl.SocketHandle, protocol, kind, flags int, body []byte, reply uint16, f func(b []byte)) error {
	req := nl.NewNetlinkRequest(kind, flags)
	req.Sockets = sockets
	req.AddRawData(body)
	return req.ExecuteIter(protocol, reply, func(b []byte) bool {
		f(b)
		return true
	})
}

// attribute writes one attribute.
func attribute(kind uint16, value []byte) []byte {
	size := unix.SizeofRtAttr + len(value)
	b := make([]byte, (size+unix.RTA_ALIGNTO-1)&^(unix.RTA_ALIGNTO-1))
	native.PutUint16(b, uint16(size))
	native.PutUint16(b[2:], kind)
	copy(b[unix.SizeofRtAttr:], value)
	return b
}

func attribute32(kind uint16, value uint32) []byte {
	return attribute(kind, native.AppendUint32(nil, value))
}
