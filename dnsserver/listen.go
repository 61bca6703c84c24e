package dnsserver

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/portolan-lb/portolan/config"
)

// Listen opens all sockets, or none. Every address that fails is named, with
// what to do about it.
func (s *Server) Listen() error {
	var errs []error
	for _, l := range s.opts.Listeners {
		s.opening = l.Address
		found := s.open(l)
		for try := 0; try < portTries && l.Address.Port() == 0 && errors.Join(found...) != nil; try++ {
			found = s.open(l) // the port that UDP was given was not free for TCP
		}
		errs = append(errs, found...)
	}
	err := errors.Join(errs...)
	if err != nil {
		s.close()
		return err
	}
	s.sizeBuffers()
	return nil
}

// portTries bounds the search for a port that is free for both protocols.
const portTries = 20

// open opens the sockets of one listener, or none.
func (s *Server) open(l *config.Listener) (errs []error) {
	udp, tcp := len(s.udp), len(s.tcp)
	addr := l.Address
	if len(l.Protocols) == 0 || slices.Contains(l.Protocols, "udp") {
		bound, err := s.listenUDP(addr)
		errs = append(errs, explainListen("udp", addr, err))
		if addr.Port() == 0 && err == nil {
			addr = bound // both protocols on the port that was given to us
		}
	}
	if len(l.Protocols) == 0 || slices.Contains(l.Protocols, "tcp") {
		errs = append(errs, explainListen("tcp", addr, s.listenTCP(addr)))
	}
	if errors.Join(errs...) != nil {
		for _, u := range s.udp[udp:] {
			u.conn.Close()
		}
		for _, l := range s.tcp[tcp:] {
			l.listener.Close()
		}
		s.udp, s.tcp = s.udp[:udp], s.tcp[:tcp]
	}
	return errs
}

// Addrs gives the addresses that are served, UDP first: for tests and logs,
// where a configured port of 0 has become a real one.
func (s *Server) Addrs() (udp, tcp []netip.AddrPort) {
	for _, u := range s.udp {
		if a := u.conn.LocalAddr().(*net.UDPAddr).AddrPort(); !slices.Contains(udp, a) {
			udp = append(udp, a)
		}
	}
	for _, l := range s.tcp {
		tcp = append(tcp, l.listener.Addr().(*net.TCPAddr).AddrPort())
	}
	return udp, tcp
}

func (s *Server) close() {
	for _, u := range s.udp {
		u.conn.Close()
	}
	for _, l := range s.tcp {
		l.listener.Close()
	}
}

// listenUDP opens the sockets of one address. The kernel spreads clients over
// sockets that share an address, and would share it with another program as
// well: a first socket that does not share finds out whether there is one.
func (s *Server) listenUDP(addr netip.AddrPort) (netip.AddrPort, error) {
	alone, err := bindUDP(addr, false)
	if err != nil {
		return addr, err
	}
	bound := alone.LocalAddr().(*net.UDPAddr).AddrPort()
	bound = netip.AddrPortFrom(addr.Addr(), bound.Port())
	alone.Close()
	for range s.opts.Sockets {
		conn, err := bindUDP(bound, true)
		if err != nil {
			return bound, err
		}
		s.udp = append(s.udp, newUDPSocket(s, conn))
	}
	return bound, nil
}

func bindUDP(addr netip.AddrPort, share bool) (*net.UDPConn, error) {
	lc := net.ListenConfig{Control: func(_, _ string, raw syscall.RawConn) error {
		var err error
		ctl := raw.Control(func(fd uintptr) { err = setUDP(int(fd), addr.Addr(), share) })
		return errors.Join(ctl, err)
	}}
	conn, err := lc.ListenPacket(context.Background(), network("udp", addr), addr.String())
	if err != nil {
		return nil, err
	}
	return conn.(*net.UDPConn), nil
}

// network keeps IPv4 and IPv6 sockets apart: "[::]" beside "0.0.0.0" is then
// two listeners and no conflict.
func network(proto string, addr netip.AddrPort) string {
	if addr.Addr().Unmap().Is4() {
		return proto + "4"
	}
	return proto + "6"
}

// setUDP sets a socket up before it is bound. On a wildcard address the kernel
// tells where a packet was sent to, so that the reply can come from there. No
// answer is sent in fragments, which could be replaced on the way.
func setUDP(fd int, addr netip.Addr, share bool) error {
	var errs []error
	set := func(level, option, value int) {
		errs = append(errs, unix.SetsockoptInt(fd, level, option, value))
	}
	if share {
		set(unix.SOL_SOCKET, unix.SO_REUSEPORT, 1)
	}
	if addr.Unmap().Is4() {
		set(unix.IPPROTO_IP, unix.IP_MTU_DISCOVER, unix.IP_PMTUDISC_PROBE)
	} else {
		set(unix.IPPROTO_IPV6, unix.IPV6_MTU_DISCOVER, unix.IPV6_PMTUDISC_PROBE)
	}
	switch {
	case !addr.IsUnspecified():
	case addr.Is4():
		set(unix.IPPROTO_IP, unix.IP_PKTINFO, 1)
	default:
		set(unix.IPPROTO_IPV6, unix.IPV6_RECVPKTINFO, 1)
	}
	return errors.Join(errs...)
}

func (s *Server) listenTCP(addr netip.AddrPort) error {
	var lc net.ListenConfig
	l, err := lc.Listen(context.Background(), network("tcp", addr), addr.String())
	if err != nil {
		return err
	}
	s.tcp = append(s.tcp, newTCPListener(s, l.(*net.TCPListener)))
	return nil
}

// explainListen says what an operator can do about an address.
func explainListen(proto string, addr netip.AddrPort, err error) error {
	hint := ""
	switch {
	case err == nil:
		return nil
	case errors.Is(err, unix.EACCES):
		hint = "; ports under 1024 need CAP_NET_BIND_SERVICE"
	case errors.Is(err, unix.EADDRINUSE):
		hint = "; another program serves this address"
	case errors.Is(err, unix.EADDRNOTAVAIL):
		hint = "; no interface has this address"
	}
	var op *net.OpError
	if errors.As(err, &op) {
		err = op.Err
	}
	return fmt.Errorf("dns listener %s/%s: %w%s", addr, proto, err, hint)
}
