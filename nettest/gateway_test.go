package nettest

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"
)

// byHand is a gateway that shares connections 3:2:1, written by hand: what the
// fixture says of it is known.
func byHand(t *testing.T, g *Gateway) {
	t.Helper()
	rules := `table inet hand {
	map slots { typeof numgen inc mod 6 : meta mark; elements = { 0 : 1, 1 : 2, 2 : 1, 3 : 3, 4 : 1, 5 : 2 } }
	chain pre {
		type filter hook prerouting priority -150;
		iifname { "wan1", "wan2", "wan3" } return
		ip daddr { 10.0.0.0/8 } return
		ip6 daddr { fd10::/16, fe80::/10, ff00::/8 } return
		ct state new ct mark 0 ct mark set numgen inc mod 6 map @slots
		meta mark set ct mark
	}
	chain post {
		type nat hook postrouting priority 100;
		oifname { "wan1", "wan2", "wan3" } masquerade
	}
}
`
	g.Must(rules, "nft", "-f", "-")
	for _, i := range g.ISPs {
		g.Batch(fmt.Sprintf("rule add pref %d fwmark %d lookup %d", 1000+i.N, i.N, 1000+i.N),
			fmt.Sprintf("-6 rule add pref %d fwmark %d lookup %d", 1000+i.N, i.N, 1000+i.N),
			fmt.Sprintf("rule add pref %d from %s lookup %d", 2000+i.N, i.Gate4, 1000+i.N),
			fmt.Sprintf("-6 rule add pref %d from %s lookup %d", 2000+i.N, i.Gate6, 1000+i.N),
			fmt.Sprintf("route add default via %s table %d", i.Router4, 1000+i.N),
			fmt.Sprintf("-6 route add default via %s table %d", i.Router6, 1000+i.N))
	}
}

// What the servers see is what was done, for each kind of traffic; and an ISP
// counts what is not its own.
func TestGateway_Root(t *testing.T) {
	g := NewGateway(t, Layout{ISPs: 3})
	byHand(t, g)
	Serve(t, g.Internet, 80)
	four := func(i int) (netip.Addr, netip.AddrPort) {
		return Client4(i % 59), netip.AddrPortFrom(Server4(i%7, 1), 80)
	}
	six := func(i int) (netip.Addr, netip.AddrPort) {
		return Client6(i % 59), netip.AddrPortFrom(Server6(i%7, 1), 80)
	}
	for name, tally := range map[string]Tally{
		"TCP, IPv4": g.Connect(600, four), "TCP, IPv6": g.Connect(600, six),
		"UDP, IPv4": g.Flows(600, 3, four), "UDP, IPv6": g.Flows(600, 3, six),
	} {
		if got := fmt.Sprint(tally); got != "[300 200 100]" {
			t.Errorf("%s: %s", name, got)
		}
	}
	for n := range 6 {
		if err := Ping(g.LAN, Client4(n), Server4(1, 1), uint16(1000+n)); err != nil {
			t.Error(err)
		}
		if err := Ping(g.LAN, Client6(n), Server6(1, 1), uint16(1000+n)); err != nil {
			t.Error(err)
		}
	}
	for n, want := range []int{6, 4, 2} {
		if got := g.ISPs[n].Pings(); got != want {
			t.Errorf("ISP %d carried %d pings, want %d", n+1, got, want)
		}
		if got := g.ISPs[n].Strays(); got != 0 {
			t.Errorf("ISP %d had %d strays", n+1, got)
		}
	}
	g.Must("flush chain inet hand post\n", "nft", "-f", "-")
	if tally := g.Connect(1, four); tally.Failed != 1 {
		t.Errorf("without NAT: %s", tally)
	}
	strays := 0
	for _, i := range g.ISPs {
		strays += i.Strays()
	}
	if strays == 0 {
		t.Error("a packet from 10.10.0.0/16 was nobody's stray")
	}
}

// A silent ISP carries nothing, and its neighbour still resolves it; a cable
// that is out and in again carries as before.
func TestSilenceAndPull_Root(t *testing.T) {
	g := NewGateway(t, Layout{ISPs: 2})
	Serve(t, g.Internet, 80)
	one := g.ISPs[0]
	g.Batch("route add default via "+one.Router4.String(), "-6 route add default via "+one.Router6.String())
	try := func() (err error) {
		for _, to := range []netip.Addr{Server4(3, 4), Server6(3, 4)} {
			s, err := UDP(g.Space, netip.Addr{}, netip.AddrPortFrom(to, 80))
			if err == nil {
				_, err = s.Say()
				_ = s.Close()
			}
			if err != nil {
				return err
			}
		}
		return nil
	}
	for _, step := range []struct {
		do   func()
		fail bool
	}{
		{func() {}, false}, {func() { one.Silence(true) }, true}, {func() { one.Silence(false) }, false},
		{func() { one.Pull(true) }, true},
		{func() {
			one.Pull(false)
			g.Batch("-6 addr replace "+one.Gate6.String()+"/64 dev wan1 nodad", "-6 route replace default via "+one.Router6.String())
		}, false},
	} {
		step.do()
		err := try()
		for again := 0; err != nil && !step.fail && again < 3; again++ { // Linux may have given up a neighbour meanwhile
			err = try()
		}
		if (err != nil) != step.fail {
			t.Errorf("want failure %v, got %v", step.fail, err)
		}
		if out := g.Must("", "ip", "neigh", "show", one.Router4.String()); strings.Contains(out, "FAILED") && !step.fail {
			t.Errorf("neighbour: %s", out)
		}
	}
}

// Twins have the same addresses on each line; the second router of a segment
// carries what comes for Behind4, and Behind6.
func TestTwinsAndTwice_Root(t *testing.T) {
	g := NewGateway(t, Layout{ISPs: 2, Twins: true})
	Serve(t, g.Internet, 80)
	for _, i := range g.ISPs {
		g.Batch("route replace default via " + i.Router4.String() + fmt.Sprintf(" dev wan%d onlink", i.N))
		s, source, err := TCP(g.Space, netip.Addr{}, netip.AddrPortFrom(Server4(1, 1), 80))
		if err != nil || g.ISPOf(source.Addr()) != i.N {
			t.Errorf("by wan%d: from %s, %v", i.N, source, err)
			continue
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}
	two := NewGateway(t, Layout{ISPs: 1, Twice: true})
	two.Batch("route add default via "+two.Second().Router4.String(), "-6 route add default via "+two.Second().Router6.String())
	Serve(t, two.Space, 80)
	for _, c := range []struct{ from, to netip.Addr }{{Behind4, two.ISPs[0].Gate4}, {Behind6, two.ISPs[0].Gate6}} {
		s, source, err := TCP(two.Internet, c.from, netip.AddrPortFrom(c.to, 80))
		if err != nil || source.Addr() != c.from {
			t.Errorf("from %s: seen %s, %v", c.from, source, err)
			continue
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}
	if first, second := two.ISPs[0].Passed(), two.Second().Passed(); first != 0 || second == 0 {
		t.Errorf("%d packets by the first router, %d by the second", first, second)
	}
}

// A line with a delay is as long as it says.
func TestDelay_Root(t *testing.T) {
	g := NewGateway(t, Layout{ISPs: 1, Delay: []time.Duration{30 * time.Millisecond}})
	g.Batch("route add default via "+g.ISPs[0].Router4.String(), "-6 route add default via "+g.ISPs[0].Router6.String())
	Serve(t, g.Internet, 80)
	for _, to := range []netip.Addr{Server4(1, 1), Server6(1, 1)} {
		began := time.Now()
		s, err := UDP(g.Space, netip.Addr{}, netip.AddrPortFrom(to, 80))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.Say(); err != nil {
			t.Errorf("%s: %v", to, err)
		}
		if took := time.Since(began); took < 60*time.Millisecond {
			t.Errorf("%s: there and back took %s", to, took)
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}
}
