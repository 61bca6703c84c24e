package dnsproxy

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"
)

// dialUDP opens a socket: its port is the kernel's random choice, and being
// connected it takes nothing but what comes from that address and port. Package
// net's cost far more, and one is opened every few queries.
func dialUDP(w way) (*os.File, error) {
	family := unix.AF_INET
	if w.to.Addr().Is6() {
		family = unix.AF_INET6
	}
	fd, err := unix.Socket(family, unix.SOCK_DGRAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("socket: %w", err)
	}
	if err := prepare(fd, family, w); err != nil {
		unix.Close(fd)
		return nil, err
	}
	return os.NewFile(uintptr(fd), "dns"), nil
}

// prepare pins, binds and connects a socket.
func prepare(fd, family int, w way) error {
	if err := w.pin.Apply(fd); err != nil {
		return err
	}
	if w.pin.Source.IsValid() {
		if err := unix.Bind(fd, sockaddr(netip.AddrPortFrom(w.pin.Source, 0))); err != nil {
			return fmt.Errorf("source %s: %w", w.pin.Source, err)
		}
	}
	// A path that carries less would have answers cut in pieces on the way to
	// us; forged news of such a path must not cut our queries.
	if family == unix.AF_INET {
		_ = unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_MTU_DISCOVER, unix.IP_PMTUDISC_INTERFACE)
	}
	if err := unix.Connect(fd, sockaddr(w.to)); err != nil {
		return fmt.Errorf("connect: %w", err)
	}
	return nil
}

// sockaddr is an address as the kernel takes it; a zone is the name or the
// number of an interface.
func sockaddr(a netip.AddrPort) unix.Sockaddr {
	if addr := a.Addr().Unmap(); addr.Is4() {
		return &unix.SockaddrInet4{Port: int(a.Port()), Addr: addr.As4()}
	}
	return &unix.SockaddrInet6{Port: int(a.Port()), Addr: a.Addr().As16(), ZoneId: zoneID(a.Addr().Zone())}
}

// dialTCP opens a connection over a link. It gives up when ctx ends.
func dialTCP(ctx context.Context, w way) (net.Conn, error) {
	d := net.Dialer{Control: func(_, _ string, raw syscall.RawConn) error { return w.pin.Control(raw) }}
	if w.pin.Source.IsValid() {
		d.LocalAddr = net.TCPAddrFromAddrPort(netip.AddrPortFrom(w.pin.Source, 0))
	}
	conn, err := d.DialContext(ctx, "tcp", w.to.String())
	if err != nil {
		return nil, fmt.Errorf("tcp: %w", err)
	}
	return conn, nil
}

// zoneID is the number of the interface that a zone names; 0: none.
func zoneID(zone string) uint32 {
	if zone == "" {
		return 0
	}
	if n, err := strconv.ParseUint(zone, 10, 32); err == nil {
		return uint32(n)
	}
	ifi, err := net.InterfaceByName(zone)
	if err != nil {
		return 0 // the kernel then says that it knows no way
	}
	return uint32(ifi.Index)
}
