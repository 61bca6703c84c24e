package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"time"
)

// talk is a connection to a server of the world that stays open.
type talk struct {
	net.Conn
	in     *bufio.Reader
	host   string
	source string // as the server sees it
}

// talk opens one from a client of the office, and names the ISP that it is by.
func (l *lab) talk(ctx context.Context, from, to netip.Addr) (*talk, string, error) {
	d := net.Dialer{Timeout: patience, LocalAddr: net.TCPAddrFromAddrPort(netip.AddrPortFrom(from, 0))}
	t := &talk{host: to.String()}
	var err error
	l.spaces[office].do(func() { t.Conn, err = d.DialContext(ctx, "tcp4", netip.AddrPortFrom(to, 80).String()) })
	if err != nil {
		return nil, "", err
	}
	t.in = bufio.NewReader(t.Conn)
	if t.source, err = t.get(); err != nil {
		return nil, "", errors.Join(err, t.Close())
	}
	source, err := netip.ParseAddrPort(t.source)
	return t, l.lineOf(source.Addr()), err
}

// says fetches a page more over it, and wants the server to see the same source.
func (t *talk) says() error {
	now, err := t.get()
	if err == nil && now != t.source {
		err = fmt.Errorf("the server sees %s, and saw %s", now, t.source)
	}
	return err
}

func (t *talk) get() (string, error) {
	if err := t.SetDeadline(time.Now().Add(2 * patience)); err != nil {
		return "", err
	}
	if _, err := fmt.Fprintf(t, "GET / HTTP/1.1\r\nHost: %s\r\n\r\n", t.host); err != nil {
		return "", err
	}
	resp, err := http.ReadResponse(t.in, nil)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	line, err := bufio.NewReader(resp.Body).ReadString('\n')
	return strings.TrimSpace(line), err
}
