package dnsserver

import (
	"context"
	"log/slog"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/portolan-lb/portolan/config"
	"github.com/portolan-lb/portolan/nettest"
	"github.com/portolan-lb/portolan/status"
)

// A real client on another host of the network that asks too much over UDP gets
// TC or nothing, and its answer over TCP at once; the server's own host is
// never limited, nor is a client of another /24.
func TestRRL_Network_Root(t *testing.T) {
	here, there := nettest.New(t), nettest.New(t)
	here.Cable("here", there, "there")
	here.IP("addr add 192.0.2.1/24 dev here")
	here.IP("addr add 198.51.100.1/24 dev here")
	there.IP("addr add 192.0.2.2/24 dev there")
	there.IP("addr add 198.51.100.2/24 dev there")

	listener := &config.Listener{Address: netip.MustParseAddrPort("0.0.0.0:53")}
	s := New(Options{Listeners: []*config.Listener{listener}, Rows: status.NewBoard(1).Table, Sockets: 1, Log: slog.New(slog.DiscardHandler)})
	s.Use(limitedTable(t, func(c *config.RRL) { c.Rate, c.Burst = 1, 5 }))
	here.Do(func() {
		if err := s.Listen(); err != nil {
			t.Error(err)
		}
	})
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	defer func() { cancel(); <-ended }()

	count := func(n *nettest.Space, network, from, to string, queries int) (answered, slipped, silent int) {
		n.Do(func() {
			d := net.Dialer{Timeout: patience}
			if network == "udp" {
				d.LocalAddr = net.UDPAddrFromAddrPort(netip.AddrPortFrom(netip.MustParseAddr(from), 0))
			} else {
				d.LocalAddr = net.TCPAddrFromAddrPort(netip.AddrPortFrom(netip.MustParseAddr(from), 0))
			}
			conn, err := d.DialContext(t.Context(), network, to+":53")
			if err != nil {
				t.Error(err)
				return
			}
			defer conn.Close()
			c := &dns.Conn{Conn: conn}
			for range queries {
				if err := c.WriteMsg(asking("mail.example.com.", dns.TypeA)); err != nil {
					t.Error(err)
					return
				}
				_ = conn.SetReadDeadline(time.Now().Add(100 * time.Millisecond)) // what is dropped never comes
				switch r, err := c.ReadMsg(); {
				case err != nil:
					silent++
				case r.Truncated && len(r.Answer) == 0:
					slipped++
				case len(r.Answer) == 1:
					answered++
				}
			}
		})
		return answered, slipped, silent
	}
	answered, slipped, silent := count(there, "udp", "192.0.2.2", "192.0.2.1", 40)
	if answered < 5 || answered > 10 || slipped < 3 || silent < 3 {
		t.Errorf("over UDP: %d answered, %d TC, %d silent", answered, slipped, silent)
	}
	if answered, _, _ := count(there, "tcp", "192.0.2.2", "192.0.2.1", 40); answered != 40 {
		t.Errorf("over TCP: %d of 40 answered", answered)
	}
	if answered, _, _ := count(there, "udp", "198.51.100.2", "198.51.100.1", 5); answered != 5 {
		t.Errorf("another network: %d of 5 answered", answered)
	}
	if answered, _, _ := count(here, "udp", "127.0.0.1", "127.0.0.1", 40); answered != 40 {
		t.Errorf("loopback: %d of 40 answered", answered)
	}
	if st := s.Stats().RRL; int(st["slipped"]) != slipped || int(st["dropped"]) != silent {
		t.Errorf("counted %v, seen %d TC and %d silent", st, slipped, silent)
	}
}
