package dnsserver

import (
	"encoding/binary"
	"encoding/hex"
	"net/netip"
	"strings"
	"testing"

	"github.com/miekg/dns"

	"github.com/portolan-lb/portolan/config"
)

// bench is a handler without sockets: packets in, packets out.
type bench struct {
	t testing.TB
	h *handler
}

func newBench(t testing.TB, table *Table, overTCP bool) *bench {
	s := New(Options{})
	s.Use(table)
	return &bench{t: t, h: s.newHandler(overTCP)}
}

var benchSource = netip.MustParseAddrPort("198.51.100.7:4242")

func (b *bench) send(packet []byte) []byte {
	return b.h.handle(packet, benchSource, make([]byte, udpReplySize))
}

// ask sends a message and unpacks the reply, or gives nil.
func (b *bench) ask(m *dns.Msg) *dns.Msg {
	b.t.Helper()
	packet, err := m.Pack()
	if err != nil {
		b.t.Fatal(err)
	}
	return b.unpack(b.send(packet))
}

func (b *bench) unpack(reply []byte) *dns.Msg {
	b.t.Helper()
	if reply == nil {
		return nil
	}
	got := new(dns.Msg)
	if err := got.Unpack(reply); err != nil {
		b.t.Fatalf("the reply cannot be read: %v: %x", err, reply)
	}
	return got
}

func asking(name string, qtype uint16) *dns.Msg {
	m := new(dns.Msg)
	m.SetQuestion(name, qtype)
	return m
}

func TestParseQuery_Headers(t *testing.T) {
	b := newBench(t, answerTable(t), false)
	mail := func(change func(m *dns.Msg)) *dns.Msg {
		m := asking("mail.example.com.", dns.TypeA)
		change(m)
		return m
	}
	two := dns.Question{Name: "ns.example.com.", Qtype: dns.TypeA, Qclass: dns.ClassINET}
	tests := []struct {
		name string
		m    *dns.Msg
		want string
	}{
		{"plain", mail(func(*dns.Msg) {}), "NOERROR AA"},
		{"no question", mail(func(m *dns.Msg) { m.Question = nil }), "FORMERR"},
		{"RFC 9619 two questions", mail(func(m *dns.Msg) { m.Question = append(m.Question, two) }), "FORMERR"},
		{"an answer in the query", mail(func(m *dns.Msg) { m.Answer = addressRecords("x.", addrs("192.0.2.1"), 1) }), "FORMERR"},
		{"an unknown record beside", mail(func(m *dns.Msg) { m.Extra = addressRecords("x.", addrs("192.0.2.1"), 1) }), "NOERROR AA"},
		{"class CH", mail(func(m *dns.Msg) { m.Question[0].Qclass = dns.ClassCHAOS }), "REFUSED"},
		{"class ANY", mail(func(m *dns.Msg) { m.Question[0].Qclass = dns.ClassANY }), "REFUSED"},
		{"NOTIFY", mail(func(m *dns.Msg) { m.Opcode = dns.OpcodeNotify }), "NOTIMP"},
		{"UPDATE", mail(func(m *dns.Msg) { m.Opcode = dns.OpcodeUpdate }), "NOTIMP"},
		{"opcode 15", mail(func(m *dns.Msg) { m.Opcode = 15 }), "NOTIMP"},
		{"QR set", mail(func(m *dns.Msg) { m.Response = true }), "no reply"},
		{"QR set on NOTIFY", mail(func(m *dns.Msg) { m.Response, m.Opcode = true, dns.OpcodeNotify }), "no reply"},
	}
	for _, test := range tests {
		reply := b.ask(test.m)
		got, _, _ := strings.Cut(shown(reply), " ANSWER")
		if got != test.want {
			t.Errorf("%s: got %s, want %s", test.name, got, test.want)
		}
		if reply != nil && (reply.Id != test.m.Id || !reply.Response || reply.Opcode != test.m.Opcode ||
			reply.RecursionDesired != (test.m.Opcode == dns.OpcodeQuery) || reply.RecursionAvailable) {
			t.Errorf("%s: bad header %v", test.name, reply.MsgHdr)
		}
	}
}

func TestParseQuery_Hostile(t *testing.T) {
	b := newBench(t, answerTable(t), false)
	good, _ := asking("mail.example.com.", dns.TypeA).Pack()
	with := func(at int, value byte) []byte {
		p := append([]byte(nil), good...)
		p[at] = value
		return p
	}
	tests := []struct {
		name   string
		packet []byte
		want   string
	}{
		{"empty", nil, "no reply"},
		{"eleven octets", good[:11], "no reply"},
		{"header only, one question promised", good[:12], "FORMERR"},
		{"cut in the name", good[:17], "FORMERR"},
		{"cut in the type", good[:len(good)-3], "FORMERR"},
		{"something after the end", append(append([]byte(nil), good...), 0), "FORMERR"},
		{"a pointer to itself", append(append([]byte(nil), good[:12]...), 0xc0, 12, 0, 1, 0, 1), "FORMERR"},
		{"records promised that are not there", with(11, 200), "FORMERR"},
		{"label of 64 octets", with(12, 64), "FORMERR"},
	}
	for _, test := range tests {
		got, _, _ := strings.Cut(shown(b.unpack(b.send(test.packet))), " ANSWER")
		if got != test.want {
			t.Errorf("%s: got %s, want %s", test.name, got, test.want)
		}
	}
	if got := b.h.handle(good, netip.MustParseAddrPort("192.0.2.1:0"), nil); got != nil {
		t.Error("source port 0 got a reply")
	}
}

// No reply to what is refused or malformed is longer than its query, but for the
// six octets of an extended error without a text.
func TestHandle_NoAmplification(t *testing.T) {
	b := newBench(t, answerTable(t), false)
	edns, two := asking("www.example.org.", dns.TypeA), asking("www.example.com.", dns.TypeA)
	edns.SetEdns0(4096, true)
	two.Question = append(two.Question, two.Question[0])
	for _, m := range []*dns.Msg{asking("www.example.org.", dns.TypeANY), asking("example.com.", dns.TypeAXFR), edns, two} {
		packet, _ := m.Pack()
		most := len(packet)
		if m.IsEdns0() != nil {
			most += 6
		}
		if reply := b.send(packet); len(reply) > most {
			t.Errorf("%s: %d octets for %d", m.Question[0].Name, len(reply), len(packet))
		}
	}
}

// optQuery makes a query with an OPT record of these options, raw.
func optQuery(t testing.TB, name string, options string) []byte {
	t.Helper()
	data, err := hex.DecodeString(strings.ReplaceAll(options, " ", ""))
	if err != nil {
		t.Fatal(err)
	}
	p, _ := asking(name, dns.TypeA).Pack()
	p[11] = 1
	p = append(p, 0, 0, 41, 0x10, 0, 0, 0, 0, 0)
	p = binary.BigEndian.AppendUint16(p, uint16(len(data)))
	return append(p, data...)
}

func TestEDNS(t *testing.T) {
	table := answerTable(t)
	table.nsid = hex.EncodeToString([]byte("gw1"))
	b := newBench(t, table, false)
	opt := func(change func(o *dns.OPT)) *dns.Msg {
		m := asking("mail.example.com.", dns.TypeA)
		m.SetEdns0(4096, false)
		change(m.IsEdns0())
		return m
	}
	r := b.ask(opt(func(o *dns.OPT) { o.SetDo(); o.Option = append(o.Option, &dns.EDNS0_NSID{Code: dns.EDNS0NSID}) }))
	got := r.IsEdns0()
	if got == nil || !got.Do() || got.UDPSize() != defaultUDPSize || len(got.Option) != 1 || got.Option[0].(*dns.EDNS0_NSID).Nsid != table.nsid {
		t.Errorf("DO, size and NSID: %v", r)
	}
	r = b.ask(opt(func(o *dns.OPT) { o.SetVersion(1) }))
	if r.Rcode != dns.RcodeBadVers || len(r.Answer) > 0 || r.IsEdns0().Version() != 0 {
		t.Errorf("RFC 6891 6.1.3: want BADVERS: %v", r)
	}
	if r = b.ask(asking("mail.example.com.", dns.TypeA)); r.IsEdns0() != nil {
		t.Errorf("OPT to a client without EDNS: %v", r)
	}
	m := opt(func(*dns.OPT) {})
	m.Extra = append(m.Extra, m.Extra[0])
	if r = b.ask(m); r.Rcode != dns.RcodeFormatError || r.IsEdns0() == nil {
		t.Errorf("RFC 6891 6.1.1: two OPT: %v", r)
	}
	m = opt(func(*dns.OPT) {})
	m.Opcode = dns.OpcodeStatus
	if r = b.ask(m); r.Rcode != dns.RcodeNotImplemented || r.IsEdns0() == nil {
		t.Errorf("NOTIMP with EDNS: %v", r)
	}
	if r = b.unpack(b.send(optQuery(t, "mail.example.com.", "000a 0008 00"))); r.Rcode != dns.RcodeFormatError {
		t.Errorf("option longer than the record: %v", r)
	}
	if r = b.unpack(b.send(optQuery(t, "mail.example.com.", "fde9 0002 0102"))); shown(r) != "NOERROR AA ANSWER mail.example.com. 300 A 192.0.2.25" || len(r.IsEdns0().Option) > 0 {
		t.Errorf("unknown options are ignored: %v", r)
	}
}

// RFC 6891 6.1.1: who speaks EDNS gets OPT with an error too, and the question
// back, whatever the sections between hold.
func TestEDNS_Errors(t *testing.T) {
	b := newBench(t, answerTable(t), false)
	record := addressRecords("x.example.com.", addrs("192.0.2.1"), 1)
	tests := []struct {
		name   string
		change func(m *dns.Msg)
		rcode  int
	}{
		{"NOTIFY with its SOA", func(m *dns.Msg) { m.Opcode, m.Answer = dns.OpcodeNotify, record }, dns.RcodeNotImplemented},
		{"UPDATE", func(m *dns.Msg) { m.Opcode, m.Answer, m.Ns = dns.OpcodeUpdate, record, record }, dns.RcodeNotImplemented},
		{"QUERY with an answer", func(m *dns.Msg) { m.Answer = record }, dns.RcodeFormatError},
		{"QUERY with an authority", func(m *dns.Msg) { m.Ns = record }, dns.RcodeFormatError},
		{"two questions", func(m *dns.Msg) { m.Question = append(m.Question, m.Question[0]) }, dns.RcodeFormatError},
		{"no question", func(m *dns.Msg) { m.Question = nil }, dns.RcodeFormatError},
	}
	for _, test := range tests {
		m := asking("mail.example.com.", dns.TypeA)
		m.SetEdns0(1232, true)
		test.change(m)
		r := b.ask(m)
		questions := 1
		if len(m.Question) != 1 {
			questions = 0
		}
		if opt := r.IsEdns0(); r.Rcode != test.rcode || opt == nil || !opt.Do() || len(r.Question) != questions {
			t.Errorf("%s: %v", test.name, r)
		}
		m.Extra = nil
		if r = b.ask(m); r.Rcode != test.rcode || len(r.Extra) > 0 {
			t.Errorf("%s without EDNS: %v", test.name, r)
		}
	}
	// OPT belongs to the additional section and to the root.
	for _, test := range []struct {
		name string
		at   int // octet to change
	}{{"OPT in the answer section", 7}, {"OPT of another owner", 0}} {
		packet := optQuery(t, "mail.example.com.", "")
		if test.at > 0 {
			packet[11], packet[test.at] = 0, 1
		} else {
			end := len(packet) - 11
			packet = append(append(packet[:end:end], 0xc0, 12), packet[end+1:]...)
		}
		if r := b.unpack(b.send(packet)); r.Rcode != dns.RcodeFormatError {
			t.Errorf("%s: %v", test.name, r)
		}
	}
}

func TestEDNS_ExtendedError(t *testing.T) {
	names := map[string]decider{"down": &fixed{decision: decision{rcode: dns.RcodeServerFailure, ede: 14, text: "not ready"}}}
	b := newBench(t, newTable(&config.DNS{}, mustZone(t, "example.com.", answerZone, names)), false)
	m := asking("down.example.com.", dns.TypeA)
	if r := b.ask(m); r.Rcode != dns.RcodeServerFailure || len(r.Extra) > 0 {
		t.Errorf("without EDNS: %v", r)
	}
	m.SetEdns0(1232, false)
	r := b.ask(m)
	if e, ok := r.IsEdns0().Option[0].(*dns.EDNS0_EDE); !ok || e.InfoCode != 14 || e.ExtraText != "not ready" {
		t.Errorf("RFC 8914: %v", r)
	}
}

// watcher is a dynamic name that remembers its client.
type watcher struct {
	fixed
	client client
}

func (w *watcher) decide(q *question, qtype uint16) *decision {
	w.client = q.client
	return w.fixed.decide(q, qtype)
}

// TestECS is the matrix of RFC 7871 6 and 7.2. Options are raw: family,
// source, scope, address.
func TestECS(t *testing.T) {
	tests := []struct {
		name, option string
		name2        string // asked; default: the dynamic name
		rcode        int
		client       string // bits that the decision saw
		echo         string
	}{
		{"IPv4 /24", "0001 18 00 cb0071", "", 0, "203.0.113.0/24", "0001 18 14 cb0071"},
		{"IPv6 /56", "0002 38 00 20010db8000000", "", 0, "2001:db8::/56", "0002 38 14 20010db8000000"},
		{"/32", "0001 20 00 cb007107", "", 0, "203.0.113.7/32", "0001 20 14 cb007107"},
		{"/0: the source is the client, scope 0", "0001 00 00", "", 0, "198.51.100.7/32", "0001 00 00"},
		{"static data: scope 0", "0001 18 00 cb0071", "mail.example.com.", 0, "", "0001 18 00 cb0071"},
		{"IPv4 in IPv6 /120 is IPv4 /24", "0002 78 00 00000000000000000000ffffcb0071", "", 0, "203.0.113.0/24", "0002 78 74 00000000000000000000ffffcb0071"},
		{"IPv4 in IPv6 /128", "0002 80 00 00000000000000000000ffffcb007107", "", 0, "203.0.113.7/32", "0002 80 74 00000000000000000000ffffcb007107"},
		{"IPv4 in IPv6 /96 is IPv4 /0", "0002 60 00 00000000000000000000ffff", "", 0, "198.51.100.7/32", "0002 60 60 00000000000000000000ffff"},
		{"shorter than that it is IPv6", "0002 5f 00 00000000000000000000fffe", "", 0, "::fffe:0:0/95", "0002 5f 14 00000000000000000000fffe"},
		{"IPv4 in IPv6, static data: all of IPv4", "0002 78 00 00000000000000000000ffffcb0071", "mail.example.com.", 0, "", "0002 78 60 00000000000000000000ffffcb0071"},
		{"family 3", "0003 18 00 cb0071", "", 1, "", ""},
		{"7.1.2 family 0 without an address is /0", "0000 00 00", "", 0, "198.51.100.7/32", "0000 00 00"},
		{"family 0 with a prefix", "0000 01 00 80", "", 1, "", ""},
		{"family 0 with an address", "0000 00 00 00", "", 1, "", ""},
		{"family 0 with a scope", "0000 00 01", "", 1, "", ""},
		{"family 3 without an address", "0003 00 00", "", 1, "", ""},
		{"IPv6 /0: the source is the client", "0002 00 00", "", 0, "198.51.100.7/32", "0002 00 00"},
		{"/0 with a scope", "0001 00 01", "", 1, "", ""},
		{"/0 with an address", "0001 00 00 00", "", 1, "", ""},
		{"IPv6 prefix too long", "0002 81 00 20010db800000000000000000000000000", "", 1, "", ""},
		{"IPv6 bits beyond the prefix", "0002 21 00 20010db840", "", 1, "", ""},
		{"empty", "", "", 1, "", ""},
		{"prefix too long", "0001 21 00 cb00710700", "", 1, "", ""},
		{"bits beyond the prefix", "0001 17 00 cb0071", "", 1, "", ""},
		{"too few octets", "0001 18 00 cb00", "", 1, "", ""},
		{"too many octets", "0001 18 00 cb007100", "", 1, "", ""},
		{"scope in a query", "0001 18 18 cb0071", "", 1, "", ""},
		{"too short", "0001 18", "", 1, "", ""},
	}
	for _, test := range tests {
		www := &watcher{fixed: fixed{decision: decision{v4: addrs("192.0.2.10"), ttl: 30, scope: 20}}}
		zone := mustZone(t, "example.com.", answerZone, map[string]decider{"www": www})
		name := "www.example.com."
		if test.name2 != "" {
			name = test.name2
		}
		raw := strings.ReplaceAll(test.option, " ", "")
		packet := optQuery(t, name, "0008"+hex.EncodeToString([]byte{0, byte(len(raw) / 2)})+raw)

		b := newBench(t, newTable(&config.DNS{ECS: true}, zone), false)
		r := b.unpack(b.send(packet))
		if r.Rcode != test.rcode || echoed(r) != strings.ReplaceAll(test.echo, " ", "") {
			t.Errorf("%s: rcode %d echo %q, want %d %q", test.name, r.Rcode, echoed(r), test.rcode, test.echo)
		}
		if test.client != "" && (netip.PrefixFrom(www.client.addr, www.client.bits).String() != test.client || www.client.ecs != (test.client != "198.51.100.7/32")) {
			t.Errorf("%s: decided for %v", test.name, www.client)
		}

		off := newBench(t, newTable(&config.DNS{}, zone), false)
		r = off.unpack(off.send(packet))
		if r.Rcode != 0 || echoed(r) != "" || www.client.ecs && test.name2 == "" {
			t.Errorf("%s, T7 not used by this server: %v, client %v", test.name, r, www.client)
		}
	}
}

func echoed(r *dns.Msg) string {
	for _, o := range r.IsEdns0().Option {
		if s, ok := o.(*dns.EDNS0_SUBNET); ok {
			raw := binary.BigEndian.AppendUint16(nil, s.Family)
			raw = append(raw, s.SourceNetmask, s.SourceScope)
			addr := s.Address.To16()
			if s.Family == 1 {
				addr = s.Address.To4()
			}
			return hex.EncodeToString(append(raw, addr[:(s.SourceNetmask+7)/8]...))
		}
	}
	return ""
}

// The scope is the widest of the decisions that the answer used.
func TestECS_WidestScope(t *testing.T) {
	names := map[string]decider{
		"www":  &fixed{decision: decision{v4: addrs("192.0.2.10"), ttl: 30, scope: 16}},
		"down": &fixed{decision: decision{v4: addrs("192.0.2.11"), ttl: 30, scope: 22}},
	}
	b := newBench(t, newTable(&config.DNS{ECS: true}, mustZone(t, "example.com.", dynamicZone, names)), false)
	packet := optQuery(t, "mx.example.com.", "0008 0007 0001 18 00 cb0071")
	packet[12+16+1] = byte(dns.TypeMX)
	if r := b.unpack(b.send(packet)); echoed(r) != "00011816cb0071" || len(r.Extra) != 3 {
		t.Errorf("want scope 22: %v", r)
	}
}
