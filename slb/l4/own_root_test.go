package l4

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/portolan-lb/portolan/nettest"
)

// What this machine asks of a virtual server itself, and what a server on this machine
// answers, is counted as what is forwarded is, each packet once; and what it has open
// at a server that fails is reset (T38).
func TestOwn_Root(t *testing.T) {
	f := newFarmed(t, `
version: 1
virtualServers:
  - {name: there, addresses: [203.0.113.1, "2001:db8:113::1"], port: 80, serve: {farm: there}}
  - {name: here, addresses: [203.0.113.1, "2001:db8:113::1"], port: 81, serve: {farm: here}}
serverFarms:
  - {name: there, onFailure: reset, busyProtection: true, servers: [{name: one, addresses: [10.30.0.11, "fd10:30::11"], port: 8080, maxBandwidth: {in: 100Mbps}}]}
  - {name: here, busyProtection: true, servers: [{name: it, addresses: [10.30.0.1, "fd10:30::1"], port: 9090, maxBandwidth: {in: 100Mbps}}]}
`)
	f.farm.Batch("addr add 203.0.113.1/32 dev lo", "-6 addr add 2001:db8:113::1/128 dev lo nodad")
	answers(t, f.farm.Space, ":9090")
	for i, c := range []struct {
		who      string
		space    *nettest.Space
		from, to string
		digit    string // of the family
		port     string // of the server
		in, out  string // the hooks that each packet to the server and from it passes once
	}{
		{"own to another", f.farm.Space, "10.30.0.1", "203.0.113.1:80", "4", "8080", "output", "input"},
		{"own to another by IPv6", f.farm.Space, "fd10:30::1", "[2001:db8:113::1]:80", "6", "8080", "output", "input"},
		{"another's to own", f.farm.Clients, f.farm.Client4(1).String(), "203.0.113.1:81", "4", "9090", "input", "output"},
		{"another's to own by IPv6", f.farm.Clients, f.farm.Client6(1).String(), "[2001:db8:113::1]:81", "6", "9090", "input", "output"},
		{"own to own", f.farm.Space, "10.30.0.1", "203.0.113.1:81", "4", "9090", "output", "output"},
	} {
		to := f.farm.Watch(fmt.Sprint("to", i), c.in+" priority 50", "tcp dport "+c.port)
		from := f.farm.Watch(fmt.Sprint("from", i), c.out+" priority -4", "tcp sport "+c.port)
		in, out := f.packets("octets_in"+c.digit), f.packets("octets_out"+c.digit)
		talk := speak(t, c.space, c.from, c.to)
		if err := talk(); err != nil {
			t.Fatalf("%s: %v", c.who, err)
		}
		var got, want string
		for late := time.Now().Add(10 * time.Second); time.Now().Before(late); {
			got = fmt.Sprint(f.packets("octets_in"+c.digit)-in, " ", f.packets("octets_out"+c.digit)-out)
			want = fmt.Sprint(to.Packets(), " ", from.Packets())
			if got == want && to.Packets() > 2 && from.Packets() > 2 {
				break
			}
		}
		if got != want {
			t.Errorf("%s: %s packets are counted, %s passed", c.who, got, want)
		}
	}
	for from, to := range map[string]string{"10.30.0.1": "203.0.113.1:80", "fd10:30::1": "[2001:db8:113::1]:80"} {
		talk := speak(t, f.farm.Space, from, to)
		f.changes(f.SetDead("there", f.byFarm["there"].ids())...)
		if err := talk(); !errors.Is(err, unix.ECONNRESET) {
			t.Errorf("%s: the server is dead: %v, want a reset", to, err)
		}
		f.changes(f.SetDead("there", nil)...)
	}
}

// packets is what a set has counted.
func (f *farmed) packets(set string) (n int) {
	f.t.Helper()
	list, err := f.Elements(Table, set)
	if err != nil {
		f.t.Fatal(err)
	}
	for _, el := range list {
		n += int(el.Packets)
	}
	return n
}

// answers has a server of one's own tell a line, and each line that it is told.
func answers(t *testing.T, s *nettest.Space, at string) {
	t.Helper()
	var ln net.Listener
	var err error
	s.Do(func() { ln, err = net.Listen("tcp", at) })
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	t.Cleanup(func() { _ = ln.Close(); <-done })
	go func() {
		defer close(done)
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			defer func() { _ = c.Close() }()
			_, _ = c.Write([]byte("hello\n"))
			go func() { _, _ = io.Copy(c, c) }()
		}
	}()
}

// speak connects, and gives who tells the server a line and waits for it.
func speak(t *testing.T, s *nettest.Space, from, to string) func() error {
	t.Helper()
	d := net.Dialer{Timeout: 10 * time.Second, LocalAddr: &net.TCPAddr{IP: netip.MustParseAddr(from).AsSlice()}}
	var c net.Conn
	var err error
	s.Do(func() { c, err = d.Dial("tcp", to) })
	if err != nil {
		t.Fatalf("%s to %s: %v", from, to, err)
	}
	t.Cleanup(func() { _ = c.Close() })
	in := bufio.NewReader(c)
	line := func() error {
		if err := c.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
			return err
		}
		_, err := in.ReadString('\n')
		return err
	}
	if err := line(); err != nil {
		t.Fatalf("%s to %s: %v", from, to, err)
	}
	return func() error {
		if _, err := c.Write([]byte("how are you\n")); err != nil {
			return err
		}
		return line()
	}
}
