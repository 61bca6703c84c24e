package doctor

import (
	"net/netip"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/portolan-lb/portolan/config"
	"github.com/portolan-lb/portolan/kernel"
)

func prefixes(list ...string) (all []netip.Prefix) {
	for _, s := range list {
		all = append(all, netip.MustParsePrefix(s))
	}
	return all
}

// healthy is a gateway with nothing wrong: what each test spoils.
func healthy() *Facts {
	f := &Facts{
		Wanted: Wanted{Configured: true, Balances: true, Proxies: true, Inside: []string{"lan0"},
			Links: []Link{{Name: "telecom", Interface: "wan1"}, {Name: "unicom", Interface: "wan2"}}, Helpers: []config.Helper{config.HelperFTP},
			Listeners: []Listener{{netip.MustParseAddrPort("192.0.2.1:53"), true, true}}, ProxyPort: 5300},
		Interfaces: []kernel.Interface{
			{Index: 1, Name: "lo", Up: true},
			{Index: 2, Name: "lan0", Up: true, Addresses: prefixes("10.0.0.1/24", "fd00::1/64")},
			{Index: 3, Name: "wan1", Up: true, Addresses: prefixes("192.0.2.1/24", "2001:db8::1/64")},
			{Index: 4, Name: "wan2", Up: true, Addresses: prefixes("198.51.100.1/24")}},
		Sysctls: map[string]string{"ipv4/ip_forward": "1", "ipv4/fwmark_reflect": "0", "ipv6/fwmark_reflect": "0", "ipv4/tcp_fwmark_accept": "0",
			"netfilter/nf_conntrack_tcp_loose": "1", "netfilter/nf_conntrack_tcp_timeout_time_wait": "120", "netfilter/nf_conntrack_buckets": "262144"},
		Tracking: kernel.Tracking{Entries: 100, Max: 262144},
		Helpers:  map[string]bool{"ftp": true}, Programs: map[string]bool{},
		Meet: meets(nil),
		Rules: []kernel.PolicyEntry{{PolicyRule: kernel.PolicyRule{Priority: 0, Table: 255}, Text: "from all lookup 255"},
			{PolicyRule: kernel.PolicyRule{Priority: 32766, Table: 254}, Text: "from all lookup 254"},
			{PolicyRule: kernel.PolicyRule{Priority: 1001, Mark: 1, Mask: 0x3ff, Table: 1001}, Ours: true}},
	}
	for _, name := range []string{"all", "lan0", "wan1", "wan2"} {
		for key, v := range map[string]string{"ipv4 rp_filter": "0", "ipv4 src_valid_mark": "0", "ipv4 forwarding": "1", "ipv6 forwarding": "1", "ipv6 accept_ra": "2", "ipv6 disable_ipv6": "0", "ipv6 keep_addr_on_down": "1"} {
			family, key, _ := strings.Cut(key, " ")
			f.Sysctls[conf(family, name, key)] = v
		}
	}
	return f
}

// meets is a set of chains that does something to packets of some hooks.
func meets(by func(hook string, p kernel.Passing) *kernel.Meeting) func(string, kernel.Passing) kernel.Meeting {
	return func(hook string, p kernel.Passing) kernel.Meeting {
		if by != nil {
			if m := by(hook, p); m != nil {
				return *m
			}
		}
		return kernel.Meeting{Passes: true}
	}
}

func does(at string, d kernel.Deed) func(string, kernel.Passing) kernel.Meeting {
	return meets(func(hook string, _ kernel.Passing) *kernel.Meeting {
		if hook != at {
			return nil
		}
		return &kernel.Meeting{Passes: true, Deeds: []kernel.Deed{d}}
	})
}

func stops(at, chain, program string) func(string, kernel.Passing) kernel.Meeting {
	return meets(func(hook string, p kernel.Passing) *kernel.Meeting {
		if hook != at || hook == "forward" && !p.New || p.IPv6 {
			return nil
		}
		return &kernel.Meeting{Stopped: "the policy of chain " + chain, Chain: chain, Policy: true, Program: program}
	})
}

func rule(priority int, mark, mask uint32, text string) kernel.PolicyEntry {
	return kernel.PolicyEntry{PolicyRule: kernel.PolicyRule{Priority: priority, Mark: mark, Mask: mask, Table: 10}, Text: text}
}

func socket(address, name string, tcp bool) kernel.Listening {
	return kernel.Listening{TCP: tcp, Address: netip.MustParseAddrPort(address), Inode: 7, Holder: kernel.Holder{PID: 77, Name: name}}
}

// Each kind of trouble is found by its name, at its level, with the command that
// repairs it; and nothing else with it.
func TestFindings(t *testing.T) {
	told := map[string]bool{}
	for _, c := range []struct {
		name   string
		spoil  func(f *Facts)
		want   string // level and id; "": nothing
		repair string // the first command
	}{
		{"healthy", func(f *Facts) {}, "", ""},
		{"no such interface", func(f *Facts) { f.Inside = append(f.Inside, "lan9") }, "problem interface-missing", "ip link show"},
		{"interface off", func(f *Facts) {
			f.Interfaces[3].Up, f.Interfaces[3].Why = false, "it is switched off (ip link set wan2 up)"
		}, "problem interface-down", "ip link set wan2 up"},
		{"no carrier", func(f *Facts) { f.Interfaces[3].Up, f.Interfaces[3].Why = false, "no carrier" }, "hint interface-down", "ethtool wan2"},
		{"trap 1: src_valid_mark of all", func(f *Facts) { f.Sysctls["ipv4/conf/all/src_valid_mark"] = "1" }, "problem src-valid-mark", "sysctl -w net.ipv4.conf.all.src_valid_mark=0"},
		{"trap 1: src_valid_mark of one", func(f *Facts) { f.Sysctls["ipv4/conf/wan1/src_valid_mark"] = "1" }, "problem src-valid-mark", "sysctl -w net.ipv4.conf.wan1.src_valid_mark=0"},
		{"src_valid_mark of another", func(f *Facts) { f.Sysctls["ipv4/conf/eth9/src_valid_mark"] = "1" }, "", ""},
		{"trap 1: fwmark_reflect", func(f *Facts) { f.Sysctls["ipv4/fwmark_reflect"] = "1" }, "problem fwmark-reflect", "sysctl -w net.ipv4.fwmark_reflect=0"},
		{"trap 1: fwmark_reflect of IPv6", func(f *Facts) { f.Sysctls["ipv6/fwmark_reflect"] = "1" }, "problem fwmark-reflect", "sysctl -w net.ipv6.fwmark_reflect=0"},
		{"trap 1: tcp_fwmark_accept", func(f *Facts) { f.Sysctls["ipv4/tcp_fwmark_accept"] = "1" }, "problem tcp-fwmark-accept", "sysctl -w net.ipv4.tcp_fwmark_accept=0"},
		{"no gateway, no trap", func(f *Facts) { f.Sysctls["ipv4/tcp_fwmark_accept"] = "1"; f.Balances, f.Proxies = false, false }, "", ""},
		{"strict rp_filter of one", func(f *Facts) { f.Sysctls["ipv4/conf/wan2/rp_filter"] = "1" }, "problem rp-filter", "sysctl -w net.ipv4.conf.wan2.rp_filter=2"},
		{"loose is larger", func(f *Facts) {
			f.Sysctls["ipv4/conf/wan2/rp_filter"], f.Sysctls["ipv4/conf/all/rp_filter"] = "1", "2"
		}, "", ""},
		{"strict of all, loose of each", func(f *Facts) {
			f.Sysctls["ipv4/conf/all/rp_filter"] = "1"
			for _, n := range []string{"lan0", "wan1", "wan2"} {
				f.Sysctls[conf("ipv4", n, "rp_filter")] = "2"
			}
		}, "", ""},
		{"forwarding off", func(f *Facts) { f.Sysctls["ipv4/ip_forward"] = "0" }, "problem forwarding", "sysctl -w net.ipv4.ip_forward=1"},
		{"forwarding of one off", func(f *Facts) { f.Sysctls["ipv4/conf/lan0/forwarding"] = "0" }, "problem forwarding", "sysctl -w net.ipv4.conf.lan0.forwarding=1"},
		{"forwarding of IPv6 off", func(f *Facts) { f.Sysctls["ipv6/conf/all/forwarding"] = "0" }, "problem forwarding", "sysctl -w net.ipv6.conf.all.forwarding=1"},
		{"forwarding of IPv6 off, routes are learnt", func(f *Facts) {
			f.Sysctls["ipv6/conf/all/forwarding"], f.Sysctls["ipv6/conf/wan1/accept_ra"], f.Sysctls["ipv6/conf/wan1/forwarding"] = "0", "1", "0"
		}, "problem forwarding", "sysctl -w net.ipv6.conf.wan1.accept_ra=2"},
		{"forwarding of IPv6 off, no IPv6", func(f *Facts) {
			f.Sysctls["ipv6/conf/all/forwarding"] = "0"
			f.Interfaces[1].Addresses = prefixes("10.0.0.1/24", "fe80::1/64")
		}, "", ""},
		{"accept_ra while forwarding", func(f *Facts) { f.Sysctls["ipv6/conf/wan1/accept_ra"] = "1" }, "problem accept-ra", "sysctl -w net.ipv6.conf.wan1.accept_ra=2"},
		{"accept_ra, next hop configured", func(f *Facts) { f.Sysctls["ipv6/conf/wan1/accept_ra"] = "1"; f.Links[0].NextHop6 = true }, "", ""},
		{"accept_ra by a program", func(f *Facts) { f.Sysctls["ipv6/conf/wan1/accept_ra"] = "0" }, "", ""},
		{"IPv6 disabled", func(f *Facts) { f.Sysctls["ipv6/conf/wan2/disable_ipv6"] = "1" }, "problem ipv6-disabled", "sysctl -w net.ipv6.conf.wan2.disable_ipv6=0"},
		{"trap 7: addresses go", func(f *Facts) {
			f.Sysctls["ipv6/conf/all/keep_addr_on_down"], f.Sysctls["ipv6/conf/wan1/keep_addr_on_down"] = "0", "0"
		}, "hint addresses-on-down", "sysctl -w net.ipv6.conf.wan1.keep_addr_on_down=1"},
		{"trap 9: nearly full", func(f *Facts) { f.Tracking.Entries = 200000 }, "problem conntrack-full", "sysctl -w net.netfilter.nf_conntrack_max=524288"},
		{"trap 9: small", func(f *Facts) { f.Tracking.Max = 16384 }, "hint conntrack-small", "sysctl -w net.netfilter.nf_conntrack_max=262144"},
		{"trap 9: lost", func(f *Facts) { f.Tracking.EarlyDrop = 3 }, "hint conntrack-lost", "sysctl -w net.netfilter.nf_conntrack_max=524288"},
		{"few buckets", func(f *Facts) { f.Sysctls["netfilter/nf_conntrack_buckets"] = "1024" }, "hint conntrack-buckets", "sysctl -w net.netfilter.nf_conntrack_buckets=262144"},
		{"tcp_loose", func(f *Facts) { f.Sysctls["netfilter/nf_conntrack_tcp_loose"] = "0" }, "problem tcp-loose", "sysctl -w net.netfilter.nf_conntrack_tcp_loose=1"},
		{"what the configuration sets", func(f *Facts) {
			f.Wanted.Sysctls = []kernel.Sysctl{{Name: "netfilter/nf_conntrack_tcp_timeout_time_wait", Values: []string{"20"}}, {Name: "ipv4/conf/all/rp_filter", Values: []string{"2"}}}
		}, "problem setting", "sysctl -w net.netfilter.nf_conntrack_tcp_timeout_time_wait=20"},
		{"no helper", func(f *Facts) { f.Helpers["ftp"] = false }, "problem helper-missing", "modprobe -a nf_conntrack_ftp nf_nat_ftp"},
		{"helper not known", func(f *Facts) { f.Helpers = nil }, "", ""},
		{"helpers by port", func(f *Facts) { f.Sysctls["netfilter/nf_conntrack_helper"] = "1" }, "hint helper-automatic", "sysctl -w net.netfilter.nf_conntrack_helper=0"},
		{"mwan3's rule", func(f *Facts) {
			f.Rules = append(f.Rules, rule(2001, 0x100, 0x3f00, "fwmark 0x100/0x3f00 lookup 1"))
			f.Programs["mwan3"] = true
		}, "problem rule-marks", "service mwan3 stop"},
		{"a rule by our marks", func(f *Facts) { f.Rules = append(f.Rules, rule(12000, 7, 0xff, "fwmark 0x7/0xff lookup 10")) }, "problem rule-marks", "ip -4 rule del pref 12000 fwmark 0x7/0xff lookup 10"},
		{"a rule by the administrator's marks", func(f *Facts) {
			f.Rules = append(f.Rules, rule(700, 0x20000000, 0xe0000000, "fwmark 0x20000000/0xe0000000 lookup 10"))
		}, "", ""},
		{"wg-quick's rules", func(f *Facts) {
			r := rule(32764, 0xca6c, 0xffffffff, "not fwmark 0xca6c/0xffffffff lookup 10")
			r.Not = true
			f.Rules = append(f.Rules, r)
		}, "", ""},
		{"a rule before ours", func(f *Facts) { f.Rules = append(f.Rules, rule(100, 0, 0, "from 10.0.0.0/8 lookup 10")) }, "problem rule-before", "ip -4 rule add pref 10100 from 10.0.0.0/8 lookup 10"},
		{"a rule before ours for everything but a mark", func(f *Facts) {
			r := rule(100, 0xca6c, 0xffffffff, "not fwmark 0xca6c/0xffffffff lookup 10")
			r.Not = true
			f.Rules = append(f.Rules, r)
		}, "problem rule-before", "ip -4 rule add pref 10100 not fwmark 0xca6c/0xffffffff lookup 10"},
		{"a rule before ours for one network", func(f *Facts) {
			r := rule(100, 0, 0, "to 172.16.0.0/12 lookup 10")
			r.To = netip.MustParsePrefix("172.16.0.0/12")
			f.Rules = append(f.Rules, r)
		}, "hint rule-before", "ip -4 rule add pref 10100 to 172.16.0.0/12 lookup 10"},
		{"a rule for an exempt network", func(f *Facts) {
			r := rule(100, 0, 0, "to 172.16.0.0/12 lookup 10")
			r.To = netip.MustParsePrefix("172.16.0.0/12")
			f.Rules, f.Exempt = append(f.Rules, r), prefixes("172.0.0.0/8")
		}, "", ""},
		{"a rule of an address of ours", func(f *Facts) {
			r := rule(100, 0, 0, "from 192.0.2.1/32 lookup 10")
			r.From = netip.MustParsePrefix("192.0.2.1/32")
			f.Rules = append(f.Rules, r)
		}, "", ""},
		{"a rule of another interface", func(f *Facts) {
			r := rule(100, 0, 0, "iif dmz0 lookup 10")
			r.In = "dmz0"
			f.Rules = append(f.Rules, r)
		}, "", ""},
		{"the rule of VRFs", func(f *Facts) {
			f.Rules = append(f.Rules, kernel.PolicyEntry{PolicyRule: kernel.PolicyRule{Priority: 1000}, Narrow: true})
		}, "", ""},
		{"Tailscale", func(f *Facts) {
			f.Rules = append(f.Rules, rule(5210, 0x80000, 0xff0000, "fwmark 0x80000/0xff0000 lookup 254"))
		}, "hint tailscale-exempt", "add 100.64.0.0/10 to outbound.exempt, then: portolan reload"},
		{"Tailscale, exempt", func(f *Facts) { f.Programs["tailscale"], f.Exempt = true, prefixes("100.64.0.0/10") }, "", ""},
		{"marks", func(f *Facts) {
			f.Meet = does("prerouting", kernel.Deed{What: kernel.DeedMark, Bits: 0x3f00, Chain: "ip mangle PREROUTING", Handle: 5})
		}, "problem marks", "nft 'delete rule ip mangle PREROUTING handle 5'"},
		{"marks of Tailscale", func(f *Facts) {
			f.Meet = does("prerouting", kernel.Deed{What: kernel.DeedMark, Bits: 0xff0000, Chain: "ip filter ts-forward", Handle: 5})
		}, "", ""},
		{"packet marks after routing", func(f *Facts) {
			f.Meet = does("forward", kernel.Deed{What: kernel.DeedMark, Bits: 0x3f00, Chain: "ip filter FORWARD", Handle: 5})
		}, "", ""},
		{"conntrack marks after routing", func(f *Facts) {
			f.Meet = does("postrouting", kernel.Deed{What: kernel.DeedConn, Bits: 1 << 26, Chain: "ip mangle POSTROUTING", Handle: 5})
		}, "problem marks", "nft 'delete rule ip mangle POSTROUTING handle 5'"},
		{"a hostile name", func(f *Facts) {
			f.Meet = does("prerouting", kernel.Deed{What: kernel.DeedMark, Bits: 1, Chain: "ip m 'x;reboot", Handle: 5})
		}, "problem marks", `nft 'delete rule ip m '\''x;reboot handle 5'`},
		{"Docker", func(f *Facts) { f.Meet = stops("forward", "ip filter FORWARD", "docker"); f.Links = f.Links[:1] }, "problem forward-dropped", "iptables -I DOCKER-USER -i lan0 -o wan1 -j ACCEPT"},
		{"firewalld", func(f *Facts) {
			f.Meet = stops("forward", "inet firewalld filter_FORWARD", "firewalld")
			f.Links = f.Links[:1]
		}, "problem forward-dropped", "firewall-cmd --permanent --new-policy portolan"},
		{"ufw", func(f *Facts) { f.Meet = stops("forward", "ip filter FORWARD", "ufw"); f.Links = f.Links[:1] }, "problem forward-dropped", "ufw route allow in on lan0 out on wan1"},
		{"a firewall", func(f *Facts) { f.Meet = stops("forward", "inet fw f", ""); f.Links = f.Links[:1] }, "problem forward-dropped", `nft 'insert rule inet fw f iifname "lan0" oifname "wan1" accept'`},
		{"queries dropped", func(f *Facts) { f.Meet = stops("input", "inet fw i", "") }, "problem queries-dropped", `nft 'insert rule inet fw i iifname "lan0" meta l4proto { tcp, udp } th dport 53 accept'`},
		{"queries dropped, no proxy", func(f *Facts) { f.Meet = stops("input", "inet fw i", ""); f.Proxies = false }, "", ""},
		{"source rewritten", func(f *Facts) {
			f.Meet = does("postrouting", kernel.Deed{What: kernel.DeedNAT, Chain: "ip nat POSTROUTING", Handle: 9, Priority: 100})
		}, "problem source-rewritten", "nft 'delete rule ip nat POSTROUTING handle 9'"},
		{"source rewritten after us", func(f *Facts) {
			f.Meet = does("postrouting", kernel.Deed{What: kernel.DeedNAT, Chain: "ip nat POSTROUTING", Handle: 9, Priority: 101})
		}, "", ""},
		{"masqueraded, as we do", func(f *Facts) {
			f.Meet = does("postrouting", kernel.Deed{What: kernel.DeedMasq, Chain: "ip nat POSTROUTING", Handle: 9, Priority: 100})
		}, "", ""},
		{"masqueraded, snat: none", func(f *Facts) {
			f.Meet = does("postrouting", kernel.Deed{What: kernel.DeedMasq, Chain: "ip nat POSTROUTING", Handle: 9, Priority: 100})
			f.Links[0].KeepsSource = true
		}, "problem source-rewritten", "nft 'delete rule ip nat POSTROUTING handle 9'"},
		{"untracked", func(f *Facts) {
			f.Meet = does("prerouting", kernel.Deed{What: kernel.DeedUntrack, Chain: "ip raw PREROUTING", Handle: 2})
		}, "problem untracked", "nft 'delete rule ip raw PREROUTING handle 2'"},
		{"a flowtable", func(f *Facts) {
			f.Meet = does("forward", kernel.Deed{What: kernel.DeedOffload, Chain: "inet fw4 forward", Handle: 2})
		}, "hint offloaded", "nft 'delete rule inet fw4 forward handle 2'"},
		{"another proxy", func(f *Facts) {
			f.Meet = does("prerouting", kernel.Deed{What: kernel.DeedTProxy, Chain: "ip mangle DIVERT", Handle: 2})
		}, "problem queries-taken", "nft 'delete rule ip mangle DIVERT handle 2'"},
		{"a redirect", func(f *Facts) {
			f.Meet = does("prerouting", kernel.Deed{What: kernel.DeedDest, Chain: "ip nat PREROUTING", Handle: 2})
		}, "hint queries-taken", "nft 'delete rule ip nat PREROUTING handle 2'"},
		{"the old iptables", func(f *Facts) { f.Legacy = []string{"ip nat"} }, "hint iptables-legacy", "iptables-legacy-save"},
		{"port 53", func(f *Facts) {
			f.Sockets = []kernel.Listening{socket("0.0.0.0:53", "named", false), socket("0.0.0.0:53", "named", true)}
		}, "problem port-taken", "kill 77"},
		{"port 53 of a unit", func(f *Facts) {
			s := socket("192.0.2.1:53", "dnsmasq", false)
			s.Holder.Unit = "dnsmasq.service"
			f.Sockets = []kernel.Listening{s}
		}, "problem port-taken", "systemctl disable --now dnsmasq.service"},
		{"port 53 of another address", func(f *Facts) { f.Sockets = []kernel.Listening{socket("127.0.0.53:53", "systemd-resolve", false)} }, "", ""},
		{"systemd-resolved", func(f *Facts) {
			f.Listeners[0].Address = netip.MustParseAddrPort("0.0.0.0:53")
			f.Sockets = []kernel.Listening{socket("127.0.0.53:53", "systemd-resolve", false)}
		}, "problem port-taken", "mkdir -p /etc/systemd/resolved.conf.d"},
		{"port 53 of IPv6 takes IPv4 too", func(f *Facts) { f.Sockets = []kernel.Listening{socket("[::]:53", "unbound", true)} }, "problem port-taken", "kill 77"},
		{"port 53 over TCP, ours over UDP", func(f *Facts) {
			f.Listeners[0].TCP = false
			f.Sockets = []kernel.Listening{socket("0.0.0.0:53", "x", true)}
		}, "", ""},
		{"the proxy's port", func(f *Facts) { f.Sockets = []kernel.Listening{socket("127.0.0.1:5300", "x", false)} }, "problem port-taken", "kill 77"},
		{"our own server", func(f *Facts) { f.Sockets = []kernel.Listening{socket("0.0.0.0:5300", "portolan", false)} }, "", ""},
		{"somebody, a server of ours runs", func(f *Facts) {
			s := socket("0.0.0.0:5300", "", false)
			s.Holder, f.Serving = kernel.Holder{}, true
			f.Sockets = []kernel.Listening{s}
		}, "", ""},
		{"our own server, without privileges", func(f *Facts) {
			s := socket("0.0.0.0:5300", "portolan", false)
			s.Holder.Missing = 1 << unix.CAP_NET_ADMIN
			f.Sockets = []kernel.Listening{s}
		}, "problem capabilities", "kill 77 # and start it as root, or with these capabilities"},
	} {
		f := healthy()
		c.spoil(f)
		r := Examine(f)
		got, repair := "", ""
		for _, found := range r.Findings {
			got += string(found.Level) + " " + found.ID + "; "
			told[found.ID] = true
			if found.What == "" || found.Breaks == "" || found.Evidence == "" || len(found.Repair) == 0 {
				t.Errorf("%s: something is not said: %+v", c.name, found)
			}
			if repair == "" {
				repair = found.Repair[0]
			}
		}
		if got = strings.TrimSuffix(got, "; "); got != c.want || repair != c.repair {
			t.Errorf("%s: %q, repaired by %q\nwant %q, %q", c.name, got, repair, c.want, c.repair)
		}
	}
	manual, err := os.ReadFile("../docs/manual/doctor.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range regexp.MustCompile("(?m)^\\| `([a-z0-9-]+)` \\|").FindAllStringSubmatch(string(manual), -1) {
		if !told[m[1]] {
			t.Errorf("the manual tells of %s, which no case here finds", m[1])
		}
		delete(told, m[1])
	}
	if len(told) > 0 {
		t.Errorf("the manual does not tell of %v", told)
	}
}

// Hints are no problems, and what was not seen is not health (DESIGN 5).
func TestExitCode(t *testing.T) {
	for _, c := range []struct {
		levels []Level
		unseen int
		want   int
	}{{nil, 0, 0}, {[]Level{Hint}, 0, 0}, {[]Level{Hint, Problem}, 0, 1}, {nil, 1, 2}, {[]Level{Hint}, 1, 2}, {[]Level{Problem}, 1, 1}} {
		r := Report{Unseen: make([]Unseen, c.unseen)}
		for _, l := range c.levels {
			r.Findings = append(r.Findings, Finding{Level: l})
		}
		if got := r.ExitCode(); got != c.want {
			t.Errorf("%v, %d not seen: %d", c.levels, c.unseen, got)
		}
	}
}

// Problems come first, text cannot move a terminal's cursor, and what was not
// seen is told.
func TestWriteText(t *testing.T) {
	f := healthy()
	f.Sysctls["netfilter/nf_conntrack_helper"] = "1"
	f.Sysctls["ipv4/fwmark_reflect"] = "1"
	f.Sockets = []kernel.Listening{socket("0.0.0.0:53", "x\x1b[2J", true)}
	f.unseen("nftables", unix.EPERM)
	var b strings.Builder
	if err := Examine(f).WriteText(&b); err != nil {
		t.Fatal(err)
	}
	text := b.String()
	order := []int{strings.Index(text, "problem fwmark-reflect: net.ipv4.fwmark_reflect is 1\n  breaks:   "), strings.Index(text, "by x?[2J (process 77)"),
		strings.Index(text, "hint helper-automatic"), strings.Index(text, "not seen: nftables (it needs root)"), strings.Index(text, "2 problems, 1 hint, 1 not seen\n")}
	if order[0] < 0 || !slices.IsSorted(order) || strings.Contains(text, "\x1b") {
		t.Errorf("%v in:\n%s", order, text)
	}
}

// Without a configuration interfaces with a default route are links.
func TestGuessed(t *testing.T) {
	f := healthy()
	f.Interfaces[2].NextHop4 = netip.MustParseAddr("192.0.2.254")
	w := Guessed(f.Interfaces)
	if w.Configured || !slices.Equal(w.Inside, []string{"lan0", "wan2"}) || len(w.Links) != 1 || w.Links[0].Interface != "wan1" {
		t.Errorf("%+v", w)
	}
}
