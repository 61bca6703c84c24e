package proximity

import (
	"context"
	"crypto/rand"
	"errors"
	"net"
	"net/netip"
	"os"
	"slices"
	"syscall"
	"time"

	"golang.org/x/net/ipv4"
	"golang.org/x/net/ipv6"
)

// The TTLs of a round of measureUDP, at most 1 + 7 + 3 = 11 packets:
//
//	64                     a port that nobody listens on: the target itself says so
//	4 8 12 16 20 24 28     silence: how far do routers answer?
//	L+1 L+2 L+3            between the last of those and the next
//
// The port tells the packets apart, for a router need not quote more of a packet
// than its ports (RFC 792).
const (
	directTTL = 64
	basePort  = 33434 // plus the TTL: what traceroute has always used
)

var ladder = []int{4, 8, 12, 16, 20, 24, 28}

// measureUDP sends datagrams to high ports of a target, traceroute style. The
// target's "port unreachable" gives the distance, or what a service there
// replies. Where the target is silent the farthest router that answers does, if
// it stands in the client network.
func measureUDP(ctx context.Context, p Path, target netip.Addr) (Sample, error) {
	t, err := newTrace(ctx, p, target)
	if err != nil {
		return Sample{}, err
	}
	defer t.hangUp()
	for _, ttls := range [][]int{{directTTL}, ladder, nil} {
		if ttls == nil {
			last := t.last()
			ttls = []int{last + 1, last + 2, last + 3}
		}
		if err := t.send(ctx, ttls); err != nil {
			return Sample{}, err
		}
		if err := t.listen(ctx, ttls); err != nil {
			return Sample{}, err
		}
		if s, ok := t.sample(p.Prefix); ok {
			return s, nil
		}
		if t.hops[directTTL].from.IsValid() {
			break // a router on the way says that there is no way
		}
	}
	return t.nearest(p.Prefix)
}

// trace is a round of packets and what came back.
type trace struct {
	path   Path
	target netip.Addr
	conn   *net.UDPConn
	hangUp func()
	nonce  []byte
	hops   [directTTL + 1]hop // by TTL
}

// hop is a packet of a trace.
type hop struct {
	sent time.Time
	from netip.Addr    // who answered; invalid: nobody yet
	rtt  time.Duration // and after how long
	ttl  int           // of the answer; 0: not known
}

// newTrace opens a socket that is bound but not connected, for its packets go
// to several ports.
func newTrace(ctx context.Context, p Path, target netip.Addr) (*trace, error) {
	t := &trace{path: p, target: target, nonce: make([]byte, 16)}
	rand.Read(t.nonce) // never fails: crypto/rand ends the program instead
	lc := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
		return errors.Join(p.Pin.Control(c), wantErrors(c, target.Is4()))
	}}
	network, local := "udp4", netip.AddrPortFrom(netip.IPv4Unspecified(), 0)
	if target.Is6() {
		network, local = "udp6", netip.AddrPortFrom(netip.IPv6Unspecified(), 0)
	}
	if p.Pin.Source.IsValid() {
		local = netip.AddrPortFrom(p.Pin.Source, 0)
	}
	conn, err := lc.ListenPacket(ctx, network, local.String())
	if err != nil {
		return nil, err
	}
	t.conn = conn.(*net.UDPConn)
	stop := context.AfterFunc(ctx, func() {
		// An error means that conn is closed, which is as good.
		_ = conn.SetDeadline(time.Unix(1, 0))
	})
	t.hangUp = func() { stop(); conn.Close() }
	return t, nil
}

// send sends one packet for each TTL, all at once.
func (t *trace) send(ctx context.Context, ttls []int) error {
	if err := t.path.Spend(ctx, len(ttls)); err != nil {
		return err
	}
	for _, ttl := range ttls {
		if err := t.setTTL(ttl); err != nil {
			return err
		}
		to := netip.AddrPortFrom(t.target, uint16(basePort+ttl))
		t.hops[ttl].sent = time.Now()
		_, err := t.conn.WriteToUDPAddrPort(t.nonce, to)
		if isICMP(err) {
			// The socket tells an ICMP error to the next who uses it, besides
			// the queue that it is read from.
			_, err = t.conn.WriteToUDPAddrPort(t.nonce, to)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (t *trace) setTTL(ttl int) error {
	if t.target.Is4() {
		return ipv4.NewPacketConn(t.conn).SetTTL(ttl)
	}
	return ipv6.NewPacketConn(t.conn).SetHopLimit(ttl)
}

// listen takes answers until each of some packets has one or the target has
// answered, for the path's wait at most.
func (t *trace) listen(ctx context.Context, ttls []int) error {
	if err := t.conn.SetReadDeadline(time.Now().Add(t.path.Wait)); err != nil {
		return err
	}
	if ctx.Err() != nil {
		return ctx.Err() // SetReadDeadline may have undone what ctx did
	}
	for !t.complete(ttls) {
		a, err := readAnswer(t.conn)
		switch {
		case errors.Is(err, os.ErrDeadlineExceeded):
			return ctx.Err()
		case err != nil:
			return err
		}
		t.credit(a)
	}
	return nil
}

func (t *trace) complete(ttls []int) bool {
	missing := 0
	for _, ttl := range ttls {
		if t.hops[ttl].from == t.target {
			return true
		}
		if !t.hops[ttl].from.IsValid() {
			missing++
		}
	}
	return missing == 0
}

// credit notes an answer to one of our packets; what is not one is dropped
// (T53). The first answer counts.
func (t *trace) credit(a answer) {
	ttl := int(a.to.Port()) - basePort
	if a.to.Addr() != t.target || ttl < 1 || ttl > directTTL || t.hops[ttl].sent.IsZero() || t.hops[ttl].from.IsValid() {
		return
	}
	// A router that quotes enough of our packet shows the nonce.
	if n := min(len(a.quoted), len(t.nonce)); !slices.Equal(a.quoted[:n], t.nonce[:n]) {
		return
	}
	h := &t.hops[ttl]
	h.from, h.rtt, h.ttl = a.from, a.came.Since(h.sent), a.came.TTL
}

// last is the greatest TTL of the ladder that a router answered to.
func (t *trace) last() (ttl int) {
	for _, l := range ladder {
		if t.hops[l].from.IsValid() {
			ttl = l
		}
	}
	return ttl
}

// sample is what an answer of the target itself says, or one from its network
// to the packet that went all the way.
func (t *trace) sample(network netip.Prefix) (Sample, bool) {
	for ttl, h := range t.hops {
		if h.from == t.target && h.from.IsValid() {
			hops := ttl // the first TTL that reached it
			if ttl == directTTL {
				hops = hopsOf(h.ttl)
			}
			return Sample{RTT: h.rtt, Hops: hops, Via: h.from}, true
		}
	}
	if h := t.hops[directTTL]; near(h.from, network) {
		return Sample{RTT: h.rtt, Hops: hopsOf(h.ttl), Via: h.from}, true
	}
	return Sample{}, false
}

// nearest is what the farthest router that answered says, if it stands in the
// client network.
func (t *trace) nearest(network netip.Prefix) (Sample, error) {
	for ttl := directTTL - 1; ttl > 0; ttl-- {
		if h := t.hops[ttl]; near(h.from, network) {
			return Sample{RTT: h.rtt, Hops: ttl, Via: h.from}, nil
		}
	}
	return Sample{}, errFar
}

func near(router netip.Addr, network netip.Prefix) bool {
	return router.IsValid() && network.Contains(router)
}
