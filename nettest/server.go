package nettest

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// Serve runs servers on ports of every address of a namespace, TCP and UDP,
// IPv4 and IPv6, until the test ends. They tell a client which source they see:
//
//	TCP  the source, as a line, on accept and after each line; "send N" sends N
//	     octets first, "take N" reads N octets first
//	UDP  each datagram is answered by its source, a blank, and itself; one that
//	     begins with "!" is counted and not answered
func Serve(t testing.TB, s *Space, ports ...uint16) *Servers {
	t.Helper()
	all := &Servers{seen: map[netip.Addr]int{}}
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	t.Cleanup(func() { cancel(); wg.Wait() })
	for _, port := range ports {
		for _, network := range []string{"4", "6"} {
			l, u, err := listen(ctx, s, network, port)
			if err != nil {
				t.Fatal(err)
			}
			context.AfterFunc(ctx, func() { _ = errors.Join(l.Close(), u.Close()) })
			wg.Go(func() { serveTCP(ctx, l) })
			wg.Go(func() { all.serveUDP(u, network == "4") })
		}
	}
	return all
}

// Servers are the servers of a namespace, and what they saw.
type Servers struct {
	mu   sync.Mutex
	seen map[netip.Addr]int // datagrams that are not answered, by source
}

// Seen gives the datagrams that are not answered, by source, and forgets them.
func (s *Servers) Seen() map[netip.Addr]int {
	s.mu.Lock()
	defer s.mu.Unlock()
	was := s.seen
	s.seen = map[netip.Addr]int{}
	return was
}

func listen(ctx context.Context, s *Space, network string, port uint16) (l net.Listener, u *net.UDPConn, err error) {
	c := net.ListenConfig{Control: tellsDestination}
	c.SetMultipathTCP(false)
	at := ":" + strconv.Itoa(int(port))
	s.Do(func() {
		if l, err = c.Listen(ctx, "tcp"+network, at); err != nil {
			return
		}
		var p net.PacketConn
		if p, err = c.ListenPacket(ctx, "udp"+network, at); err == nil {
			u = p.(*net.UDPConn)
			err = u.SetReadBuffer(4 << 20)
		}
	})
	return l, u, err
}

// tellsDestination makes a socket for datagrams tell which address each came to.
func tellsDestination(network, _ string, c syscall.RawConn) (err error) {
	control := c.Control(func(fd uintptr) {
		switch network {
		case "udp4":
			err = unix.SetsockoptInt(int(fd), unix.IPPROTO_IP, unix.IP_PKTINFO, 1)
		case "udp6":
			err = unix.SetsockoptInt(int(fd), unix.IPPROTO_IPV6, unix.IPV6_RECVPKTINFO, 1)
		}
	})
	return errors.Join(control, err)
}

func serveTCP(ctx context.Context, l net.Listener) {
	var wg sync.WaitGroup
	defer wg.Wait()
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		wg.Go(func() {
			stop := context.AfterFunc(ctx, func() { _ = c.Close() })
			defer stop()
			defer c.Close()
			_ = converse(c) // it ends when the client has gone
		})
	}
}

func converse(c net.Conn) error {
	in := bufio.NewReader(c)
	for {
		if _, err := fmt.Fprintln(c, c.RemoteAddr()); err != nil {
			return err
		}
		line, err := in.ReadString('\n')
		if err != nil {
			return err
		}
		word, amount, _ := strings.Cut(strings.TrimSpace(line), " ")
		n, _ := strconv.ParseInt(amount, 10, 64) // of other lines nothing is wanted
		switch word {
		case "send":
			_, err = io.CopyN(c, zeroes{}, n)
		case "take":
			_, err = io.CopyN(io.Discard, in, n)
		}
		if err != nil {
			return err
		}
	}
}

// zeroes is as many octets as one likes.
type zeroes struct{}

func (zeroes) Read(p []byte) (int, error) { clear(p); return len(p), nil }

func (s *Servers) serveUDP(u *net.UDPConn, four bool) {
	buf, oob := make([]byte, 1<<16), make([]byte, 256)
	for {
		n, m, _, from, err := u.ReadMsgUDPAddrPort(buf, oob)
		switch {
		case errors.Is(err, net.ErrClosed):
			return
		case err != nil:
			continue // an ICMP error about an answer
		}
		if n > 0 && buf[0] == '!' {
			s.mu.Lock()
			s.seen[from.Addr().Unmap()]++
			s.mu.Unlock()
			continue
		}
		answer := append([]byte(netip.AddrPortFrom(from.Addr().Unmap(), from.Port()).String()+" "), buf[:n]...)
		_, _, _ = u.WriteMsgUDPAddrPort(answer, anyInterface(oob[:m], four), from)
	}
}

// anyInterface takes the interface out of what came with a datagram, so that
// the answer has the asked address and its way by the routes.
func anyInterface(oob []byte, four bool) []byte {
	at := unix.CmsgSpace(0)
	if !four {
		at += 16
	}
	if len(oob) >= at+4 {
		clear(oob[at : at+4])
	}
	return oob
}

// Session is a TCP connection, or a flow of datagrams, with a server of Serve.
type Session struct {
	net.Conn
	in  *bufio.Reader // TCP
	n   int
	buf []byte
}

// Patience is how long a client waits for one answer.
const Patience = 5 * time.Second

// TCP connects to a server and gives the source that it saw.
func TCP(s *Space, from netip.Addr, to netip.AddrPort) (*Session, netip.AddrPort, error) {
	c, err := dial(s, "tcp", from, to)
	if err != nil {
		return nil, netip.AddrPort{}, err
	}
	_ = c.(*net.TCPConn).SetLinger(0) // so that none is left in TIME_WAIT
	one := &Session{Conn: c, in: bufio.NewReader(c)}
	source, err := one.hear()
	if err != nil {
		_ = c.Close()
		return nil, source, err
	}
	return one, source, nil
}

// UDP makes a flow of datagrams to a server; nothing is sent yet.
func UDP(s *Space, from netip.Addr, to netip.AddrPort) (*Session, error) {
	c, err := dial(s, "udp", from, to)
	if err != nil {
		return nil, err
	}
	return &Session{Conn: c, buf: make([]byte, 2048)}, nil
}

// Unconnected makes a socket that sends datagrams to many servers.
func Unconnected(s *Space, from netip.Addr) (*Session, error) {
	var c net.Conn
	var err error
	s.Do(func() {
		c, err = net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(from, 0)))
	})
	if err != nil {
		return nil, err
	}
	return &Session{Conn: c}, nil
}

// To sends a datagram by a socket that Unconnected made.
func (s *Session) To(to netip.AddrPort, text string) error {
	_, err := s.Conn.(*net.UDPConn).WriteToUDPAddrPort([]byte(text), to)
	return err
}

func dial(s *Space, network string, from netip.Addr, to netip.AddrPort) (c net.Conn, err error) {
	d := net.Dialer{Timeout: Patience}
	switch {
	case !from.IsValid():
	case network == "tcp":
		d.LocalAddr = net.TCPAddrFromAddrPort(netip.AddrPortFrom(from, 0))
	default:
		d.LocalAddr = net.UDPAddrFromAddrPort(netip.AddrPortFrom(from, 0))
	}
	s.Do(func() { c, err = d.DialContext(context.Background(), network, to.String()) })
	return c, err
}

// Say sends something and gives the source that the server saw.
func (s *Session) Say() (netip.AddrPort, error) {
	if s.in != nil {
		if _, err := io.WriteString(s, "hello\n"); err != nil {
			return netip.AddrPort{}, err
		}
		return s.hear()
	}
	s.n++
	word := "hello " + strconv.Itoa(s.n)
	if _, err := io.WriteString(s, word); err != nil {
		return netip.AddrPort{}, err
	}
	if err := s.SetReadDeadline(time.Now().Add(Patience)); err != nil {
		return netip.AddrPort{}, err
	}
	for {
		n, err := s.Read(s.buf)
		if err != nil {
			return netip.AddrPort{}, err
		}
		if source, said, _ := strings.Cut(string(s.buf[:n]), " "); said == word { // not a late one
			return netip.ParseAddrPort(source)
		}
	}
}

func (s *Session) hear() (netip.AddrPort, error) {
	if err := s.SetReadDeadline(time.Now().Add(Patience)); err != nil {
		return netip.AddrPort{}, err
	}
	line, err := s.in.ReadString('\n')
	if err != nil {
		return netip.AddrPort{}, err
	}
	return netip.ParseAddrPort(strings.TrimSpace(line))
}

// Fetch has the server send octets, and says how long that took. A TCP session
// only.
func (s *Session) Fetch(octets int64) (time.Duration, error) {
	began := time.Now()
	if err := errors.Join(s.ask("send", octets), s.SetReadDeadline(began.Add(time.Minute))); err != nil {
		return 0, err
	}
	if _, err := io.CopyN(io.Discard, s.in, octets); err != nil {
		return 0, err
	}
	_, err := s.hear()
	return time.Since(began), err
}

// Push has the server take octets, and says how long that took until it had
// them all. A TCP session only.
func (s *Session) Push(octets int64) (time.Duration, error) {
	began := time.Now()
	if err := errors.Join(s.ask("take", octets), s.SetDeadline(began.Add(time.Minute))); err != nil {
		return 0, err
	}
	if _, err := io.CopyN(s, zeroes{}, octets); err != nil {
		return 0, err
	}
	if err := s.SetReadDeadline(began.Add(time.Minute)); err != nil {
		return 0, err
	}
	_, err := s.in.ReadString('\n')
	return time.Since(began), err
}

func (s *Session) ask(word string, n int64) error {
	_, err := fmt.Fprintf(s, "%s %d\n", word, n)
	return err
}
