package farm

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/portolan-lb/portolan/nettest"
)

// The further connections of FTP, passive and active, of TFTP and of SIP go to
// the server of the first one, which alone knows of them.
func TestB17_Children_Root(t *testing.T) {
	t.Parallel()
	b := before(t, nettest.NewFarm(t, nettest.FarmLayout{Hosts: 3}))
	for _, h := range b.Hosts {
		nettest.ServeFTP(t, h.Space)
		serveTFTP(t, h)
		serveSIP(t, h)
	}
	line := func(name string, port int, more string) string {
		return fmt.Sprintf("  - {name: %s, addresses: [%s], port: %d, serve: {farm: %s%s}}\n", name, b.Virtual4(1), port, name, more)
	}
	farm := func(name string, port int) string {
		var all []string
		for _, h := range b.Hosts {
			all = append(all, fmt.Sprintf("\"%s:%d\"", h.Addr4, port))
		}
		return fmt.Sprintf("  - {name: %s, servers: [%s]}\n", name, strings.Join(all, ", "))
	}
	b.use(text("version: 1\nnode: {name: lb}\nvirtualServers:\n" + line("ftp", 2121, ", helper: ftp") + line("tftp", 69, ", type: udp, helper: tftp") +
		line("sip", 5060, ", type: udp, helper: sip") + "serverFarms:\n" + farm("ftp", 21) + farm("tftp", 69) + farm("sip", 5060)))
	t.Run("ftp", func(t *testing.T) {
		for _, passive := range []bool{true, false} {
			for n := range 9 {
				control, data, err := nettest.Transfer(b.Clients, b.Client4(n), netip.AddrPortFrom(b.Virtual4(1), 2121), passive)
				if err != nil || control != b.Client4(n) || passive && data != control {
					t.Errorf("passive %v, client %d: control from %s, data from %s, %v", passive, n, control, data, err)
				}
			}
		}
	})
	t.Run("tftp", func(t *testing.T) {
		hosts := map[string]bool{}
		for n := range 9 {
			said, err := b.tftp(n)
			if err != nil {
				t.Errorf("client %d: %v", n, err)
			}
			hosts[said] = true
		}
		if len(hosts) != 3 {
			t.Errorf("hosts %v", hosts)
		}
	})
	t.Run("sip", func(t *testing.T) {
		for n := range 6 {
			if err := b.call(n); err != nil {
				t.Errorf("client %d: %v", n, err)
			}
		}
	})
}

// datagrams serves UDP at a port of a host until the test ends.
func datagrams(t *testing.T, h *nettest.Host, port int, serve func(c *net.UDPConn, from netip.AddrPort, said []byte)) {
	t.Helper()
	var c *net.UDPConn
	var err error
	h.Do(func() { c, err = net.ListenUDP("udp4", &net.UDPAddr{IP: h.Addr4.AsSlice(), Port: port}) })
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		buf := make([]byte, 2048)
		for {
			n, from, err := c.ReadFromUDPAddrPort(buf)
			if errors.Is(err, net.ErrClosed) {
				return
			}
			if err == nil {
				serve(c, from, buf[:n])
			}
		}
	})
	t.Cleanup(func() { _ = c.Close(); wg.Wait() })
}

// serveTFTP answers a read request (RFC 1350) from a port of its own, with the
// host's number as the one block.
func serveTFTP(t *testing.T, h *nettest.Host) {
	datagrams(t, h, 69, func(_ *net.UDPConn, from netip.AddrPort, said []byte) {
		if len(said) < 2 || said[1] != 1 {
			return
		}
		var c net.Conn
		var err error
		h.Do(func() {
			c, err = (&net.Dialer{LocalAddr: &net.UDPAddr{IP: h.Addr4.AsSlice()}}).DialContext(context.Background(), "udp4", from.String())
		})
		if err != nil {
			return
		}
		defer c.Close()
		_, _ = fmt.Fprintf(c, "\x00\x03\x00\x01host %d", h.N)
	})
}

// tftp reads a file, and gives what is in it.
func (b *balancer) tftp(n int) (said string, err error) {
	var c *net.UDPConn
	b.Clients.Do(func() { c, err = net.ListenUDP("udp4", &net.UDPAddr{IP: b.Client4(n).AsSlice()}) })
	if err != nil {
		return "", err
	}
	defer c.Close()
	to := netip.AddrPortFrom(b.Virtual4(1), 69)
	if _, err := c.WriteToUDPAddrPort([]byte("\x00\x01file\x00octet\x00"), to); err != nil {
		return "", err
	}
	buf := make([]byte, 600)
	if err := c.SetReadDeadline(time.Now().Add(nettest.Patience)); err != nil {
		return "", err
	}
	got, from, err := c.ReadFromUDPAddrPort(buf)
	if err != nil {
		return "", err
	}
	if from.Addr() != to.Addr() {
		return "", fmt.Errorf("the block comes from %s", from)
	}
	return string(bytes.TrimPrefix(buf[:got], []byte("\x00\x03\x00\x01"))), nil
}

// serveSIP answers an INVITE (RFC 3261) with a session description that tells a
// port of its own for media, and what comes there with the host's number.
func serveSIP(t *testing.T, h *nettest.Host) {
	media := 20000 + 10*h.N
	datagrams(t, h, media, func(c *net.UDPConn, from netip.AddrPort, said []byte) {
		_, _ = c.WriteToUDPAddrPort(fmt.Appendf(nil, "host %d heard %s", h.N, said), from)
	})
	datagrams(t, h, 5060, func(c *net.UDPConn, from netip.AddrPort, said []byte) {
		head, _, _ := strings.Cut(string(said), "\r\n\r\n")
		if !strings.HasPrefix(head, "INVITE ") {
			return
		}
		var keep []string
		for _, line := range strings.Split(head, "\r\n") {
			for _, name := range []string{"Via:", "From:", "To:", "Call-ID:", "CSeq:"} {
				if strings.HasPrefix(line, name) {
					keep = append(keep, line)
				}
			}
		}
		body := fmt.Sprintf("v=0\r\no=- 1 1 IN IP4 %[1]s\r\ns=-\r\nc=IN IP4 %[1]s\r\nt=0 0\r\nm=audio %[2]d RTP/AVP 0\r\n", h.Addr4, media)
		answer := fmt.Sprintf("SIP/2.0 200 OK\r\n%s\r\nContact: <sip:h@%s:5060>\r\nContent-Type: application/sdp\r\nContent-Length: %d\r\n\r\n%s", strings.Join(keep, "\r\n"), h.Addr4, len(body), body)
		_, _ = c.WriteToUDPAddrPort([]byte(answer), from)
	})
}

// call invites, and sends media to where the answer says.
func (b *balancer) call(n int) (err error) {
	me := b.Client4(n)
	var c, media *net.UDPConn
	b.Clients.Do(func() {
		if c, err = net.ListenUDP("udp4", &net.UDPAddr{IP: me.AsSlice(), Port: 5060}); err == nil {
			media, err = net.ListenUDP("udp4", &net.UDPAddr{IP: me.AsSlice(), Port: 30000})
		}
	})
	if err != nil {
		return err
	}
	defer func() { _, _ = c.Close(), media.Close() }()
	to := netip.AddrPortFrom(b.Virtual4(1), 5060)
	body := fmt.Sprintf("v=0\r\no=- 1 1 IN IP4 %[1]s\r\ns=-\r\nc=IN IP4 %[1]s\r\nt=0 0\r\nm=audio 30000 RTP/AVP 0\r\n", me)
	invite := fmt.Sprintf("INVITE sip:h@%[1]s SIP/2.0\r\nVia: SIP/2.0/UDP %[2]s:5060;branch=z9hG4bK%[3]d\r\nFrom: <sip:c@%[2]s>;tag=%[3]d\r\nTo: <sip:h@%[1]s>\r\nCall-ID: %[3]d@%[2]s\r\nCSeq: 1 INVITE\r\nContact: <sip:c@%[2]s:5060>\r\nMax-Forwards: 70\r\nContent-Type: application/sdp\r\nContent-Length: %[4]d\r\n\r\n%[5]s",
		to.Addr(), me, n+1, len(body), body)
	if _, err := c.WriteToUDPAddrPort([]byte(invite), to); err != nil {
		return err
	}
	buf := make([]byte, 2048)
	if err := errors.Join(c.SetReadDeadline(time.Now().Add(nettest.Patience)), media.SetReadDeadline(time.Now().Add(nettest.Patience))); err != nil {
		return err
	}
	got, _, err := c.ReadFromUDPAddrPort(buf)
	if err != nil {
		return fmt.Errorf("no answer to INVITE: %w", err)
	}
	where, port := netip.Addr{}, uint16(0)
	for _, line := range strings.Split(string(buf[:got]), "\r\n") {
		if a, is := strings.CutPrefix(line, "c=IN IP4 "); is {
			where, err = netip.ParseAddr(a)
		}
		_, _ = fmt.Sscanf(line, "m=audio %d", &port) // of other lines nothing is wanted
	}
	if err != nil || where != to.Addr() {
		return fmt.Errorf("media goes to %s, want %s: %v\n%s", where, to.Addr(), err, buf[:got])
	}
	if _, err := media.WriteToUDPAddrPort([]byte("ring"), netip.AddrPortFrom(where, port)); err != nil {
		return err
	}
	if _, _, err = media.ReadFromUDPAddrPort(buf); err != nil {
		return fmt.Errorf("no media: %w", err)
	}
	return nil
}
