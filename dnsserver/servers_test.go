package dnsserver

import (
	"fmt"
	"strings"
	"testing"

	"github.com/miekg/dns"

	"github.com/portolan-lb/portolan/config"
)

// fullDNS is a configuration with minimalResponses off.
func fullDNS() *config.DNS {
	no := false
	return &config.DNS{MinimalResponses: &no}
}

// TestFullResponses holds answers to dns.minimalResponses: a positive answer
// of a full response ends with the zone's servers (as BIND's and NSD's do),
// and no other answer differs. RFC 1034 4.3.2 step 3a asks for neither.
func TestFullResponses(t *testing.T) {
	names := map[string]decider{"dyn": &fixed{decision: decision{v4: addrs("192.0.2.99"), ttl: 30}}}
	zones := []*Zone{mustZone(t, "example.com.", answerZone, names), mustZone(t, "example.net.", otherZone, nil)}
	full, minimal := newTable(fullDNS(), zones...), newTable(&config.DNS{}, zones...)
	const servers = " AUTHORITY example.com. 300 NS ns.example.com. ADDITIONAL ns.example.com. 300 A 192.0.2.53"
	tests := []struct{ rule, name, qtype, adds string }{
		{"a positive answer", "many.example.com.", "A", servers},
		{"a dynamic name", "dyn.example.com.", "A", servers},
		{"a wildcard (RFC 4592)", "foo.wild.example.com.", "TXT", servers},
		{"DS at the cut: the parent's servers", "child.example.com.", "DS", servers},
		{"an alias followed to its end", "chain.example.com.", "A", servers},
		{"the alias itself", "chain.example.com.", "CNAME", servers},
		{"a DNAME followed to another zone: its servers", "www.sub.example.com.", "A",
			" AUTHORITY example.net. 300 NS ns.example.com. ADDITIONAL ns.example.com. 300 A 192.0.2.53"},
		{"an address that is the answer is not said twice", "ns.example.com.", "A", " AUTHORITY example.com. 300 NS ns.example.com."},

		{"the servers are the answer", "example.com.", "NS", ""},
		{"in any case of the question", "eXample.com.", "NS", ""},
		{"an alias that leads away", "away.example.com.", "A", ""},
		{"a loop", "ring1.example.com.", "A", ""},
		{"the CNAME that a DNAME makes", "x.sub.example.com.", "CNAME", ""},
		{"ANY is kept small (RFC 8482)", "many.example.com.", "ANY", ""},
		{"NODATA", "many.example.com.", "TXT", ""},
		{"a miss", "nothing.example.com.", "A", ""},
		{"a miss behind an alias", "dangling.example.com.", "A", ""},
		{"a referral", "www.child.example.com.", "A", ""},
		{"a referral behind an alias", "tochild.example.com.", "A", ""},
		{"not ours", "example.org.", "A", ""},
	}
	for _, test := range tests {
		ask := func(table *Table) string {
			return shown(answer(table, newQuery(test.name, dns.StringToType[test.qtype], question{})))
		}
		if got, want := ask(full), ask(minimal)+test.adds; got != want {
			t.Errorf("%s: %s %s\n got %s\nwant %s", test.rule, test.name, test.qtype, got, want)
		}
	}
}

// The addresses that an answer asks for stand before the servers' addresses:
// the last ones go first where there is no room.
func TestFullResponses_MX(t *testing.T) {
	table := newTable(fullDNS(), mustZone(t, "example.com.", answerZone, nil))
	want := "NOERROR AA ANSWER example.com. 300 MX 10 mail.example.com. AUTHORITY example.com. 300 NS ns.example.com." +
		" ADDITIONAL mail.example.com. 300 A 192.0.2.25, mail.example.com. 300 AAAA 2001:db8::25, ns.example.com. 300 A 192.0.2.53"
	if got := shown(answer(table, newQuery("example.com.", dns.TypeMX, question{}))); got != want {
		t.Errorf("got %s\nwant %s", got, want)
	}
}

// What only helps never truncates (RFC 2181 section 9), at any size: a full
// response that does not fit becomes a minimal one, not TC.
func TestFullResponses_Fit(t *testing.T) {
	text := answerZone
	for i := range 12 {
		text += fmt.Sprintf("@ NS ns%d.%s\nns%d.%[2]s A 192.0.2.%[1]d\n", i, strings.Repeat("long-name.", 4)+"long-name", i)
	}
	zone := mustZone(t, "example.com.", text, nil)
	full, minimal := newTable(fullDNS(), zone), newTable(&config.DNS{}, zone)
	sizes := map[string]bool{}
	for limit := 200; limit <= 1000; limit += 7 {
		for _, ask := range []struct {
			name  string
			qtype uint16
		}{{"many.example.com.", dns.TypeA}, {"example.com.", dns.TypeMX}, {"a.b.c.example.com.", dns.TypeTXT}} {
			reply := func(table *Table) *dns.Msg {
				q := newQuery(ask.name, ask.qtype, question{})
				q.limit = limit
				answer(table, q)
				out, err := q.pack(make([]byte, tcpSize))
				if err != nil || len(out) > limit {
					t.Fatalf("%d octets at limit %d, %v", len(out), limit, err)
				}
				return q.reply
			}
			got, least := reply(full), reply(minimal)
			if got.Truncated || !sameRecords(plainRecords(got.Answer), plainRecords(least.Answer)) {
				t.Fatalf("limit %d: %s", limit, shown(got))
			}
			if len(got.Ns) != 0 && len(got.Ns) != 13 {
				t.Fatalf("limit %d: %d of 13 NS: a set is whole or not there", limit, len(got.Ns))
			}
			sizes[fmt.Sprint(len(got.Ns), len(got.Extra))] = true
		}
	}
	if len(sizes) < 10 {
		t.Errorf("only %d forms of answers: the limits cut nothing", len(sizes))
	}
}
