package kernel

import (
	"flag"
	"os"
	"testing"

	"golang.org/x/sys/unix"
)

var update = flag.Bool("update", false, "write the golden files anew")

// A wish as it is written is read again as the same: what is as wished is never
// taken for different.
func TestRouteRoundTrip(t *testing.T) {
	for _, r := range append(link1(),
		Route{Table: 70000, To: prefix("10.1.2.3/8"), Interface: "eth1", Metric: 7},
		Route{Table: 7, To: prefix("10.0.0.0/8"), Interface: "eth1", Via: ip("fe80::1")},
		Route{Table: 7, To: prefix("10.0.0.0/8"), Interface: "eth1", Via: ip("192.168.8.1"), OnLink: true},
		Route{Table: 7, To: prefix("fd00::/8"), Interface: "eth1"},
		Route{Table: 7, To: everywhere4, Interface: "eth1", Kind: Local},
	) {
		w := r.wished(80, 5)
		got, ok := parseRoad(w.bytes())
		if r.place().v6 && r.Metric == 0 {
			w.at.metric = metric6
		}
		if !ok || got != w || r.check() != nil || got.serves(&r, 5) != true {
			t.Errorf("%s: wrote %+v, read %+v %v %v", &r, w, got, ok, r.check())
		}
		if got.serves(&r, 6) && r.Kind != Unreachable {
			t.Errorf("%s: another interface will do", &r)
		}
	}
	for _, r := range []Route{{}, {To: everywhere4, Interface: "eth1"}, {To: everywhere4, Table: 7}, {To: everywhere6, Table: 7, Interface: "eth1", Via: ip("192.0.2.1")},
		{To: everywhere4, Table: 7, Interface: "eth1", Metric: -1}, {To: everywhere4, Table: 7, Interface: "eth1", Kind: 9}} {
		if r.check() == nil {
			t.Errorf("%+v was taken", r)
		}
	}
}

func TestRuleRoundTrip(t *testing.T) {
	for _, r := range append(rules1(), PolicyRule{Priority: 900, To: prefix("10.1.2.3/8"), In: "eth1", Table: 70000}, PolicyRule{Priority: 1, From: everywhere4, Mark: 0xffff, Mask: 0x3, Table: 5}) {
		w := r.wished()
		got, by, ok := parseEntry(w.bytes(81))
		if !ok || got != w || by != 81 || r.check() != nil {
			t.Errorf("%s: wrote %+v, read %+v of %d %v", &r, w, got, by, ok)
		}
	}
	odd := []byte{unix.AF_INET, 0, 0, 0, 5, 0, 0, toTable, ruleInvert, 0, 0, 0}
	if e, _, ok := parseEntry(odd); !ok || !e.odd {
		t.Error("not is not seen")
	}
	suppress := append([]byte{unix.AF_INET, 0, 0, 0, 5, 0, 0, toTable, 0, 0, 0, 0}, attribute32(fraSuppressPrefix, 0)...)
	if e, _, ok := parseEntry(suppress); !ok || !e.odd {
		t.Error("suppress_prefixlength 0 is not seen")
	}
}

func FuzzParseRouting(f *testing.F) {
	w := (&Route{Table: 7, To: prefix("10.0.0.0/8"), Interface: "eth1", Via: ip("fe80::1")}).wished(80, 5)
	f.Add(w.bytes())
	e := (&PolicyRule{Priority: 900, To: prefix("10.1.2.3/8"), In: "eth1", Table: 70000}).wished()
	f.Add(e.bytes(80))
	f.Add(given{givenAt{3, prefix("10.0.0.100/32")}, 82}.bytes())
	f.Add(given{givenAt{3, prefix("fd00::100/64")}, 0}.bytes())
	f.Add(lostAddress{peer: ip("fd00::2"), flags: unix.IFA_F_NODAD}.bytes(3, prefix("fd00::1/64")))
	f.Fuzz(func(t *testing.T, b []byte) {
		if r, ok := parseRoad(b); ok {
			if r.at.to.Addr().Is6() != r.at.v6 {
				t.Error("a destination of another family")
			}
			_ = r.bytes()
		}
		if e, by, ok := parseEntry(b); ok {
			_ = e.String() + string(e.bytes(by))
		}
		if g, ok := parseGivenTo(b); ok {
			if again, ok := parseGivenTo(g.bytes()); !ok || again != g {
				t.Errorf("%+v was written as %+v %v", g, again, ok)
			}
		}
		l := newLost()
		for _, kind := range []uint16{unix.RTM_NEWLINK, unix.RTM_DELADDR, unix.RTM_NEWADDR, unix.RTM_DELLINK} {
			l.heard(kind, b)
		}
	})
}

// Only what was given for ever, and went because its interface was switched off,
// is remembered; one that comes back by other hands is forgotten.
func TestLost(t *testing.T) {
	link := func(flags uint32) []byte {
		b := make([]byte, unix.SizeofIfInfomsg)
		native.PutUint32(b[4:], 3)
		native.PutUint32(b[8:], flags)
		return append(b, attribute(unix.IFLA_IFNAME, []byte("eth1\x00"))...)
	}
	given := func(p string, flags uint32) []byte {
		b := lostAddress{}.bytes(3, prefix(p))
		return append(b, attribute32(unix.IFA_FLAGS, flags)...)
	}
	forever := uint32(unix.IFA_F_PERMANENT)
	l := newLost()
	l.heard(unix.RTM_DELADDR, given("2001:db8::1/64", forever)) // it is on, as far as we know
	l.heard(unix.RTM_NEWLINK, link(unix.IFF_UP))
	l.heard(unix.RTM_DELADDR, given("2001:db8::2/64", forever))
	l.heard(unix.RTM_NEWLINK, link(0))
	l.heard(unix.RTM_DELADDR, given("2001:db8::3/64", forever|unix.IFA_F_NODAD))
	l.heard(unix.RTM_DELADDR, given("2001:db8::4/64", 0))                                 // of an advertisement
	l.heard(unix.RTM_DELADDR, given("2001:db8::5/64", forever|unix.IFA_F_MANAGETEMPADDR)) // the same
	l.heard(unix.RTM_DELADDR, given("2001:db8::6/64", forever))
	l.heard(unix.RTM_DELADDR, append(given("2001:db8::7/128", forever), attribute(ifaProto, []byte{82})...)) // ours, and wished or not
	l.heard(unix.RTM_NEWLINK, link(unix.IFF_UP))
	l.heard(unix.RTM_NEWADDR, given("2001:db8::6/64", forever))
	got := l.of(3)
	if _, ok := got[prefix("2001:db8::3/64")]; !ok || len(got) != 1 {
		t.Errorf("remembered %v", got)
	}
	index, p, a, ok := parseGiven(append(got[prefix("2001:db8::3/64")].bytes(3, prefix("2001:db8::3/64")), attribute32(unix.IFA_FLAGS, forever|unix.IFA_F_NODAD)...))
	if index != 3 || p != prefix("2001:db8::3/64") || a.flags&unix.IFA_F_NODAD == 0 || !ok {
		t.Errorf("written and read: %d %v %+v %v", index, p, a, ok)
	}
	l.heard(unix.RTM_DELLINK, link(0))
	if len(l.of(3)) != 0 {
		t.Error("another interface of the same number gets them")
	}
}

// The commands that do the same, as portolan kernel show tells them.
func TestCommands(t *testing.T) {
	w := &Wishes{
		Routes: append(link1(), Route{Table: 900, To: prefix("10.0.0.0/8"), Interface: "lan0"},
			Route{Table: 1002, To: everywhere4, Interface: "usb0", Via: ip("192.168.8.1"), OnLink: true, Metric: 5},
			Route{Table: 1003, To: everywhere4, Interface: "ppp0", Via: ip("fe80::1")},
			Route{Table: 99, To: everywhere6, Interface: "lo", Kind: Local}),
		Addresses: []Address{{prefix("192.0.2.10/32"), "eth1"}, {prefix("2001:db8::10/128"), "eth1"}, {prefix("2001:db8::11/64"), "lan0"}},
		Rules:     append(rules1(), PolicyRule{Priority: 900, To: prefix("10.0.0.0/8"), In: "lan0", Table: 900}),
		Shapers:   []Shaper{{Interface: "eth1", Out: 20e6, In: 40e6}},
		Sysctls: []Sysctl{{Name: "ipv4/conf/eth0.100/rp_filter", Values: []string{"0", "2"}, Repair: true, Why: "replies come in by another way than the routing table says"},
			{Name: "net.ipv4.conf.all.src_valid_mark", Values: []string{"0"}, Why: "packets for the DNS proxy are dropped"}},
	}
	got := w.Commands("outbound")
	const golden = "testdata/commands.txt"
	if *update {
		if err := os.WriteFile(golden, []byte(got), 0o666); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil || got != string(want) {
		t.Errorf("%v: got\n%s", err, got)
	}
	if (&Wishes{}).Commands("outbound") != "" {
		t.Error("commands for nothing")
	}
}
