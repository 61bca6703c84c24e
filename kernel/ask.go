package kernel

import (
	"errors"
	"fmt"
	"net/netip"
	"sync"

	"golang.org/x/sys/unix"
)

// AskedAt is where a question goes, by UDP: the port discard (RFC 863) of this
// machine itself.
func AskedAt() netip.AddrPort { return netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), 9) }

// asker asks rules about numbers. Whatever stands in Linux between two packets,
// as a list of live connections, only rules see, and only while they look at a
// packet; so we send them one. It has no content and never leaves.
type asker struct {
	mu sync.Mutex
	fd int
}

func openAsker() (*asker, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.IPPROTO_UDP)
	if err != nil {
		return nil, err
	}
	return &asker{fd: fd}, nil
}

func (a *asker) close() { _ = unix.Close(a.fd) } // nothing is buffered

// Ask sends a packet for each number, which has it as its priority (skb->priority)
// where this machine's own packets leave it. The rules that know such packets drop
// them, and what they found stands in the sets that they write. Numbers above 6 need
// CAP_NET_ADMIN.
func (k *Kernel) Ask(numbers ...uint32) error {
	k.asker.mu.Lock()
	defer k.asker.mu.Unlock()
	at := AskedAt()
	to := &unix.SockaddrInet4{Port: int(at.Port()), Addr: at.Addr().As4()}
	for _, n := range numbers {
		if err := unix.SetsockoptInt(k.asker.fd, unix.SOL_SOCKET, unix.SO_PRIORITY, int(int32(n))); err != nil {
			return fmt.Errorf("asking for %#x: %w", n, err)
		}
		err := unix.Sendto(k.asker.fd, nil, 0, to)
		if err != nil && !errors.Is(err, unix.EPERM) { // it was dropped, as it is to be
			return fmt.Errorf("asking for %#x: %w", n, err)
		}
	}
	return nil
}
