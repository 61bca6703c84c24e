package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"strings"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

// resolver is the DNS server of an ISP, or of the world. Whatever is asked, it
// says who it is and which source it sees: TXT.
type resolver struct {
	name   string
	socket *net.UDPConn
}

// serve answers until the socket is closed.
func (r *resolver) serve() error {
	buf := make([]byte, 4096)
	for {
		n, from, err := r.socket.ReadFromUDPAddrPort(buf)
		if errors.Is(err, net.ErrClosed) {
			return nil
		}
		if err != nil {
			continue // an ICMP error about an answer
		}
		if answer, err := r.answer(buf[:n], from.Addr().Unmap()); err == nil {
			_, _ = r.socket.WriteToUDPAddrPort(answer, from) // whoever asked may have gone
		}
	}
}

func (r *resolver) answer(packet []byte, source netip.Addr) ([]byte, error) {
	var q dnsmessage.Message
	if err := q.Unpack(packet); err != nil || q.Response || len(q.Questions) != 1 {
		return nil, errors.New("not a query")
	}
	m := dnsmessage.Message{Header: dnsmessage.Header{ID: q.ID, Response: true, RecursionDesired: q.RecursionDesired, RecursionAvailable: true}, Questions: q.Questions}
	if q.Questions[0].Type == dnsmessage.TypeTXT {
		m.Answers = []dnsmessage.Resource{{
			Header: dnsmessage.ResourceHeader{Name: q.Questions[0].Name, Type: dnsmessage.TypeTXT, Class: dnsmessage.ClassINET, TTL: 5},
			Body:   &dnsmessage.TXTResource{TXT: []string{r.name, source.String()}},
		}}
	}
	return m.Pack()
}

// resolves has a client of the office ask a DNS server of the world, which it
// thinks answers, and names who did.
func (l *lab) resolves(ctx context.Context, from netip.Addr) (string, error) {
	to := netip.AddrPortFrom(l.addr4(netWorld, hostDNS), 53)
	d := net.Dialer{LocalAddr: net.UDPAddrFromAddrPort(netip.AddrPortFrom(from, 0))}
	var conn net.Conn
	var err error
	l.spaces[office].do(func() { conn, err = d.DialContext(ctx, "udp4", to.String()) })
	if err != nil {
		return "", err
	}
	defer conn.Close()
	id := uint16(rand.Uint32())
	q := dnsmessage.Message{Header: dnsmessage.Header{ID: id, RecursionDesired: true},
		Questions: []dnsmessage.Question{{Name: dnsmessage.MustNewName("who.example."), Type: dnsmessage.TypeTXT, Class: dnsmessage.ClassINET}}}
	packet, err := q.Pack()
	if err = errors.Join(err, conn.SetDeadline(time.Now().Add(2*patience))); err != nil {
		return "", err
	}
	if _, err := conn.Write(packet); err != nil {
		return "", err
	}
	reply := make([]byte, 4096)
	n, err := conn.Read(reply)
	if err != nil {
		return "", err
	}
	return l.whoAnswered(reply[:n], id)
}

// whoAnswered reads what a resolver says, and wants it to have seen a source of
// its own line.
func (l *lab) whoAnswered(packet []byte, id uint16) (string, error) {
	var m dnsmessage.Message
	if err := m.Unpack(packet); err != nil {
		return "", err
	}
	if m.ID != id || !m.Response || m.RCode != dnsmessage.RCodeSuccess || len(m.Answers) != 1 {
		return "", fmt.Errorf("the answer is %s with %d records", strings.TrimPrefix(m.RCode.String(), "RCode"), len(m.Answers))
	}
	txt, ok := m.Answers[0].Body.(*dnsmessage.TXTResource)
	if !ok || len(txt.TXT) != 2 {
		return "", fmt.Errorf("the answer is %v", m.Answers[0].Body)
	}
	source, err := netip.ParseAddr(txt.TXT[1])
	if err != nil {
		return "", err
	}
	if by := l.lineOf(source); txt.TXT[0] != by && txt.TXT[0] != world {
		return "", fmt.Errorf("the resolver of %s was asked by %s, an address of %s", txt.TXT[0], source, by)
	}
	return txt.TXT[0], nil
}
