package dnsproxy

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/portolan-lb/portolan/status"
)

// Listening says whether the proxy takes queries. Packets should be brought to
// it only while it does: without a socket there, the kernel lets them pass as
// they are (the proxy fails open).
type Listening struct {
	Port uint16 `json:"port"` // 0: it does not listen
	Why  string `json:"why,omitempty"`
}

// Listening says whether the proxy takes queries now, and if not, why.
func (p *Proxy) Listening() Listening { return *p.state.Load() }

// retryListen is how often sockets are tried again that could not be opened.
const retryListen = time.Second

// Run listens as the plan in use says, and answers, until ctx is done. Every
// goroutine has ended when it returns.
func (p *Proxy) Run(ctx context.Context) error {
	var now *listeners
	tick := time.NewTicker(retryListen)
	defer tick.Stop()
	for ctx.Err() == nil {
		now = p.relisten(ctx, now)
		select {
		case <-ctx.Done():
		case <-p.swapped:
		case at := <-tick.C:
			plan := p.plan.Load()
			for _, s := range plan.servers {
				s.sweep(at)
			}
			plan.passing.sweep(at)
		}
	}
	now.close()
	p.state.Store(&Listening{})
	p.work.Wait()
	close(p.asker.stop)
	p.plan.Load().hangUp(nil)
	p.asker.wg.Wait()
	return nil
}

// relisten opens other sockets if the plan in use wants another port, and closes
// those that were. If they cannot be opened the old ones stay.
func (p *Proxy) relisten(ctx context.Context, now *listeners) *listeners {
	plan := p.plan.Load()
	switch {
	case !plan.Enabled():
		now.close()
		p.state.Store(&Listening{})
		return nil
	case now != nil && now.asked == plan.Port():
		p.state.Store(&Listening{Port: now.port})
		return now
	}
	fresh, err := p.open(plan.Port())
	if err != nil {
		if p.state.Load().Why != err.Error() {
			p.opts.Log.Error("dns proxy: cannot listen; queries cross the gateway as they are", "error", err)
			if p.opts.Record != nil {
				p.opts.Record(status.Event{ID: "dnsProxy", New: "not listening", By: "dnsproxy", Why: err.Error()})
			}
		}
		l := Listening{Why: err.Error()}
		if now != nil {
			l.Port = now.port
		}
		p.state.Store(&l)
		return now
	}
	fresh.serve(ctx)
	p.state.Store(&Listening{Port: fresh.port})
	now.close()
	return fresh
}

// hangUp closes connections that wait for another query: those to servers that
// the plan which comes after does not have. nil: to all.
func (p *Plan) hangUp(next *Plan) {
	for _, s := range p.servers {
		if next == nil || !slices.ContainsFunc(next.servers, func(n *server) bool { return n.learnt == s.learnt }) {
			s.hangUp()
		}
	}
	if next == nil || next.passing != p.passing {
		p.passing.hangUp()
	}
}

func (l *learnt) hangUp() {
	l.mu.Lock()
	l.closeHTTPS()
	l.mu.Unlock()
	l.sweep(time.Now().Add(socketAge))
}

// listeners are the sockets of one port: UDP and TCP, IPv4 and IPv6.
type listeners struct {
	proxy   *Proxy
	asked   uint16 // by the plan; 0 is any, for tests
	port    uint16
	udp     []*udpSocket
	tcp     []*tcpListener
	reply   *replier
	replies sync.WaitGroup // queries that came by UDP and wait for a server
	wg      sync.WaitGroup
	end     context.CancelFunc
}

// open opens all sockets of a port, or none.
func (p *Proxy) open(port uint16) (*listeners, error) {
	l := &listeners{proxy: p, asked: port, port: port}
	var err error
	if !p.opts.Direct {
		if l.reply, err = newReplier(); err != nil {
			return nil, err
		}
	}
	for _, any := range []netip.Addr{netip.IPv4Unspecified(), netip.IPv6Unspecified()} {
		if err = l.family(any); errors.Is(err, unix.EAFNOSUPPORT) && any.Is6() {
			err = nil // a host without IPv6 has no queries by it
		}
		if err != nil {
			l.close()
			return nil, err
		}
	}
	return l, nil
}

// family opens the sockets of one family.
func (l *listeners) family(any netip.Addr) error {
	proto := "4"
	if any.Is6() {
		proto = "6"
	}
	conf := net.ListenConfig{Control: func(network, _ string, raw syscall.RawConn) error {
		var err error
		ctl := raw.Control(func(fd uintptr) { err = l.prepare(int(fd), any.Is6(), network[:3] == "udp") })
		return errors.Join(ctl, err)
	}}
	// A first socket that does not share finds out whether another program is there.
	tcp, err := conf.Listen(context.Background(), "tcp"+proto, netip.AddrPortFrom(any, l.port).String())
	if err != nil {
		return explain("tcp", l.port, err)
	}
	l.port = tcp.Addr().(*net.TCPAddr).AddrPort().Port()
	l.tcp = append(l.tcp, newTCPListener(l, tcp.(*net.TCPListener)))
	for range l.proxy.opts.Sockets {
		conn, err := conf.ListenPacket(context.Background(), "udp"+proto, netip.AddrPortFrom(any, l.port).String())
		if err != nil {
			return explain("udp", l.port, err)
		}
		l.udp = append(l.udp, newUDPSocket(l, conn.(*net.UDPConn)))
	}
	return nil
}

// prepare makes a socket transparent, and has the kernel say where a packet was
// sent to and by which interface it came in.
func (l *listeners) prepare(fd int, six, udp bool) error {
	var errs []error
	set := func(level, option int) { errs = append(errs, unix.SetsockoptInt(fd, level, option, 1)) }
	if !l.proxy.opts.Direct {
		if six {
			set(unix.IPPROTO_IPV6, unix.IPV6_TRANSPARENT)
		} else {
			set(unix.IPPROTO_IP, unix.IP_TRANSPARENT)
		}
	}
	if udp {
		set(unix.SOL_SOCKET, unix.SO_REUSEPORT)
		_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, 4<<20) // what comes of it is the host's to say
		if six {
			set(unix.IPPROTO_IPV6, unix.IPV6_RECVPKTINFO)
			set(unix.IPPROTO_IPV6, unix.IPV6_RECVORIGDSTADDR)
		} else {
			set(unix.IPPROTO_IP, unix.IP_PKTINFO)
			set(unix.IPPROTO_IP, unix.IP_RECVORIGDSTADDR)
		}
	}
	return errors.Join(errs...)
}

// explain says what an operator can do about a socket that cannot be opened.
func explain(proto string, port uint16, err error) error {
	hint := ""
	switch {
	case errors.Is(err, unix.EPERM):
		hint = "; transparent sockets need the capability CAP_NET_ADMIN"
	case errors.Is(err, unix.EACCES):
		hint = "; ports under 1024 need CAP_NET_BIND_SERVICE"
	case errors.Is(err, unix.EADDRINUSE):
		hint = "; another program has this port: set dnsProxy.port to a free one"
	}
	var op *net.OpError
	if errors.As(err, &op) {
		err = op.Err
	}
	return fmt.Errorf("dnsProxy: port %d/%s: %w%s", port, proto, err, hint)
}

// serve starts answering.
func (l *listeners) serve(ctx context.Context) {
	ctx, l.end = context.WithCancel(ctx)
	for _, u := range l.udp {
		l.wg.Go(func() { u.serve(ctx) })
	}
	for _, t := range l.tcp {
		l.wg.Go(func() { t.serve(ctx) })
	}
}

// close ends the reading of queries and closes the sockets. Those that are being
// asked get their replies as long as the way back is there.
func (l *listeners) close() {
	if l == nil {
		return
	}
	if l.end != nil {
		l.end()
	}
	for _, u := range l.udp {
		_ = u.conn.SetReadDeadline(time.Unix(1, 0))
	}
	for _, t := range l.tcp {
		t.stop()
	}
	l.wg.Wait()
	l.proxy.work.Go(func() { // the way back stays for those that wait
		l.replies.Wait()
		for _, u := range l.udp {
			u.conn.Close()
		}
		l.reply.close()
	})
}
