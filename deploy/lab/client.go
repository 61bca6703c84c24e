package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"os/exec"
	"strings"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

// patience is how long a client of ours waits for one reply.
const patience = 2 * time.Second

// resolver gives the address of the gateway's DNS on a link.
func (l *lab) resolver(link string) netip.AddrPort {
	for _, i := range isps {
		if i.name == link {
			return netip.AddrPortFrom(l.addr4(i.public, hostDNS), uint16(l.dns))
		}
	}
	panic("no link " + link)
}

// ask asks the gateway by a link for the A of a name under lab.example, once,
// and gives the address or the rcode, with the TTL.
func (l *lab) ask(ctx context.Context, from, by, name string) (answer string, ttl uint32, err error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	var conn net.Conn
	l.spaces[from].do(func() { conn, err = (&net.Dialer{}).DialContext(ctx, "udp", l.resolver(by).String()) })
	if err != nil {
		return "", 0, err
	}
	defer conn.Close()
	deadline, _ := ctx.Deadline()
	id := uint16(rand.Uint32())
	query, err := question(id, name)
	if err = errors.Join(err, conn.SetDeadline(deadline)); err != nil {
		return "", 0, err
	}
	if _, err := conn.Write(query); err != nil {
		return "", 0, err
	}
	reply := make([]byte, 1232)
	n, err := conn.Read(reply)
	if err != nil {
		return "", 0, err
	}
	return readAnswer(reply[:n], id)
}

func question(id uint16, name string) ([]byte, error) {
	owner, err := dnsmessage.NewName(name + ".lab.example.")
	if err != nil {
		return nil, err
	}
	m := dnsmessage.Message{Header: dnsmessage.Header{ID: id}, Questions: []dnsmessage.Question{{Name: owner, Type: dnsmessage.TypeA, Class: dnsmessage.ClassINET}}}
	return m.Pack()
}

func readAnswer(packet []byte, id uint16) (string, uint32, error) {
	var m dnsmessage.Message
	if err := m.Unpack(packet); err != nil {
		return "", 0, err
	}
	switch {
	case m.ID != id || !m.Response:
		return "", 0, errors.New("a reply to something else")
	case m.RCode != dnsmessage.RCodeSuccess:
		return strings.ToUpper(strings.TrimPrefix(m.RCode.String(), "RCode")), 0, nil
	}
	for _, r := range m.Answers {
		if a, ok := r.Body.(*dnsmessage.AResource); ok {
			return netip.AddrFrom4(a.A).String(), r.Header.TTL, nil
		}
	}
	return "NODATA", 0, nil
}

// dig asks as a person would.
func (l *lab) dig(ctx context.Context, v viewer, args ...string) (out string, err error) {
	to := l.resolver(v.by)
	args = append([]string{"@" + to.Addr().String(), "-p", fmt.Sprint(to.Port()), "+time=2", "+tries=2"}, args...)
	cmd := exec.CommandContext(ctx, "dig", args...)
	var text []byte
	l.spaces[v.from].do(func() { text, err = cmd.CombinedOutput() })
	if err != nil {
		return "", fmt.Errorf("dig %s: %w: %s", strings.Join(args, " "), err, text)
	}
	return strings.TrimSpace(string(text)), nil
}

// clientOf gives a client network by its name.
func clientOf(name string) clientNet {
	for _, c := range clients {
		if c.name == name {
			return c
		}
	}
	panic("no client " + name)
}

// behind names the virtual server of an answer.
func (l *lab) behind(answer string) string {
	for _, v := range virtualServers(l.options) {
		if v.addr4.String() == answer || v.addr6.String() == answer {
			return v.name
		}
	}
	if v4, v6 := l.rackAddresses(); answer == v4.String() || answer == v6.String() {
		return rackVirtual
	}
	return answer
}
