package proximity

import (
	"context"
	"errors"
	"math/rand/v2"
	"net/netip"
	"time"

	"golang.org/x/net/dns/dnsmessage"

	"github.com/portolan-lb/portolan/probe"
)

// measureDNS asks the target for the name servers of the root, without
// recursion, as one resolver asks another: at most two packets. Any answer
// counts, a refusal too.
func measureDNS(ctx context.Context, p Path, target netip.Addr) (Sample, error) {
	r, err := p.exchange(ctx, func(ctx context.Context) (probe.Reply, error) {
		return askRoot(ctx, p.Pin, netip.AddrPortFrom(target, 53))
	})
	return Sample{RTT: r.RTT, Hops: hopsOf(r.TTL), Via: target}, err
}

// askRoot makes one exchange, from a port of its own: the kernel lets through
// what comes from the target's address and port to it, and the id has to agree
// (T53).
func askRoot(ctx context.Context, pin probe.Pin, server netip.AddrPort) (probe.Reply, error) {
	conn, hangUp, err := pin.Dial(ctx, "udp", server, nil)
	if err != nil {
		return probe.Reply{}, err
	}
	defer hangUp()
	read, err := probe.ArrivalReader(conn, server.Addr().Is4())
	if err != nil {
		return probe.Reply{}, err
	}
	id := uint16(rand.Uint32())
	start := time.Now()
	if _, err := conn.Write(rootQuery(id)); err != nil {
		return probe.Reply{}, err
	}
	for buf := make([]byte, 4096); ; {
		a, err := read(buf)
		if err != nil {
			return probe.Reply{}, err
		}
		if answersRoot(buf[:a.N], id) {
			return probe.Reply{RTT: a.Since(start), TTL: a.TTL}, nil
		}
	}
}

var rootQuestion = dnsmessage.Question{Name: dnsmessage.MustNewName("."), Type: dnsmessage.TypeNS, Class: dnsmessage.ClassINET}

func rootQuery(id uint16) []byte {
	m := dnsmessage.Message{Header: dnsmessage.Header{ID: id}, Questions: []dnsmessage.Question{rootQuestion}}
	b, err := m.Pack()
	if err != nil {
		panic("pack of a query for the root: " + err.Error()) // its fields cannot be wrong
	}
	return b
}

// answersRoot says whether a packet is a response to rootQuery(id), whole or
// truncated: what it says may be made up, its form may not.
func answersRoot(packet []byte, id uint16) bool {
	var p dnsmessage.Parser
	h, err := p.Start(packet)
	if err != nil || h.ID != id || !h.Response || h.OpCode != 0 {
		return false
	}
	q, err := p.Question()
	if err != nil || q != rootQuestion {
		return false
	}
	if _, err := p.Question(); !errors.Is(err, dnsmessage.ErrSectionDone) {
		return false
	}
	return h.Truncated || p.SkipAllAnswers() == nil && p.SkipAllAuthorities() == nil && p.SkipAllAdditionals() == nil
}
