package dnsproxy

import (
	"flag"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/portolan-lb/portolan/config"
	"github.com/portolan-lb/portolan/kernel"
	"github.com/portolan-lb/portolan/nettest"
)

var update = flag.Bool("update", false, "write the golden files")

func intercepting(t testing.TB, change func(*config.DNSProxy)) *kernel.Wishes {
	t.Helper()
	m := &config.Model{DNSProxy: &config.DNSProxy{Enabled: true, Interfaces: []string{"lan0", "wlan0"}, Port: 5300,
		Addresses: []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0"), netip.MustParsePrefix("::/0")}}}
	if change != nil {
		change(m.DNSProxy)
	}
	p, err := Compile(m, config.Source{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	return p.Wishes([]kernel.Interface{{Name: "lan0"}})
}

func prefixes(list ...string) (out []netip.Prefix) {
	for _, s := range list {
		out = append(out, netip.MustParsePrefix(s))
	}
	return out
}

var interceptions = map[string]func(*config.DNSProxy){
	"default": nil,
	"narrow": func(p *config.DNSProxy) {
		p.Addresses = prefixes("8.8.0.0/16", "8.8.8.0/24", "10.1.0.1/32", "fd10::1/128")
		p.Exclude = prefixes("10.1.0.40/32", "10.1.0.0/28", "fd10::40/128")
	},
}

func TestWishes_Golden(t *testing.T) {
	for name, change := range interceptions {
		got := intercepting(t, change).Text()
		file := filepath.Join("testdata", "wishes-"+name+".txt")
		if *update {
			if err := os.MkdirAll("testdata", 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(file)
		if err != nil || got != string(want) {
			t.Errorf("%s differs (run with -update and read the change): %v\n%s", file, err, got)
		}
	}
}

// What the interpreter of the rules does with a packet, at addresses of which
// the gateway has 10.1.0.1, 203.0.113.2 and fd10::1 (FAQ 1.3.1, T40).
func TestWishes_Packets_1_3_1(t *testing.T) {
	for _, c := range []struct {
		with, in, from, to string
		taken              bool
	}{
		{"default", "lan0", "10.1.0.9", "8.8.8.8:53/udp", true},
		{"default", "lan0", "10.1.0.9", "8.8.8.8:53/tcp", true},
		{"default", "lan0", "fd10::9", "[2001:db8::53]:53/udp", true},
		{"default", "lan0", "10.1.0.9", "8.8.8.8:5353/udp", false},
		{"default", "lan0", "10.1.0.9", "8.8.8.8:53/sctp", false},
		{"default", "wan1", "10.1.0.9", "8.8.8.8:53/udp", false},
		{"default", "lan0", "10.1.0.9", "10.1.0.1:53/udp", false},
		{"default", "lan0", "10.1.0.9", "203.0.113.2:53/tcp", false},
		{"default", "lan0", "fd10::9", "[fd10::1]:53/udp", false},
		{"default", "lan0", "10.1.0.9", "255.255.255.255:53/udp", false},
		{"default", "lan0", "10.1.0.9", "224.0.0.1:53/udp", false},
		{"narrow", "lan0", "10.1.0.90", "10.1.0.1:53/udp", true},
		{"narrow", "lan0", "10.1.0.90", "203.0.113.2:53/udp", false},
		{"narrow", "lan0", "fd10::9", "[fd10::1]:53/tcp", true},
		{"narrow", "lan0", "10.1.0.90", "8.8.4.4:53/udp", true},
		{"narrow", "lan0", "10.1.0.90", "8.8.8.255:53/udp", true},
		{"narrow", "lan0", "10.1.0.90", "8.9.0.0:53/udp", false},
		{"narrow", "lan0", "fd10::9", "[2001:db8::53]:53/udp", false},
		{"narrow", "lan0", "10.1.0.40", "8.8.8.8:53/udp", false},
		{"narrow", "lan0", "10.1.0.41", "8.8.8.8:53/udp", true},
		{"narrow", "lan0", "10.1.0.15", "10.1.0.1:53/udp", false},
		{"narrow", "lan0", "10.1.0.16", "10.1.0.1:53/udp", true},
		{"narrow", "lan0", "fd10::40", "[fd10::1]:53/udp", false},
	} {
		if got := taken(t, intercepting(t, interceptions[c.with]), c.in, c.from, c.to); got != c.taken {
			t.Errorf("%s: %s from %s by %s: taken is %v", c.with, c.to, c.from, c.in, got)
		}
	}
}

// Linux takes the table as it is written, where it has a text that nft takes.
func TestWishes_NFT_Root(t *testing.T) {
	s := nettest.New(t)
	for name, change := range interceptions {
		if out, err := s.Run(intercepting(t, change).Text(), "nft", "-c", "-f", "-"); err != nil {
			t.Errorf("%s: %v\n%s", name, err, out)
		}
	}
}

// Without a proxy nothing is wished; both families are routed to this machine,
// by their mark alone; settings are wished for of interfaces that there are.
func TestWishes_Rest(t *testing.T) {
	none := &config.Model{}
	p, err := Compile(none, config.Source{}, nil)
	if err != nil || p.Wishes(nil) != nil {
		t.Errorf("%v, %v", p.Wishes(nil), err)
	}
	w := intercepting(t, nil)
	if len(w.Rules) != 2 || len(w.Routes) != 2 || w.Rules[0].IPv6 || !w.Rules[1].IPv6 {
		t.Errorf("%+v, %+v", w.Rules, w.Routes)
	}
	for _, r := range w.Rules {
		if r.Mark != kernel.Intercepted || r.Mask != kernel.Intercepted || r.Table != interceptTable || r.Priority != 500 {
			t.Errorf("%+v", r)
		}
	}
	names := ""
	for _, s := range w.Sysctls {
		names += s.Name + " "
	}
	if strings.Contains(names, "wlan0") || !strings.Contains(names, "ipv4/conf/lan0/src_valid_mark") {
		t.Errorf("%s", names)
	}
}

func packet(t *testing.T, in, from, to string) kernel.Packet {
	t.Helper()
	at, protocol, _ := strings.Cut(to, "/")
	dest := netip.MustParseAddrPort(at)
	return kernel.Packet{In: in, Source: netip.MustParseAddr(from), SourcePort: 40000, Dest: dest.Addr(), DestPort: dest.Port(),
		Protocol: map[string]uint8{"udp": 17, "tcp": 6, "sctp": 132}[protocol], Ct: kernel.CtInfo{State: kernel.CtNew}}
}

func worldOf(w *kernel.Wishes) *kernel.World {
	world := kernel.NewWorld(w)
	world.AddressType = kernel.AddressTypes(netip.MustParsePrefix("10.1.0.1/24"), netip.MustParsePrefix("203.0.113.2/24"), netip.MustParsePrefix("fd10::1/64"))
	return world
}

// taken sends a query and says whether it came to the proxy.
func taken(t *testing.T, w *kernel.Wishes, in, from, to string) bool {
	t.Helper()
	return takes(t, w, packet(t, in, from, to))
}

func takes(t *testing.T, w *kernel.Wishes, p kernel.Packet) bool {
	t.Helper()
	trace, err := worldOf(w).Walk("prerouting", p)
	if err != nil {
		t.Fatal(err)
	}
	if trace.End != kernel.Passed || (trace.Socket != nil) != (trace.Packet.Mark == kernel.Intercepted) || trace.Packet.Ct.Mark != 0 {
		t.Errorf("%s from %s: %+v", p.Dest, p.Source, trace)
	}
	return trace.Socket != nil
}

// Without a socket of ours the query goes on unmarked (the proxy fails open). A
// TCP connection that was given a link stays on it, and replies of the inside's
// own servers are no queries.
func TestWishes_LeftAlone(t *testing.T) {
	w := intercepting(t, nil)
	walk := func(p kernel.Packet, listens bool) *kernel.Trace {
		world := worldOf(w)
		world.Listens = func(*kernel.Packet, kernel.TProxy) bool { return listens }
		trace, err := world.Walk("prerouting", p)
		if err != nil {
			t.Fatal(err)
		}
		return trace
	}
	for _, to := range []string{"8.8.8.8:53/udp", "8.8.8.8:53/tcp"} {
		if trace := walk(packet(t, "lan0", "10.1.0.9", to), false); trace.End != kernel.Passed || trace.Packet.Mark != 0 {
			t.Errorf("%s without a proxy: %+v", to, trace)
		}
	}
	old := packet(t, "lan0", "10.1.0.9", "8.8.8.8:53/tcp")
	old.Ct = kernel.CtInfo{State: kernel.CtEstablished, Mark: 3}
	if trace := walk(old, true); trace.Socket != nil {
		t.Error("a TCP connection over link 3 was taken")
	}
	old.Protocol = 17
	if trace := walk(old, true); trace.Socket == nil {
		t.Error("a query of a UDP socket that asked before was not taken")
	}
	reply := packet(t, "lan0", "10.1.0.53", "198.51.100.7:53/udp")
	reply.Ct = kernel.CtInfo{State: kernel.CtEstablished, Reply: true}
	if trace := walk(reply, true); trace.Socket != nil {
		t.Error("the reply of a DNS server of the inside was taken for a query")
	}
	other := packet(t, "lan0", "10.1.0.9", "8.8.8.8:53/udp")
	other.Mark = 0x4000_0000
	if trace := walk(other, true); trace.Packet.Mark != 0x4000_0000|kernel.Intercepted {
		t.Errorf("the mark of somebody else became %#x", trace.Packet.Mark)
	}
}

// What is no query by the flags of its header goes on as it is (reliability 2.1:
// what cannot be made anew is not touched): over TCP that cannot be seen yet.
func TestWishes_NoQuery(t *testing.T) {
	w := intercepting(t, nil)
	for _, c := range []struct {
		what  string
		to    string
		flags uint8
		taken bool
	}{
		{"a query", "8.8.8.8:53/udp", 0x01, true}, {"a query with AA and TC", "[2001:db8::53]:53/udp", 0x07, true},
		{"an update", "8.8.8.8:53/udp", 5 << 3, false}, {"a notify", "[2001:db8::53]:53/udp", 4<<3 | 4, false}, {"a response", "8.8.8.8:53/udp", 0x80, false},
		{"whatever it is", "8.8.8.8:53/tcp", 0, true},
	} {
		from := "10.1.0.9"
		if c.to[0] == '[' {
			from = "fd10::9"
		}
		p := packet(t, "lan0", from, c.to)
		p.DNSFlags = c.flags
		if got := takes(t, w, p); got != c.taken {
			t.Errorf("%s to %s: taken is %v", c.what, c.to, got)
		}
	}
}
