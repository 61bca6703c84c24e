package kernel

import (
	"errors"
	"fmt"
	"os"
	"sync"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// Reader reads the network namespace of the thread that opened it, whichever
// thread uses it afterwards. Its methods may be called from any goroutine.
type Reader struct {
	sockets map[int]*nl.SocketHandle // for questions, by protocol
	changes *os.File                 // notifications arrive here

	watching sync.Mutex

	mu       sync.Mutex
	noStats  bool   // this kernel has no RTM_GETSTATS: links are asked instead
	ethtool  uint16 // its family of generic netlink; 0: not asked yet
	noSpeeds bool   // this kernel tells no speeds
}

// patience is how long the kernel may take for an answer.
const patience = 5 // seconds

// Open opens a reader of the calling thread's network namespace. Notifications
// are collected from here on, so whoever looks after Open and then watches
// misses nothing. It needs no privileges. The caller closes the reader.
func Open() (*Reader, error) {
	r := &Reader{sockets: map[int]*nl.SocketHandle{}}
	for _, protocol := range []int{unix.NETLINK_ROUTE, unix.NETLINK_GENERIC} {
		s, err := nl.Subscribe(protocol)
		if err != nil {
			r.Close()
			return nil, fmt.Errorf("netlink socket: %w", err)
		}
		limit := unix.Timeval{Sec: patience}
		_ = s.SetSendTimeout(&limit) // they only note the time and return no error
		_ = s.SetReceiveTimeout(&limit)
		r.sockets[protocol] = &nl.SocketHandle{Socket: s}
	}
	var err error
	if r.changes, err = subscribe(); err != nil {
		r.Close()
		return nil, fmt.Errorf("netlink notifications: %w", err)
	}
	return r, nil
}

// Close ends a reader. What still uses it gets errors.
func (r *Reader) Close() {
	for _, s := range r.sockets {
		s.Close()
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
func (r *Reader) dump(protocol int, kind int, body []byte, reply uint16, start func(), f func(b []byte)) error {
	for try := 1; ; try++ {
		start()
		err := r.ask(protocol, kind, unix.NLM_F_DUMP, body, reply, f)
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
func (r *Reader) ask(protocol int, kind, flags int, body []byte, reply uint16, f func(b []byte)) error {
	req := nl.NewNetlinkRequest(kind, flags)
	req.Sockets = r.sockets
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
