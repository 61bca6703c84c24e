package dnsserver

import (
	"fmt"
	"strings"
	"testing"

	"github.com/miekg/dns"

	"github.com/portolan-lb/portolan/config"
)

// errorIn gives the extended error of a reply as text, or "".
func errorIn(m *dns.Msg) string {
	if opt := m.IsEdns0(); opt != nil {
		for _, o := range opt.Option {
			if e, ok := o.(*dns.EDNS0_EDE); ok {
				return strings.TrimSuffix(e.String(), ": ()")
			}
		}
	}
	return ""
}

// RFC 8914: the errors of what is not looked up at all. Without EDNS there are
// none, and with it none makes a reply much longer than its query.
func TestExtendedErrors_RFC8914_Refusals(t *testing.T) {
	table := newTable(&config.DNS{}, mustZone(t, "example.com.", answerZone, nil))
	list := []*served{{state: ZoneState{Name: "broken.test."}, count: &zoneTally{}}}
	for z := range table.zones.all() {
		list = append(list, z)
	}
	table.serve(zonesOf(list))
	for _, test := range []struct {
		name, of string
		change   func(m *dns.Msg)
		want     string
	}{
		{"a zone of others", "www.example.org.", nil, "REFUSED 20 (Not Authoritative)"},
		{"a zone without records", "www.broken.test.", nil, "SERVFAIL 24 (Invalid Data)"},
		{"class CH", "version.bind.", func(m *dns.Msg) { m.Question[0].Qclass = dns.ClassCHAOS }, "REFUSED 21 (Not Supported)"},
		{"class ANY", "mail.example.com.", func(m *dns.Msg) { m.Question[0].Qclass = dns.ClassANY }, "REFUSED 21 (Not Supported)"},
		{"NOTIFY", "example.com.", func(m *dns.Msg) { m.Opcode = dns.OpcodeNotify }, "NOTIMP 21 (Not Supported)"},
		{"opcode 15", "example.com.", func(m *dns.Msg) { m.Opcode = 15 }, "NOTIMP 21 (Not Supported)"},
		{"AXFR over UDP", "example.com.", func(m *dns.Msg) { m.Question[0].Qtype = dns.TypeAXFR }, "NOTIMP 21 (Not Supported)"},
		{"IXFR of ours", "example.com.", func(m *dns.Msg) { m.Question[0].Qtype = dns.TypeIXFR }, "REFUSED 18 (Prohibited)"},
		{"IXFR of others", "example.org.", func(m *dns.Msg) { m.Question[0].Qtype = dns.TypeIXFR }, "NOTAUTH 20 (Not Authoritative)"},
		{"FORMERR", "example.com.", func(m *dns.Msg) { m.Question = append(m.Question, m.Question[0]) }, "FORMERR "},
		{"BADVERS", "example.com.", func(m *dns.Msg) { m.IsEdns0().SetVersion(1) }, "BADSIG "}, // as miekg/dns calls 16
		{"an answer", "mail.example.com.", nil, "NOERROR "},
		{"NODATA", "mail.example.com.", func(m *dns.Msg) { m.Question[0].Qtype = dns.TypeLOC }, "NOERROR "},
		{"NXDOMAIN", "no.example.com.", nil, "NXDOMAIN "},
	} {
		b := newBench(t, table, false)
		m := asking(test.of, dns.TypeA)
		m.SetEdns0(1232, false)
		if test.change != nil {
			test.change(m)
		}
		packet, _ := m.Pack()
		reply := b.send(packet)
		r := b.unpack(reply)
		if got := dns.RcodeToString[r.Rcode] + " " + errorIn(r); got != test.want {
			t.Errorf("%s: got %q, want %q", test.name, got, test.want)
		}
		if r.Rcode != dns.RcodeSuccess && r.Rcode != dns.RcodeNameError && len(reply) > len(packet)+6 {
			t.Errorf("%s: %d octets for %d", test.name, len(reply), len(packet))
		}
		m.Extra = nil
		if r = b.ask(m); r.IsEdns0() != nil {
			t.Errorf("%s without EDNS: %v", test.name, r)
		}
	}
	q := newQuery("mail.example.com.", dns.TypeA, question{})
	q.edns.present, q.ruling = true, refused
	if m := answer(table, q); errorIn(m) != "18 (Prohibited)" || m.Rcode != dns.RcodeRefused {
		t.Errorf("refused by admission: %v", m)
	}
}

// RFC 8914: the errors of dynamic names say how good the answer is, and nothing
// of how the names are configured.
func TestExtendedErrors_RFC8914_Pools(t *testing.T) {
	only := func(r config.RungAction) []config.Rung { return []config.Rung{{Action: r}} }
	down := []string{"virtualServer/a:down"}
	for _, test := range []struct {
		name string
		pool config.Pool
		rows []string
		want string
	}{
		{"all is well", config.Pool{}, nil, "NOERROR "},
		{"no result yet", config.Pool{}, []string{"virtualServer/a:waiting"}, "SERVFAIL 14 (Not Ready)"},
		{"last good", config.Pool{}, []string{"virtualServer/a:up", "virtualServer/a:down"}, "NOERROR 3 (Stale Answer)"},
		{"all", config.Pool{OnDown: only(config.RungAll)}, down, "NOERROR 0 (Other): (no server is up)"},
		{"nodata", config.Pool{OnDown: only(config.RungNodata)}, down, "NOERROR 0 (Other): (no server is up)"},
		{"servfail", config.Pool{OnDown: only(config.RungServfail)}, down, "SERVFAIL 0 (Other): (no server is up)"},
		{"refused", config.Pool{OnDown: only(config.RungRefused)}, down, "REFUSED 0 (Other): (no server is up)"},
		{"no rung", config.Pool{OnDown: []config.Rung{}}, down, "SERVFAIL 0 (Other): (no server is up)"},
		{"another address", config.Pool{OnDown: []config.Rung{{Addresses: addrs("192.0.2.99")}}}, down, "NOERROR "},
		{"held", config.Pool{}, []string{"virtualServer/a:held"}, "NOERROR 0 (Other): (out of service)"},
		{"declined", config.Pool{Preferred: config.Slot{Algorithm: "topology"}}, nil, "REFUSED 0 (Other): (no server for this client)"},
		{"declined: nodata", config.Pool{Preferred: config.Slot{Algorithm: "topology"}, OnDecline: config.DeclineNodata}, nil, "NOERROR 0 (Other): (no server for this client)"},
		{"declined: servfail", config.Pool{Preferred: config.Slot{Algorithm: "topology"}, OnDecline: config.DeclineServfail}, nil, "SERVFAIL 0 (Other): (no server for this client)"},
		{"full", config.Pool{}, []string{"virtualServer/a:full"}, "REFUSED 0 (Other): (all servers are full)"},
	} {
		test.pool.Name, test.pool.Members = "secret", servers("a")
		w := newWorld(t, pooled(&test.pool))
		w.set(test.rows...)
		m := w.ask("secret.example.com", "A", asker)
		if got := dns.RcodeToString[m.Rcode] + " " + errorIn(m); got != test.want {
			t.Errorf("%s: got %q, want %q", test.name, got, test.want)
		}
	}
}

// RFC 8914 section 3: the extended error goes before any data does, and TC says
// so.
func TestExtendedErrors_RFC8914_3_GoFirst(t *testing.T) {
	stale := &fixed{decision: decision{ede: dns.ExtendedErrorCodeOther, text: noServerUp, ttl: 5}}
	for i := range 40 {
		stale.decision.v4 = append(stale.decision.v4, addrs(fmt.Sprintf("192.0.2.%d", i))...)
	}
	zone := mustZone(t, "example.com.", dynamicZone, map[string]decider{"www": stale})
	b := newBench(t, newTable(&config.DNS{}, zone), false)
	ask := func(size uint16) *dns.Msg {
		m := asking("www.example.com.", dns.TypeA)
		m.SetEdns0(size, false)
		return b.ask(m)
	}
	whole := ask(1232)
	whole.Compress = true
	size := uint16(whole.Len())
	for _, test := range []struct {
		size    uint16
		tc      bool
		error   bool
		answers int
	}{{size, false, true, 40}, {size - 1, true, false, 40}, {size - 22, true, false, 0}} {
		m := ask(test.size)
		if m.Truncated != test.tc || (errorIn(m) != "") != test.error || len(m.Answer) != test.answers {
			t.Errorf("%d octets: %v", test.size, m)
		}
	}
}
