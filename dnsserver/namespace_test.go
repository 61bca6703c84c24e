package dnsserver

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"
	"golang.org/x/sys/unix"

	"github.com/portolan-lb/portolan/config"
	"github.com/portolan-lb/portolan/status"
)

// netspace is a thread in a network namespace of its own. Sockets that are
// opened on it belong there, whoever uses them.
type netspace struct {
	tid  int
	jobs chan func()
}

// newNetspace makes a namespace with nothing but loopback.
func newNetspace(t *testing.T) *netspace {
	t.Helper()
	n := &netspace{jobs: make(chan func())}
	ready, ended := make(chan error), make(chan struct{})
	go func() {
		defer close(ended)
		runtime.LockOSThread() // never unlocked: the thread ends here
		err := unix.Unshare(unix.CLONE_NEWNET)
		n.tid = unix.Gettid()
		ready <- err
		for job := range n.jobs {
			job()
		}
	}()
	t.Cleanup(func() { close(n.jobs); <-ended })
	if err := <-ready; err != nil {
		missing(t, "needs a network namespace: run make e2e as root (%v)", err)
	}
	n.ip(t, "link set lo up")
	return n
}

// do runs something on the thread.
func (n *netspace) do(job func()) {
	done := make(chan struct{})
	n.jobs <- func() { defer close(done); job() }
	<-done
}

func (n *netspace) ip(t *testing.T, args string) {
	t.Helper()
	n.do(func() {
		if out, err := exec.CommandContext(t.Context(), "ip", strings.Fields(args)...).CombinedOutput(); err != nil {
			missing(t, "ip %s: %v: %s", args, err, out)
		}
	})
}

// missing skips a test for want of something, or fails it where nothing may be
// missing.
func missing(t *testing.T, format string, args ...any) {
	t.Helper()
	if os.Getenv("PORTOLAN_CI") == "1" {
		t.Errorf(format, args...)
	} else {
		t.Logf(format, args...)
	}
	t.SkipNow()
}

// A real client on another host of the network that asks too much over UDP gets
// TC or nothing, and its answer over TCP at once; the server's own host is
// never limited, nor is a client of another /24.
func TestRRL_Network_Root(t *testing.T) {
	needRoot(t)
	here, there := newNetspace(t), newNetspace(t)
	here.ip(t, fmt.Sprintf("link add here type veth peer name there netns %d", there.tid))
	here.ip(t, "addr add 192.0.2.1/24 dev here")
	here.ip(t, "addr add 198.51.100.1/24 dev here")
	here.ip(t, "link set here up")
	there.ip(t, "addr add 192.0.2.2/24 dev there")
	there.ip(t, "addr add 198.51.100.2/24 dev there")
	there.ip(t, "link set there up")

	listener := &config.Listener{Address: netip.MustParseAddrPort("0.0.0.0:53")}
	s := New(Options{Listeners: []*config.Listener{listener}, Rows: status.NewBoard(1).Table, Sockets: 1, Log: slog.New(slog.DiscardHandler)})
	s.Use(limitedTable(t, func(c *config.RRL) { c.Rate, c.Burst = 1, 5 }))
	here.do(func() {
		if err := s.Listen(); err != nil {
			t.Error(err)
		}
	})
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	defer func() { cancel(); <-ended }()

	count := func(n *netspace, network, from, to string, queries int) (answered, slipped, silent int) {
		n.do(func() {
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
