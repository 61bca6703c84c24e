package kernel

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/portolan-lb/portolan/nettest"
)

// rulesetOf loads rules into a namespace and reads them as somebody else's.
func rulesetOf(t *testing.T, s *nettest.Space, text string) *Ruleset {
	t.Helper()
	s.Must("flush ruleset\n"+text, "nft", "-f", "-")
	var r *Ruleset
	var err error
	s.Do(func() { r, err = ReadRuleset() })
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func outward() Passing {
	return Passing{In: "lan0", Out: "wan1", InIndex: 7, OutIndex: 8, Protocol: unix.IPPROTO_TCP, DestPort: 443, Source: netip.MustParseAddr("10.0.0.5"), New: true}
}

// What becomes of a packet is told for sure where the rules say it for sure, and
// is let open where they go by what is not known of it.
func TestMeetPasses_Root(t *testing.T) {
	s := nettest.New(t)
	for _, c := range []struct {
		rules  string
		passes bool
		drops  bool
	}{
		{`accept`, true, false},
		{`iifname "lan0" accept`, true, false},
		{`iifname "lan1" accept`, false, true},
		{`iifname "lan*" accept`, true, false},
		{`iifname { "lan0", "lan1" } accept`, true, false},
		{`iifname { "wg0", "lan1" } accept`, false, true},
		{`iifname != { "wg0", "lan1" } accept`, true, false},
		{`oifname "wan1" ct state new accept`, true, false},
		{`ct state established,related accept`, false, true},
		{`ct state vmap { established : accept, new : jump sub }`, false, true},
		{`ct state vmap { established : accept, new : accept }`, true, false},
		{`ct status dnat accept`, false, true},
		{`tcp dport 443 accept`, true, false},
		{`tcp dport 80 accept`, false, true},
		{`tcp dport 1-1024 accept`, true, false},
		{`tcp dport { 80, 400-500 } accept`, true, false},
		{`tcp dport { 80, 444-500 } accept`, false, true},
		{`udp dport 443 accept`, false, true},
		{`ip saddr 10.0.0.0/24 accept`, true, false},
		{`ip saddr 10.0.0.0/8 accept`, true, false},
		{`ip saddr 192.168.0.0/16 accept`, false, true},
		{`ip saddr { 10.0.0.0/24, 10.2.0.0/16 } accept`, true, false},
		{`ip daddr 192.0.2.1 accept`, true, true}, // who knows where it goes
		{`meta mark 5 accept`, true, true},
		{`limit rate 5/second accept`, true, true},
		{`fib daddr type local accept`, true, true},
		{`iifname . oifname { "lan0" . "wan1" } accept`, true, false},
		{`iifname . oifname { "lan0" . "wan2" } accept`, false, true},
		{`jump sub`, false, true},
		{`jump sub; accept`, true, false},
		{`goto sub; accept`, false, true},
		{`jump open`, true, false},
		{`iif 7 accept`, true, false},
		{`iif 9 accept`, false, true},
		{`meta nfproto ipv6 accept`, false, true},
		{`reject`, false, true},
		{`iifname "lan0" counter log drop; accept`, false, true},
		{`iifname "lan1" drop; accept`, true, false},
	} {
		r := rulesetOf(t, s, "table inet fw {\n chain sub { iifname \"lan0\" return; accept; }\n chain open { accept; }\n chain f { type filter hook forward priority 0; policy drop; "+c.rules+"; }\n}")
		m := r.Meet("forward", outward())
		if m.Passes != c.passes || (m.Stopped != "") != c.drops {
			t.Errorf("%s: passes %v, stopped by %q; want %v, %v", c.rules, m.Passes, m.Stopped, c.passes, c.drops)
		}
	}
}

// Chains of other hooks and families have no word, and of several chains each has.
func TestMeetChains_Root(t *testing.T) {
	s := nettest.New(t)
	r := rulesetOf(t, s, `
add table ip6 a
add chain ip6 a f { type filter hook forward priority 0; policy drop; }
add table ip b
add chain ip b f { type filter hook input priority 0; policy drop; }
add table arp c
add chain arp c f { type filter hook input priority 0; policy drop; }
add table ip d
add chain ip d f { type filter hook forward priority 5; }
add table inet portolan_outbound
add chain inet portolan_outbound f { type filter hook forward priority 0; policy drop; }`)
	if m := r.Meet("forward", outward()); !m.Passes || m.Stopped != "" {
		t.Errorf("%+v", m)
	}
	p := outward()
	p.IPv6 = true
	if m := r.Meet("forward", p); m.Passes || m.Stopped != "the policy of chain ip6 a f" || !m.Policy {
		t.Errorf("%+v", m)
	}
}

// Which bits of a mark a rule writes is computed from its expressions.
func TestMeetMarks_Root(t *testing.T) {
	s := nettest.New(t)
	for _, c := range []struct {
		rule         string
		packet, conn uint32
	}{
		{"meta mark set 5", 0xffffffff, 0},
		{"meta mark set meta mark | 0x100", 0x100, 0},
		{"meta mark set meta mark & 0xffffff00", 0xff, 0},
		{"meta mark set meta mark & 0xff00ffff | 0x40000", 0xff0000, 0},
		{"meta mark set meta mark ^ 0x3", 3, 0},
		{"ct mark set ct mark & 0xfffffc00 | 3", 0, 0x3ff},
		{"ct mark set meta mark", 0, 0xffffffff},
		{"meta mark set ct mark", 0xffffffff, 0},
		{"meta mark set meta mark", 0, 0},
		{"ct mark set 1", 0, 0xffffffff},
		{"iifname \"lan1\" meta mark set 5", 0, 0},
		{"ct state established meta mark set 5", 0, 0},
		{"meta mark set numgen inc mod 4", 0xffffffff, 0},
		{"jump sub", 0x200, 0},
	} {
		r := rulesetOf(t, s, "table ip m {\n chain sub { meta mark set meta mark | 0x200; }\n chain unused { meta mark set 1; }\n chain p { type filter hook prerouting priority mangle; "+c.rule+"; }\n}")
		var packet, conn uint32
		p := outward()
		p.Out, p.OutIndex = "", 0
		for _, d := range r.Meet("prerouting", p).Deeds {
			switch d.What {
			case DeedMark:
				packet |= d.Bits
			case DeedConn:
				conn |= d.Bits
			}
		}
		if packet != c.packet || conn != c.conn {
			t.Errorf("%s: writes %#x and %#x, want %#x and %#x", c.rule, packet, conn, c.packet, c.conn)
		}
	}
}

// Deeds other than marks are told with where they are done.
func TestMeetDeeds_Root(t *testing.T) {
	s := nettest.New(t)
	r := rulesetOf(t, s, `table ip n {
 chain post { type nat hook postrouting priority srcnat; oifname "wan1" snat to 192.0.2.1; oifname "wan2" masquerade; }
 chain raw { type filter hook prerouting priority raw; notrack; }
}`)
	for hook, want := range map[string]string{"postrouting": DeedNAT, "prerouting": DeedUntrack} {
		deeds := r.Meet(hook, outward()).Deeds
		if len(deeds) != 1 || deeds[0].What != want || !strings.HasPrefix(deeds[0].Chain, "ip n ") || deeds[0].Handle == 0 {
			t.Errorf("%s: %+v, want one that %s", hook, deeds, want)
		}
	}
	p := outward()
	p.New = false
	if deeds := r.Meet("postrouting", p).Deeds; len(deeds) != 0 {
		t.Errorf("chains of NAT see packets after the first: %+v", deeds)
	}
}

// Rules of iptables-nft have targets and matches of xtables in them, as structures
// (linux/netfilter/xt_mark.h, xt_connmark.h, xt_conntrack.h).
func TestXtables(t *testing.T) {
	words := func(list ...uint32) (b []byte) {
		for _, n := range list {
			b = native.AppendUint32(b, n)
		}
		return b
	}
	for _, c := range []struct {
		e            expression
		packet, conn uint32
	}{
		{expression{target: "MARK", revision: 2, info: words(0x100, 0x3f00)}, 0x3f00, 0},
		{expression{target: "MARK", revision: 2, info: words(0x40000, 0xff0000)}, 0xff0000, 0},
		{expression{target: "MARK", revision: 1, info: words(1)}, 0xffffffff, 0},
		{expression{target: "CONNMARK", revision: 1, info: append(words(1, 0xf, 0xf0), 0)}, 0, 0xf},
		{expression{target: "CONNMARK", revision: 1, info: append(words(0, 0x3f00, 0x3f00), 1)}, 0, 0x3f00},
		{expression{target: "CONNMARK", revision: 2, info: append(words(0, 0x3f00, 0x3f00), 2)}, 0x3f00, 0},
		{expression{target: "CONNMARK", revision: 1, info: words(1)}, 0xffffffff, 0xffffffff},
		{expression{target: "TPROXY", info: words(0x1, 0x1, 0)}, 1, 0},
		{expression{target: "TCPMSS", info: words(1)}, 0, 0},
		{expression{target: "MARK", revision: 2, info: []byte{1}}, 0xffffffff, 0}, // cut short
	} {
		if packet, conn := c.e.writes(); packet != c.packet || conn != c.conn {
			t.Errorf("%+v: %#x, %#x", c.e, packet, conn)
		}
	}
	info := make([]byte, 156)
	native.PutUint16(info[146:], 1)
	native.PutUint16(info[150:], stateEstablished|1<<2)
	e := expression{name: "match", target: "conntrack", revision: 3, info: info}
	s := &sight{w: &meeting{packet: Passing{New: true}}}
	if s.match(&e) != never {
		t.Error("a new packet is taken for an established one")
	}
	s.w.packet.New = false
	if s.match(&e) != surely {
		t.Error("an established packet is not known")
	}
	native.PutUint16(info[148:], 1)
	if s.match(&e) != never {
		t.Error("! --ctstate is not known")
	}
}

// Docker's chain FORWARD as iptables-nft makes it: nothing of other interfaces
// gets through.
func TestMeetDocker_Root(t *testing.T) {
	s := nettest.New(t)
	r := rulesetOf(t, s, `table ip filter {
 chain DOCKER { }
 chain DOCKER-USER { counter return; }
 chain DOCKER-ISOLATION-STAGE-1 { iifname "docker0" oifname != "docker0" counter jump DOCKER-USER; counter return; }
 chain FORWARD { type filter hook forward priority filter; policy drop;
  counter jump DOCKER-USER
  counter jump DOCKER-ISOLATION-STAGE-1
  oifname "docker0" ct state related,established counter accept
  oifname "docker0" counter jump DOCKER
  iifname "docker0" oifname != "docker0" counter accept
 }
}`)
	m := r.Meet("forward", outward())
	if m.Passes || !m.Policy || m.Program != "docker" || m.Chain != "ip filter FORWARD" || !r.Program("docker") || r.Program("mwan3") {
		t.Errorf("%+v", m)
	}
}

// A packet that may go by many chains is followed through each of them once.
func TestMeetManyChains_Root(t *testing.T) {
	s := nettest.New(t)
	var b strings.Builder
	b.WriteString("table ip f {\n chain c0 { accept; }\n")
	for i := 1; i < 14; i++ {
		name, next := "c"+string(rune('a'+i)), "c"+string(rune('a'+i-1))
		if i == 1 {
			next = "c0"
		}
		b.WriteString(" chain " + name + " { " + strings.Repeat("limit rate 1/second jump "+next+"; ", 12) + "}\n")
	}
	b.WriteString(" chain f { type filter hook forward priority 0; policy drop; jump cn; }\n}")
	if m := rulesetOf(t, s, b.String()).Meet("forward", outward()); !m.Passes || m.Stopped == "" {
		t.Errorf("%+v", m)
	}
}

// FuzzRuleset: whatever rules hold, they are read and followed without a panic.
func FuzzRuleset(f *testing.F) {
	w := &wire{b: []byte{unix.NFPROTO_IPV4, 0, 0, 0}}
	w.text(unix.NFTA_RULE_TABLE, "t")
	w.text(unix.NFTA_RULE_CHAIN, "c")
	at := w.open(unix.NFTA_RULE_EXPRESSIONS)
	w.expr("meta", func() { w.u32(unix.NFTA_META_DREG, 1); w.u32(unix.NFTA_META_KEY, unix.NFT_META_MARK) })
	w.expr("bitwise", func() {
		w.u32(unix.NFTA_BITWISE_SREG, 1)
		w.u32(unix.NFTA_BITWISE_DREG, 1)
		w.u32(unix.NFTA_BITWISE_LEN, 4)
		w.value(unix.NFTA_BITWISE_MASK, []byte{1, 2, 3, 4})
		w.value(unix.NFTA_BITWISE_XOR, []byte{1, 2, 3, 4})
	})
	w.expr("lookup", func() { w.u32(unix.NFTA_LOOKUP_SREG, 1); w.text(unix.NFTA_LOOKUP_SET, "s") })
	w.expr("match", func() { w.text(1, "conntrack"); w.u32(2, 3); w.put(3, make([]byte, 160)) })
	w.expr("target", func() { w.text(1, "CONNMARK"); w.u32(2, 1); w.put(3, make([]byte, 16)) })
	w.end(at)
	f.Add(w.b)
	f.Add([]byte("0: 0100007F:0035 00000000:0000 0A 0 0 0 0 0 77"))
	f.Fuzz(func(t *testing.T, b []byte) {
		base := tableKey{unix.NFPROTO_IPV4, "t"}
		c := &foreignChain{chainKey: chainKey{base, "c"}, kind: "filter", point: 2}
		r := &Ruleset{chains: map[chainKey]*foreignChain{c.chainKey: c}, base: []*foreignChain{c},
			sets: map[setKey]*foreignSet{{base, "s"}: {width: 4, read: true, list: []Element{{Key: []byte{1}}}}}}
		if len(b) > 0 {
			a := attributesOf(b)
			r.takeRule(b[0], a)
			r.takeSet(b[0], a)
			r.takeChain(b[0], a)
		}
		r.Meet("forward", outward())
		parsePolicy(b)
		parseSocket(string(b), true)
		unitOf(string(b))
	})
}

func TestParseSocket(t *testing.T) {
	const head = "   1: "
	for _, c := range []struct {
		line string
		tcp  bool
		want string
	}{
		{"0100007F:0035 00000000:0000 0A 0:0 00:0 0 0 0 4711 1", true, "127.0.0.1:53"},
		{"0100007F:0035 00000000:0000 01 0:0 00:0 0 0 0 4711 1", true, ""}, // a connection
		{"00000000:14B4 00000000:0000 07 0:0 00:0 0 0 0 4711 2", false, "0.0.0.0:5300"},
		{"00000000000000000000000000000000:0035 00000000000000000000000000000000:0000 07 0:0 00:0 0 0 0 4711 2", false, "[::]:53"},
		{"B80D01200000000000000000010000FE:0035 0:0 0A 0:0 00:0 0 0 0 4711 2", true, "[2001:db8::fe00:1]:53"},
		{"zz:0035 0:0 0A 0:0 00:0 0 0 0 4711 2", true, ""},
		{"local_address rem_address st", true, ""},
	} {
		l, ok := parseSocket(head+c.line, c.tcp)
		if ok != (c.want != "") || ok && (l.Address.String() != c.want || l.Inode != 4711 || l.TCP != c.tcp) {
			t.Errorf("%s: %+v %v", c.line, l, ok)
		}
	}
}

// Users name their cgroups as they like: what goes into a command is of the system.
func TestUnitOf(t *testing.T) {
	for cgroup, want := range map[string]string{
		"0::/system.slice/dnsmasq.service\n":                                             "dnsmasq.service",
		"0::/system.slice/named.service/sub\n":                                           "named.service",
		"0::/user.slice/user-1000.slice/user@1000.service/app.slice/$(reboot).service\n": "",
		"0::/init.scope\n": "",
		"":                 "",
	} {
		if got := unitOf(cgroup); got != want {
			t.Errorf("%s: %q", cgroup, got)
		}
	}
}

// Rules of others are told with what is odd about them.
func TestPolicyEntries_Root(t *testing.T) {
	s := nettest.New(t)
	for _, rule := range []string{"pref 100 from 10.0.0.0/8 lookup 10", "pref 101 not from all fwmark 0xca6c lookup 51820",
		"pref 102 lookup main suppress_prefixlength 0", "pref 103 fwmark 0x100/0x3f00 lookup 1", "pref 104 from all ipproto udp lookup 5", "pref 105 iif lo lookup 7", "pref 1001 fwmark 0x1/0x3ff lookup 1001 proto 80"} {
		s.IP("rule add " + rule)
	}
	var r *Reader
	var err error
	s.Do(func() { r, err = Open() })
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	list, err := r.PolicyEntries()
	if err != nil {
		t.Fatal(err)
	}
	get := func(priority int) PolicyEntry {
		i := slices.IndexFunc(list, func(e PolicyEntry) bool { return !e.IPv6 && e.Priority == priority })
		if i < 0 {
			t.Fatalf("no rule %d among %+v", priority, list)
		}
		return list[i]
	}
	if e := get(100); e.Text != "from 10.0.0.0/8 lookup 10" || e.Ours || e.Narrow || e.Not || e.Suppress || e.Goes {
		t.Errorf("%+v", e)
	}
	if e := get(101); !e.Not || e.Mask != 0xffffffff || !strings.HasPrefix(e.Text, "not fwmark 0xca6c") {
		t.Errorf("%+v", e)
	}
	if e := get(102); !e.Suppress || e.Narrow {
		t.Errorf("%+v", e)
	}
	if e := get(103); e.Mask != 0x3f00 || e.Mark != 0x100 || e.Narrow {
		t.Errorf("%+v", e)
	}
	if e := get(104); !e.Narrow {
		t.Errorf("%+v", e)
	}
	if e := get(105); e.In != "lo" || e.Narrow {
		t.Errorf("%+v", e)
	}
	if e := get(1001); !e.Ours {
		t.Errorf("%+v", e)
	}
	if e := get(32766); e.Ours || e.Narrow || e.Goes {
		t.Errorf("%+v", e)
	}
}
