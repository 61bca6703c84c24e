package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"time"
)

const (
	udpSize = 1232 // octets of a UDP reply at most, set alike at every server

	// patience is how long a reply may take, at the first try and at the
	// second, over a new socket. A server that answers nothing to a query
	// costs both.
	firstPatience  = 400 * time.Millisecond
	secondPatience = 1500 * time.Millisecond
)

// caller asks one server. It is used by one goroutine.
type caller struct {
	server netip.AddrPort
	udp    *net.UDPConn
	tcp    *net.TCPConn
	id     uint16
	buf    [65535 + 2]byte
}

// ask sends a query and gives the reply: silent if there is none at two tries.
// What cannot be read as DNS, or answers another question, is an error.
func (c *caller) ask(q *query, tcp bool) (*reply, error) {
	for _, patience := range []time.Duration{firstPatience, secondPatience} {
		exchange := c.overUDP
		if tcp {
			exchange = c.overTCP
		}
		msg, err := exchange(q, time.Now().Add(patience))
		if err == nil {
			return parseReply(msg)
		}
		c.close()
		if !unanswered(err) {
			return nil, err
		}
	}
	return &reply{silent: true}, nil
}

// unanswered tells the errors that mean no reply: time is up, or the server
// has closed the connection.
func unanswered(err error) bool {
	var network *net.OpError
	return errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.As(err, &network)
}

func (c *caller) close() {
	if c.udp != nil {
		_ = c.udp.Close()
	}
	if c.tcp != nil {
		_ = c.tcp.Close()
	}
	c.udp, c.tcp = nil, nil
}

func (c *caller) overUDP(q *query, deadline time.Time) (msg []byte, err error) {
	if c.udp == nil {
		if c.udp, err = net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(c.server)); err != nil {
			return nil, err
		}
	}
	if err := c.udp.SetDeadline(deadline); err != nil {
		return nil, err
	}
	c.id++
	if _, err := c.udp.Write(q.message(c.id)); err != nil {
		return nil, err
	}
	for {
		n, err := c.udp.Read(c.buf[:])
		if err != nil {
			return nil, err
		}
		if n < headerSize || binary.BigEndian.Uint16(c.buf[:]) == c.id {
			return c.buf[:n], nil
		}
	}
}

// overTCP keeps its connection for the next query. A server may close it in
// between, so one that was open before is tried again.
func (c *caller) overTCP(q *query, deadline time.Time) ([]byte, error) {
	if c.tcp != nil {
		msg, err := c.onTCP(q, deadline)
		if err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
			return msg, err
		}
		c.close()
	}
	conn, err := net.DialTimeout("tcp", c.server.String(), time.Until(deadline))
	if err != nil {
		return nil, err
	}
	c.tcp = conn.(*net.TCPConn)
	return c.onTCP(q, deadline)
}

func (c *caller) onTCP(q *query, deadline time.Time) ([]byte, error) {
	if err := c.tcp.SetDeadline(deadline); err != nil {
		return nil, err
	}
	c.id++
	msg := q.message(c.id)
	if _, err := c.tcp.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(msg))), msg...)); err != nil {
		return nil, err
	}
	if _, err := io.ReadFull(c.tcp, c.buf[:2]); err != nil {
		return nil, err
	}
	n := int(binary.BigEndian.Uint16(c.buf[:]))
	if _, err := io.ReadFull(c.tcp, c.buf[:n]); err != nil {
		return nil, err
	}
	if n >= headerSize && binary.BigEndian.Uint16(c.buf[:]) != c.id {
		return nil, fmt.Errorf("a reply by TCP with the ID %d, asked with %d", binary.BigEndian.Uint16(c.buf[:]), c.id)
	}
	return c.buf[:n], nil
}

// heard is what one server says to a query: first as asked, and then, where
// what it left out for size matters, by TCP, as a resolver would.
type heard struct {
	first    *reply
	full     *reply // the same as first, unless asked again
	whole    *reply // the same as full, with what the aliases in it lead to
	steps    int    // questions that this took
	finished bool   // it is known whether that takes any
}

// again asks by TCP, once.
func (h *heard) again(c *caller, q *query) (err error) {
	if q.tcp || h.finished || h.full != h.first || h.first.silent {
		return nil
	}
	h.full, err = c.ask(q, true)
	return err
}
