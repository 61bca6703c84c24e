package nettest

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// served is what a host's servers did.
type served struct {
	conns, datagrams, octets atomic.Int64
	delay                    atomic.Int64
}

// Serve runs servers on ports of every address of every host, TCP and UDP,
// IPv4 and IPv6, until the test ends. They tell a client who they are:
//
//	TCP  a line "HOST ADDRESS SOURCE" on accept; then of each line it gets the
//	     same with the line behind it. "send N" and "take N" are as Serve has
//	     them.
//	UDP  each datagram is answered so; one that begins with "!" is counted only
//
// ADDRESS is what the client's packet came to, SOURCE where from, as the
// server sees them.
func (f *Farm) Serve(ports ...uint16) {
	f.t.Helper()
	for _, h := range f.Hosts {
		h.serve(ports...)
	}
}

// apartly makes a process be the servers of one host (ServeApart): its number
// and the port.
const apartly = "PORTOLAN_TEST_HOST"

// ServeApart is Serve of one port in processes of their own, so that ten
// thousand connections share no bound on open files with their clients. The
// test's program calls [Apart] before anything else. Hosts count nothing then.
func (f *Farm) ServeApart(port uint16) {
	f.t.Helper()
	program, err := os.Executable()
	if err != nil {
		f.t.Fatal(err)
	}
	for _, h := range f.Hosts {
		cmd := exec.Command(program)
		cmd.Env = append(os.Environ(), fmt.Sprintf("%s=%d %d", apartly, h.N, port))
		cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
		in, err1 := cmd.StdinPipe() // it ends with it
		out, err2 := cmd.StdoutPipe()
		err := errors.Join(err1, err2)
		if err == nil {
			h.Do(func() { err = cmd.Start() })
		}
		if err != nil {
			f.t.Fatal(err)
		}
		f.t.Cleanup(func() { _, _ = in.Close(), cmd.Wait() })
		if _, err := out.Read(make([]byte, 1)); err != nil {
			f.t.Fatalf("the servers of host %d: %v", h.N, err)
		}
	}
}

// Apart serves as one host if this process was started for it, and ends it
// then; else it does nothing.
func Apart() {
	h := &Host{served: &served{}}
	port := 0
	if _, err := fmt.Sscan(os.Getenv(apartly), &h.N, &port); err != nil {
		return
	}
	for _, network := range []string{"tcp4", "tcp6"} {
		l, err := net.Listen(network, ":"+strconv.Itoa(port))
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		go h.accept(context.Background(), l)
	}
	fmt.Println() // it listens
	_, _ = io.Copy(io.Discard, os.Stdin)
	os.Exit(0)
}

func (h *Host) serve(ports ...uint16) {
	h.t.Helper()
	if h.served == nil {
		h.served = &served{}
	}
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	h.t.Cleanup(func() { cancel(); wg.Wait() })
	for _, port := range ports {
		for _, network := range []string{"4", "6"} {
			l, u, err := listen(ctx, h.Space, network, port)
			if err != nil {
				h.t.Fatal(err)
			}
			context.AfterFunc(ctx, func() { _ = errors.Join(l.Close(), u.Close()) })
			wg.Go(func() { h.accept(ctx, l) })
			wg.Go(func() { h.answer(u, network == "4", port) })
		}
	}
}

// Connections says how many TCP connections the host's servers took.
func (h *Host) Connections() int { return int(h.served.conns.Load()) }

// Datagrams says how many datagrams they got.
func (h *Host) Datagrams() int { return int(h.served.datagrams.Load()) }

// Octets says how much they got in datagrams.
func (h *Host) Octets() int { return int(h.served.octets.Load()) }

// Slow makes the host's TCP servers take so long before their first word.
func (h *Host) Slow(d time.Duration) { h.served.delay.Store(int64(d)) }

func (h *Host) accept(ctx context.Context, l net.Listener) {
	var wg sync.WaitGroup
	defer wg.Wait()
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		h.served.conns.Add(1)
		wg.Go(func() {
			stop := context.AfterFunc(ctx, func() { _ = c.Close() })
			defer stop()
			defer c.Close()
			_ = h.converse(ctx, c) // it ends when the client has gone
		})
	}
}

func (h *Host) converse(ctx context.Context, c net.Conn) error {
	if d := time.Duration(h.served.delay.Load()); d > 0 {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(d):
		}
	}
	who := fmt.Sprintf("%d %s %s", h.N, c.LocalAddr(), c.RemoteAddr())
	in := bufio.NewReaderSize(c, 512) // there may be ten thousand
	line := ""
	for {
		if _, err := fmt.Fprintf(c, "%s%s\n", who, line); err != nil {
			return err
		}
		said, err := in.ReadString('\n')
		if err != nil {
			return err
		}
		line = " " + strings.TrimSuffix(said, "\n")
		word, amount, _ := strings.Cut(line[1:], " ")
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

func (h *Host) answer(u *net.UDPConn, four bool, port uint16) {
	buf, oob := make([]byte, 1<<16), make([]byte, 256)
	for {
		n, m, _, from, err := u.ReadMsgUDPAddrPort(buf, oob)
		switch {
		case errors.Is(err, net.ErrClosed):
			return
		case err != nil:
			continue // an ICMP error about an answer
		}
		h.served.datagrams.Add(1)
		h.served.octets.Add(int64(n))
		if n > 0 && buf[0] == '!' {
			continue
		}
		at := netip.AddrPortFrom(asked(oob[:m], four), port)
		answer := fmt.Appendf(nil, "%d %s %s %s", h.N, at, netip.AddrPortFrom(from.Addr().Unmap(), from.Port()), buf[:n])
		_, _, _ = u.WriteMsgUDPAddrPort(answer, anyInterface(oob[:m], four), from)
	}
}

// asked gives the address that a datagram came to: of struct in_pktinfo the
// third word, of struct in6_pktinfo the first.
func asked(oob []byte, four bool) netip.Addr {
	at, size := unix.CmsgSpace(0), 16
	if four {
		at, size = at+8, 4
	}
	if len(oob) < at+size {
		return netip.Addr{}
	}
	a, _ := netip.AddrFromSlice(oob[at : at+size])
	return a
}

// Seen is what a server told of itself and of its client.
type Seen struct {
	Host       int            // which host it was
	At, Source netip.AddrPort // as the server sees them
}

// heard reads what a server says: who it is, and what it was told.
func heard(line string) (s Seen, said string, err error) {
	parts := strings.SplitN(line, " ", 4)
	if len(parts) < 3 {
		return s, "", fmt.Errorf("%q is not what servers say", line)
	}
	s.Host, err = strconv.Atoi(parts[0])
	if err == nil {
		s.At, err = netip.ParseAddrPort(parts[1])
	}
	if err == nil {
		s.Source, err = netip.ParseAddrPort(parts[2])
	}
	if len(parts) == 4 {
		said = parts[3]
	}
	return s, said, err
}

// Talk is a TCP connection, or a flow of datagrams, with a server of a farm.
type Talk struct {
	net.Conn
	First Seen // what the server said first; of a flow of datagrams after Say
	in    *bufio.Reader
	owed  []string // what was said over TCP and is not answered yet
	buf   []byte
}

// TCP connects a client to a server.
func (f *Farm) TCP(from netip.Addr, to netip.AddrPort) (*Talk, error) {
	return Call(f.Clients, from, to, Patience)
}

// Call connects to a server of a farm from any namespace, and waits so long
// for its first word.
func Call(s *Space, from netip.Addr, to netip.AddrPort, patience time.Duration) (*Talk, error) {
	return CallFrom(s, netip.AddrPortFrom(from, 0), to, patience)
}

// CallFrom is Call from a port; the zero address is any.
func CallFrom(s *Space, from, to netip.AddrPort, patience time.Duration) (*Talk, error) {
	d := net.Dialer{Timeout: patience}
	if from.Port() == 0 {
		d.Control = freely
	}
	if from.Addr().IsValid() {
		d.LocalAddr = net.TCPAddrFromAddrPort(from)
	}
	var c net.Conn
	var err error
	s.Do(func() { c, err = d.DialContext(context.Background(), "tcp", to.String()) })
	if err != nil {
		return nil, err
	}
	_ = c.(*net.TCPConn).SetLinger(0) // so that none is left in TIME_WAIT
	t := &Talk{Conn: c, in: bufio.NewReaderSize(c, 512)}
	t.owed = []string{""}
	if t.First, err = t.hear("", patience); err != nil {
		return nil, errors.Join(err, c.Close())
	}
	return t, nil
}

// freely lets a socket that is bound to an address choose its port when it
// connects, so that many clients of one address are no matter.
func freely(_, _ string, c syscall.RawConn) (err error) {
	control := c.Control(func(fd uintptr) {
		err = unix.SetsockoptInt(int(fd), unix.SOL_IP, unix.IP_BIND_ADDRESS_NO_PORT, 1)
	})
	return errors.Join(control, err)
}

// UDP makes a client's flow of datagrams; nothing is sent yet.
func (f *Farm) UDP(from netip.Addr, to netip.AddrPort) (*Talk, error) {
	c, err := dial(f.Clients, "udp", from, to)
	if err != nil {
		return nil, err
	}
	return &Talk{Conn: c, buf: make([]byte, 2048)}, nil
}

// Say says something, without a newline, and gives who answered. An answer
// that is not the same octets is an error. Over TCP answers that come late, to
// what was said before, come first.
func (t *Talk) Say(text string) (Seen, error) { return t.SayWithin(text, Patience) }

// SayWithin is Say with another patience.
func (t *Talk) SayWithin(text string, patience time.Duration) (Seen, error) {
	end := ""
	if t.in != nil {
		end = "\n"
		t.owed = append(t.owed, text)
	}
	if _, err := io.WriteString(t, text+end); err != nil {
		return Seen{}, err
	}
	seen, err := t.hear(text, patience)
	if err == nil && !t.First.At.IsValid() {
		t.First = seen
	}
	return seen, err
}

// errWrong: a server's answer is not what it was told.
var errWrong = errors.New("the answer is not what was said")

func (t *Talk) hear(want string, patience time.Duration) (Seen, error) {
	if err := t.SetReadDeadline(time.Now().Add(patience)); err != nil {
		return Seen{}, err
	}
	for {
		line := ""
		if t.in != nil {
			said, err := t.in.ReadString('\n')
			if err != nil {
				return Seen{}, err
			}
			line = strings.TrimSuffix(said, "\n")
		} else {
			n, err := t.Read(t.buf)
			if err != nil {
				return Seen{}, err
			}
			line = string(t.buf[:n])
		}
		seen, said, err := heard(line)
		switch {
		case err != nil:
			return seen, err
		case t.in == nil && said != want: // a late one
		case t.in != nil && said != t.owed[0]:
			return seen, fmt.Errorf("%w: %q, want %q", errWrong, said, t.owed[0])
		case t.in != nil && len(t.owed) > 1:
			t.owed = t.owed[1:]
		default:
			t.owed = nil
			return seen, nil
		}
	}
}
