package config

import (
	"net/netip"
	"testing"
)

func TestTOS(t *testing.T) {
	for text, want := range map[string]TOS{
		"184": 0xb8, "0xb8": 0xb8, "ef": 0xb8, "EF": 0xb8, "af41": 0x88, "af13": 0x38, "cs0": 0, "cs7": 0xe0, "be": 0, "0": 0, "252": 0xfc, // RFC 2474, 2597, 3246
	} {
		var got TOS
		if err := got.UnmarshalText([]byte(text)); err != nil || got != want {
			t.Errorf("%s is %v, want %v (%v)", text, got, want, err)
		}
		var back TOS
		if err := back.UnmarshalText([]byte(got.String())); err != nil || back != got {
			t.Errorf("%s is %v read back (%v)", got, back, err)
		}
	}
	for _, text := range []string{"", "1", "255", "256", "-4", "0x", "cs8", "af50", "af14", "ef1", "0b100"} {
		var got TOS
		if err := got.UnmarshalText([]byte(text)); err == nil {
			t.Errorf("%q is %v", text, got)
		}
	}
}

func TestAddressRange(t *testing.T) {
	for text, want := range map[string]struct {
		from, to string
		size     uint64
	}{
		"192.0.2.1":              {"192.0.2.1", "192.0.2.1", 1},
		"192.0.2.250-192.0.3.4":  {"192.0.2.250", "192.0.3.4", 11},
		"192.0.2.8/29":           {"192.0.2.8", "192.0.2.15", 8},
		"192.0.2.8/32":           {"192.0.2.8", "192.0.2.8", 1},
		"0.0.0.0/0":              {"0.0.0.0", "255.255.255.255", 1 << 32},
		"2001:db8::/126":         {"2001:db8::", "2001:db8::3", 4},
		"2001:db8::1-2001:db8::": {},
		"2001:db8::/64":          {"2001:db8::", "2001:db8::ffff:ffff:ffff:ffff", 1 << 32},
		"::/0":                   {"::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", 1 << 32},
		"192.0.2.1-":             {}, "-192.0.2.1": {}, "": {}, "192.0.2.1/24": {}, "fe80::1%a": {}, "::ffff:192.0.2.1": {}, "192.0.2.0/24-192.0.3.0": {},
	} {
		var got AddressRange
		err := got.UnmarshalText([]byte(text))
		if want.from == "" {
			if err == nil {
				t.Errorf("%q is %v", text, got)
			}
			continue
		}
		if err != nil || got.From != netip.MustParseAddr(want.from) || got.To != netip.MustParseAddr(want.to) || got.Size() != want.size {
			t.Errorf("%s is %v of %d (%v), want %v", text, got, got.Size(), err, want)
		}
		var back AddressRange
		if err := back.UnmarshalText([]byte(got.String())); err != nil || back != got {
			t.Errorf("%s is %v read back (%v)", got, back, err)
		}
		if !got.Has(got.From) || !got.Has(got.To) || got.Has(got.To.Next()) || got.Has(netip.MustParseAddr("2001:db9::")) && got.Size() < 1<<32 {
			t.Errorf("%s does not know its own addresses", got)
		}
	}
}

func TestService(t *testing.T) {
	for _, c := range []struct {
		text     string
		protocol IPProtocol
		port     uint16
		want     bool
	}{
		{"443", ProtocolTCP, 443, true}, {"443", ProtocolUDP, 443, true}, {"443", ProtocolSCTP, 443, false}, {"443", ProtocolTCP, 444, false},
		{"tcp/80-90", ProtocolTCP, 80, true}, {"tcp/80-90", ProtocolTCP, 90, true}, {"tcp/80-90", ProtocolTCP, 91, false}, {"tcp/80-90", ProtocolUDP, 85, false},
		{"icmp", ProtocolICMP, 0, true}, {"icmp", ProtocolTCP, 0, false}, {"tcp", ProtocolTCP, 1, true}, {"udp", ProtocolTCP, 1, false},
	} {
		var s Service
		if err := s.UnmarshalText([]byte(c.text)); err != nil || s.String() != c.text {
			t.Errorf("%s is %s: %v", c.text, s, err)
		}
		if got := s.Has(c.protocol, c.port); got != c.want {
			t.Errorf("%s has %s/%d: %t", c.text, c.protocol, c.port, got)
		}
	}
}

// Every protocol that can be written has its number (IANA), and only any has
// none.
func TestIPProtocolNumber(t *testing.T) {
	want := map[string]uint8{"tcp": 6, "udp": 17, "icmp": 1, "sctp": 132, "dccp": 33, "udplite": 136, "gre": 47, "esp": 50, "ah": 51}
	for _, word := range vocabularies["ipProtocol"].built {
		got, ok := IPProtocol(word).Number(false)
		if ok != (word != "any") || got != want[word] {
			t.Errorf("%s is %d, %t", word, got, ok)
		}
	}
	if got, _ := ProtocolICMP.Number(true); got != 58 {
		t.Errorf("icmp over IPv6 is %d", got)
	}
}

func TestSNATFor(t *testing.T) {
	m, errs := Load(on(`version: 1
links:
  - {name: a, interface: eth1}
  - {name: b, interface: eth2, snat: none}
  - {name: c, interface: eth3, snat: {addresses: [192.0.2.1, "2001:db8::1", 192.0.2.9]}}
  - {name: d, interface: eth4, snat: {addresses: [192.0.2.1]}}
`))
	if errs != nil {
		t.Fatal(errs.Render())
	}
	for i, want := range []struct {
		mode   SNATMode
		v4, v6 int
	}{{SNATMasquerade, 0, 0}, {SNATNone, 0, 0}, {SNATMasquerade, 2, 1}, {SNATMasquerade, 1, 0}} {
		for v6, size := range map[bool]int{false: want.v4, true: want.v6} {
			if mode, pool := m.Links[i].SNAT.For(v6); mode != want.mode || len(pool) != size {
				t.Errorf("link %s, IPv6 %t: %s, %v", m.Links[i].Name, v6, mode, pool)
			}
		}
	}
}

// What no rule takes goes to the policy's default, else to the virtual
// server's own link group, else nowhere.
func TestOutboundDefault(t *testing.T) {
	own := &OutboundVirtualServer{LinkGroup: "g", Backup: "h", Persistence: "p"}
	forward := &Policy{Default: &PolicyAction{Do: ActionForward}}
	for _, c := range []struct {
		v      *OutboundVirtualServer
		policy *Policy
		want   PolicyAction
	}{
		{own, forward, PolicyAction{Do: ActionForward}},
		{own, &Policy{}, PolicyAction{LinkGroup: "g", Backup: "h", Persistence: "p", OnFailure: FailureDrop, OnBusy: BusyLapse}},
		{own, nil, PolicyAction{LinkGroup: "g", Backup: "h", Persistence: "p", OnFailure: FailureDrop, OnBusy: BusyLapse}},
		{&OutboundVirtualServer{}, &Policy{}, PolicyAction{Do: ActionDrop}},
	} {
		if got := c.v.Default(c.policy); got != c.want {
			t.Errorf("%+v under %+v: %+v", c.v, c.policy, got)
		}
	}
}
