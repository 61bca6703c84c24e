package nettest

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"
)

// balanced is a balancer written by hand, 1:1:2 by turns, so that what the
// fixture says of it is known. The mapping is the one of the design: the
// connection's mark is the virtual server, and the server is a number.
func balanced(t *testing.T, f *Farm, more string) {
	t.Helper()
	to := func(family string) string {
		var all []string
		for n, h := range []int{1, 2, 3, 3} {
			a := f.Hosts[h-1].Addr4
			if family == "ip6" {
				a = f.Hosts[h-1].Addr6
			}
			all = append(all, fmt.Sprintf("%d : %s", n, a))
		}
		return fmt.Sprintf("dnat %s to numgen inc mod 4 map { %s }", family, strings.Join(all, ", "))
	}
	f.Must(fmt.Sprintf(`table inet hand {
	map vs4 { type ipv4_addr . inet_proto . inet_service : mark; elements = { %[1]s . tcp . 80 : 0x400, %[1]s . udp . 80 : 0x800 } }
	map vs6 { type ipv6_addr . inet_proto . inet_service : mark; elements = { %[2]s . tcp . 80 : 0xc00, %[2]s . udp . 80 : 0x1000 } }
	chain early {
		type filter hook prerouting priority -152;
		ct state established,related accept
		ct mark set ip daddr . meta l4proto . th dport map @vs4
		ct mark set ip6 daddr . meta l4proto . th dport map @vs6
	}
	chain serve4 { %[3]s; }
	chain serve6 { %[4]s; }
	chain serve {
		type nat hook prerouting priority -101;
		ct mark 0 accept
		meta nfproto ipv4 goto serve4
		goto serve6
	}
	chain source { type nat hook postrouting priority 99; ct mark != 0 iifname "back0" oifname "back0" masquerade; %[5]s; }
}
`, f.Virtual4(1), f.Virtual6(1), to("ip"), to("ip6"), more), "nft", "-f", "-")
}

// four and six go to the first virtual server from 97 clients.
func (f *Farm) four(i int) (netip.Addr, netip.AddrPort) {
	return f.Client4(i % 97), netip.AddrPortFrom(f.Virtual4(1), 80)
}

func (f *Farm) six(i int) (netip.Addr, netip.AddrPort) {
	return f.Client6(i % 97), netip.AddrPortFrom(f.Virtual6(1), 80)
}

// What the servers see is what was done, for each kind of traffic.
func TestFarm_Root(t *testing.T) {
	f := NewFarm(t, FarmLayout{Hosts: 3})
	balanced(t, f, "")
	f.Serve(80)
	for name, s := range map[string]Spread{
		"TCP, IPv4": f.Connect(400, f.four), "TCP, IPv6": f.InTurn(400, f.six), "UDP, IPv4": f.Flows(400, 3, f.four), "UDP, IPv6": f.Flows(400, 3, f.six),
	} {
		if got := fmt.Sprint(s); got != "[100 100 200]" || len(s.Source) != 97 || len(s.At) != 3 || s.P99 < s.Median || s.Median == 0 {
			t.Errorf("%s: %s, from %d sources, at %d addresses; %s, p99 %s", name, got, len(s.Source), len(s.At), s.Median, s.P99)
		}
	}
	if h := f.Hosts[2]; h.Connections() != 400 || h.SYNs() != 400 || h.Datagrams() != 1200 {
		t.Errorf("%d connections, %d tries, %d datagrams", h.Connections(), h.SYNs(), h.Datagrams())
	}
	if n := f.HostOf(f.Hosts[1].Server(7, f.Client6(0))); n != 2 {
		t.Errorf("an address of host 2 is of host %d", n)
	}
	talk, err := f.TCP(f.Client4(0), netip.AddrPortFrom(f.Hosts[1].Server(7, f.Client4(0)), 80))
	if err != nil || talk.First.Host != 2 || talk.First.Source.Addr() != f.Client4(0) {
		t.Fatalf("%v, %v", talk, err)
	}
	talk.Close()
	marked := f.Watch("marked", "postrouting priority 400", "ip daddr 10.30.0.0/16 ct mark 0x400")
	if s := f.Burst(40, f.four); s.OK() != 40 || marked.Packets() < 40 {
		t.Errorf("a burst: %s, %d packets", s, marked.Packets())
	}
	// A server that asks its own virtual server comes by the balancer.
	talk, err = Call(f.Hosts[0].Space, f.Hosts[0].Addr4, netip.AddrPortFrom(f.Virtual4(1), 80), Patience)
	if err != nil || talk.First.Source.Addr() != BackGate4 {
		t.Fatalf("%v, %v", talk, err)
	}
	talk.Close()
	if err := f.Ping(f.Client4(3), f.Hosts[1].Addr4, 7); err != nil || f.Hosts[1].Pings() != 1 {
		t.Errorf("%v, %d pings", err, f.Hosts[1].Pings())
	}
}

// Servers that are slow, die, hang, or are gone; connections that are held
// notice it, and only those of that server.
func TestFarmFails_Root(t *testing.T) {
	f := NewFarm(t, FarmLayout{Hosts: 3})
	balanced(t, f, "")
	f.Serve(80)
	held, opened := f.Hold(80, 20*time.Millisecond, f.four)
	if fmt.Sprint(opened) != "[20 20 40]" {
		t.Fatal(opened)
	}
	soon(t, func() bool { return held.Fate().Said >= 160 })
	f.Hosts[0].Die(80, true)
	one := func(h int) error {
		_, err := f.visit(f.Client4(1), netip.AddrPortFrom(f.Hosts[h-1].Addr4, 80))
		return err
	}
	if err := one(1); err == nil || !strings.Contains(err.Error(), "refused") {
		t.Errorf("a dead server: %v", err)
	}
	soon(t, func() bool { return held.Fate().Lost >= 20 })
	if fate := held.Stop(); fate.Lost != 20 || fate.Wrong != 0 || fate.Said < 80 {
		t.Errorf("one of three died: %+v", fate)
	}
	f.Hosts[0].Die(80, false)
	f.Hosts[1].Slow(150 * time.Millisecond)
	began := time.Now()
	if err := one(2); err != nil || time.Since(began) < 150*time.Millisecond {
		t.Errorf("a slow server: %v after %s", err, time.Since(began))
	}
	f.Hosts[1].Slow(0)
	f.Hosts[2].Mute(80, true)
	if err := one(3); err == nil || !strings.Contains(err.Error(), "timeout") {
		t.Errorf("a server that hangs: %v", err)
	}
	f.Hosts[2].Mute(80, false)
	f.Hosts[1].Silence(true)
	if err := f.Ping(f.Client4(1), f.Hosts[1].Addr4, 8); err == nil {
		t.Error("a silent host answers")
	}
	f.Hosts[1].Silence(false)
	for h := 1; h <= 3; h++ {
		if err := one(h); err != nil {
			t.Errorf("host %d is not as before: %v", h, err)
		}
	}
}

// On one arm a client's connection works only if the server's reply comes by
// the balancer; and a server that has the virtual address itself answers the
// client directly.
func TestFarmOneArm_Root(t *testing.T) {
	f := NewFarm(t, FarmLayout{Hosts: 3, OneArm: true})
	f.Batch(fmt.Sprintf("addr add %s/32 dev back0", f.Virtual4(1)), fmt.Sprintf("-6 addr add %s/128 dev back0 nodad", f.Virtual6(1)), fmt.Sprintf("addr add %s/32 dev back0", f.Virtual4(2)))
	for _, name := range []string{"all", "back0"} {
		f.Set("ipv4/conf/"+name+"/send_redirects", "0")
	}
	balanced(t, f, "")
	f.Serve(80)
	for _, route := range []Route{f.four, f.six} {
		if s := f.Connect(80, route); fmt.Sprint(s) != "[20 20 40]" || len(s.Source) != 1 {
			t.Errorf("%s from %v", s, s.Source)
		}
	}
	f.Must("flush chain inet hand source\n", "nft", "-f", "-")
	if s := f.InTurn(1, f.four); s.Failed != 1 {
		t.Errorf("without masquerade: %s", s)
	}
	f.Hosts[0].Hold(f.Virtual4(2))
	f.Must(fmt.Sprintf("table ip direct { chain pre { type filter hook prerouting priority -300; ip daddr %[1]s dup to %[2]s; ip daddr %[1]s drop; }\n}\n", f.Virtual4(2), f.Hosts[0].Addr4), "nft", "-f", "-")
	seen, err := f.visit(f.Client4(3), netip.AddrPortFrom(f.Virtual4(2), 80))
	if err != nil || seen.Host != 1 || seen.Source.Addr() != f.Client4(3) || seen.At.Addr() != f.Virtual4(2) {
		t.Errorf("directly: %+v, %v", seen, err)
	}
}

// soon waits for something that is about to be so.
func soon(t *testing.T, is func() bool) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for began := time.Now(); !is() && time.Since(began) < 10*time.Second; <-tick.C {
	}
}
