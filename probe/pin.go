package probe

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/portolan-lb/portolan/config"
)

// Pin ties sockets to a link, so that what they send leaves by it whatever the
// routing table prefers, and what is learnt is evidence of that link and of no
// other (T52). The zero Pin leaves all to the routing table.
//
//	Source   bind: the packet's source address
//	Device   SO_BINDTODEVICE: the interface, both ways
//	Mark     SO_MARK: for ip rules that choose a table by it
//
// A device has the kernel look up routes of that device alone. Where it finds
// none, Linux takes the target for a neighbour on the device and asks for it by
// ARP, in vain beyond a router: so each link needs a default route of its own,
// be it of a worse metric or in a table that a rule for its mark or source
// address chooses.
type Pin struct {
	Source netip.Addr // the zero Addr leaves it to the kernel
	Device string     // interface name; "": any
	Mark   uint32     // 0: none
}

// Control applies device and mark to a socket that is neither bound nor
// connected yet; the source is bound afterwards, by who opens the socket. It
// fails if the interface is not there, which counts against the link, or if
// this process may not do it, which does not (see [Ours]).
func (p Pin) Control(raw syscall.RawConn) error {
	if p.Device == "" && p.Mark == 0 {
		return nil
	}
	var failed error
	err := raw.Control(func(fd uintptr) { failed = p.Apply(int(fd)) })
	return errors.Join(err, failed)
}

// Apply is Control for who has the descriptor of a socket.
func (p Pin) Apply(fd int) error {
	if p.Mark != 0 {
		err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_MARK, int(p.Mark))
		if errors.Is(err, unix.EPERM) {
			return voidError(fmt.Sprintf("mark %d needs the capability CAP_NET_RAW (CAP_NET_ADMIN before Linux 5.17)", p.Mark))
		}
		if err != nil {
			return fmt.Errorf("mark %d: %w", p.Mark, err)
		}
	}
	if p.Device == "" {
		return nil
	}
	// The kernel would cut a longer name and might find another interface.
	err := error(unix.ENODEV)
	if len(p.Device) < unix.IFNAMSIZ {
		err = unix.BindToDevice(fd, p.Device)
	}
	switch {
	case errors.Is(err, unix.ENODEV):
		return fmt.Errorf("interface %s is not there", p.Device)
	case errors.Is(err, unix.EPERM):
		return voidError("interface " + p.Device + " needs the capability CAP_NET_RAW")
	case err != nil:
		return fmt.Errorf("interface %s: %w", p.Device, err)
	}
	return nil
}

// Dial opens a socket to a target, whose port is not 0, over the link. Networks:
// tcp, udp and raw-tcp (segments with their TCP header; needs CAP_NET_RAW and
// sees all that come from the target's address). What is done with conn fails
// when ctx ends. The caller calls hangUp in the end.
// If control is not nil, it is given the socket after the pin was applied,
// before it is bound and connected.
func (p Pin) Dial(ctx context.Context, network string, target netip.AddrPort, control func(syscall.RawConn) error) (conn net.Conn, hangUp func(), err error) {
	t := p.task(target)
	t.control = control
	return t.dial(ctx, network)
}

// Echo makes one ICMP echo exchange with a target, of either family: one packet
// of 24 octets of payload. It needs CAP_NET_RAW or a group in
// net.ipv4.ping_group_range. Replies to others, and ICMP errors, do not count
// (T53); it waits until ctx ends.
func (p Pin) Echo(ctx context.Context, target netip.Addr) (Reply, error) {
	return p.task(netip.AddrPortFrom(target, 0)).echo(ctx, minEcho)
}

func (p Pin) task(target netip.AddrPort) *Task {
	return &Task{Target: target, Pin: p, Probe: &config.Probe{Kind: "pinned"}}
}

// Ours says whether an error is of this machine (a missing capability, no free
// descriptors) and so says nothing about a target or a link.
func Ours(err error) bool {
	var own voidError
	return errors.As(err, &own) || isOurs(err)
}
